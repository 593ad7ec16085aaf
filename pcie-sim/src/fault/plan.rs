//! When a fault strikes: by count, by time, by lot.

use super::{FaultKind, Layer};
use crate::endpoint::Direction;
use crate::host::seed::Sequence;
use crate::root::inbound::INTERRUPT_RANGE;
use crate::time::{Instant, Span};
use crate::tlp::Tlp;

/// Which of the packets that a fault can hit may be hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Any.
    Always,
    /// This one alone; the first is 1.
    Packet(u64),
    /// Those that leave so long after the plan was armed.
    After(Span),
}

/// One line of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// For packets in this direction. An Ack or credit update counts with the TLPs that it is about.
    pub direction: Direction,
    /// Which packets may be hit.
    pub when: When,
    /// The chance of each of them, in millionths: 1,000,000 hits every one.
    pub chance_ppm: u32,
    /// It strikes so often at most.
    pub times: u64,
    /// How late what is late comes; how long a retraining lasts.
    pub delay: Span,
}

impl Fault {
    /// Strikes the first packet that it can hit, once.
    #[must_use]
    pub fn once(kind: FaultKind) -> Self {
        Self {
            kind,
            direction: kind.usual_direction(),
            when: When::Always,
            chance_ppm: 1_000_000,
            times: 1,
            delay: Span::from_us(5),
        }
    }
}

/// A fault that has struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// When.
    pub at: Instant,
    /// Which.
    pub kind: FaultKind,
    /// Which way the packet was going.
    pub direction: Direction,
    /// What comes late does so by this much.
    pub delay: Span,
}

#[derive(Debug)]
struct Line {
    fault: Fault,
    eligible: u64,
    struck: u64,
    lots: Sequence,
}

/// Everything that is to go wrong in one run. Nothing does before it is armed.
#[derive(Debug)]
pub struct Plan {
    seed: u64,
    lines: Vec<Line>,
    armed: Option<Instant>,
    strikes: Vec<Strike>,
}

impl Plan {
    /// A plan; `seed` draws the lots.
    #[must_use]
    pub fn new(faults: &[Fault], seed: u64) -> Self {
        let mut plan = Self { seed, lines: Vec::new(), armed: None, strikes: Vec::new() };
        faults.iter().for_each(|fault| plan.add(*fault));
        plan
    }

    /// One more line. It counts packets from now on.
    pub fn add(&mut self, fault: Fault) {
        let nth = self.lines.len() as u64 + 1;
        // Each line has lots of its own, so that one more line changes none of the others.
        let lots = Sequence::new(self.seed.wrapping_mul(0x1_0001).wrapping_add(nth));
        self.lines.push(Line { fault, eligible: 0, struck: 0, lots });
    }

    /// From now on things go wrong.
    pub fn arm(&mut self, now: Instant) {
        self.armed = Some(now);
    }

    /// From now on nothing goes wrong any more.
    pub fn disarm(&mut self) {
        self.armed = None;
    }

    /// What has struck, in order of time.
    #[must_use]
    pub fn strikes(&self) -> &[Strike] {
        &self.strikes
    }

    /// Whether a fault of this layer strikes the packet; the first line of the plan that does.
    pub fn strike(
        &mut self,
        now: Instant,
        layer: Layer,
        direction: Direction,
        tlp: &Tlp,
    ) -> Option<Strike> {
        self.first(now, direction, |kind| {
            kind.layer() == layer && kind != FaultKind::AckLost && can_hit(kind, tlp)
        })
    }

    /// Whether the Ack for TLPs of this direction is lost.
    pub fn strike_ack(&mut self, now: Instant, direction: Direction) -> Option<Strike> {
        self.first(now, direction, |kind| kind == FaultKind::AckLost)
    }

    fn first(
        &mut self,
        now: Instant,
        direction: Direction,
        hits: impl Fn(FaultKind) -> bool,
    ) -> Option<Strike> {
        let armed = self.armed?;
        let mut found = None;
        for line in &mut self.lines {
            let fault = line.fault;
            if fault.direction == direction && hits(fault.kind) && line.draw(now.since(armed)) {
                line.struck += 1;
                let Fault { kind, delay, .. } = fault;
                found = Some(Strike { at: now, kind, direction, delay });
                break;
            }
        }
        self.strikes.extend(found);
        found
    }
}

impl Line {
    fn draw(&mut self, armed_for: Span) -> bool {
        self.eligible += 1;
        let due = match self.fault.when {
            When::Always => true,
            When::Packet(number) => self.eligible == number,
            When::After(span) => armed_for >= span,
        };
        due && self.struck < self.fault.times
            && self.lots.below(1_000_000) < u64::from(self.fault.chance_ppm)
    }
}

/// Whether a packet is of the kind that the fault is about.
fn can_hit(kind: FaultKind, tlp: &Tlp) -> bool {
    match kind {
        FaultKind::Poisoned => match tlp.plain() {
            Tlp::MemWrite(write) => !INTERRUPT_RANGE.contains(&write.address),
            Tlp::Completion(completion) => !completion.data.is_empty(),
            _ => false,
        },
        FaultKind::CompletionLost
        | FaultKind::CompletionLate
        | FaultKind::CompletionDuplicated
        | FaultKind::CompletionTag
        | FaultKind::CompletionStatus => matches!(tlp.plain(), Tlp::Completion(_)),
        FaultKind::CompletionByteCount | FaultKind::CompletionLowerAddress => {
            matches!(tlp.plain(), Tlp::Completion(completion) if !completion.data.is_empty())
        }
        FaultKind::IommuFault => match tlp.plain() {
            Tlp::MemRead(_) => true,
            Tlp::MemWrite(write) => !INTERRUPT_RANGE.contains(&write.address),
            _ => false,
        },
        FaultKind::InterruptStuck => {
            matches!(tlp.plain(), Tlp::MemWrite(write) if INTERRUPT_RANGE.contains(&write.address))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Bdf;
    use crate::tlp::{Attributes, MemRead, Tag};

    fn read() -> Tlp {
        Tlp::MemRead(MemRead {
            requester: Bdf::new(1, 0, 0),
            tag: Tag(0),
            address: 0x1000,
            len_bytes: 64,
            attributes: Attributes::default(),
        })
    }

    fn struck(plan: &mut Plan, packets: u64) -> Vec<u64> {
        let hit = |i: &u64| {
            let now = Instant::from_ps(*i * 1000);
            plan.strike(now, Layer::Link, Direction::Upstream, &read()).is_some()
        };
        (1..=packets).filter(hit).collect()
    }

    fn lost(when: When, chance_ppm: u32, times: u64) -> Fault {
        let direction = Direction::Upstream;
        Fault { when, chance_ppm, times, direction, ..Fault::once(FaultKind::TlpLost) }
    }

    #[test]
    fn a_plan_that_is_not_armed_strikes_nothing() {
        let mut plan = Plan::new(&[lost(When::Always, 1_000_000, 9)], 1);
        assert_eq!(struck(&mut plan, 5), [0; 0]);
        plan.arm(Instant::ZERO);
        assert_eq!(struck(&mut plan, 2), [1, 2]);
        plan.disarm();
        assert_eq!(struck(&mut plan, 5), [0; 0]);
    }

    #[test]
    fn a_fault_strikes_the_packet_it_was_told_to_or_those_after_a_time() {
        let mut plan = Plan::new(&[lost(When::Packet(7), 1_000_000, 9)], 1);
        plan.arm(Instant::ZERO);
        assert_eq!(struck(&mut plan, 20), [7]);
        let mut plan = Plan::new(&[lost(When::After(Span::from_ns(4)), 1_000_000, 2)], 1);
        plan.arm(Instant::ZERO);
        assert_eq!(struck(&mut plan, 20), [4, 5]);
    }

    #[test]
    fn the_same_seed_strikes_the_same_packets_whatever_other_faults_there_are() {
        let seldom = lost(When::Always, 100_000, u64::MAX);
        let of_seed = |faults: &[Fault], seed| {
            let mut plan = Plan::new(faults, seed);
            plan.arm(Instant::ZERO);
            struck(&mut plan, 1000)
        };
        let first = of_seed(&[seldom], 1);
        assert!((60..140).contains(&first.len()), "one in ten: {}", first.len());
        assert_eq!(of_seed(&[seldom], 1), first);
        assert_ne!(of_seed(&[seldom], 2), first);
        let other = Fault::once(FaultKind::CompletionLost);
        assert_eq!(of_seed(&[seldom, other], 1), first);
    }

    #[test]
    fn a_fault_strikes_only_what_it_is_about() {
        for kind in FaultKind::ALL {
            let direction = Direction::Upstream;
            let mut plan = Plan::new(&[Fault { direction, ..Fault::once(kind) }], 1);
            plan.arm(Instant::ZERO);
            let struck = plan.strike(Instant::ZERO, kind.layer(), direction, &read()).is_some();
            let about = kind.layer() == Layer::Link && kind != FaultKind::AckLost
                || matches!(kind, FaultKind::EcrcError | FaultKind::IommuFault);
            assert_eq!(struck, about, "{}", kind.name());
        }
    }
}
