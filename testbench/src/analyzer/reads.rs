//! The card's reads, and what their answers teach: indices, entries, descriptors, tables.
//!
//! A read may be answered in several completions, and the card may act on the first of them. So each
//! teaches at once what it brings, and the read is counted as a round trip when the last has come.

use pcie_sim::time::Instant;
use pcie_sim::tlp::{Completion, CompletionStatus, MemRead};

use super::areas::AreaKind;
use super::buffers::BufferKind;
use super::observer::{Observer, RoundTrip};
use super::purpose::{Classified, Purpose};
use super::request::{RequestRef, Stamp};
use super::rings::{Found, Rings};
use super::tags::TagRef;

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
    pub(super) takers: Vec<RequestRef>,
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

/// The part of a read that one completion brings.
#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    address: u64,
    data: &'a [u8],
    stamp: Stamp,
    arrives: Instant,
    bell: Option<Instant>,
}

impl Rings {
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
    pub(crate) fn buffer_written(
        &mut self,
        at: RequestRef,
        address: u64,
        data: &[u8],
        departs: Instant,
    ) {
        let Some(request) = self.requests.get(at) else { return };
        request.active = departs;
        request.written += data.len() as u64;
        let last = request.last_at.checked_sub(address).and_then(|into| data.get(into as usize));
        request.last_byte = last.copied().or(request.last_byte);
    }

    fn take_bell(&mut self, queue: u16, departed: Instant) -> Option<Instant> {
        let queue = self.queue_mut(queue)?;
        queue.bell.take_if(|bell| *bell <= departed)
    }

    /// A completion reaches the card. Returns what its read was for, and tells of the round trip if this
    /// was the last one; `None` when nothing was asked under that tag.
    pub(crate) fn completion_arrives(
        &mut self,
        completion: &Completion,
        arrives: Instant,
        observer: &mut impl Observer,
    ) -> Option<Classified> {
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
        } else if let Some(request) = self.requests.get(found.owner) {
            request.refused = true;
        }
        if last {
            self.close(place, arrives);
            observer.round_trip(&RoundTrip {
                purpose: found.purpose,
                queue: found.queue,
                len_bytes: wanted,
                departed,
                arrived: arrives,
            });
        }
        Some(found.classified())
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
        while let Some(&area) = self.host.touched(position, address, len) {
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
        while let Some(&area) = self.host.touched(position, piece.address, piece.data.len()) {
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
        let (avail, used_idx) = (&queue.avail, queue.used_idx);
        queue.suppression.read(avail, offset..offset + data.len(), piece.stamp.departed, used_idx);
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
}

/// Slots of the available ring whose last byte lies in `bytes` bytes at `offset` of the area.
fn entry_slots(offset: usize, bytes: usize) -> std::ops::Range<usize> {
    let start = offset.saturating_sub(4) / 2;
    start..((offset + bytes).saturating_sub(4) / 2).max(start)
}
