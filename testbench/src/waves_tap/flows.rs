//! Which TLPs belong to one request, from its doorbell to its interrupt: told when the request has ended,
//! of TLPs that have been seen long before.
//!
//! TLPs are held back, the last [`HELD`] of them, so that the flow of a request that ends now can still be
//! written on its doorbell. A flow that outlives that begins later, at its request.

use std::collections::{BTreeMap, VecDeque};

use pcie_sim::endpoint::Direction;
use pcie_sim::time::Instant;
use smallvec::SmallVec;

use super::glance::Glance;
use crate::analyzer::RequestRecord;

/// TLPs held back: some thousand requests, some megabytes.
const HELD: usize = 1 << 14;
/// Doorbells and interrupts of a queue that a request may still refer to.
const REMEMBERED: usize = 1 << 10;
/// Ended requests that wait for an interrupt. A queue that is polled never has one.
const UNTOLD: usize = 1 << 8;

type Flows = SmallVec<[u64; 2]>;

/// A TLP, and the flows through it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) direction: Direction,
    pub(super) begins: Instant,
    pub(super) ends: Instant,
    pub(super) glance: Glance,
    pub(super) queue: Option<u16>,
    pub(super) flows: Flows,
    pub(super) ended: Flows,
}

#[derive(Debug, Default)]
struct Queue {
    /// When doorbells arrived.
    bells: VecDeque<(Instant, u64)>,
    /// When interrupts left.
    interrupts: VecDeque<(Instant, u64)>,
    /// Flows of requests that have ended and of which no interrupt has told yet, with the TLP that ended
    /// them.
    untold: VecDeque<(u64, u64)>,
}

/// What a TLP is to the flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The CPU rings, and is heard at this moment.
    Doorbell(Instant),
    /// The card interrupts.
    Interrupt,
    /// It belongs to the request of this number; 0 for none.
    Of(u64),
    /// An answer to the CPU, which may learn from it that requests are done.
    Answer,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FlowBook {
    held: VecDeque<Held>,
    /// The number of the first one held.
    first: u64,
    queues: Vec<Queue>,
    /// The TLPs of requests under way.
    steps: BTreeMap<u64, Vec<u64>>,
    /// The last TLP was an answer to the CPU.
    answered: bool,
}

impl FlowBook {
    pub(super) fn new(queues: u16) -> Self {
        Self { queues: (0..queues).map(|_| Queue::default()).collect(), ..Self::default() }
    }

    /// A TLP is held back; gives back the oldest one when there are too many.
    pub(super) fn hold(&mut self, held: Held, step: Step) -> Option<Held> {
        let (number, queue, begins) = (self.next(), held.queue, held.begins);
        self.held.push_back(held);
        self.answered = step == Step::Answer;
        let queue = queue.and_then(|index| self.queues.get_mut(usize::from(index)));
        match (step, queue) {
            (Step::Doorbell(arrives), Some(queue)) => {
                remember(&mut queue.bells, (arrives, number), REMEMBERED);
            }
            (Step::Interrupt, Some(queue)) => {
                remember(&mut queue.interrupts, (begins, number), REMEMBERED);
                for (flow, _) in std::mem::take(&mut queue.untold) {
                    self.end(flow, number);
                }
            }
            (Step::Of(request @ 1..), _) => self.steps.entry(request).or_default().push(number),
            _ => {}
        }
        if self.held.len() > HELD { self.release() } else { None }
    }

    /// A request has ended with the last TLP: its flow is known now.
    pub(super) fn ended(&mut self, request: &RequestRecord) {
        let (flow, last) = (request.serial, self.next().saturating_sub(1));
        let at = usize::from(request.queue);
        let last_until = |events: &VecDeque<(Instant, u64)>, moment: Instant| {
            events.iter().rev().find(|event| event.0 <= moment).copied()
        };
        let queue = self.queues.get(at);
        // With the used ring on the card, an interrupt has told before the CPU looked.
        let interrupt = queue.and_then(|queue| last_until(&queue.interrupts, request.end));
        let interrupt = interrupt.filter(|event| event.0 == request.end).map(|event| event.1);
        let bell = queue.and_then(|queue| last_until(&queue.bells, request.begin));
        let bell = bell.map(|event| event.1);
        let mut steps = self.steps.remove(&flow).unwrap_or_default();
        steps.extend(bell.into_iter().chain(interrupt));
        for number in steps {
            self.pass(flow, number);
        }
        if self.answered {
            // The ring is on the card: the CPU has learned of it by this answer.
            return self.end(flow, last);
        }
        self.pass(flow, last);
        let Some(queue) = self.queues.get_mut(at) else { return };
        queue.untold.push_back((flow, last));
        if queue.untold.len() > UNTOLD
            && let Some((flow, number)) = queue.untold.pop_front()
        {
            self.end(flow, number);
        }
    }

    /// The oldest TLP held. Flows whose requests ended with it and that no interrupt has told of end here.
    pub(super) fn release(&mut self) -> Option<Held> {
        let number = self.first;
        for at in 0..self.queues.len() {
            while let Some(&(flow, ended)) = self.queues[at].untold.front()
                && ended == number
            {
                self.queues[at].untold.pop_front();
                self.end(flow, number);
            }
        }
        let held = self.held.pop_front()?;
        self.first += 1;
        Some(held)
    }

    fn next(&self) -> u64 {
        self.first + self.held.len() as u64
    }

    fn get(&mut self, number: u64) -> Option<&mut Held> {
        self.held.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn pass(&mut self, flow: u64, number: u64) {
        if let Some(held) = self.get(number)
            && !held.flows.contains(&flow)
        {
            held.flows.push(flow);
        }
    }

    fn end(&mut self, flow: u64, number: u64) {
        if let Some(held) = self.get(number) {
            held.flows.retain(|of| *of != flow);
            held.ended.push(flow);
        }
    }
}

fn remember<T>(events: &mut VecDeque<T>, event: T, most: usize) {
    if events.len() == most {
        events.pop_front();
    }
    events.push_back(event);
}
