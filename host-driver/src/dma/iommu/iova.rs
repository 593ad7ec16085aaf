//! I/O virtual addresses: which pages of a device's own address space are free.
//!
//! Power-of-two blocks, aligned to their size, from the top downwards; so an address rarely equals the
//! physical one, and the two are not mixed up unnoticed. Small blocks that come back wait in a stack per
//! size, from which they are given out again without touching the trees.

use std::collections::BTreeSet;
use std::ops::Range;

use pcie_sim::address::BusAddr;

use crate::pages::PAGE_BYTES;

/// Sizes up to 2^5 pages have a stack, as most buffers are small.
const CACHED_ORDERS: usize = 6;
/// Blocks that wait in one stack; more go back to the trees, where they join their neighbours.
const CACHE_DEPTH: usize = 256;

/// The free part of an address space below a limit.
#[derive(Debug)]
pub struct IovaSpace {
    /// Free blocks by order: numbers of their first pages.
    free: Vec<BTreeSet<u64>>,
    cache: [Vec<u64>; CACHED_ORDERS],
}

impl IovaSpace {
    /// All pages from the second one up to `end` (exclusive), save those that touch `reserved`.
    #[must_use]
    pub fn new(end: u64, reserved: &[Range<u64>]) -> Self {
        let last_page = end / PAGE_BYTES;
        let orders = 64 - last_page.leading_zeros() as usize;
        let mut space =
            Self { free: vec![BTreeSet::new(); orders.max(1)], cache: Default::default() };
        let mut holes: Vec<Range<u64>> = reserved
            .iter()
            .map(|hole| hole.start / PAGE_BYTES..hole.end.div_ceil(PAGE_BYTES).min(last_page))
            .filter(|hole| hole.start < hole.end)
            .collect();
        holes.sort_by_key(|hole| hole.start);
        let mut from = 1;
        for hole in holes {
            space.add_range(from, hole.start);
            from = from.max(hole.end);
        }
        space.add_range(from, last_page);
        space
    }

    fn add_range(&mut self, mut from: u64, to: u64) {
        while from < to {
            let order = from.trailing_zeros().min((to - from).ilog2());
            self.free[order as usize].insert(from);
            from += 1 << order;
        }
    }

    /// An aligned block of 2^`order` pages.
    pub fn alloc(&mut self, order: u32) -> Option<BusAddr> {
        let order = order as usize;
        if let Some(page) = self.cache.get_mut(order).and_then(Vec::pop) {
            return Some(BusAddr(page * PAGE_BYTES));
        }
        if let Some(page) = self.split(order) {
            return Some(BusAddr(page * PAGE_BYTES));
        }
        self.drain_caches();
        self.split(order).map(|page| BusAddr(page * PAGE_BYTES))
    }

    /// Takes the topmost block of at least `order` apart and gives its topmost piece. Not the block that
    /// fits best: the odd pieces lie at the bottom, where RAM is too.
    fn split(&mut self, order: usize) -> Option<u64> {
        let last = |at: usize| self.free[at].last().map(|&start| (start, at));
        let (start, found) = (order..self.free.len()).filter_map(last).max()?;
        self.free[found].remove(&start);
        let pages = 1u64 << found;
        for half in (order..found).rev() {
            self.free[half].insert(start + pages - (2u64 << half));
        }
        Some(start + pages - (1u64 << order))
    }

    /// Takes a block back that [`IovaSpace::alloc`] gave.
    pub fn free(&mut self, address: BusAddr, order: u32) {
        let page = address.get() / PAGE_BYTES;
        match self.cache.get_mut(order as usize) {
            Some(stack) if stack.len() < CACHE_DEPTH => stack.push(page),
            _ => self.join(page, order as usize),
        }
    }

    fn join(&mut self, mut page: u64, mut order: usize) {
        while order + 1 < self.free.len() && self.free[order].remove(&(page ^ 1 << order)) {
            page &= !(1 << order);
            order += 1;
        }
        self.free[order].insert(page);
    }

    fn drain_caches(&mut self) {
        for order in 0..CACHED_ORDERS {
            while let Some(page) = self.cache[order].pop() {
                self.join(page, order);
            }
        }
    }

    /// Free pages, those in the stacks included.
    #[must_use]
    pub fn free_pages(&self) -> u64 {
        let blocks = self.free.iter().map(|blocks| blocks.len() as u64);
        let cached = self.cache.iter().map(|stack| stack.len() as u64);
        let sum = |counts: &mut dyn Iterator<Item = u64>| {
            counts.enumerate().map(|(order, count)| count << order).sum::<u64>()
        };
        sum(&mut { blocks }) + sum(&mut { cached })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const RESERVED: Range<u64> = 0xfee0_0000..0xfef0_0000;

    proptest! {
        #[test]
        fn blocks_never_overlap_each_other_or_a_reserved_window(
            steps in proptest::collection::vec((any::<bool>(), 0u32..9, any::<prop::sample::Index>()), 1..200)
        ) {
            let mut space = IovaSpace::new(1 << 32, &[RESERVED, 0xe000_0000..0xe010_0001]);
            let whole = space.free_pages();
            let mut live: BTreeMap<u64, u32> = BTreeMap::new();
            for (give, order, pick) in steps {
                if give || live.is_empty() {
                    let start = space.alloc(order).expect("far from full").get();
                    let end = start + (PAGE_BYTES << order);
                    prop_assert_eq!(start % (PAGE_BYTES << order), 0);
                    prop_assert!(start > 0 && end <= 1 << 32);
                    prop_assert!(end <= RESERVED.start || start >= RESERVED.end);
                    prop_assert!(end <= 0xe000_0000 || start >= 0xe010_1000);
                    let before = live.range(..end).next_back();
                    prop_assert!(before.is_none_or(|(&at, &order)| at + (PAGE_BYTES << order) <= start));
                    live.insert(start, order);
                } else {
                    let start = *live.keys().nth(pick.index(live.len())).expect("in range");
                    let order = live.remove(&start).expect("just found");
                    space.free(BusAddr(start), order);
                }
            }
            let used: u64 = live.values().map(|&order| 1u64 << order).sum();
            prop_assert_eq!(space.free_pages() + used, whole);
        }
    }

    #[test]
    fn a_full_space_says_so_and_freed_blocks_join_again() {
        let mut space = IovaSpace::new(17 * PAGE_BYTES, &[]);
        let pages: Vec<_> = std::iter::from_fn(|| space.alloc(0)).collect();
        assert_eq!(pages.len(), 16, "page 0 is never given out");
        assert_eq!(pages[0], BusAddr(16 * PAGE_BYTES), "from the top");
        assert!(space.alloc(0).is_none());
        for page in pages {
            space.free(page, 0);
        }
        assert!(space.alloc(3).is_some(), "eight pages in a row are free again");
    }
}
