//! What an indirect table costs.

use testbench::analyzer::Purpose::{AvailIdx, Descriptor, IndirectTable, Payload, RingEntry};

use host_driver::{BlkOp, Segment};

use crate::rig::{self, CARD, Card, cell, count, shape};

/// Bytes of a descriptor. Virtio 1.4 §2.7.5.
const DESC_BYTES: usize = 16;

fn one_descriptor(card: Card) {
    for rings in ["host", "hybrid", "card"] {
        for event_idx in [false, true] {
            let sent = |layout| {
                let config = cell("x86-noiommu", "net", rings, layout, event_idx);
                let mut rig = rig::net(&config, &card);
                rig.send(64, 0);
                rig.assert_clean();
                shape(&rig.dma())
            };
            let (direct, mut indirect) = (sent("direct"), sent("indirect"));
            let table = indirect.iter().position(|dma| *dma == (false, IndirectTable));
            let table = table.expect("the table is read");
            let before = |what| indirect.iter().position(|dma| *dma == (false, what)) < Some(table);
            assert!((rings != "host" || before(Descriptor)) && !before(Payload), "in between");
            indirect.remove(table);
            let sorted = |mut shape: Vec<_>| {
                // Where rings are on the card, whether an interrupt is still wanted is a matter of time.
                shape.retain(|dma| rings != "card" || *dma != (true, rig::MSIX));
                shape.sort_unstable();
                shape
            };
            assert_eq!(sorted(indirect), sorted(direct), "{rings} {event_idx}");
        }
    }
}

/// Virtio 1.4 §2.7.5.3: the ring's descriptor leads to a table elsewhere.
#[test]
fn an_indirect_buffer_costs_one_read_more_than_a_direct_one_wherever_the_rings_are() {
    one_descriptor(CARD);
}

/// Header, `segments` of data, status: as many descriptors in the table.
fn many_descriptors(card: Card) {
    const MRRS: usize = 512;
    let mut rig = rig::blk(&cell("x86-noiommu", "blk", "host", "indirect", false), &card);
    let page = rig.buffer(&[0x33; 4096]);
    for segments in 1..=60 {
        let list = vec![Segment { address: page, len: 512 }; segments];
        rig.forget();
        assert_eq!(rig.command(BlkOp::Write, 0, &list), 0);
        let dma = rig.dma();
        for purpose in [AvailIdx, RingEntry, Descriptor] {
            assert_eq!(count(&dma, false, purpose), 1, "{segments}: {purpose}");
        }
        let table = (segments + 2) * DESC_BYTES;
        assert_eq!(count(&dma, false, IndirectTable), table.div_ceil(MRRS), "{segments}");
        assert_eq!(count(&dma, false, Payload), 1 + segments, "header and data");
    }
    rig.assert_clean();
}

/// Virtio 1.4 §2.7.5.3; PCIe 5.0 §2.2.7: one request where it fits one.
#[test]
fn a_table_costs_one_read_whatever_the_number_of_its_entries_as_long_as_it_fits_one_request() {
    many_descriptors(CARD);
}

fn chain(card: Card) {
    let mut rig = rig::blk(&cell("x86-noiommu", "blk", "host", "direct", false), &card);
    let page = rig.buffer(&[0x33; 4096]);
    for segments in 1..=20 {
        let list = vec![Segment { address: page, len: 512 }; segments];
        rig.forget();
        assert_eq!(rig.command(BlkOp::Write, 0, &list), 0);
        let dma = rig.dma();
        assert_eq!(count(&dma, false, Descriptor), segments + 2);
        assert_eq!(count(&dma, false, IndirectTable), 0);
    }
    rig.assert_clean();
}

/// Virtio 1.4 §2.7.5: each descriptor names the next.
#[test]
fn a_direct_chain_costs_one_read_for_each_of_its_descriptors_without_prefetch() {
    chain(CARD);
}
