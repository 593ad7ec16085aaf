//! What the capability list says: where the virtio structures, the MSI-X table and the PCI Express
//! registers are. Read out of bytes that somebody else read from the card.
//!
//! Of several capabilities of one type the first counts, as for a driver that takes what comes first.
//! Virtio 1.4, "Virtio Structure PCI Capabilities".

use pcie_sim::spec::pci::{cap_id, header, msix};
use pcie_sim::spec::virtio_pci::{COMMON_CFG_BYTES, cap, cfg_type};
use smallvec::SmallVec;

use super::purpose::Region;

/// Each capability takes at least four bytes of the first 256.
const MOST_CAPABILITIES: usize = 48;

/// A run of bytes behind a BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    /// The BAR, 0 to 5.
    pub bar: u8,
    /// Offset from its start in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

impl Structure {
    /// How far into the structure a place behind a BAR is, when it is inside.
    #[must_use]
    pub fn within(&self, bar: u8, offset: u64) -> Option<u64> {
        let into = offset.checked_sub(self.offset)?;
        (bar == self.bar && into < self.length).then_some(into)
    }
}

/// The MSI-X capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixCapability {
    /// Where in configuration space it is.
    pub at: u16,
    /// The table.
    pub table: Structure,
    /// The pending bits.
    pub pending: Structure,
    /// Vectors.
    pub vectors: u16,
}

/// Everything that the list told so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Common configuration.
    pub common: Option<Structure>,
    /// Doorbells.
    pub notify: Option<Structure>,
    /// Bytes between doorbells.
    pub notify_off_multiplier: u32,
    /// ISR status.
    pub isr: Option<Structure>,
    /// Device-specific configuration.
    pub device: Option<Structure>,
    /// Where in configuration space the PCI access capability is.
    pub window: Option<u16>,
    /// Shared memory regions, with their `shmid`.
    pub shared_memory: SmallVec<[(u8, Structure); 2]>,
    /// MSI-X.
    pub msix: Option<MsixCapability>,
    /// Where in configuration space the PCI Express capability is.
    pub express: Option<u16>,
}

impl Layout {
    /// Walks the list in `space`, the 4 KiB of a function; bytes that nobody read are zero.
    #[must_use]
    pub fn parse(space: &[u8; 4096]) -> Self {
        let mut layout = Self::default();
        let mut at = u16::from(space[usize::from(header::CAPABILITIES)] & 0xfc);
        for _ in 0..MOST_CAPABILITIES {
            if at < header::BYTES {
                break;
            }
            match space[usize::from(at)] {
                cap_id::PCI_EXPRESS => layout.express = layout.express.or(Some(at)),
                cap_id::MSIX => layout.msix = layout.msix.or_else(|| parse_msix(space, at)),
                cap_id::VENDOR => layout.take_virtio(space, at),
                _ => {}
            }
            at = u16::from(space[usize::from(at + cap::NEXT)] & 0xfc);
        }
        layout
    }

    fn take_virtio(&mut self, space: &[u8; 4096], at: u16) {
        let kind = space[usize::from(at + cap::CFG_TYPE)];
        if kind == cfg_type::PCI {
            self.window = self.window.or(Some(at));
            return;
        }
        let mut found = Structure {
            bar: space[usize::from(at + cap::BAR)],
            offset: u64::from(dword(space, at + cap::OFFSET)),
            length: u64::from(dword(space, at + cap::LENGTH)),
        };
        if found.bar > 5 {
            return;
        }
        match kind {
            // A driver that knows the structure's size need not read its length.
            cfg_type::COMMON => {
                found.length = found.length.max(u64::from(COMMON_CFG_BYTES));
                self.common = self.common.or(Some(found));
            }
            cfg_type::NOTIFY if self.notify.is_none() => {
                self.notify_off_multiplier = dword(space, at + cap::NOTIFY_OFF_MULTIPLIER);
                self.notify = Some(found);
            }
            cfg_type::ISR => {
                found.length = found.length.max(1);
                self.isr = self.isr.or(Some(found));
            }
            cfg_type::DEVICE => self.device = self.device.or(Some(found)),
            cfg_type::SHARED_MEMORY => {
                found.offset |= u64::from(dword(space, at + cap::OFFSET_HI)) << 32;
                found.length |= u64::from(dword(space, at + cap::LENGTH_HI)) << 32;
                self.shared_memory.push((space[usize::from(at + cap::ID)], found));
            }
            _ => {}
        }
    }

    /// What lies at an offset behind a BAR.
    #[must_use]
    pub fn region(&self, bar: u8, offset: u64) -> (Region, u64) {
        let named = [
            (Region::Notify, self.notify),
            (Region::Common, self.common),
            (Region::Isr, self.isr),
            (Region::Device, self.device),
            (Region::MsixTable, self.msix.map(|msix| msix.table)),
            (Region::MsixPending, self.msix.map(|msix| msix.pending)),
        ];
        for (region, structure) in named {
            if let Some(into) = structure.and_then(|structure| structure.within(bar, offset)) {
                return (region, into);
            }
        }
        (Region::Memory, offset)
    }

    /// The first byte behind a BAR that no known structure reaches: the least size it can have.
    #[must_use]
    pub fn extent(&self, bar: u8) -> u64 {
        [self.notify, self.common, self.isr, self.device]
            .into_iter()
            .chain(self.msix.iter().flat_map(|msix| [Some(msix.table), Some(msix.pending)]))
            .chain(self.shared_memory.iter().map(|&(_, region)| Some(region)))
            .flatten()
            .filter(|structure| structure.bar == bar)
            .map(|structure| structure.offset.saturating_add(structure.length))
            .max()
            .unwrap_or(0)
    }
}

fn parse_msix(space: &[u8; 4096], at: u16) -> Option<MsixCapability> {
    let control = dword(space, at) >> 16;
    let vectors = (control as u16 & msix::CONTROL_TABLE_SIZE) + 1;
    let (table, pending) = (dword(space, at + msix::TABLE), dword(space, at + msix::PBA));
    let place = |register: u32, length: u64| Structure {
        bar: (register & 7) as u8,
        offset: u64::from(register & !7),
        length,
    };
    let found = MsixCapability {
        at,
        table: place(table, u64::from(vectors) * msix::ENTRY_BYTES),
        pending: place(pending, u64::from(vectors).div_ceil(64) * 8),
        vectors,
    };
    (found.table.bar <= 5).then_some(found)
}

fn dword(space: &[u8; 4096], at: u16) -> u32 {
    let at = usize::from(at);
    u32::from_le_bytes([space[at], space[at + 1], space[at + 2], space[at + 3]])
}
