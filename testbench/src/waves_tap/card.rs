//! The card's pins as the reference RTL names them, told from the link alone, so that a viewer lays the
//! model's waves and the RTL's side by side.
//!
//! The names and what they mean are those of `rtl-model/rtl/README.md`, "Pins". A strobe lasts a clock of
//! the card, from the moment on at which the event is on the card's pins. What never is on the link has no
//! strobe: `stat_process_o`, and what the card does with rings in its own memory. Entries and descriptors
//! that come with one completion are one pulse.

use pcie_sim::endpoint::{Direction, Sighting};
use pcie_sim::time::Instant;
use pcie_sim::tlp::{FlowClass, Tlp};
use waves::{DeclareError, SignalId, Tree};

use crate::analyzer::{Classified, Purpose, Region, Role};

/// A stage of a request's way through the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Doorbell,
    IndexRead,
    Index,
    Entry,
    Descriptor,
    PayloadRead,
    PayloadWrite,
    Used,
    Interrupt,
}

/// In the order of a request's life.
const STAGES: [(Stage, &str); 9] = [
    (Stage::Doorbell, "stat_doorbell_o"),
    (Stage::IndexRead, "stat_index_read_o"),
    (Stage::Index, "stat_index_o"),
    (Stage::Entry, "stat_entry_o"),
    (Stage::Descriptor, "stat_descriptor_o"),
    (Stage::PayloadRead, "stat_payload_read_o"),
    (Stage::PayloadWrite, "stat_payload_write_o"),
    (Stage::Used, "stat_used_o"),
    (Stage::Interrupt, "stat_interrupt_o"),
];

/// Queues that a strobe has bits for, as in the reference RTL. Its interrupts are of no queue.
const QUEUES: u16 = 2;

/// The signals of scope `card`.
pub(super) struct CardSignals {
    pub(super) rx_valid: SignalId,
    pub(super) tx_valid: SignalId,
    /// Indexed by [`Stage`]; bit q for queue q.
    strobes: [SignalId; 9],
    ph: SignalId,
    pd: SignalId,
    nph: SignalId,
    cplh: SignalId,
    cpld: SignalId,
}

impl CardSignals {
    pub(super) fn declare(tree: &mut Tree) -> Result<Self, DeclareError> {
        tree.scope("card", |card| {
            let (rx_valid, tx_valid) = (card.bits("rx_valid_i", 1)?, card.bits("tx_valid_o", 1)?);
            let mut credit = |name: &str, bits| card.bits(&format!("tx_credit_{name}_i"), bits);
            let (ph, pd, nph) = (credit("ph", 8)?, credit("pd", 12)?, credit("nph", 8)?);
            let (cplh, cpld) = (credit("cplh", 8)?, credit("cpld", 12)?);
            let mut strobes = [rx_valid; STAGES.len()];
            for (stage, name) in STAGES {
                let width = if stage == Stage::Interrupt { 1 } else { QUEUES };
                strobes[stage as usize] = card.bits(name, width.into())?;
            }
            Ok(Self { rx_valid, tx_valid, strobes, ph, pd, nph, cplh, cpld })
        })
    }

    pub(super) fn strobe(&self, stage: Stage) -> SignalId {
        self.strobes[stage as usize]
    }

    pub(super) fn strobes(&self) -> impl Iterator<Item = SignalId> {
        self.strobes.into_iter()
    }

    /// What the card reads of the credits that are left to it: a port and its value. Infinite is all ones.
    pub(super) fn credits(
        &self,
        class: FlowClass,
        header: u32,
        data: u32,
    ) -> [Option<(SignalId, u64)>; 2] {
        let port = |signal, value: u32, most: u32| Some((signal, u64::from(value.min(most))));
        match class {
            FlowClass::Posted => [port(self.ph, header, 0xff), port(self.pd, data, 0xfff)],
            FlowClass::NonPosted => [port(self.nph, header, 0xff), None],
            FlowClass::Completion => [port(self.cplh, header, 0xff), port(self.cpld, data, 0xfff)],
        }
    }
}

/// The bit of a strobe that a TLP sets, and when: as it is on the card's pins.
pub(super) fn stage(sighting: &Sighting<'_>, seen: &Classified) -> Option<(Stage, Instant, u16)> {
    let tlp = sighting.tlp.plain();
    let stage = match (seen.role, sighting.direction) {
        (Role::Mmio(Region::Notify), Direction::Downstream) => Stage::Doorbell,
        (Role::Dma(purpose), Direction::Upstream) => match (purpose, tlp) {
            (Purpose::AvailIdx, Tlp::MemRead(_)) => Stage::IndexRead,
            (Purpose::Payload, Tlp::MemRead(_)) => Stage::PayloadRead,
            (Purpose::Payload, Tlp::MemWrite(_)) => Stage::PayloadWrite,
            (Purpose::UsedIdx, Tlp::MemWrite(_)) => Stage::Used,
            (Purpose::MsiX, Tlp::MemWrite(_)) => Stage::Interrupt,
            _ => return None,
        },
        (Role::Dma(purpose), Direction::Downstream) => match purpose {
            Purpose::AvailIdx => Stage::Index,
            Purpose::RingEntry => Stage::Entry,
            Purpose::Descriptor | Purpose::IndirectTable => Stage::Descriptor,
            _ => return None,
        },
        _ => return None,
    };
    let bit = if stage == Stage::Interrupt { 0 } else { seen.queue.filter(|q| *q < QUEUES)? };
    Some((stage, sighting.at_card(), bit))
}
