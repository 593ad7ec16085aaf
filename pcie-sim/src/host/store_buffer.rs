//! Stores on their way out of a weakly ordered CPU.
//!
//! ```text
//!   CPU ──store──▶ buffer ──in any order, soon──▶ memory, where devices look
//!    └──load──◀──────┘ own stores are seen at once
//! ```
//!
//! Each store waits a random time, so that later ones overtake earlier ones; stores to one line of 64 bytes
//! stay in order. Only [`Barrier::DmaWrite`](super::Barrier::DmaWrite) and
//! [`Barrier::Full`](super::Barrier::Full) order stores for devices, by draining the buffer (an outer
//! shareable `DMB` orders without draining: no device can tell). [`Barrier::SmpWrite`](super::Barrier::SmpWrite)
//! orders them for CPUs (`DMB ISHST`), which here changes nothing. A write to a device register does not
//! drain it: it is Linux's `writel_relaxed`, and a driver that needs `writel` puts the barrier before it.
//! Left out: loads out of order, so that nothing here shows a missing `dma_rmb`.

use smallvec::SmallVec;

use super::seed::Sequence;
use crate::address::PhysAddr;
use crate::time::{Instant, Span};

/// Stores to one line of this many bytes stay in order.
const LINE_BYTES: u64 = 64;

/// A store that has left the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Where to.
    pub address: PhysAddr,
    /// What.
    pub data: SmallVec<[u8; 64]>,
    /// The latest it may stay.
    due: Instant,
}

/// The stores under way, in program order.
#[derive(Debug)]
pub struct StoreBuffer {
    stores: Vec<Store>,
    depth: usize,
    longest: Span,
    sequence: Sequence,
    overtaken: u64,
}

impl StoreBuffer {
    /// An empty buffer for `depth` stores (at least one), each of which waits at most `longest`.
    #[must_use]
    pub fn new(seed: u64, depth: u32, longest: Span) -> Self {
        let depth = depth.max(1) as usize;
        let sequence = Sequence::new(seed);
        Self { stores: Vec::with_capacity(depth), depth, longest, sequence, overtaken: 0 }
    }

    /// Cuts a store at the lines' ends.
    pub fn pieces(address: PhysAddr, data: &[u8]) -> impl Iterator<Item = (PhysAddr, &[u8])> {
        let mut left = data;
        let mut at = address;
        std::iter::from_fn(move || {
            let room = (LINE_BYTES - at.get() % LINE_BYTES) as usize;
            let (now, later) = left.split_at(left.len().min(room));
            let piece = (at, now);
            (at, left) = (at + now.len() as u64, later);
            (!piece.1.is_empty()).then_some(piece)
        })
    }

    /// Enters one piece; gives back the store that had to leave to make room.
    pub fn enter(&mut self, now: Instant, address: PhysAddr, piece: &[u8]) -> Option<Store> {
        let left = if self.stores.len() >= self.depth { self.leave_first() } else { None };
        let wait = Span::from_ps(self.sequence.below(self.longest.as_ps() + 1));
        let line = address.get() / LINE_BYTES;
        let same_line = |store: &&Store| store.address.get() / LINE_BYTES == line;
        let before = self.stores.iter().rev().find(same_line).map(|store| store.due);
        let due = (now + wait).max(before.unwrap_or(Instant::ZERO));
        self.stores.push(Store { address, data: SmallVec::from_slice(piece), due });
        left
    }

    /// When the next store leaves of its own accord.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.stores.iter().map(|store| store.due).min()
    }

    /// The next store that is due at or before `now`.
    pub fn leave_due(&mut self, now: Instant) -> Option<Store> {
        if self.next_due()? > now {
            return None;
        }
        self.leave_first()
    }

    /// The oldest store, whatever its time.
    pub fn leave_oldest(&mut self) -> Option<Store> {
        (!self.stores.is_empty()).then(|| self.stores.remove(0))
    }

    /// The oldest store with a byte in a line of the range.
    pub fn leave_within(&mut self, address: PhysAddr, len_bytes: u64) -> Option<Store> {
        let start = address.get() / LINE_BYTES * LINE_BYTES;
        let end = address.get() + len_bytes;
        let inside = |store: &Store| (start..end).contains(&store.address.get());
        let place = self.stores.iter().position(inside)?;
        Some(self.stores.remove(place))
    }

    /// Puts the CPU's own stores over what it loaded at `address`.
    pub fn overlay(&self, address: PhysAddr, into: &mut [u8]) {
        let (start, end) = (address.get(), address.get() + into.len() as u64);
        for store in &self.stores {
            let first = store.address.get();
            let (from, to) = (start.max(first), end.min(first + store.data.len() as u64));
            if from < to {
                let part = &store.data[(from - first) as usize..(to - first) as usize];
                into[(from - start) as usize..(to - start) as usize].copy_from_slice(part);
            }
        }
    }

    /// How many stores left before an older one did.
    #[must_use]
    pub const fn overtaken(&self) -> u64 {
        self.overtaken
    }

    /// The store whose time ends first leaves; of equals the oldest.
    fn leave_first(&mut self) -> Option<Store> {
        let first = self.stores.iter().enumerate().min_by_key(|(place, store)| (store.due, *place));
        let place = first.map(|(place, _)| place)?;
        self.overtaken += u64::from(place > 0);
        Some(self.stores.remove(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Instant = Instant::FAR_FUTURE;

    fn buffer(seed: u64, depth: u32) -> StoreBuffer {
        StoreBuffer::new(seed, depth, Span::from_ns(500))
    }

    fn drain(buffer: &mut StoreBuffer) -> Vec<u64> {
        std::iter::from_fn(|| buffer.leave_due(LATE)).map(|store| store.address.get()).collect()
    }

    #[test]
    fn stores_to_different_lines_leave_in_an_order_that_the_seed_chooses() {
        let order = |seed| {
            let mut buffer = buffer(seed, 16);
            for line in 0..8 {
                assert_eq!(buffer.enter(Instant::ZERO, PhysAddr(line * 64), &[0]), None);
            }
            drain(&mut buffer)
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert_ne!(order(1), (0..8).map(|line| line * 64).collect::<Vec<_>>());
    }

    #[test]
    fn stores_to_one_line_leave_in_program_order_under_every_seed() {
        for seed in 0..200 {
            let mut buffer = buffer(seed, 4);
            let mut left = Vec::new();
            for n in 0..16 {
                left.extend(buffer.enter(Instant::ZERO, PhysAddr(n), &[0]));
            }
            let mut order: Vec<_> = left.iter().map(|store| store.address.get()).collect();
            order.extend(drain(&mut buffer));
            assert_eq!(order, (0..16).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_store_waits_longer_than_the_longest_time() {
        let mut buffer = buffer(3, 64);
        for n in 0..64 {
            let _ = buffer.enter(Instant::ZERO, PhysAddr(n * 64), &[0]);
        }
        while buffer.leave_due(Instant::ZERO + Span::from_ns(500)).is_some() {}
        assert_eq!(buffer.next_due(), None);
    }

    #[test]
    fn the_cpu_sees_the_youngest_of_its_own_stores() {
        let mut buffer = buffer(1, 8);
        let _ = buffer.enter(Instant::ZERO, PhysAddr(10), &[1; 4]);
        let _ = buffer.enter(Instant::ZERO, PhysAddr(12), &[2; 4]);
        let mut seen = [0; 8];
        buffer.overlay(PhysAddr(9), &mut seen);
        assert_eq!(seen, [0, 1, 1, 2, 2, 2, 2, 0]);
    }

    #[test]
    fn a_store_is_cut_where_a_line_ends() {
        let data = [7; 100];
        let pieces: Vec<_> = StoreBuffer::pieces(PhysAddr(60), &data)
            .map(|(address, piece)| (address.get(), piece.len()))
            .collect();
        assert_eq!(pieces, [(60, 4), (64, 64), (128, 32)]);
    }
}
