//! DMA debug: a wrapper around the DMA API, and around the CPU's memory, that notices misuse.
//!
//! ```text
//!   Dma ──▶ Checked ──▶ back end            driver ──▶ Watched ──▶ Host
//!              └──────────── ledger of live mappings ────┘
//! ```
//!
//! Each finding names the line that made the mapping. A mapping error that nobody looks at needs no
//! finding: it is an `Err`, and ignoring one does not compile here.

mod finding;
mod watched;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::Host;

use super::layer::Layer;
use super::{Coherent, CpuView, Direction, DmaApi, DmaError, MapRequest, Mapping, Place};
use crate::pages::{PAGE_BYTES, Pages};

pub use finding::Finding;
pub use watched::Watched;

/// More findings than these are counted but not kept.
const KEPT: usize = 1000;

#[derive(Debug, Clone, Copy)]
struct Live {
    bus: BusAddr,
    buffer: PhysAddr,
    bytes: u64,
    direction: Direction,
    place: Place,
    cpu_owns: bool,
}

impl Live {
    fn pages(&self) -> std::ops::RangeInclusive<u64> {
        self.buffer.get() / PAGE_BYTES..=(self.buffer.get() + self.bytes - 1) / PAGE_BYTES
    }

    fn forbids(&self, address: u64, bytes: u64, write: bool) -> bool {
        // Reading what the card only reads harms nobody.
        let touches =
            address < self.buffer.get() + self.bytes && self.buffer.get() < address + bytes;
        touches && !self.cpu_owns && (write || self.direction.device_writes())
    }
}

#[derive(Debug, Default)]
struct Ledger {
    live: BTreeMap<u64, Live>,
    by_bus: BTreeSet<(BusAddr, u64)>,
    by_page: BTreeSet<(u64, u64)>,
    coherent: BTreeMap<BusAddr, (u64, Place)>,
    made: u64,
    findings: Vec<Finding>,
    found: u64,
    /// Where streaming buffers may lie; `None`: anywhere.
    heap: Option<Pages>,
    /// Cache maintenance seen during the call that is running.
    maintenance: Maintenance,
}

/// What was done to the caches, as addresses of one stretch each; ops maintain a buffer in one go.
#[derive(Debug, Default, Clone)]
struct Maintenance {
    cleaned: Range<u64>,
    invalidated: Range<u64>,
    uncached: Range<u64>,
}

impl Ledger {
    fn report(&mut self, finding: Finding) {
        self.found += 1;
        if self.findings.len() < KEPT {
            self.findings.push(finding);
        }
    }

    fn insert(&mut self, live: Live) {
        self.made += 1;
        self.by_bus.insert((live.bus, self.made));
        self.by_page.extend(live.pages().map(|page| (page, self.made)));
        self.live.insert(self.made, live);
    }

    fn remove(&mut self, id: u64) {
        if let Some(live) = self.live.remove(&id) {
            self.by_bus.remove(&(live.bus, id));
            for page in live.pages() {
                self.by_page.remove(&(page, id));
            }
        }
    }

    /// The live mapping at the same bus address that fits best: an exact one, else any.
    fn find(&self, mapping: &Mapping) -> Option<(u64, Live)> {
        let mut at_bus = self
            .by_bus
            .range((mapping.bus(), 0)..=(mapping.bus(), u64::MAX))
            .filter_map(|&(_, id)| Some((id, *self.live.get(&id)?)));
        let first = at_bus.clone().next();
        at_bus
            .find(|(_, live)| {
                live.bytes == mapping.len_bytes() && live.direction == mapping.direction()
            })
            .or(first)
    }

    fn check_unmap(&mut self, mapping: &Mapping) {
        let (bus, unmapped_bytes) = (mapping.bus(), mapping.len_bytes());
        let Some((id, live)) = self.find(mapping) else {
            return self.report(Finding::NotMapped { bus, bytes: unmapped_bytes });
        };
        let (bytes, mapped_at) = (live.bytes, live.place);
        if bytes != unmapped_bytes {
            self.report(Finding::WrongLength { bus, bytes, unmapped_bytes, mapped_at });
        }
        if live.direction != mapping.direction() {
            let (direction, unmapped) = (live.direction, mapping.direction());
            self.report(Finding::WrongDirection { bus, direction, unmapped, mapped_at });
        }
        self.remove(id);
    }

    fn set_owner(&mut self, mapping: &Mapping, cpu_owns: bool) {
        if let Some((id, _)) = self.find(mapping)
            && let Some(live) = self.live.get_mut(&id)
        {
            live.cpu_owns = cpu_owns;
        }
    }

    fn check_access(&mut self, address: PhysAddr, bytes: usize, write: bool) {
        if self.live.is_empty() || bytes == 0 {
            return;
        }
        let (start, bytes) = (address.get(), bytes as u64);
        let pages = start / PAGE_BYTES..=(start + bytes - 1) / PAGE_BYTES;
        let broken = self
            .by_page
            .range((*pages.start(), 0)..=(*pages.end(), u64::MAX))
            .filter_map(|(_, id)| self.live.get(id))
            .find(|live| live.forbids(start, bytes, write));
        if let Some(&Live { place: mapped_at, .. }) = broken {
            self.report(Finding::CpuAccess { address, bytes, write, mapped_at });
        }
    }

    fn check_leaks(&mut self) {
        for live in std::mem::take(&mut self.live).into_values() {
            let Live { bus, bytes, direction, place: mapped_at, .. } = live;
            self.report(Finding::Leak { bus, bytes, direction, mapped_at });
        }
        for (bus, (bytes, mapped_at)) in std::mem::take(&mut self.coherent) {
            self.report(Finding::CoherentLeak { bus, bytes, mapped_at });
        }
        self.by_bus.clear();
        self.by_page.clear();
    }
}

/// A handle to the ledger of one device; clones share it.
#[derive(Clone, Default)]
pub struct DmaDebug(Rc<RefCell<Ledger>>);

impl DmaDebug {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty ledger that lets nothing but memory of `pages` be mapped for streaming (PLATFORMS.md,
    /// rule 7).
    #[must_use]
    pub fn for_heap(pages: &Pages) -> Self {
        let debug = Self::default();
        debug.0.borrow_mut().heap = Some(pages.clone());
        debug
    }

    /// What was found so far, in order; the first 1,000.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.0.borrow().findings.clone()
    }

    /// How many were found so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.borrow().found
    }

    /// Streaming mappings that live now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.0.borrow().live.len()
    }

    /// `host` with the CPU's accesses to RAM watched.
    pub fn watch<'a>(&self, host: &'a mut dyn Host) -> Watched<'a> {
        Watched { host, debug: self.clone(), watches_accesses: true }
    }

    pub(super) fn wrap(&self, ops: Box<dyn DmaApi>) -> Box<dyn DmaApi> {
        Box::new(Checked { ops, debug: self.clone() })
    }
}

impl fmt::Debug for DmaDebug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaDebug({} live, {} findings)", self.live(), self.count())
    }
}

struct Checked {
    ops: Box<dyn DmaApi>,
    debug: DmaDebug,
}

impl Checked {
    /// Runs `call` with the cache maintenance that it does being noted, and says what it was.
    fn noting<T>(
        &mut self,
        host: &mut dyn Host,
        call: impl FnOnce(&mut dyn DmaApi, &mut dyn Host) -> T,
    ) -> (T, Maintenance) {
        if !self.ops.maintains_caches() {
            return (call(self.ops.as_mut(), host), Maintenance::default());
        }
        self.debug.0.borrow_mut().maintenance = Maintenance::default();
        let mut noted = self.debug.watch(host);
        noted.watches_accesses = false;
        let result = call(self.ops.as_mut(), &mut noted);
        (result, self.debug.0.borrow().maintenance.clone())
    }

    /// Reports `finding` when the ops maintain caches and did not reach all of `wanted`.
    fn expect_within(&self, done: &Range<u64>, wanted: Range<u64>, finding: Finding) {
        let is_within = done.start <= wanted.start && wanted.end <= done.end;
        if self.ops.maintains_caches() && !is_within {
            self.debug.0.borrow_mut().report(finding);
        }
    }

    fn check_part(
        &self,
        done: &Range<u64>,
        mapping: &Mapping,
        part: Range<u64>,
        make: fn(PhysAddr, u64, Place) -> Finding,
    ) {
        let place = self.debug.0.borrow().find(mapping).map(|(_, live)| live.place);
        if let Some(place) = place {
            let (start, bytes) = (mapping.buffer() + part.start, part.end - part.start);
            let wanted = start.get()..start.get() + bytes;
            self.expect_within(done, wanted, make(start, bytes, place));
        }
    }
}

fn not_cleaned(address: PhysAddr, bytes: u64, mapped_at: Place) -> Finding {
    Finding::NotCleaned { address, bytes, mapped_at }
}

fn not_invalidated(address: PhysAddr, bytes: u64, mapped_at: Place) -> Finding {
    Finding::NotInvalidated { address, bytes, mapped_at }
}

impl Layer for Checked {
    type Ops = dyn DmaApi;

    fn ops(&self) -> &Self::Ops {
        self.ops.as_ref()
    }

    fn ops_mut(&mut self) -> &mut Self::Ops {
        self.ops.as_mut()
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        let MapRequest { buffer: address, len_bytes: bytes, place: mapped_at, .. } = *request;
        let is_heap =
            self.debug.0.borrow().heap.as_ref().is_none_or(|heap| heap.contains(address, bytes));
        if !is_heap {
            self.debug.0.borrow_mut().report(Finding::NotHeap { address, bytes, mapped_at });
            return Err(DmaError::NotHeap { address, bytes });
        }
        let (mapping, done) = self.noting(host, |ops, host| ops.map(host, request));
        let mapping = mapping?;
        self.debug.0.borrow_mut().insert(Live {
            bus: mapping.bus(),
            buffer: request.buffer,
            bytes,
            direction: request.direction,
            place: request.place,
            cpu_owns: false,
        });
        self.check_part(&done.cleaned, &mapping, 0..bytes, not_cleaned);
        Ok(mapping)
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        let place = self.debug.0.borrow().find(&mapping).map(|(_, live)| live.place);
        self.debug.0.borrow_mut().check_unmap(&mapping);
        let (address, bytes) = (mapping.buffer(), mapping.len_bytes());
        let written = mapping.direction().device_writes();
        let (result, done) = self.noting(host, |ops, host| ops.unmap(host, mapping));
        if let (Some(place), true) = (place, written) {
            let wanted = address.get()..address.get() + bytes;
            self.expect_within(&done.invalidated, wanted, not_invalidated(address, bytes, place));
        }
        result
    }

    fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        // First, since ops that bounce write the buffer for the CPU.
        self.debug.0.borrow_mut().set_owner(mapping, true);
        let ((), done) =
            self.noting(host, |ops, host| ops.sync_for_cpu(host, mapping, part.clone()));
        if mapping.direction().device_writes() {
            self.check_part(&done.invalidated, mapping, part, not_invalidated);
        }
    }

    fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        let ((), done) =
            self.noting(host, |ops, host| ops.sync_for_device(host, mapping, part.clone()));
        self.debug.0.borrow_mut().set_owner(mapping, false);
        self.check_part(&done.cleaned, mapping, part, not_cleaned);
    }

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        let (memory, done) =
            self.noting(host, |ops, host| ops.alloc_coherent(host, len_bytes, place));
        let memory = memory?;
        let bus = memory.bus;
        self.debug.0.borrow_mut().coherent.insert(bus, (len_bytes, place));
        if let CpuView::Ram(start) = memory.cpu {
            let finding = Finding::CoherentCached { bus, bytes: len_bytes, mapped_at: place };
            self.expect_within(&done.uncached, start.get()..start.get() + len_bytes, finding);
        }
        Ok(memory)
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        let (bus, bytes) = (memory.bus, memory.len_bytes);
        if self.debug.0.borrow_mut().coherent.remove(&bus).is_none() {
            self.debug.0.borrow_mut().report(Finding::NotMapped { bus, bytes });
        }
        self.ops.free_coherent(host, memory)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.debug.0.borrow_mut().check_leaks();
        self.ops.close(host)
    }
}
