//! Platform × card × driver: every cell runs, nothing panics, and nothing is lost without a word.

use std::fmt::Write;

use rtl_model::AddressPolicy;
use testbench::platform::PLATFORMS;

use crate::rig::{patterns, run};

const CARDS: [(&str, AddressPolicy); 3] = [
    ("needs", AddressPolicy::NeedsAccessPlatform),
    ("does not care", AddressPolicy::DoesNotCare),
    ("bypasses", AddressPolicy::BypassesAsHypervisor),
];
const DRIVERS: [(&str, bool); 2] = [("accepts", true), ("knows no bit 33", false)];

#[test]
fn every_cell_of_the_cross_has_an_outcome_and_a_reason() {
    let pattern = &patterns(&["blk.synthetic.requests=8"])[0];
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
                let (result, verdict) = run(platform.id, setup, pattern);
                assert!(!verdict.evidence.is_empty(), "{}", platform.id);
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
