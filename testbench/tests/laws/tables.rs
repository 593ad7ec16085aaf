//! Bus addresses resolved by reading the IOMMU's tables where they lie, without the IOMMU. Written from
//! VT-d, "Translation Structure Formats" and "Second-Stage Translation", for tables of 4 levels.

use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::host::{Bus, Width};
use testbench::bench::wiring::Bench;

/// Where the unit's registers lie.
pub(crate) const REGISTERS: PhysAddr = PhysAddr(0xfed9_0000);
/// "Root Table Address Register".
const ROOT_TABLE: u64 = 0x20;

/// A page that a card may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) at: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// The tables of one device.
pub(crate) struct Tables {
    top: u64,
}

impl Tables {
    /// Finds the tables of `function`.
    pub(crate) fn of(bench: &mut Bench, function: Bdf) -> Self {
        let root = bench.machine.mmio_read(REGISTERS + ROOT_TABLE, Width::W64) & !0xfff;
        let entry = word(bench, root + 16 * u64::from(function.0 >> 8));
        assert_eq!(entry & 1, 1, "the bus has a context table");
        let context = (entry & !0xfff) + 16 * u64::from(function.0 & 0xff);
        let (low, high) = (word(bench, context), word(bench, context + 8));
        assert_eq!((low & 0b1101, high & 7), (1, 2), "present, translated, 4 levels");
        Self { top: low & !0xfff }
    }

    /// The page that holds bus address `address`, if one does.
    pub(crate) fn page(&self, bench: &Bench, address: u64) -> Option<Page> {
        if address >> 48 != 0 {
            return None;
        }
        let mut found = Page { at: self.top, read: true, write: true };
        for shift in [39, 30, 21, 12] {
            let entry = word(bench, found.at + 8 * (address >> shift & 0x1ff));
            found.at = entry & 0x000f_ffff_ffff_f000;
            found.read &= entry & 1 != 0;
            found.write &= entry & 2 != 0;
            assert!(shift == 12 || entry & 0x80 == 0, "no superpages on this platform");
        }
        (found.read || found.write).then_some(found)
    }

    /// The RAM behind all of `len` bytes at `address`, when the card may read (write) it.
    pub(crate) fn allow(&self, bench: &Bench, address: u64, len: usize, write: bool) -> Vec<u64> {
        let end = address + len as u64;
        let mut at = address;
        let mut places = Vec::new();
        while at < end {
            let page = self.page(bench, at);
            let page = page.unwrap_or_else(|| panic!("{at:#x} is not mapped"));
            assert!(if write { page.write } else { page.read }, "{at:#x} for {write}: {page:?}");
            places.push(page.at + (at & 0xfff));
            at = (at & !0xfff) + 4096;
        }
        places
    }
}

fn word(bench: &Bench, address: u64) -> u64 {
    let bytes = bench.machine.root.ram.slice(PhysAddr(address), 8).expect("tables lie in RAM");
    u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
}
