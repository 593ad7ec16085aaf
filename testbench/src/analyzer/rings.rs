//! All queues with their requests: what each read of the card told it, and so where it may go next.
//!
//! ```text
//!  avail idx ──▶ published slots ──▶ ring entry ──▶ head ──▶ descriptors ──▶ (table) ──▶ buffers
//! ```
//!
//! A shadow counts for a request only if it was read after the index that published the request was
//! asked for: a card that reads ahead may have seen what lay there before. While a card may know more
//! than it should (`card_may_know_more`), no DMA of it is called stray.
//!
//! Left out: packed queues and queues of unusual size, whose DMA stays [`Purpose::Unknown`].

use pcie_sim::spec::features;
use pcie_sim::spec::virtq::MAX_SIZE;

use super::areas::{Area, AreaKind, Areas};
use super::buffers::{BufferKind, Buffers};
use super::card_memory::CardMemory;
use super::observer::RequestRecord;
use super::purpose::{Classified, Place, Purpose, Role};
use super::queue::{Queue, QueueView};
use super::reads::CardRead;
use super::registers::QueueRegisters;
use super::request::{RequestRef, Requests};
use super::tags::Tags;

/// What lies at an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) purpose: Purpose,
    pub(crate) queue: Option<u16>,
    pub(crate) mixed: bool,
    pub(crate) owner: RequestRef,
    pub(crate) buffer: Option<BufferKind>,
    pub(crate) area: Option<AreaKind>,
}

impl Found {
    pub(crate) const UNKNOWN: Self = Self {
        purpose: Purpose::Unknown,
        queue: None,
        mixed: false,
        owner: RequestRef::NONE,
        buffer: None,
        area: None,
    };

    pub(crate) const fn classified(&self) -> Classified {
        let (role, request) = (Role::Dma(self.purpose), self.owner.serial());
        Classified { role, queue: self.queue, mixed: self.mixed, request }
    }
}

/// Every queue and request. See the module.
#[derive(Debug)]
pub(crate) struct Rings {
    pub(super) queues: Vec<Option<Box<Queue>>>,
    pub(super) requests: Requests,
    pub(super) buffers: Buffers,
    pub(super) host: Areas,
    pub(super) card: Areas,
    pub(super) memory: CardMemory,
    pub(super) reads: Tags<CardRead>,
    /// Ended since somebody last looked.
    pub(super) ended: Vec<RequestRecord>,
    /// There is a queue that is not understood.
    pub(super) opaque: bool,
    /// Requests are a disk's.
    pub(super) disk: bool,
}

impl Rings {
    pub(crate) fn new() -> Self {
        Self {
            queues: Vec::new(),
            requests: Requests::default(),
            buffers: Buffers::default(),
            host: Areas::default(),
            card: Areas::default(),
            memory: CardMemory::default(),
            reads: Tags::new(),
            ended: Vec::new(),
            opaque: false,
            disk: false,
        }
    }

    /// The driver switches a queue on.
    pub(crate) fn enable(&mut self, index: u16, registers: &QueueRegisters, negotiated: u64) {
        self.forget(index);
        let size = registers.size;
        let packed = negotiated & features::RING_PACKED != 0;
        if packed || !size.is_power_of_two() || size > MAX_SIZE {
            self.opaque = true;
            return;
        }
        let queue = Queue::new(index, registers, negotiated, |at| self.memory.holds(at));
        for (area, on_card) in queue.areas() {
            if on_card { &mut self.card } else { &mut self.host }.insert(area);
        }
        let at = usize::from(index);
        if at >= self.queues.len() {
            self.queues.resize_with(at + 1, || None);
        }
        self.queues[at] = Some(Box::new(queue));
    }

    /// A queue is no more; its requests end without having been answered.
    pub(crate) fn forget(&mut self, index: u16) {
        let Some(place) = self.queues.get_mut(usize::from(index)) else { return };
        if place.take().is_none() {
            return;
        }
        self.host.forget_queue(index);
        self.card.forget_queue(index);
        let gone: Vec<RequestRef> = self
            .requests
            .live()
            .filter(|(_, request)| request.queue == index)
            .map(|(at, _)| at)
            .collect();
        for at in gone {
            self.drop_request(at);
        }
    }

    /// No queue is any more.
    pub(crate) fn forget_all(&mut self) {
        for index in 0..self.queues.len() {
            self.forget(index as u16);
        }
        self.host.clear();
        self.card.clear();
        self.opaque = false;
    }

    pub(crate) fn queue(&self, index: u16) -> Option<&Queue> {
        self.queues.get(usize::from(index))?.as_deref()
    }

    pub(crate) fn queue_mut(&mut self, index: u16) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(index))?.as_deref_mut()
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = QueueView> {
        self.queues.iter().flatten().map(|queue| QueueView {
            index: queue.index,
            size: queue.size,
            avail_idx: queue.avail_idx,
            used_idx: queue.used_idx,
            desc_on_card: queue.desc_on_card,
            driver_on_card: queue.driver_on_card,
            device_on_card: queue.device_on_card,
        })
    }

    /// What the card's access to `len` bytes at `address` is for.
    pub(crate) fn find(&mut self, address: u64, len: usize, write: bool) -> Found {
        if self.host.is_empty() && self.buffers.is_empty() {
            return Found::UNKNOWN;
        }
        let first = self.host.first(address);
        let area = self.host.touched(first, address, len);
        if let Some(area) = area.filter(|area| area.start <= address) {
            return self.found_area(area, first, address, len);
        }
        let mixed = area.is_some();
        if let Some(found) = self.found_buffer(address, len, write) {
            return Found { mixed, ..found };
        }
        match self.host.touched(first, address, len) {
            Some(area) => self.found_area(area, first, address, len),
            None => Found::UNKNOWN,
        }
    }

    /// Where in a request's buffers an access of the card at `address` lies.
    pub(crate) fn place(&mut self, address: u64, write: bool) -> Option<Place> {
        let buffer = *self.buffers.find(address, write)?;
        let request = self.requests.get(buffer.owner)?;
        Some(Place {
            queue: request.queue,
            position: request.position,
            buffer: request.buffers.iter().position(|&(start, _)| start == buffer.start)?,
            offset: address - buffer.start,
        })
    }

    fn found_area(&self, area: &Area, position: usize, address: u64, len: usize) -> Found {
        let (offset, _, bytes) = area.clip(address, len);
        let (purpose, mixed) = area.purpose(offset, bytes);
        Found {
            purpose,
            queue: Some(area.queue),
            mixed: mixed || self.host.touched(position + 1, address, len).is_some(),
            owner: RequestRef::NONE,
            buffer: None,
            area: Some(area.kind),
        }
    }

    fn found_buffer(&mut self, address: u64, len: usize, write: bool) -> Option<Found> {
        let buffer = self.buffers.access(address, len as u64, write)?;
        let queue = self.requests.get(buffer.owner).map(|request| request.queue);
        let purpose = match buffer.kind {
            BufferKind::Table => Purpose::IndirectTable,
            BufferKind::Readable | BufferKind::Writable => Purpose::Payload,
        };
        Some(Found {
            purpose,
            queue,
            mixed: false,
            owner: buffer.owner,
            buffer: Some(buffer.kind),
            area: None,
        })
    }
}
