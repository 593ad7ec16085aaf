//! The read engine: of those who ask it takes one at a time, rings before payload, and keeps it until its
//! request is with the transmitter, or its bytes have come from memory on the card.

use std::collections::VecDeque;

use pcie_sim::endpoint::Port;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{Attributes, FlowClass, MemRead, Tlp};

use super::{PipelineTiming, take_front_if};
use crate::dma::request::one_tlp;
use crate::dma::{Dma, Event, Owner, RingAccess};

/// Somebody who wants bytes of a ring.
#[derive(Debug)]
struct Ask {
    ready: Instant,
    fence: u64,
    owner: Owner,
    address: u64,
    left: u32,
    at: u32,
}

/// A request at the transmitter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Issue {
    ready: Instant,
    owner: Owner,
    address: u64,
    at: u32,
    len: u16,
    /// The queue whose payload it is.
    pub(super) row: Option<u16>,
}

/// The read engine.
#[derive(Debug, Default)]
pub(super) struct Reads {
    asks: Vec<Ask>,
    issue: Option<Issue>,
    /// Whose bytes come from memory on the card, and the last cycle in which they do.
    local: Option<(Owner, Instant)>,
    free: Instant,
    /// Cycles in which the host reads memory on the card.
    host: VecDeque<Instant>,
}

/// Who goes first: fetch, suppression, payload; of equals the lower queue.
fn rank(owner: Owner) -> (u8, u16) {
    match owner {
        Owner::Fetch(queue) => (0, queue),
        Owner::Suppression(queue) => (1, queue),
        Owner::Payload(_) => (2, 0),
        Owner::Nobody => (3, 0),
    }
}

impl Dma {
    /// Asks for bytes of a ring, `delay` cycles from now.
    pub(crate) fn ask(&mut self, now: Instant, delay: u32, access: RingAccess) {
        let RingAccess { owner, address, len_bytes: left, fenced } = access;
        let ready = self.edges.at(now, delay);
        let fence = if fenced { self.posted_given } else { 0 };
        self.engines.reads.asks.push(Ask { ready, fence, owner, address, left, at: 0 });
    }

    /// The host reads memory on the card, and `timing` says when.
    pub(crate) fn host_reads(&mut self, now: Instant, timing: PipelineTiming) {
        // Address, data, and then the answer is at the transmitter.
        let at = self.edges.at(now, timing.memory_answer.saturating_sub(2));
        self.engines.reads.host.push_back(at);
    }

    /// Whether a read for this owner has been asked for and has not left.
    pub(crate) fn ask_waits(&self, now: Instant, owner: Owner) -> bool {
        let reads = &self.engines.reads;
        reads.asks.iter().any(|ask| ask.owner == owner)
            || reads.issue.is_some_and(|issue| issue.owner == owner)
            || reads.local.is_some_and(|(local, last)| local == owner && now <= last)
    }

    /// The read engine takes the next one up.
    pub(super) fn pick_read(&mut self, now: Instant, timing: PipelineTiming) {
        if self.engines.reads.issue.is_some() || self.engines.reads.free > now {
            return;
        }
        let gone = self.posted_gone;
        let asks = self.engines.reads.asks.iter().enumerate();
        let ring = asks
            .filter(|(_, ask)| ask.ready <= now && ask.fence <= gone)
            .min_by_key(|(_, ask)| rank(ask.owner))
            .map(|(at, _)| at);
        match ring {
            Some(at) => self.pick_ring(now, at, timing),
            None => self.pick_payload(now, timing),
        }
    }

    fn pick_ring(&mut self, now: Instant, place: usize, timing: PipelineTiming) {
        let read_max = self.limits.read_max;
        let ask = &mut self.engines.reads.asks[place];
        let len = one_tlp(ask.address, ask.left, read_max);
        let (owner, address, at) = (ask.owner, ask.address, ask.at);
        ask.address = ask.address.wrapping_add(len.into());
        ask.left -= u32::from(len);
        ask.at += u32::from(len);
        let last = ask.left == 0;
        if last {
            self.engines.reads.asks.swap_remove(place);
        }
        let Some(offset) = self.memory.locate(address, len.into()) else {
            return self.issue(now, timing, (owner, None), (address, at, len));
        };
        let done = self.read_locally(now, owner, len, timing);
        if last {
            let offset = offset.wrapping_sub(at.into());
            self.schedule.at(done, Event::LocalRead { owner, offset });
        }
    }

    /// A request of the read engine's, for the transmitter.
    pub(super) fn issue(
        &mut self,
        now: Instant,
        timing: PipelineTiming,
        (owner, row): (Owner, Option<u16>),
        (address, at, len): (u64, u32, u16),
    ) {
        let ready = self.edges.at(now, timing.read_issue);
        self.engines.reads.issue = Some(Issue { ready, owner, address, at, len, row });
    }

    /// Bytes come from memory on the card; gives the edge at which they are there.
    pub(super) fn read_locally(
        &mut self,
        now: Instant,
        owner: Owner,
        len: u16,
        timing: PipelineTiming,
    ) -> Instant {
        let clock = self.timing.clock;
        let engines = &mut self.engines;
        while take_front_if(&mut engines.reads.host, |at| *at < now).is_some() {}
        let mut last = now;
        for _ in 0..self.timing.beats(len.into()).max(1) {
            // The host comes first.
            while engines.reads.host.contains(&(last + clock)) {
                last += clock;
            }
            last += clock * u64::from(timing.local_read);
            engines.way_in.hold(now, last, clock);
        }
        let done = last + clock;
        self.engines.reads.local = Some((owner, last));
        self.engines.reads.free = done;
        done
    }

    /// The read engine's request, if it may leave.
    pub(super) fn choose_read(
        &mut self,
        now: Instant,
        port: &dyn Port,
        timing: PipelineTiming,
    ) -> Option<Tlp> {
        let issue = self.engines.reads.issue.filter(|issue| issue.ready <= now)?;
        let allowed = self.limits.bus_master
            && self.tags.available()
            && self.engines.way_out.allows(port, FlowClass::NonPosted, 0);
        if !allowed {
            return None;
        }
        self.engines.reads.issue = None;
        self.engines.reads.free = now + self.timing.clock;
        if let Some(queue) = issue.row {
            self.payload_sent(now, queue, timing);
        }
        let Issue { owner, address, at, len, .. } = issue;
        let tag = self.tags.take(owner, at, len, now);
        let (requester, attributes) = (self.limits.id, Attributes::default());
        Some(Tlp::MemRead(MemRead { requester, tag, address, len_bytes: len, attributes }))
    }

    /// When there is a request for the transmitter.
    pub(super) fn issue_at(&self) -> Instant {
        self.engines.reads.issue.map_or(Instant::FAR_FUTURE, |issue| issue.ready)
    }

    /// When the read engine can take somebody up.
    pub(super) fn read_at(&self) -> Instant {
        let reads = &self.engines.reads;
        if reads.issue.is_some() {
            return Instant::FAR_FUTURE;
        }
        let gone = self.posted_gone;
        let asks = reads.asks.iter().filter(|ask| ask.fence <= gone).map(|ask| ask.ready);
        let first = asks.chain(self.payload_asks()).min().unwrap_or(Instant::FAR_FUTURE);
        if first == Instant::FAR_FUTURE { first } else { first.max(reads.free) }
    }
}
