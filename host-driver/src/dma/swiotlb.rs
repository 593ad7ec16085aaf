//! The swiotlb back end: buffers that the card may not or cannot reach are copied through a pool.
//!
//! ```text
//!   map: buffer ──copy──▶ pool ◀─── card       unmap: pool ──copy──▶ buffer
//! ```
//!
//! Forced, everything goes through the pool, rings too: a secure guest shares nothing else. Not forced,
//! only what lies beyond the card's DMA mask does. The pool belongs to the platform and outlives its
//! devices.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::{Host, Hypercall};

use super::costs::BackEndCosts;
use super::direct::Direct;
use super::slots::{SEGMENT_BYTES, SlotPool};
use super::{Coherent, CpuView, DmaApi, DmaError, MapRequest, Mapping, OpsCounts, Place, zero};
use crate::pages::{PAGE_BYTES, Pages};

/// How a pool is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwiotlbConfig {
    /// Bytes of the pool, rounded up to whole segments of 256 KiB.
    pub bytes: u64,
    /// Lowest address bits that a bounced buffer keeps: a power of two less one, at most a page's.
    pub min_align_mask: u64,
    /// Everything bounces, also what the card could reach.
    pub forced: bool,
    /// The pool is shared with the hypervisor, page by page; a secure guest.
    pub shared: bool,
    /// What it costs the CPU.
    pub costs: BackEndCosts,
}

impl Default for SwiotlbConfig {
    /// 4 MiB are enough for the queues of one card; Linux takes 64 MiB for all.
    fn default() -> Self {
        Self {
            bytes: 4 << 20,
            min_align_mask: 0,
            forced: false,
            shared: false,
            costs: BackEndCosts::default(),
        }
    }
}

#[derive(Debug)]
struct Inner {
    slots: SlotPool,
    start: PhysAddr,
    config: SwiotlbConfig,
    hypercalls: u64,
}

/// A handle to the platform's pool; clones share it.
#[derive(Debug, Clone)]
pub struct SwiotlbPool(Rc<RefCell<Inner>>);

impl SwiotlbPool {
    /// Takes the pool's memory, and shares it with the hypervisor when asked to.
    pub fn new(
        host: &mut dyn Host,
        pages: &Pages,
        config: SwiotlbConfig,
    ) -> Result<Self, DmaError> {
        let bytes = config.bytes.max(1).next_multiple_of(SEGMENT_BYTES);
        let start = pages.alloc(bytes, SEGMENT_BYTES)?;
        let mut hypercalls = 0;
        if config.shared {
            hypercalls = 1;
            let call = Hypercall::SharePages { page: start, pages: bytes / PAGE_BYTES };
            if let Err(error) = host.hypercall(call) {
                pages.free(start, bytes)?;
                return Err(error.into());
            }
        }
        // Sharing may lose the content.
        zero(host, start, bytes);
        let segments = (0..bytes / SEGMENT_BYTES)
            .map(|nth| BusAddr(start.get() + nth * SEGMENT_BYTES))
            .collect();
        let slots = SlotPool::new(start, segments, config.min_align_mask, config.costs);
        Ok(Self(Rc::new(RefCell::new(Inner { slots, start, config, hypercalls }))))
    }

    /// Gives the memory back to `pages`, unshared.
    pub fn release(self, host: &mut dyn Host, pages: &Pages) -> Result<(), DmaError> {
        let inner = self.0.borrow();
        let bytes = inner.slots.bytes();
        if inner.config.shared {
            // What devices have left there is the hypervisor's business no longer.
            let call = Hypercall::UnsharePages { page: inner.start, pages: bytes / PAGE_BYTES };
            host.hypercall(call)?;
        }
        Ok(pages.free(inner.start, bytes)?)
    }

    /// Whether everything bounces.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.0.borrow().config.forced
    }

    /// Slots of 2 KiB that nobody holds, and all slots.
    #[must_use]
    pub fn slots(&self) -> (u64, u64) {
        let inner = self.0.borrow();
        (inner.slots.free_slots(), inner.slots.slots())
    }

    /// Where the pool lies.
    #[must_use]
    pub fn range(&self) -> Range<PhysAddr> {
        let inner = self.0.borrow();
        inner.start..inner.start + inner.slots.bytes()
    }
}

/// One device's use of the pool.
#[derive(Debug)]
pub struct Swiotlb {
    pool: SwiotlbPool,
    direct: Direct,
    mask: u64,
    forced: bool,
    bounced_bytes: u64,
}

impl Swiotlb {
    /// Ops for a device whose DMA mask is `mask`. Coherent memory of a device whose buffers are not
    /// forced through the pool comes from `pages`.
    #[must_use]
    pub fn new(pool: &SwiotlbPool, pages: Pages, mask: u64) -> Self {
        let forced = pool.is_forced();
        Self {
            pool: pool.clone(),
            direct: Direct::new(pages, mask),
            mask,
            forced,
            bounced_bytes: 0,
        }
    }

    fn reaches(&self, bus: BusAddr, bytes: u64) -> Result<(), DmaError> {
        match bus.get().checked_add(bytes - 1) {
            Some(last) if last <= self.mask => Ok(()),
            _ => Err(DmaError::BeyondMask { address: bus, bytes, mask: self.mask }),
        }
    }

    /// Works on the slots, and counts what this device had copied.
    fn with_slots<T>(&mut self, work: impl FnOnce(&mut SlotPool) -> T) -> T {
        let slots = &mut self.pool.0.borrow_mut().slots;
        let before = slots.bounced_bytes();
        let result = work(slots);
        self.bounced_bytes += slots.bounced_bytes() - before;
        result
    }

    fn in_pool(&self, bus: BusAddr) -> bool {
        self.pool.0.borrow().slots.contains(bus)
    }
}

impl DmaApi for Swiotlb {
    fn name(&self) -> &'static str {
        "swiotlb"
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        if !self.forced
            && let Ok(mapping) = self.direct.map(host, request)
        {
            return Ok(mapping);
        }
        let mapping = self.with_slots(|slots| slots.map(host, request))?;
        match self.reaches(mapping.bus(), request.len_bytes) {
            Ok(()) => Ok(mapping),
            Err(error) => {
                self.with_slots(|slots| slots.unmap(host, &mapping))?;
                Err(error)
            }
        }
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        if !self.in_pool(mapping.bus()) {
            return self.direct.unmap(host, mapping);
        }
        self.with_slots(|slots| slots.unmap(host, &mapping))
    }

    fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.with_slots(|slots| slots.sync(host, mapping, part, true));
    }

    fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.with_slots(|slots| slots.sync(host, mapping, part, false));
    }

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        if !self.forced {
            return self.direct.alloc_coherent(host, len_bytes, place);
        }
        let (start, bus) = self.with_slots(|slots| slots.alloc(len_bytes))?;
        if let Err(error) = self.reaches(bus, len_bytes.max(1)) {
            self.with_slots(|slots| slots.free(bus, len_bytes))?;
            return Err(error);
        }
        zero(host, start, len_bytes);
        Ok(Coherent { cpu: CpuView::Ram(start), bus, len_bytes })
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        if !self.in_pool(memory.bus) {
            return self.direct.free_coherent(host, memory);
        }
        self.with_slots(|slots| slots.free(memory.bus, memory.len_bytes))
    }

    fn counts(&self) -> OpsCounts {
        let hypercalls = self.pool.0.borrow().hypercalls;
        OpsCounts { bounced_bytes: self.bounced_bytes, hypercalls, ..OpsCounts::default() }
    }

    fn max_mapping_bytes(&self) -> u64 {
        // What the card reaches by itself has no limit, but which buffers those are nobody knows before.
        if self.forced || self.mask != u64::MAX {
            self.pool.0.borrow().slots.max_mapping_bytes()
        } else {
            u64::MAX
        }
    }

    fn close(&mut self, _host: &mut dyn Host) -> Result<(), DmaError> {
        Ok(())
    }
}
