//! What the CPU wrote into the card's memory, and where the card's BARs are.
//!
//! Rings and indirect tables on the card never cross the link as the card reads them: what the CPU
//! wrote there is all that can be known. The shadow takes a page when the first byte of it is written,
//! so it never holds more than the card itself.

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

type Page = Box<[u8; PAGE]>;

/// The shadow, addressed as the host addresses it.
#[derive(Debug, Default)]
pub(crate) struct CardMemory {
    pub(crate) bars: Bars,
    pages: [Vec<Option<Page>>; 6],
}

impl CardMemory {
    /// Whether an address lies on the card.
    pub(crate) fn holds(&self, address: u64) -> bool {
        self.bars.locate(address).is_some()
    }

    /// Takes over what the CPU writes.
    pub(crate) fn write(&mut self, address: u64, data: &[u8]) {
        let Some((bar, offset)) = self.bars.locate(address) else { return };
        let pages = &mut self.pages[usize::from(bar)];
        let mut at = offset as usize;
        let mut left = data;
        while !left.is_empty() {
            let (number, into) = (at / PAGE, at % PAGE);
            if pages.len() <= number {
                pages.resize_with(number + 1, || None);
            }
            let page = pages[number].get_or_insert_with(|| Box::new([0; PAGE]));
            let (now, later) = left.split_at(left.len().min(PAGE - into));
            page[into..into + now.len()].copy_from_slice(now);
            at += now.len();
            left = later;
        }
    }

    /// The bytes at an address; zero where nobody wrote.
    pub(crate) fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let Some((bar, offset)) = self.bars.locate(address) else { return bytes };
        let pages = &self.pages[usize::from(bar)];
        for (i, byte) in bytes.iter_mut().enumerate() {
            let at = offset as usize + i;
            if let Some(Some(page)) = pages.get(at / PAGE) {
                *byte = page[at % PAGE];
            }
        }
        bytes
    }
}
