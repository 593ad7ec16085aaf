//! What one direct device-readable buffer of one descriptor costs: a packet with its header in front.
//! The card was idle before, fetches one descriptor at a time, and the ring is split.

use testbench::analyzer::Purpose::{
    self, AvailIdx, Descriptor, EventSuppression, MsiX, Payload, RingEntry, UsedElement, UsedIdx,
};

use crate::rig::{self, CARD, Card, cell, cell_with, ring, shape};

const READ: bool = false;
const WRITE: bool = true;
const PLATFORMS: [&str; 2] = ["x86-noiommu", "x86-vtd"];

fn rings_in_host_memory(card: Card) {
    for platform in PLATFORMS {
        let mut rig = rig::net(&cell(platform, "net", "host", "direct", false), &card);
        for _ in 0..3 {
            rig.send(64, 0);
            assert_eq!(
                shape(&rig.dma()),
                [
                    (READ, AvailIdx),
                    (READ, RingEntry),
                    (READ, Descriptor),
                    (READ, Payload),
                    (WRITE, UsedElement),
                    (WRITE, UsedIdx),
                    (READ, EventSuppression),
                    (WRITE, MsiX),
                ],
            );
            let trips = rig.trips();
            let purposes: Vec<Purpose> = trips.iter().map(|trip| trip.purpose).collect();
            assert_eq!(purposes, [AvailIdx, RingEntry, Descriptor, Payload, EventSuppression]);
            for pair in trips.windows(2) {
                assert!(pair[1].departed > pair[0].arrived, "{pair:?}");
            }
        }
        rig.assert_clean();
    }
}

/// Virtio 1.4 §2.7: available index, ring entry, descriptor, payload, each known by the one before; used
/// element, used index, `flags`, interrupt.
#[test]
fn a_buffer_in_host_rings_costs_three_ring_reads_two_ring_writes_one_flags_read_one_interrupt() {
    rings_in_host_memory(CARD);
}

fn event_index(card: Card) {
    for platform in PLATFORMS {
        let mut rig = rig::net(&cell(platform, "net", "host", "direct", true), &card);
        for _ in 0..3 {
            rig.send(64, 0);
            let dma = rig.dma();
            let queue: Vec<_> = shape(&dma);
            // What a card without the event index does, in the same order...
            let (armed, rest): (Vec<_>, Vec<_>) =
                queue.iter().enumerate().partition(|(nth, dma)| match dma {
                    (WRITE, EventSuppression) => true,
                    (READ, AvailIdx) => *nth != 0,
                    _ => false,
                });
            let rest: Vec<_> = rest.into_iter().map(|(_, dma)| *dma).collect();
            assert_eq!(
                rest,
                [
                    (READ, AvailIdx),
                    (READ, RingEntry),
                    (READ, Descriptor),
                    (READ, Payload),
                    (WRITE, UsedElement),
                    (WRITE, UsedIdx),
                    (READ, EventSuppression),
                    (WRITE, MsiX),
                ],
            );
            // ... and before it rests: where the next doorbell is wanted, and one more look whether one
            // was left out meanwhile.
            let armed: Vec<_> = armed.into_iter().map(|(_, dma)| *dma).collect();
            assert_eq!(armed, [(WRITE, EventSuppression), (READ, AvailIdx)]);
        }
        rig.assert_clean();
    }
}

/// Virtio 1.4 §2.7.10: `used_event` is read in place of `flags`; a card that goes to sleep writes
/// `avail_event` and must look at the index once more.
#[test]
fn the_event_index_costs_one_write_and_one_read_more_each_time_the_card_goes_to_rest() {
    event_index(CARD);
}

fn hybrid(card: Card) {
    for platform in PLATFORMS {
        for event_idx in [false, true] {
            let mut rig = rig::net(&cell(platform, "net", "hybrid", "direct", event_idx), &card);
            for _ in 0..3 {
                rig.send(64, 0);
                let dma = rig.dma();
                assert_eq!(ring(&dma, READ), 0, "{dma:?}");
                let mut expected =
                    vec![(READ, Payload), (WRITE, UsedElement), (WRITE, UsedIdx), (WRITE, MsiX)];
                if event_idx {
                    // `avail_event` lies in the device area, and that in host memory.
                    expected.push((WRITE, EventSuppression));
                }
                let mut shape = shape(&dma);
                shape.sort_unstable();
                expected.sort_unstable();
                assert_eq!(shape, expected);
            }
            rig.assert_clean();
        }
    }
}

/// PLATFORMS.md, "Where rings and buffers live": descriptors and driver area on the card.
#[test]
fn hybrid_rings_cost_no_ring_read_over_the_link() {
    hybrid(CARD);
}

/// Of the CPU's reads: the doorbell's suppression word, looks at the used index of either queue until one
/// shows the buffer, its element, and a last look at either queue.
fn on_the_card(card: Card) {
    for (platform, event_idx) in PLATFORMS.iter().flat_map(|p| [(p, false), (p, true)]) {
        for completion in ["interrupt", "poll"] {
            let mode = format!("[driver]\ncompletion = \"{completion}\"\n");
            let config = cell_with(platform, "net", "card", "direct", event_idx, &mode);
            let mut rig = rig::net(&config, &card);
            for _ in 0..3 {
                rig.send(64, 0);
                let mut shape = shape(&rig.dma());
                // Whether the driver still waits for its interrupt by then is a matter of time.
                shape.retain(|dma| *dma != (WRITE, MsiX));
                assert_eq!(shape, [(READ, Payload)]);
                let reads = rig.mmio_reads();
                assert_eq!(rig.counts().mmio_reads, reads.len() as u64);
                let used_idx = |queue| rig.used_idx_at(queue);
                let (_wish, looks) = reads.split_first().expect("the card was asked");
                let element = looks.iter().position(|read| read.1 == 8).expect("it was taken");
                let (before, after) = looks.split_at(element);
                assert_eq!(before.last(), Some(&(used_idx(1), 4)), "the look that showed it");
                assert!(before.iter().all(|read| [used_idx(0), used_idx(1)].contains(&read.0)));
                assert_eq!(after[1..], [(used_idx(1), 4), (used_idx(0), 4)]);
            }
            rig.assert_clean();
        }
    }
}

/// PLATFORMS.md, "Where rings and buffers live": all three areas on the card.
#[test]
fn rings_on_the_card_cost_no_ring_access_over_the_link_and_the_cpus_reads_are_counted() {
    on_the_card(CARD);
}
