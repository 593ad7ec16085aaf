//! MSI-X: the table, the masks, the pending bits. PCI 3.0 §6.8.2, "MSI-X Capability and Table Structures".

use pcie_sim::host::MsiMessage;

const ENTRY_BYTES: u64 = 16;
const MASKED: u32 = 1;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct Entry {
    address: u64,
    data: u32,
    control: u32,
}

impl Entry {
    const RESET: Self = Self { address: 0, data: 0, control: MASKED };

    fn to_bytes(self) -> [u8; ENTRY_BYTES as usize] {
        let mut bytes = [0; ENTRY_BYTES as usize];
        bytes[0..8].copy_from_slice(&self.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.data.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.control.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; ENTRY_BYTES as usize]) -> Self {
        let dword = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        // Address bits 1:0 are zero by rule; vector control has one bit, the rest is reserved.
        let address = u64::from(dword(4)) << 32 | u64::from(dword(0) & !3);
        Self { address, data: dword(8), control: dword(12) & MASKED }
    }
}

/// The MSI-X structures of the card.
#[derive(Debug)]
pub(crate) struct Msix {
    entries: Vec<Entry>,
    pending: Vec<u64>,
    enabled: bool,
    function_masked: bool,
}

impl Msix {
    /// `vectors` vectors, all masked, MSI-X off.
    pub(crate) fn new(vectors: u16) -> Self {
        let vectors = usize::from(vectors);
        Self {
            entries: vec![Entry::RESET; vectors],
            pending: vec![0; vectors.div_ceil(64)],
            enabled: false,
            function_masked: false,
        }
    }

    /// How large BAR1 must be for this many vectors.
    pub(crate) fn bar_bytes(vectors: u16) -> u32 {
        if vectors <= 128 { 0x1000 } else { 0x1_0000 }
    }

    /// Where in BAR1 the pending bits begin, behind the table.
    pub(crate) fn pending_offset(vectors: u16) -> u32 {
        if vectors <= 128 { 0x800 } else { 0x8000 }
    }

    /// Whether messages take the place of INTx.
    pub(crate) fn enabled(&self) -> bool {
        self.enabled
    }

    /// Takes over Message Control, and gives the messages that were waiting for it.
    pub(crate) fn control(&mut self, enabled: bool, function_masked: bool) -> Vec<MsiMessage> {
        self.enabled = enabled;
        self.function_masked = function_masked;
        self.unblocked()
    }

    /// Signals a vector: its message, or nothing when it is masked (and now pending) or does not exist.
    pub(crate) fn raise(&mut self, vector: u16) -> Option<MsiMessage> {
        let entry = *self.entries.get(usize::from(vector))?;
        if !self.enabled {
            return None;
        }
        if self.function_masked || entry.control & MASKED != 0 {
            self.pending[usize::from(vector) / 64] |= 1 << (vector % 64);
            return None;
        }
        Some(MsiMessage { address: entry.address, data: entry.data })
    }

    /// Forgets what is pending.
    pub(crate) fn forget_pending(&mut self) {
        self.pending.fill(0);
    }

    /// Reads BAR1.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        for (at, byte) in (offset..).zip(into) {
            *byte = self.byte(at);
        }
    }

    fn byte(&self, at: u64) -> u8 {
        if let Some(entry) = self.entries.get((at / ENTRY_BYTES) as usize) {
            return entry.to_bytes()[(at % ENTRY_BYTES) as usize];
        }
        let vectors = self.entries.len() as u16;
        let Some(bit) = at.checked_sub(u64::from(Self::pending_offset(vectors))) else { return 0 };
        let word = self.pending.get((bit / 8) as usize).copied().unwrap_or(0);
        word.to_le_bytes()[(bit % 8) as usize]
    }

    /// Writes BAR1 (the pending bits are read only), and gives the messages that this unmasks.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Vec<MsiMessage> {
        for (at, &byte) in (offset..).zip(data) {
            if let Some(entry) = self.entries.get_mut((at / ENTRY_BYTES) as usize) {
                let mut bytes = entry.to_bytes();
                bytes[(at % ENTRY_BYTES) as usize] = byte;
                *entry = Entry::from_bytes(bytes);
            }
        }
        self.unblocked()
    }

    fn unblocked(&mut self) -> Vec<MsiMessage> {
        let mut messages = Vec::new();
        if !self.enabled || self.function_masked {
            return messages;
        }
        for (word, first) in self.pending.iter_mut().zip((0..).step_by(64)) {
            let mut waiting = *word;
            while waiting != 0 {
                let bit = waiting.trailing_zeros();
                waiting &= waiting - 1;
                let entry = self.entries[first + bit as usize];
                if entry.control & MASKED == 0 {
                    *word &= !(1 << bit);
                    messages.push(MsiMessage { address: entry.address, data: entry.data });
                }
            }
        }
        messages
    }
}
