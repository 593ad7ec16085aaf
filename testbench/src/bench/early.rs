//! Something in the card's slot that writes to memory once, long before anybody has asked it to.

use pcie_sim::address::Bdf;
use pcie_sim::endpoint::{Endpoint, Port};
use pcie_sim::spec::aer::Error;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{Attributes, MemWrite, Tag, Tlp};

/// When it writes: firmware is done by then, the operating system has not begun.
pub(super) const WRITES_AT: Instant = Instant::from_ps(2_000_000_000);
/// When the operating system begins in such a machine.
pub(super) const SYSTEM_STARTS: Instant = Instant::from_ps(2_100_000_000);
/// Where it writes: memory that no driver ever hands over.
const ADDRESS: u64 = 0x8000;

/// An endpoint with that bad habit.
pub(super) struct Early {
    card: Box<dyn Endpoint>,
    requester: Bdf,
    done: bool,
}

impl Early {
    /// Around `card`, which answers to `requester`.
    pub(super) fn new(card: Box<dyn Endpoint>, requester: Bdf) -> Self {
        Self { card, requester, done: false }
    }
}

impl Endpoint for Early {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        if !self.done && now >= WRITES_AT {
            self.done = true;
            port.send(Tlp::MemWrite(MemWrite {
                requester: self.requester,
                tag: Tag(0),
                address: ADDRESS,
                data: [0x66; 8].as_slice().into(),
                attributes: Attributes::default(),
            }));
        }
        self.card.advance(now, port);
    }

    fn next_wake(&self) -> Option<Instant> {
        let own = (!self.done).then_some(WRITES_AT);
        own.into_iter().chain(self.card.next_wake()).min()
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
