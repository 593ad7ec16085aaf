//! How long the data link layer may wait: the tables of PCIe 5.0 §3.6.2.1 and §3.6.3.1, as formulas.
//!
//! Both tables come from one formula: bytes of the largest TLP over the lanes, times a factor, plus what
//! a receiver may think. A symbol time is the time of eight bits on a lane at 8 GT/s and faster, of ten
//! below. Not modelled: L0s, the extended synchronisation bit.

use super::timing::{Generation, LinkTiming};
use crate::time::Span;

/// Symbols of header, digest and framing that the formula adds to Max_Payload_Size.
const TLP_OVERHEAD: u64 = 28;
/// Symbol times until a replay when a transmitter keeps to the simplified limits (24,000 to 31,000).
const SIMPLIFIED_REPLAY: u64 = 24_000;

/// One symbol on one lane.
#[must_use]
pub const fn symbol_time(generation: Generation) -> Span {
    Span::from_ps(match generation {
        Generation::Gen1 => 4_000,
        Generation::Gen2 => 2_000,
        Generation::Gen3 => 1_000,
        Generation::Gen4 => 500,
        Generation::Gen5 => 250,
    })
}

/// Tenths by which a receiver may let Acks gather: the tables' AckFactor, and their UpdateFactor.
const fn factor_tenths(max_payload_bytes: u16, lanes: u8) -> u64 {
    match (max_payload_bytes, lanes) {
        (0..=256, 0..=4) => 14,
        (0..=256, 5..=8) => 25,
        (0..=256, _) => 30,
        (_, 0..=8) => 10,
        (_, _) => 20,
    }
}

/// Symbol times that a receiver may take from a TLP's last symbol to the Ack's first.
const fn internal_delay(generation: Generation) -> u64 {
    match generation {
        Generation::Gen1 => 19,
        Generation::Gen2 => 70,
        Generation::Gen3 | Generation::Gen4 | Generation::Gen5 => 115,
    }
}

/// Symbol times within which a TLP is to be acknowledged. PCIe 5.0 §3.6.3.1, tables "Maximum Ack
/// Latency Limits"; the tables round down.
#[must_use]
pub const fn ack_latency_symbols(generation: Generation, lanes: u8, max_payload_bytes: u16) -> u64 {
    let symbols =
        (max_payload_bytes as u64 + TLP_OVERHEAD) * factor_tenths(max_payload_bytes, lanes);
    (symbols + internal_delay(generation) * 10 * lanes as u64) / (10 * lanes as u64)
}

/// The longest that a TLP may stay without Ack.
#[must_use]
pub const fn ack_latency(timing: &LinkTiming, max_payload_bytes: u16) -> Span {
    let symbols = ack_latency_symbols(timing.generation, timing.lanes, max_payload_bytes);
    Span::from_ps(symbols * symbol_time(timing.generation).as_ps())
}

/// From a freed buffer to its UpdateFC. PCIe 5.0 §2.6.1.2, "Maximum UpdateFC Transmission Latency
/// Guidelines": the same figures as the Ack's.
#[must_use]
pub const fn update_latency(timing: &LinkTiming, max_payload_bytes: u16) -> Span {
    ack_latency(timing, max_payload_bytes)
}

/// From a TLP without Ack to its replay. PCIe 5.0 §3.6.2.1, "Simplified REPLAY_TIMER Limits", which a
/// port that knows 16 GT/s must keep to and every other may.
#[must_use]
pub const fn replay_timer(timing: &LinkTiming) -> Span {
    Span::from_ps(SIMPLIFIED_REPLAY * symbol_time(timing.generation).as_ps())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [u16; 6] = [128, 256, 512, 1024, 2048, 4096];

    /// PCIe 5.0 §3.6.3.1, "Maximum Ack Latency Limits" for 2.5 GT/s: the columns x1, x2, x4, x8, x16.
    #[test]
    fn the_ack_limits_of_generation_1_are_those_of_the_table() {
        let table: [[u64; 5]; 6] = [
            [237, 128, 73, 67, 48],
            [416, 217, 118, 107, 72],
            [559, 289, 154, 86, 86],
            [1071, 545, 282, 150, 150],
            [2095, 1057, 538, 278, 278],
            [4143, 2081, 1050, 534, 534],
        ];
        for (size, row) in SIZES.into_iter().zip(table) {
            let ours =
                [1, 2, 4, 8, 16].map(|lanes| ack_latency_symbols(Generation::Gen1, lanes, size));
            assert_eq!(ours, row, "{size} bytes");
        }
    }

    /// The same section, tables for 5.0 GT/s and for 8.0 GT/s and more.
    #[test]
    fn the_ack_limits_of_later_generations_differ_by_what_a_receiver_may_think() {
        let at = |generation, lanes, size| ack_latency_symbols(generation, lanes, size);
        assert_eq!(
            [1, 2, 4, 8].map(|lanes| at(Generation::Gen2, lanes, 128)),
            [288, 179, 124, 118]
        );
        let third = [1, 2, 4, 8, 16].map(|lanes| at(Generation::Gen3, lanes, 128));
        assert_eq!(third, [333, 224, 169, 163, 144]);
        let third = [1, 2, 4, 8, 16].map(|lanes| at(Generation::Gen3, lanes, 256));
        assert_eq!(third, [512, 313, 214, 203, 168]);
        assert_eq!(at(Generation::Gen5, 8, 512), at(Generation::Gen3, 8, 512));
    }
}
