//! Why the DMA API refuses.

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::HypercallError;

use super::iommu;
use crate::pages::PageError;

/// Why the DMA API refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DmaError {
    /// The card cannot put this address on its bus.
    #[error("{address} (+{bytes} bytes) lies beyond the card's DMA mask {mask:#x}")]
    BeyondMask {
        /// The bus address it would have.
        address: BusAddr,
        /// Its length.
        bytes: u64,
        /// The mask.
        mask: u64,
    },
    /// The window through which the device sees memory does not reach this.
    #[error("{bytes} bytes at {address} are not in the window that the device sees")]
    OutsideWindow {
        /// Where the buffer starts.
        address: PhysAddr,
        /// Its length.
        bytes: u64,
    },
    /// The address space of the card is full.
    #[error("no {bytes} bytes are free in the card's I/O address space")]
    NoAddresses {
        /// Bytes asked for.
        bytes: u64,
    },
    /// No memory for page tables, bounce buffers or a coherent area.
    #[error(transparent)]
    Memory(#[from] PageError),
    /// What is unmapped was not mapped so.
    #[error("{address} (+{bytes} bytes) is unmapped, which is not mapped so")]
    NotMapped {
        /// The bus address.
        address: BusAddr,
        /// Its length.
        bytes: u64,
    },
    /// A length of zero, or one that reaches past the end of the address space.
    #[error("{bytes} bytes at {address} cannot be mapped")]
    BadLength {
        /// Where the buffer starts.
        address: PhysAddr,
        /// Its length.
        bytes: u64,
    },
    /// The IOMMU did not do what it was told.
    #[error(transparent)]
    Iommu(#[from] iommu::IommuError),
    /// The platform has no DMA API at all.
    #[error("this platform has no DMA API, which ACCESS_PLATFORM asks for")]
    NoDmaApi,
    /// The bounce buffers are all in use. It will go once something is unmapped.
    #[error(
        "no bounce buffer for {bytes} bytes is free: {free_bytes} bytes are left of {pool_bytes}"
    )]
    PoolFull {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes free, not necessarily in one piece.
        free_bytes: u64,
        /// Bytes of the pool.
        pool_bytes: u64,
    },
    /// The buffer is longer than any bounce buffer can be.
    #[error("{bytes} bytes are more than the {most} that one mapping may have")]
    TooLong {
        /// Bytes asked for.
        bytes: u64,
        /// The most.
        most: u64,
    },
    /// The buffer is no memory of the page allocator: on the stack, say. Only DMA debug looks.
    #[error("{bytes} bytes at {address} are not heap memory and may not be used for DMA")]
    NotHeap {
        /// Where the buffer starts.
        address: PhysAddr,
        /// Its length.
        bytes: u64,
    },
    /// The hypervisor refused.
    #[error(transparent)]
    Hypercall(#[from] HypercallError),
}
