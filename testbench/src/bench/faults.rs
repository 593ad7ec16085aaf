//! A run in which something goes wrong on purpose: what struck, who detected it, and where it shows.
//!
//! ```text
//!   scenario's faults ─▶ Plan ─▶ link ─▶ registers of port and card ─▶ ErrorService ─▶ Told
//! ```
//!
//! The faults begin with the traffic and end with it, so that probe and removal show what is left.

use std::collections::BTreeMap;

use host_driver::pci::aer::{ErrorRecord, ErrorService, Severity};
use pcie_sim::address::Bdf;
use pcie_sim::fault::{Fault, Mishaps, Plan, Strike};
use pcie_sim::link::aside::{LinkError, LinkEvent, Side};
use pcie_sim::machine::{Machine, ROOT_PORT};
use pcie_sim::spec::aer::Error;
use pcie_sim::time::Instant;

use super::outcome::NOT_RESET;
use super::watch::Watch;
use crate::report::Violation;
use crate::scenario::config::RunConfig;

/// What of a run's faults became known, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// The faults that struck, in order of time.
    pub strikes: Vec<Strike>,
    /// What the registers of port and card said at the end.
    pub errors: Vec<ErrorRecord>,
    /// What the status registers of old said.
    pub status: Vec<String>,
    /// What the two ends of the link found or did, by end and name, and how often.
    pub link: BTreeMap<(Side, &'static str), u64>,
}

/// The link went through Recovery.
const RETRAINED: &str = "retrained";
/// A TLP was sent again.
pub(super) const REPLAYED: &str = "replayed";

/// How a run ended in which something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing went wrong at all.
    NoStrike,
    /// Every byte is where it should be.
    Held,
    /// Something was lost, and whoever had asked for it was told.
    Told,
    /// Something was lost, and nobody was told.
    Silent,
}

impl Verdict {
    /// The word in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoStrike => "no strike",
            Self::Held => "held",
            Self::Told => "told",
            Self::Silent => "SILENT",
        }
    }
}

/// Findings by which whoever uses the driver learns that something is lost.
const TELLING: [&str; 6] =
    ["BLK-STATUS", "DRIVER-ERROR", "DRIVER-PROBE", NOT_RESET, "BENCH-STALLED", "DMA-REFUSED"];
/// Findings of the scoreboard.
const LOST: [&str; 2] = ["DATA-BLK", "DATA-NET"];

impl Told {
    /// What was done about it, in a few words.
    #[must_use]
    pub fn recovery(&self, violations: &[Violation]) -> String {
        let link = |name: &str| self.link.keys().any(|(_, event)| *event == name);
        let found = |rule: &str| violations.iter().any(|violation| violation.rule == rule);
        let ways = [
            (link(REPLAYED), "replayed"),
            (link(RETRAINED), "retrained"),
            (found("BLK-STATUS"), "request failed"),
            (found("BENCH-STALLED"), "timed out"),
            (found("DRIVER-ERROR"), "driver stopped the device"),
        ];
        let words: Vec<_> =
            ways.into_iter().filter(|(yes, _)| *yes).map(|(_, word)| word).collect();
        if words.is_empty() { "none needed".to_owned() } else { words.join(", ") }
    }

    /// How the run ended that has these findings.
    #[must_use]
    pub fn verdict(&self, violations: &[Violation]) -> Verdict {
        let any = |rules: &[&str]| violations.iter().any(|v| rules.contains(&v.rule.as_str()));
        let recorded = self.errors.iter().any(|record| {
            record.severity != Severity::Correctable || !record.error.is_correctable()
        });
        if self.strikes.is_empty() {
            Verdict::NoStrike
        } else if !any(&LOST) && !any(&TELLING[..5]) {
            Verdict::Held
        } else if any(&TELLING) || recorded {
            Verdict::Told
        } else {
            Verdict::Silent
        }
    }
}

/// The faults of one run, while it runs.
pub(super) struct Trouble {
    mishaps: Mishaps,
    service: Option<ErrorService>,
}

impl Trouble {
    /// Installs what the run wants to go wrong, and lets port and card report their errors. Nothing goes
    /// wrong yet. `None` when the run wants nothing.
    pub(super) fn prepare(
        config: &RunConfig,
        machine: &mut Machine<Watch>,
        card: Bdf,
    ) -> Option<Self> {
        if config.faults.is_empty() {
            return None;
        }
        let mishaps = Mishaps::new(Plan::new(&config.faults, config.seed));
        machine.set_sender_fault(Box::new(mishaps.clone()));
        machine.set_link_fault(Box::new(mishaps.clone()));
        machine.tap.counts_replays = true;
        let service = ErrorService::start(machine, ROOT_PORT, card);
        Some(Self { mishaps, service })
    }

    /// One more thing that goes wrong.
    pub(super) fn add(&self, fault: Fault) {
        self.mishaps.plan().borrow_mut().add(fault);
    }

    /// The traffic begins.
    pub(super) fn begin(&self, now: Instant) {
        self.mishaps.plan().borrow_mut().arm(now);
    }

    /// The traffic has ended.
    pub(super) fn end(&self) {
        self.mishaps.plan().borrow_mut().disarm();
    }

    /// What became known.
    pub(super) fn told(&self, machine: &mut Machine<Watch>) -> Told {
        let errors = self.service.map_or_else(Vec::new, |service| service.collect(machine));
        let status = self.service.map_or_else(Vec::new, |service| service.collect_status(machine));
        let link = machine.tap.observers().link_events.clone();
        Told { strikes: self.mishaps.plan().borrow().strikes().to_vec(), errors, status, link }
    }
}

/// What reports call what one end of the link has found.
pub(super) fn name(event: &LinkEvent) -> &'static str {
    match event.error {
        LinkError::SurpriseDown => "Surprise Down",
        error => error.recorded().map_or(RETRAINED, Error::name),
    }
}

#[cfg(test)]
mod tests {
    use pcie_sim::endpoint::Direction;
    use pcie_sim::fault::FaultKind;
    use pcie_sim::time::Span;

    use super::*;

    fn told(errors: Vec<ErrorRecord>) -> Told {
        let direction = Direction::Downstream;
        let kind = FaultKind::CompletionLost;
        let strike = Strike { at: Instant::ZERO, kind, direction, delay: Span::ZERO };
        Told { strikes: vec![strike], errors, ..Told::default() }
    }

    fn found(rule: &str) -> Violation {
        Violation { rule: rule.to_owned(), time: Instant::ZERO, message: String::new() }
    }

    #[test]
    fn what_is_lost_and_told_to_nobody_is_silent() {
        assert_eq!(told(Vec::new()).verdict(&[]), Verdict::Held);
        assert_eq!(told(Vec::new()).verdict(&[found("DATA-BLK")]), Verdict::Silent);
        let both = [found("DATA-BLK"), found("BLK-STATUS")];
        assert_eq!(told(Vec::new()).verdict(&both), Verdict::Told);
        let record = |error, severity| ErrorRecord {
            function: Bdf::new(1, 0, 0),
            error,
            severity,
            header: None,
        };
        let repaired = told(vec![record(Error::BadTlp, Severity::Correctable)]);
        assert_eq!(repaired.verdict(&[found("DATA-NET")]), Verdict::Silent, "nobody lost by that");
        let timeout = told(vec![record(Error::CompletionTimeout, Severity::NonFatal)]);
        assert_eq!(timeout.verdict(&[found("DATA-NET")]), Verdict::Told);
        assert_eq!(Told::default().verdict(&[]), Verdict::NoStrike);
    }
}
