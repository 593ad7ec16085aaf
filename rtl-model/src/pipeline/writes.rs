//! The write engine: all that is posted, in the order in which it was given; cut into TLPs, or into writes of
//! memory on the card.

use std::collections::VecDeque;

use pcie_sim::endpoint::Port;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{Attributes, FlowClass, MemWrite, Payload, Tag, Tlp};

use super::PipelineTiming;
use crate::dma::request::{Walk, one_tlp};
use crate::dma::{Dma, Event};

/// Jobs that wait for the write engine.
const JOBS: usize = 8;
/// Beats that wait for the transmitter, at which the write engine begins no other TLP.
const BEATS: u32 = 6;

/// What becomes of a wish once it is a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing waits for it.
    Nothing,
    /// The completion engine of a queue goes on.
    Completion(u16),
    /// The fetch engine of a queue, which has written `avail_event`, looks at the index once more.
    Armed(u16),
}

/// What is to be written.
#[derive(Debug)]
pub(crate) enum What {
    /// Bytes at a bus address.
    Bytes(u64, Payload),
    /// A request's data to its writable buffers.
    Burst(u32),
}

/// Something to be given to the write engine. One is taken a cycle: of queues the lower first, of a queue the
/// completion engine's first, interrupts last.
#[derive(Debug)]
pub(crate) struct Wish {
    /// From this edge on.
    pub(crate) since: Instant,
    /// Whose; interrupts have the last.
    pub(crate) rank: (u16, u8),
    /// What.
    pub(crate) what: What,
    /// Requests of a queue that are over with it.
    pub(crate) release: Option<(u16, u16)>,
    /// Who hears of its being taken.
    pub(crate) then: Then,
}

/// Behind all queues.
pub(crate) const MESSAGE: (u16, u8) = (u16::MAX, 0);

#[derive(Debug)]
struct Job {
    here: Instant,
    what: What,
    release: Option<(u16, u16)>,
    /// How far it has been cut.
    done: usize,
}

/// A TLP, or a run for memory on the card, before the transmitter.
#[derive(Debug)]
struct Chunk {
    ready: Instant,
    beats: u32,
    address: u64,
    data: Payload,
    /// The last of its job.
    ends: Option<Option<(u16, u16)>>,
}

/// The write engine.
#[derive(Debug, Default)]
pub(super) struct Writes {
    wishes: VecDeque<Wish>,
    jobs: VecDeque<Job>,
    /// When the engine can take up the next job, or the next TLP of the first one.
    free: Instant,
    /// The first job has begun.
    begun: bool,
    /// The first job is cut, and its place free from `free` on.
    over: bool,
    chunks: VecDeque<Chunk>,
    /// When the last burst that was cut reads out of its queue's buffers: queue, first and last cycle.
    burst: Option<(u16, Instant, Instant)>,
    /// Beats of the chunk before leave until here.
    beats_free: Instant,
}

impl Writes {
    fn beats(&self) -> u32 {
        self.chunks.iter().map(|chunk| chunk.beats).sum()
    }
}

impl Dma {
    /// Wishes something to be written.
    pub(crate) fn wish(&mut self, wish: Wish) {
        self.engines.writes.wishes.push_back(wish);
    }

    /// Takes the first wish.
    pub(super) fn take_wish(&mut self, now: Instant, timing: PipelineTiming) {
        let writes = &mut self.engines.writes;
        if writes.over && writes.free <= now {
            writes.jobs.pop_front();
            (writes.over, writes.begun) = (false, false);
        }
        if writes.wishes.is_empty() || writes.jobs.len() >= JOBS {
            return;
        }
        let wishes = writes.wishes.iter().enumerate();
        let first = wishes.filter(|(_, wish)| wish.since <= now).min_by_key(|(_, wish)| wish.rank);
        let Some(place) = first.map(|(place, _)| place) else { return };
        let Some(wish) = writes.wishes.remove(place) else { return };
        let here = now + self.timing.clock * u64::from(timing.job);
        writes.jobs.push_back(Job { here, what: wish.what, release: wish.release, done: 0 });
        self.posted_given += 1;
        if wish.then != Then::Nothing {
            self.schedule.at(now + self.timing.clock, Event::Given(wish.then));
        }
    }

    /// When a wish can be taken.
    pub(super) fn wish_at(&self) -> Instant {
        let writes = &self.engines.writes;
        let Some(first) = writes.wishes.iter().map(|wish| wish.since).min() else {
            return Instant::FAR_FUTURE;
        };
        match (writes.jobs.len() < JOBS, writes.over) {
            (true, _) => first,
            (false, true) => first.max(writes.free),
            (false, false) => Instant::FAR_FUTURE,
        }
    }

    /// The write engine cuts the next TLP.
    pub(super) fn cut(&mut self, now: Instant, timing: PipelineTiming) {
        let writes = &mut self.engines.writes;
        let Some(job) = writes.jobs.front_mut() else { return };
        if writes.over || job.here > now || writes.free > now {
            return;
        }
        if writes.chunks.iter().map(|chunk| chunk.beats).sum::<u32>() >= BEATS {
            return;
        }
        let clock = self.timing.clock;
        let begins = !writes.begun;
        writes.begun = true;
        let payload_max = self.limits.payload_max;
        let piece = match &job.what {
            What::Bytes(address, data) => bytes_piece(*address, data, job.done, payload_max),
            What::Burst(id) => burst_piece(&mut self.requests[*id], payload_max),
        };
        let Some(Piece { address, data, last, between }) = piece else {
            // Nothing of it has to leave.
            self.posted_gone += 1;
            writes.over = true;
            writes.free = now + clock;
            return;
        };
        job.done += data.len();
        let burst = matches!(job.what, What::Burst(_));
        let first = match (begins, burst) {
            (true, true) => now + clock * u64::from(timing.cut + timing.write_segment),
            (true, false) => now + clock * u64::from(timing.cut),
            (false, _) => now,
        };
        let lanes = (address & 3) as usize + data.len();
        let beats = self.timing.beats(lanes).max(1);
        if let What::Burst(id) = job.what {
            let last = first + clock * u64::from(beats - 1);
            writes.burst = Some((self.requests[id].queue, first, last));
        }
        let ready = first + clock * u64::from(timing.beat);
        let ends = last.then(|| job.release.take());
        writes.chunks.push_back(Chunk { ready, beats, address, data, ends });
        let gap = match (last, between) {
            (true, _) => 0,
            (false, false) => timing.chunk,
            (false, true) => 2 * timing.chunk + timing.write_segment,
        };
        writes.free = first + clock * u64::from(beats + gap);
        writes.over = last;
    }

    /// Whether the device may read out of a queue's buffers; `true` when nobody else is going to while it is at
    /// its request. Else, from when on to ask again.
    pub(crate) fn buffer_is_free(&self, now: Instant, queue: u16) -> Result<bool, Instant> {
        let writes = &self.engines.writes;
        let next = now + self.timing.clock;
        if let Some((of, first, last)) = writes.burst
            && of == queue
            && now <= last
        {
            return if first <= now { Err(last + self.timing.clock) } else { Ok(false) };
        }
        let ours =
            |what: &What| matches!(what, What::Burst(id) if self.requests[*id].queue == queue);
        let under_way = writes.begun && !writes.over;
        if under_way && writes.free <= now && writes.beats() < BEATS {
            // The write engine begins another TLP in this very cycle.
            return if ours(&writes.jobs[0].what) { Err(next) } else { Ok(false) };
        }
        let over = usize::from(writes.over);
        let jobs = writes.jobs.iter().skip(over).map(|job| &job.what);
        Ok(!jobs.chain(writes.wishes.iter().map(|wish| &wish.what)).any(ours))
    }

    /// When the write engine can go on.
    pub(super) fn cut_at(&self) -> Instant {
        let writes = &self.engines.writes;
        let next = usize::from(writes.over);
        match writes.jobs.get(next) {
            Some(job) if writes.beats() < BEATS => job.here.max(writes.free),
            _ => Instant::FAR_FUTURE,
        }
    }

    /// The next write, if it may leave. What goes to memory on the card goes there.
    pub(super) fn choose_write(&mut self, now: Instant, port: &dyn Port) -> Option<Tlp> {
        let writes = &self.engines.writes;
        let chunk = writes.chunks.front()?;
        if chunk.ready > now || writes.beats_free > now || !self.limits.bus_master {
            return None;
        }
        if self.memory.locate(chunk.address, chunk.data.len() as u64).is_some() {
            return None;
        }
        let dwords = ((chunk.address & 3) as usize + chunk.data.len()).div_ceil(4);
        let credits = dwords.div_ceil(4) as u32;
        if !self.engines.way_out.allows(port, FlowClass::Posted, credits) {
            return None;
        }
        let (address, data) = self.take_chunk(now)?;
        let (requester, attributes) = (self.limits.id, Attributes::default());
        Some(Tlp::MemWrite(MemWrite { requester, tag: Tag(0), address, data, attributes }))
    }

    /// The first chunk's beats go, from this cycle on.
    fn take_chunk(&mut self, now: Instant) -> Option<(u64, Payload)> {
        let Chunk { beats, address, data, ends, .. } = self.engines.writes.chunks.pop_front()?;
        let gone = now + self.timing.clock * u64::from(beats);
        self.engines.writes.beats_free = gone;
        if let Some(release) = ends {
            self.schedule.at(gone, Event::Gone(release));
        }
        Some((address, data))
    }

    /// Writes memory on the card; the transmitter is not needed for it.
    pub(super) fn write_locally(&mut self, now: Instant) {
        let writes = &self.engines.writes;
        let Some(chunk) = writes.chunks.front() else { return };
        if chunk.ready > now || writes.beats_free > now {
            return;
        }
        let Some(offset) = self.memory.locate(chunk.address, chunk.data.len() as u64) else {
            return;
        };
        // The host comes first.
        let is_memory = |address: u64| self.memory.locate(address, 1).is_some();
        if self.engines.way_in.writes_memory(now, self.timing.clock, is_memory) {
            self.engines.writes.beats_free = now + self.timing.clock;
            return;
        }
        if let Some((_, data)) = self.take_chunk(now) {
            self.memory.write(offset, &data);
        }
    }

    /// When the next write can leave.
    pub(super) fn chunk_at(&self) -> Instant {
        let writes = &self.engines.writes;
        let first = writes.chunks.front();
        first.map_or(Instant::FAR_FUTURE, |chunk| chunk.ready.max(writes.beats_free))
    }
}

/// A run of bytes that one TLP carries.
struct Piece {
    address: u64,
    data: Payload,
    /// Nothing follows.
    last: bool,
    /// What follows is in another buffer.
    between: bool,
}

fn bytes_piece(address: u64, data: &Payload, done: usize, payload_max: u16) -> Option<Piece> {
    let rest = &data[done..];
    let address = address.wrapping_add(done as u64);
    if rest.is_empty() {
        return None;
    }
    let len = usize::from(one_tlp(address, rest.len() as u32, payload_max));
    let last = len == rest.len();
    Some(Piece { address, data: Payload::from_slice(&rest[..len]), last, between: false })
}

fn burst_piece(request: &mut crate::dma::request::Request, payload_max: u16) -> Option<Piece> {
    let mut walk: Walk = request.walk;
    let segments = &request.segments[request.readable..];
    let chunk = walk.next(segments, payload_max)?;
    let at = chunk.at.checked_sub(request.write_from)? as usize;
    let end = (at + usize::from(chunk.len)).min(request.data.len());
    if at >= end {
        return None;
    }
    let data = Payload::from_slice(&request.data[at..end]);
    let last = end == request.data.len() || walk.is_over(segments);
    let between = walk.is_between(segments);
    request.walk = walk;
    Some(Piece { address: chunk.address, data, last, between })
}
