//! The completion engine: used elements, the used index, and whether the driver wants to be interrupted.
//!
//! ```text
//!  done ─▶ wait for a batch ─▶ element(s), index ─▶ suppression word ─▶ interrupt
//! ```
//!
//! Writing never waits for the suppression word. Whatever is published while one is being read is covered
//! by the next reading, so that a busy queue reads it less than once for each completion.
//!
//! When the driver area lies on the card and the device area in host memory, the word is read on the card
//! while the index is still on its way up. A driver that has just enabled interrupts must then read
//! something back from the card before it looks at the used index for the last time; the answer pushes the
//! index ahead of itself.

use std::collections::VecDeque;

use pcie_sim::spec::virtq::{
    AVAIL_F_NO_INTERRUPT, AVAIL_FLAGS, USED_ELEM_BYTES, USED_IDX, need_event, used_elem, used_event,
};
use pcie_sim::time::Instant;
use smallvec::SmallVec;

use super::{Inbox, Queue, RingFault};
use crate::dma::{Cause, Dma, Event, Owner, RingAccess};

/// A used element, as it is to be published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element {
    /// The chain's head, unless the card lies.
    pub(crate) id: u32,
    /// Bytes written.
    pub(crate) len: u32,
    /// The element's request has one already.
    pub(crate) again: bool,
}

/// The completion engine's state.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// To be published.
    done: VecDeque<Element>,
    /// The index as last published.
    pub(super) idx: u16,
    /// A batch is about to be written.
    writing: bool,
    pub(crate) inbox: Inbox,
    /// The suppression word is being read, to decide on publications up to this index.
    asking: Option<u16>,
    /// Publications before this index have been decided on.
    decided: u16,
    /// By how much the next index published lies.
    pub(crate) jump: u16,
}

impl Used {
    /// A request is done.
    pub(crate) fn push(&mut self, element: Element) {
        self.done.push_back(element);
    }

    /// The index behind all that waits to be published.
    pub(crate) fn index_behind_waiting(&self) -> u16 {
        self.idx.wrapping_add(self.done.len() as u16)
    }
}

/// Elements that are published together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Where they go.
    pub(crate) address: u64,
    /// Their bytes.
    pub(crate) elements: SmallVec<[u8; 64]>,
    /// Requests that are over with them.
    pub(crate) requests: u16,
    /// By how much the index moves.
    pub(crate) moved: u16,
}

impl Queue {
    /// Elements that the next write would carry: a batch never wraps.
    fn batch(&self) -> usize {
        let slot = self.used.idx & (self.ring.size - 1);
        let most = self.build.batch.min(self.ring.size - slot);
        self.used.done.len().min(usize::from(most))
    }

    /// Begins a write when a batch is full or nothing more is coming.
    pub(crate) fn flush(&mut self, now: Instant, dma: &mut Dma) {
        if let Some(timing) = dma.timing.pipeline {
            return self.turn(now, timing, dma);
        }
        if !self.used.writing && self.publishes() {
            self.used.writing = true;
            dma.after(now, dma.timing.used_write, Event::UsedWrite(self.ring.index));
        }
    }

    /// Whether a batch is full, or nothing more is coming.
    pub(super) fn publishes(&self) -> bool {
        if self.used.done.is_empty() {
            return false;
        }
        let slot = self.used.idx & (self.ring.size - 1);
        let full = self.build.batch.min(self.ring.size - slot);
        self.batch() == usize::from(full) || !self.more_to_come()
    }

    /// What is to be published next.
    pub(super) fn take_batch(&mut self) -> Batch {
        let count = self.batch();
        let slot = self.used.idx & (self.ring.size - 1);
        let mut elements = SmallVec::with_capacity(count * USED_ELEM_BYTES);
        let mut requests = 0;
        for Element { id, len, again } in self.used.done.drain(..count) {
            elements.extend_from_slice(&id.to_le_bytes());
            elements.extend_from_slice(&len.to_le_bytes());
            requests += u16::from(!again);
        }
        let moved = (count as u16).wrapping_add(std::mem::take(&mut self.used.jump));
        let address = self.ring.device.wrapping_add(used_elem(slot));
        Batch { address, elements, requests, moved }
    }

    /// Publishes a batch: elements, then index (VQ-USED-DEV-01).
    pub(crate) fn write_used(&mut self, now: Instant, dma: &mut Dma) {
        let Batch { address, elements, requests, moved } = self.take_batch();
        let device = self.ring.device;
        dma.ring_write(now, address, &elements);
        self.used.idx = self.used.idx.wrapping_add(moved);
        dma.ring_write(now, device.wrapping_add(USED_IDX), &self.used.idx.to_le_bytes());
        dma.release_after(self.ring.index, requests);
        dma.published(now, self.ring.index, self.used.idx);
        self.used.writing = false;
        self.notify(now, dma);
        self.flush(now, dma);
    }

    /// Finds out whether to interrupt for what has been published.
    pub(super) fn notify(&mut self, now: Instant, dma: &mut Dma) {
        if self.build.always_interrupt && !self.ring.event_idx {
            self.used.decided = self.used.idx;
            return self.interrupt(now, dma);
        }
        if self.used.asking.is_some() {
            return;
        }
        self.used.asking = Some(self.used.idx);
        self.used.inbox.expect(2);
        let word = if self.ring.event_idx { used_event(self.ring.size) } else { AVAIL_FLAGS };
        let owner = Owner::Suppression(self.ring.index);
        let address = self.ring.driver.wrapping_add(word);
        let delay = dma.timing.pipeline.map_or(0, |timing| timing.ask);
        dma.ring_read(now, delay, RingAccess { owner, address, len_bytes: 2, fenced: true });
    }

    /// The suppression word is at hand.
    pub(crate) fn suppression_arrived(
        &mut self,
        now: Instant,
        dma: &mut Dma,
    ) -> Result<(), RingFault> {
        let Some(upto) = self.used.asking.take() else { return Ok(()) };
        if self.used.inbox.failed {
            return Err(RingFault::ReadFailed);
        }
        let word = self.used.inbox.word();
        let wanted = if self.ring.event_idx {
            need_event(word, upto, self.used.decided)
        } else {
            word & AVAIL_F_NO_INTERRUPT == 0
        };
        self.used.decided = upto;
        if wanted {
            self.interrupt(now, dma);
        }
        if self.used.idx != upto {
            self.notify(now, dma);
        }
        Ok(())
    }

    fn interrupt(&self, now: Instant, dma: &mut Dma) {
        let cause = Cause::Queue(self.ring.index);
        let delay = dma.timing.pipeline.map_or(dma.timing.interrupt, |timing| timing.interrupt);
        dma.after(now, delay, Event::Interrupt(cause));
    }
}
