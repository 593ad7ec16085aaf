//! What a frame that the station sends is.

use smoltcp::wire::{
    ArpOperation, ArpPacket, EthernetFrame, EthernetProtocol, Icmpv4Message, Icmpv4Packet,
    IpProtocol, Ipv4Packet,
};

/// The answers that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ArpReply,
    EchoReply,
    Datagram,
}

impl Kind {
    /// Of a frame; `None` for another, such as a question of the station's own.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        match frame.ethertype() {
            EthernetProtocol::Arp => {
                let arp = ArpPacket::new_checked(frame.payload()).ok()?;
                (arp.operation() == ArpOperation::Reply).then_some(Self::ArpReply)
            }
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
                match packet.next_header() {
                    IpProtocol::Udp => Some(Self::Datagram),
                    IpProtocol::Icmp => {
                        let icmp = Icmpv4Packet::new_checked(packet.payload()).ok()?;
                        (icmp.msg_type() == Icmpv4Message::EchoReply).then_some(Self::EchoReply)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
