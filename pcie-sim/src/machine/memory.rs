//! The CPU of a [`Machine`]: its way to RAM, direct on a PC and through a [`MemoryPath`] elsewhere.

use super::Machine;
use crate::address::PhysAddr;
use crate::endpoint::Tap;
use crate::host::path::MemoryPath;
use crate::host::ram::Ram;
use crate::host::{Barrier, Memory};
use crate::time::Span;

impl<T: Tap> Memory for Machine<T> {
    fn read(&mut self, address: PhysAddr, into: &mut [u8]) {
        let len = into.len();
        self.touch(address, len);
        assert!(
            self.load(address, into),
            "the driver reads {len} bytes at {address}: no RAM there"
        );
    }

    fn write(&mut self, address: PhysAddr, data: &[u8]) {
        self.touch(address, data.len());
        let written = if self.path.is_some() {
            self.write_by_path(address, data)
        } else if let Some(bytes) = self.root.ram.slice_mut(address, data.len()) {
            bytes.copy_from_slice(data);
            true
        } else {
            false
        };
        assert!(written, "the driver writes {} bytes at {address}: no RAM there", data.len());
    }

    fn barrier(&mut self, barrier: Barrier) {
        if matches!(barrier, Barrier::DmaWrite | Barrier::Full) {
            self.flush_combining();
        }
        if let Some(path) = &mut self.path {
            path.barrier(&mut self.root.ram, barrier);
        }
        if self.config.host_costs.barrier != Span::ZERO {
            self.spend_now(self.config.host_costs.barrier);
        }
    }

    fn ram_bytes(&self) -> u64 {
        let ram = &self.root.ram;
        self.path.as_ref().map_or(ram.size_bytes(), |path| path.ram_bytes(ram))
    }

    fn clean(&mut self, address: PhysAddr, len_bytes: u64) {
        self.maintain(|path, ram| path.clean(ram, address, len_bytes));
    }

    fn invalidate(&mut self, address: PhysAddr, len_bytes: u64) {
        self.maintain(|path, ram| path.invalidate(ram, address, len_bytes));
    }

    fn set_cached(&mut self, address: PhysAddr, len_bytes: u64, cached: bool) {
        self.maintain(|path, ram| path.set_cached(ram, address, len_bytes, cached));
    }
}

impl<T: Tap> Machine<T> {
    /// Lines that the CPU has used are in the last-level cache, where there is one.
    fn touch(&mut self, address: PhysAddr, len_bytes: usize) {
        if let Some(llc) = self.root.llc_mut() {
            llc.cpu_touch(address, len_bytes as u64);
        }
    }

    /// What stands between CPU and RAM; `None` on a PC.
    #[must_use]
    pub fn path(&self) -> Option<&MemoryPath> {
        self.path.as_deref()
    }

    /// Copies from RAM as the CPU sees it; `false` when a part is not RAM.
    pub(super) fn load(&mut self, address: PhysAddr, into: &mut [u8]) -> bool {
        if let Some(path) = &mut self.path {
            return path.read(&mut self.root.ram, address, into);
        }
        match self.root.ram.slice(address, into.len()) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => return false,
        }
        true
    }

    /// Cache maintenance happens at once, and then takes its time.
    fn maintain(&mut self, act: impl Fn(&mut MemoryPath, &mut Ram) -> u64) {
        let Some(path) = &mut self.path else { return };
        let lines = act(path, &mut self.root.ram);
        self.spend_now(self.config.host_costs.line_maintenance * lines);
    }

    fn write_by_path(&mut self, address: PhysAddr, data: &[u8]) -> bool {
        let Some(path) = &mut self.path else { return false };
        let written = path.write(self.now, &mut self.root.ram, address, data);
        self.schedule_drain();
        written
    }

    fn schedule_drain(&mut self) {
        if let (Some(drain), Some(path)) = (self.drain, &self.path) {
            self.schedule.set_alarm(drain, path.next_due());
        }
    }

    pub(super) fn drain_stores(&mut self) {
        if let Some(path) = &mut self.path {
            path.drain_due(self.now, &mut self.root.ram);
        }
        self.schedule_drain();
    }

    /// The driver's address of a machine address; `None` when the driver has none for it.
    #[must_use]
    pub fn driver_address(&self, machine: PhysAddr) -> Option<PhysAddr> {
        self.path.as_ref().map_or(Some(machine), |path| path.driver_address(machine))
    }
}
