//! A PCI function as its driver sees it: configuration space, capabilities, base addresses, MSI-X.
//!
//! The firmware has placed the BARs; nothing here sizes or moves them.

pub mod aer;
pub mod reset;

use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::host::{Host, MsiMessage, Width};
use pcie_sim::spec::pci::{bar, cap_id, command, header, msix, status};

/// Capabilities a list can hold at most: it lies in 192 bytes, 4 bytes each. Longer ones loop.
const MAX_CAPABILITIES: usize = 48;

/// One PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    bdf: Bdf,
}

impl Function {
    /// The function at `bdf`; it need not exist.
    #[must_use]
    pub const fn new(bdf: Bdf) -> Self {
        Self { bdf }
    }

    /// Where it is.
    #[must_use]
    pub const fn bdf(self) -> Bdf {
        self.bdf
    }

    /// Reads a byte.
    pub fn read_u8(self, host: &mut dyn Host, offset: u16) -> u8 {
        host.config_read(self.bdf, offset, Width::W8) as u8
    }

    /// Reads 16 bits.
    pub fn read_u16(self, host: &mut dyn Host, offset: u16) -> u16 {
        host.config_read(self.bdf, offset, Width::W16) as u16
    }

    /// Reads 32 bits.
    pub fn read_u32(self, host: &mut dyn Host, offset: u16) -> u32 {
        host.config_read(self.bdf, offset, Width::W32)
    }

    /// Sets and clears bits of the command register.
    pub fn change_command(self, host: &mut dyn Host, set: u16, clear: u16) {
        let now = self.read_u16(host, header::COMMAND);
        let then = now & !clear | set;
        if then != now {
            host.config_write(self.bdf, header::COMMAND, Width::W16, u32::from(then));
        }
    }

    /// Lets the function master the bus: DMA and MSI-X. PLATFORMS.md, rule 8.
    pub fn set_bus_master(self, host: &mut dyn Host, on: bool) {
        let (set, clear) = if on { (command::BUS_MASTER, 0) } else { (0, command::BUS_MASTER) };
        self.change_command(host, set, clear);
    }

    /// The capability list: id and offset, in order. A list that loops or leaves its bounds ends there.
    pub fn capabilities(self, host: &mut dyn Host) -> Vec<(u8, u16)> {
        let mut found = Vec::new();
        if self.read_u16(host, header::STATUS) & status::CAPABILITIES == 0 {
            return found;
        }
        let mut at = u16::from(self.read_u8(host, header::CAPABILITIES) & !3);
        while at >= header::BYTES && found.len() < MAX_CAPABILITIES {
            let both = self.read_u16(host, at);
            found.push((both as u8, at));
            at = (both >> 8) & !3;
        }
        found
    }

    /// Where memory BAR `index` lies; `None` for one that is I/O, unplaced or out of range.
    pub fn bar(self, host: &mut dyn Host, index: u8) -> Option<PhysAddr> {
        if index > 5 {
            return None;
        }
        let register = header::BAR0 + 4 * u16::from(index);
        let low = self.read_u32(host, register);
        if low & bar::IO != 0 || low == u32::MAX {
            return None;
        }
        let mut address = u64::from(low & !bar::FLAGS);
        if low & bar::MEMORY_64 != 0 && index < 5 {
            address |= u64::from(self.read_u32(host, register + 4)) << 32;
        }
        (address != 0).then_some(PhysAddr(address))
    }
}

/// A function's MSI-X, switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msix {
    function: Function,
    capability: u16,
    table: PhysAddr,
    entries: u16,
}

impl Msix {
    /// Finds MSI-X; `None` when the function has none, or its table lies nowhere.
    pub fn find(
        host: &mut dyn Host,
        function: Function,
        capabilities: &[(u8, u16)],
    ) -> Option<Self> {
        let &(_, capability) = capabilities.iter().find(|(id, _)| *id == cap_id::MSIX)?;
        let control = function.read_u16(host, capability + msix::CONTROL);
        let table = function.read_u32(host, capability + msix::TABLE);
        let start = function.bar(host, (table & 7) as u8)?;
        let entries = (control & msix::CONTROL_TABLE_SIZE) + 1;
        Some(Self { function, capability, table: start + u64::from(table & !7), entries })
    }

    /// Entries of the table.
    #[must_use]
    pub const fn entries(&self) -> u16 {
        self.entries
    }

    /// Where the table lies, and its bytes.
    #[must_use]
    pub fn table(&self) -> (PhysAddr, u64) {
        (self.table, u64::from(self.entries) * msix::ENTRY_BYTES)
    }

    /// Switches MSI-X on, every vector masked by the function mask until [`Msix::unmask`].
    pub fn enable(&self, host: &mut dyn Host) {
        self.set_control(host, msix::CONTROL_ENABLE | msix::CONTROL_FUNCTION_MASK);
    }

    /// Lifts the function mask.
    pub fn unmask(&self, host: &mut dyn Host) {
        self.set_control(host, msix::CONTROL_ENABLE);
    }

    /// Switches MSI-X off.
    pub fn disable(&self, host: &mut dyn Host) {
        self.set_control(host, 0);
    }

    fn set_control(&self, host: &mut dyn Host, bits: u16) {
        let at = self.capability + msix::CONTROL;
        let kept = self.function.read_u16(host, at)
            & !(msix::CONTROL_ENABLE | msix::CONTROL_FUNCTION_MASK);
        host.config_write(self.function.bdf(), at, Width::W16, u32::from(kept | bits));
    }

    /// Programs entry `entry` with `message` and unmasks it. PCI 3.0 §6.8.2.
    pub fn set_entry(&self, host: &mut dyn Host, entry: u16, message: MsiMessage) {
        let at = self.table + u64::from(entry) * msix::ENTRY_BYTES;
        host.mmio_write(at + msix::ENTRY_CONTROL, Width::W32, 1);
        host.mmio_write(at + msix::ENTRY_ADDRESS, Width::W32, message.address & 0xffff_ffff);
        host.mmio_write(at + msix::ENTRY_ADDRESS + 4, Width::W32, message.address >> 32);
        host.mmio_write(at + msix::ENTRY_DATA, Width::W32, u64::from(message.data));
        host.mmio_write(at + msix::ENTRY_CONTROL, Width::W32, 0);
    }
}
