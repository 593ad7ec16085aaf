//! Two cards side by side: what is told of a difference, in what they do and in when they do it.

use rtl_model::{CardConfig, Deed, Malice};
use testbench::card::Plugged;
use testbench::compare::{RunComparison, compare, record};
use testbench::preset::CardPreset;
use testbench::report::RunError;
use testbench::scenario::config::RunConfig;
use testbench::scenario::source::Source;

use crate::rig::{CARD, cell_with, runs};

const TRAFFIC: &str = "[net]\nsynthetic = { packets = 20, bytes = 700 }\n\
                       [blk]\nsynthetic = { requests = 20, bytes = 6144 }\n\
                       [driver]\nqueue_depth = 4\n";

/// The model beside a model that was changed before it was built.
fn beside(config: &RunConfig, change: &dyn Fn(&mut CardConfig)) -> RunComparison {
    let other = |run: &RunConfig, mut card: CardConfig| -> Result<Plugged, RunError> {
        change(&mut card);
        CARD(run, card)
    };
    let model = record(config, &CARD).expect("it runs");
    let changed = record(config, &other).expect("it runs");
    compare(config, &model, &changed)
}

/// DESIGN.md, Decision 1: the same card does the same at the same time.
#[test]
fn a_card_beside_itself_differs_nowhere_and_is_not_apart_in_time() {
    for config in runs("x86-vtd", TRAFFIC) {
        let seen = beside(&config, &|_| ());
        assert_eq!(seen.first_difference, None, "{}", seen.name);
        assert_eq!(seen.timing_error.max, 0.0, "{}", seen.name);
        assert!(seen.requests >= 20 && seen.transactions > 200, "{}", seen.name);
        assert!(seen.pace.values().all(|pace| pace.model == pace.rtl), "{}", seen.name);
        assert!(seen.stages.iter().all(|stage| stage.apart_p99_ns == 0.0), "{}", seen.name);
    }
}

/// A card's pace is its own: it is told in time, and is no difference in what the card does.
#[test]
fn a_slower_card_does_the_same_in_every_cell_and_the_slow_stage_is_named() {
    for config in runs("x86-vtd", TRAFFIC) {
        let seen = beside(&config, &|card| card.timing.used_write += 100);
        assert_eq!(seen.first_difference, None, "{}", seen.name);
        assert!(seen.timing_error.max > 0.0, "{}", seen.name);
    }
    let alone =
        cell_with("x86-noiommu", "blk", "host", "direct", false, "[driver]\nqueue_depth = 1\n");
    let seen = beside(&alone, &|card| card.timing.used_write += 100);
    let apart: Vec<&str> = seen
        .stages
        .iter()
        .filter(|stage| stage.apart_p50_ns != 0.0)
        .map(|stage| stage.stage.as_str())
        .collect();
    assert_eq!(apart, ["to_used"]);
    let stage = seen.stages.iter().find(|stage| stage.stage == "to_used").expect("it is there");
    assert_eq!(stage.apart_p50_ns, 400.0, "100 cycles of 4 ns");
}

/// How a card's stages are timed is its own affair: as engines that do one thing at a time it does the same.
#[test]
fn a_pipelined_card_does_the_same_in_every_cell_and_takes_other_times() {
    let named_by = Source::built_in("the test", "");
    let steps = CardPreset::load("reference", &named_by, "card.preset").expect("it is built in");
    for platform in ["x86-vtd", "x86-noiommu"] {
        for config in runs(platform, TRAFFIC) {
            let seen = beside(&config, &|card| card.timing.pipeline = Some(steps.steps));
            assert_eq!(seen.first_difference, None, "{}", seen.name);
            assert_eq!(seen.rtl_violations, [], "{}", seen.name);
            assert!(seen.timing_error.max > 0.0, "{}", seen.name);
        }
    }
}

/// VQ-USED-DEV-06: a length beyond the buffer is found, with the request and the rule.
#[test]
fn a_wrong_used_length_is_the_first_difference_and_its_rule_is_named() {
    let config = cell_with("x86-vtd", "blk", "host", "direct", false, TRAFFIC);
    let deed = Malice { deed: Deed::UsedLengthBeyondBuffer, queue: 0, request: 5, seed: 1 };
    let seen = beside(&config, &|card| card.malice.push(deed));
    let difference = seen.first_difference.expect("there is one");
    assert_eq!(difference.what, "len of the used element");
    assert_eq!(difference.rule.as_deref(), Some("VQ-USED-DEV-06"));
    let rtl = difference.rtl.expect("it was completed");
    assert!(rtl.what.starts_with("request 4 of queue 0"), "{}", rtl.what);
    assert_eq!(seen.model_violations, []);
}

/// A difference at a register is one of the CPU's accesses, with both answers.
#[test]
fn another_offer_of_features_is_a_difference_in_what_the_cpu_reads() {
    let config = cell_with("x86-vtd", "blk", "host", "direct", false, TRAFFIC);
    let seen = beside(&config, &|card| card.queue_size_max = 64);
    let difference = seen.first_difference.expect("there is one");
    assert!(difference.what.starts_with("the data from byte"), "{}", difference.what);
    assert!(difference.index.is_some());
    let (model, rtl) = (difference.model.expect("asked"), difference.rtl.expect("asked"));
    assert!(!model.tlp.is_empty() && model.tlp == rtl.tlp, "{model:?} {rtl:?}");
    assert_ne!(model.what, rtl.what);
}
