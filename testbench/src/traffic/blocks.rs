//! What a written sector holds: bytes that follow from (seed, sector, generation) alone.
//!
//! A log of block commands names places and lengths, not contents. The bench makes the contents up
//! in such a way that each write of each sector is different, so a sector that landed in the wrong
//! place, or an old one, is never mistaken for the right one; and [`SectorContent::identify`] tells
//! from the bytes alone which write they came from.

/// Bytes in a sector. Virtio 1.4, "Block Device": sectors of 512 bytes, whatever the block size.
pub const SECTOR_BYTES: usize = 512;

/// The increment of the SplitMix64 sequence (Steele, Lea, Flood: "Fast Splittable Pseudorandom
/// Number Generators", OOPSLA 2014): 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The contents of every sector in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectorContent {
    sector_mask: u64,
    generation_mask: u64,
}

impl SectorContent {
    /// The contents that belong to this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let sector_mask = mix(seed.wrapping_add(STEP));
        Self { sector_mask, generation_mask: mix(sector_mask.wrapping_add(STEP)) }
    }

    /// Fills `out` with consecutive sectors from `first_sector`, all of one generation.
    ///
    /// A last piece shorter than a sector gets the beginning of that sector.
    pub fn fill(&self, first_sector: u64, generation: u64, out: &mut [u8]) {
        for (sector, bytes) in (first_sector..).zip(out.chunks_mut(SECTOR_BYTES)) {
            let sector = Sector::new(self, sector, generation);
            let (whole, rest) = bytes.as_chunks_mut::<8>();
            for (index, word) in (0..).zip(whole.iter_mut()) {
                *word = sector.word(index).to_le_bytes();
            }
            let last = sector.word(whole.len() as u64).to_le_bytes();
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }

    /// The offset of the first byte in which `seen`, a whole sector, differs from what this sector
    /// holds in this generation; `None` when it is the same.
    #[must_use]
    pub fn first_difference(&self, sector: u64, generation: u64, seen: &[u8]) -> Option<usize> {
        let sector = Sector::new(self, sector, generation);
        let (whole, _) = seen.as_chunks::<8>();
        let differs = |index: u64, word: &[u8; 8]| u64::from_le_bytes(*word) ^ sector.word(index);
        // All words are looked at, without a way out in between: that is faster than to stop early.
        let any = (0..).zip(whole).fold(0, |any, (index, word)| any | differs(index, word));
        if any == 0 {
            return None;
        }
        let differences = (0..).zip(whole).map(|(index, word)| differs(index, word));
        let (index, difference) =
            differences.enumerate().find(|(_, difference)| *difference != 0)?;
        Some(index * 8 + difference.trailing_zeros() as usize / 8)
    }

    /// The sector and generation that a whole sector's bytes belong to, or `None` when this seed
    /// never made them.
    #[must_use]
    pub fn identify(&self, bytes: &[u8]) -> Option<(u64, u64)> {
        let (words, rest) = bytes.as_chunks::<8>();
        if words.len() != SECTOR_BYTES / 8 || !rest.is_empty() {
            return None;
        }
        let sector = u64::from_le_bytes(words[0]) ^ self.sector_mask;
        let generation = u64::from_le_bytes(words[1]) ^ self.generation_mask;
        self.first_difference(sector, generation, bytes).is_none().then_some((sector, generation))
    }
}

/// One sector of one generation: its own number, its generation, then SplitMix64.
struct Sector {
    head: [u64; 2],
    start: u64,
}

impl Sector {
    fn new(content: &SectorContent, sector: u64, generation: u64) -> Self {
        let head = [sector ^ content.sector_mask, generation ^ content.generation_mask];
        // Unmasked as well as masked: the bytes of one seed are never those of another seed's sector.
        let start =
            mix(mix(sector) ^ content.sector_mask) ^ mix(generation ^ mix(content.generation_mask));
        Self { head, start }
    }

    /// Its bytes from 8 times `index` on.
    #[inline]
    fn word(&self, index: u64) -> u64 {
        match index {
            0 | 1 => self.head[index as usize],
            _ => mix(self.start.wrapping_add(index.wrapping_mul(STEP))),
        }
    }
}

/// SplitMix64's output function: one bit changed on the way in changes half of those coming out.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sector(content: SectorContent, sector: u64, generation: u64) -> [u8; SECTOR_BYTES] {
        let mut bytes = [0; SECTOR_BYTES];
        content.fill(sector, generation, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn a_sector_tells_which_write_it_came_from(seed: u64, number: u64, generation: u64) {
            let content = SectorContent::new(seed);
            let bytes = sector(content, number, generation);
            prop_assert_eq!(content.identify(&bytes), Some((number, generation)));
            prop_assert_eq!(content.first_difference(number, generation, &bytes), None);
            prop_assert_eq!(SectorContent::new(seed ^ 1).identify(&bytes), None);
        }

        #[test]
        fn one_changed_byte_is_found_where_it_is(seed: u64, at in 0..SECTOR_BYTES, flip in 1..=255u8) {
            let content = SectorContent::new(seed);
            let mut bytes = sector(content, 7, 3);
            bytes[at] ^= flip;
            prop_assert_eq!(content.first_difference(7, 3, &bytes), Some(at));
            prop_assert_eq!(content.identify(&bytes), None);
        }

        #[test]
        fn a_run_of_sectors_is_the_sectors_one_after_the_other(seed: u64, first in 0..1000u64, len in 0..2000usize) {
            let content = SectorContent::new(seed);
            let mut run = vec![0; len];
            content.fill(first, 9, &mut run);
            for (number, bytes) in (first..).zip(run.chunks(SECTOR_BYTES)) {
                prop_assert_eq!(bytes, &sector(content, number, 9)[..bytes.len()]);
            }
        }
    }

    #[test]
    fn the_contents_of_a_seed_stay_the_same_between_releases() {
        let bytes = sector(SectorContent::new(1), 2, 3);
        let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
        assert_eq!(sum, 3_508_780_328_641_611_836);
    }
}
