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

use super::Pace;
use super::aside::{Aside, LinkError};
use super::careful::Careful;
use super::credits::{Credits, ReceiverBuffers};
use super::dllp::Dllp;
use super::faults::DllpFault;
use super::queue::{CLASSES, Choices, Fit, Flight, Row};
use super::receiver::{Owed, Receiver};
use super::ring::Ring;
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
    /// Every TLP of this direction, from its sender's transmitter to the receiver's hands.
    pub(super) row: Row,
    /// When the next TLP on the wire has arrived whole; the far future when there is none.
    arrives: Instant,
    pub(super) busy_until: Instant,
    pub(super) receiver: Receiver,
    credits: ReceiverBuffers,
    /// What the receiver advertised when the link came up.
    advertised: ReceiverBuffers,
    consumed: [Credits; 3],
    /// Classes whose credits have changed and of which nobody was told, a bit each.
    changed: u8,
    /// DLLPs of the receiver on their way to this sender.
    inbound: Ring<Inbound>,
    /// When the first of them arrives.
    first_inbound: Instant,
    /// TLPs sent since the link came up; the low 12 bits are NEXT_TRANSMIT_SEQ.
    pub(super) sequence: u64,
    sent_bytes: u64,
    acked: u64,
    acked_bytes: u64,
    /// What it takes to send TLPs again, where anything can go wrong.
    pub(super) careful: Option<Box<Careful>>,
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
            row: Row::new(choices),
            arrives: Instant::FAR_FUTURE,
            busy_until: Instant::ZERO,
            receiver: Receiver::new(receiver),
            credits: *receiver,
            advertised: *receiver,
            consumed: [Credits { headers: 0, data: 0 }; 3],
            changed: 0,
            inbound: Ring::new(),
            first_inbound: Instant::FAR_FUTURE,
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
                let before = self.inbound.last().map_or(arrives, |last| last.arrives);
                arrives = arrives.max(before);
            }
            if self.inbound.len() == 0 {
                self.first_inbound = arrives;
            }
            self.inbound.push(Inbound { arrives, owed, intact });
        }
    }

    /// Takes in the DLLPs that have arrived by `now`; whether any credit came with them.
    #[inline(always)]
    pub(super) fn settle(&mut self, now: Instant, pace: &Pace, aside: &mut Aside) -> bool {
        self.first_inbound <= now && self.take_in(now, pace, aside)
    }

    fn take_in(&mut self, now: Instant, pace: &Pace, aside: &mut Aside) -> bool {
        let mut credited = false;
        while self.first_inbound <= now {
            let Some(&Inbound { owed, intact, arrives }) = self.inbound.get(0) else { break };
            self.inbound.drop_first();
            self.first_inbound =
                self.inbound.get(0).map_or(Instant::FAR_FUTURE, |next| next.arrives);
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
        self.changed |= u8::from(changed) << class as u8;
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
        if self.first_inbound != Instant::FAR_FUTURE {
            return Some(self.first_inbound);
        }
        let first = self.receiver.first();
        let leaves = first.max(wire_free);
        (first != Instant::FAR_FUTURE).then(|| leaves + pace.dllp + pace.timing.propagation)
    }

    /// Sends the next TLP if the wire is free and one may go; whether one did.
    #[inline(always)]
    pub(super) fn start<T: Tap + ?Sized>(
        &mut self,
        now: Instant,
        pace: &Pace,
        tap: &mut T,
        aside: &mut Aside,
    ) -> bool {
        if self.careful.is_some() {
            return self.busy_until <= now && self.start_careful(now, pace, tap, aside);
        }
        if self.busy_until > now || self.row.queued() == 0 {
            return false;
        }
        let Some(index) = self.choose(pace) else { return false };
        let wire_is_empty = self.row.on_wire() == 0;
        let Some(flight) = self.row.depart(index) else { return false };
        let Flight { class, data_credits, wire_bytes, .. } = *flight;
        self.busy_until = now + pace.on_wire.of(wire_bytes);
        flight.arrives = self.busy_until + pace.timing.propagation;
        flight.sequence = (self.sequence & 0xfff) as u16;
        if wire_is_empty {
            self.arrives = flight.arrives;
        }
        let sighting = Sighting {
            direction: self.direction,
            departs: now,
            arrives: flight.arrives,
            wire_bytes,
            tlp: &flight.tlp,
        };
        aside.show(tap, &sighting, flight.sequence);
        self.spend(class, data_credits, wire_bytes);
        true
    }

    /// The next new TLP, as the replay buffer is to have it; its credits and sequence number are taken.
    pub(super) fn take_waiting(&mut self, pace: &Pace) -> Option<Flight> {
        if self.row.queued() == 0 {
            return None;
        }
        let index = self.choose(pace)?;
        let flight = self.row.withdraw(index)?;
        self.spend(flight.class, flight.data_credits, flight.wire_bytes);
        Some(flight)
    }

    #[inline(always)]
    fn choose(&mut self, pace: &Pace) -> Option<usize> {
        let unacked = self.sequence - self.acked;
        let bytes = self.sent_bytes - self.acked_bytes;
        let room = Room::new(&self.credits, unacked, bytes, pace);
        self.row.choose(|flight| room.fit(flight))
    }

    /// A TLP takes its credits and its sequence number.
    #[inline(always)]
    fn spend(&mut self, class: FlowClass, data_credits: u32, wire_bytes: u32) {
        let credits = self.credits.of_mut(class);
        if !credits.is_infinite() {
            credits.headers -= 1;
            credits.data -= data_credits;
            let consumed = &mut self.consumed[class as usize];
            consumed.headers = consumed.headers.wrapping_add(1);
            consumed.data = consumed.data.wrapping_add(data_credits);
            self.changed |= 1 << class as u8;
        }
        self.sequence += 1;
        self.sent_bytes += u64::from(wire_bytes);
    }

    /// Tells of the credits that have changed since it was last called.
    #[inline]
    pub(super) fn tell_credits<T: Tap + ?Sized>(&mut self, now: Instant, tap: &mut T) {
        if !tap.watches_credits() {
            self.changed = 0;
        }
        while self.changed != 0 {
            let class = CLASSES[self.changed.trailing_zeros() as usize % CLASSES.len()];
            self.changed &= self.changed - 1;
            tap.credits(now, self.direction, class, self.credits.of(class));
        }
    }

    /// When something could next be sent or must be looked at; `None` when nothing is awaited. `wire_free`
    /// is when the other direction's wire is, and `owed` what is to leave on this one.
    #[inline(always)]
    pub(super) fn next_start(
        &self,
        now: Instant,
        wire_free: Instant,
        owed: Instant,
        pace: &Pace,
    ) -> Option<Instant> {
        if let Some(careful) = &self.careful {
            let waits = self.row.queued() > 0 || careful.resends();
            let free = (waits && self.busy_until > now).then_some(self.busy_until);
            let next = [free, self.next_dllp(wire_free, pace), careful.deadline()];
            return next.into_iter().flatten().min();
        }
        if self.row.queued() == 0 {
            None
        } else if self.busy_until > now {
            Some(self.next_free(owed, pace))
        } else {
            let unacked = self.sequence - self.acked;
            let bytes = self.sent_bytes - self.acked_bytes;
            let room = Room::new(&self.credits, unacked, bytes, pace);
            let ready = self.row.ready(|flight| room.fit(flight));
            if ready { Some(now) } else { self.next_dllp(wire_free, pace) }
        }
    }

    /// When the wire, which is busy, can carry a TLP. A DLLP that is due by then goes first.
    #[inline(always)]
    pub(super) fn next_free(&self, owed: Instant, pace: &Pace) -> Instant {
        let after = if owed <= self.busy_until { pace.dllp } else { Span::ZERO };
        self.busy_until + after
    }

    /// When the next TLP on the wire has arrived whole.
    #[inline(always)]
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        (self.arrives != Instant::FAR_FUTURE).then_some(self.arrives)
    }

    /// Something was put on the wire, or taken from it.
    #[inline(always)]
    pub(super) fn look_at_wire(&mut self) {
        self.arrives = self.row.arriving().map_or(Instant::FAR_FUTURE, |flight| flight.arrives);
    }

    /// The TLP on the wire whose last symbol has arrived by `now` is in the receive buffer.
    #[inline(always)]
    pub(super) fn land(&mut self, now: Instant, pace: &Pace, aside: &mut Aside) {
        if self.arrives > now {
            return;
        }
        let Some(flight) = self.row.arriving() else { return };
        let Flight { class, data_credits, wire_bytes, .. } = *flight;
        if self.careful.is_some() && !self.passes_checks(now, aside) {
            self.row.discard();
            return self.look_at_wire();
        }
        let stored = self.receiver.store(class, data_credits);
        self.receiver.accept(now, wire_bytes, pace);
        if stored {
            self.row.land();
        } else {
            aside.receiver_found(now, self.direction, LinkError::ReceiverOverflow(class));
            self.row.discard();
        }
        self.look_at_wire();
    }

    /// Takes the oldest TLP out of the receive buffer; its credits set out for the sender.
    #[inline]
    pub(super) fn take(&mut self, now: Instant, pace: &Pace) -> Option<Tlp> {
        let &Flight { data_credits, class, .. } = self.row.landed()?;
        self.receiver.free(now, class, data_credits, pace);
        self.row.take()
    }

    /// As [`Self::take`], of a TLP that was looked at where it is.
    #[inline]
    pub(super) fn drop_landed(&mut self, now: Instant, pace: &Pace) {
        if let Some(&Flight { data_credits, class, .. }) = self.row.landed() {
            self.receiver.free(now, class, data_credits, pace);
            self.row.drop_landed();
        }
    }

    /// The link is down: what waits, what is on the wire and what is kept is gone. How many TLPs that the
    /// receiver has not got.
    pub(super) fn lose_all(&mut self, buffers: &ReceiverBuffers) -> usize {
        let kept = self.careful.as_ref().map_or(0, |careful| careful.kept());
        let lost = self.row.queued() + kept.max(self.row.on_wire());
        self.row.clear();
        self.look_at_wire();
        self.inbound.truncate(0);
        self.first_inbound = Instant::FAR_FUTURE;
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
struct Room<'a> {
    credits: &'a ReceiverBuffers,
    tlps: bool,
    bytes: u64,
    empty: bool,
}

impl<'a> Room<'a> {
    /// With so many TLPs and bytes without Ack.
    #[inline]
    fn new(credits: &'a ReceiverBuffers, unacked: u64, bytes: u64, pace: &Pace) -> Self {
        Self {
            credits,
            tlps: unacked < pace.replay_tlps,
            bytes: pace.replay_bytes.saturating_sub(bytes),
            empty: unacked == 0,
        }
    }

    /// Whether a TLP may go now. One larger than the replay buffer goes alone.
    #[inline(always)]
    fn fit(&self, flight: &Flight) -> Fit {
        let kept = self.tlps && (u64::from(flight.wire_bytes) <= self.bytes || self.empty);
        match (self.credits.of(flight.class).allow(flight.data_credits), kept) {
            (false, _) => Fit::NoCredits,
            (true, false) => Fit::NotKept,
            (true, true) => Fit::Goes,
        }
    }
}
