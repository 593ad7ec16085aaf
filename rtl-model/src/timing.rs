//! How many clock cycles each stage of the card takes.
//!
//! The defaults are assumptions about a mid-range FPGA design, not measurements of one: a study
//! replaces them. Every stage is counted from the clock edge at which its input is there to the edge
//! at which its output may leave.

use std::cell::Cell;

use pcie_sim::time::{Instant, Span};

use crate::pipeline::PipelineTiming;

/// The card's clock and the latency of its stages, in cycles of that clock unless the name says other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardTiming {
    /// The period of the clock; TLPs leave on its edges. Assumed: 4 ns, a 250 MHz design.
    pub clock: Span,
    /// Bytes of a TLP that leave the card in one cycle, 1 or more. Assumed: 32, a 256-bit data path.
    pub datapath_bytes: u32,
    /// From a request for a register, configuration or on-card memory to its completion.
    pub register_access: u32,
    /// From the arrival of a doorbell to the decision to fetch.
    pub doorbell: u32,
    /// To understand one fetched element: an index, a ring entry, a descriptor.
    pub parse: u32,
    /// From the decision to read to the request at the pins.
    pub dma_read_issue: u32,
    /// From the last byte of a completion to its use.
    pub dma_completion: u32,
    /// One access to memory on the card, added to [`Self::register_access`] when it comes by MMIO.
    pub local_access: u32,
    /// From a packet's last byte on the card to the cable, and from the cable to the first write.
    pub net_processing: u32,
    /// From a block command's last byte on the card to its result, the medium included.
    pub blk_processing: u32,
    /// Added to the processing of a request for each 16 bytes, begun ones counted.
    pub per_16_bytes: u32,
    /// From the end of a request to the write of its used element.
    pub used_write: u32,
    /// From the decision to interrupt to the MSI-X message.
    pub interrupt: u32,
    /// How long a read may stay unanswered, as long as software does not choose another range. PCIe 5.0
    /// §2.8, "Completion Timeout Mechanism": 10 ms or more is recommended.
    pub completion_timeout: Span,
    /// From the begin of a reset to the first request that is answered: until then configuration requests
    /// get Request Retry Status. PCIe 5.0 §6.6.1, §6.6.2: software waits 100 ms (10 ms on the way from
    /// D3hot). Assumed: 1 ms.
    pub reset: Span,
    /// The card is made of engines that do one thing at a time, and these are their steps: then none of the
    /// cycles above counts. Without it any number of things may be in a stage at once.
    pub pipeline: Option<PipelineTiming>,
}

impl Default for CardTiming {
    fn default() -> Self {
        Self {
            clock: Span::from_ns(4),
            datapath_bytes: 32,
            register_access: 10,
            doorbell: 4,
            parse: 2,
            dma_read_issue: 6,
            dma_completion: 8,
            local_access: 4,
            net_processing: 16,
            blk_processing: 64,
            per_16_bytes: 0,
            used_write: 4,
            interrupt: 4,
            completion_timeout: Span::from_ms(10),
            reset: Span::from_ms(1),
            pipeline: None,
        }
    }
}

impl CardTiming {
    /// Cycles that a TLP of `len_bytes` keeps the way out busy.
    #[must_use]
    pub fn beats(&self, len_bytes: usize) -> u32 {
        let (len_bytes, width) = (len_bytes as u32, self.datapath_bytes);
        // It is nearly always a power of two wide, and a division is dear.
        match width.is_power_of_two() {
            true => (len_bytes + (width - 1)) >> width.trailing_zeros(),
            false => len_bytes.div_ceil(width),
        }
    }

    /// Cycles to process `len_bytes` after a fixed part of `base` cycles.
    #[must_use]
    pub fn processing(&self, base: u32, len_bytes: u64) -> u32 {
        let units = u32::try_from(len_bytes.div_ceil(16)).unwrap_or(u32::MAX);
        base.saturating_add(self.per_16_bytes.saturating_mul(units))
    }
}

/// The edges of the clock.
///
/// Nearly everything that is asked in a row is asked of one moment: the last answer is kept. A division would
/// be the dearest instruction on the way: a multiplication does for it.
#[derive(Debug)]
pub(crate) struct Edges {
    period: Span,
    /// 2^64 / period, rounded down.
    reciprocal: u64,
    last: Cell<(Instant, Instant)>,
}

impl Edges {
    /// A clock of this period.
    pub(crate) fn new(period: Span) -> Self {
        let reciprocal = u64::MAX / period.as_ps().max(1);
        Self { period, reciprocal, last: Cell::new((Instant::ZERO, Instant::ZERO)) }
    }

    /// The edge `cycles` after the first edge at or after `now`.
    #[inline]
    pub(crate) fn at(&self, now: Instant, cycles: u32) -> Instant {
        let (last, mut edge) = self.last.get();
        if last != now {
            edge = self.next(now);
            self.last.set((now, edge));
        }
        edge + self.period * u64::from(cycles)
    }

    /// The first edge at or after `at`, as [`Instant::next_edge`].
    #[inline]
    pub(crate) fn next(&self, at: Instant) -> Instant {
        let (ps, period) = (at.as_ps(), self.period.as_ps());
        // Never too large, and too small by one at most.
        let periods = ((u128::from(ps) * u128::from(self.reciprocal)) >> 64) as u64;
        let mut past = ps - periods * period;
        if past >= period {
            past -= period;
        }
        if past == 0 { at } else { Instant::from_ps(ps - past + period) }
    }

    /// Takes note of a moment that is known to be an edge.
    pub(crate) fn is_edge(&self, now: Instant) {
        self.last.set((now, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_does_not_depend_on_what_was_asked_before() {
        let edges = Edges::new(Span::from_ns(4));
        for ps in [0, 1, 1, 4_000, 3_999, 4_001, 4_000, 12_345_678] {
            let now = Instant::from_ps(ps);
            let expected = now.next_edge(Span::from_ns(4)) + Span::from_ns(12);
            assert_eq!(edges.at(now, 3), expected);
            assert_eq!(edges.at(now, 3), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn an_edge_is_the_one_that_a_division_finds(ps in 0..u64::MAX / 2, near in 0..3_u64, period in 1..1_000_000_u64) {
            let edges = Edges::new(Span::from_ps(period));
            for ps in [ps, (ps / period * period + near).saturating_sub(1), ps % 1_000_000_000] {
                let at = Instant::from_ps(ps);
                proptest::prop_assert_eq!(edges.next(at), at.next_edge(Span::from_ps(period)));
            }
        }

        #[test]
        fn a_packet_takes_as_many_beats_as_a_division_says(len in 0..5_000_usize, width in 1..300_u32) {
            let timing = CardTiming { datapath_bytes: width, ..CardTiming::default() };
            proptest::prop_assert_eq!(timing.beats(len), (len as u32).div_ceil(width));
        }
    }
}
