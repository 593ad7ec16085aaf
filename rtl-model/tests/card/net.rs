//! The network card: what goes out comes back in.

use std::cell::RefCell;
use std::rc::Rc;

use pcie_sim::spec::net::{HDR_BYTES, RECEIVE_QUEUE};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::Tlp;
use proptest::prelude::*;
use rtl_model::{CardConfig, DeviceConfig, FarEnd, NetConfig, Station};

use crate::fetch::{BUFFER, net};
use crate::rig::{BAR2, BASE_FEATURES, HOST, Rig, Ring, Use, readable, then, writable};

const RECEIVED: u64 = HOST + 0x40_0000;

fn packet(len: usize, seed: u8) -> Vec<u8> {
    let payload = (0..len).map(|i| (i as u8).wrapping_mul(7) ^ seed);
    [0xee; HDR_BYTES].into_iter().chain(payload).collect()
}

fn offer_receive(rig: &mut Rig, ring: &mut Ring, count: u16, len: u32) {
    for i in 0..count {
        ring.describe(rig, i, writable(RECEIVED + 0x1000 * u64::from(i), len));
    }
    ring.offer(rig, &(0..count).collect::<Vec<_>>());
    rig.doorbell(RECEIVE_QUEUE);
    rig.settle();
}

fn transmit(rig: &mut Rig, ring: &mut Ring, packets: &[Vec<u8>]) {
    let heads: Vec<u16> = (0..packets.len() as u16).collect();
    for (&head, packet) in heads.iter().zip(packets) {
        let at = BUFFER + 0x1000 * u64::from(head);
        rig.poke(at, packet);
        ring.describe(rig, head, readable(at, packet.len() as u32));
    }
    ring.offer(rig, &heads);
    rig.doorbell(1);
    rig.settle();
}

fn rig(config: NetConfig) -> (Rig, Ring, Ring) {
    let config = CardConfig::new(DeviceConfig::Net(config));
    let (rig, mut rings) = Rig::running(config, BASE_FEATURES, 256);
    let tx = rings.remove(1);
    (rig, rings.remove(0), tx)
}

/// NET-RX: a fresh header with one buffer, then the packet, byte for byte and in order.
#[test]
fn what_is_sent_comes_back_with_a_header_of_its_own() {
    let (mut rig, mut rx, mut tx) = rig(NetConfig::default());
    offer_receive(&mut rig, &mut rx, 8, 1600);
    let packets = [packet(60, 1), packet(1514, 2), packet(100, 3)];
    transmit(&mut rig, &mut tx, &packets);
    assert_eq!(rx.used_idx(&mut rig), 3);
    for (i, sent) in (0..).zip(&packets) {
        assert_eq!(rx.used_elem(&mut rig, i), (i.into(), sent.len() as u32));
        let got = rig.peek(RECEIVED + 0x1000 * u64::from(i), sent.len());
        assert_eq!(got[..10], [0; 10]);
        assert_eq!(got[10..12], [1, 0]);
        assert_eq!(got[12..], sent[12..]);
    }
}

/// A packet whose bytes are at hand sooner does not overtake the one before it.
#[test]
fn packets_leave_in_the_order_of_the_ring() {
    let (mut rig, mut rx, mut tx) = rig(NetConfig::default());
    offer_receive(&mut rig, &mut rx, 4, 1600);
    let (slow, quick) = (packet(1514, 1), packet(60, 2));
    rig.poke(BUFFER, &slow);
    rig.poke(BAR2 + 0x4000, &quick);
    tx.describe(&mut rig, 0, readable(BUFFER, slow.len() as u32));
    tx.describe(&mut rig, 1, readable(BAR2 + 0x4000, quick.len() as u32));
    rig.delay = Span::from_us(20);
    tx.offer(&mut rig, &[0, 1]);
    rig.doorbell(1);
    while !rig.uses(&tx).contains(&Use::Read) {
        assert!(rig.step());
    }
    // The second packet's descriptor is read long before the first packet's bytes are answered.
    rig.hold_payloads = true;
    rig.settle_for(Span::from_us(200));
    assert_eq!(tx.used_idx(&mut rig), 0);
    rig.hold_payloads = false;
    rig.settle();
    assert_eq!(tx.used_idx(&mut rig), 2);
    assert_eq!(rx.used_elem(&mut rig, 0).1, slow.len() as u32);
    assert_eq!(rx.used_elem(&mut rig, 1).1, quick.len() as u32);
}

/// The cable's delay, and its rate when it has one.
#[test]
fn the_cable_takes_its_time() {
    let arrival = |config: NetConfig| {
        let (mut rig, mut rx, mut tx) = rig(config);
        offer_receive(&mut rig, &mut rx, 1, 1600);
        rig.log.clear();
        let start = rig.now;
        transmit(&mut rig, &mut tx, &[packet(1000, 0)]);
        let used = rig.log.iter().find(|(_, tlp)| rx.purpose(tlp) == Some(Use::UsedElement));
        used.expect("received").0.since(start)
    };
    let near = NetConfig { cable_delay: Span::ZERO, ..NetConfig::default() };
    let far = NetConfig { cable_delay: Span::from_us(3), ..near.clone() };
    let slow = NetConfig { cable_gbps: Some(1), ..near.clone() };
    let base = arrival(near);
    assert_eq!(arrival(far), base + Span::from_us(3));
    // 1024 bytes at 8 ns.
    assert_eq!(arrival(slow), base + Span::from_ns(8192));
}

/// Answers each frame with what it is told to: shorter ones, none, or one that is too long.
#[derive(Debug, Default)]
struct Answering {
    seen: Vec<(Instant, Vec<u8>)>,
}

impl FarEnd for Answering {
    fn receive(&mut self, now: Instant, frame: &[u8], answers: &mut Vec<Vec<u8>>) {
        self.seen.push((now, frame.to_vec()));
        for nth in 0..frame[0] {
            answers.push(vec![nth; 100 + usize::from(nth)]);
        }
        answers.push(vec![0xff; 1519]);
    }
}

/// Half the way there, half the way back; the answers in their order, one behind the other.
#[test]
fn a_station_at_the_far_end_gets_the_frames_and_its_answers_come_back() {
    let station = Rc::new(RefCell::new(Answering::default()));
    let (mut rig, mut rx, mut tx) = rig(NetConfig {
        cable_delay: Span::from_us(4),
        cable_gbps: Some(1),
        far_end: Some(Rc::clone(&station) as Station),
        ..NetConfig::default()
    });
    offer_receive(&mut rig, &mut rx, 8, 1600);
    let frames: Vec<Vec<u8>> = [2, 0, 1].map(|count| vec![count; 76]).into();
    let packets: Vec<Vec<u8>> =
        frames.iter().map(|frame| [&[0; HDR_BYTES][..], frame].concat()).collect();
    let start = rig.now;
    transmit(&mut rig, &mut tx, &packets);
    let seen = &station.borrow().seen;
    assert_eq!(seen.iter().map(|(_, frame)| frame.clone()).collect::<Vec<_>>(), frames);
    // 100 bytes and half the way, after the card has fetched it.
    assert!(seen[0].0.since(start) > Span::from_ns(2800));
    // 100 bytes on the cable, at 8 ns.
    assert!(seen[1].0.since(seen[0].0) >= Span::from_ns(800));
    assert_eq!((rx.used_idx(&mut rig), tx.used_idx(&mut rig)), (3, 3));
    for (slot, nth) in [(0, 0), (1, 1), (2, 0)] {
        let bytes = 100 + usize::from(nth);
        assert_eq!(rx.used_elem(&mut rig, slot).1, (HDR_BYTES + bytes) as u32);
        let at = RECEIVED + 0x1000 * u64::from(slot) + HDR_BYTES as u64;
        assert_eq!(rig.peek(at, bytes), vec![nth; bytes]);
    }
    let arrived: Vec<_> = rig
        .log
        .iter()
        .filter(|(_, tlp)| rx.purpose(tlp) == Some(Use::UsedElement))
        .map(|(at, _)| *at)
        .collect();
    assert!(arrived[0].since(seen[0].0) > Span::from_us(2));
    // 125 bytes on the cable, at 8 ns, less the edge of the clock.
    assert!(arrived[1].since(arrived[0]) > Span::from_ns(900));
}

/// Packets wait for buffers, a bounded number of them.
#[test]
fn packets_without_a_buffer_wait_and_the_surplus_is_dropped() {
    let (mut rig, mut rx, mut tx) =
        rig(NetConfig { receive_buffer_packets: 4, ..NetConfig::default() });
    let packets: Vec<_> = (0..10).map(|i| packet(200, i)).collect();
    transmit(&mut rig, &mut tx, &packets);
    assert_eq!(rig.card.counters().packets_dropped_full, 6);
    offer_receive(&mut rig, &mut rx, 8, 1600);
    assert_eq!(rx.used_idx(&mut rig), 4);
    for (i, sent) in (0..4_u64).zip(&packets) {
        assert_eq!(rig.peek(RECEIVED + 0x1000 * i + 12, 200), sent[12..]);
    }
}

/// Without merged buffers a packet has to fit one; the buffer then serves the next packet.
#[test]
fn a_packet_longer_than_the_receive_buffer_is_dropped() {
    let (mut rig, mut rx, mut tx) = rig(NetConfig::default());
    offer_receive(&mut rig, &mut rx, 2, 300);
    transmit(&mut rig, &mut tx, &[packet(1000, 1), packet(100, 2)]);
    assert_eq!(rig.card.counters().packets_dropped_bad, 1);
    assert_eq!(rx.used_idx(&mut rig), 1);
    assert_eq!(rx.used_elem(&mut rig, 0), (0, 112));
}

/// Too short to be a packet, or longer than the MTU allows: the buffer is used, nothing comes back.
#[test]
fn what_is_no_packet_is_not_sent() {
    let (mut rig, mut rx, mut tx) = rig(NetConfig::default());
    offer_receive(&mut rig, &mut rx, 4, 4000);
    let wrong = [vec![0; 12], vec![0; 5], packet(1500 + 19, 0)];
    transmit(&mut rig, &mut tx, &wrong);
    assert_eq!((tx.used_idx(&mut rig), rx.used_idx(&mut rig)), (3, 0));
    assert_eq!(rig.card.counters().packets_dropped_bad, 3);
}

/// VQ-SPLIT-DEV-04, VQ-SPLIT-DEV-05: reading and writing keep to the buffers meant for them.
#[test]
fn transmit_buffers_are_never_written_nor_receive_buffers_read() {
    let (mut rig, mut rx, mut tx) = rig(NetConfig::default());
    offer_receive(&mut rig, &mut rx, 4, 1600);
    transmit(&mut rig, &mut tx, &[packet(900, 1), packet(64, 2)]);
    for (_, tlp) in &rig.log {
        match tlp {
            Tlp::MemRead(read) => assert!(read.address < RECEIVED),
            Tlp::MemWrite(write) => {
                assert!(!(BUFFER..RECEIVED).contains(&write.address));
            }
            _ => {}
        }
    }
}

/// Payload writes keep to Max_Payload_Size.
#[test]
fn writes_obey_the_payload_size_that_software_sets() {
    for (code, parts) in [(0_u16, 12), (1, 6), (2, 3), (3, 2), (4, 1), (5, 1)] {
        let (mut rig, mut rx, mut tx) = rig(NetConfig::default());
        rig.config_write(0x48, &(0x2110 | code << 5).to_le_bytes());
        offer_receive(&mut rig, &mut rx, 1, 1600);
        transmit(&mut rig, &mut tx, &[packet(1514, 1)]);
        let payload = |tlp: &Tlp| matches!(tlp, Tlp::MemWrite(w) if (RECEIVED..).contains(&w.address) && w.address < RECEIVED + 0x1000);
        assert_eq!(rig.log.iter().filter(|(_, tlp)| payload(tlp)).count(), parts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// VQ-SPLIT-DEV-02: however both sides cut their buffers.
    #[test]
    fn the_cut_of_the_buffers_does_not_change_the_packet(
        len in 1_usize..1514,
        sent in prop::collection::vec(0_u32..400, 0..6),
        received in prop::collection::vec(0_u32..700, 0..6),
        offset in 0_u64..4096,
    ) {
        let (mut rig, mut rx, mut tx) = rig(NetConfig::default());
        let data = packet(len, 9);
        let at = BUFFER + offset;
        rig.poke(at, &data);
        chain(&mut rig, &tx, at, data.len() as u32, &sent, readable);
        chain(&mut rig, &rx, RECEIVED + offset, 1600, &received, writable);
        for (ring, queue) in [(&mut rx, 0), (&mut tx, 1)] {
            ring.offer(&mut rig, &[0]);
            rig.doorbell(queue);
        }
        rig.settle();
        prop_assert_eq!(rx.used_elem(&mut rig, 0), (0, data.len() as u32));
        let got = rig.peek(RECEIVED + offset + 12, len);
        prop_assert_eq!(&got[..], &data[12..]);
    }
}

/// One chain from descriptor 0 over `len` contiguous bytes, cut as asked.
pub(crate) fn chain(
    rig: &mut Rig,
    ring: &Ring,
    at: u64,
    len: u32,
    cuts: &[u32],
    buffer: fn(u64, u32) -> pcie_sim::spec::virtq::SplitDesc,
) {
    let (mut done, mut index) = (0, 0);
    for &cut in cuts {
        let part = cut.min(len - done);
        ring.describe(rig, index, then(buffer(at + u64::from(done), part), index + 1));
        done += part;
        index += 1;
    }
    ring.describe(rig, index, buffer(at + u64::from(done), len - done));
}

/// Receive buffers alone cause no write and no interrupt.
#[test]
fn receive_buffers_wait_silently() {
    let (mut rig, mut rings) = Rig::running(net(), BASE_FEATURES, 256);
    let mut rx = rings.remove(0);
    offer_receive(&mut rig, &mut rx, 20, 1600);
    assert!(rig.log.iter().all(|(_, tlp)| matches!(tlp, Tlp::MemRead(_))));
}
