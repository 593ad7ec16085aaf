//! What an IOMMU takes time for: a decorator over it, put there only when somebody looks.

use std::cell::RefCell;
use std::rc::Rc;

use pcie_sim::address::{Bdf, BusAddr, PhysAddr};
use pcie_sim::host::HypercallError;
use pcie_sim::iommu::{Blocked, DmaKind, Iommu, IotlbCounts, TableMemory, Translated};
use pcie_sim::time::Instant;

/// A translation that was not found ready, or was refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    pub(super) begins: Instant,
    pub(super) ends: Instant,
    pub(super) requester: Bdf,
    pub(super) address: BusAddr,
    pub(super) write: bool,
    /// The reason by which it was refused.
    pub(super) blocked: Option<u8>,
}

/// Walks that nobody has fetched yet; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Walks(Rc<RefCell<Vec<Walk>>>);

impl Walks {
    pub(super) fn take(&self) -> Vec<Walk> {
        std::mem::take(&mut self.0.borrow_mut())
    }

    /// `iommu`, watched.
    pub(super) fn watching(&self, iommu: Box<dyn Iommu>) -> Box<dyn Iommu> {
        Box::new(Watched { iommu, walks: self.clone() })
    }
}

struct Watched {
    iommu: Box<dyn Iommu>,
    walks: Walks,
}

impl Iommu for Watched {
    fn translate(
        &mut self,
        now: Instant,
        memory: &mut dyn TableMemory,
        requester: Bdf,
        address: BusAddr,
        len_bytes: u32,
        kind: DmaKind,
    ) -> Result<Translated, Blocked> {
        let before = self.iommu.counts().misses;
        let result = self.iommu.translate(now, memory, requester, address, len_bytes, kind);
        let (took, blocked) = match &result {
            Ok(translated) => (translated.took, None),
            Err(blocked) => (blocked.took, Some(blocked.reason)),
        };
        if blocked.is_some() || self.iommu.counts().misses != before {
            let write = kind == DmaKind::Write;
            let ends = now + took;
            let walk = Walk { begins: now, ends, requester, address, write, blocked };
            self.walks.0.borrow_mut().push(walk);
        }
        result
    }

    fn registers(&self) -> (PhysAddr, u64) {
        self.iommu.registers()
    }

    fn register_read(&mut self, now: Instant, offset: u64, len_bytes: usize) -> u64 {
        self.iommu.register_read(now, offset, len_bytes)
    }

    fn register_write(
        &mut self,
        now: Instant,
        memory: &mut dyn TableMemory,
        offset: u64,
        len_bytes: usize,
        value: u64,
    ) {
        self.iommu.register_write(now, memory, offset, len_bytes, value);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.iommu.next_wake()
    }

    fn advance(&mut self, now: Instant, memory: &mut dyn TableMemory) -> Option<(u64, u32)> {
        self.iommu.advance(now, memory)
    }

    fn counts(&self) -> IotlbCounts {
        self.iommu.counts()
    }

    fn explain(&self, reason: u8) -> &'static str {
        self.iommu.explain(reason)
    }

    fn is_translating(&self) -> bool {
        self.iommu.is_translating()
    }

    fn mapped_pages(&self, liobn: u32) -> u64 {
        self.iommu.mapped_pages(liobn)
    }

    fn put_tces(
        &mut self,
        memory: &mut dyn TableMemory,
        liobn: u32,
        ioba: u64,
        tces: &[u64],
    ) -> Result<(), HypercallError> {
        self.iommu.put_tces(memory, liobn, ioba, tces)
    }

    fn frozen(&self) -> Option<bool> {
        self.iommu.frozen()
    }

    fn thaw(&mut self) -> bool {
        self.iommu.thaw()
    }
}
