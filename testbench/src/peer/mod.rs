//! A station at the far end of a network card's cable: it answers ARP, pings and UDP datagrams to the echo
//! port, and counts.
//!
//! ```text
//!   driver ─▶ card ─cable─▶ Wire.incoming ─▶ smoltcp ─▶ Wire.outgoing ─cable─▶ card ─▶ driver
//!                                           UDP port 7
//! ```
//!
//! Its clock is the simulation's, and it does something only when a frame comes, so the same frames at the
//! same times get the same answers.
//!
//! Left out: TCP, IPv6, fragments. A frame that is none of its business gets no answer, and is counted.

mod kind;
#[cfg(test)]
mod tests;
mod wire;

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use pcie_sim::time::Instant;
use rtl_model::FarEnd;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::udp;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Cidr};

use self::kind::Kind;
use self::wire::Wire;

/// The station's Ethernet address.
pub const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
/// The UDP port whose datagrams come back. RFC 862, "Echo Protocol".
pub const ECHO_PORT: u16 = 7;
/// Datagrams that may wait in the socket; one comes at a time.
const DATAGRAMS: usize = 4;
/// Bytes of them.
const DATAGRAM_BYTES: usize = 4 * 65_536;

/// What a station was asked, and what it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PeerCounts {
    /// Frames that came.
    pub frames: u64,
    /// Answers to ARP requests.
    pub arp: u64,
    /// Answers to ICMP echo requests.
    pub icmp_echo: u64,
    /// Datagrams sent back.
    pub udp_echo: u64,
    /// Frames that got no answer.
    pub unanswered: u64,
}

impl PeerCounts {
    /// What was counted since `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            frames: self.frames - before.frames,
            arp: self.arp - before.arp,
            icmp_echo: self.icmp_echo - before.icmp_echo,
            udp_echo: self.udp_echo - before.udp_echo,
            unanswered: self.unanswered - before.unanswered,
        }
    }
}

/// The station.
pub struct Peer {
    interface: Interface,
    sockets: SocketSet<'static>,
    echo: SocketHandle,
    wire: Wire,
    counts: PeerCounts,
}

/// A station that the bench and the cable share.
pub type SharedPeer = Rc<RefCell<Peer>>;

impl Peer {
    /// A station with this address, and so many bits of it that its network has, up to 32.
    #[must_use]
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let mut wire = Wire::default();
        // What it draws by lot must be the same each time.
        let mut config = Config::new(EthernetAddress(MAC).into());
        config.random_seed = 1;
        let mut interface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // There is room for one at least.
            let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(address, prefix.min(32))));
        });
        let buffer = || {
            let slots = vec![udp::PacketMetadata::EMPTY; DATAGRAMS];
            udp::PacketBuffer::new(slots, vec![0; DATAGRAM_BYTES])
        };
        let mut socket = udp::Socket::new(buffer(), buffer());
        // A new socket can be bound to a port that is not 0.
        let _ = socket.bind(ECHO_PORT);
        let mut sockets = SocketSet::new(Vec::new());
        let echo = sockets.add(socket);
        Self { interface, sockets, echo, wire, counts: PeerCounts::default() }
    }

    /// What it was asked so far.
    #[must_use]
    pub const fn counts(&self) -> PeerCounts {
        self.counts
    }

    /// Sends every datagram back to where it came from.
    fn send_back(&mut self) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.echo);
        while socket.can_send()
            && let Ok((data, from)) = socket.recv()
        {
            let data = data.to_vec();
            // What has no room or no address is lost, as datagrams are.
            let _ = socket.send_slice(&data, from.endpoint);
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl FarEnd for Peer {
    fn receive(&mut self, now: Instant, frame: &[u8], answers: &mut Vec<Vec<u8>>) {
        let micros = i64::try_from(now.as_ps() / 1_000_000).unwrap_or(i64::MAX);
        let now = smoltcp::time::Instant::from_micros(micros);
        self.wire.incoming.push_back(frame.to_vec());
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        self.send_back();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        self.counts.frames += 1;
        self.counts.unanswered += u64::from(self.wire.outgoing.is_empty());
        for answer in self.wire.outgoing.drain(..) {
            match Kind::of(&answer) {
                Some(Kind::ArpReply) => self.counts.arp += 1,
                Some(Kind::EchoReply) => self.counts.icmp_echo += 1,
                Some(Kind::Datagram) => self.counts.udp_echo += 1,
                None => {}
            }
            answers.push(answer);
        }
    }
}
