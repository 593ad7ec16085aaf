//! Tells the drivers of a guest apart: each from its DRIVER_OK to the next reset.

use pcie_sim::endpoint::{Direction, Sighting, Tap};
use pcie_sim::link::aside::{LinkEvent, Transmission};
use pcie_sim::link::credits::Credits;
use pcie_sim::link::dllp::Dllp;
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::FlowClass;

use crate::analyzer::Purpose;
use crate::analyzer::registers::Life;
use crate::bench::watch::Watch;
use crate::measure::{Counts, Latency};
use crate::report::{self, RunResult, Violation};

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
        let (counts, latency) = (&self.counts, self.latency.figures());
        let time = self.ended.since(self.began);
        RunResult {
            requests: counts.requests,
            descriptors: counts.descriptors,
            payload_bytes: self.payload_bytes,
            round_trips: counts.round_trips(),
            serial_round_trips: counts.serial_round_trips,
            dma_reads: counts.reads.iter().sum(),
            dma_writes: counts.writes.iter().sum(),
            dma_by_purpose: Purpose::ALL
                .iter()
                .map(|&purpose| (purpose.name().to_owned(), counts.of(purpose)))
                .collect(),
            mmio_reads: counts.mmio_reads,
            mmio_writes: counts.mmio_writes,
            wire_upstream_bytes: counts.upstream_bytes,
            wire_downstream_bytes: counts.downstream_bytes,
            tlps: counts.tlps,
            latency: report::Latency {
                min_ns: latency.min,
                p50_ns: latency.p50,
                p90_ns: latency.p90,
                p99_ns: latency.p99,
                p999_ns: latency.p999,
                max_ns: latency.max,
                mean_ns: latency.mean,
            },
            completed: counts.requests,
            traffic_time: time,
            sim_time: time.max(Span::ZERO),
            violations,
            facts: report::Facts { features: self.features, ..report::Facts::default() },
            ..RunResult::default()
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
