//! What looking costs: nothing in the results. And what a window and a depth leave of the waves.

use std::path::Path;

use serde_json::Value;

use crate::trace::{self, Line, vtb};
use crate::waves::{Waves, number, read};

/// The card's clock in the standard scenario: 250 MHz.
const CYCLE_PS: u64 = 4_000;

/// The driver keeps 64 packets under way, for more than 10^6 cycles of the card.
const SATURATED: &str = "name = \"saturated\"\nplatforms = [\"x86-vtd\"]\n\
    [matrix]\ndevices = [\"net\"]\nrings = [\"host\"]\nlayouts = [\"direct\"]\nevent_idx = [true]\n\
    [driver]\nqueue_depth = 64\nkick_batch = 8\n\
    [net]\nsynthetic = { packets = 6000, bytes = 300 }\n";
/// One packet goes round a cable that is 5 ms long.
const IDLE: &str = "name = \"idle\"\nplatforms = [\"x86-vtd\"]\n\
    [matrix]\ndevices = [\"net\"]\nrings = [\"host\"]\nlayouts = [\"direct\"]\nevent_idx = [true]\n\
    [net]\ncable_delay_ns = 5000000\nsynthetic = { packets = 1, bytes = 300 }\n";

fn report(folder: &Path, scenario: &str, waves: Option<&str>) -> String {
    let scenario = trace::scenario(folder, scenario);
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let (json, waves) = (path("r.json"), waves.map(path));
    let mut arguments = vec!["run", scenario.to_str().expect("UTF-8"), "--json", &json];
    if let Some(waves) = &waves {
        arguments.extend(["--waves", waves]);
    }
    vtb(&arguments);
    if let Some(waves) = waves {
        assert!(std::fs::metadata(waves).expect("the waves are there").len() > 1_000);
    }
    std::fs::read_to_string(json).expect("the report is there")
}

fn same_with_and_without(scenario: &str) {
    let folder = tempfile::tempdir().expect("a place for files");
    let without = report(folder.path(), scenario, None);
    let result: Value = serde_json::from_str(&without).expect("JSON");
    let sim_ns = result["results"][0]["sim_time_ns"].as_u64().expect("a time");
    assert!(sim_ns * 1_000 > 1_000_000 * CYCLE_PS, "{sim_ns} ns");
    for kind in ["x.fst", "x.vcd", "x.perfetto-trace"] {
        assert!(report(folder.path(), scenario, Some(kind)) == without, "{kind}");
    }
}

#[test]
fn a_saturated_run_of_a_million_cycles_is_the_same_with_waves_and_without() {
    same_with_and_without(SATURATED);
}

#[test]
fn an_idle_run_of_a_million_cycles_is_the_same_with_waves_and_without() {
    same_with_and_without(IDLE);
}

fn waves_and_lines(file: &str, more: &[&str]) -> (Waves, Vec<Line>) {
    let folder = tempfile::tempdir().expect("a place for files");
    let scenario = trace::scenario(folder.path(), trace::SMALL);
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (waves, lines) = (path(file), path("t.txt"));
    let mut arguments = vec!["run", scenario.to_str().expect("UTF-8")];
    arguments.extend(["--only", "host/indirect+event_idx/net/x86-vtd"]);
    arguments.extend(["--waves", &waves, "--trace", &lines]);
    arguments.extend(more);
    vtb(&arguments);
    let mut runs = trace::read(Path::new(&lines));
    (read(Path::new(&waves)), runs.remove(0).1)
}

/// Every signal at any time in the window is what it is there in the waves of the whole run, and nothing
/// changes outside.
#[test]
fn a_window_of_waves_is_cut_out_of_the_whole() {
    let (whole, lines) = waves_and_lines("x.fst", &[]);
    let (start, end) =
        (lines[lines.len() / 2].departs.as_ns(), lines[lines.len() / 2 + 60].departs);
    let (start, end) = (start, end.as_ns());
    let window = format!("{start}ns..{end}ns");
    let (start, end) = (start * 1_000, end * 1_000);
    for file in ["x.vcd", "x.fst"] {
        let (part, _) = waves_and_lines(file, &["--waves-window", &window]);
        assert_eq!(part.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
        let mut changes = 0;
        for (name, whole) in &whole {
            let before = whole.iter().rev().find(|change| change.0 <= start).expect("a value");
            let inside = whole.iter().filter(|change| change.0 > start && change.0 < end);
            let mut wanted = vec![(start, before.1.clone())];
            wanted.extend(inside.cloned());
            // FST says of each signal that it is unknown at time 0.
            let unknown = |bits: &str| bits.bytes().all(|bit| bit == b'x');
            let found: Vec<_> =
                part[name].iter().filter(|c| c.0 > 0 || !unknown(&c.1)).cloned().collect();
            let first = usize::from(unknown(&wanted[0].1) && found.first() != wanted.first());
            assert_eq!(found, wanted[first..], "{name}");
            changes += found.len();
        }
        assert!(changes > 200, "{changes}");
    }
}

#[test]
fn waves_are_as_deep_as_asked_for() {
    let depth = |levels: &str| waves_and_lines("x.fst", &["--waves-depth", levels]).0;
    let (one, two, three) = (depth("1"), depth("2"), depth("3"));
    assert!(one.contains_key("card.stat_used_o") && one.contains_key("queue1.state"));
    assert!(!one.keys().any(|name| name.starts_with("link.")));
    assert!(two.contains_key("link.upstream.kind"));
    assert!(!two.contains_key("link.upstream.credits.posted_data"));
    assert!(three.contains_key("link.upstream.credits.posted_data"));
}

/// When a strobe rises, from the trace: pulses that touch are one.
fn rises(lines: &[Line], wanted: &str, kind: &str) -> Vec<u64> {
    let of = |line: &&Line| {
        let purpose = line.purpose.as_deref().is_some_and(|purpose| purpose.starts_with(wanted));
        line.up && purpose && line.tlp.kind().starts_with(kind)
    };
    let mut rises = Vec::new();
    let mut until = 0;
    for line in lines.iter().filter(of) {
        let at = line.departs.as_ps();
        if rises.is_empty() || at > until {
            rises.push(at);
        }
        until = at + CYCLE_PS;
    }
    rises
}

fn shown_rises(waves: &Waves, strobe: &str, queue: u16) -> Vec<u64> {
    let mut last = false;
    let mut rises = Vec::new();
    for (at, bits) in &waves[&format!("card.{strobe}")] {
        let high = bits.as_bytes()[bits.len() - 1 - usize::from(queue)] == b'1';
        if high && !last {
            rises.push(*at);
        }
        last = high;
    }
    rises
}

/// `rtl-model/rtl/README.md`, "Strobes": the model's have the RTL's names and are where the trace says.
#[test]
fn strobes_of_the_card_are_where_the_trace_has_the_tlps() {
    let (waves, lines) = waves_and_lines("x.fst", &[]);
    let mut seen = 0;
    for queue in 0..2 {
        for (strobe, purpose, kind) in [
            ("stat_index_read_o", "avail_idx", "MRd"),
            ("stat_payload_read_o", "payload", "MRd"),
            ("stat_payload_write_o", "payload", "MWr"),
            ("stat_used_o", "used_idx", "MWr"),
        ] {
            let shown = shown_rises(&waves, strobe, queue);
            assert_eq!(
                shown,
                rises(&lines, &format!("{purpose} q{queue}"), kind),
                "{strobe} {queue}"
            );
            seen += shown.len();
        }
        for strobe in ["stat_doorbell_o", "stat_index_o", "stat_entry_o", "stat_descriptor_o"] {
            let shown = shown_rises(&waves, strobe, queue).len();
            assert!(shown > 0, "{strobe} {queue}");
        }
    }
    assert_eq!(shown_rises(&waves, "stat_interrupt_o", 0), rises(&lines, "msix", "MWr"));
    assert!(seen > 50, "{seen}");
    let tlps = lines.iter().filter(|line| !line.up).count();
    assert_eq!(number(&waves, "link.downstream.tlps", u64::MAX), Some(tlps as u64));
}

/// Every signal of the scope is a port of the reference RTL's top, of the same width.
#[test]
fn the_card_scope_has_the_names_of_the_reference_rtl() {
    let (waves, _) = waves_and_lines("x.fst", &[]);
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl-model/rtl/virtio_card.sv");
    let top = std::fs::read_to_string(top).expect("the reference RTL is there");
    let mut ports = 0;
    for (name, changes) in &waves {
        let Some(port) = name.strip_prefix("card.") else { continue };
        let declared = top.lines().find(|line| line.trim_end_matches(',').ends_with(port));
        let declared = declared.unwrap_or_else(|| panic!("{port} is a port"));
        let range = declared.split_once('[').and_then(|(_, range)| range.split_once(":0]"));
        let width = range.map_or(1, |(high, _)| high.parse::<usize>().expect("a number") + 1);
        assert_eq!(changes[0].1.len(), width, "{port}");
        ports += 1;
    }
    assert_eq!(ports, 16);
}
