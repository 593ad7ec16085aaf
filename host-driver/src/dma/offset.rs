//! Bus address = physical address + window base: a window that maps all of RAM for good, as the 64-bit
//! "direct DMA window" of pSeries does. Mapping costs nothing.

use std::ops::Range;

use pcie_sim::address::BusAddr;
use pcie_sim::host::Host;

use super::direct::Direct;
use super::{Coherent, DmaApi, DmaError, MapRequest, Mapping, Place};
use crate::pages::Pages;

/// The offset back end: the direct one, seen through a window.
#[derive(Debug)]
pub struct Offset {
    direct: Direct,
    base: u64,
    mask: u64,
}

impl Offset {
    /// A window that begins at bus address `base` and maps the first `bytes` bytes of RAM, for a card
    /// whose DMA mask is `mask`.
    #[must_use]
    pub fn new(pages: Pages, base: u64, bytes: u64, mask: u64) -> Self {
        Self { direct: Direct::new(pages, bytes.saturating_sub(1)), base, mask }
    }

    fn through(&self, address: BusAddr, bytes: u64) -> Result<BusAddr, DmaError> {
        let address = address + self.base;
        match address.get().checked_add(bytes - 1) {
            Some(last) if last <= self.mask => Ok(address),
            _ => Err(DmaError::BeyondMask { address, bytes, mask: self.mask }),
        }
    }
}

impl DmaApi for Offset {
    fn name(&self) -> &'static str {
        "offset"
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        let inside = self.direct.map(host, request)?;
        let bus = self.through(inside.bus(), request.len_bytes)?;
        Ok(Mapping::new(bus, request))
    }

    fn unmap(&mut self, _host: &mut dyn Host, _mapping: Mapping) -> Result<(), DmaError> {
        Ok(())
    }

    fn sync_for_cpu(&mut self, _host: &mut dyn Host, _mapping: &Mapping, _part: Range<u64>) {}

    fn sync_for_device(&mut self, _host: &mut dyn Host, _mapping: &Mapping, _part: Range<u64>) {}

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        let inside = self.direct.alloc_coherent(host, len_bytes, place)?;
        match self.through(inside.bus, len_bytes.max(1)) {
            Ok(bus) => Ok(Coherent { bus, ..inside }),
            Err(error) => {
                self.direct.free_coherent(host, inside)?;
                Err(error)
            }
        }
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        self.direct.free_coherent(host, memory)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.direct.close(host)
    }
}
