//! The doorbell: how the driver tells the card that a queue has something for it.

use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Width};

/// A queue's doorbell: 16 bits, the queue's number. Virtio 1.4, "Available Buffer Notifications".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doorbell {
    address: PhysAddr,
    width: Width,
    value: u32,
}

impl Doorbell {
    /// A doorbell of virtio over PCI for queue `queue`.
    #[must_use]
    pub const fn of_queue(address: PhysAddr, queue: u16) -> Self {
        Self { address, width: Width::W16, value: queue as u32 }
    }

    /// A doorbell that takes another width or value, as other transports have.
    #[must_use]
    pub const fn new(address: PhysAddr, width: Width, value: u32) -> Self {
        Self { address, width, value }
    }

    /// Rings it. Being uncached, the write leaves the CPU after all stores before it.
    pub fn ring<B: Bus + ?Sized>(&self, bus: &mut B) {
        bus.mmio_write(self.address, self.width, u64::from(self.value));
    }
}
