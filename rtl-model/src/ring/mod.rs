//! A virtqueue's engines: fetch, payload, completion. Each is a small state machine that a clock step
//! or an arriving answer moves on, as it would be in hardware.
//!
//! ```text
//!  doorbell ─▶ split (fetch) ─▶ order: [payload … device] ─▶ used ─▶ interrupt
//!                 │  indirect      started ▲                  batches, in order of the ring
//! ```
//!
//! Left out: packed rings, RING_RESET, NOTIFICATION_DATA.

pub(crate) mod indirect;
pub(crate) mod split;
mod turns;
pub(crate) mod used;

use std::collections::VecDeque;

use pcie_sim::spec::{features, virtq};
use pcie_sim::time::Instant;
use smallvec::SmallVec;

use crate::dma::{Dma, Event};
use crate::pipeline::PipelineTiming;
use crate::registers::{QueueRegisters, Registers};
use split::Fetch;
use turns::Turns;
use used::{Element, Used};

/// Why a ring cannot go on: the driver has made a mistake, or the bus refused an access to the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    /// The available index is further ahead than the ring is long.
    #[error("available index {idx} is more than {size} ahead of {next}")]
    IndexJump {
        /// The index read.
        idx: u16,
        /// The next entry that the card would take.
        next: u16,
        /// Entries in the ring.
        size: u16,
    },
    /// A head or `next` that is not in the descriptor table.
    #[error("descriptor {index} is not in a table of {size}")]
    NoSuchDescriptor {
        /// The number.
        index: u16,
        /// Entries in the table.
        size: u32,
    },
    /// A chain longer than its table: a loop.
    #[error("the chain at {head} has more descriptors than its table")]
    Loop {
        /// Where the chain begins.
        head: u16,
    },
    /// INDIRECT although it was not accepted, inside an indirect table, or together with NEXT.
    #[error("the chain at {head} has a misplaced indirect descriptor")]
    MisplacedIndirect {
        /// Where the chain begins.
        head: u16,
    },
    /// An indirect table that is empty, no multiple of 16 bytes, or longer than any ring.
    #[error("the chain at {head} has an indirect table of {len} bytes")]
    TableLength {
        /// Where the chain begins.
        head: u16,
        /// Its length.
        len: u32,
    },
    /// A buffer to be read behind one to be written (VQ-SPLIT-DRV-02).
    #[error("the chain at {head} has a readable buffer behind a writable one")]
    ReadableBehindWritable {
        /// Where the chain begins.
        head: u16,
    },
    /// A read of the ring was refused or not answered.
    #[error("a read of the ring failed")]
    ReadFailed,
    /// SWIOTLB was accepted, and an address is not in the bounce buffer.
    #[error("{len} bytes at {address:#x} are not in the bounce buffer")]
    OutsideBounceBuffer {
        /// The bus address handed over.
        address: u64,
        /// How much of it.
        len: u64,
    },
}

/// What the driver has programmed, and the features that bear on the ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Programmed {
    /// Which queue.
    pub(crate) index: u16,
    /// Entries, a power of two.
    pub(crate) size: u16,
    /// Descriptor area.
    pub(crate) desc: u64,
    /// Driver area.
    pub(crate) driver: u64,
    /// Device area.
    pub(crate) device: u64,
    /// EVENT_IDX was accepted.
    pub(crate) event_idx: bool,
    /// INDIRECT_DESC was accepted.
    pub(crate) indirect: bool,
    /// SWIOTLB was accepted: every address must lie in the bounce buffer.
    pub(crate) confined: bool,
}

/// How the engines are built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Build {
    /// Elements that one read may fetch.
    pub(crate) prefetch: u16,
    /// Used elements that one write may carry.
    pub(crate) batch: u16,
    /// Requests at a time.
    pub(crate) contexts: u16,
    /// No suppression word is read.
    pub(crate) always_interrupt: bool,
    /// The queue's buffers wait for packets.
    pub(crate) receives: bool,
    /// Cycles that the device takes for a request, whatever its length.
    pub(crate) processing: u32,
    /// Its requests are commands of a disk.
    pub(crate) commands: bool,
    /// The largest request.
    pub(crate) request_bytes_max: u64,
}

/// Bytes of a read that need no memory of their own.
const INLINE_BYTES: usize = 64;

/// Bytes that a read of a ring brings.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) bytes: SmallVec<[u8; INLINE_BYTES]>,
    missing: u32,
    failed: bool,
}

impl Inbox {
    /// Makes room for `len` bytes.
    fn expect(&mut self, len: u32) {
        let len_bytes = len as usize;
        self.bytes = match len_bytes {
            ..=INLINE_BYTES => SmallVec::from_buf_and_len([0; INLINE_BYTES], len_bytes),
            _ => SmallVec::from_elem(0, len_bytes),
        };
        self.missing = len;
        self.failed = false;
    }

    /// Takes bytes; whether all have come.
    pub(crate) fn arrive(&mut self, at: u32, data: &[u8]) -> bool {
        let at = at as usize;
        if let Some(into) = self.bytes.get_mut(at..at + data.len()) {
            into.copy_from_slice(data);
        }
        self.account(data.len() as u32)
    }

    /// Notes that bytes will not come; whether nothing more is to be waited for.
    pub(crate) fn fail(&mut self, missing: u32) -> bool {
        self.failed = true;
        self.account(missing)
    }

    fn account(&mut self, bytes: u32) -> bool {
        self.missing = self.missing.saturating_sub(bytes);
        self.missing == 0
    }

    fn word(&self) -> u16 {
        u16::from_le_bytes([self.bytes[0], self.bytes[1]])
    }
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) build: Build,
    pub(crate) ring: Programmed,
    /// Enabled, and the driver is ready.
    pub(crate) on: bool,
    pub(crate) fetch: Fetch,
    pub(crate) used: Used,
    /// Requests whose descriptors are known and that are not done, in the order of the ring.
    pub(crate) order: VecDeque<u32>,
    /// How many of them, from the front, the device has begun with.
    pub(crate) started: usize,
    /// Requests that are done, and of which something may still wait to leave.
    retiring: VecDeque<u32>,
    last_process: Instant,
    /// Of a pipelined card.
    turns: Turns,
}

impl Queue {
    /// A queue that is off.
    pub(crate) fn new(index: u16, build: Build) -> Self {
        let ring = Programmed {
            index,
            size: 0,
            desc: 0,
            driver: 0,
            device: 0,
            event_idx: false,
            indirect: false,
            confined: false,
        };
        Self {
            build,
            ring,
            on: false,
            fetch: Fetch::default(),
            used: Used::default(),
            order: VecDeque::new(),
            started: 0,
            retiring: VecDeque::new(),
            last_process: Instant::ZERO,
            turns: Turns::default(),
        }
    }

    /// Begins to work on what the driver has programmed, with the features that it has accepted.
    pub(crate) fn start(&mut self, registers: &Registers, dma: &Dma) -> Result<(), RingFault> {
        let programmed = registers.queue(self.ring.index).filter(|queue| queue.enabled);
        let Some(&QueueRegisters { size, desc, driver, device, .. }) = programmed else {
            return Ok(());
        };
        let event_idx = registers.accepted(features::EVENT_IDX);
        let indirect = registers.accepted(features::INDIRECT_DESC);
        let confined = registers.accepted(features::SWIOTLB);
        let index = self.ring.index;
        self.ring = Programmed { index, size, desc, driver, device, event_idx, indirect, confined };
        self.on = true;
        self.may_use(desc, virtq::desc_area_bytes(size), dma)?;
        self.may_use(driver, virtq::avail_area_bytes(size), dma)?;
        self.may_use(device, virtq::used_area_bytes(size), dma)
    }

    /// With SWIOTLB accepted, refuses what is not in the bounce buffer before anything is done with it.
    fn may_use(&self, address: u64, len: u64, dma: &Dma) -> Result<(), RingFault> {
        if self.ring.confined && len != 0 && !dma.memory.in_bounce_buffer(address, len) {
            return Err(RingFault::OutsideBounceBuffer { address, len });
        }
        Ok(())
    }

    /// Off, as after power-on.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.ring.index, self.build);
    }

    /// Whether another request may begin.
    fn has_context(&self) -> bool {
        self.order.len() + self.retiring.len() < usize::from(self.build.contexts)
    }

    /// A chain is complete: its payload is read, unless it waits for a packet.
    fn submit(&mut self, now: Instant, id: u32, dma: &mut Dma) {
        self.order.push_back(id);
        if let Some(timing) = dma.timing.pipeline {
            return self.submit_in_turn(now, id, timing, dma);
        }
        if self.build.receives {
            return;
        }
        let request = &mut dma.requests[id];
        if request.readable_bytes > self.build.request_bytes_max {
            request.failed = true;
            self.payload_ready(now, id, dma);
        } else if let Some(at) = dma.payload_read(now, id) {
            self.payload_ready(at, id, dma);
        }
    }

    fn submit_in_turn(&mut self, now: Instant, id: u32, timing: PipelineTiming, dma: &mut Dma) {
        let there = dma.edges.at(now, timing.submit);
        let request = &mut dma.requests[id];
        if self.build.receives {
            request.since = dma.edges.at(there, timing.buffer);
            return dma.schedule.at(request.since, Event::Turn(self.ring.index));
        }
        request.failed |= request.readable_bytes > self.build.request_bytes_max;
        dma.want_payload(there, id, timing);
    }

    /// A request's readable bytes are on the card at `at`: the device takes requests in order.
    pub(crate) fn payload_ready(&mut self, at: Instant, id: u32, dma: &mut Dma) {
        dma.requests[id].ready = true;
        if dma.timing.pipeline.is_some() {
            return self.start_device(at, dma);
        }
        while let Some(&id) = self.order.get(self.started) {
            if !dma.requests[id].ready {
                break;
            }
            self.process_next(at, dma);
        }
    }

    /// Lets the device take the next request.
    pub(crate) fn process_next(&mut self, at: Instant, dma: &mut Dma) {
        let Some(&id) = self.order.get(self.started) else { return };
        self.started += 1;
        let request = &dma.requests[id];
        let writable = if self.build.receives { 0 } else { request.writable_bytes };
        let bytes = writable.min(self.build.request_bytes_max).max(request.data.len() as u64);
        let cycles = dma.timing.processing(self.build.processing, bytes);
        self.last_process = dma.edges.at(at, cycles).max(self.last_process);
        dma.schedule.at(self.last_process, Event::Process(id));
    }

    /// The device is done with the oldest request, having written `len` bytes that count.
    pub(crate) fn finish(&mut self, now: Instant, len: u32, dma: &mut Dma) {
        let Some(id) = self.order.pop_front() else { return };
        self.started -= 1;
        self.retiring.push_back(id);
        let mut element = Element { id: dma.requests[id].head.into(), len, again: false };
        self.misbehave(id, &mut element, dma, now);
        self.used.push(element);
        self.flush(now, dma);
    }

    /// Nothing of the `requests` oldest requests is left on the card: others may take their place.
    pub(crate) fn release(&mut self, now: Instant, requests: u16, dma: &mut Dma) {
        for _ in 0..requests {
            if let Some(id) = self.retiring.pop_front() {
                dma.requests.release(id);
            }
        }
        self.unblock(now, dma);
    }

    /// Whether a request is on its way to the used ring without anything from outside.
    fn more_to_come(&self) -> bool {
        if self.build.receives {
            self.started > 0
        } else {
            !self.order.is_empty() || self.fetching()
        }
    }
}
