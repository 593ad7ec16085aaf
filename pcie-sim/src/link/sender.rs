//! Between a sender's transaction layer and its data link layer: where what is handed over can be something
//! else than it should.

use std::fmt::Debug;

use smallvec::SmallVec;

use super::Link;
use crate::endpoint::Direction;
use crate::time::{Instant, Span};
use crate::tlp::Tlp;

/// What is handed over instead of one packet: packets, each with its delay.
pub type Delivery = SmallVec<[(Span, Tlp); 2]>;

/// Somebody who decides what a sender does wrong; asked about every packet, in the order of handing over.
pub trait SenderFault: Debug {
    /// What is handed over instead of this packet.
    fn hand_over(&mut self, at: Instant, direction: Direction, tlp: Tlp) -> Delivery;
}

/// Packets that are late.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) fault: Option<Box<dyn SenderFault>>,
    held: Vec<(Instant, Direction, Tlp)>,
}

impl Desk {
    /// When the next late packet of this direction is due.
    pub(super) fn next(&self, direction: Direction) -> Option<Instant> {
        self.held.iter().filter(|(_, way, _)| *way == direction).map(|(at, ..)| *at).min()
    }

    /// Until when the answer is held that this completion is a part of.
    fn answered_from(&self, direction: Direction, tlp: &Tlp) -> Option<Instant> {
        let transaction = |tlp: &Tlp| match tlp.plain() {
            Tlp::Completion(completion) => Some((completion.requester, completion.tag)),
            _ => None,
        };
        let this = transaction(tlp)?;
        let same = |(_, way, held): &&(Instant, Direction, Tlp)| {
            *way == direction && transaction(held) == Some(this)
        };
        self.held.iter().filter(same).map(|(at, ..)| *at).max()
    }

    fn due(&mut self, direction: Direction, now: Instant) -> Option<Tlp> {
        let due = |(at, way, _): &(Instant, Direction, Tlp)| *way == direction && *at <= now;
        let place = self.held.iter().position(due)?;
        Some(self.held.remove(place).2)
    }
}

impl Link {
    /// Installs what the two senders do wrong.
    pub fn set_sender_fault(&mut self, fault: Box<dyn SenderFault>) {
        self.desk.fault = Some(fault);
        self.faulty = true;
    }

    /// A sender has a TLP for the other side: what it hands to its transmitter is that, unless it is made
    /// to do something wrong.
    #[inline]
    pub fn hand_over(&mut self, now: Instant, direction: Direction, tlp: Tlp) {
        if self.desk.fault.is_none() {
            self.submit(direction, tlp);
        } else {
            self.hand_over_wrong(now, direction, tlp);
        }
    }

    #[cold]
    fn hand_over_wrong(&mut self, now: Instant, direction: Direction, tlp: Tlp) {
        let Some(fault) = &mut self.desk.fault else { return };
        for (delay, tlp) in fault.hand_over(now, direction, tlp) {
            // A completer that is late with a part of an answer is late with the rest of it.
            match self.desk.answered_from(direction, &tlp) {
                None if delay == Span::ZERO => self.submit(direction, tlp),
                from => {
                    let at = (now + delay).max(from.unwrap_or(now));
                    self.desk.held.push((at, direction, tlp));
                }
            }
        }
    }

    /// Hands over what was late and is due.
    #[cold]
    pub(super) fn release(&mut self, direction: Direction, now: Instant) {
        while let Some(tlp) = self.desk.due(direction, now) {
            self.submit(direction, tlp);
        }
    }
}
