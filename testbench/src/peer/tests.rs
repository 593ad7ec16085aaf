//! The station on its own: frames in, frames out.

use pcie_sim::time::Span;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv4Packet,
    Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::*;

const HERE: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const ITS_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn station() -> Peer {
    Peer::new(ITS_ADDRESS, 24)
}

fn frame(to: [u8; 6], ethertype: EthernetProtocol, bytes: usize) -> EthernetFrame<Vec<u8>> {
    let repr =
        EthernetRepr { src_addr: EthernetAddress(HERE), dst_addr: EthernetAddress(to), ethertype };
    let mut frame = EthernetFrame::new_unchecked(vec![0; repr.buffer_len() + bytes]);
    repr.emit(&mut frame);
    frame
}

fn arp(target: Ipv4Addr) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(HERE),
        source_protocol_addr: OUR_ADDRESS,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let mut frame = frame([0xff; 6], EthernetProtocol::Arp, repr.buffer_len());
    repr.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    frame.into_inner()
}

fn ipv4(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let repr = Ipv4Repr {
        src_addr: OUR_ADDRESS,
        dst_addr: ITS_ADDRESS,
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut frame = frame(MAC, EthernetProtocol::Ipv4, repr.buffer_len() + payload.len());
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    repr.emit(&mut packet, &ChecksumCapabilities::default());
    packet.payload_mut().copy_from_slice(payload);
    frame.into_inner()
}

fn datagram(port: u16, data: &[u8]) -> Vec<u8> {
    let repr = UdpRepr { src_port: 40_000, dst_port: port };
    let mut bytes = vec![0; repr.header_len() + data.len()];
    let checksums = ChecksumCapabilities::default();
    let (source, to) = (OUR_ADDRESS.into(), ITS_ADDRESS.into());
    let fill = |payload: &mut [u8]| payload.copy_from_slice(data);
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut bytes),
        &source,
        &to,
        data.len(),
        fill,
        &checksums,
    );
    ipv4(IpProtocol::Udp, &bytes)
}

fn ping(data: &[u8]) -> Vec<u8> {
    let repr = Icmpv4Repr::EchoRequest { ident: 7, seq_no: 1, data };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes), &ChecksumCapabilities::default());
    ipv4(IpProtocol::Icmp, &bytes)
}

/// What the station sends for each frame, a microsecond apart.
fn exchange(peer: &mut Peer, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    for (nth, frame) in (1_u64..).zip(frames) {
        peer.receive(Instant::ZERO + Span::from_us(nth), frame, &mut answers);
    }
    answers
}

#[test]
fn an_arp_request_for_its_address_is_answered_and_another_is_not() {
    let mut peer = station();
    let answers = exchange(&mut peer, &[arp(ITS_ADDRESS), arp(Ipv4Addr::new(192, 0, 2, 9))]);
    assert_eq!(answers.len(), 1);
    let answer = EthernetFrame::new_checked(&answers[0][..]).expect("a frame");
    assert_eq!((answer.dst_addr().0, answer.src_addr().0), (HERE, MAC));
    let packet = ArpPacket::new_checked(answer.payload()).expect("ARP");
    let (operation, address) = (packet.operation(), packet.source_protocol_addr());
    assert_eq!((operation, address), (ArpOperation::Reply, &ITS_ADDRESS.octets()[..]));
    let counts = PeerCounts { frames: 2, arp: 1, unanswered: 1, ..PeerCounts::default() };
    assert_eq!(peer.counts(), counts);
}

/// RFC 792: the data of an echo request come back in the reply.
#[test]
fn a_ping_comes_back_with_its_data() {
    let mut peer = station();
    let data: Vec<u8> = (0..=255).cycle().take(1472).collect();
    let answers = exchange(&mut peer, &[arp(ITS_ADDRESS), ping(&data)]);
    assert_eq!(answers.len(), 2);
    let frame = EthernetFrame::new_checked(&answers[1][..]).expect("a frame");
    let packet = Ipv4Packet::new_checked(frame.payload()).expect("IPv4");
    let icmp = Icmpv4Packet::new_checked(packet.payload()).expect("ICMP");
    assert_eq!(icmp.data(), data);
    assert_eq!(peer.counts().icmp_echo, 1);
}

/// RFC 862: what comes to the port goes back as it came. Another port refuses by ICMP, which no one counts
/// as an answer of the echo.
#[test]
fn a_datagram_to_the_echo_port_comes_back_and_another_is_refused() {
    let mut peer = station();
    let data = [0x5a; 333];
    let answers =
        exchange(&mut peer, &[arp(ITS_ADDRESS), datagram(ECHO_PORT, &data), datagram(9, &data)]);
    assert_eq!(answers.len(), 3);
    let frame = EthernetFrame::new_checked(&answers[1][..]).expect("a frame");
    let packet = Ipv4Packet::new_checked(frame.payload()).expect("IPv4");
    let udp = UdpPacket::new_checked(packet.payload()).expect("UDP");
    assert_eq!((udp.src_port(), udp.dst_port(), udp.payload()), (ECHO_PORT, 40_000, &data[..]));
    assert_eq!(
        peer.counts(),
        PeerCounts { frames: 3, arp: 1, udp_echo: 1, ..PeerCounts::default() }
    );
}

/// Whatever comes, there is no panic; the same frames get the same answers.
#[test]
fn frames_that_make_no_sense_get_no_answer() {
    let mut frames: Vec<Vec<u8>> = (0..64).map(|len| vec![0xff; len]).collect();
    let whole = datagram(ECHO_PORT, &[1; 40]);
    frames.extend((0..whole.len()).map(|len| whole[..len].to_vec()));
    let mut peer = station();
    assert_eq!(exchange(&mut peer, &frames), Vec::<Vec<u8>>::new());
    assert_eq!(peer.counts().unanswered, frames.len() as u64);
    let talk = [arp(ITS_ADDRESS), ping(b"abc"), datagram(ECHO_PORT, b"def")];
    assert_eq!(exchange(&mut station(), &talk), exchange(&mut station(), &talk));
}
