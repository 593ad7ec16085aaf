//! The TCE back end: a window of bus addresses with one table entry a page, set by hypercall (pSeries) or
//! written straight into a table in memory (sparc64, whose IOMMU is always on as well).
//!
//! ```text
//!   map ──▶ address in the window ──▶ H_PUT_TCE, one page │ H_PUT_TCE_INDIRECT, up to 512 by a list
//!   unmap ──────────────────────────▶ H_PUT_TCE of zero   │ H_STUFF_TCE, up to 512
//! ```
//!
//! The window belongs to the bus and outlives its devices. What a hypercall costs is the machine's fact.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::{Barrier, Host, Hypercall, Width};
use pcie_sim::spec::tce;

use super::costs::BackEndCosts;
use super::iommu::iova::IovaSpace;
use super::{
    Coherent, CpuView, Direction, DmaApi, DmaError, MapRequest, Mapping, OpsCounts, Place,
    mapped_coherent, zeroed_pages,
};
use crate::pages::{PAGE_BYTES, Pages};

/// How entries get into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TceTable {
    /// The hypervisor keeps it.
    Hypervisor {
        /// The window's number ("logical I/O bus number").
        liobn: u32,
        /// Runs of pages are set by one call for the run, where the hypervisor offers those calls.
        runs: bool,
    },
    /// It lies in memory, 8 bytes big endian a page; what was changed there is flushed by a register.
    Memory {
        /// The registers, `pcie_sim::spec::tce::reg`.
        registers: PhysAddr,
    },
}

/// A window of bus addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TceConfig {
    /// Bus address at which the window begins.
    pub base: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// How entries are set.
    pub table: TceTable,
    /// What it costs the CPU, besides hypercalls.
    pub costs: BackEndCosts,
}

#[derive(Debug)]
struct Window {
    config: TceConfig,
    space: IovaSpace,
    /// The table, or memory for lists of entries for the hypervisor, and its bytes.
    memory: Option<(PhysAddr, u64)>,
    /// First page's place in the window, and pages, of what is mapped.
    live: BTreeMap<u64, u64>,
    mapped_pages: u64,
}

/// A handle to one window; clones share it.
#[derive(Debug, Clone)]
pub struct TceWindow(Rc<RefCell<Window>>);

impl TceWindow {
    /// Takes a window into use; all its entries are clear. Lists and tables come from `pages`.
    pub fn open(host: &mut dyn Host, pages: &Pages, config: TceConfig) -> Result<Self, DmaError> {
        let memory = match config.table {
            TceTable::Hypervisor { runs: false, .. } => None,
            TceTable::Hypervisor { runs: true, .. } => {
                Some((pages.alloc(PAGE_BYTES, 1)?, PAGE_BYTES))
            }
            TceTable::Memory { registers } => {
                let bytes = config.bytes / PAGE_BYTES * tce::BYTES;
                let table = zeroed_pages(host, pages, bytes)?;
                host.barrier(Barrier::DmaWrite);
                host.mmio_write(registers + tce::reg::TABLE, Width::W64, table.get());
                Some((table, bytes))
            }
        };
        let space = IovaSpace::new(config.bytes, &[]);
        Ok(Self(Rc::new(RefCell::new(Window {
            config,
            space,
            memory,
            live: BTreeMap::new(),
            mapped_pages: 0,
        }))))
    }

    /// Gives the memory back. Of a table in memory the hardware knows nothing any more.
    pub fn close(self, host: &mut dyn Host, pages: &Pages) -> Result<(), DmaError> {
        let mut window = self.0.borrow_mut();
        if let TceTable::Memory { registers } = window.config.table {
            host.mmio_write(registers + tce::reg::TABLE, Width::W64, 0);
            host.mmio_write(registers + tce::reg::FLUSH_ALL, Width::W64, 0);
        }
        match window.memory.take() {
            Some((start, bytes)) => Ok(pages.free(start, bytes)?),
            None => Ok(()),
        }
    }

    /// Pages mapped now.
    #[must_use]
    pub fn mapped_pages(&self) -> u64 {
        self.0.borrow().mapped_pages
    }
}

impl Window {
    /// Sets `count` entries from `ioba` on: pages from `page` on with `direction`, or none. Gives the
    /// number of hypercalls.
    fn set(
        &mut self,
        host: &mut dyn Host,
        ioba: u64,
        count: u64,
        to: Option<(PhysAddr, Direction)>,
    ) -> Result<u64, DmaError> {
        match self.config.table {
            TceTable::Memory { registers } => {
                self.write_table(host, registers, ioba, count, to);
                Ok(0)
            }
            TceTable::Hypervisor { liobn, .. } if count > 1 && self.memory.is_some() => {
                self.set_runs(host, liobn, ioba, count, to)
            }
            TceTable::Hypervisor { liobn, .. } => {
                for nth in 0..count {
                    let call = Hypercall::PutTce {
                        liobn,
                        ioba: ioba + nth * PAGE_BYTES,
                        tce: entry(to, nth),
                    };
                    host.hypercall(call)?;
                }
                Ok(count)
            }
        }
    }

    fn write_table(
        &self,
        host: &mut dyn Host,
        registers: PhysAddr,
        ioba: u64,
        count: u64,
        to: Option<(PhysAddr, Direction)>,
    ) {
        let Some((table, _)) = self.memory else { return };
        for nth in 0..count {
            let at = table + (ioba / PAGE_BYTES + nth) * tce::BYTES;
            host.write(at, &entry(to, nth).to_be_bytes());
        }
        host.barrier(Barrier::DmaWrite);
        if to.is_none() {
            for nth in 0..count {
                let page = self.config.base + ioba + nth * PAGE_BYTES;
                host.mmio_write(registers + tce::reg::FLUSH, Width::W64, page);
            }
        }
    }

    fn set_runs(
        &mut self,
        host: &mut dyn Host,
        liobn: u32,
        ioba: u64,
        count: u64,
        to: Option<(PhysAddr, Direction)>,
    ) -> Result<u64, DmaError> {
        let (mut done, mut calls) = (0, 0);
        while done < count {
            let run = (count - done).min(tce::MOST_PER_CALL);
            let ioba = ioba + done * PAGE_BYTES;
            let call = match (to, self.memory) {
                (Some(_), Some((list, _))) => {
                    let entries: Vec<u8> =
                        (done..done + run).flat_map(|nth| entry(to, nth).to_be_bytes()).collect();
                    host.write(list, &entries);
                    Hypercall::PutTceIndirect { liobn, ioba, list, count: run }
                }
                _ => Hypercall::StuffTce { liobn, ioba, tce: 0, count: run },
            };
            host.hypercall(call)?;
            done += run;
            calls += 1;
        }
        Ok(calls)
    }
}

fn entry(to: Option<(PhysAddr, Direction)>, nth: u64) -> u64 {
    to.map_or(0, |(page, direction)| {
        let page = page.get() + nth * PAGE_BYTES;
        tce::entry(page, direction.device_reads(), direction.device_writes())
    })
}

/// One device's ops.
#[derive(Debug)]
pub struct Tce {
    window: TceWindow,
    pages: Pages,
    mask: u64,
    costs: BackEndCosts,
    hypercalls: u64,
}

impl Tce {
    /// Ops for a device whose DMA mask is `mask`.
    #[must_use]
    pub fn new(window: &TceWindow, pages: Pages, mask: u64) -> Self {
        let costs = window.0.borrow().config.costs;
        Self { window: window.clone(), pages, mask, costs, hypercalls: 0 }
    }

    fn insert(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<BusAddr, DmaError> {
        let window = &mut *self.window.0.borrow_mut();
        let bytes = request.len_bytes;
        let offset = request.buffer.get() % PAGE_BYTES;
        let (count, order) = span_of(offset, bytes);
        let ioba = window.space.alloc(order).ok_or(DmaError::NoAddresses { bytes })?;
        let bus = BusAddr(window.config.base) + (ioba.get() + offset);
        if bus.get().checked_add(bytes - 1).is_none_or(|last| last > self.mask) {
            window.space.free(ioba, order);
            return Err(DmaError::BeyondMask { address: bus, bytes, mask: self.mask });
        }
        let page = PhysAddr(request.buffer.get() - offset);
        match window.set(host, ioba.get(), count, Some((page, request.direction))) {
            Ok(calls) => {
                self.hypercalls += calls;
                window.mapped_pages += count;
                window.live.insert(ioba.get(), count);
                Ok(bus)
            }
            Err(error) => {
                // What of it was set is cleared; where that fails too the address is given up.
                if window.set(host, ioba.get(), count, None).is_ok() {
                    window.space.free(ioba, order);
                }
                Err(error)
            }
        }
    }

    fn remove(&mut self, host: &mut dyn Host, bus: BusAddr, bytes: u64) -> Result<(), DmaError> {
        let window = &mut *self.window.0.borrow_mut();
        let not_mapped = DmaError::NotMapped { address: bus, bytes };
        let inside = bus.offset_from(BusAddr(window.config.base)).ok_or(not_mapped)?;
        let offset = inside % PAGE_BYTES;
        let (count, order) = span_of(offset, bytes);
        let ioba = inside - offset;
        if window.live.get(&ioba) != Some(&count) {
            return Err(not_mapped);
        }
        self.hypercalls += window.set(host, ioba, count, None)?;
        window.live.remove(&ioba);
        window.mapped_pages -= count;
        window.space.free(BusAddr(ioba), order);
        Ok(())
    }
}

/// Pages touched by `bytes` bytes at `offset` of a page, and log2 of the block that holds them.
fn span_of(offset: u64, bytes: u64) -> (u64, u32) {
    let count = (offset + bytes).div_ceil(PAGE_BYTES);
    (count, count.next_power_of_two().trailing_zeros())
}

impl DmaApi for Tce {
    fn name(&self) -> &'static str {
        "tce"
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
        self.remove(host, memory.bus, memory.len_bytes)?;
        Ok(self.pages.free(start, memory.len_bytes)?)
    }

    fn counts(&self) -> OpsCounts {
        OpsCounts { hypercalls: self.hypercalls, ..OpsCounts::default() }
    }

    fn close(&mut self, _host: &mut dyn Host) -> Result<(), DmaError> {
        Ok(())
    }
}
