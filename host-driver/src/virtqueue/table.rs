//! A stock of indirect tables: memory that is allocated once and mapped at each use.

use pcie_sim::address::PhysAddr;
use pcie_sim::spec::virtq::DESC_BYTES;

use crate::pages::{PAGE_BYTES, PageError, Pages};

/// Tables of one size.
#[derive(Debug)]
pub(super) struct TablePool {
    pages: Pages,
    entries: u16,
    /// Bytes of one table: a power of two, so that a small one never crosses a page.
    bytes: u64,
    free: Vec<PhysAddr>,
    blocks: Vec<PhysAddr>,
}

impl TablePool {
    /// A stock of tables of at least `entries` entries; it grows when it is empty.
    pub(super) fn new(pages: &Pages, entries: u16) -> Self {
        let bytes = (u64::from(entries.max(1)) * DESC_BYTES as u64).next_power_of_two();
        Self {
            pages: pages.clone(),
            entries: entries.max(1),
            bytes,
            free: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Entries of one table.
    pub(super) fn entries(&self) -> usize {
        usize::from(self.entries)
    }

    fn block_bytes(&self) -> u64 {
        self.bytes.max(PAGE_BYTES)
    }

    /// A table.
    pub(super) fn take(&mut self) -> Result<PhysAddr, PageError> {
        if let Some(table) = self.free.pop() {
            return Ok(table);
        }
        let block = self.pages.alloc(self.block_bytes(), self.bytes)?;
        self.blocks.push(block);
        let tables = self.block_bytes() / self.bytes;
        self.free.extend((1..tables).rev().map(|nth| block + nth * self.bytes));
        Ok(block)
    }

    /// Takes a table back.
    pub(super) fn put(&mut self, table: PhysAddr) {
        self.free.push(table);
    }

    /// Gives all memory back.
    pub(super) fn free(self) -> Result<(), PageError> {
        let bytes = self.block_bytes();
        self.blocks.into_iter().try_for_each(|block| self.pages.free(block, bytes))
    }
}
