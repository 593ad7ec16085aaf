//! The `iommu` back end: one device's own address space.

use std::ops::Range;

use pcie_sim::address::{Bdf, BusAddr, PhysAddr};
use pcie_sim::host::Host;
use pcie_sim::spec::vtd::{cap, context_entry};
use pcie_sim::time::Span;

use super::blocks::{BLOCK_BYTES, BLOCK_ORDER, Blocks};
use super::flush::FlushQueue;
use super::invalidation::Forget;
use super::iova::IovaSpace;
use super::page_table::SecondStage;
use super::{DmaError, IommuUnit};
use crate::dma::{
    Coherent, CpuView, Direction, DmaApi, MapRequest, Mapping, OpsCounts, Place, mapped_coherent,
};
use crate::pages::{PAGE_BYTES, Pages};

/// The window in which a write is an interrupt, on every x86.
const INTERRUPT_WINDOW: Range<u64> = 0xfee0_0000..0xfef0_0000;
/// Addresses below 4 GiB are used, which any card can reach and a 3-DW header carries.
const SPACE_END: u64 = 1 << 32;

/// What using an IOMMU costs the CPU, besides the memory and register accesses themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IommuCosts {
    /// Finding an address and writing the entries, per map.
    pub map: Span,
    /// Clearing the entries and building the invalidation, per unmap.
    pub unmap: Span,
    /// Carrying a deferred flush out.
    pub flush: Span,
}

impl Default for IommuCosts {
    /// Assumed, not measured: a cached address and one table entry are some hundred cycles; giving
    /// hundreds of addresses back is some more.
    fn default() -> Self {
        Self { map: Span::from_ns(60), unmap: Span::from_ns(60), flush: Span::from_ns(500) }
    }
}

/// A device's address space behind an IOMMU.
#[derive(Debug)]
pub struct Domain {
    unit: IommuUnit,
    requester: Bdf,
    id: u16,
    pages: Pages,
    costs: IommuCosts,
    space: IovaSpace,
    /// `None` once closed.
    tables: Option<SecondStage>,
    /// The hardware caches that an entry is not present, so mapping invalidates as well.
    caching_mode: bool,
    /// Addresses whose invalidation was put off, where that is the mode.
    waiting: Option<FlushQueue>,
    /// Pages of 2 MiB, where they are used.
    blocks: Option<Blocks>,
    flushes: u64,
}

impl Domain {
    /// Puts `requester` into a domain of its own, in which nothing is mapped. `windows` are bus
    /// addresses to keep free, besides those the platform names.
    pub fn new(
        host: &mut dyn Host,
        unit: &IommuUnit,
        pages: &Pages,
        requester: Bdf,
        mask: u64,
        windows: &[Range<u64>],
    ) -> Result<Self, DmaError> {
        let mode = unit.mode();
        let writer = unit.0.borrow().writer;
        let tables = SecondStage::new(host, pages, writer, mode.large_pages)?;
        let (attached, costs, caching_mode, mut reserved) = {
            let mut inner = unit.0.borrow_mut();
            let attached = inner.attach(host, requester, tables.top(), context_entry::TT_TRANSLATE);
            let caching_mode = inner.capabilities & cap::CM != 0;
            (attached, inner.dmar.costs, caching_mode, inner.dmar.reserved.clone())
        };
        let id = match attached {
            Ok(id) => id,
            Err(error) => {
                tables.free()?;
                return Err(error.into());
            }
        };
        reserved.push(INTERRUPT_WINDOW);
        reserved.extend_from_slice(windows);
        let end = SPACE_END.min(mask.saturating_add(1));
        Ok(Self {
            unit: unit.clone(),
            requester,
            id,
            pages: pages.clone(),
            costs,
            space: IovaSpace::new(end, &reserved),
            tables: Some(tables),
            caching_mode,
            waiting: mode.deferred.map(FlushQueue::new),
            blocks: mode.large_pages.then(Blocks::default),
            flushes: 0,
        })
    }

    /// The domain's number in the context entry.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The tables; `None` once closed.
    #[must_use]
    pub fn tables(&self) -> Option<&SecondStage> {
        self.tables.as_ref()
    }

    /// Addresses for 2^`order` pages; what waits for its flush is flushed for them if need be.
    fn take(&mut self, host: &mut dyn Host, order: u32, bytes: u64) -> Result<BusAddr, DmaError> {
        if let Some(iova) = self.space.alloc(order) {
            return Ok(iova);
        }
        self.flush(host)?;
        self.space.alloc(order).ok_or(DmaError::NoAddresses { bytes })
    }

    fn insert(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<BusAddr, DmaError> {
        if let Some(bus) = self.insert_in_block(host, request)? {
            return Ok(bus);
        }
        let offset = request.buffer.get() % PAGE_BYTES;
        let (count, order) = span_of(offset, request.len_bytes);
        let first = PhysAddr(request.buffer.get() - offset);
        let iova = self.take(host, order, request.len_bytes)?;
        self.enter(host, iova, first, count, order, request.direction)?;
        Ok(iova + offset)
    }

    /// Maps pages at an address that was taken for them. On failure nothing is mapped.
    fn enter(
        &mut self,
        host: &mut dyn Host,
        iova: BusAddr,
        first: PhysAddr,
        count: u64,
        order: u32,
        direction: Direction,
    ) -> Result<(), DmaError> {
        let bytes = count * PAGE_BYTES;
        let tables = self.tables.as_mut().ok_or(DmaError::NoAddresses { bytes })?;
        if let Err(error) = tables.map(host, iova, first, count, direction) {
            self.space.free(iova, order);
            return Err(error.into());
        }
        if self.caching_mode
            && let Err(error) = self.forget(host, iova, order)
        {
            // The address is given up with it: the hardware may know it.
            if let Some(tables) = &mut self.tables {
                tables.unmap(host, iova, count);
            }
            return Err(error);
        }
        Ok(())
    }

    /// A buffer that lies within one page of 2 MiB is mapped by that page; `None` where it is not.
    fn insert_in_block(
        &mut self,
        host: &mut dyn Host,
        request: &MapRequest,
    ) -> Result<Option<BusAddr>, DmaError> {
        let Some(blocks) = &mut self.blocks else { return Ok(None) };
        let Some(page) = Blocks::page_of_buffer(request.buffer, request.len_bytes) else {
            return Ok(None);
        };
        let offset = request.buffer.get() - page.get();
        if let Some(bus) = blocks.hold(page) {
            return Ok(Some(bus + offset));
        }
        if page.get() + BLOCK_BYTES > host.ram_bytes() {
            return Ok(None);
        }
        let iova = self.take(host, BLOCK_ORDER, request.len_bytes)?;
        let both = Direction::Bidirectional;
        self.enter(host, iova, page, BLOCK_BYTES / PAGE_BYTES, BLOCK_ORDER, both)?;
        if let Some(blocks) = &mut self.blocks {
            blocks.insert(page, iova);
        }
        Ok(Some(iova + offset))
    }

    /// Takes a mapping out of the tables. `strict`: the hardware has forgotten it on return.
    fn remove(
        &mut self,
        host: &mut dyn Host,
        bus: BusAddr,
        len_bytes: u64,
        strict: bool,
    ) -> Result<(), DmaError> {
        let (iova, count, order) = match self.blocks.as_mut().and_then(|all| all.release(bus)) {
            Some(None) => return Ok(()),
            Some(Some(block)) => (block, BLOCK_BYTES / PAGE_BYTES, BLOCK_ORDER),
            None => {
                let offset = bus.get() % PAGE_BYTES;
                let (count, order) = span_of(offset, len_bytes);
                (BusAddr(bus.get() - offset), count, order)
            }
        };
        match &mut self.tables {
            Some(tables) if tables.is_mapped(iova, count) => tables.unmap(host, iova, count),
            _ => return Err(DmaError::NotMapped { address: bus, bytes: len_bytes }),
        }
        if !strict && let Some(waiting) = &mut self.waiting {
            waiting.push(host.now(), iova, order);
            return self.flush_if_due(host);
        }
        // Only after the hardware has forgotten it may the address mean something else.
        self.forget(host, iova, order)?;
        self.space.free(iova, order);
        Ok(())
    }

    fn flush_if_due(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        match &self.waiting {
            Some(waiting) if waiting.is_due(host.now()) => self.flush(host),
            _ => Ok(()),
        }
    }

    /// Lets the hardware forget the whole domain, and gives the addresses that waited out again.
    fn flush(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        if self.waiting.as_ref().is_none_or(FlushQueue::is_empty) {
            return Ok(());
        }
        host.spend(self.costs.flush);
        self.unit.0.borrow_mut().forget(host, Forget::Domain { domain: self.id })?;
        self.flushes += 1;
        if let Some(waiting) = &mut self.waiting {
            for (iova, order) in waiting.drain() {
                self.space.free(iova, order);
            }
        }
        Ok(())
    }

    fn forget(&self, host: &mut dyn Host, address: BusAddr, order: u32) -> Result<(), DmaError> {
        let forget = Forget::Pages { domain: self.id, address, order };
        Ok(self.unit.0.borrow_mut().forget(host, forget)?)
    }
}

/// Pages touched by `len_bytes` bytes at `offset` of a page, and log2 of the block that holds them.
fn span_of(offset: u64, len_bytes: u64) -> (u64, u32) {
    let count = (offset + len_bytes).div_ceil(PAGE_BYTES);
    (count, count.next_power_of_two().trailing_zeros())
}

impl DmaApi for Domain {
    fn name(&self) -> &'static str {
        "iommu"
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        host.spend(self.costs.map);
        self.flush_if_due(host)?;
        let bus = self.insert(host, request)?;
        Ok(Mapping::new(bus, request))
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        host.spend(self.costs.unmap);
        self.remove(host, mapping.bus(), mapping.len_bytes(), false)
    }

    fn sync_for_cpu(&mut self, _host: &mut dyn Host, _mapping: &Mapping, _part: Range<u64>) {}

    fn sync_for_device(&mut self, _host: &mut dyn Host, _mapping: &Mapping, _part: Range<u64>) {}

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        let pages = self.pages.clone();
        mapped_coherent(host, &pages, len_bytes, place, |host, request| self.insert(host, request))
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        let CpuView::Ram(start) = memory.cpu else {
            return Err(DmaError::NotMapped { address: memory.bus, bytes: memory.len_bytes });
        };
        // The memory is somebody else's in a moment, and rings come and go rarely: strict in every mode.
        self.remove(host, memory.bus, memory.len_bytes, true)?;
        Ok(self.pages.free(start, memory.len_bytes)?)
    }

    fn counts(&self) -> OpsCounts {
        OpsCounts { flushes: self.flushes, ..OpsCounts::default() }
    }

    fn tick(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.flush_if_due(host)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        // What waits for its flush is forgotten with the domain.
        self.unit.0.borrow_mut().detach(host, self.requester)?;
        match self.tables.take() {
            Some(tables) => Ok(tables.free()?),
            None => Ok(()),
        }
    }
}
