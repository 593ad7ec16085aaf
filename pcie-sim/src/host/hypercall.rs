//! What a guest can ask of its hypervisor about memory that devices use.
//!
//! Three hypervisors' calls in one list; a machine answers those of its own kind and refuses the rest.

use crate::address::PhysAddr;

/// A call to the hypervisor. The answer is 0 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hypercall {
    /// Sets one entry of a DMA window's translation table. PAPR, `H_PUT_TCE`.
    PutTce {
        /// The window ("logical I/O bus number").
        liobn: u32,
        /// The page's bus address within the window, counted from the window's start.
        ioba: u64,
        /// The entry, see [`crate::spec::tce`]; without permissions it unmaps.
        tce: u64,
    },
    /// Sets entries of pages that follow each other from a list in memory. PAPR, `H_PUT_TCE_INDIRECT`.
    PutTceIndirect {
        /// The window.
        liobn: u32,
        /// The first page's address, counted from the window's start.
        ioba: u64,
        /// Where the list begins: a page boundary. Entries are 8 bytes, big endian.
        list: PhysAddr,
        /// Entries in the list: at most 512.
        count: u64,
    },
    /// Sets entries of pages that follow each other to one value. PAPR, `H_STUFF_TCE`.
    StuffTce {
        /// The window.
        liobn: u32,
        /// The first page's address, counted from the window's start.
        ioba: u64,
        /// The value of each.
        tce: u64,
        /// How many: at most 512.
        count: u64,
    },
    /// Whether the endpoint's slot is frozen after a DMA fault: 1 or 0. PAPR, `ibm,read-slot-reset-state2`.
    SlotState,
    /// Lets the endpoint's slot work again after a fault. PAPR, `ibm,set-eeh-option`.
    ThawSlot,
    /// Answers the machine frame behind a pseudo-physical frame. Xen's p2m table; on a real guest a load
    /// from a table, and it costs no more here.
    MachineFrame {
        /// The frame's number as the guest counts.
        pfn: u64,
    },
    /// Backs pseudo-physical frames with machine frames that follow each other, aligned to the next power
    /// of two of their number, and answers the first. The frames' content is lost: they read as
    /// zeroes. Xen, `XENMEM_exchange`.
    ExchangeContiguous {
        /// The first frame as the guest counts.
        pfn: u64,
        /// How many.
        frames: u64,
        /// All must lie below 2 to this power.
        address_bits: u32,
    },
    /// Lets devices and the hypervisor touch pages of a secure guest. Ultravisor, `UV_SHARE_PAGE`.
    SharePages {
        /// The first: a page boundary.
        page: PhysAddr,
        /// How many.
        pages: u64,
    },
    /// Takes pages back. Ultravisor, `UV_UNSHARE_PAGE`.
    UnsharePages {
        /// The first: a page boundary.
        page: PhysAddr,
        /// How many.
        pages: u64,
    },
}

impl Hypercall {
    /// Table entries or pages that the call is about, which its cost grows with.
    #[must_use]
    pub const fn items(self) -> u64 {
        match self {
            Self::PutTceIndirect { count, .. } | Self::StuffTce { count, .. } => count,
            Self::ExchangeContiguous { frames, .. } => frames,
            Self::SharePages { pages, .. } | Self::UnsharePages { pages, .. } => pages,
            Self::PutTce { .. } => 1,
            Self::SlotState | Self::ThawSlot | Self::MachineFrame { .. } => 0,
        }
    }
}

/// Why a hypervisor refused a call. Nothing has changed then, but for what a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HypercallError {
    /// The machine has no hypervisor, or one that does not know this call (`H_FUNCTION`, `ENOSYS`).
    #[error("no hypervisor answers this call")]
    NoHypervisor,
    /// A window, address or number is none that the hypervisor gave out (`H_PARAMETER`).
    #[error("the hypervisor refused a parameter: {0:#x}")]
    Parameter(u64),
    /// The hypervisor has no run of free machine frames that is long and low enough (`ENOMEM`).
    #[error("the hypervisor has no {frames} free machine frames in a row below 2^{address_bits}")]
    NoContiguousFrames {
        /// How many were wanted.
        frames: u64,
        /// Below which power of two.
        address_bits: u32,
    },
    /// The hypervisor may not read this page of a secure guest.
    #[error("the page at {0} is not shared with the hypervisor")]
    NotShared(PhysAddr),
}
