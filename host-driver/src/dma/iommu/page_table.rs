//! A device's second-stage tables: four levels in host memory, pages of 4 KiB and 2 MiB.
//!
//! The driver remembers in its own memory where each table lies and which entries of a last-level table
//! are in use, so it never walks the tables it wrote. Tables are given back when the domain goes.

use std::collections::{BTreeMap, BTreeSet};

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::Host;
use pcie_sim::spec::vtd::sl_entry;

use super::tables::TableWriter;
use crate::dma::Direction;
use crate::pages::{PAGE_BYTES, PageError, Pages};

/// Levels of a 48-bit address width.
pub const LEVELS: u32 = 4;
/// Entries written with one store burst.
const BURST: usize = 64;

/// The tables of one domain.
#[derive(Debug)]
pub struct SecondStage {
    pages: Pages,
    writer: TableWriter,
    top: PhysAddr,
    /// Tables above the last level by (level, first address / coverage).
    inner: BTreeMap<(u32, u64), PhysAddr>,
    /// Places in `leaves` by address / 2 MiB.
    leaf_of: BTreeMap<u64, usize>,
    leaves: Vec<Leaf>,
    /// The last-level table used last: (address / 2 MiB, place in `leaves`).
    last: Option<(u64, usize)>,
    mapped_pages: u64,
    large_pages: bool,
    /// Entries above the last level that map 2 MiB each, by address / 2 MiB.
    large: BTreeSet<u64>,
}

#[derive(Debug)]
struct Leaf {
    table: PhysAddr,
    /// One bit per entry in use.
    used: [u64; 8],
}

impl Leaf {
    fn bits(first: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
        let end = first + count;
        (first / 64..end.div_ceil(64)).map(move |word| {
            let low = first.max(word * 64) - word * 64;
            let high = end.min(word * 64 + 64) - word * 64;
            (word, (u64::MAX >> (64 - (high - low))) << low)
        })
    }

    fn all_used(&self, first: usize, count: usize) -> bool {
        Self::bits(first, count).all(|(word, mask)| self.used[word] & mask == mask)
    }
}

impl SecondStage {
    /// Empty tables; their memory comes from `pages`. With `large_pages` what is aligned and long enough
    /// gets pages of 2 MiB.
    pub fn new(
        host: &mut dyn Host,
        pages: &Pages,
        writer: TableWriter,
        large_pages: bool,
    ) -> Result<Self, PageError> {
        let top = writer.table(host, pages)?;
        Ok(Self {
            pages: pages.clone(),
            writer,
            top,
            inner: BTreeMap::new(),
            leaf_of: BTreeMap::new(),
            leaves: Vec::new(),
            last: None,
            mapped_pages: 0,
            large_pages,
            large: BTreeSet::new(),
        })
    }

    /// The topmost table.
    #[must_use]
    pub fn top(&self) -> PhysAddr {
        self.top
    }

    /// Pages mapped now.
    #[must_use]
    pub fn mapped_pages(&self) -> u64 {
        self.mapped_pages
    }

    /// Maps `count` pages from `iova` on to those from `page` on. On failure nothing is mapped.
    pub fn map(
        &mut self,
        host: &mut dyn Host,
        iova: BusAddr,
        page: PhysAddr,
        count: u64,
        direction: Direction,
    ) -> Result<(), PageError> {
        let mut done = 0;
        while done < count {
            let (from, to) = (iova + done * PAGE_BYTES, page + done * PAGE_BYTES);
            if self.fits_large(from, to, count - done) {
                if let Err(error) = self.map_large(host, from, to, direction) {
                    self.unmap(host, iova, done);
                    return Err(error);
                }
                done += sl_entry::PER_TABLE;
                continue;
            }
            let (at, first, run) = match self.run(host, from, count - done) {
                Ok(run) => run,
                Err(error) => {
                    self.unmap(host, iova, done);
                    return Err(error);
                }
            };
            let table = self.leaves[at].table;
            self.write_entries(host, table, first, run, entry(to, direction));
            for (word, mask) in Leaf::bits(first, run) {
                self.leaves[at].used[word] |= mask;
            }
            done += run as u64;
            self.mapped_pages += run as u64;
        }
        Ok(())
    }

    /// Whether all `count` pages from `iova` on are mapped.
    #[must_use]
    pub fn is_mapped(&self, iova: BusAddr, count: u64) -> bool {
        let mut done = 0;
        while done < count {
            let (region, first, run) = split(iova + done * PAGE_BYTES, count - done);
            let whole = run as u64 == sl_entry::PER_TABLE;
            match self.find(region) {
                _ if self.large.contains(&region) && whole => done += run as u64,
                _ if self.large.contains(&region) => return false,
                Some(at) if self.leaves[at].all_used(first, run) => done += run as u64,
                _ => return false,
            }
        }
        true
    }

    /// Takes `count` mapped pages from `iova` on out of the tables.
    pub fn unmap(&mut self, host: &mut dyn Host, iova: BusAddr, count: u64) {
        let mut done = 0;
        while done < count {
            let (region, first, run) = split(iova + done * PAGE_BYTES, count - done);
            if self.large.remove(&region) {
                self.unmap_large(host, region);
                self.mapped_pages -= sl_entry::PER_TABLE;
            } else if let Some(at) = self.find(region) {
                self.write_entries(host, self.leaves[at].table, first, run, None);
                for (word, mask) in Leaf::bits(first, run) {
                    self.leaves[at].used[word] &= !mask;
                }
                self.mapped_pages -= run as u64;
            }
            done += run as u64;
        }
    }

    fn fits_large(&self, iova: BusAddr, page: PhysAddr, count: u64) -> bool {
        let aligned = |address: u64| address.is_multiple_of(1 << sl_entry::shift(2));
        let long = count >= sl_entry::PER_TABLE;
        self.large_pages && long && aligned(iova.get()) && aligned(page.get())
    }

    fn map_large(
        &mut self,
        host: &mut dyn Host,
        iova: BusAddr,
        page: PhysAddr,
        direction: Direction,
    ) -> Result<(), PageError> {
        let at = self.directory(host, iova)? + sl_entry::index(iova.get(), 2) * sl_entry::BYTES;
        let value = entry(page, direction).unwrap_or(0) | sl_entry::PS;
        self.writer.write(host, at, &value.to_le_bytes());
        self.large.insert(iova.get() >> sl_entry::shift(2));
        self.mapped_pages += sl_entry::PER_TABLE;
        Ok(())
    }

    /// Puts back what the large page stood in place of: a last-level table, all empty, or nothing.
    fn unmap_large(&self, host: &mut dyn Host, region: u64) {
        let iova = region << sl_entry::shift(2);
        let Some(&directory) = self.inner.get(&(2, iova >> sl_entry::shift(3))) else { return };
        let table = self.leaf_of.get(&region).map(|&at| self.leaves[at].table);
        let value = table.map_or(0, |table| table.get() | sl_entry::R | sl_entry::W);
        let at = directory + sl_entry::index(iova, 2) * sl_entry::BYTES;
        self.writer.write(host, at, &value.to_le_bytes());
    }

    /// Gives every table back. The hardware must not use them any more.
    pub fn free(self) -> Result<(), PageError> {
        let inner = self.inner.into_values();
        let leaves = self.leaves.into_iter().map(|leaf| leaf.table);
        for table in inner.chain(leaves).chain([self.top]) {
            self.pages.free(table, PAGE_BYTES)?;
        }
        Ok(())
    }

    fn find(&self, region: u64) -> Option<usize> {
        match self.last {
            Some((last, at)) if last == region => Some(at),
            _ => self.leaf_of.get(&region).copied(),
        }
    }

    /// The last-level table for `iova`, made if need be: its place, the first entry, how many fit.
    fn run(
        &mut self,
        host: &mut dyn Host,
        iova: BusAddr,
        count: u64,
    ) -> Result<(usize, usize, usize), PageError> {
        let (region, first, run) = split(iova, count);
        let at = match self.find(region) {
            Some(at) => at,
            None => self.add_leaf(host, iova, region)?,
        };
        self.last = Some((region, at));
        Ok((at, first, run))
    }

    fn add_leaf(
        &mut self,
        host: &mut dyn Host,
        iova: BusAddr,
        region: u64,
    ) -> Result<usize, PageError> {
        let directory = self.directory(host, iova)?;
        let table = self.link(host, directory, iova, 2)?;
        self.leaves.push(Leaf { table, used: [0; 8] });
        self.leaf_of.insert(region, self.leaves.len() - 1);
        Ok(self.leaves.len() - 1)
    }

    /// The table above the last level for `iova`, made if need be.
    fn directory(&mut self, host: &mut dyn Host, iova: BusAddr) -> Result<PhysAddr, PageError> {
        let mut table = self.top;
        for level in (2..LEVELS).rev() {
            let key = (level, iova.get() >> sl_entry::shift(level + 1));
            table = match self.inner.get(&key) {
                Some(&below) => below,
                None => {
                    let below = self.link(host, table, iova, level + 1)?;
                    self.inner.insert(key, below);
                    below
                }
            };
        }
        Ok(table)
    }

    /// Hangs a new table under the entry for `iova` in `above`, a table of `level`.
    fn link(
        &self,
        host: &mut dyn Host,
        above: PhysAddr,
        iova: BusAddr,
        level: u32,
    ) -> Result<PhysAddr, PageError> {
        let below = self.writer.table(host, &self.pages)?;
        let value = below.get() | sl_entry::R | sl_entry::W;
        let at = above + sl_entry::index(iova.get(), level) * sl_entry::BYTES;
        self.writer.write(host, at, &value.to_le_bytes());
        Ok(below)
    }

    /// Writes `count` entries: consecutive pages from `value` on, or zeroes.
    fn write_entries(
        &self,
        host: &mut dyn Host,
        table: PhysAddr,
        first: usize,
        count: usize,
        value: Option<u64>,
    ) {
        let mut at = table + first as u64 * sl_entry::BYTES;
        if count == 1 {
            self.writer.write(host, at, &value.unwrap_or(0).to_le_bytes());
            return;
        }
        let mut bytes = [0; BURST * sl_entry::BYTES as usize];
        let mut done = 0;
        while done < count {
            let burst = (count - done).min(BURST);
            let burst_bytes = burst * sl_entry::BYTES as usize;
            if let Some(value) = value {
                for (nth, slot) in bytes[..burst_bytes].chunks_exact_mut(8).enumerate() {
                    slot.copy_from_slice(&(value + (done + nth) as u64 * PAGE_BYTES).to_le_bytes());
                }
            }
            self.writer.write(host, at, &bytes[..burst_bytes]);
            at = at + burst_bytes as u64;
            done += burst;
        }
    }
}

/// Address / 2 MiB, first entry in that table, how many of `count` entries lie in it.
fn split(iova: BusAddr, count: u64) -> (u64, usize, usize) {
    let first = sl_entry::index(iova.get(), 1);
    (
        iova.get() >> sl_entry::shift(2),
        first as usize,
        count.min(sl_entry::PER_TABLE - first) as usize,
    )
}

fn entry(page: PhysAddr, direction: Direction) -> Option<u64> {
    let mut value = page.get() & sl_entry::ADDRESS_MASK;
    value |= if direction.device_reads() { sl_entry::R } else { 0 };
    value |= if direction.device_writes() { sl_entry::W } else { 0 };
    Some(value)
}
