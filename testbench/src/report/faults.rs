//! What a report says of a run in which something went wrong on purpose.

use std::collections::BTreeMap;

use pcie_sim::endpoint::Direction;
use pcie_sim::link::aside::Side;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::RunReport;
use super::result::Violation;
use crate::bench::faults::Told;

/// What went wrong on purpose in a run, and who was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultFigures {
    /// `held`: nothing is lost; `told`: something is, and who had asked for it was told; `SILENT`.
    pub verdict: String,
    /// What was done about it: replayed, retrained, a request failed, the driver stopped the device.
    pub recovery: String,
    /// How often each fault struck, by name and direction: `completion-lost down`.
    pub strikes: BTreeMap<String, u64>,
    /// What the registers of port and card said, as the service that collects errors read them.
    pub errors: Vec<String>,
    /// What the two ends of the link found, and how often: `card: Bad TLP`.
    pub link: BTreeMap<String, u64>,
    /// Findings of the driver and the scoreboard, by rule, and how often.
    pub findings: BTreeMap<String, u64>,
}

impl FaultFigures {
    /// Of a run's faults, with all its findings.
    pub(super) fn of(told: &Told, violations: &[Violation]) -> Self {
        let mut strikes = BTreeMap::new();
        for strike in &told.strikes {
            let way = match strike.direction {
                Direction::Downstream => "down",
                Direction::Upstream => "up",
            };
            *strikes.entry(format!("{} {way}", strike.kind.name())).or_default() += 1;
        }
        let mut findings = BTreeMap::new();
        for violation in violations {
            *findings.entry(violation.rule.clone()).or_default() += 1;
        }
        let end = |side: &Side| match side {
            Side::Root => "port",
            Side::Card => "card",
        };
        let link = told.link.iter().map(|((side, name), n)| (format!("{}: {name}", end(side)), *n));
        Self {
            verdict: told.verdict(violations).word().to_owned(),
            recovery: told.recovery(violations),
            strikes,
            errors: told
                .errors
                .iter()
                .map(ToString::to_string)
                .chain(told.status.clone())
                .collect(),
            link: link.collect(),
            findings,
        }
    }

    /// Counts as words: `Bad TLP x2, Bad DLLP`.
    pub(crate) fn counted(counts: &BTreeMap<String, u64>) -> String {
        let word = |(name, n): (&String, &u64)| match n {
            1 => name.clone(),
            n => format!("{name} x{n}"),
        };
        counts.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

/// A few lines for each run that had faults.
#[must_use]
pub fn fault_lines(report: &RunReport) -> Vec<String> {
    let mut lines = Vec::new();
    for run in &report.results {
        let Some(faults) = &run.faults else { continue };
        let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
        let strikes = or_none(FaultFigures::counted(&faults.strikes));
        lines.push(format!(
            "faults in {}: {strikes}; verdict: {} ({})",
            run.name, faults.verdict, faults.recovery
        ));
        let link = or_none(FaultFigures::counted(&faults.link));
        lines.push(format!("  link: {link}"));
        lines.extend(faults.errors.iter().map(|error| format!("  registers: {error}")));
        lines.push(format!("  findings: {}", or_none(FaultFigures::counted(&faults.findings))));
    }
    lines
}
