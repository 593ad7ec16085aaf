//! How long bytes take on the link.

use crate::time::Span;

/// The generation of the link. PCIe 5.0 §4.2, "Logical Sub-block".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// 2.5 GT/s, 8b/10b.
    Gen1,
    /// 5 GT/s, 8b/10b.
    Gen2,
    /// 8 GT/s, 128b/130b.
    Gen3,
    /// 16 GT/s, 128b/130b.
    Gen4,
    /// 32 GT/s, 128b/130b.
    Gen5,
}

impl Generation {
    /// The generation of that number, 1 to 5.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Gen1, Self::Gen2, Self::Gen3, Self::Gen4, Self::Gen5]
            .get(usize::from(number).checked_sub(1)?)
            .copied()
    }

    /// 1 to 5; also the code of the speed in Link Status.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// Symbols on one lane, in millions a second.
    #[must_use]
    pub const fn mega_transfers(self) -> u64 {
        match self {
            Self::Gen1 => 2_500,
            Self::Gen2 => 5_000,
            Self::Gen3 => 8_000,
            Self::Gen4 => 16_000,
            Self::Gen5 => 32_000,
        }
    }

    /// Bits sent for how many bits of content: the cost of the line code.
    const fn line_code(self) -> (u64, u64) {
        match self {
            Self::Gen1 | Self::Gen2 => (10, 8),
            Self::Gen3 | Self::Gen4 | Self::Gen5 => (130, 128),
        }
    }
}

/// Bytes that travel with each TLP: STP and END symbols (or the STP token), sequence number, LCRC.
/// PCIe 5.0 §3.6 and §4.2.
pub const FRAMING_BYTES: u32 = 8;

/// Speed and length of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTiming {
    /// Its generation.
    pub generation: Generation,
    /// Lanes: 1, 2, 4, 8 or 16.
    pub lanes: u8,
    /// From the sender's pins to the receiver's transaction layer, one way: wire, retimers, and both
    /// sides' physical and data link layers.
    pub propagation: Span,
    /// How long a receiver gathers freed credits before it sends an UpdateFC, unless the sender waits.
    pub credit_return: Span,
}

impl LinkTiming {
    /// How long `bytes` bytes occupy the lanes; rounded up to a picosecond.
    #[must_use]
    pub const fn serialisation(&self, bytes: u32) -> Span {
        let (sent, carried) = self.generation.line_code();
        let bits = bytes as u64 * 8 * sent;
        let bits_per_us = self.generation.mega_transfers() * self.lanes as u64 * carried;
        Span::from_ps((bits * 1_000_000).div_ceil(bits_per_us))
    }
}

/// Doublewords up to which a time on the wire is worked out beforehand: 4 KiB of data, and a header.
const DOUBLEWORDS: u32 = 1032;

/// [`LinkTiming::serialisation`] of whole doublewords, worked out beforehand: the division is dear.
#[derive(Debug)]
pub struct WireTimes {
    timing: LinkTiming,
    of_dwords: Box<[Span]>,
}

impl WireTimes {
    /// Of this link.
    #[must_use]
    pub fn new(timing: &LinkTiming) -> Self {
        let of_dwords = (0..DOUBLEWORDS).map(|dwords| timing.serialisation(4 * dwords)).collect();
        Self { timing: *timing, of_dwords }
    }

    /// How long `bytes` bytes occupy the lanes; rounded up to a picosecond.
    #[must_use]
    #[inline]
    pub fn of(&self, bytes: u32) -> Span {
        match self.of_dwords.get(bytes as usize / 4) {
            Some(&span) if bytes.is_multiple_of(4) => span,
            _ => self.timing.serialisation(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(generation: Generation, lanes: u8) -> LinkTiming {
        LinkTiming { generation, lanes, propagation: Span::ZERO, credit_return: Span::ZERO }
    }

    /// PCIe 5.0 §4.2.2: 130 symbols for 128 bits at 8 GT/s; §4.2.1: 10 symbols a byte at 2.5 GT/s.
    #[test]
    fn a_byte_takes_its_line_codes_share_of_the_lanes() {
        assert_eq!(timing(Generation::Gen1, 1).serialisation(1), Span::from_ns(4));
        assert_eq!(timing(Generation::Gen2, 4).serialisation(4), Span::from_ns(2));
        assert_eq!(timing(Generation::Gen3, 8).serialisation(63_015), Span::from_ps(7_999_952));
        assert_eq!(timing(Generation::Gen5, 16).serialisation(512), Span::from_ps(8_125));
    }

    #[test]
    fn a_time_worked_out_beforehand_is_the_one_worked_out_now() {
        let timing = timing(Generation::Gen3, 8);
        let times = WireTimes::new(&timing);
        for bytes in (0..300).chain(4_000..5_000) {
            assert_eq!(times.of(bytes), timing.serialisation(bytes), "{bytes}");
        }
    }

    #[test]
    fn a_generation_is_known_by_its_number() {
        for number in 1..=5 {
            assert_eq!(Generation::from_number(number).map(Generation::number), Some(number));
        }
        assert_eq!(Generation::from_number(0), None);
        assert_eq!(Generation::from_number(6), None);
    }
}
