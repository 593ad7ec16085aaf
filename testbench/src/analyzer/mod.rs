//! The passive analyzer: a tap on the link that tells what each DMA of the card is for.
//!
//! ```text
//!  configuration TLPs ─▶ config_shadow ─▶ BARs, capabilities ─┐
//!  MMIO writes ────────▶ registers, msix_table, card_memory ──┤
//!  the card's reads ───▶ tags ─▶ rings (queue, walk, used) ◀──┘
//!                                  │
//!                                  ▼
//!                 purpose, round trips, requests, findings ─▶ Observer
//! ```
//!
//! Everything is learned from TLPs, as a protocol analyzer on a lab bench would; the card is never
//! asked, so a model, one's own RTL and a stranger's RTL are seen by the same eyes. Nothing is allocated
//! per TLP, and what is kept grows with queues and requests in flight, not with time.
//!
//! Left out: packed queues (their DMA stays [`Purpose::Unknown`] and is not judged), MSI and INTx
//! beyond being counted, functions other than the first virtio one.

mod areas;
mod available;
mod buffers;
pub mod capabilities;
mod card_memory;
pub mod config_shadow;
mod cpu;
mod dma;
mod msix_table;
pub mod observer;
pub mod purpose;
mod queue;
mod reads;
pub mod registers;
mod request;
mod rings;
mod suppression;
mod tags;
mod used;
mod walk;

#[cfg(test)]
mod tests;

use std::ops::Range;

use pcie_sim::endpoint::{Direction, Sighting, Tap};
use pcie_sim::time::Instant;
use pcie_sim::tlp::{MemRead, MemWrite, Tlp};

use crate::check::{Findings, Violation};
use config_shadow::ConfigShadow;
use cpu::CpuRequest;
use msix_table::MsixTable;
pub use observer::{Observer, RequestRecord, RoundTrip};
pub use purpose::{Classified, Place, Purpose, Region, Role};
pub use queue::QueueView;
use registers::Registers;
pub use request::serial_round_trips;
use rings::Rings;
use tags::Tags;

/// See the module. `O` is told what was found; `()` when nobody listens.
#[derive(Debug)]
pub struct Analyzer<O = ()> {
    /// Functions on the card's side of the link, by device and function number.
    functions: Vec<(u8, ConfigShadow)>,
    /// Which of them is the virtio device.
    chosen: usize,
    registers: Registers,
    msix: MsixTable,
    rings: Rings,
    cpu: Tags<CpuRequest>,
    /// Reads of the ISR status in a row that showed a cause, without a memory request of the card between them.
    isr_shown: u8,
    /// Addresses on the link that stand for offsets which the driver handed over.
    window: Option<Range<u64>>,
    findings: Findings,
    last: Classified,
    observer: O,
}

impl<O: Observer> Analyzer<O> {
    /// An analyzer that has seen nothing yet. It must see the link from before enumeration on, for what
    /// it does not see it does not know.
    #[must_use]
    pub fn new(observer: O) -> Self {
        Self {
            functions: Vec::new(),
            chosen: 0,
            registers: Registers::new(),
            msix: MsixTable::default(),
            rings: Rings::new(),
            cpu: Tags::new(),
            isr_shown: 0,
            window: None,
            findings: Findings::default(),
            last: Classified::new(Role::Stray, None),
            observer,
        }
    }

    /// The card lies behind a bridge: what it asks for at an offset is on this link at the same offset
    /// into `window`.
    pub fn behind_window(&mut self, window: Range<u64>) {
        self.window = Some(window);
    }

    /// What the last TLP was for.
    #[must_use]
    pub const fn last(&self) -> Classified {
        self.last
    }

    /// Who is told.
    #[must_use]
    pub const fn observer(&self) -> &O {
        &self.observer
    }

    /// Who is told, to be changed.
    pub const fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// What was judged so far.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The violations so far, in order of time.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        self.findings.violations()
    }

    /// Nothing moves any more, although the driver waits: what may be the reason, as far as rules name it.
    pub fn stalled(&mut self, now: Instant) {
        self.rings.stalled(now, &mut self.findings);
    }

    /// The queues that are switched on, in order of their index.
    pub fn queues(&self) -> impl Iterator<Item = QueueView> {
        self.rings.views()
    }

    /// The virtio function's configuration space, as far as somebody read it.
    #[must_use]
    pub fn config(&self) -> Option<&ConfigShadow> {
        self.functions.get(self.chosen).map(|(_, shadow)| shadow)
    }

    /// What the driver told the common configuration.
    #[must_use]
    pub const fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Where in a request's buffers the card's access to `address` lies, when it is to one; to be asked right
    /// after that access.
    pub fn place(&mut self, address: u64, write: bool) -> Option<Place> {
        self.rings.place(self.offset(address).unwrap_or(address), write)
    }

    /// What the card asked for, where that is another address than on this link.
    fn offset(&self, address: u64) -> Option<u64> {
        let window = self.window.as_ref().filter(|window| window.contains(&address))?;
        Some(address - window.start)
    }

    fn classify(&mut self, sighting: &Sighting<'_>) -> Classified {
        // What the rare ones have besides does not change what they are for.
        match (sighting.direction, sighting.tlp.plain()) {
            (Direction::Downstream, Tlp::ConfigRead(read)) => self.config_read(read),
            (Direction::Downstream, Tlp::ConfigWrite(write)) => {
                self.config_write(write, sighting.arrives)
            }
            (Direction::Downstream, Tlp::MemRead(read)) => self.mmio_read(read),
            (Direction::Downstream, Tlp::MemWrite(write)) => {
                self.mmio_write(write.address, &write.data, sighting.arrives)
            }
            (Direction::Downstream, Tlp::Completion(completion)) => {
                self.completion_to_card(completion, sighting.arrives)
            }
            (Direction::Upstream, Tlp::MemRead(read)) => match self.offset(read.address) {
                None => self.dma_read(read, sighting.departs),
                Some(address) => {
                    self.dma_read(&MemRead { address, ..read.clone() }, sighting.departs)
                }
            },
            (Direction::Upstream, Tlp::MemWrite(write)) => match self.offset(write.address) {
                None => self.dma_write(write, sighting.departs),
                Some(address) => {
                    self.dma_write(&MemWrite { address, ..write.clone() }, sighting.departs)
                }
            },
            (Direction::Upstream, Tlp::Completion(completion)) => {
                self.completion_to_cpu(completion, sighting.departs)
            }
            (_, Tlp::Message(_)) => Classified::new(Role::Message, None),
            (Direction::Upstream, Tlp::ConfigRead(_) | Tlp::ConfigWrite(_))
            | (_, Tlp::IoRead(_) | Tlp::IoWrite(_) | Tlp::Atomic(_) | Tlp::Extended(_)) => {
                Classified::new(Role::Stray, None)
            }
        }
    }
}

impl<O: Observer> Tap for Analyzer<O> {
    fn watches_credits(&self) -> bool {
        false
    }

    fn tlp(&mut self, sighting: &Sighting<'_>) {
        self.last = self.classify(sighting);
        self.observer.tlp(sighting, &self.last);
        if !self.rings.ended.is_empty() {
            for request in self.rings.ended.drain(..) {
                self.observer.request(&request);
            }
        }
    }
}
