//! A slot on a platform's own bus: the card behind a register block instead of configuration space.
//!
//! ```text
//!   CPU ──MMIO──▶ [ register block | memory ] ─ the engines of `card` ──DMA──▶ memory
//!    ◀────────────── message, when the interrupt line rises ──┘
//! ```
//!
//! The bus is modelled by the link, at whose end the slot is an [`Endpoint`]; the machine leads its fixed
//! window down. Nobody enumerates the slot and no bit lets it master the bus. Its interrupt is a level: bits
//! of `InterruptStatus`; an interrupt controller that turns a rising line into a message is part of it.
//!
//! Left out: a device that leaves the slot; see also `card::mmio`.

use pcie_sim::address::Bdf;
use pcie_sim::endpoint::{Endpoint, Port};
use pcie_sim::host::MsiMessage;
use pcie_sim::spec::virtio_mmio::{MAGIC, MmioReg, NO_DEVICE, SLOT_BYTES, VERSION};
use pcie_sim::spec::virtio_pci::VENDOR_ID;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{Completion, CompletionStatus, MemRead, Payload, Tlp};

use crate::card::Card;
use crate::config::{CardConfig, CardError};

/// What the platform's description says of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MmioConfig {
    /// Where the register block lies, [`SLOT_BYTES`] long.
    pub registers: u64,
    /// Where the memory of a card that has some appears: shared memory region 0.
    pub memory: Option<u64>,
    /// What is written, and where, when the interrupt line rises.
    pub interrupt: MsiMessage,
    /// By which id the slot's requests are known to an IOMMU.
    pub requester: Bdf,
}

/// Why a device cannot be put into a slot.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// There is one, or one is on its way.
    #[error("the slot at {registers:#x} is taken")]
    Occupied {
        /// Where the slot is.
        registers: u64,
    },
    /// The device cannot be built.
    #[error(transparent)]
    Card(#[from] CardError),
}

/// A slot, and the device in it.
#[derive(Debug)]
pub struct MmioCard {
    place: MmioConfig,
    card: Option<Box<Card>>,
    later: Option<(Instant, Box<Card>)>,
}

impl MmioCard {
    /// A slot without a device: `DeviceID` reads 0.
    #[must_use]
    pub fn empty(place: MmioConfig) -> Self {
        Self { place, card: None, later: None }
    }

    /// A slot with a device from the start.
    pub fn new(place: MmioConfig, device: CardConfig) -> Result<Self, CardError> {
        let card = Card::behind_block(device, &place)?;
        Ok(Self { place, card: Some(Box::new(card)), later: None })
    }

    /// Puts a device into the slot. Nothing tells the driver: it finds a `DeviceID` when it looks again.
    pub fn plug(&mut self, device: CardConfig) -> Result<(), PlugError> {
        self.check_free()?;
        self.card = Some(Box::new(Card::behind_block(device, &self.place)?));
        Ok(())
    }

    /// Puts a device into the slot at a later time. To be called before the bench runs.
    pub fn plug_at(&mut self, at: Instant, device: CardConfig) -> Result<(), PlugError> {
        self.check_free()?;
        self.later = Some((at, Box::new(Card::behind_block(device, &self.place)?)));
        Ok(())
    }

    fn check_free(&self) -> Result<(), PlugError> {
        if self.card.is_some() || self.later.is_some() {
            return Err(PlugError::Occupied { registers: self.place.registers });
        }
        Ok(())
    }

    /// The device in the slot.
    #[must_use]
    pub fn card(&self) -> Option<&Card> {
        self.card.as_deref()
    }

    /// The device in the slot, for what happens to it from outside.
    pub fn card_mut(&mut self) -> Option<&mut Card> {
        self.card.as_deref_mut()
    }

    /// Answers for nobody: the block is there, a device is not. Virtio 1.4, "MMIO Device Register Layout":
    /// all that such a slot says is that there is no device.
    fn answer_for_nobody(&self, read: &MemRead) -> Completion {
        let offset = read.address.checked_sub(self.place.registers);
        let offset = offset.filter(|&offset| offset < SLOT_BYTES);
        let value = match offset.and_then(MmioReg::at) {
            Some(MmioReg::MagicValue) => MAGIC,
            Some(MmioReg::Version) => VERSION,
            Some(MmioReg::DeviceId) => NO_DEVICE,
            Some(MmioReg::VendorId) => VENDOR_ID.into(),
            _ => 0,
        };
        let len = usize::from(read.len_bytes).max(1);
        let mut data = Payload::from_elem(0, len);
        let known = len.min(4);
        data[..known].copy_from_slice(&value.to_le_bytes()[..known]);
        let (status, data) = match offset {
            Some(_) => (CompletionStatus::Success, data),
            None => (CompletionStatus::UnsupportedRequest, Payload::new()),
        };
        Completion {
            completer: self.place.requester,
            requester: read.requester,
            tag: read.tag,
            status,
            byte_count: len as u16,
            lower_address: (read.address & 0x7f) as u8,
            data,
            attributes: read.attributes,
        }
    }
}

impl Endpoint for MmioCard {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        if let Some((_, card)) = self.later.take_if(|(at, _)| *at <= now) {
            self.card = Some(card);
        }
        if let Some(card) = &mut self.card {
            return card.advance(now, port);
        }
        while let Some(tlp) = port.receive() {
            // There is nothing to write to, and nothing was asked for.
            if let Tlp::MemRead(read) = tlp {
                port.send(Tlp::Completion(self.answer_for_nobody(&read)));
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let later = self.later.as_ref().map(|(at, _)| *at);
        let card = self.card.as_deref().and_then(Card::next_wake);
        later.into_iter().chain(card).min()
    }

    fn bypasses_translation(&self) -> bool {
        self.card.as_deref().is_some_and(Card::bypasses_translation)
    }
}
