//! How the IOMMU's tables are written: hardware that does not see the CPU's caches is shown each change.
//!
//! Root, context and second-stage tables, that is; the invalidation queue is always read coherently.
//! VT-d, "Extended Capability Register", C: page-walk coherency.

use pcie_sim::address::PhysAddr;
use pcie_sim::host::Host;

use crate::dma::zeroed_pages;
use crate::pages::{PAGE_BYTES, PageError, Pages};

/// A way to write tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableWriter {
    /// The hardware sees the CPU's caches.
    pub snooped: bool,
}

impl TableWriter {
    /// Writes entries at `at`.
    pub fn write(self, host: &mut dyn Host, at: PhysAddr, entries: &[u8]) {
        host.write(at, entries);
        if !self.snooped {
            host.clean(at, entries.len() as u64);
        }
    }

    /// An empty table.
    pub fn table(self, host: &mut dyn Host, pages: &Pages) -> Result<PhysAddr, PageError> {
        let table = zeroed_pages(host, pages, PAGE_BYTES)?;
        if !self.snooped {
            host.clean(table, PAGE_BYTES);
        }
        Ok(table)
    }
}
