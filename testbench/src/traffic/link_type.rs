//! Link types: what stands in front of the network layer in a captured packet.
//!
//! A virtio network card carries Ethernet frames. Captures that were not taken on an Ethernet
//! interface (loopback, tunnels, tcpdump's `any`) lack that header, so one is put in front:
//!
//! ```text
//!   EN10MB              dst 6 | src 6 | type 2 | payload          taken as it is
//!   RAW, IPV4, IPV6     payload                                   type from the IP version
//!   NULL, LOOP          family 4 | payload                        type from the IP version
//!   LINUX_SLL, _SLL2    16 or 20 bytes | payload                  type and source from that header
//! ```
//!
//! Made-up addresses are locally administered: from 02:00:00:00:00:01 to 02:00:00:00:00:02. Anything
//! else (wireless, Bluetooth, USB, ...) is refused. Numbers and headers: tcpdump.org, "Link-layer
//! header types".

/// Length of an Ethernet header without tags, in bytes. IEEE 802.3, "MAC frame format".
pub const ETHERNET_HEADER_BYTES: usize = 14;

const PLACEHOLDER_DST: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PLACEHOLDER_SRC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802, "Local Experimental Ethertype 1": for payloads that do not say what they are.
const ETHERTYPE_UNKNOWN: u16 = 0x88b5;

/// A link type that can be turned into Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// Ethernet: frames are taken as they are.
    Ethernet,
    /// An IP packet and nothing before it.
    Raw,
    /// Four bytes of address family, then an IP packet (BSD loopback).
    Loopback,
    /// Linux "cooked" capture, version 1.
    LinuxSll,
    /// Linux "cooked" capture, version 2.
    LinuxSll2,
}

impl LinkType {
    /// The link type with this number in a capture file; `None` when it cannot become Ethernet.
    ///
    /// The upper half of the number in a pcap header carries the length of a frame check sequence
    /// and is not looked at: such a check sequence stays part of the payload.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number & 0xffff {
            1 => Some(Self::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(Self::Raw),
            0 | 108 => Some(Self::Loopback),
            113 => Some(Self::LinuxSll),
            276 => Some(Self::LinuxSll2),
            _ => None,
        }
    }

    /// Bytes that stand before the payload in the capture and not in the frame.
    const fn header_bytes(self) -> usize {
        match self {
            Self::Ethernet | Self::Raw => 0,
            Self::Loopback => 4,
            Self::LinuxSll => 16,
            Self::LinuxSll2 => 20,
        }
    }

    /// Bytes the frame has on the cable when the capture says that the packet had `captured`.
    #[must_use]
    pub const fn frame_bytes(self, captured: usize) -> usize {
        let bytes = match self {
            Self::Ethernet => captured,
            _ => captured.saturating_sub(self.header_bytes()) + ETHERNET_HEADER_BYTES,
        };
        if bytes < ETHERNET_HEADER_BYTES { ETHERNET_HEADER_BYTES } else { bytes }
    }

    /// Appends the Ethernet frame of a captured packet to `frame`.
    ///
    /// A packet that is shorter than its own header counts as one with an empty payload.
    pub fn append_frame(self, captured: &[u8], frame: &mut Vec<u8>) {
        let (header, payload) = captured.split_at(self.header_bytes().min(captured.len()));
        let word = |at: usize| match header.get(at..at + 2) {
            Some(bytes) => u16::from_be_bytes([bytes[0], bytes[1]]),
            None => 0,
        };
        let byte = |at: usize| header.get(at).copied().unwrap_or(0);
        match self {
            Self::Ethernet => {}
            Self::Raw | Self::Loopback => {
                push_header(frame, PLACEHOLDER_DST, PLACEHOLDER_SRC, ip_ethertype(payload));
            }
            Self::LinuxSll => {
                let address = cooked_source(u64::from(word(4)), header.get(6..12));
                let ethertype = cooked_ethertype(word(14), payload);
                push_header(frame, cooked_destination(word(0)), address, ethertype);
            }
            Self::LinuxSll2 => {
                let address = cooked_source(u64::from(byte(11)), header.get(12..18));
                let ethertype = cooked_ethertype(word(0), payload);
                push_header(frame, cooked_destination(byte(10).into()), address, ethertype);
            }
        }
        frame.extend_from_slice(payload);
    }
}

fn push_header(frame: &mut Vec<u8>, dst: [u8; 6], src: [u8; 6], ethertype: u16) {
    frame.extend_from_slice(&dst);
    frame.extend_from_slice(&src);
    frame.extend_from_slice(&ethertype.to_be_bytes());
}

/// The address family numbers of NULL differ between systems; the IP version does not.
fn ip_ethertype(payload: &[u8]) -> u16 {
    match payload.first().map(|byte| byte >> 4) {
        Some(4) => ETHERTYPE_IPV4,
        Some(6) => ETHERTYPE_IPV6,
        _ => ETHERTYPE_UNKNOWN,
    }
}

/// A protocol below 0x600 is Linux's name for an 802.3 frame, whose header has a length there.
fn cooked_ethertype(protocol: u16, payload: &[u8]) -> u16 {
    match protocol {
        0x0600.. => protocol,
        _ => u16::try_from(payload.len()).unwrap_or(0).min(1500),
    }
}

/// Packet type 1 is a broadcast; of the others the header does not say who they went to.
fn cooked_destination(packet_type: u16) -> [u8; 6] {
    if packet_type == 1 { BROADCAST } else { PLACEHOLDER_DST }
}

/// The sender's address, when it is an Ethernet address.
fn cooked_source(length: u64, address: Option<&[u8]>) -> [u8; 6] {
    match address.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) {
        Some(address) if length == 6 => address,
        _ => PLACEHOLDER_SRC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(link: LinkType, captured: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        link.append_frame(captured, &mut frame);
        frame
    }

    /// tcpdump.org, "Link-layer header types": LINKTYPE_RAW, the version tells IPv4 from IPv6.
    #[test]
    fn a_bare_ip_packet_gets_the_type_of_its_version() {
        assert_eq!(frame(LinkType::Raw, &[0x45, 1])[12..], [0x08, 0x00, 0x45, 1]);
        assert_eq!(frame(LinkType::Raw, &[0x60, 1])[12..], [0x86, 0xdd, 0x60, 1]);
        assert_eq!(frame(LinkType::Loopback, &[2, 0, 0, 0, 0x45])[12..], [0x08, 0x00, 0x45]);
    }

    /// tcpdump.org, LINKTYPE_LINUX_SLL: type, ARPHRD, length, address, protocol.
    #[test]
    fn a_cooked_packet_keeps_its_protocol_and_its_sender() {
        let cooked = [0, 1, 0, 1, 0, 6, 10, 11, 12, 13, 14, 15, 0, 0, 0x08, 0x06, 0xaa];
        let made = frame(LinkType::LinuxSll, &cooked);
        assert_eq!(made[..6], BROADCAST);
        assert_eq!(made[6..], [10, 11, 12, 13, 14, 15, 0x08, 0x06, 0xaa]);
    }

    proptest! {
        #[test]
        fn a_frame_is_as_long_as_announced(bytes in prop::collection::vec(any::<u8>(), 0..80), number in 0..300u32) {
            if let Some(link) = LinkType::from_number(number) {
                let made = frame(link, &bytes);
                prop_assert!(made.len() <= link.frame_bytes(bytes.len()));
                prop_assert!(made.len() == link.frame_bytes(bytes.len()) || made.len() < ETHERNET_HEADER_BYTES);
                prop_assert!(bytes.ends_with(&made[made.len().min(ETHERNET_HEADER_BYTES)..]));
            }
        }
    }
}
