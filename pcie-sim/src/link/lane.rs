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
    queues: [VecDeque<Waiting>; 3],
    queued: usize,
    submitted: u64,
    busy_until: Instant,
    credits: ReceiverBuffers,
    changed: [bool; 3],
    returns: VecDeque<(Instant, FlowClass, u32)>,
    /// What has left the sender, oldest first: the first `landed` are in the receive buffer, the rest on
    /// the wire.
    sent: VecDeque<Sent>,
    landed: usize,
}

/// A TLP that has not left yet.
#[derive(Debug)]
struct Waiting {
    order: u64,
    data_credits: u32,
    tlp: Tlp,
}

/// A TLP that has left.
#[derive(Debug)]
struct Sent {
    arrives: Instant,
    data_credits: u32,
    tlp: Tlp,
}

impl Lane {
    pub(super) fn new(direction: Direction, receiver: ReceiverBuffers) -> Self {
        Self {
            direction,
            queues: Default::default(),
            queued: 0,
            submitted: 0,
            busy_until: Instant::ZERO,
            credits: receiver,
            changed: [false; 3],
            returns: VecDeque::new(),
            sent: VecDeque::new(),
            landed: 0,
        }
    }

    /// Puts a TLP behind those of its class.
    pub(super) fn submit(&mut self, tlp: Tlp) {
        let data_credits = tlp.data_credits();
        let waiting = Waiting { order: self.submitted, data_credits, tlp };
        self.queues[waiting.tlp.flow_class() as usize].push_back(waiting);
        self.submitted += 1;
        self.queued += 1;
    }

    /// TLPs that wait to be sent.
    pub(super) fn queued(&self) -> usize {
        self.queued
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

    /// Sends the next TLP if the wire is free and one may go; whether one did.
    pub(super) fn start<T: Tap + ?Sized>(
        &mut self,
        now: Instant,
        timing: &LinkTiming,
        tap: &mut T,
    ) -> bool {
        if self.queued == 0 || self.busy_until > now {
            return false;
        }
        let Some(class) = self.choose() else { return false };
        let Some(waiting) = self.queues[class as usize].pop_front() else { return false };
        let Waiting { data_credits, tlp, .. } = waiting;
        self.queued -= 1;
        let credits = self.credits.of_mut(class);
        credits.headers -= 1;
        credits.data -= data_credits;
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
        self.sent.push_back(Sent { arrives, data_credits, tlp });
        true
    }

    /// Tells of the credits that have changed since it was last called.
    pub(super) fn tell_credits<T: Tap + ?Sized>(&mut self, now: Instant, tap: &mut T) {
        if self.changed == [false; 3] {
            return;
        }
        for class in CLASSES {
            if std::mem::take(&mut self.changed[class as usize]) {
                tap.credits(now, self.direction, class, self.credits.of(class));
            }
        }
    }

    /// When a waiting TLP could next be sent; `None` when nothing waits, or no credit is on its way.
    pub(super) fn next_start(&self, now: Instant) -> Option<Instant> {
        if self.queued == 0 {
            None
        } else if self.busy_until > now {
            Some(self.busy_until)
        } else if self.choose().is_some() {
            Some(now)
        } else {
            self.next_return()
        }
    }

    /// The class whose oldest TLP goes next. A posted write may pass anything; a request or completion
    /// may not pass a posted write submitted before it. PCIe 5.0 §2.4.1, "Transaction Ordering Rules".
    fn choose(&self) -> Option<FlowClass> {
        let posted = self.queues[FlowClass::Posted as usize].front().map(|first| first.order);
        let mut best = None;
        for class in CLASSES {
            let Some(waiting) = self.queues[class as usize].front() else { continue };
            let order = waiting.order;
            let behind_posted =
                class != FlowClass::Posted && posted.is_some_and(|posted| posted < order);
            if behind_posted || !self.credits.of(class).allow(waiting.data_credits) {
                continue;
            }
            if best.is_none_or(|(first, _)| order < first) {
                best = Some((order, class));
            }
        }
        best.map(|(_, class)| class)
    }

    /// When the next TLP on the wire has arrived whole.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.sent.get(self.landed).map(|sent| sent.arrives)
    }

    /// The TLP on the wire whose last symbol has arrived by `now` is in the receive buffer.
    pub(super) fn land(&mut self, now: Instant) {
        self.landed += usize::from(self.next_arrival().is_some_and(|at| at <= now));
    }

    /// Takes the oldest TLP out of the receive buffer; its credits set out for the sender.
    pub(super) fn take(&mut self, now: Instant, timing: &LinkTiming) -> Option<Tlp> {
        self.landed = self.landed.checked_sub(1)?;
        let Sent { data_credits, tlp, .. } = self.sent.pop_front()?;
        self.returns.push_back((now + timing.credit_return, tlp.flow_class(), data_credits));
        Some(tlp)
    }
}
