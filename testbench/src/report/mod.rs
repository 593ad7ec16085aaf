//! What is said about runs: figures, a table, three sentences, JSON.
//!
//! ```text
//!   RunResult (counts) ──▶ RunReport (ratios; the JSON file) ──▶ table, sentences, assumptions
//! ```
//!
//! Text is made of the [`RunReport`] alone, so that a saved report can be shown again.

use std::collections::BTreeMap;

mod drivers;
mod faults;
mod json;
mod platforms;
mod result;
mod sentences;
mod table;
mod threshold;

pub use self::drivers::{DriverRow, driver_table};
pub use self::faults::{FaultFigures, fault_lines};
pub use self::json::{Elsewhere, Judged, RuleViolation, RunFigures, RunReport, SCHEMA};
pub use self::platforms::{judge_all, platform_table, summary};
pub use self::result::{DmaApiCounts, Facts, Latency, RunError, RunResult, Violation};
pub use self::sentences::sentences;
pub use self::table::table;
pub use self::threshold::Verdict;

/// The whole text that `vtb run` prints: table, sentences, assumptions, and what did not hold.
#[must_use]
pub fn text(report: &RunReport) -> String {
    let mut out = table(report);
    out.push('\n');
    for sentence in sentences(report) {
        out.push_str(&format!("{sentence}\n"));
    }
    for run in report.results.iter().filter(|run| !run.is_watched()) {
        out.push_str(&format!(
            "{}: {} requests of {} descriptors and {} mappings done, their data compared; what crosses its \
             link cannot be seen.\n",
            run.name, run.requests, run.descriptors, run.dma_api.maps
        ));
    }
    for line in fault_lines(report) {
        out.push_str(&format!("{line}\n"));
    }
    if report.left_out > 0 {
        out.push_str(&format!(
            "{} runs left out: the card is not made for them.\n",
            report.left_out
        ));
    }
    out.push_str(&format!("\n{}\n", assumptions(report)));
    for violation in report.violations.iter().take(VIOLATIONS_SHOWN) {
        let RuleViolation { rule, time_ns, message, result } = violation;
        out.push_str(&format!("violated: {rule} at {time_ns} ns in {result}: {message}\n"));
    }
    if let Some(more @ 1..) = report.violations.len().checked_sub(VIOLATIONS_SHOWN) {
        out.push_str(&format!("violated: {more} more, all of them in --json\n"));
    }
    for verdict in report.thresholds.iter().filter(|verdict| !verdict.held) {
        out.push_str(&format!("missed: {verdict}\n"));
    }
    out
}

/// More than these fill a screen and help nobody.
const VIOLATIONS_SHOWN: usize = 20;

/// One line: how many of the timing values nobody measured, by their first word.
fn assumptions(report: &RunReport) -> String {
    let timing = &report.timing;
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (key, quantity) in &timing.values {
        let (assumed, all) = groups.entry(key.split('.').next().unwrap_or(key)).or_default();
        *assumed += usize::from(quantity.is_assumed());
        *all += 1;
    }
    let assumed: usize = groups.values().map(|(assumed, _)| assumed).sum();
    let parts: Vec<String> = groups
        .iter()
        .map(|(group, (assumed, all))| format!("{group} {assumed} of {all}"))
        .collect();
    format!(
        "Timing preset {}: {assumed} of {} values are assumed, not measured ({}); --json lists each with \
         its source.",
        timing.preset,
        timing.values.len(),
        parts.join(", ")
    )
}

#[cfg(test)]
mod tests;
