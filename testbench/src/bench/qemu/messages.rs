//! Interrupt messages that go to memory: behind an IOMMU the page that they go to has to be mapped for the
//! device like any other, as arm64 systems do it for the doorbell of their interrupt controller.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;

use host_driver::dma::layer::Layer;
use host_driver::dma::select::Wrap;
use host_driver::dma::{Coherent, Direction, DmaApi, DmaError, MapRequest, Mapping, Place};
use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::Host;
use pcie_sim::host::qtest::MessageBus;

/// Bytes of the page for messages.
const PAGE_BYTES: u64 = 4096;

/// DMA ops around a device's own that map the page for messages before the device gets its first ring, and
/// unmap it when the device goes.
pub struct MessageOps {
    ops: Box<dyn DmaApi>,
    page: PhysAddr,
    bus: MessageBus,
    mapping: Option<Mapping>,
}

impl MessageOps {
    /// A wrapper for the ops of every device of a machine.
    #[must_use]
    pub fn wrap(page: PhysAddr, bus: MessageBus) -> Wrap {
        Rc::new(move |ops| Box::new(Self { ops, page, bus: bus.clone(), mapping: None }))
    }

    fn map_page(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        if self.mapping.is_none() {
            let request = MapRequest {
                buffer: self.page,
                len_bytes: PAGE_BYTES,
                direction: Direction::FromDevice,
                place: Location::caller(),
            };
            let mapping = self.ops.map(host, &request)?;
            self.bus.set(mapping.bus());
            self.mapping = Some(mapping);
        }
        Ok(())
    }
}

impl Layer for MessageOps {
    type Ops = dyn DmaApi;

    fn ops(&self) -> &Self::Ops {
        self.ops.as_ref()
    }

    fn ops_mut(&mut self) -> &mut Self::Ops {
        self.ops.as_mut()
    }

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        self.map_page(host)?;
        self.ops.alloc_coherent(host, len_bytes, place)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        let unmapped = match self.mapping.take() {
            Some(mapping) => self.ops.unmap(host, mapping),
            None => Ok(()),
        };
        self.ops.close(host).and(unmapped)
    }
}

/// DMA ops that hand over, while they are armed, an address that nothing is mapped at: what a driver with a
/// wrong address in its descriptor does.
pub struct Misdirect {
    ops: Box<dyn DmaApi>,
    by: Rc<Cell<u64>>,
}

impl Misdirect {
    /// A wrapper for the ops that `around` gives; what is in the cell is added to each address handed over.
    #[must_use]
    pub fn wrap(around: Option<Wrap>, by: Rc<Cell<u64>>) -> Wrap {
        Rc::new(move |ops| {
            let ops = match &around {
                Some(wrap) => wrap(ops),
                None => ops,
            };
            Box::new(Self { ops, by: by.clone() })
        })
    }
}

impl Layer for Misdirect {
    type Ops = dyn DmaApi;

    fn ops(&self) -> &Self::Ops {
        self.ops.as_ref()
    }

    fn ops_mut(&mut self) -> &mut Self::Ops {
        self.ops.as_mut()
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        let right = self.ops.map(host, request)?;
        let by = self.by.get();
        if by == 0 {
            return Ok(right);
        }
        let wrong = Mapping::new(BusAddr(right.bus().get() + by), request);
        // The right address is mapped for nobody, and goes again at once.
        self.ops.unmap(host, right)?;
        Ok(wrong)
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        match self.ops.unmap(host, mapping) {
            // What was never mapped cannot be unmapped.
            Err(DmaError::NotMapped { .. }) => Ok(()),
            other => other,
        }
    }
}
