//! Beats into the design: one TLP after the other, those that want an answer when there is leave for them.

use std::collections::VecDeque;

use pcie_sim::endpoint::Port;
use pcie_sim::host::seed::Sequence;
use pcie_sim::time::Instant;
use pcie_sim::tlp::codec::emit;
use pcie_sim::tlp::{FlowClass, Tlp};

use super::signals::{BEAT_WORDS_MAX, BindError, Binder, Driven, Pin};
use super::stalls::Stall;
use crate::pins::Pins;
use crate::pins::finding::{Findings, PinFinding};

/// Requests without leave that are kept here, where nothing else bounds them: a link that keeps their
/// credits lets no more of them come than it has room for.
const HELD_MAX: usize = 128;

/// A TLP on its way through the pins.
#[derive(Debug, Clone, Copy)]
struct Flight {
    class: FlowClass,
    data_credits: u32,
}

/// The way into the design.
#[derive(Debug)]
pub(super) struct Inward {
    ready_pin: Pin,
    leave_pin: Option<Pin>,
    valid: Driven,
    sop: Option<Driven>,
    eop: Driven,
    keep: Option<Driven>,
    data: Pin,
    beat_bytes: usize,
    stall: Stall,
    /// The TLP under way, all of its bytes.
    bytes: Vec<u8>,
    /// Where in them the beat begins that comes next, or stands on the pins.
    place: usize,
    flight: Option<Flight>,
    /// A beat stands on the pins.
    offered: bool,
    ready: bool,
    leave: bool,
    /// A request that wants an answer waits on the pins to begin.
    begins: bool,
    held: VecDeque<Tlp>,
}

impl Inward {
    pub(super) fn bind(binder: &Binder<'_>, stall: Stall) -> Result<Self, BindError> {
        let data = binder.needed("rx_data")?;
        let keep = binder.of_beat("rx_keep", data.bits)?;
        Ok(Self {
            ready_pin: binder.needed("rx_ready")?,
            leave_pin: binder.optional("rx_np_ok")?,
            valid: Driven::new(&binder.needed("rx_valid")?),
            sop: binder.optional("rx_sop")?.as_ref().map(Driven::new),
            eop: Driven::new(&binder.needed("rx_eop")?),
            keep: keep.as_ref().map(Driven::new),
            beat_bytes: data.bits as usize / 8,
            data,
            stall,
            bytes: Vec::with_capacity(super::TLP_BYTES_MAX),
            place: 0,
            flight: None,
            offered: false,
            ready: false,
            leave: false,
            begins: false,
            held: VecDeque::new(),
        })
    }

    pub(super) fn beat_bits(&self) -> u32 {
        self.data.bits
    }

    /// Drops what is under way.
    pub(super) fn reset(&mut self, pins: &mut dyn Pins) {
        self.bytes.clear();
        self.held.clear();
        (self.place, self.flight) = (0, None);
        (self.ready, self.leave, self.begins) = (false, false, false);
        self.withdraw(pins);
    }

    #[inline]
    pub(super) fn sample(&mut self, pins: &mut dyn Pins, at: Instant, findings: &mut Findings) {
        self.ready = self.offered && self.ready_pin.read_bit(pins, at, findings);
        let Some(pin) = &self.leave_pin else {
            self.leave = true;
            return;
        };
        let leave = pin.read_bit(pins, at, findings);
        let began = self.begins && self.ready;
        if began && !leave {
            findings.add(at, PinFinding::LeaveWithdrawn { port: pin.name.clone() });
        }
        // What is seen at the edge at which one begins does not count it yet.
        self.leave = leave && !began;
        self.begins &= !began;
    }

    #[inline]
    pub(super) fn drive(&mut self, pins: &mut dyn Pins, port: &mut dyn Port, lots: &mut Sequence) {
        if self.offered && !self.ready {
            return;
        }
        if self.offered {
            self.place += self.beat_bytes;
            if self.place >= self.bytes.len()
                && let Some(Flight { class, data_credits }) = self.flight.take()
            {
                port.give_back(class, data_credits);
            }
        }
        let waits = self.flight.is_some() || self.next(port);
        if !waits || self.stall.drawn(lots) {
            if self.offered {
                self.withdraw(pins);
            }
            return;
        }
        self.offer(pins);
    }

    /// Takes the next TLP that may begin, if there is one.
    #[inline]
    fn next(&mut self, port: &mut dyn Port) -> bool {
        if self.leave
            && let Some(tlp) = self.held.pop_front()
        {
            self.begin(&tlp);
            return true;
        }
        while self.held.len() < HELD_MAX
            && let Some(tlp) = port.take()
        {
            // Posted requests and completions pass those that wait: PCIe 5.0 §2.4.1, table of ordering rules.
            if self.leave || tlp.flow_class() != FlowClass::NonPosted {
                self.begin(&tlp);
                return true;
            }
            self.held.push_back(tlp);
        }
        false
    }

    fn begin(&mut self, tlp: &Tlp) {
        self.bytes.clear();
        emit(tlp, &mut self.bytes);
        let class = tlp.flow_class();
        self.flight = Some(Flight { class, data_credits: tlp.data_credits() });
        self.begins = class == FlowClass::NonPosted;
        self.place = 0;
    }

    fn offer(&mut self, pins: &mut dyn Pins) {
        let rest = &self.bytes[self.place..];
        let there = &rest[..rest.len().min(self.beat_bytes)];
        let mut words = [0; BEAT_WORDS_MAX];
        for (word, bytes) in words.iter_mut().zip(there.chunks(4)) {
            let mut whole = [0; 4];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u32::from_le_bytes(whole);
        }
        pins.write_wide(self.data.id, &words[..self.beat_bytes / 4]);
        if let Some(sop) = &mut self.sop {
            sop.set(pins, u64::from(self.place == 0));
        }
        self.eop.set(pins, u64::from(rest.len() <= self.beat_bytes));
        if let Some(keep) = &mut self.keep {
            keep.set(pins, u64::MAX >> (64 - there.len()));
        }
        self.valid.set(pins, 1);
        self.offered = true;
    }

    /// Nothing stands on the pins; the data of before may as well stay there.
    fn withdraw(&mut self, pins: &mut dyn Pins) {
        self.valid.set(pins, 0);
        if let Some(sop) = &mut self.sop {
            sop.set(pins, 0);
        }
        self.eop.set(pins, 0);
        self.offered = false;
    }
}
