//! The ACPI table by which firmware says which IOMMU stands before which device.
//!
//! VT-d specification, "BIOS Considerations": "DMA Remapping Reporting Structure", "DMA Remapping Hardware
//! Unit Definition Structure", "Device Scope Structure"; ACPI 6.5 §5.2.6 for the header. Offsets in bytes,
//! fields little endian.

/// The table itself: an ACPI header and a little more.
pub mod table {
    /// `DMAR`, 4 bytes.
    pub const SIGNATURE: &[u8; 4] = b"DMAR";
    /// Length of all, 4 bytes.
    pub const LENGTH: usize = 4;
    /// Revision, 1 byte.
    pub const REVISION: usize = 8;
    /// Makes the sum of all bytes 0, 1 byte.
    pub const CHECKSUM: usize = 9;
    /// Who made the firmware, 6 bytes.
    pub const OEM_ID: usize = 10;
    /// Which table of theirs, 8 bytes.
    pub const OEM_TABLE_ID: usize = 16;
    /// Bits of a host address less one, 1 byte.
    pub const HOST_ADDRESS_WIDTH: usize = 36;
    /// See [`super::flags`], 1 byte.
    pub const FLAGS: usize = 37;
    /// Where the remapping structures begin.
    pub const STRUCTURES: usize = 48;
    /// The revision that this project writes.
    pub const REVISION_WRITTEN: u8 = 1;
}

/// Flags of the table.
pub mod flags {
    /// The platform can remap interrupts.
    pub const INTERRUPT_REMAPPING: u8 = 1;
    /// Firmware asks the OS to keep DMA under control from boot on.
    pub const DMA_CONTROL_OPT_IN: u8 = 1 << 2;
}

/// Any remapping structure.
pub mod structure {
    /// Type, 2 bytes.
    pub const TYPE: usize = 0;
    /// Length with all that belongs to it, 2 bytes.
    pub const LENGTH: usize = 2;
    /// Bytes of the two.
    pub const HEADER_BYTES: usize = 4;
    /// Type: a remapping hardware unit (DRHD).
    pub const DRHD: u16 = 0;
    /// Type: memory that a device goes on using (RMRR).
    pub const RMRR: u16 = 1;
}

/// A remapping hardware unit.
pub mod drhd {
    /// See [`INCLUDE_PCI_ALL`], 1 byte.
    pub const FLAGS: usize = 4;
    /// PCI segment, 2 bytes.
    pub const SEGMENT: usize = 6;
    /// Where its registers lie, 8 bytes.
    pub const REGISTERS: usize = 8;
    /// Where its device scopes begin.
    pub const SCOPES: usize = 16;
    /// It covers every device of its segment that no other unit names.
    pub const INCLUDE_PCI_ALL: u8 = 1;
}

/// A device scope.
pub mod scope {
    /// Type, 1 byte.
    pub const TYPE: usize = 0;
    /// Length with the path, 1 byte.
    pub const LENGTH: usize = 1;
    /// Which I/O APIC or timer, 1 byte.
    pub const ENUMERATION_ID: usize = 4;
    /// The bus that the path starts from, 1 byte.
    pub const START_BUS: usize = 5;
    /// Where the path begins: device and function, 1 byte each, for every hop.
    pub const PATH: usize = 6;
    /// Type: one function.
    pub const ENDPOINT: u8 = 1;
    /// Type: a bridge and all that stands below it.
    pub const BRIDGE: u8 = 2;
}
