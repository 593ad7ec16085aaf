//! Figures made up for these tests; no simulation ran.

use pcie_sim::iommu::IotlbCounts;
use pcie_sim::time::{Instant, Span};

use super::*;
use crate::scenario::config::{Layout, Placement, RunConfig};
use crate::scenario::source::Source;
use crate::scenario::{Overrides, Scenario};

fn scenario(text: &str) -> Scenario {
    let text = format!("name = \"made-up\"\n{text}");
    Scenario::from_source(&Source::built_in("s.toml", &text), &Overrides::default()).unwrap()
}

fn made_up(run: &RunConfig) -> RunResult {
    let ring_reads = match run.placement {
        Placement::Host => 4,
        Placement::Hybrid | Placement::Card => 0,
    };
    let table_read = u64::from(run.layout == Layout::Indirect);
    let vtd = u64::from(run.platform.id == "x86-vtd");
    let reads = 1000 * (1 + ring_reads + table_read);
    let polling = if run.placement == Placement::Card { 7000 } else { 0 };
    let median = 1000 + 400 * ring_reads + polling / 2 + 300 * vtd;
    RunResult {
        requests: 1000,
        descriptors: 1000,
        payload_bytes: 64_000,
        round_trips: reads,
        serial_round_trips: reads,
        dma_reads: reads,
        dma_writes: 3000,
        dma_by_purpose: [("descriptor".to_owned(), 1000)].into(),
        mmio_reads: polling,
        mmio_writes: 1000,
        wire_upstream_bytes: 24 * reads,
        wire_downstream_bytes: 100_000,
        tlps: 9000,
        latency: Latency {
            min_ns: median / 2,
            p50_ns: median,
            p90_ns: median * 2,
            p99_ns: median * 3,
            p999_ns: median * 4,
            max_ns: median * 5,
            mean_ns: median as f64 * 1.1,
        },
        traffic_time: Span::from_ns(median) * 100,
        sim_time: Span::from_ms(1),
        iotlb: IotlbCounts { hits: 950 * vtd, misses: 50 * vtd },
        ..RunResult::default()
    }
}

fn report_with(text: &str, result: impl Fn(&RunConfig) -> RunResult) -> RunReport {
    let scenario = scenario(text);
    let results: Vec<RunResult> = scenario.runs.iter().map(result).collect();
    RunReport::new(&scenario, &results, 0.0)
}

const BOTH: &str = "platforms = [\"x86-noiommu\", \"x86-vtd\"]\n[matrix]\nevent_idx = [false]\n";

#[test]
fn the_table_of_a_matrix_fits_120_columns() {
    let report = report_with(BOTH, made_up);
    let table = table(&report);
    assert!(table.lines().all(|line| line.len() <= 120), "{table}");
    insta::assert_snapshot!(table);
}

#[test]
fn the_text_ends_with_sentences_and_assumptions() {
    let text = text(&report_with(BOTH, made_up));
    let after_table = text.split_once("\n\n").unwrap().1;
    insta::assert_snapshot!(after_table);
}

#[test]
fn the_sentences_turn_round_when_the_figures_do() {
    let turned = report_with(BOTH, |run| {
        let mut result = made_up(run);
        if run.placement == Placement::Host {
            (result.serial_round_trips, result.mmio_reads) = (0, 90_000);
        }
        if run.platform.id == "x86-vtd" {
            result.latency.p50_ns /= 10;
        }
        result
    });
    let [hybrid, card, iommu] = sentences(&turned);
    assert!(hybrid.contains("raises the serial DMA round trips"), "{hybrid}");
    assert!(card.contains("lowers the CPU's MMIO reads"), "{card}");
    assert!(iommu.contains("lowers the median latency"), "{iommu}");
}

#[test]
fn a_sentence_without_anything_to_compare_says_so() {
    let one = "platforms = [\"x86-vtd\"]\n[matrix]\nrings = [\"host\"]\n";
    for sentence in sentences(&report_with(one, made_up)) {
        assert!(sentence.starts_with("No two runs differ only in"), "{sentence}");
    }
}

#[test]
fn a_run_of_nothing_has_figures_of_zero() {
    let report = report_with(BOTH, |_| RunResult::default());
    assert!(report.results.iter().all(|run| run.round_trips_per_descriptor.total == 0.0));
    assert!(!text(&report).contains("NaN"), "{}", text(&report));
}

#[test]
fn the_json_report_has_the_keys_of_its_schema() {
    let one = "platforms = [\"x86-vtd\"]\n[matrix]\ndevices=[\"blk\"]\nrings = [\"host\"]\n\
               layouts=[\"direct\"]\nevent_idx=[true]\n";
    let mut report = report_with(one, |run| RunResult {
        violations: vec![Violation {
            rule: "VQ-USED-DEV-01".to_owned(),
            time: Instant::from_ps(5_000),
            message: "made up".to_owned(),
        }],
        ..made_up(run)
    });
    report.timing.values.retain(|key, _| key == "iommu.hit");
    assert!(!report.all_held());
    insta::assert_snapshot!(report.to_text().unwrap());
}

#[test]
fn a_report_reads_back_as_it_was_written() {
    let report = report_with(BOTH, made_up);
    let text = report.to_text().unwrap();
    assert_eq!(serde_json::from_str::<RunReport>(&text).unwrap(), report);
}

#[test]
fn a_threshold_holds_only_for_a_figure_that_is_there_and_within() {
    let with =
        |threshold: &str| report_with(&format!("{BOTH}[[threshold]]\n{threshold}\n"), made_up);
    let fine = with("figure = \"latency_ns.p50\"\nof = \"hybrid/direct\"\nat_most = 1300");
    assert_eq!((fine.thresholds.len(), fine.all_held()), (4, true));
    for missed in [
        "figure = \"latency_ns.p50\"\nof = \"hybrid/direct\"\nat_most = 1299",
        "figure = \"latency_ns.p50\"\nat_least = 1e9",
        "figure = \"latency_ns.p51\"\nat_most = 1e9",
        "figure = \"latency_ns.p50\"\nof = \"nobody\"\nat_most = 1e9",
    ] {
        let report = with(missed);
        assert!(!report.all_held() && text(&report).contains("missed: "), "{missed}");
    }
}
