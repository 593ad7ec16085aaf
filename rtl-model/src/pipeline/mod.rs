//! A card that is made of engines, each of which does one thing at a time.
//!
//! ```text
//!  link ─▶ way in: header, then a beat a cycle ─┬─▶ registers, answers ───────────────┐
//!                                               └─▶ what was read, for its owner      │
//!  fetch ─────┐                                                                       ▼
//!  suppression ┼─ asks ─▶ read engine: one at a time ─▶ one TLP ──────────────▶ way out: one TLP,
//!  payload ───┘              └─▶ memory on the card, a beat at a time                 ▲ beat by beat
//!  completion ─┐                                                                      │
//!  avail_event ┼─ wishes ─▶ jobs, in order ─▶ write engine: cut, a beat a cycle ─▶ beats
//!  interrupt ──┘
//! ```
//!
//! Without [`CardTiming::pipeline`] nothing of this is there: then stages take their time, and any number of
//! things may be in one of them at once.
//!
//! All times are edges of the clock. A thing that is "there" at an edge stands in a register from that edge on.
//! At each edge first happens what is due, then each engine takes at most one thing up, so that the order in
//! which they are asked is no matter.
//!
//! Left out: the length of the row of beats before the transmitter, but for its keeping the write engine from
//! running far ahead; that the host's requests for registers are served one at a time.
//!
//! [`CardTiming::pipeline`]: crate::CardTiming::pipeline

mod payload;
mod reads;
mod timing;
mod way_in;
mod way_out;
mod writes;

use std::collections::VecDeque;

use pcie_sim::endpoint::Port;
use pcie_sim::time::Instant;
use pcie_sim::tlp::FlowClass;

pub use self::timing::PipelineTiming;
pub(crate) use self::writes::{MESSAGE, Then, What, Wish};

use self::payload::Row;
use self::reads::Reads;
use self::way_in::WayIn;
use self::way_out::WayOut;
use self::writes::Writes;
use crate::dma::Dma;

/// Takes the first of a row if it is due.
fn take_front_if<T>(row: &mut VecDeque<T>, is_due: impl FnOnce(&T) -> bool) -> Option<T> {
    row.front().is_some_and(is_due).then(|| row.pop_front()).flatten()
}

/// What the engines are at.
#[derive(Debug, Default)]
pub(crate) struct Engines {
    pub(crate) way_in: WayIn,
    reads: Reads,
    rows: Vec<Row>,
    writes: Writes,
    way_out: WayOut,
}

impl Engines {
    /// Forgets what queues have asked for. What has begun to leave still leaves.
    pub(crate) fn reset(&mut self) {
        self.reads = Reads::default();
        self.rows.clear();
        self.writes = Writes::default();
    }

    /// Whether a TLP may be chosen for the way out.
    pub(crate) fn allows(&self, port: &dyn Port, class: FlowClass, data_credits: u32) -> bool {
        self.way_out.allows(port, class, data_credits)
    }

    /// The link has been reset: nothing is on its way in or out.
    pub(crate) fn reset_link(&mut self) {
        *self = Self::default();
    }
}

impl Dma {
    /// An edge: each engine takes up at most one thing.
    pub(crate) fn turn(&mut self, now: Instant, port: &mut dyn Port, timing: PipelineTiming) {
        if self.edges.at(now, 0) != now {
            return;
        }
        self.give_credits_back(now, port);
        self.let_go(now, port);
        self.take_wish(now, timing);
        self.cut(now, timing);
        self.pick_read(now, timing);
        self.write_locally(now);
        self.choose(now, port, timing);
    }

    /// When an engine can next do something without hearing from the link.
    pub(crate) fn next_turn(&self, now: Instant) -> Instant {
        let slot = self.edges.at(now, 0);
        let engines = &self.engines;
        let mut wake = engines.way_in.next();
        // What could be done at an edge that is past, and was not, waits for somebody outside.
        let mut at = |ready: Instant| {
            if slot > now || ready > now {
                wake = wake.min(ready.max(slot));
            }
        };
        at(engines.way_out.leaves());
        if engines.way_out.polls() {
            at(slot.max(now + self.timing.clock));
        }
        at(self.wish_at());
        at(self.cut_at());
        at(self.read_at());
        at(self.chunk_at());
        at(self.choice_at());
        wake
    }
}
