//! Faults are wrappers: an endpoint that behaves, made to misbehave on its way to the link; and a hook
//! that is asked about each packet on the wire.
//!
//! ```text
//!   card ──Port──▶ Redirect ──Port──▶ link ◀── LinkFault
//! ```

use std::fmt::Debug;

use super::credits::Credits;
use super::dllp::Dllp;
use crate::endpoint::{Direction, Endpoint, Port};
use crate::spec::aer::Error;
use crate::time::{Instant, Span};
use crate::tlp::{FlowClass, Tlp};

/// What the wire does to one transmission of a TLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlpFault {
    /// Nothing.
    #[default]
    None,
    /// A bit flips: the LCRC does not match.
    Corrupt,
    /// It does not come out at the other end.
    Lose,
    /// It is sent twice, with the same sequence number.
    Duplicate,
    /// It takes longer, and so does all that is behind it.
    Delay(Span),
}

/// What the wire does to one DLLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DllpFault {
    /// Nothing.
    #[default]
    None,
    /// A bit flips: the CRC does not match, and the receiver discards it.
    Corrupt,
    /// It does not come out at the other end.
    Lose,
    /// It takes longer, and so does all that is behind it.
    Delay(Span),
    /// An UpdateFC says so many TLPs and units of data more than it should, or fewer.
    Credits {
        /// TLPs.
        headers: i32,
        /// Units of 16 bytes.
        data: i32,
    },
}

/// What befalls the link as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upset {
    /// It goes through Recovery: nothing is lost, nothing is sent meanwhile.
    Retrain,
    /// It is gone without notice.
    SurpriseDown,
}

/// Somebody who decides what goes wrong on the link; asked about every packet, in the order of departure.
pub trait LinkFault: Debug {
    /// What happens to this transmission of a TLP; `replay` when it was sent before.
    fn tlp(
        &mut self,
        at: Instant,
        direction: Direction,
        sequence: u16,
        tlp: &Tlp,
        replay: bool,
    ) -> TlpFault {
        let _ = (at, direction, sequence, tlp, replay);
        TlpFault::None
    }

    /// What happens to this DLLP.
    fn dllp(&mut self, at: Instant, direction: Direction, dllp: Dllp) -> DllpFault {
        let _ = (at, direction, dllp);
        DllpFault::None
    }

    /// What befalls the link next, and when; asked again once it has happened.
    fn upset(&self) -> Option<(Instant, Upset)> {
        None
    }

    /// The upset that [`LinkFault::upset`] named has happened.
    fn upset_done(&mut self) {}
}

/// A card whose DMA to some addresses goes astray: a stuck address line, a forgotten page.
pub struct Redirect<E> {
    card: E,
    aim: Box<dyn FnMut(Instant, u64) -> u64>,
}

impl<E: Endpoint> Redirect<E> {
    /// Wraps `card`; `aim` gets the time and the address of each memory request it sends and gives the
    /// address that goes on the link instead.
    pub fn new(card: E, aim: impl FnMut(Instant, u64) -> u64 + 'static) -> Self {
        Self { card, aim: Box::new(aim) }
    }
}

impl<E: Endpoint> Endpoint for Redirect<E> {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        self.card.advance(now, &mut RedirectPort { port, now, aim: &mut *self.aim });
    }

    fn next_wake(&self) -> Option<Instant> {
        self.card.next_wake()
    }

    fn hot_reset(&mut self, now: Instant) {
        self.card.hot_reset(now);
    }

    fn link_error(&mut self, now: Instant, error: Error, tlp: Option<&Tlp>) {
        self.card.link_error(now, error, tlp);
    }

    fn bypasses_translation(&self) -> bool {
        self.card.bypasses_translation()
    }
}

struct RedirectPort<'a> {
    port: &'a mut dyn Port,
    now: Instant,
    aim: &'a mut dyn FnMut(Instant, u64) -> u64,
}

impl Port for RedirectPort<'_> {
    fn receive(&mut self) -> Option<Tlp> {
        self.port.receive()
    }

    fn can_send(&self, class: FlowClass, data_credits: u32) -> bool {
        self.port.can_send(class, data_credits)
    }

    fn take(&mut self) -> Option<Tlp> {
        self.port.take()
    }

    fn give_back(&mut self, class: FlowClass, data_credits: u32) {
        self.port.give_back(class, data_credits);
    }

    fn credits(&self, class: FlowClass) -> Credits {
        self.port.credits(class)
    }

    fn has_room(&self) -> bool {
        self.port.has_room()
    }

    fn send(&mut self, tlp: Tlp) {
        let (now, aim) = (self.now, &mut *self.aim);
        self.port.send(tlp.map_plain(|mut tlp| {
            match &mut tlp {
                Tlp::MemRead(read) => read.address = aim(now, read.address),
                Tlp::MemWrite(write) => write.address = aim(now, write.address),
                Tlp::Atomic(atomic) => atomic.address = aim(now, atomic.address),
                _ => {}
            }
            tlp
        }));
    }
}
