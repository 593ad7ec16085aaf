//! What a kernel does to drive a virtio card.
//!
//! ```text
//!   device::{blk, net}            requests and packets
//!        │            │
//!   virtqueue      transport      rings; registers of the card
//!        │            │
//!      dma ── iommu … pci, irq    bus addresses; configuration space, MSI-X
//!        └─────┬──────┘
//!      pcie_sim::host::Host       all of a computer that a driver may touch
//! ```
//!
//! The drivers always go through the DMA API ([`dma`]); which back end serves a device is chosen once,
//! at probe, in [`dma::select`]. Nothing here knows what stands behind the [`Host`]: a simulated root
//! complex, or a machine spoken to from outside.
//!
//! Left out: interrupts by pin, the legacy interface, queue reset, more than one CPU.
//!
//! [`Host`]: pcie_sim::host::Host

pub mod device;
pub mod dma;
pub mod irq;
pub mod pages;
pub mod pci;
pub mod transport;
pub mod virtqueue;

#[cfg(test)]
mod testing;

pub use device::blk::{BlkDone, BlkDriver, BlkOp, BlkRequest};
pub use device::net::{ControlError, NetDriver, NetEvents, Received};
pub use device::rng::{RngDone, RngDriver};
pub use device::{
    CompletionMode, Counters, DriverConfig, DriverCosts, DriverError, ProbeContext, ProbeError,
    SubmitError,
};
pub use dma::iommu::{DmarUnit, IommuMode, IommuUnit};
pub use dma::select::{BounceUse, Coherence, PlatformDma, Translation};
pub use pages::Pages;
pub use transport::Transport;
pub use transport::mmio::MmioTransport;
pub use transport::pci::PciTransport;
pub use virtqueue::{Indirect, Placement, Segment};
