//! The physical page allocator: pages of one range of RAM, given out to drivers and their callers.
//!
//! The lowest range that fits is taken, so that the same calls give the same addresses.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use pcie_sim::address::PhysAddr;

/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4096;

/// Why pages could not be given out or taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// No free range is long enough.
    #[error(
        "no {bytes} bytes of physically contiguous memory are free ({in_use} bytes are in use)"
    )]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes given out at that moment.
        in_use: u64,
    },
    /// The range was not given out, or with another length.
    #[error("{bytes} bytes at {address} are freed, which were not given out so")]
    NotAllocated {
        /// Start of the range.
        address: PhysAddr,
        /// Its length.
        bytes: u64,
    },
}

/// A handle to the pages of one host; clones share them.
#[derive(Debug, Clone)]
pub struct Pages(Rc<RefCell<Free>>);

#[derive(Debug)]
struct Free {
    /// All that there ever was.
    whole: Range<u64>,
    /// Free ranges, start to end, none touching another.
    free: BTreeMap<u64, u64>,
    /// What was given out, start to bytes.
    used: BTreeMap<u64, u64>,
    in_use: u64,
}

impl Pages {
    /// An allocator over the whole pages inside `range` of RAM.
    #[must_use]
    pub fn new(range: Range<PhysAddr>) -> Self {
        let start = range.start.get().next_multiple_of(PAGE_BYTES);
        let end = range.end.get() / PAGE_BYTES * PAGE_BYTES;
        let free = if start < end { BTreeMap::from([(start, end)]) } else { BTreeMap::new() };
        Self(Rc::new(RefCell::new(Free {
            whole: start..end,
            free,
            used: BTreeMap::new(),
            in_use: 0,
        })))
    }

    /// Contiguous pages for at least `bytes` bytes, aligned to `align` (a power of two; at least a page
    /// is what one gets anyway). Their content is whatever it was.
    pub fn alloc(&self, bytes: u64, align: u64) -> Result<PhysAddr, PageError> {
        let mut inner = self.0.borrow_mut();
        let in_use = inner.in_use;
        let failed = PageError::OutOfMemory { bytes, in_use };
        let size = bytes.max(1).checked_next_multiple_of(PAGE_BYTES).ok_or(failed)?;
        let align = align.max(PAGE_BYTES);
        let (start, end, at) = inner.fit(size, align).ok_or(failed)?;
        inner.free.remove(&start);
        if start < at {
            inner.free.insert(start, at);
        }
        if at + size < end {
            inner.free.insert(at + size, end);
        }
        inner.used.insert(at, size);
        inner.in_use += size;
        Ok(PhysAddr(at))
    }

    /// Takes back what [`Pages::alloc`] gave for `bytes` bytes.
    pub fn free(&self, address: PhysAddr, bytes: u64) -> Result<(), PageError> {
        let mut inner = self.0.borrow_mut();
        let size = bytes.max(1).checked_next_multiple_of(PAGE_BYTES);
        if size.is_none() || inner.used.get(&address.get()).copied() != size {
            return Err(PageError::NotAllocated { address, bytes });
        }
        let size = inner.used.remove(&address.get()).unwrap_or(0);
        inner.in_use -= size;
        inner.give_back(address.get(), address.get() + size);
        Ok(())
    }

    /// Whether all of `bytes` bytes at `address` belong to this allocator, given out or not.
    #[must_use]
    pub fn contains(&self, address: PhysAddr, bytes: u64) -> bool {
        let whole = &self.0.borrow().whole;
        let end = address.get().checked_add(bytes);
        whole.start <= address.get() && end.is_some_and(|end| end <= whole.end)
    }

    /// Bytes given out and not yet taken back.
    #[must_use]
    pub fn in_use_bytes(&self) -> u64 {
        self.0.borrow().in_use
    }
}

impl Free {
    fn fit(&self, size: u64, align: u64) -> Option<(u64, u64, u64)> {
        self.free.iter().find_map(|(&start, &end)| {
            let at = start.checked_next_multiple_of(align)?;
            (at.checked_add(size)? <= end).then_some((start, end, at))
        })
    }

    fn give_back(&mut self, mut start: u64, mut end: u64) {
        if let Some((&before, &before_end)) = self.free.range(..start).next_back()
            && before_end == start
        {
            self.free.remove(&before);
            start = before;
        }
        if let Some(after_end) = self.free.remove(&end) {
            end = after_end;
        }
        self.free.insert(start, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_pages_join_their_neighbours_again() {
        let pages = Pages::new(PhysAddr(100)..PhysAddr(9 * 4096));
        let a = pages.alloc(1, 1).expect("8 pages are free");
        let b = pages.alloc(5000, 8192).expect("7 pages are free");
        let c = pages.alloc(4096, 1).expect("5 pages are free");
        assert_eq!((a.get(), b.get(), c.get()), (4096, 8192, 16384));
        assert!(pages.alloc(8 * 4096, 1).is_err());
        assert!(pages.free(b, 4096).is_err(), "the length must be the one asked for");
        for (address, bytes) in [(a, 1), (c, 4096), (b, 5000)] {
            pages.free(address, bytes).expect("given out above");
        }
        assert!(pages.free(b, 5000).is_err(), "twice");
        assert_eq!(pages.in_use_bytes(), 0);
        assert_eq!(pages.alloc(8 * 4096, 1), Ok(PhysAddr(4096)));
    }
}
