//! The link between root port and card: serialisation, propagation, flow control, order.
//!
//! The link comes up trained and loses nothing. Not modelled: DLLPs (acknowledgements and credit
//! updates cost no wire time, a credit returns after [`LinkTiming::credit_return`]), replay, training.

pub mod credits;
pub mod faults;
mod lane;
pub mod timing;

use std::cell::Cell;

use self::credits::ReceiverBuffers;
use self::lane::Lane;
pub use self::timing::{Generation, LinkTiming};
use crate::endpoint::{Direction, Port, Tap};
use crate::time::{Instant, Span};
use crate::tlp::{FlowClass, Tlp};

/// How many TLPs the card's transmitter holds before it says no.
const TRANSMIT_ROOM: usize = 4;

/// Everything about a link that a scenario can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// Speed and length.
    pub timing: LinkTiming,
    /// What the card can hold of what comes down.
    pub card_buffers: ReceiverBuffers,
    /// What the root port can hold of what comes up.
    pub root_buffers: ReceiverBuffers,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            timing: LinkTiming {
                generation: Generation::Gen3,
                lanes: 8,
                propagation: Span::from_ns(125),
                credit_return: Span::from_ns(200),
            },
            card_buffers: ReceiverBuffers::default(),
            root_buffers: ReceiverBuffers::default(),
        }
    }
}

/// The link, both directions.
#[derive(Debug)]
pub struct Link {
    timing: LinkTiming,
    down: Lane,
    up: Lane,
    card_refused: Cell<bool>,
}

/// What the owner of the schedule must enter after [`Link::pump`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pumped {
    /// The next TLP on the wire arrives then.
    pub arrives: Option<Instant>,
    /// Call again then.
    pub again: Option<Instant>,
    /// The card was told "no" and may try again now.
    pub card_may_retry: bool,
}

impl Link {
    /// A trained, idle link.
    #[must_use]
    pub fn new(config: &LinkConfig) -> Self {
        Self {
            timing: config.timing,
            down: Lane::new(Direction::Downstream, config.card_buffers),
            up: Lane::new(Direction::Upstream, config.root_buffers),
            card_refused: Cell::new(false),
        }
    }

    /// Hands a TLP to the transmitter of one side.
    pub fn submit(&mut self, direction: Direction, tlp: Tlp) {
        self.lane(direction).submit(tlp);
    }

    /// TLPs that wait to be sent in one direction.
    #[must_use]
    pub fn queued(&self, direction: Direction) -> usize {
        match direction {
            Direction::Downstream => self.down.queued(),
            Direction::Upstream => self.up.queued(),
        }
    }

    /// Whether [`Link::pump`] would do anything for the card: it has something to send, or was refused.
    #[must_use]
    pub fn upstream_waits(&self) -> bool {
        self.card_refused.get() || self.up.queued() > 0
    }

    /// The credits that the sender of one direction has left.
    #[must_use]
    pub fn credits(&self, direction: Direction) -> &ReceiverBuffers {
        match direction {
            Direction::Downstream => self.down.credits(),
            Direction::Upstream => self.up.credits(),
        }
    }

    /// Sends what can be sent in one direction.
    pub fn pump<T: Tap + ?Sized>(
        &mut self,
        direction: Direction,
        now: Instant,
        tap: &mut T,
    ) -> Pumped {
        let timing = self.timing;
        let lane = self.lane(direction);
        let settled = lane.settle(now);
        let started = lane.start(now, &timing, tap);
        lane.tell_credits(now, tap);
        let arrives = lane.next_arrival();
        let mut again = lane.next_start(now);
        let mut card_may_retry = false;
        if direction == Direction::Upstream && self.card_refused.get() {
            // Only a change is a reason to ask again, else the two would ask each other forever.
            card_may_retry = settled || started;
            again = [again, self.up.next_return()].into_iter().flatten().min();
            self.card_refused.set(!card_may_retry);
        }
        Pumped { arrives, again, card_may_retry }
    }

    /// A TLP's last symbol has arrived; when the next one's does.
    pub fn land(&mut self, direction: Direction, now: Instant) -> Option<Instant> {
        let lane = self.lane(direction);
        lane.land(now);
        lane.next_arrival()
    }

    /// The root port takes the next TLP out of its receive buffer.
    pub fn take_at_root(&mut self, now: Instant) -> Option<Tlp> {
        self.up.take(now, &self.timing)
    }

    /// The card's end of the link, for one turn of the card.
    pub fn card_port(&mut self, now: Instant) -> CardPort<'_> {
        self.up.settle(now);
        CardPort { link: self, now }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Downstream => &mut self.down,
            Direction::Upstream => &mut self.up,
        }
    }
}

/// The card's end of a [`Link`].
#[derive(Debug)]
pub struct CardPort<'a> {
    link: &'a mut Link,
    now: Instant,
}

impl Port for CardPort<'_> {
    fn receive(&mut self) -> Option<Tlp> {
        self.link.down.take(self.now, &self.link.timing)
    }

    fn can_send(&self, class: FlowClass, data_credits: u32) -> bool {
        let yes = self.link.up.queued() < TRANSMIT_ROOM
            && self.link.up.credits().of(class).allow(data_credits);
        if !yes {
            self.link.card_refused.set(true);
        }
        yes
    }

    fn send(&mut self, tlp: Tlp) {
        self.link.up.submit(tlp);
    }
}

#[cfg(test)]
mod tests;
