//! The first of the two seams: the PCIe side of a card, and who may listen on the link.
//!
//! ```text
//!            link                              Endpoint
//!   ──TLPs──▶ receive buffer ──Port::receive──▶  model, RTL, cocotb, a second host
//!   ◀─TLPs── transmit queue  ◀──Port::send─────
//! ```
//!
//! An endpoint pulls what came for it, and pulling is what gives the credit back: a card that does not
//! read its buffer stops the link, as silicon does.

use std::cell::RefCell;
use std::rc::Rc;

use crate::link::aside::{LinkEvent, Transmission};
use crate::link::credits::Credits;
use crate::link::dllp::Dllp;
use crate::spec::aer::Error;
use crate::time::Instant;
use crate::tlp::{FlowClass, Tlp};

/// Data credits of the largest TLP there can be: 4 KiB.
const LARGEST_DATA_CREDITS: u32 = 256;

/// A card's end of the link, as the card sees it during one [`Endpoint::advance`].
pub trait Port {
    /// The next TLP in the receive buffer. Taking it returns its flow control credits.
    fn receive(&mut self) -> Option<Tlp>;

    /// Whether a TLP of this class with this many data credits may be sent now: the other side has
    /// credits for it and the transmitter has room.
    fn can_send(&self, class: FlowClass, data_credits: u32) -> bool;

    /// Hands a TLP to the transmitter. One that [`Port::can_send`] would refuse waits for credits.
    fn send(&mut self, tlp: Tlp);

    /// As [`Port::receive`], for a card that still has to move the TLP into itself: its credits stay with
    /// it until [`Port::give_back`]. A port that does not tell the two apart returns them at once.
    fn take(&mut self) -> Option<Tlp> {
        self.receive()
    }

    /// Returns the credits of a TLP that [`Port::take`] has given.
    fn give_back(&mut self, class: FlowClass, data_credits: u32) {
        let _ = (class, data_credits);
    }

    /// What a card that does its own accounting may send of a class: the credits left, less those that TLPs
    /// in the transmitter are going to take. A port that does not count them has none at all or no end of
    /// them.
    fn credits(&self, class: FlowClass) -> Credits {
        let any = self.can_send(class, LARGEST_DATA_CREDITS);
        if any { Credits::INFINITE } else { Credits::NONE }
    }

    /// Whether the transmitter takes another TLP, be there credits for it or not.
    fn has_room(&self) -> bool {
        let classes = [FlowClass::Posted, FlowClass::NonPosted, FlowClass::Completion];
        classes.into_iter().any(|class| self.can_send(class, 0))
    }
}

/// What is put back, and what is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResetKind {
    /// Function level reset: asked for in Device Control. PCIe 5.0 §6.6.2.
    FunctionLevel,
    /// The way from D3hot to D0 of a function without No_Soft_Reset. PCIe 5.0 §5.3.1.4.
    Soft,
    /// Hot reset: asked for in the bridge's control register, and told by the link. PCIe 5.0 §6.6.1.
    Hot,
}

/// A card: TLPs in, TLPs out, and when it next wants to act.
///
/// The bench calls [`Endpoint::advance`] when a TLP has arrived, when a credit came back, and at
/// [`Endpoint::next_wake`]; never with a time that goes backwards.
pub trait Endpoint {
    /// Does all that is due at or before `now`.
    fn advance(&mut self, now: Instant, port: &mut dyn Port);

    /// When the endpoint next has something to do of its own accord; `None` when it only waits.
    fn next_wake(&self) -> Option<Instant>;

    /// The link comes out of a hot reset: all that was under way is gone, on either side of it.
    ///
    /// The resets that a function is asked for by its own registers are its own affair.
    fn hot_reset(&mut self, now: Instant) {
        let _ = now;
    }

    /// The card's side of the link, or whoever stands in for it, has detected an error; `tlp` is the one
    /// that it was found in, if it was found in one and its header is to be trusted.
    fn link_error(&mut self, now: Instant, error: Error, tlp: Option<&Tlp>) {
        let _ = (now, error, tlp);
    }

    /// Whether its requests reach memory untranslated although an IOMMU is in the way.
    ///
    /// Only a device that a hypervisor emulates can say so: it uses memory as the hypervisor's own
    /// process does. Nothing in a TLP of a card's gives it this right, so a card answers `false`. The
    /// machine asks as each request arrives.
    fn bypasses_translation(&self) -> bool {
        false
    }
}

impl<E: Endpoint + ?Sized> Endpoint for Box<E> {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        (**self).advance(now, port);
    }

    fn next_wake(&self) -> Option<Instant> {
        (**self).next_wake()
    }

    fn hot_reset(&mut self, now: Instant) {
        (**self).hot_reset(now);
    }

    fn link_error(&mut self, now: Instant, error: Error, tlp: Option<&Tlp>) {
        (**self).link_error(now, error, tlp);
    }

    fn bypasses_translation(&self) -> bool {
        (**self).bypasses_translation()
    }
}

/// A card in two hands: the machine's, and somebody's who looks at it or puts a device into a slot.
///
/// The other hand may hold a borrow only while the machine stands still.
impl<E: Endpoint> Endpoint for Rc<RefCell<E>> {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        self.borrow_mut().advance(now, port);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.borrow().next_wake()
    }

    fn hot_reset(&mut self, now: Instant) {
        self.borrow_mut().hot_reset(now);
    }

    fn link_error(&mut self, now: Instant, error: Error, tlp: Option<&Tlp>) {
        self.borrow_mut().link_error(now, error, tlp);
    }

    fn bypasses_translation(&self) -> bool {
        self.borrow().bypasses_translation()
    }
}

/// Which way a TLP goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the root port to the card.
    Downstream,
    /// From the card to the root port.
    Upstream,
}

/// One TLP as it enters the link.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// Which way it goes.
    pub direction: Direction,
    /// When its first symbol left the sender's pins.
    pub departs: Instant,
    /// When its last symbol reaches the receiver's pins.
    pub arrives: Instant,
    /// Bytes on the wire: framing, sequence number, header, data, LCRC.
    pub wire_bytes: u32,
    /// The packet.
    pub tlp: &'a Tlp,
}

impl Sighting<'_> {
    /// The moment that counts at the card's pins: departure going up, arrival going down.
    #[must_use]
    pub fn at_card(&self) -> Instant {
        match self.direction {
            Direction::Upstream => self.departs,
            Direction::Downstream => self.arrives,
        }
    }
}

/// Somebody who watches the link and never touches it: analyzer, trace, waves.
///
/// TLPs are shown in the order in which they depart, both directions merged. An answer always departs
/// after what it answers has arrived, so this order never shows an effect before its cause.
///
/// [`Tap::tlp`] shows each TLP once: that transmission of it which the receiver accepts. Whoever also
/// wants those that are damaged, lost or sent again says so with [`Tap::watches_data_link`].
pub trait Tap {
    /// A TLP that the receiver will accept enters the link.
    fn tlp(&mut self, sighting: &Sighting<'_>);

    /// The credits that the sender of one direction has left have changed.
    fn credits(&mut self, at: Instant, direction: Direction, class: FlowClass, left: Credits) {
        let _ = (at, direction, class, left);
    }

    /// Whether [`Tap::credits`] is to be called.
    fn watches_credits(&self) -> bool {
        true
    }

    /// Whether [`Tap::transmission`] and [`Tap::dllp`] are to be called.
    fn watches_data_link(&self) -> bool {
        false
    }

    /// A TLP enters the link, for the first time or again, whatever becomes of it. Where it is accepted,
    /// [`Tap::tlp`] follows.
    fn transmission(&mut self, transmission: &Transmission<'_>) {
        let _ = transmission;
    }

    /// A DLLP entered the link at `at`. Those of one direction come in the order of departure, and before
    /// the TLPs of that direction that departed later.
    fn dllp(&mut self, at: Instant, direction: Direction, dllp: Dllp) {
        let _ = (at, direction, dllp);
    }

    /// One end of the link has found something, or the link is gone; called whether watched or not.
    fn link_event(&mut self, event: &LinkEvent) {
        let _ = event;
    }

    /// Whether the card may be at work on something that its driver waits for. Who cannot tell says yes.
    fn may_be_at_work(&self) -> bool {
        true
    }
}
