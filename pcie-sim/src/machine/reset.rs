//! Hot reset: the root port holds the link in reset, and all that is on it or behind it is lost.
//! PCIe 5.0 §6.6.1, "Conventional Reset".
//!
//! Software holds the reset for 1 ms or more, so that in that time all that was under way on either side
//! comes to where it is dropped. After a shorter one a completion of before may still reach the card.

use super::Machine;
use crate::endpoint::{Direction, Endpoint, Port, Tap};
use crate::schedule::Turn;

impl<T: Tap> Machine<T> {
    /// The root port's registers were written: a reset of the link may begin or end by it.
    pub(super) fn follow_port(&mut self) {
        let held = self.root.port.holds_reset();
        let ends = self.link_in_reset && !held;
        self.link_in_reset = held;
        if held {
            self.card_wake = Turn::NEVER;
        }
        if ends {
            self.link.bring_up(self.now);
            self.card.hot_reset(self.now);
            self.turn_card();
        }
    }

    /// Takes what has arrived out of the receive buffer, and drops it.
    pub(super) fn lose(&mut self, direction: Direction) {
        match direction {
            Direction::Downstream => while self.link.card_port(self.now).receive().is_some() {},
            Direction::Upstream => while self.link.take_at_root(self.now).is_some() {},
        }
        self.pump(direction);
    }
}
