//! A CPU cache that nobody snoops: write-back, write-allocate, least recently used line goes first.
//!
//! ```text
//!   CPU ──▶ cache ──clean, eviction──▶ RAM ◀── DMA
//!             ◀────────miss───────────
//! ```
//!
//! Stale both ways: the CPU reads what it holds however often a device writes RAM, and a device reads RAM
//! however often the CPU writes its line. Worse, a line is written back whole, and not only when asked: an
//! eviction destroys what a device wrote to any part of it. Left out: several levels, speculative fills,
//! time of hits and misses.

use std::ops::Range;

use super::ram::Ram;
use crate::address::PhysAddr;

/// Lines that share a set.
const MOST_WAYS: usize = 8;
/// Bytes of a page, the granule of what is mapped uncached.
const PAGE_BYTES: u64 = 4096;

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Where the line begins.
    line: u64,
    /// When it was last used, counted in uses; 0 says that the slot is free.
    used: u64,
    dirty: bool,
}

/// The cache. Addresses are the machine's.
#[derive(Debug)]
pub struct CpuCache {
    line_bytes: u64,
    ways: usize,
    sets: usize,
    slots: Box<[Slot]>,
    data: Box<[u8]>,
    uses: u64,
    /// One bit a page: the CPU maps it uncached.
    uncached: Vec<u64>,
    write_backs: u64,
}

/// One line's share of an access.
struct Piece {
    line: u64,
    /// Within the line.
    inside: Range<usize>,
    /// Within the access.
    of_access: Range<usize>,
}

impl CpuCache {
    /// An empty cache of at most `lines` lines (fewer where sets do not come out even) of `line_bytes`
    /// bytes, which become a power of two from 16 to 4096.
    #[must_use]
    pub fn new(line_bytes: u32, lines: u32) -> Self {
        let line_bytes = u64::from(line_bytes.clamp(16, 4096).next_power_of_two());
        let ways = (lines.max(1) as usize).min(MOST_WAYS);
        let sets = 1 << (lines.max(1) as usize / ways).ilog2();
        Self {
            line_bytes,
            ways,
            sets,
            slots: vec![Slot::default(); sets * ways].into_boxed_slice(),
            data: vec![0; sets * ways * line_bytes as usize].into_boxed_slice(),
            uses: 0,
            uncached: Vec::new(),
            write_backs: 0,
        }
    }

    /// Bytes of one line.
    #[must_use]
    pub const fn line_bytes(&self) -> u64 {
        self.line_bytes
    }

    /// Lines written back since the start, for whatever reason.
    #[must_use]
    pub const fn write_backs(&self) -> u64 {
        self.write_backs
    }

    /// The CPU reads; all of it must be RAM.
    pub fn read(&mut self, ram: &mut Ram, address: PhysAddr, into: &mut [u8]) {
        for piece in pieces(self.line_bytes, address, into.len()) {
            let part = &mut into[piece.of_access.clone()];
            match self.hold(ram, piece.line) {
                Some(slot) => part.copy_from_slice(&self.bytes(slot)[piece.inside]),
                None => ram_read(ram, piece.line + piece.inside.start as u64, part),
            }
        }
    }

    /// The CPU writes; all of it must be RAM.
    pub fn write(&mut self, ram: &mut Ram, address: PhysAddr, data: &[u8]) {
        for piece in pieces(self.line_bytes, address, data.len()) {
            let part = &data[piece.of_access.clone()];
            match self.hold(ram, piece.line) {
                Some(slot) => {
                    self.slots[slot].dirty = true;
                    self.bytes_mut(slot)[piece.inside].copy_from_slice(part);
                }
                None => ram_write(ram, piece.line + piece.inside.start as u64, part),
            }
        }
    }

    /// Writes changed lines back that have a byte in the range.
    pub fn clean(&mut self, ram: &mut Ram, address: PhysAddr, len_bytes: u64) {
        self.for_lines(address, len_bytes, |cache, slot| cache.write_back(ram, slot));
    }

    /// Forgets lines that have a byte in the range. One that has bytes outside, too, is written back
    /// before if the CPU changed it.
    pub fn invalidate(&mut self, ram: &mut Ram, address: PhysAddr, len_bytes: u64) {
        let (start, end) = (address.get(), address.get() + len_bytes);
        self.for_lines(address, len_bytes, |cache, slot| {
            let line = cache.slots[slot].line;
            if line < start || line + cache.line_bytes > end {
                cache.write_back(ram, slot);
            }
            cache.slots[slot] = Slot::default();
        });
    }

    /// Writes everything back and forgets it.
    pub fn flush(&mut self, ram: &mut Ram) {
        for slot in 0..self.slots.len() {
            self.write_back(ram, slot);
            self.slots[slot] = Slot::default();
        }
    }

    /// Maps the pages that have a byte in the range cached or not, for the CPU.
    pub fn set_cached(&mut self, ram: &mut Ram, address: PhysAddr, len_bytes: u64, cached: bool) {
        let Some(last) = len_bytes.checked_sub(1) else { return };
        let (first, last) = (address.get() / PAGE_BYTES, (address.get() + last) / PAGE_BYTES);
        let start = PhysAddr(first * PAGE_BYTES);
        let whole_bytes = (last - first + 1) * PAGE_BYTES;
        self.clean(ram, start, whole_bytes);
        self.invalidate(ram, start, whole_bytes);
        if self.uncached.len() <= last as usize / 64 {
            self.uncached.resize(last as usize / 64 + 1, 0);
        }
        for page in first..=last {
            let (word, bit) = (&mut self.uncached[page as usize / 64], 1 << (page % 64));
            if cached {
                *word &= !bit;
            } else {
                *word |= bit;
            }
        }
    }

    /// How many lines have a byte in the range.
    #[must_use]
    pub const fn lines_in(&self, address: PhysAddr, len_bytes: u64) -> u64 {
        if len_bytes == 0 {
            return 0;
        }
        let last = address.get().saturating_add(len_bytes - 1);
        last / self.line_bytes - address.get() / self.line_bytes + 1
    }

    fn is_uncached(&self, line: u64) -> bool {
        let page = line / PAGE_BYTES;
        let word = self.uncached.get(page as usize / 64).copied().unwrap_or(0);
        word >> (page % 64) & 1 != 0
    }

    /// The slot that holds a line, fetched if need be; `None` where the access bypasses the cache.
    fn hold(&mut self, ram: &mut Ram, line: u64) -> Option<usize> {
        if self.is_uncached(line) {
            return None;
        }
        let slot = match self.find(line) {
            Some(slot) => slot,
            None => self.fetch(ram, line)?,
        };
        self.uses += 1;
        self.slots[slot].used = self.uses;
        Some(slot)
    }

    fn set(&self, line: u64) -> Range<usize> {
        let first = (line / self.line_bytes) as usize % self.sets * self.ways;
        first..first + self.ways
    }

    fn find(&self, line: u64) -> Option<usize> {
        self.set(line).find(|&slot| self.slots[slot].used != 0 && self.slots[slot].line == line)
    }

    fn fetch(&mut self, ram: &mut Ram, line: u64) -> Option<usize> {
        // The end of a RAM that is no multiple of a line is not cached.
        ram.slice(PhysAddr(line), self.line_bytes as usize)?;
        let slot = self.set(line).min_by_key(|&slot| self.slots[slot].used)?;
        self.write_back(ram, slot);
        ram_read(ram, line, self.bytes_mut(slot));
        self.slots[slot] = Slot { line, used: 0, dirty: false };
        Some(slot)
    }

    fn write_back(&mut self, ram: &mut Ram, slot: usize) {
        if self.slots[slot].dirty {
            self.slots[slot].dirty = false;
            self.write_backs += 1;
            ram_write(ram, self.slots[slot].line, self.bytes(slot));
        }
    }

    /// Calls `act` for each slot whose line has a byte in the range, looking at lines or at slots,
    /// whichever are fewer.
    fn for_lines(
        &mut self,
        address: PhysAddr,
        len_bytes: u64,
        mut act: impl FnMut(&mut Self, usize),
    ) {
        let lines = self.lines_in(address, len_bytes);
        let first = address.get() / self.line_bytes * self.line_bytes;
        if lines < self.slots.len() as u64 {
            for n in 0..lines {
                if let Some(slot) = self.find(first + n * self.line_bytes) {
                    act(self, slot);
                }
            }
            return;
        }
        let end = address.get() + len_bytes;
        for slot in 0..self.slots.len() {
            let Slot { line, used, .. } = self.slots[slot];
            if used != 0 && (first..end).contains(&line) {
                act(self, slot);
            }
        }
    }

    fn bytes(&self, slot: usize) -> &[u8] {
        let len = self.line_bytes as usize;
        &self.data[slot * len..(slot + 1) * len]
    }

    fn bytes_mut(&mut self, slot: usize) -> &mut [u8] {
        let len = self.line_bytes as usize;
        &mut self.data[slot * len..(slot + 1) * len]
    }
}

fn ram_read(ram: &Ram, address: u64, into: &mut [u8]) {
    if let Some(bytes) = ram.slice(PhysAddr(address), into.len()) {
        into.copy_from_slice(bytes);
    }
}

fn ram_write(ram: &mut Ram, address: u64, data: &[u8]) {
    if let Some(bytes) = ram.slice_mut(PhysAddr(address), data.len()) {
        bytes.copy_from_slice(data);
    }
}

/// An access cut at the lines' ends.
fn pieces(line_bytes: u64, address: PhysAddr, len: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = address.get() + done as u64;
        let start = (at % line_bytes) as usize;
        let run = (len - done).min(line_bytes as usize - start);
        let of_access = done..done + run;
        done += run;
        (run > 0).then(|| Piece { line: at - start as u64, inside: start..start + run, of_access })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PhysAddr = PhysAddr(0x1000);

    fn ram() -> Ram {
        Ram::anonymous(1 << 16).expect("64 KiB")
    }

    fn seen(cache: &mut CpuCache, ram: &mut Ram, address: PhysAddr) -> u8 {
        let mut byte = [0];
        cache.read(ram, address, &mut byte);
        byte[0]
    }

    /// PLATFORMS, `arm64-noncoherent`: stale in the one direction.
    #[test]
    fn the_cpu_reads_stale_bytes_until_it_invalidates() {
        let (mut ram, mut cache) = (ram(), CpuCache::new(64, 16));
        assert_eq!(seen(&mut cache, &mut ram, A), 0);
        ram_write(&mut ram, A.get(), &[7]);
        assert_eq!(seen(&mut cache, &mut ram, A), 0, "what a device wrote is not seen");
        cache.invalidate(&mut ram, A, 1);
        assert_eq!(seen(&mut cache, &mut ram, A), 7);
    }

    /// PLATFORMS, `arm64-noncoherent`: stale in the other direction.
    #[test]
    fn a_device_reads_stale_bytes_until_the_cpu_cleans() {
        let (mut ram, mut cache) = (ram(), CpuCache::new(64, 16));
        cache.write(&mut ram, A, &[7; 100]);
        assert_eq!(ram.slice(A, 100), Some(&[0; 100][..]));
        cache.clean(&mut ram, A + 99, 1);
        assert_eq!(ram.slice(A + 63, 2), Some(&[0, 7][..]), "the second line alone is cleaned");
        cache.clean(&mut ram, A, 100);
        assert_eq!(ram.slice(A, 100), Some(&[7; 100][..]));
        assert_eq!(cache.write_backs(), 2, "and not twice");
    }

    #[test]
    fn an_evicted_line_destroys_what_a_device_wrote_to_its_other_bytes() {
        let (mut ram, mut cache) = (ram(), CpuCache::new(64, 2));
        cache.write(&mut ram, A, &[1]);
        ram_write(&mut ram, A.get() + 32, &[9; 32]);
        for line in 1..3 {
            let _ = seen(&mut cache, &mut ram, A + 64 * line);
        }
        assert_eq!(ram.slice(A, 1), Some(&[1][..]), "evicted by the third line");
        assert_eq!(ram.slice(A + 32, 32), Some(&[0; 32][..]), "with the old rest of its line");
    }

    #[test]
    fn invalidating_throws_changes_away_but_keeps_the_neighbours() {
        let (mut ram, mut cache) = (ram(), CpuCache::new(64, 16));
        cache.write(&mut ram, A, &[5; 192]);
        cache.invalidate(&mut ram, A + 32, 96);
        assert_eq!(ram.slice(A, 192), Some(&[[5; 64], [0; 64], [0; 64]].concat()[..]));
        assert_eq!(seen(&mut cache, &mut ram, A), 5);
        assert_eq!(seen(&mut cache, &mut ram, A + 64), 0, "a whole line is dropped unwritten");
        assert_eq!(seen(&mut cache, &mut ram, A + 128), 5, "another line is not touched");
    }

    #[test]
    fn uncached_pages_are_never_stale() {
        let (mut ram, mut cache) = (ram(), CpuCache::new(64, 16));
        cache.write(&mut ram, A, &[3]);
        cache.set_cached(&mut ram, A, 4096, false);
        assert_eq!(ram.slice(A, 1), Some(&[3][..]), "what was held is written back");
        cache.write(&mut ram, A, &[4]);
        assert_eq!(ram.slice(A, 1), Some(&[4][..]));
        ram_write(&mut ram, A.get(), &[6]);
        assert_eq!(seen(&mut cache, &mut ram, A), 6);
        cache.set_cached(&mut ram, A, 4096, true);
        cache.write(&mut ram, A, &[8]);
        assert_eq!(ram.slice(A, 1), Some(&[6][..]), "cached again");
    }

    proptest::proptest! {
        /// Without devices no program can tell that there is a cache; a flush puts all of it in RAM.
        #[test]
        fn a_cpu_alone_never_notices_the_cache(
            steps in proptest::collection::vec((0u8..4, 0usize..1000, 1usize..200), 1..80),
            lines in 1u32..20,
        ) {
            let (mut ram, mut cache) = (ram(), CpuCache::new(32, lines));
            let mut truth = vec![0; 1200];
            for (n, (kind, at, len)) in steps.into_iter().enumerate() {
                let place = PhysAddr(at as u64);
                match kind {
                    0 => cache.clean(&mut ram, place, len as u64),
                    1 => {
                        let mut got = vec![0; len];
                        cache.read(&mut ram, place, &mut got);
                        proptest::prop_assert_eq!(&got, &truth[at..at + len]);
                    }
                    _ => {
                        truth[at..at + len].fill(n as u8);
                        cache.write(&mut ram, place, &vec![n as u8; len]);
                    }
                }
            }
            cache.flush(&mut ram);
            proptest::prop_assert_eq!(ram.slice(PhysAddr(0), 1200), Some(&truth[..]));
        }
    }
}
