//! A slot whose computer is elsewhere: the link and the card are simulated, CPU, memory and IOMMU are a
//! live guest's.
//!
//! ```text
//!   a live guest ─Access─▶ LiveSlot ─TLPs─▶ link ─▶ card          configuration, BARs
//!                ◀Answer──          ◀─────      ◀─
//!                ◀Request─          ◀─TLPs──    ◀─                 DMA, interrupts
//!                ─answer_read─▶     ──TLPs─▶    ─▶
//! ```
//!
//! It stands where the root complex stands, so whoever watches the link sees the guest's real traffic.
//!
//! **What time means.** Simulated time advances by the events of link and card alone, never by a clock on
//! a wall. An access of the guest begins at the simulated time at which the last thing ended; while
//! nothing is under way, time stands. A memory read takes the root complex's latency however long the
//! guest needs for it in truth: until its data are there, time stands too. Only when an access of the
//! guest waits for its own answer meanwhile, time must go on, for a guest may be unable to serve the one
//! before it has the other; then that read is late by as much. So the spans between the steps of one
//! request are those of card, link and preset; how many requests a guest makes in a second is not told.
//!
//! A completion does not wait until the guest has acknowledged the writes that came before it, as it would
//! on a bus: the guest may be unable to acknowledge them until it has that completion. Writes and
//! interrupts keep their order among themselves.

mod downstream;
mod facts;
#[cfg(test)]
mod tests;
mod upstream;

use std::collections::VecDeque;

use crate::address::Bdf;
use crate::endpoint::{Direction, Endpoint, Tap};
use crate::link::aside::Side;
use crate::link::{Link, LinkConfig};
use crate::root::RootTiming;
use crate::schedule::{AlarmId, Schedule};
use crate::time::{Instant, Span};
use crate::tlp::{Completion, Payload, Tag, Tlp};

pub use self::facts::{BarFacts, Facts, MsixFacts};
use self::upstream::Pending;

/// Where the card is on the link; its place in the guest is the guest's affair.
pub const CARD: Bdf = Bdf::new(1, 0, 0);
/// The requester of the guest's accesses, and who completes the card's reads.
const ROOT_COMPLEX: Bdf = Bdf::new(0, 0, 0);
/// Posted writes that may wait for the link before [`LiveSlot::accepts`] says no.
const STORE_BUFFER: usize = 32;

/// The time that a function has for a reset. PCIe 5.0 §6.6.2, "Function Level Reset (FLR)".
pub const RESET_TIME: Span = Span::from_ms(100);

/// What a scenario can choose about a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveConfig {
    /// The link.
    pub link: LinkConfig,
    /// Latencies of root complex and memory.
    pub root: RootTiming,
    /// Read completion boundary: 64 or 128 bytes.
    pub rcb_bytes: u16,
    /// Time stands when nothing has crossed the link for so long, even if the card would go on.
    pub quiet: Span,
    /// The same for a card that is not at work as far as the tap can tell: of RTL every edge of a clock is
    /// computed, whether it has something to do or not.
    pub idle: Span,
    /// The time that a reset is given; not longer than a function may take for one.
    pub reset: Span,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            link: LinkConfig::default(),
            root: RootTiming::default(),
            rcb_bytes: 64,
            quiet: Span::from_ms(50),
            idle: Span::from_ms(50),
            reset: RESET_TIME,
        }
    }
}

/// What the guest does with the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Reads up to 4 bytes of a doubleword of configuration space.
    ConfigRead {
        /// The first.
        offset: u16,
        /// How many.
        len_bytes: u8,
    },
    /// Writes up to 4 bytes of a doubleword of configuration space.
    ConfigWrite {
        /// The first.
        offset: u16,
        /// The bytes.
        data: Payload,
    },
    /// Reads behind a BAR, inside one 4-KiB page.
    Read {
        /// The bus address.
        address: u64,
        /// How many bytes.
        len_bytes: u16,
    },
    /// Writes behind a BAR, inside one 4-KiB page. Posted: nobody answers.
    Write {
        /// The bus address.
        address: u64,
        /// The bytes.
        data: Payload,
    },
}

/// How an access that is answered ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// With these bytes; none for a write.
    Done(Payload),
    /// The card refused, or did not answer in time. A CPU reads all ones.
    Failed,
}

/// What the card wants of the guest, in the order in which it came up the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Memory is to be read; [`LiveSlot::answer_read`] brings it.
    Read {
        /// By what number the answer is known.
        id: ReadId,
        /// The bus address.
        address: u64,
        /// How many bytes.
        len_bytes: u16,
    },
    /// Memory is to be written.
    Write {
        /// The bus address.
        address: u64,
        /// The bytes.
        data: Payload,
    },
    /// The message of an MSI-X vector.
    Interrupt {
        /// What it carries.
        data: u32,
    },
}

/// The number of a memory read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(u64);

/// What went wrong between guest and card, seen from the guest's side of the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveFinding {
    /// The guest's memory or IOMMU refused a request of the card.
    Refused {
        /// When the refusal came back.
        at: Instant,
        /// A write.
        write: bool,
        /// The bus address.
        address: u64,
        /// Bytes.
        len_bytes: u32,
    },
    /// A request came that no root complex supports here, or that is malformed.
    NotSupported {
        /// When it came.
        at: Instant,
        /// What came.
        tlp: Tlp,
    },
    /// An access of the guest was not answered in time.
    CompletionTimeout {
        /// When it was given up.
        at: Instant,
        /// What was not answered.
        request: Tlp,
    },
    /// A completion came that nobody had asked for, or with bad data.
    UnexpectedCompletion {
        /// When it came.
        at: Instant,
        /// What came.
        tlp: Tlp,
    },
    /// The card took no posted writes any more; one was dropped.
    PostedStuck {
        /// When it was dropped.
        at: Instant,
    },
    /// The card sent an error message.
    ErrorMessage {
        /// When it came.
        at: Instant,
        /// Its code: 0x30 correctable, 0x31 non-fatal, 0x33 fatal.
        code: u8,
    },
}

/// What a step of the simulation led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something happened.
    Moved,
    /// A memory read is due whose data the guest has not brought: time stands.
    Waits,
    /// Nothing is under way.
    Idle,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrival(Direction),
    Pump(Direction),
    CardWake,
    Outbound,
    Answer,
    Timeout,
    Again,
    ReadDue(u32),
}

/// An access under way.
#[derive(Debug)]
struct Asked {
    tag: Tag,
    access: Access,
    /// When it began.
    since: Instant,
    answer: Option<Completion>,
}

/// See the module.
pub struct LiveSlot<T: Tap> {
    /// Who watches the link.
    pub tap: T,
    config: LiveConfig,
    now: Instant,
    /// When something last crossed the link or was asked of it.
    last_traffic: Instant,
    /// When the card was last seen at work while nothing crossed the link.
    last_work: Instant,
    schedule: Schedule<Event>,
    link: Link,
    card: Box<dyn Endpoint>,
    card_wake: AlarmId,
    pump_again: [AlarmId; 2],
    arrival: [AlarmId; 2],
    timeout: AlarmId,
    outbound: VecDeque<Tlp>,
    asked: Option<Asked>,
    answer: Option<Answer>,
    asked_count: u64,
    facts: Facts,
    bars: [u32; 6],
    /// Those of them that a reset has taken from the card, a bit each.
    lost_bars: u8,
    command: u16,
    max_payload_bytes: u16,
    resets: u64,
    is_stuck: bool,
    reads: Vec<Option<Pending>>,
    free_reads: Vec<u32>,
    reads_count: u64,
    /// Reads that are due and have no data.
    held: usize,
    requests: VecDeque<Request>,
    findings: Vec<LiveFinding>,
    findings_count: u64,
}

impl<T: Tap> LiveSlot<T> {
    /// Plugs the card in and reads what its configuration space says of it, as firmware would.
    pub fn new(config: LiveConfig, card: Box<dyn Endpoint>, tap: T) -> Self {
        let mut schedule = Schedule::new();
        let both_ways = [Direction::Downstream, Direction::Upstream];
        let mut slot = Self {
            tap,
            config,
            now: Instant::ZERO,
            last_traffic: Instant::ZERO,
            last_work: Instant::ZERO,
            card_wake: schedule.alarm(Event::CardWake),
            pump_again: both_ways.map(|direction| schedule.alarm(Event::Pump(direction))),
            arrival: both_ways.map(|direction| schedule.alarm(Event::Arrival(direction))),
            timeout: schedule.alarm(Event::Timeout),
            schedule,
            link: Link::new(&config.link),
            card,
            outbound: VecDeque::new(),
            asked: None,
            answer: None,
            asked_count: 0,
            facts: Facts::default(),
            bars: [0; 6],
            lost_bars: 0,
            command: 0,
            max_payload_bytes: 128,
            resets: 0,
            is_stuck: false,
            reads: Vec::new(),
            free_reads: Vec::new(),
            reads_count: 0,
            held: 0,
            requests: VecDeque::new(),
            findings: Vec::new(),
            findings_count: 0,
        };
        slot.turn_card();
        slot.facts = facts::probe(&mut slot);
        slot
    }

    /// The present.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// What configuration space says of the card.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What went wrong, the first thousand.
    #[must_use]
    pub fn findings(&self) -> &[LiveFinding] {
        &self.findings
    }

    /// How often something went wrong.
    #[must_use]
    pub const fn findings_count(&self) -> u64 {
        self.findings_count
    }

    /// What the card wants next of the guest.
    pub fn take_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Lets the next event happen. `patient`: not if a memory read is due whose data are not there, for
    /// nobody waits for anything else.
    pub fn step(&mut self, patient: bool) -> Step {
        if patient && self.held > 0 {
            return Step::Waits;
        }
        let Some((at, event)) = self.take_next() else {
            return if self.held > 0 { Step::Waits } else { Step::Idle };
        };
        self.now = at.max(self.now);
        self.happen(event);
        Step::Moved
    }

    fn take_next(&mut self) -> Option<(Instant, Event)> {
        let last = self.last_traffic.max(self.last_work);
        let next = self.schedule.take_due(last + self.config.idle);
        if next.is_some() || !self.tap.may_be_at_work() {
            return next;
        }
        // What ends the work is not the last that the card has to do for it.
        self.last_work = self.now;
        self.schedule.take_due(self.last_traffic + self.config.quiet)
    }

    /// Lets everything happen that is due up to `until`, whoever waits.
    pub fn run_until(&mut self, until: Instant) {
        while let Some((at, event)) = self.schedule.take_due(until) {
            self.now = at.max(self.now);
            self.happen(event);
        }
        self.now = self.now.max(until);
        self.last_traffic = self.last_traffic.max(until);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival(direction) => self.arrive(direction),
            Event::Pump(direction) => self.pump(direction),
            Event::CardWake => self.turn_card(),
            Event::Outbound => {
                if let Some(tlp) = self.outbound.pop_front() {
                    self.send_down(tlp);
                }
            }
            Event::Answer => self.answered(),
            Event::Timeout => self.give_up(),
            Event::Again => self.ask_again(),
            Event::ReadDue(place) => self.read_due(place),
        }
    }

    fn arrive(&mut self, direction: Direction) {
        self.last_traffic = self.now;
        let next = self.link.land(direction, self.now);
        self.schedule.set_alarm(self.arrival[direction as usize], next);
        match direction {
            Direction::Downstream => self.turn_card(),
            Direction::Upstream => {
                while self.link.has_landed(Direction::Upstream)
                    && let Some(tlp) = self.link.take_at_root(self.now)
                {
                    self.receive(tlp);
                }
                if self.link.waits(Direction::Upstream) {
                    self.pump(Direction::Upstream);
                }
            }
        }
    }

    fn turn_card(&mut self) {
        self.card.advance(self.now, &mut self.link.card_port(self.now));
        let wake = self.card.next_wake().map(|wake| wake.max(self.now));
        self.schedule.set_alarm(self.card_wake, wake);
        for direction in [Direction::Upstream, Direction::Downstream] {
            if self.link.waits(direction) {
                self.pump(direction);
            }
        }
    }

    fn pump(&mut self, direction: Direction) {
        let pumped = self.link.pump(direction, self.now, &mut self.tap);
        self.schedule.set_alarm(self.arrival[direction as usize], pumped.arrives);
        self.schedule.set_alarm(self.pump_again[direction as usize], pumped.again);
        for event in if self.link.has_events() { self.link.take_events() } else { Vec::new() } {
            self.tap.link_event(&event);
            if let (Side::Card, Some(error)) = (event.side, event.error.recorded()) {
                self.card.link_error(self.now, error, None);
            }
        }
        if pumped.card_may_retry {
            self.turn_card();
        }
    }

    fn send_down(&mut self, tlp: Tlp) {
        self.link.hand_over(self.now, Direction::Downstream, tlp);
        self.pump(Direction::Downstream);
    }

    /// Something does not hold.
    fn finding(&mut self, finding: LiveFinding) {
        const KEPT: usize = 1000;
        self.findings_count += 1;
        if self.findings.len() < KEPT {
            self.findings.push(finding);
        }
    }
}
