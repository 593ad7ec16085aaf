//! The card's way to memory: what waits to leave, in which order, with which tag.
//!
//! ```text
//!  answers to MMIO ─┐
//!  ring reads ──────┤ one TLP at a time,    ┌─▶ link
//!  payload reads ───┤ on a clock edge ──────┤
//!  posted writes ───┘                       └─▶ memory on the card: never a TLP
//! ```
//!
//! Posted writes leave in the order in which they were given, so that a used index never overtakes its
//! element, nor an interrupt its index. A fenced read, and every answer, waits for the posted writes
//! that were given before it (PCIe 5.0 §2.4.1, "Transaction Ordering Rules", from inside the card on).
//!
//! Left out: relaxed ordering, more than one traffic class.

pub(crate) mod outbox;
pub(crate) mod request;
pub(crate) mod tags;

use std::collections::VecDeque;

use pcie_sim::address::Bdf;
use pcie_sim::host::MsiMessage;
use pcie_sim::schedule::Schedule;
use pcie_sim::spec::aer::Signal;
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::{Completion, Payload};

use crate::malice::{Mischief, Touch};
use crate::memory::CardMemory;
use crate::pipeline::{Engines, MESSAGE, Then, What, Wish};
use crate::timing::{CardTiming, Edges};
use request::{Requests, one_tlp};
use tags::Tags;

/// Who waits for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The fetch engine of a queue.
    Fetch(u16),
    /// The interrupt engine of a queue, for the suppression word.
    Suppression(u16),
    /// A request, by number.
    Payload(u32),
    /// Nobody: the read is for its own sake.
    Nobody,
}

/// Why an interrupt is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A queue has used buffers.
    Queue(u16),
    /// The configuration, or DEVICE_NEEDS_RESET, has changed.
    Config,
}

/// What happens inside the card at a chosen time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// What a queue's fetch engine waits for is at hand.
    Fetch(u16),
    /// A queue's suppression word is at hand.
    Suppression(u16),
    /// A read of memory on the card ends.
    LocalRead {
        /// Whose.
        owner: Owner,
        /// Offset in the card's memory.
        offset: u64,
    },
    /// A request leaves the device.
    Process(u32),
    /// A queue writes used elements.
    UsedWrite(u16),
    /// An interrupt is sent.
    Interrupt(Cause),
    /// A packet reaches the end of the cable.
    Packet,
    /// An access that nobody asked for.
    Touch(Touch),
    /// A queue's completion engine, or the device behind it, may go on. This and what follows happen on a
    /// pipelined card only.
    Turn(u16),
    /// A request's payload is there, as far as there is some.
    Ready(u32),
    /// Payload has come from memory on the card.
    LocalPayload {
        /// Whose.
        request: u32,
        /// How much.
        bytes: u16,
    },
    /// The write engine has taken a job.
    Given(Then),
    /// The device behind a queue reads out of a request's buffer.
    Buffer(u16),
    /// An answer is about to be ready: what is given until now goes before it.
    Fence,
    /// A job has left, and so much of a queue is over with it.
    Gone(Option<(u16, u16)>),
}

/// The limits that software has set, and who the card is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Requests may leave.
    pub(crate) bus_master: bool,
    /// Bytes of one write.
    pub(crate) payload_max: u16,
    /// Bytes of one read.
    pub(crate) read_max: u16,
    /// Requester and completer id.
    pub(crate) id: Bdf,
}

#[derive(Debug)]
struct Answer {
    ready: Instant,
    /// The posted writes before it; on a pipelined card `None` until it is ready.
    fence: Option<u64>,
    completion: Completion,
}

#[derive(Debug)]
struct RingRead {
    ready: Instant,
    fence: u64,
    owner: Owner,
    address: u64,
    left: u32,
    at: u32,
}

#[derive(Debug)]
struct PayloadRead {
    ready: Instant,
    request: u32,
}

#[derive(Debug)]
enum Posted {
    Write {
        ready: Instant,
        address: u64,
        data: Payload,
    },
    /// A request's data, cut into TLPs as they leave.
    Burst {
        ready: Instant,
        request: u32,
    },
    /// All that belongs to this many requests of a queue has left.
    Release {
        queue: u16,
        requests: u16,
    },
}

/// What is waiting to leave, and what has left and is unanswered.
#[derive(Debug)]
pub(crate) struct Dma {
    pub(crate) timing: CardTiming,
    pub(crate) edges: Edges,
    pub(crate) memory: CardMemory,
    pub(crate) requests: Requests,
    pub(crate) schedule: Schedule<Event>,
    pub(crate) limits: Limits,
    pub(crate) tags: Tags,
    /// Requests that are over, by queue, for the card to collect.
    pub(crate) released: Vec<(u16, u16)>,
    /// The engines of a pipelined card.
    pub(crate) engines: Engines,
    /// What the card does on purpose that it may not do.
    pub(crate) mischief: Option<Box<Mischief>>,
    answers: VecDeque<Answer>,
    ring_reads: VecDeque<RingRead>,
    payload_reads: VecDeque<PayloadRead>,
    posted: VecDeque<Posted>,
    pub(crate) posted_given: u64,
    pub(crate) posted_gone: u64,
    busy_until: Instant,
    /// Errors to tell the root complex of; they wait for nobody's leave to master the bus.
    signals: VecDeque<Signal>,
}

impl Dma {
    /// An idle engine.
    pub(crate) fn new(timing: CardTiming, memory: CardMemory, reads_in_flight: u16) -> Self {
        let limits =
            Limits { bus_master: false, payload_max: 128, read_max: 512, id: Bdf::default() };
        Self {
            edges: Edges::new(timing.clock),
            timing,
            memory,
            requests: Requests::default(),
            schedule: Schedule::new(),
            limits,
            tags: Tags::new(reads_in_flight),
            released: Vec::new(),
            engines: Engines::default(),
            mischief: None,
            answers: VecDeque::new(),
            ring_reads: VecDeque::new(),
            payload_reads: VecDeque::new(),
            posted: VecDeque::new(),
            posted_given: 0,
            posted_gone: 0,
            busy_until: Instant::ZERO,
            signals: VecDeque::new(),
        }
    }

    /// How long a read may stay unanswered: a whole number of cycles.
    pub(crate) fn set_timeout(&mut self, timeout: Option<Span>) {
        let whole = |span| (Instant::ZERO + span).next_edge(self.timing.clock).since(Instant::ZERO);
        self.tags.set_timeout(timeout.map(whole));
    }

    /// Tells the root complex of an error, once the way out is free.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.signals.push_back(signal);
    }

    /// Enters an event `cycles` from now.
    pub(crate) fn after(&mut self, now: Instant, cycles: u32, event: Event) {
        let at = self.edges.at(now, cycles);
        self.schedule.at(at, event);
    }

    /// Answers a request of the host's after `cycles`, in turn.
    pub(crate) fn answer(&mut self, now: Instant, cycles: u32, completion: Completion) {
        let ready = self.edges.at(now, cycles);
        let ready = self.answers.back().map_or(ready, |last| ready.max(last.ready));
        let fence = self.timing.pipeline.is_none().then_some(self.posted_given);
        if fence.is_none() {
            let before = ready.as_ps().saturating_sub(self.timing.clock.as_ps());
            self.schedule.at(Instant::from_ps(before).max(now), Event::Fence);
        }
        self.answers.push_back(Answer { ready, fence, completion });
    }

    /// Reads `len_bytes` bytes of a ring, `delay` cycles from now. The owner hears of it by
    /// [`Event::LocalRead`], or by the completions that arrive.
    pub(crate) fn ring_read(&mut self, now: Instant, delay: u32, read: RingAccess) {
        if self.timing.pipeline.is_some() {
            return self.ask(now, delay, read);
        }
        let RingAccess { owner, address, len_bytes, fenced } = read;
        if let Some(offset) = self.memory.locate(address, u64::from(len_bytes)) {
            let cycles = delay + self.timing.local_access;
            return self.after(now, cycles, Event::LocalRead { owner, offset });
        }
        let ready = self.edges.at(now, delay + self.timing.dma_read_issue);
        let fence = if fenced { self.posted_given } else { 0 };
        self.ring_reads.push_back(RingRead {
            ready,
            fence,
            owner,
            address,
            left: len_bytes,
            at: 0,
        });
    }

    /// Whether a read for this owner has been asked for and has not left.
    pub(crate) fn ring_read_waits(&self, now: Instant, owner: Owner) -> bool {
        if self.timing.pipeline.is_some() {
            return self.ask_waits(now, owner);
        }
        self.ring_reads.iter().any(|read| read.owner == owner)
    }

    /// Writes to a ring.
    pub(crate) fn ring_write(&mut self, now: Instant, mut address: u64, mut data: &[u8]) {
        if self.timing.pipeline.is_some() {
            let what = What::Bytes(address, Payload::from_slice(data));
            let (rank, release, then) = ((0, 0), None, Then::Nothing);
            return self.wish(Wish { since: now, rank, what, release, then });
        }
        if let Some(offset) = self.memory.locate(address, data.len() as u64) {
            return self.memory.write(offset, data);
        }
        let ready = self.edges.at(now, 0);
        while !data.is_empty() {
            let len = one_tlp(address, data.len() as u32, self.limits.payload_max);
            let (now_gone, later) = data.split_at(usize::from(len));
            let write = Posted::Write { ready, address, data: Payload::from_slice(now_gone) };
            self.give(write);
            address = address.wrapping_add(u64::from(len));
            data = later;
        }
    }

    /// Sends an interrupt message.
    pub(crate) fn message(&mut self, now: Instant, message: MsiMessage) {
        let ready = self.edges.at(now, 0);
        let data = Payload::from_slice(&message.data.to_le_bytes());
        if self.timing.pipeline.is_some() {
            let what = What::Bytes(message.address, data);
            let (rank, release, then) = (MESSAGE, None, Then::Nothing);
            return self.wish(Wish { since: ready, rank, what, release, then });
        }
        self.give(Posted::Write { ready, address: message.address, data });
    }

    /// Says when all that was given until now for the oldest requests of a queue has left.
    pub(crate) fn release_after(&mut self, queue: u16, requests: u16) {
        self.give(Posted::Release { queue, requests });
    }

    /// Starts reading a request's readable bytes. When none has to come over the link, gives the time
    /// at which they are at hand; else the completions that arrive tell.
    pub(crate) fn payload_read(&mut self, now: Instant, id: u32) -> Option<Instant> {
        let read_max = self.limits.read_max;
        let request = &mut self.requests[id];
        request.data.resize(request.readable_bytes as usize, 0);
        request.missing = request.readable_bytes;
        let here = |s: &request::Segment| self.memory.overlaps(s.address, u64::from(s.len));
        let mut local = 0;
        if request.readable_segments().iter().any(here) {
            let mut walk = request::Walk::default();
            while let Some(chunk) = walk.next(&request.segments[..request.readable], read_max) {
                if let Some(offset) = self.memory.locate(chunk.address, chunk.len.into()) {
                    let at = chunk.at as usize;
                    let into = &mut request.data[at..at + usize::from(chunk.len)];
                    self.memory.read(offset, into);
                    local += u64::from(chunk.len);
                }
            }
        }
        request.missing -= local;
        if request.missing != 0 {
            let ready = self.edges.at(now, self.timing.dma_read_issue);
            self.payload_reads.push_back(PayloadRead { ready, request: id });
            return None;
        }
        let cycles = if local == 0 { 0 } else { self.local_cycles(local) };
        Some(self.edges.at(now, cycles))
    }

    /// Writes a request's data to its writable buffers.
    pub(crate) fn payload_write(&mut self, now: Instant, id: u32) {
        let request = &mut self.requests[id];
        request.walk = request::Walk::default();
        if request.data.is_empty() {
            return;
        }
        let from = request.write_from;
        request.walk.skip(&request.segments[request.readable..], from);
        let mut walk = request.walk;
        let mut remote = false;
        let end = from + request.data.len() as u64;
        if !request
            .writable_segments()
            .iter()
            .any(|s| self.memory.overlaps(s.address, s.len.into()))
        {
            remote = true;
        } else {
            while let Some(chunk) = walk.next(&request.segments[request.readable..], 4096) {
                if chunk.at >= end {
                    break;
                }
                let at = (chunk.at - from) as usize;
                let upto = (at + usize::from(chunk.len)).min(request.data.len());
                match self.memory.locate(chunk.address, chunk.len.into()) {
                    Some(offset) => self.memory.write(offset, &request.data[at..upto]),
                    None => remote = true,
                }
            }
        }
        if remote {
            let ready = self.edges.at(now, 0);
            self.give(Posted::Burst { ready, request: id });
        }
    }

    fn local_cycles(&self, bytes: u64) -> u32 {
        self.timing.local_access + self.timing.beats(bytes as usize)
    }

    fn give(&mut self, posted: Posted) {
        self.posted.push_back(posted);
        self.posted_given += 1;
    }

    /// The link has been reset: what waited to leave is gone.
    pub(crate) fn reset_link(&mut self) {
        self.reset();
        self.engines.reset_link();
        self.answers.clear();
        self.signals.clear();
        self.tags.free_all();
    }

    /// Forgets all that the queues have asked for. Answers to the host stay.
    pub(crate) fn reset(&mut self) {
        self.schedule.clear();
        self.requests.clear();
        self.ring_reads.clear();
        self.payload_reads.clear();
        self.posted.clear();
        self.engines.reset();
        self.posted_gone = self.posted_given;
        self.released.clear();
        self.tags.orphan_all();
    }
}

/// A read of a few bytes of a ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RingAccess {
    /// Who waits.
    pub(crate) owner: Owner,
    /// Bus address.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) len_bytes: u32,
    /// Must not overtake the posted writes given before.
    pub(crate) fenced: bool,
}
