//! What the host or the bus gets wrong, and what the card makes of it.

use pcie_sim::spec::features;
use pcie_sim::spec::pci::command;
use pcie_sim::spec::virtio_pci::{CommonReg, status};
use pcie_sim::spec::virtq::{self, DESC_F_INDIRECT, DESC_F_NEXT, SplitDesc};
use pcie_sim::tlp::{Attributes, Completion, CompletionStatus, Payload, Tag, Tlp};
use rtl_model::RingFault;

use crate::fetch::{BUFFER, TABLE, net, transmitter};
use crate::rig::{BASE_FEATURES, CARD, HOST, MSI, ROOT, Rig, Ring, Use, readable, then, writable};

const INDIRECT: u64 = BASE_FEATURES | features::INDIRECT_DESC;
const NOWHERE: u64 = 0x7fff_ffff_0000;

/// STAT-DEV-03, STAT-DEV-04: the bit, the configuration interrupt, nothing used, and a reset helps.
fn needs_reset(accepted: u64, spoil: impl Fn(&mut Rig, &mut Ring), fault: RingFault) {
    let (mut rig, mut ring) = transmitter(net(), accepted);
    spoil(&mut rig, &mut ring);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.card.fault(), Some(fault));
    let status = rig.common(CommonReg::DeviceStatus) as u8;
    assert_eq!(status & status::DEVICE_NEEDS_RESET, status::DEVICE_NEEDS_RESET);
    assert_eq!(ring.used_idx(&mut rig), 0);
    let last = rig.log.last().map(|(_, tlp)| tlp);
    assert!(matches!(last, Some(Tlp::MemWrite(write)) if write.address == MSI), "{fault}");
    rig.log.clear();
    rig.doorbell(1);
    rig.settle();
    assert!(rig.log.is_empty(), "a queue that failed stands still");
    rig.memory.fill(0);
    let rings = [Ring::in_host(0, 256), Ring::in_host(1, 256)];
    rig.start(accepted, &rings);
    let [_, mut ring] = rings;
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 1, "after a reset all is well");
}

#[test]
fn an_index_that_jumps_over_the_ring_needs_a_reset() {
    let jump = |rig: &mut Rig, ring: &mut Ring| rig.poke(ring.avail + 2, &257_u16.to_le_bytes());
    needs_reset(BASE_FEATURES, jump, RingFault::IndexJump { idx: 257, next: 0, size: 256 });
}

#[test]
fn a_head_outside_the_table_needs_a_reset() {
    let head = |rig: &mut Rig, ring: &mut Ring| ring.offer(rig, &[256]);
    needs_reset(BASE_FEATURES, head, RingFault::NoSuchDescriptor { index: 256, size: 256 });
}

#[test]
fn a_chain_that_leads_outside_the_table_needs_a_reset() {
    let chain = |rig: &mut Rig, ring: &mut Ring| {
        ring.describe(rig, 0, then(readable(BUFFER, 12), 999));
        ring.offer(rig, &[0]);
    };
    needs_reset(BASE_FEATURES, chain, RingFault::NoSuchDescriptor { index: 999, size: 256 });
}

#[test]
fn a_chain_that_loops_needs_a_reset() {
    let chain = |rig: &mut Rig, ring: &mut Ring| {
        ring.describe(rig, 3, then(readable(BUFFER, 12), 4));
        ring.describe(rig, 4, then(readable(BUFFER, 12), 3));
        ring.offer(rig, &[3]);
    };
    needs_reset(BASE_FEATURES, chain, RingFault::Loop { head: 3 });
}

#[test]
fn a_readable_buffer_behind_a_writable_one_needs_a_reset() {
    let chain = |rig: &mut Rig, ring: &mut Ring| {
        ring.describe(rig, 0, then(writable(BUFFER, 12), 1));
        ring.describe(rig, 1, readable(BUFFER, 12));
        ring.offer(rig, &[0]);
    };
    needs_reset(BASE_FEATURES, chain, RingFault::ReadableBehindWritable { head: 0 });
}

#[test]
fn an_indirect_descriptor_where_none_may_be_needs_a_reset() {
    let misplaced = RingFault::MisplacedIndirect { head: 0 };
    let table = |flags, len| SplitDesc { addr: TABLE, len, flags, next: 0 };
    let direct = |desc: SplitDesc| {
        move |rig: &mut Rig, ring: &mut Ring| {
            ring.describe(rig, 0, desc);
            ring.offer(rig, &[0]);
        }
    };
    needs_reset(BASE_FEATURES, direct(table(DESC_F_INDIRECT, 16)), misplaced);
    let linked = DESC_F_INDIRECT | DESC_F_NEXT;
    needs_reset(INDIRECT, direct(table(linked, 16)), misplaced);
    let nested = |rig: &mut Rig, ring: &mut Ring| {
        rig.poke(TABLE, &table(DESC_F_INDIRECT, 16).to_bytes());
        direct(table(DESC_F_INDIRECT, 16))(rig, ring);
    };
    needs_reset(INDIRECT, nested, misplaced);
    for len in [0, 15, 17, 16 * 40_000] {
        let fault = RingFault::TableLength { head: 0, len };
        needs_reset(INDIRECT, direct(table(DESC_F_INDIRECT, len)), fault);
    }
    let looping = |rig: &mut Rig, ring: &mut Ring| {
        rig.poke(TABLE, &then(readable(BUFFER, 4), 0).to_bytes());
        direct(table(DESC_F_INDIRECT, 16))(rig, ring);
    };
    needs_reset(INDIRECT, looping, RingFault::Loop { head: 0 });
}

#[test]
fn a_ring_that_cannot_be_read_needs_a_reset() {
    let (mut rig, _) = transmitter(net(), BASE_FEATURES);
    let mut rings = [Ring::in_host(0, 64), Ring::in_host(1, 64)];
    rings[1].avail = NOWHERE;
    rig.start(BASE_FEATURES, &rings);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.card.fault(), Some(RingFault::ReadFailed));
    assert_eq!(rig.card.counters().failed_reads, 1);
}

/// A packet that cannot be read is lost, but its buffer comes back.
#[test]
fn a_packet_that_cannot_be_read_is_dropped_and_its_buffer_used() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    ring.describe(&mut rig, 0, readable(NOWHERE, 1400));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 1);
    assert_eq!(rig.card.counters().packets_dropped_bad, 1);
    assert_eq!(rig.common(CommonReg::DeviceStatus) as u8 & status::DEVICE_NEEDS_RESET, 0);
}

/// PCIe 5.0 §2.8.
#[test]
fn a_read_that_is_not_answered_times_out() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    while !rig.uses(&ring).contains(&Use::Descriptor) {
        assert!(rig.step());
    }
    // The descriptor is answered, what follows is not.
    let sent = rig.now;
    rig.silent = true;
    rig.settle();
    assert_eq!(rig.card.counters().timeouts, 2, "the payload, then the suppression word");
    assert!(rig.now.since(sent).as_ns() >= 20_000_000);
    assert_eq!(ring.used_idx(&mut rig), 1);
    assert_eq!(rig.card.fault(), Some(RingFault::ReadFailed));
}

/// PCIe 5.0 §2.3.2: counted and dropped, and what is under way is not disturbed.
#[test]
fn a_completion_nobody_asked_for_is_dropped() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    while rig.log.is_empty() {
        assert!(rig.step());
    }
    let answer = |requester, tag, byte_count, len| {
        Tlp::Completion(Completion {
            completer: ROOT,
            requester,
            tag: Tag(tag),
            status: CompletionStatus::Success,
            byte_count,
            lower_address: 0,
            data: Payload::from_elem(0x77, len),
            attributes: Attributes::default(),
        })
    };
    let Some((_, Tlp::MemRead(read))) = rig.log.first().cloned() else { panic!("a read") };
    let used = read.tag.0;
    for wrong in [
        answer(CARD, used ^ 0x55, 2, 2),
        answer(CARD, 1023, 2, 2),
        answer(ROOT, used, 2, 2),
        answer(CARD, used, 2, 64),
        answer(CARD, used, 1, 1),
        answer(CARD, used, 2, 0),
    ] {
        rig.deliver(wrong);
    }
    assert_eq!(rig.card.counters().unexpected_completions, 6);
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 1);
}

/// Bus Master Enable off: nothing leaves but answers, and nothing is lost.
#[test]
fn without_bus_master_enable_no_request_leaves_the_card() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    rig.set_command(command::MEMORY_SPACE);
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.card.set_link_up(false);
    rig.settle();
    assert!(rig.log.is_empty());
    assert_eq!(rig.common(CommonReg::NumQueues), 2, "registers are answered");
    rig.set_command(command::MEMORY_SPACE | command::BUS_MASTER);
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 1);
    let messages = rig.uses(&ring).into_iter().filter(|&u| u == Use::Message).count();
    assert_eq!(messages, 2, "the change of the link, and the packet");
}

/// Turned off in the middle of work: what is under way stops where it is.
#[test]
fn bus_master_enable_stops_the_card_at_any_moment() {
    for steps in 1..40 {
        let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
        ring.describe(&mut rig, 0, readable(BUFFER, 1400));
        ring.offer(&mut rig, &[0]);
        rig.doorbell(1);
        for _ in 0..steps {
            rig.step();
        }
        rig.set_command(command::MEMORY_SPACE);
        let sent = rig.log.len();
        rig.settle();
        assert_eq!(rig.log.len(), sent);
        rig.set_command(command::MEMORY_SPACE | command::BUS_MASTER);
        rig.settle();
        assert_eq!(ring.used_idx(&mut rig), 1);
    }
}

/// The rings are read and written where the driver put them and nowhere else (VQ-SPLIT-DEV-01,
/// VQ-SPLIT-DEV-07, VQ-AVAIL-DEV-01).
#[test]
fn only_the_used_ring_is_written() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES | features::EVENT_IDX);
    for i in 0..64 {
        ring.describe(&mut rig, i, readable(BUFFER, 76));
    }
    ring.offer(&mut rig, &(0..64).collect::<Vec<_>>());
    rig.doorbell(1);
    rig.settle();
    for (_, tlp) in &rig.log {
        if let Tlp::MemWrite(write) = tlp {
            let used = ring.used..ring.used + virtq::used_area_bytes(256);
            assert!(used.contains(&write.address) || write.address < HOST);
        }
    }
}
