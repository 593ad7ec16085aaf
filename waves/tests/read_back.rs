//! What was written is what a third party reads: both kinds of file, by the crate `wellen`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use proptest::prelude::*;
use waves::{Cut, SignalId, Tree, Value, WaveError, WaveSink};

/// Full name, and every change of it: time in picoseconds, bits.
type Contents = BTreeMap<String, Vec<(u64, String)>>;

fn read(path: &Path) -> Contents {
    let mut waves = wellen::simple::read(path).expect("the file is readable");
    let scale = waves.hierarchy().timescale().expect("a time scale");
    assert_eq!((scale.factor, scale.unit), (1, wellen::TimescaleUnit::PicoSeconds));
    let vars: Vec<_> = waves
        .hierarchy()
        .all_vars()
        .map(|var| &waves.hierarchy()[var])
        .map(|var| (var.full_name(waves.hierarchy()), var.signal_ref()))
        .collect();
    waves.load_signals(&vars.iter().map(|(_, signal)| *signal).collect::<Vec<_>>());
    let times = waves.time_table();
    let changes = |signal| {
        let signal = waves.get_signal(signal).expect("loaded");
        signal
            .iter_changes()
            .map(|(at, value)| (times[at as usize], value.to_bit_string().expect("bits")))
            .collect()
    };
    vars.into_iter().map(|(name, signal)| (name, changes(signal))).collect()
}

/// Writes the same to both kinds of file and reads both.
fn both(tree: &Tree, write: impl Fn(&mut dyn WaveSink), end_ps: u64) -> [Contents; 2] {
    both_cut(tree, &Cut::default(), write, end_ps)
}

fn both_cut(
    tree: &Tree,
    cut: &Cut,
    write: impl Fn(&mut dyn WaveSink),
    end_ps: u64,
) -> [Contents; 2] {
    let folder = tempfile::tempdir().unwrap();
    ["x.fst", "x.vcd"].map(|name| {
        let path = folder.path().join(name);
        let mut sink = waves::create_cut(&path, tree, cut).unwrap();
        write(&mut *sink);
        sink.finish(end_ps).unwrap();
        read(&path)
    })
}

const WIDTHS: [u32; 6] = [1, 7, 10, 64, 128, 200];
const NAMES: [&str; 6] = ["one", "seven", "tag", "address", "wide", "wider"];

fn tree_of_widths() -> (Tree, Vec<SignalId>) {
    let mut tree = Tree::new();
    let ids = tree
        .scope("top", |top| {
            NAMES.iter().zip(WIDTHS).map(|(name, width)| top.bits(name, width)).collect()
        })
        .unwrap();
    (tree, ids)
}

#[derive(Debug, Clone)]
struct Change {
    step_ps: u64,
    signal: usize,
    /// None: unknown.
    bytes: Option<Vec<u8>>,
}

fn a_change() -> impl Strategy<Value = Change> {
    let step = prop_oneof![3 => Just(0), 3 => 1..5_000_u64, 1 => 1..10_000_000_000_000_u64];
    let bytes = prop::collection::vec(any::<u8>(), 25);
    (step, 0..WIDTHS.len(), prop::option::weighted(0.9, bytes)).prop_map(
        |(step_ps, signal, bytes)| {
            let bytes = bytes.map(|bytes| cut(bytes, WIDTHS[signal]));
            Change { step_ps, signal, bytes }
        },
    )
}

/// The last `width` bits.
fn cut(mut bytes: Vec<u8>, width: u32) -> Vec<u8> {
    bytes.drain(..bytes.len() - width.div_ceil(8) as usize);
    if !width.is_multiple_of(8) {
        bytes[0] &= (1 << (width % 8)) - 1;
    }
    bytes
}

fn bits_of(bytes: &[u8], width: u32) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    bits[bits.len() - width as usize..].to_owned()
}

/// What a reader must find: the last value of each picosecond, where it differs from the one before.
fn expected(changes: &[Change]) -> Contents {
    let mut contents = Contents::new();
    for (signal, (name, width)) in NAMES.iter().zip(WIDTHS).enumerate() {
        let mut last_of_each: BTreeMap<u64, String> = BTreeMap::new();
        last_of_each.insert(0, "x".repeat(width as usize));
        let mut now = 0;
        for change in changes {
            now += change.step_ps;
            if change.signal == signal {
                let unknown = || "x".repeat(width as usize);
                let bits = change.bytes.as_deref().map(|bytes| bits_of(bytes, width));
                last_of_each.insert(now, bits.unwrap_or_else(unknown));
            }
        }
        let mut seen: Vec<(u64, String)> = last_of_each.into_iter().collect();
        seen.dedup_by(|later, earlier| later.1 == earlier.1);
        contents.insert(format!("top.{name}"), seen);
    }
    contents
}

fn write_all(sink: &mut dyn WaveSink, ids: &[SignalId], changes: &[Change]) {
    let mut now = 0;
    for change in changes {
        now += change.step_ps;
        let value = match &change.bytes {
            None => Value::Unknown,
            Some(bytes) if bytes.len() <= 8 => {
                Value::Bits(bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
            }
            Some(bytes) => Value::Wide(bytes),
        };
        sink.change(now, ids[change.signal], value).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_change_is_read_back_from_both_kinds_of_file(
        changes in prop::collection::vec(a_change(), 0..120),
    ) {
        let (tree, ids) = tree_of_widths();
        let [fst, vcd] = both(&tree, |sink| write_all(sink, &ids, &changes), 0);
        prop_assert_eq!(&vcd, &expected(&changes));
        prop_assert_eq!(&fst, &vcd);
    }
}

/// What a window leaves of the whole: the state at its beginning, and the changes in it.
fn in_window(whole: &Contents, window: &Range<u64>) -> Contents {
    let cut = |changes: &Vec<(u64, String)>| {
        let before = changes.iter().rev().find(|change| change.0 <= window.start);
        let first = before.map(|(_, bits)| (window.start, bits.clone()));
        let inside = |change: &&(u64, String)| change.0 > window.start && change.0 < window.end;
        first.into_iter().chain(changes.iter().filter(inside).cloned()).collect()
    };
    whole.iter().map(|(name, changes)| (name.clone(), cut(changes))).collect()
}

/// An FST file says of each signal that it is unknown at time 0, before its window.
fn without_before(mut contents: Contents, start: u64) -> Contents {
    for changes in contents.values_mut() {
        if start > 0 {
            assert!(changes[0].0 == start || changes.remove(0).1.bytes().all(|bit| bit == b'x'));
        }
        // Unknown from time 0 on and still when the window begins is one value to the reader.
        if changes.first().is_none_or(|change| change.0 > start) {
            let width = changes.first().map_or(0, |change| change.1.len());
            changes.insert(0, (start, "x".repeat(width)));
        }
    }
    contents
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_window_shows_the_state_at_its_beginning_and_what_changes_in_it(
        changes in prop::collection::vec(a_change(), 0..120),
        start in 0..40_000_u64,
        len in 1..80_000_u64,
    ) {
        let (tree, ids) = tree_of_widths();
        let cut = Cut { window_ps: start..start + len, ..Cut::default() };
        let [fst, vcd] = both_cut(&tree, &cut, |sink| write_all(sink, &ids, &changes), 0);
        let wanted = in_window(&expected(&changes), &cut.window_ps);
        prop_assert_eq!(&vcd, &wanted);
        for (name, changes) in without_before(fst, start) {
            // A signal that is never known is read as nothing at all, with no width to compare.
            if changes.iter().any(|change| !change.1.is_empty()) {
                prop_assert_eq!(&changes, &wanted[&name], "{}", name);
            }
        }
    }
}

#[test]
fn a_file_ends_with_its_window_or_with_the_bench_whichever_is_sooner() {
    let (tree, ids) = tree_of_widths();
    let folder = tempfile::tempdir().unwrap();
    for name in ["x.fst", "x.vcd"] {
        for (window_ps, last) in [(10..500, 500), (10..5_000, 1_000), (4_000..5_000, 4_001)] {
            let path = folder.path().join(name);
            let cut = Cut { window_ps, ..Cut::default() };
            let mut sink = waves::create_cut(&path, &tree, &cut).unwrap();
            sink.change(700, ids[0], Value::Bits(1)).unwrap();
            sink.finish(1_000).unwrap();
            let times = wellen::simple::read(&path).unwrap().time_table().to_vec();
            assert_eq!(times.last(), Some(&last), "{name} {cut:?}");
        }
    }
}

#[test]
fn scopes_deeper_than_asked_for_are_not_in_the_file() {
    let mut tree = Tree::new();
    let (outer, inner, last) = tree
        .scope("a", |a| {
            let outer = a.bits("outer", 8)?;
            let inner = a.scope("b", |b| b.scope("c", |c| c.bits("inner", 8)))?;
            Ok((outer, inner, a.bits("last", 8)?))
        })
        .unwrap();
    let write = |sink: &mut dyn WaveSink| {
        for (at, id) in [outer, inner, last].into_iter().enumerate() {
            sink.change(at as u64, id, Value::Bits(at as u64)).unwrap();
        }
        assert!(matches!(sink.change(9, inner, Value::Bits(256)), Err(WaveError::TooWide { .. })));
    };
    for (depth, names) in [
        (1, vec!["a.last", "a.outer"]),
        (2, vec!["a.last", "a.outer"]),
        (3, vec!["a.b.c.inner", "a.last", "a.outer"]),
    ] {
        let cut = Cut { depth, ..Cut::default() };
        for contents in both_cut(&tree, &cut, write, 20) {
            assert_eq!(contents.keys().collect::<Vec<_>>(), names);
            assert_eq!(contents["a.last"].last(), Some(&(2, "00000010".to_owned())));
        }
    }
}

/// Long enough for several sections of an FST file.
#[test]
fn a_long_run_keeps_every_change_across_sections() {
    let (tree, ids) = tree_of_widths();
    let write = |sink: &mut dyn WaveSink| {
        let mut noise = 1_u64;
        for step in 0..150_000_u64 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let wide = [noise.to_be_bytes(), (!noise).to_be_bytes()].concat();
            sink.change(step * 4_000, ids[4], Value::Wide(&wide)).unwrap();
            sink.change(step * 4_000, ids[3], Value::Bits(noise)).unwrap();
        }
    };
    let [fst, vcd] = both(&tree, write, 700_000_000);
    assert_eq!(fst["top.wide"].len(), 150_000);
    assert!(fst == vcd);
}

#[test]
fn a_file_without_changes_is_a_file() {
    let (tree, _) = tree_of_widths();
    let [fst, vcd] = both(&tree, |_| (), 0);
    assert_eq!(fst, expected(&[]));
    assert_eq!(vcd, fst);
}

#[test]
fn values_given_at_switch_on_only_are_not_lost() {
    let (tree, ids) = tree_of_widths();
    let [fst, vcd] = both(&tree, |s| s.change(0, ids[1], Value::Bits(5)).unwrap(), 0);
    assert_eq!(fst["top.seven"], [(0, "0000101".to_owned())]);
    assert_eq!(vcd, fst);
}

/// IEEE 1364-2005 §5.2.3.1: a string in a vector stands at the right, with zeros before it.
#[test]
fn text_stands_at_the_right_end_of_its_vector() {
    let mut tree = Tree::new();
    let kind = tree.scope("link", |link| link.text("kind", 6)).unwrap();
    let write = |sink: &mut dyn WaveSink| {
        sink.change(0, kind, Value::Text("")).unwrap();
        sink.change(9, kind, Value::Text("MRd")).unwrap();
        sink.change(20, kind, Value::Text("CfgWr0")).unwrap();
    };
    for contents in both(&tree, write, 30) {
        let texts: Vec<_> = contents["link.kind"].iter().map(|(at, b)| (*at, text(b))).collect();
        let expected = [(0, "\0\0\0\0\0\0"), (9, "\0\0\0MRd"), (20, "CfgWr0")];
        assert_eq!(texts, expected.map(|(at, text)| (at, text.to_owned())));
    }
}

fn text(bits: &str) -> String {
    let byte = |at| u8::from_str_radix(&bits[at..at + 8], 2).unwrap();
    (0..bits.len()).step_by(8).map(|at| char::from(byte(at))).collect()
}

#[test]
fn the_file_ends_where_the_bench_ended() {
    let (tree, ids) = tree_of_widths();
    let folder = tempfile::tempdir().unwrap();
    for name in ["x.fst", "x.vcd"] {
        let path = folder.path().join(name);
        let mut sink = waves::create(&path, &tree).unwrap();
        sink.change(5, ids[0], Value::Bits(1)).unwrap();
        sink.finish(1_000).unwrap();
        assert_eq!(wellen::simple::read(&path).unwrap().time_table().last(), Some(&1_000));
    }
}

#[test]
fn a_change_that_cannot_be_in_the_file_is_refused_and_leaves_no_mark() {
    let (mut tree, ids) = tree_of_widths();
    let word = tree.scope("words", |words| words.text("word", 4)).unwrap();
    let stranger = Tree::new()
        .scope("s", |s| (0..9).map(|n| s.bits(&format!("s{n}"), 1)).last().unwrap())
        .unwrap();
    let write = |sink: &mut dyn WaveSink| {
        sink.change(10, ids[1], Value::Bits(127)).unwrap();
        let mut refused = |at, id, value| sink.change(at, id, value).unwrap_err();
        assert!(matches!(
            refused(9, ids[1], Value::Bits(1)),
            WaveError::TimeBackwards { asked_ps: 9, reached_ps: 10 }
        ));
        assert!(matches!(
            refused(11, ids[1], Value::Bits(128)),
            WaveError::TooWide { width_bits: 7, needed_bits: 8, .. }
        ));
        assert!(matches!(
            refused(11, ids[2], Value::Wide(&[0, 4, 0])),
            WaveError::TooWide { width_bits: 10, needed_bits: 11, .. }
        ));
        assert!(matches!(refused(11, word, Value::Text("12345")), WaveError::TooWide { .. }));
        assert!(matches!(refused(11, word, Value::Text("é")), WaveError::BadText { .. }));
        assert!(matches!(refused(11, word, Value::Bits(1)), WaveError::WrongKind { .. }));
        assert!(matches!(refused(11, ids[0], Value::Text("")), WaveError::WrongKind { .. }));
        assert!(matches!(refused(11, stranger, Value::Bits(1)), WaveError::UnknownSignal { .. }));
    };
    for contents in both(&tree, write, 0) {
        let changes: usize = contents.values().map(Vec::len).sum();
        assert_eq!(changes, WIDTHS.len() + 1 + 1, "the unknowns at the start, and one change");
    }
}

#[test]
fn an_extension_that_names_no_kind_is_refused_before_a_file_is_made() {
    let (tree, _) = tree_of_widths();
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str| waves::create(&folder.path().join(name), &tree).err().unwrap();
    assert!(matches!(refused("x.ghw"), WaveError::UnknownKind { .. }));
    assert!(matches!(refused("fst"), WaveError::UnknownKind { .. }));
    assert!(matches!(refused("x.perfetto-trace"), WaveError::NoSignals { .. }));
    assert!(matches!(refused("no/such/folder/x.fst"), WaveError::Io { .. }));
    assert!(matches!(refused("no/such/folder/x.vcd"), WaveError::Io { .. }));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Same changes, same bytes: neither the day nor the machine is in a file.
#[test]
fn two_files_of_one_run_are_the_same_byte_for_byte() {
    let (tree, ids) = tree_of_widths();
    let folder = tempfile::tempdir().unwrap();
    for extension in ["fst", "vcd"] {
        let bytes = ["a", "b"].map(|name| {
            let path = folder.path().join(name).with_extension(extension);
            let mut sink = waves::create(&path, &tree).unwrap();
            for at in 0..1_000 {
                sink.change(at * 250, ids[(at % 3) as usize], Value::Bits(at & 1)).unwrap();
            }
            sink.finish(0).unwrap();
            std::fs::read(&path).unwrap()
        });
        assert!(bytes[0] == bytes[1]);
    }
}

/// Read as text: a reader might leave out what the writer should have.
#[test]
fn a_value_equal_to_the_one_before_leaves_no_mark() {
    let (tree, ids) = tree_of_widths();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.vcd");
    let mut sink = waves::create(&path, &tree).unwrap();
    for at in [4, 8, 12] {
        sink.change(at, ids[1], Value::Bits(3)).unwrap();
    }
    sink.change(16, ids[0], Value::Bits(1)).unwrap();
    sink.finish(20).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, changes) = text.split_once("$end\n#0\n$dumpvars\n").unwrap();
    let (initial, changes) = changes.split_once("$end\n").unwrap();
    assert_eq!(initial, "x!\nbx \"\nbx #\nbx $\nbx %\nbx &\n");
    assert_eq!(changes, "#4\nb11 \"\n#16\n1!\n#20\n");
}
