//! How many TLPs a second are simulated, and what each layer of that costs, shown by leaving it out.
//!
//! A card that does nothing but DMA reads and writes 64 bytes at a time; there is no driver and no ring, so
//! what is measured is link, root complex and whoever watches. All layers are simulated except where a
//! measurement leaves one out; the IOMMU is one more, not one of "all".

use std::cell::RefCell;
use std::fmt::Display;
use std::panic::Location;
use std::rc::Rc;

use host_driver::dma::iommu::{Domain, IommuCosts};
use host_driver::dma::{Direction, DmaApi, MapRequest};
use host_driver::{DmarUnit, IommuMode, IommuUnit, Pages};
use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::endpoint::{Sighting, Tap};
use pcie_sim::host::ram::{HOLE_START, Ram};
use pcie_sim::host::{Bus, Width};
use pcie_sim::iommu::Iommu;
use pcie_sim::iommu::vtd::{Vtd, VtdConfig};
use pcie_sim::link::LinkConfig;
use pcie_sim::link::credits::{Credits, ReceiverBuffers};
use pcie_sim::machine::{Machine, MachineConfig};
use pcie_sim::root::enumerate::{Windows, enumerate, set_bus_master};
use pcie_sim::spec::pci::header;
use pcie_sim::time::Span;
use rtl_model::exerciser::{self, Exerciser, ExerciserTiming, Job, Kind, Way};
use serde::{Deserialize, Serialize};

use super::Failure;
use super::stopwatch::Stopwatch;
use crate::bench::watch::Watch;

/// Reads and writes of one measurement, half of each: three TLPs for two of them.
const JOBS: u64 = 600_000;
/// Under way at any time.
const AT_ONCE: usize = 32;
/// Bytes of each.
const JOB_BYTES: u16 = 64;
/// Where they go.
const WINDOW: PhysAddr = PhysAddr(16 << 20);
const WINDOW_BYTES: u64 = 1 << 20;
const RAM_BYTES: u64 = 64 << 20;
/// Longer than all of it takes.
const PATIENCE: Span = Span::from_ms(1000);

/// What is simulated. Names stay the same between versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layers {
    /// Data link layer and analyzer.
    All,
    /// Nobody watches.
    NoAnalyzer,
    /// As good as no DLLP: credits without limit, one Ack for many TLPs.
    NoDataLink,
    /// An IOMMU translates besides.
    Iommu,
}

impl Layers {
    pub(super) const EVERY: [Self; 4] =
        [Self::All, Self::NoAnalyzer, Self::NoDataLink, Self::Iommu];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::NoAnalyzer => "no_analyzer",
            Self::NoDataLink => "no_data_link",
            Self::Iommu => "iommu",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|layers| layers.name() == name)
    }

    fn link(self) -> LinkConfig {
        let mut link = LinkConfig::default();
        if self == Self::NoDataLink {
            let endless = Credits::INFINITE;
            let buffers =
                ReceiverBuffers { posted: endless, non_posted: endless, completion: endless };
            (link.card_buffers, link.root_buffers) = (buffers, buffers);
            link.data_link.ack_latency = Some(Span::from_us(10));
            link.data_link.replay_buffer_bytes = 1 << 20;
        }
        link
    }
}

/// What one process measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct LayersSample {
    tlps: u64,
    seconds: f64,
}

impl LayersSample {
    pub(super) fn tlps_per_s(&self) -> f64 {
        self.tlps as f64 / self.seconds
    }

    pub(super) fn ns_per_tlp(&self) -> f64 {
        self.seconds * 1e9 / self.tlps as f64
    }
}

/// Counts TLPs, and shows them to the analyzer when there is one.
struct Counted {
    tlps: u64,
    watch: Option<Watch>,
}

impl Tap for Counted {
    fn tlp(&mut self, sighting: &Sighting<'_>) {
        self.tlps += 1;
        if let Some(watch) = &mut self.watch {
            watch.tlp(sighting);
        }
    }

    fn watches_credits(&self) -> bool {
        false
    }
}

/// One measurement, in this process.
pub(super) fn measure(name: &str) -> Result<LayersSample, Failure> {
    let layers = Layers::of_name(name)
        .ok_or_else(|| Failure::Internal(format!("no layer has the name `{name}`")))?;
    stream(layers, JOBS)
}

fn stream(layers: Layers, jobs: u64) -> Result<LayersSample, Failure> {
    let link = layers.link();
    let card = Rc::new(RefCell::new(Exerciser::new(ExerciserTiming::INSTANT, link.timing)));
    let ram = Ram::anonymous(RAM_BYTES).map_err(internal)?;
    let iommu = (layers == Layers::Iommu)
        .then(|| Box::new(Vtd::new(VtdConfig::default())) as Box<dyn Iommu>);
    let config = MachineConfig { link, ..MachineConfig::default() };
    let watch = (layers != Layers::NoAnalyzer).then(Watch::new);
    let tap = Counted { tlps: 0, watch };
    let mut machine = Machine::new(config, ram, iommu, Box::new(card.clone()), tap);
    let found = enumerate(&mut machine, Windows::default(), 256, 512).map_err(internal)?;
    let ours = found.iter().find(|function| function.vendor == exerciser::VENDOR_ID);
    let function = ours.ok_or_else(|| internal("firmware found no card"))?.bdf;
    set_bus_master(&mut machine, function, true);
    let base = match layers {
        Layers::Iommu => map(&mut machine, function)?,
        _ => WINDOW.get(),
    };
    let starts = machine.now() + Span::from_us(10);
    card.borrow_mut().load((0..jobs).map(|number| job(base, number)), AT_ONCE, starts);
    if let Some(watch) = &mut machine.tap.watch {
        watch.observers_mut().measure.begin(starts);
    }
    machine.tap.tlps = 0;
    let stopwatch = Stopwatch::start();
    // Any access gives the card a turn, in which it looks at its jobs.
    machine.config_read(function, header::VENDOR_ID, Width::W16);
    let deadline = machine.now() + PATIENCE;
    while !card.borrow().is_done() && machine.now() < deadline {
        machine.run_until(machine.now() + Span::from_us(100));
    }
    let seconds = stopwatch.seconds();
    let card = card.borrow();
    let done = card.laps().iter().filter(|lap| lap.succeeded).count() as u64;
    if done != jobs || card.unexpected() != 0 {
        return Err(internal(format!("{done} of {jobs} accesses succeeded")));
    }
    Ok(LayersSample { tlps: machine.tap.tlps, seconds })
}

/// Reads and writes by turns, one behind the other through the window.
fn job(base: u64, number: u64) -> Job {
    let kind = if number.is_multiple_of(2) { Kind::Read } else { Kind::Write };
    let address = base + number * u64::from(JOB_BYTES) % WINDOW_BYTES;
    Job { kind, way: Way::Command, address, len_bytes: JOB_BYTES }
}

/// Switches translation on and maps the window; its bus address.
fn map(machine: &mut Machine<Counted>, card: Bdf) -> Result<u64, Failure> {
    let pages = Pages::new(PhysAddr(1 << 20)..WINDOW);
    let windows = Windows::default();
    let dmar = DmarUnit {
        registers: VtdConfig::default().registers,
        scope: None,
        reserved: vec![windows.low..HOLE_START + (1 << 30), windows.high..u64::MAX],
        costs: IommuCosts::default(),
        mode: IommuMode::default(),
    };
    let unit = IommuUnit::bring_up(machine, &pages, dmar).map_err(internal)?;
    let mut domain = Domain::new(machine, &unit, &pages, card, u64::MAX, &[]).map_err(internal)?;
    let request = MapRequest {
        buffer: WINDOW,
        len_bytes: WINDOW_BYTES,
        direction: Direction::Bidirectional,
        place: Location::caller(),
    };
    // The machine goes when the measurement is over, and the mapping with it.
    domain.map(machine, &request).map(|mapping| mapping.bus().get()).map_err(internal)
}

fn internal(error: impl Display) -> Failure {
    Failure::Internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_accesses_are_three_tlps_whatever_is_left_out() {
        for layers in Layers::EVERY {
            let sample = stream(layers, 1000);
            let sample = sample.unwrap_or_else(|error| panic!("{}: {error:?}", layers.name()));
            // Besides: one configuration read, and its answer.
            assert_eq!(sample.tlps, 1502, "{}", layers.name());
            assert_eq!(Layers::of_name(layers.name()), Some(layers));
        }
    }
}
