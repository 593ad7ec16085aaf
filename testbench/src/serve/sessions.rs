//! Tells the drivers of a guest apart: each from its DRIVER_OK to the next reset.

use pcie_sim::endpoint::{Direction, Sighting, Tap};
use pcie_sim::link::aside::{LinkEvent, Transmission};
use pcie_sim::link::credits::Credits;
use pcie_sim::link::dllp::Dllp;
use pcie_sim::spec::net::RECEIVE_QUEUE;
use pcie_sim::time::Instant;
use pcie_sim::tlp::FlowClass;

use crate::analyzer::registers::Life;
use crate::bench::watch::Watch;
use crate::measure::{Counts, Latency};
use crate::peer::{PeerCounts, SharedPeer};
use crate::report::{RunResult, Violation};
use crate::scenario::config::Device;

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
    /// What the station at the cable's end was asked: until it ends, before it began.
    peer: Option<PeerCounts>,
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
            peer: self.peer,
            ..RunResult::of_link(&self.counts, self.features, time)
        }
    }
}

/// The tap of a served card.
pub(super) struct Sessions {
    /// Everybody who watches.
    pub(super) watch: Watch,
    device: Device,
    peer: Option<SharedPeer>,
    running: Option<Session>,
    past: Vec<Session>,
}

impl Sessions {
    pub(super) fn new(mut watch: Watch, device: Device, peer: Option<SharedPeer>) -> Self {
        watch.observers_mut().requests = Some(Vec::new());
        Self { watch, device, peer, running: None, past: Vec::new() }
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
                let peer = self.peer_counts();
                self.running = Some(Session { began: now, features, peer, ..Session::default() });
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
            let peer = self.peer_counts().zip(session.peer).map(|(now, then)| now.since(&then));
            self.past.push(Session { ended: now, counts, peer, ..session });
        }
    }

    /// What the station at the cable's end was asked so far.
    pub(super) fn peer_counts(&self) -> Option<PeerCounts> {
        self.peer.as_ref().map(|peer| peer.borrow().counts())
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

    /// A request that the card has seen is not used yet. Receive buffers wait for packets, not for the card.
    fn may_be_at_work(&self) -> bool {
        let mut queues = self.watch.analyzer.queues();
        let waits = |index: u16| self.device == Device::Net && index == RECEIVE_QUEUE;
        queues.any(|queue| !waits(queue.index) && queue.avail_idx != queue.used_idx)
    }
}
