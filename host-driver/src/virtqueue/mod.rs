//! Virtqueues: how buffers reach the card and come back.
//!
//! ```text
//!   add ──▶ descriptors, available ring ──(doorbell)──▶ card
//!   take_used ◀────────── used ring ◀─────────────────── card
//! ```
//!
//! What belongs to a chain (token, mappings, indirect table) lives in the driver's own memory and is
//! never read back from the ring, so that a card cannot make the driver unmap what it did not map.

pub mod area;
pub mod notify;
pub mod placement;
pub mod split;
mod table;
#[cfg(test)]
mod tests;

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::Host;

use crate::dma::{Dma, DmaError};
use crate::pages::PageError;
pub use placement::{Areas, CardWindow, Placement};
use split::Split;

/// A piece of a buffer, contiguous in RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts.
    pub address: PhysAddr,
    /// Its length in bytes, not zero.
    pub len: u32,
}

/// Which chains go through an indirect table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Indirect {
    /// None; the feature is not negotiated.
    #[default]
    Never,
    /// Those of more than one descriptor.
    Chains,
    /// All, also a single descriptor.
    Always,
}

/// How a queue is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// The queue's number.
    pub index: u16,
    /// Descriptors; a power of two.
    pub size: u16,
    /// VIRTIO_F_EVENT_IDX is negotiated.
    pub event_idx: bool,
    /// Which chains go through a table.
    pub indirect: Indirect,
    /// Entries of one table; longer chains are put into the ring itself.
    pub table_entries: u16,
    /// VIRTIO_F_ORDER_PLATFORM is negotiated: barriers are for devices, not for other CPUs.
    pub order_platform: bool,
    /// Start with interrupts wanted.
    pub interrupts: bool,
}

/// A buffer that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// What was given with it.
    pub token: u64,
    /// Bytes the card says it wrote.
    pub len: u32,
}

/// Why a buffer was not added. Nothing stays mapped, and the queue is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Too few descriptors are free.
    #[error("the queue is full: {needed} descriptors needed, {free} free")]
    Full {
        /// Descriptors needed.
        needed: u16,
        /// Descriptors free.
        free: u16,
    },
    /// No memory for an indirect table.
    #[error("no memory for an indirect table: {0}")]
    OutOfMemory(PageError),
    /// The buffer, or its table, could not be mapped.
    #[error("the buffer cannot be mapped: {0}")]
    Io(DmaError),
    /// No segment at all, more than the queue has descriptors, or more than 2^32 bytes.
    #[error("a chain of {segments} segments and {bytes} bytes does not fit a queue of {size}")]
    BadChain {
        /// Segments of the buffer.
        segments: usize,
        /// Their sum.
        bytes: u64,
        /// The queue's size.
        size: u16,
    },
    /// The queue broke earlier.
    #[error("the queue is broken: {0}")]
    Broken(QueueBroken),
}

/// What the card did to a queue that a card must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueBroken {
    /// The used index runs ahead of what is outstanding.
    #[error(
        "queue {queue}: the used index jumps from {from} to {to} with {outstanding} chains outstanding"
    )]
    IndexJump {
        /// The queue.
        queue: u16,
        /// The index up to which the driver has taken.
        from: u16,
        /// The index read.
        to: u16,
        /// Chains outstanding.
        outstanding: u16,
    },
    /// A used element names no chain that is outstanding.
    #[error("queue {queue}: used element {slot} names chain {id}, which is not outstanding")]
    BadId {
        /// The queue.
        queue: u16,
        /// The element's place in the ring.
        slot: u16,
        /// The id read.
        id: u32,
    },
    /// A used element tells of more bytes than the card may write.
    #[error(
        "queue {queue}: chain {id} is said to hold {len} written bytes, {writable} are writable"
    )]
    BadLength {
        /// The queue.
        queue: u16,
        /// The chain.
        id: u16,
        /// The length read.
        len: u32,
        /// Writable bytes of the chain.
        writable: u64,
    },
    /// The DMA API did not take a mapping back; that is no fault of the card.
    #[error("queue {queue}: a buffer could not be unmapped: {error}")]
    Unmap {
        /// The queue.
        queue: u16,
        /// What the DMA API said.
        error: DmaError,
    },
}

/// Bus addresses of a queue's areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AreaAddresses {
    /// Descriptor area.
    pub descriptors: BusAddr,
    /// Driver area.
    pub driver: BusAddr,
    /// Device area.
    pub device: BusAddr,
}

/// A virtqueue of whichever format was negotiated.
#[derive(Debug)]
pub enum Virtqueue {
    /// Split ring.
    Split(Box<Split>),
}

impl Virtqueue {
    /// Makes a chain of `out` (which the card reads) and then `in_` (which it writes) available.
    #[track_caller]
    pub fn add(
        &mut self,
        host: &mut dyn Host,
        dma: &mut Dma,
        out: &[Segment],
        in_: &[Segment],
        token: u64,
    ) -> Result<(), AddError> {
        match self {
            Self::Split(queue) => queue.add(host, dma, out, in_, token),
        }
    }

    /// Publishes what was added, and says whether the card wants the doorbell.
    pub fn prepare_kick(&mut self, host: &mut dyn Host) -> bool {
        match self {
            Self::Split(queue) => queue.prepare_kick(host),
        }
    }

    /// Takes the next buffer that came back, and unmaps it. After an error the queue is broken.
    pub fn take_used(
        &mut self,
        host: &mut dyn Host,
        dma: &mut Dma,
    ) -> Option<Result<Used, QueueBroken>> {
        match self {
            Self::Split(queue) => queue.take_used(host, dma),
        }
    }

    /// Whether a buffer came back that is not taken yet.
    pub fn has_used(&mut self, host: &mut dyn Host) -> bool {
        match self {
            Self::Split(queue) => queue.has_used(host),
        }
    }

    /// Asks for an interrupt at the next used buffer; `true` when one is there already, for which no
    /// interrupt may come.
    pub fn enable_interrupts(&mut self, host: &mut dyn Host) -> bool {
        match self {
            Self::Split(queue) => queue.enable_interrupts(host),
        }
    }

    /// Asks for silence. The card may still interrupt.
    pub fn disable_interrupts(&mut self, host: &mut dyn Host) {
        match self {
            Self::Split(queue) => queue.disable_interrupts(host),
        }
    }

    /// Unmaps all that never came back, and gives its tokens. Only after the card was reset.
    pub fn detach_unused(
        &mut self,
        host: &mut dyn Host,
        dma: &mut Dma,
    ) -> Result<Vec<u64>, QueueBroken> {
        match self {
            Self::Split(queue) => queue.detach_unused(host, dma),
        }
    }

    /// Makes the queue as new. Only after [`Virtqueue::detach_unused`].
    pub fn clear(&mut self, host: &mut dyn Host) {
        match self {
            Self::Split(queue) => queue.clear(host),
        }
    }

    /// Gives rings and tables back. Only after [`Virtqueue::detach_unused`].
    pub fn free(self, host: &mut dyn Host, dma: &mut Dma) -> Result<(), DmaError> {
        match self {
            Self::Split(queue) => queue.free(host, dma),
        }
    }

    /// What the card is told at queue set-up.
    #[must_use]
    pub fn addresses(&self) -> AreaAddresses {
        match self {
            Self::Split(queue) => queue.addresses(),
        }
    }

    /// Whether something was added for which the card was not yet asked.
    #[must_use]
    pub fn has_unkicked(&self) -> bool {
        match self {
            Self::Split(queue) => queue.has_unkicked(),
        }
    }

    /// Number of descriptors.
    #[must_use]
    pub fn size(&self) -> u16 {
        match self {
            Self::Split(queue) => queue.size(),
        }
    }

    /// Free descriptors.
    #[must_use]
    pub fn free_descriptors(&self) -> u16 {
        match self {
            Self::Split(queue) => queue.free_descriptors(),
        }
    }

    /// Chains that have not come back.
    #[must_use]
    pub fn outstanding(&self) -> u16 {
        match self {
            Self::Split(queue) => queue.outstanding(),
        }
    }

    /// Descriptors made available so far: entries of tables count, the one that points at a table not.
    #[must_use]
    pub fn descriptors_added(&self) -> u64 {
        match self {
            Self::Split(queue) => queue.descriptors_added(),
        }
    }

    /// The bytes of RAM that change when a buffer comes back; `None` when they lie on the card.
    #[must_use]
    pub fn spin_address(&self) -> Option<PhysAddr> {
        match self {
            Self::Split(queue) => queue.spin_address(),
        }
    }
}
