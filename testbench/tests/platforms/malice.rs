//! A card that lies to the driver on the whole machine: the queue is broken or the lie does not matter;
//! nothing is unmapped that was not mapped, nothing read beyond a buffer, and nothing panics.

use rtl_model::Deed;
use testbench::report::RunResult;
use testbench::scenario::config::{Device, Layout};

use crate::rig::{case, patterns, run};

const PLATFORMS: [&str; 5] = ["x86-noiommu", "x86-vtd", "x86-vtd-lazy", "xen-dom0", "ppc64-secure"];

fn says(result: &RunResult, rule: &str) -> bool {
    result.violations.iter().any(|violation| violation.rule == rule)
}

/// Every deed that is about the ring, on each of the platforms, direct and indirect, disk and network.
fn each(deed: Deed, judge: impl Fn(&str, &RunResult, Device)) {
    for id in PLATFORMS {
        for pattern in patterns(&["blk.synthetic.requests=32"]) {
            for layout in [Layout::Direct, Layout::Indirect] {
                let mut setup = case(id, "").setup;
                setup.card.malice = Some(deed);
                let mut pattern = pattern.clone();
                pattern.layout = layout;
                let (result, verdict) = run(id, setup, &pattern);
                let name = format!("{} {id} {layout} {}", deed.name(), pattern.device);
                assert!(!says(&result, "DMA-API"), "{name}: DMA debug: {:?}", result.violations);
                assert!(!says(&result, "DMA-LEFT"), "{name}: {:?}", result.violations);
                assert!(!verdict.evidence.is_empty());
                judge(&name, &result, pattern.device);
            }
        }
    }
}

/// Used length and index: what cannot be believed breaks the queue, and the caller is told.
#[test]
fn a_used_ring_that_lies_breaks_the_queue_and_the_caller_gets_an_error() {
    for deed in [Deed::UsedLengthBeyondBuffer, Deed::UsedIndexJump, Deed::UsedElementTwice] {
        each(deed, |name, result, _| {
            assert!(says(result, "DRIVER-ERROR"), "{name}: {:?}", result.violations);
        });
    }
}

/// An id that names nothing in flight breaks the queue. One that names another buffer in flight the driver
/// has to believe: it gives back that buffer, and the content says that it is the wrong one.
#[test]
fn a_wrong_used_id_breaks_the_queue_or_gives_back_another_buffer_of_the_drivers() {
    each(Deed::WrongUsedId, |name, result, device| {
        let told =
            says(result, "DRIVER-ERROR") || device == Device::Net && says(result, "DATA-NET");
        assert!(told, "{name}: {:?}", result.violations);
    });
}

/// The driver never reads a descriptor back: what it unmaps is what it mapped.
#[test]
fn a_rewritten_descriptor_changes_nothing_for_the_driver() {
    each(Deed::RewriteDescriptor, |name, result, device| {
        let all = if device == Device::Blk { 32 } else { 96 };
        assert_eq!(result.completed, all, "{name}: {:?}", result.violations);
        assert!(!says(result, "DRIVER-ERROR"), "{name}");
        assert!(!result.violations.iter().any(|found| found.rule.starts_with("DATA")), "{name}");
    });
}
