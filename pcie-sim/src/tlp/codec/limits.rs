//! What a receiver's settings allow, beyond the form that all packets share.

use super::TlpError;
use crate::tlp::{FlowClass, Tlp};

/// A receiver's settings; a packet beyond them is malformed to it, though well-formed in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Max_Payload_Size in bytes. PCIe 5.0 §2.2.2, "TLPs with Data Payloads - Rules".
    pub payload_bytes: u16,
    /// How many End-End prefixes it takes, 0 to 4. PCIe 5.0 §2.2.10.2.
    pub end_to_end_prefixes: u8,
    /// Whether it takes tags of ten bits in requests. PCIe 5.0 §2.2.6.2; one that does not drops T9 and T8.
    pub ten_bit_tags: bool,
}

impl Limits {
    /// Whether a receiver with these settings takes `tlp`.
    ///
    /// # Errors
    /// [`TlpError::Field`] names what is beyond them.
    pub fn check(&self, tlp: &Tlp) -> Result<(), TlpError> {
        let data_bytes = 4 * tlp.data_dwords();
        if data_bytes > usize::from(self.payload_bytes) {
            let (field, expected) = ("bytes of data", "at most Max_Payload_Size");
            return Err(TlpError::Field { field, expected, seen: data_bytes as u64 });
        }
        let prefixes = tlp
            .extras()
            .map_or(0, |extras| extras.prefixes.iter().filter(|prefix| !prefix.is_local()).count());
        if prefixes > usize::from(self.end_to_end_prefixes) {
            let (field, expected) = ("End-End prefixes", "at most Max End-End TLP Prefixes");
            return Err(TlpError::Field { field, expected, seen: prefixes as u64 });
        }
        let tag = tlp.tag().0;
        if !self.ten_bit_tags && tag > 0xff && tlp.flow_class() == FlowClass::NonPosted {
            let (field, expected) = ("tag", "0 to 255: no 10-Bit Tag Completer");
            return Err(TlpError::Field { field, expected, seen: tag.into() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Bdf;
    use crate::tlp::{Attributes, MemRead, MemWrite, Pasid, Payload, Tag};

    const LIMITS: Limits =
        Limits { payload_bytes: 128, end_to_end_prefixes: 1, ten_bit_tags: false };

    fn write(len: usize) -> Tlp {
        let (requester, attributes) = (Bdf::new(1, 0, 0), Attributes::default());
        let data = Payload::from_elem(1, len);
        Tlp::MemWrite(MemWrite { requester, tag: Tag(0), address: 0x1002, data, attributes })
    }

    /// §2.2.2: Length counts, and thus the pads too.
    #[test]
    fn more_doublewords_than_max_payload_size_are_refused() {
        assert_eq!(LIMITS.check(&write(126)), Ok(()));
        assert!(matches!(LIMITS.check(&write(127)), Err(TlpError::Field { seen: 132, .. })));
    }

    #[test]
    fn more_prefixes_or_larger_tags_than_the_receiver_takes_are_refused() {
        let one = write(4).with_pasid(Pasid::default());
        assert_eq!(LIMITS.check(&one), Ok(()));
        let none = Limits { end_to_end_prefixes: 0, ..LIMITS };
        assert!(matches!(none.check(&one), Err(TlpError::Field { seen: 1, .. })));
        let (requester, attributes) = (Bdf::new(1, 0, 0), Attributes::default());
        let tag = Tag(256);
        let read = MemRead { requester, tag, address: 0, len_bytes: 4, attributes };
        assert!(matches!(
            LIMITS.check(&Tlp::MemRead(read.clone())),
            Err(TlpError::Field { seen: 256, .. })
        ));
        let ten = Limits { ten_bit_tags: true, ..LIMITS };
        assert_eq!(ten.check(&Tlp::MemRead(read)), Ok(()));
    }
}
