//! The network device: what it sends comes back to it through a cable. Virtio 1.4, "Network Device".
//!
//! Left out: offloads, merged receive buffers, several queue pairs.

use std::collections::VecDeque;

use pcie_sim::spec::net::{
    CONFIG_BYTES, CONFIG_MAC, CONFIG_MTU, CONFIG_STATUS, CONTROL_QUEUE, F_CTRL_MAC_ADDR, F_CTRL_RX,
    F_CTRL_VQ, F_MAC, F_MTU, F_STATUS, HDR_BYTES, HDR_NUM_BUFFERS, STATUS_LINK_UP, TRANSMIT_QUEUE,
};
use pcie_sim::time::{Instant, Span};

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

/// The interface and its cable.
#[derive(Debug)]
pub(crate) struct Net {
    settings: NetConfig,
    config: [u8; CONFIG_BYTES],
    cable_busy_until: Instant,
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

    /// Puts a packet, which begins with its virtio header, on the cable. Gives the time at which it comes
    /// back, or the packet itself when it has no place there.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        mut packet: Vec<u8>,
    ) -> Result<Instant, Vec<u8>> {
        let longest = usize::from(self.settings.mtu) + ETHERNET_BYTES + HDR_BYTES;
        if packet.len() <= HDR_BYTES || packet.len() > longest {
            return Err(packet);
        }
        packet[..HDR_BYTES].fill(0);
        packet[HDR_NUM_BUFFERS..HDR_BYTES].copy_from_slice(&1_u16.to_le_bytes());
        let bits = 8 * ((packet.len() - HDR_BYTES) as u64 + CABLE_BYTES);
        // A bit at 1 Gbit/s takes 1000 ps.
        let takes = self.settings.cable_gbps.map_or(0, |gbps| bits * 1000 / u64::from(gbps));
        self.cable_busy_until = self.cable_busy_until.max(now) + Span::from_ps(takes);
        self.cable.push_back(packet);
        Ok(self.cable_busy_until + self.settings.cable_delay)
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
    }
}
