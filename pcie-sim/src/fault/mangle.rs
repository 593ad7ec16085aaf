//! What a transaction fault makes of a packet.

use smallvec::{SmallVec, smallvec};

use super::FaultKind;
use super::plan::Strike;
use crate::time::Span;
use crate::tlp::{CompletionStatus, Payload, Tlp};

/// An address bit that no machine of the bench maps, and that every IOMMU of it can see.
const ASTRAY: u64 = 1 << 37;
/// A tag as far from the right one as a short tag field allows.
const OTHER_TAG: u16 = 0x10;

/// What is handed to the data link layer instead of one packet: packets, each with its delay.
pub type Delivery = SmallVec<[(Span, Tlp); 2]>;

/// What becomes of a packet that a fault of the transaction layer has struck.
#[must_use]
pub fn mangle(strike: &Strike, tlp: Tlp) -> Delivery {
    let now = Span::ZERO;
    match (strike.kind, tlp) {
        (FaultKind::CompletionLost | FaultKind::InterruptStuck, _) => Delivery::new(),
        (FaultKind::CompletionLate, tlp) => smallvec![(strike.delay, tlp)],
        (FaultKind::CompletionDuplicated, tlp) => {
            smallvec![(now, tlp.clone()), (strike.delay, tlp)]
        }
        (_, mut tlp) => {
            change(strike.kind, &mut tlp);
            smallvec![(now, tlp)]
        }
    }
}

fn change(kind: FaultKind, tlp: &mut Tlp) {
    match (kind, tlp) {
        (FaultKind::CompletionByteCount, Tlp::Completion(completion)) => {
            // Never what it was, and never more than the field holds.
            completion.byte_count = if completion.byte_count > 4 {
                completion.byte_count - 4
            } else {
                completion.byte_count + 4
            };
        }
        (FaultKind::CompletionLowerAddress, Tlp::Completion(completion)) => {
            completion.lower_address ^= 0x04;
        }
        (FaultKind::CompletionTag, Tlp::Completion(completion)) => completion.tag.0 ^= OTHER_TAG,
        (FaultKind::CompletionStatus, Tlp::Completion(completion)) => {
            completion.status = CompletionStatus::CompleterAbort;
            completion.data = Payload::new();
        }
        (FaultKind::IommuFault, Tlp::MemRead(read)) => read.address ^= ASTRAY,
        (FaultKind::IommuFault, Tlp::MemWrite(write)) => write.address ^= ASTRAY,
        _ => {}
    }
}
