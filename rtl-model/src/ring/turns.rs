//! A pipelined queue: the device works on one request at a time, and what is written for requests is given to
//! the write engine step by step.
//!
//! ```text
//!  payload there ─▶ device ─▶ done ─▶ payload ─▶ (idle) ─▶ elements ─▶ index ─▶ (idle)
//!                                     └────── one job of the write engine each ──────┘
//! ```
//!
//! The device stands still while the completion engine is not idle; a request that is done goes before
//! elements that wait.

use pcie_sim::spec::virtq::USED_IDX;
use pcie_sim::time::Instant;
use pcie_sim::tlp::Payload;

use super::Queue;
use super::used::{Batch, Element};
use crate::device::blk::{Effort, effort};
use crate::dma::request::Walk;
use crate::dma::{Dma, Event};
use crate::pipeline::{PipelineTiming, Then, What, Wish};

/// What the completion engine is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Nothing.
    #[default]
    Idle,
    /// It gives a request's payload.
    Payload,
    /// It gives used elements.
    Elements,
    /// It gives the used index.
    Index,
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    stage: Stage,
    /// The completion engine is idle from here on, if it is.
    idle: Instant,
    /// The device can take another request from here on, unless it has one.
    device_free: Instant,
    /// How often the disk has still to read out of its request's buffer, and whether that are data.
    reads: (u32, bool),
    /// The disk writes to its request's buffer since then.
    from_disk: Option<Instant>,
    /// Cycles for which others wrote there.
    hold: u64,
    /// The device is done with its request from then on; used length.
    done: Option<(Instant, u32)>,
    /// What is being published.
    batch: Batch,
}

impl Queue {
    /// Whether a packet can be put into the oldest buffer.
    pub(crate) fn takes_packet(&self, now: Instant, dma: &Dma) -> bool {
        let buffer = self.order.front().map(|&id| dma.requests[id].since);
        self.started == 0 && self.turns.device_free <= now && buffer.is_some_and(|at| at <= now)
    }

    /// The device takes the oldest request up, if it is ready.
    pub(crate) fn start_device(&mut self, now: Instant, dma: &mut Dma) {
        let (Some(&id), Some(timing)) = (self.order.front(), dma.timing.pipeline) else { return };
        let request = &dma.requests[id];
        if self.started != 0 || !request.ready {
            return;
        }
        self.started = 1;
        let (begins, clock) = (now.max(self.turns.device_free), dma.timing.clock);
        if self.build.commands && !request.failed && request.writable_bytes != 0 {
            self.turns.reads = (timing.command_read, false);
            return dma.schedule.at(begins + clock, Event::Buffer(self.ring.index));
        }
        let beats = match self.build.commands || request.failed {
            true => 0,
            false => dma.timing.beats(request.data.len()),
        };
        // What it does shows in the cycle before the one in which it says so.
        let cycles = (self.build.processing + beats).saturating_sub(1).max(1);
        dma.schedule.at(begins + clock * u64::from(cycles), Event::Process(id));
    }

    /// The disk reads out of its request's buffer, when nobody else does.
    pub(crate) fn read_buffer(&mut self, now: Instant, timing: PipelineTiming, dma: &mut Dma) {
        let Some(&id) = self.order.front() else { return };
        let clock = dma.timing.clock;
        let again = |at: Instant, dma: &mut Dma| {
            dma.schedule.at(at, Event::Buffer(self.ring.index));
        };
        let alone = match dma.buffer_is_free(now, self.ring.index) {
            Ok(alone) => alone,
            Err(until) => return again(until, dma),
        };
        let (left, moves) = self.turns.reads;
        if left > 1 && !alone {
            self.turns.reads.0 -= 1;
            return again(now + clock, dma);
        }
        let last = now + clock * u64::from(left.max(1) - 1);
        if moves {
            let cycles = timing.transfer + timing.status - 1;
            return dma.schedule.at(last + clock * u64::from(cycles), Event::Process(id));
        }
        self.command_read(last, id, timing, dma);
    }

    /// The command is known, and with it what the disk has to do.
    fn command_read(&mut self, now: Instant, id: u32, timing: PipelineTiming, dma: &mut Dma) {
        let clock = dma.timing.clock;
        let begins = now + clock * u64::from(timing.command + 1);
        let beats = |bytes: u64| bytes.div_ceil(u64::from(dma.timing.datapath_bytes));
        let takes = match effort(&dma.requests[id]) {
            Effort::ToDisk(bytes) if bytes != 0 => {
                self.turns.reads = (beats(bytes) as u32, true);
                return dma.schedule.at(begins, Event::Buffer(self.ring.index));
            }
            Effort::FromDisk(bytes) if bytes != 0 => {
                self.turns.from_disk = Some(begins);
                beats(bytes) + u64::from(timing.transfer)
            }
            Effort::FromDisk(_) | Effort::ToDisk(_) => 0,
            Effort::Said(bytes) => beats(bytes),
            Effort::Ranges(ranges, cleared) => {
                2 * u64::from(timing.range * ranges) + beats(cleared)
            }
        };
        let cycles = takes + u64::from(timing.status.saturating_sub(2));
        dma.schedule.at(begins + clock * cycles, Event::Process(id));
    }

    /// Payload has come into the queue's buffers until `now`: what the disk writes there waits for it.
    pub(crate) fn disturb(&mut self, now: Instant, bytes: u64, dma: &Dma) {
        if let Some(begins) = self.turns.from_disk
            && begins < now
        {
            let since = now.since(begins).as_ps() / dma.timing.clock.as_ps();
            self.turns.hold += u64::from(dma.timing.beats(bytes as usize)).min(since);
        }
    }

    /// Whether the device takes longer for its request than was thought when it began.
    pub(crate) fn is_held(&mut self, now: Instant, id: u32, dma: &mut Dma) -> bool {
        let hold = std::mem::take(&mut self.turns.hold);
        if hold == 0 {
            self.turns.from_disk = None;
            return false;
        }
        dma.schedule.at(now + dma.timing.clock * hold, Event::Process(id));
        true
    }

    /// The device has done what it does, having written `len` bytes that count.
    pub(crate) fn device_done(&mut self, now: Instant, len: u32, dma: &mut Dma) {
        let done = now + dma.timing.clock;
        self.turns.done = Some((done, len));
        dma.schedule.at(done, Event::Turn(self.ring.index));
    }

    /// The completion engine takes up what there is for it.
    pub(crate) fn turn(&mut self, now: Instant, timing: PipelineTiming, dma: &mut Dma) {
        if self.turns.stage != Stage::Idle || self.turns.idle > now {
            return;
        }
        if let Some((_, len)) = self.turns.done.take_if(|(at, _)| *at <= now) {
            return self.accept(now, len, timing, dma);
        }
        if !self.publishes() {
            return;
        }
        self.turns.stage = Stage::Elements;
        self.turns.batch = self.take_batch();
        let batch = &self.turns.batch;
        let what = What::Bytes(batch.address, Payload::from_slice(&batch.elements));
        self.give(dma.edges.at(now, timing.completion), what, None, dma);
    }

    /// The oldest request is done.
    fn accept(&mut self, now: Instant, len: u32, timing: PipelineTiming, dma: &mut Dma) {
        let Some(id) = self.order.pop_front() else { return };
        self.started = 0;
        self.retiring.push_back(id);
        let mut element = Element { id: dma.requests[id].head.into(), len, again: false };
        self.misbehave(id, &mut element, dma, now);
        self.used.push(element);
        let next = now + dma.timing.clock;
        self.turns.device_free = next;
        self.start_device(next, dma);
        dma.schedule.at(next, Event::Turn(self.ring.index));
        let then = dma.edges.at(now, timing.completion);
        let request = &mut dma.requests[id];
        if request.data.is_empty() {
            self.turns.idle = then;
            return;
        }
        request.walk = Walk::default();
        request.walk.skip(&request.segments[request.readable..], request.write_from);
        self.turns.stage = Stage::Payload;
        self.give(then, What::Burst(id), None, dma);
    }

    fn give(&self, since: Instant, what: What, release: Option<(u16, u16)>, dma: &mut Dma) {
        let index = self.ring.index;
        dma.wish(Wish { since, rank: (index, 0), what, release, then: Then::Completion(index) });
    }

    /// The write engine has taken what the completion engine had for it.
    pub(crate) fn given(&mut self, now: Instant, timing: PipelineTiming, dma: &mut Dma) {
        match self.turns.stage {
            Stage::Idle => {}
            Stage::Payload => self.idle(now, timing, dma),
            Stage::Elements => {
                self.turns.stage = Stage::Index;
                let index = self.used.idx.wrapping_add(self.turns.batch.moved);
                let data = Payload::from_slice(&index.to_le_bytes());
                let what = What::Bytes(self.ring.device.wrapping_add(USED_IDX), data);
                let release = Some((self.ring.index, self.turns.batch.requests));
                self.give(now, what, release, dma);
            }
            Stage::Index => {
                self.used.idx = self.used.idx.wrapping_add(self.turns.batch.moved);
                dma.published(now, self.ring.index, self.used.idx);
                self.notify(now, dma);
                self.idle(now, timing, dma);
            }
        }
    }

    fn idle(&mut self, now: Instant, timing: PipelineTiming, dma: &mut Dma) {
        self.turns.stage = Stage::Idle;
        self.turns.idle = now;
        self.turn(now, timing, dma);
    }
}
