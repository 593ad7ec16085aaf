//! What comes up from the card: reads to be completed, writes to be put in order, interrupts.

mod admit;
mod atomic;

pub use self::admit::{Refusal, Refused};

use std::collections::VecDeque;

use smallvec::smallvec;

use super::latency::MemoryLatency;
use super::port::RootPort;
use super::returns::Returns;
use super::timing::RootTiming;
use crate::address::{Bdf, PhysAddr};
use crate::host::llc::Llc;
use crate::host::protection::SharedPages;
use crate::host::ram::Ram;
use crate::host::{MsiMessage, Vector};
use crate::iommu::{DmaKind, Iommu, TableMemory};
use crate::link::CompletionOrder;
use crate::schedule::Schedule;
use crate::time::{Instant, Span};
use crate::tlp::{Attributes, Completion, CompletionStatus, MemRead, MemWrite, Payload, Tag};

/// No Max_Payload_Size is less, in bytes. PCIe 5.0 §7.5.3.4, "Device Control Register".
const SMALLEST_MAX_PAYLOAD: u16 = 128;

/// Memory writes to these addresses are interrupts. Intel SDM volume 3, "Message Address Register
/// Format".
pub const INTERRUPT_RANGE: std::ops::Range<u64> = 0xfee0_0000..0xfef0_0000;

/// What the root complex does at a later time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootEvent {
    /// The memory read in this slot has its data.
    ReadReady(u32),
    /// The memory read in this slot, kept back for another order, is answered.
    Release(u32),
    /// The next posted write takes effect.
    Commit,
    /// An interrupt reaches the CPU.
    Interrupt(Vector),
    /// The IOMMU wants to act.
    Iommu,
}

/// What [`RootComplex::handle`] did that others care about.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Nothing that anybody waits for.
    None,
    /// Completions for the card.
    Completions(Completions),
    /// RAM changed.
    Written(PhysAddr, usize),
    /// An atomic request was done, or refused: its answer, and where RAM changed.
    Answered {
        /// For the card.
        completion: Completion,
        /// Where, and how many bytes.
        written: Option<(PhysAddr, usize)>,
    },
    /// The CPU is interrupted.
    Interrupted(Vector),
}

/// The completions of one read, in address order, made one at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Completions {
    requester: Bdf,
    tag: Tag,
    attributes: Attributes,
    status: CompletionStatus,
    /// Of the next one; RAM says what is there.
    address: PhysAddr,
    left_bytes: u16,
}

enum Ordered {
    Write { address: PhysAddr, data: Payload },
    Interrupt(Vector),
    Atomic(Box<atomic::PendingAtomic>),
    Nothing,
}

struct PendingRead {
    request: MemRead,
    from: Result<PhysAddr, Refusal>,
}

/// The root complex.
pub struct RootComplex {
    /// Host memory.
    pub ram: Ram,
    /// The root port above the card.
    pub port: RootPort,
    /// The IOMMU in the card's way, if there is one.
    pub iommu: Option<Box<dyn Iommu>>,
    /// The pages that devices may touch; `None` when they may touch all.
    pub shared: Option<SharedPages>,
    /// The requester reaches memory past the IOMMU ([`Endpoint::bypasses_translation`]).
    ///
    /// [`Endpoint::bypasses_translation`]: crate::endpoint::Endpoint::bypasses_translation
    pub bypassed: bool,
    timing: RootTiming,
    latency: Option<MemoryLatency>,
    rcb_bytes: u16,
    reads: Vec<Option<PendingRead>>,
    free_reads: Vec<u32>,
    returns: Returns,
    ordered: VecDeque<Ordered>,
    last_commit: Instant,
    iommu_wake: Option<Instant>,
    vectors: u16,
    iommu_writes: Vec<(PhysAddr, usize)>,
    refused: Vec<Refused>,
    refused_count: u64,
    fresh_refusal: Option<Refusal>,
}

impl RootComplex {
    /// A root complex over `ram`.
    #[must_use]
    pub fn new(
        timing: RootTiming,
        rcb_bytes: u16,
        ram: Ram,
        port: RootPort,
        iommu: Option<Box<dyn Iommu>>,
    ) -> Self {
        Self {
            ram,
            port,
            iommu,
            shared: None,
            bypassed: false,
            latency: MemoryLatency::new(&timing),
            timing,
            rcb_bytes,
            reads: Vec::new(),
            free_reads: Vec::new(),
            returns: Returns::new(CompletionOrder::AsReady),
            ordered: VecDeque::new(),
            last_commit: Instant::ZERO,
            iommu_wake: None,
            vectors: 0,
            iommu_writes: Vec::new(),
            refused: Vec::new(),
            refused_count: 0,
            fresh_refusal: None,
        }
    }

    /// Chooses the order in which reads are answered, before the first of them.
    pub fn set_completion_order(&mut self, order: CompletionOrder) {
        self.returns = Returns::new(order);
    }

    /// The requests that were refused, the first few hundred in detail.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// How many requests were refused.
    #[must_use]
    pub fn refused_count(&self) -> u64 {
        self.refused_count
    }

    /// Why a request was refused, if one was since this was last asked.
    pub fn take_refusal(&mut self) -> Option<Refusal> {
        self.fresh_refusal.take()
    }

    /// Sends an interrupt message of the root complex's own.
    pub fn deliver(
        &self,
        now: Instant,
        message: MsiMessage,
        schedule: &mut Schedule<impl From<RootEvent>>,
    ) {
        let known = message.data < u32::from(self.vectors);
        if known && INTERRUPT_RANGE.contains(&message.address) {
            let at = now + self.timing.interrupt_delivery;
            schedule.at(at, RootEvent::Interrupt(Vector(message.data as u16)).into());
        }
    }

    /// When everything posted so far has taken effect.
    #[must_use]
    pub fn posted_done(&self) -> Instant {
        self.last_commit
    }

    /// Gives out the next interrupt vector.
    pub fn allocate_vector(&mut self) -> Option<Vector> {
        let vector = Vector(self.vectors);
        self.vectors = self.vectors.checked_add(1)?;
        Some(vector)
    }

    /// A memory read request from the card.
    pub fn memory_read(
        &mut self,
        now: Instant,
        request: &MemRead,
        schedule: &mut Schedule<impl From<RootEvent>>,
    ) {
        let len = u32::from(request.len_bytes);
        let (requester, address) = (request.requester, request.address);
        let (from, took) = self.locate(now, requester, address, len, DmaKind::Read);
        let found = now + self.timing.inbound + took;
        let ready = match from {
            Ok(place) => self.read_done(found, place, len).max(self.last_commit),
            Err(_) => found,
        };
        let pending = Some(PendingRead { request: request.clone(), from });
        let slot = match self.free_reads.pop() {
            Some(slot) => {
                self.reads[slot as usize] = pending;
                slot
            }
            None => {
                self.reads.push(pending);
                self.reads.len() as u32 - 1
            }
        };
        let ready = self.returns.asked(slot, ready);
        schedule.at(ready, RootEvent::ReadReady(slot).into());
        self.watch_iommu(now, schedule);
    }

    fn read_done(&mut self, found: Instant, place: PhysAddr, len_bytes: u32) -> Instant {
        let Some(latency) = &mut self.latency else { return found + self.timing.memory_read };
        let begins = latency.begin(found, place, len_bytes);
        begins + self.timing.memory_read + latency.read(&self.timing, place, len_bytes)
    }

    /// The last-level cache, where there is one.
    pub fn llc_mut(&mut self) -> Option<&mut Llc> {
        self.latency.as_mut().map(MemoryLatency::llc_mut)
    }

    /// Whether another posted write can be held. When it cannot, nothing is taken out of the receive buffer
    /// until one has taken effect: what came behind it may not pass it.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.ordered.len() < self.timing.posted_queue as usize
    }

    /// A memory write request from the card: data, or an interrupt. Its data is taken out of it, unless it is
    /// refused.
    pub fn memory_write(
        &mut self,
        now: Instant,
        write: &mut MemWrite,
        schedule: &mut Schedule<impl From<RootEvent>>,
    ) {
        let mut written = None;
        let (effect, took) = if INTERRUPT_RANGE.contains(&write.address) {
            (self.interrupt_of(now, write), Span::ZERO)
        } else {
            let len = write.data.len() as u32;
            let (to, took) = self.locate(now, write.requester, write.address, len, DmaKind::Write);
            let effect = match to {
                Ok(address) => {
                    written = Some((address, u64::from(len)));
                    Ordered::Write { address, data: std::mem::take(&mut write.data) }
                }
                Err(_) => Ordered::Nothing,
            };
            (effect, took)
        };
        let due = now + self.timing.inbound + took + self.timing.memory_write;
        self.last_commit = self.last_commit.max(due);
        if let (Some(latency), Some((address, len))) = (&mut self.latency, written) {
            latency.write(self.last_commit, address, len);
        }
        self.ordered.push_back(effect);
        schedule.at(self.last_commit, RootEvent::Commit.into());
        self.watch_iommu(now, schedule);
    }

    /// Does what was put off until `now`.
    pub fn handle(
        &mut self,
        now: Instant,
        event: RootEvent,
        schedule: &mut Schedule<impl From<RootEvent>>,
    ) -> Effect {
        match event {
            RootEvent::ReadReady(slot) => match self.returns.ready(slot) {
                Ok(()) => self.complete(slot),
                Err(others) => {
                    for slot in others {
                        schedule.at(now, RootEvent::Release(slot).into());
                    }
                    Effect::None
                }
            },
            RootEvent::Release(slot) => self.complete(slot),
            RootEvent::Commit => self.commit(now, schedule),
            RootEvent::Interrupt(vector) => Effect::Interrupted(vector),
            RootEvent::Iommu => {
                self.advance_iommu(now, schedule);
                Effect::None
            }
        }
    }

    /// The next completion of a read; `None` after the last.
    #[inline]
    pub fn next_completion(&self, completions: &mut Completions) -> Option<Completion> {
        if completions.left_bytes == 0 { None } else { Some(self.cut_completion(completions)) }
    }

    fn cut_completion(&self, completions: &mut Completions) -> Completion {
        let Completions { requester, tag, attributes, status, address, left_bytes } = *completions;
        let (len, data) = if status == CompletionStatus::Success {
            let len = self.completion_bytes(address, left_bytes);
            let data = match self.ram.slice(address, usize::from(len)) {
                Some(bytes) => Payload::from_slice(bytes),
                None => smallvec![0; usize::from(len)],
            };
            (len, data)
        } else {
            (left_bytes, Payload::new())
        };
        completions.address = address + u64::from(len);
        completions.left_bytes -= len;
        Completion {
            completer: Bdf::new(0, 0, 0),
            requester,
            tag,
            status,
            byte_count: left_bytes,
            lower_address: address.get() as u8 & 0x7f,
            data,
            attributes,
        }
    }

    /// Reads a register of the IOMMU, if `address` is one.
    pub fn register_read(&mut self, now: Instant, address: PhysAddr, len: usize) -> Option<u64> {
        let iommu = self.iommu.as_deref_mut()?;
        let offset = register_offset(iommu, address)?;
        Some(iommu.register_read(now, offset, len))
    }

    /// Writes a register of the IOMMU; `false` when `address` is none.
    pub fn register_write(
        &mut self,
        now: Instant,
        address: PhysAddr,
        len: usize,
        value: u64,
        schedule: &mut Schedule<impl From<RootEvent>>,
    ) -> bool {
        let Some(iommu) = self.iommu.as_deref_mut() else { return false };
        let Some(offset) = register_offset(iommu, address) else { return false };
        let mut memory = Noted { ram: &mut self.ram, writes: &mut self.iommu_writes };
        iommu.register_write(now, &mut memory, offset, len, value);
        self.watch_iommu(now, schedule);
        true
    }

    /// Where the IOMMU itself has written since this was last asked: a CPU may be waiting for it.
    pub fn take_iommu_write(&mut self) -> Option<(PhysAddr, usize)> {
        self.iommu_writes.pop()
    }

    /// Whether a request of the CPU for `address` goes down to the endpoint: not while its slot is frozen.
    #[must_use]
    pub fn forwards_down(&self, address: PhysAddr) -> bool {
        !self.is_frozen() && self.port.forwards_down(address.get())
    }

    /// Whether a fault has cut the endpoint's slot off.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.iommu.as_deref().and_then(Iommu::frozen) == Some(true)
    }

    fn interrupt_of(&mut self, now: Instant, write: &MemWrite) -> Ordered {
        let data = write.data.iter().rev().fold(0u32, |value, &byte| value << 8 | u32::from(byte));
        let frozen = self.is_frozen();
        let known = write.data.len() == 4 && data < u32::from(self.vectors);
        if known && !frozen && self.port.forwards_up() {
            return Ordered::Interrupt(Vector(data as u16));
        }
        self.refuse(Refused {
            at: now,
            requester: write.requester,
            address: write.address,
            len_bytes: write.data.len() as u32,
            kind: DmaKind::Write,
            refusal: if frozen { Refusal::SlotFrozen } else { Refusal::UnknownInterrupt },
        });
        Ordered::Nothing
    }

    fn commit(&mut self, now: Instant, schedule: &mut Schedule<impl From<RootEvent>>) -> Effect {
        match self.ordered.pop_front() {
            Some(Ordered::Write { address, data }) => {
                if let Some(bytes) = self.ram.slice_mut(address, data.len()) {
                    bytes.copy_from_slice(&data);
                }
                Effect::Written(address, data.len())
            }
            Some(Ordered::Interrupt(vector)) => {
                let at = now + self.timing.interrupt_delivery;
                schedule.at(at, RootEvent::Interrupt(vector).into());
                Effect::None
            }
            Some(Ordered::Atomic(pending)) => self.perform(&pending),
            Some(Ordered::Nothing) | None => Effect::None,
        }
    }

    fn complete(&mut self, slot: u32) -> Effect {
        let Some(pending) = self.reads.get_mut(slot as usize).and_then(Option::take) else {
            return Effect::None;
        };
        self.free_reads.push(slot);
        let MemRead { requester, tag, len_bytes, attributes, .. } = pending.request;
        let (status, address) = match pending.from {
            Ok(place) => (CompletionStatus::Success, place),
            Err(_) => (CompletionStatus::UnsupportedRequest, PhysAddr::default()),
        };
        let left_bytes = len_bytes.max(1);
        let all = Completions { requester, tag, attributes, status, address, left_bytes };
        Effect::Completions(all)
    }

    /// As [`cut`]; nothing is asked of the port for what fits into any completion.
    fn completion_bytes(&self, address: PhysAddr, left_bytes: u16) -> u16 {
        if left_bytes <= SMALLEST_MAX_PAYLOAD {
            return left_bytes;
        }
        cut(address.get(), left_bytes, self.port.max_payload_bytes(), self.rcb_bytes)
    }

    fn advance_iommu(&mut self, now: Instant, schedule: &mut Schedule<impl From<RootEvent>>) {
        self.iommu_wake = None;
        if let Some(iommu) = self.iommu.as_deref_mut()
            && let Some((_, data)) = iommu
                .advance(now, &mut Noted { ram: &mut self.ram, writes: &mut self.iommu_writes })
            && data < u32::from(self.vectors)
        {
            let at = now + self.timing.interrupt_delivery;
            schedule.at(at, RootEvent::Interrupt(Vector(data as u16)).into());
        }
        self.watch_iommu(now, schedule);
    }

    fn watch_iommu(&mut self, now: Instant, schedule: &mut Schedule<impl From<RootEvent>>) {
        let Some(wake) = self.iommu.as_deref().and_then(Iommu::next_wake) else { return };
        let wake = wake.max(now);
        if self.iommu_wake.is_none_or(|set| wake < set) {
            self.iommu_wake = Some(wake);
            schedule.at(wake, RootEvent::Iommu.into());
        }
    }
}

/// RAM as the IOMMU writes it, and where it wrote.
struct Noted<'a> {
    ram: &'a mut Ram,
    writes: &'a mut Vec<(PhysAddr, usize)>,
}

impl TableMemory for Noted<'_> {
    fn read(&self, address: PhysAddr, into: &mut [u8]) -> bool {
        TableMemory::read(self.ram, address, into)
    }

    fn write(&mut self, address: PhysAddr, data: &[u8]) -> bool {
        self.writes.push((address, data.len()));
        self.ram.write(address, data)
    }
}

fn register_offset(iommu: &dyn Iommu, address: PhysAddr) -> Option<u64> {
    let (start, len_bytes) = iommu.registers();
    address.offset_from(start).filter(|offset| *offset < len_bytes)
}

/// As much as one completion may carry: all that is left, or up to the last read completion boundary
/// within Max_Payload_Size. PCIe 5.0 §2.3.1.1, "Data Return for Read Requests".
pub(crate) fn cut(address: u64, left_bytes: u16, largest_bytes: u16, rcb_bytes: u16) -> u16 {
    if left_bytes <= largest_bytes {
        return left_bytes;
    }
    let rcb = u64::from(rcb_bytes);
    let end = (address + u64::from(largest_bytes)) / rcb * rcb;
    (end - address) as u16
}
