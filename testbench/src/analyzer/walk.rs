//! Along a chain: from its head through descriptors and indirect tables to its buffers.
//! Virtio 1.4, "The Virtqueue Descriptor Table" and "Indirect Descriptors".

use pcie_sim::spec::virtq::{
    DESC_BYTES, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, MAX_SIZE, SplitDesc,
};
use pcie_sim::time::Instant;

use super::buffers::BufferKind;
use super::queue::Queue;
use super::request::{Request, RequestRef, Stamp, Walk};
use super::rings::Rings;

/// No chain has more descriptors than the largest queue, so one that has is a loop.
const MOST_STEPS: u32 = MAX_SIZE as u32;

impl Rings {
    /// Follows a chain as far as it is known.
    pub(super) fn walk(&mut self, at: RequestRef) {
        loop {
            let Some(request) = self.requests.get(at) else { return };
            request.steps += 1;
            if request.steps > MOST_STEPS {
                request.walk = Walk::Broken;
            }
            let next = match request.walk {
                Walk::Descriptor(slot) => self.take_descriptor(at, slot),
                Walk::Table(entry) => self.take_entry(at, entry),
                Walk::Done | Walk::Broken => return,
            };
            let Some((desc, in_table)) = next else {
                if let Some(request) = self.requests.get(at) {
                    request.steps -= 1;
                }
                return;
            };
            self.follow(at, desc, in_table);
        }
    }

    fn take_descriptor(&mut self, at: RequestRef, slot: u16) -> Option<(SplitDesc, bool)> {
        let request = self.requests.get(at)?;
        let (published, known) = (request.published, request.known);
        let queue = self.queues.get_mut(usize::from(request.queue))?.as_deref_mut()?;
        if slot >= queue.size {
            request.walk = Walk::Broken;
            return None;
        }
        let index = usize::from(slot);
        if queue.desc_on_card {
            let bytes =
                self.memory.read::<DESC_BYTES>(queue.desc_at.wrapping_add(16 * u64::from(slot)));
            return Some((SplitDesc::from_bytes(&bytes), false));
        }
        if queue.desc_stamp[index].departed < published {
            queue.waiting[index] = at;
            return None;
        }
        // Taken: whoever comes to this descriptor later needs it read again.
        let stamp = std::mem::replace(&mut queue.desc_stamp[index], Stamp::NEVER);
        queue.desc_owner[index] = at;
        request.certain &= stamp.departed >= known;
        let desc = descriptor(queue, index);
        self.credit(at, stamp);
        Some((desc, false))
    }

    fn take_entry(&mut self, at: RequestRef, entry: u16) -> Option<(SplitDesc, bool)> {
        let request = self.requests.get(at)?;
        let index = usize::from(entry);
        if self.memory.holds(request.table_at) {
            if index >= request.table_known.len() {
                request.walk = Walk::Broken;
                return None;
            }
            let address = request.table_at.wrapping_add((index * DESC_BYTES) as u64);
            return Some((SplitDesc::from_bytes(&self.memory.read(address)), true));
        }
        match request.table_known.get(index) {
            None => request.walk = Walk::Broken,
            Some(false) => {}
            Some(true) => {
                let bytes = request.table[index * DESC_BYTES..].first_chunk()?;
                return Some((SplitDesc::from_bytes(bytes), true));
            }
        }
        None
    }

    /// Takes a descriptor into the chain and sets where the chain goes on.
    fn follow(&mut self, at: RequestRef, desc: SplitDesc, in_table: bool) {
        let Some(request) = self.requests.get(at) else { return };
        if desc.flags & DESC_F_INDIRECT != 0 {
            // One level, and at the end of a chain only.
            let len = desc.len as usize;
            let count = len / DESC_BYTES;
            if in_table
                || !len.is_multiple_of(DESC_BYTES)
                || count == 0
                || count > usize::from(MAX_SIZE)
            {
                request.walk = Walk::Broken;
                return;
            }
            request.table_at = desc.addr;
            request.table_known.resize(count, false);
            request.walk = Walk::Table(0);
            if !self.memory.holds(desc.addr) {
                request.table.resize(len, 0);
                let key = self.buffers.insert(desc.addr, len as u64, BufferKind::Table, at);
                request.buffers.push(key);
            }
            return;
        }
        let write = desc.flags & DESC_F_WRITE != 0;
        count(request, desc, write);
        request.hidden |= self.memory.holds(desc.addr);
        let other = if write { self.buffers.overlapped(desc.addr) } else { None };
        request.hidden |= other.is_some();
        request.walk = match desc.flags & DESC_F_NEXT != 0 {
            true if in_table => Walk::Table(desc.next),
            true => Walk::Descriptor(desc.next),
            false => Walk::Done,
        };
        if let Some(other) = other.and_then(|other| self.requests.get(other)) {
            other.hidden = true;
        }
        let Some(request) = self.requests.get(at) else { return };
        if desc.len > 0 {
            let kind = if write { BufferKind::Writable } else { BufferKind::Readable };
            let key = self.buffers.insert(desc.addr, u64::from(desc.len), kind, at);
            request.buffers.push(key);
        }
    }

    /// The card has read a part of a request's table.
    pub(super) fn learn_table(&mut self, at: RequestRef, address: u64, data: &[u8]) {
        let Some(request) = self.requests.get(at) else { return };
        let Some(offset) = address.checked_sub(request.table_at) else { return };
        let offset = offset as usize;
        let bytes = data.len().min(request.table.len().saturating_sub(offset));
        if bytes == 0 {
            return;
        }
        request.table[offset..offset + bytes].copy_from_slice(&data[..bytes]);
        for known in &mut request.table_known[offset / DESC_BYTES..(offset + bytes) / DESC_BYTES] {
            *known = true;
        }
        if matches!(request.walk, Walk::Table(_)) {
            self.walk(at);
        }
    }

    /// Whether the card has read ahead, and so may act on something that was not safe to act on: its DMA
    /// cannot be judged then.
    pub(crate) fn card_may_know_more(&self) -> bool {
        self.queues.iter().flatten().any(|queue| queue.read_ahead())
            || self.requests.live().any(|(_, request)| match request.walk {
                Walk::Descriptor(slot) => self
                    .queue(request.queue)
                    .and_then(|queue| queue.desc_stamp.get(usize::from(slot)))
                    .is_some_and(Stamp::is_known),
                Walk::Table(_) | Walk::Done | Walk::Broken => false,
            })
    }

    /// The CPU writes to the card's memory.
    pub(crate) fn cpu_write(&mut self, address: u64, data: &[u8], arrives: Instant) {
        self.memory.write(address, data);
        let mut position = self.card.first(address);
        while let Some(&area) = self.card.touched(position, address, data.len()) {
            position += 1;
            let (offset, _, bytes) = area.clip(address, data.len());
            if area.kind == super::areas::AreaKind::Driver && offset < 4 && offset + bytes > 2 {
                let idx = u16::from_le_bytes(self.memory.read(area.start.wrapping_add(2)));
                self.publish(area.queue, idx, Stamp::written(arrives), None, arrives);
            }
        }
    }
}

fn count(request: &mut Request, desc: SplitDesc, write: bool) {
    request.descriptors += 1;
    if write {
        request.writable += u64::from(desc.len);
        request.last_at = desc.addr.wrapping_add(u64::from(desc.len)).wrapping_sub(1);
    } else {
        request.readable += u64::from(desc.len);
    }
}

fn descriptor(queue: &Queue, index: usize) -> SplitDesc {
    let bytes = queue.desc[index * DESC_BYTES..].first_chunk();
    bytes.map_or_else(SplitDesc::default, SplitDesc::from_bytes)
}
