//! What the CPU wrote into the card's memory, and where the card's BARs are.
//!
//! Rings and indirect tables on the card never cross the link as the card reads them: what the CPU
//! wrote there is all that can be known. The shadow takes a page when the first byte of it is written,
//! so it never holds more than the card itself.

use std::collections::BTreeMap;

/// Bytes of a page of the shadow.
const PAGE: usize = 4096;

/// Where the card's memory BARs lie, as the host placed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bars {
    /// Start and size in bytes, by number of the (first) register.
    pub(crate) ranges: [Option<(u64, u64)>; 6],
}

impl Bars {
    /// The BAR an address falls into, and how far.
    pub(crate) fn locate(&self, address: u64) -> Option<(u8, u64)> {
        self.ranges.iter().enumerate().find_map(|(bar, range)| {
            let (base, size) = (*range)?;
            let offset = address.checked_sub(base)?;
            (offset < size).then_some((bar as u8, offset))
        })
    }
}

/// The shadow, addressed as the host addresses it.
#[derive(Debug, Default)]
pub(crate) struct CardMemory {
    pub(crate) bars: Bars,
    /// By BAR and number of the page in it, so that a BAR that moves keeps what was written.
    pages: BTreeMap<(u8, u64), Box<[u8; PAGE]>>,
}

impl CardMemory {
    /// Whether an address lies on the card.
    pub(crate) fn holds(&self, address: u64) -> bool {
        self.bars.locate(address).is_some()
    }

    /// Takes over what the CPU writes.
    pub(crate) fn write(&mut self, address: u64, data: &[u8]) {
        let Some((bar, mut at)) = self.bars.locate(address) else { return };
        let mut left = data;
        while !left.is_empty() {
            let (number, into) = split(at);
            let page = self.pages.entry((bar, number)).or_insert_with(|| Box::new([0; PAGE]));
            let (now, later) = left.split_at(left.len().min(PAGE - into));
            page[into..into + now.len()].copy_from_slice(now);
            at = at.wrapping_add(now.len() as u64);
            left = later;
        }
    }

    /// The bytes at an address; zero where nobody wrote.
    pub(crate) fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let Some((bar, mut at)) = self.bars.locate(address) else { return bytes };
        let mut left = &mut bytes[..];
        while !left.is_empty() {
            let (number, into) = split(at);
            let (now, later) = left.split_at_mut((PAGE - into).min(left.len()));
            if let Some(page) = self.pages.get(&(bar, number)) {
                now.copy_from_slice(&page[into..into + now.len()]);
            }
            at = at.wrapping_add(now.len() as u64);
            left = later;
        }
        bytes
    }
}

/// Number of the page, and offset in it.
const fn split(offset: u64) -> (u64, usize) {
    (offset / PAGE as u64, offset as usize % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_over_a_page_boundary_is_read_back() {
        let mut memory = CardMemory::default();
        memory.bars.ranges[2] = Some((0x1_0000, 0x1_0000));
        memory.write(0x1_0ffe, &[1, 2, 3, 4]);
        assert_eq!(memory.read(0x1_0ffd), [0, 1, 2, 3, 4, 0]);
        memory.write(0x2_0000, &[9]);
        assert_eq!(memory.read(0x2_0000), [0], "beyond the BAR");
    }
}
