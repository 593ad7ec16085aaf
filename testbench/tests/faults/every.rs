//! Every fault there is, in each direction, on block and network cards.

use std::fmt::Write;
use std::path::Path;

use testbench::bench;
use testbench::report::FaultFigures;
use testbench::study::{Row, Shard, Study, StudyReport};

fn report() -> StudyReport {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("studies/faults.toml");
    let study = Study::load(&path).unwrap_or_else(|error| panic!("{error}"));
    let report = study.run(Shard::WHOLE, 2, &bench::run, &mut || {});
    report.unwrap_or_else(|error| panic!("{error}"))
}

fn faults(row: &Row) -> (&str, &str, &FaultFigures) {
    let text = |key: &str| row.parameters.get(key).and_then(|value| value.as_str()).unwrap_or("");
    let figures = row.run.as_ref().and_then(|run| run.faults.as_ref());
    (text("fault"), text("direction"), figures.expect("each row has its faults"))
}

/// What is detected, by whom, which register or message shows it, how it recovers: a line for each row.
#[test]
fn every_fault_shows_where_it_should_and_none_is_silent() {
    let report = report();
    assert_eq!(report.violations, []);
    let mut lines = String::new();
    for row in &report.rows {
        let (fault, way, told) = faults(row);
        let run = row.run.as_ref().map_or("", |run| run.name.as_str());
        let place = run.trim_start_matches("split/").trim_end_matches("/x86-vtd");
        let _ = writeln!(lines, "{fault} {way} {place}: {} ({})", told.verdict, told.recovery);
        let errors = told.errors.iter().map(|error| error.split(", TLP").next().unwrap_or(error));
        for shown in told.link.keys().map(String::as_str).chain(errors) {
            let _ = writeln!(lines, "    {shown}");
        }
    }
    insta::assert_snapshot!(lines);
}

fn rows_of<'r>(
    report: &'r StudyReport,
    wanted: &'r [&str],
) -> impl Iterator<Item = (&'r str, &'r str, &'r FaultFigures)> {
    let struck = |told: &FaultFigures| !told.strikes.is_empty();
    report
        .rows
        .iter()
        .map(faults)
        .filter(move |(fault, _, told)| wanted.contains(fault) && struck(told))
}

/// PCIe 5.0 §3.6: what the wire does to a TLP or an Ack the data link layer repairs; above it nothing is
/// seen but time.
#[test]
fn the_data_link_layer_repairs_what_the_wire_does() {
    let report = report();
    let wire = ["lcrc-error", "tlp-lost", "ack-lost", "tlp-duplicated", "delayed", "retrain"];
    for (fault, way, told) in rows_of(&report, &wire) {
        assert_eq!(told.verdict, "held", "{fault} {way}");
        assert!(told.findings.is_empty(), "{fault} {way}: {:?}", told.findings);
    }
    for (fault, way, told) in rows_of(&report, &["lcrc-error"]) {
        let (receiver, sender) = if way == "down" { ("card", "port") } else { ("port", "card") };
        assert!(told.link.contains_key(&format!("{receiver}: Bad TLP")), "{fault} {way}");
        assert!(told.link.contains_key(&format!("{sender}: replayed")), "{fault} {way}");
    }
}

/// PCIe 5.0 §6.2.3.2.4.5 and §2.8: the requester of what never comes, or comes wrong, records it.
#[test]
fn the_requester_records_a_completion_that_is_lost_or_wrong() {
    let report = report();
    let expected = [
        ("completion-lost", "Completion Timeout"),
        ("completion-duplicated", "Unexpected Completion"),
        ("completion-tag", "Unexpected Completion"),
        ("completion-status", "Received Target Abort"),
        ("poisoned", "Poisoned TLP Received"),
        ("ecrc-error", "ECRC Error"),
        ("surprise-down", "Surprise Down Error"),
    ];
    for (name, error) in expected {
        for (fault, way, told) in rows_of(&report, &[name]) {
            // A surprise down is the port's to record.
            let requester =
                if way == "down" && name != "surprise-down" { "01:00.0" } else { "00:01.0" };
            let recorded =
                told.errors.iter().any(|e| e.starts_with(requester) && e.contains(error));
            assert!(recorded, "{fault} {way}: {:?}", told.errors);
        }
    }
}
