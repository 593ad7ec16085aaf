//! Device drivers, and what they have in common: configuration, errors, counters.
//!
//! ```text
//!   probe ─▶ submit/send ─▶ kick ─▶ wait ─▶ poll ─▶ … ─▶ remove
//!                             └ needs reset, queue broken ─▶ restart
//! ```

pub mod blk;
mod core;
pub mod net;
#[cfg(test)]
mod platform_tests;
pub mod rng;
#[cfg(test)]
mod tests;

use pcie_sim::time::Span;

use crate::dma::debug::Finding;
use crate::dma::select::PlatformDma;
use crate::dma::{DmaError, DmaStats};
use crate::pages::{PageError, Pages};
use crate::transport::{Transport, TransportError};
use crate::virtqueue::placement::PlacementError;
use crate::virtqueue::{AddError, Indirect, Placement, QueueBroken};

/// How a driver learns that a buffer came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum CompletionMode {
    /// It sleeps until the card's MSI-X.
    #[default]
    Interrupt,
    /// It spins on the used ring, and the card is asked not to interrupt.
    Poll,
}

/// CPU time that the driver's own work takes, besides the memory and register accesses themselves.
/// What mapping costs is the platform's fact: [`crate::dma::iommu::IommuCosts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverCosts {
    /// Building a request and adding it to a queue.
    pub add_buffer: Span,
    /// The same, for each of its segments.
    pub add_segment: Span,
    /// Taking a used buffer and finishing its request.
    pub take_used: Span,
    /// From the interrupt's arrival at the CPU to the driver's handler, and back.
    pub interrupt_handler: Span,
    /// One round of polling, besides the access itself.
    pub poll: Span,
}

impl Default for DriverCosts {
    /// Assumed, not measured: about 200 cycles per request and direction at 3 GHz; entering and leaving
    /// an interrupt handler about a microsecond.
    fn default() -> Self {
        Self {
            add_buffer: Span::from_ns(50),
            add_segment: Span::from_ns(10),
            take_used: Span::from_ns(50),
            interrupt_handler: Span::from_ns(1_000),
            poll: Span::from_ns(5),
        }
    }
}

/// How a driver is to run its device. What the device does not offer is left out: see
/// the driver's `features`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverConfig {
    /// Where rings lie.
    pub placement: Placement,
    /// Which chains go through an indirect table.
    pub indirect: Indirect,
    /// Entries of an indirect table.
    pub table_entries: u16,
    /// Accept VIRTIO_F_EVENT_IDX.
    pub event_idx: bool,
    /// Accept VIRTIO_F_ACCESS_PLATFORM. Once offered it should be.
    pub accept_access_platform: bool,
    /// Accept VIRTIO_F_ORDER_PLATFORM.
    pub accept_order_platform: bool,
    /// Accept VIRTIO_F_SWIOTLB. Once offered it should be.
    pub accept_swiotlb: bool,
    /// Longest buffer, in bytes, that goes to a bounce buffer on the card which is a hint only (the
    /// capability without the feature); rings go there too. 0: the hint is not taken.
    pub bounce_hint_bytes: u32,
    /// Descriptors per queue, a power of two; less when the device offers less.
    pub queue_size: u16,
    /// How completions are learned of.
    pub completion: CompletionMode,
    /// What the driver's work costs.
    pub costs: DriverCosts,
    /// Watch the use of the DMA API.
    pub dma_debug: bool,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            placement: Placement::Host,
            indirect: Indirect::Never,
            table_entries: 64,
            event_idx: false,
            accept_access_platform: true,
            accept_order_platform: true,
            accept_swiotlb: true,
            bounce_hint_bytes: 0,
            queue_size: 256,
            completion: CompletionMode::Interrupt,
            costs: DriverCosts::default(),
            dma_debug: true,
        }
    }
}

/// What a driver needs to take over a device.
#[derive(Debug)]
pub struct ProbeContext {
    /// The device's registers.
    pub transport: Box<dyn Transport>,
    /// Where rings, tables and buffers come from.
    pub pages: Pages,
    /// The platform, as far as DMA goes.
    pub platform: PlatformDma,
    /// How to run it.
    pub config: DriverConfig,
}

/// Why a driver did not take over a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Another kind of device.
    #[error("the device is of type {found}, this driver is for type {wanted}")]
    WrongDevice {
        /// The device's type.
        found: u16,
        /// The driver's.
        wanted: u16,
    },
    /// The configuration cannot be run.
    #[error("a queue size of {size} is not a power of two from 1 to 32768")]
    BadQueueSize {
        /// The size asked for.
        size: u16,
    },
    /// The device does not offer what the driver cannot do without.
    #[error("the device offers features {offered:#x}, {needed:#x} are needed")]
    FeaturesMissing {
        /// What it offers.
        offered: u64,
        /// What is needed.
        needed: u64,
    },
    /// The device took FEATURES_OK back.
    #[error(
        "the device refuses features {asked:#x} (it offered {offered:#x}); device_status is {status:#04x}"
    )]
    FeaturesRefused {
        /// What it offered.
        offered: u64,
        /// What the driver accepted.
        asked: u64,
        /// The status read.
        status: u8,
    },
    /// The device offers VIRTIO_F_SWIOTLB and has no region for it: the device is in error.
    #[error(
        "the device offers VIRTIO_F_SWIOTLB without a bounce buffer (no VIRTIO_PCI_CAP_SWIOTLB)"
    )]
    NoBounceRegion,
    /// The device needs a reset before it has even started.
    #[error("the device asks for a reset while it is being set up")]
    NeedsReset,
    /// The registers do not do what they should.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A ring has no place.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The DMA API refused.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// No memory for the driver's own buffers.
    #[error(transparent)]
    Memory(#[from] PageError),
    /// A queue broke while it was being set up.
    #[error(transparent)]
    Queue(#[from] QueueBroken),
    /// A receive buffer was refused.
    #[error("receive buffers: {0}")]
    Receive(AddError),
}

/// Why a request was not submitted. Nothing of it stays behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many requests as the driver can hold are outstanding; poll first.
    #[error("{outstanding} requests are outstanding, which is all the driver can hold")]
    Busy {
        /// Requests outstanding.
        outstanding: u16,
    },
    /// The device did not offer it.
    #[error("the device has no {what}")]
    Unsupported {
        /// The operation.
        what: &'static str,
    },
    /// The request breaks a rule of the device type.
    #[error("the request is malformed: {why}")]
    Malformed {
        /// The rule.
        why: &'static str,
    },
    /// It reaches past the end of the disk.
    #[error("sectors {sector} to {end} reach past the capacity of {capacity} sectors")]
    BeyondEnd {
        /// First sector.
        sector: u64,
        /// Sector behind the last.
        end: u64,
        /// Sectors of the disk.
        capacity: u64,
    },
    /// The queue refused.
    #[error(transparent)]
    Queue(#[from] AddError),
}

impl SubmitError {
    /// Whether it will go once something has completed.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::Queue(AddError::Full { .. } | AddError::Io(DmaError::PoolFull { .. }))
        )
    }
}

/// What can go wrong while a device runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The card broke a queue. `restart` starts over.
    #[error(transparent)]
    Queue(#[from] QueueBroken),
    /// The card set DEVICE_NEEDS_RESET, or has been reset by others. `restart` starts over.
    #[error("the device needs a reset: device_status is {status:#04x}")]
    NeedsReset {
        /// The status read.
        status: u8,
    },
    /// The device was taken out.
    #[error("the device is gone: its registers read all ones")]
    Gone,
    /// A control command failed.
    #[error(transparent)]
    Control(#[from] net::ControlError),
    /// A received buffer is too short for the packet header.
    #[error("a received packet of {len} bytes has no room for its header")]
    Runt {
        /// Bytes the card says it wrote.
        len: u32,
    },
    /// A buffer could not be given back to the card.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The registers do not do what they should.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The DMA API refused.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// Starting over failed.
    #[error("the device cannot be started again: {0}")]
    Restart(ProbeError),
}

/// What a driver counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Buffers made available: block commands, packets sent, receive buffers posted.
    pub requests: u64,
    /// Buffers that came back.
    pub completed: u64,
    /// Descriptors made available: entries of tables count, the one that points at a table not.
    pub descriptors: u64,
    /// Doorbells rung.
    pub kicks: u64,
    /// Doorbells that the card did not want.
    pub kicks_suppressed: u64,
    /// Interrupts taken.
    pub interrupts: u64,
    /// Interrupts after which nothing had come back.
    pub spurious_interrupts: u64,
    /// Neither a 64-bit nor a 32-bit DMA mask was granted.
    pub narrow_dma_mask: bool,
    /// Use of the DMA API.
    pub dma: DmaStats,
}

/// What is left when a driver has gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// Tokens of buffers that never came back.
    pub unfinished: Vec<u64>,
    /// The counters at the end.
    pub counters: Counters,
    /// The device had been taken out before.
    pub gone: bool,
    /// What DMA debug found, leaks included; the first 1,000.
    pub findings: Vec<Finding>,
}
