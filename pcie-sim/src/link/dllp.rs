//! Data link layer packets: acknowledgements and credits. PCIe 5.0 §3.5, "Data Link Layer Packets".
//!
//! Not modelled: InitFC (the link comes up with credits exchanged), power management, vendor and
//! feature DLLPs, scale factors.

use crate::crc::{Crc32, crc16};
use crate::tlp::FlowClass;

/// Bytes of a DLLP on the wire: SDP and END symbols (or the SDP token), four bytes, CRC-16.
pub const DLLP_WIRE_BYTES: u32 = 8;

/// A packet of the data link layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dllp {
    /// All TLPs up to this sequence number have arrived whole.
    Ack(u16),
    /// All up to this one have; what follows is to be sent again.
    Nak(u16),
    /// How much the sender may have sent since the link came up.
    UpdateFc {
        /// Of which class.
        class: FlowClass,
        /// TLPs, counted since the link came up; the low 8 bits travel.
        headers: u32,
        /// Units of 16 bytes, counted since the link came up; the low 12 bits travel.
        data: u32,
    },
}

impl Dllp {
    /// The six bytes between its framing symbols. PCIe 5.0 §3.5.1, table "DLLP Type Encodings".
    #[must_use]
    pub fn to_bytes(self) -> [u8; 6] {
        let content = match self {
            Self::Ack(sequence) => acknowledgement(0x00, sequence),
            Self::Nak(sequence) => acknowledgement(0x10, sequence),
            Self::UpdateFc { class, headers, data } => {
                let kind = 0x80 + 0x10 * class as u32;
                let fields = (headers & 0xff) << 14 | data & 0xfff;
                (kind << 24 | fields).to_be_bytes()
            }
        };
        let [a, b, c, d] = content;
        let [low, high] = crc16(&content);
        [a, b, c, d, low, high]
    }
}

/// The LCRC that follows a TLP of these bytes on the link. PCIe 5.0 §3.6.2.2, "LCRC and Sequence Number
/// Rules (TLP Transmitter)". The simulated link carries a flag for it; this is for who wants the bytes.
#[must_use]
pub fn lcrc(sequence: u16, tlp: &[u8]) -> [u8; 4] {
    Crc32::new().with(&(sequence & 0xfff).to_be_bytes()).with(tlp).field()
}

fn acknowledgement(kind: u8, sequence: u16) -> [u8; 4] {
    let [high, low] = (sequence & 0xfff).to_be_bytes();
    [kind, 0, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PCIe 5.0 §3.6.2.2: the number is protected with the packet.
    #[test]
    fn the_lcrc_covers_the_sequence_number_and_the_packet() {
        assert_eq!(lcrc(0, &[0; 12]), 0xd1bb_79c7_u32.to_le_bytes());
        assert_ne!(lcrc(1, &[0; 12]), lcrc(0, &[0; 12]));
        assert_eq!(lcrc(0x1001, b"TLP"), crate::crc::crc32(&[0, 1, b'T', b'L', b'P']));
    }

    /// PCIe 5.0 §3.5.1, figures "Data Link Layer Packet Format for Ack and Nak" and "for UpdateFC".
    #[test]
    fn a_dllp_has_its_fields_where_the_figures_draw_them() {
        assert_eq!(Dllp::Ack(0xabc).to_bytes()[..4], [0, 0, 0x0a, 0xbc]);
        assert_eq!(Dllp::Nak(0x1001).to_bytes()[..4], [0x10, 0, 0, 1], "twelve bits");
        let update = |class| Dllp::UpdateFc { class, headers: 0x1ff, data: 0x1abc }.to_bytes();
        assert_eq!(update(FlowClass::Posted)[..4], [0x80, 0x3f, 0xca, 0xbc]);
        assert_eq!(update(FlowClass::NonPosted)[0], 0x90);
        assert_eq!(update(FlowClass::Completion)[0], 0xa0);
        assert_eq!(Dllp::Ack(0).to_bytes()[4..], crc16(&[0; 4]));
    }
}
