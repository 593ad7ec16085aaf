//! Translation control entries: what maps one page of a DMA window on POWER.
//!
//! Power Architecture Platform Requirements (LoPAR), "TCEs" and the description of `H_PUT_TCE`. An entry
//! is the page's real address with permissions in its lowest bits; in memory it is big endian.

/// Bytes of an entry.
pub const BYTES: u64 = 8;
/// The device may read the page.
pub const READ: u64 = 1;
/// The device may write the page.
pub const WRITE: u64 = 2;
/// The page's real address, for pages of 4 KiB.
pub const ADDRESS_MASK: u64 = !0xfff;
/// Entries that one hypercall can set: a list of one page.
pub const MOST_PER_CALL: u64 = 512;

/// An entry that maps the page at `address`.
#[must_use]
pub const fn entry(address: u64, read: bool, write: bool) -> u64 {
    address & ADDRESS_MASK | (if read { READ } else { 0 }) | (if write { WRITE } else { 0 })
}

/// Registers of a unit whose table the OS writes itself, 64 bits each. The kind of sun4u's host bridges,
/// brought down to what a driver needs; not the layout of any of them.
pub mod reg {
    /// Where the table lies in memory: a page boundary. Written once, before the first entry; 0 after reset,
    /// when every request faults: there is no way to switch translation off.
    pub const TABLE: u64 = 0x00;
    /// The first bus address of the window, read only.
    pub const START: u64 = 0x08;
    /// Pages of the window, read only.
    pub const PAGES: u64 = 0x10;
    /// Write: forget the translation of the page at this bus address.
    pub const FLUSH: u64 = 0x18;
    /// Write: forget all translations.
    pub const FLUSH_ALL: u64 = 0x20;
    /// The first fault since this register was last written, see [`super::fault_status`]; 0 for none.
    pub const FAULT: u64 = 0x28;
    /// The address of that fault, read only.
    pub const FAULT_ADDRESS: u64 = 0x30;
    /// Bytes that the registers take in the CPU's address space.
    pub const BYTES: u64 = 0x1000;
}

/// The fault register: reason in bits 7:0.
pub mod fault_status {
    /// There is a fault.
    pub const VALID: u64 = 1 << 63;
    /// The request was a write.
    pub const WRITE: u64 = 1 << 8;
    /// Where the requester id begins, 16 bits.
    pub const REQUESTER_SHIFT: u32 = 16;
}

/// Fault reasons. The numbers are this project's: PAPR leaves an error log's content to the platform.
pub mod fault {
    /// The address lies in no window.
    pub const NO_WINDOW: u8 = 1;
    /// The entry has no permissions at all.
    pub const NOT_MAPPED: u8 = 2;
    /// A read without read permission.
    pub const READ_DENIED: u8 = 3;
    /// A write without write permission.
    pub const WRITE_DENIED: u8 = 4;
    /// The slot is frozen by an earlier fault.
    pub const FROZEN: u8 = 5;
    /// The table could not be read, or there is none.
    pub const TABLE_UNREACHABLE: u8 = 6;

    /// What a reason means, in a few words.
    #[must_use]
    pub const fn name(reason: u8) -> &'static str {
        match reason {
            NO_WINDOW => "address in no DMA window",
            NOT_MAPPED => "page not mapped",
            READ_DENIED => "no read permission",
            WRITE_DENIED => "no write permission",
            FROZEN => "slot frozen by an earlier fault",
            TABLE_UNREACHABLE => "table unreachable",
            _ => "unknown reason",
        }
    }
}
