//! Three sentences on where rings should live, made of a report's figures.
//!
//! Each compares means over pairs of runs that differ in one choice only, and turns its words round when
//! the figures do: nothing here knows beforehand what the answer is.

use super::json::{RunFigures, RunReport};
use crate::scenario::config::Placement;

/// The sentences: on rings half on the card, on rings wholly on the card, on the IOMMU. One that has
/// nothing to compare says so.
#[must_use]
pub fn sentences(report: &RunReport) -> [String; 3] {
    let runs: Vec<&RunFigures> = report.results.iter().filter(|run| run.is_watched()).collect();
    [hybrid(&runs), card(&runs), iommu(&runs)]
}

/// Means over the same runs under two choices.
struct Pairs {
    count: usize,
    one: Means,
    other: Means,
}

#[derive(Default)]
struct Means {
    serial: f64,
    mmio_reads: f64,
    p50_ns: f64,
    descriptors_per_s: f64,
}

impl Means {
    fn of(runs: &[&RunFigures]) -> Self {
        let mean = |figure: fn(&RunFigures) -> f64| {
            runs.iter().map(|run| figure(run)).sum::<f64>() / runs.len().max(1) as f64
        };
        Self {
            serial: mean(|run| run.round_trips_per_descriptor.serial),
            mmio_reads: mean(|run| run.mmio_per_request.reads),
            p50_ns: mean(|run| run.latency_ns.p50 as f64),
            descriptors_per_s: mean(|run| run.descriptors_per_s),
        }
    }
}

/// Pairs every run that is `one` with the run that is alike but for being `other`.
fn pairs(
    runs: &[&RunFigures],
    one: impl Fn(&RunFigures) -> bool,
    other: impl Fn(&RunFigures, &RunFigures) -> bool,
) -> Option<Pairs> {
    let found: Vec<(&RunFigures, &RunFigures)> = runs
        .iter()
        .copied()
        .filter(|run| one(run))
        .filter_map(|run| Some((run, *runs.iter().find(|candidate| other(run, candidate))?)))
        .collect();
    let (ones, others): (Vec<&RunFigures>, Vec<&RunFigures>) = found.into_iter().unzip();
    (!ones.is_empty()).then(|| Pairs {
        count: ones.len(),
        one: Means::of(&ones),
        other: Means::of(&others),
    })
}

fn same_traffic(a: &RunFigures, b: &RunFigures) -> bool {
    (a.device, a.ring, a.layout, a.event_idx) == (b.device, b.ring, b.layout, b.event_idx)
}

fn moved(runs: &[&RunFigures], to: Placement) -> Option<Pairs> {
    pairs(
        runs,
        |run| run.placement == Placement::Host,
        |run, candidate| {
            same_traffic(run, candidate)
                && run.platform == candidate.platform
                && candidate.placement == to
        },
    )
}

fn change(from: f64, to: f64, unit: &str) -> String {
    format!("from {from:.2} to {to:.2}{unit}")
}

fn percent(from: f64, to: f64) -> String {
    if from == 0.0 {
        return "to be compared with nothing".to_owned();
    }
    let percent = (to / from - 1.0) * 100.0;
    if percent.abs() < 0.5 {
        "unchanged".to_owned()
    } else if percent < 0.0 {
        format!("{:.0} % lower", -percent)
    } else {
        format!("{percent:.0} % higher")
    }
}

/// Differences below a hundredth do not show in the table either.
fn direction(from: f64, to: f64, less: &'static str, more: &'static str) -> &'static str {
    match to - from {
        difference if difference <= -0.005 => less,
        difference if difference >= 0.005 => more,
        _ => "does not change",
    }
}

fn hybrid(runs: &[&RunFigures]) -> String {
    let Some(Pairs { count, one, other }) = moved(runs, Placement::Hybrid) else {
        return "No two runs differ only in rings in host memory against hybrid rings.".to_owned();
    };
    let verb = direction(one.serial, other.serial, "cuts", "raises");
    format!(
        "The hybrid place (descriptors and available ring on the card, used ring in host memory) {verb} \
         the serial DMA round trips per descriptor {} against rings in host memory, with the median latency {} and \
         descriptors per second {} (mean of {count} pairs of runs).",
        change(one.serial, other.serial, ""),
        percent(one.p50_ns, other.p50_ns),
        percent(one.descriptors_per_s, other.descriptors_per_s),
    )
}

fn card(runs: &[&RunFigures]) -> String {
    let Some(Pairs { count, one, other }) = moved(runs, Placement::Card) else {
        return "No two runs differ only in rings in host memory against rings on the card."
            .to_owned();
    };
    let verb = direction(one.mmio_reads, other.mmio_reads, "lowers", "raises");
    let best = moved(runs, Placement::Hybrid).map_or_else(String::new, |hybrid| {
        let best = [
            ("host memory", one.p50_ns),
            ("the hybrid place", hybrid.other.p50_ns),
            ("the card", other.p50_ns),
        ];
        let lowest =
            best.iter().fold(best[0], |low, next| if next.1 < low.1 { *next } else { low });
        format!("; of the three, {} gives the lowest median", lowest.0)
    });
    format!(
        "Having the used ring on the card as well {verb} the CPU's MMIO reads per request {}, with serial round \
         trips {} and the median latency {} against rings in host memory (mean of {count} pairs of \
         runs){best}.",
        change(one.mmio_reads, other.mmio_reads, ""),
        change(one.serial, other.serial, ""),
        percent(one.p50_ns, other.p50_ns),
    )
}

fn iommu(runs: &[&RunFigures]) -> String {
    let translated = |run: &RunFigures| run.iotlb.hits + run.iotlb.misses > 0;
    let Some(Pairs { count, one, other }) = pairs(
        runs,
        |run| !translated(run),
        |run, candidate| {
            translated(candidate)
                && same_traffic(run, candidate)
                && run.placement == candidate.placement
        },
    ) else {
        return "No two runs differ only in whether an IOMMU translates.".to_owned();
    };
    let lookups = |run: &RunFigures| run.iotlb.hits + run.iotlb.misses;
    let all: u64 = runs.iter().map(|run| lookups(run)).sum();
    let misses: u64 = runs.iter().map(|run| run.iotlb.misses).sum();
    let verb = direction(one.p50_ns, other.p50_ns, "lowers", "raises");
    format!(
        "The IOMMU {verb} the median latency {} and leaves descriptors per second {}, with {:.1} % of \
         {all} translations missing its cache (mean of {count} pairs of runs).",
        change(one.p50_ns / 1e3, other.p50_ns / 1e3, " us"),
        percent(one.descriptors_per_s, other.descriptors_per_s),
        misses as f64 / all as f64 * 100.0,
    )
}
