//! One row, replayed: a machine is built, its cache brought into the state, the card given its jobs.

use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;

use host_driver::dma::iommu::{Domain, IommuCosts};
use host_driver::dma::{Direction, DmaApi, MapRequest};
use host_driver::{DmarUnit, IommuMode, IommuUnit, Pages};
use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::endpoint::{Sighting, Tap};
use pcie_sim::host::llc::{LINE_BYTES, Llc};
use pcie_sim::host::ram::{HOLE_START, Ram};
use pcie_sim::host::seed::Sequence;
use pcie_sim::host::{Bus, Width};
use pcie_sim::iommu::Iommu as IommuDevice;
use pcie_sim::iommu::vtd::VtdConfig;
use pcie_sim::machine::{Machine, MachineConfig};
use pcie_sim::root::enumerate::{Windows, enumerate, set_bus_master};
use pcie_sim::spec::pci::header;
use pcie_sim::time::Span;
use rtl_model::exerciser::{self, Exerciser, Job, Kind, Lap, Way};

use super::data::{Iommu, Measurement, Pattern, State, Test};
use super::file::{LARGEST_WINDOW, PcieBench};
use crate::bench::system;
use crate::report::RunError;

/// Where the window begins.
const WINDOW: PhysAddr = PhysAddr(64 << 20);
/// RAM, of which the window is a part.
const RAM_BYTES: u64 = 192 << 20;
/// What the system has for its tables.
const TABLES: std::ops::Range<PhysAddr> = PhysAddr(1 << 20)..WINDOW;
/// Longer than any row takes.
const PATIENCE: Span = Span::from_ms(1000);

struct Unwatched;

impl Tap for Unwatched {
    fn tlp(&mut self, _: &Sighting<'_>) {}

    fn watches_credits(&self) -> bool {
        false
    }
}

/// What the row shows on the simulated machine: average latency in ns, or payload in Gbit/s.
///
/// # Errors
/// [`RunError::Internal`] when the bench is at fault.
pub fn simulate(study: &PcieBench, row: &Measurement) -> Result<f64, RunError> {
    let mut replay = Replay::new(study, row)?;
    if let Some(llc) = replay.machine.root.llc_mut() {
        prepare(llc, study.state_of(row), row.window, study.seed);
    }
    let laps = replay.run(study, row)?;
    let skipped = laps.len() / 10;
    Ok(if row.test.is_bandwidth() {
        // The benchmark counts a write and a read of one by turns as one.
        let counts = if row.test == Test::BwReadWrite { 0.5 } else { 1.0 };
        gbit_per_s(&laps[skipped..], row.size) * counts
    } else {
        let took: Span = laps[skipped..].iter().map(|lap| lap.done.since(lap.began)).sum();
        took.as_ns_f64() / (laps.len() - skipped) as f64
    })
}

struct Replay {
    machine: Machine<Unwatched>,
    card: Rc<RefCell<Exerciser>>,
    function: Bdf,
    /// The bus address of the window.
    bus: u64,
}

impl Replay {
    fn new(study: &PcieBench, row: &Measurement) -> Result<Self, RunError> {
        let exerciser = Exerciser::new(study.card.timing, study.link.timing);
        let card = Rc::new(RefCell::new(exerciser));
        let ram = Ram::anonymous(RAM_BYTES).map_err(RunError::internal)?;
        let iommu = (row.iommu == Iommu::Pages4K).then(|| unit(study, row));
        let config = MachineConfig {
            link: study.link,
            root: study.timing.root(),
            cpu: study.timing.cpu(),
            rcb_bytes: study.sizes.rcb,
            ..MachineConfig::default()
        };
        let mut machine = Machine::new(config, ram, iommu, Box::new(card.clone()), Unwatched);
        let (mps, mrrs) = (study.sizes.mps, study.sizes.mrrs);
        let found = enumerate(&mut machine, Windows::default(), mps, mrrs);
        let found = found.map_err(RunError::internal)?;
        let ours = found.iter().find(|function| function.vendor == exerciser::VENDOR_ID);
        let function = ours.ok_or_else(|| RunError::internal("firmware found no card"))?.bdf;
        set_bus_master(&mut machine, function, true);
        let bus = match row.iommu {
            Iommu::Off => WINDOW.get(),
            Iommu::Pages4K => map(&mut machine, function, row.window)?,
        };
        Ok(Self { machine, card, function, bus })
    }

    fn run(&mut self, study: &PcieBench, row: &Measurement) -> Result<Vec<Lap>, RunError> {
        let bandwidth = row.test.is_bandwidth();
        let at_once = if bandwidth { study.card.at_once as usize } else { 1 };
        let jobs = jobs(study, row, self.bus);
        let all = jobs.len();
        let starts = self.machine.now() + Span::from_us(10);
        self.card.borrow_mut().load(jobs, at_once, starts);
        // Any access gives the card a turn, in which it looks at its jobs.
        self.machine.config_read(self.function, header::VENDOR_ID, Width::W16);
        let deadline = self.machine.now() + PATIENCE;
        while !self.card.borrow().is_done() && self.machine.now() < deadline {
            self.machine.run_until(self.machine.now() + Span::from_us(100));
        }
        let card = self.card.borrow();
        let laps = card.laps();
        if laps.len() != all || card.unexpected() != 0 || laps.iter().any(|lap| !lap.succeeded) {
            let done = laps.iter().filter(|lap| lap.succeeded).count();
            return Err(RunError::internal(format!("{row}: {done} of {all} accesses succeeded")));
        }
        Ok(laps.to_vec())
    }
}

fn unit(study: &PcieBench, row: &Measurement) -> Box<dyn IommuDevice> {
    let mut timing = study.timing.clone();
    let state = study.state_of(row);
    if let Some(of) = study.states.iter().find(|of| of.state == state) {
        timing.iommu_iotlb_entries = of.iotlb_entries;
    }
    Box::new(system::vtd(&timing))
}

/// Switches translation on and maps the window; its bus address.
fn map(machine: &mut Machine<Unwatched>, card: Bdf, window: u32) -> Result<u64, RunError> {
    let pages = Pages::new(TABLES);
    let windows = Windows::default();
    let dmar = DmarUnit {
        registers: VtdConfig::default().registers,
        scope: None,
        reserved: vec![windows.low..HOLE_START + (1 << 30), windows.high..u64::MAX],
        costs: IommuCosts::default(),
        mode: IommuMode::default(),
    };
    let unit = IommuUnit::bring_up(machine, &pages, dmar).map_err(RunError::internal)?;
    let domain = Domain::new(machine, &unit, &pages, card, u64::MAX, &[]);
    let mut domain = domain.map_err(RunError::internal)?;
    let request = MapRequest {
        buffer: WINDOW,
        len_bytes: u64::from(window),
        direction: Direction::Bidirectional,
        place: Location::caller(),
    };
    // The machine goes when the row is done, and the mapping with it.
    domain.map(machine, &request).map(|mapping| mapping.bus().get()).map_err(RunError::internal)
}

/// Brings the cache into a state, as the benchmark does: without the TLPs, whose time does not count.
fn prepare(llc: &mut Llc, state: State, window: u32, seed: u64) {
    let window = u64::from(window);
    let lines = |bytes: u64| (0..bytes / LINE_BYTES).map(|line| WINDOW + line * LINE_BYTES);
    match state {
        State::Cold => {}
        State::DeviceWarm => {
            for line in lines(window).chain(lines(window)) {
                llc.device_write(line, LINE_BYTES);
            }
        }
        State::HostWarm => {
            for line in lines(window) {
                llc.cpu_touch(line, LINE_BYTES);
            }
        }
        State::Thrashed => {
            // A fraction of the benchmark's two million: more than any cache remembers.
            let mut lot = Sequence::new(seed);
            for _ in 0..u64::from(LARGEST_WINDOW) / LINE_BYTES / 4 {
                let line = lot.below(u64::from(LARGEST_WINDOW) / LINE_BYTES);
                llc.device_write(WINDOW + line * LINE_BYTES, LINE_BYTES);
            }
        }
    }
}

fn jobs(study: &PcieBench, row: &Measurement, bus: u64) -> Vec<Job> {
    let count =
        if row.test.is_bandwidth() { study.accesses.bandwidth } else { study.accesses.latency };
    let way = match row.test {
        Test::LatCmdRead | Test::LatCmdWriteRead => Way::Command,
        _ => Way::Bulk,
    };
    let addresses = Addresses::new(row, study.seed);
    let job = |(number, offset): (usize, u64)| {
        let kind = match row.test {
            Test::LatCmdRead | Test::LatDmaRead | Test::BwRead => Kind::Read,
            Test::LatCmdWriteRead | Test::LatDmaWriteRead => Kind::WriteRead,
            Test::BwReadWrite if number % 2 == 1 => Kind::Read,
            Test::BwWrite | Test::BwReadWrite => Kind::Write,
        };
        Job { kind, way, address: bus + offset, len_bytes: row.size }
    };
    addresses.take(count as usize).enumerate().map(job).collect()
}

/// Places in the window: one in each cell of whole lines, none across a page.
struct Addresses {
    pattern: Pattern,
    lot: Sequence,
    next: u64,
    cells: u64,
    cell: u64,
    offset: u64,
    size: u64,
}

impl Addresses {
    fn new(row: &Measurement, seed: u64) -> Self {
        let (offset, size) = (u64::from(row.offset), u64::from(row.size));
        let cell = (offset + size).next_multiple_of(LINE_BYTES);
        let cells = (u64::from(row.window) / cell).max(1);
        let lot = Sequence::new(seed);
        Self { pattern: row.pattern, lot, next: 0, cells, cell, offset, size }
    }
}

impl Iterator for Addresses {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            let cell = match self.pattern {
                Pattern::Random => self.lot.below(self.cells),
                Pattern::Sequential => self.next % self.cells,
            };
            self.next += 1;
            let place = cell * self.cell + self.offset;
            // The first cell never crosses a page, so that there is always another.
            if place % 4096 + self.size <= 4096 {
                return Some(place);
            }
        }
    }
}

/// Payload over the time from the first to the last of these.
fn gbit_per_s(laps: &[Lap], size: u16) -> f64 {
    let (Some(first), Some(last)) = (laps.first(), laps.last()) else { return 0.0 };
    let bits = (laps.len() - 1) as f64 * f64::from(size) * 8.0;
    bits / last.done.since(first.done).as_ns_f64()
}
