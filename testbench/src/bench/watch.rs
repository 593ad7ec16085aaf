//! Everybody who watches the link of one bench: analyzer, measure, trace, waves.

use std::collections::BTreeMap;
use std::io;

use pcie_sim::endpoint::{Direction, Sighting, Tap};
use pcie_sim::iommu::Iommu;
use pcie_sim::link::aside::{LinkEvent, Side, Transmission};
use pcie_sim::link::credits::Credits;
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::{FlowClass, Tlp};

use super::faults;
use super::trace::Trace;
use crate::analyzer::{
    Analyzer, Classified, Observer, Place, Purpose, RequestRecord, Role, RoundTrip,
};
use crate::measure::Measure;
use crate::scenario::config::{Device, RunConfig, WaveFile, WaveFormat};
use crate::waves_tap::slices::SlicesTap;
use crate::waves_tap::{Shape, WavesTap, purpose_of};

/// A TLP of the card as a test looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When it left.
    pub departs: Instant,
    /// When it was there.
    pub arrives: Instant,
    /// Which way.
    pub direction: Direction,
    /// What it was for.
    pub role: Role,
    /// The queue it served.
    pub queue: Option<u16>,
    /// Where in a request's buffers, if it is the card's access to one.
    pub place: Option<Place>,
    /// The packet.
    pub tlp: Tlp,
}

/// All that crossed the link, and what became of each request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    /// Every TLP.
    pub tlps: Vec<Seen>,
    /// Every request completed.
    pub requests: Vec<RequestRecord>,
}

/// What the analyzer tells goes here.
#[derive(Default)]
pub struct Observers {
    /// Counts.
    pub measure: Measure,
    /// Every request completed, when kept for a test.
    pub requests: Option<Vec<RequestRecord>>,
    /// Every read of the card with its answer, when kept for a test.
    pub trips: Option<Vec<RoundTrip>>,
    /// Every TLP, when kept for a test.
    pub log: Option<Vec<Seen>>,
    /// What the two ends of the link found, and how often.
    pub link_events: BTreeMap<(Side, &'static str), u64>,
    trace: Option<Trace>,
    waves: Option<Waves>,
}

/// A file that shows the bench, of one kind or the other.
enum Waves {
    Signals(Box<WavesTap>),
    Slices(Box<SlicesTap>),
}

impl Waves {
    fn create(config: &RunConfig, file: &WaveFile) -> io::Result<Self> {
        let shape = Shape {
            queues: match config.device {
                Device::Blk => 1,
                Device::Net => 2,
            },
            vectors: 4,
            propagation: config.slot.link.timing.propagation,
            clock: Span::from_ps(1_000_000 / u64::from(config.card.clock_mhz.max(1))),
        };
        let created = match file.format {
            WaveFormat::Fst | WaveFormat::Vcd => WavesTap::create(&file.path, &shape, &file.cut)
                .map(|tap| Self::Signals(Box::new(tap))),
            WaveFormat::Perfetto => SlicesTap::create(&file.path, &shape, &file.cut)
                .map(|tap| Self::Slices(Box::new(tap))),
        };
        created.map_err(io::Error::other)
    }

    fn tlp(&mut self, sighting: &Sighting<'_>, seen: &Classified) {
        match self {
            Self::Signals(waves) => show(waves, sighting, seen),
            Self::Slices(waves) => waves.tlp(sighting, seen),
        }
    }

    fn finish(self, now: Instant) -> io::Result<()> {
        let done = match self {
            Self::Signals(waves) => waves.finish(now),
            Self::Slices(waves) => waves.finish(),
        };
        done.map_err(io::Error::other)
    }
}

impl Observer for Observers {
    fn tlp(&mut self, sighting: &Sighting<'_>, seen: &Classified) {
        self.measure.tlp(sighting, seen);
        if self.trace.is_some() | self.waves.is_some() | self.log.is_some() {
            self.show(sighting, seen);
        }
    }

    fn round_trip(&mut self, trip: &RoundTrip) {
        self.measure.round_trip(trip);
        if let Some(trips) = &mut self.trips {
            trips.push(*trip);
        }
    }

    fn request(&mut self, request: &RequestRecord) {
        self.measure.request(request);
        if let Some(Waves::Slices(waves)) = &mut self.waves {
            waves.request(request);
        }
        if let Some(requests) = &mut self.requests {
            requests.push(*request);
        }
    }
}

impl Observers {
    /// A TLP goes into the files, and to what is kept.
    #[cold]
    fn show(&mut self, sighting: &Sighting<'_>, seen: &Classified) {
        if let Some(trace) = &mut self.trace {
            trace.tlp(sighting, seen);
        }
        if let Some(waves) = &mut self.waves {
            waves.tlp(sighting, seen);
        }
        if let Some(log) = &mut self.log {
            log.push(Seen {
                departs: sighting.departs,
                arrives: sighting.arrives,
                direction: sighting.direction,
                role: seen.role,
                queue: seen.queue,
                place: None,
                tlp: sighting.tlp.clone(),
            });
        }
    }
}

fn show(waves: &mut WavesTap, sighting: &Sighting<'_>, seen: &Classified) {
    waves.tlp_for(sighting, purpose_of(seen));
    waves.card(sighting, seen);
    if seen.role == Role::Dma(Purpose::MsiX)
        && let Tlp::MemWrite(write) = sighting.tlp.plain()
        && let Some(low) = write.data.first_chunk::<2>()
    {
        waves.interrupt(sighting.departs, u16::from_le_bytes(*low));
    }
}

/// The tap of a bench.
pub struct Watch {
    /// Tells what each TLP is for.
    pub analyzer: Analyzer<Observers>,
    shown: Vec<(u16, u16, u16)>,
    bus_master: bool,
    /// What the data link layer sends again is counted.
    pub counts_replays: bool,
}

impl Watch {
    /// Watches, and measures when told to.
    #[must_use]
    pub fn new() -> Self {
        let analyzer = Analyzer::new(Observers::default());
        Self { analyzer, shown: Vec::new(), bus_master: false, counts_replays: false }
    }

    /// Watches, and writes the files that the run asks for.
    pub fn writing(config: &RunConfig) -> io::Result<Self> {
        let mut watch = Self::new();
        let observers = watch.analyzer.observer_mut();
        observers.log = (config.watched || config.recorded).then(Vec::new);
        observers.requests = config.recorded.then(Vec::new);
        if let Some(path) = &config.trace {
            observers.trace = Some(Trace::create(path)?);
        }
        if let Some(file) = &config.waves {
            observers.waves = Some(Waves::create(config, file)?);
        }
        Ok(watch)
    }

    /// `iommu`, watched where what it does is to be seen.
    pub fn iommu(&self, iommu: Option<Box<dyn Iommu>>) -> Option<Box<dyn Iommu>> {
        match &self.analyzer.observer().waves {
            Some(Waves::Slices(waves)) => iommu.map(|iommu| waves.iommu(iommu)),
            _ => iommu,
        }
    }

    /// The driver has worked from `begun` until `now`.
    pub fn cpu_worked(&mut self, begun: Instant, now: Instant, what: &'static str) {
        if let Some(Waves::Slices(waves)) = &mut self.analyzer.observer_mut().waves {
            waves.cpu(begun, now, what);
        }
    }

    /// The counts and requests kept.
    #[must_use]
    pub fn observers(&self) -> &Observers {
        self.analyzer.observer()
    }

    /// The counts and requests kept, to be changed.
    pub fn observers_mut(&mut self) -> &mut Observers {
        self.analyzer.observer_mut()
    }

    /// Closes the files.
    pub fn finish(&mut self, now: Instant) -> io::Result<()> {
        let observers = self.analyzer.observer_mut();
        if let Some(trace) = observers.trace.take() {
            trace.finish()?;
        }
        if let Some(waves) = observers.waves.take() {
            waves.finish(now)?;
        }
        Ok(())
    }

    /// All that was kept, when it was.
    pub fn take_recording(&mut self) -> Option<Recording> {
        let observers = self.analyzer.observer_mut();
        let requests = observers.requests.take()?;
        Some(Recording { tlps: observers.log.take().unwrap_or_default(), requests })
    }

    /// Where the last TLP went, beside it.
    fn note_place(&mut self, sighting: &Sighting<'_>) {
        let (address, write) = match (sighting.direction, sighting.tlp.plain()) {
            (Direction::Upstream, Tlp::MemRead(read)) => (read.address, false),
            (Direction::Upstream, Tlp::MemWrite(write)) => (write.address, true),
            _ => return,
        };
        let place = self.analyzer.place(address, write);
        let observers = self.analyzer.observer_mut();
        if let Some(seen) = observers.log.as_mut().and_then(|log| log.last_mut()) {
            seen.place = place.filter(|_| seen.role == Role::Dma(Purpose::Payload));
        }
    }

    /// What of the rings has changed goes into the waves.
    fn show_queues(&mut self, at: Instant) {
        let bus_master = self.analyzer.config().is_some_and(|config| config.bus_master_allowed());
        let changed = bus_master != self.bus_master;
        self.bus_master = bus_master;
        let views: Vec<_> = self
            .analyzer
            .queues()
            .map(|view| (view.index, view.avail_idx, view.used_idx))
            .collect();
        let Some(Waves::Signals(waves)) = &mut self.analyzer.observer_mut().waves else { return };
        if changed {
            waves.bus_master(at, bus_master);
        }
        for &(queue, avail, used) in views.iter().filter(|view| !self.shown.contains(view)) {
            let state = if avail == used { "idle" } else { "busy" };
            waves.queue(at, queue, Some(avail), Some(used), state);
        }
        self.shown = views;
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Tap for Watch {
    fn tlp(&mut self, sighting: &Sighting<'_>) {
        self.analyzer.tlp(sighting);
        if self.analyzer.observer().log.is_some() {
            self.note_place(sighting);
        }
        if matches!(self.analyzer.observer().waves, Some(Waves::Signals(_))) {
            self.show_queues(sighting.departs);
        }
    }

    fn watches_credits(&self) -> bool {
        self.analyzer.observer().waves.is_some()
    }

    fn watches_data_link(&self) -> bool {
        self.counts_replays
    }

    fn transmission(&mut self, transmission: &Transmission<'_>) {
        if transmission.replay {
            let sender = match transmission.sighting.direction {
                Direction::Downstream => Side::Root,
                Direction::Upstream => Side::Card,
            };
            let events = &mut self.analyzer.observer_mut().link_events;
            *events.entry((sender, faults::REPLAYED)).or_default() += 1;
        }
    }

    fn link_event(&mut self, event: &LinkEvent) {
        let events = &mut self.analyzer.observer_mut().link_events;
        *events.entry((event.side, faults::name(event))).or_default() += 1;
    }

    fn credits(&mut self, at: Instant, direction: Direction, class: FlowClass, left: Credits) {
        match &mut self.analyzer.observer_mut().waves {
            None => {}
            Some(Waves::Signals(waves)) => {
                waves.credits(at, direction, class, left.headers, left.data);
            }
            Some(Waves::Slices(waves)) => waves.credits(at, direction, class, left),
        }
    }
}
