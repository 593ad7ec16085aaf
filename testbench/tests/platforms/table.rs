//! The table as a whole.

use std::collections::BTreeSet;

use testbench::bench;
use testbench::parallel::run_all;
use testbench::platform::judge::judge;
use testbench::platform::{Outcome, PLATFORMS, Place, cases_of};

use crate::rig::patterns;

/// PLATFORMS.md: "each row keeps its place".
#[test]
fn every_platform_of_the_list_is_a_row_in_its_order() {
    let ids: Vec<&str> = PLATFORMS.iter().map(|platform| platform.id).collect();
    let listed = "x86-noiommu x86-os-off x86-vtd x86-vtd-lazy x86-vtd-2m x86-vtd-pt x86-vtd-unscoped \
                  x86-vtd-lying x86-vtd-dma-blocked xen-dom0 ppc64-tce ppc64-ddw ppc64-legacy-bypass \
                  ppc64-secure sparc64 s390-no-dma arm64-noncoherent arm64-weak-order pkvm-restricted \
                  pkvm-hint ntb-pair mmio-platform qemu-guest qemu-qtest";
    assert_eq!(ids, listed.split_whitespace().collect::<Vec<_>>());
    for platform in PLATFORMS {
        let variants: BTreeSet<&str> = platform.cases().iter().map(|case| case.variant).collect();
        assert_eq!(variants.len(), platform.cases().len(), "{}", platform.id);
        assert_eq!(matches!(platform.place, Place::Here(_)), !variants.is_empty());
    }
}

/// Each row's last column: what became of the card, the ops, the features and the evidence are those
/// of the row. After each run nothing is left: that would be a violation, and no run would work.
#[test]
fn every_case_shows_what_its_row_says() {
    let platforms: Vec<_> = PLATFORMS.iter().collect();
    let (runs, cases) = cases_of(&platforms, &patterns(&[]));
    let results = run_all(&runs, 2, &bench::run, &mut |_| {}).expect("every case runs");
    for ((run, case), result) in runs.iter().zip(&cases).zip(&results) {
        let (verdict, expected) = (judge(result), case.expected);
        let name = run.name();
        let evidence = &verdict.evidence;
        assert_eq!(verdict.outcome, expected.outcome, "{name}: {evidence}");
        assert_eq!(result.facts.ops, expected.ops, "{name}");
        assert!(evidence.contains(expected.evidence), "{name}: {evidence}");
        let works = matches!(verdict.outcome, Outcome::Works | Outcome::Bounces);
        assert!(!works || result.violations.is_empty(), "{name}: {evidence}");
        let left: Vec<_> =
            result.violations.iter().filter(|violation| violation.rule == "DMA-LEFT").collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
}
