//! A whole computer with one card in it: CPU, root complex, link, card, and one schedule for all.
//!
//! ```text
//!   driver ─Host─▶ Machine ─┬─ CPU: write-combining, interrupts
//!                           ├─ root complex ── IOMMU ── RAM
//!                           ├─ link ◀── Tap
//!                           └─ Endpoint
//! ```
//!
//! The driver is ordinary code: each of its calls lets simulated time pass, and what is due in that time
//! happens inside the call. There is one CPU.

mod config;
mod cpu;
mod errors;
mod extended;
mod hypervisor;
mod memory;
mod reset;
mod upstream;

pub use self::config::{CpuFinding, MachineConfig};

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::address::{Bdf, PhysAddr};
use crate::aer::Role;
use crate::endpoint::{Direction, Endpoint, Tap};
use crate::host::Vector;
use crate::host::path::MemoryPath;
use crate::host::protection::SharedPages;
use crate::host::ram::Ram;
use crate::host::shape::Protection;
use crate::iommu::Iommu;
use crate::link::Link;
use crate::link::faults::LinkFault;
use crate::link::sender::SenderFault;
use crate::root::{Effect, RootComplex, RootEvent, RootPort};
use crate::schedule::{AlarmId, Schedule, Turn};
use crate::spec::aer::Error;
use crate::time::{Instant, Span};
use crate::tlp::{Attributes, Completion, CompletionStatus, MemWrite, Payload, Tag, Tlp};

/// The requester id of the CPU's requests, and the root complex's completer id.
const ROOT_COMPLEX: Bdf = Bdf::new(0, 0, 0);
/// Where the root port is on bus 0.
pub const ROOT_PORT: Bdf = Bdf::new(0, 1, 0);
/// Posted writes that the CPU can have under way before it stalls.
const STORE_BUFFER: usize = 32;
/// Bytes of one write-combining buffer.
const COMBINING_BYTES: u64 = 64;

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrival(Direction),
    Pump(Direction),
    Outbound,
    Answer,
    Root(RootEvent),
    Drain,
}

impl From<RootEvent> for Event {
    fn from(event: RootEvent) -> Self {
        Self::Root(event)
    }
}

/// A computer with a card.
pub struct Machine<T: Tap> {
    /// Who watches the link.
    pub tap: T,
    /// Root complex, with RAM and IOMMU.
    pub root: RootComplex,
    config: MachineConfig,
    now: Instant,
    schedule: Schedule<Event>,
    link: Link,
    card: Box<dyn Endpoint>,
    /// The card's next turn of its own accord. It is kept outside of the schedule, for it comes and goes more
    /// often than anything else.
    card_wake: Turn,
    pump_again: [AlarmId; 2],
    arrival: [AlarmId; 2],
    outbound: VecDeque<Tlp>,
    next_tag: u16,
    asked: Option<Tag>,
    answer: Option<Completion>,
    answered: bool,
    combining: Option<(PhysAddr, SmallVec<[u8; 64]>)>,
    pending: VecDeque<Vector>,
    watch: Option<(PhysAddr, usize)>,
    watch_hit: bool,
    findings: Vec<CpuFinding>,
    /// The link is held in reset: whatever is sent over it is lost.
    link_in_reset: bool,
    /// What stands between CPU and RAM; nothing on a PC.
    path: Option<Box<MemoryPath>>,
    /// Rings when a store leaves the CPU's buffer, where there is one.
    drain: Option<AlarmId>,
}

impl<T: Tap> Machine<T> {
    /// Switches the computer on.
    pub fn new(
        config: MachineConfig,
        ram: Ram,
        iommu: Option<Box<dyn Iommu>>,
        card: Box<dyn Endpoint>,
        tap: T,
    ) -> Self {
        let port = RootPort::new(&config.link.timing, config.rcb_bytes);
        let path = MemoryPath::new(&config.shape, &config.host_costs, &ram).map(Box::new);
        let mut root = RootComplex::new(config.root, config.rcb_bytes, ram, port, iommu);
        root.set_completion_order(config.link.completion_order);
        if config.shape.protection == Protection::SharedOnly {
            root.shared = Some(SharedPages::none(&root.ram));
        }
        let mut schedule = Schedule::new();
        let both_ways = [Direction::Downstream, Direction::Upstream];
        let weak = path.as_ref().is_some_and(|path| path.stores().is_some());
        let drain = weak.then(|| schedule.alarm(Event::Drain));
        let mut machine = Self {
            tap,
            root,
            config,
            now: Instant::ZERO,
            card_wake: Turn::NEVER,
            pump_again: both_ways.map(|direction| schedule.alarm(Event::Pump(direction))),
            arrival: both_ways.map(|direction| schedule.alarm(Event::Arrival(direction))),
            schedule,
            link: Link::new(&config.link),
            card,
            outbound: VecDeque::new(),
            next_tag: 0,
            asked: None,
            answer: None,
            answered: false,
            combining: None,
            pending: VecDeque::new(),
            watch: None,
            watch_hit: false,
            findings: Vec::new(),
            link_in_reset: false,
            path,
            drain,
        };
        machine.root.port.set_fixed(config.fixed_window);
        machine.turn_card();
        machine
    }

    /// What went wrong on the CPU's side.
    #[must_use]
    pub fn findings(&self) -> &[CpuFinding] {
        &self.findings
    }

    /// The link.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Lets everything happen that is due up to `until`.
    pub fn run_until(&mut self, until: Instant) {
        self.run(until, |_| false);
        self.now = self.now.max(until);
    }

    /// Lets happen what is due up to `until`, one event after the other, until it is `over`; whether it is.
    fn run(&mut self, until: Instant, over: impl Fn(&Self) -> bool) -> bool {
        while !over(self) {
            let (wake, next) = (self.card_wake, self.schedule.next_turn());
            let at = wake.min(next).time();
            if at > until {
                return false;
            }
            self.now = at.max(self.now);
            if wake < next {
                self.card_wake = Turn::NEVER;
                self.turn_card();
            } else {
                let Some(event) = self.schedule.take_next() else { return false };
                self.happen(event);
            }
            if self.root.iommu.is_some() {
                self.note_iommu_writes();
            }
        }
        true
    }

    #[inline]
    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival(direction) => self.arrive(direction),
            Event::Pump(direction) => self.pump_now(direction),
            Event::Outbound => {
                if let Some(tlp) = self.outbound.pop_front()
                    && !self.link_in_reset
                {
                    self.link.hand_over(self.now, Direction::Downstream, tlp);
                    self.pump(Direction::Downstream);
                }
            }
            Event::Answer => self.answered = true,
            Event::Root(event) => self.root_event(event),
            Event::Drain => self.drain_stores(),
        }
    }

    fn note_iommu_writes(&mut self) {
        while let Some((address, len_bytes)) = self.root.take_iommu_write() {
            self.note_write(address, len_bytes);
        }
    }

    fn arrive(&mut self, direction: Direction) {
        let next = self.link.land(direction, self.now);
        self.schedule.set_alarm(self.arrival[direction as usize], next);
        if self.link_in_reset {
            return self.lose(direction);
        }
        match direction {
            Direction::Downstream => self.turn_card(),
            Direction::Upstream => {
                self.take_upstream();
                if self.link.waits(Direction::Upstream) {
                    self.pump(Direction::Upstream);
                }
            }
        }
    }

    fn root_event(&mut self, event: RootEvent) {
        let was_full = !self.root.has_room();
        if let (true, Some(path)) = (self.root.bypassed, &mut self.path) {
            path.snoop(&mut self.root.ram);
        }
        match self.root.handle(self.now, event, &mut self.schedule) {
            Effect::None => {}
            Effect::Completions(_) if self.link_in_reset => {}
            Effect::Completions(mut completions) => {
                while let Some(completion) = self.root.next_completion(&mut completions) {
                    self.link.hand_over(
                        self.now,
                        Direction::Downstream,
                        Tlp::Completion(completion),
                    );
                }
                self.pump(Direction::Downstream);
            }
            Effect::Answered { completion, written } => {
                if let Some((address, len_bytes)) = written {
                    self.note_write(address, len_bytes);
                }
                self.link.hand_over(self.now, Direction::Downstream, Tlp::Completion(completion));
                self.pump(Direction::Downstream);
            }
            Effect::Written(address, len_bytes) => self.note_write(address, len_bytes),
            Effect::Interrupted(vector) => {
                // The local APIC holds one bit a vector: a second message before the first is taken
                // merges with it.
                if !self.pending.contains(&vector) {
                    self.pending.push_back(vector);
                }
            }
        }
        if was_full && self.root.has_room() {
            self.take_upstream();
            if self.link.waits(Direction::Upstream) {
                self.pump(Direction::Upstream);
            }
        }
    }

    fn note_write(&mut self, address: PhysAddr, len_bytes: usize) {
        if let Some((watched, watched_bytes)) = self.watch {
            let Some(address) = self.driver_address(address) else { return };
            let before = address + len_bytes as u64 <= watched;
            let behind = watched + watched_bytes as u64 <= address;
            self.watch_hit |= !before && !behind;
        }
    }

    fn turn_card(&mut self) {
        if self.link_in_reset {
            self.card_wake = Turn::NEVER;
            return;
        }
        self.card.advance(self.now, &mut self.link.card_port(self.now));
        let wake = self.card.next_wake().map_or(Instant::FAR_FUTURE, |wake| wake.max(self.now));
        // As an alarm that is set to the time it has already, it keeps its place.
        if wake != self.card_wake.time() {
            self.card_wake = self.schedule.turn(wake);
        }
        if self.link.waits(Direction::Upstream) {
            self.pump(Direction::Upstream);
        }
        if self.link.waits(Direction::Downstream) {
            self.pump(Direction::Downstream);
        }
    }

    #[inline]
    fn pump(&mut self, direction: Direction) {
        match self.link.busy(direction, self.now, &self.tap) {
            Some(again) => {
                self.schedule.set_alarm(self.pump_again[direction as usize], Some(again));
            }
            None => self.pump_now(direction),
        }
    }

    fn pump_now(&mut self, direction: Direction) {
        let pumped = self.link.pump(direction, self.now, &mut self.tap);
        self.schedule.set_alarm(self.arrival[direction as usize], pumped.arrives);
        self.schedule.set_alarm(self.pump_again[direction as usize], pumped.again);
        if self.link.has_events() {
            self.link_events();
        }
        if pumped.card_may_retry {
            self.turn_card();
        }
    }

    /// Installs what goes wrong on the link.
    pub fn set_link_fault(&mut self, fault: Box<dyn LinkFault>) {
        self.link.set_fault(fault);
        self.pump(Direction::Downstream);
        self.pump(Direction::Upstream);
    }

    /// Installs what the two senders do wrong.
    pub fn set_sender_fault(&mut self, fault: Box<dyn SenderFault>) {
        self.link.set_sender_fault(fault);
    }

    /// Sends a request down and waits for its completion; `None` when it was not successful or did
    /// not come.
    fn ask(&mut self, make: impl FnOnce(Tag) -> Tlp) -> Option<Completion> {
        self.flush_combining();
        let tag = Tag(self.next_tag);
        self.next_tag = (self.next_tag + 1) & 0xff;
        let request = make(tag);
        self.asked = Some(tag);
        self.answered = false;
        self.send_down(request.clone());
        if !self.link.is_up() {
            self.schedule.at(self.now + self.config.root.outbound, Event::Answer);
        }
        let deadline = self.now + self.config.root.completion_timeout;
        if !self.run(deadline, |machine| machine.answered) {
            self.now = deadline;
            self.detect(Error::CompletionTimeout, Role::Sole, None);
            self.findings.push(CpuFinding::CompletionTimeout { at: deadline, request });
        }
        self.asked = None;
        self.answer.take().filter(|answer| answer.status == CompletionStatus::Success)
    }

    /// Sends down the request that `make` makes for a tag, and waits for its completion; `None` when that was not
    /// successful or did not come.
    pub fn ask_raw(&mut self, make: impl FnOnce(Tag) -> Tlp) -> Option<Completion> {
        self.ask(make)
    }

    /// Sends down what wants no answer, as it is.
    pub fn send_raw(&mut self, tlp: Tlp) {
        self.flush_combining();
        self.send_down(tlp);
    }

    fn post(&mut self, address: PhysAddr, data: Payload) {
        let deadline = self.now + self.config.root.completion_timeout;
        let has_room = |machine: &Self| {
            machine.outbound.len() + machine.link.queued(Direction::Downstream) < STORE_BUFFER
        };
        if !self.run(deadline, has_room) {
            self.now = deadline;
            self.findings.push(CpuFinding::PostedStuck { at: deadline });
        }
        self.send_down(Tlp::MemWrite(MemWrite {
            requester: ROOT_COMPLEX,
            tag: Tag(0),
            address: address.get(),
            data,
            attributes: Attributes::default(),
        }));
    }

    fn send_down(&mut self, tlp: Tlp) {
        self.outbound.push_back(tlp);
        self.schedule.at(self.now + self.config.root.outbound, Event::Outbound);
    }

    fn flush_combining(&mut self) {
        if let Some((address, data)) = self.combining.take() {
            self.spend_now(self.config.cpu.write_combined_burst);
            if self.root.forwards_down(address) {
                self.post(address, data);
            }
        }
    }

    fn spend_now(&mut self, cost: Span) {
        self.run_until(self.now + cost);
    }

    /// Where a configuration request goes: the root port itself, down the link, or nowhere.
    fn config_route(&self, function: Bdf) -> ConfigRoute {
        if function.bus() == 0 {
            return if function == ROOT_PORT { ConfigRoute::Port } else { ConfigRoute::Nobody };
        }
        if self.root.is_frozen() || self.link_in_reset {
            return ConfigRoute::Nobody;
        }
        let (secondary, subordinate) = self.root.port.buses();
        if function.bus() == secondary && function.device() == 0 {
            ConfigRoute::Link { forwarded: false }
        } else if function.bus() > secondary && function.bus() <= subordinate {
            ConfigRoute::Link { forwarded: true }
        } else {
            ConfigRoute::Nobody
        }
    }
}

enum ConfigRoute {
    Port,
    Link { forwarded: bool },
    Nobody,
}

#[cfg(test)]
mod tests;
