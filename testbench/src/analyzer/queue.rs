//! What is known of one split virtqueue: shadows of its areas, and which heads are where.

use pcie_sim::spec::{features, virtq};
use pcie_sim::time::Instant;

use super::areas::{Area, AreaKind};
use super::registers::QueueRegisters;
use super::request::{RequestRef, Stamp};
use super::suppression::Suppression;

/// Whether the first four bytes (`id`) or the last four (`len`) of a used element were written.
pub(crate) const ID_WRITTEN: u8 = 1;
/// See [`ID_WRITTEN`].
pub(crate) const LEN_WRITTEN: u8 = 2;

/// How the CPU learned that an element on the card is done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shown {
    /// The first interrupt since the CPU had last read the index.
    pub(crate) interrupt: Option<Instant>,
    /// The answer with the index left the card.
    pub(crate) read: Instant,
}

impl Shown {
    /// When a request ended that was `active` until then: an interrupt before that was for another.
    pub(crate) fn end(&self, active: Instant) -> Instant {
        self.interrupt.filter(|&interrupt| interrupt >= active).unwrap_or(self.read)
    }
}

/// One queue. Vectors are indexed by slot of the ring or by descriptor.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) index: u16,
    pub(crate) size: u16,
    pub(crate) in_order: bool,
    pub(crate) suppression: Suppression,
    pub(crate) desc_at: u64,
    pub(crate) driver_at: u64,
    pub(crate) device_at: u64,
    pub(crate) desc_on_card: bool,
    pub(crate) driver_on_card: bool,
    pub(crate) device_on_card: bool,

    /// The descriptor table as the card read it.
    pub(crate) desc: Vec<u8>,
    pub(crate) desc_stamp: Vec<Stamp>,
    /// The request whose chain goes on at a descriptor that has not been read yet.
    pub(crate) waiting: Vec<RequestRef>,
    /// The request that a descriptor was last read for.
    pub(crate) desc_owner: Vec<RequestRef>,

    /// The available ring as the card read it.
    pub(crate) avail: Vec<u8>,
    pub(crate) entry_stamp: Vec<Stamp>,
    /// The read that showed the index beyond this slot.
    pub(crate) published: Vec<Stamp>,
    pub(crate) begin: Vec<Option<Instant>>,
    /// Made available, but the entry is not known.
    pub(crate) pending: Vec<bool>,
    pub(crate) pending_count: u32,
    pub(crate) avail_idx: u16,
    /// How many requests have been made available.
    pub(crate) available: u64,
    /// How many of them came before the one in this slot.
    pub(crate) position: Vec<u64>,
    /// Requests of ring slots, in the order in which they were made available.
    pub(crate) order: Vec<RequestRef>,
    /// The request that a head stands for.
    pub(crate) owner: Vec<RequestRef>,
    /// The oldest doorbell that no read of the available index has answered.
    pub(crate) bell: Option<Instant>,
    /// Up to this available index, requests have had a doorbell.
    pub(crate) belled: u16,

    /// The used ring as the card wrote it, or as the CPU read it from the card.
    pub(crate) used: Vec<u8>,
    pub(crate) element_written: Vec<u8>,
    /// Elements written whose index has not been.
    pub(crate) elements_ahead: u32,
    pub(crate) used_idx: u16,
    /// On the card: up to this index the CPU has read the elements.
    pub(crate) collected: u16,
    pub(crate) shown: Vec<Shown>,

    /// The used index has moved since the last interrupt.
    pub(crate) unreported: bool,
    /// When it moved last; the beginning of time when it never has.
    pub(crate) moved: Instant,
    /// The first interrupt since the CPU last read the index on the card.
    pub(crate) interrupted: Option<Instant>,
}

impl Queue {
    /// A queue as the driver has described it; `on_card` tells whether an address lies on the card.
    pub(crate) fn new(
        index: u16,
        registers: &QueueRegisters,
        negotiated: u64,
        on_card: impl Fn(u64) -> bool,
    ) -> Self {
        let size = registers.size;
        let n = usize::from(size);
        Self {
            index,
            size,
            in_order: negotiated & features::IN_ORDER != 0,
            suppression: Suppression::new(negotiated & features::EVENT_IDX != 0),
            desc_at: registers.desc,
            driver_at: registers.driver,
            device_at: registers.device,
            desc_on_card: on_card(registers.desc),
            driver_on_card: on_card(registers.driver),
            device_on_card: on_card(registers.device),
            desc: vec![0; virtq::desc_area_bytes(size) as usize],
            desc_stamp: vec![Stamp::NEVER; n],
            waiting: vec![RequestRef::NONE; n],
            desc_owner: vec![RequestRef::NONE; n],
            avail: vec![0; virtq::avail_area_bytes(size) as usize],
            entry_stamp: vec![Stamp::NEVER; n],
            published: vec![Stamp::NEVER; n],
            begin: vec![None; n],
            pending: vec![false; n],
            pending_count: 0,
            avail_idx: 0,
            available: 0,
            position: vec![0; n],
            order: vec![RequestRef::NONE; n],
            owner: vec![RequestRef::NONE; n],
            bell: None,
            belled: 0,
            used: vec![0; virtq::used_area_bytes(size) as usize],
            element_written: vec![0; n],
            elements_ahead: 0,
            used_idx: 0,
            collected: 0,
            shown: vec![Shown::default(); n],
            unreported: false,
            moved: Instant::ZERO,
            interrupted: None,
        }
    }

    /// The areas, with whether they lie on the card.
    pub(crate) fn areas(&self) -> [(Area, bool); 3] {
        let area = |start: u64, bytes: u64, kind| Area {
            start,
            end: start.saturating_add(bytes),
            queue: self.index,
            size: self.size,
            kind,
        };
        let n = self.size;
        [
            (
                area(self.desc_at, virtq::desc_area_bytes(n), AreaKind::Descriptors),
                self.desc_on_card,
            ),
            (
                area(self.driver_at, virtq::avail_area_bytes(n), AreaKind::Driver),
                self.driver_on_card,
            ),
            (
                area(self.device_at, virtq::used_area_bytes(n), AreaKind::Device),
                self.device_on_card,
            ),
        ]
    }

    /// The ring slot of a running index. The size is a power of two.
    pub(crate) const fn slot(&self, index: u16) -> usize {
        (index & (self.size - 1)) as usize
    }

    /// Address of an entry of the available ring.
    pub(crate) const fn entry_at(&self, slot: usize) -> u64 {
        self.driver_at.wrapping_add(virtq::avail_entry(slot as u16))
    }

    /// `(id, len)` of a used element in the shadow.
    pub(crate) fn element(&self, slot: usize) -> (u32, u32) {
        let at = virtq::used_elem(slot as u16) as usize;
        let word = |at: usize| {
            u32::from_le_bytes([
                self.used[at],
                self.used[at + 1],
                self.used[at + 2],
                self.used[at + 3],
            ])
        };
        (word(at), word(at + 4))
    }

    /// The card has read entries before they were made available, and not since: it may take them for
    /// what they were.
    pub(crate) fn read_ahead(&self) -> bool {
        let mut entries = self.pending.iter().zip(&self.entry_stamp);
        self.pending_count > 0 && entries.any(|(&pending, stamp)| pending && stamp.is_known())
    }

    /// The request in flight that a used element's id names.
    pub(crate) fn named(&self, id: u32) -> RequestRef {
        self.owner.get(id as usize).copied().unwrap_or(RequestRef::NONE)
    }
}

/// A queue, for those who show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueView {
    /// Its index.
    pub index: u16,
    /// Descriptors.
    pub size: u16,
    /// The available index as the card last saw it.
    pub avail_idx: u16,
    /// The used index as it was last seen.
    pub used_idx: u16,
    /// The descriptor table lies on the card.
    pub desc_on_card: bool,
    /// The available ring lies on the card.
    pub driver_on_card: bool,
    /// The used ring lies on the card.
    pub device_on_card: bool,
}
