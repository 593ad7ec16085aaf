//! The DMA API: what turns a buffer in RAM into an address that the card may be told.
//!
//! ```text
//!  virtqueue, drivers ──▶ Dma ──▶ [debug] ──▶ back end: direct (plain or through a window), iommu, tce, swiotlb, xen,
//!                                             noncoherent (around direct), card_bounce, or what a
//!                                             platform hooks in
//! ```
//!
//! A [`Mapping`] is consumed when it is unmapped, so unmapping twice does not compile, and a failed map
//! is an `Err`, so using an address nobody gave does not compile either:
//!
//! ```compile_fail,E0382
//! # use host_driver::dma::{Dma, Mapping};
//! # use pcie_sim::host::Host;
//! fn twice(dma: &mut Dma, host: &mut dyn Host, mapping: Mapping) {
//!     let _ = dma.unmap(host, mapping);
//!     let _ = dma.unmap(host, mapping);
//! }
//! ```
//!
//! ```
//! # use host_driver::dma::{Dma, Mapping};
//! # use pcie_sim::host::Host;
//! fn once(dma: &mut Dma, host: &mut dyn Host, mapping: Mapping) {
//!     let _ = dma.unmap(host, mapping);
//! }
//! ```

#[cfg(test)]
mod backend_tests;
pub mod card_bounce;
pub mod costs;
pub mod debug;
pub mod direct;
mod error;
pub mod iommu;
pub mod layer;
pub mod noncoherent;
mod pass_through;
pub mod select;
pub mod slots;
mod stats;
pub mod swiotlb;
pub mod tce;
#[cfg(test)]
mod tests;
pub mod xen;

use std::ops::Range;
use std::panic::Location;

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::Host;

use crate::pages::PageError;
use debug::DmaDebug;
pub use error::DmaError;
pub use stats::{DmaStats, OpsCounts};

/// The line of code on whose behalf something was mapped.
pub type Place = &'static Location<'static>;

/// Which way a streaming mapping's data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// The card reads it.
    ToDevice,
    /// The card writes it.
    FromDevice,
    /// Both.
    Bidirectional,
}

impl Direction {
    /// Whether the card may read.
    #[must_use]
    pub const fn device_reads(self) -> bool {
        matches!(self, Self::ToDevice | Self::Bidirectional)
    }

    /// Whether the card may write.
    #[must_use]
    pub const fn device_writes(self) -> bool {
        matches!(self, Self::FromDevice | Self::Bidirectional)
    }
}

/// What is to be mapped.
#[derive(Debug, Clone, Copy)]
pub struct MapRequest {
    /// Where the buffer starts.
    pub buffer: PhysAddr,
    /// Its length in bytes, not zero.
    pub len_bytes: u64,
    /// Who accesses it how.
    pub direction: Direction,
    /// On whose behalf.
    pub place: Place,
}

/// A streaming mapping: while it lives the buffer belongs to the card.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a mapping that is dropped is a leak: unmap it"]
pub struct Mapping {
    bus: BusAddr,
    buffer: PhysAddr,
    len_bytes: u64,
    direction: Direction,
}

impl Mapping {
    /// For back ends: the mapping that answers `request`, seen by the card at `bus`.
    pub const fn new(bus: BusAddr, request: &MapRequest) -> Self {
        Self {
            bus,
            buffer: request.buffer,
            len_bytes: request.len_bytes,
            direction: request.direction,
        }
    }

    /// What the card is told.
    #[must_use]
    pub const fn bus(&self) -> BusAddr {
        self.bus
    }

    /// The buffer.
    #[must_use]
    pub const fn buffer(&self) -> PhysAddr {
        self.buffer
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Who accesses it how.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }
}

/// How the CPU reaches a piece of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuView {
    /// RAM.
    Ram(PhysAddr),
    /// Memory of a device, through a BAR.
    Device(PhysAddr),
}

/// Memory that CPU and card both use at any time: rings.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "coherent memory that is dropped is a leak: free it"]
pub struct Coherent {
    /// Where the CPU finds it.
    pub cpu: CpuView,
    /// What the card is told.
    pub bus: BusAddr,
    /// Its length in bytes.
    pub len_bytes: u64,
}

/// One way of making bus addresses: a back end, or a tool wrapped around one.
pub trait DmaApi {
    /// The name that reports print: `direct`, `iommu`, …
    fn name(&self) -> &'static str;

    /// Hands a buffer to the card.
    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError>;

    /// Takes a buffer back.
    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError>;

    /// Lets the CPU look at a part of a mapped buffer. `part` lies within the mapping.
    fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>);

    /// Gives a part that the CPU looked at back to the card. `part` lies within the mapping.
    fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>);

    /// Zeroed memory for CPU and card, page-aligned.
    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError>;

    /// Takes coherent memory back.
    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError>;

    /// What it counted so far.
    fn counts(&self) -> OpsCounts {
        OpsCounts::default()
    }

    /// Most bytes of one mapping.
    fn max_mapping_bytes(&self) -> u64 {
        u64::MAX
    }

    /// The device depends on cache maintenance by these ops; DMA debug then looks for it.
    fn maintains_caches(&self) -> bool {
        false
    }

    /// Does what is due by now: the timer of a deferred flush. Drivers call it while they wait.
    fn tick(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        let _ = host;
        Ok(())
    }

    /// The device goes: gives back what the back end itself holds (tables, address space).
    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError>;
}

/// A device's hold on the DMA API: the ops chosen for it, and the counts.
pub struct Dma {
    ops: Box<dyn DmaApi>,
    stats: DmaStats,
    debug: Option<DmaDebug>,
    /// Translation that is in force although the ops do not use it (no ACCESS_PLATFORM).
    unused_domain: Option<Box<dyn DmaApi>>,
}

impl Dma {
    /// The ops that serve a device, with `debug` watching when given.
    #[must_use]
    pub fn new(ops: Box<dyn DmaApi>, debug: Option<DmaDebug>) -> Self {
        let ops = match &debug {
            Some(debug) => debug.wrap(ops),
            None => ops,
        };
        Self { ops, stats: DmaStats::default(), debug, unused_domain: None }
    }

    /// Keeps a domain that the platform has put the device in, to be closed with the device.
    pub(crate) fn keep_domain(&mut self, domain: Box<dyn DmaApi>) {
        self.unused_domain = Some(domain);
    }

    /// Name of the back end.
    #[must_use]
    pub fn ops_name(&self) -> &'static str {
        self.ops.name()
    }

    /// Hands a buffer to the card.
    #[track_caller]
    pub fn map(
        &mut self,
        host: &mut dyn Host,
        buffer: PhysAddr,
        len_bytes: u64,
        direction: Direction,
    ) -> Result<Mapping, DmaError> {
        let request = MapRequest { buffer, len_bytes, direction, place: Location::caller() };
        let end = buffer.get().checked_add(len_bytes);
        if len_bytes == 0 || end.is_none() {
            return Err(DmaError::BadLength { address: buffer, bytes: len_bytes });
        }
        let begun = host.now();
        let result = self.ops.map(host, &request);
        self.stats.cpu_time += host.now().since(begun);
        match result {
            Ok(_) => self.stats.maps += 1,
            Err(_) => self.stats.failed_maps += 1,
        }
        result
    }

    /// Takes a buffer back.
    pub fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        self.stats.unmaps += 1;
        let begun = host.now();
        let result = self.ops.unmap(host, mapping);
        self.stats.cpu_time += host.now().since(begun);
        result
    }

    /// Lets the CPU look at a mapped buffer.
    pub fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping) {
        self.sync_part_for_cpu(host, mapping, 0..mapping.len_bytes);
    }

    /// Gives a buffer the CPU looked at back to the card.
    pub fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping) {
        self.sync_part_for_device(host, mapping, 0..mapping.len_bytes);
    }

    /// Lets the CPU look at some bytes of a mapped buffer, counted from its start; what lies beyond
    /// the mapping is left out.
    pub fn sync_part_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.stats.syncs += 1;
        let part = within(mapping, part);
        if !part.is_empty() {
            let begun = host.now();
            self.ops.sync_for_cpu(host, mapping, part);
            self.stats.cpu_time += host.now().since(begun);
        }
    }

    /// Gives some bytes of a mapped buffer back to the card, as [`Dma::sync_part_for_cpu`].
    pub fn sync_part_for_device(
        &mut self,
        host: &mut dyn Host,
        mapping: &Mapping,
        part: Range<u64>,
    ) {
        self.stats.syncs += 1;
        let part = within(mapping, part);
        if !part.is_empty() {
            let begun = host.now();
            self.ops.sync_for_device(host, mapping, part);
            self.stats.cpu_time += host.now().since(begun);
        }
    }

    /// Zeroed memory for CPU and card, page-aligned.
    #[track_caller]
    pub fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
    ) -> Result<Coherent, DmaError> {
        self.ops.alloc_coherent(host, len_bytes, Location::caller())
    }

    /// Takes coherent memory back.
    pub fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        self.ops.free_coherent(host, memory)
    }

    /// How often it was used.
    #[must_use]
    pub fn stats(&self) -> DmaStats {
        let ops = self.ops.counts();
        DmaStats { bounced_bytes: ops.bounced_bytes, ops, ..self.stats }
    }

    /// Most bytes of one mapping.
    #[must_use]
    pub fn max_mapping_bytes(&self) -> u64 {
        self.ops.max_mapping_bytes()
    }

    /// Does what is due by now.
    pub fn tick(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        let begun = host.now();
        let result = self.ops.tick(host);
        self.stats.cpu_time += host.now().since(begun);
        result
    }

    /// The watcher, when there is one.
    #[must_use]
    pub fn debug(&self) -> Option<&DmaDebug> {
        self.debug.as_ref()
    }

    /// The device goes. With DMA debug on, what is still mapped is reported as leaked.
    pub fn close(mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        let closed = self.ops.close(host);
        match &mut self.unused_domain {
            Some(domain) => domain.close(host).and(closed),
            None => closed,
        }
    }
}

impl std::fmt::Debug for Dma {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dma").field("ops", &self.ops.name()).field("stats", &self.stats()).finish()
    }
}

fn within(mapping: &Mapping, part: Range<u64>) -> Range<u64> {
    part.start..part.end.min(mapping.len_bytes)
}

/// Zeroed pages of RAM, for back ends whose coherent memory is plain RAM.
pub(crate) fn zeroed_pages(
    host: &mut dyn Host,
    pages: &crate::pages::Pages,
    len_bytes: u64,
) -> Result<PhysAddr, PageError> {
    let start = pages.alloc(len_bytes, 1)?;
    zero(host, start, len_bytes);
    Ok(start)
}

/// Coherent memory in RAM that the card reaches by a mapping, which `map` makes; without it nothing stays.
fn mapped_coherent(
    host: &mut dyn Host,
    pages: &crate::pages::Pages,
    len_bytes: u64,
    place: Place,
    map: impl FnOnce(&mut dyn Host, &MapRequest) -> Result<BusAddr, DmaError>,
) -> Result<Coherent, DmaError> {
    let start = zeroed_pages(host, pages, len_bytes)?;
    let request =
        MapRequest { buffer: start, len_bytes, direction: Direction::Bidirectional, place };
    match map(host, &request) {
        Ok(bus) => Ok(Coherent { cpu: CpuView::Ram(start), bus, len_bytes }),
        Err(error) => {
            pages.free(start, len_bytes)?;
            Err(error)
        }
    }
}

/// Fills whole pages with zeroes.
pub(crate) fn zero(host: &mut dyn Host, start: PhysAddr, len_bytes: u64) {
    const ZEROES: [u8; 4096] = [0; 4096];
    let mut done = 0;
    while done < len_bytes {
        host.write(start + done, &ZEROES);
        done += ZEROES.len() as u64;
    }
}
