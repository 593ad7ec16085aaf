//! What an IOMMU's tables hold, read where the hardware reads them: from the register that points at them
//! on through memory. The driver's own books are not asked.

use std::fmt;

use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::host::{Bus, Width};
use pcie_sim::iommu::tce::Window;
use pcie_sim::machine::Machine;
use pcie_sim::spec::tce;
use pcie_sim::spec::vtd::{context_entry, reg, root_entry, sl_entry};

use super::watch::Watch;
use super::wiring::Bench;
use crate::platform::setup::Hardware;

/// Entries of a root table and of a context table.
const PER_TABLE: u64 = 256;

/// What the tables let devices do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Devices that are in a domain, or pass through.
    pub devices: Vec<Bdf>,
    /// Pages that are mapped, of any size.
    pub pages: u64,
}

impl Mapped {
    /// Nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.pages == 0
    }
}

impl fmt::Display for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages are mapped", self.pages)?;
        self.devices.iter().try_for_each(|device| write!(f, ", {device} is in a domain"))
    }
}

/// Walks the tables of whatever stands between slot and memory. A window that maps all of RAM for good
/// does not count.
pub fn mapped(bench: &mut Bench, hardware: Hardware) -> Mapped {
    let Some(iommu) = bench.machine.root.iommu.as_deref() else { return Mapped::default() };
    let (registers, kept) = (iommu.registers().0, iommu.mapped_pages(Window::DEFAULT.liobn));
    match hardware {
        Hardware::None => Mapped::default(),
        Hardware::Vtd { .. } => vtd(&mut bench.machine, registers),
        Hardware::Tce { .. } => Mapped { pages: kept, ..Mapped::default() },
        Hardware::FlatTable => flat(&mut bench.machine, registers),
    }
}

fn vtd(machine: &mut Machine<Watch>, registers: PhysAddr) -> Mapped {
    let root = machine.mmio_read(registers + reg::RTADDR, Width::W64) & root_entry::CTP_MASK;
    let mut mapped = Mapped::default();
    if root == 0 {
        return mapped;
    }
    for bus in 0..PER_TABLE {
        let low = word(machine, root + bus * root_entry::BYTES);
        if low & root_entry::P == 0 {
            continue;
        }
        for function in 0..PER_TABLE {
            let entry = (low & root_entry::CTP_MASK) + function * context_entry::BYTES;
            let low = word(machine, entry);
            if low & context_entry::P == 0 {
                continue;
            }
            mapped.devices.push(Bdf((bus << 8 | function) as u16));
            let levels = match word(machine, entry + 8) & context_entry::AW_MASK {
                context_entry::AW_39 => 3,
                _ => 4,
            };
            mapped.pages += second_stage(machine, low & context_entry::SLPTPTR_MASK, levels);
        }
    }
    mapped
}

/// Pages mapped by a table of `level` and those below it. No table lies at 0: that is pass-through.
fn second_stage(machine: &Machine<Watch>, table: u64, level: u32) -> u64 {
    let entries = (0..sl_entry::PER_TABLE).filter(|_| table != 0);
    entries
        .map(|nth| word(machine, table + nth * sl_entry::BYTES))
        .filter(|entry| entry & (sl_entry::R | sl_entry::W) != 0)
        .map(|entry| match level {
            2.. if entry & sl_entry::PS == 0 => {
                second_stage(machine, entry & sl_entry::ADDRESS_MASK, level - 1)
            }
            _ => 1,
        })
        .sum()
}

fn flat(machine: &mut Machine<Watch>, registers: PhysAddr) -> Mapped {
    let table = machine.mmio_read(registers + tce::reg::TABLE, Width::W64);
    let pages = machine.mmio_read(registers + tce::reg::PAGES, Width::W64);
    let entries = (0..pages).filter(|_| table != 0);
    let entries = entries.map(|page| word(machine, table + page * tce::BYTES).swap_bytes());
    let pages = entries.filter(|entry| entry & (tce::READ | tce::WRITE) != 0).count() as u64;
    Mapped { pages, ..Mapped::default() }
}

/// Eight bytes of the machine's memory; zero where there is none.
fn word(machine: &Machine<Watch>, at: u64) -> u64 {
    let bytes = machine.root.ram.slice(PhysAddr(at), 8);
    bytes.and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
