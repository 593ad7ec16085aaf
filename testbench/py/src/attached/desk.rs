//! What is asked and what is answered, between whoever writes a test and the bench beside the design.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use pcie_sim::time::Instant;
use testbench::bench::session::{Command, Outcome};
use testbench::report::Violation;
use testbench::verb::Failure;

/// What may be asked.
#[derive(Debug)]
pub enum Ask {
    /// A command for the session, which begins with the first of them.
    Command(Command),
    /// All of the scenario, from power-on to the driver's removal.
    Run,
    /// The end of the session, and its report.
    Report,
}

/// What comes back.
#[derive(Debug)]
pub enum Reply {
    /// Of a command.
    Outcome(Outcome),
    /// A report, in JSON.
    Report(String),
    /// It could not be done.
    Failed(Failure),
}

/// A rule that was broken, in the simulator's time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// When.
    pub time: Instant,
    /// Which.
    pub rule: String,
    /// What was seen, and what should have been.
    pub message: String,
}

/// Who is called when there is something new.
pub type Tell = Rc<dyn Fn()>;

/// The table between the two sides.
#[derive(Default)]
pub struct Desk {
    asks: RefCell<VecDeque<(u64, Ask)>>,
    replies: RefCell<Vec<(u64, Reply)>>,
    found: RefCell<Vec<Found>>,
    /// What was found, as the machine had it: a report says it all once more.
    known: RefCell<BTreeSet<Violation>>,
    asked: Cell<u64>,
    fresh: Cell<bool>,
    tell: RefCell<Option<Tell>>,
}

impl Desk {
    /// Asks for something; the reply has this number.
    pub fn ask(&self, ask: Ask) -> u64 {
        let id = self.asked.get() + 1;
        self.asked.set(id);
        self.asks.borrow_mut().push_back((id, ask));
        id
    }

    /// Who is to be told of replies and findings.
    pub fn on_news(&self, tell: Option<Tell>) {
        *self.tell.borrow_mut() = tell;
    }

    /// The replies since this was asked last.
    pub fn take(&self) -> Vec<(u64, Reply)> {
        std::mem::take(&mut self.replies.borrow_mut())
    }

    /// Everything found.
    #[must_use]
    pub fn found(&self) -> Vec<Found> {
        self.found.borrow().clone()
    }

    /// How much was found.
    #[must_use]
    pub fn found_count(&self) -> usize {
        self.found.borrow().len()
    }

    /// Who is to be told now.
    pub(super) fn news(&self) -> Option<Tell> {
        if self.fresh.take() { self.listener() } else { None }
    }

    /// Who is told.
    pub(super) fn listener(&self) -> Option<Tell> {
        self.tell.borrow().clone()
    }

    /// The oldest of what was asked.
    pub(super) fn next(&self) -> Option<(u64, Ask)> {
        self.asks.borrow_mut().pop_front()
    }

    pub(super) fn reply(&self, id: u64, reply: Reply) {
        self.replies.borrow_mut().push((id, reply));
        self.fresh.set(true);
    }

    /// A violation; `time` is the simulator's. One that is known is not told again.
    pub(super) fn find(&self, violation: Violation, time: Instant) {
        if !self.known.borrow_mut().insert(violation.clone()) {
            return;
        }
        let Violation { rule, message, .. } = violation;
        self.found.borrow_mut().push(Found { time, rule, message });
        self.fresh.set(true);
    }

    /// The machine is switched off; the next one's findings are its own.
    pub(super) fn forget(&self) {
        self.known.borrow_mut().clear();
    }
}
