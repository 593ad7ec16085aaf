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
    /// Interrupt line, 8 bits that belong to software.
    pub const INTERRUPT_LINE: u16 = 0x3c;
    /// Interrupt pin.
    pub const INTERRUPT_PIN: u16 = 0x3d;
    /// Bridge Control of a bridge, 16 bits.
    pub const BRIDGE_CONTROL: u16 = 0x3e;
    /// Bridge Control: reset what is on the secondary bus, as long as it is set.
    pub const BRIDGE_CONTROL_RESET: u16 = 1 << 6;
    /// Where capabilities may begin.
    pub const BYTES: u16 = 0x40;
    /// Where capabilities end, and extended ones begin.
    pub const CAPABILITIES_END: u16 = 0x100;
    /// Bytes of a PCI Express function's configuration space.
    pub const SPACE_BYTES: u16 = 0x1000;
}

/// Bits of the command register.
pub mod command {
    /// Memory Space Enable.
    pub const MEMORY_SPACE: u16 = 1 << 1;
    /// Bus Master Enable: without it the function sends no memory request, MSI-X included.
    pub const BUS_MASTER: u16 = 1 << 2;
    /// Parity Error Response.
    pub const PARITY: u16 = 1 << 6;
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
    /// A poisoned completion came, or a poisoned write was sent.
    pub const MASTER_DATA_PARITY: u16 = 1 << 8;
    /// A request was answered with Completer Abort by this function.
    pub const SIGNALED_TARGET_ABORT: u16 = 1 << 11;
    /// A request of this function's was answered with Completer Abort.
    pub const RECEIVED_TARGET_ABORT: u16 = 1 << 12;
    /// A request of this function's was answered with Unsupported Request.
    pub const RECEIVED_MASTER_ABORT: u16 = 1 << 13;
    /// ERR_FATAL or ERR_NONFATAL was sent, with SERR# enabled.
    pub const SIGNALED_SYSTEM_ERROR: u16 = 1 << 14;
    /// A poisoned TLP came.
    pub const DETECTED_PARITY: u16 = 1 << 15;
    /// The bits that report errors: writing ones clears them.
    pub const ERRORS: u16 = MASTER_DATA_PARITY
        | SIGNALED_TARGET_ABORT
        | RECEIVED_TARGET_ABORT
        | RECEIVED_MASTER_ABORT
        | SIGNALED_SYSTEM_ERROR
        | DETECTED_PARITY;
}

/// Registers of a type 1 header that a type 0 header has not. PCIe 5.0 §7.5.1.3.
pub mod bridge {
    /// Secondary Status, 16 bits: as Status, of the secondary side.
    pub const SECONDARY_STATUS: u16 = 0x1e;
    /// Secondary Status: ERR_FATAL or ERR_NONFATAL came from below.
    pub const RECEIVED_SYSTEM_ERROR: u16 = 1 << 14;
    /// Bridge Control: error messages from below go on.
    pub const CONTROL_SERR: u16 = 1 << 1;
}

/// Capability ids.
pub mod cap_id {
    /// Power management.
    pub const POWER_MANAGEMENT: u8 = 0x01;
    /// Message signalled interrupts.
    pub const MSI: u8 = 0x05;
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
    /// Root Control, 16 bits; root ports only.
    pub const ROOT_CONTROL: u16 = 0x1c;
    /// Root Control: system errors on correctable, non-fatal and fatal errors.
    pub const ROOT_CONTROL_ERRORS: u16 = 7;
    /// Device Capabilities 2.
    pub const DEVICE_CAPABILITIES_2: u16 = 0x24;
    /// Device Control 2.
    pub const DEVICE_CONTROL_2: u16 = 0x28;
    /// Link Capabilities 2: the speeds supported in bits 7:1.
    pub const LINK_CAPABILITIES_2: u16 = 0x2c;
    /// Link Control 2: target speed in bits 3:0.
    pub const LINK_CONTROL_2: u16 = 0x30;
    /// Link Status 2.
    pub const LINK_STATUS_2: u16 = 0x32;
    /// The second set of slot registers: zero where there is no slot.
    pub const SLOT_CAPABILITIES_2: u16 = 0x34;
    /// Bytes of the capability.
    pub const BYTES: u16 = 0x3c;
    /// Device Capabilities: tags of 8 bits can be sent.
    pub const CAPABLE_EXTENDED_TAG: u32 = 1 << 5;
    /// Device Capabilities: errors are reported by role, which every function since 1.1 does.
    pub const CAPABLE_ROLE_BASED_ERRORS: u32 = 1 << 15;
    /// Device Capabilities: function level reset.
    pub const CAPABLE_FLR: u32 = 1 << 28;
    /// Device Control: send ERR_COR.
    pub const CONTROL_CORRECTABLE: u16 = 1;
    /// Device Control: send ERR_NONFATAL.
    pub const CONTROL_NON_FATAL: u16 = 1 << 1;
    /// Device Control: send ERR_FATAL.
    pub const CONTROL_FATAL: u16 = 1 << 2;
    /// Device Control: send messages of unsupported requests, too.
    pub const CONTROL_UNSUPPORTED: u16 = 1 << 3;
    /// Device Control: Relaxed Ordering may be used.
    pub const CONTROL_RELAXED_ORDERING: u16 = 1 << 4;
    /// Device Control: Max_Payload_Size.
    pub const CONTROL_PAYLOAD: u16 = 7 << 5;
    /// Device Control: Max_Read_Request_Size.
    pub const CONTROL_READ_REQUEST: u16 = 7 << 12;
    /// Device Control: tags of 8 bits.
    pub const CONTROL_EXTENDED_TAG: u16 = 1 << 8;
    /// Device Control: No Snoop may be used.
    pub const CONTROL_NO_SNOOP: u16 = 1 << 11;
    /// Device Control: start a function level reset.
    pub const CONTROL_FLR: u16 = 1 << 15;
    /// Device Status: a correctable error was detected.
    pub const STATUS_CORRECTABLE: u16 = 1;
    /// Device Status: a non-fatal error was detected.
    pub const STATUS_NON_FATAL: u16 = 1 << 1;
    /// Device Status: a fatal error was detected.
    pub const STATUS_FATAL: u16 = 1 << 2;
    /// Device Status: an unsupported request came.
    pub const STATUS_UNSUPPORTED: u16 = 1 << 3;
    /// Device Status: requests are unanswered.
    pub const STATUS_PENDING: u16 = 1 << 5;
    /// Link Status: the slot's clock is used.
    pub const LINK_STATUS_SLOT_CLOCK: u16 = 1 << 12;
    /// Link Capabilities: ASPM is optional, as since 3.0.
    pub const LINK_CAPABLE_ASPM_OPTIONALITY: u32 = 1 << 22;
    /// Link Control: Read Completion Boundary, Common Clock Configuration, Extended Synch.
    pub const LINK_CONTROL_ENDPOINT: u16 = 0x00c8;
    /// Link Control 2: target speed.
    pub const LINK_CONTROL_2_SPEED: u16 = 0x000f;
    /// Link Status 2: equalisation at 8 GT/s complete, its three phases successful.
    pub const LINK_STATUS_2_EQUALISED: u16 = 0x001e;
    /// Device Capabilities 2: completion timeout ranges A to D.
    pub const CAPABLE_TIMEOUT_RANGES: u32 = 0xf;
    /// Device Capabilities 2: the completion timeout can be switched off.
    pub const CAPABLE_TIMEOUT_OFF: u32 = 1 << 4;
    /// Device Capabilities 2: requests with tags of 10 bits are answered.
    pub const CAPABLE_TAG_10_COMPLETER: u32 = 1 << 16;
    /// Device Capabilities 2: tags of 10 bits can be sent.
    pub const CAPABLE_TAG_10_REQUESTER: u32 = 1 << 17;
    /// Device Capabilities 2: end-to-end TLP prefixes, up to four, are taken.
    pub const CAPABLE_PREFIXES: u32 = 1 << 21;
    /// Device Control 2: completion timeout value.
    pub const CONTROL_2_TIMEOUT: u16 = 0xf;
    /// Device Control 2: no completion timeout.
    pub const CONTROL_2_TIMEOUT_OFF: u16 = 1 << 4;
    /// Device Control 2: tags of 10 bits.
    pub const CONTROL_2_TAG_10: u16 = 1 << 12;

    /// Shortest and longest completion timeout in microseconds that a Completion Timeout Value stands
    /// for; reserved codes count as the default. PCIe 5.0 §7.5.3.16, "Device Control 2 Register".
    #[must_use]
    pub const fn completion_timeout_us(value: u16) -> (u64, u64) {
        match value & CONTROL_2_TIMEOUT {
            0b0001 => (50, 100),
            0b0010 => (1_000, 10_000),
            0b0101 => (16_000, 55_000),
            0b0110 => (65_000, 210_000),
            0b1001 => (260_000, 900_000),
            0b1010 => (1_000_000, 3_500_000),
            0b1101 => (4_000_000, 13_000_000),
            0b1110 => (17_000_000, 64_000_000),
            _ => (50, 50_000),
        }
    }

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

/// Offsets and bits of the power management capability. PCI Bus Power Management Interface 1.2 §3.2.
pub mod power {
    /// Power Management Capabilities, 16 bits: version in bits 2:0.
    pub const CAPABILITIES: u16 = 0x02;
    /// Power Management Control/Status, 16 bits.
    pub const CONTROL: u16 = 0x04;
    /// Bytes of the capability.
    pub const BYTES: u16 = 0x08;
    /// Version of the layout.
    pub const VERSION: u16 = 3;
    /// Control: the power state, 0 to 3.
    pub const CONTROL_STATE: u16 = 3;
    /// Control: the way from D3hot to D0 resets nothing.
    pub const CONTROL_NO_SOFT_RESET: u16 = 1 << 3;
    /// Power state D0.
    pub const D0: u16 = 0;
    /// Power state D3hot.
    pub const D3HOT: u16 = 3;
}

/// The extended capabilities, from 0x100 on. PCIe 5.0 §7.6.3, "PCI Express Extended Capability Header".
pub mod extended {
    /// Device Serial Number.
    pub const SERIAL_NUMBER: u16 = 0x0003;
    /// Offset of the serial number in its capability: 64 bits, an EUI-64.
    pub const SERIAL_NUMBER_VALUE: u16 = 0x04;
    /// Bytes of the Device Serial Number capability.
    pub const SERIAL_NUMBER_BYTES: u16 = 0x0c;

    /// A header: capability id, version, offset of the next one (0 for none).
    #[must_use]
    pub const fn header(id: u16, version: u8, next: u16) -> u32 {
        id as u32 | (version as u32 & 0xf) << 16 | (next as u32 & 0xfff) << 20
    }

    /// Id and offset of the next one, out of a header.
    #[must_use]
    pub const fn parts(header: u32) -> (u16, u16) {
        (header as u16, (header >> 20) as u16)
    }
}

/// Offsets and bits of the MSI capability with a 64-bit address. PCI 3.0 §6.8.1.
pub mod msi {
    /// Message Control, 16 bits.
    pub const CONTROL: u16 = 0x02;
    /// Message Address, 32 bits.
    pub const ADDRESS: u16 = 0x04;
    /// Message Upper Address, 32 bits.
    pub const ADDRESS_HIGH: u16 = 0x08;
    /// Message Data, 16 bits.
    pub const DATA: u16 = 0x0c;
    /// Bytes of the capability.
    pub const BYTES: u16 = 0x10;
    /// Control: messages are sent.
    pub const CONTROL_ENABLE: u16 = 1;
    /// Control: the address has 64 bits.
    pub const CONTROL_64_BIT: u16 = 1 << 7;
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
