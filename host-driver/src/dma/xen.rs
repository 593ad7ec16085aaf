//! The xen back end: what the guest calls physical is not what the bus sees.
//!
//! ```text
//!   pseudo-physical page ──p2m──▶ machine frame        neighbours here are not neighbours there
//! ```
//!
//! A buffer within one page, or in pages whose machine frames happen to follow each other, is handed over
//! as it lies. Any other is bounced through a pool whose segments the hypervisor made contiguous.
//! Coherent memory is exchanged for contiguous frames, and stays so when it is given back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::{Host, Hypercall};

use super::costs::BackEndCosts;
use super::slots::{SEGMENT_BYTES, SlotPool};
use super::{Coherent, CpuView, DmaApi, DmaError, MapRequest, Mapping, OpsCounts, Place, zero};
use crate::pages::{PAGE_BYTES, Pages};

/// How the guest's pool is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XenConfig {
    /// Bytes of the bounce pool, rounded up to whole segments of 256 KiB.
    pub bytes: u64,
    /// The pool's machine frames lie below 2 to this power.
    pub address_bits: u32,
    /// What it costs the CPU.
    pub costs: BackEndCosts,
}

impl Default for XenConfig {
    /// Low enough for any card.
    fn default() -> Self {
        Self { bytes: 4 << 20, address_bits: 32, costs: BackEndCosts::default() }
    }
}

#[derive(Debug)]
struct Guest {
    slots: SlotPool,
    start: PhysAddr,
    costs: BackEndCosts,
    /// Machine frames asked for so far.
    frames: BTreeMap<u64, u64>,
    hypercalls: u64,
}

/// A handle to what the guest knows of its machine frames, and to its pool; clones share it.
#[derive(Debug, Clone)]
pub struct XenGuest(Rc<RefCell<Guest>>);

impl XenGuest {
    /// Makes the pool.
    pub fn new(host: &mut dyn Host, pages: &Pages, config: XenConfig) -> Result<Self, DmaError> {
        let bytes = config.bytes.max(1).next_multiple_of(SEGMENT_BYTES);
        let start = pages.alloc(bytes, SEGMENT_BYTES)?;
        let mut guest = Guest {
            slots: SlotPool::new(start, Vec::new(), PAGE_BYTES - 1, config.costs),
            start,
            costs: config.costs,
            frames: BTreeMap::new(),
            hypercalls: 0,
        };
        let mut segments = Vec::new();
        for nth in 0..bytes / SEGMENT_BYTES {
            let segment = start + nth * SEGMENT_BYTES;
            match guest.exchange(host, segment, SEGMENT_BYTES, config.address_bits) {
                Ok(bus) => segments.push(bus),
                Err(error) => {
                    pages.free(start, bytes)?;
                    return Err(error);
                }
            }
        }
        // The lowest bits stay as they are, so that a page stays a page.
        guest.slots = SlotPool::new(start, segments, PAGE_BYTES - 1, config.costs);
        Ok(Self(Rc::new(RefCell::new(guest))))
    }

    /// Gives the pool's memory back.
    pub fn release(self, pages: &Pages) -> Result<(), DmaError> {
        let guest = self.0.borrow();
        Ok(pages.free(guest.start, guest.slots.bytes())?)
    }

    /// Where the pool lies, in the guest's addresses.
    #[must_use]
    pub fn range(&self) -> Range<PhysAddr> {
        let guest = self.0.borrow();
        guest.start..guest.start + guest.slots.bytes()
    }

    /// Slots of 2 KiB that nobody holds, and all slots.
    #[must_use]
    pub fn slots(&self) -> (u64, u64) {
        let guest = self.0.borrow();
        (guest.slots.free_slots(), guest.slots.slots())
    }
}

impl Guest {
    /// The machine address behind `address`.
    fn machine(&mut self, host: &mut dyn Host, address: PhysAddr) -> Result<BusAddr, DmaError> {
        let (pfn, offset) = (address.get() / PAGE_BYTES, address.get() % PAGE_BYTES);
        host.spend(self.costs.frame_lookup);
        let frame = match self.frames.get(&pfn) {
            Some(&frame) => frame,
            None => {
                self.hypercalls += 1;
                let frame = host.hypercall(Hypercall::MachineFrame { pfn })?;
                self.frames.insert(pfn, frame);
                frame
            }
        };
        Ok(BusAddr(frame.wrapping_mul(PAGE_BYTES).wrapping_add(offset)))
    }

    /// The machine address of a buffer, when the machine has it in one piece.
    fn contiguous(
        &mut self,
        host: &mut dyn Host,
        buffer: PhysAddr,
        bytes: u64,
    ) -> Result<Option<BusAddr>, DmaError> {
        let start = self.machine(host, buffer)?;
        let first_page = buffer.get() / PAGE_BYTES;
        let last_page = (buffer.get() + bytes - 1) / PAGE_BYTES;
        for page in first_page + 1..=last_page {
            let boundary = PhysAddr(page * PAGE_BYTES);
            let here = boundary.get() - buffer.get();
            if self.machine(host, boundary)? != start + here {
                return Ok(None);
            }
        }
        Ok(Some(start))
    }

    /// Makes whole pages contiguous for the machine.
    fn exchange(
        &mut self,
        host: &mut dyn Host,
        start: PhysAddr,
        bytes: u64,
        address_bits: u32,
    ) -> Result<BusAddr, DmaError> {
        let (pfn, frames) = (start.get() / PAGE_BYTES, bytes / PAGE_BYTES);
        self.hypercalls += 1;
        let first = host.hypercall(Hypercall::ExchangeContiguous { pfn, frames, address_bits })?;
        for nth in 0..frames {
            self.frames.insert(pfn + nth, first + nth);
        }
        Ok(BusAddr(first.wrapping_mul(PAGE_BYTES)))
    }
}

/// One device's ops.
#[derive(Debug)]
pub struct Xen {
    guest: XenGuest,
    pages: Pages,
    mask: u64,
    bounced_bytes: u64,
    hypercalls: u64,
}

impl Xen {
    /// Ops for a device whose DMA mask is `mask`.
    #[must_use]
    pub fn new(guest: &XenGuest, pages: Pages, mask: u64) -> Self {
        Self { guest: guest.clone(), pages, mask, bounced_bytes: 0, hypercalls: 0 }
    }

    fn reachable(&self, address: BusAddr, bytes: u64) -> Result<BusAddr, DmaError> {
        match address.get().checked_add(bytes - 1) {
            Some(last) if last <= self.mask => Ok(address),
            _ => Err(DmaError::BeyondMask { address, bytes, mask: self.mask }),
        }
    }

    /// Works with the guest, and counts what this device had copied and asked.
    fn with_guest<T>(&mut self, work: impl FnOnce(&mut Guest) -> T) -> T {
        let guest = &mut *self.guest.0.borrow_mut();
        let before = (guest.slots.bounced_bytes(), guest.hypercalls);
        let result = work(guest);
        self.bounced_bytes += guest.slots.bounced_bytes() - before.0;
        self.hypercalls += guest.hypercalls - before.1;
        result
    }

    fn in_pool(&self, bus: BusAddr) -> bool {
        self.guest.0.borrow().slots.contains(bus)
    }
}

impl DmaApi for Xen {
    fn name(&self) -> &'static str {
        "xen"
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        let (buffer, bytes) = (request.buffer, request.len_bytes);
        let found = self.with_guest(|guest| guest.contiguous(host, buffer, bytes))?;
        if let Some(bus) = found
            && self.reachable(bus, bytes).is_ok()
        {
            return Ok(Mapping::new(bus, request));
        }
        let mapping = self.with_guest(|guest| guest.slots.map(host, request))?;
        match self.reachable(mapping.bus(), bytes) {
            Ok(_) => Ok(mapping),
            Err(error) => {
                self.with_guest(|guest| guest.slots.unmap(host, &mapping))?;
                Err(error)
            }
        }
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        if !self.in_pool(mapping.bus()) {
            return Ok(());
        }
        self.with_guest(|guest| guest.slots.unmap(host, &mapping))
    }

    fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.with_guest(|guest| guest.slots.sync(host, mapping, part, true));
    }

    fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.with_guest(|guest| guest.slots.sync(host, mapping, part, false));
    }

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        _place: Place,
    ) -> Result<Coherent, DmaError> {
        let whole = len_bytes.max(1).next_multiple_of(PAGE_BYTES);
        let start = self.pages.alloc(len_bytes, 1)?;
        let address_bits = 64 - self.mask.leading_zeros();
        let exchanged = self
            .with_guest(|guest| guest.exchange(host, start, whole, address_bits))
            .and_then(|bus| self.reachable(bus, whole));
        match exchanged {
            Ok(bus) => {
                zero(host, start, len_bytes);
                Ok(Coherent { cpu: CpuView::Ram(start), bus, len_bytes })
            }
            Err(error) => {
                self.pages.free(start, len_bytes)?;
                Err(error)
            }
        }
    }

    fn free_coherent(&mut self, _host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        let CpuView::Ram(start) = memory.cpu else {
            return Err(DmaError::NotMapped { address: memory.bus, bytes: memory.len_bytes });
        };
        Ok(self.pages.free(start, memory.len_bytes)?)
    }

    fn counts(&self) -> OpsCounts {
        OpsCounts {
            bounced_bytes: self.bounced_bytes,
            hypercalls: self.hypercalls,
            ..OpsCounts::default()
        }
    }

    fn max_mapping_bytes(&self) -> u64 {
        self.guest.0.borrow().slots.max_mapping_bytes()
    }

    fn close(&mut self, _host: &mut dyn Host) -> Result<(), DmaError> {
        Ok(())
    }
}
