//! The card as a target: configuration, registers, memory; every request is answered or, if posted, done.

use pcie_sim::address::Bdf;
use pcie_sim::aer::Role;
use pcie_sim::spec::virtio_mmio;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, ConfigRead, ConfigWrite, MemRead, MemWrite, Payload,
    Tag, Tlp,
};

use super::Card;
use crate::config_space;
use crate::layout;
use crate::msix::Msix;
use crate::registers::Effects;

/// Which BAR is hit, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hit {
    bar: u8,
    offset: u64,
}

/// Completions may be cut where an address is a multiple of this; for endpoints it is fixed.
/// PCIe 5.0 §2.3.1.1, "Data Return for Read Requests".
const COMPLETION_BOUNDARY: usize = 128;
/// Registers are in 4-KiB regions of BAR0.
const REGION: u64 = 0x1000;

impl Card {
    pub(super) fn memory_read(&mut self, now: Instant, read: &MemRead) {
        let len = usize::from(read.len_bytes).max(1);
        let Some(hit) = self.decode(read.address, len) else {
            self.unsupported(Role::Advisory, &Tlp::MemRead(read.clone()));
            let byte_count = len as u16;
            return self.refuse(now, read.requester, read.tag, byte_count, read.attributes);
        };
        let mut data = Payload::from_elem(0, len);
        // A read of nothing flushes writes: one byte of no meaning, and no side effect. §2.3.1.1.
        if read.len_bytes != 0 {
            self.bar_read(hit, &mut data);
        }
        let local = if hit.bar == 2 { self.dma.timing.local_access } else { 0 };
        let cycles = match self.dma.timing.pipeline {
            None => self.dma.timing.register_access + local,
            Some(timing) if hit.bar == 2 => {
                self.dma.host_reads(now, timing);
                timing.memory_answer
            }
            Some(timing) => timing.register_answer + (len as u32).div_ceil(4),
        };
        self.complete_in_parts(now, cycles, read, &data);
    }

    fn complete_in_parts(&mut self, now: Instant, cycles: u32, read: &MemRead, data: &[u8]) {
        let most = usize::from(self.settings.payload_max);
        let mut done = 0;
        while done < data.len() {
            let address = read.address as usize + done;
            let left = data.len() - done;
            let whole = (address & 3) + left <= most;
            let len = if whole { left } else { most - address % COMPLETION_BOUNDARY };
            let completion = Completion {
                completer: self.dma.limits.id,
                requester: read.requester,
                tag: read.tag,
                status: CompletionStatus::Success,
                byte_count: left as u16,
                lower_address: (address & 0x7f) as u8,
                data: Payload::from_slice(&data[done..done + len]),
                attributes: read.attributes,
            };
            self.dma.answer(now, cycles, completion);
            done += len;
        }
    }

    pub(super) fn memory_write(&mut self, now: Instant, write: &MemWrite) {
        match self.decode(write.address, write.data.len()) {
            Some(hit) => self.bar_write(now, hit, &write.data),
            None => self.unsupported(Role::Sole, &Tlp::MemWrite(write.clone())),
        }
    }

    pub(super) fn config_read(&mut self, now: Instant, read: &ConfigRead) {
        if self.not_ours(read.forwarded, read.target) {
            self.unsupported(Role::Advisory, &Tlp::ConfigRead(read.clone()));
            return self.refuse(now, read.requester, read.tag, 4, Attributes::default());
        }
        let first = usize::from(read.offset & 3);
        self.space.show(
            self.registers.interrupt_pending() && !self.msix.enabled(),
            self.dma.tags.pending() != 0,
        );
        self.read_window(read.offset, read.len_bytes);
        // The answer is the whole doubleword, whichever of its bytes were asked for.
        let mut dword = [0; 4];
        self.space.read(read.offset - first as u16, &mut dword);
        let data = Payload::from_slice(&dword);
        self.config_answer(now, read.requester, read.tag, data);
    }

    pub(super) fn config_write(&mut self, now: Instant, write: &ConfigWrite) {
        self.config_write_runs(now, write, &[(0, &write.data)]);
    }

    /// A configuration write of which only these runs, each with its place in the data, are enabled.
    pub(super) fn config_write_runs(
        &mut self,
        now: Instant,
        write: &ConfigWrite,
        runs: &[(usize, &[u8])],
    ) {
        if self.not_ours(write.forwarded, write.target) {
            self.unsupported(Role::Advisory, &Tlp::ConfigWrite(write.clone()));
            return self.refuse(now, write.requester, write.tag, 4, Attributes::default());
        }
        self.capture(write.target);
        let mut reset = None;
        for (place, data) in runs {
            let offset = write.offset + *place as u16;
            reset = self.space.write(offset, data).or(reset);
            self.apply_settings(now);
            if self.space.in_window(offset, data.len()) {
                self.write_window(now);
            }
        }
        // The answer is given before the reset that was asked for begins. PCIe 5.0 §6.6.2.
        self.config_answer(now, write.requester, write.tag, Payload::new());
        if let Some(kind) = reset {
            self.reset(now, kind);
        }
    }

    /// A configuration request for somebody else, or for a device that has no such space.
    fn not_ours(&self, forwarded: bool, target: Bdf) -> bool {
        forwarded || target.function() != 0 || self.front.is_some()
    }

    fn config_answer(&mut self, now: Instant, requester: Bdf, tag: Tag, data: Payload) {
        let completion = Completion {
            completer: self.dma.limits.id,
            requester,
            tag,
            status: CompletionStatus::Success,
            byte_count: 4,
            lower_address: 0,
            data,
            attributes: Attributes::default(),
        };
        self.dma.answer(now, self.answer_cycles(), completion);
    }

    fn answer_cycles(&self) -> u32 {
        let timing = &self.dma.timing;
        timing.pipeline.map_or(timing.register_access, |steps| steps.config_answer)
    }

    pub(super) fn refuse(
        &mut self,
        now: Instant,
        requester: Bdf,
        tag: Tag,
        byte_count: u16,
        attributes: Attributes,
    ) {
        let status = CompletionStatus::UnsupportedRequest;
        self.answer_without_data(now, requester, tag, status, byte_count, attributes);
    }

    pub(super) fn answer_without_data(
        &mut self,
        now: Instant,
        requester: Bdf,
        tag: Tag,
        status: CompletionStatus,
        byte_count: u16,
        attributes: Attributes,
    ) {
        let completion = Completion {
            completer: self.dma.limits.id,
            requester,
            tag,
            status,
            byte_count,
            lower_address: 0,
            data: Payload::new(),
            attributes,
        };
        self.dma.answer(now, self.answer_cycles(), completion);
    }

    /// PCI-CFGA-DEV-03: reading `pci_cfg_data` reads the BAR, with what that brings about.
    fn read_window(&mut self, offset: u16, len: u8) {
        if !self.space.in_window(offset, len.into()) {
            return;
        }
        let mut data = [0; 4];
        if let Some((hit, length)) = self.window_hit() {
            self.bar_read(hit, &mut data[..length]);
        }
        self.space.set_window_data(&data);
    }

    /// PCI-CFGA-DEV-02: writing `pci_cfg_data` writes the BAR.
    fn write_window(&mut self, now: Instant) {
        let data = self.space.window_data();
        if let Some((hit, length)) = self.window_hit() {
            self.bar_write(now, hit, &data[..length]);
        }
    }

    fn window_hit(&self) -> Option<(Hit, usize)> {
        let config_space::Window { bar, offset, length } = self.space.window()?;
        let inside = u64::from(offset) + u64::from(length) <= self.bar_bytes(bar);
        inside.then_some((Hit { bar, offset: offset.into() }, length as usize))
    }

    fn bar_bytes(&self, bar: u8) -> u64 {
        match bar {
            0 if self.front.is_some() => virtio_mmio::SLOT_BYTES,
            0 => layout::REGISTERS_BYTES.into(),
            1 => Msix::bar_bytes(self.msix_vectors).into(),
            2 => self.memory_bytes,
            _ => 0,
        }
    }

    fn decode(&self, address: u64, len: usize) -> Option<Hit> {
        if !self.settings.memory_space {
            return None;
        }
        (0..3).zip(self.settings.bars).find_map(|(bar, base)| {
            let offset = address.checked_sub(base)?;
            let end = offset.checked_add(len as u64)?;
            (base != 0 && end <= self.bar_bytes(bar)).then_some(Hit { bar, offset })
        })
    }

    fn bar_read(&mut self, hit: Hit, into: &mut [u8]) {
        if hit.bar == 0
            && let Some(front) = &self.front
        {
            return self.block_read(front, hit.offset, into);
        }
        match (hit.bar, (hit.offset & !(REGION - 1)) as u32) {
            (0, layout::COMMON) => self.registers.read(hit.offset, into),
            (0, layout::ISR) => {
                into.fill(0);
                if hit.offset == u64::from(layout::ISR) {
                    into[0] = self.registers.take_isr();
                }
            }
            (0, layout::DEVICE) => self.device.read_config(hit.offset % REGION, into),
            (1, _) => self.msix.read(hit.offset, into),
            (2, _) => self.dma.memory.read(hit.offset, into),
            // Doorbells read as zeroes.
            _ => into.fill(0),
        }
    }

    fn bar_write(&mut self, now: Instant, hit: Hit, data: &[u8]) {
        if hit.bar == 0 && self.front.is_some() {
            return self.block_write(now, hit.offset, data);
        }
        match (hit.bar, (hit.offset & !(REGION - 1)) as u32) {
            (0, layout::COMMON) => {
                let effects = self.registers.write(hit.offset, data);
                self.take_effect(now, effects);
            }
            (0, layout::NOTIFY) => {
                let index = hit.offset % REGION / u64::from(layout::NOTIFY_MULTIPLIER);
                self.doorbell(now, index);
            }
            (1, _) => {
                for message in self.msix.write(hit.offset, data) {
                    self.dma.message(now, message);
                }
            }
            (2, _) => self.dma.memory.write(hit.offset, data),
            // ISR and device configuration are read only.
            _ => {}
        }
    }
}

impl Card {
    /// What a register write asks of the rest of the card.
    pub(super) fn take_effect(&mut self, now: Instant, effects: Effects) {
        if effects.reset {
            self.begin_reset();
        } else if effects.run {
            self.run_queues(now);
        }
    }
}
