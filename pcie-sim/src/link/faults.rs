//! Faults are wrappers: an endpoint that behaves, made to misbehave on its way to the link.
//!
//! ```text
//!   card ──Port──▶ Redirect ──Port──▶ link
//! ```

use crate::endpoint::{Endpoint, Port};
use crate::time::Instant;
use crate::tlp::{FlowClass, Tlp};

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
