//! What a comparison tells: schema `vtb-compare/1`, and its text.

use std::collections::BTreeMap;
use std::fmt::Write;

use pcie_sim::time::{Instant, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::align::{self, Difference, Side};
use super::stages::{Stages, stages};
use super::window::Window;
use super::{Recorded, Stream, Transaction};
use crate::report::Violation;
use crate::scenario::Scenario;
use crate::scenario::config::RunConfig;

/// The name of this form of report.
const SCHEMA: &str = "vtb-compare/1";

/// What `vtb compare` found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompareReport {
    /// `vtb-compare/1`.
    pub schema: String,
    /// The scenario's name.
    pub scenario: String,
    /// The card beside the model, as it was named on the command line.
    pub rtl: String,
    /// The seed.
    pub seed: u64,
    /// Transactions of the RTL, over all runs.
    pub transactions: usize,
    /// Where the cards part first, in the first run in which they do.
    pub first_difference: Option<FirstDifference>,
    /// How far apart the same requests are in time, over all runs.
    pub timing_error: TimingError,
    /// The stages of the pipeline, over all runs.
    pub stages: Vec<StageFigures>,
    /// The runs one by one.
    pub runs: Vec<RunComparison>,
}

/// A run on two cards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunComparison {
    /// The run's name.
    pub name: String,
    /// Transactions of the RTL.
    pub transactions: usize,
    /// Requests that both completed.
    pub requests: usize,
    /// Where the cards part first.
    pub first_difference: Option<FirstDifference>,
    /// How far apart the same requests are in time.
    pub timing_error: TimingError,
    /// The stages of the pipeline.
    pub stages: Vec<StageFigures>,
    /// What follows from the cards' pace: how many transactions, by purpose.
    pub pace: BTreeMap<String, PaceFigures>,
    /// Rules that the model broke.
    pub model_violations: Vec<Broken>,
    /// Rules that the RTL broke.
    pub rtl_violations: Vec<Broken>,
    /// Of each request, how long it took on the model and on the RTL, in picoseconds.
    #[serde(skip)]
    latencies: Vec<(u64, u64)>,
    /// What of the run is worth a look.
    #[serde(skip)]
    pub(crate) window: Window,
    #[serde(skip)]
    spans: BTreeMap<String, (Vec<u64>, Vec<u64>)>,
}

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Broken {
    /// The requirement's id, or the name of a rule of the bench.
    pub rule: String,
    /// When.
    pub time_ns: u64,
    /// What was seen.
    pub message: String,
}

/// Where two cards part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirstDifference {
    /// The run.
    pub run: String,
    /// Which transaction of the RTL, or of the model when the RTL has none; counted in the order in which
    /// they began. `null` when it is not a transaction that differs but what became of a request.
    pub index: Option<usize>,
    /// In what they differ.
    pub what: String,
    /// What the model did.
    pub model: Option<Shown>,
    /// What the RTL did.
    pub rtl: Option<Shown>,
    /// The rule that the RTL broke there, or before.
    pub rule: Option<String>,
}

/// One side of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// When it began, in picoseconds of the run's own time.
    pub time_ps: u64,
    /// In words.
    pub what: String,
    /// The TLP's header and data in hex; empty for a request.
    pub tlp: String,
}

/// How far apart two times are, as a fraction of the RTL's.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TimingError {
    /// Half of them are no further apart.
    pub p50: f64,
    /// 99 in a hundred are no further apart.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// A stage of the pipeline, as it shows on the link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageFigures {
    /// Its name; `testbench::compare` says from what to what it goes.
    pub stage: String,
    /// How often it was seen on the model.
    pub model_count: usize,
    /// How often it was seen on the RTL.
    pub rtl_count: usize,
    /// What it took on the model, in the middle, in ns.
    pub model_p50_ns: f64,
    /// What it took on the RTL, in the middle, in ns.
    pub rtl_p50_ns: f64,
    /// The difference in the middle, and where 99 in a hundred are closer, in ns: of the two distributions,
    /// value by value in order of size.
    pub apart_p50_ns: f64,
    /// See `apart_p50_ns`.
    pub apart_p99_ns: f64,
}

/// How many transactions there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PaceFigures {
    /// On the model.
    pub model: usize,
    /// On the RTL.
    pub rtl: usize,
}

impl CompareReport {
    /// The report on all runs of a scenario.
    #[must_use]
    pub fn new(scenario: &Scenario, rtl: &str, runs: Vec<RunComparison>) -> Self {
        let latencies = runs.iter().flat_map(|run| &run.latencies);
        let mut spans: BTreeMap<String, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
        for (name, (model, rtl)) in runs.iter().flat_map(|run| &run.spans) {
            let both = spans.entry(name.clone()).or_default();
            both.0.extend(model);
            both.1.extend(rtl);
        }
        Self {
            schema: SCHEMA.to_owned(),
            scenario: scenario.name.clone(),
            rtl: rtl.to_owned(),
            seed: scenario.seed,
            transactions: runs.iter().map(|run| run.transactions).sum(),
            first_difference: runs.iter().find_map(|run| run.first_difference.clone()),
            timing_error: TimingError::of(latencies),
            stages: stage_figures(&spans),
            runs,
        }
    }

    /// The run that is worth a look: the one in which the cards part first, or are furthest apart in time.
    #[must_use]
    pub(crate) fn worth_a_look(&self) -> Option<usize> {
        let parted = self.runs.iter().position(|run| run.first_difference.is_some());
        parted.or_else(|| {
            let runs = self.runs.iter().enumerate();
            let widest = runs
                .max_by(|(_, a), (_, b)| f64::total_cmp(&a.timing_error.max, &b.timing_error.max));
            widest.map(|(place, _)| place)
        })
    }

    /// The cards do the same, and neither broke a rule.
    #[must_use]
    pub fn all_held(&self) -> bool {
        let clean =
            |run: &RunComparison| run.model_violations.is_empty() && run.rtl_violations.is_empty();
        self.first_difference.is_none() && self.runs.iter().all(clean)
    }

    /// The report as the text of a file.
    ///
    /// # Errors
    /// None in practice: every key is a string and every figure finite.
    pub fn to_text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

impl TimingError {
    fn of<'a>(pairs: impl Iterator<Item = &'a (u64, u64)>) -> Self {
        let mut errors: Vec<f64> = pairs
            .map(|&(model, rtl)| model.abs_diff(rtl) as f64 / rtl.max(1) as f64)
            .map(|error| (error * 1e6).round() / 1e6)
            .collect();
        errors.sort_by(f64::total_cmp);
        Self { p50: quantile(&errors, 50), p99: quantile(&errors, 99), max: quantile(&errors, 100) }
    }
}

/// The smallest value that `percent` in a hundred do not exceed; the default of nothing.
fn quantile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

/// One run.
pub(super) fn run(
    config: &RunConfig,
    (model, left): (&Recorded, &[Transaction]),
    (rtl, right): (&Recorded, &[Transaction]),
    difference: Option<Difference>,
) -> RunComparison {
    let pairs = align::pairs(&model.recording.requests, &rtl.recording.requests);
    let latencies: Vec<(u64, u64)> = pairs
        .iter()
        .map(|(left, right)| {
            (left.end.since(left.begin).as_ps(), right.end.since(right.begin).as_ps())
        })
        .collect();
    let spans = both(&stages(left), &stages(right));
    RunComparison {
        name: config.name(),
        window: Window::of(difference.as_ref(), &pairs),
        transactions: right.len(),
        requests: pairs.len(),
        first_difference: difference
            .map(|it| FirstDifference::new(config, it, &rtl.result.violations)),
        timing_error: TimingError::of(latencies.iter()),
        stages: stage_figures(&spans),
        pace: pace(left, right),
        model_violations: model.result.violations.iter().map(Broken::from).collect(),
        rtl_violations: rtl.result.violations.iter().map(Broken::from).collect(),
        latencies,
        spans,
    }
}

impl From<&Violation> for Broken {
    fn from(violation: &Violation) -> Self {
        Self {
            rule: violation.rule.clone(),
            time_ns: violation.time.as_ns(),
            message: violation.message.clone(),
        }
    }
}

impl FirstDifference {
    fn new(config: &RunConfig, difference: Difference, violations: &[Violation]) -> Self {
        let at = difference.at();
        let index = |side: &Option<Side>| side.as_ref().and_then(|side| side.index);
        Self {
            run: config.name(),
            index: index(&difference.rtl).or(index(&difference.model)),
            rule: rule(violations, at),
            what: difference.what,
            model: difference.model.map(Shown::from),
            rtl: difference.rtl.map(Shown::from),
        }
    }
}

impl From<Side> for Shown {
    fn from(side: Side) -> Self {
        Self { time_ps: side.at.as_ps(), what: side.what, tlp: side.tlp }
    }
}

/// The last rule broken until then; else the first one after, as a consequence may show before its cause is
/// told.
fn rule(violations: &[Violation], at: Instant) -> Option<String> {
    let before = violations.iter().rev().find(|violation| violation.time <= at);
    before.or(violations.first()).map(|violation| violation.rule.clone())
}

fn both(model: &Stages, rtl: &Stages) -> BTreeMap<String, (Vec<u64>, Vec<u64>)> {
    let mut spans: BTreeMap<String, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
    let ps = |took: &Vec<Span>| took.iter().map(|span| span.as_ps()).collect();
    for (name, took) in model {
        spans.entry((*name).to_owned()).or_default().0 = ps(took);
    }
    for (name, took) in rtl {
        spans.entry((*name).to_owned()).or_default().1 = ps(took);
    }
    spans
}

fn stage_figures(spans: &BTreeMap<String, (Vec<u64>, Vec<u64>)>) -> Vec<StageFigures> {
    let ns = |ps: u64| ps as f64 / 1e3;
    let figures = spans.iter().map(|(name, (model, rtl))| {
        let (mut model, mut rtl) = (model.clone(), rtl.clone());
        model.sort_unstable();
        rtl.sort_unstable();
        let mut apart: Vec<u64> =
            model.iter().zip(&rtl).map(|(left, right)| left.abs_diff(*right)).collect();
        apart.sort_unstable();
        StageFigures {
            stage: name.clone(),
            model_count: model.len(),
            rtl_count: rtl.len(),
            model_p50_ns: ns(quantile(&model, 50)),
            rtl_p50_ns: ns(quantile(&rtl, 50)),
            apart_p50_ns: ns(quantile(&apart, 50)),
            apart_p99_ns: ns(quantile(&apart, 99)),
        }
    });
    figures.collect()
}

fn pace(model: &[Transaction], rtl: &[Transaction]) -> BTreeMap<String, PaceFigures> {
    let mut pace: BTreeMap<String, PaceFigures> = BTreeMap::new();
    let mut count = |all: &[Transaction], add: fn(&mut PaceFigures)| {
        for transaction in all {
            if let Stream::Pace(name) = transaction.stream {
                add(pace.entry(name.to_owned()).or_default());
            }
        }
    };
    count(model, |figures| figures.model += 1);
    count(rtl, |figures| figures.rtl += 1);
    pace
}

/// The report as it is printed.
#[must_use]
pub fn text(report: &CompareReport) -> String {
    let mut text = format!("{} on the model and on {}\n\n", report.scenario, report.rtl);
    let _ = writeln!(
        text,
        "{:<44} {:>12} {:>9} {:>8} {:>8} {:>8}  same",
        "run", "transactions", "requests", "p50", "p99", "max"
    );
    for run in &report.runs {
        let same = if run.first_difference.is_some() { "no" } else { "yes" };
        let TimingError { p50, p99, max } = run.timing_error;
        let _ = writeln!(
            text,
            "{:<44} {:>12} {:>9} {:>7.2}% {:>7.2}% {:>7.2}%  {same}",
            run.name,
            run.transactions,
            run.requests,
            p50 * 100.0,
            p99 * 100.0,
            max * 100.0
        );
    }
    text.push('\n');
    stage_table(&mut text, &report.stages);
    text.push('\n');
    match &report.first_difference {
        None => {
            let _ = writeln!(
                text,
                "First functional difference: none in {} transactions.",
                report.transactions
            );
        }
        Some(difference) => first_difference(&mut text, difference),
    }
    for run in &report.runs {
        let broken = [("the model", &run.model_violations), ("the RTL", &run.rtl_violations)];
        for (whose, broken) in
            broken.into_iter().filter_map(|(whose, all)| Some((whose, all.first()?)))
        {
            let _ = writeln!(
                text,
                "{}: {whose} broke {} at {} ns: {}",
                run.name, broken.rule, broken.time_ns, broken.message
            );
        }
    }
    text
}

fn stage_table(text: &mut String, stages: &[StageFigures]) {
    let _ = writeln!(
        text,
        "{:<22} {:>9} {:>9} {:>11} {:>11} {:>11} {:>11}",
        "stage", "model", "rtl", "model p50", "rtl p50", "apart p50", "apart p99"
    );
    for stage in stages {
        let _ = writeln!(
            text,
            "{:<22} {:>9} {:>9} {:>8.1} ns {:>8.1} ns {:>8.1} ns {:>8.1} ns",
            stage.stage,
            stage.model_count,
            stage.rtl_count,
            stage.model_p50_ns,
            stage.rtl_p50_ns,
            stage.apart_p50_ns,
            stage.apart_p99_ns
        );
    }
}

fn first_difference(text: &mut String, difference: &FirstDifference) {
    let _ =
        writeln!(text, "First functional difference, in {}: {}", difference.run, difference.what);
    for (whose, side) in [("model", &difference.model), ("rtl", &difference.rtl)] {
        let _ = match side {
            Some(side) => {
                writeln!(text, "  {whose:<5} {:>14.3} ns  {}", side.time_ps as f64 / 1e3, side.what)
            }
            None => writeln!(text, "  {whose:<5} nothing"),
        };
    }
    if let Some(rule) = &difference.rule {
        let _ = writeln!(text, "  rule  {rule}");
    }
}
