//! DMA debug: a wrapper around the DMA API, and around the CPU's memory, that notices misuse.
//!
//! ```text
//!   Dma ──▶ Checked ──▶ back end            driver ──▶ Watched ──▶ Host
//!              └──────────── ledger of live mappings ────┘
//! ```
//!
//! Each finding names the line that made the mapping. A mapping error that nobody looks at needs no
//! finding: it is an `Err`, and ignoring one does not compile here.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use pcie_sim::address::{Bdf, BusAddr, PhysAddr};
use pcie_sim::host::{
    Barrier, Bus, Host, Hypercall, HypercallError, Memory, MsiMessage, Vector, Width,
};
use pcie_sim::time::{Instant, Span};

use super::{
    Coherent, CpuView, Direction, DmaApi, DmaError, MapRequest, Mapping, OpsCounts, Place,
};
use crate::pages::{PAGE_BYTES, Pages};

/// More findings than these are counted but not kept.
const KEPT: usize = 1000;

/// A misuse of the DMA API. `mapped_at` is the line that made the mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A streaming mapping outlives its device.
    #[error("leaked: {bus} (+{bytes} bytes, {direction:?}), mapped at {mapped_at}")]
    Leak {
        /// What the card was told.
        bus: BusAddr,
        /// Length in bytes.
        bytes: u64,
        /// Its direction.
        direction: Direction,
        /// Who mapped it.
        mapped_at: Place,
    },
    /// Coherent memory outlives its device.
    #[error("leaked: {bytes} bytes of coherent memory at {bus}, allocated at {mapped_at}")]
    CoherentLeak {
        /// What the card was told.
        bus: BusAddr,
        /// Length in bytes.
        bytes: u64,
        /// Who allocated it.
        mapped_at: Place,
    },
    /// Something is unmapped that is not mapped.
    #[error("unmapped, but not mapped: {bus} (+{bytes} bytes)")]
    NotMapped {
        /// What the card was told.
        bus: BusAddr,
        /// Length in bytes.
        bytes: u64,
    },
    /// Unmapped with another length than mapped.
    #[error("{bus} is unmapped with {unmapped_bytes} bytes, mapped with {bytes} at {mapped_at}")]
    WrongLength {
        /// What the card was told.
        bus: BusAddr,
        /// Length when mapped.
        bytes: u64,
        /// Length when unmapped.
        unmapped_bytes: u64,
        /// Who mapped it.
        mapped_at: Place,
    },
    /// Unmapped with another direction than mapped.
    #[error("{bus} is unmapped as {unmapped:?}, mapped as {direction:?} at {mapped_at}")]
    WrongDirection {
        /// What the card was told.
        bus: BusAddr,
        /// Direction when mapped.
        direction: Direction,
        /// Direction when unmapped.
        unmapped: Direction,
        /// Who mapped it.
        mapped_at: Place,
    },
    /// Memory that the page allocator never had: a buffer on the stack. The map was refused.
    #[error("{address} (+{bytes} bytes) is no heap memory, mapped at {mapped_at}")]
    NotHeap {
        /// Where.
        address: PhysAddr,
        /// Length in bytes.
        bytes: u64,
        /// Who wanted it mapped.
        mapped_at: Place,
    },
    /// A buffer went to the card without its cache lines being written back, on a host that needs it.
    #[error(
        "{address} (+{bytes} bytes) went to the card with its cache lines not cleaned, mapped at {mapped_at}"
    )]
    NotCleaned {
        /// Where.
        address: PhysAddr,
        /// Length in bytes.
        bytes: u64,
        /// Who mapped it.
        mapped_at: Place,
    },
    /// The CPU got a buffer back with stale cache lines, on a host that needs them invalidated.
    #[error(
        "{address} (+{bytes} bytes) came back from the card with its cache lines not invalidated, mapped at {mapped_at}"
    )]
    NotInvalidated {
        /// Where.
        address: PhysAddr,
        /// Length in bytes.
        bytes: u64,
        /// Who mapped it.
        mapped_at: Place,
    },
    /// Coherent memory stayed cached, on a host where it must not be.
    #[error("{bytes} bytes of coherent memory at {bus} stayed cached, allocated at {mapped_at}")]
    CoherentCached {
        /// What the card was told.
        bus: BusAddr,
        /// Length in bytes.
        bytes: u64,
        /// Who allocated it.
        mapped_at: Place,
    },
    /// The CPU touches a buffer that the card owns.
    #[error("the CPU {} {address} (+{bytes} bytes) while the card owns it, mapped at {mapped_at}",
            if *write { "writes" } else { "reads" })]
    CpuAccess {
        /// Where.
        address: PhysAddr,
        /// How much.
        bytes: u64,
        /// A write (else a read).
        write: bool,
        /// Who mapped it.
        mapped_at: Place,
    },
}

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

impl DmaApi for Checked {
    fn name(&self) -> &'static str {
        self.ops.name()
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

    fn counts(&self) -> OpsCounts {
        self.ops.counts()
    }

    fn max_mapping_bytes(&self) -> u64 {
        self.ops.max_mapping_bytes()
    }

    fn maintains_caches(&self) -> bool {
        self.ops.maintains_caches()
    }

    fn tick(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.ops.tick(host)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.debug.0.borrow_mut().check_leaks();
        self.ops.close(host)
    }
}

/// A host whose RAM accesses are compared with what the card owns.
pub struct Watched<'a> {
    host: &'a mut dyn Host,
    debug: DmaDebug,
    /// Compare accesses; else only note cache maintenance.
    watches_accesses: bool,
}

impl Memory for Watched<'_> {
    fn read(&mut self, address: PhysAddr, into: &mut [u8]) {
        if self.watches_accesses {
            self.debug.0.borrow_mut().check_access(address, into.len(), false);
        }
        self.host.read(address, into);
    }

    fn write(&mut self, address: PhysAddr, data: &[u8]) {
        if self.watches_accesses {
            self.debug.0.borrow_mut().check_access(address, data.len(), true);
        }
        self.host.write(address, data);
    }

    fn barrier(&mut self, barrier: Barrier) {
        self.host.barrier(barrier);
    }

    fn ram_bytes(&self) -> u64 {
        self.host.ram_bytes()
    }

    fn clean(&mut self, address: PhysAddr, len_bytes: u64) {
        self.debug.0.borrow_mut().maintenance.cleaned = address.get()..address.get() + len_bytes;
        self.host.clean(address, len_bytes);
    }

    fn invalidate(&mut self, address: PhysAddr, len_bytes: u64) {
        self.debug.0.borrow_mut().maintenance.invalidated =
            address.get()..address.get() + len_bytes;
        self.host.invalidate(address, len_bytes);
    }

    fn set_cached(&mut self, address: PhysAddr, len_bytes: u64, cached: bool) {
        if !cached {
            let range = address.get()..address.get() + len_bytes;
            self.debug.0.borrow_mut().maintenance.uncached = range;
        }
        self.host.set_cached(address, len_bytes, cached);
    }
}

impl Bus for Watched<'_> {
    fn now(&self) -> Instant {
        self.host.now()
    }

    fn spend(&mut self, cost: Span) {
        self.host.spend(cost);
    }

    fn config_read(&mut self, function: Bdf, offset: u16, width: Width) -> u32 {
        self.host.config_read(function, offset, width)
    }

    fn config_write(&mut self, function: Bdf, offset: u16, width: Width, value: u32) {
        self.host.config_write(function, offset, width, value);
    }

    fn mmio_read(&mut self, address: PhysAddr, width: Width) -> u64 {
        self.host.mmio_read(address, width)
    }

    fn mmio_write(&mut self, address: PhysAddr, width: Width, value: u64) {
        self.host.mmio_write(address, width, value);
    }

    fn mmio_write_combined(&mut self, address: PhysAddr, data: &[u8]) {
        self.host.mmio_write_combined(address, data);
    }

    fn allocate_message(&mut self) -> Option<(Vector, MsiMessage)> {
        self.host.allocate_message()
    }

    fn take_interrupt(&mut self) -> Option<Vector> {
        self.host.take_interrupt()
    }

    fn wait_interrupt(&mut self, deadline: Instant) -> Option<Vector> {
        self.host.wait_interrupt(deadline)
    }

    fn spin_on_memory(&mut self, address: PhysAddr, len_bytes: usize, deadline: Instant) -> bool {
        self.host.spin_on_memory(address, len_bytes, deadline)
    }

    fn hypercall(&mut self, call: Hypercall) -> Result<u64, HypercallError> {
        self.host.hypercall(call)
    }
}
