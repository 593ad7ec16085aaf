//! What the DMA API and its back ends count.

use pcie_sim::time::Span;

/// How often the DMA API was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DmaStats {
    /// Streaming mappings made.
    pub maps: u64,
    /// Streaming mappings taken back.
    pub unmaps: u64,
    /// Calls that handed a mapped buffer to the CPU or back.
    pub syncs: u64,
    /// Bytes copied because the card could not reach the buffer itself.
    pub bounced_bytes: u64,
    /// Maps that failed.
    pub failed_maps: u64,
    /// CPU time spent in the API: mapping, unmapping, syncing, flushing.
    pub cpu_time: Span,
    /// The rest of what the back end counts.
    pub ops: OpsCounts,
}

/// What a back end counts of its own work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpsCounts {
    /// Bytes copied because the card could not reach the buffer itself.
    pub bounced_bytes: u64,
    /// Calls to the hypervisor.
    pub hypercalls: u64,
    /// Deferred invalidations carried out.
    pub flushes: u64,
    /// Bytes of cache lines cleaned or invalidated.
    pub maintained_bytes: u64,
    /// Bytes that the CPU wrote to the card's memory, by write-combined stores.
    pub device_written_bytes: u64,
    /// Reads that the CPU made of the card's memory, one round trip each.
    pub device_reads: u64,
}

impl std::ops::Add for OpsCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bounced_bytes: self.bounced_bytes + other.bounced_bytes,
            hypercalls: self.hypercalls + other.hypercalls,
            flushes: self.flushes + other.flushes,
            maintained_bytes: self.maintained_bytes + other.maintained_bytes,
            device_written_bytes: self.device_written_bytes + other.device_written_bytes,
            device_reads: self.device_reads + other.device_reads,
        }
    }
}
