//! Interrupts: which vector means what, and how a driver sleeps until one comes.

use pcie_sim::host::{Host, Vector};
use pcie_sim::time::{Instant, Span};

/// What an interrupt is about. One vector may stand for both; neither: it is nothing of this driver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cause {
    /// The card's configuration changed, or it needs a reset.
    pub config: bool,
    /// A queue has used buffers.
    pub queue: bool,
}

/// A driver's vectors, and how many interrupts it took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interrupts {
    config: Option<Vector>,
    queues: Vec<Vector>,
    taken: u64,
}

impl Interrupts {
    /// No vectors yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Interrupts with `vector` tell of configuration changes.
    pub fn set_config(&mut self, vector: Option<Vector>) {
        self.config = vector;
    }

    /// Interrupts with `vector` tell of a queue.
    pub fn add_queue(&mut self, vector: Vector) {
        self.queues.push(vector);
    }

    /// Forgets all vectors; the count stays.
    pub fn clear(&mut self) {
        self.config = None;
        self.queues.clear();
    }

    /// How many interrupts were taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn cause(&self, vector: Vector) -> Cause {
        Cause { config: self.config == Some(vector), queue: self.queues.contains(&vector) }
    }

    /// Sleeps until an interrupt comes, and pays `cost` for taking it; `None` when `deadline` passed.
    pub fn wait(&mut self, host: &mut dyn Host, deadline: Instant, cost: Span) -> Option<Cause> {
        let vector = host.wait_interrupt(deadline)?;
        self.taken += 1;
        host.spend(cost);
        Some(self.cause(vector))
    }

    /// Takes an interrupt that is pending, without waiting.
    pub fn take(&mut self, host: &mut dyn Host, cost: Span) -> Option<Cause> {
        let vector = host.take_interrupt()?;
        self.taken += 1;
        host.spend(cost);
        Some(self.cause(vector))
    }
}
