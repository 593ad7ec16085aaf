//! The way out: one TLP at a time, a beat a cycle; answers before reads before writes.

use std::cell::Cell;
use std::collections::VecDeque;

use pcie_sim::endpoint::Port;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{FlowClass, Tlp};

use super::{PipelineTiming, take_front_if};
use crate::dma::Dma;

/// TLPs on their way out.
#[derive(Debug, Default)]
pub(crate) struct WayOut {
    /// Chosen, with the edge at which the last beat has passed.
    leaving: VecDeque<(Instant, Tlp)>,
    /// Another may be chosen from here on.
    free: Instant,
    /// The link's transmitter has no room: beats stand still.
    stalled: bool,
    /// Something was not chosen for want of credits. They come back without a word to the card, which looks
    /// at them at every edge.
    refused: Cell<bool>,
}

impl WayOut {
    /// When the next one has passed.
    pub(super) fn leaves(&self) -> Instant {
        self.leaving.front().map_or(Instant::FAR_FUTURE, |(at, _)| *at)
    }

    /// Whether a TLP has credits, those reckoned off that others on the way out are going to take.
    pub(super) fn allows(&self, port: &dyn Port, class: FlowClass, data: u32) -> bool {
        let mut left = port.credits(class);
        if left.is_infinite() {
            return true;
        }
        for (_, tlp) in self.leaving.iter().filter(|(_, tlp)| tlp.flow_class() == class) {
            left.headers = left.headers.saturating_sub(1);
            left.data = left.data.saturating_sub(tlp.data_credits());
        }
        let allowed = left.allow(data);
        if !allowed {
            self.refused.set(true);
        }
        allowed
    }

    /// What waits for the link is looked at again at the next edge.
    pub(super) fn polls(&self) -> bool {
        self.stalled || self.refused.get()
    }
}

impl Dma {
    /// Hands over what has passed.
    pub(super) fn let_go(&mut self, now: Instant, port: &mut dyn Port) {
        let clock = self.timing.clock;
        let way_out = &mut self.engines.way_out;
        way_out.refused.set(false);
        while let Some((_, tlp)) = take_front_if(&mut way_out.leaving, |(at, _)| *at <= now) {
            port.send(tlp);
        }
        // A beat passes at the next edge when there is room at this one.
        way_out.stalled = !way_out.leaving.is_empty() && !port.has_room();
        if way_out.stalled {
            way_out.leaving.iter_mut().for_each(|(at, _)| *at += clock);
            way_out.free = way_out.free.max(now) + clock;
        }
    }

    /// Chooses what leaves next.
    pub(super) fn choose(&mut self, now: Instant, port: &dyn Port, timing: PipelineTiming) {
        if self.engines.way_out.free > now {
            return;
        }
        let chosen = self
            .choose_answer(now, port)
            .or_else(|| self.choose_read(now, port, timing))
            .or_else(|| self.choose_signal(port))
            .or_else(|| self.choose_write(now, port));
        let Some(tlp) = chosen else { return };
        let clock = self.timing.clock;
        let beats = u64::from(self.timing.beats(tlp.len_bytes()).max(1));
        let way_out = &mut self.engines.way_out;
        way_out.free = now + clock * beats;
        way_out.leaving.push_back((now + clock * (beats + u64::from(timing.send)), tlp));
    }

    /// When the next choice can be made.
    pub(super) fn choice_at(&self) -> Instant {
        let first = self.answer_at().min(self.issue_at()).min(self.chunk_at());
        let first = if self.signals_wait() { Instant::ZERO } else { first };
        if first == Instant::FAR_FUTURE { first } else { first.max(self.engines.way_out.free) }
    }
}
