//! Pass-through: a context entry that lets the device's addresses pass as they are, and direct ops.

use std::ops::Range;

use pcie_sim::address::Bdf;
use pcie_sim::host::Host;

use super::direct::Direct;
use super::iommu::IommuUnit;
use super::{Coherent, DmaApi, DmaError, MapRequest, Mapping, Place};

/// Direct ops of a device in a pass-through domain; the entry goes with them.
#[derive(Debug)]
pub(super) struct PassThrough {
    direct: Direct,
    unit: IommuUnit,
    requester: Bdf,
}

impl PassThrough {
    /// Puts `requester` into a pass-through domain of its own.
    pub(super) fn new(
        host: &mut dyn Host,
        unit: &IommuUnit,
        requester: Bdf,
        direct: Direct,
    ) -> Result<Self, DmaError> {
        unit.attach_pass_through(host, requester)?;
        Ok(Self { direct, unit: unit.clone(), requester })
    }
}

impl DmaApi for PassThrough {
    fn name(&self) -> &'static str {
        self.direct.name()
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        self.direct.map(host, request)
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        self.direct.unmap(host, mapping)
    }

    fn sync_for_cpu(&mut self, _host: &mut dyn Host, _mapping: &Mapping, _part: Range<u64>) {}

    fn sync_for_device(&mut self, _host: &mut dyn Host, _mapping: &Mapping, _part: Range<u64>) {}

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        self.direct.alloc_coherent(host, len_bytes, place)
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        self.direct.free_coherent(host, memory)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.unit.detach_device(host, self.requester)?;
        self.direct.close(host)
    }
}
