//! What the front end must know of the card before a guest comes: read from configuration space, through
//! TLPs like everything else.

use super::{Access, LiveSlot};
use crate::endpoint::Tap;
use crate::spec::pci::{bar, cap_id, express, header, msix};
use crate::tlp::Payload;

/// A memory BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarFacts {
    /// Its size, a power of two.
    pub len_bytes: u64,
    /// It takes the next register too.
    pub is_64_bit: bool,
}

/// The MSI-X capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixFacts {
    /// Where the capability is.
    pub at: u16,
    /// Entries of the table.
    pub vectors: u16,
    /// The BAR that the table is behind.
    pub bar: u8,
    /// Where it begins behind it.
    pub offset: u32,
}

/// What configuration space says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The memory BARs.
    pub bars: [Option<BarFacts>; 6],
    /// MSI-X.
    pub msix: Option<MsixFacts>,
    /// Where the PCI Express capability is.
    pub express: Option<u16>,
    /// Function Level Reset Capability.
    pub resets_by_function: bool,
}

/// Reads them. What is missing or makes no sense is left out.
pub(super) fn probe<T: Tap>(slot: &mut LiveSlot<T>) -> Facts {
    let mut facts = Facts::default();
    let mut at = (slot.config_dword(header::CAPABILITIES) & 0xfc) as u16;
    // More would not fit: the list goes in a circle.
    for _ in 0..48 {
        if at < header::BYTES {
            break;
        }
        let head = slot.config_dword(at);
        match head as u8 {
            cap_id::PCI_EXPRESS => {
                let capabilities = slot.config_dword(at + express::DEVICE_CAPABILITIES);
                facts.express = Some(at);
                facts.resets_by_function = capabilities & express::CAPABLE_FLR != 0;
            }
            cap_id::MSIX => {
                let table = slot.config_dword(at + msix::TABLE);
                facts.msix = Some(MsixFacts {
                    at,
                    vectors: (head >> 16) as u16 & msix::CONTROL_TABLE_SIZE,
                    bar: table as u8 & 7,
                    offset: table & !7,
                });
                if let Some(msix) = &mut facts.msix {
                    msix.vectors += 1;
                }
            }
            _ => {}
        }
        at = (head >> 8 & 0xfc) as u16;
    }
    probe_bars(slot, &mut facts);
    facts
}

/// Writes all ones and reads back which bits stayed. PCIe 5.0 §7.5.1.2.1, "Base Address Registers".
fn probe_bars<T: Tap>(slot: &mut LiveSlot<T>, facts: &mut Facts) {
    let mut index = 0;
    while index < 6 {
        let low = slot.size_of(index);
        let is_64_bit = low & bar::IO == 0 && low & bar::MEMORY_64 != 0 && index < 5;
        // Of a function that is not there every register is all ones.
        let low = if low == u32::MAX { 0 } else { low };
        let high = if is_64_bit { slot.size_of(index + 1) } else { u32::MAX };
        let mask = u64::from(high) << 32 | u64::from(low & !bar::FLAGS);
        let len_bytes = (!mask).wrapping_add(1);
        if low & bar::IO == 0 && low & !bar::FLAGS != 0 && len_bytes.is_power_of_two() {
            facts.bars[index] = Some(BarFacts { len_bytes, is_64_bit });
        }
        index += if is_64_bit { 2 } else { 1 };
    }
}

impl<T: Tap> LiveSlot<T> {
    /// A doubleword of configuration space; all ones when the card does not answer.
    fn config_dword(&mut self, offset: u16) -> u32 {
        let data = self.ask(Access::ConfigRead { offset: offset & !3, len_bytes: 4 });
        let bytes = data.and_then(|data| data.first_chunk().copied());
        bytes.map_or(u32::MAX, u32::from_le_bytes)
    }

    fn size_of(&mut self, index: usize) -> u32 {
        let offset = header::BAR0 + 4 * index as u16;
        let ones = Payload::from_slice(&u32::MAX.to_le_bytes());
        self.ask(Access::ConfigWrite { offset, data: ones });
        let mask = self.config_dword(offset);
        let zero = Payload::from_slice(&[0; 4]);
        self.ask(Access::ConfigWrite { offset, data: zero });
        mask
    }
}
