//! A sweep: a scenario, run with every combination of the values of its axes.
//!
//! ```toml
//! name = "link"
//! kind = "sweep"
//! scenario = "../scenarios/speed.toml"    # the default one when left out
//! [[axis]]
//! key = "link.width"                      # as `--set` of `vtb run` takes it
//! values = [4, 8, 16]
//! ```
//!
//! With `kind = "faults"` there are two axes more, `fault` and `direction`: every fault there is, once in each
//! direction that it can have. `[fault]` says when it strikes and how often, as in a scenario.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pcie_sim::endpoint::Direction;
use pcie_sim::fault::FaultKind;
use serde::Deserialize;
use serde_json::Value;

use super::Run;
use super::report::{Axis, Row, SCHEMA, StudyReport};
use crate::bench::faults::Verdict;
use crate::card::CardChoice;
use crate::report::{RuleViolation, RunError, RunFigures, RunReport};
use crate::scenario::source::{InputError, Source};
use crate::scenario::{Overrides, Scenario};

/// More points than anybody waits for are a mistake.
const MOST_POINTS: usize = 100_000;

/// A sweep, with every point's scenario read and checked.
#[derive(Debug, Clone)]
pub struct Sweep {
    name: String,
    kind: String,
    axes: Vec<Axis>,
    /// Where each point lies, and what is run there.
    pub points: Vec<(BTreeMap<String, Value>, Scenario)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    kind: String,
    scenario: Option<PathBuf>,
    only: Option<String>,
    #[serde(default)]
    axis: Vec<FileAxis>,
    fault: Option<toml::Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileAxis {
    key: String,
    values: Vec<toml::Value>,
}

impl Sweep {
    /// Reads a sweep and the scenario of each of its points.
    ///
    /// # Errors
    /// [`InputError`] with file, line and key.
    pub fn load(source: &Source) -> Result<Self, InputError> {
        let file: File = source.parse()?;
        let mut combinations: Vec<Vec<(&str, &toml::Value)>> = vec![Vec::new()];
        for axis in &file.axis {
            if axis.values.is_empty() || combinations.len() * axis.values.len() > MOST_POINTS {
                let why =
                    format!("{} has no value, or the sweep over {MOST_POINTS} points", axis.key);
                return Err(source.complain("axis", why));
            }
            combinations = combinations
                .iter()
                .flat_map(|point| axis.values.iter().map(|value| with(point, &axis.key, value)))
                .collect();
        }
        let scenario = file.scenario.as_ref().map(|path| source.resolve(path));
        let faults = match file.kind.as_str() {
            FAULTS => every_fault(&file.fault.clone().unwrap_or_default()),
            _ if file.fault.is_some() => {
                let why = format!("only a study of kind `{FAULTS}` has it");
                return Err(source.complain("fault", why));
            }
            _ => vec![PlannedFault::default()],
        };
        let point = |(set, fault): (&Vec<(&str, &toml::Value)>, &PlannedFault)| {
            let keys = set.iter().map(|(key, value)| format!("{key}={value}"));
            let overrides = Overrides {
                set: keys.chain(fault.set.clone()).collect(),
                only: file.only.clone(),
                ..Overrides::default()
            };
            let parameters = set.iter().map(|(key, value)| ((*key).to_owned(), json(value)));
            let parameters = parameters.chain(fault.parameters.clone()).collect();
            Ok((parameters, Scenario::load(scenario.as_deref(), &overrides)?))
        };
        let both = combinations.iter().flat_map(|set| faults.iter().map(move |fault| (set, fault)));
        let points = both.map(point).collect::<Result<_, InputError>>()?;
        let axis = |axis: &FileAxis| Axis {
            name: axis.key.clone(),
            values: axis.values.iter().map(json).collect(),
        };
        let mut axes: Vec<Axis> = file.axis.iter().map(axis).collect();
        if file.kind == FAULTS {
            let names = FaultKind::ALL.map(|kind| Value::from(kind.name()));
            axes.push(Axis { name: "fault".to_owned(), values: names.to_vec() });
            let ways = WAYS.map(|(way, _)| Value::from(way));
            axes.push(Axis { name: "direction".to_owned(), values: ways.to_vec() });
        }
        Ok(Self { name: file.name, kind: file.kind, axes, points })
    }

    /// Has every point run with this card; runs that it is not made for are left out.
    ///
    /// # Errors
    /// A point of which it can do none.
    pub(super) fn plug(&mut self, card: &CardChoice) -> Result<(), InputError> {
        for (_, scenario) in &mut self.points {
            card.adapt(&mut scenario.runs)?;
            scenario.runs.iter_mut().for_each(|run| run.under_test = card.clone());
        }
        Ok(())
    }

    /// Runs a point: one row for each of its runs.
    pub(super) fn answer(
        &self,
        point: usize,
        run: Run<'_>,
    ) -> Result<(Vec<Row>, Vec<RuleViolation>), RunError> {
        let (parameters, scenario) = &self.points[point];
        let results = scenario.runs.iter().map(run).collect::<Result<Vec<_>, _>>()?;
        let mut report = RunReport::new(scenario, &results, 0.0);
        if self.kind == FAULTS {
            report.violations = silent(&report);
        }
        let row = |figures| Row {
            point,
            parameters: parameters.clone(),
            unit: None,
            simulated: None,
            measured: None,
            error: None,
            source: None,
            run: Some(figures),
        };
        Ok((report.results.into_iter().map(row).collect(), report.violations))
    }

    /// The report without its rows.
    pub(super) fn report(&self) -> StudyReport {
        let first = self.points.first().map(|(_, scenario)| scenario);
        let timing = first.map(|scenario| &scenario.timing);
        StudyReport {
            schema: SCHEMA.to_owned(),
            study: self.name.clone(),
            kind: self.kind.clone(),
            seed: first.map_or(0, |scenario| scenario.seed),
            axes: self.axes.clone(),
            points: self.points.len(),
            rows: Vec::new(),
            summary: None,
            allowed: None,
            preset: timing.map(|timing| timing.preset.clone()).unwrap_or_default(),
            values: timing.map(|timing| timing.quantities.clone()).unwrap_or_default(),
            notes: Vec::new(),
            violations: Vec::new(),
        }
    }
}

/// A study of every fault there is.
pub(super) const FAULTS: &str = "faults";
/// The directions, as a scenario names them.
const WAYS: [(&str, Direction); 2] = [("down", Direction::Downstream), ("up", Direction::Upstream)];

/// How often a fault has to strike that shows only when it does so again and again.
const MANY: i64 = 80;

/// One fault of a study of faults: what `--set` would say, and where it lies on the axes.
#[derive(Debug, Clone, Default)]
struct PlannedFault {
    set: Option<String>,
    parameters: Vec<(String, Value)>,
}

/// Every fault in each direction that it can have, with what all of them have in common.
fn every_fault(common: &toml::Table) -> Vec<PlannedFault> {
    let mut faults = Vec::new();
    for kind in FaultKind::ALL {
        for (way, _) in WAYS.into_iter().filter(|(_, direction)| kind.fits(*direction)) {
            let mut line = common.clone();
            line.insert("kind".to_owned(), kind.name().into());
            line.insert("direction".to_owned(), way.into());
            if matches!(kind, FaultKind::AckLost | FaultKind::CreditLeak) {
                // The next Ack, and the credits that are left, make up for a single one.
                line.remove("when");
                line.insert("times".to_owned(), MANY.into());
            }
            let lines = toml::Value::Array(vec![toml::Value::Table(line)]);
            let parameters = [("fault", kind.name()), ("direction", way)];
            faults.push(PlannedFault {
                set: Some(format!("fault={lines}")),
                parameters: parameters.map(|(key, value)| (key.to_owned(), value.into())).to_vec(),
            });
        }
    }
    faults
}

/// That something went wrong is what such a study is for; that nobody was told is a violation.
fn silent(report: &RunReport) -> Vec<RuleViolation> {
    let silent = |run: &&RunFigures| {
        run.faults.as_ref().is_some_and(|faults| faults.verdict == Verdict::Silent.word())
    };
    let violation = |run: &RunFigures| RuleViolation {
        rule: "FAULT-SILENT".to_owned(),
        time_ns: run.sim_time_ns,
        message: "something is lost, and nobody was told".to_owned(),
        result: run.name.clone(),
    };
    report.results.iter().filter(silent).map(violation).collect()
}

fn with<'f>(
    point: &[(&'f str, &'f toml::Value)],
    key: &'f str,
    value: &'f toml::Value,
) -> Vec<(&'f str, &'f toml::Value)> {
    let mut point = point.to_vec();
    point.push((key, value));
    point
}

fn json(value: &toml::Value) -> Value {
    // Every TOML value but a date is one of JSON's; a date becomes its text.
    serde_json::to_value(value).unwrap_or_else(|_| Value::String(value.to_string()))
}
