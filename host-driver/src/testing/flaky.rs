//! A DMA back end that fails when a test says so, and counts what is mapped.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use pcie_sim::host::Host;

use crate::dma::direct::Direct;
use crate::dma::{Coherent, DmaApi, DmaError, MapRequest, Mapping, Place};
use crate::pages::Pages;

/// The strings a test holds.
#[derive(Clone, Default)]
pub(crate) struct Strings {
    /// Maps that still succeed; `None`: all.
    pub(crate) maps_left: Rc<Cell<Option<u32>>>,
    /// Mappings that live now.
    pub(crate) live: Rc<Cell<i64>>,
}

pub(crate) struct Flaky {
    inner: Direct,
    strings: Strings,
}

impl Flaky {
    pub(crate) fn new(pages: &Pages, strings: &Strings) -> Self {
        Self { inner: Direct::new(pages.clone(), u64::MAX), strings: strings.clone() }
    }
}

impl DmaApi for Flaky {
    fn name(&self) -> &'static str {
        "flaky"
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        match self.strings.maps_left.get() {
            Some(0) => return Err(DmaError::NoAddresses { bytes: request.len_bytes }),
            left => self.strings.maps_left.set(left.map(|left| left - 1)),
        }
        self.strings.live.set(self.strings.live.get() + 1);
        self.inner.map(host, request)
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        self.strings.live.set(self.strings.live.get() - 1);
        self.inner.unmap(host, mapping)
    }

    fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.inner.sync_for_cpu(host, mapping, part);
    }

    fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.inner.sync_for_device(host, mapping, part);
    }

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        self.inner.alloc_coherent(host, len, place)
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        self.inner.free_coherent(host, memory)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.inner.close(host)
    }
}
