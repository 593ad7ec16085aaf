//! One direction of a link: transmit queues, the wire, the receive buffer, and what comes back.
//!
//! ```text
//!  submit ─▶ queue ─▶ wire ─▶ receive buffer ─▶ take
//!              ▲                     │
//!              └── Ack, UpdateFC ◀───┘ Receiver
//! ```
//!
//! A DLLP is no event: a receiver knows when it owes one, and whoever next looks at the wire it goes on
//! (its next TLP, or the sender that waits for it) lets all leave that would have left by then.

use std::collections::VecDeque;

use super::Pace;
use super::aside::{Aside, LinkError};
use super::careful::Careful;
use super::credits::{Credits, ReceiverBuffers};
use super::dllp::Dllp;
use super::faults::DllpFault;
use super::queue::{CLASSES, Choices, TransmitQueue, Waiting};
use super::receiver::{Owed, Receiver};
use crate::endpoint::{Direction, Sighting, Tap};
use crate::time::{Instant, Span};
use crate::tlp::{FlowClass, Tlp};

/// Without news for so long, credits are told again. PCIe 5.0 §2.6.1.2: at least once every 30 µs. It
/// matters, and is simulated, only after an update was lost or wrong.
const REMINDER: Span = Span::from_us(30);

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) direction: Direction,
    pub(super) queue: TransmitQueue,
    pub(super) busy_until: Instant,
    pub(super) receiver: Receiver,
    credits: ReceiverBuffers,
    /// What the receiver advertised when the link came up.
    advertised: ReceiverBuffers,
    consumed: [Credits; 3],
    changed: [bool; 3],
    /// DLLPs of the receiver on their way to this sender.
    inbound: VecDeque<Inbound>,
    /// What has left the sender, oldest first: the first `landed` are in the receive buffer, the rest on
    /// the wire.
    pub(super) sent: VecDeque<Sent>,
    pub(super) landed: usize,
    /// TLPs sent since the link came up; the low 12 bits are NEXT_TRANSMIT_SEQ.
    pub(super) sequence: u64,
    sent_bytes: u64,
    acked: u64,
    acked_bytes: u64,
    /// What it takes to send TLPs again, where anything can go wrong.
    pub(super) careful: Option<Box<Careful>>,
}

/// A TLP that has left.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) arrives: Instant,
    pub(super) sequence: u16,
    pub(super) intact: bool,
    pub(super) data_credits: u32,
    pub(super) wire_bytes: u32,
    pub(super) tlp: Tlp,
}

#[derive(Debug)]
struct Inbound {
    arrives: Instant,
    owed: Owed,
    intact: bool,
}

impl Lane {
    pub(super) fn new(direction: Direction, receiver: &ReceiverBuffers, choices: Choices) -> Self {
        Self {
            direction,
            queue: TransmitQueue::new(choices),
            busy_until: Instant::ZERO,
            receiver: Receiver::new(receiver),
            credits: *receiver,
            advertised: *receiver,
            consumed: [Credits { headers: 0, data: 0 }; 3],
            changed: [false; 3],
            inbound: VecDeque::new(),
            sent: VecDeque::new(),
            landed: 0,
            sequence: 0,
            sent_bytes: 0,
            acked: 0,
            acked_bytes: 0,
            careful: None,
        }
    }

    /// The credits a sender may count on now.
    pub(super) fn credits(&self) -> &ReceiverBuffers {
        &self.credits
    }

    /// Lets the DLLPs leave that this receiver owes and that `wire`, the other direction, had time for by
    /// `now`.
    pub(super) fn send_dllps(
        &mut self,
        wire: &mut Self,
        now: Instant,
        pace: &Pace,
        aside: &mut Aside,
    ) {
        while let Some((starts, mut owed)) = self.receiver.send(wire.busy_until, now) {
            wire.busy_until = starts + pace.dllp;
            let mut arrives = wire.busy_until + pace.timing.propagation;
            let mut intact = true;
            if aside.watched {
                aside.dllps.push((starts, wire.direction, owed.dllp));
            }
            if let Some(fault) = &mut aside.fault {
                let what = fault.dllp(starts, wire.direction, owed.dllp);
                match what {
                    DllpFault::None => {}
                    DllpFault::Corrupt => intact = false,
                    DllpFault::Lose => arrives = Instant::FAR_FUTURE,
                    DllpFault::Delay(span) => arrives += span,
                    DllpFault::Credits { headers, data } => owed.falsify(headers, data),
                }
                let wrong = !matches!(what, DllpFault::None | DllpFault::Delay(_));
                if let (true, Dllp::UpdateFc { class, .. }) = (wrong, owed.dllp) {
                    self.receiver.remind(class, starts + REMINDER);
                }
                if arrives == Instant::FAR_FUTURE {
                    continue;
                }
                let before = self.inbound.back().map_or(arrives, |last| last.arrives);
                arrives = arrives.max(before);
            }
            self.inbound.push_back(Inbound { arrives, owed, intact });
        }
    }

    /// Takes in the DLLPs that have arrived by `now`; whether any credit came with them.
    #[inline]
    pub(super) fn settle(&mut self, now: Instant, pace: &Pace, aside: &mut Aside) -> bool {
        let due = self.inbound.front().is_some_and(|inbound| inbound.arrives <= now);
        due && self.take_in(now, pace, aside)
    }

    fn take_in(&mut self, now: Instant, pace: &Pace, aside: &mut Aside) -> bool {
        let mut credited = false;
        while let Some(inbound) = self.inbound.front() {
            if inbound.arrives > now {
                break;
            }
            let Inbound { owed, intact, arrives } = *inbound;
            self.inbound.pop_front();
            if !intact {
                aside.sender_found(now, self.direction, LinkError::BadDllp);
                continue;
            }
            match owed.dllp {
                Dllp::UpdateFc { class, headers, data } => {
                    credited |= self.update(now, class, Credits { headers, data }, aside);
                }
                Dllp::Ack(_) | Dllp::Nak(_) => self.acknowledge(arrives, &owed, pace, aside),
            }
        }
        credited
    }

    fn update(
        &mut self,
        now: Instant,
        class: FlowClass,
        limit: Credits,
        aside: &mut Aside,
    ) -> bool {
        let consumed = &self.consumed[class as usize];
        let headers = limit.headers.wrapping_sub(consumed.headers);
        let data = limit.data.wrapping_sub(consumed.data);
        let credits = self.credits.of_mut(class);
        if credits.is_infinite() {
            return false;
        }
        // PCIe 5.0 §2.6.1: never more than half of what the fields can count is outstanding. Wider counts
        // stand for scaled flow control.
        let most = self.advertised.of(class);
        if headers > most.headers.max(127) || data > most.data.max(2047) {
            aside.sender_found(now, self.direction, LinkError::FlowControl(class));
            return false;
        }
        let before = *credits;
        *credits = Credits { headers, data };
        let changed = before != *credits;
        self.changed[class as usize] |= changed;
        changed
    }

    fn acknowledge(&mut self, now: Instant, owed: &Owed, pace: &Pace, aside: &mut Aside) {
        let progress = owed.accepted > self.acked;
        self.acked = self.acked.max(owed.accepted);
        self.acked_bytes = self.acked_bytes.max(owed.accepted_bytes);
        if let Some(careful) = &mut self.careful {
            careful.acknowledge(now, self.acked, progress, pace);
            if matches!(owed.dllp, Dllp::Nak(_)) {
                careful.replay(now, self.direction, aside);
            }
        }
    }

    /// When the next DLLP arrives: one on its way, or at the earliest one that is still owed.
    pub(super) fn next_dllp(&self, wire_free: Instant, pace: &Pace) -> Option<Instant> {
        if let Some(inbound) = self.inbound.front() {
            return Some(inbound.arrives);
        }
        let first = self.receiver.first();
        let leaves = first.max(wire_free);
        (first != Instant::FAR_FUTURE).then(|| leaves + pace.dllp + pace.timing.propagation)
    }

    /// Sends the next TLP if the wire is free and one may go; whether one did.
    pub(super) fn start<T: Tap + ?Sized>(
        &mut self,
        now: Instant,
        pace: &Pace,
        tap: &mut T,
        aside: &mut Aside,
    ) -> bool {
        if self.busy_until > now {
            return false;
        }
        if self.careful.is_some() {
            return self.start_careful(now, pace, tap, aside);
        }
        let Some(waiting) = self.take_waiting(pace) else { return false };
        let Waiting { data_credits, wire_bytes, tlp, .. } = waiting;
        let sequence = (self.sequence.wrapping_sub(1) & 0xfff) as u16;
        self.busy_until = now + pace.timing.serialisation(wire_bytes);
        let arrives = self.busy_until + pace.timing.propagation;
        let sighting =
            Sighting { direction: self.direction, departs: now, arrives, wire_bytes, tlp: &tlp };
        aside.show(tap, &sighting, sequence);
        self.sent.push_back(Sent {
            arrives,
            sequence,
            intact: true,
            data_credits,
            wire_bytes,
            tlp,
        });
        true
    }

    /// The next new TLP; its credits and its sequence number are taken.
    #[inline(always)]
    pub(super) fn take_waiting(&mut self, pace: &Pace) -> Option<Waiting> {
        if self.queue.len() == 0 {
            return None;
        }
        let room = Room::of(self, pace);
        let waiting = self.queue.take(|class, waiting| room.allows(class, waiting))?;
        let class = waiting.tlp.flow_class();
        let credits = self.credits.of_mut(class);
        if !credits.is_infinite() {
            credits.headers -= 1;
            credits.data -= waiting.data_credits;
            let consumed = &mut self.consumed[class as usize];
            consumed.headers = consumed.headers.wrapping_add(1);
            consumed.data = consumed.data.wrapping_add(waiting.data_credits);
            self.changed[class as usize] = true;
        }
        self.sequence += 1;
        self.sent_bytes += u64::from(waiting.wire_bytes);
        Some(waiting)
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

    /// When something could next be sent or must be looked at; `None` when nothing is awaited. `wire_free`
    /// is when the other direction's wire is, and `owed` what is to leave on this one.
    pub(super) fn next_start(
        &self,
        now: Instant,
        wire_free: Instant,
        owed: Instant,
        pace: &Pace,
    ) -> Option<Instant> {
        if let Some(careful) = &self.careful {
            let waits = self.queue.len() > 0 || careful.resends();
            let free = (waits && self.busy_until > now).then_some(self.busy_until);
            let next = [free, self.next_dllp(wire_free, pace), careful.deadline()];
            return next.into_iter().flatten().min();
        }
        if self.queue.len() == 0 {
            None
        } else if self.busy_until > now {
            // A DLLP that is due by then goes first.
            let after = if owed <= self.busy_until { pace.dllp } else { Span::ZERO };
            Some(self.busy_until + after)
        } else {
            let room = Room::of(self, pace);
            let ready = self.queue.ready(|class, waiting| room.allows(class, waiting));
            if ready { Some(now) } else { self.next_dllp(wire_free, pace) }
        }
    }

    /// When the next TLP on the wire has arrived whole.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.sent.get(self.landed).map(|sent| sent.arrives)
    }

    /// The TLP on the wire whose last symbol has arrived by `now` is in the receive buffer.
    pub(super) fn land(&mut self, now: Instant, pace: &Pace, aside: &mut Aside) {
        if self.next_arrival().is_none_or(|at| at > now) {
            return;
        }
        if self.careful.is_some() && !self.passes_checks(now, aside) {
            self.sent.remove(self.landed);
            return;
        }
        let Some(sent) = self.sent.get(self.landed) else { return };
        let class = sent.tlp.flow_class();
        let stored = self.receiver.store(class, sent.data_credits);
        self.receiver.accept(now, sent.wire_bytes, pace);
        if stored {
            self.landed += 1;
        } else {
            aside.receiver_found(now, self.direction, LinkError::ReceiverOverflow(class));
            self.sent.remove(self.landed);
        }
    }

    /// Takes the oldest TLP out of the receive buffer; its credits set out for the sender.
    #[inline]
    pub(super) fn take(&mut self, now: Instant, pace: &Pace) -> Option<Tlp> {
        self.landed = self.landed.checked_sub(1)?;
        let Sent { data_credits, tlp, .. } = self.sent.pop_front()?;
        self.receiver.free(now, tlp.flow_class(), data_credits, pace);
        Some(tlp)
    }

    /// The link is down: what waits, what is on the wire and what is kept is gone. How many TLPs that the
    /// receiver has not got.
    pub(super) fn lose_all(&mut self, buffers: &ReceiverBuffers) -> usize {
        let kept = self.careful.as_ref().map_or(0, |careful| careful.kept());
        let lost = self.queue.clear() + kept.max(self.sent.len() - self.landed);
        self.sent.truncate(self.landed);
        self.inbound.clear();
        self.receiver = Receiver::new(buffers);
        self.credits = *buffers;
        self.consumed = [Credits { headers: 0, data: 0 }; 3];
        (self.sequence, self.acked, self.sent_bytes, self.acked_bytes) = (0, 0, 0, 0);
        if let Some(careful) = &mut self.careful {
            **careful = Careful::new(0);
        }
        lost
    }
}

/// What the receiver and the replay buffer have room for.
struct Room {
    credits: ReceiverBuffers,
    tlps: bool,
    bytes: u64,
    empty: bool,
}

impl Room {
    fn of(lane: &Lane, pace: &Pace) -> Self {
        let unacked = lane.sequence - lane.acked;
        let bytes = lane.sent_bytes - lane.acked_bytes;
        Self {
            credits: lane.credits,
            tlps: unacked < pace.replay_tlps,
            bytes: pace.replay_bytes.saturating_sub(bytes),
            empty: unacked == 0,
        }
    }

    /// Whether a TLP may go now. One larger than the replay buffer goes alone.
    fn allows(&self, class: FlowClass, waiting: &Waiting) -> bool {
        let kept = self.tlps && (u64::from(waiting.wire_bytes) <= self.bytes || self.empty);
        kept && self.credits.of(class).allow(waiting.data_credits)
    }
}
