//! The MSI-X table as the CPU filled it: which memory write is which vector's message.
//! PCI 3.0 §6.8.2, "MSI-X Capability and Table Structures".

use pcie_sim::spec::pci::msix::{ENTRY_ADDRESS, ENTRY_BYTES, ENTRY_DATA};

/// What the address and data of a write say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// It is this vector's message.
    Vector(u16),
    /// Several vectors have this message.
    Shared,
}

/// A shadow of the table, and its messages in order.
#[derive(Debug, Default)]
pub(crate) struct MsixTable {
    bytes: Vec<u8>,
    messages: Vec<(u64, u32, u16)>,
}

impl MsixTable {
    /// The CPU writes into the table.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8], vectors: u16) {
        self.bytes.resize(usize::from(vectors) * ENTRY_BYTES as usize, 0);
        let start = offset as usize;
        if let Some(place) = self.bytes.get_mut(start..start + data.len()) {
            place.copy_from_slice(data);
            self.sort_messages();
        }
    }

    /// Whose message a write of `data` to `address` is.
    pub(crate) fn message(&self, address: u64, data: &[u8]) -> Option<Message> {
        let data = u32::from_le_bytes(data.try_into().ok()?);
        let (low, high) = (self.messages.first()?.0, self.messages.last()?.0);
        if address < low || address > high {
            return None;
        }
        let key = (address, data);
        let at = self.messages.partition_point(|&(a, d, _)| (a, d) < key);
        let same = |i: usize| self.messages.get(i).filter(|&&(a, d, _)| (a, d) == key);
        let &(_, _, vector) = same(at)?;
        Some(if same(at + 1).is_some() { Message::Shared } else { Message::Vector(vector) })
    }

    fn sort_messages(&mut self) {
        self.messages.clear();
        for (vector, entry) in self.bytes.chunks_exact(ENTRY_BYTES as usize).enumerate() {
            let word = |at: u64| {
                let at = at as usize;
                u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
            };
            let address =
                u64::from(word(ENTRY_ADDRESS + 4)) << 32 | u64::from(word(ENTRY_ADDRESS) & !3);
            if address != 0 {
                self.messages.push((address, word(ENTRY_DATA), vector as u16));
            }
        }
        self.messages.sort_unstable();
    }
}
