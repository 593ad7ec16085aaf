//! Tells the drivers of a guest apart: each from its DRIVER_OK to the next reset.

use pcie_sim::endpoint::{Direction, Sighting, Tap};
use pcie_sim::link::aside::{LinkEvent, Transmission};
use pcie_sim::link::credits::Credits;
use pcie_sim::link::dllp::Dllp;
use pcie_sim::time::Instant;
use pcie_sim::tlp::FlowClass;

use crate::analyzer::registers::Life;
use crate::bench::watch::Watch;
use crate::measure::{Counts, Latency};
use crate::report::{RunResult, Violation};

/// What one driver did.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// When it set DRIVER_OK.
    pub(super) began: Instant,
    ended: Instant,
    /// The features it accepted.
    pub(super) features: u64,
    counts: Counts,
    latency: Latency,
    payload_bytes: u64,
}

impl Session {
    /// As a line of the report. Latency is from doorbell, or first read for it, to the used index's write.
    pub(super) fn result(&self, violations: Vec<Violation>) -> RunResult {
        let time = self.ended.since(self.began);
        RunResult {
            payload_bytes: self.payload_bytes,
            latency: self.latency.figures().into(),
            sim_time: time,
            violations,
            ..RunResult::of_link(&self.counts, self.features, time)
        }
    }
}

/// The tap of a served card.
pub(super) struct Sessions {
    /// Everybody who watches.
    pub(super) watch: Watch,
    running: Option<Session>,
    past: Vec<Session>,
}

impl Sessions {
    pub(super) fn new(mut watch: Watch) -> Self {
        watch.observers_mut().requests = Some(Vec::new());
        Self { watch, running: None, past: Vec::new() }
    }

    /// All of them; one that still runs ends now.
    pub(super) fn into_sessions(mut self, now: Instant) -> Vec<Session> {
        self.end(now);
        self.past
    }

    fn follow(&mut self, now: Instant) {
        let is_running = self.watch.analyzer.registers().life() == Life::Running;
        match (is_running, self.running.is_some()) {
            (true, false) => {
                let features = self.watch.analyzer.registers().features();
                self.watch.observers_mut().measure.begin(now);
                self.running = Some(Session { began: now, features, ..Session::default() });
            }
            (false, true) => self.end(now),
            _ => {}
        }
        let Some(requests) = &mut self.watch.observers_mut().requests else { return };
        match &mut self.running {
            Some(session) => {
                for request in requests.drain(..) {
                    session.latency.record(request.end.since(request.begin));
                    session.payload_bytes += request.readable_bytes;
                    session.payload_bytes += u64::from(request.used_len.unwrap_or(0));
                }
            }
            None => requests.clear(),
        }
    }

    fn end(&mut self, now: Instant) {
        let counts = *self.watch.observers().measure.counts();
        if let Some(session) = self.running.take() {
            self.past.push(Session { ended: now, counts, ..session });
        }
    }
}

impl Tap for Sessions {
    fn tlp(&mut self, sighting: &Sighting<'_>) {
        self.watch.tlp(sighting);
        self.follow(sighting.departs);
    }

    fn credits(&mut self, at: Instant, direction: Direction, class: FlowClass, left: Credits) {
        self.watch.credits(at, direction, class, left);
    }

    fn watches_credits(&self) -> bool {
        self.watch.watches_credits()
    }

    fn watches_data_link(&self) -> bool {
        self.watch.watches_data_link()
    }

    fn transmission(&mut self, transmission: &Transmission<'_>) {
        self.watch.transmission(transmission);
    }

    fn dllp(&mut self, at: Instant, direction: Direction, dllp: Dllp) {
        self.watch.dllp(at, direction, dllp);
    }

    fn link_event(&mut self, event: &LinkEvent) {
        self.watch.link_event(event);
    }
}
