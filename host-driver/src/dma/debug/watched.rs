//! The CPU's side of DMA debug: a host that compares accesses with what the card owns.

use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::host::{
    Barrier, Bus, Host, Hypercall, HypercallError, Memory, MsiMessage, Vector, Width,
};
use pcie_sim::time::{Instant, Span};

use super::DmaDebug;

/// A host whose RAM accesses are compared with what the card owns.
pub struct Watched<'a> {
    pub(super) host: &'a mut dyn Host,
    pub(super) debug: DmaDebug,
    /// Compare accesses; else only note cache maintenance.
    pub(super) watches_accesses: bool,
}

impl Memory for Watched<'_> {
    fn read(&mut self, address: PhysAddr, into: &mut [u8]) {
        if self.watches_accesses {
            self.debug.0.borrow_mut().check_access(address, into.len(), false);
        }
        self.host.read(address, into);
    }

    fn write(&mut self, address: PhysAddr, data: &[u8]) {
        if self.watches_accesses {
            self.debug.0.borrow_mut().check_access(address, data.len(), true);
        }
        self.host.write(address, data);
    }

    fn barrier(&mut self, barrier: Barrier) {
        self.host.barrier(barrier);
    }

    fn ram_bytes(&self) -> u64 {
        self.host.ram_bytes()
    }

    fn clean(&mut self, address: PhysAddr, len_bytes: u64) {
        self.debug.0.borrow_mut().maintenance.cleaned = address.get()..address.get() + len_bytes;
        self.host.clean(address, len_bytes);
    }

    fn invalidate(&mut self, address: PhysAddr, len_bytes: u64) {
        self.debug.0.borrow_mut().maintenance.invalidated =
            address.get()..address.get() + len_bytes;
        self.host.invalidate(address, len_bytes);
    }

    fn set_cached(&mut self, address: PhysAddr, len_bytes: u64, cached: bool) {
        if !cached {
            let range = address.get()..address.get() + len_bytes;
            self.debug.0.borrow_mut().maintenance.uncached = range;
        }
        self.host.set_cached(address, len_bytes, cached);
    }
}

impl Bus for Watched<'_> {
    fn now(&self) -> Instant {
        self.host.now()
    }

    fn spend(&mut self, cost: Span) {
        self.host.spend(cost);
    }

    fn config_read(&mut self, function: Bdf, offset: u16, width: Width) -> u32 {
        self.host.config_read(function, offset, width)
    }

    fn config_write(&mut self, function: Bdf, offset: u16, width: Width, value: u32) {
        self.host.config_write(function, offset, width, value);
    }

    fn mmio_read(&mut self, address: PhysAddr, width: Width) -> u64 {
        self.host.mmio_read(address, width)
    }

    fn mmio_write(&mut self, address: PhysAddr, width: Width, value: u64) {
        self.host.mmio_write(address, width, value);
    }

    fn mmio_write_combined(&mut self, address: PhysAddr, data: &[u8]) {
        self.host.mmio_write_combined(address, data);
    }

    fn allocate_message(&mut self) -> Option<(Vector, MsiMessage)> {
        self.host.allocate_message()
    }

    fn take_interrupt(&mut self) -> Option<Vector> {
        self.host.take_interrupt()
    }

    fn wait_interrupt(&mut self, deadline: Instant) -> Option<Vector> {
        self.host.wait_interrupt(deadline)
    }

    fn spin_on_memory(&mut self, address: PhysAddr, len_bytes: usize, deadline: Instant) -> bool {
        self.host.spin_on_memory(address, len_bytes, deadline)
    }

    fn hypercall(&mut self, call: Hypercall) -> Result<u64, HypercallError> {
        self.host.hypercall(call)
    }
}
