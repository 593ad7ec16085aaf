//! The CPU of a [`Machine`]: how its accesses become TLPs, register accesses, or nothing.

use smallvec::SmallVec;

use super::{COMBINING_BYTES, ConfigRoute, Machine, ROOT_COMPLEX};
use crate::address::{Bdf, PhysAddr};
use crate::endpoint::Tap;
use crate::host::{Bus, Hypercall, HypercallError, MsiMessage, Vector, Width};
use crate::root::inbound::INTERRUPT_RANGE;
use crate::time::{Instant, Span};
use crate::tlp::{Attributes, ConfigRead, ConfigWrite, MemRead, Payload, Tlp};

fn all_ones(width: Width) -> u64 {
    u64::MAX >> (64 - 8 * width.bytes())
}

fn little_endian(data: &[u8], width: Width) -> u64 {
    data.iter().take(width.bytes()).rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

impl<T: Tap> Bus for Machine<T> {
    fn now(&self) -> Instant {
        self.now
    }

    fn spend(&mut self, cost: Span) {
        self.spend_now(cost);
    }

    fn config_read(&mut self, function: Bdf, offset: u16, width: Width) -> u32 {
        match self.config_route(function) {
            ConfigRoute::Port => {
                self.spend_now(self.config.cpu.local_register);
                self.root.port.read(offset, width.bytes())
            }
            ConfigRoute::Nobody => {
                self.spend_now(self.config.cpu.local_register);
                all_ones(width) as u32
            }
            ConfigRoute::Link { forwarded } => {
                let len_bytes = width.bytes() as u8;
                let requester = ROOT_COMPLEX;
                let answer = self.ask(|tag| {
                    let target = function;
                    Tlp::ConfigRead(ConfigRead {
                        requester,
                        tag,
                        target,
                        offset,
                        len_bytes,
                        forwarded,
                    })
                });
                // The answer is the whole doubleword, whichever of its bytes were asked for.
                let lane = usize::from(offset & 3);
                let answer = answer.and_then(|answer| {
                    answer.data.get(lane..).map(|bytes| little_endian(bytes, width))
                });
                answer.unwrap_or(all_ones(width)) as u32
            }
        }
    }

    fn config_write(&mut self, function: Bdf, offset: u16, width: Width, value: u32) {
        match self.config_route(function) {
            ConfigRoute::Port => {
                self.spend_now(self.config.cpu.local_register);
                self.root.port.write(offset, width.bytes(), value);
                self.follow_port();
            }
            ConfigRoute::Nobody => self.spend_now(self.config.cpu.local_register),
            ConfigRoute::Link { forwarded } => {
                let bytes = value.to_le_bytes();
                let data = Payload::from_slice(&bytes[..width.bytes().min(4)]);
                let requester = ROOT_COMPLEX;
                self.ask(|tag| {
                    let target = function;
                    Tlp::ConfigWrite(ConfigWrite {
                        requester,
                        tag,
                        target,
                        offset,
                        data,
                        forwarded,
                    })
                });
            }
        }
    }

    fn mmio_read(&mut self, address: PhysAddr, width: Width) -> u64 {
        self.flush_combining();
        if let Some(value) = self.root.register_read(self.now, address, width.bytes()) {
            self.spend_now(self.config.cpu.local_register);
            return value;
        }
        if !self.root.forwards_down(address) {
            self.spend_now(self.config.cpu.local_register);
            return all_ones(width);
        }
        let answer = self.ask(|tag| {
            Tlp::MemRead(MemRead {
                requester: ROOT_COMPLEX,
                tag,
                address: address.get(),
                len_bytes: width.bytes() as u16,
                attributes: Attributes::default(),
            })
        });
        answer.map_or(all_ones(width), |answer| little_endian(&answer.data, width))
    }

    fn mmio_write(&mut self, address: PhysAddr, width: Width, value: u64) {
        self.flush_combining();
        self.spend_now(self.config.cpu.mmio_write);
        let len = width.bytes();
        if self.root.register_write(self.now, address, len, value, &mut self.schedule) {
            return;
        }
        if self.root.forwards_down(address) {
            self.post(address, Payload::from_slice(&value.to_le_bytes()[..len]));
        }
    }

    fn mmio_write_combined(&mut self, address: PhysAddr, data: &[u8]) {
        let mut address = address;
        let mut data = data;
        while !data.is_empty() {
            let room = COMBINING_BYTES - address.get() % COMBINING_BYTES;
            let (now, later) = data.split_at(data.len().min(room as usize));
            match &mut self.combining {
                Some((start, held))
                    if *start + held.len() as u64 == address && room < COMBINING_BYTES =>
                {
                    held.extend_from_slice(now);
                }
                _ => {
                    self.flush_combining();
                    self.combining = Some((address, SmallVec::from_slice(now)));
                }
            }
            address = address + now.len() as u64;
            data = later;
        }
    }

    fn allocate_message(&mut self) -> Option<(Vector, MsiMessage)> {
        let vector = self.root.allocate_vector()?;
        let message = MsiMessage { address: INTERRUPT_RANGE.start, data: u32::from(vector.0) };
        Some((vector, message))
    }

    fn take_interrupt(&mut self) -> Option<Vector> {
        self.pending.pop_front()
    }

    fn wait_interrupt(&mut self, deadline: Instant) -> Option<Vector> {
        self.flush_combining();
        if !self.run(deadline, |machine| !machine.pending.is_empty()) {
            self.now = self.now.max(deadline);
        }
        self.pending.pop_front()
    }

    fn spin_on_memory(&mut self, address: PhysAddr, len_bytes: usize, deadline: Instant) -> bool {
        self.flush_combining();
        self.watch = Some((address, len_bytes));
        self.watch_hit = false;
        if !self.run(deadline, |machine| machine.watch_hit) {
            self.now = self.now.max(deadline);
        }
        self.watch = None;
        if self.watch_hit {
            self.spend_now(self.config.cpu.spin_notice);
        }
        self.watch_hit
    }

    fn hypercall(&mut self, call: Hypercall) -> Result<u64, HypercallError> {
        self.ask_hypervisor(call)
    }
}
