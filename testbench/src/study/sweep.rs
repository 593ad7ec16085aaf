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

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::Run;
use super::report::{Axis, Row, SCHEMA, StudyReport};
use crate::report::{RuleViolation, RunError, RunReport};
use crate::scenario::source::{InputError, Source};
use crate::scenario::{Overrides, Scenario};

/// More points than anybody waits for are a mistake.
const MOST_POINTS: usize = 100_000;

/// A sweep, with every point's scenario read and checked.
#[derive(Debug, Clone)]
pub struct Sweep {
    name: String,
    axes: Vec<Axis>,
    /// Where each point lies, and what is run there.
    pub points: Vec<(BTreeMap<String, Value>, Scenario)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(rename = "kind")]
    _kind: String,
    scenario: Option<PathBuf>,
    only: Option<String>,
    #[serde(default)]
    axis: Vec<FileAxis>,
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
        let point = |set: Vec<(&str, &toml::Value)>| {
            let overrides = Overrides {
                set: set.iter().map(|(key, value)| format!("{key}={value}")).collect(),
                only: file.only.clone(),
                ..Overrides::default()
            };
            let parameters = set.iter().map(|(key, value)| ((*key).to_owned(), json(value)));
            Ok((parameters.collect(), Scenario::load(scenario.as_deref(), &overrides)?))
        };
        let points = combinations.into_iter().map(point).collect::<Result<_, InputError>>()?;
        let axis = |axis: &FileAxis| Axis {
            name: axis.key.clone(),
            values: axis.values.iter().map(json).collect(),
        };
        Ok(Self { name: file.name, axes: file.axis.iter().map(axis).collect(), points })
    }

    /// Runs a point: one row for each of its runs.
    pub(super) fn answer(
        &self,
        point: usize,
        run: Run<'_>,
    ) -> Result<(Vec<Row>, Vec<RuleViolation>), RunError> {
        let (parameters, scenario) = &self.points[point];
        let results = scenario.runs.iter().map(run).collect::<Result<Vec<_>, _>>()?;
        let report = RunReport::new(scenario, &results, 0.0);
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
            kind: "sweep".to_owned(),
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
