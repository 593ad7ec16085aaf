//! The card under test: the model, or RTL that a manifest names. `--card model|rtl:MANIFEST`.

mod adapt;
mod rtl;

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use pcie_sim::endpoint::Endpoint;
use pcie_sim::time::Instant;
use pcie_sim::tlp::codec::TlpError;
use rtl_model::pins::{Clocked, Findings, PinCard, PinFinding};
use rtl_model::verilated::VerilatedModel;

pub use rtl::{RtlCard, in_slot};

use crate::bench::wiring;
use crate::check::Rule;
use crate::report::{RunError, Violation};
use crate::scenario::config::RunConfig;
use crate::scenario::source::InputError;

/// The card under test.
#[derive(Debug, Clone, Default)]
pub enum CardChoice {
    /// The cycle-approximate model.
    #[default]
    Model,
    /// RTL under Verilator.
    Rtl(Arc<RtlCard>),
}

impl CardChoice {
    /// The card that is written as `text`, its manifest read.
    ///
    /// # Errors
    /// A card that there is not; what is wrong in the manifest, with file, line and key.
    pub fn parse(text: &str) -> Result<Self, InputError> {
        if text == "model" {
            return Ok(Self::Model);
        }
        match text.strip_prefix("rtl:") {
            Some(manifest) => Ok(Self::Rtl(Arc::new(RtlCard::read(Path::new(manifest))?))),
            None => {
                let why = format!("unknown card `{text}`; there are: model, rtl:MANIFEST");
                Err(InputError::whole("--card", why))
            }
        }
    }

    /// Leaves out the runs that the card is not made for, and takes from it what a scenario leaves open.
    /// How many were left out.
    ///
    /// # Errors
    /// When none is left, or the card cannot do what the scenario wants of it.
    pub fn adapt(&self, runs: &mut Vec<RunConfig>) -> Result<usize, InputError> {
        match self {
            Self::Model => Ok(0),
            Self::Rtl(card) => adapt::adapt(card, runs),
        }
    }

    /// Makes the card for a run.
    ///
    /// # Errors
    /// A parameter that does not fit, RTL that cannot be built or bound.
    pub fn plug(
        &self,
        run: &RunConfig,
        config: rtl_model::CardConfig,
    ) -> Result<Plugged, RunError> {
        match self {
            Self::Model => wiring::model(run, config),
            Self::Rtl(card) => card.plug(run, &config),
        }
    }
}

impl fmt::Display for CardChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model => f.write_str("model"),
            Self::Rtl(card) => write!(f, "rtl:{}", card.manifest().origin),
        }
    }
}

/// Makes the card that a run names.
///
/// # Errors
/// As [`CardChoice::plug`].
pub fn under_test(run: &RunConfig, config: rtl_model::CardConfig) -> Result<Plugged, RunError> {
    run.under_test.plug(run, config)
}

/// A design that a card is made of.
pub trait Design: Clocked {
    /// Nobody turns its clock any more: files of its own are complete from now on. When and why it ended by
    /// itself, if it did.
    fn ended(&mut self) -> Option<(Instant, String)>;
}

impl Design for VerilatedModel {
    fn ended(&mut self) -> Option<(Instant, String)> {
        self.close_waves();
        let why = self.stopped()?.to_owned();
        Some((self.now(), why))
    }
}

/// A card at whose pins the bench looks.
trait OnPins {
    fn findings(&self) -> &Findings;
    fn edges(&self) -> u64;
    fn ended(&mut self) -> Option<(Instant, String)>;
}

impl<S: Design> OnPins for PinCard<S> {
    fn findings(&self) -> &Findings {
        self.findings()
    }

    fn edges(&self) -> u64 {
        self.edges()
    }

    fn ended(&mut self) -> Option<(Instant, String)> {
        self.design_mut().ended()
    }
}

/// RTL in the slot, in the machine's hand and in the bench's.
type PinsInSlot = Rc<RefCell<dyn OnPins>>;

/// What is put into the slot.
pub struct Plugged {
    /// The card.
    pub endpoint: Box<dyn Endpoint>,
    pins: Option<PinsInSlot>,
}

impl From<Box<dyn Endpoint>> for Plugged {
    fn from(endpoint: Box<dyn Endpoint>) -> Self {
        Self { endpoint, pins: None }
    }
}

impl Plugged {
    /// Puts something between the card and the link.
    #[must_use]
    pub fn behind<E: Endpoint + 'static>(self, front: impl FnOnce(Box<dyn Endpoint>) -> E) -> Self {
        Self { endpoint: Box::new(front(self.endpoint)), pins: self.pins }
    }

    /// A design on its pins.
    pub fn on_pins<S: Design + 'static>(card: PinCard<S>) -> Self {
        let card = Rc::new(RefCell::new(card));
        Self { endpoint: Box::new(Rc::clone(&card)), pins: Some(card) }
    }

    /// The card, and what there is to say of its pins in the end.
    pub(crate) fn apart(self) -> (Box<dyn Endpoint>, AtPins) {
        (self.endpoint, AtPins(self.pins))
    }
}

/// The law that a finding at the pins breaks, where it is one of PCI Express that the link is not to see broken:
/// what is malformed goes no further than the pins.
fn rule_of(finding: &PinFinding) -> &'static str {
    match finding {
        PinFinding::NoTlp { error: TlpError::CrossesPage { .. }, .. } => Rule::PageBoundary.id(),
        other => other.rule(),
    }
}

/// What was seen at the pins of RTL.
#[derive(Default)]
pub(crate) struct AtPins(Option<PinsInSlot>);

impl AtPins {
    /// Rules of the interface that were broken, and whether the design ended by itself; waves are complete
    /// from then on.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        let Some(card) = &self.0 else { return Vec::new() };
        let mut told = self.since(0);
        if let Some((time, why)) = card.borrow_mut().ended() {
            told.push(Violation {
                rule: "RTL-STOPPED".to_owned(),
                time,
                message: format!("the design ended by itself: {why}"),
            });
        }
        told
    }

    /// Rules of the interface that were broken, without the first `known` that are told one by one.
    pub(crate) fn since(&self, known: usize) -> Vec<Violation> {
        let Some(card) = &self.0 else { return Vec::new() };
        let card = card.borrow();
        let kept = card.findings().kept().iter().skip(known);
        kept.map(|(time, finding)| Violation {
            rule: rule_of(finding).to_owned(),
            time: *time,
            message: finding.to_string(),
        })
        .collect()
    }

    /// Clock cycles of the design so far.
    pub(crate) fn cycles(&self) -> u64 {
        self.0.as_ref().map_or(0, |card| card.borrow().edges())
    }
}
