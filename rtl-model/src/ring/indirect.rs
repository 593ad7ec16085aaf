//! Indirect tables: one read brings the whole table, then the chain is walked on the card.
//! Virtio 1.4, "Indirect Descriptors".

use pcie_sim::spec::virtq::{DESC_BYTES, DESC_F_INDIRECT, DESC_F_NEXT, MAX_SIZE, SplitDesc};
use pcie_sim::time::Instant;

use super::{Queue, RingFault};
use crate::dma::Dma;

/// A table holds whole descriptors, one to as many as the largest ring.
///
/// Drivers are known to use tables longer than the ring, so the ring's size is no limit here although
/// VQ-INDIR-DRV-03 makes it one for them.
pub(super) fn check_length(len: u32, head: u16) -> Result<(), RingFault> {
    let entry = DESC_BYTES as u32;
    let fits = len != 0 && len.is_multiple_of(entry) && len / entry <= u32::from(MAX_SIZE);
    if fits { Ok(()) } else { Err(RingFault::TableLength { head, len }) }
}

impl Queue {
    /// The table is on the card: walks its chain.
    pub(super) fn take_table(&mut self, now: Instant, dma: &mut Dma) -> Result<(), RingFault> {
        let size = self.fetch.inbox.bytes.len() / DESC_BYTES;
        let head = dma.requests[self.fetch.request].head;
        let mut index = 0_u16;
        for walked in 1..=size as u32 {
            let desc = self.table_entry(index, size)?;
            if desc.flags & DESC_F_INDIRECT != 0 {
                return Err(RingFault::MisplacedIndirect { head });
            }
            self.add_segment(desc, dma)?;
            if desc.flags & DESC_F_NEXT == 0 {
                let row = dma.timing.pipeline.map_or(0, |timing| timing.row);
                self.chain_ends(now, walked * row, dma);
                return Ok(());
            }
            index = desc.next;
        }
        Err(RingFault::Loop { head })
    }

    fn table_entry(&self, index: u16, size: usize) -> Result<SplitDesc, RingFault> {
        let table = self.fetch.inbox.bytes.as_chunks::<DESC_BYTES>().0;
        let entry = table.get(usize::from(index)).map(SplitDesc::from_bytes);
        entry.ok_or(RingFault::NoSuchDescriptor { index, size: size as u32 })
    }
}
