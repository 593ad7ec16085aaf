//! One direction of a link: transmit queues, the wire, the receive buffer, credits on their way back.
//!
//! ```text
//!  submit ─▶ queues (P, NP, Cpl) ─▶ wire ─▶ receive buffer ─▶ take
//!                 ▲ credits                      │
//!                 └──────────── returns ◀────────┘
//! ```

use std::collections::VecDeque;

use super::credits::ReceiverBuffers;
use super::timing::{FRAMING_BYTES, LinkTiming};
use crate::endpoint::{Direction, Sighting, Tap};
use crate::time::Instant;
use crate::tlp::{FlowClass, Tlp};

const CLASSES: [FlowClass; 3] = [FlowClass::Posted, FlowClass::NonPosted, FlowClass::Completion];

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Lane {
    direction: Direction,
    queues: [VecDeque<(u64, Tlp)>; 3],
    submitted: u64,
    busy_until: Instant,
    credits: ReceiverBuffers,
    changed: [bool; 3],
    returns: VecDeque<(Instant, FlowClass, u32)>,
    flight: VecDeque<(Instant, Tlp)>,
    buffer: VecDeque<Tlp>,
}

impl Lane {
    pub(super) fn new(direction: Direction, receiver: ReceiverBuffers) -> Self {
        Self {
            direction,
            queues: Default::default(),
            submitted: 0,
            busy_until: Instant::ZERO,
            credits: receiver,
            changed: [false; 3],
            returns: VecDeque::new(),
            flight: VecDeque::new(),
            buffer: VecDeque::new(),
        }
    }

    /// Puts a TLP behind those of its class.
    pub(super) fn submit(&mut self, tlp: Tlp) {
        self.queues[tlp.flow_class() as usize].push_back((self.submitted, tlp));
        self.submitted += 1;
    }

    /// TLPs that wait to be sent.
    pub(super) fn queued(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// The credits a sender may count on now.
    pub(super) fn credits(&self) -> &ReceiverBuffers {
        &self.credits
    }

    /// Takes back the credits that have returned by `now`; whether there were any.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        let before = self.returns.len();
        while let Some(&(at, class, data)) = self.returns.front() {
            if at > now {
                break;
            }
            let credits = self.credits.of_mut(class);
            credits.headers += 1;
            credits.data += data;
            self.changed[class as usize] = true;
            self.returns.pop_front();
        }
        self.returns.len() < before
    }

    /// When the next credit comes back.
    pub(super) fn next_return(&self) -> Option<Instant> {
        self.returns.front().map(|&(at, ..)| at)
    }

    /// Sends the next TLP if the wire is free and one may go; returns when it arrives.
    pub(super) fn start<T: Tap + ?Sized>(
        &mut self,
        now: Instant,
        timing: &LinkTiming,
        tap: &mut T,
    ) -> Option<Instant> {
        if self.busy_until > now {
            return None;
        }
        let class = self.choose()?;
        let (_, tlp) = self.queues[class as usize].pop_front()?;
        let credits = self.credits.of_mut(class);
        credits.headers -= 1;
        credits.data -= tlp.data_credits();
        self.changed[class as usize] = true;
        let wire_bytes = tlp.len_bytes() as u32 + FRAMING_BYTES;
        self.busy_until = now + timing.serialisation(wire_bytes);
        let arrives = self.busy_until + timing.propagation;
        tap.tlp(&Sighting {
            direction: self.direction,
            departs: now,
            arrives,
            wire_bytes,
            tlp: &tlp,
        });
        self.flight.push_back((arrives, tlp));
        Some(arrives)
    }

    /// Tells of the credits that have changed since it was last called.
    pub(super) fn tell_credits<T: Tap + ?Sized>(&mut self, now: Instant, tap: &mut T) {
        for class in CLASSES {
            if std::mem::take(&mut self.changed[class as usize]) {
                tap.credits(now, self.direction, class, self.credits.of(class));
            }
        }
    }

    /// When a waiting TLP could next be sent; `None` when nothing waits, or no credit is on its way.
    pub(super) fn next_start(&self, now: Instant) -> Option<Instant> {
        if self.busy_until > now {
            return self.queues.iter().any(|queue| !queue.is_empty()).then_some(self.busy_until);
        }
        if self.choose().is_some() { Some(now) } else { self.blocked_until() }
    }

    fn blocked_until(&self) -> Option<Instant> {
        if self.queued() == 0 { None } else { self.next_return() }
    }

    /// The class whose oldest TLP goes next. A posted write may pass anything; a request or completion
    /// may not pass a posted write submitted before it. PCIe 5.0 §2.4.1, "Transaction Ordering Rules".
    fn choose(&self) -> Option<FlowClass> {
        let oldest_posted =
            self.queues[FlowClass::Posted as usize].front().map(|(order, _)| *order);
        let mut best = None;
        for class in CLASSES {
            let Some((order, tlp)) = self.queues[class as usize].front() else { continue };
            let behind_posted =
                class != FlowClass::Posted && oldest_posted.is_some_and(|posted| posted < *order);
            if behind_posted || !self.credits.of(class).allow(tlp.data_credits()) {
                continue;
            }
            if best.is_none_or(|(first, _)| *order < first) {
                best = Some((*order, class));
            }
        }
        best.map(|(_, class)| class)
    }

    /// The TLP on the wire whose last symbol has arrived by `now` goes into the receive buffer.
    pub(super) fn land(&mut self, now: Instant) {
        if self.flight.front().is_some_and(|&(at, _)| at <= now)
            && let Some((_, tlp)) = self.flight.pop_front()
        {
            self.buffer.push_back(tlp);
        }
    }

    /// Takes the oldest TLP out of the receive buffer; its credits set out for the sender.
    pub(super) fn take(&mut self, now: Instant, timing: &LinkTiming) -> Option<Tlp> {
        let tlp = self.buffer.pop_front()?;
        self.returns.push_back((now + timing.credit_return, tlp.flow_class(), tlp.data_credits()));
        Some(tlp)
    }
}
