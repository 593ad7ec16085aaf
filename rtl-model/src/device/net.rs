//! The network device: what it sends comes back to it through a cable, or goes to a station at its far end,
//! which may answer. Virtio 1.4, "Network Device".
//!
//! Left out: offloads, merged receive buffers, several queue pairs.

use std::collections::VecDeque;

use pcie_sim::spec::net::{
    CONFIG_BYTES, CONFIG_MAC, CONFIG_MTU, CONFIG_STATUS, CONTROL_QUEUE, F_CTRL_MAC_ADDR, F_CTRL_RX,
    F_CTRL_VQ, F_MAC, F_MTU, F_STATUS, HDR_BYTES, HDR_NUM_BUFFERS, STATUS_LINK_UP, TRANSMIT_QUEUE,
};
use pcie_sim::time::{Instant, Span};
use smallvec::SmallVec;

use super::control::{self, Filter};
use crate::config::NetConfig;

/// Bytes of an Ethernet header with one VLAN tag.
const ETHERNET_BYTES: usize = 18;
/// What a packet takes on the cable besides itself: preamble, check sequence, gap. IEEE 802.3 clause 4.
const CABLE_BYTES: u64 = 24;

/// A packet that nobody receives.
#[derive(Debug)]
pub(crate) enum Lost {
    /// No more can wait.
    Full(Vec<u8>),
    /// The driver wants none of this address.
    Unwanted(Vec<u8>),
}

/// When packets come to the card: one for each that is put on a cable which leads back.
pub(crate) type Arrivals = SmallVec<[Instant; 1]>;

/// The interface and its cable.
#[derive(Debug)]
pub(crate) struct Net {
    settings: NetConfig,
    config: [u8; CONFIG_BYTES],
    cable_busy_until: Instant,
    /// The way back from a station at the far end.
    back_busy_until: Instant,
    /// On the cable, header included, in order.
    cable: VecDeque<Vec<u8>>,
    /// Arrived, waiting for a receive buffer.
    arrived: VecDeque<Vec<u8>>,
    filter: Filter,
}

impl Net {
    /// Plugs the cable in.
    pub(crate) fn new(settings: NetConfig) -> Self {
        let mut config = [0; CONFIG_BYTES];
        config[CONFIG_MAC..][..6].copy_from_slice(&settings.mac);
        config[CONFIG_STATUS..][..2].copy_from_slice(&STATUS_LINK_UP.to_le_bytes());
        config[CONFIG_MTU..][..2].copy_from_slice(&settings.mtu.to_le_bytes());
        Self {
            settings,
            config,
            cable_busy_until: Instant::ZERO,
            back_busy_until: Instant::ZERO,
            cable: VecDeque::new(),
            arrived: VecDeque::new(),
            filter: Filter::default(),
        }
    }

    /// What it offers.
    pub(crate) fn features(&self) -> u64 {
        let control = F_CTRL_VQ | F_CTRL_RX | F_CTRL_MAC_ADDR;
        F_MAC | F_MTU | F_STATUS | if self.settings.control_queue { control } else { 0 }
    }

    /// How many queues it has.
    pub(crate) fn queues(&self) -> u16 {
        1 + if self.settings.control_queue { CONTROL_QUEUE } else { TRANSMIT_QUEUE }
    }

    /// Carries out a command of the control queue, with these features accepted: what to write back, and
    /// whether the configuration has changed by it.
    pub(crate) fn control(&mut self, command: &[u8], accepted: u64) -> (u8, bool) {
        let before = self.config;
        let mac = &mut self.config[CONFIG_MAC..][..6];
        let ack = control::execute(command, accepted, &mut self.filter, mac);
        (ack, self.config != before)
    }

    /// Device configuration.
    pub(crate) fn config(&self) -> &[u8] {
        &self.config
    }

    /// Pulls the cable, or plugs it in; whether that changes what the driver sees.
    pub(crate) fn set_link_up(&mut self, up: bool) -> bool {
        let status = if up { STATUS_LINK_UP } else { 0 }.to_le_bytes();
        let shown = &mut self.config[CONFIG_STATUS..CONFIG_STATUS + 2];
        let news = *shown != status;
        shown.copy_from_slice(&status);
        news
    }

    /// Puts a packet, which begins with its virtio header, on the cable. Gives the times at which packets
    /// come back for it, or the packet itself when it has no place there.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        mut packet: Vec<u8>,
    ) -> Result<Arrivals, Vec<u8>> {
        if packet.len() <= HDR_BYTES || packet.len() > self.longest() {
            return Err(packet);
        }
        self.cable_busy_until = self.cable_busy_until.max(now) + self.takes(packet.len());
        if self.settings.far_end.is_some() {
            return Ok(self.exchange(&packet[HDR_BYTES..]));
        }
        write_header(&mut packet[..HDR_BYTES]);
        self.cable.push_back(packet);
        Ok(Arrivals::from_elem(self.cable_busy_until + self.settings.cable_delay, 1))
    }

    /// Bytes of the longest packet, virtio header included.
    fn longest(&self) -> usize {
        usize::from(self.settings.mtu) + ETHERNET_BYTES + HDR_BYTES
    }

    /// The time that a packet, virtio header included, takes on the cable for itself.
    fn takes(&self, packet_bytes: usize) -> Span {
        let bits = 8 * ((packet_bytes - HDR_BYTES) as u64 + CABLE_BYTES);
        // A bit at 1 Gbit/s takes 1000 ps.
        Span::from_ps(self.settings.cable_gbps.map_or(0, |gbps| bits * 1000 / u64::from(gbps)))
    }

    /// Takes a frame that has just left to the far end, half the way, and its answers the other half back.
    /// What comes in there does not depend on anything that happens here meanwhile.
    fn exchange(&mut self, frame: &[u8]) -> Arrivals {
        let Some(station) = &self.settings.far_end else { return Arrivals::new() };
        let way = self.settings.cable_delay / 2;
        let there = self.cable_busy_until + way;
        let mut answers = Vec::new();
        station.borrow_mut().receive(there, frame, &mut answers);
        let back = self.settings.cable_delay - way;
        let mut arrivals = Arrivals::new();
        for answer in answers {
            let mut packet = vec![0; HDR_BYTES];
            packet.extend(answer);
            // What no receive buffer is made for does not come through.
            if packet.len() > self.longest() {
                continue;
            }
            write_header(&mut packet[..HDR_BYTES]);
            self.back_busy_until = self.back_busy_until.max(there) + self.takes(packet.len());
            self.cable.push_back(packet);
            arrivals.push(self.back_busy_until + back);
        }
        arrivals
    }

    /// The packet longest on the cable has come to its end. Gives it back when it is not wanted, or no
    /// more can wait.
    pub(crate) fn arrive(&mut self) -> Option<Lost> {
        let packet = self.cable.pop_front()?;
        if !self.filter.wants(&packet[HDR_BYTES..], &self.config[CONFIG_MAC..][..6]) {
            return Some(Lost::Unwanted(packet));
        }
        if self.arrived.len() >= self.settings.receive_buffer_packets {
            return Some(Lost::Full(packet));
        }
        self.arrived.push_back(packet);
        None
    }

    /// Bytes of the packet that waits longest for a receive buffer.
    pub(crate) fn waiting(&self) -> Option<usize> {
        self.arrived.front().map(Vec::len)
    }

    /// Takes the packet that waits longest.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        self.arrived.pop_front()
    }

    /// All packets are lost, and what the control queue has set.
    pub(crate) fn reset(&mut self) {
        self.filter = Filter::default();
        self.config[CONFIG_MAC..][..6].copy_from_slice(&self.settings.mac);
        self.cable.clear();
        self.arrived.clear();
        self.cable_busy_until = Instant::ZERO;
        self.back_busy_until = Instant::ZERO;
    }
}

/// The virtio header of a packet in one buffer, without offloads.
fn write_header(header: &mut [u8]) {
    header.fill(0);
    header[HDR_NUM_BUFFERS..HDR_BYTES].copy_from_slice(&1_u16.to_le_bytes());
}
