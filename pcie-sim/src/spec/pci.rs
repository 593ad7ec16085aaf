//! PCI configuration space and MSI-X. PCI 3.0 §6 and PCIe 5.0 chapter 7.

/// Offsets in the header that type 0 (function) and type 1 (bridge) share.
pub mod header {
    /// Vendor id, 16 bits; 0xffff where nobody is.
    pub const VENDOR_ID: u16 = 0x00;
    /// Device id, 16 bits.
    pub const DEVICE_ID: u16 = 0x02;
    /// Command register, 16 bits.
    pub const COMMAND: u16 = 0x04;
    /// Status register, 16 bits.
    pub const STATUS: u16 = 0x06;
    /// Revision id, 8 bits.
    pub const REVISION_ID: u16 = 0x08;
    /// Class code, 24 bits.
    pub const CLASS_CODE: u16 = 0x09;
    /// Cache line size, 8 bits.
    pub const CACHE_LINE_SIZE: u16 = 0x0c;
    /// Header type, 8 bits; bit 7: more than one function.
    pub const HEADER_TYPE: u16 = 0x0e;
    /// The first base address register.
    pub const BAR0: u16 = 0x10;
    /// Primary, secondary, subordinate bus number and latency timer of a bridge.
    pub const BUS_NUMBERS: u16 = 0x18;
    /// Memory base and limit of a bridge, 16 bits each, units of 1 MiB.
    pub const MEMORY_WINDOW: u16 = 0x20;
    /// Prefetchable memory base and limit of a bridge.
    pub const PREFETCHABLE_WINDOW: u16 = 0x24;
    /// Upper 32 bits of the prefetchable base.
    pub const PREFETCHABLE_BASE_HIGH: u16 = 0x28;
    /// Upper 32 bits of the prefetchable limit.
    pub const PREFETCHABLE_LIMIT_HIGH: u16 = 0x2c;
    /// Subsystem vendor id of a function.
    pub const SUBSYSTEM_VENDOR_ID: u16 = 0x2c;
    /// Subsystem id of a function.
    pub const SUBSYSTEM_ID: u16 = 0x2e;
    /// First capability.
    pub const CAPABILITIES: u16 = 0x34;
    /// Interrupt pin.
    pub const INTERRUPT_PIN: u16 = 0x3d;
    /// Where capabilities may begin.
    pub const BYTES: u16 = 0x40;
}

/// Bits of the command register.
pub mod command {
    /// Memory Space Enable.
    pub const MEMORY_SPACE: u16 = 1 << 1;
    /// Bus Master Enable: without it the function sends no memory request, MSI-X included.
    pub const BUS_MASTER: u16 = 1 << 2;
    /// SERR# Enable.
    pub const SERR: u16 = 1 << 8;
    /// Interrupt Disable (INTx).
    pub const INTX_DISABLE: u16 = 1 << 10;
}

/// Bits of the status register.
pub mod status {
    /// INTx is asserted.
    pub const INTERRUPT: u16 = 1 << 3;
    /// There is a capability list.
    pub const CAPABILITIES: u16 = 1 << 4;
}

/// Capability ids.
pub mod cap_id {
    /// Power management.
    pub const POWER_MANAGEMENT: u8 = 0x01;
    /// Vendor-specific: every virtio structure.
    pub const VENDOR: u8 = 0x09;
    /// PCI Express.
    pub const PCI_EXPRESS: u8 = 0x10;
    /// MSI-X.
    pub const MSIX: u8 = 0x11;
}

/// Offsets and bits of the PCI Express capability. PCIe 5.0 §7.5.3.
pub mod express {
    /// Capabilities register: version in bits 3:0, device/port type in bits 7:4.
    pub const CAPABILITIES: u16 = 0x02;
    /// Device Capabilities: Max_Payload_Size Supported in bits 2:0.
    pub const DEVICE_CAPABILITIES: u16 = 0x04;
    /// Device Control: Max_Payload_Size in bits 7:5, Max_Read_Request_Size in bits 14:12.
    pub const DEVICE_CONTROL: u16 = 0x08;
    /// Device Status.
    pub const DEVICE_STATUS: u16 = 0x0a;
    /// Link Capabilities: speed in bits 3:0, width in bits 9:4.
    pub const LINK_CAPABILITIES: u16 = 0x0c;
    /// Link Control; bit 3: Read Completion Boundary of 128 (root ports say it, others obey).
    pub const LINK_CONTROL: u16 = 0x10;
    /// Link Status: current speed in bits 3:0, width in bits 9:4.
    pub const LINK_STATUS: u16 = 0x12;
    /// Device Capabilities 2.
    pub const DEVICE_CAPABILITIES_2: u16 = 0x24;
    /// Device Control 2.
    pub const DEVICE_CONTROL_2: u16 = 0x28;
    /// Link Control 2.
    pub const LINK_CONTROL_2: u16 = 0x30;
    /// Bytes of the capability.
    pub const BYTES: u16 = 0x3c;
    /// Device Control: Relaxed Ordering may be used.
    pub const CONTROL_RELAXED_ORDERING: u16 = 1 << 4;
    /// Device Control: tags of 8 bits.
    pub const CONTROL_EXTENDED_TAG: u16 = 1 << 8;
    /// Device Control: No Snoop may be used.
    pub const CONTROL_NO_SNOOP: u16 = 1 << 11;
    /// Device Control: start a function level reset.
    pub const CONTROL_FLR: u16 = 1 << 15;
    /// Device/port type: an endpoint.
    pub const TYPE_ENDPOINT: u8 = 0;
    /// Device/port type: a root port.
    pub const TYPE_ROOT_PORT: u8 = 4;

    /// The 3-bit code of a payload or read request size of 128 << n bytes.
    #[must_use]
    pub const fn size_code(bytes: u16) -> u16 {
        (bytes / 128).trailing_zeros() as u16
    }

    /// The size in bytes that a 3-bit code stands for; reserved codes count as the largest.
    #[must_use]
    pub const fn size_bytes(code: u16) -> u16 {
        let code = code & 7;
        if code > 5 { 4096 } else { 128 << code }
    }
}

/// Offsets and bits of the MSI-X capability and its table. PCI 3.0 §6.8.2.
pub mod msix {
    /// Message Control, 16 bits: table size − 1 in bits 10:0.
    pub const CONTROL: u16 = 0x02;
    /// Table offset, BAR index in bits 2:0.
    pub const TABLE: u16 = 0x04;
    /// Pending bit array offset, BAR index in bits 2:0.
    pub const PBA: u16 = 0x08;
    /// Bytes of the capability.
    pub const BYTES: u16 = 0x0c;
    /// Message Control: every vector masked.
    pub const CONTROL_FUNCTION_MASK: u16 = 1 << 14;
    /// Message Control: MSI-X on.
    pub const CONTROL_ENABLE: u16 = 1 << 15;
    /// Message Control: mask of the table size.
    pub const CONTROL_TABLE_SIZE: u16 = 0x7ff;
    /// Bytes of a table entry.
    pub const ENTRY_BYTES: u64 = 16;
    /// Offset of the message address in an entry.
    pub const ENTRY_ADDRESS: u64 = 0;
    /// Offset of the message data in an entry.
    pub const ENTRY_DATA: u64 = 8;
    /// Offset of vector control in an entry; bit 0: masked.
    pub const ENTRY_CONTROL: u64 = 12;
}

/// Bits of a base address register. PCI 3.0 §6.2.5.1.
pub mod bar {
    /// Bit 0: I/O space.
    pub const IO: u32 = 1;
    /// Bits 2:1 = 10: 64 bits wide, with the next register.
    pub const MEMORY_64: u32 = 0b100;
    /// Bit 3: prefetchable.
    pub const PREFETCHABLE: u32 = 0b1000;
    /// The bits that are not address.
    pub const FLAGS: u32 = 0xf;
}
