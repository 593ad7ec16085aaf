//! What DMA debug reports.

use pcie_sim::address::{BusAddr, PhysAddr};

use crate::dma::{Direction, Place};

/// A misuse of the DMA API. `mapped_at` is the line that made the mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A streaming mapping outlives its device.
    #[error("leaked: {bus} (+{bytes} bytes, {direction:?}), mapped at {mapped_at}")]
    Leak {
        /// What the card was told.
        bus: BusAddr,
        /// Length in bytes.
        bytes: u64,
        /// Its direction.
        direction: Direction,
        /// Who mapped it.
        mapped_at: Place,
    },
    /// Coherent memory outlives its device.
    #[error("leaked: {bytes} bytes of coherent memory at {bus}, allocated at {mapped_at}")]
    CoherentLeak {
        /// What the card was told.
        bus: BusAddr,
        /// Length in bytes.
        bytes: u64,
        /// Who allocated it.
        mapped_at: Place,
    },
    /// Something is unmapped that is not mapped.
    #[error("unmapped, but not mapped: {bus} (+{bytes} bytes)")]
    NotMapped {
        /// What the card was told.
        bus: BusAddr,
        /// Length in bytes.
        bytes: u64,
    },
    /// Unmapped with another length than mapped.
    #[error("{bus} is unmapped with {unmapped_bytes} bytes, mapped with {bytes} at {mapped_at}")]
    WrongLength {
        /// What the card was told.
        bus: BusAddr,
        /// Length when mapped.
        bytes: u64,
        /// Length when unmapped.
        unmapped_bytes: u64,
        /// Who mapped it.
        mapped_at: Place,
    },
    /// Unmapped with another direction than mapped.
    #[error("{bus} is unmapped as {unmapped:?}, mapped as {direction:?} at {mapped_at}")]
    WrongDirection {
        /// What the card was told.
        bus: BusAddr,
        /// Direction when mapped.
        direction: Direction,
        /// Direction when unmapped.
        unmapped: Direction,
        /// Who mapped it.
        mapped_at: Place,
    },
    /// Memory that the page allocator never had: a buffer on the stack. The map was refused.
    #[error("{address} (+{bytes} bytes) is no heap memory, mapped at {mapped_at}")]
    NotHeap {
        /// Where.
        address: PhysAddr,
        /// Length in bytes.
        bytes: u64,
        /// Who wanted it mapped.
        mapped_at: Place,
    },
    /// A buffer went to the card without its cache lines being written back, on a host that needs it.
    #[error(
        "{address} (+{bytes} bytes) went to the card with its cache lines not cleaned, mapped at {mapped_at}"
    )]
    NotCleaned {
        /// Where.
        address: PhysAddr,
        /// Length in bytes.
        bytes: u64,
        /// Who mapped it.
        mapped_at: Place,
    },
    /// The CPU got a buffer back with stale cache lines, on a host that needs them invalidated.
    #[error(
        "{address} (+{bytes} bytes) came back from the card with its cache lines not invalidated, mapped at {mapped_at}"
    )]
    NotInvalidated {
        /// Where.
        address: PhysAddr,
        /// Length in bytes.
        bytes: u64,
        /// Who mapped it.
        mapped_at: Place,
    },
    /// Coherent memory stayed cached, on a host where it must not be.
    #[error("{bytes} bytes of coherent memory at {bus} stayed cached, allocated at {mapped_at}")]
    CoherentCached {
        /// What the card was told.
        bus: BusAddr,
        /// Length in bytes.
        bytes: u64,
        /// Who allocated it.
        mapped_at: Place,
    },
    /// The CPU touches a buffer that the card owns.
    #[error("the CPU {} {address} (+{bytes} bytes) while the card owns it, mapped at {mapped_at}",
            if *write { "writes" } else { "reads" })]
    CpuAccess {
        /// Where.
        address: PhysAddr,
        /// How much.
        bytes: u64,
        /// A write (else a read).
        write: bool,
        /// Who mapped it.
        mapped_at: Place,
    },
}
