//! A Perfetto trace is read back by Perfetto's own published schema (`tests/perfetto/trace.proto`), by the
//! crates `protox` and `prost-reflect`: none of the writer's own declarations is used.

#[path = "perfetto/reader.rs"]
mod reader;

use proptest::prelude::*;
use reader::{Event, Read};
use waves::perfetto::{Argument, Lanes, Slice, Trace, TrackId};
use waves::{Cut, WaveError};

fn written(cut: &Cut, write: impl FnOnce(&mut Trace)) -> Read {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.perfetto-trace");
    let mut trace = Trace::create(&path, cut).unwrap();
    write(&mut trace);
    trace.finish().unwrap();
    reader::read(&path)
}

fn slice(name: &str, begin_ps: u64, end_ps: u64) -> Slice<'_> {
    Slice { name, category: "test", begin_ps, end_ps, ..Slice::default() }
}

#[test]
fn a_slice_is_read_back_with_its_track_name_category_and_arguments() {
    let read = written(&Cut::default(), |trace| {
        let link = trace.track(None, "link").unwrap();
        let up = trace.track(Some(link), "upstream").unwrap();
        let arguments = [
            ("tag", Argument::Number(7)),
            ("address", Argument::Address(0xfee0_0000)),
            ("status", Argument::Text("SC")),
        ];
        let of =
            |begin_ps, end_ps| Slice { arguments: &arguments, ..slice("MRd", begin_ps, end_ps) };
        trace.slice(up, &of(1_999, 5_000)).unwrap();
        trace.slice(up, &of(6_000, 6_400)).unwrap();
    });
    assert_eq!(
        read.tracks.iter().map(|t| t.path.as_str()).collect::<Vec<_>>(),
        ["link", "link/upstream"]
    );
    let slices: Vec<_> = read.slices().collect();
    assert_eq!(slices.iter().map(|s| (s.begin_ns, s.end_ns)).collect::<Vec<_>>(), [(1, 5), (6, 6)]);
    for slice in slices {
        assert_eq!((slice.track.as_str(), slice.name.as_str()), ("link/upstream", "MRd"));
        assert_eq!(slice.category, "test");
        let arguments = [("tag", "7"), ("address", "0xfee00000"), ("status", "SC")];
        assert_eq!(slice.arguments, arguments.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }
}

#[test]
fn a_flow_joins_slices_of_different_tracks() {
    let read = written(&Cut::default(), |trace| {
        let tracks = ["a", "b"].map(|name| trace.track(None, name).unwrap());
        trace.slice(tracks[0], &Slice { flows: &[9, 4], ..slice("from", 0, 1_000) }).unwrap();
        let to = Slice { flows: &[4], ended_flows: &[9], ..slice("to", 1_000, 2_000) };
        trace.slice(tracks[1], &to).unwrap();
    });
    let flows: Vec<_> = read.slices().map(|s| (s.flows.clone(), s.ended_flows.clone())).collect();
    assert_eq!(flows, [(vec![9, 4], vec![]), (vec![4], vec![9])]);
}

#[test]
fn a_counter_is_read_back_with_the_state_at_the_beginning_of_its_window() {
    let cut = Cut { window_ps: 5_000..9_000, ..Cut::default() };
    let read = written(&cut, |trace| {
        let moved = trace.counter_track(None, "credits").unwrap();
        let still = trace.counter_track(None, "still").unwrap();
        for (at_ps, value) in [(1_000, 1), (2_000, 2), (7_000, -3), (9_000, 4)] {
            trace.counter(moved, at_ps, value).unwrap();
        }
        trace.counter(still, 3_000, 8).unwrap();
    });
    let values: Vec<_> = read
        .events
        .iter()
        .map(|event| match event {
            Event::Counter { track, at_ns, value } => (track.as_str(), *at_ns, *value),
            Event::Slice(slice) => panic!("{slice:?}"),
        })
        .collect();
    assert_eq!(values, [("credits", 5, 2), ("credits", 7, -3), ("still", 5, 8)]);
}

#[test]
fn only_the_part_of_a_slice_that_lies_in_the_window_is_in_the_file() {
    let cut = Cut { window_ps: 5_000..9_000, ..Cut::default() };
    let read = written(&cut, |trace| {
        let track = trace.track(None, "t").unwrap();
        let spans = [(0, 5_000), (5_000, 5_000), (5_000, 6_000), (8_000, 9_500), (9_500, 9_900)];
        for (begin_ps, end_ps) in [(0, 4_000), (4_000, 4_000)].into_iter().chain(spans) {
            let begin_ps = if end_ps == 5_000 && begin_ps == 0 { 4_000 } else { begin_ps };
            trace.slice(track, &slice("s", begin_ps, end_ps)).unwrap();
        }
        let long = trace.track(None, "long").unwrap();
        trace.slice(long, &slice("s", 0, 100_000)).unwrap();
    });
    let spans = |track: &str| -> Vec<(u64, u64)> {
        read.slices().filter(|s| s.track == track).map(|s| (s.begin_ns, s.end_ns)).collect()
    };
    assert_eq!(spans("t"), [(5, 5), (5, 6), (8, 9)]);
    assert_eq!(spans("long"), [(5, 9)]);
}

#[test]
fn tracks_deeper_than_asked_for_are_not_in_the_file() {
    let cut = Cut { depth: 1, ..Cut::default() };
    let read = written(&cut, |trace| {
        let top = trace.track(None, "top").unwrap();
        let below = trace.track(Some(top), "below").unwrap();
        trace.slice(top, &slice("shown", 0, 1_000)).unwrap();
        trace.slice(below, &slice("hidden", 0, 1_000)).unwrap();
        let counter = trace.counter_track(Some(top), "counter").unwrap();
        trace.counter(counter, 5, 5).unwrap();
    });
    assert_eq!(read.tracks.len(), 1);
    assert_eq!(read.slices().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["shown"]);
}

#[test]
fn a_slice_that_cannot_be_in_the_file_is_refused_and_leaves_no_mark() {
    let read = written(&Cut::default(), |trace| {
        let track = trace.track(None, "t").unwrap();
        trace.slice(track, &slice("a", 10, 20)).unwrap();
        let mut refused = |track: TrackId, begin_ps, end_ps| {
            trace.slice(track, &slice("b", begin_ps, end_ps)).unwrap_err()
        };
        let backwards = |error| matches!(error, WaveError::TimeBackwards { .. });
        assert!(backwards(refused(track, 19, 30)), "it begins before the last one has ended");
        assert!(backwards(refused(track, 40, 39)), "it ends before it begins");
        let mut other =
            Trace::create(tempfile::NamedTempFile::new().unwrap().path(), &Cut::default());
        let other = other.as_mut().unwrap();
        let strange = ["x", "y", "z"].map(|name| other.track(None, name).unwrap())[2];
        assert!(matches!(refused(strange, 50, 60), WaveError::UnknownSignal { index: 2 }));
        assert!(matches!(trace.track(Some(strange), "y"), Err(WaveError::UnknownSignal { .. })));
        trace.slice(track, &slice("c", 20, 30)).unwrap();
    });
    assert_eq!(read.slices().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
}

/// Same slices, same bytes: neither the day nor the machine is in a file.
#[test]
fn two_traces_of_one_run_are_the_same_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = ["a", "b"].map(|name| {
        let path = folder.path().join(name);
        let mut trace = Trace::create(&path, &Cut::default()).unwrap();
        let mut lanes = Lanes::new(None, "requests");
        for n in 0..500 {
            lanes.slice(&mut trace, &slice("request", 10 * n, 10 * n + n % 70)).unwrap();
        }
        trace.finish().unwrap();
        std::fs::read(&path).unwrap()
    });
    assert!(bytes[0] == bytes[1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever overlaps is shown whole, each on a track where nothing overlaps, and no more tracks are
    /// made than slices lie above each other.
    #[test]
    fn slices_that_overlap_are_all_read_back(
        mut spans in prop::collection::vec((0..400_u64, 0..60_u64), 1..80),
    ) {
        spans.sort_by_key(|(begin, len)| (begin + len, *begin));
        let mut lanes_made = 0;
        let read = written(&Cut::default(), |trace| {
            let mut lanes = Lanes::new(None, "requests");
            for (begin, len) in &spans {
                let (begin_ps, end_ps) = (begin * 1_000, (begin + len) * 1_000);
                lanes.slice(trace, &slice("request", begin_ps, end_ps)).unwrap();
            }
            lanes_made = lanes.count();
        });
        let mut shown: Vec<_> = read.slices().map(|s| (s.begin_ns, s.end_ns - s.begin_ns)).collect();
        let mut wanted = spans.clone();
        shown.sort_unstable();
        wanted.sort_unstable();
        prop_assert_eq!(shown, wanted);
        prop_assert_eq!(read.tracks.len(), lanes_made);
        prop_assert!(lanes_made <= spans.len());
    }
}
