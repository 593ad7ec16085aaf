//! Atomic requests: one memory location is read, changed and written, and nobody gets in between.
//! PCIe 5.0 §6.15, "Atomic Operations (AtomicOps)".

use super::{Attributes, Payload, Tag};
use crate::address::Bdf;

/// What is done to the location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomicOperation {
    /// FetchAdd: the operand is added, carries out of the top lost. 4 or 8 bytes.
    FetchAdd,
    /// Swap: the operand takes the place of the value. 4 or 8 bytes.
    Swap,
    /// CAS: when the value equals the first operand, the second takes its place. 4, 8 or 16 bytes.
    CompareAndSwap,
}

impl AtomicOperation {
    /// How large the location is when `len_bytes` bytes of operands come with the request; `None` when
    /// no request has so many. PCIe 5.0 §2.2.7, "Memory, I/O, and Configuration Request Rules".
    #[must_use]
    pub fn location_bytes(self, len_bytes: usize) -> Option<usize> {
        match (self, len_bytes) {
            (Self::FetchAdd | Self::Swap, 4 | 8) => Some(len_bytes),
            (Self::CompareAndSwap, 8 | 16 | 32) => Some(len_bytes / 2),
            _ => None,
        }
    }
}

/// An AtomicOp request; not posted: it is answered with the value that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Atomic {
    /// Who asks.
    pub requester: Bdf,
    /// By what number it knows the answer.
    pub tag: Tag,
    /// Where the location is; a multiple of its size.
    pub address: u64,
    /// What is done.
    pub operation: AtomicOperation,
    /// The operands, as bytes in the order of memory: one, or first the one compared, then the new one.
    pub operands: Payload,
    /// Ordering and traffic class.
    pub attributes: Attributes,
}

impl Atomic {
    /// How large the location is; `None` when the operands fit no operation.
    #[must_use]
    pub fn location_bytes(&self) -> Option<usize> {
        self.operation.location_bytes(self.operands.len())
    }

    /// Does it to `location`, numbers in little-endian order, and gives what was there before; `None`,
    /// and nothing done, when `location` is not of the operands' size.
    pub fn perform(&self, location: &mut [u8]) -> Option<Payload> {
        let size = self.location_bytes()?;
        if location.len() != size {
            return None;
        }
        let before = Payload::from_slice(location);
        let (first, second) = self.operands.split_at(size);
        match self.operation {
            AtomicOperation::FetchAdd => add(location, first),
            AtomicOperation::Swap => location.copy_from_slice(first),
            AtomicOperation::CompareAndSwap if before[..] == *first => {
                location.copy_from_slice(second);
            }
            AtomicOperation::CompareAndSwap => {}
        }
        Some(before)
    }
}

/// Adds byte by byte, lowest first; the last carry is lost.
fn add(sum: &mut [u8], operand: &[u8]) {
    let mut carry = 0;
    for (byte, other) in sum.iter_mut().zip(operand) {
        let both = u16::from(*byte) + u16::from(*other) + carry;
        *byte = both as u8;
        carry = both >> 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(operation: AtomicOperation, operands: &[u8]) -> Atomic {
        Atomic {
            requester: Bdf::new(1, 0, 0),
            tag: Tag(1),
            address: 0x1000,
            operation,
            operands: Payload::from_slice(operands),
            attributes: Attributes::default(),
        }
    }

    #[test]
    fn a_fetch_and_add_carries_through_all_bytes_and_loses_the_last_carry() {
        let values = [0, 1, 0xff, 0xffff_ffff, 0x8000_0000, 0x00ff_ff01, 0x1234_5678];
        for (a, b) in values.iter().flat_map(|a| values.map(|b| (*a, b))) {
            let b: u32 = b;
            let mut location = u32::to_le_bytes(a);
            let before =
                request(AtomicOperation::FetchAdd, &b.to_le_bytes()).perform(&mut location);
            assert_eq!(before.as_deref(), Some(&a.to_le_bytes()[..]));
            assert_eq!(u32::from_le_bytes(location), a.wrapping_add(b));
        }
        let mut location = (u64::MAX - 1).to_le_bytes();
        request(AtomicOperation::FetchAdd, &3_u64.to_le_bytes()).perform(&mut location);
        assert_eq!(u64::from_le_bytes(location), 1);
    }

    #[test]
    fn a_swap_takes_any_value_and_a_compare_and_swap_only_the_expected_one() {
        let mut location = [1, 2, 3, 4];
        let before = request(AtomicOperation::Swap, &[5, 6, 7, 8]).perform(&mut location);
        assert_eq!((before.as_deref(), location), (Some(&[1, 2, 3, 4][..]), [5, 6, 7, 8]));
        let operands = [5, 6, 7, 9, 0, 0, 0, 0];
        let before = request(AtomicOperation::CompareAndSwap, &operands).perform(&mut location);
        assert_eq!((before.as_deref(), location), (Some(&[5, 6, 7, 8][..]), [5, 6, 7, 8]));
        let operands = [5, 6, 7, 8, 0, 0, 0, 1];
        request(AtomicOperation::CompareAndSwap, &operands).perform(&mut location);
        assert_eq!(location, [0, 0, 0, 1]);
    }

    #[test]
    fn operands_of_a_size_that_no_operation_has_do_nothing() {
        let mut location = [1; 16];
        assert_eq!(request(AtomicOperation::FetchAdd, &[1; 16]).perform(&mut location), None);
        assert_eq!(request(AtomicOperation::Swap, &[2; 8]).perform(&mut location), None);
        assert_eq!(location, [1; 16]);
        let wide = request(AtomicOperation::CompareAndSwap, &[1; 32]);
        assert_eq!(wide.perform(&mut location).map(|before| before.len()), Some(16));
    }
}
