//! Memory on the card, seen by the driver through BAR2 and by the card's own engines without the link.

use std::ops::Range;

/// The card's memory and where the firmware has put it.
#[derive(Debug)]
pub(crate) struct CardMemory {
    bytes: Vec<u8>,
    base: u64,
    /// The bounce buffer, as offsets.
    bounce: Range<u64>,
}

impl CardMemory {
    /// Zeroed memory of `size_bytes` bytes, not yet placed, a part of it the bounce buffer.
    pub(crate) fn new(size_bytes: u64, bounce: Range<u64>) -> Self {
        // A zeroed Vec comes from the allocator as untouched pages, so that size alone costs nothing.
        Self { bytes: vec![0; size_bytes as usize], base: 0, bounce }
    }

    /// Takes over what BAR2 says.
    pub(crate) fn place(&mut self, base: u64) {
        self.base = base;
    }

    /// Where in this memory all of the `len_bytes` bytes at a bus address lie, if they lie here.
    pub(crate) fn locate(&self, address: u64, len_bytes: u64) -> Option<u64> {
        let offset = address.checked_sub(self.base)?;
        let end = offset.checked_add(len_bytes)?;
        (self.base != 0 && end <= self.bytes.len() as u64).then_some(offset)
    }

    /// Whether all of the `len_bytes` bytes at a bus address lie in the bounce buffer.
    pub(crate) fn in_bounce_buffer(&self, address: u64, len_bytes: u64) -> bool {
        let end = self.bounce.end;
        self.locate(address, len_bytes)
            .is_some_and(|at| self.bounce.start <= at && at + len_bytes <= end)
    }

    /// Whether any of the `len_bytes` bytes at a bus address lies here.
    pub(crate) fn overlaps(&self, address: u64, len_bytes: u64) -> bool {
        self.base != 0
            && address < self.base.saturating_add(self.bytes.len() as u64)
            && address.saturating_add(len_bytes) > self.base
    }

    /// Copies from `offset`; bytes past the end read as zero.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        into.fill(0);
        let start = (offset as usize).min(self.bytes.len());
        let len = into.len().min(self.bytes.len() - start);
        into[..len].copy_from_slice(&self.bytes[start..start + len]);
    }

    /// Copies to `offset`; bytes past the end are lost.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let start = (offset as usize).min(self.bytes.len());
        let len = data.len().min(self.bytes.len() - start);
        self.bytes[start..start + len].copy_from_slice(&data[..len]);
    }
}
