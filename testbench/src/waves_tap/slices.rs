//! Shows a bench as a Perfetto trace: what took how long, and what came of what.
//!
//! | track | slices |
//! |---|---|
//! | `cpu` | what the driver does for the traffic: `submit`, `complete`; below, waits for an answer of the card |
//! | `queue <N>` / `request` | requests, from doorbell (or the card's first read) to used index |
//! | `link` / `downstream`, `upstream` | TLPs by what they are for, as long as their symbols take; credits |
//! | `iommu` / `walk` | translations that were not found ready, and refused ones |
//!
//! A flow is a request: doorbell, its reads and writes of tables and buffers, used index, interrupt. Reads
//! of the ring itself serve many requests and belong to none. The doorbell of a request is the last one of
//! its queue that the card had heard when the request began: one can set many going. The interrupt of a request is the next one of
//! its queue; where none comes the flow ends with the used index, and where the used ring is on the card,
//! with the answer by which the CPU learns of it.

use std::path::Path;

use pcie_sim::endpoint::{Direction, Sighting};
use pcie_sim::iommu::Iommu;
use pcie_sim::link::credits::Credits;
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::{FlowClass, Tlp};
use smallvec::SmallVec;
use waves::perfetto::{Argument, Lanes, Slice, Trace, TrackId};
use waves::{Cut, WaveError};

use super::Shape;
use super::flows::{FlowBook, Held, Step};
use super::glance::Glance;
use super::purpose_of;
use super::walks::{Walk, Walks};
use crate::analyzer::{Classified, Purpose, Region, RequestRecord, Role};

/// One direction of the link.
struct Lane {
    track: TrackId,
    /// Headers and data of each class, indexed by [`FlowClass`], with the time each has reached.
    credits: [[(TrackId, Instant); 2]; 3],
    /// The last TLP has left.
    free_from: Instant,
}

/// A request of the CPU that the card has not answered.
#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    kind: &'static str,
    address: u64,
}

/// Writes what the link and the bench show to a Perfetto trace.
///
/// What goes wrong while the bench runs (a full disk) ends the file and is told by [`SlicesTap::finish`];
/// the bench runs on.
pub struct SlicesTap {
    trace: Trace,
    failure: Option<WaveError>,
    propagation: Span,
    cpu: TrackId,
    waits: Lanes,
    queues: Vec<Lanes>,
    /// Indexed by [`Direction`].
    lanes: [Lane; 2],
    walking: Lanes,
    walks: Walks,
    book: FlowBook,
    asked: Option<Asked>,
}

impl SlicesTap {
    /// Creates the trace at `path`.
    ///
    /// # Errors
    /// Those of [`Trace::create`].
    pub fn create(path: &Path, shape: &Shape, cut: &Cut) -> Result<Self, WaveError> {
        let mut trace = Trace::create(path, cut)?;
        let cpu = trace.track(None, "cpu")?;
        let queues = (0..shape.queues)
            .map(|index| {
                Ok(Lanes::new(Some(trace.track(None, &format!("queue {index}"))?), "request"))
            })
            .collect::<Result<_, WaveError>>()?;
        let link = trace.track(None, "link")?;
        let lanes = [lane(&mut trace, link, "downstream")?, lane(&mut trace, link, "upstream")?];
        let iommu = trace.track(None, "iommu")?;
        Ok(Self {
            trace,
            failure: None,
            propagation: shape.propagation,
            cpu,
            waits: Lanes::new(Some(cpu), "waits for the card"),
            queues,
            lanes,
            walking: Lanes::new(Some(iommu), "walk"),
            walks: Walks::default(),
            book: FlowBook::new(shape.queues),
            asked: None,
        })
    }

    /// `iommu`, watched.
    #[must_use]
    pub fn iommu(&self, iommu: Box<dyn Iommu>) -> Box<dyn Iommu> {
        self.walks.watching(iommu)
    }

    /// A TLP enters the link, and the analyzer says what for.
    pub fn tlp(&mut self, sighting: &Sighting<'_>, seen: &Classified) {
        if self.failure.is_some() {
            return;
        }
        let result = self.take_tlp(sighting, seen).and_then(|()| self.take_walks());
        self.note(result);
    }

    /// A request has ended with the TLP that was shown last.
    pub fn request(&mut self, request: &RequestRecord) {
        if self.failure.is_none() {
            self.book.ended(request);
            let result = self.write_request(request);
            self.note(result);
        }
    }

    /// The CPU has worked for the traffic.
    pub fn cpu(&mut self, begun: Instant, now: Instant, what: &'static str) {
        if self.failure.is_none() {
            let slice = between(begun, now, what, "driver");
            let result = self.trace.slice(self.cpu, &slice);
            self.note(result);
        }
    }

    /// From `at` on, the sender of this direction has so many credits of this class left.
    pub fn credits(&mut self, at: Instant, direction: Direction, class: FlowClass, left: Credits) {
        if self.failure.is_some() || left.is_infinite() {
            return;
        }
        let counters = &mut self.lanes[direction as usize].credits[class as usize];
        for ((track, reached), value) in counters.iter_mut().zip([left.headers, left.data]) {
            *reached = at.max(*reached);
            let result = self.trace.counter(*track, reached.as_ps(), i64::from(value));
            self.failure = self.failure.take().or(result.err());
        }
    }

    /// Writes what is held back and closes the file.
    ///
    /// # Errors
    /// The first thing that went wrong since the file was created.
    pub fn finish(mut self) -> Result<(), WaveError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.take_walks()?;
        while let Some(held) = self.book.release() {
            self.write_tlp(&held)?;
        }
        self.trace.finish()
    }

    fn note(&mut self, result: Result<(), WaveError>) {
        self.failure = self.failure.take().or(result.err());
    }

    fn take_tlp(&mut self, sighting: &Sighting<'_>, seen: &Classified) -> Result<(), WaveError> {
        self.follow_cpu(sighting, seen)?;
        let lane = &mut self.lanes[sighting.direction as usize];
        let last_symbol = Instant::ZERO + sighting.arrives.since(Instant::ZERO + self.propagation);
        let begins = sighting.departs.max(lane.free_from);
        let ends = last_symbol.max(begins);
        lane.free_from = ends;
        let held = Held {
            direction: sighting.direction,
            begins,
            ends,
            glance: Glance::at(sighting.tlp, purpose_of(seen)),
            queue: seen.queue,
            flows: SmallVec::new(),
            ended: SmallVec::new(),
        };
        match self.book.hold(held, step(sighting, seen)) {
            Some(oldest) => self.write_tlp(&oldest),
            None => Ok(()),
        }
    }

    /// The CPU waits from a request of its own until the card's answer.
    fn follow_cpu(&mut self, sighting: &Sighting<'_>, seen: &Classified) -> Result<(), WaveError> {
        let tlp = sighting.tlp.plain();
        let wants_answer =
            matches!(tlp, Tlp::MemRead(_) | Tlp::ConfigRead(_) | Tlp::ConfigWrite(_));
        if sighting.direction == Direction::Downstream && wants_answer {
            let address = Glance::at(sighting.tlp, "").address.unwrap_or_default();
            self.asked = Some(Asked { at: sighting.departs, kind: tlp.kind(), address });
        }
        let answer = sighting.direction == Direction::Upstream && matches!(tlp, Tlp::Completion(_));
        if !answer || !matches!(seen.role, Role::Mmio(_) | Role::Config) {
            return Ok(());
        }
        let Some(asked) = self.asked.take() else { return Ok(()) };
        let arguments = [("address", Argument::Address(asked.address))];
        let slice = between(asked.at, sighting.arrives, asked.kind, "access");
        self.waits.slice(&mut self.trace, &Slice { arguments: &arguments, ..slice })
    }

    fn take_walks(&mut self) -> Result<(), WaveError> {
        for walk in self.walks.take() {
            self.write_walk(&walk)?;
        }
        Ok(())
    }

    fn write_walk(&mut self, walk: &Walk) -> Result<(), WaveError> {
        let mut arguments: SmallVec<[_; 4]> = SmallVec::new();
        arguments.push(("address", Argument::Address(walk.address.get())));
        arguments.push(("requester", Argument::Address(walk.requester.0.into())));
        arguments.push(("access", Argument::Text(if walk.write { "write" } else { "read" })));
        arguments.extend(walk.blocked.map(|reason| ("reason", Argument::Number(reason.into()))));
        let name = if walk.blocked.is_some() { "fault" } else { "walk" };
        let slice = between(walk.begins, walk.ends, name, "iommu");
        self.walking.slice(&mut self.trace, &Slice { arguments: &arguments, ..slice })
    }

    fn write_request(&mut self, request: &RequestRecord) -> Result<(), WaveError> {
        let Some(lanes) = self.queues.get_mut(usize::from(request.queue)) else { return Ok(()) };
        let arguments = [
            ("number", Argument::Number(request.serial)),
            ("head", Argument::Number(request.head.into())),
            ("descriptors", Argument::Number(request.descriptors.into())),
            ("round_trips", Argument::Number(request.round_trips.into())),
            ("serial_round_trips", Argument::Number(request.serial_round_trips.into())),
            ("readable_bytes", Argument::Number(request.readable_bytes)),
            ("writable_bytes", Argument::Number(request.writable_bytes)),
        ];
        let flows = [request.serial];
        let slice = between(request.begin, request.end, "request", "request");
        lanes.slice(&mut self.trace, &Slice { arguments: &arguments, flows: &flows, ..slice })
    }

    fn write_tlp(&mut self, held: &Held) -> Result<(), WaveError> {
        let Held { begins, ends, glance, .. } = held;
        let mut arguments: SmallVec<[_; 8]> = SmallVec::new();
        arguments.push(("kind", Argument::Text(glance.kind)));
        arguments.extend(glance.address.map(|address| ("address", Argument::Address(address))));
        arguments.push(("tag", Argument::Number(glance.tag.into())));
        arguments.push(("length", Argument::Number(glance.len_bytes.into())));
        if !glance.status.is_empty() {
            arguments.push(("status", Argument::Text(glance.status)));
        }
        arguments.extend(held.queue.map(|queue| ("queue", Argument::Number(queue.into()))));
        arguments.push(("departs_ps", Argument::Number(begins.as_ps())));
        arguments.push(("lasts_ps", Argument::Number(ends.since(*begins).as_ps())));
        let slice = Slice {
            arguments: &arguments,
            flows: &held.flows,
            ended_flows: &held.ended,
            ..between(*begins, *ends, glance.purpose, glance.kind)
        };
        self.trace.slice(self.lanes[held.direction as usize].track, &slice)
    }
}

fn lane(trace: &mut Trace, link: TrackId, name: &str) -> Result<Lane, WaveError> {
    let track = trace.track(Some(link), name)?;
    let mut counters = |class: &str| -> Result<_, WaveError> {
        let mut counter = |what: &str| -> Result<_, WaveError> {
            let name = format!("{class} {what} credits");
            Ok((trace.counter_track(Some(track), &name)?, Instant::ZERO))
        };
        Ok([counter("header")?, counter("data")?])
    };
    let credits = [counters("posted")?, counters("non-posted")?, counters("completion")?];
    Ok(Lane { track, credits, free_from: Instant::ZERO })
}

fn between<'a>(begin: Instant, end: Instant, name: &'a str, category: &'a str) -> Slice<'a> {
    let (begin_ps, end_ps) = (begin.as_ps(), end.max(begin).as_ps());
    Slice { name, category, begin_ps, end_ps, ..Slice::default() }
}

fn step(sighting: &Sighting<'_>, seen: &Classified) -> Step {
    match (seen.role, sighting.direction) {
        (Role::Mmio(Region::Notify), Direction::Downstream) => Step::Doorbell(sighting.arrives),
        (Role::Mmio(_), Direction::Upstream) => Step::Answer,
        (Role::Dma(Purpose::MsiX), _) => Step::Interrupt,
        _ => Step::Of(seen.request),
    }
}
