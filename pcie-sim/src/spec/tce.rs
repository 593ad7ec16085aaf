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
