//! A secure guest's memory: devices and the hypervisor touch only the pages that the guest has shared.
//!
//! Whether an untouchable page is encrypted, or refused as here, is the platform's choice; either way the
//! device does not get the data. Linux, "Protected Execution Facility" (powerpc) and
//! "Confidential Computing" describe both.

use super::ram::{HOLE_END, HOLE_START, Ram};
use crate::address::PhysAddr;

const PAGE_BYTES: u64 = 4096;

/// Which pages are shared: one bit a page.
#[derive(Debug)]
pub struct SharedPages {
    bits: Vec<u64>,
    pages: u64,
}

impl SharedPages {
    /// Nothing of this RAM is shared.
    #[must_use]
    pub fn none(ram: &Ram) -> Self {
        let size = ram.size_bytes();
        let end = if size > HOLE_START { size - HOLE_START + HOLE_END } else { size };
        let pages = end.div_ceil(PAGE_BYTES);
        Self { bits: vec![0; pages.div_ceil(64) as usize], pages }
    }

    /// Shares or takes back `pages` pages; `false`, and nothing done, when they are not whole pages of
    /// the address space that RAM lies in.
    #[must_use]
    pub fn set(&mut self, first: PhysAddr, pages: u64, shared: bool) -> bool {
        let start = first.get() / PAGE_BYTES;
        let end = start.checked_add(pages).filter(|end| *end <= self.pages);
        let Some(end) = end.filter(|_| first.get().is_multiple_of(PAGE_BYTES)) else {
            return false;
        };
        for page in start..end {
            let (word, bit) = (&mut self.bits[page as usize / 64], 1 << (page % 64));
            if shared {
                *word |= bit;
            } else {
                *word &= !bit;
            }
        }
        true
    }

    /// Whether every one of `len_bytes` bytes at `address` is shared.
    #[must_use]
    pub fn covers(&self, address: PhysAddr, len_bytes: u64) -> bool {
        let Some(last) = address.get().checked_add(len_bytes.saturating_sub(1)) else {
            return false;
        };
        (address.get() / PAGE_BYTES..=last / PAGE_BYTES).all(|page| {
            let word = usize::try_from(page / 64).ok().and_then(|word| self.bits.get(word));
            word.is_some_and(|word| word >> (page % 64) & 1 != 0)
        })
    }

    /// How many pages are shared.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.bits.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_shared_is_covered_and_only_whole_pages_can_be_shared() {
        let ram = Ram::anonymous(1 << 20).expect("a megabyte");
        let mut shared = SharedPages::none(&ram);
        assert!(!shared.covers(PhysAddr(0), 1));
        assert!(
            shared.set(PhysAddr(0x1f000), 2, true),
            "from one word of bits to the next is no end"
        );
        assert!(shared.covers(PhysAddr(0x1f000), 0x2000));
        assert!(!shared.covers(PhysAddr(0x1f000), 0x2001));
        assert!(!shared.covers(PhysAddr(0x1efff), 2));
        assert!(!shared.covers(PhysAddr(u64::MAX), 2));
        assert!(!shared.set(PhysAddr(0x1800), 1, true), "no page begins there");
        assert!(!shared.set(PhysAddr(0xff000), 2, true), "RAM ends before");
        assert!(!shared.set(PhysAddr(0x1000), u64::MAX, true));
        assert!(shared.set(PhysAddr(0x1f000), 1, false));
        assert_eq!((shared.count(), shared.covers(PhysAddr(0x20000), 1)), (1, true));
    }
}
