//! Two ends and a link between them, without a machine around.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use pcie_sim::address::Bdf;
use pcie_sim::endpoint::{Direction, Port, Sighting, Tap};
use pcie_sim::link::aside::{LinkError, LinkEvent, Outcome, Side, Transmission};
use pcie_sim::link::dllp::Dllp;
use pcie_sim::link::faults::{DllpFault, LinkFault, TlpFault, Upset};
use pcie_sim::link::{Link, LinkConfig};
use pcie_sim::time::Instant;
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, MemRead, MemWrite, Payload, Tag, Tlp,
};

pub(crate) const CARD: Bdf = Bdf::new(1, 0, 0);
pub(crate) const UP: Direction = Direction::Upstream;
pub(crate) const DOWN: Direction = Direction::Downstream;

/// A transmission as it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) departs: Instant,
    pub(crate) direction: Direction,
    pub(crate) sequence: u16,
    pub(crate) replay: bool,
    pub(crate) outcome: Outcome,
}

/// Everything that could be seen.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) tlps: Vec<(Instant, Direction, Tlp)>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) dllps: Vec<(Instant, Direction, Dllp)>,
    pub(crate) deaf: bool,
}

impl Tap for Log {
    fn tlp(&mut self, sighting: &Sighting<'_>) {
        if !self.deaf {
            self.tlps.push((sighting.departs, sighting.direction, sighting.tlp.clone()));
        }
    }

    fn watches_data_link(&self) -> bool {
        !self.deaf
    }

    fn transmission(&mut self, seen: &Transmission<'_>) {
        self.shown.push(Shown {
            departs: seen.sighting.departs,
            direction: seen.sighting.direction,
            sequence: seen.sequence,
            replay: seen.replay,
            outcome: seen.outcome,
        });
    }

    fn dllp(&mut self, at: Instant, direction: Direction, dllp: Dllp) {
        self.dllps.push((at, direction, dllp));
    }
}

/// The link with both ends; what arrives is taken at once.
pub(crate) struct Rig {
    pub(crate) link: Link,
    pub(crate) log: Log,
    pub(crate) now: Instant,
    pub(crate) events: Vec<LinkEvent>,
    /// What the root port's transaction layer got, and when.
    pub(crate) at_root: Vec<(Instant, Tlp)>,
    /// What the card's got.
    pub(crate) at_card: Vec<(Instant, Tlp)>,
    /// The card does not take anything out of its buffer.
    pub(crate) card_sleeps: bool,
    landing: [Option<Instant>; 2],
    again: [Option<Instant>; 2],
}

impl Rig {
    pub(crate) fn new(config: &LinkConfig) -> Self {
        Self {
            link: Link::new(config),
            log: Log::default(),
            now: Instant::ZERO,
            events: Vec::new(),
            at_root: Vec::new(),
            at_card: Vec::new(),
            card_sleeps: false,
            landing: [None; 2],
            again: [None; 2],
        }
    }

    pub(crate) fn with_fault(config: &LinkConfig, fault: impl LinkFault + 'static) -> Self {
        let mut rig = Self::new(config);
        rig.link.set_fault(Box::new(fault));
        rig
    }

    pub(crate) fn send(&mut self, direction: Direction, tlps: impl IntoIterator<Item = Tlp>) {
        for tlp in tlps {
            self.link.submit(direction, tlp);
        }
        self.pump(direction);
    }

    pub(crate) fn pump(&mut self, direction: Direction) {
        let pumped = self.link.pump(direction, self.now, &mut self.log);
        self.landing[direction as usize] = pumped.arrives;
        self.again[direction as usize] = pumped.again;
        self.events.extend(self.link.take_events());
    }

    /// The next thing that happens by `until`; `false` when there is none.
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        let times = [self.landing[0], self.landing[1], self.again[0], self.again[1]];
        let next = times.into_iter().flatten().min().filter(|at| *at <= until);
        let Some(next) = next else { return false };
        assert!(next >= self.now, "time goes forward");
        self.now = next;
        for direction in [DOWN, UP] {
            if self.landing[direction as usize] == Some(next) {
                self.landing[direction as usize] = self.link.land(direction, next);
                self.take(direction);
                self.pump(direction);
                return true;
            }
            if self.again[direction as usize] == Some(next) {
                self.again[direction as usize] = None;
                self.pump(direction);
                return true;
            }
        }
        unreachable!("one of the four was the earliest")
    }

    fn take(&mut self, direction: Direction) {
        if direction == UP {
            while let Some(tlp) = self.link.take_at_root(self.now) {
                self.at_root.push((self.now, tlp));
            }
        } else if !self.card_sleeps {
            let mut port = self.link.card_port(self.now);
            while let Some(tlp) = port.receive() {
                self.at_card.push((self.now, tlp));
            }
        }
    }

    pub(crate) fn wake_card(&mut self) {
        self.card_sleeps = false;
        self.take(DOWN);
        self.pump(DOWN);
    }

    /// Lets everything happen; a link that never comes to rest fails.
    pub(crate) fn settle(&mut self) {
        for _ in 0..200_000 {
            if !self.step(Instant::from_ps(10_000_000_000_000)) {
                return;
            }
        }
        panic!("the link never comes to rest: {} at {}", self.at_root.len(), self.now);
    }

    pub(crate) fn errors(&self, side: Side) -> Vec<LinkError> {
        self.events.iter().filter(|event| event.side == side).map(|event| event.error).collect()
    }

    /// The addresses of the writes that the root got, in order.
    pub(crate) fn written(&self) -> Vec<u64> {
        self.at_root.iter().filter_map(|(_, tlp)| address(tlp)).collect()
    }
}

pub(crate) fn address(tlp: &Tlp) -> Option<u64> {
    match tlp {
        Tlp::MemWrite(write) => Some(write.address),
        _ => None,
    }
}

/// Writes of 64 bytes at 0, 64, 128, ...
pub(crate) fn writes(count: u64) -> impl Iterator<Item = Tlp> {
    (0..count).map(|i| write(64 * i, 64))
}

pub(crate) fn write(address: u64, len: usize) -> Tlp {
    Tlp::MemWrite(MemWrite {
        requester: CARD,
        tag: Tag(0),
        address,
        data: Payload::from_elem(0xa5, len),
        attributes: Attributes::default(),
    })
}

pub(crate) fn read(tag: u16, len_bytes: u16) -> Tlp {
    let attributes = Attributes::default();
    Tlp::MemRead(MemRead { requester: CARD, tag: Tag(tag), address: 0x1000, len_bytes, attributes })
}

pub(crate) fn completion(tag: Tag, byte_count: u16, len: usize) -> Tlp {
    Tlp::Completion(Completion {
        completer: Bdf::new(0, 0, 0),
        requester: CARD,
        tag,
        status: CompletionStatus::Success,
        byte_count,
        lower_address: 0,
        data: Payload::from_elem(0x5a, len),
        attributes: Attributes::default(),
    })
}

/// Faults by list: the n-th transmission of a direction, the n-th DLLP of a direction.
#[derive(Debug, Default, Clone)]
pub(crate) struct Listed {
    pub(crate) tlps: Vec<(Direction, usize, TlpFault)>,
    pub(crate) dllps: Vec<(Direction, usize, DllpFault)>,
    pub(crate) upsets: VecDeque<(Instant, Upset)>,
    pub(crate) seen: Rc<RefCell<[[usize; 2]; 2]>>,
}

impl Listed {
    fn count(&self, kind: usize, direction: Direction) -> usize {
        let mut seen = self.seen.borrow_mut();
        let count = &mut seen[kind][direction as usize];
        *count += 1;
        *count - 1
    }
}

impl LinkFault for Listed {
    fn tlp(&mut self, _: Instant, direction: Direction, _: u16, _: &Tlp, _: bool) -> TlpFault {
        let at = self.count(0, direction);
        let listed = self.tlps.iter().find(|(way, nth, _)| (*way, *nth) == (direction, at));
        listed.map_or(TlpFault::None, |(.., fault)| *fault)
    }

    fn dllp(&mut self, _: Instant, direction: Direction, _: Dllp) -> DllpFault {
        let at = self.count(1, direction);
        let listed = self.dllps.iter().find(|(way, nth, _)| (*way, *nth) == (direction, at));
        listed.map_or(DllpFault::None, |(.., fault)| *fault)
    }

    fn upset(&self) -> Option<(Instant, Upset)> {
        self.upsets.front().copied()
    }

    fn upset_done(&mut self) {
        self.upsets.pop_front();
    }
}
