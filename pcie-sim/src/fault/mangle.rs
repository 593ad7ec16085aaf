//! What a transaction fault makes of a packet.

use smallvec::smallvec;

use super::FaultKind;
use super::plan::Strike;
use crate::link::sender::Delivery;
use crate::time::Span;
use crate::tlp::{CompletionStatus, Payload, Tlp};

/// An address bit that no machine of the bench maps, and that every IOMMU of it can see.
const ASTRAY: u64 = 1 << 37;
/// A tag as far from the right one as a short tag field allows.
const OTHER_TAG: u16 = 0x10;

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
        (FaultKind::Poisoned, tlp) => smallvec![(now, tlp.poisoned())],
        (FaultKind::EcrcError, tlp) => smallvec![(now, wrong_ecrc(tlp))],
        (kind, tlp) => smallvec![(now, tlp.map_plain(|plain| change(kind, plain)))],
    }
}

/// The packet with a digest that does not fit it.
fn wrong_ecrc(tlp: Tlp) -> Tlp {
    tlp.with_ecrc().extend(|extras| {
        if let Some(digest) = &mut extras.ecrc {
            digest[0] ^= 1;
        }
    })
}

fn change(kind: FaultKind, mut tlp: Tlp) -> Tlp {
    match (kind, &mut tlp) {
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
    tlp
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Bdf;
    use crate::endpoint::Direction;
    use crate::time::Instant;
    use crate::tlp::{Attributes, Completion, MemWrite, Tag};

    fn completion() -> Tlp {
        Tlp::Completion(Completion {
            completer: Bdf::new(0, 0, 0),
            requester: Bdf::new(1, 0, 0),
            tag: Tag(3),
            status: CompletionStatus::Success,
            byte_count: 64,
            lower_address: 0x40,
            data: Payload::from_slice(&[7; 64]),
            attributes: Attributes::default(),
        })
    }

    fn delivered(kind: FaultKind, tlp: &Tlp) -> Delivery {
        let (at, delay) = (Instant::ZERO, Span::from_us(5));
        mangle(&Strike { at, kind, direction: Direction::Downstream, delay }, tlp.clone())
    }

    #[test]
    fn a_transaction_fault_changes_the_one_thing_that_it_is_called_after() {
        let changed = |kind| match &delivered(kind, &completion())[..] {
            [(Span::ZERO, Tlp::Completion(completion))] => completion.clone(),
            other => panic!("{}: {other:?}", kind.name()),
        };
        let Tlp::Completion(right) = completion() else { unreachable!() };
        assert_ne!(changed(FaultKind::CompletionByteCount).byte_count, right.byte_count);
        assert_ne!(changed(FaultKind::CompletionLowerAddress).lower_address, right.lower_address);
        assert_ne!(changed(FaultKind::CompletionTag).tag, right.tag);
        let aborted = changed(FaultKind::CompletionStatus);
        assert_eq!(aborted.status, CompletionStatus::CompleterAbort);
        assert!(aborted.data.is_empty());
    }

    #[test]
    fn what_is_lost_is_nothing_and_what_is_late_comes_later() {
        assert!(delivered(FaultKind::CompletionLost, &completion()).is_empty());
        let late = delivered(FaultKind::CompletionLate, &completion());
        assert_eq!(late[..], [(Span::from_us(5), completion())]);
        assert_eq!(delivered(FaultKind::CompletionDuplicated, &completion()).len(), 2);
    }

    #[test]
    fn bad_data_are_marked_and_a_bad_digest_does_not_fit() {
        let poisoned = delivered(FaultKind::Poisoned, &completion());
        assert!(poisoned[0].1.is_poisoned());
        let wrong = delivered(FaultKind::EcrcError, &completion());
        assert_eq!(wrong[0].1.ecrc_holds(), Some(false));
    }

    #[test]
    fn a_request_that_goes_astray_keeps_its_place_in_the_page() {
        let write = Tlp::MemWrite(MemWrite {
            requester: Bdf::new(1, 0, 0),
            tag: Tag(0),
            address: 0x1234,
            data: Payload::from_slice(&[0; 4]),
            attributes: Attributes::default(),
        });
        let Tlp::MemWrite(astray) = &delivered(FaultKind::IommuFault, &write)[0].1 else {
            unreachable!()
        };
        assert_eq!((astray.address & 0xfff, astray.address == 0x1234), (0x234, false));
    }
}
