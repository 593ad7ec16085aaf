//! The trace of a run: read back line by line. Other tests compare their files with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use pcie_sim::time::Instant;
use pcie_sim::tlp::codec;
use pcie_sim::tlp::{Tlp, text};

/// A line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) departs: Instant,
    pub(crate) up: bool,
    pub(crate) tlp: Tlp,
    /// What is between brackets: purpose, queue.
    pub(crate) purpose: Option<String>,
}

impl Line {
    fn read(line: &str) -> Self {
        let (time, rest) = line.trim_start().split_once(" ns ").expect("a time in nanoseconds");
        let (whole, part) = time.split_once('.').expect("with picoseconds");
        assert_eq!(part.len(), 3, "{line}");
        let ps = format!("{whole}{part}").parse().expect("a number");
        let (way, rest) = rest.trim_start().split_once(' ').expect("a way");
        let (hex, words) = rest.trim_start().split_once(' ').expect("hex digits");
        let (words, purpose) = match words.split_once(" [") {
            Some((words, purpose)) => (words, purpose.strip_suffix(']').map(str::to_owned)),
            None => (words, None),
        };
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
            .collect();
        let tlp = codec::parse(&bytes).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(tlp.to_string(), words, "{line}");
        assert_eq!(text::hex(&tlp), hex, "{line}");
        assert!(["up", "down"].contains(&way), "{line}");
        Self { departs: Instant::from_ps(ps), up: way == "up", tlp, purpose }
    }
}

/// The runs of a trace: name, and lines.
pub(crate) fn read(path: &Path) -> Vec<(String, Vec<Line>)> {
    let text = std::fs::read_to_string(path).expect("the trace is there");
    let mut runs: Vec<(String, Vec<Line>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("# "), runs.last_mut()) {
            (Some(name), _) => runs.push((name.to_owned(), Vec::new())),
            (None, Some((_, lines))) => lines.push(Line::read(line)),
            (None, None) => panic!("a line before the first run: {line}"),
        }
    }
    runs
}

/// A scenario file.
pub(crate) fn scenario(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("scenario.toml");
    std::fs::write(&path, text).expect("a file can be written");
    path
}

/// Runs the real command; it must succeed.
pub(crate) fn vtb(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_vtb")).args(arguments).output();
    let output = output.expect("the command starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}{}", String::from_utf8_lossy(&output.stdout));
    assert!(err.is_empty(), "{err}");
}

/// A few packets and commands in every ring placement, both platforms.
pub(crate) const SMALL: &str = "name = \"small\"\nplatforms = [\"x86-noiommu\", \"x86-vtd\"]\n\
    [matrix]\nlayouts = [\"indirect\"]\nevent_idx = [true]\n\
    [net]\nsynthetic = { packets = 10, bytes = 300 }\n\
    [blk]\nsynthetic = { requests = 10, bytes = 1024 }\n";

/// DESIGN.md, "The command": `--trace FILE`, one TLP a line, hex and decoded.
#[test]
fn a_trace_shows_each_tlp_in_hex_that_parses_and_in_the_words_of_what_it_parses_to() {
    let folder = tempfile::tempdir().expect("a place for files");
    let path = folder.path().join("t.txt");
    let scenario = scenario(folder.path(), SMALL);
    let (scenario, trace) = (scenario.to_str().expect("UTF-8"), path.to_str().expect("UTF-8"));
    let json = folder.path().join("j.json");
    vtb(&["run", scenario, "--trace", trace, "--json", json.to_str().expect("UTF-8")]);
    let runs = read(&path);
    let report = std::fs::read_to_string(json).expect("the report is there");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let results = report["results"].as_array().expect("a list");
    assert_eq!((runs.len(), results.len()), (12, 12));
    for ((name, lines), result) in runs.iter().zip(results) {
        assert_eq!(Some(name.as_str()), result["name"].as_str());
        assert!(lines.is_sorted_by_key(|line| line.departs), "{name}: in order of departure");
        let kinds: std::collections::BTreeSet<_> =
            lines.iter().map(|line| (line.up, line.tlp.kind())).collect();
        for kind in [
            (false, "CfgRd0"),
            (false, "CfgWr0"),
            (false, "MRd"),
            (false, "MWr"),
            (false, "CplD"),
            (true, "MRd"),
            (true, "MWr"),
            (true, "CplD"),
            (true, "Cpl"),
        ] {
            assert!(kinds.contains(&kind), "{name}: no {kind:?} in {kinds:?}");
        }
        let purposes: std::collections::BTreeSet<_> =
            lines.iter().filter_map(|line| line.purpose.as_deref()).collect();
        assert!(purposes.contains("payload q0"), "{name}: {purposes:?}");
        assert!(!purposes.iter().any(|purpose| purpose.starts_with("unknown")), "{purposes:?}");
        let since = lines.len() as u64;
        assert!(
            result["tlps"].as_u64().is_some_and(|tlps| tlps < since),
            "the probe is not counted"
        );
    }
}
