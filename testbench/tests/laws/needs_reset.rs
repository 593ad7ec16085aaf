//! Cards that refuse, and cards that give up: typed errors, and a way back.

use host_driver::{BlkDriver, BlkOp, DriverError, ProbeError, Segment};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Memory, Width};
use pcie_sim::spec::features;
use pcie_sim::spec::virtio_pci::status;
use rtl_model::{AddressPolicy, CardConfig};
use testbench::bench::run_with;

use crate::rig::{self, CARD, Card, cell};

/// What a driver says of a card that was built otherwise, and that accepts ACCESS_PLATFORM or not.
fn probed(card: Card, change: fn(&mut CardConfig), accept: bool) -> Result<(), ProbeError> {
    let config = cell("x86-noiommu", "blk", "host", "direct", false);
    let make = move |config: &_, mut parameters: CardConfig| {
        change(&mut parameters);
        card(config, parameters)
    };
    let mut bench = rig::bench(&config, rig::disk(), &make);
    let mut context = bench.probe_context(&config).expect("the capabilities are there");
    context.config.accept_access_platform = accept;
    let pages = bench.pages.clone();
    let before = pages.in_use_bytes();
    let driver = BlkDriver::probe(&mut bench.machine, context);
    if driver.is_err() {
        assert_eq!(pages.in_use_bytes(), before, "nothing stays behind");
    }
    driver.map(|_| ())
}

fn refusal(card: Card) {
    let refused = probed(card, |parameters| parameters.refuse_features_ok = true, true);
    let Err(ProbeError::FeaturesRefused { offered, asked, status: read }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((asked & !offered, read & status::FEATURES_OK), (0, 0));
    assert_ne!(asked & features::VERSION_1, 0);
}

/// Virtio 1.4 §3.1.1, step 6.
#[test]
fn a_card_that_refuses_features_ok_is_a_typed_error_and_leaves_nothing_behind() {
    refusal(CARD);
}

fn access_platform(card: Card) {
    let require: fn(&mut CardConfig) = |parameters| {
        parameters.address_policy = AddressPolicy::NeedsAccessPlatform;
    };
    let refused = probed(card, require, false);
    let Err(ProbeError::FeaturesRefused { offered, asked, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_ne!(offered & features::ACCESS_PLATFORM, 0);
    assert_eq!(asked & features::ACCESS_PLATFORM, 0);
    assert_eq!(probed(card, require, true), Ok(()));
    assert_eq!(probed(card, |_| (), false), Ok(()));
}

/// Virtio 1.4 §6.2: a device MAY fail to operate when VIRTIO_F_ACCESS_PLATFORM is not accepted.
#[test]
fn a_card_that_needs_access_platform_refuses_a_driver_without_and_takes_one_with() {
    access_platform(CARD);
}

fn corrupt_index(card: Card) {
    for rings in ["host", "card"] {
        for platform in ["x86-noiommu", "x86-vtd"] {
            let mut rig = rig::blk(&cell(platform, "blk", rings, "direct", false), &card);
            assert_eq!(rig.write_disk(0, &[1; 512]), 0);
            let address = rig.buffer(&[2; 512]);
            rig.submit(BlkOp::Write, 0, &[Segment { address, len: 512 }], 42);
            let index_at = rig.queue(0).driver + 2;
            if rings == "card" {
                rig.machine.mmio_write(PhysAddr(index_at), Width::W16, 0x7777);
            } else {
                let at = match &rig.iommu {
                    None => index_at,
                    Some(_) => {
                        let card = rig.card;
                        let tables = crate::tables::Tables::of(&mut rig, card);
                        tables.allow(&rig, index_at, 2, false)[0]
                    }
                };
                rig.machine.write(PhysAddr(at), &0x7777_u16.to_le_bytes());
            }
            // The card finds the index when it looks again, at the latest for this doorbell.
            let notify = rig.doorbell(0);
            rig.machine.mmio_write(PhysAddr(notify), Width::W16, 0);
            let error = rig.finish(usize::MAX).expect_err("there are not so many");
            let DriverError::NeedsReset { status: read } = error else { panic!("{error}") };
            assert_ne!(read & status::DEVICE_NEEDS_RESET, 0);
            let rig::Rig { bench, driver } = &mut rig;
            let lost = driver.restart(&mut bench.machine).expect("the card starts again");
            assert!(lost.is_empty() || lost == [42], "{lost:?}");
            assert_eq!(rig.write_disk(0, &[3; 512]), 0);
            assert_eq!(rig.read_disk(0, 512), (0, vec![3; 512]));
            rig.assert_clean();
            let removed = rig.driver.remove(&mut rig.bench.machine).expect("the driver goes");
            assert_eq!((removed.unfinished, removed.findings), (vec![], vec![]));
        }
    }
}

/// Virtio 1.4 §2.1.1 and §2.1.2: DEVICE_NEEDS_RESET, a configuration change interrupt, and a reset.
#[test]
fn a_corrupt_index_makes_the_card_ask_for_a_reset_which_the_driver_sees_and_recovers_from() {
    corrupt_index(CARD);
}

fn refusal_is_told(card: Card) {
    for device in ["net", "blk"] {
        let config = cell("x86-noiommu", device, "host", "direct", false);
        let result = run_with(&config, &|config, mut parameters| {
            parameters.refuse_features_ok = true;
            card(config, parameters)
        });
        let violations = result.expect("a card's fault is a finding").violations;
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert_eq!(violations[0].rule, "DRIVER-PROBE");
        assert!(violations[0].message.contains("the device refuses features"), "{violations:?}");
    }
}

/// DESIGN.md, "The command": what a card does wrong is status 1, not an internal error.
#[test]
fn a_card_that_cannot_be_driven_is_a_finding_of_the_run() {
    refusal_is_told(CARD);
}
