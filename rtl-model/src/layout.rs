//! Where the card keeps its structures in BAR0.

use pcie_sim::spec::virtio_pci::COMMON_CFG_BYTES;

/// Bytes of BAR0.
pub(crate) const REGISTERS_BYTES: u32 = 0x4000;
/// Common configuration in BAR0.
pub(crate) const COMMON: u32 = 0x0000;
/// ISR status in BAR0.
pub(crate) const ISR: u32 = 0x1000;
/// Device configuration in BAR0.
pub(crate) const DEVICE: u32 = 0x2000;
/// Doorbells in BAR0.
pub(crate) const NOTIFY: u32 = 0x3000;
/// Bytes from one queue's doorbell to the next.
pub(crate) const NOTIFY_MULTIPLIER: u32 = 4;

const _: () = assert!(COMMON_CFG_BYTES <= ISR as u16);
