//! The table of platforms: what becomes of a card on each, and how one sees it.

use std::collections::BTreeSet;

use super::json::{Elsewhere, Judged, RuleViolation, RunFigures, RunReport, per};
use super::result::RunResult;
use crate::platform::judge::{besides, judge};
use crate::platform::{Case, Outcome, PLATFORMS};
use crate::scenario::config::{Device, RunConfig};

/// Puts what was judged into a report whose runs each show a `case`, in the same order. What a case
/// exists to show is no violation; what differs from it is one.
pub fn judge_all(
    report: &mut RunReport,
    runs: &[RunConfig],
    cases: &[&'static Case],
    results: &[RunResult],
) {
    report.violations.clear();
    for (((figures, run), case), result) in
        report.results.iter_mut().zip(runs).zip(cases).zip(results)
    {
        let verdict = judge(result);
        let judged = Judged {
            variant: run.variant.to_owned(),
            ops: result.facts.ops.to_owned(),
            features: names(result.facts.features),
            outcome: verdict.outcome,
            expected: case.expected.outcome,
            evidence: verdict.evidence,
            cpu_ns_per_request: per(result.facts.cpu_time.as_ns(), result.completed),
        };
        let wrong = unexpected(case, &judged, result);
        report.violations.extend(wrong.map(|message| RuleViolation {
            rule: "PLATFORM-OUTCOME".to_owned(),
            time_ns: 0,
            message,
            result: figures.name.clone(),
        }));
        figures.judged = Some(judged);
    }
    let shown: BTreeSet<&str> = runs.iter().map(|run| run.platform.id).collect();
    let others = PLATFORMS.iter().filter(|platform| platform.cases().is_empty());
    report.elsewhere = others
        .filter(|platform| !shown.contains(platform.id))
        .map(|platform| Elsewhere {
            platform: platform.id.to_owned(),
            place: platform.why_not_here().to_owned(),
        })
        .collect();
}

/// What of the case did not come true.
fn unexpected(case: &Case, judged: &Judged, result: &RunResult) -> Option<String> {
    let expected = &case.expected;
    let features = names(expected.features);
    if judged.outcome != expected.outcome {
        return Some(format!("expected {}, seen {}", expected.outcome, judged.outcome));
    }
    if judged.ops != expected.ops {
        return Some(format!("expected the ops `{}`, seen `{}`", expected.ops, judged.ops));
    }
    if judged.features != features {
        return Some(format!("expected {features:?} negotiated, seen {:?}", judged.features));
    }
    if let Some(found) = besides(result)
        && matches!(judged.outcome, Outcome::Works | Outcome::Bounces)
        && (expected.evidence.is_empty() || !found.contains(expected.evidence))
    {
        return Some(format!("the data is right, and yet: {found}"));
    }
    let told = judged.evidence.contains(expected.evidence);
    (!told).then(|| format!("expected evidence of `{}`, seen none", expected.evidence))
}

fn names(bits: u64) -> Vec<String> {
    use pcie_sim::spec::features::{ACCESS_PLATFORM, ORDER_PLATFORM, SWIOTLB};
    let names = [
        (SWIOTLB, "SWIOTLB"),
        (ACCESS_PLATFORM, "ACCESS_PLATFORM"),
        (ORDER_PLATFORM, "ORDER_PLATFORM"),
    ];
    let on = names.into_iter().filter(|(bit, _)| bits & bit != 0);
    on.map(|(_, name)| name.to_owned()).collect()
}

const HEADING: [&str; 11] = [
    "platform",
    "ops",
    "A O S",
    "outcome",
    "expected",
    "trips/desc",
    "maps/unmaps",
    "bounced B",
    "CPU ns/req",
    "p50 us blk/net",
    "evidence",
];

/// The table: a line a platform and, below it, a line for each of its variants. A, O and S: ACCESS_PLATFORM,
/// ORDER_PLATFORM and SWIOTLB were negotiated.
#[must_use]
pub fn platform_table(report: &RunReport) -> String {
    let mut rows: Vec<[String; 11]> = vec![HEADING.map(str::to_owned)];
    let mut last = "";
    for group in
        report.results.chunk_by(|a, b| a.platform == b.platform && variant(a) == variant(b))
    {
        let Some(first) = group.first() else { continue };
        rows.push(row(group, first.platform != last));
        last = &first.platform;
    }
    for elsewhere in &report.elsewhere {
        let mut row: [String; 11] = std::array::from_fn(|_| "-".to_owned());
        row[0].clone_from(&elsewhere.platform);
        row[3] = "not run".to_owned();
        row[10].clone_from(&elsewhere.place);
        rows.push(row);
    }
    lines(&rows)
}

fn variant(figures: &RunFigures) -> &str {
    figures.judged.as_ref().map_or("", |judged| judged.variant.as_str())
}

/// One line of the table, of the runs of one case.
fn row(group: &[RunFigures], own: bool) -> [String; 11] {
    let judged: Vec<&Judged> = group.iter().filter_map(|run| run.judged.as_ref()).collect();
    let worst = judged.iter().max_by_key(|judged| judged.outcome != judged.expected);
    let Some(shown) = worst else { return std::array::from_fn(|_| String::new()) };
    let sum = |of: &dyn Fn(&RunFigures) -> f64| group.iter().map(of).sum::<f64>();
    let descriptors = sum(&|run| run.descriptors as f64);
    let trips = sum(&|run| run.round_trips_per_descriptor.total * run.descriptors as f64);
    let cpu = judged.iter().map(|judged| judged.cpu_ns_per_request).sum::<f64>();
    let p50 = |device| {
        let run = group.iter().find(|run| run.device == device);
        run.map_or(0.0, |run| run.latency_ns.p50 as f64 / 1e3)
    };
    let name = match (own, shown.variant.as_str()) {
        (true, "") => group[0].platform.clone(),
        (true, variant) => format!("{} ({variant})", group[0].platform),
        (false, variant) => format!("  {variant}"),
    };
    let (maps, unmaps) =
        (sum(&|run| run.dma_api.maps as f64), sum(&|run| run.dma_api.unmaps as f64));
    [
        name,
        if shown.ops.is_empty() { "-".to_owned() } else { shown.ops.clone() },
        letters(&shown.features),
        shown.outcome.to_string(),
        shown.expected.to_string(),
        // Nothing was moved, or by a bus that the analyzer does not know.
        if descriptors > 0.0 { format!("{:.2}", trips / descriptors) } else { "-".to_owned() },
        format!("{maps:.0}/{unmaps:.0}"),
        format!("{:.0}", sum(&|run| run.dma_api.bounced_bytes as f64)),
        format!("{:.0}", cpu / judged.len() as f64),
        format!("{:.1}/{:.1}", p50(Device::Blk), p50(Device::Net)),
        shown.evidence.clone(),
    ]
}

fn letters(features: &[String]) -> String {
    let letter = |name: &str, letter| if features.iter().any(|f| f == name) { letter } else { "-" };
    format!(
        "{} {} {}",
        letter("ACCESS_PLATFORM", "A"),
        letter("ORDER_PLATFORM", "O"),
        letter("SWIOTLB", "S")
    )
}

fn lines(rows: &[[String; 11]]) -> String {
    let widths: [usize; 11] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or(0));
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).enumerate().map(|(at, (cell, width))| {
            // Figures stand to the right.
            if (5..=9).contains(&at) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out
}

/// One sentence: how many cases showed what they had to.
#[must_use]
pub fn summary(report: &RunReport) -> String {
    let judged: Vec<&Judged> =
        report.results.iter().filter_map(|run| run.judged.as_ref()).collect();
    let count = |outcome: Outcome| judged.iter().filter(|judged| judged.outcome == outcome).count();
    format!(
        "{} runs: {} work, {} bounce, {} fault, {} corrupt, {} are refused; {} differ from what is expected.",
        judged.len(),
        count(Outcome::Works),
        count(Outcome::Bounces),
        count(Outcome::Faults),
        count(Outcome::Corrupts),
        count(Outcome::Refused),
        report.violations.len()
    )
}
