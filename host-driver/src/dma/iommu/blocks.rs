//! Buffers mapped by the 2-MiB page they lie in: who holds which page.
//!
//! A small buffer that alone would need an entry of its own shares one with its neighbours, so that a
//! whole pool of rings and buffers takes a handful of IOTLB entries. The price: while one buffer of a
//! page is mapped, the card can reach all of it, both ways.

use std::collections::BTreeMap;

use pcie_sim::address::{BusAddr, PhysAddr};

/// Bytes of a large page.
pub(super) const BLOCK_BYTES: u64 = 2 << 20;
/// Log2 of the 4-KiB pages of a large page.
pub(super) const BLOCK_ORDER: u32 = 9;

#[derive(Debug, Clone, Copy)]
struct Block {
    bus: BusAddr,
    holders: u64,
}

/// The large pages of one domain.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    by_page: BTreeMap<PhysAddr, Block>,
    page_of: BTreeMap<BusAddr, PhysAddr>,
}

impl Blocks {
    /// The large page that holds the whole buffer, if one does.
    pub(super) fn page_of_buffer(buffer: PhysAddr, bytes: u64) -> Option<PhysAddr> {
        let start = buffer.get() & !(BLOCK_BYTES - 1);
        (buffer.get() + bytes <= start + BLOCK_BYTES).then_some(PhysAddr(start))
    }

    /// Holds a page that is mapped already, and gives its bus address.
    pub(super) fn hold(&mut self, page: PhysAddr) -> Option<BusAddr> {
        let block = self.by_page.get_mut(&page)?;
        block.holders += 1;
        Some(block.bus)
    }

    /// A page was mapped at `bus`, and is held once.
    pub(super) fn insert(&mut self, page: PhysAddr, bus: BusAddr) {
        self.by_page.insert(page, Block { bus, holders: 1 });
        self.page_of.insert(bus, page);
    }

    /// Lets a page go. `None`: `bus` lies in none; else its bus address, when nobody holds it any more.
    pub(super) fn release(&mut self, bus: BusAddr) -> Option<Option<BusAddr>> {
        let start = BusAddr(bus.get() & !(BLOCK_BYTES - 1));
        let page = *self.page_of.get(&start)?;
        let block = self.by_page.get_mut(&page)?;
        block.holders -= 1;
        if block.holders > 0 {
            return Some(None);
        }
        self.by_page.remove(&page);
        self.page_of.remove(&start);
        Some(Some(start))
    }
}
