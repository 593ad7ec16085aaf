//! What a run is called, by what was found in it.

use pcie_sim::time::Instant;
use testbench::platform::Outcome;
use testbench::platform::judge::judge;
use testbench::report::{RunResult, Violation};

use crate::rig::blk;

fn with(result: &RunResult, rules: &[&str]) -> RunResult {
    let found = |rule: &&str| Violation {
        rule: (*rule).to_owned(),
        time: Instant::ZERO,
        message: "something".to_owned(),
    };
    RunResult { violations: rules.iter().map(found).collect(), ..result.clone() }
}

/// DESIGN.md, `outcome`: data that is right is not corrupt, whatever else was found; the finding is told.
#[test]
fn a_finding_with_correct_data_works_and_is_told() {
    let (result, plain) = blk("x86-noiommu", "");
    assert!(!plain.evidence.contains("finding"));
    for rule in ["DMA-API", "VQ-USED-DEV-01", "DMA-LEFT"] {
        let verdict = judge(&with(&result, &[rule]));
        assert_eq!(verdict.outcome, Outcome::Works, "{rule}");
        assert!(verdict.evidence.starts_with(&format!("finding: {rule}: something")));
    }
    for rule in ["DATA-BLK", "BLK-STATUS", "BENCH-STALLED", "DRIVER-ERROR"] {
        let verdict = judge(&with(&result, &["DMA-API", rule]));
        assert_eq!(verdict.outcome, Outcome::Corrupts, "{rule}");
        assert_eq!(verdict.evidence, "something; something", "cause and effect");
    }
}

/// `x86-vtd-lying`: with the rings half on the card it finds its work, and memory that is somebody else's
/// is overwritten at the raw I/O virtual address.
#[test]
fn behind_a_lying_table_memory_is_overwritten_or_the_request_unsupported() {
    let (_, unsupported) = blk("x86-vtd-lying", "policy trust");
    assert_eq!(unsupported.outcome, Outcome::Faults);
    assert!(unsupported.evidence.contains("unsupported request"), "{}", unsupported.evidence);
    let platforms = [crate::rig::platform("x86-vtd-lying")];
    let (runs, cases) = testbench::platform::cases_of(&platforms, &crate::rig::patterns(&[]));
    let hybrid = cases.iter().position(|case| case.variant.contains("half on the card"));
    let result = testbench::bench::run(&runs[hybrid.expect("it is a case")]).expect("it runs");
    let verdict = judge(&result);
    assert_eq!(verdict.outcome, Outcome::Corrupts);
    assert!(verdict.evidence.contains("raw IOVA") && verdict.evidence.contains("is overwritten"));
    assert_eq!(result.completed, 0, "what the card writes never reaches the driver");
}
