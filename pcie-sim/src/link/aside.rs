//! What happens beside the traffic: who watches the data link layer, what goes wrong, who is told.

use super::dllp::Dllp;
use super::faults::LinkFault;
use crate::endpoint::{Direction, Sighting, Tap};
use crate::spec::aer::Error;
use crate::time::Instant;
use crate::tlp::FlowClass;

/// Events that are kept until somebody takes them; later ones are dropped.
const EVENTS: usize = 1024;

/// The two ends of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The root port.
    Root,
    /// The card.
    Card,
}

/// What one end of the link found wrong. PCIe 5.0 §6.2, table of data link layer errors, and §2.6.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// A TLP with a bad LCRC, or not the next in sequence (Bad TLP).
    BadTlp,
    /// A DLLP with a bad CRC (Bad DLLP).
    BadDllp,
    /// The replay timer ran out (Replay Timer Timeout).
    ReplayTimeout,
    /// Four replays came to nothing (REPLAY_NUM Rollover); the link is retrained.
    ReplayRollover,
    /// A TLP came for which there was no room (Receiver Overflow).
    ReceiverOverflow(FlowClass),
    /// An UpdateFC that cannot be (Flow Control Protocol Error).
    FlowControl(FlowClass),
    /// The link has gone through Recovery; nothing is wrong any more.
    Retrained,
    /// The link is gone (Surprise Down).
    SurpriseDown,
}

impl LinkError {
    /// The error that registers record for it; `None` when nothing is wrong any more.
    #[must_use]
    pub const fn recorded(self) -> Option<Error> {
        match self {
            Self::BadTlp => Some(Error::BadTlp),
            Self::BadDllp => Some(Error::BadDllp),
            Self::ReplayTimeout => Some(Error::ReplayTimeout),
            Self::ReplayRollover => Some(Error::ReplayRollover),
            Self::ReceiverOverflow(_) => Some(Error::ReceiverOverflow),
            Self::FlowControl(_) => Some(Error::FlowControlProtocol),
            Self::SurpriseDown => Some(Error::SurpriseDown),
            Self::Retrained => None,
        }
    }
}

/// An entry of the link's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkEvent {
    /// When.
    pub at: Instant,
    /// Who found it.
    pub side: Side,
    /// What.
    pub error: LinkError,
}

/// What becomes of one transmission of a TLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver takes it.
    Accepted,
    /// Its LCRC does not match; a Nak follows.
    Corrupted,
    /// It never arrives.
    Lost,
    /// The receiver has it already.
    Duplicate,
    /// One before it is missing; a Nak follows.
    OutOfSequence,
}

/// One transmission of a TLP: the first, or a replay.
#[derive(Debug, Clone, Copy)]
pub struct Transmission<'a> {
    /// What is seen on the wire.
    pub sighting: Sighting<'a>,
    /// Its sequence number, 12 bits.
    pub sequence: u16,
    /// It was sent before.
    pub replay: bool,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// Everything beside the traffic.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) fault: Option<Box<dyn LinkFault>>,
    /// Somebody wants to see DLLPs.
    pub(super) watched: bool,
    /// DLLPs that have left and were not shown yet.
    pub(super) dllps: Vec<(Instant, Direction, Dllp)>,
    pub(super) events: Vec<LinkEvent>,
}

impl Aside {
    /// Shows a first transmission that arrives.
    #[inline]
    pub(super) fn show<T: Tap + ?Sized>(
        &self,
        tap: &mut T,
        sighting: &Sighting<'_>,
        sequence: u16,
    ) {
        if self.watched {
            show_accepted(tap, sighting, sequence);
        }
        tap.tlp(sighting);
    }

    /// Shows a transmission of which anything may become.
    pub(super) fn show_transmission<T: Tap + ?Sized>(
        &self,
        tap: &mut T,
        transmission: &Transmission<'_>,
    ) {
        if self.watched {
            tap.transmission(transmission);
        }
        if transmission.outcome == Outcome::Accepted {
            tap.tlp(&transmission.sighting);
        }
    }

    /// Shows the DLLPs that have left since this was last called.
    pub(super) fn show_dllps<T: Tap + ?Sized>(&mut self, tap: &mut T) {
        self.dllps.sort_by_key(|&(at, ..)| at);
        for (at, direction, dllp) in self.dllps.drain(..) {
            tap.dllp(at, direction, dllp);
        }
    }

    /// The end that sends TLPs in `direction` has found something.
    pub(super) fn sender_found(&mut self, at: Instant, direction: Direction, error: LinkError) {
        let side = match direction {
            Direction::Downstream => Side::Root,
            Direction::Upstream => Side::Card,
        };
        self.note(LinkEvent { at, side, error });
    }

    /// The end that receives TLPs of `direction` has found something.
    pub(super) fn receiver_found(&mut self, at: Instant, direction: Direction, error: LinkError) {
        let side = match direction {
            Direction::Downstream => Side::Card,
            Direction::Upstream => Side::Root,
        };
        self.note(LinkEvent { at, side, error });
    }

    pub(super) fn note(&mut self, event: LinkEvent) {
        if self.events.len() < EVENTS {
            self.events.push(event);
        }
    }
}

#[cold]
fn show_accepted<T: Tap + ?Sized>(tap: &mut T, sighting: &Sighting<'_>, sequence: u16) {
    let (sighting, outcome) = (*sighting, Outcome::Accepted);
    tap.transmission(&Transmission { sighting, sequence, replay: false, outcome });
}
