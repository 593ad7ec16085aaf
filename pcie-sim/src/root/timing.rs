//! What the host side of the link costs. Every value is a parameter; presets give them a source.

use crate::host::llc::LlcShape;
use crate::time::Span;

/// Latencies of the root complex and of memory behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootTiming {
    /// A request from the card: from the receive buffer to the memory system.
    pub inbound: Span,
    /// Reading host memory for the card, up to the first completion at the transmitter. With a last-level
    /// cache ([`RootTiming::llc`]): a line that is in it and that no core has.
    pub memory_read: Span,
    /// The last-level cache, if there is one to tell apart what is in it. Then a read of what a write
    /// under way is changing begins when that write is done.
    pub llc: LlcShape,
    /// Added to a read of a line that a core may have: it must be asked.
    pub core_snoop: Span,
    /// Added to a read of a line that is not in the cache.
    pub llc_miss: Span,
    /// Posted writes that the root complex holds until they take effect; more wait in the receive buffer,
    /// where they keep their credits.
    pub posted_queue: u32,
    /// Writing host memory for the card, until the CPU and later reads see it.
    pub memory_write: Span,
    /// A request of the CPU: from the core to the root port's transmitter.
    pub outbound: Span,
    /// A completion for the CPU: from the receive buffer to the core.
    pub completion: Span,
    /// From an MSI-X write's turn in memory order to the first instruction of its handler.
    pub interrupt_delivery: Span,
    /// How long the root complex waits for a completion before it answers all ones itself.
    /// PCIe 5.0 §2.8, "Completion Timeout Mechanism".
    pub completion_timeout: Span,
}

/// What the CPU pays for its accesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTiming {
    /// The core's time for an uncached write, before it may go on.
    pub mmio_write: Span,
    /// The core's time for one burst of up to 64 bytes out of a write-combining buffer.
    pub write_combined_burst: Span,
    /// Reading a register of the root complex itself (the IOMMU's).
    pub local_register: Span,
    /// Seeing, in a spinning loop, that a cache line was changed by a device.
    pub spin_notice: Span,
}

impl Default for RootTiming {
    /// Round figures of a server of about 2015; a preset says where its figures come from.
    fn default() -> Self {
        Self {
            inbound: Span::from_ns(40),
            memory_read: Span::from_ns(100),
            llc: LlcShape::default(),
            core_snoop: Span::ZERO,
            llc_miss: Span::ZERO,
            posted_queue: u32::MAX,
            memory_write: Span::from_ns(60),
            outbound: Span::from_ns(80),
            completion: Span::from_ns(80),
            interrupt_delivery: Span::from_ns(600),
            completion_timeout: Span::from_ms(10),
        }
    }
}

impl Default for CpuTiming {
    /// Round figures; a preset says where its figures come from.
    fn default() -> Self {
        Self {
            mmio_write: Span::from_ns(60),
            write_combined_burst: Span::from_ns(60),
            local_register: Span::from_ns(100),
            spin_notice: Span::from_ns(70),
        }
    }
}
