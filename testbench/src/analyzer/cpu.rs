//! The CPU's side: configuration cycles, accesses to the BARs, and the card's answers to them.

use pcie_sim::spec::blk;
use pcie_sim::spec::virtio_pci::{DEVICE_ID_BASE, VENDOR_ID};
use pcie_sim::time::Instant;
use pcie_sim::tlp::{Completion, CompletionStatus, ConfigRead, ConfigWrite, MemRead, Payload};

use super::Analyzer;
use super::config_shadow::ConfigShadow;
use super::observer::Observer;
use super::purpose::{Classified, Region, Role};
use super::registers::{Events, Life, RegisterEvent};
use crate::check::{answers, interrupts};

/// A request of the CPU that the card has not answered yet.
#[derive(Debug, Default)]
pub(super) enum CpuRequest {
    /// Nothing, or answered.
    #[default]
    None,
    /// A configuration read.
    ConfigRead { function: u8, offset: u16, len: u8, window: Option<BarRead> },
    /// A configuration write; what it writes holds when it is answered.
    ConfigWrite { function: u8, offset: u16, data: Payload },
    /// A read of a BAR.
    Mmio(BarRead),
}

/// A read of the CPU behind a BAR.
#[derive(Debug, Clone, Copy)]
pub(super) struct BarRead {
    address: u64,
    region: Region,
    /// Offset in the region's structure.
    into: u64,
    len: u16,
    /// The queue selected when the read was sent.
    selected: u16,
    /// A write of 0 to `device_status` had been sent before.
    resetting: bool,
    /// Masks of vectors that had been written before.
    masks: u64,
}

impl<O: Observer> Analyzer<O> {
    pub(super) fn config_read(&mut self, read: &ConfigRead) -> Classified {
        let seen = Classified::new(Role::Config, None);
        if read.forwarded {
            return seen;
        }
        let function = function_number(read.target.0);
        let window =
            self.window_access(function, read.offset).map(|(address, region, into, len)| {
                self.bar_read(address, region, into, len.min(usize::from(read.len_bytes)) as u16)
            });
        let place = self.cpu.place(read.requester, read.tag);
        let (offset, len) = (read.offset, read.len_bytes);
        *self.cpu.at(place) = CpuRequest::ConfigRead { function, offset, len, window };
        seen
    }

    pub(super) fn config_write(&mut self, write: &ConfigWrite, arrives: Instant) -> Classified {
        let seen = Classified::new(Role::Config, None);
        if write.forwarded {
            return seen;
        }
        let function = function_number(write.target.0);
        if let Some((address, region, into, len)) = self.window_access(function, write.offset) {
            let data = &write.data[..len.min(write.data.len())];
            self.cpu_write(address, region, into, data, arrives);
        }
        let at = self.function(function);
        let shadow = &mut self.functions[at].1;
        shadow.write_departs(write.offset, &write.data);
        if shadow.asks_function_reset(write.offset, &write.data) {
            shadow.function_reset();
            if at == self.chosen {
                self.registers.function_reset();
            }
        }
        self.take_bars();
        let place = self.cpu.place(write.requester, write.tag);
        *self.cpu.at(place) =
            CpuRequest::ConfigWrite { function, offset: write.offset, data: write.data.clone() };
        seen
    }

    pub(super) fn mmio_read(&mut self, read: &MemRead) -> Classified {
        let (region, into) = self.region(read.address);
        let request = self.bar_read(read.address, region, into, read.len_bytes);
        let place = self.cpu.place(read.requester, read.tag);
        *self.cpu.at(place) = CpuRequest::Mmio(request);
        Classified::new(Role::Mmio(region), None)
    }

    pub(super) fn mmio_write(&mut self, address: u64, data: &[u8], arrives: Instant) -> Classified {
        let (region, into) = self.region(address);
        let queue = self.cpu_write(address, region, into, data, arrives);
        Classified::new(Role::Mmio(region), queue)
    }

    pub(super) fn completion_to_cpu(
        &mut self,
        completion: &Completion,
        departs: Instant,
    ) -> Classified {
        let Some(place) = self.cpu.find(completion.requester, completion.tag) else {
            return Classified::new(Role::Stray, None);
        };
        let good = completion.status == CompletionStatus::Success;
        match std::mem::take(self.cpu.at(place)) {
            CpuRequest::None => Classified::new(Role::Stray, None),
            CpuRequest::ConfigRead { function, offset, len, window } => {
                // The answer is the whole doubleword; only what was asked for has a meaning.
                let lane = usize::from(offset & 3);
                let asked = completion.data.get(lane..lane + usize::from(len));
                if let Some(data) = asked.filter(|_| good) {
                    self.config_answered(function, offset, data);
                    if let Some(read) = window {
                        self.bar_answered(read, data, departs);
                    }
                }
                Classified::new(Role::Config, None)
            }
            CpuRequest::ConfigWrite { function, offset, data } => {
                if good {
                    let at = self.function(function);
                    self.functions[at].1.write_done(offset, &data);
                }
                Classified::new(Role::Config, None)
            }
            CpuRequest::Mmio(read) => {
                if good {
                    if read.len > 0 {
                        answers::form(
                            &mut self.findings,
                            completion,
                            read.address,
                            read.len,
                            departs,
                        );
                    }
                    self.bar_answered(read, &completion.data, departs);
                }
                let more = good && usize::from(completion.byte_count) > completion.data.len();
                if more {
                    let brought = completion.data.len() as u64;
                    *self.cpu.at(place) = CpuRequest::Mmio(BarRead {
                        address: read.address.wrapping_add(brought),
                        into: read.into.wrapping_add(brought),
                        len: read.len.saturating_sub(brought as u16),
                        ..read
                    });
                }
                Classified::new(Role::Mmio(read.region), None)
            }
        }
    }

    fn config_answered(&mut self, function: u8, offset: u16, data: &[u8]) {
        let at = self.function(function);
        self.functions[at].1.read_done(offset, data);
        let is_virtio = |at: usize| {
            self.functions.get(at).is_some_and(|(_, shadow)| shadow.vendor() == VENDOR_ID)
        };
        if !is_virtio(self.chosen) && is_virtio(at) {
            self.chosen = at;
        }
        self.take_bars();
    }

    fn take_bars(&mut self) {
        if let Some((_, shadow)) = self.functions.get(self.chosen) {
            self.rings.memory.bars = *shadow.bars();
            self.rings.disk = shadow.device() == DEVICE_ID_BASE + blk::DEVICE_TYPE;
        }
    }

    /// The place of a function's shadow, made when the function is new.
    fn function(&mut self, number: u8) -> usize {
        let known = self.functions.iter().position(|&(function, _)| function == number);
        known.unwrap_or_else(|| {
            self.functions.push((number, ConfigShadow::new()));
            self.functions.len() - 1
        })
    }

    /// Where an access to the data register of the PCI access capability ends up, and its length.
    /// Virtio 1.4, "PCI configuration access capability".
    fn window_access(&self, function: u8, offset: u16) -> Option<(u64, Region, u64, usize)> {
        let (number, shadow) = self.functions.get(self.chosen)?;
        if *number != function || shadow.window_data() != Some(offset) {
            return None;
        }
        let (bar, into_bar, len) = shadow.window()?;
        let (region, into) = shadow.layout().region(bar, into_bar);
        let base = shadow.bar(usize::from(bar)).map_or(0, |(base, _)| base);
        Some((base.wrapping_add(into_bar), region, into, len))
    }

    fn region(&self, address: u64) -> (Region, u64) {
        let Some((_, shadow)) = self.functions.get(self.chosen) else {
            return (Region::Nowhere, 0);
        };
        match shadow.bars().locate(address) {
            Some((bar, offset)) if shadow.memory_space() => shadow.layout().region(bar, offset),
            _ => (Region::Nowhere, 0),
        }
    }

    fn bar_read(&self, address: u64, region: Region, into: u64, len: u16) -> BarRead {
        BarRead {
            address,
            region,
            into,
            len,
            selected: self.registers.selected(),
            resetting: self.registers.life() == Life::Resetting,
            masks: self.msix.written(),
        }
    }

    /// A write of the CPU behind a BAR. Returns the queue it is a doorbell for.
    fn cpu_write(
        &mut self,
        address: u64,
        region: Region,
        into: u64,
        data: &[u8],
        arrives: Instant,
    ) -> Option<u16> {
        match region {
            Region::Common => {
                let events = self.registers.write(into, data);
                self.take_events(&events, arrives);
            }
            Region::Notify => {
                let multiplier = self.config()?.layout().notify_off_multiplier;
                let queue = self.registers.doorbell(into, multiplier, data)?;
                self.rings.doorbell(queue, arrives);
                return Some(queue);
            }
            Region::MsixTable => {
                let vectors = self.config()?.layout().msix?.vectors;
                if let Some(vector) = self.msix.write(into, data, vectors) {
                    interrupts::masked(&mut self.findings, vector, arrives, None);
                }
            }
            Region::Memory => self.rings.cpu_write(address, data, arrives),
            Region::Isr | Region::Device | Region::MsixPending | Region::Nowhere => {}
        }
        None
    }

    fn bar_answered(&mut self, read: BarRead, data: &[u8], departs: Instant) {
        let data = &data[..data.len().min(usize::from(read.len))];
        self.msix.confirm(read.masks, departs);
        match read.region {
            Region::Common => {
                let events =
                    self.registers.read_done(read.into, data, read.selected, read.resetting);
                self.take_events(&events, departs);
            }
            Region::Isr => self.isr_read(data, departs),
            Region::Memory => self.rings.cpu_read_done(read.address, data, departs),
            _ => {}
        }
    }

    /// The ISR status was read. What it shows a second time may have come in between; a third time it may not,
    /// when the card has done nothing meanwhile.
    fn isr_read(&mut self, data: &[u8], departs: Instant) {
        let Some(&value) = data.first() else { return };
        let before = std::mem::take(&mut self.isr_shown);
        if value == 0 {
            if before > 0 {
                answers::isr(&mut self.findings, value, true, departs);
            }
            return;
        }
        self.isr_shown = before + 1;
        if self.isr_shown > 2 {
            answers::isr(&mut self.findings, value, false, departs);
        }
    }

    fn take_events(&mut self, events: &Events, at: Instant) {
        for &event in events {
            match event {
                RegisterEvent::QueueEnabled(queue) => {
                    if let Some(&known) = self.registers.queue(queue) {
                        self.rings.enable(queue, &known, self.registers.features());
                    }
                }
                RegisterEvent::QueueForgotten(queue) => self.rings.forget(queue),
                RegisterEvent::AllForgotten => self.rings.forget_all(),
                RegisterEvent::Negotiated { beyond, kept } => {
                    answers::features(&mut self.findings, beyond, kept, at);
                }
            }
        }
    }
}

/// Device and function number; the bus number changes as the firmware numbers the buses.
const fn function_number(id: u16) -> u8 {
    (id & 0xff) as u8
}
