//! A study's report: schema `vtb-study/1`. Table and HTML are made of it alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::preset::Quantity;
use crate::report::{RuleViolation, RunFigures};

/// The schema that [`StudyReport`] follows.
pub const SCHEMA: &str = "vtb-study/1";

/// What `vtb study` found. The same study and version give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StudyReport {
    /// `vtb-study/1`.
    pub schema: String,
    /// The study's name.
    pub study: String,
    /// `pcie-bench`, `sweep` or `faults`.
    pub kind: String,
    /// The seed.
    pub seed: u64,
    /// What was varied.
    pub axes: Vec<Axis>,
    /// Points of the whole study; a shard's report has rows of some of them.
    pub points: usize,
    /// The answers, in the order of the points.
    pub rows: Vec<Row>,
    /// How well the whole agrees with what was measured, where something was; not in a shard's report.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub summary: Option<Summary>,
    /// The errors that were allowed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub allowed: Option<Allowed>,
    /// The preset.
    pub preset: String,
    /// What took how long, with unit and source: the preset's values, and `exerciser.` those of the card.
    pub values: BTreeMap<String, Quantity>,
    /// What a reader must know of the rows.
    pub notes: Vec<String>,
    /// Rules that did not hold, over all runs.
    pub violations: Vec<RuleViolation>,
}

/// One thing that was varied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Axis {
    /// Its name: a parameter of the rows.
    pub name: String,
    /// The values it took.
    pub values: Vec<Value>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The number of its point.
    pub point: usize,
    /// Where on each axis it lies.
    pub parameters: BTreeMap<String, Value>,
    /// Unit of `simulated` and `measured`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<String>,
    /// What the simulated machine showed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub simulated: Option<f64>,
    /// What the real one showed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub measured: Option<f64>,
    /// The difference, as a fraction of what was measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<f64>,
    /// File and line of what was measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
    /// The figures of a run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<RunFigures>,
}

/// How well simulation and measurement agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Rows with a measurement.
    pub rows: usize,
    /// The median of the absolute errors.
    pub median_abs_error: f64,
    /// The largest of them.
    pub max_abs_error: f64,
    /// Both are within what is allowed.
    pub held: bool,
}

/// The largest errors that a study allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Allowed {
    /// Of the median.
    pub median_abs_error: f64,
    /// Of any row.
    pub max_abs_error: f64,
}

/// Some of a study's points: every Nth, from the Ith on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    nth: usize,
    of: usize,
}

impl Shard {
    /// All points.
    pub const WHOLE: Self = Self { nth: 1, of: 1 };

    fn new(nth: usize, of: usize) -> Option<Self> {
        RangeInclusive::new(1, of).contains(&nth).then_some(Self { nth, of })
    }

    /// The numbers of its points.
    pub fn points(self, all: usize) -> impl Iterator<Item = usize> {
        (self.nth - 1..all).step_by(self.of)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/');
        let parts = parts.and_then(|(nth, of)| Some((nth.parse().ok()?, of.parse().ok()?)));
        parts
            .and_then(|(nth, of)| Self::new(nth, of))
            .ok_or_else(|| format!("`{text}` is no shard; the second of four is 2/4"))
    }
}

/// Why reports are not shards of one study.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Nothing to merge.
    #[error("no report to merge")]
    Nothing,
    /// They are of different studies.
    #[error("report {nth} is of another study, or of the same with other values")]
    Different {
        /// Which, counted from 1.
        nth: usize,
    },
    /// Some points are in several reports.
    #[error("point {point} is in more than one report")]
    Twice {
        /// The first of them.
        point: usize,
    },
    /// Some points are in no report.
    #[error("point {point} is in no report; the study has {points}")]
    Missing {
        /// The first of them.
        point: usize,
        /// How many there are.
        points: usize,
    },
}

/// Of the absolute values of errors, of which there is at least one.
fn median_and_largest(errors: &mut [f64]) -> (f64, f64) {
    for error in &mut *errors {
        *error = error.abs();
    }
    errors.sort_by(f64::total_cmp);
    let middle = errors.len() / 2;
    let median = match errors.len() % 2 {
        0 => f64::midpoint(errors[middle - 1], errors[middle]),
        _ => errors[middle],
    };
    (median, errors[errors.len() - 1])
}

/// How well the rows agree that have one value on the first axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// That value.
    pub name: String,
    /// Rows with a measurement.
    pub rows: usize,
    /// The median of the absolute errors.
    pub median_abs_error: f64,
    /// The largest of them.
    pub max_abs_error: f64,
}

impl StudyReport {
    /// The rows with a measurement, by their value on the first axis.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for row in &self.rows {
            let value = self.axes.first().and_then(|axis| row.parameters.get(&axis.name));
            if let (Some(value), Some(error)) = (value, row.error) {
                groups.entry(super::table::shown(Some(value))).or_default().push(error);
            }
        }
        let group = |(name, mut errors): (String, Vec<f64>)| {
            let (median_abs_error, max_abs_error) = median_and_largest(&mut errors);
            Group { name, rows: errors.len(), median_abs_error, max_abs_error }
        };
        groups.into_iter().map(group).collect()
    }

    /// Puts the reports of all shards together.
    ///
    /// # Errors
    /// [`MergeError`] when they are not all the shards of one study, each once.
    pub fn merge(reports: Vec<Self>) -> Result<Self, MergeError> {
        let mut reports = reports.into_iter();
        let mut whole = reports.next().ok_or(MergeError::Nothing)?;
        let mut seen: BTreeSet<usize> = whole.rows.iter().map(|row| row.point).collect();
        for (nth, report) in reports.enumerate() {
            if whole.without_rows() != report.without_rows() {
                return Err(MergeError::Different { nth: nth + 2 });
            }
            let points: BTreeSet<usize> = report.rows.iter().map(|row| row.point).collect();
            if let Some(&point) = points.intersection(&seen).next() {
                return Err(MergeError::Twice { point });
            }
            seen.extend(points);
            whole.rows.extend(report.rows);
            whole.violations.extend(report.violations);
        }
        if let Some(point) = (0..whole.points).find(|point| !seen.contains(point)) {
            return Err(MergeError::Missing { point, points: whole.points });
        }
        // Stable: the rows of one point stay in their order.
        whole.rows.sort_by_key(|row| row.point);
        let order: BTreeMap<String, usize> = whole
            .rows
            .iter()
            .filter_map(|row| Some((row.run.as_ref()?.name.clone(), row.point)))
            .collect();
        whole.violations.sort_by_key(|violation| order.get(&violation.result).copied());
        whole.conclude();
        Ok(whole)
    }

    fn without_rows(&self) -> Self {
        Self { rows: Vec::new(), violations: Vec::new(), summary: None, ..self.clone() }
    }

    /// Judges the whole study; of a shard there is nothing to say yet.
    pub(super) fn conclude(&mut self) {
        self.summary = None;
        let points: BTreeSet<usize> = self.rows.iter().map(|row| row.point).collect();
        let mut errors: Vec<f64> = self.rows.iter().filter_map(|row| row.error).collect();
        if points.len() < self.points || errors.is_empty() {
            return;
        }
        let (median_abs_error, max_abs_error) = median_and_largest(&mut errors);
        let held = self.allowed.is_none_or(|allowed| {
            median_abs_error <= allowed.median_abs_error && max_abs_error <= allowed.max_abs_error
        });
        self.summary = Some(Summary { rows: errors.len(), median_abs_error, max_abs_error, held });
    }

    /// Whether nothing was violated and no threshold missed.
    #[must_use]
    pub fn all_held(&self) -> bool {
        self.violations.is_empty() && self.summary.is_none_or(|summary| summary.held)
    }

    /// The report as the text of a file.
    ///
    /// # Errors
    /// None of those that can happen, as everything in it can be written as JSON.
    pub fn to_text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}
