//! In what a host can differ from a PC: caches, order of stores, frames, protection.
//!
//! A PC hides all of this from drivers; the machines for which Linux has its DMA API do not. Each field is
//! one property, so that a platform is a sentence: "caches not snooped, strong stores, no hypervisor".

use crate::time::Span;

/// What a host does between a driver's access to memory and the memory that devices see. The default is
/// a PC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostShape {
    /// Whether the CPU's caches follow what devices do to memory.
    pub caches: Caches,
    /// In what order devices see the CPU's stores.
    pub stores: Stores,
    /// What backs the pages that the driver believes to be physical.
    pub frames: Frames,
    /// Which pages a device may touch.
    pub protection: Protection,
}

/// Whether the CPU's caches follow what devices do to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caches {
    /// They do: a cache between CPU and memory cannot be noticed, and none is modelled.
    #[default]
    Snooped,
    /// They do not: a driver cleans and invalidates.
    NotSnooped {
        /// Bytes of one line: a power of two, 16 to 4096.
        line_bytes: u32,
        /// Lines of the whole cache; at least one.
        lines: u32,
    },
}

/// In what order devices see the CPU's stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stores {
    /// In program order (x86, and any CPU that a driver takes for one).
    #[default]
    Strong,
    /// In any order that barriers do not forbid.
    Weak {
        /// Chooses the order.
        seed: u64,
        /// Stores that wait at most; at least one.
        depth: u32,
    },
}

/// What backs the pages that the driver believes to be physical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Frames {
    /// Themselves.
    #[default]
    Identity,
    /// Machine frames in no order (Xen's pseudo-physical memory). Devices see machine frames.
    Scattered {
        /// Chooses the order.
        seed: u64,
    },
}

/// Which pages a device may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protection {
    /// All.
    #[default]
    None,
    /// Those that a secure guest has shared; none after reset.
    SharedOnly,
}

/// CPU time of what only such a host asks of a driver. None but a barrier's arises on a PC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCosts {
    /// One hypercall, there and back.
    pub hypercall: Span,
    /// What a hypercall takes on top for each table entry or page it is about.
    pub hypercall_item: Span,
    /// Cleaning or invalidating one cache line by address.
    pub line_maintenance: Span,
    /// A barrier, besides what it waits for. Charged on any host, and nothing on a PC by default.
    pub barrier: Span,
    /// The longest that a store waits in the buffer of a weakly ordered CPU when nothing else drains it.
    pub store_drain: Span,
}

impl Default for HostCosts {
    /// Assumed, all of them: about a microsecond for a hypercall is what the kernel lists name for
    /// pSeries; the wait of a store is longer than in silicon, so that a run shows what silicon shows
    /// once in a long while; the rest are round figures of the right order.
    fn default() -> Self {
        Self {
            hypercall: Span::from_ns(1_000),
            hypercall_item: Span::from_ns(20),
            line_maintenance: Span::from_ns(10),
            barrier: Span::ZERO,
            store_drain: Span::from_ns(1_000),
        }
    }
}
