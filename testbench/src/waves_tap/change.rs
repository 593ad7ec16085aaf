//! What waits to be written to a wave file, in order of time, and of report at one time.

use std::cmp::Ordering;

use pcie_sim::endpoint::Direction;
use pcie_sim::time::Instant;
use waves::SignalId;

use super::card::Stage;
use super::glance::Glance;

#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) at: Instant,
    pub(super) seq: u64,
    pub(super) what: What,
}

#[derive(Clone, Copy)]
pub(super) enum What {
    Begins(Direction, Glance),
    Ends(Direction),
    Number(SignalId, u64),
    Word(SignalId, &'static str),
    Interrupt(u16),
    /// A pulse of one bit begins, or ends.
    Pulse(Stage, u16, bool),
    /// A TLP begins, or ends, on the card's receiving pins.
    Receives(bool),
}

impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Change {}

impl PartialOrd for Change {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Change {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}
