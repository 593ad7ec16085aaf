//! From the available index to requests, and requests from their doorbell to their end.

use pcie_sim::time::Instant;

use super::request::{RequestRef, Stamp};
use super::rings::Rings;

impl Rings {
    /// The available index is seen to have moved to `idx`.
    pub(super) fn publish(
        &mut self,
        index: u16,
        idx: u16,
        stamp: Stamp,
        bell: Option<Instant>,
        seen: Instant,
    ) {
        let Some(queue) = self.queue_mut(index) else { return };
        let old = queue.avail_idx;
        let count = idx.wrapping_sub(old);
        if count == 0 || count > queue.size {
            // An answer that was overtaken, or nothing new: the doorbell is still to be answered.
            queue.bell = bell.or(queue.bell);
            return;
        }
        queue.avail_idx = idx;
        for step in 0..count {
            let Some(queue) = self.queue_mut(index) else { return };
            let slot = queue.slot(old.wrapping_add(step));
            queue.published[slot] = stamp;
            queue.begin[slot] = bell;
            queue.order[slot] = RequestRef::NONE;
            queue.position[slot] = queue.available;
            queue.available += 1;
            if !std::mem::replace(&mut queue.pending[slot], true) {
                queue.pending_count += 1;
            }
            if queue.driver_on_card || queue.entry_stamp[slot].departed >= stamp.departed {
                self.resolve(index, slot, seen);
            }
        }
    }

    /// The entry of a published slot is known: there is a request.
    pub(super) fn resolve(&mut self, index: u16, slot: usize, seen: Instant) {
        let Some(queue) = self.queues.get_mut(usize::from(index)).and_then(Option::as_deref_mut)
        else {
            return;
        };
        queue.pending[slot] = false;
        queue.pending_count -= 1;
        let head = if queue.driver_on_card {
            u16::from_le_bytes(self.memory.read(queue.entry_at(slot)))
        } else {
            let at = 4 + 2 * slot;
            u16::from_le_bytes([queue.avail[at], queue.avail[at + 1]])
        };
        let published = queue.published[slot];
        let entry = std::mem::replace(&mut queue.entry_stamp[slot], Stamp::NEVER);
        let (begin, position) = (queue.begin[slot], queue.position[slot]);
        if head >= queue.size {
            return;
        }
        let replaced = std::mem::take(&mut queue.owner[usize::from(head)]);
        let at = self.requests.make(index, head, published.departed, seen);
        queue.order[slot] = at;
        queue.owner[usize::from(head)] = at;
        if replaced != RequestRef::NONE {
            self.replaced(index, replaced);
        }
        if let Some(request) = self.requests.get(at) {
            request.begin = begin;
            request.position = position;
        }
        if published.read.is_some() {
            self.credit(at, published);
            self.credit(at, entry);
        }
        self.walk(at);
    }

    /// A head is made available again: with a used ring on the card, the CPU has taken the old request
    /// back without our seeing it read the element.
    fn replaced(&mut self, index: u16, old: RequestRef) {
        let shown = self.queue(index).and_then(|queue| {
            let open = queue.device_on_card && queue.collected != queue.used_idx;
            open.then(|| queue.shown[queue.slot(queue.used_idx.wrapping_sub(1))].read)
        });
        match shown {
            Some(end) => self.end_request(old, end, None),
            None => self.drop_request(old),
        }
    }

    /// A read counts for a request: at once when it is answered, else when it will be.
    pub(super) fn credit(&mut self, at: RequestRef, stamp: Stamp) {
        let Some(request) = self.requests.get(at) else { return };
        if stamp.departed >= request.published {
            let begin = request.begin.unwrap_or(stamp.departed).min(stamp.departed);
            request.begin = Some(begin);
        }
        match stamp.read {
            Some(read) if stamp.arrived == Instant::FAR_FUTURE => {
                let takers = &mut self.reads.at(read).takers;
                if takers.last() != Some(&at) {
                    takers.push(at);
                }
            }
            _ => request.add_round_trip(stamp.departed, stamp.arrived),
        }
    }

    /// A doorbell reaches the card.
    pub(crate) fn doorbell(&mut self, index: u16, arrives: Instant) {
        let Some(queue) = self.queues.get_mut(usize::from(index)).and_then(Option::as_deref_mut)
        else {
            return;
        };
        if !queue.driver_on_card {
            queue.bell = queue.bell.or(Some(arrives));
            return;
        }
        while queue.belled != queue.avail_idx {
            let at = queue.order[queue.slot(queue.belled)];
            queue.belled = queue.belled.wrapping_add(1);
            if let Some(request) = self.requests.get(at) {
                request.begin = request.begin.or(Some(arrives));
            }
        }
    }

    pub(super) fn end_request(&mut self, at: RequestRef, end: Instant, used_len: Option<u32>) {
        let Self { requests, buffers, ended, queues, .. } = self;
        let Some(record) = requests.end(at, end, used_len, |key| buffers.remove(key)) else {
            return;
        };
        ended.push(record);
        let queue = queues.get_mut(usize::from(record.queue)).and_then(Option::as_deref_mut);
        if let Some(owner) = queue.and_then(|queue| queue.owner.get_mut(usize::from(record.head)))
            && *owner == at
        {
            *owner = RequestRef::NONE;
        }
    }

    pub(super) fn drop_request(&mut self, at: RequestRef) {
        let Self { requests, buffers, .. } = self;
        requests.end(at, Instant::FAR_FUTURE, None, |key| buffers.remove(key));
    }
}
