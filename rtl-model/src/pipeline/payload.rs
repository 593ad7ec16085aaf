//! Reading of payload: request by request, buffer by buffer, a request to the read engine at a time.

use std::collections::VecDeque;

use pcie_sim::time::Instant;

use super::PipelineTiming;
use crate::dma::request::Walk;
use crate::dma::{Dma, Event, Owner};

/// The requests of a queue whose payload is to be read.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// Each with the edge from which on it is there.
    requests: VecDeque<(Instant, u32)>,
    /// When the first one is free to be looked at.
    idle: Instant,
    /// When the read engine is asked for more of the first one, once it is under way.
    ask: Option<Instant>,
}

impl Dma {
    /// A request's payload is wanted; it is there at `at`. [`Event::Ready`] says when there is none, and so
    /// do the bytes that come.
    pub(crate) fn want_payload(&mut self, at: Instant, id: u32, timing: PipelineTiming) {
        let request = &mut self.requests[id];
        if request.failed {
            request.missing = 0;
        } else {
            request.data.resize(request.readable_bytes as usize, 0);
            request.missing = request.readable_bytes;
        }
        let queue = request.queue;
        let rows = &mut self.engines.rows;
        if rows.len() <= usize::from(queue) {
            rows.resize_with(usize::from(queue) + 1, Row::default);
        }
        rows[usize::from(queue)].requests.push_back((at, id));
        self.look_at_row(queue, timing);
    }

    /// Passes over requests without payload, and begins with the next one.
    fn look_at_row(&mut self, queue: u16, timing: PipelineTiming) {
        let clock = self.timing.clock;
        let row = &mut self.engines.rows[usize::from(queue)];
        if row.ask.is_some() {
            return;
        }
        while let Some(&(at, id)) = row.requests.front() {
            let begins = at.max(row.idle);
            if self.requests[id].missing != 0 {
                row.ask = Some(begins + clock * u64::from(timing.payload));
                return;
            }
            row.requests.pop_front();
            row.idle = begins + clock;
            self.schedule.at(row.idle, Event::Ready(id));
        }
    }

    /// When rows ask.
    pub(super) fn payload_asks(&self) -> impl Iterator<Item = Instant> {
        self.engines.rows.iter().filter_map(|row| row.ask)
    }

    /// The read engine takes up payload, if some is asked for.
    pub(super) fn pick_payload(&mut self, now: Instant, timing: PipelineTiming) {
        let rows = &self.engines.rows;
        let asks = |row: &Row| row.ask.is_some_and(|at| at <= now);
        let Some(queue) = rows.iter().position(asks) else { return };
        let Some(&(_, id)) = rows[queue].requests.front() else { return };
        let queue = queue as u16;
        let read_max = self.limits.read_max;
        let request = &mut self.requests[id];
        let mut walk = request.walk;
        let Some(chunk) = walk.next(request.readable_segments(), read_max) else { return };
        request.walk = walk;
        let (address, at, len) = (chunk.address, chunk.at as u32, chunk.len);
        let Some(offset) = self.memory.locate(address, len.into()) else {
            return self.issue(now, timing, (Owner::Payload(id), Some(queue)), (address, at, len));
        };
        let done = self.read_locally(now, Owner::Payload(id), len, timing);
        self.memory.read(offset, &mut self.requests[id].data[at as usize..][..usize::from(len)]);
        self.schedule.at(done, Event::LocalPayload { request: id, bytes: len });
        let last = Instant::from_ps(done.as_ps() - self.timing.clock.as_ps());
        self.payload_sent(last, queue, timing);
    }

    /// A read of the first request of a row has gone in the cycle of `now`.
    pub(super) fn payload_sent(&mut self, now: Instant, queue: u16, timing: PipelineTiming) {
        let clock = self.timing.clock;
        let row = &mut self.engines.rows[usize::from(queue)];
        let Some(&(_, id)) = row.requests.front() else { return };
        let request = &self.requests[id];
        let segments = request.readable_segments();
        let walk: Walk = request.walk;
        if walk.is_over(segments) {
            row.requests.pop_front();
            row.idle = now + clock;
            row.ask = None;
            return self.look_at_row(queue, timing);
        }
        let cycles = if walk.is_between(segments) { timing.segment } else { 1 };
        row.ask = Some(now + clock * u64::from(cycles));
    }
}
