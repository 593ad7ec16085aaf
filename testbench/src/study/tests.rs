//! Laws of studies.

use std::path::Path;

use super::pcie_bench::{Measurement, Test, simulate};
use super::*;
use crate::bench;

fn studies(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("studies").join(name)
}

fn whole(name: &str) -> StudyReport {
    let study = Study::load(&studies(name)).unwrap();
    study.run(Shard::WHOLE, 2, &bench::run, &mut || ()).unwrap()
}

/// The fit of the preset `haswell-e5-gen3x8` to pcie-bench, as `studies/pcie-bench.toml` allows.
#[test]
fn the_simulated_haswell_agrees_with_the_measured_one() {
    let report = whole("pcie-bench.toml");
    let summary = report.summary.unwrap();
    assert_eq!(summary.rows, 288);
    assert!(summary.median_abs_error <= 0.03 && summary.max_abs_error <= 0.10, "{summary:?}");
    assert!(report.all_held());
    let groups = report.groups();
    assert_eq!(groups.len(), 6);
    for group in groups {
        assert!(group.median_abs_error <= 0.03 && group.max_abs_error <= 0.10, "{group:?}");
    }
}

/// A benchmark's reads and writes are not a virtio card's.
#[test]
fn a_benchmark_replayed_is_refused_with_rtl_and_says_which_studies_are_not() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl-model/reference.toml");
    let rtl = CardChoice::parse(&format!("rtl:{}", manifest.display())).unwrap();
    let mut study = Study::load(&studies("pcie-bench.toml")).unwrap();
    study.plug(&CardChoice::Model).unwrap();
    let error = study.plug(&rtl).unwrap_err().to_string();
    assert!(error.contains("exerciser") && error.contains("sweep"), "{error}");
    let mut sweep = Study::load(&studies("link.toml")).unwrap();
    sweep.plug(&rtl).unwrap();
    let Study::Sweep(sweep) = sweep else { panic!("it is a sweep") };
    let runs = sweep.points.iter().flat_map(|(_, scenario)| &scenario.runs);
    assert!(runs.map(|run| run.under_test.to_string()).all(|card| card.starts_with("rtl:")));
}

/// The names of the elements that are open at each place, as HTML nests them; what is wrong with that.
fn nesting(page: &str) -> Result<usize, String> {
    let (mut open, mut elements) = (Vec::new(), 0);
    for part in page.split('<').skip(1) {
        let (tag, text) = part.split_once('>').ok_or_else(|| format!("<{part} does not end"))?;
        if text.contains('>') {
            return Err(format!("a bare > behind <{tag}>"));
        }
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.matches('"').count() % 2 != 0 {
            return Err(format!("<{tag}> has an attribute that does not end"));
        }
        match tag.chars().next() {
            Some('/') if open.pop() != Some(name) => return Err(format!("<{tag}> closes another")),
            Some('/' | '!') => {}
            _ if tag.ends_with('/') || name == "meta" => elements += 1,
            _ => {
                open.push(name);
                elements += 1;
            }
        }
    }
    if open.is_empty() { Ok(elements) } else { Err(format!("{open:?} stay open")) }
}

/// Every element is closed where it was opened, and nothing is loaded from elsewhere.
#[test]
fn the_page_of_a_study_is_well_formed_and_needs_nothing_else() {
    let Study::PcieBench(mut study) = Study::load(&studies("pcie-bench.toml")).unwrap() else {
        panic!("it is a replay")
    };
    study.accesses.latency = 100;
    study.accesses.bandwidth = 100;
    study.rows.retain(|row| row.test == Test::LatCmdRead);
    study.name = "<a> & \"b\"".to_owned();
    let report = Study::PcieBench(study).run(Shard::WHOLE, 1, &bench::run, &mut || ()).unwrap();
    let page = html::page(&report);
    assert!(page.starts_with("<!DOCTYPE html>\n") && page.contains("<svg"));
    assert!(page.contains("&lt;a&gt; &amp; &quot;b&quot;"));
    assert!(nesting(&page).unwrap() > 100, "{page}");
    for elsewhere in ["http", "href", "src=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    for wrong in ["<b><i></b></i>", "<b>", "<b", "<p class=\"x>a</p>", "<b>1 > 0</b>"] {
        assert!(nesting(wrong).is_err(), "{wrong}");
    }
}

/// pcie-bench, `python/pciebench/nfpbench.py`: bytes and transactions of `BW_DMA_RW` are halved.
#[test]
fn writes_and_reads_by_turns_count_for_one_direction() {
    let Study::PcieBench(study) = Study::load(&studies("pcie-bench.toml")).unwrap() else {
        panic!("it is a replay")
    };
    let row = study.rows.iter().find(|row| row.test == Test::BwWrite && row.size == 2048).unwrap();
    let shown = |test| simulate(&study, &Measurement { test, ..row.clone() }).unwrap();
    let (writes, both) = (shown(Test::BwWrite), shown(Test::BwReadWrite));
    assert!(both > 0.8 * writes && both < writes, "{both} of {writes} Gbit/s");
}

fn small_sweep(folder: &Path) -> Study {
    let text = "name = \"t\"\nkind = \"sweep\"\nscenario = \"s.toml\"\n\
        [[axis]]\nkey = \"link.width\"\nvalues = [1, 8]\n\
        [[axis]]\nkey = \"timing.set.link.propagation\"\n\
        values = [{ value = 0, unit = \"ns\", source = \"swept\" }, { value = 500, unit = \"ns\", source = \"swept\" }]\n";
    std::fs::write(folder.join("t.toml"), text).unwrap();
    let speed = include_str!("../../scenarios/speed.toml");
    let scenario: toml::Table = speed.parse().unwrap();
    let mut scenario = scenario;
    scenario["net"]["synthetic"]["packets"] = toml::Value::Integer(40);
    std::fs::write(folder.join("s.toml"), scenario.to_string()).unwrap();
    Study::load(&folder.join("t.toml")).unwrap()
}

#[test]
fn merged_shards_are_the_whole_byte_for_byte_in_whatever_order_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let study = small_sweep(folder.path());
    assert_eq!(study.points(), 4);
    let run = |shard| study.run(shard, 2, &bench::run, &mut || ()).unwrap();
    let text = |report: &StudyReport| report.to_text().unwrap();
    let saved = |shard: &str| {
        let report = run(shard.parse().unwrap());
        serde_json::from_str::<StudyReport>(&text(&report)).unwrap()
    };
    let merged = StudyReport::merge(vec![saved("3/3"), saved("1/3"), saved("2/3")]).unwrap();
    assert_eq!(text(&merged), text(&run(Shard::WHOLE)));
}

#[test]
fn a_sweep_changes_what_its_axes_say() {
    let folder = tempfile::tempdir().unwrap();
    let study = small_sweep(folder.path());
    let report = study.run(Shard::WHOLE, 1, &bench::run, &mut || ()).unwrap();
    let p50: Vec<u64> =
        report.rows.iter().map(|row| row.run.as_ref().unwrap().latency_ns.p50).collect();
    assert!(p50[1] > p50[0] && p50[3] > p50[2] && p50[0] > p50[2], "{p50:?}");
}

#[test]
fn reports_that_are_not_the_shards_of_one_study_are_not_merged() {
    use super::report::MergeError::{Different, Missing, Nothing, Twice};
    let folder = tempfile::tempdir().unwrap();
    let study = small_sweep(folder.path());
    let first = study.run("1/2".parse().unwrap(), 1, &bench::run, &mut || ()).unwrap();
    let other = StudyReport { study: "u".to_owned(), ..first.clone() };
    assert_eq!(StudyReport::merge(vec![]), Err(Nothing));
    assert_eq!(StudyReport::merge(vec![first.clone(), other]), Err(Different { nth: 2 }));
    assert_eq!(StudyReport::merge(vec![first.clone(), first.clone()]), Err(Twice { point: 0 }));
    assert_eq!(StudyReport::merge(vec![first]), Err(Missing { point: 1, points: 4 }));
}

#[test]
fn a_shard_is_the_nth_of_so_many() {
    assert_eq!("2/3".parse::<Shard>().unwrap().points(8).collect::<Vec<_>>(), [1, 4, 7]);
    for wrong in ["0/3", "4/3", "1", "1/0", "a/b", ""] {
        assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
    }
}

#[test]
fn a_study_that_misses_its_thresholds_says_so() {
    let Study::PcieBench(mut study) = Study::load(&studies("pcie-bench.toml")).unwrap() else {
        panic!("it is a replay")
    };
    study.rows.truncate(2);
    study.rows[0].value *= 2.0;
    let report = Study::PcieBench(study).run(Shard::WHOLE, 1, &bench::run, &mut || ()).unwrap();
    assert!(!report.all_held() && table(&report).contains("missed"));
}

#[test]
fn a_mistake_in_a_study_is_told_with_file_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let good = std::fs::read_to_string(studies("pcie-bench.toml")).unwrap();
    let data = studies("data").display().to_string();
    let good = good.replace("\"data/", &format!("\"{data}/"));
    let cases = [
        ("kind = \"pcie-bench\"", "kind = \"x\"", "kind: unknown kind `x`"),
        ("command_issue", "comand_issue", "exerciser.command_issue: this value is missing"),
        ("mps = 256", "mps = 300", "link.mps: a power of two"),
        ("latency_by_size", "latency_by_sise", "cannot be read"),
        (
            "at_once =",
            "more = { value = 1, unit = \"ns\", source = \"x\" }\nat_once =",
            "exerciser.more: unknown",
        ),
    ];
    for (from, to, expected) in cases {
        std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let error = Study::load(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
