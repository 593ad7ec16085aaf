//! What software may do with each bit of configuration space, and what a reset does to it: one table.
//!
//! A bit that no row names is read only, and as built after any reset. PCIe 5.0 §7.4, "Configuration
//! Register Types". Rows of one capability are relative to its start.

use crate::spec::{aer, pci};
use pci::{command, express, header, msix, power, status};

/// A register type, besides RO and HwInit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read and write.
    Rw,
    /// Read and write; belongs to the link, so that only a reset of the link puts it back. PCIe 5.0
    /// §6.6.2, "Function Level Reset", lists which.
    RwLink,
    /// Read; a written one clears.
    Rw1c,
    /// Read only, kept by every reset but power-on.
    Ros,
    /// Read and write, kept by every reset but power-on.
    Rws,
    /// Read; a written one clears; kept by every reset but power-on.
    Rw1cs,
}

impl Access {
    /// Whether software can set and clear the bits.
    pub fn writable(self) -> bool {
        matches!(self, Self::Rw | Self::RwLink | Self::Rws)
    }

    /// Whether a written one clears the bit.
    pub fn clearable(self) -> bool {
        matches!(self, Self::Rw1c | Self::Rw1cs)
    }

    /// Whether the bits outlive every reset but power-on.
    pub fn sticky(self) -> bool {
        matches!(self, Self::Ros | Self::Rws | Self::Rw1cs)
    }
}

/// Bits of one doubleword or less: offset of the lowest byte, bits, type.
pub type Row = (u16, u32, Access);

/// The header; base address registers depend on the card and are the builder's.
pub const HEADER: &[Row] = &[
    (
        header::COMMAND,
        (command::MEMORY_SPACE
            | command::BUS_MASTER
            | command::PARITY
            | command::SERR
            | command::INTX_DISABLE) as u32,
        Access::Rw,
    ),
    (header::STATUS, status::ERRORS as u32, Access::Rw1c),
    (header::CACHE_LINE_SIZE, 0xff, Access::Rw),
    (header::INTERRUPT_LINE, 0xff, Access::Rw),
];

/// The PCI Express capability. The bit that starts a function level reset reads as zero, so it is none of
/// these.
pub const EXPRESS: &[Row] = &[
    (
        express::DEVICE_CONTROL,
        (express::CONTROL_CORRECTABLE
            | express::CONTROL_NON_FATAL
            | express::CONTROL_FATAL
            | express::CONTROL_UNSUPPORTED
            | express::CONTROL_RELAXED_ORDERING
            | express::CONTROL_EXTENDED_TAG
            | express::CONTROL_NO_SNOOP
            | express::CONTROL_READ_REQUEST) as u32,
        Access::Rw,
    ),
    (express::DEVICE_CONTROL, express::CONTROL_PAYLOAD as u32, Access::RwLink),
    (
        express::DEVICE_STATUS,
        (express::STATUS_CORRECTABLE
            | express::STATUS_NON_FATAL
            | express::STATUS_FATAL
            | express::STATUS_UNSUPPORTED) as u32,
        Access::Rw1c,
    ),
    (express::LINK_CONTROL, express::LINK_CONTROL_ENDPOINT as u32, Access::RwLink),
    (
        express::DEVICE_CONTROL_2,
        (express::CONTROL_2_TIMEOUT | express::CONTROL_2_TIMEOUT_OFF | express::CONTROL_2_TAG_10)
            as u32,
        Access::Rw,
    ),
    (express::LINK_CONTROL_2, express::LINK_CONTROL_2_SPEED as u32, Access::Rws),
];

/// The power management capability.
pub const POWER: &[Row] = &[(power::CONTROL, power::CONTROL_STATE as u32, Access::Rw)];

/// The MSI-X capability.
pub const MSIX: &[Row] =
    &[(msix::CONTROL, (msix::CONTROL_ENABLE | msix::CONTROL_FUNCTION_MASK) as u32, Access::Rw)];

/// The AER capability, as every function has it.
pub const AER: &[Row] = &[
    (aer::UNCORRECTABLE_STATUS, aer::UNCORRECTABLE, Access::Rw1cs),
    (aer::UNCORRECTABLE_MASK, aer::UNCORRECTABLE, Access::Rws),
    (aer::UNCORRECTABLE_SEVERITY, aer::UNCORRECTABLE, Access::Rws),
    (aer::CORRECTABLE_STATUS, aer::CORRECTABLE | aer::ADVISORY_NON_FATAL, Access::Rw1cs),
    (aer::CORRECTABLE_MASK, aer::CORRECTABLE | aer::ADVISORY_NON_FATAL, Access::Rws),
    (aer::CONTROL, aer::CONTROL_FIRST_ERROR | aer::CONTROL_PREFIX_LOGGED, Access::Ros),
    (aer::CONTROL, aer::CONTROL_ECRC_GENERATION | aer::CONTROL_ECRC_CHECK, Access::Rws),
    (aer::HEADER_LOG, u32::MAX, Access::Ros),
    (aer::HEADER_LOG + 4, u32::MAX, Access::Ros),
    (aer::HEADER_LOG + 8, u32::MAX, Access::Ros),
    (aer::HEADER_LOG + 12, u32::MAX, Access::Ros),
    (aer::PREFIX_LOG, u32::MAX, Access::Ros),
    (aer::PREFIX_LOG + 4, u32::MAX, Access::Ros),
    (aer::PREFIX_LOG + 8, u32::MAX, Access::Ros),
    (aer::PREFIX_LOG + 12, u32::MAX, Access::Ros),
];
