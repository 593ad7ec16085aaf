//! Bus Master Enable.

use host_driver::{BlkDriver, BlkOp, Segment};
use pcie_sim::endpoint::Direction;
use pcie_sim::host::{Bus, Width};
use pcie_sim::spec::pci::{command, header};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::Tlp;

use crate::rig::{self, CARD, Card, Rig, cell};

fn set_bus_master(rig: &mut Rig<BlkDriver>, on: bool) {
    let card = rig.card;
    let now = rig.machine.config_read(card, header::COMMAND, Width::W16) as u16;
    let then = if on { now | command::BUS_MASTER } else { now & !command::BUS_MASTER };
    rig.machine.config_write(card, header::COMMAND, Width::W16, then.into());
}

/// When the card's answer to the last configuration write left.
fn answered(rig: &Rig<BlkDriver>) -> Instant {
    let answer = |seen: &&testbench::bench::watch::Seen| {
        seen.direction == Direction::Upstream && matches!(seen.tlp, Tlp::Completion(_))
    };
    rig.log().iter().rfind(answer).expect("a configuration write is answered").departs
}

/// Switches the card off `after` the doorbell, rings on, and switches it on again.
fn off_and_on(card: Card, rings: &str, after: Span) {
    let mut rig = rig::blk(&cell("x86-vtd", "blk", rings, "direct", true), &card);
    let segments: Vec<Segment> =
        (0..6_u8).map(|n| Segment { address: rig.buffer(&[n; 4096]), len: 4096 }).collect();
    for n in 0..4 {
        rig.submit(BlkOp::Write, 8 * n as u64, &segments[n..=n], n as u64);
    }
    rig.machine.spend(after);
    set_bus_master(&mut rig, false);
    let off = answered(&rig);
    for n in 4..6 {
        rig.submit(BlkOp::Write, 8 * n as u64, &segments[n..=n], n as u64);
    }
    rig.rest();
    let late: Vec<_> = rig.dma().into_iter().filter(|dma| dma.departs > off).collect();
    assert_eq!(late, [], "{rings}, off {after} after the doorbell");
    rig.forget();
    set_bus_master(&mut rig, true);
    // Doorbells that rang meanwhile may count or not, so one rings again: that is the driver's part.
    let done = rig.finish(6).expect("work goes on");
    assert!(done.iter().all(|done| done.status == 0));
    for n in 0..6_u8 {
        assert_eq!(rig.read_disk(8 * u64::from(n), 4096), (0, vec![n; 4096]));
    }
    rig.assert_clean();
}

fn quiet_while_off(card: Card) {
    for rings in ["host", "hybrid", "card"] {
        for step in 0..40 {
            off_and_on(card, rings, Span::from_ns(step * 200));
        }
    }
}

/// PCIe 5.0 §7.5.1.1.3, "Command Register"; PLATFORMS.md, rule 8.
#[test]
fn without_bus_master_enable_no_dma_and_no_interrupt_leaves_the_card_and_with_it_work_goes_on() {
    quiet_while_off(CARD);
}
