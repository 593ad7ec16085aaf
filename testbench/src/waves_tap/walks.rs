//! What an IOMMU takes time for: a decorator over it, put there only when somebody looks.

use std::cell::RefCell;
use std::rc::Rc;

use pcie_sim::address::{Bdf, BusAddr};
use pcie_sim::iommu::around::Around;
use pcie_sim::iommu::{Blocked, DmaKind, Iommu, TableMemory, Translated};
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

impl Around for Watched {
    type Unit = dyn Iommu;

    fn unit(&self) -> &Self::Unit {
        self.iommu.as_ref()
    }

    fn unit_mut(&mut self) -> &mut Self::Unit {
        self.iommu.as_mut()
    }

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
}
