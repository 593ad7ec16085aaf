//! A study's report as text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::report::{Group, Row, StudyReport, Summary};
use crate::report::{FaultFigures, RunFigures};

/// The rows, one a line, and what they come to.
#[must_use]
pub fn table(report: &StudyReport) -> String {
    let names: Vec<&str> = report.axes.iter().map(|axis| axis.name.as_str()).collect();
    let head: Vec<String> =
        names.iter().map(|name| (*name).to_owned()).chain(figures_head(report)).collect();
    let mut lines = vec![head];
    for row in &report.rows {
        let parameters = names.iter().map(|name| shown(row.parameters.get(*name)));
        lines.push(parameters.chain(figures(row)).collect());
    }
    let mut out = aligned(&lines, names.len());
    for note in &report.notes {
        out += &format!("\nnote: {note}");
    }
    out.push('\n');
    out += &by_group(report);
    out += &format!("{}\n", conclusion(report));
    for violation in report.violations.iter().take(20) {
        out += &format!(
            "violated: {} in {}: {}\n",
            violation.rule, violation.result, violation.message
        );
    }
    out
}

fn figures_head(report: &StudyReport) -> Vec<String> {
    let measured = report.rows.iter().any(|row| row.measured.is_some());
    let faults =
        report.rows.iter().any(|row| row.run.as_ref().is_some_and(|run| run.faults.is_some()));
    let names: &[&str] = if measured {
        &["measured", "simulated", "unit", "error"]
    } else if faults {
        &["run", "strikes", "verdict", "recovery", "link", "registers", "findings"]
    } else {
        &["run", "descriptors/s", "Gbit/s", "p50 ns", "p99 ns", "serial/descriptor"]
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn figures(row: &Row) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
    match &row.run {
        Some(RunFigures { name, faults: Some(faults), .. }) => vec![
            name.clone(),
            faults.strikes.values().sum::<u64>().to_string(),
            faults.verdict.clone(),
            faults.recovery.clone(),
            FaultFigures::counted(&faults.link),
            faults.errors.iter().map(|error| first_part(error)).collect::<Vec<_>>().join(", "),
            FaultFigures::counted(&faults.findings),
        ],
        Some(run) => vec![
            run.name.clone(),
            format!("{:.0}", run.descriptors_per_s),
            format!("{:.3}", run.payload_gbit_per_s),
            run.latency_ns.p50.to_string(),
            run.latency_ns.p99.to_string(),
            format!("{:.3}", run.round_trips_per_descriptor.serial),
        ],
        None => vec![
            number(row.measured),
            number(row.simulated),
            row.unit.clone().unwrap_or_default(),
            row.error.map_or_else(String::new, |error| format!("{:+.1} %", error * 100.0)),
        ],
    }
}

/// An error without the header that it was found in.
fn first_part(error: &str) -> &str {
    error.split_once(", TLP header").map_or(error, |(first, _)| first)
}

/// A parameter as a person reads it.
pub(super) fn shown(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn aligned(lines: &[Vec<String>], left: usize) -> String {
    let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
    for line in lines {
        for (column, text) in line.iter().enumerate() {
            let width = widths.entry(column).or_default();
            *width = (*width).max(text.chars().count());
        }
    }
    let mut out = String::new();
    for line in lines {
        for (column, text) in line.iter().enumerate() {
            let width = widths[&column];
            out += &if column < left {
                format!("{text:<width$}  ")
            } else {
                format!("{text:>width$}  ")
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

/// One line for each value of the first axis, where something was measured: how well it agrees.
fn by_group(report: &StudyReport) -> String {
    let groups = report.groups();
    if groups.len() < 2 {
        return String::new();
    }
    let line = |group: Group| {
        let Group { name, rows, median_abs_error, max_abs_error } = group;
        let (median, largest) = (percent(median_abs_error), percent(max_abs_error));
        format!("{name}: {rows} rows, median absolute error {median}, largest {largest}\n")
    };
    groups.into_iter().map(line).collect()
}

/// One line: how many rows, how well they agree, and whether that is good enough.
fn conclusion(report: &StudyReport) -> String {
    let rows = report.rows.len();
    let Some(Summary { median_abs_error, max_abs_error, held, .. }) = report.summary else {
        let done =
            report.rows.iter().map(|row| row.point).collect::<std::collections::BTreeSet<_>>();
        return format!("{rows} rows, {} of {} points", done.len(), report.points);
    };
    let mut out = format!(
        "{rows} rows: median absolute error {}, largest {}",
        percent(median_abs_error),
        percent(max_abs_error)
    );
    if let Some(allowed) = report.allowed {
        let verdict = if held { "held" } else { "missed" };
        out += &format!(
            "; allowed {} and {}: {verdict}",
            percent(allowed.median_abs_error),
            percent(allowed.max_abs_error)
        );
    }
    out
}
