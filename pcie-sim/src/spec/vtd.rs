//! Intel VT-d: registers, table entries, invalidation descriptors, fault reasons.
//!
//! Source, named by section title since the numbers moved between revisions: Intel, "Intel
//! Virtualization Technology for Directed I/O, Architecture Specification" (D51397), revision 4.1.
//! Legacy mode only: no PASID, no scalable mode, no interrupt remapping, no device TLB.
//!
//! All fields are little endian. Where registers of optional features lie is told by [`cap`] and
//! [`ecap`], and must be read from there.

/// Offsets of registers. "Register Descriptions", "Register Location".
pub mod reg {
    /// Version, 32 bits: minor in bits 3:0, major in bits 7:4.
    pub const VER: u64 = 0x00;
    /// Capabilities, 64 bits, see [`super::cap`].
    pub const CAP: u64 = 0x08;
    /// Extended capabilities, 64 bits, see [`super::ecap`].
    pub const ECAP: u64 = 0x10;
    /// Global command, 32 bits, write only, see [`super::gcmd`].
    pub const GCMD: u64 = 0x18;
    /// Global status, 32 bits, read only: the bits of [`super::gcmd`].
    pub const GSTS: u64 = 0x1c;
    /// Root table address, 64 bits; taken over by [`super::gcmd::SRTP`].
    pub const RTADDR: u64 = 0x20;
    /// Context command, 64 bits, see [`super::ccmd`].
    pub const CCMD: u64 = 0x28;
    /// Fault status, 32 bits, see [`super::fsts`].
    pub const FSTS: u64 = 0x34;
    /// Fault event control, 32 bits, see [`super::event`].
    pub const FECTL: u64 = 0x38;
    /// Fault event data, 32 bits.
    pub const FEDATA: u64 = 0x3c;
    /// Fault event address, 32 bits, multiple of 4.
    pub const FEADDR: u64 = 0x40;
    /// Upper half of the fault event address, 32 bits.
    pub const FEUADDR: u64 = 0x44;
    /// Invalidation queue head, 64 bits, read only: byte offset in bits 18:4.
    pub const IQH: u64 = 0x80;
    /// Invalidation queue tail, 64 bits: byte offset in bits 18:4.
    pub const IQT: u64 = 0x88;
    /// Invalidation queue address, 64 bits, see [`super::iqa`].
    pub const IQA: u64 = 0x90;
    /// Invalidation completion status, 32 bits, see [`super::ics`].
    pub const ICS: u64 = 0x9c;
    /// Invalidation event control, 32 bits, see [`super::event`].
    pub const IECTL: u64 = 0xa0;
    /// Invalidation event data, 32 bits.
    pub const IEDATA: u64 = 0xa4;
    /// Invalidation event address, 32 bits, multiple of 4.
    pub const IEADDR: u64 = 0xa8;
    /// Upper half of the invalidation event address, 32 bits.
    pub const IEUADDR: u64 = 0xac;
    /// Invalidation queue error record, 64 bits, read only, see [`super::iqei`].
    pub const IQERCD: u64 = 0xb0;
    /// Bytes that the registers take in the CPU's address space.
    pub const BYTES: u64 = 0x1000;
}

/// Capability register. "Capability Register".
pub mod cap {
    /// Number of domains, bits 2:0: 2^(4 + 2 n).
    pub const ND_MASK: u64 = 7;
    /// Number of domains: 65,536.
    pub const ND_16_BIT: u64 = 6;
    /// Caching mode: not-present entries are cached too.
    pub const CM: u64 = 1 << 7;
    /// Supported adjusted guest address widths: 39 bits, tables of 3 levels.
    pub const SAGAW_39: u64 = 1 << 9;
    /// Supported adjusted guest address widths: 48 bits, tables of 4 levels.
    pub const SAGAW_48: u64 = 1 << 10;
    /// Where the maximum guest address width less one begins, 6 bits.
    pub const MGAW_SHIFT: u32 = 16;
    /// Zero-length reads of write-only pages pass.
    pub const ZLR: u64 = 1 << 22;
    /// Where the offset of the fault records begins, 10 bits, units of 16 bytes.
    pub const FRO_SHIFT: u32 = 24;
    /// Second-stage pages of 2 MiB.
    pub const SLLPS_2M: u64 = 1 << 34;
    /// Second-stage pages of 1 GiB.
    pub const SLLPS_1G: u64 = 1 << 35;
    /// Page-selective invalidation of the IOTLB.
    pub const PSI: u64 = 1 << 39;
    /// Where the number of fault records less one begins, 8 bits.
    pub const NFR_SHIFT: u32 = 40;
    /// Where the maximum address mask of a page-selective invalidation begins, 6 bits.
    pub const MAMV_SHIFT: u32 = 48;
    /// An invalidation can wait for writes in flight.
    pub const DWD: u64 = 1 << 54;
    /// An invalidation can wait for reads in flight.
    pub const DRD: u64 = 1 << 55;

    /// Bits of an address that a device may use.
    #[must_use]
    pub const fn mgaw_bits(cap: u64) -> u32 {
        (cap >> MGAW_SHIFT & 0x3f) as u32 + 1
    }

    /// Offset of the first fault record from the start of the registers, bytes.
    #[must_use]
    pub const fn fault_records_offset(cap: u64) -> u64 {
        (cap >> FRO_SHIFT & 0x3ff) * 16
    }

    /// How many fault records there are.
    #[must_use]
    pub const fn fault_records(cap: u64) -> u32 {
        (cap >> NFR_SHIFT & 0xff) as u32 + 1
    }

    /// The largest address mask of a page-selective invalidation, log2 of pages.
    #[must_use]
    pub const fn max_address_mask(cap: u64) -> u32 {
        (cap >> MAMV_SHIFT & 0x3f) as u32
    }
}

/// Extended capability register. "Extended Capability Register".
pub mod ecap {
    /// Tables are read coherently with the CPU's caches.
    pub const C: u64 = 1;
    /// Queued invalidation.
    pub const QI: u64 = 1 << 1;
    /// Pass-through context entries.
    pub const PT: u64 = 1 << 6;
    /// Where the offset of the IOTLB registers begins, 10 bits, units of 16 bytes.
    pub const IRO_SHIFT: u32 = 8;

    /// Offset of the IOTLB registers from the start of the registers, bytes: the invalidate address
    /// register, 8 bytes behind it the IOTLB invalidate register, see [`super::iotlb`].
    #[must_use]
    pub const fn iotlb_offset(ecap: u64) -> u64 {
        (ecap >> IRO_SHIFT & 0x3ff) * 16
    }
}

/// Global command and status. "Global Command Register", "Global Status Register".
pub mod gcmd {
    /// Translation enable; status TES.
    pub const TE: u32 = 1 << 31;
    /// Set root table pointer, one shot; status RTPS.
    pub const SRTP: u32 = 1 << 30;
    /// Queued invalidation enable; status QIES.
    pub const QIE: u32 = 1 << 26;
}

/// Root table address register. "Root Table Address Register".
pub mod rtaddr {
    /// The root table's address.
    pub const ADDRESS_MASK: u64 = !0xfff;
}

/// Context command register. "Context Command Register".
pub mod ccmd {
    /// Invalidate the context cache; reads 1 until it is done.
    pub const ICC: u64 = 1 << 63;
    /// Where the requested granularity begins, 2 bits, see [`super::granularity`].
    pub const CIRG_SHIFT: u32 = 61;
    /// Where the actual granularity begins, 2 bits; 0 says that the request was wrong.
    pub const CAIG_SHIFT: u32 = 59;
    /// Where the function mask begins, 2 bits.
    pub const FM_SHIFT: u32 = 32;
    /// Where the source id begins, 16 bits.
    pub const SID_SHIFT: u32 = 16;
    /// Domain id, 16 bits.
    pub const DID_MASK: u64 = 0xffff;
}

/// Invalidate address and IOTLB invalidate registers. "IOTLB Registers".
pub mod iotlb {
    /// The invalidate address register, from [`super::ecap::iotlb_offset`].
    pub const IVA: u64 = 0;
    /// The IOTLB invalidate register, from [`super::ecap::iotlb_offset`].
    pub const IOTLB: u64 = 8;
    /// In the address register: log2 of the pages to drop.
    pub const IVA_AM_MASK: u64 = 0x3f;
    /// In the address register: only leaf entries changed.
    pub const IVA_IH: u64 = 1 << 6;
    /// In the address register: the page's address.
    pub const IVA_ADDRESS_MASK: u64 = !0xfff;
    /// Invalidate the IOTLB; reads 1 until it is done.
    pub const IVT: u64 = 1 << 63;
    /// Where the requested granularity begins, 2 bits, see [`super::granularity`].
    pub const IIRG_SHIFT: u32 = 60;
    /// Where the actual granularity begins, 2 bits; 0 says that the request was wrong.
    pub const IAIG_SHIFT: u32 = 57;
    /// Drain reads.
    pub const DR: u64 = 1 << 49;
    /// Drain writes.
    pub const DW: u64 = 1 << 48;
    /// Where the domain id begins, 16 bits.
    pub const DID_SHIFT: u32 = 32;
}

/// How much an invalidation drops: the same codes in registers and in descriptors.
pub mod granularity {
    /// Everything.
    pub const GLOBAL: u64 = 1;
    /// One domain.
    pub const DOMAIN: u64 = 2;
    /// One device (context cache).
    pub const DEVICE: u64 = 3;
    /// Some pages of one domain (IOTLB).
    pub const PAGE: u64 = 3;
}

/// Fault status register. "Fault Status Register".
pub mod fsts {
    /// Primary fault overflow: a fault found no free record. Written 1 to clear.
    pub const PFO: u32 = 1;
    /// Primary pending fault: some record is in use. Read only.
    pub const PPF: u32 = 1 << 1;
    /// Invalidation queue error: nothing is fetched until it is cleared. Written 1 to clear.
    pub const IQE: u32 = 1 << 4;
    /// Where the index of the first pending record begins, 8 bits, valid while [`PPF`].
    pub const FRI_SHIFT: u32 = 8;
}

/// Fault and invalidation event control. "Fault Event Control Register", "Invalidation Event
/// Control Register".
pub mod event {
    /// Interrupt mask; set after reset.
    pub const IM: u32 = 1 << 31;
    /// Interrupt pending. Read only.
    pub const IP: u32 = 1 << 30;
}

/// Invalidation queue address register. "Invalidation Queue Address Register".
pub mod iqa {
    /// The queue's address.
    pub const ADDRESS_MASK: u64 = !0xfff;
    /// Queue size, bits 2:0: 256 * 2^n descriptors.
    pub const QS_MASK: u64 = 7;
    /// Bits of head and tail registers that carry the offset.
    pub const OFFSET_MASK: u64 = 0x7_fff0;
}

/// Invalidation completion status register. "Invalidation Completion Status Register".
pub mod ics {
    /// A wait descriptor with its interrupt flag is done. Written 1 to clear.
    pub const IWC: u32 = 1;
}

/// What was wrong with the invalidation queue, bits 3:0 of the error record, valid while
/// [`fsts::IQE`]. "Invalidation Queue Error Record Register".
pub mod iqei {
    /// The tail lies outside the queue.
    pub const BAD_TAIL: u64 = 1;
    /// A descriptor could not be fetched.
    pub const FETCH_FAILED: u64 = 2;
    /// A type that does not exist or is not supported.
    pub const BAD_TYPE: u64 = 3;
    /// Reserved bits, or a granularity or address mask that is not supported.
    pub const RESERVED: u64 = 4;
}

/// One fault record of 16 bytes. "Fault Recording Registers".
pub mod frcd {
    /// Bytes of a record.
    pub const BYTES: u64 = 16;
    /// In the low half: address of the faulting page.
    pub const ADDRESS_MASK: u64 = !0xfff;
    /// In the high half: the record is in use. Written 1 to clear.
    pub const F: u64 = 1 << 63;
    /// In the high half: the request was a read.
    pub const T_READ: u64 = 1 << 62;
    /// In the high half: where the fault reason begins, 8 bits, see [`super::fault`].
    pub const FR_SHIFT: u32 = 32;
    /// In the high half: the requester.
    pub const SID_MASK: u64 = 0xffff;
}

/// Root entry, 16 bytes, one per bus. "Translation Structure Formats", "Root Entry".
pub mod root_entry {
    /// Bytes of an entry.
    pub const BYTES: u64 = 16;
    /// In the low half: present.
    pub const P: u64 = 1;
    /// In the low half: address of the context table.
    pub const CTP_MASK: u64 = !0xfff;
    /// Reserved bits of the low half, besides those above the host's address width.
    pub const RESERVED_LOW: u64 = 0xffe;
}

/// Context entry, 16 bytes, one per device and function of a bus. "Context Entry".
pub mod context_entry {
    /// Bytes of an entry.
    pub const BYTES: u64 = 16;
    /// In the low half: present.
    pub const P: u64 = 1;
    /// In the low half: fault processing disable.
    pub const FPD: u64 = 1 << 1;
    /// In the low half: where the translation type begins, 2 bits.
    pub const TT_SHIFT: u32 = 2;
    /// Translation type: second-stage tables.
    pub const TT_TRANSLATE: u64 = 0b00;
    /// Translation type: pass-through.
    pub const TT_PASS_THROUGH: u64 = 0b10;
    /// In the low half: address of the topmost second-stage table.
    pub const SLPTPTR_MASK: u64 = !0xfff;
    /// Reserved bits of the low half, besides those above the host's address width.
    pub const RESERVED_LOW: u64 = 0xff0;
    /// In the high half: address width.
    pub const AW_MASK: u64 = 7;
    /// Address width: 39 bits, 3 levels.
    pub const AW_39: u64 = 1;
    /// Address width: 48 bits, 4 levels.
    pub const AW_48: u64 = 2;
    /// In the high half: where the domain id begins, 16 bits.
    pub const DID_SHIFT: u32 = 8;
    /// Reserved bits of the high half.
    pub const RESERVED_HIGH: u64 = 0xffff_ffff_ff00_0080;
}

/// Second-stage (second-level) paging entry, 8 bytes. "Second-Stage Paging Entries".
pub mod sl_entry {
    /// Bytes of an entry.
    pub const BYTES: u64 = 8;
    /// Entries of a table, all levels.
    pub const PER_TABLE: u64 = 512;
    /// Reads pass. An entry with neither this nor [`W`] is not present.
    pub const R: u64 = 1;
    /// Writes pass.
    pub const W: u64 = 1 << 1;
    /// This entry of level 2 (2 MiB) or 3 (1 GiB) maps a page.
    pub const PS: u64 = 1 << 7;
    /// Snoop; reserved where the extended capabilities do not offer snoop control.
    pub const SNP: u64 = 1 << 11;
    /// Transient mapping; reserved where there is no device TLB.
    pub const TM: u64 = 1 << 62;
    /// Where the entry points: the next table or the page.
    pub const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

    /// Log2 of the bytes that one entry of `level` (1 is the last table) covers.
    #[must_use]
    pub const fn shift(level: u32) -> u32 {
        12 + 9 * (level - 1)
    }

    /// The index in its table of the entry of `level` that translates `address`.
    #[must_use]
    pub const fn index(address: u64, level: u32) -> u64 {
        address >> shift(level) & (PER_TABLE - 1)
    }
}

/// Invalidation descriptor of 16 bytes: two words, low then high. "Queued Invalidation Interface".
pub mod inv {
    /// Bytes of a descriptor.
    pub const BYTES: u64 = 16;
    /// Descriptors in a queue of the smallest size (4 KiB).
    pub const PER_PAGE: u64 = 256;
    /// In the low word: bits of the type, which are 11:9 and 3:0.
    pub const TYPE_MASK: u64 = 0xe0f;
    /// Context-cache invalidate.
    pub const CONTEXT: u64 = 1;
    /// IOTLB invalidate.
    pub const IOTLB: u64 = 2;
    /// Device-TLB invalidate.
    pub const DEVICE_TLB: u64 = 3;
    /// Interrupt entry cache invalidate.
    pub const INTERRUPT_ENTRY: u64 = 4;
    /// Wait until all before it are done.
    pub const WAIT: u64 = 5;
    /// In the low word of [`CONTEXT`] and [`IOTLB`]: where [`super::granularity`] begins, 2 bits.
    pub const GRANULARITY_SHIFT: u32 = 4;
    /// In the low word of [`CONTEXT`] and [`IOTLB`]: where the domain id begins, 16 bits.
    pub const DID_SHIFT: u32 = 16;
    /// In the low word of [`CONTEXT`]: where the source id begins, 16 bits.
    pub const SID_SHIFT: u32 = 32;
    /// In the low word of [`CONTEXT`]: where the function mask begins, 2 bits.
    pub const FM_SHIFT: u32 = 48;
    /// Reserved bits in the low word of [`CONTEXT`]; all of its high word is reserved.
    pub const CONTEXT_RESERVED: u64 = 0xfffc_0000_0000_f1c0;
    /// In the low word of [`IOTLB`]: drain writes.
    pub const IOTLB_DW: u64 = 1 << 6;
    /// In the low word of [`IOTLB`]: drain reads.
    pub const IOTLB_DR: u64 = 1 << 7;
    /// Reserved bits in the low word of [`IOTLB`].
    pub const IOTLB_RESERVED_LOW: u64 = 0xffff_ffff_0000_f100;
    /// In the high word of [`IOTLB`]: log2 of the pages to drop.
    pub const IOTLB_AM_MASK: u64 = 0x3f;
    /// In the high word of [`IOTLB`]: only leaf entries changed.
    pub const IOTLB_IH: u64 = 1 << 6;
    /// In the high word of [`IOTLB`]: the page's address.
    pub const IOTLB_ADDRESS_MASK: u64 = !0xfff;
    /// Reserved bits in the high word of [`IOTLB`].
    pub const IOTLB_RESERVED_HIGH: u64 = 0xf80;
    /// In the low word of [`WAIT`]: raise the invalidation event.
    pub const WAIT_IF: u64 = 1 << 4;
    /// In the low word of [`WAIT`]: write the status data.
    pub const WAIT_SW: u64 = 1 << 5;
    /// In the low word of [`WAIT`]: nothing after it starts before it is done.
    pub const WAIT_FN: u64 = 1 << 6;
    /// In the low word of [`WAIT`]: where the status data begins, 32 bits.
    pub const WAIT_DATA_SHIFT: u32 = 32;
    /// Reserved bits in the low word of [`WAIT`].
    pub const WAIT_RESERVED_LOW: u64 = 0xffff_f180;
    /// In the high word of [`WAIT`]: the status address, a multiple of 4.
    pub const WAIT_ADDRESS_MASK: u64 = !3;
}

/// Fault reasons. "Non-Recoverable Address Translation Faults", "Fault Reason Encodings".
pub mod fault {
    /// The root entry is not present.
    pub const ROOT_NOT_PRESENT: u8 = 0x1;
    /// The context entry is not present.
    pub const CONTEXT_NOT_PRESENT: u8 = 0x2;
    /// The context entry asks for a width or translation type that the hardware does not have.
    pub const CONTEXT_INVALID: u8 = 0x3;
    /// The address is beyond the width of the context entry or of the hardware.
    pub const ADDRESS_BEYOND_WIDTH: u8 = 0x4;
    /// A write without write permission.
    pub const WRITE_DENIED: u8 = 0x5;
    /// A read without read permission.
    pub const READ_DENIED: u8 = 0x6;
    /// A second-stage table could not be read.
    pub const TABLE_UNREACHABLE: u8 = 0x7;
    /// The root table could not be read.
    pub const ROOT_TABLE_UNREACHABLE: u8 = 0x8;
    /// The context table could not be read.
    pub const CONTEXT_TABLE_UNREACHABLE: u8 = 0x9;
    /// Reserved bits in a present root entry.
    pub const ROOT_RESERVED: u8 = 0xa;
    /// Reserved bits in a present context entry.
    pub const CONTEXT_RESERVED: u8 = 0xb;
    /// Reserved bits in a present second-stage entry.
    pub const ENTRY_RESERVED: u8 = 0xc;
    /// The translation type forbids this kind of request.
    pub const TYPE_BLOCKED: u8 = 0xd;

    /// What a reason means, in a few words.
    #[must_use]
    pub const fn name(reason: u8) -> &'static str {
        match reason {
            ROOT_NOT_PRESENT => "root entry not present",
            CONTEXT_NOT_PRESENT => "context entry not present",
            CONTEXT_INVALID => "context entry invalid",
            ADDRESS_BEYOND_WIDTH => "address beyond the width",
            WRITE_DENIED => "no write permission",
            READ_DENIED => "no read permission",
            TABLE_UNREACHABLE => "second-stage table unreachable",
            ROOT_TABLE_UNREACHABLE => "root table unreachable",
            CONTEXT_TABLE_UNREACHABLE => "context table unreachable",
            ROOT_RESERVED => "reserved bits in a root entry",
            CONTEXT_RESERVED => "reserved bits in a context entry",
            ENTRY_RESERVED => "reserved bits in a second-stage entry",
            TYPE_BLOCKED => "request blocked by the translation type",
            _ => "unknown reason",
        }
    }
}
