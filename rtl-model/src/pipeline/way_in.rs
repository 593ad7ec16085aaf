//! The way in: a header, then its data beat by beat; one TLP after the other.

use std::collections::VecDeque;

use pcie_sim::endpoint::Port;
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::{FlowClass, Tlp};

use super::{PipelineTiming, take_front_if};
use crate::dma::Dma;

/// A TLP on its way in.
#[derive(Debug)]
struct Coming {
    /// Its header can be taken apart from here on.
    first: Instant,
    /// Beats of data.
    beats: u32,
    /// Its effect stands in registers from here on.
    there: Instant,
    tlp: Tlp,
}

/// TLPs on their way in.
#[derive(Debug, Default)]
pub(crate) struct WayIn {
    row: VecDeque<Coming>,
    /// Credits of those whose last beat has passed, from when on they go back.
    owed: VecDeque<(Instant, FlowClass, u32)>,
    /// From here on another header may be taken apart, for all that is not in the row any more.
    free: Instant,
    /// Cycles in which bytes of memory on the card go where completions go, which stand still.
    held: VecDeque<Instant>,
}

impl WayIn {
    /// When the next one is in.
    pub(super) fn next(&self) -> Instant {
        let owed = self.owed.front().map_or(Instant::FAR_FUTURE, |(at, ..)| *at);
        self.row.front().map_or(owed, |coming| owed.min(coming.there))
    }

    /// Takes one that is in.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Tlp> {
        let coming = take_front_if(&mut self.row, |coming| coming.there <= now)?;
        self.free = coming.there;
        Some(coming.tlp)
    }

    /// Completions stand still in this cycle.
    pub(super) fn hold(&mut self, now: Instant, cycle: Instant, clock: Span) {
        while take_front_if(&mut self.held, |held| *held < now).is_some() {}
        self.held.push_back(cycle);
        self.place(clock);
    }

    /// Finds out when each is in.
    fn place(&mut self, clock: Span) {
        let mut free = self.free;
        for coming in &mut self.row {
            let stands = |at: &Instant| {
                matches!(coming.tlp.plain(), Tlp::Completion(_)) && self.held.contains(at)
            };
            let mut at = coming.first.max(free);
            for beat in 0..=coming.beats {
                while stands(&at) {
                    at += clock;
                }
                if beat < coming.beats {
                    at += clock;
                }
            }
            coming.there = at + clock;
            free = coming.there;
        }
    }

    /// Whether the host writes to memory in this cycle, where `is_memory` says what is memory.
    pub(super) fn writes_memory(
        &self,
        now: Instant,
        clock: Span,
        is_memory: impl Fn(u64) -> bool,
    ) -> bool {
        self.row.front().is_some_and(|coming| match coming.tlp.plain() {
            Tlp::MemWrite(write) => {
                let left = u64::from(coming.beats);
                now < coming.there && now + clock * left >= coming.there && is_memory(write.address)
            }
            _ => false,
        })
    }
}

impl Dma {
    /// Gives the credits back of what has passed.
    pub(super) fn give_credits_back(&mut self, now: Instant, port: &mut dyn Port) {
        let owed = &mut self.engines.way_in.owed;
        while let Some((_, class, data)) = take_front_if(owed, |(at, ..)| *at <= now) {
            port.give_back(class, data);
        }
    }

    /// A TLP is there, at `now`.
    pub(crate) fn comes_in(&mut self, now: Instant, tlp: Tlp, timing: PipelineTiming) {
        let clock = self.timing.clock;
        let first = self.edges.at(now, timing.header);
        let beats = self.timing.beats(data_bytes(&tlp));
        let way_in = &mut self.engines.way_in;
        let (class, data) = (tlp.flow_class(), tlp.data_credits());
        let passes = self.timing.beats(tlp.len_bytes()).max(1) - 1;
        way_in.row.push_back(Coming { first, beats, there: first, tlp });
        way_in.place(clock);
        let there = way_in.row.back().map_or(first, |coming| coming.there);
        // The last beat is in the buffer as many cycles before its effect as there are beats of data.
        let behind = u64::from(beats + 1 - passes.min(beats + 1));
        let at = Instant::from_ps(there.as_ps().saturating_sub((clock * behind).as_ps()));
        way_in.owed.push_back((at, class, data));
    }
}

/// Bytes of data, as far as they pass through the card's data path: whole doublewords.
fn data_bytes(tlp: &Tlp) -> usize {
    let (address, len) = match tlp.plain() {
        Tlp::MemWrite(write) => (write.address as usize, write.data.len()),
        Tlp::Completion(completion) => {
            (usize::from(completion.lower_address), completion.data.len())
        }
        Tlp::ConfigWrite(_) => (0, 4),
        _ => (0, 0),
    };
    if len == 0 { 0 } else { ((address & 3) + len).next_multiple_of(4) }
}
