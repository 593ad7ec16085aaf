//! Pauses that the interface allows at any edge, drawn by lot.

use pcie_sim::host::seed::Sequence;

/// The most that may be asked for: with more a TLP of some length would hardly end.
const MOST: u8 = 95;

/// How often each direction pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stalls {
    /// What the lots are drawn with.
    pub seed: u64,
    /// Into the design: of 100 beats that could stand on the pins, how many come an edge later, and then by
    /// the same chance another one. 95 at most.
    pub rx_percent: u8,
    /// Out of the design: of 100 edges, at how many `tx_ready` is 0. 95 at most.
    pub tx_percent: u8,
}

/// A chance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stall(u8);

impl Stall {
    pub(super) fn new(percent: u8) -> Self {
        Self(percent.min(MOST))
    }

    #[inline]
    pub(super) fn drawn(self, lots: &mut Sequence) -> bool {
        self.0 != 0 && lots.below(100) < u64::from(self.0)
    }
}
