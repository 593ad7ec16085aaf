//! Who stands between a card's bus address and RAM.

pub mod around;
pub mod cache;
pub mod dmar;
pub mod scope;
pub mod tce;
pub mod vtd;
mod walkers;

use crate::address::{Bdf, BusAddr, PhysAddr};
use crate::host::HypercallError;
use crate::time::{Instant, Span};

/// What a card wants to do with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaKind {
    /// A memory read request.
    Read,
    /// A memory write request.
    Write,
}

/// Where a request goes, and how long finding out took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translated {
    /// The address in the host's memory.
    pub address: PhysAddr,
    /// Time spent on translation; zero for a hit where the hit is hidden in the pipeline.
    pub took: Span,
}

/// Why a request was blocked. The record in the IOMMU's own registers says it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// The fault reason as the IOMMU's specification numbers it.
    pub reason: u8,
    /// Time spent before the request was blocked.
    pub took: Span,
}

/// How often translations were found ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IotlbCounts {
    /// Translations found in the IOTLB.
    pub hits: u64,
    /// Translations that needed a walk.
    pub misses: u64,
}

/// The view of RAM that an IOMMU has for its own tables and queues. Ends silently outside RAM:
/// reads give zeroes, writes go nowhere, as `false` tells.
pub trait TableMemory {
    /// Copies from RAM; `false` and zeroes when a part lies outside.
    fn read(&self, address: PhysAddr, into: &mut [u8]) -> bool;
    /// Copies to RAM; `false` when a part lies outside.
    fn write(&mut self, address: PhysAddr, data: &[u8]) -> bool;
}

/// An IOMMU in the root complex.
///
/// Time never goes backwards from call to call. Whoever holds it asks [`Iommu::next_wake`] after each
/// call that changes something (a request may fault, a write may start an invalidation), and has called
/// [`Iommu::advance`] for all that is due before it lets the CPU read a register.
pub trait Iommu {
    /// Translates one request of `len_bytes` bytes that lies within one 4-KiB page.
    fn translate(
        &mut self,
        now: Instant,
        memory: &mut dyn TableMemory,
        requester: Bdf,
        address: BusAddr,
        len_bytes: u32,
        kind: DmaKind,
    ) -> Result<Translated, Blocked>;

    /// Where its registers lie in the CPU's address space, and how many bytes they take.
    fn registers(&self) -> (PhysAddr, u64);

    /// The CPU reads `len_bytes` (4 or 8) at `offset` of the registers.
    fn register_read(&mut self, now: Instant, offset: u64, len_bytes: usize) -> u64;

    /// The CPU writes `len_bytes` (4 or 8) at `offset` of the registers.
    fn register_write(
        &mut self,
        now: Instant,
        memory: &mut dyn TableMemory,
        offset: u64,
        len_bytes: usize,
        value: u64,
    );

    /// When it next has something to do of its own accord (an invalidation finishing).
    fn next_wake(&self) -> Option<Instant>;

    /// Does what is due at or before `now`. Gives back a message to be raised, if its fault or
    /// invalidation event is due: address and data as programmed in its registers. One message a call:
    /// when there is another, [`Iommu::next_wake`] says so.
    fn advance(&mut self, now: Instant, memory: &mut dyn TableMemory) -> Option<(u64, u32)>;

    /// How often translations were found ready.
    fn counts(&self) -> IotlbCounts;

    /// What a fault reason of this IOMMU means, in a few words.
    fn explain(&self, reason: u8) -> &'static str;

    /// Whether it is switched on: from reset on, unless the OS has to do it.
    fn is_translating(&self) -> bool {
        true
    }

    /// How many pages of window `liobn` a hypervisor's table maps; 0 where tables lie in memory.
    fn mapped_pages(&self, liobn: u32) -> u64 {
        let _ = liobn;
        0
    }

    /// A hypervisor sets the entries of pages that follow each other, from `ioba` on, in window `liobn`.
    /// Either all entries are set or none.
    fn put_tces(
        &mut self,
        memory: &mut dyn TableMemory,
        liobn: u32,
        ioba: u64,
        tces: &[u64],
    ) -> Result<(), HypercallError> {
        let _ = (memory, liobn, ioba, tces);
        Err(HypercallError::NoHypervisor)
    }

    /// Whether a fault has cut the endpoint's slot off, both ways; `None` for an IOMMU that never does.
    fn frozen(&self) -> Option<bool> {
        None
    }

    /// Connects the slot again; `false` for an IOMMU that never cuts it off.
    fn thaw(&mut self) -> bool {
        false
    }
}
