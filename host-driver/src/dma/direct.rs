//! Bus address = physical address, or the same seen through a window that the platform holds open for
//! good: the 64-bit "direct DMA window" of pSeries, the window of a non-transparent bridge. Mapping costs
//! nothing.

use std::ops::Range;

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::Host;

use super::{Coherent, CpuView, DmaApi, DmaError, MapRequest, Mapping, Place, zeroed_pages};
use crate::pages::Pages;

/// A part of RAM that a device sees in one piece, at addresses of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Where the part begins in RAM.
    pub start: PhysAddr,
    /// Its length in bytes.
    pub bytes: u64,
    /// The bus address of its first byte.
    pub base: BusAddr,
}

/// The direct back end.
#[derive(Debug)]
pub struct Direct {
    pages: Pages,
    mask: u64,
    window: Option<Window>,
}

impl Direct {
    /// Direct ops for a card whose DMA mask is `mask`; coherent memory comes from `pages`.
    #[must_use]
    pub fn new(pages: Pages, mask: u64) -> Self {
        Self { pages, mask, window: None }
    }

    /// The same through a window, which has to hold all of `pages`.
    #[must_use]
    pub fn through(window: Window, pages: Pages, mask: u64) -> Self {
        Self { pages, mask, window: Some(window) }
    }

    /// What the card is told of a buffer.
    fn bus(&self, buffer: PhysAddr, bytes: u64) -> Result<BusAddr, DmaError> {
        let address = match self.window {
            None => BusAddr(buffer.get()),
            Some(window) => window.bus(buffer, bytes)?,
        };
        match address.get().checked_add(bytes - 1) {
            Some(last) if last <= self.mask => Ok(address),
            _ => Err(DmaError::BeyondMask { address, bytes, mask: self.mask }),
        }
    }
}

impl Window {
    fn bus(&self, buffer: PhysAddr, bytes: u64) -> Result<BusAddr, DmaError> {
        let outside = DmaError::OutsideWindow { address: buffer, bytes };
        let offset = buffer.get().checked_sub(self.start.get()).ok_or(outside)?;
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(self.base + offset),
            _ => Err(outside),
        }
    }
}

impl DmaApi for Direct {
    fn name(&self) -> &'static str {
        match self.window {
            None => "direct",
            Some(_) => "direct+offset",
        }
    }

    fn map(&mut self, _host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        let bus = self.bus(request.buffer, request.len_bytes)?;
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
        match self.bus(start, len_bytes.max(1)) {
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
