//! The MSI-X table as the CPU filled it: which memory write is which vector's message.
//! PCI 3.0 §6.8.2, "MSI-X Capability and Table Structures".

use pcie_sim::spec::pci::msix::{ENTRY_ADDRESS, ENTRY_BYTES, ENTRY_CONTROL, ENTRY_DATA};
use pcie_sim::time::Instant;

/// What the address and data of a write say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// It is this vector's message.
    Vector(u16),
    /// Several vectors have this message.
    Shared,
}

/// How a vector stands that the CPU has masked.
#[derive(Debug, Clone, Copy, Default)]
enum Mask {
    #[default]
    Open,
    /// By this write; the card may not have seen it yet.
    Written(u64),
    /// The card has answered a read that was sent after the write: what it sent before was sent before this.
    Seen(Instant),
}

/// A shadow of the table, and its messages in order.
#[derive(Debug, Default)]
pub(crate) struct MsixTable {
    bytes: Vec<u8>,
    messages: Vec<(u64, u32, u16)>,
    masks: Vec<Mask>,
    /// Writes of masks so far, and up to which of them the card has seen them.
    written: u64,
    seen: u64,
}

impl MsixTable {
    /// The CPU writes into the table. A vector that is unmasked by it, and of which nothing was to be seen since
    /// it was masked.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8], vectors: u16) -> Option<u16> {
        self.bytes.resize(usize::from(vectors) * ENTRY_BYTES as usize, 0);
        self.masks.resize(usize::from(vectors), Mask::Open);
        let start = offset as usize;
        let place = self.bytes.get_mut(start..start + data.len())?;
        place.copy_from_slice(data);
        self.sort_messages();
        let entry = start / ENTRY_BYTES as usize;
        let control = entry * ENTRY_BYTES as usize + ENTRY_CONTROL as usize;
        if !(start..start + data.len()).contains(&control) {
            return None;
        }
        let was = self.masks[entry];
        if self.bytes[control] & 1 == 0 {
            self.masks[entry] = Mask::Open;
            return matches!(was, Mask::Seen(_)).then_some(entry as u16);
        }
        if matches!(was, Mask::Open) {
            self.written += 1;
            self.masks[entry] = Mask::Written(self.written);
        }
        None
    }

    /// Masks written so far; to be given to [`Self::confirm`] when a read sent now is answered.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// The card has answered, at `at`, a read that was sent after so many masks.
    #[inline]
    pub(crate) fn confirm(&mut self, written: u64, at: Instant) {
        if written <= self.seen {
            return;
        }
        self.seen = written;
        for mask in &mut self.masks {
            if matches!(mask, Mask::Written(by) if *by <= written) {
                *mask = Mask::Seen(at);
            }
        }
    }

    /// From when on the card can have sent no message of this vector; `None` when it may.
    #[inline]
    pub(crate) fn masked_since(&self, vector: u16) -> Option<Instant> {
        match self.masks.get(usize::from(vector)) {
            Some(&Mask::Seen(at)) => Some(at),
            _ => None,
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
