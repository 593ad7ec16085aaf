//! Platform × card × driver: every cell runs, nothing panics, and nothing is lost without a word.

use std::fmt::Write;

use rtl_model::AddressPolicy;
use testbench::platform::{Outcome, PLATFORMS};
use testbench::report::RunResult;

use crate::rig::{patterns, run};

const CARDS: [(&str, AddressPolicy); 3] = [
    ("needs", AddressPolicy::NeedsAccessPlatform),
    ("does not care", AddressPolicy::DoesNotCare),
    ("bypasses", AddressPolicy::BypassesAsHypervisor),
];
const DRIVERS: [(&str, bool); 2] = [("accepts", true), ("knows no bit 33", false)];

/// Whatever was not done, or not done right, has an outcome that says so.
fn not_silent(id: &str, result: &RunResult, outcome: Outcome, requests: u64) {
    if matches!(outcome, Outcome::Works | Outcome::Bounces) {
        assert_eq!((result.completed, &result.violations[..]), (requests, &[][..]), "{id}");
    } else if outcome != Outcome::Refused {
        assert!(!result.violations.is_empty(), "{id}: {outcome} and nothing found");
    }
}

#[test]
fn every_cell_of_the_cross_has_an_outcome_and_a_reason() {
    let set = ["blk.synthetic.requests=8", "net.synthetic={packets=24,bytes=512}"];
    let [pattern, packets] = &patterns(&set)[..] else { panic!("two devices") };
    let mut cells = String::new();
    for platform in PLATFORMS {
        let Some(case) = platform.cases().first() else {
            let _ = writeln!(cells, "{:<19} {}", platform.id, platform.why_not_here());
            continue;
        };
        for (card, addresses) in CARDS {
            for (driver, knows) in DRIVERS {
                let mut setup = case.setup;
                setup.card.addresses = addresses;
                setup.card.offers_access_platform |=
                    addresses == AddressPolicy::NeedsAccessPlatform;
                setup.driver.access_platform = knows;
                let (network, called) = run(platform.id, setup, packets);
                not_silent(platform.id, &network, called.outcome, 24);
                let (result, verdict) = run(platform.id, setup, pattern);
                assert!(!verdict.evidence.is_empty(), "{}", platform.id);
                not_silent(platform.id, &result, verdict.outcome, 8);
                let left = result.violations.iter().find(|violation| violation.rule == "DMA-LEFT");
                assert_eq!(left, None, "{} {card} {driver}", platform.id);
                let _ = writeln!(
                    cells,
                    "{:<19} {card:<13} {driver:<15} {:<8} {}",
                    platform.id, verdict.outcome, verdict.evidence
                );
            }
        }
    }
    insta::assert_snapshot!(cells);
}
