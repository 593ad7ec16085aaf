//! The used ring: written by the card in host memory, or read by the CPU on the card.

use pcie_sim::spec::virtq::{USED_ELEM_BYTES, avail_event};
use pcie_sim::time::Instant;

use super::areas::AreaKind;
use super::queue::{ID_WRITTEN, LEN_WRITTEN, Queue, Shown};
use super::request::{RequestRef, Walk};
use super::rings::Rings;
use crate::check::{Dma, Findings, interrupts, used_ring};

impl Rings {
    /// The card writes into ring areas in host memory.
    pub(crate) fn card_write(&mut self, dma: &Dma, data: &[u8], findings: &mut Findings) {
        let mut position = self.host.first(dma.address);
        while let Some(&area) = self.host.touched(position, dma.address, data.len()) {
            position += 1;
            if area.kind != AreaKind::Device {
                continue;
            }
            let (offset, from, bytes) = area.clip(dma.address, data.len());
            let Some(queue) = self.queue_mut(area.queue) else { continue };
            queue.used[offset..offset + bytes].copy_from_slice(&data[from..from + bytes]);
            note_elements(queue, offset, bytes);
            if offset <= 2 && offset + bytes >= 4 {
                self.used_idx_written(area.queue, dma, findings);
            }
        }
    }

    /// The used index in host memory has been written.
    fn used_idx_written(&mut self, index: u16, dma: &Dma, findings: &mut Findings) {
        let Some(queue) = self.queue_mut(index) else { return };
        let (old, new) = (queue.used_idx, u16::from_le_bytes([queue.used[2], queue.used[3]]));
        let count = new.wrapping_sub(old);
        let (available, size) = (queue.avail_idx, queue.size);
        used_ring::index_step(findings, dma, index, (old, new), available, size);
        if count == 0 || count > queue.size {
            return;
        }
        queue.used_idx = new;
        queue.unreported = true;
        queue.moved = dma.at;
        queue.suppression.moved(dma.at);
        for step in 0..count {
            self.element_published(index, old.wrapping_add(step), dma, findings);
        }
    }

    fn element_published(&mut self, index: u16, at: u16, dma: &Dma, findings: &mut Findings) {
        let Some(queue) = self.queue_mut(index) else { return };
        let slot = queue.slot(at);
        let written = std::mem::take(&mut queue.element_written[slot]);
        queue.elements_ahead -= u32::from(written != 0);
        if queue.in_order {
            // One element may stand for a batch, at the slot of the batch's first buffer.
            let request = queue.order[slot];
            self.end_request(request, dma.at, None);
            return;
        }
        let whole = written == ID_WRITTEN | LEN_WRITTEN;
        used_ring::element_before_index(findings, dma, index, at, whole);
        if !whole {
            return;
        }
        let (id, len) = queue.element(slot);
        let request = queue.named(id);
        let live = self.requests.is_live(request);
        // A card that has read ahead may rightly name a chain that was not seen; one that is seen is
        // right in any case.
        if live || !self.queue(index).is_some_and(Queue::read_ahead) {
            used_ring::id_outstanding(findings, dma, index, at, id, live);
        }
        self.judge_element(index, request, (id, len), dma, findings);
        self.end_request(request, dma.at, Some(len));
    }

    /// What a used element says of a request.
    fn judge_element(
        &mut self,
        queue: u16,
        at: RequestRef,
        (id, len): (u32, u32),
        dma: &Dma,
        findings: &mut Findings,
    ) {
        let Some(ending) = self.requests.get(at).filter(|ending| ending.certain) else { return };
        let whole = ending.walk == Walk::Done;
        let unread = matches!(ending.walk, Walk::Descriptor(_) | Walk::Table(_));
        if unread && self.card_may_know_more() {
            return;
        }
        let disk = self.disk;
        let Some(ending) = self.requests.get(at) else { return };
        if whole {
            used_ring::len_fits(findings, dma, queue, id, len, ending.writable);
        }
        // Nobody can have written to buffers that it has not read of.
        if !ending.hidden && (whole || unread) {
            used_ring::len_written(findings, dma, queue, id, len, ending.written);
        }
        if let (true, Some(status)) = (disk && ending.refused && whole, ending.last_byte) {
            used_ring::refused(findings, dma, queue, id, status);
        }
    }

    /// A read of the CPU from the card's memory is answered: `left` is when the answer left the card.
    pub(crate) fn cpu_read_done(&mut self, address: u64, data: &[u8], left: Instant) {
        let mut position = self.card.first(address);
        while let Some(&area) = self.card.touched(position, address, data.len()) {
            position += 1;
            if area.kind != AreaKind::Device {
                continue;
            }
            let (offset, from, bytes) = area.clip(address, data.len());
            let Some(queue) = self.queue_mut(area.queue) else { continue };
            queue.used[offset..offset + bytes].copy_from_slice(&data[from..from + bytes]);
            if offset <= 2 && offset + bytes >= 4 {
                used_idx_shown(queue, left);
            }
            self.collect(area.queue, offset, bytes);
        }
    }

    /// The CPU has read elements: those up to the index it has seen are done.
    fn collect(&mut self, index: u16, offset: usize, bytes: usize) {
        let Some(queue) = self.queue(index) else { return };
        let n = usize::from(queue.size);
        let (read, used_idx) = (elements(offset, bytes, n, 0..4), queue.used_idx);
        let with_len = elements(offset, bytes, n, 4..8);
        let in_order = queue.in_order;
        // The CPU takes elements in ring order; it may leave out the rest of a batch when in order.
        while let Some(queue) = self.queue_mut(index)
            && queue.collected != used_idx
        {
            let slot = queue.slot(queue.collected);
            if !in_order && !read.contains(&slot) {
                return;
            }
            queue.collected = queue.collected.wrapping_add(1);
            let (id, len) = queue.element(slot);
            let request = if in_order { queue.order[slot] } else { queue.named(id) };
            let shown = queue.shown[slot];
            let Some(active) = self.requests.get(request).map(|ending| ending.active) else {
                continue;
            };
            let end = shown.end(active);
            let len = (!in_order && with_len.contains(&slot)).then_some(len);
            self.end_request(request, end, len);
        }
    }

    /// An interrupt with this vector leaves the card. Whether any queue with that vector had news, and
    /// whether it then came before the index; `None` when that cannot be told.
    pub(crate) fn interrupt(
        &mut self,
        at: Instant,
        has_vector: impl Fn(u16) -> bool,
    ) -> Option<InterruptFacts> {
        let mut facts = InterruptFacts {
            queue: None,
            news: false,
            elements_ahead: false,
            returned: false,
            suppression: None,
        };
        let mut hidden = false;
        let mut queues = 0;
        for queue in self.queues.iter_mut().flatten() {
            if !has_vector(queue.index) {
                continue;
            }
            queues += 1;
            facts.suppression = queue.suppression.interrupt(queue.used_idx);
            facts.returned |= queue.moved != Instant::ZERO;
            facts.queue = facts.queue.or(Some(queue.index));
            if queue.device_on_card {
                hidden = true;
                queue.interrupted = queue.interrupted.or(Some(at));
            }
            facts.news |= std::mem::take(&mut queue.unreported);
            facts.elements_ahead |= queue.elements_ahead > 0;
        }
        facts.news |= hidden;
        // Of two queues with one vector it cannot be said whose it was.
        facts.suppression = facts.suppression.filter(|_| queues == 1 && !hidden);
        facts.queue.map(|_| facts)
    }

    /// Whether something that a message with this vector may be for has happened since `since`, or may have.
    pub(crate) fn caused(&self, since: Instant, has_vector: impl Fn(u16) -> bool) -> bool {
        let mut mine =
            self.queues.iter().flatten().filter(|queue| has_vector(queue.index)).peekable();
        mine.peek().is_none() || mine.any(|queue| queue.device_on_card || queue.moved > since)
    }

    /// Nothing moves any more, although the driver waits: queues that the card has put to sleep so that no
    /// doorbell wakes them.
    pub(crate) fn stalled(&self, now: Instant, findings: &mut Findings) {
        for queue in self.queues.iter().flatten() {
            let at = avail_event(queue.size) as usize;
            let (true, None, Some(bytes)) =
                (queue.suppression.event_idx(), queue.bell, queue.used.get(at..at + 2))
            else {
                continue;
            };
            let event = u16::from_le_bytes([bytes[0], bytes[1]]);
            interrupts::doorbell_wanted(findings, now, queue.index, queue.avail_idx, event);
        }
    }

    /// Head of a request in flight, and whether all of its chain was read when that was safe.
    pub(crate) fn head_of(&mut self, at: RequestRef) -> Option<(u16, bool)> {
        self.requests.get(at).map(|request| (request.head, request.certain))
    }
}

/// What was known when an interrupt left the card.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InterruptFacts {
    /// The first queue with its vector.
    pub(crate) queue: Option<u16>,
    /// A used index moved since the last interrupt with this vector, or may have.
    pub(crate) news: bool,
    /// Elements are written that no index has published.
    pub(crate) elements_ahead: bool,
    /// A used index has moved since its queue was set up.
    pub(crate) returned: bool,
    /// Whether the rule is that of the event index, and whether the card has read that the driver wants none.
    pub(crate) suppression: Option<(bool, bool)>,
}

fn used_idx_shown(queue: &mut Queue, left: Instant) {
    let new = u16::from_le_bytes([queue.used[2], queue.used[3]]);
    let count = new.wrapping_sub(queue.used_idx);
    let interrupt = queue.interrupted.take();
    if count == 0 || count > queue.size {
        return;
    }
    for step in 0..count {
        let slot = queue.slot(queue.used_idx.wrapping_add(step));
        queue.shown[slot] = Shown { interrupt, read: left };
    }
    queue.used_idx = new;
}

fn note_elements(queue: &mut Queue, offset: usize, bytes: usize) {
    let n = usize::from(queue.size);
    for (field, bit) in [(0..4, ID_WRITTEN), (4..8, LEN_WRITTEN)] {
        for slot in elements(offset, bytes, n, field) {
            let written = &mut queue.element_written[slot];
            queue.elements_ahead += u32::from(*written == 0);
            *written |= bit;
        }
    }
}

/// The elements of which the last byte of `field` lies in `bytes` bytes at `offset` of the area.
fn elements(
    offset: usize,
    bytes: usize,
    size: usize,
    field: std::ops::Range<usize>,
) -> std::ops::Range<usize> {
    let last = 4 + field.end - 1;
    let first = offset.saturating_sub(last).div_ceil(USED_ELEM_BYTES);
    let end = (offset + bytes).saturating_sub(last).div_ceil(USED_ELEM_BYTES).min(size);
    first.min(end)..end
}
