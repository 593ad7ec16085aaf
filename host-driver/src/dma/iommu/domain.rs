//! The `iommu` back end: one device's own address space.

use std::ops::Range;

use pcie_sim::address::{Bdf, BusAddr};
use pcie_sim::host::Host;
use pcie_sim::spec::vtd::cap;
use pcie_sim::time::Span;

use super::invalidation::Forget;
use super::iova::IovaSpace;
use super::page_table::SecondStage;
use super::{DmaError, IommuUnit};
use crate::dma::{Coherent, CpuView, Direction, DmaApi, MapRequest, Mapping, Place, zeroed_pages};
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
}

impl Default for IommuCosts {
    /// Assumed, not measured: a cached address and one table entry are some hundred cycles.
    fn default() -> Self {
        Self { map: Span::from_ns(60), unmap: Span::from_ns(60) }
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
        let tables = SecondStage::new(host, pages)?;
        let (attached, costs, caching_mode, mut reserved) = {
            let mut inner = unit.0.borrow_mut();
            let attached = inner.attach(host, requester, tables.top());
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

    fn insert(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<BusAddr, DmaError> {
        let offset = request.buffer.get() % PAGE_BYTES;
        let (count, order) = span_of(offset, request.len_bytes);
        let Some(tables) = &mut self.tables else {
            return Err(DmaError::NoAddresses { bytes: request.len_bytes });
        };
        let iova =
            self.space.alloc(order).ok_or(DmaError::NoAddresses { bytes: request.len_bytes })?;
        let first = pcie_sim::address::PhysAddr(request.buffer.get() - offset);
        if let Err(error) = tables.map(host, iova, first, count, request.direction) {
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
        Ok(iova + offset)
    }

    fn remove(
        &mut self,
        host: &mut dyn Host,
        bus: BusAddr,
        len_bytes: u64,
    ) -> Result<(), DmaError> {
        let offset = bus.get() % PAGE_BYTES;
        let (count, order) = span_of(offset, len_bytes);
        let iova = BusAddr(bus.get() - offset);
        match &mut self.tables {
            Some(tables) if tables.is_mapped(iova, count) => tables.unmap(host, iova, count),
            _ => return Err(DmaError::NotMapped { address: bus, bytes: len_bytes }),
        }
        // Only after the hardware has forgotten it may the address mean something else.
        self.forget(host, iova, order)?;
        self.space.free(iova, order);
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
        let bus = self.insert(host, request)?;
        Ok(Mapping::new(bus, request))
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        host.spend(self.costs.unmap);
        self.remove(host, mapping.bus(), mapping.len_bytes())
    }

    fn sync_for_cpu(&mut self, _host: &mut dyn Host, _mapping: &Mapping) {}

    fn sync_for_device(&mut self, _host: &mut dyn Host, _mapping: &Mapping) {}

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        let start = zeroed_pages(host, &self.pages, len_bytes)?;
        let request =
            MapRequest { buffer: start, len_bytes, direction: Direction::Bidirectional, place };
        match self.insert(host, &request) {
            Ok(bus) => Ok(Coherent { cpu: CpuView::Ram(start), bus, len_bytes }),
            Err(error) => {
                self.pages.free(start, len_bytes)?;
                Err(error)
            }
        }
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        let CpuView::Ram(start) = memory.cpu else {
            return Err(DmaError::NotMapped { address: memory.bus, bytes: memory.len_bytes });
        };
        self.remove(host, memory.bus, memory.len_bytes)?;
        Ok(self.pages.free(start, memory.len_bytes)?)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.unit.0.borrow_mut().detach(host, self.requester)?;
        match self.tables.take() {
            Some(tables) => Ok(tables.free()?),
            None => Ok(()),
        }
    }
}
