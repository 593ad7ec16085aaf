//! The card's side: its reads and writes, and the answers to its reads.

use pcie_sim::time::Instant;
use pcie_sim::tlp::{Completion, MemRead, MemWrite};

use super::areas::AreaKind;
use super::buffers::BufferKind;
use super::msix_table::Message;
use super::observer::Observer;
use super::purpose::{Classified, Purpose, Role};
use super::registers::Life;
use super::rings::Found;
use super::{Analyzer, ConfigShadow};
use crate::check::memory::Forbidden;
use crate::check::{Dma, interrupts, life, link, memory};

impl<O: Observer> Analyzer<O> {
    pub(super) fn dma_read(&mut self, read: &MemRead, departs: Instant) -> Classified {
        let len = usize::from(read.len_bytes);
        let dma = Dma { write: false, address: read.address, len, at: departs };
        self.judge_request(&dma);
        self.isr_shown = 0;
        life::dma(&mut self.findings, &dma, self.registers.life());
        let found = self.rings.find(dma.address, len, false);
        self.judge_read(&dma, &found);
        let earlier = self.rings.read_departs(read, found, departs);
        link::tag(&mut self.findings, &dma, read.tag.0, earlier);
        found.classified()
    }

    pub(super) fn dma_write(&mut self, write: &MemWrite, departs: Instant) -> Classified {
        let len = write.data.len();
        let dma = Dma { write: true, address: write.address, len, at: departs };
        self.judge_request(&dma);
        self.isr_shown = 0;
        if let Some(message) = self.msix.message(write.address, &write.data) {
            return self.interrupt(&dma, message);
        }
        life::dma(&mut self.findings, &dma, self.registers.life());
        let found = self.rings.find(dma.address, len, true);
        self.judge_write(&dma, &found);
        if found.area.is_some() {
            self.rings.card_write(&dma, &write.data, &mut self.findings);
        }
        self.rings.buffer_written(found.owner, write.address, &write.data, departs);
        found.classified()
    }

    pub(super) fn completion_to_card(
        &mut self,
        completion: &Completion,
        arrives: Instant,
    ) -> Classified {
        let seen = self.rings.completion_arrives(completion, arrives, &mut self.observer);
        seen.unwrap_or(Classified::new(Role::Stray, None))
    }

    /// What every memory request of the card is held to.
    fn judge_request(&mut self, dma: &Dma) {
        let config = self.functions.get(self.chosen).map(|(_, shadow)| shadow);
        let allowed = config.is_none_or(ConfigShadow::bus_master_allowed);
        link::bus_master(&mut self.findings, dma, allowed);
        link::shape(&mut self.findings, dma, config.and_then(ConfigShadow::limits));
    }

    fn judge_read(&mut self, dma: &Dma, found: &Found) {
        // A card may fetch whole doublewords or cache lines: one known byte explains a read.
        if dma.len > 0 && self.can_judge_strays() {
            let touches = found.purpose != Purpose::Unknown
                || self.rings.buffers.touches(dma.address, dma.len as u64);
            if touches || !self.rings.card_may_know_more() {
                let explained = if touches { dma.len as u64 } else { 0 };
                memory::stray(&mut self.findings, dma, explained);
            }
        }
    }

    fn judge_write(&mut self, dma: &Dma, found: &Found) {
        if !self.can_judge_strays() {
            return;
        }
        let mut doubtful = false;
        let hit = match (found.area, found.buffer, found.queue) {
            (Some(AreaKind::Descriptors), _, Some(queue)) => Some(Forbidden::Descriptors(queue)),
            (Some(AreaKind::Driver), _, Some(queue)) => Some(Forbidden::DriverArea(queue)),
            (_, Some(BufferKind::Readable | BufferKind::Table), Some(queue)) => {
                let (head, certain) = self.rings.head_of(found.owner).unwrap_or_default();
                doubtful = !certain;
                certain.then_some(Forbidden::Readable(queue, head))
            }
            _ => None,
        };
        if !doubtful {
            memory::write(&mut self.findings, dma, hit);
        }
        if found.area.is_some() || hit.is_some() || doubtful {
            return;
        }
        let len = dma.len as u64;
        let explained = self.rings.buffers.covered(dma.address, len, true);
        if explained >= len || !self.rings.card_may_know_more() {
            memory::stray(&mut self.findings, dma, explained);
        }
    }

    /// While the driver sets up, or a queue is not understood, nothing is known well enough.
    fn can_judge_strays(&self) -> bool {
        self.registers.life() == Life::Running && !self.rings.opaque
    }

    fn interrupt(&mut self, dma: &Dma, message: Message) -> Classified {
        let life = self.registers.life();
        let Message::Vector(vector) = message else {
            life::interrupt(&mut self.findings, dma, life, false);
            return Classified::new(Role::Dma(Purpose::MsiX), None);
        };
        if self.config().is_some_and(ConfigShadow::messages_held) {
            interrupts::masked(&mut self.findings, vector, dma.at, Some((dma, true)));
        }
        let registers = &self.registers;
        let has_vector =
            |queue: u16| registers.queue(queue).is_some_and(|known| known.vector == vector);
        if let Some(since) = self.msix.masked_since(vector) {
            let caused = self.rings.caused(since, has_vector);
            interrupts::masked(&mut self.findings, vector, dma.at, Some((dma, caused)));
        }
        let facts = self.rings.interrupt(dma.at, has_vector);
        // A configuration change may use the same vector: such an interrupt says nothing of queues.
        let of_queue = facts.is_some() && vector != registers.config_vector();
        life::interrupt(&mut self.findings, dma, life, of_queue);
        let queue = facts.and_then(|facts| facts.queue);
        if let (Some(facts), Some(queue)) = (facts, queue)
            && of_queue
            && life == Life::Running
        {
            let too_soon = !facts.news && (facts.elements_ahead || !facts.returned);
            let element = facts.elements_ahead;
            interrupts::after_index(&mut self.findings, dma, queue, too_soon, element);
            if let Some((event_idx, suppressed)) = facts.suppression {
                interrupts::suppressed(&mut self.findings, dma, queue, event_idx, suppressed);
            }
        }
        Classified::new(Role::Dma(Purpose::MsiX), queue)
    }
}
