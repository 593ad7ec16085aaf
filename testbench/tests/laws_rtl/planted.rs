//! Every planted bug of the reference RTL is found by the scenarios that the project ships for a designer's own
//! RTL, and is called by its name; the reference without a bug gives no finding in any of them.
//!
//! Each is a build of its own, of a narrow bus and with little optimisation: a few seconds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rtl_model::verilated::manifest::Manifest;
use rtl_model::verilated::value::Value;
use testbench::bench::run;
use testbench::card::{CardChoice, RtlCard};
use testbench::scenario::{Overrides, Scenario};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The reference, small and quickly built, with or without a bug.
pub(crate) fn card(bug: Option<&str>) -> CardChoice {
    let path = root().join("../rtl-model/reference.toml");
    let mut manifest = Manifest::read(&path).expect("the reference manifest is right");
    manifest.optimise = 1;
    manifest.parameters.insert("W".to_owned(), Value::Text("64".to_owned()));
    manifest.parameters.insert("REQUEST_BYTES".to_owned(), Value::Text("16384".to_owned()));
    manifest.card.disk_sectors = Some(2048);
    if let Some(bug) = bug {
        manifest.defines.insert(bug.to_owned(), Value::Flag(true));
    }
    CardChoice::Rtl(Arc::new(RtlCard::new(manifest)))
}

/// The rules that a scenario finds broken, in its runs up to the first that finds `wanted`.
fn found(card: &CardChoice, scenario: &str, wanted: Option<&str>) -> BTreeSet<String> {
    let path = root().join(format!("scenarios/conformance/{scenario}.toml"));
    let scenario = Scenario::load(Some(&path), &Overrides::default());
    let mut runs = scenario.expect("the scenario is right").runs;
    assert_eq!(card.adapt(&mut runs).expect("all fit"), 0);
    let mut rules = BTreeSet::new();
    for mut config in runs {
        config.under_test = card.clone();
        let result = run(&config).expect("a card's fault is a finding");
        assert!(result.requests > 0 || !result.violations.is_empty());
        rules.extend(result.violations.into_iter().map(|violation| violation.rule));
        if wanted.is_some_and(|wanted| rules.contains(wanted)) {
            break;
        }
    }
    rules
}

/// Bug, the scenario that shows it, and the rule by whose id it is called.
const PLANTED: [(&str, &str, &str); 24] = [
    ("BUG_INDEX_BEFORE_ELEMENT", "tight", "VQ-USED-DEV-01"),
    ("BUG_USED_LENGTH", "tight", "VQ-USED-DEV-06"),
    ("BUG_NEXT_IGNORED", "tight", "VQ-USED-DEV-02"),
    ("BUG_BYTE_ENABLES", "split", "DMA-STRAY"),
    ("BUG_TAG_REUSED_EARLY", "split", "PCIE-TAG"),
    ("BUG_PART_PLACED_FIRST", "split", "DATA-BLK"),
    ("BUG_PAGE_CROSSED", "split", "PCIE-4K"),
    ("BUG_INTERRUPT_BEFORE_DATA", "tight", "PCI-UBN-DEV-02"),
    ("BUG_EVENT_INDEX_OFF_BY_ONE", "tight", "VQ-ASUP-DEV-04"),
    ("BUG_INDEX_WRAPS_WRONG", "wrap", "VQ-USED-DEV-01"),
    ("BUG_READ_MAX_IGNORED", "tight", "PCIE-MRRS"),
    ("BUG_PAYLOAD_MAX_IGNORED", "split", "PCIE-MPS"),
    ("BUG_STATUS_NOT_CLEARED", "tight", "RST-DEV-01"),
    ("BUG_ADDRESS_HIGH_DROPPED", "split", "DMA-STRAY"),
    ("BUG_COMPLETION_STATUS_IGNORED", "tight", "PCIE-REFUSED-READ"),
    ("BUG_CREDITS_IGNORED", "tight", "PIN-CREDITS"),
    ("BUG_ISR_NOT_CLEARED", "tight", "PCI-ISR-DEV-05"),
    ("BUG_ANSWER_PASSES_WRITES", "tight", "PCIE-ORDERING"),
    ("BUG_SUPPRESSION_IGNORED", "tight", "VQ-USUP-DEV-02"),
    ("BUG_BUS_MASTER_IGNORED", "tight", "PCIE-BUS-MASTER"),
    ("BUG_LOWER_ADDRESS", "tight", "PCIE-COMPLETION"),
    ("BUG_MASK_IGNORED", "tight", "PCI-MSIX-DEV-10"),
    ("BUG_FEATURES_UNCHECKED", "tight", "FEAT-DEV-03"),
    ("BUG_PREFETCH_STALE", "split", "DMA-STRAY"),
];

fn named(bug: &str) {
    let planted = PLANTED.iter().find(|(name, ..)| *name == bug);
    let (_, scenario, rule) = planted.expect("it is in the table");
    let rules = found(&card(Some(bug)), scenario, Some(rule));
    assert!(rules.contains(*rule), "{bug}: expected {rule}, found {rules:?}");
}

#[test]
fn a_used_index_before_its_element_is_named() {
    named("BUG_INDEX_BEFORE_ELEMENT");
}

#[test]
fn a_used_length_that_is_too_large_is_named() {
    named("BUG_USED_LENGTH");
}

#[test]
fn a_next_that_is_not_followed_is_named() {
    named("BUG_NEXT_IGNORED");
}

#[test]
fn byte_enables_before_a_buffer_are_named() {
    named("BUG_BYTE_ENABLES");
}

#[test]
fn a_tag_used_again_before_the_last_answer_is_named() {
    named("BUG_TAG_REUSED_EARLY");
}

#[test]
fn parts_of_an_answer_all_put_first_are_named() {
    named("BUG_PART_PLACED_FIRST");
}

#[test]
fn a_request_across_a_page_is_named() {
    named("BUG_PAGE_CROSSED");
}

#[test]
fn an_interrupt_before_the_used_index_is_named() {
    named("BUG_INTERRUPT_BEFORE_DATA");
}

#[test]
fn an_avail_event_that_lags_is_named() {
    named("BUG_EVENT_INDEX_OFF_BY_ONE");
}

#[test]
fn an_index_that_wraps_wrong_is_named() {
    named("BUG_INDEX_WRAPS_WRONG");
}

#[test]
fn reads_that_are_too_long_are_named() {
    named("BUG_READ_MAX_IGNORED");
}

#[test]
fn payloads_that_are_too_long_are_named() {
    named("BUG_PAYLOAD_MAX_IGNORED");
}

#[test]
fn a_status_that_a_reset_leaves_is_named() {
    named("BUG_STATUS_NOT_CLEARED");
}

#[test]
fn an_address_that_loses_its_high_half_is_named() {
    named("BUG_ADDRESS_HIGH_DROPPED");
}

#[test]
fn a_refused_read_that_is_taken_for_an_answer_is_named() {
    named("BUG_COMPLETION_STATUS_IGNORED");
}

#[test]
fn packets_without_credits_are_named() {
    named("BUG_CREDITS_IGNORED");
}

#[test]
fn an_isr_status_that_stays_is_named() {
    named("BUG_ISR_NOT_CLEARED");
}

#[test]
fn an_answer_that_passes_posted_writes_is_named() {
    named("BUG_ANSWER_PASSES_WRITES");
}

#[test]
fn an_interrupt_that_nobody_wants_is_named() {
    named("BUG_SUPPRESSION_IGNORED");
}

#[test]
fn reads_without_bus_master_enable_are_named() {
    named("BUG_BUS_MASTER_IGNORED");
}

#[test]
fn a_wrong_lower_address_is_named() {
    named("BUG_LOWER_ADDRESS");
}

#[test]
fn a_message_of_a_masked_vector_is_named() {
    named("BUG_MASK_IGNORED");
}

#[test]
fn features_that_were_not_offered_are_named() {
    named("BUG_FEATURES_UNCHECKED");
}

#[test]
fn a_descriptor_from_before_it_was_available_is_named() {
    named("BUG_PREFETCH_STALE");
}

fn nothing_is_found(scenario: &str) {
    assert_eq!(found(&card(None), scenario, None), BTreeSet::new());
}

#[test]
fn the_reference_without_a_bug_gives_no_finding_with_few_credits_and_exercises() {
    nothing_is_found("tight");
}

#[test]
fn the_reference_without_a_bug_gives_no_finding_with_split_answers() {
    nothing_is_found("split");
}

#[test]
fn the_reference_without_a_bug_gives_no_finding_where_indices_wrap() {
    nothing_is_found("wrap");
}

/// rtl-model/rtl/README.md, "Planted bugs".
#[test]
fn every_planted_bug_is_in_the_table() {
    let text = std::fs::read_to_string(root().join("../rtl-model/rtl/README.md"));
    let text = text.expect("it is there");
    let listed: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `BUG_"))
        .filter_map(|line| line.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let tested: BTreeSet<&str> =
        PLANTED.iter().filter_map(|(bug, _, _)| bug.strip_prefix("BUG_")).collect();
    assert_eq!((tested.len(), &tested), (24, &listed));
}
