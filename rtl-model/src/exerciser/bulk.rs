//! The bulk engines: each moves one unit at a time, several work side by side.

use pcie_sim::time::{Instant, Span};

use super::timing::ExerciserTiming;
use super::{Slot, beats};

/// The engines of one direction.
#[derive(Debug)]
pub(super) struct Engines {
    free: Box<[Instant]>,
}

impl Engines {
    pub(super) fn new(engines: u32) -> Self {
        Self { free: vec![Instant::ZERO; engines.max(1) as usize].into() }
    }

    pub(super) fn len(&self) -> usize {
        self.free.len()
    }

    /// Gives the engine that is free first work that takes `takes`: which one it is, and when it begins.
    pub(super) fn first_free(&mut self, now: Instant, takes: Span) -> (usize, Instant) {
        let first = self.free.iter().enumerate().min_by_key(|(_, free)| **free);
        let engine = first.map_or(0, |(engine, _)| engine);
        let begins = self.free[engine].max(now);
        self.free[engine] = begins + takes;
        (engine, begins)
    }

    /// A completion's data goes to the card's memory, by the engine of its job; gives when it is there.
    /// `partial`: it is the first of a request smaller than the largest.
    pub(super) fn store(
        &mut self,
        now: Instant,
        timing: &ExerciserTiming,
        slot: &mut Slot,
        len: u16,
        partial: bool,
    ) -> Instant {
        let mut takes = timing.read_beat * beats(len);
        if partial {
            takes += timing.read_partial;
        }
        let odd = !slot.job.len_bytes.is_multiple_of(4);
        if slot.left == 0 && odd && slot.spent + takes < timing.read_odd_floor {
            takes = timing.read_odd_floor - slot.spent;
        }
        slot.spent += takes;
        let free = &mut self.free[slot.engine];
        *free = (*free).max(now) + takes;
        *free
    }
}
