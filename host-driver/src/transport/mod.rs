//! Transports: how a driver reaches a virtio device's registers.

pub mod mmio;
pub mod pci;

use std::ops::Range;

use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::host::{Host, Vector};
use pcie_sim::time::Span;

use crate::irq::Cause;
use crate::virtqueue::AreaAddresses;
use crate::virtqueue::notify::Doorbell;

/// `device_status` of a device that was taken out: all ones, which no device that is there
/// shows, since bit 5 is reserved.
pub const GONE: u8 = 0xff;
/// How long a reset may take. The specification has no bound; this one is assumed.
const RESET_PATIENCE: Span = Span::from_ms(100);

/// Why a device's registers do not do what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Nobody answers at this place.
    #[error("there is no function at {function}")]
    Absent {
        /// The place.
        function: Bdf,
    },
    /// Somebody else's device, or one before virtio 1.0.
    #[error("{function} is {vendor:04x}:{device:04x}, which is no modern virtio device")]
    NotVirtio {
        /// The place.
        function: Bdf,
        /// PCI vendor id.
        vendor: u16,
        /// PCI device id.
        device: u16,
    },
    /// A structure that every device must have is missing, or points nowhere.
    #[error("{function} has no usable virtio capability for its {structure} structure")]
    MissingStructure {
        /// The place.
        function: Bdf,
        /// Which.
        structure: &'static str,
    },
    /// A virtio-mmio slot without a device in it, as yet.
    #[error("the virtio-mmio slot at {address} is empty")]
    EmptySlot {
        /// Where its registers lie.
        address: PhysAddr,
    },
    /// No virtio-mmio registers, or those of a version before virtio 1.0.
    #[error("no modern virtio-mmio registers at {address}: magic {magic:#010x}, version {version}")]
    NotMmio {
        /// Where they should be.
        address: PhysAddr,
        /// What the magic register gave.
        magic: u32,
        /// What the version register gave.
        version: u32,
    },
    /// The device answers all ones: it was taken out.
    #[error("the device is gone: its registers read all ones")]
    Gone,
    /// `device_status` did not become 0 in time.
    #[error("the device did not finish its reset: device_status is still {status:#04x}")]
    ResetTimeout {
        /// The status last read.
        status: u8,
    },
    /// The device has no such queue.
    #[error("the device has no queue {queue}")]
    NoQueue {
        /// The queue.
        queue: u16,
    },
    /// The device cannot keep another queue as small as asked.
    #[error("queue {queue} has {offered} descriptors at most, {asked} were asked for")]
    QueueTooSmall {
        /// The queue.
        queue: u16,
        /// What it offers.
        offered: u16,
        /// What was written.
        asked: u16,
    },
    /// There are too few vectors: the device has no MSI-X or a small table, or the host none left.
    #[error("no interrupt vector is left for {event}")]
    NoVector {
        /// What it was for.
        event: Event,
    },
    /// The device refused a vector: it read back as another.
    #[error(
        "the device does not take vector {vector:#06x} for {event}: it reads back {read_back:#06x}"
    )]
    VectorRefused {
        /// What it was for.
        event: Event,
        /// The MSI-X entry written.
        vector: u16,
        /// What was read.
        read_back: u16,
    },
    /// The configuration changed each time it was read.
    #[error("the device configuration changes faster than it can be read")]
    UnstableConfig,
    /// The device's configuration is shorter than what its features promise.
    #[error("the device configuration has {bytes} bytes, offset {offset} is needed")]
    ShortConfig {
        /// Its length.
        bytes: u64,
        /// The offset that was to be read.
        offset: u64,
    },
}

/// What an interrupt can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A configuration change.
    Config,
    /// Used buffers of a queue.
    Queue(u16),
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config => f.write_str("configuration changes"),
            Self::Queue(queue) => write!(f, "queue {queue}"),
        }
    }
}

/// What a queue is set up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSetup {
    /// Its number.
    pub index: u16,
    /// Its size, at most what the device offers.
    pub size: u16,
    /// Where its areas lie.
    pub areas: AreaAddresses,
    /// It shall interrupt.
    pub interrupt: bool,
}

/// A queue that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveQueue {
    /// Its doorbell.
    pub doorbell: Doorbell,
    /// The vector of its interrupts, if it has one.
    pub vector: Option<Vector>,
}

/// A shared memory region. Its bus address, as the card understands it, is its CPU address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedMemory {
    /// Where the CPU finds it.
    pub address: PhysAddr,
    /// Its length in bytes.
    pub len_bytes: u64,
}

/// A virtio device's registers, whatever carries them.
pub trait Transport: std::fmt::Debug {
    /// The device type: 1 network, 2 block.
    fn device_type(&self) -> u16;

    /// The requester id of the device's DMA; `None` on no PCI bus.
    fn requester(&self) -> Option<Bdf>;

    /// Bus addresses that the device takes for its own registers or memory.
    fn windows(&self) -> Vec<Range<u64>>;

    /// Allows or forbids the device DMA and interrupts.
    fn set_bus_master(&mut self, host: &mut dyn Host, on: bool);

    /// Features that the device offers.
    fn device_features(&mut self, host: &mut dyn Host) -> u64;

    /// Accepts features.
    fn set_driver_features(&mut self, host: &mut dyn Host, features: u64);

    /// `device_status`.
    fn status(&mut self, host: &mut dyn Host) -> u8;

    /// Writes `device_status`, except 0, for which there is [`Transport::reset`].
    fn set_status(&mut self, host: &mut dyn Host, status: u8);

    /// Resets the device and waits, for a bounded time, until it says it has.
    fn reset(&mut self, host: &mut dyn Host) -> Result<(), TransportError>;

    /// How many descriptors queue `index` may have; 0 when there is no such queue.
    fn max_queue_size(&mut self, host: &mut dyn Host, index: u16) -> u16;

    /// Programs and enables a queue.
    fn activate_queue(
        &mut self,
        host: &mut dyn Host,
        setup: &QueueSetup,
    ) -> Result<ActiveQueue, TransportError>;

    /// Gives configuration changes a vector.
    fn connect_config(&mut self, host: &mut dyn Host) -> Result<Vector, TransportError>;

    /// `config_generation`.
    fn config_generation(&mut self, host: &mut dyn Host) -> u8;

    /// Reads 1, 2 or 4 bytes of the device configuration, by their natural width.
    fn read_config(
        &mut self,
        host: &mut dyn Host,
        offset: u16,
        width: ConfigWidth,
    ) -> Result<u32, TransportError>;

    /// The shared memory region `id`.
    fn shared_memory(&self, id: u8) -> Option<SharedMemory>;

    /// The bounce buffer on the card, where the device has one and the transport can say so.
    fn bounce_region(&self) -> Option<SharedMemory> {
        None
    }

    /// An interrupt came: acknowledges it where it is a level, and says more exactly what it is about.
    fn acknowledge(&mut self, host: &mut dyn Host, cause: Cause) -> Cause {
        let _ = host;
        cause
    }

    /// The driver goes: interrupts off. The device was reset before.
    fn shut_down(&mut self, host: &mut dyn Host);
}

/// Width of a field of the device configuration; a 64-bit field is two of 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigWidth {
    /// 8 bits.
    W8,
    /// 16 bits.
    W16,
    /// 32 bits.
    W32,
}

/// Reads several fields so that they belong together: again until the generation stays the same.
/// CFGSP-DRV-02.
pub fn read_consistent<T>(
    transport: &mut dyn Transport,
    host: &mut dyn Host,
    mut read: impl FnMut(&mut dyn Transport, &mut dyn Host) -> Result<T, TransportError>,
) -> Result<T, TransportError> {
    const TRIES: u32 = 16;
    for _ in 0..TRIES {
        let before = transport.config_generation(host);
        let value = read(transport, host)?;
        if transport.config_generation(host) == before {
            return Ok(value);
        }
    }
    Err(TransportError::UnstableConfig)
}

/// Waits until the device status reads 0 after 0 was written to it (RST-DRV-01).
fn await_reset(
    host: &mut dyn Host,
    patience: Span,
    mut status: impl FnMut(&mut dyn Host) -> u8,
) -> Result<(), TransportError> {
    let deadline = host.now() + patience;
    loop {
        match status(host) {
            0 => return Ok(()),
            GONE => return Err(TransportError::Gone),
            status if host.now() >= deadline => {
                return Err(TransportError::ResetTimeout { status });
            }
            _ => host.spend(Span::from_us(1)),
        }
    }
}
