//! One flat table for each DMA window: POWER's TCEs, and sparc64's IOMMU in the same dress.
//!
//! ```text
//!   bus address ─▶ window ─▶ table [page] ─▶ real address
//!   0..2 GiB          4 KiB pages, an entry for each mapping
//!   1<<59..           16 MiB pages, all of RAM mapped for good: "direct DMA window"
//! ```
//!
//! | | table | an entry changes by | stale translations go |
//! |---|---|---|---|
//! | [`TceAccess::Hypercall`] | the hypervisor's | `H_PUT_TCE` and its kin | with the call |
//! | [`TceAccess::Direct`] | in memory | a store | when the driver writes a flush register |
//!
//! There is no switch: what is not mapped faults. On POWER a fault freezes the slot ("EEH"): until it is
//! thawed nothing passes in either direction, and the CPU reads all ones. Left out: the calls by which a
//! guest asks for a direct window (firmware has made it, see [`Fill::AllOfRam`]), error logs, and the entry
//! formats of Sun's bridges (the entries are [`crate::spec::tce`]'s in both cases).

use super::cache::{Cache, Geometry, Key};
use super::{Blocked, DmaKind, Iommu, IotlbCounts, TableMemory, Translated};
use crate::address::{Bdf, BusAddr, PhysAddr};
use crate::host::HypercallError;
use crate::spec::tce::{BYTES, READ, WRITE, fault, fault_status, reg};
use crate::time::{Instant, Span};

/// Who changes the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TceAccess {
    /// The hypervisor, when asked. It keeps the tables out of the guest's sight.
    Hypercall,
    /// The OS, in memory. Only the first window has a table then.
    Direct {
        /// Where the registers lie.
        registers: PhysAddr,
    },
}

/// What a window's table holds at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Nothing: the OS maps what it needs.
    Empty,
    /// Every page of the window maps the page of RAM as far from RAM's start as it is from its own.
    AllOfRam,
}

/// A range of bus addresses with a table of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The number that a guest calls it by.
    pub liobn: u32,
    /// Its first bus address.
    pub start: u64,
    /// Log2 of a page's bytes: 12 to 34.
    pub page_bits: u32,
    /// How many pages.
    pub pages: u64,
    /// What is mapped at first.
    pub fill: Fill,
}

impl Window {
    /// The default window of a slot: 2 GiB from address 0, pages of 4 KiB, empty. Addresses as on QEMU's
    /// pSeries, whose default window is as small; the window's number is `0x8000_0000`.
    pub const DEFAULT: Self =
        Self { liobn: 0x8000_0000, start: 0, page_bits: 12, pages: 0x8_0000, fill: Fill::Empty };

    /// A direct window over `ram_end` bytes, at the bus address 2^59 as on QEMU's pSeries, with pages of
    /// 16 MiB; the window's number is `0x8000_0001`.
    #[must_use]
    pub const fn direct(ram_end: u64) -> Self {
        Self {
            liobn: 0x8000_0001,
            start: 1 << 59,
            page_bits: 24,
            pages: ram_end.div_ceil(1 << 24),
            fill: Fill::AllOfRam,
        }
    }

    /// The page that a bus address lies in, and the offset there.
    fn place(&self, address: u64) -> Option<(u64, u64)> {
        let offset = address.checked_sub(self.start)?;
        let page = offset >> self.page_bits;
        (page < self.pages).then_some((page, offset & self.offset_mask()))
    }

    const fn offset_mask(&self) -> u64 {
        (1 << self.page_bits) - 1
    }
}

/// What the unit can do and how long it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TceConfig {
    /// Who changes the tables.
    pub access: TceAccess,
    /// The windows; they do not overlap.
    pub windows: Vec<Window>,
    /// Whether a fault freezes the slot.
    pub freezes: bool,
    /// Size and shape of the cache of entries.
    pub cache: Geometry,
    /// A request whose entry is in the cache; part of every other request too.
    pub hit: Span,
    /// Reading an entry.
    pub table_read: Span,
}

impl Default for TceConfig {
    /// A pSeries slot with the default window. Times and the cache's size are assumed.
    fn default() -> Self {
        Self {
            access: TceAccess::Hypercall,
            windows: vec![Window::DEFAULT],
            freezes: true,
            cache: Geometry { sets: 8, ways: 8 },
            hit: Span::from_ns(10),
            table_read: Span::from_ns(100),
        }
    }
}

/// An IOMMU of flat tables. See the [module](self).
#[derive(Debug)]
pub struct Tce {
    config: TceConfig,
    /// The hypervisor's tables, one a window; none where the OS keeps it.
    tables: Vec<Vec<u64>>,
    /// Where the OS keeps it; 0 for nowhere.
    table: u64,
    cache: Cache<u64>,
    counts: IotlbCounts,
    frozen: bool,
    fault: (u64, u64),
}

impl Tce {
    /// A unit after reset.
    #[must_use]
    pub fn new(config: TceConfig) -> Self {
        let tables = match config.access {
            TceAccess::Hypercall => config.windows.iter().map(filled).collect(),
            TceAccess::Direct { .. } => Vec::new(),
        };
        Self {
            tables,
            table: 0,
            cache: Cache::new(config.cache),
            counts: IotlbCounts::default(),
            frozen: false,
            fault: (0, 0),
            config,
        }
    }

    fn resolve(
        &mut self,
        memory: &dyn TableMemory,
        address: u64,
        wanted: u64,
        took: &mut Span,
    ) -> Result<u64, u8> {
        let windows = self.config.windows.iter().enumerate();
        let (number, page, offset) = windows
            .filter_map(|(number, window)| window.place(address).map(|at| (number, at.0, at.1)))
            .next()
            .ok_or(fault::NO_WINDOW)?;
        let key = key(number, page);
        let entry = match self.cache.get(key) {
            Some(entry) => {
                self.counts.hits += 1;
                entry
            }
            None => {
                self.counts.misses += 1;
                *took += self.config.table_read;
                let entry = self.entry(memory, number, page)?;
                if entry & (READ | WRITE) != 0 {
                    self.cache.put(key, entry);
                }
                entry
            }
        };
        if entry & wanted != 0 {
            let frame = entry & !self.config.windows[number].offset_mask();
            return Ok(frame | offset);
        }
        Err(match (entry & (READ | WRITE), wanted) {
            (0, _) => fault::NOT_MAPPED,
            (_, READ) => fault::READ_DENIED,
            _ => fault::WRITE_DENIED,
        })
    }

    fn entry(&self, memory: &dyn TableMemory, window: usize, page: u64) -> Result<u64, u8> {
        if let Some(table) = self.tables.get(window) {
            return table.get(page as usize).copied().ok_or(fault::NO_WINDOW);
        }
        let mut bytes = [0; BYTES as usize];
        let place = PhysAddr(self.table.wrapping_add(page * BYTES));
        if self.table == 0 || window != 0 || !memory.read(place, &mut bytes) {
            return Err(fault::TABLE_UNREACHABLE);
        }
        Ok(u64::from_be_bytes(bytes))
    }

    fn note(&mut self, requester: Bdf, address: u64, kind: DmaKind, reason: u8) {
        self.frozen |= self.config.freezes;
        if self.fault.0 == 0 {
            let write = if kind == DmaKind::Write { fault_status::WRITE } else { 0 };
            let who = u64::from(requester.0) << fault_status::REQUESTER_SHIFT;
            self.fault = (fault_status::VALID | who | write | u64::from(reason), address);
        }
    }

    /// Forgets what the driver's flush register names.
    fn flush(&mut self, address: u64) {
        let windows = self.config.windows.iter().enumerate();
        let places =
            windows.filter_map(|(number, window)| Some((number, window.place(address)?.0)));
        for (number, page) in places {
            self.cache.remove(key(number, page));
        }
    }
}

fn key(window: usize, page: u64) -> Key {
    Key { page, domain: window as u16, level: 1 }
}

fn filled(window: &Window) -> Vec<u64> {
    let entry = |page: u64| match window.fill {
        Fill::Empty => 0,
        Fill::AllOfRam => page << window.page_bits | READ | WRITE,
    };
    (0..window.pages).map(entry).collect()
}

impl Iommu for Tce {
    fn translate(
        &mut self,
        _: Instant,
        memory: &mut dyn TableMemory,
        requester: Bdf,
        address: BusAddr,
        _: u32,
        kind: DmaKind,
    ) -> Result<Translated, Blocked> {
        let mut took = self.config.hit;
        if self.frozen {
            return Err(Blocked { reason: fault::FROZEN, took });
        }
        let wanted = if kind == DmaKind::Write { WRITE } else { READ };
        match self.resolve(memory, address.get(), wanted, &mut took) {
            Ok(address) => Ok(Translated { address: PhysAddr(address), took }),
            Err(reason) => {
                self.note(requester, address.get(), kind, reason);
                Err(Blocked { reason, took })
            }
        }
    }

    fn registers(&self) -> (PhysAddr, u64) {
        match self.config.access {
            TceAccess::Hypercall => (PhysAddr(0), 0),
            TceAccess::Direct { registers } => (registers, reg::BYTES),
        }
    }

    fn register_read(&mut self, _: Instant, offset: u64, _: usize) -> u64 {
        let window = self.config.windows.first();
        match offset {
            reg::TABLE => self.table,
            reg::START => window.map_or(0, |window| window.start),
            reg::PAGES => window.map_or(0, |window| window.pages),
            reg::FAULT => self.fault.0,
            reg::FAULT_ADDRESS => self.fault.1,
            _ => 0,
        }
    }

    fn register_write(
        &mut self,
        _: Instant,
        _: &mut dyn TableMemory,
        offset: u64,
        _: usize,
        value: u64,
    ) {
        match offset {
            reg::TABLE => self.table = value & !0xfff,
            reg::FLUSH => self.flush(value),
            reg::FLUSH_ALL => self.cache.clear(),
            reg::FAULT => self.fault = (0, 0),
            _ => {}
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        None
    }

    fn advance(&mut self, _: Instant, _: &mut dyn TableMemory) -> Option<(u64, u32)> {
        None
    }

    fn counts(&self) -> IotlbCounts {
        self.counts
    }

    fn explain(&self, reason: u8) -> &'static str {
        fault::name(reason)
    }

    fn mapped_pages(&self, liobn: u32) -> u64 {
        let window = self.config.windows.iter().position(|window| window.liobn == liobn);
        let table = window.and_then(|window| self.tables.get(window));
        table.map_or(0, |table| {
            table.iter().filter(|entry| *entry & (READ | WRITE) != 0).count() as u64
        })
    }

    fn put_tces(
        &mut self,
        memory: &mut dyn TableMemory,
        liobn: u32,
        ioba: u64,
        tces: &[u64],
    ) -> Result<(), HypercallError> {
        if self.config.access != TceAccess::Hypercall {
            return Err(HypercallError::NoHypervisor);
        }
        let number = self.config.windows.iter().position(|window| window.liobn == liobn);
        let number = number.ok_or(HypercallError::Parameter(u64::from(liobn)))?;
        let window = self.config.windows[number];
        let (first, pages) = (ioba >> window.page_bits, tces.len() as u64);
        let fits = first.checked_add(pages).is_some_and(|end| end <= window.pages);
        if !fits || ioba & window.offset_mask() != 0 {
            return Err(HypercallError::Parameter(ioba));
        }
        if let Some(wrong) = tces.iter().find(|tce| !is_entry(&window, memory, **tce)) {
            return Err(HypercallError::Parameter(*wrong));
        }
        for (page, tce) in (first..).zip(tces) {
            self.tables[number][page as usize] = *tce;
            self.cache.remove(key(number, page));
        }
        Ok(())
    }

    fn frozen(&self) -> Option<bool> {
        self.config.freezes.then_some(self.frozen)
    }

    fn thaw(&mut self) -> bool {
        self.frozen = false;
        self.config.freezes
    }
}

/// Whether the hypervisor lets the guest map this: a page of its own, or nothing.
fn is_entry(window: &Window, memory: &dyn TableMemory, tce: u64) -> bool {
    let mapped = tce & (READ | WRITE) != 0;
    let address = tce & !(READ | WRITE);
    let whole = address & window.offset_mask() == 0;
    !mapped || whole && memory.read(PhysAddr(address), &mut [0])
}

#[cfg(test)]
mod tests;
