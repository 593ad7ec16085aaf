//! One buffer of the driver on its way through the card, and how its reads depend on each other.

use pcie_sim::time::Instant;

use super::buffers::BufferKey;
use super::observer::RequestRecord;
use super::tags::TagRef;

/// The largest number of intervals, each from departure to arrival, of which no two overlap. Intervals
/// that only touch do not overlap: what leaves when an answer arrives may depend on it.
///
/// Taking always the one that ends first is optimal for intervals. Reorders the slice.
#[must_use]
pub fn serial_round_trips(intervals: &mut [(Instant, Instant)]) -> u32 {
    intervals.sort_unstable_by_key(|&(departed, arrived)| (arrived, departed));
    let mut count = 0;
    let mut free_from = Instant::ZERO;
    for &(departed, arrived) in &*intervals {
        if departed >= free_from {
            count += 1;
            free_from = arrived;
        }
    }
    count
}

/// A request that may have ended in the meantime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestRef {
    slot: u32,
    serial: u64,
}

impl RequestRef {
    /// No request: serial numbers of requests begin at 1.
    pub(crate) const NONE: Self = Self { slot: u32::MAX, serial: 0 };

    /// Its number among all requests of the run; 0 for none.
    pub(crate) const fn serial(self) -> u64 {
        self.serial
    }
}

impl Default for RequestRef {
    fn default() -> Self {
        Self::NONE
    }
}

/// When the bytes in a shadow were read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// The read left the card.
    pub(crate) departed: Instant,
    /// Its last completion reached the card; [`Instant::FAR_FUTURE`] while some are still to come.
    pub(crate) arrived: Instant,
    /// Which read, while it is still open; `None` for what the CPU wrote to the card.
    pub(crate) read: Option<TagRef>,
}

impl Stamp {
    /// Older than any read: what no read has brought yet.
    pub(crate) const NEVER: Self =
        Self { departed: Instant::ZERO, arrived: Instant::ZERO, read: None };

    /// The CPU wrote it to the card.
    pub(crate) const fn written(at: Instant) -> Self {
        Self { departed: at, arrived: at, read: None }
    }

    pub(crate) fn is_known(&self) -> bool {
        self.departed != Instant::ZERO
    }
}

/// Where the reading of a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    /// At this descriptor of the table.
    Descriptor(u16),
    /// At this entry of the indirect table.
    Table(u16),
    /// The chain is known to its end.
    Done,
    /// The chain is not one that the specification allows.
    Broken,
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct Request {
    serial: u64,
    pub(crate) queue: u16,
    pub(crate) head: u16,
    /// How many were made available in its queue before it.
    pub(crate) position: u64,
    /// When it begins, once that is known.
    pub(crate) begin: Option<Instant>,
    /// The last DMA to one of its buffers or its table.
    pub(crate) active: Instant,
    /// Before this moment it was not visible to the card: what was read sooner may be stale.
    pub(crate) published: Instant,
    /// From this moment on the card can have known of it.
    pub(crate) known: Instant,
    pub(crate) walk: Walk,
    /// Steps taken, to get out of a loop.
    pub(crate) steps: u32,
    /// No part of the chain was read before the card could have known of the request.
    pub(crate) certain: bool,
    pub(crate) descriptors: u32,
    pub(crate) readable: u64,
    pub(crate) writable: u64,
    /// Bytes that the card has written to its buffers.
    pub(crate) written: u64,
    /// A buffer is on the card, where writes are not seen, or is another request's as well.
    pub(crate) hidden: bool,
    /// Where its last writable byte lies, and what was written there.
    pub(crate) last_at: u64,
    pub(crate) last_byte: Option<u8>,
    /// A read for it was refused.
    pub(crate) refused: bool,
    pub(crate) buffers: Vec<BufferKey>,
    pub(crate) table_at: u64,
    pub(crate) table: Vec<u8>,
    pub(crate) table_known: Vec<bool>,
    intervals: Vec<(Instant, Instant)>,
}

impl Request {
    fn empty() -> Self {
        Self {
            serial: 0,
            queue: 0,
            head: 0,
            position: 0,
            begin: None,
            active: Instant::ZERO,
            published: Instant::ZERO,
            known: Instant::ZERO,
            walk: Walk::Broken,
            steps: 0,
            certain: true,
            descriptors: 0,
            readable: 0,
            writable: 0,
            written: 0,
            hidden: false,
            last_at: 0,
            last_byte: None,
            refused: false,
            buffers: Vec::new(),
            table_at: 0,
            table: Vec::new(),
            table_known: Vec::new(),
            intervals: Vec::new(),
        }
    }

    /// Counts a read as its own, once however often it is named in a row.
    pub(crate) fn add_round_trip(&mut self, departed: Instant, arrived: Instant) {
        if self.intervals.last() != Some(&(departed, arrived)) {
            self.intervals.push((departed, arrived));
        }
    }

    fn record(&mut self, end: Instant, used_len: Option<u32>) -> RequestRecord {
        let begin = self.begin.unwrap_or(self.published).min(end);
        // One read may have been named at several places of the chain.
        self.intervals.sort_unstable();
        self.intervals.dedup();
        RequestRecord {
            serial: self.serial,
            queue: self.queue,
            head: self.head,
            position: self.position,
            begin,
            end,
            descriptors: self.descriptors,
            round_trips: self.intervals.len() as u32,
            serial_round_trips: serial_round_trips(&mut self.intervals),
            readable_bytes: self.readable,
            writable_bytes: self.writable,
            used_len,
        }
    }
}

/// All requests in flight. Places are used again, with the memory they hold, so that a request costs no
/// allocation once the bench runs.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    slots: Vec<Request>,
    free: Vec<u32>,
    made: u64,
}

impl Requests {
    /// A fresh request at the head of its chain.
    pub(crate) fn make(
        &mut self,
        queue: u16,
        head: u16,
        published: Instant,
        known: Instant,
    ) -> RequestRef {
        self.made += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Request::empty());
            self.slots.len() as u32 - 1
        });
        let request = &mut self.slots[slot as usize];
        request.serial = self.made;
        request.queue = queue;
        request.head = head;
        request.begin = None;
        request.active = published;
        request.published = published;
        request.known = known;
        request.walk = Walk::Descriptor(head);
        request.steps = 0;
        request.certain = true;
        request.descriptors = 0;
        request.readable = 0;
        request.writable = 0;
        request.written = 0;
        request.hidden = false;
        request.last_at = 0;
        request.last_byte = None;
        request.refused = false;
        request.buffers.clear();
        request.table.clear();
        request.table_known.clear();
        request.intervals.clear();
        RequestRef { slot, serial: self.made }
    }

    /// The request, unless it has ended.
    pub(crate) fn get(&mut self, at: RequestRef) -> Option<&mut Request> {
        self.slots.get_mut(at.slot as usize).filter(|request| request.serial == at.serial)
    }

    pub(crate) fn is_live(&self, at: RequestRef) -> bool {
        self.slots.get(at.slot as usize).is_some_and(|request| request.serial == at.serial)
    }

    /// Ends a request: its figures, and the keys of its buffers one by one.
    pub(crate) fn end(
        &mut self,
        at: RequestRef,
        end: Instant,
        used_len: Option<u32>,
        mut drop_buffer: impl FnMut(BufferKey),
    ) -> Option<RequestRecord> {
        let request = self.get(at)?;
        request.buffers.drain(..).for_each(&mut drop_buffer);
        let record = request.record(end, used_len);
        request.serial = 0;
        self.free.push(at.slot);
        Some(record)
    }

    /// Those in flight, in order of their places.
    pub(crate) fn live(&self) -> impl Iterator<Item = (RequestRef, &Request)> {
        self.slots.iter().enumerate().filter(|(_, request)| request.serial != 0).map(
            |(slot, request)| (RequestRef { slot: slot as u32, serial: request.serial }, request),
        )
    }
}
