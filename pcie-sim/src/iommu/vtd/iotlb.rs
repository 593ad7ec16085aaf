//! The caches of the unit: the same store of translations, used three times.
//!
//! ```text
//!   requester ─▶ context cache ─▶ domain, tables
//!   domain, page ─▶ IOTLB ─▶ frame, permissions
//!   domain, upper bits ─▶ paging-structure cache ─▶ table (optional)
//! ```
//!
//! Nothing here looks at memory: an entry stays, however stale, until it is invalidated or evicted.

use crate::iommu::cache::{Cache, Geometry, Key};
use crate::spec::vtd::sl_entry;

/// A page that some address translates to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Page {
    /// Address of its first byte in the host's memory.
    pub(super) frame: u64,
    /// The level of the entry that maps it: 1 for 4 KiB, 2 for 2 MiB, 3 for 1 GiB.
    pub(super) level: u8,
    /// The permissions of every level together, as in a table entry.
    pub(super) permissions: u64,
}

impl Page {
    /// Where `address`, which lies in this page's range, goes.
    pub(super) fn place(self, address: u64) -> u64 {
        let offset_mask = (1 << sl_entry::shift(u32::from(self.level))) - 1;
        self.frame | address & offset_mask
    }
}

/// A table that the walk of some address passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Table {
    /// Its address in the host's memory.
    pub(super) address: u64,
    /// The permissions of the levels above together.
    pub(super) permissions: u64,
}

fn key(domain: u16, address: u64, level: u8) -> Key {
    Key { page: address >> sl_entry::shift(u32::from(level)), domain, level }
}

/// The IOTLB together with the paging-structure cache, which the same invalidations reach.
#[derive(Debug)]
pub(super) struct Iotlb {
    pages: Cache<Page>,
    tables: Cache<Table>,
    /// Whether a superpage of level 2, of level 3, was entered since everything was last dropped: saves
    /// looking for them where nobody uses them.
    superpages: [bool; 2],
}

impl Iotlb {
    pub(super) fn new(pages: Geometry, tables: Geometry) -> Self {
        Self { pages: Cache::new(pages), tables: Cache::new(tables), superpages: [false; 2] }
    }

    pub(super) fn find(&mut self, domain: u16, address: u64) -> Option<Page> {
        self.pages
            .get(key(domain, address, 1))
            .or_else(|| self.superpages[0].then(|| self.pages.get(key(domain, address, 2)))?)
            .or_else(|| self.superpages[1].then(|| self.pages.get(key(domain, address, 3)))?)
    }

    pub(super) fn enter(&mut self, domain: u16, address: u64, page: Page) {
        if page.level > 1 {
            self.superpages[usize::from(page.level) - 2] = true;
        }
        self.pages.put(key(domain, address, page.level), page);
    }

    /// The lowest known table on the way to `address`, and its level.
    pub(super) fn find_table(&mut self, domain: u16, address: u64, top: u8) -> Option<(u8, Table)> {
        if self.tables.len() == 0 {
            return None;
        }
        (1..top).find_map(|level| {
            let table = self.tables.get(key(domain, address, level + 1))?;
            Some((level, table))
        })
    }

    /// Remembers the table of `level` on the way to `address`.
    pub(super) fn enter_table(&mut self, domain: u16, address: u64, level: u8, table: Table) {
        if self.tables.len() != 0 {
            self.tables.put(key(domain, address, level + 1), table);
        }
    }

    pub(super) fn drop_all(&mut self) {
        self.pages.clear();
        self.tables.clear();
        self.superpages = [false; 2];
    }

    pub(super) fn drop_domain(&mut self, domain: u16) {
        self.pages.remove_if(|key, _| key.domain == domain);
        self.tables.remove_if(|key, _| key.domain == domain);
    }

    /// Drops what translates any of the 2^`mask` pages of 4 KiB that `address` lies in; the tables on
    /// the way too, unless the driver says that `leaf_only` entries changed.
    pub(super) fn drop_pages(&mut self, domain: u16, address: u64, mask: u32, leaf_only: bool) {
        let last_offset = (1 << (12 + mask)) - 1;
        let (first, last) = (address & !last_offset, address | last_offset);
        let covers = |key: Key| {
            let shift = sl_entry::shift(u32::from(key.level));
            key.domain == domain && first >> shift <= key.page && key.page <= last >> shift
        };
        if mask == 0 {
            for level in 1..=3 {
                self.pages.remove(key(domain, address, level));
            }
        } else {
            self.pages.remove_if(|key, _| covers(key));
        }
        if !leaf_only {
            self.tables.remove_if(|key, _| covers(key));
        }
    }
}
