//! What the card writes when a request is done, and when it interrupts.

use pcie_sim::spec::features;
use pcie_sim::spec::virtq::{self, need_event};
use pcie_sim::tlp::{Attributes, MemRead, Tag, Tlp};
use proptest::prelude::*;
use rtl_model::CardConfig;

use crate::fetch::{BUFFER, net, transmitter};
use crate::rig::{BAR0, BASE_FEATURES, HOST, ROOT, Rig, Ring, Use, readable};

const EVENT: u64 = BASE_FEATURES | features::EVENT_IDX;

fn send(rig: &mut Rig, ring: &mut Ring, count: u16) {
    let heads: Vec<u16> = (0..count).collect();
    for &head in &heads {
        ring.describe(rig, head, readable(BUFFER + 0x1000 * u64::from(head % 32), 76));
    }
    ring.offer(rig, &heads);
    rig.doorbell(1);
    rig.settle();
}

fn count(rig: &Rig, ring: &Ring, wanted: Use) -> usize {
    rig.uses(ring).into_iter().filter(|&u| u == wanted).count()
}

/// VQ-USED-DEV-01, PCI-UBN-DEV-02: on the link, whatever the load.
#[test]
fn elements_precede_their_index_and_the_index_its_message() {
    for batch in [1, 4] {
        let config = CardConfig { completion_batch: batch, ..net() };
        let (mut rig, mut ring) = transmitter(config, BASE_FEATURES);
        send(&mut rig, &mut ring, 32);
        let (mut elements, mut published) = (0_u16, 0);
        for (_, tlp) in &rig.log {
            let Tlp::MemWrite(write) = tlp else { continue };
            match ring.purpose(tlp) {
                Some(Use::UsedElement) => elements += (write.data.len() / 8) as u16,
                Some(Use::UsedIdx) => {
                    let idx = u16::from_le_bytes([write.data[0], write.data[1]]);
                    assert!(idx > published && idx <= elements);
                    published = idx;
                }
                _ => {}
            }
        }
        assert_eq!((elements, published), (32, 32));
        let last = rig.uses(&ring).pop();
        assert_eq!(last, Some(Use::Message), "the last word is the interrupt");
    }
}

/// Used elements name the heads in the order of the ring (VQ-USED-DEV-04).
#[test]
fn every_head_comes_back_once_and_in_order() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    send(&mut rig, &mut ring, 20);
    for slot in 0..20 {
        assert_eq!(ring.used_elem(&mut rig, slot), (slot.into(), 0));
    }
}

/// A batch is one write of contiguous elements and one of the index.
#[test]
fn batching_saves_writes_and_loses_nothing() {
    let mut writes = Vec::new();
    for batch in [1, 8] {
        let config =
            CardConfig { completion_batch: batch, descriptor_prefetch: 32, contexts: 32, ..net() };
        let (mut rig, mut ring) = transmitter(config, BASE_FEATURES);
        send(&mut rig, &mut ring, 32);
        assert_eq!(ring.used_idx(&mut rig), 32);
        assert_eq!(count(&rig, &ring, Use::UsedElement), count(&rig, &ring, Use::UsedIdx));
        writes.push(count(&rig, &ring, Use::UsedIdx));
    }
    assert_eq!(writes, [32, 4]);
}

/// Fewer contexts than a batch: the batch is flushed rather than waited for.
#[test]
fn a_batch_larger_than_the_contexts_does_not_stand_still() {
    let config = CardConfig { completion_batch: 64, contexts: 4, ..net() };
    let (mut rig, mut ring) = transmitter(config, BASE_FEATURES);
    send(&mut rig, &mut ring, 30);
    assert_eq!(ring.used_idx(&mut rig), 30);
}

/// One completion alone is not held back for others.
#[test]
fn a_lone_completion_is_flushed_at_once() {
    let config = CardConfig { completion_batch: 64, ..net() };
    let (mut rig, mut ring) = transmitter(config, BASE_FEATURES);
    send(&mut rig, &mut ring, 1);
    assert_eq!(ring.used_idx(&mut rig), 1);
}

/// A batch ends with the ring, and a page ends a TLP.
#[test]
fn no_write_of_elements_wraps_or_crosses_a_page() {
    let config = CardConfig { completion_batch: 8, descriptor_prefetch: 8, contexts: 8, ..net() };
    let mut rig = Rig::placed(config);
    let mut rings = [Ring::in_host(0, 8), Ring::in_host(1, 8)];
    // The third element lies on a page boundary.
    rings[1].used = HOST + 0x3_0000 - 24;
    rig.start(BASE_FEATURES, &rings);
    let [_, mut ring] = rings;
    for round in 1..=8 {
        send(&mut rig, &mut ring, 5);
        assert_eq!(ring.used_idx(&mut rig), 5 * round);
    }
    for (_, tlp) in &rig.log {
        let Tlp::MemWrite(write) = tlp else { continue };
        if ring.purpose(tlp) == Some(Use::UsedElement) {
            assert!(write.address + write.data.len() as u64 <= ring.used + 4 + 64);
        }
    }
}

/// VQ-USUP-DEV-02 and VQ-USUP-DEV-03.
#[test]
fn without_event_index_the_flag_decides() {
    for (flag, messages) in [(0_u16, 1), (virtq::AVAIL_F_NO_INTERRUPT, 0)] {
        let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
        rig.poke(ring.avail, &flag.to_le_bytes());
        // VQ-USUP-DEV-01: used_event is not looked at.
        rig.poke(ring.avail + virtq::used_event(256), &77_u16.to_le_bytes());
        send(&mut rig, &mut ring, 1);
        assert_eq!(count(&rig, &ring, Use::Message), messages);
        assert_eq!(count(&rig, &ring, Use::Suppression), 1);
    }
}

/// Permitted without EVENT_IDX, since VQ-USUP-DEV-02 is a SHOULD NOT.
#[test]
fn always_interrupting_saves_the_read_of_the_suppression_word() {
    let withheld_features = features::EVENT_IDX;
    let config = CardConfig { always_interrupt: true, withheld_features, ..net() };
    let (mut rig, mut ring) = transmitter(config, BASE_FEATURES);
    rig.poke(ring.avail, &virtq::AVAIL_F_NO_INTERRUPT.to_le_bytes());
    send(&mut rig, &mut ring, 3);
    assert_eq!(count(&rig, &ring, Use::Suppression), 0);
    assert_eq!(count(&rig, &ring, Use::Message), count(&rig, &ring, Use::UsedIdx));
}

/// With EVENT_IDX the card asks for its next doorbell and looks once more, behind the completion's back.
#[test]
fn with_event_index_running_dry_costs_one_write_and_one_read() {
    let (mut rig, mut ring) = transmitter(net(), EVENT);
    send(&mut rig, &mut ring, 1);
    let uses = rig.uses(&ring);
    let count = |wanted| uses.iter().filter(|&&u| u == wanted).count();
    assert_eq!(count(Use::AvailIdx), 2);
    assert_eq!(count(Use::AvailEvent), 1);
    assert_eq!(count(Use::Suppression), 1);
    assert_eq!((count(Use::UsedElement), count(Use::UsedIdx), count(Use::Message)), (1, 1, 1));
    let armed = uses.iter().position(|&u| u == Use::AvailEvent).expect("armed");
    let again = uses.iter().rposition(|&u| u == Use::AvailIdx).expect("looked again");
    assert!(armed < again, "the second look comes behind the event");
    let event = rig.peek(ring.used + virtq::avail_event(256), 2);
    assert_eq!(event, [1, 0]);
}

/// What the driver adds between the card's last look and the event is found without a doorbell.
#[test]
fn a_buffer_added_before_the_event_is_armed_is_not_lost() {
    let (mut rig, mut ring) = transmitter(net(), EVENT);
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.describe(&mut rig, 1, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    while !rig.uses(&ring).contains(&Use::Descriptor) {
        assert!(rig.step());
    }
    ring.offer(&mut rig, &[1]);
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 2);
}

/// VQ-USUP-DEV-04 to VQ-USUP-DEV-06.
#[test]
fn with_event_index_only_the_crossing_of_the_event_interrupts() {
    let (mut rig, mut ring) = transmitter(net(), EVENT);
    rig.poke(ring.avail, &virtq::AVAIL_F_NO_INTERRUPT.to_le_bytes());
    rig.poke(ring.avail + virtq::used_event(256), &2_u16.to_le_bytes());
    for (sent, messages) in [(1_u16, 0), (2, 0), (3, 1), (4, 1)] {
        send(&mut rig, &mut ring, 1);
        assert_eq!(ring.used_idx(&mut rig), sent);
        assert_eq!(count(&rig, &ring, Use::Message), messages, "after {sent}");
    }
}

/// Indices run freely over 65,536 (VQ-USED-DEV-05).
#[test]
fn the_event_is_found_across_the_wrap_of_the_index() {
    let config =
        CardConfig { descriptor_prefetch: 256, contexts: 64, completion_batch: 64, ..net() };
    let (mut rig, mut ring) = transmitter(config, EVENT);
    // Far away until the wrap is near.
    rig.poke(ring.avail + virtq::used_event(256), &0x4000_u16.to_le_bytes());
    for _ in 0..255 {
        send(&mut rig, &mut ring, 256);
        rig.log.truncate(0);
    }
    send(&mut rig, &mut ring, 250);
    assert_eq!(ring.used_idx(&mut rig), 65_530);
    for (event, then, messages) in [(65_535_u16, 5, 0), (65_535, 1, 1), (0, 1, 1), (5, 4, 0)] {
        rig.log.clear();
        rig.poke(ring.avail + virtq::used_event(256), &event.to_le_bytes());
        send(&mut rig, &mut ring, then);
        assert_eq!(count(&rig, &ring, Use::Message), messages, "event {event}");
    }
}

/// Posted writes that find no credit wait, and lose neither order nor content.
#[test]
fn without_posted_credits_completions_wait_and_then_come_in_order() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    rig.port.no_posted = true;
    send(&mut rig, &mut ring, 20);
    assert_eq!(ring.used_idx(&mut rig), 0);
    let reads = count(&rig, &ring, Use::Descriptor);
    assert!(reads <= 9, "contexts bound what is taken: {reads}");
    assert_eq!(count(&rig, &ring, Use::Suppression), 0, "it is read behind the index, not before");
    rig.port.no_posted = false;
    rig.doorbell(1);
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 20);
}

/// PCIe 5.0 §2.4.1: what the CPU reads from the card pushes ahead what the card wrote before.
#[test]
fn an_answer_does_not_overtake_the_writes_before_it() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    rig.port.no_posted = true;
    send(&mut rig, &mut ring, 1);
    let (tag, attributes) = (Tag(5), Attributes::default());
    let read = MemRead { requester: ROOT, tag, address: BAR0, len_bytes: 4, attributes };
    rig.deliver(Tlp::MemRead(read));
    rig.settle();
    assert!(rig.answers.is_empty());
    rig.port.no_posted = false;
    rig.doorbell(1);
    while rig.answers.is_empty() {
        assert!(rig.step());
    }
    assert_eq!(ring.used_idx(&mut rig), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any cut of the load into doorbells, any prefetch and batch: every head comes back, in order, and
    /// there is an interrupt exactly when the driver's event is crossed.
    #[test]
    fn every_buffer_is_used_whatever_the_parameters(
        bursts in prop::collection::vec(1_u16..40, 1..6),
        prefetch in 1_u16..12,
        batch in 1_u16..12,
        contexts in 1_u16..12,
        event in 0_u16..200,
    ) {
        let config = CardConfig {
            descriptor_prefetch: prefetch, completion_batch: batch, contexts, ..net()
        };
        let (mut rig, mut ring) = transmitter(config, EVENT);
        rig.poke(ring.avail + virtq::used_event(256), &event.to_le_bytes());
        let mut total = 0;
        for burst in bursts {
            send(&mut rig, &mut ring, burst);
            for i in 0..burst {
                let slot = (total + i) % 256;
                prop_assert_eq!(ring.used_elem(&mut rig, slot), (u32::from(i), 0));
            }
            total += burst;
        }
        prop_assert_eq!(ring.used_idx(&mut rig), total);
        let crossed = need_event(event, total, 0);
        prop_assert_eq!(count(&rig, &ring, Use::Message), usize::from(crossed));
    }
}
