//! A card whose clock never stops: for how long it is given time.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::endpoint::{Port, Sighting};
use crate::tlp::CompletionStatus;

const PERIOD: Span = Span::from_ns(4);

/// It refuses whatever it is asked, and has an edge every [`PERIOD`].
struct Ticking {
    edges: Rc<Cell<u64>>,
    next: Instant,
}

impl Endpoint for Ticking {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        while let Some(tlp) = port.receive() {
            let status = CompletionStatus::UnsupportedRequest;
            if let Some(completion) = Completion::refusing(&tlp, CARD, status) {
                port.send(Tlp::Completion(completion));
            }
        }
        while self.next <= now {
            self.edges.set(self.edges.get() + 1);
            self.next += PERIOD;
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn hot_reset(&mut self, now: Instant) {
        self.next = now + PERIOD;
    }
}

/// Says what it was told to say.
struct Foreman {
    at_work: Rc<Cell<bool>>,
}

impl Tap for Foreman {
    fn tlp(&mut self, _sighting: &Sighting<'_>) {}

    fn may_be_at_work(&self) -> bool {
        self.at_work.get()
    }
}

struct Rig {
    slot: LiveSlot<Foreman>,
    edges: Rc<Cell<u64>>,
    at_work: Rc<Cell<bool>>,
}

fn rig(at_work: bool) -> Rig {
    let (edges, at_work) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(at_work)));
    let config = LiveConfig {
        quiet: Span::from_us(40),
        idle: Span::from_us(4),
        reset: Span::from_us(8),
        ..LiveConfig::default()
    };
    let card = Box::new(Ticking { edges: Rc::clone(&edges), next: Instant::ZERO + PERIOD });
    let slot = LiveSlot::new(config, card, Foreman { at_work: Rc::clone(&at_work) });
    Rig { slot, edges, at_work }
}

impl Rig {
    /// Edges until time stands.
    fn settle(&mut self) -> u64 {
        let before = self.edges.get();
        while self.slot.step(true) == Step::Moved {}
        self.edges.get() - before
    }
}

#[test]
fn time_stands_sooner_for_a_card_that_is_not_at_work() {
    let (idle, busy) = (rig(false).settle(), rig(true).settle());
    assert!((900..=1000).contains(&idle), "{idle}");
    assert!((9900..=10_000).contains(&busy), "{busy}");
}

/// The write that ends the work is followed by others: the interrupt at least.
#[test]
fn a_card_is_given_its_time_after_the_end_of_a_long_work() {
    let mut rig = rig(true);
    for _ in 0..5000 {
        assert_eq!(rig.slot.step(true), Step::Moved);
    }
    rig.at_work.set(false);
    let after = rig.settle();
    assert!((900..=1000).contains(&after), "{after}");
}

/// So that a client is not kept waiting for a hundred milliseconds of a clock.
#[test]
fn a_reset_takes_as_long_as_it_is_given() {
    let mut rig = rig(false);
    rig.settle();
    let (before, edges) = (rig.slot.now(), rig.edges.get());
    rig.slot.reset();
    let took = rig.slot.now().since(before);
    assert!(took >= Span::from_us(8) && took < Span::from_us(9), "{took}");
    assert!(rig.edges.get() - edges <= 2000);
}
