//! Cache maintenance for hosts whose caches devices do not snoop, wrapped around other ops.
//!
//! ```text
//!   map, sync for device   clean        the card sees what the CPU wrote, and no dirty line is written
//!                                       back later over what the card writes
//!   unmap, sync for CPU    invalidate   the CPU sees what the card wrote
//!   coherent memory        uncached     rings are used by both sides at any time
//! ```
//!
//! Decided: a map cleans whatever the direction, as arm64 does, since a dirty line of a buffer that the
//! card fills would be written back over its data. Coherent memory is mapped uncached: maintaining a
//! ring entry by entry would share lines between two writers. What maintenance costs is the machine's
//! fact.

use std::ops::Range;

use pcie_sim::host::Host;

use super::{Coherent, CpuView, DmaApi, DmaError, MapRequest, Mapping, OpsCounts, Place};
use crate::pages::PAGE_BYTES;

/// A step that a faulty platform leaves out, to show what comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaintenanceStep {
    /// The clean at map.
    CleanAtMap,
    /// The clean when a buffer is given back to the card.
    CleanAtSync,
    /// The invalidation at unmap.
    InvalidateAtUnmap,
    /// The invalidation when the CPU wants to look.
    InvalidateAtSync,
    /// Coherent memory stays cached.
    UncachedCoherent,
}

/// Ops with cache maintenance around them.
pub struct Maintained {
    ops: Box<dyn DmaApi>,
    leave_out: Option<MaintenanceStep>,
    maintained_bytes: u64,
}

impl Maintained {
    /// `ops` with maintenance; `leave_out` leaves one step out.
    #[must_use]
    pub fn new(ops: Box<dyn DmaApi>, leave_out: Option<MaintenanceStep>) -> Self {
        Self { ops, leave_out, maintained_bytes: 0 }
    }

    fn does(&self, step: MaintenanceStep) -> bool {
        self.leave_out != Some(step)
    }

    fn clean(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.maintained_bytes += part.end - part.start;
        host.clean(mapping.buffer() + part.start, part.end - part.start);
    }

    fn invalidate(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.maintained_bytes += part.end - part.start;
        host.invalidate(mapping.buffer() + part.start, part.end - part.start);
    }
}

impl DmaApi for Maintained {
    fn name(&self) -> &'static str {
        match self.ops.name() {
            "direct" => "direct+maintenance",
            "iommu" => "iommu+maintenance",
            _ => "maintenance",
        }
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        let mapping = self.ops.map(host, request)?;
        if self.does(MaintenanceStep::CleanAtMap) {
            self.clean(host, &mapping, 0..request.len_bytes);
        }
        Ok(mapping)
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        if mapping.direction().device_writes() && self.does(MaintenanceStep::InvalidateAtUnmap) {
            self.invalidate(host, &mapping, 0..mapping.len_bytes());
        }
        self.ops.unmap(host, mapping)
    }

    fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.ops.sync_for_cpu(host, mapping, part.clone());
        if mapping.direction().device_writes() && self.does(MaintenanceStep::InvalidateAtSync) {
            self.invalidate(host, mapping, part);
        }
    }

    fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        if self.does(MaintenanceStep::CleanAtSync) {
            self.clean(host, mapping, part.clone());
        }
        self.ops.sync_for_device(host, mapping, part);
    }

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        let memory = self.ops.alloc_coherent(host, len_bytes, place)?;
        if let CpuView::Ram(start) = memory.cpu
            && self.does(MaintenanceStep::UncachedCoherent)
        {
            host.set_cached(start, whole_pages(len_bytes), false);
        }
        Ok(memory)
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        if let CpuView::Ram(start) = memory.cpu
            && self.does(MaintenanceStep::UncachedCoherent)
        {
            host.set_cached(start, whole_pages(memory.len_bytes), true);
        }
        self.ops.free_coherent(host, memory)
    }

    fn counts(&self) -> OpsCounts {
        let own = OpsCounts { maintained_bytes: self.maintained_bytes, ..OpsCounts::default() };
        self.ops.counts() + own
    }

    fn max_mapping_bytes(&self) -> u64 {
        self.ops.max_mapping_bytes()
    }

    fn maintains_caches(&self) -> bool {
        true
    }

    fn tick(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.ops.tick(host)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.ops.close(host)
    }
}

fn whole_pages(len_bytes: u64) -> u64 {
    len_bytes.max(1).next_multiple_of(PAGE_BYTES)
}
