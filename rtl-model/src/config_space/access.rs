//! What software may do with the bits that only a virtio card has. Rows are relative to the capability's
//! start; those of the capabilities that every function has are in [`pcie_sim::config_space::access`].

use pcie_sim::config_space::access::{Access, Row};
use pcie_sim::spec::virtio_pci::cap;

/// The PCI configuration access capability. Virtio 1.4, "PCI configuration access capability".
pub(crate) const WINDOW: &[Row] = &[
    (cap::BAR, 0xff, Access::Rw),
    (cap::OFFSET, u32::MAX, Access::Rw),
    (cap::LENGTH, u32::MAX, Access::Rw),
    (cap::PCI_CFG_DATA, u32::MAX, Access::Rw),
];
