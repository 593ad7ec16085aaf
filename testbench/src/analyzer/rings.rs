//! All queues with their requests: what each read of the card told it, and so where it may go next.
//!
//! ```text
//!  avail idx ──▶ published slots ──▶ ring entry ──▶ head ──▶ descriptors ──▶ (table) ──▶ buffers
//! ```
//!
//! A shadow counts for a request only if it was read after the index that published the request was
//! asked for: a card that reads ahead may have seen what lay there before. While a card may know more
//! than it should (`card_may_know_more`), no DMA of it is called stray.
//!
//! Left out: packed queues and queues of unusual size, whose DMA stays [`Purpose::Unknown`].

use pcie_sim::spec::features;
use pcie_sim::spec::virtq::MAX_SIZE;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{Completion, CompletionStatus, MemRead};

use super::areas::{Area, AreaKind, Areas};
use super::buffers::{BufferKind, Buffers};
use super::card_memory::CardMemory;
use super::observer::{RequestRecord, RoundTrip};
use super::purpose::Purpose;
use super::queue::{Queue, QueueView};
use super::registers::QueueRegisters;
use super::request::{RequestRef, Requests, Stamp};
use super::tags::{TagRef, Tags};

/// A read of the card, from request to last completion.
#[derive(Debug)]
pub(crate) struct CardRead {
    live: bool,
    address: u64,
    len: u16,
    departed: Instant,
    found: Found,
    /// The doorbell that it may be the answer to.
    bell: Option<Instant>,
    /// Completions so far.
    pieces: u16,
    /// Requests that it belongs to, as far as that was known before its last completion.
    takers: Vec<RequestRef>,
}

impl Default for CardRead {
    fn default() -> Self {
        Self {
            live: false,
            address: 0,
            len: 0,
            departed: Instant::ZERO,
            found: Found::UNKNOWN,
            bell: None,
            pieces: 0,
            takers: Vec::new(),
        }
    }
}

/// What lies at an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) purpose: Purpose,
    pub(crate) queue: Option<u16>,
    pub(crate) mixed: bool,
    pub(crate) owner: RequestRef,
    pub(crate) buffer: Option<BufferKind>,
    pub(crate) area: Option<AreaKind>,
}

impl Found {
    pub(crate) const UNKNOWN: Self = Self {
        purpose: Purpose::Unknown,
        queue: None,
        mixed: false,
        owner: RequestRef::NONE,
        buffer: None,
        area: None,
    };
}

/// The part of a read that one completion brings.
#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    address: u64,
    data: &'a [u8],
    stamp: Stamp,
    arrives: Instant,
    bell: Option<Instant>,
}

/// Every queue and request. See the module.
#[derive(Debug)]
pub(crate) struct Rings {
    pub(super) queues: Vec<Option<Box<Queue>>>,
    pub(super) requests: Requests,
    pub(super) buffers: Buffers,
    pub(super) host: Areas,
    pub(super) card: Areas,
    pub(super) memory: CardMemory,
    pub(super) reads: Tags<CardRead>,
    /// Ended since somebody last looked.
    pub(super) ended: Vec<RequestRecord>,
    /// There is a queue that is not understood.
    pub(super) opaque: bool,
}

impl Rings {
    pub(crate) fn new() -> Self {
        Self {
            queues: Vec::new(),
            requests: Requests::default(),
            buffers: Buffers::default(),
            host: Areas::default(),
            card: Areas::default(),
            memory: CardMemory::default(),
            reads: Tags::new(),
            ended: Vec::new(),
            opaque: false,
        }
    }

    /// The driver switches a queue on.
    pub(crate) fn enable(&mut self, index: u16, registers: &QueueRegisters, negotiated: u64) {
        self.forget(index);
        let size = registers.size;
        let packed = negotiated & features::RING_PACKED != 0;
        if packed || !size.is_power_of_two() || size > MAX_SIZE {
            self.opaque = true;
            return;
        }
        let in_order = negotiated & features::IN_ORDER != 0;
        let queue = Queue::new(index, registers, in_order, |at| self.memory.holds(at));
        for (area, on_card) in queue.areas() {
            if on_card { &mut self.card } else { &mut self.host }.insert(area);
        }
        let at = usize::from(index);
        if at >= self.queues.len() {
            self.queues.resize_with(at + 1, || None);
        }
        self.queues[at] = Some(Box::new(queue));
    }

    /// A queue is no more; its requests end without having been answered.
    pub(crate) fn forget(&mut self, index: u16) {
        let Some(place) = self.queues.get_mut(usize::from(index)) else { return };
        if place.take().is_none() {
            return;
        }
        self.host.forget_queue(index);
        self.card.forget_queue(index);
        let gone: Vec<RequestRef> = self
            .requests
            .live()
            .filter(|(_, request)| request.queue == index)
            .map(|(at, _)| at)
            .collect();
        for at in gone {
            self.drop_request(at);
        }
    }

    /// No queue is any more.
    pub(crate) fn forget_all(&mut self) {
        for index in 0..self.queues.len() {
            self.forget(index as u16);
        }
        self.host.clear();
        self.card.clear();
        self.opaque = false;
    }

    pub(crate) fn queue(&self, index: u16) -> Option<&Queue> {
        self.queues.get(usize::from(index))?.as_deref()
    }

    pub(crate) fn queue_mut(&mut self, index: u16) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(index))?.as_deref_mut()
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = QueueView> {
        self.queues.iter().flatten().map(|queue| QueueView {
            index: queue.index,
            size: queue.size,
            avail_idx: queue.avail_idx,
            used_idx: queue.used_idx,
            desc_on_card: queue.desc_on_card,
            driver_on_card: queue.driver_on_card,
            device_on_card: queue.device_on_card,
        })
    }

    /// What the card's access to `len` bytes at `address` is for.
    pub(crate) fn find(&mut self, address: u64, len: usize, write: bool) -> Found {
        let first = self.host.first(address);
        let area = self.host.touched(first, address, len);
        if let Some(area) = area.filter(|area| area.start <= address) {
            return self.found_area(area, first, address, len);
        }
        if let Some(found) = self.found_buffer(address, len, write) {
            return Found { mixed: area.is_some(), ..found };
        }
        match area {
            Some(area) => self.found_area(area, first, address, len),
            None => Found::UNKNOWN,
        }
    }

    fn found_area(&self, area: Area, position: usize, address: u64, len: usize) -> Found {
        let (offset, _, bytes) = area.clip(address, len);
        let (purpose, mixed) = area.purpose(offset, bytes);
        Found {
            purpose,
            queue: Some(area.queue),
            mixed: mixed || self.host.touched(position + 1, address, len).is_some(),
            owner: RequestRef::NONE,
            buffer: None,
            area: Some(area.kind),
        }
    }

    fn found_buffer(&mut self, address: u64, len: usize, write: bool) -> Option<Found> {
        let buffer = self.buffers.access(address, len as u64, write)?;
        let queue = self.requests.get(buffer.owner).map(|request| request.queue);
        let purpose = match buffer.kind {
            BufferKind::Table => Purpose::IndirectTable,
            BufferKind::Readable | BufferKind::Writable => Purpose::Payload,
        };
        Some(Found {
            purpose,
            queue,
            mixed: false,
            owner: buffer.owner,
            buffer: Some(buffer.kind),
            area: None,
        })
    }

    /// The card sends a read. Returns when the read that has the same tag and is still open was sent.
    pub(crate) fn read_departs(
        &mut self,
        read: &MemRead,
        found: Found,
        departed: Instant,
    ) -> Option<Instant> {
        let bell = match (found.purpose, found.queue) {
            (Purpose::AvailIdx, Some(queue)) => self.take_bell(queue, departed),
            _ => None,
        };
        let place = self.reads.place(read.requester, read.tag);
        let record = self.reads.at(place);
        let earlier = record.live.then_some(record.departed);
        record.live = true;
        record.address = read.address;
        record.len = read.len_bytes;
        record.departed = departed;
        record.found = found;
        record.bell = bell;
        record.pieces = 0;
        record.takers.clear();
        if let Some(request) = self.requests.get(found.owner) {
            record.takers.push(found.owner);
            request.begin = Some(request.begin.map_or(departed, |begin| begin.min(departed)));
            request.active = departed;
        }
        earlier
    }

    /// The card writes into a buffer of this request.
    pub(crate) fn buffer_written(&mut self, at: RequestRef, departs: Instant) {
        if let Some(request) = self.requests.get(at) {
            request.active = departs;
        }
    }

    fn take_bell(&mut self, queue: u16, departed: Instant) -> Option<Instant> {
        let queue = self.queue_mut(queue)?;
        queue.bell.take_if(|bell| *bell <= departed)
    }

    /// A completion reaches the card. Returns what its read was for, and the round trip if this was the
    /// last one; `None` when nothing was asked under that tag.
    pub(crate) fn completion_arrives(
        &mut self,
        completion: &Completion,
        arrives: Instant,
    ) -> Option<(Found, Option<RoundTrip>)> {
        let place = self.reads.find(completion.requester, completion.tag)?;
        let read = self.reads.at(place);
        if !read.live {
            return None;
        }
        let len = completion.data.len();
        let good = completion.status == CompletionStatus::Success;
        let last = !good || read.len == 0 || usize::from(completion.byte_count) <= len;
        read.live = !last;
        read.pieces += 1;
        let (found, departed, wanted) = (read.found, read.departed, read.len);
        let past = wanted.saturating_sub(completion.byte_count);
        let piece = Piece {
            address: read.address.wrapping_add(u64::from(past)),
            data: &completion.data[..len.min(usize::from(wanted - past))],
            stamp: Stamp {
                departed,
                arrived: if last { arrives } else { Instant::FAR_FUTURE },
                read: Some(place),
            },
            arrives,
            bell: read.bell,
        };
        if good {
            self.learn(&found, piece);
        }
        if !last {
            return Some((found, None));
        }
        self.close(place, arrives);
        let trip = RoundTrip {
            purpose: found.purpose,
            queue: found.queue,
            len_bytes: wanted,
            departed,
            arrived: arrives,
        };
        Some((found, Some(trip)))
    }

    /// The last completion is there: the read is counted for those it belongs to.
    fn close(&mut self, place: TagRef, arrives: Instant) {
        let read = self.reads.at(place);
        let (departed, address, len) = (read.departed, read.address, usize::from(read.len));
        for &taker in &read.takers {
            if let Some(request) = self.requests.get(taker) {
                request.add_round_trip(departed, arrives);
            }
        }
        if read.pieces > 1 && read.found.area.is_some() {
            self.close_stamps(address, len, departed, arrives);
        }
    }

    /// Descriptors and entries that came with earlier completions of the same read get its true end.
    fn close_stamps(&mut self, address: u64, len: usize, departed: Instant, arrives: Instant) {
        let mut position = self.host.first(address);
        while let Some(area) = self.host.touched(position, address, len) {
            position += 1;
            let (offset, _, bytes) = area.clip(address, len);
            let Some(queue) = self.queue_mut(area.queue) else { continue };
            let (stamps, slots) = match area.kind {
                AreaKind::Descriptors => {
                    (&mut queue.desc_stamp, offset / 16..(offset + bytes) / 16)
                }
                AreaKind::Driver => (&mut queue.entry_stamp, entry_slots(offset, bytes)),
                AreaKind::Device => continue,
            };
            let slots = slots.start.min(stamps.len())..slots.end.min(stamps.len());
            for stamp in &mut stamps[slots] {
                if stamp.departed == departed {
                    stamp.arrived = arrives;
                }
            }
        }
    }

    fn learn(&mut self, found: &Found, piece: Piece<'_>) {
        if found.buffer == Some(BufferKind::Table) {
            self.learn_table(found.owner, piece.address, piece.data);
        }
        let mut position = self.host.first(piece.address);
        while let Some(area) = self.host.touched(position, piece.address, piece.data.len()) {
            position += 1;
            let (offset, from, bytes) = area.clip(piece.address, piece.data.len());
            let data = &piece.data[from..from + bytes];
            match area.kind {
                AreaKind::Descriptors => {
                    self.learn_descriptors(area.queue, offset, data, piece.stamp);
                }
                AreaKind::Driver => self.learn_driver_area(area.queue, offset, data, &piece),
                AreaKind::Device => {}
            }
        }
    }

    fn learn_descriptors(&mut self, index: u16, offset: usize, data: &[u8], stamp: Stamp) {
        let Some(queue) = self.queue_mut(index) else { return };
        queue.desc[offset..offset + data.len()].copy_from_slice(data);
        let slots = offset / 16..(offset + data.len()) / 16;
        for known in &mut queue.desc_stamp[slots.clone()] {
            *known = stamp;
        }
        let alone = slots.len() == 1;
        for slot in slots {
            let Some(queue) = self.queue_mut(index) else { return };
            let waiting = std::mem::take(&mut queue.waiting[slot]);
            if self.requests.is_live(waiting) {
                self.walk(waiting);
            } else if alone {
                // Read once more, and for its own sake: it belongs to the request that has it.
                let owner = self.queue(index).map_or(RequestRef::NONE, |q| q.desc_owner[slot]);
                self.credit(owner, stamp);
            }
        }
    }

    fn learn_driver_area(&mut self, index: u16, offset: usize, data: &[u8], piece: &Piece<'_>) {
        let Some(queue) = self.queue_mut(index) else { return };
        queue.avail[offset..offset + data.len()].copy_from_slice(data);
        let n = queue.entry_stamp.len();
        let slots = entry_slots(offset, data.len());
        let slots = slots.start.min(n)..slots.end.min(n);
        for known in &mut queue.entry_stamp[slots.clone()] {
            *known = piece.stamp;
        }
        if offset <= 2 && offset + data.len() >= 4 {
            let idx = u16::from_le_bytes([queue.avail[2], queue.avail[3]]);
            self.publish(index, idx, piece.stamp, piece.bell, piece.arrives);
        }
        for slot in slots {
            if self.queue(index).is_some_and(|queue| queue.pending[slot]) {
                self.resolve(index, slot, piece.arrives);
            }
        }
    }

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
        let begin = queue.begin[slot];
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

    fn drop_request(&mut self, at: RequestRef) {
        let Self { requests, buffers, .. } = self;
        requests.end(at, Instant::FAR_FUTURE, None, |key| buffers.remove(key));
    }
}

/// Slots of the available ring whose last byte lies in `bytes` bytes at `offset` of the area.
fn entry_slots(offset: usize, bytes: usize) -> std::ops::Range<usize> {
    let start = offset.saturating_sub(4) / 2;
    start..((offset + bytes).saturating_sub(4) / 2).max(start)
}
