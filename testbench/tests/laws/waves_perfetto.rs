//! The Perfetto trace of a run, read back by Perfetto's own schema and compared with the trace and the report
//! of the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::perfetto_reader::{self as reader, Read, ReadSlice};
use crate::trace::{self, Line, vtb};

struct Run {
    read: Read,
    lines: Vec<Line>,
    result: Value,
}

fn run(device: &str, rings: &str, more: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a place for files");
    let scenario = trace::scenario(folder.path(), trace::SMALL);
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (waves, lines, json) = (path("x.perfetto-trace"), path("t.txt"), path("r.json"));
    let only = format!("{rings}/indirect+event_idx/{device}/x86-vtd");
    let mut arguments = vec!["run", scenario.to_str().expect("UTF-8"), "--only", &only];
    arguments.extend(["--waves", &waves, "--trace", &lines, "--json", &json]);
    arguments.extend(more);
    vtb(&arguments);
    let report = std::fs::read_to_string(json).expect("the report is there");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let mut runs = trace::read(Path::new(&lines));
    assert_eq!(runs.len(), 1);
    Run {
        read: reader::read(Path::new(&waves)),
        lines: runs.remove(0).1,
        result: report["results"][0].clone(),
    }
}

fn argument(slice: &ReadSlice, name: &str) -> Option<u64> {
    let value = &slice.arguments.iter().find(|(of, _)| of == name)?.1;
    match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}

fn on<'r>(read: &'r Read, track: &str) -> Vec<&'r ReadSlice> {
    read.slices().filter(|slice| slice.track == track).collect()
}

fn link_is_as_traced(run: &Run) {
    for (track, up) in [("link/upstream", true), ("link/downstream", false)] {
        let slices = on(&run.read, track);
        let lines: Vec<_> = run.lines.iter().filter(|line| line.up == up).collect();
        assert_eq!(slices.len(), lines.len(), "{track}");
        for (slice, line) in slices.into_iter().zip(lines) {
            assert_eq!(argument(slice, "departs_ps"), Some(line.departs.as_ps()), "{line:?}");
            assert_eq!(slice.begin_ns, line.departs.as_ns());
            assert_eq!(slice.category, line.tlp.kind());
            assert_eq!(argument(slice, "tag"), Some(u64::from(line.tlp.tag().0)), "{line:?}");
            if let Some(purpose) = &line.purpose {
                assert_eq!(Some(slice.name.as_str()), purpose.split(' ').next(), "{line:?}");
            }
        }
    }
}

/// Every request is there, and its flow goes from its doorbell, or its first read, through its DMA to the
/// interrupt, or to where the CPU learned of it otherwise.
fn requests_flow(run: &Run, rings: &str) {
    let requests: Vec<_> = run.read.slices().filter(|s| s.track.ends_with("/request")).collect();
    assert_eq!(run.result["requests"].as_u64(), Some(requests.len() as u64));
    let mut flows: BTreeMap<u64, Vec<&ReadSlice>> = BTreeMap::new();
    let mut ended = BTreeSet::new();
    for slice in run.read.slices() {
        for flow in slice.flows.iter().chain(&slice.ended_flows) {
            flows.entry(*flow).or_default().push(slice);
        }
        for flow in &slice.ended_flows {
            assert!(ended.insert(*flow), "flow {flow} ends once");
        }
    }
    let (mut from_doorbell, mut to_interrupt, mut payloads) = (0, 0, 0);
    for request in &requests {
        let number = argument(request, "number").expect("a request has a number");
        assert_eq!(request.flows, [number]);
        assert!(ended.contains(&number), "the flow of {request:?} ends");
        let mut steps = flows.remove(&number).expect("a flow");
        steps.sort_by_key(|slice| (slice.begin_ns, slice.end_ns));
        let (first, last) = (steps[0], steps[steps.len() - 1]);
        let bell = first.track == "link/downstream" && first.name == "mmio";
        assert!(bell || first.begin_ns == request.begin_ns, "{steps:#?}");
        from_doorbell += usize::from(bell);
        assert!(last.ended_flows.contains(&number), "{steps:#?}");
        assert!(["msix", "used_idx", "mmio"].contains(&last.name.as_str()), "{last:?}");
        to_interrupt += usize::from(last.name == "msix");
        let touched = steps.iter().filter(|slice| slice.name == "payload");
        payloads += touched.count();
        assert!(steps.iter().all(|slice| slice.begin_ns <= last.begin_ns));
    }
    assert_eq!(
        flows.keys().collect::<Vec<_>>(),
        Vec::<&u64>::new(),
        "no flow but those of requests"
    );
    assert_eq!(from_doorbell, requests.len());
    assert!(payloads >= requests.len(), "{payloads}");
    if rings == "host" {
        // One interrupt can tell of many, and of those that were polled meanwhile none does.
        let interrupts: Vec<_> = run.read.slices().filter(|slice| slice.name == "msix").collect();
        assert!(interrupts.iter().all(|slice| !slice.ended_flows.is_empty()));
        assert!(to_interrupt >= interrupts.len() && !interrupts.is_empty(), "{to_interrupt}");
    }
}

/// DESIGN.md, "The command": `--waves FILE.perfetto-trace`.
#[test]
fn a_perfetto_trace_shows_what_the_trace_of_the_same_run_says() {
    for (device, rings) in [("blk", "host"), ("net", "host"), ("blk", "card"), ("net", "hybrid")] {
        let run = run(device, rings, &[]);
        link_is_as_traced(&run);
        requests_flow(&run, rings);
        let misses = run.result["iotlb"]["misses"].as_u64().expect("a number");
        let walks = on(&run.read, "iommu/walk").len() as u64;
        assert!(misses > 0 && walks >= misses, "{walks} walks, {misses} misses while traffic ran");
        let cpu: BTreeSet<_> = on(&run.read, "cpu").iter().map(|s| s.name.clone()).collect();
        assert_eq!(cpu, ["complete", "submit"].map(str::to_owned).into());
        let waits = on(&run.read, "cpu/waits for the card");
        let answers = run.lines.iter().filter(|line| line.up && line.tlp.kind().starts_with("Cpl"));
        assert_eq!(waits.len(), answers.count(), "the CPU waits for every answer");
    }
}

/// The window's slices are those of the whole that lie in it.
#[test]
fn a_window_of_a_perfetto_trace_is_cut_out_of_the_whole() {
    let whole = run("net", "host", &[]);
    let requests: Vec<_> = whole.read.slices().filter(|s| s.track.ends_with("/request")).collect();
    let middle = requests[requests.len() / 2].begin_ns;
    let (start, end) = (middle - 3_000, middle + 3_000);
    let window = format!("{start}ns..{end}ns");
    let part = run("net", "host", &["--waves-window", &window]);
    let inside = |slice: &&ReadSlice| slice.begin_ns < end && slice.end_ns >= start;
    let key = |slice: &ReadSlice| {
        (slice.track.clone(), slice.name.clone(), slice.begin_ns.max(start), slice.end_ns.min(end))
    };
    let mut wanted: Vec<_> = whole.read.slices().filter(inside).map(key).collect();
    let mut found: Vec<_> = part.read.slices().map(key).collect();
    // A slice that ends within the nanosecond before the window is not in it.
    wanted.retain(|slice| slice.3 > start);
    found.retain(|slice| slice.3 > start);
    wanted.sort();
    found.sort();
    assert!(found.len() > 20, "{}", found.len());
    assert_eq!(found, wanted);
    assert!(part.read.slices().all(|slice| slice.begin_ns >= start && slice.end_ns <= end));
}

#[test]
fn a_perfetto_trace_is_as_deep_as_asked_for() {
    let tracks = |depth: &str| -> BTreeSet<String> {
        let run = run("blk", "host", &["--waves-depth", depth]);
        run.read.tracks.into_iter().map(|track| track.path).collect()
    };
    assert_eq!(tracks("1"), ["cpu", "queue 0", "link", "iommu"].map(str::to_owned).into());
    let two = tracks("2");
    assert!(two.contains("link/upstream") && two.contains("queue 0/request"));
    assert!(two.iter().all(|path| path.split('/').count() <= 2));
    assert!(tracks("3").contains("link/upstream/posted header credits"));
}
