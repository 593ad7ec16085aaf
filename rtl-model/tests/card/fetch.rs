//! What the card reads for a request, exactly.

use pcie_sim::spec::features;
use pcie_sim::spec::virtq::{DESC_F_INDIRECT, DESC_F_WRITE, SplitDesc};
use pcie_sim::time::Span;
use pcie_sim::tlp::Tlp;
use rtl_model::{CardConfig, DeviceConfig, NetConfig};

use crate::rig::{BAR2, BASE_FEATURES, HOST, Rig, Ring, Use, readable, then};

pub(crate) const BUFFER: u64 = HOST + 0x10_0000;
pub(crate) const TABLE: u64 = HOST + 0x20_0000;

pub(crate) fn net() -> CardConfig {
    CardConfig::new(DeviceConfig::Net(NetConfig::default()))
}

/// A running network card and its transmit ring.
pub(crate) fn transmitter(config: CardConfig, accepted: u64) -> (Rig, Ring) {
    let (rig, mut rings) = Rig::running(config, accepted, 256);
    (rig, rings.remove(1))
}

const DIRECT: [Use; 8] = [
    Use::AvailIdx,
    Use::AvailEntry,
    Use::Descriptor,
    Use::Read,
    Use::UsedElement,
    Use::UsedIdx,
    Use::Suppression,
    Use::Message,
];

/// The law of the bench: three dependent ring reads, the payload, two ring writes, one suppression word,
/// one interrupt, in this order. VQ-USED-DEV-01, PCI-UBN-DEV-02.
#[test]
fn one_direct_buffer_costs_three_ring_reads_two_writes_one_word_and_one_message() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.uses(&ring), DIRECT);
    assert_eq!(ring.used_idx(&mut rig), 1);
    assert_eq!(ring.used_elem(&mut rig, 0), (0, 0), "a transmitted buffer has length 0");
}

/// Each of the three ring reads leaves only after the one before it was answered.
#[test]
fn the_ring_reads_of_a_direct_buffer_depend_on_each_other() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    for pair in rig.log[..4].windows(2) {
        assert!(pair[1].0 >= pair[0].0 + rig.delay);
    }
}

/// The same doorbell again finds nothing and is tolerated (VQ-ASUP-DEV-05).
#[test]
fn a_doorbell_that_announces_nothing_costs_one_read_of_the_index() {
    let (mut rig, ring) = transmitter(net(), BASE_FEATURES);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.uses(&ring), [Use::AvailIdx]);
}

/// A doorbell while the card is busy is remembered once, however often it rings.
#[test]
fn doorbells_while_busy_cause_one_more_read_of_the_index() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle_for(Span::from_ns(1000));
    for _ in 0..3 {
        rig.doorbell(1);
    }
    rig.settle();
    let reads = rig.uses(&ring).into_iter().filter(|&u| u == Use::AvailIdx).count();
    assert_eq!(reads, 2);
}

/// Until the first read of the index has left, a further doorbell adds nothing.
#[test]
fn a_doorbell_before_the_index_is_asked_for_adds_no_read() {
    let (mut rig, ring) = transmitter(net(), BASE_FEATURES);
    rig.doorbell(1);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.uses(&ring), [Use::AvailIdx]);
}

/// Whatever the number of entries, while the table fits one request. Virtio 1.4, "Indirect Descriptors".
#[test]
fn an_indirect_table_adds_exactly_one_read() {
    for entries in [1_u16, 2, 32] {
        let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES | features::INDIRECT_DESC);
        for i in 0..entries {
            let desc = readable(BUFFER + 0x1000 * u64::from(i), 20);
            let desc = if i + 1 < entries { then(desc, i + 1) } else { desc };
            rig.poke(TABLE + 16 * u64::from(i), &desc.to_bytes());
        }
        // VQ-INDIR-DEV-01: WRITE in the pointing descriptor means nothing.
        let flags = DESC_F_INDIRECT | DESC_F_WRITE;
        let len = 16 * u32::from(entries);
        ring.describe(&mut rig, 7, SplitDesc { addr: TABLE, len, flags, next: 0 });
        ring.offer(&mut rig, &[7]);
        rig.doorbell(1);
        rig.settle();
        let tables = rig
            .log
            .iter()
            .filter(|(_, tlp)| matches!(tlp, Tlp::MemRead(read) if read.address == TABLE));
        assert_eq!(tables.count(), 1);
        let reads = rig.log.iter().filter(|(_, tlp)| matches!(tlp, Tlp::MemRead(_))).count();
        assert_eq!(reads, 3 + 1 + usize::from(entries) + 1);
        assert_eq!(ring.used_elem(&mut rig, 0), (7, 0));
    }
}

/// VQ-INDIR-DEV-02.
#[test]
fn plain_descriptors_may_precede_an_indirect_one() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES | features::INDIRECT_DESC);
    ring.describe(&mut rig, 0, then(readable(BUFFER, 12), 1));
    ring.describe(&mut rig, 1, then(readable(BUFFER + 0x1000, 40), 2));
    let table = SplitDesc { addr: TABLE, len: 16, flags: DESC_F_INDIRECT, next: 0 };
    ring.describe(&mut rig, 2, table);
    rig.poke(TABLE, &readable(BUFFER + 0x2000, 24).to_bytes());
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 1);
    assert_eq!(rig.card.counters().packets_dropped_bad, 0);
}

/// A chain costs one dependent read for each descriptor; with prefetch they come together.
#[test]
fn a_chain_costs_a_read_per_descriptor_unless_they_are_prefetched() {
    for (prefetch, expected) in [(1, 4), (2, 2), (4, 1), (64, 1)] {
        let config = CardConfig { descriptor_prefetch: prefetch, ..net() };
        let (mut rig, mut ring) = transmitter(config, BASE_FEATURES);
        for i in 0..4_u16 {
            let desc = readable(BUFFER + 0x1000 * u64::from(i), 20);
            ring.describe(&mut rig, i, if i < 3 { then(desc, i + 1) } else { desc });
        }
        ring.offer(&mut rig, &[0]);
        rig.doorbell(1);
        rig.settle();
        let reads = rig.uses(&ring).into_iter().filter(|&u| u == Use::Descriptor).count();
        assert_eq!(reads, expected, "prefetch {prefetch}");
        assert_eq!(ring.used_idx(&mut rig), 1);
    }
}

/// Entries of several available heads come in one read, and their descriptors too.
#[test]
fn prefetch_brings_the_entries_and_descriptors_of_all_available_heads() {
    let config = CardConfig { descriptor_prefetch: 8, ..net() };
    let (mut rig, mut ring) = transmitter(config, BASE_FEATURES);
    for i in 0..8_u16 {
        ring.describe(&mut rig, i, readable(BUFFER + 0x1000 * u64::from(i), 40));
    }
    ring.offer(&mut rig, &[0, 1, 2, 3, 4, 5, 6, 7]);
    rig.doorbell(1);
    rig.settle();
    let uses = rig.uses(&ring);
    let count = |wanted| uses.iter().filter(|&&u| u == wanted).count();
    assert_eq!((count(Use::AvailEntry), count(Use::Descriptor)), (1, 1));
    assert_eq!(ring.used_idx(&mut rig), 8);
}

/// No read wraps, and none goes past an area (VQ-SPLIT-DEV-01).
#[test]
fn prefetch_stops_at_the_end_of_the_ring_and_of_the_table() {
    let config = CardConfig { descriptor_prefetch: 8, ..net() };
    let (mut rig, mut rings) = Rig::running(config, BASE_FEATURES, 8);
    let mut ring = rings.remove(1);
    for i in 0..8_u16 {
        ring.describe(&mut rig, i, readable(BUFFER, 40));
    }
    for round in 0..5_u16 {
        ring.offer(&mut rig, &[5, 6, 7]);
        rig.doorbell(1);
        rig.settle();
        assert_eq!(ring.used_idx(&mut rig), 3 * (round + 1));
    }
    for (_, tlp) in &rig.log {
        let Tlp::MemRead(read) = tlp else { continue };
        let end = read.address + u64::from(read.len_bytes);
        for (start, len) in [(ring.desc, 128), (ring.avail, 4 + 16)] {
            assert!(read.address < start || read.address > start + len || end <= start + len);
        }
    }
}

/// A descriptor that was prefetched before its head became available is read again: until then it is
/// the driver's to change.
#[test]
fn a_descriptor_prefetched_too_early_is_not_used() {
    let config = CardConfig { descriptor_prefetch: 8, ..net() };
    let (mut rig, mut ring) = transmitter(config, BASE_FEATURES);
    ring.describe(&mut rig, 0, readable(BUFFER, 40));
    ring.describe(&mut rig, 1, readable(HOST + 0x7fff_0000_0000, 40));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    ring.describe(&mut rig, 1, readable(BUFFER + 0x1000, 40));
    ring.offer(&mut rig, &[1]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.card.counters().failed_reads, 0);
    assert_eq!(ring.used_idx(&mut rig), 2);
}

/// PCIe 5.0 §2.2.7: no more reads than page boundaries and Max_Read_Request_Size force.
#[test]
fn a_payload_costs_as_many_reads_as_pages_and_the_read_size_force() {
    let cases = [(0, 512, 1), (0, 513, 2), (0xfff, 2, 2), (0xe00, 1024, 2), (0xf80, 1514, 4)];
    for (offset, len, expected) in cases {
        let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
        ring.describe(&mut rig, 0, readable(BUFFER + offset, len));
        ring.offer(&mut rig, &[0]);
        rig.doorbell(1);
        rig.settle();
        let reads = rig.uses(&ring).into_iter().filter(|&u| u == Use::Read).count();
        assert_eq!(reads, expected, "{len} bytes at {offset:#x}");
    }
}

/// Device Control says how much one read may ask for. PCIe 5.0 §7.5.3.4.
#[test]
fn reads_obey_the_read_request_size_that_software_sets() {
    for (code, expected) in [(0_u16, 12), (2, 3), (5, 1)] {
        let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
        rig.config_write(0x48, &(0x0110 | code << 12).to_le_bytes());
        ring.describe(&mut rig, 0, readable(BUFFER, 1500));
        ring.offer(&mut rig, &[0]);
        rig.doorbell(1);
        rig.settle();
        let reads = rig.uses(&ring).into_iter().filter(|&u| u == Use::Read).count();
        assert_eq!(reads, expected);
    }
}

/// Tags are unique while in use, and the number of unanswered reads is bounded card-wide.
#[test]
fn unanswered_reads_are_bounded_and_their_tags_are_unique() {
    for limit in [1_u16, 4, 16, 64] {
        let config = CardConfig { reads_in_flight: limit, contexts: 32, ..net() };
        let (mut rig, mut ring) = transmitter(config, BASE_FEATURES);
        rig.config_write(0x48, &0x0110_u16.to_le_bytes());
        for i in 0..16_u16 {
            ring.describe(&mut rig, i, readable(BUFFER + 0x1000 * u64::from(i), 1500));
        }
        rig.silent = true;
        ring.offer(&mut rig, &(0..16).collect::<Vec<_>>());
        rig.silent = false;
        rig.doorbell(1);
        rig.settle();
        assert_eq!(ring.used_idx(&mut rig), 16);
        let delay = rig.delay;
        let mut open: Vec<(pcie_sim::time::Instant, u16)> = Vec::new();
        for (at, tlp) in &rig.log {
            let Tlp::MemRead(read) = tlp else { continue };
            open.retain(|(sent, _)| *sent + delay > *at);
            assert!(open.iter().all(|(_, tag)| *tag != read.tag.0));
            open.push((*at, read.tag.0));
            assert!(open.len() <= usize::from(limit));
        }
    }
}

/// With rings in the card's own memory nothing of them is on the link, payload and message apart.
#[test]
fn rings_on_the_card_cost_no_tlp() {
    let mut rig = Rig::placed(net());
    let mut rings = [Ring::in_host(0, 64), Ring::in_host(1, 64)];
    rings[1].desc = BAR2 + 0x1000;
    rings[1].avail = BAR2 + 0x2000;
    rings[1].used = BAR2 + 0x3000;
    rig.start(BASE_FEATURES, &rings);
    let [_, mut ring] = rings;
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.uses(&ring), [Use::Read, Use::Message]);
    assert_eq!(ring.used_idx(&mut rig), 1);
}

/// `hybrid`: what the driver writes is on the card, what the card writes is in host memory.
#[test]
fn hybrid_rings_cost_no_ring_read() {
    let mut rig = Rig::placed(net());
    let mut rings = [Ring::in_host(0, 64), Ring::in_host(1, 64)];
    rings[1].desc = BAR2 + 0x1000;
    rings[1].avail = BAR2 + 0x2000;
    rig.start(BASE_FEATURES, &rings);
    let [_, mut ring] = rings;
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.uses(&ring), [Use::Read, Use::UsedElement, Use::UsedIdx, Use::Message]);
}

/// A buffer in the card's memory is local as well.
#[test]
fn buffers_on_the_card_cost_no_tlp() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    ring.describe(&mut rig, 0, then(readable(BAR2 + 0x4000, 60), 1));
    ring.describe(&mut rig, 1, readable(BAR2 + 0x5000, 300));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert!(!rig.uses(&ring).contains(&Use::Read));
    assert_eq!(ring.used_idx(&mut rig), 1);
    assert_eq!(rig.card.counters().packets_dropped_bad, 0);
}

/// The fetch engine does not wait for payloads: later descriptors are read while earlier data come.
#[test]
fn fetching_goes_on_while_payloads_are_read() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    for i in 0..2_u16 {
        ring.describe(&mut rig, i, readable(BUFFER + 0x1000 * u64::from(i), 76));
    }
    ring.offer(&mut rig, &[0, 1]);
    rig.doorbell(1);
    rig.settle();
    let uses = rig.uses(&ring);
    let second_entry = uses.iter().rposition(|&u| u == Use::AvailEntry).expect("two entries");
    let first_payload = uses.iter().position(|&u| u == Use::Read).expect("a payload");
    assert!(rig.log[second_entry].0 < rig.log[first_payload].0 + rig.delay);
}
