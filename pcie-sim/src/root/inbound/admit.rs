//! Which of the card's requests reach memory, and where: port, IOMMU, RAM, protection, in that order.

use super::RootComplex;
use crate::address::{Bdf, BusAddr, PhysAddr};
use crate::iommu::{DmaKind, Translated};
use crate::time::{Instant, Span};

/// How many refusals are kept in detail; all are counted.
const REFUSALS_KEPT: usize = 256;

/// Why the root complex did not do what the card asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The IOMMU blocked it, with this fault reason.
    Iommu(u8),
    /// No RAM there.
    NoMemory,
    /// The page is one that a secure guest has not shared. Here the address is the bus address; without
    /// an IOMMU that is the page's own.
    NotShared,
    /// The root port's own Bus Master Enable is off.
    PortDisabled,
    /// The request crosses a 4-KiB boundary, which makes it malformed.
    CrossesPage,
    /// A write to the interrupt range that no message stands for.
    UnknownInterrupt,
    /// An interrupt from a slot that an earlier fault has frozen.
    SlotFrozen,
    /// Against the rules on the form of packets; nobody answers.
    Malformed,
    /// A kind of request, or of address, that the root complex does not take.
    NotSupported,
    /// Its data is marked as bad.
    Poisoned,
}

/// A request that the root complex refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When it was looked at.
    pub at: Instant,
    /// Who asked.
    pub requester: Bdf,
    /// For which bus address.
    pub address: u64,
    /// For how many bytes.
    pub len_bytes: u32,
    /// Read or write.
    pub kind: DmaKind,
    /// Why not.
    pub refusal: Refusal,
}

impl RootComplex {
    #[inline]
    pub(super) fn locate(
        &mut self,
        now: Instant,
        requester: Bdf,
        address: u64,
        len_bytes: u32,
        kind: DmaKind,
    ) -> (Result<PhysAddr, Refusal>, Span) {
        let (place, took) = self.translate(now, requester, address, len_bytes, kind);
        let place = place.and_then(|place| {
            if !self.ram.contains(place, u64::from(len_bytes)) {
                Err(Refusal::NoMemory)
            } else if self.may_touch(place, len_bytes) {
                Ok(place)
            } else {
                Err(Refusal::NotShared)
            }
        });
        if let Err(refusal) = place {
            self.refuse(Refused { at: now, requester, address, len_bytes, kind, refusal });
        }
        (place, took)
    }

    fn may_touch(&self, place: PhysAddr, len_bytes: u32) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.covers(place, u64::from(len_bytes)))
    }

    fn translate(
        &mut self,
        now: Instant,
        requester: Bdf,
        address: u64,
        len_bytes: u32,
        kind: DmaKind,
    ) -> (Result<PhysAddr, Refusal>, Span) {
        if !self.port.forwards_up() {
            return (Err(Refusal::PortDisabled), Span::ZERO);
        }
        if (address & 0xfff) + u64::from(len_bytes) > 4096 {
            return (Err(Refusal::CrossesPage), Span::ZERO);
        }
        let Some(iommu) = self.iommu.as_deref_mut().filter(|_| !self.bypassed) else {
            return (Ok(PhysAddr(address)), Span::ZERO);
        };
        let bus = BusAddr(address);
        match iommu.translate(now, &mut self.ram, requester, bus, len_bytes, kind) {
            Ok(Translated { address, took }) => (Ok(address), took),
            Err(blocked) => (Err(Refusal::Iommu(blocked.reason)), blocked.took),
        }
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        self.refused_count += 1;
        self.fresh_refusal = Some(refused.refusal);
        if self.refused.len() < REFUSALS_KEPT {
            self.refused.push(refused);
        }
    }
}
