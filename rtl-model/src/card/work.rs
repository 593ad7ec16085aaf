//! What the card's engines do when something is at hand, and where their results go.

use pcie_sim::endpoint::Port;
use pcie_sim::spec::net::{CONTROL_QUEUE, RECEIVE_QUEUE, TRANSMIT_QUEUE, ctrl};
use pcie_sim::spec::virtio_pci::isr;
use pcie_sim::spec::virtq::AVAIL_IDX;
use pcie_sim::time::Instant;

use super::Card;
use crate::device::Device;
use crate::device::net::Lost;
use crate::dma::tags::Arrival;
use crate::dma::{Cause, Event, Owner};
use crate::pipeline::Then;
use crate::ring::RingFault;

impl Card {
    #[inline]
    pub(super) fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Fetch(queue) => self.step(now, queue),
            Event::Suppression(queue) => self.suppression(now, queue),
            Event::LocalRead { owner, offset } => self.local_read(now, owner, offset),
            Event::Process(request) => {
                let queue = usize::from(self.dma.requests[request].queue);
                if !self.queues[queue].is_held(now, request, &mut self.dma) {
                    self.process(now, request);
                }
            }
            Event::UsedWrite(queue) => {
                self.queues[usize::from(queue)].write_used(now, &mut self.dma)
            }
            Event::Interrupt(cause) => self.interrupt(now, cause),
            Event::Packet => self.packet(now),
            Event::Touch(touch) => self.dma.touch(now, touch),
            Event::Turn(_)
            | Event::Buffer(_)
            | Event::Fence
            | Event::Ready(_)
            | Event::LocalPayload { .. }
            | Event::Given(_)
            | Event::Gone(_) => self.handle_turn(now, event),
        }
    }

    /// All that has landed goes the way in of a pipelined card, and what is through it is received.
    #[cold]
    pub(super) fn come_in(&mut self, now: Instant, port: &mut dyn Port) {
        let Some(timing) = self.dma.timing.pipeline else { return };
        while let Some(tlp) = port.take() {
            self.dma.comes_in(now, tlp, timing);
        }
        while let Some(tlp) = self.dma.engines.way_in.take(now) {
            self.receive(now, tlp);
            while self.happen(now) {}
        }
    }

    /// What happens on a pipelined card only.
    fn handle_turn(&mut self, now: Instant, event: Event) {
        let Some(timing) = self.dma.timing.pipeline else { return };
        match event {
            Event::Turn(queue) => {
                self.queues[usize::from(queue)].turn(now, timing, &mut self.dma);
                if self.device.receives(queue) {
                    self.feed_receive(now);
                }
            }
            Event::Ready(id) => {
                let queue = usize::from(self.dma.requests[id].queue);
                self.queues[queue].payload_ready(now, id, &mut self.dma);
            }
            Event::LocalPayload { request, bytes } => {
                self.payload_arrived(now, request, bytes.into());
            }
            Event::Buffer(queue) => {
                self.queues[usize::from(queue)].read_buffer(now, timing, &mut self.dma);
            }
            Event::Fence => self.dma.fence_answer(),
            Event::Given(Then::Completion(queue)) => {
                self.queues[usize::from(queue)].given(now, timing, &mut self.dma);
            }
            Event::Given(Then::Armed(queue)) => {
                self.queues[usize::from(queue)].armed(now, &mut self.dma);
            }
            Event::Gone(release) => {
                self.dma.posted_gone += 1;
                self.dma.released.extend(release);
                self.collect_released(now);
            }
            _ => {}
        }
    }

    /// Starts the queues that the driver has enabled, once it is ready (STAT-DEV-01).
    pub(super) fn run_queues(&mut self, now: Instant) {
        if !self.registers.running() {
            return self.jump_the_gun(now);
        }
        for index in 0..self.queues.len() {
            let queue = &mut self.queues[index];
            if !queue.on
                && let Err(fault) = queue.start(&self.registers, &self.dma)
            {
                self.ring_fault(now, index as u16, fault);
            }
        }
    }

    fn jump_the_gun(&mut self, now: Instant) {
        for index in 0..self.queues.len() as u16 {
            if let Some(queue) = self.registers.queue(index)
                && queue.enabled
            {
                self.dma.jump_the_gun(now, index, queue.driver.wrapping_add(AVAIL_IDX));
            }
        }
    }

    pub(super) fn doorbell(&mut self, now: Instant, index: u64) {
        self.counters.doorbells += 1;
        if let Some(queue) = usize::try_from(index).ok().and_then(|i| self.queues.get_mut(i))
            && queue.on
        {
            queue.doorbell(now, &mut self.dma);
        }
    }

    /// A completion, or its failure to appear.
    pub(super) fn arrived(&mut self, now: Instant, arrival: Arrival, data: &[u8]) {
        match arrival {
            Arrival::Unexpected => self.counters.unexpected_completions += 1,
            Arrival::Discarded => {
                self.counters.discarded_completions += 1;
                self.end_reset_when_quiet();
            }
            Arrival::Data { owner: Owner::Payload(id), at } => {
                let request = &mut self.dma.requests[id];
                let at = at as usize;
                request.data[at..at + data.len()].copy_from_slice(data);
                self.payload_arrived(now, id, data.len() as u64);
            }
            Arrival::Failed { owner: Owner::Payload(id), missing } => {
                self.dma.requests[id].failed = true;
                self.payload_arrived(now, id, missing.into());
            }
            Arrival::Data { owner, at } => self.ring_arrived(now, owner, Ok((at, data))),
            Arrival::Failed { owner, missing } => {
                self.ring_arrived(now, owner, Err(missing.into()));
            }
        }
    }

    fn payload_arrived(&mut self, now: Instant, id: u32, bytes: u64) {
        let request = &mut self.dma.requests[id];
        request.missing = request.missing.saturating_sub(bytes);
        let queue = usize::from(request.queue);
        self.queues[queue].disturb(now, bytes, &self.dma);
        let request = &self.dma.requests[id];
        if request.missing == 0 {
            let timing = &self.dma.timing;
            let cycles = timing.pipeline.map_or(timing.dma_completion, |_| 0);
            let at = self.dma.edges.at(now, cycles);
            self.queues[queue].payload_ready(at, id, &mut self.dma);
        }
    }

    fn ring_arrived(&mut self, now: Instant, owner: Owner, bytes: Result<(u32, &[u8]), u32>) {
        let timing = &self.dma.timing;
        let there = timing.pipeline.map_or(timing.dma_completion, |_| 0);
        let (inbox, cycles, event) = match owner {
            Owner::Fetch(queue) => {
                let cycles = there + self.queues[usize::from(queue)].arrival_cycles(timing);
                let inbox = &mut self.queues[usize::from(queue)].fetch.inbox;
                (inbox, cycles, Event::Fetch(queue))
            }
            Owner::Suppression(queue) => {
                let inbox = &mut self.queues[usize::from(queue)].used.inbox;
                (inbox, there, Event::Suppression(queue))
            }
            Owner::Payload(_) | Owner::Nobody => return,
        };
        let complete = match bytes {
            Ok((at, data)) => inbox.arrive(at, data),
            Err(missing) => inbox.fail(missing),
        };
        if complete {
            self.dma.after(now, cycles, event);
        }
    }

    /// A read of a ring on the card: the bytes are taken now, and parsing follows.
    fn local_read(&mut self, now: Instant, owner: Owner, offset: u64) {
        match owner {
            Owner::Fetch(queue) => {
                let inbox = &mut self.queues[usize::from(queue)].fetch.inbox;
                self.dma.memory.read(offset, &mut inbox.bytes);
                let queue_engine = &self.queues[usize::from(queue)];
                let cycles = queue_engine.arrival_cycles(&self.dma.timing);
                self.dma.after(now, cycles, Event::Fetch(queue));
            }
            Owner::Suppression(queue) => {
                let inbox = &mut self.queues[usize::from(queue)].used.inbox;
                self.dma.memory.read(offset, &mut inbox.bytes);
                self.suppression(now, queue);
            }
            Owner::Payload(_) | Owner::Nobody => {}
        }
    }

    fn step(&mut self, now: Instant, index: u16) {
        let queue = &mut self.queues[usize::from(index)];
        let result = queue.step(now, &mut self.dma);
        self.after_fetch(now, index, result);
    }

    /// The fetch engine has moved: a batch may have nothing more to wait for, a packet may find a buffer.
    fn after_fetch(&mut self, now: Instant, index: u16, result: Result<(), RingFault>) {
        if let Err(fault) = result {
            self.ring_fault(now, index, fault);
        }
        self.queues[usize::from(index)].flush(now, &mut self.dma);
        if self.device.receives(index) {
            self.feed_receive(now);
        }
    }

    fn suppression(&mut self, now: Instant, index: u16) {
        let queue = &mut self.queues[usize::from(index)];
        if let Err(fault) = queue.suppression_arrived(now, &mut self.dma) {
            self.ring_fault(now, index, fault);
        }
    }

    /// STAT-DEV-03, STAT-DEV-04: the queue stops, and the driver is told.
    fn ring_fault(&mut self, now: Instant, index: u16, fault: RingFault) {
        let queue = &mut self.queues[usize::from(index)];
        queue.halt();
        queue.flush(now, &mut self.dma);
        self.fault = Some(fault);
        if self.registers.needs_reset() {
            self.config_interrupt(now);
        }
    }

    fn process(&mut self, now: Instant, id: u32) {
        let request = &mut self.dma.requests[id];
        let index = request.queue;
        let len = match &mut self.device {
            Device::Blk(blk) => blk.process(request, self.request_bytes_max),
            Device::Net(_) if index == TRANSMIT_QUEUE => {
                self.transmit(now, id);
                0
            }
            Device::Net(net) if index == CONTROL_QUEUE => {
                let accepted = self.registers.accepted_bits();
                let failed = request.failed;
                let (ack, news) =
                    if failed { (ctrl::ERR, false) } else { net.control(&request.data, accepted) };
                if news {
                    self.registers.config_changed();
                }
                request.data.clear();
                // Without a writable byte there is nowhere to put it.
                request.data.extend((request.writable_bytes != 0).then_some(ack));
                request.data.len() as u32
            }
            // A received packet lies in `data` already.
            Device::Net(_) => request.data.len() as u32,
        };
        self.counters.requests += 1;
        if self.dma.timing.pipeline.is_some() {
            return self.queues[usize::from(index)].device_done(now, len, &mut self.dma);
        }
        self.dma.payload_write(now, id);
        self.queues[usize::from(index)].finish(now, len, &mut self.dma);
    }

    fn transmit(&mut self, now: Instant, id: u32) {
        let Device::Net(net) = &mut self.device else { return };
        let request = &mut self.dma.requests[id];
        let packet = std::mem::take(&mut request.data);
        let sent = if request.failed { Err(packet) } else { net.transmit(now, packet) };
        match sent {
            Ok(arrivals) => {
                for arrives in arrivals {
                    let edge = self.dma.edges.next(arrives);
                    self.dma.schedule.at(edge, Event::Packet);
                }
            }
            Err(packet) => {
                self.counters.packets_dropped_bad += 1;
                self.dma.requests.recycle(packet);
            }
        }
    }

    fn packet(&mut self, now: Instant) {
        let Device::Net(net) = &mut self.device else { return };
        match net.arrive() {
            None => {}
            Some(Lost::Full(lost)) => {
                self.counters.packets_dropped_full += 1;
                self.dma.requests.recycle(lost);
            }
            Some(Lost::Unwanted(lost)) => {
                self.counters.packets_filtered += 1;
                self.dma.requests.recycle(lost);
            }
        }
        self.feed_receive(now);
    }

    /// Brings packets and receive buffers together, both in order.
    fn feed_receive(&mut self, now: Instant) {
        let Device::Net(net) = &mut self.device else { return };
        let queue = &mut self.queues[usize::from(RECEIVE_QUEUE)];
        let in_turn = self.dma.timing.pipeline.is_some();
        while let (Some(len), Some(&id)) = (net.waiting(), queue.order.get(queue.started)) {
            if in_turn && !queue.takes_packet(now, &self.dma) {
                return;
            }
            let Some(packet) = net.take() else { return };
            let request = &mut self.dma.requests[id];
            if len as u64 > request.writable_bytes {
                self.counters.packets_dropped_bad += 1;
                self.dma.requests.recycle(packet);
                continue;
            }
            let empty = std::mem::replace(&mut request.data, packet);
            self.dma.requests.recycle(empty);
            if in_turn {
                queue.payload_ready(now, id, &mut self.dma);
                return;
            }
            queue.process_next(now, &mut self.dma);
        }
    }

    /// Frees the contexts of requests of which nothing is left on the card.
    pub(super) fn collect_released(&mut self, now: Instant) {
        while let Some((index, requests)) = self.dma.released.pop() {
            self.queues[usize::from(index)].release(now, requests, &mut self.dma);
            self.after_fetch(now, index, Ok(()));
        }
    }

    fn interrupt(&mut self, now: Instant, cause: Cause) {
        self.counters.interrupts += 1;
        if let Some(front) = &mut self.front {
            if let Some(message) = front.raise(cause) {
                self.dma.message(now, message);
            }
            return;
        }
        let vector = match cause {
            Cause::Queue(index) => {
                if !self.msix.enabled() {
                    self.registers.set_isr(isr::QUEUE);
                }
                self.registers.queue(index).map(|queue| queue.vector)
            }
            Cause::Config => Some(self.registers.config_vector()),
        };
        if let Some(message) = vector.and_then(|vector| self.msix.raise(vector)) {
            self.dma.message(now, message);
        }
    }
}
