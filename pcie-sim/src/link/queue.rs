//! What waits for the wire, and what of it goes next: the ordering table at work.
//!
//! Each class has a queue; credits of one class never hold up another. Where the table says "may", a
//! transmitter that keeps to the order of arrival does not, and one that draws lots lets the seed decide.

use std::collections::VecDeque;

use super::ordering::{Facts, Pass};
use super::timing::FRAMING_BYTES;
use crate::host::seed::Sequence;
use crate::tlp::{FlowClass, Tlp};

/// The classes in the order of [`FlowClass`].
pub(super) const CLASSES: [FlowClass; 3] =
    [FlowClass::Posted, FlowClass::NonPosted, FlowClass::Completion];

/// How far into each class's queue a transmitter looks that draws lots.
const WINDOW: usize = 16;

/// What a transmitter does where the table of ordering rules says "may".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choices {
    /// It keeps the order in which TLPs were handed to it, unless one has no credits.
    #[default]
    Keep,
    /// It sends any TLP that may go, drawn by this seed.
    Draw(u64),
}

/// A TLP that has not left yet.
#[derive(Debug)]
pub(super) struct Waiting {
    order: u64,
    pub(super) data_credits: u32,
    pub(super) wire_bytes: u32,
    pub(super) tlp: Tlp,
}

/// What waits for the wire.
#[derive(Debug)]
pub(super) struct TransmitQueue {
    queues: [VecDeque<Waiting>; 3],
    queued: usize,
    submitted: u64,
    lots: Option<Sequence>,
}

impl TransmitQueue {
    pub(super) fn new(choices: Choices) -> Self {
        let lots = match choices {
            Choices::Keep => None,
            Choices::Draw(seed) => Some(Sequence::new(seed)),
        };
        Self { queues: Default::default(), queued: 0, submitted: 0, lots }
    }

    /// Puts a TLP behind those of its class.
    #[inline]
    pub(super) fn submit(&mut self, tlp: Tlp) {
        let data_dwords = tlp.data_dwords() as u32;
        let data_credits = data_dwords.div_ceil(4);
        let wire_bytes = 4 * (tlp.header_dwords() as u32 + data_dwords) + FRAMING_BYTES;
        let class = tlp.flow_class() as usize;
        let order = self.submitted;
        self.queues[class].push_back(Waiting { order, data_credits, wire_bytes, tlp });
        self.submitted += 1;
        self.queued += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.queued
    }

    /// Drops everything; how many there were.
    pub(super) fn clear(&mut self) -> usize {
        self.queues.iter_mut().for_each(VecDeque::clear);
        std::mem::take(&mut self.queued)
    }

    /// Whether any TLP may go, given which have `room` at the receiver.
    pub(super) fn ready(&self, room: impl Fn(FlowClass, &Waiting) -> bool) -> bool {
        self.queued > 0
            && match self.lots {
                None => self.oldest(room).is_some(),
                Some(_) => !self.candidates(room).is_empty(),
            }
    }

    /// The TLP that goes next.
    #[inline(always)]
    pub(super) fn take(&mut self, room: impl Fn(FlowClass, &Waiting) -> bool) -> Option<Waiting> {
        let (class, index) = match self.lots {
            None => (self.oldest(room)?, 0),
            Some(_) => self.draw(room)?,
        };
        self.queued -= 1;
        let queue = &mut self.queues[class as usize];
        if index == 0 { queue.pop_front() } else { queue.remove(index) }
    }

    /// The class whose oldest TLP goes next: the oldest that has room and that no posted request
    /// handed over before it holds back (column 2 of the table).
    #[inline]
    fn oldest(&self, room: impl Fn(FlowClass, &Waiting) -> bool) -> Option<FlowClass> {
        let posted = self.queues[FlowClass::Posted as usize].front().map(|first| first.order);
        let mut best = None;
        for class in CLASSES {
            let Some(waiting) = self.queues[class as usize].front() else { continue };
            let order = waiting.order;
            let behind_posted =
                class != FlowClass::Posted && posted.is_some_and(|posted| posted < order);
            if behind_posted || !room(class, waiting) {
                continue;
            }
            if best.is_none_or(|(first, _)| order < first) {
                best = Some((order, class));
            }
        }
        best.map(|(_, class)| class)
    }

    fn draw(&mut self, room: impl Fn(FlowClass, &Waiting) -> bool) -> Option<(FlowClass, usize)> {
        let candidates = self.candidates(room);
        let drawn = self.lots.as_mut()?.below(candidates.len() as u64) as usize;
        candidates.get(drawn).copied()
    }

    /// Every TLP near the front that may pass all that were handed over before it.
    fn candidates(&self, room: impl Fn(FlowClass, &Waiting) -> bool) -> Vec<(FlowClass, usize)> {
        let near = |class: FlowClass| self.queues[class as usize].iter().take(WINDOW).enumerate();
        let all: Vec<_> = CLASSES
            .into_iter()
            .flat_map(|class| near(class).map(move |(index, waiting)| (class, index, waiting)))
            .map(|(class, index, waiting)| (class, index, waiting, Facts::of(&waiting.tlp)))
            .collect();
        let free = |later: &Waiting, facts: &Facts| {
            all.iter().all(|(_, _, earlier, before)| {
                earlier.order >= later.order || facts.passes(before) != Pass::No
            })
        };
        all.iter()
            .filter(|(class, _, waiting, facts)| room(*class, waiting) && free(waiting, facts))
            .map(|&(class, index, ..)| (class, index))
            .collect()
    }
}
