//! Bus address = physical address: no translation, or one that passes through.

use std::ops::Range;

use pcie_sim::address::BusAddr;
use pcie_sim::host::Host;

use super::{Coherent, CpuView, DmaApi, DmaError, MapRequest, Mapping, Place, zeroed_pages};
use crate::pages::Pages;

/// The direct back end. Mapping costs nothing.
#[derive(Debug)]
pub struct Direct {
    pages: Pages,
    mask: u64,
}

impl Direct {
    /// Direct ops for a card whose DMA mask is `mask`; coherent memory comes from `pages`.
    #[must_use]
    pub fn new(pages: Pages, mask: u64) -> Self {
        Self { pages, mask }
    }

    fn reachable(&self, address: BusAddr, bytes: u64) -> Result<BusAddr, DmaError> {
        match address.get().checked_add(bytes - 1) {
            Some(last) if last <= self.mask => Ok(address),
            _ => Err(DmaError::BeyondMask { address, bytes, mask: self.mask }),
        }
    }
}

impl DmaApi for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn map(&mut self, _host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        let bus = self.reachable(BusAddr(request.buffer.get()), request.len_bytes)?;
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
        _place: Place,
    ) -> Result<Coherent, DmaError> {
        let start = zeroed_pages(host, &self.pages, len_bytes)?;
        match self.reachable(BusAddr(start.get()), len_bytes.max(1)) {
            Ok(bus) => Ok(Coherent { cpu: CpuView::Ram(start), bus, len_bytes }),
            Err(error) => {
                self.pages.free(start, len_bytes)?;
                Err(error)
            }
        }
    }

    fn free_coherent(&mut self, _host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        let CpuView::Ram(start) = memory.cpu else {
            return Err(DmaError::NotMapped { address: memory.bus, bytes: memory.len_bytes });
        };
        Ok(self.pages.free(start, memory.len_bytes)?)
    }

    fn close(&mut self, _host: &mut dyn Host) -> Result<(), DmaError> {
        Ok(())
    }
}
