//! What stands around an IOMMU: it has its own word in a translation, and leaves all else to the unit.

use super::{Blocked, DmaKind, Iommu, IotlbCounts, TableMemory, Translated};
use crate::address::{Bdf, BusAddr, PhysAddr};
use crate::host::HypercallError;
use crate::time::Instant;

/// An [`Iommu`] made of another one. Whatever is not said here is the unit's.
pub trait Around {
    /// What it stands around.
    type Unit: Iommu + ?Sized;

    /// What it stands around.
    fn unit(&self) -> &Self::Unit;

    /// What it stands around, to be changed.
    fn unit_mut(&mut self) -> &mut Self::Unit;

    /// As [`Iommu::translate`].
    fn translate(
        &mut self,
        now: Instant,
        memory: &mut dyn TableMemory,
        requester: Bdf,
        address: BusAddr,
        len_bytes: u32,
        kind: DmaKind,
    ) -> Result<Translated, Blocked>;

    /// As [`Iommu::explain`].
    fn explain(&self, reason: u8) -> &'static str {
        self.unit().explain(reason)
    }

    /// The unit may have been switched on or off: its registers were written, or time has passed for it.
    fn changed(&mut self) {}
}

impl<A: Around> Iommu for A {
    fn translate(
        &mut self,
        now: Instant,
        memory: &mut dyn TableMemory,
        requester: Bdf,
        address: BusAddr,
        len_bytes: u32,
        kind: DmaKind,
    ) -> Result<Translated, Blocked> {
        Around::translate(self, now, memory, requester, address, len_bytes, kind)
    }

    fn registers(&self) -> (PhysAddr, u64) {
        self.unit().registers()
    }

    fn register_read(&mut self, now: Instant, offset: u64, len_bytes: usize) -> u64 {
        self.unit_mut().register_read(now, offset, len_bytes)
    }

    fn register_write(
        &mut self,
        now: Instant,
        memory: &mut dyn TableMemory,
        offset: u64,
        len_bytes: usize,
        value: u64,
    ) {
        self.unit_mut().register_write(now, memory, offset, len_bytes, value);
        self.changed();
    }

    fn next_wake(&self) -> Option<Instant> {
        self.unit().next_wake()
    }

    fn advance(&mut self, now: Instant, memory: &mut dyn TableMemory) -> Option<(u64, u32)> {
        let message = self.unit_mut().advance(now, memory);
        self.changed();
        message
    }

    fn counts(&self) -> IotlbCounts {
        self.unit().counts()
    }

    fn explain(&self, reason: u8) -> &'static str {
        Around::explain(self, reason)
    }

    fn is_translating(&self) -> bool {
        self.unit().is_translating()
    }

    fn mapped_pages(&self, liobn: u32) -> u64 {
        self.unit().mapped_pages(liobn)
    }

    fn put_tces(
        &mut self,
        memory: &mut dyn TableMemory,
        liobn: u32,
        ioba: u64,
        tces: &[u64],
    ) -> Result<(), HypercallError> {
        self.unit_mut().put_tces(memory, liobn, ioba, tces)
    }

    fn frozen(&self) -> Option<bool> {
        self.unit().frozen()
    }

    fn thaw(&mut self) -> bool {
        self.unit_mut().thaw()
    }
}
