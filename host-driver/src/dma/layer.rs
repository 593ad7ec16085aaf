//! What stands between a device and its ops: it has its own word in some calls, and leaves the rest to them.

use std::ops::Range;

use pcie_sim::host::Host;

use super::{Coherent, DmaApi, DmaError, MapRequest, Mapping, OpsCounts, Place};

/// A [`DmaApi`] made of another one. Whatever is not said here is what the ops under it say.
pub trait Layer {
    /// What it lies over.
    type Ops: DmaApi + ?Sized;

    /// What it lies over.
    fn ops(&self) -> &Self::Ops;

    /// What it lies over, to be changed.
    fn ops_mut(&mut self) -> &mut Self::Ops;

    /// As [`DmaApi::map`].
    ///
    /// # Errors
    /// Those of the ops.
    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        self.ops_mut().map(host, request)
    }

    /// As [`DmaApi::unmap`].
    ///
    /// # Errors
    /// Those of the ops.
    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        self.ops_mut().unmap(host, mapping)
    }

    /// As [`DmaApi::sync_for_cpu`].
    fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.ops_mut().sync_for_cpu(host, mapping, part);
    }

    /// As [`DmaApi::sync_for_device`].
    fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.ops_mut().sync_for_device(host, mapping, part);
    }

    /// As [`DmaApi::alloc_coherent`].
    ///
    /// # Errors
    /// Those of the ops.
    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        self.ops_mut().alloc_coherent(host, len_bytes, place)
    }

    /// As [`DmaApi::free_coherent`].
    ///
    /// # Errors
    /// Those of the ops.
    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        self.ops_mut().free_coherent(host, memory)
    }

    /// As [`DmaApi::close`].
    ///
    /// # Errors
    /// Those of the ops.
    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.ops_mut().close(host)
    }
}

impl<L: Layer> DmaApi for L {
    fn name(&self) -> &'static str {
        self.ops().name()
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        Layer::map(self, host, request)
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        Layer::unmap(self, host, mapping)
    }

    fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        Layer::sync_for_cpu(self, host, mapping, part);
    }

    fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        Layer::sync_for_device(self, host, mapping, part);
    }

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        Layer::alloc_coherent(self, host, len_bytes, place)
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        Layer::free_coherent(self, host, memory)
    }

    fn counts(&self) -> OpsCounts {
        self.ops().counts()
    }

    fn max_mapping_bytes(&self) -> u64 {
        self.ops().max_mapping_bytes()
    }

    fn maintains_caches(&self) -> bool {
        self.ops().maintains_caches()
    }

    fn tick(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.ops_mut().tick(host)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        Layer::close(self, host)
    }
}
