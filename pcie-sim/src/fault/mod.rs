//! Faults by name: what a scenario can ask to go wrong between card and host, and when.
//!
//! ```text
//!   sender ─▶ transaction faults ─▶ data link layer, link faults ─▶ receiver
//!             (what the sender did)  (what the wire did)
//! ```
//!
//! A fault does what broken silicon or a bad wire does, and nothing else: whoever detects it, detects it
//! by the rules of PCI Express. Which packets are hit is decided by a [`Plan`], by count or by seed, so
//! that the same scenario goes wrong in the same way each time.

mod mangle;
mod mishaps;
mod plan;

pub use self::mangle::mangle;
pub use self::mishaps::Mishaps;
pub use self::plan::{Fault, Plan, Strike, When};

use crate::endpoint::Direction;

/// Where in the picture a fault sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The sender hands over something else than it should, or nothing.
    Transaction,
    /// The wire, or the data link layer of one side.
    Link,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A TLP arrives with a wrong LCRC.
    LcrcError,
    /// A TLP does not arrive at all.
    TlpLost,
    /// An Ack does not arrive.
    AckLost,
    /// A TLP is sent a second time, with the same sequence number.
    TlpDuplicated,
    /// A TLP is late, and all behind it with it.
    Delayed,
    /// Credits that the receiver has free are never told to the sender.
    CreditLeak,
    /// The link goes through recovery, and nothing moves meanwhile.
    Retrain,
    /// The link goes down without a word.
    SurpriseDown,
    /// Data are known to be bad: EP is set.
    Poisoned,
    /// The end-to-end CRC does not fit the packet.
    EcrcError,
    /// A completion is never sent.
    CompletionLost,
    /// A completion is sent long after it should have been.
    CompletionLate,
    /// A completion is sent twice.
    CompletionDuplicated,
    /// A completion's Byte Count is wrong.
    CompletionByteCount,
    /// A completion's Lower Address is wrong.
    CompletionLowerAddress,
    /// A completion has the tag of another request.
    CompletionTag,
    /// A request is answered with Completer Abort.
    CompletionStatus,
    /// A memory request of the card goes to a page that nobody mapped.
    IommuFault,
    /// An interrupt message is never sent.
    InterruptStuck,
}

impl FaultKind {
    /// Every one.
    pub const ALL: [Self; 19] = [
        Self::LcrcError,
        Self::TlpLost,
        Self::AckLost,
        Self::TlpDuplicated,
        Self::Delayed,
        Self::CreditLeak,
        Self::Retrain,
        Self::SurpriseDown,
        Self::Poisoned,
        Self::EcrcError,
        Self::CompletionLost,
        Self::CompletionLate,
        Self::CompletionDuplicated,
        Self::CompletionByteCount,
        Self::CompletionLowerAddress,
        Self::CompletionTag,
        Self::CompletionStatus,
        Self::IommuFault,
        Self::InterruptStuck,
    ];

    /// What a scenario calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LcrcError => "lcrc-error",
            Self::TlpLost => "tlp-lost",
            Self::AckLost => "ack-lost",
            Self::TlpDuplicated => "tlp-duplicated",
            Self::Delayed => "delayed",
            Self::CreditLeak => "credit-leak",
            Self::Retrain => "retrain",
            Self::SurpriseDown => "surprise-down",
            Self::Poisoned => "poisoned",
            Self::EcrcError => "ecrc-error",
            Self::CompletionLost => "completion-lost",
            Self::CompletionLate => "completion-late",
            Self::CompletionDuplicated => "completion-duplicated",
            Self::CompletionByteCount => "completion-byte-count",
            Self::CompletionLowerAddress => "completion-lower-address",
            Self::CompletionTag => "completion-tag",
            Self::CompletionStatus => "completion-status",
            Self::IommuFault => "iommu-fault",
            Self::InterruptStuck => "interrupt-stuck",
        }
    }

    /// The fault of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Where it sits.
    #[must_use]
    pub const fn layer(self) -> Layer {
        match self {
            Self::LcrcError
            | Self::TlpLost
            | Self::AckLost
            | Self::TlpDuplicated
            | Self::Delayed
            | Self::CreditLeak
            | Self::Retrain
            | Self::SurpriseDown => Layer::Link,
            _ => Layer::Transaction,
        }
    }

    /// The direction it is for when a scenario names none: that in which a card's own DMA meets it.
    #[must_use]
    pub const fn usual_direction(self) -> Direction {
        match self {
            Self::IommuFault | Self::InterruptStuck => Direction::Upstream,
            _ => Direction::Downstream,
        }
    }

    /// Whether it can be for this direction.
    #[must_use]
    pub fn fits(self, direction: Direction) -> bool {
        !matches!(self, Self::IommuFault | Self::InterruptStuck) || direction == Direction::Upstream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_known_by_its_name_and_fits_its_usual_direction() {
        for kind in FaultKind::ALL {
            assert_eq!(FaultKind::of_name(kind.name()), Some(kind));
            assert!(kind.fits(kind.usual_direction()));
        }
        assert_eq!(FaultKind::of_name("gremlin"), None);
    }
}
