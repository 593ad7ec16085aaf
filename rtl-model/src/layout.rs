//! Where the card keeps its structures: BAR0, and the capabilities that say so.

use pcie_sim::spec::virtio_pci::{COMMON_CFG_BYTES, cap};

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

/// Capabilities in configuration space, without gaps from 0x40 to 0xff.
pub(crate) const CAP_EXPRESS: u16 = 0x40;
/// MSI-X.
pub(crate) const CAP_MSIX: u16 = CAP_EXPRESS + pcie_sim::spec::pci::express::BYTES;
/// Common configuration.
pub(crate) const CAP_COMMON: u16 = CAP_MSIX + pcie_sim::spec::pci::msix::BYTES;
/// Notifications.
pub(crate) const CAP_NOTIFY: u16 = CAP_COMMON + cap::BYTES as u16;
/// ISR.
pub(crate) const CAP_ISR: u16 = CAP_NOTIFY + cap::BYTES_WITH_DATA as u16;
/// Device configuration.
pub(crate) const CAP_DEVICE: u16 = CAP_ISR + cap::BYTES as u16;
/// PCI configuration access.
pub(crate) const CAP_WINDOW: u16 = CAP_DEVICE + cap::BYTES as u16;
/// Memory on the card: shared, or the bounce buffer.
pub(crate) const CAP_SHARED: u16 = CAP_WINDOW + cap::BYTES_WITH_DATA as u16;
/// Power management.
pub(crate) const CAP_POWER: u16 = CAP_SHARED + cap::BYTES_64 as u16;

const _: () = assert!(CAP_POWER + 8 == 0x100 && COMMON_CFG_BYTES <= ISR as u16);
