//! The fetch engine of a split queue: available index, ring entries, descriptors.
//!
//! ```text
//!          doorbell                idx != next                    heads
//!   Idle ───────────▶ Index ─────────────────▶ Entries ─────────────┐
//!    ▲                 │  ▲                                         ▼
//!    │    idx == next  │  │ doorbell meanwhile,     ┌──────── Head ◀┐ next head
//!    └──── rest ◀──────┘  │ or index event armed    ▼               │
//!           ▲             └────── rest       Descriptor ─▶ Link     │
//!           └─────────────────────────────────── │   Table          │
//!                          no more heads         ▼                  │
//!                                        Blocked (no context) ──────┘
//! ```
//!
//! With EVENT_IDX, `rest` writes `avail_event` and looks at the index once more behind that write, since
//! the driver may have added a buffer, seen the old event and kept silent. It costs one write and one read
//! each time the queue runs dry; neither is on the way of a completion.

use std::collections::VecDeque;

use pcie_sim::spec::virtq::{
    AVAIL_IDX, DESC_BYTES, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, MAX_SIZE, SplitDesc,
    avail_entry, avail_event,
};
use pcie_sim::time::Instant;
use pcie_sim::tlp::Payload;
use smallvec::SmallVec;

use super::{Inbox, Queue, RingFault};
use crate::dma::request::{Segment, one_tlp};
use crate::dma::{Dma, Event, Owner, RingAccess};
use crate::pipeline::{Then, What, Wish};
use crate::timing::CardTiming;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nothing to do until a doorbell.
    #[default]
    Idle,
    /// The available index is being read.
    Index,
    /// Ring entries are being read.
    Entries,
    /// A head that was fetched before is taken up.
    Head,
    /// Descriptors from this one on are being read.
    Descriptor(u16),
    /// A descriptor that was fetched before is taken up.
    Link(u16),
    /// An indirect table is being read.
    Table,
    /// A request is complete. This, and the two of rest, take a step of their own on a pipelined card only.
    Submit,
    /// Nothing more is known to be available.
    Rest,
    /// `avail_event` is being given to the write engine.
    Arming,
    /// A request is complete and waits for a context.
    Blocked,
    /// A fault: nothing more until a reset.
    Halted,
}

/// Descriptors that one read brought.
#[derive(Debug, Default)]
struct Prefetched {
    start: u16,
    descs: SmallVec<[SplitDesc; 4]>,
    /// Heads at ring positions from here on were not yet available when the read was issued.
    until: u16,
}

/// The fetch engine's state.
#[derive(Debug, Default)]
pub(crate) struct Fetch {
    state: State,
    /// A doorbell came while the engine was busy.
    doorbell: bool,
    pub(crate) inbox: Inbox,
    /// The available index as last read.
    seen: u16,
    /// The next ring entry to be read.
    next: u16,
    /// Ring entries that were read and not taken up.
    heads: VecDeque<u16>,
    /// The ring position of the head being taken up.
    position: u16,
    prefetched: Prefetched,
    /// The request being put together.
    pub(super) request: u32,
    /// Descriptors of its chain so far.
    links: u32,
    /// The last `avail_event` written.
    armed: Option<u16>,
}

impl Queue {
    /// The driver has made buffers available, or says so (VQ-ASUP-DEV-05: it need not be true).
    pub(crate) fn doorbell(&mut self, now: Instant, dma: &mut Dma) {
        match self.fetch.state {
            State::Idle => self.read_index(now, dma.timing.doorbell, false, dma),
            // The index has not been asked for yet, so the answer will include the news.
            State::Index if dma.ring_read_waits(now, Owner::Fetch(self.ring.index)) => {}
            State::Halted => {}
            _ => self.fetch.doorbell = true,
        }
    }

    /// Stops fetching until a reset.
    pub(crate) fn halt(&mut self) {
        self.fetch.state = State::Halted;
    }

    /// Whether a chain is being fetched that will become a request.
    pub(super) fn fetching(&self) -> bool {
        match self.fetch.state {
            State::Entries
            | State::Head
            | State::Descriptor(_)
            | State::Link(_)
            | State::Table
            | State::Submit => true,
            State::Idle
            | State::Index
            | State::Rest
            | State::Arming
            | State::Blocked
            | State::Halted => false,
        }
    }

    /// What the engine waited for is at hand.
    pub(crate) fn step(&mut self, now: Instant, dma: &mut Dma) -> Result<(), RingFault> {
        let state = self.fetch.state;
        let reading =
            matches!(state, State::Index | State::Entries | State::Descriptor(_) | State::Table);
        if reading && self.fetch.inbox.failed {
            return Err(RingFault::ReadFailed);
        }
        match state {
            State::Index => self.index_arrived(now, dma),
            State::Entries => self.entries_arrived(now, dma),
            State::Head => self.take_head(now, dma),
            State::Descriptor(index) => {
                self.descriptors_arrived(index);
                self.take_descriptor(now, index, dma)
            }
            State::Link(index) => self.take_descriptor(now, index, dma),
            State::Table => self.take_table(now, dma),
            State::Submit => {
                self.chain_complete(now, dma);
                Ok(())
            }
            State::Rest => {
                self.rest(now, dma);
                Ok(())
            }
            State::Idle | State::Arming | State::Blocked | State::Halted => Ok(()),
        }
    }

    /// Cycles from the arrival of what is being read to its use.
    pub(crate) fn arrival_cycles(&self, timing: &CardTiming) -> u32 {
        let Some(steps) = timing.pipeline else { return timing.parse };
        match self.fetch.state {
            State::Index => steps.index,
            State::Entries => steps.entry,
            State::Table => steps.table,
            _ => steps.descriptor,
        }
    }

    fn read(&mut self, now: Instant, delay: u32, fenced: bool, at: (u64, u32), dma: &mut Dma) {
        let (address, len_bytes) = at;
        self.fetch.inbox.expect(len_bytes);
        let delay = dma.timing.pipeline.map_or(delay, |timing| timing.ask);
        let owner = Owner::Fetch(self.ring.index);
        dma.ring_read(now, delay, RingAccess { owner, address, len_bytes, fenced });
    }

    fn read_index(&mut self, now: Instant, delay: u32, fenced: bool, dma: &mut Dma) {
        self.fetch.state = State::Index;
        self.fetch.doorbell = false;
        self.read(now, delay, fenced, (self.ring.driver.wrapping_add(AVAIL_IDX), 2), dma);
    }

    fn index_arrived(&mut self, now: Instant, dma: &mut Dma) -> Result<(), RingFault> {
        let idx = self.fetch.inbox.word();
        let (next, size) = (self.fetch.next, self.ring.size);
        if idx.wrapping_sub(next) > size {
            return Err(RingFault::IndexJump { idx, next, size });
        }
        self.fetch.seen = idx;
        self.next_head(now, dma);
        Ok(())
    }

    /// Goes on with the next head, fetching entries as needed, or rests.
    fn next_head(&mut self, now: Instant, dma: &mut Dma) {
        let available = self.fetch.seen.wrapping_sub(self.fetch.next);
        if !self.fetch.heads.is_empty() {
            self.fetch.state = State::Head;
            let steps = dma.timing.pipeline.map_or(dma.timing.parse, |timing| timing.next_head);
            dma.after(now, steps, Event::Fetch(self.ring.index));
        } else if available != 0 {
            let slot = self.fetch.next & (self.ring.size - 1);
            let count = available.min(self.build.prefetch).min(self.ring.size - slot);
            self.fetch.state = State::Entries;
            let address = self.ring.driver.wrapping_add(avail_entry(slot));
            let count = self.one_read(address, count, 2, dma);
            self.read(now, 0, false, (address, 2 * u32::from(count)), dma);
        } else if let Some(timing) = dma.timing.pipeline {
            self.fetch.state = State::Rest;
            dma.after(now, timing.rest, Event::Fetch(self.ring.index));
        } else {
            self.rest(now, dma);
        }
    }

    fn entries_arrived(&mut self, now: Instant, dma: &mut Dma) -> Result<(), RingFault> {
        let entries = self.fetch.inbox.bytes.chunks_exact(2);
        let heads = entries.map(|entry| u16::from_le_bytes([entry[0], entry[1]]));
        self.fetch.heads.extend(heads);
        self.fetch.next = self.fetch.next.wrapping_add(self.fetch.heads.len() as u16);
        self.take_head(now, dma)
    }

    fn take_head(&mut self, now: Instant, dma: &mut Dma) -> Result<(), RingFault> {
        let Some(head) = self.fetch.heads.pop_front() else { return Ok(()) };
        self.fetch.request = dma.requests.take(self.ring.index, head);
        self.fetch.links = 0;
        let behind = self.fetch.heads.len() as u16 + 1;
        self.fetch.position = self.fetch.next.wrapping_sub(behind);
        self.want_descriptor(now, head, dma)
    }

    /// Takes a descriptor from what was prefetched, or reads it.
    fn want_descriptor(
        &mut self,
        now: Instant,
        index: u16,
        dma: &mut Dma,
    ) -> Result<(), RingFault> {
        let size = self.ring.size;
        if index >= size {
            return Err(RingFault::NoSuchDescriptor { index, size: size.into() });
        }
        // A descriptor read ahead of time counts only for a head that was available by then: before,
        // its memory was the driver's to change.
        let ahead = self.fetch.prefetched.until.wrapping_sub(self.fetch.position);
        let in_time = (1..=MAX_SIZE).contains(&ahead);
        if in_time && self.prefetched(index).is_some() {
            self.fetch.state = State::Link(index);
            let steps = dma.timing.pipeline.map_or(dma.timing.parse, |timing| timing.at_hand);
            dma.after(now, steps, Event::Fetch(self.ring.index));
            return Ok(());
        }
        let bytes = DESC_BYTES as u16;
        let address = self.ring.desc.wrapping_add(u64::from(bytes) * u64::from(index));
        let count = self.one_read(address, self.build.prefetch.min(size - index), bytes, dma);
        self.fetch.prefetched.until = self.fetch.seen;
        self.fetch.prefetched.descs.clear();
        self.fetch.state = State::Descriptor(index);
        self.read(now, 0, false, (address, u32::from(bytes) * u32::from(count)), dma);
        Ok(())
    }

    /// How many of `count` elements one read request brings: fetching ahead must not cost a second one.
    fn one_read(&self, address: u64, count: u16, bytes: u16, dma: &Dma) -> u16 {
        let len = u32::from(count) * u32::from(bytes);
        (one_tlp(address, len, dma.limits.read_max) / bytes).max(1)
    }

    fn prefetched(&self, index: u16) -> Option<SplitDesc> {
        let prefetched = &self.fetch.prefetched;
        prefetched.descs.get(usize::from(index.checked_sub(prefetched.start)?)).copied()
    }

    fn descriptors_arrived(&mut self, start: u16) {
        let descs = self.fetch.inbox.bytes.as_chunks::<DESC_BYTES>().0;
        self.fetch.prefetched.start = start;
        self.fetch.prefetched.descs.extend(descs.iter().map(SplitDesc::from_bytes));
    }

    fn take_descriptor(
        &mut self,
        now: Instant,
        index: u16,
        dma: &mut Dma,
    ) -> Result<(), RingFault> {
        let Some(desc) = self.prefetched(index) else { return Ok(()) };
        let head = dma.requests[self.fetch.request].head;
        self.fetch.links += 1;
        if self.fetch.links > u32::from(self.ring.size) {
            return Err(RingFault::Loop { head });
        }
        if desc.flags & DESC_F_INDIRECT != 0 {
            return self.want_table(now, desc, head, dma);
        }
        self.add_segment(desc, dma)?;
        let link = dma.timing.pipeline.map_or(0, |timing| timing.link);
        if desc.flags & DESC_F_NEXT != 0 {
            let now = if link == 0 { now } else { dma.edges.at(now, link) };
            return self.want_descriptor(now, desc.next, dma);
        }
        self.chain_ends(now, link, dma);
        Ok(())
    }

    /// The chain is complete `cycles` from now.
    pub(super) fn chain_ends(&mut self, now: Instant, cycles: u32, dma: &mut Dma) {
        if dma.timing.pipeline.is_none() {
            return self.chain_complete(now, dma);
        }
        self.fetch.state = State::Submit;
        dma.after(now, cycles, Event::Fetch(self.ring.index));
    }

    /// VQ-INDIR-DEV-01: WRITE means nothing here. VQ-INDIR-DEV-02: plain descriptors may come before.
    fn want_table(
        &mut self,
        now: Instant,
        desc: SplitDesc,
        head: u16,
        dma: &mut Dma,
    ) -> Result<(), RingFault> {
        if !self.ring.indirect || desc.flags & DESC_F_NEXT != 0 {
            return Err(RingFault::MisplacedIndirect { head });
        }
        super::indirect::check_length(desc.len, head)?;
        self.may_use(desc.addr, desc.len.into(), dma)?;
        self.fetch.state = State::Table;
        self.read(now, 0, false, (desc.addr, desc.len), dma);
        Ok(())
    }

    /// Adds a buffer to the request.
    pub(super) fn add_segment(&mut self, desc: SplitDesc, dma: &mut Dma) -> Result<(), RingFault> {
        self.may_use(desc.addr, desc.len.into(), dma)?;
        let request = &mut dma.requests[self.fetch.request];
        if desc.flags & DESC_F_WRITE != 0 {
            request.writable_bytes += u64::from(desc.len);
        } else if request.readable < request.segments.len() {
            return Err(RingFault::ReadableBehindWritable { head: request.head });
        } else {
            request.readable += 1;
            request.readable_bytes += u64::from(desc.len);
        }
        request.segments.push(Segment { address: desc.addr, len: desc.len });
        Ok(())
    }

    /// Hands the request on, if there is a context for it, and goes on with the next head.
    pub(super) fn chain_complete(&mut self, now: Instant, dma: &mut Dma) {
        if self.has_context() {
            self.submit(now, self.fetch.request, dma);
            let step = dma.timing.pipeline.map_or(0, |timing| timing.submit);
            let now = if step == 0 { now } else { dma.edges.at(now, step) };
            self.next_head(now, dma);
        } else {
            self.fetch.state = State::Blocked;
        }
    }

    /// A context has become free.
    pub(super) fn unblock(&mut self, now: Instant, dma: &mut Dma) {
        if self.fetch.state == State::Blocked {
            self.chain_complete(now, dma);
        }
    }

    /// Nothing more is known to be available.
    fn rest(&mut self, now: Instant, dma: &mut Dma) {
        let next = self.fetch.next;
        if self.ring.event_idx && self.fetch.armed != Some(next) {
            self.fetch.armed = Some(next);
            let address = self.ring.device.wrapping_add(avail_event(self.ring.size));
            if dma.timing.pipeline.is_some() {
                return self.arm(now, address, next, dma);
            }
            dma.ring_write(now, address, &next.to_le_bytes());
            // This look serves a doorbell that came meanwhile, too.
            self.read_index(now, 0, true, dma);
        } else if self.fetch.doorbell {
            self.read_index(now, 0, false, dma);
        } else {
            self.fetch.state = State::Idle;
        }
    }

    fn arm(&mut self, now: Instant, address: u64, next: u16, dma: &mut Dma) {
        self.fetch.state = State::Arming;
        let what = What::Bytes(address, Payload::from_slice(&next.to_le_bytes()));
        let index = self.ring.index;
        let then = Then::Armed(index);
        dma.wish(Wish { since: now, rank: (index, 1), what, release: None, then });
    }

    /// The write engine has taken `avail_event`: the index is looked at behind it.
    pub(crate) fn armed(&mut self, now: Instant, dma: &mut Dma) {
        if self.fetch.state != State::Arming {
            return;
        }
        self.fetch.state = State::Index;
        self.fetch.doorbell = false;
        self.fetch.inbox.expect(2);
        let owner = Owner::Fetch(self.ring.index);
        let address = self.ring.driver.wrapping_add(AVAIL_IDX);
        dma.ring_read(now, 0, RingAccess { owner, address, len_bytes: 2, fenced: true });
    }
}
