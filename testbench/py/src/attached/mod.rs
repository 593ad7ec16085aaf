//! Root complex, IOMMU, driver and analyzer on the pins of a design in somebody's simulator.
//!
//! ```text
//!   test ──ask──▶ Desk ──▶ work: Session or whole runs ──▶ machine ─ PinCard ─ VpiDesign ─▶ pins
//!        ◀─tell─      ◀──        │ pauses at each edge, on a stack of its own
//!   simulator ── edge ──▶ Edges ─┘ goes on
//! ```
//!
//! Everything is on the simulator's thread and between its callbacks: nothing is awaited an edge at a time, and
//! what happens does not depend on when. Until something is asked the design is held in reset.

mod desk;
mod work;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use pcie_sim::time::{Instant, Span};
use rtl_model::pins::{Clocked, Known, PinCard, Pins, PortDirection, PortId, PortInfo};
use rtl_model::verilated::Manifest;
use testbench::card::in_slot;
use testbench::scenario::Scenario;
use testbench::verb::Failure;

pub use self::desk::{Ask, Desk, Found, Reply, Tell};
use self::work::Work;
use crate::vpi::design::Clockwork;
use crate::vpi::{Adapter, Aside, Edges, Vpi, VpiError, VpiPins};

/// What a bench is told of the design, and what is to be done with it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The design's top, as the simulator calls it.
    pub module: String,
    /// Clock, reset, names of ports, and what the card is. The period is measured.
    pub manifest: Manifest,
    /// The machine, and what is run on it.
    pub scenario: Scenario,
    /// How long a request may take before it has stalled.
    pub patience: Span,
    /// Where to write every TLP; nowhere when `None`.
    pub trace: Option<PathBuf>,
}

/// Why a bench cannot be put on a design.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The simulator or its design.
    #[error(transparent)]
    Vpi(#[from] VpiError),
    /// What the bench was told does not fit.
    #[error("{0}")]
    Bench(Failure),
    /// There is no memory for a stack.
    #[error("no stack for the bench: {0}")]
    Stack(#[from] std::io::Error),
}

/// A bench on a design. When this goes, so does every callback, and the machine with it.
pub struct Attached {
    edges: Edges<Beside>,
    desk: Rc<Desk>,
    clockwork: Rc<Clockwork>,
}

impl Attached {
    /// Puts a bench on a design, whose reset is active from the next edge on.
    ///
    /// # Errors
    /// [`AttachError`]
    pub fn new(plan: Plan) -> Result<Self, AttachError> {
        let vpi = Vpi::find()?;
        let pins = Rc::new(RefCell::new(VpiPins::of_module(&vpi, &plan.module)?));
        let clock = plan.manifest.clock.port.clone();
        pins.borrow().port(&clock, PortDirection::Input)?;
        quiet(&plan.manifest, &pins)?;
        let desk = Rc::new(Desk::default());
        let (table, design) = (desk.clone(), pins.clone());
        let clockwork = Rc::new(Clockwork::default());
        let times = clockwork.clone();
        let aside = Aside::new(move |pause| {
            Work { pause, desk: &table, pins: &design, clockwork: times, plan: &plan }.go();
        })?;
        let edges =
            Edges::attach(&vpi, pins, &clock, Beside { aside: Some(aside), desk: desk.clone() })?;
        Ok(Self { edges, desk, clockwork })
    }

    /// Where things are asked.
    #[must_use]
    pub fn desk(&self) -> &Rc<Desk> {
        &self.desk
    }

    /// A moment of the machine's in the simulator's time.
    #[must_use]
    pub fn in_simulation(&self, at: Instant) -> Instant {
        self.clockwork.in_simulation(at)
    }

    /// Rising edges seen.
    #[must_use]
    pub fn edges(&self) -> u64 {
        self.edges.edges()
    }

    /// What ended it early: the bench's own fault, or a refusal of the simulator.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.edges.failure()
    }

    /// Ends it: the machine is gone, and no callback is left. What was written stays on the pins.
    pub fn stop(&mut self) {
        self.desk.on_news(None);
        self.edges.stop();
        self.edges.change(|beside| beside.aside = None);
    }
}

/// The bench, at each edge.
struct Beside {
    aside: Option<Aside>,
    desk: Rc<Desk>,
}

impl Adapter for Beside {
    fn edge(&mut self, _: &Rc<RefCell<VpiPins>>) {
        if let Some(aside) = &mut self.aside {
            aside.go_on();
        }
    }

    fn news(&mut self) -> Option<Tell> {
        self.desk.news()
    }

    fn failed(&mut self) -> Option<Tell> {
        self.desk.listener()
    }
}

/// The inputs of a design as they are before anybody drives it: in reset, nothing offered.
///
/// # Errors
/// A port that is not there or not what it should be.
fn quiet(manifest: &Manifest, pins: &Rc<RefCell<VpiPins>>) -> Result<(), AttachError> {
    let wrong = |error| AttachError::Bench(Failure::from(error));
    let infos = pins.borrow().ports().to_vec();
    let _: PinCard<Still> =
        in_slot(manifest, Still { pins: pins.clone(), infos }).map_err(wrong)?;
    for (name, value) in &manifest.tie {
        let port = pins.borrow().port(name, PortDirection::Input)?.id;
        pins.borrow_mut().write_wide(port, &value.words().unwrap_or_default());
    }
    Ok(())
}

/// A design whose clock stands still: only what is written counts.
struct Still {
    pins: Rc<RefCell<VpiPins>>,
    infos: Vec<PortInfo>,
}

impl Pins for Still {
    fn ports(&self) -> &[PortInfo] {
        &self.infos
    }

    fn read(&mut self, port: PortId) -> (u32, Known) {
        self.pins.borrow_mut().read(port)
    }

    fn write(&mut self, port: PortId, value: u32) {
        self.pins.borrow_mut().write(port, value);
    }

    fn read_wide(&mut self, port: PortId, words: &mut [u32]) -> Known {
        self.pins.borrow_mut().read_wide(port, words)
    }

    fn write_wide(&mut self, port: PortId, words: &[u32]) {
        self.pins.borrow_mut().write_wide(port, words);
    }
}

impl Clocked for Still {
    fn rise(&mut self, _: Instant) {}

    fn fall(&mut self, _: Instant) {}
}
