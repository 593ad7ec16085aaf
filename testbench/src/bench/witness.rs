//! The host's side of every DMA address: what the driver had, what it handed over, where that led.
//!
//! ```text
//!   driver ──▶ Dma ──▶ Witnessed ops ──▶ back end        buffer and bus address, from when to when
//!   card ──▶ root port ──▶ Witnessed IOMMU ──▶ RAM        bus address and place in RAM
//! ```
//!
//! Neither the card nor the back end is asked. Kept only where a run is to be judged by it: every address
//! of the run stays in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use host_driver::dma::layer::Layer;
use host_driver::dma::{
    Coherent, CpuView, Direction, DmaApi, DmaError, MapRequest, Mapping, Place,
};
use pcie_sim::address::{Bdf, BusAddr, PhysAddr};
use pcie_sim::host::Host;
use pcie_sim::iommu::around::Around;
use pcie_sim::iommu::{Blocked, DmaKind, Iommu, TableMemory, Translated};
use pcie_sim::time::Instant;

/// One address that the driver handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// What the driver had; for memory of a device, where the CPU reaches it.
    pub had: PhysAddr,
    /// What it handed over.
    pub bus: BusAddr,
    /// Length in bytes.
    pub len_bytes: u64,
    /// Who may do what; both for rings.
    pub direction: Direction,
    /// A ring, not a buffer.
    pub coherent: bool,
    /// It is memory of the card, by a ring or buffer that was put there.
    pub on_card: bool,
    /// From when on.
    pub from: Instant,
    /// Until when; `None` while it is the card's.
    pub until: Option<Instant>,
}

impl Grant {
    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        address.checked_sub(self.bus.get()).is_some_and(|offset| offset < self.len_bytes)
    }

    /// Whether the card may use it at `at`.
    #[must_use]
    pub fn is_live(&self, at: Instant) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// A request of the card as the IOMMU saw it.
type Question = (u64, u32, bool);
/// What became of it.
type Answer = Result<PhysAddr, u8>;

#[derive(Debug, Default)]
struct Seen {
    grants: Vec<Grant>,
    /// Places of live grants, by bus address and length.
    live: BTreeMap<(u64, u64), Vec<usize>>,
    hops: BTreeMap<Question, VecDeque<Answer>>,
}

/// A handle to what was seen; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Witness(Rc<RefCell<Seen>>);

impl Witness {
    /// `ops`, watched.
    #[must_use]
    pub fn ops(&self, ops: Box<dyn DmaApi>) -> Box<dyn DmaApi> {
        Box::new(WitnessedOps { ops, witness: self.clone() })
    }

    /// `iommu`, watched.
    #[must_use]
    pub fn iommu(&self, iommu: Box<dyn Iommu>) -> Box<dyn Iommu> {
        Box::new(WitnessedIommu { iommu, witness: self.clone() })
    }

    /// All that was handed over, in that order.
    #[must_use]
    pub fn grants(&self) -> Vec<Grant> {
        self.0.borrow().grants.clone()
    }

    /// How many are the card's now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.0.borrow().grants.iter().filter(|grant| grant.until.is_none()).count()
    }

    /// What the IOMMU made of the next request like this; `None` when none was asked.
    pub fn take_hop(&self, address: u64, len_bytes: u32, write: bool) -> Option<Answer> {
        self.0.borrow_mut().hops.get_mut(&(address, len_bytes, write))?.pop_front()
    }

    fn open(&self, grant: Grant) {
        let seen = &mut *self.0.borrow_mut();
        let key = (grant.bus.get(), grant.len_bytes);
        seen.live.entry(key).or_default().push(seen.grants.len());
        seen.grants.push(grant);
    }

    fn close(&self, at: Instant, bus: BusAddr, len_bytes: u64) {
        let seen = &mut *self.0.borrow_mut();
        if let Some(nth) = seen.live.get_mut(&(bus.get(), len_bytes)).and_then(Vec::pop) {
            seen.grants[nth].until = Some(at);
        }
    }
}

struct WitnessedOps {
    ops: Box<dyn DmaApi>,
    witness: Witness,
}

impl Layer for WitnessedOps {
    type Ops = dyn DmaApi;

    fn ops(&self) -> &Self::Ops {
        self.ops.as_ref()
    }

    fn ops_mut(&mut self) -> &mut Self::Ops {
        self.ops.as_mut()
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        let mapping = self.ops.map(host, request)?;
        self.witness.open(Grant {
            had: mapping.buffer(),
            bus: mapping.bus(),
            len_bytes: mapping.len_bytes(),
            direction: mapping.direction(),
            coherent: false,
            on_card: false,
            from: host.now(),
            until: None,
        });
        Ok(mapping)
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        self.witness.close(host.now(), mapping.bus(), mapping.len_bytes());
        self.ops.unmap(host, mapping)
    }

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        let memory = self.ops.alloc_coherent(host, len_bytes, place)?;
        let (had, on_card) = match memory.cpu {
            CpuView::Ram(had) => (had, false),
            CpuView::Device(had) => (had, true),
        };
        self.witness.open(Grant {
            had,
            bus: memory.bus,
            len_bytes: memory.len_bytes,
            direction: Direction::Bidirectional,
            coherent: true,
            on_card,
            from: host.now(),
            until: None,
        });
        Ok(memory)
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        self.witness.close(host.now(), memory.bus, memory.len_bytes);
        self.ops.free_coherent(host, memory)
    }
}

struct WitnessedIommu {
    iommu: Box<dyn Iommu>,
    witness: Witness,
}

impl Around for WitnessedIommu {
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
        let result = self.iommu.translate(now, memory, requester, address, len_bytes, kind);
        let question = (address.get(), len_bytes, kind == DmaKind::Write);
        let answer = match &result {
            Ok(translated) => Ok(translated.address),
            Err(blocked) => Err(blocked.reason),
        };
        self.witness.0.borrow_mut().hops.entry(question).or_default().push_back(answer);
        result
    }
}
