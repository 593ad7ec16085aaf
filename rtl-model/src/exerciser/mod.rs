//! A plain card that does nothing but DMA: reads, writes, a write and then a read of the same place. It
//! says of each when it began and when it was done.
//!
//! ```text
//!   jobs ─▶ direct command ───────────────────────────▶ transmitter ─▶ link
//!        └▶ bulk engines: descriptor, then data in units ─▶ │
//!                                  completions ◀────────────┴──────── link
//! ```
//!
//! Two ways to memory, as on a network processor: a command moves up to a few dozen bytes at once, the bulk
//! engines move anything, each of them a unit at a time. How long each step takes is [`ExerciserTiming`].
//! A job is given through the other hand that holds the card ([`pcie_sim::endpoint`]); the card looks at it
//! when it next has a turn. Left out: BARs, interrupts, data that means anything.

mod bulk;
mod config;
mod timing;

use std::collections::VecDeque;

use pcie_sim::address::Bdf;
use pcie_sim::endpoint::{Endpoint, Port};
use pcie_sim::link::{LinkTiming, WireTimes};
use pcie_sim::schedule::Schedule;
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, FlowClass, MemRead, MemWrite, Payload, Tag, Tlp,
};

use self::bulk::Engines;
use self::config::ConfigSpace;
pub use self::config::{DEVICE_ID, VENDOR_ID};
pub use self::timing::ExerciserTiming;

/// Bytes of a TLP on the wire besides header and data.
const FRAMING_BYTES: u32 = pcie_sim::link::timing::FRAMING_BYTES;
/// The data path's width: what one beat moves.
const BEAT_BYTES: u64 = 32;
/// What memory is read in.
const LINE_BYTES: u64 = 64;
/// Reads on the link at once, at most: as many as a tag of 8 bits tells apart.
const TAGS: u32 = 256;

/// What is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From host memory.
    Read,
    /// To host memory.
    Write,
    /// To host memory, and the same bytes back.
    WriteRead,
}

/// By which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A direct command.
    Command,
    /// The bulk engines.
    Bulk,
}

/// One transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// What is moved.
    pub kind: Kind,
    /// By which way.
    pub way: Way,
    /// The bus address.
    pub address: u64,
    /// How many bytes: 1 to 4096, within one page.
    pub len_bytes: u16,
}

/// When a job began and when it was done; a write is done when it has left the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lap {
    /// It was begun.
    pub began: Instant,
    /// It was done.
    pub done: Instant,
    /// Every completion said success.
    pub succeeded: bool,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The slot takes the next job.
    Begin(usize),
    /// The slot's requests go to the transmitter.
    Issue(usize),
    /// A part of the slot's data is at the transmitter.
    Data { slot: usize, offset: u16, len: u16, last: bool },
    /// The slot's job has all it needs.
    Finish(usize),
}

/// What waits for the transmitter.
#[derive(Debug)]
enum Outgoing {
    /// In a box, since it is rare and the others are small.
    Answer(Box<Tlp>),
    Read {
        tag: Tag,
        address: u64,
        len: u16,
    },
    Write {
        slot: usize,
        address: u64,
        len: u16,
        last: bool,
    },
}

/// A read that has no tag yet.
#[derive(Debug, Clone, Copy)]
struct Ask {
    slot: usize,
    address: u64,
    len: u16,
}

/// A job under way.
#[derive(Debug, Clone, Copy)]
struct Slot {
    job: Job,
    lap: Lap,
    /// The write of a [`Kind::WriteRead`] is done.
    reading: bool,
    /// Bytes that have not come yet.
    left: u16,
    engine: usize,
    /// What the job's completions have taken of its engine.
    spent: Span,
}

/// The card.
#[derive(Debug)]
pub struct Exerciser {
    timing: ExerciserTiming,
    on_wire: WireTimes,
    config: ConfigSpace,
    events: Schedule<Event>,
    jobs: VecDeque<Job>,
    slots: Vec<Option<Slot>>,
    laps: Vec<Lap>,
    /// Reads that wait for a tag; writes do not wait behind them.
    asks: VecDeque<Ask>,
    out: VecDeque<Outgoing>,
    transmitter_free: Instant,
    refused: bool,
    /// Slot of each read on the link, and whether its engine has still to pay for a partial request.
    tags: Vec<Option<(usize, bool)>>,
    free_tags: Vec<u16>,
    reads: Engines,
    writes: Engines,
    /// The engine of the next read.
    turn: usize,
    unexpected: u64,
}

impl Exerciser {
    /// A card with these timings on such a link.
    #[must_use]
    pub fn new(timing: ExerciserTiming, link: LinkTiming) -> Self {
        let tags = timing.reads_at_once.clamp(1, TAGS) as u16;
        Self {
            config: ConfigSpace::new(&link),
            events: Schedule::new(),
            jobs: VecDeque::new(),
            slots: Vec::new(),
            laps: Vec::new(),
            asks: VecDeque::new(),
            out: VecDeque::new(),
            transmitter_free: Instant::ZERO,
            refused: false,
            tags: vec![None; usize::from(tags)],
            free_tags: (0..tags).rev().collect(),
            reads: Engines::new(timing.engines),
            writes: Engines::new(timing.engines),
            turn: 0,
            unexpected: 0,
            timing,
            on_wire: WireTimes::new(&link),
        }
    }

    /// Gives it jobs, of which up to `at_once` are under way at any time, from `starts` on.
    pub fn load(&mut self, jobs: impl IntoIterator<Item = Job>, at_once: usize, starts: Instant) {
        self.jobs.extend(jobs);
        for _ in 0..at_once.max(1) {
            let slot = self.slots.len();
            self.slots.push(None);
            self.events.at(starts, Event::Begin(slot));
        }
    }

    /// The jobs that are done, in the order in which they were done.
    #[must_use]
    pub fn laps(&self) -> &[Lap] {
        &self.laps
    }

    /// Whether every job given is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.jobs.is_empty() && self.slots.iter().all(Option::is_none)
    }

    /// Completions that nobody had asked for.
    #[must_use]
    pub fn unexpected(&self) -> u64 {
        self.unexpected
    }

    fn handle(&mut self, at: Instant, event: Event) {
        match event {
            Event::Begin(slot) => self.begin(at, slot),
            Event::Issue(slot) => self.issue(at, slot),
            Event::Data { slot, offset, len, last } => {
                let Some(Slot { job, .. }) = &self.slots[slot] else { return };
                let address = job.address + u64::from(offset);
                self.out.push_back(Outgoing::Write { slot, address, len, last });
            }
            Event::Finish(slot) => self.finish(at, slot),
        }
    }

    fn begin(&mut self, at: Instant, slot: usize) {
        let Some(job) = self.jobs.pop_front() else { return };
        let lap = Lap { began: at, done: at, succeeded: true };
        let (engine, left) = (0, job.len_bytes);
        self.slots[slot] = Some(Slot { job, lap, reading: false, left, engine, spent: Span::ZERO });
        let issued = at + self.issue_time(job.way);
        if issued == at && !self.events.is_due(at) {
            // It would be the next event.
            self.issue(at, slot);
        } else {
            self.events.at(issued, Event::Issue(slot));
        }
    }

    const fn issue_time(&self, way: Way) -> Span {
        match way {
            Way::Command => self.timing.command_issue,
            Way::Bulk => self.timing.bulk_issue,
        }
    }

    /// The command or the descriptor has been understood.
    fn issue(&mut self, at: Instant, slot: usize) {
        let Some(Slot { job, reading, .. }) = self.slots[slot] else { return };
        let reads = job.kind == Kind::Read || reading;
        match (job.way, reads) {
            (_, true) => self.ask(slot, job),
            (Way::Bulk, false) => self.fetch(at, slot, job),
            (Way::Command, false) => {
                // The read of a command goes right behind its write.
                let (address, len) = (job.address, job.len_bytes);
                let last = job.kind == Kind::Write;
                self.out.push_back(Outgoing::Write { slot, address, len, last });
                if job.kind == Kind::WriteRead {
                    self.ask(slot, job);
                }
            }
        }
    }

    /// Queues a job's read requests, none larger than firmware allows, cut where a multiple of that lies.
    fn ask(&mut self, slot: usize, job: Job) {
        let largest = self.config.read_request_max();
        let mut offset = 0;
        while offset < job.len_bytes {
            let address = job.address + u64::from(offset);
            // A power of two.
            let room = largest - (address as u16 & (largest - 1));
            let len = (job.len_bytes - offset).min(room);
            self.asks.push_back(Ask { slot, address, len });
            offset += len;
        }
        let engine = self.turn;
        self.turn = if engine + 1 < self.reads.len() { engine + 1 } else { 0 };
        if let Some(slot) = &mut self.slots[slot] {
            slot.engine = engine;
        }
        self.give_tags();
    }

    /// Queues the reads for which there are tags.
    fn give_tags(&mut self) {
        while !self.asks.is_empty()
            && let Some(tag) = self.free_tags.pop()
            && let Some(Ask { slot, address, len }) = self.asks.pop_front()
        {
            let partial = !fills(address, len, self.config.read_request_max());
            self.tags[usize::from(tag)] = Some((slot, partial));
            self.out.push_back(Outgoing::Read { tag: Tag(tag), address, len });
        }
    }

    /// An engine fetches a write's data out of the card's memory; a TLP leaves when it has its share.
    fn fetch(&mut self, at: Instant, slot: usize, job: Job) {
        let timing = self.timing;
        let units = u64::from(job.len_bytes.div_ceil(timing.write_unit_bytes));
        let takes = timing.write_descriptor + timing.write_unit * units;
        let (_, begins) = self.writes.first_free(at, takes);
        let largest = self.config.payload_max();
        let mut offset = 0;
        while offset < job.len_bytes {
            let len = (job.len_bytes - offset).min(largest);
            let units = u64::from((offset + len).div_ceil(timing.write_unit_bytes));
            let ready = begins + timing.write_descriptor + timing.write_unit * units;
            let last = offset + len == job.len_bytes;
            self.events.at(ready, Event::Data { slot, offset, len, last });
            offset += len;
        }
    }

    fn finish(&mut self, at: Instant, slot: usize) {
        let Some(state) = &mut self.slots[slot] else { return };
        if state.job.kind == Kind::WriteRead && state.job.way == Way::Bulk && !state.reading {
            state.reading = true;
            let way = state.job.way;
            self.events.at(at + self.issue_time(way), Event::Issue(slot));
            return;
        }
        self.laps.push(Lap { done: at, ..state.lap });
        self.slots[slot] = None;
        self.begin(at, slot);
    }

    fn completed(&mut self, now: Instant, completion: &Completion) {
        let tag = usize::from(completion.tag.0);
        let Some((slot, partial)) = self.tags.get(tag).copied().flatten() else {
            self.unexpected += 1;
            return;
        };
        let Some(state) = &mut self.slots[slot] else { return };
        let success = completion.status == CompletionStatus::Success;
        let len = completion.data.len() as u16;
        let ends = !success || completion.byte_count <= len;
        state.lap.succeeded &= success;
        let came = if success { len } else { completion.byte_count };
        state.left = state.left.saturating_sub(came.max(1));
        if ends {
            self.tags[tag] = None;
            self.free_tags.push(tag as u16);
        } else if partial {
            // Its later completions are no longer the first of the request.
            self.tags[tag] = Some((slot, false));
        }
        let done = match state.job.way {
            Way::Command => now + self.timing.command_done + self.timing.command_beat * beats(len),
            Way::Bulk => {
                let done = self.reads.store(now, &self.timing, state, len, partial);
                done + self.timing.bulk_done
            }
        };
        if state.left == 0 {
            self.events.at(done, Event::Finish(slot));
        }
        self.give_tags();
    }

    /// Hands to the link what it takes.
    fn transmit(&mut self, now: Instant, port: &mut dyn Port) {
        self.refused = false;
        while self.transmitter_free <= now
            && let Some(next) = self.out.front()
        {
            let (class, credits) = match next {
                Outgoing::Answer(tlp) => (tlp.flow_class(), tlp.data_credits()),
                Outgoing::Read { .. } => (FlowClass::NonPosted, 0),
                Outgoing::Write { address, len, .. } => {
                    (FlowClass::Posted, ((address % 4) as u32 + u32::from(*len)).div_ceil(16))
                }
            };
            let memory = !matches!(next, Outgoing::Answer(_));
            if memory && !self.config.bus_master() || !port.can_send(class, credits) {
                self.refused = true;
                return;
            }
            let Some(next) = self.out.pop_front() else { return };
            let (tlp, gap) = self.packet(now, next);
            let bytes = tlp.len_bytes() as u32 + FRAMING_BYTES;
            self.transmitter_free = now + self.on_wire.of(bytes) + gap;
            port.send(tlp);
        }
    }

    /// The TLP, and how long the transmitter stays idle behind it.
    fn packet(&mut self, now: Instant, outgoing: Outgoing) -> (Tlp, Span) {
        let requester = self.config.id();
        let attributes = Attributes::default();
        match outgoing {
            Outgoing::Answer(tlp) => (*tlp, Span::ZERO),
            Outgoing::Read { tag, address, len } => {
                let read = MemRead { requester, tag, address, len_bytes: len, attributes };
                (Tlp::MemRead(read), self.timing.transmit_gap)
            }
            Outgoing::Write { slot, address, len, last } => {
                let data = Payload::from_elem(0, usize::from(len));
                let write = MemWrite { requester, tag: Tag(0), address, data, attributes };
                let mut gap = self.timing.transmit_gap;
                if last {
                    gap += self.timing.transmit_turn;
                    self.sent(now, slot);
                }
                (Tlp::MemWrite(write), gap)
            }
        }
    }

    /// The last of a write has left.
    fn sent(&mut self, now: Instant, slot: usize) {
        let Some(Slot { job, .. }) = self.slots[slot] else { return };
        let done = match job.way {
            Way::Command => now + self.timing.command_done,
            Way::Bulk => now + self.timing.bulk_done,
        };
        self.events.at(done, Event::Finish(slot));
    }
}

/// Whether a read touches as many lines as the largest request.
fn fills(address: u64, len: u16, largest: u16) -> bool {
    let lines = (address + u64::from(len)).div_ceil(LINE_BYTES) - address / LINE_BYTES;
    lines * LINE_BYTES >= u64::from(largest)
}

/// Beats of the data path that `len` bytes take.
fn beats(len: u16) -> u64 {
    u64::from(len).div_ceil(BEAT_BYTES)
}

impl Endpoint for Exerciser {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        while let Some(tlp) = port.receive() {
            match tlp {
                Tlp::Completion(completion) => self.completed(now, &completion),
                other => {
                    if let Some(answer) = self.config.answer(&other) {
                        self.out.push_back(Outgoing::Answer(Box::new(answer)));
                    }
                }
            }
        }
        while let Some((at, event)) = self.events.take_due(now) {
            self.handle(at, event);
        }
        self.transmit(now, port);
    }

    fn next_wake(&self) -> Option<Instant> {
        let mut next = self.events.next_time().unwrap_or(Instant::FAR_FUTURE);
        if !self.out.is_empty() && !self.refused {
            next = next.min(self.transmitter_free);
        }
        (next != Instant::FAR_FUTURE).then_some(next)
    }
}

/// Where the card is found on its bus once it has been asked for anything.
impl Exerciser {
    /// Its id on the bus: the target of the last configuration write.
    #[must_use]
    pub fn id(&self) -> Bdf {
        self.config.id()
    }
}

#[cfg(test)]
mod tests;
