//! Deferred invalidation: addresses that are unmapped in the tables and that the hardware may still know.
//!
//! They are not given out again until all of them are flushed at once: when 250 wait, or when the oldest
//! has waited for 10 ms. Until then a card that still uses one is not stopped, and may even read or write
//! memory that belongs to somebody else by now.

use pcie_sim::address::BusAddr;
use pcie_sim::time::{Instant, Span};

/// When a deferred flush is due. The defaults are Linux's (`drivers/iommu/dma-iommu.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deferred {
    /// Addresses that may wait.
    pub entries: usize,
    /// How long the oldest may wait. The timer is looked at in each call of the DMA API, and by drivers
    /// while they wait.
    pub after: Span,
}

impl Default for Deferred {
    fn default() -> Self {
        Self { entries: 250, after: Span::from_ms(10) }
    }
}

/// The addresses that wait for one domain's next flush.
#[derive(Debug)]
pub(super) struct FlushQueue {
    deferred: Deferred,
    waiting: Vec<(BusAddr, u32)>,
    oldest: Instant,
}

impl FlushQueue {
    pub(super) fn new(deferred: Deferred) -> Self {
        Self { deferred, waiting: Vec::with_capacity(deferred.entries), oldest: Instant::ZERO }
    }

    /// Adds a block of 2^`order` pages.
    pub(super) fn push(&mut self, now: Instant, address: BusAddr, order: u32) {
        if self.waiting.is_empty() {
            self.oldest = now;
        }
        self.waiting.push((address, order));
    }

    /// Whether a flush is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let full = self.waiting.len() >= self.deferred.entries.max(1);
        full || !self.waiting.is_empty() && now.since(self.oldest) >= self.deferred.after
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// All that wait, to be given out again after the hardware was flushed.
    pub(super) fn drain(&mut self) -> std::vec::Drain<'_, (BusAddr, u32)> {
        self.waiting.drain(..)
    }
}
