//! What the back ends cost the CPU, besides memory, register and hypervisor accesses themselves.
//!
//! A hypercall and the maintenance of a cache line are charged by the machine, since they are its facts
//! (`pcie_sim::host::shape::HostCosts`); so are barriers and register accesses.

use pcie_sim::time::Span;

/// CPU time of the work that a back end does itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackEndCosts {
    /// Finding an address and preparing the entries, per map (TCE).
    pub map: Span,
    /// Preparing the entries to be cleared, per unmap (TCE).
    pub unmap: Span,
    /// Finding a bounce buffer, or giving it back.
    pub bounce_slot: Span,
    /// Copying 64 bytes between RAM and RAM.
    pub copy_line: Span,
    /// Finding a frame in the cache of machine frames.
    pub frame_lookup: Span,
}

impl Default for BackEndCosts {
    /// Assumed, all of them: some hundred cycles of a 3 GHz CPU for the bookkeeping of a mapping, 16
    /// bytes a nanosecond for a copy out of the cache, a dozen cycles for a table look-up.
    fn default() -> Self {
        Self {
            map: Span::from_ns(60),
            unmap: Span::from_ns(60),
            bounce_slot: Span::from_ns(40),
            copy_line: Span::from_ns(4),
            frame_lookup: Span::from_ns(4),
        }
    }
}

impl BackEndCosts {
    /// Copying `bytes` bytes.
    #[must_use]
    pub fn copy(&self, bytes: u64) -> Span {
        self.copy_line * bytes.div_ceil(64)
    }
}
