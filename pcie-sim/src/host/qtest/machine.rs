//! QEMU's q35 machine as a driver's [`Host`](crate::host::Host).
//!
//! Time. QEMU tells none that would mean anything here, so it is made: what the driver says that its work
//! costs, and [`ROUND_TRIP`] for each answer that is waited for. Deadlines so become numbers of questions,
//! whatever the load of the machine. Where QEMU has a clock that can be stepped (`-accel qtest`) it is kept
//! up with this one; else (`-accel tcg -S`) its own stands still, and only what needs no clock happens.
//!
//! Interrupts. There is no CPU to take them, so messages are memory writes to a page of RAM that is looked
//! at: the platform says at which bus address a device finds that page ([`MessageBus`]).

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::codec::Command;
use super::error::QtestError;
use super::process::Qemu;
use crate::address::{Bdf, BusAddr, PhysAddr};
use crate::host::{Barrier, Bus, Memory, MsiMessage, Vector, Width};
use crate::spec::pci::header;
use crate::time::{Instant, Span};

/// What an answer of QEMU counts in the driver's time: about what it takes on an ordinary machine.
pub const ROUND_TRIP: Span = Span::from_us(10);
/// Where the extended configuration space is put: below the windows that firmware gives to BARs.
const ECAM: u64 = 0xb000_0000;
/// Bytes of it: 256 buses.
const ECAM_BYTES: u64 = 256 << 20;
/// PCIEXBAR of the host bridge: where the extended configuration space is. Intel Q35, 82Q35 datasheet,
/// "PCIEXBAR - PCI Express Register Range Base Address".
const PCIEXBAR: u32 = 0x60;
/// The ports of the old configuration space. PCI 3.0 §3.2.2.3.2.
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
/// A block is read and written in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;
/// Messages that there is room for in the page.
const MESSAGES: u16 = 1024;

/// Where devices find the page for interrupt messages; handles share it.
#[derive(Debug, Clone)]
pub struct MessageBus(Rc<Cell<BusAddr>>);

impl MessageBus {
    /// The page is found at this bus address from now on; messages given out before stay as they are.
    pub fn set(&self, address: BusAddr) {
        self.0.set(address);
    }

    /// Where it is found.
    #[must_use]
    pub fn get(&self) -> BusAddr {
        self.0.get()
    }
}

/// What is known of the machine besides what it can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QtestConfig {
    /// Bytes of RAM, from address 0; less than the 2.75 GiB at which its configuration space begins.
    pub ram_bytes: u64,
    /// A page of RAM for interrupt messages, which nobody else uses.
    pub messages: PhysAddr,
}

/// A computer that is a QEMU.
#[derive(Debug)]
pub struct QtestHost {
    qemu: Qemu,
    config: QtestConfig,
    now: Instant,
    /// QEMU has a clock to step, and it has come so far.
    clock: Option<Instant>,
    bus: MessageBus,
    given_out: u16,
    pending: VecDeque<Vector>,
    failure: Option<QtestError>,
}

impl QtestHost {
    /// Takes a QEMU over that was just started, and switches the extended configuration space on.
    ///
    /// # Errors
    /// [`QtestError`]: it does not run, or not as a q35.
    pub fn new(qemu: Qemu, config: QtestConfig) -> Result<Self, QtestError> {
        let mut host = Self {
            qemu,
            now: Instant::ZERO,
            clock: None,
            bus: MessageBus(Rc::new(Cell::new(BusAddr(config.messages.get())))),
            given_out: 0,
            pending: VecDeque::new(),
            failure: None,
            config,
        };
        let register = 1 << 31 | PCIEXBAR;
        for (offset, value) in [(4, (ECAM >> 32) as u32), (0, ECAM as u32 | 1)] {
            let width = Width::W32;
            let address = Command::Out { port: CONFIG_ADDRESS, width, value: register + offset };
            host.qemu.post(&address)?;
            host.qemu.post(&Command::Out { port: CONFIG_DATA, width, value })?;
        }
        host.qemu.settle()?;
        host.config_read(Bdf::new(0, 0, 0), header::VENDOR_ID, Width::W32);
        if let Some(failure) = host.failure.take() {
            return Err(failure);
        }
        host.clock = match host.qemu.number(&Command::ClockStep { ns: 0 }) {
            Ok(_) => Some(host.now),
            Err(QtestError::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
        host.write(config.messages, &[0; 4 * MESSAGES as usize]);
        Ok(host)
    }

    /// Where devices are to find the page for messages.
    #[must_use]
    pub fn message_bus(&self) -> MessageBus {
        self.bus.clone()
    }

    /// The page for messages.
    #[must_use]
    pub const fn message_page(&self) -> PhysAddr {
        self.config.messages
    }

    /// What has gone wrong with QEMU itself, once something has.
    #[must_use]
    pub const fn failure(&self) -> Option<&QtestError> {
        self.failure.as_ref()
    }

    /// Waits until QEMU has done all that it was told.
    ///
    /// # Errors
    /// What has gone wrong with it, now or before.
    pub fn settle(&mut self) -> Result<(), QtestError> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None => self.qemu.settle(),
        }
    }

    /// Answers that QEMU has given.
    #[must_use]
    pub const fn replies(&self) -> u64 {
        self.qemu.replies()
    }

    /// Whether QEMU's clock is kept up with the driver's.
    #[must_use]
    pub const fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    fn note<T>(&mut self, done: Result<T, QtestError>) -> Option<T> {
        match done {
            Ok(value) => Some(value),
            Err(error) => {
                self.failure.get_or_insert(error);
                None
            }
        }
    }

    fn post(&mut self, command: &Command<'_>) {
        if self.failure.is_none() {
            let posted = self.qemu.post(command);
            self.note(posted);
        }
    }

    fn ask(&mut self, command: &Command<'_>) -> Option<u64> {
        self.now += ROUND_TRIP;
        if self.failure.is_some() {
            return None;
        }
        let answer = self.qemu.number(command);
        self.note(answer)
    }

    /// Lets QEMU's clock, where there is one, run up to the driver's.
    fn keep_up(&mut self) {
        if let Some(clock) = self.clock {
            let ns = self.now.as_ns() - clock.as_ns();
            if ns > 0 && self.ask(&Command::ClockStep { ns }).is_some() {
                self.clock = Some(clock + Span::from_ns(ns));
            }
        }
    }

    /// Looks for messages that have come.
    fn look(&mut self) {
        self.keep_up();
        if self.given_out == 0 {
            self.now += ROUND_TRIP;
            return;
        }
        let mut words = vec![0; 4 * usize::from(self.given_out)];
        self.read(self.config.messages, &mut words);
        for (number, word) in words.chunks_exact(4).enumerate() {
            if word != [0; 4] {
                // Cleared before anybody looks at what it announces: what comes later raises it again.
                self.write(self.config.messages + 4 * number as u64, &[0; 4]);
                self.pending.push_back(Vector(number as u16));
            }
        }
    }

    fn check(&self, what: &str, address: PhysAddr, len: usize) {
        let end = address.get().checked_add(len as u64);
        let inside = end.is_some_and(|end| end <= self.config.ram_bytes);
        assert!(inside, "the driver {what} {len} bytes at {address}: no RAM there");
    }
}

fn all_ones(width: Width) -> u64 {
    u64::MAX >> (64 - 8 * width.bytes())
}

fn ecam(function: Bdf, offset: u16) -> PhysAddr {
    PhysAddr(ECAM + (u64::from(function.0) << 12) + u64::from(offset & 0xfff))
}

/// An access of 64 bits to configuration space does not exist.
fn config_width(width: Width) -> Width {
    width.min(Width::W32)
}

impl Bus for QtestHost {
    fn now(&self) -> Instant {
        self.now
    }

    fn spend(&mut self, cost: Span) {
        self.now += cost;
    }

    fn config_read(&mut self, function: Bdf, offset: u16, width: Width) -> u32 {
        let width = config_width(width);
        self.mmio_read(ecam(function, offset), width) as u32
    }

    fn config_write(&mut self, function: Bdf, offset: u16, width: Width, value: u32) {
        let width = config_width(width);
        self.mmio_write(ecam(function, offset), width, u64::from(value));
    }

    fn mmio_read(&mut self, address: PhysAddr, width: Width) -> u64 {
        self.ask(&Command::Read { address, width })
            .map_or(all_ones(width), |value| value & all_ones(width))
    }

    fn mmio_write(&mut self, address: PhysAddr, width: Width, value: u64) {
        self.post(&Command::Write { address, width, value });
    }

    fn mmio_write_combined(&mut self, address: PhysAddr, data: &[u8]) {
        for (at, piece) in data.chunks(PIECE_BYTES).enumerate() {
            let address = address + (at * PIECE_BYTES) as u64;
            self.post(&Command::WriteBlock { address, data: piece });
        }
    }

    fn allocate_message(&mut self) -> Option<(Vector, MsiMessage)> {
        let number = self.given_out;
        if number == MESSAGES {
            return None;
        }
        self.given_out += 1;
        let address = self.bus.get().get() + 4 * u64::from(number);
        Some((Vector(number), MsiMessage { address, data: u32::from(number) + 1 }))
    }

    fn take_interrupt(&mut self) -> Option<Vector> {
        if self.pending.is_empty() {
            self.look();
        }
        self.pending.pop_front()
    }

    fn wait_interrupt(&mut self, deadline: Instant) -> Option<Vector> {
        loop {
            if let Some(vector) = self.take_interrupt() {
                return Some(vector);
            }
            if self.failure.is_some() {
                self.now = self.now.max(deadline);
            }
            if self.now >= deadline {
                return None;
            }
        }
    }

    fn spin_on_memory(&mut self, _address: PhysAddr, _len: usize, deadline: Instant) -> bool {
        // Who spins looks at the memory next, which is a question of its own.
        self.keep_up();
        self.now += ROUND_TRIP;
        self.now < deadline
    }
}

impl Memory for QtestHost {
    fn read(&mut self, address: PhysAddr, into: &mut [u8]) {
        self.check("reads", address, into.len());
        for (at, piece) in into.chunks_mut(PIECE_BYTES).enumerate() {
            self.now += ROUND_TRIP;
            let address = address + (at * PIECE_BYTES) as u64;
            let read = match self.failure {
                None => {
                    let read = self.qemu.read_block(address, piece);
                    self.note(read)
                }
                Some(_) => None,
            };
            if read.is_none() {
                piece.fill(0xff);
            }
        }
    }

    fn write(&mut self, address: PhysAddr, data: &[u8]) {
        self.check("writes", address, data.len());
        for (at, piece) in data.chunks(PIECE_BYTES).enumerate() {
            let address = address + (at * PIECE_BYTES) as u64;
            self.post(&Command::WriteBlock { address, data: piece });
        }
    }

    fn barrier(&mut self, _barrier: Barrier) {
        // Commands are done one after the other, by the thread that runs the devices.
    }

    fn ram_bytes(&self) -> u64 {
        self.config.ram_bytes
    }
}

const _: () = assert!(ECAM.is_multiple_of(ECAM_BYTES));
