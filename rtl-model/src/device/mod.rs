//! What the card is, behind its queues.

pub(crate) mod blk;
pub(crate) mod cable;
mod control;
pub(crate) mod disk;
pub(crate) mod net;

use pcie_sim::spec;

use crate::config::{CardError, DeviceConfig};
use crate::config_space::Identity;
use blk::Blk;
use net::Net;

/// The device.
#[derive(Debug)]
pub(crate) enum Device {
    /// A disk.
    Blk(Blk),
    /// A network interface.
    Net(Net),
}

impl Device {
    /// Builds it.
    pub(crate) fn new(config: DeviceConfig) -> Result<Self, CardError> {
        Ok(match config {
            DeviceConfig::Blk(blk) => Self::Blk(Blk::new(blk)?),
            DeviceConfig::Net(net) => Self::Net(Net::new(net)),
        })
    }

    /// The feature bits it brings.
    pub(crate) fn features(&self) -> u64 {
        match self {
            Self::Blk(blk) => blk.features(),
            Self::Net(net) => net.features(),
        }
    }

    /// What configuration space says of it.
    pub(crate) fn identity(&self) -> Identity {
        match self {
            // Mass storage, other; and Ethernet.
            Self::Blk(_) => Identity {
                device_type: spec::blk::DEVICE_TYPE,
                class_code: 0x01_80_00,
                queues: 1,
                config_bytes: spec::blk::CONFIG_BYTES,
            },
            Self::Net(net) => Identity {
                device_type: spec::net::DEVICE_TYPE,
                class_code: 0x02_00_00,
                queues: net.queues(),
                config_bytes: spec::net::CONFIG_BYTES,
            },
        }
    }

    /// Whether a queue's buffers wait for packets.
    pub(crate) fn receives(&self, queue: u16) -> bool {
        matches!(self, Self::Net(_)) && queue == spec::net::RECEIVE_QUEUE
    }

    /// Reads device configuration; past its end, zeroes. It has nothing that a driver may write.
    pub(crate) fn read_config(&self, offset: u64, into: &mut [u8]) {
        let bytes: &[u8] = match self {
            Self::Blk(blk) => blk.config(),
            Self::Net(net) => net.config(),
        };
        for (at, byte) in (offset..).zip(into) {
            *byte = usize::try_from(at).ok().and_then(|at| bytes.get(at)).copied().unwrap_or(0);
        }
    }

    /// Forgets what is under way.
    pub(crate) fn reset(&mut self) {
        if let Self::Net(net) = self {
            net.reset();
        }
    }
}
