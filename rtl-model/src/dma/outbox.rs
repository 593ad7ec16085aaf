//! What leaves next: one TLP at a time, on a clock edge, when the link has credits for it.

use pcie_sim::endpoint::Port;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{
    Attributes, FlowClass, MemRead, MemWrite, Message, MessageRouting, Payload, Tag, Tlp,
};

use super::request::{Chunk, Walk, one_tlp};
use super::{Dma, Owner, Posted};

impl Dma {
    /// Sends what can leave at `now`: at most one TLP, since the next one needs the way out for itself.
    #[inline]
    pub(crate) fn pump(&mut self, now: Instant, port: &mut dyn Port) {
        if let Some(timing) = self.timing.pipeline {
            return self.turn(now, port, timing);
        }
        if self.nothing_waits() {
            return;
        }
        self.pass_releases();
        if self.busy_until <= now && self.edges.at(now, 0) == now {
            self.send_next(now, port);
        }
    }

    fn send_next(&mut self, now: Instant, port: &mut dyn Port) {
        // Answers first, as the CPU stands still for them; then reads, since much waits for them and
        // the tags bound them; then writes.
        loop {
            let gone = self.posted_gone;
            let sent = self.send_answer(now, port)
                || self.send_signal(now, port)
                || self.send_ring_read(now, port)
                || self.send_payload_read(now, port)
                || self.send_posted(now, port);
            if sent {
                self.pass_releases();
            }
            // A burst whose rest lies on the card ends without a TLP, and an answer may have waited for
            // just that end: nothing else would wake the card for it.
            if sent || self.posted_gone == gone {
                break;
            }
        }
    }

    #[inline]
    fn nothing_waits(&self) -> bool {
        let reads = self.ring_reads.len() | self.payload_reads.len();
        reads | self.posted.len() | self.answers.len() | self.signals.len() == 0
    }

    /// When [`Self::pump`] can next do something without hearing from the link.
    pub(crate) fn next_wake(&mut self, now: Instant) -> Option<Instant> {
        let mut wake = self.schedule.next_time().unwrap_or(Instant::FAR_FUTURE);
        if self.timing.pipeline.is_some() {
            wake = wake.min(self.next_turn(now));
        } else if !self.nothing_waits() {
            wake = wake.min(self.next_departure(now));
        }
        wake = wake.min(self.tags.deadline());
        (wake != Instant::FAR_FUTURE).then_some(wake)
    }

    fn next_departure(&self, now: Instant) -> Instant {
        let slot = self.slot(now);
        let mut wake = Instant::FAR_FUTURE;
        let mut front = |ready: Instant| {
            // What was ready in a slot that is past, and is still here, waits for a credit, a tag or a
            // fence.
            if slot > now || ready > now {
                wake = wake.min(ready.max(slot));
            }
        };
        if let Some(answer) = self.answers.front() {
            front(answer.ready);
        }
        if let Some(read) = self.ring_reads.front() {
            front(read.ready);
        }
        if let Some(read) = self.payload_reads.front() {
            front(read.ready);
        }
        if let Some(ready) = self.posted.front().and_then(Posted::ready) {
            front(ready);
        }
        if !self.signals.is_empty() {
            front(Instant::ZERO);
        }
        wake
    }

    /// The first moment at or after `now` when a TLP may leave.
    #[inline]
    fn slot(&self, now: Instant) -> Instant {
        self.edges.at(now, 0).max(self.busy_until)
    }

    #[inline]
    fn send(&mut self, now: Instant, port: &mut dyn Port, tlp: Tlp) {
        let beats = self.timing.beats(tlp.len_bytes());
        self.busy_until = now + self.timing.clock * u64::from(beats.max(1));
        port.send(tlp);
    }

    fn send_answer(&mut self, now: Instant, port: &mut dyn Port) -> bool {
        let Some(answer) = self.answers.front() else { return false };
        // Without Bus Master Enable posted writes stand still; the host must still get its answers.
        let before = answer.fence.unwrap_or(0);
        let in_order = before <= self.posted_gone || !self.limits.bus_master;
        let credits = (answer.completion.data.len() as u32).div_ceil(16);
        if answer.ready > now || !in_order || !port.can_send(FlowClass::Completion, credits) {
            return false;
        }
        if let Some(answer) = self.answers.pop_front() {
            self.send(now, port, Tlp::Completion(answer.completion));
        }
        true
    }

    /// Of a pipelined card: the answer that may leave now.
    pub(crate) fn choose_answer(&mut self, now: Instant, port: &dyn Port) -> Option<Tlp> {
        let (given, gone) = (self.posted_given, self.posted_gone);
        let answer = self.answers.front_mut().filter(|answer| answer.ready <= now)?;
        let before = *answer.fence.get_or_insert(given);
        let credits = (answer.completion.data.len() as u32).div_ceil(16);
        let in_order = before <= gone || !self.limits.bus_master;
        if !in_order || !self.engines.allows(port, FlowClass::Completion, credits) {
            return None;
        }
        self.answers.pop_front().map(|answer| Tlp::Completion(answer.completion))
    }

    /// Of a pipelined card: what is given until now goes before the first answer that is about to be ready.
    pub(crate) fn fence_answer(&mut self) {
        let given = self.posted_given;
        if let Some(answer) = self.answers.iter_mut().find(|answer| answer.fence.is_none()) {
            answer.fence = Some(given);
        }
    }

    /// When the first answer is ready.
    pub(crate) fn answer_at(&self) -> Instant {
        self.answers.front().map_or(Instant::FAR_FUTURE, |answer| answer.ready)
    }

    /// Of a pipelined card: the message that may leave now.
    pub(crate) fn choose_signal(&mut self, port: &dyn Port) -> Option<Tlp> {
        if !self.signals_wait() || !self.engines.allows(port, FlowClass::Posted, 0) {
            return None;
        }
        self.take_signal()
    }

    /// Whether an error is to be told.
    pub(crate) fn signals_wait(&self) -> bool {
        !self.signals.is_empty()
    }

    fn send_signal(&mut self, now: Instant, port: &mut dyn Port) -> bool {
        if self.signals.is_empty() || !port.can_send(FlowClass::Posted, 0) {
            return false;
        }
        if let Some(message) = self.take_signal() {
            self.send(now, port, message);
        }
        true
    }

    /// Error messages are not requests that Bus Master Enable holds back. PCIe 5.0 §7.5.1.1.3.
    fn take_signal(&mut self) -> Option<Tlp> {
        let signal = self.signals.pop_front()?;
        let message = Message {
            requester: self.limits.id,
            tag: Tag(0),
            code: signal.code(),
            routing: MessageRouting::ToRootComplex,
            specific: [0; 8],
            data: Payload::new(),
            attributes: Attributes::default(),
        };
        Some(Tlp::Message(Box::new(message)))
    }

    fn may_read(&self, port: &dyn Port) -> bool {
        self.limits.bus_master && self.tags.available() && port.can_send(FlowClass::NonPosted, 0)
    }

    fn send_ring_read(&mut self, now: Instant, port: &mut dyn Port) -> bool {
        let Some(read) = self.ring_reads.front() else { return false };
        if read.ready > now || read.fence > self.posted_gone || !self.may_read(port) {
            return false;
        }
        let len = one_tlp(read.address, read.left, self.limits.read_max);
        let (owner, address, at) = (read.owner, read.address, read.at);
        if read.left == u32::from(len) {
            self.ring_reads.pop_front();
        } else if let Some(read) = self.ring_reads.front_mut() {
            read.address = read.address.wrapping_add(len.into());
            read.left -= u32::from(len);
            read.at += u32::from(len);
        }
        self.send_read(now, port, owner, address, at, len);
        true
    }

    fn send_payload_read(&mut self, now: Instant, port: &mut dyn Port) -> bool {
        let Some(read) = self.payload_reads.front() else { return false };
        if read.ready > now || !self.may_read(port) {
            return false;
        }
        let id = read.request;
        let Some((chunk, walk)) = self.next_remote_read(id, self.requests[id].walk) else {
            self.payload_reads.pop_front();
            return self.send_payload_read(now, port);
        };
        self.requests[id].walk = walk;
        // The job must be gone before its last answer comes, for then the request moves on.
        if self.next_remote_read(id, walk).is_none() {
            self.payload_reads.pop_front();
        }
        self.send_read(now, port, Owner::Payload(id), chunk.address, chunk.at as u32, chunk.len);
        true
    }

    /// The next run to be read over the link, passing over memory on the card.
    fn next_remote_read(&self, id: u32, mut walk: Walk) -> Option<(Chunk, Walk)> {
        let request = &self.requests[id];
        loop {
            let chunk = walk.next(request.readable_segments(), self.limits.read_max)?;
            if self.memory.locate(chunk.address, chunk.len.into()).is_none() {
                return Some((chunk, walk));
            }
        }
    }

    #[inline]
    fn send_read(
        &mut self,
        now: Instant,
        port: &mut dyn Port,
        owner: Owner,
        address: u64,
        at: u32,
        len_bytes: u16,
    ) {
        let tag = self.tags.take(owner, at, len_bytes, now);
        let requester = self.limits.id;
        let attributes = Attributes::default();
        let read = MemRead { requester, tag, address, len_bytes, attributes };
        self.send(now, port, Tlp::MemRead(read));
    }

    fn send_posted(&mut self, now: Instant, port: &mut dyn Port) -> bool {
        let Some(ready) = self.posted.front().and_then(Posted::ready) else { return false };
        if ready > now || !self.limits.bus_master {
            return false;
        }
        let Some((address, len)) = self.peek_posted() else {
            self.drop_posted();
            self.pass_releases();
            return self.send_posted(now, port);
        };
        let dwords = ((address & 3) as usize + len).div_ceil(4);
        if !port.can_send(FlowClass::Posted, dwords.div_ceil(4) as u32) {
            return false;
        }
        let data = self.take_posted();
        let (requester, attributes) = (self.limits.id, Attributes::default());
        let write = MemWrite { requester, tag: Tag(0), address, data, attributes };
        self.send(now, port, Tlp::MemWrite(write));
        true
    }

    /// Address and length of the next write; `None` when a burst has nothing left to send.
    fn peek_posted(&mut self) -> Option<(u64, usize)> {
        match self.posted.front()? {
            Posted::Write { address, data, .. } => Some((*address, data.len())),
            Posted::Burst { request, .. } => self.peek_burst(*request),
            Posted::Release { .. } => None,
        }
    }

    fn take_posted(&mut self) -> Payload {
        match self.posted.front_mut() {
            Some(Posted::Write { data, .. }) => {
                let data = std::mem::take(data);
                self.drop_posted();
                data
            }
            Some(Posted::Burst { request, .. }) => {
                let id = *request;
                self.take_burst(id)
            }
            Some(Posted::Release { .. }) | None => Payload::new(),
        }
    }

    /// Address and length of the next write of a burst, passing over memory on the card.
    fn peek_burst(&mut self, id: u32) -> Option<(u64, usize)> {
        let payload_max = self.limits.payload_max;
        let request = &mut self.requests[id];
        let end = request.write_from + request.data.len() as u64;
        loop {
            let mut walk = request.walk;
            let chunk = walk.next(&request.segments[request.readable..], payload_max)?;
            if chunk.at >= end {
                return None;
            }
            if self.memory.locate(chunk.address, chunk.len.into()).is_none() {
                return Some((chunk.address, u64::from(chunk.len).min(end - chunk.at) as usize));
            }
            request.walk = walk;
        }
    }

    fn take_burst(&mut self, id: u32) -> Payload {
        let payload_max = self.limits.payload_max;
        let request = &mut self.requests[id];
        let Some(chunk) = request.walk.next(&request.segments[request.readable..], payload_max)
        else {
            return Payload::new();
        };
        let at = (chunk.at - request.write_from) as usize;
        let end = (at + usize::from(chunk.len)).min(request.data.len());
        let data = Payload::from_slice(&request.data[at..end]);
        if end == request.data.len() {
            self.drop_posted();
        }
        data
    }

    fn drop_posted(&mut self) {
        self.posted.pop_front();
        self.posted_gone += 1;
    }

    /// Reports the requests of which nothing is left to send.
    #[inline(always)]
    fn pass_releases(&mut self) {
        if let Some(Posted::Release { .. }) = self.posted.front() {
            self.pass_first_releases();
        }
    }

    fn pass_first_releases(&mut self) {
        while let Some(&Posted::Release { queue, requests }) = self.posted.front() {
            self.released.push((queue, requests));
            self.drop_posted();
        }
    }
}

impl Posted {
    fn ready(&self) -> Option<Instant> {
        match self {
            Self::Write { ready, .. } | Self::Burst { ready, .. } => Some(*ready),
            Self::Release { .. } => None,
        }
    }
}
