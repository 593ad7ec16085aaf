//! The waves of a run, read back by `wellen` and compared with the trace of the same run.

use std::collections::BTreeMap;
use std::path::Path;

use pcie_sim::tlp::{FlowClass, Tlp};

use crate::trace::{self, Line, scenario, vtb};

/// Every change of every signal: time in picoseconds, bits from the highest.
pub(crate) type Waves = BTreeMap<String, Vec<(u64, String)>>;

pub(crate) fn read(path: &Path) -> Waves {
    let mut file = wellen::simple::read(path).expect("the file is readable");
    let tree = file.hierarchy();
    let vars: Vec<_> =
        tree.all_vars().map(|var| (tree[var].full_name(tree), tree[var].signal_ref())).collect();
    file.load_signals(&vars.iter().map(|(_, signal)| *signal).collect::<Vec<_>>());
    let times = file.time_table();
    let changes = |signal| {
        let changes = file.get_signal(signal).expect("loaded").iter_changes();
        changes
            .map(|(at, value)| (times[at as usize], value.to_bit_string().expect("bits")))
            .collect()
    };
    vars.into_iter().map(|(name, signal)| (name, changes(signal))).collect()
}

/// What a signal shows at `at`, its changes of that moment included.
fn value<'w>(waves: &'w Waves, signal: &str, at: u64) -> &'w str {
    let changes = &waves[signal];
    let behind = changes.partition_point(|change| change.0 <= at);
    &changes[behind.checked_sub(1).expect("there is a value from the start")].1
}

pub(crate) fn number(waves: &Waves, signal: &str, at: u64) -> Option<u64> {
    u64::from_str_radix(value(waves, signal, at), 2).ok()
}

fn word(waves: &Waves, signal: &str, at: u64) -> String {
    letters(value(waves, signal, at))
}

fn letters(bits: &str) -> String {
    let bytes = (0..bits.len() / 8).map(|n| u8::from_str_radix(&bits[8 * n..8 * n + 8], 2));
    bytes.filter_map(Result::ok).map(char::from).filter(|letter| *letter != '\0').collect()
}

/// Address, tag and length as the viewer shows them: a configuration register by its place in the
/// enhanced configuration window (PCIe 5.0 §7.2.2), a completion by none.
fn facts(tlp: &Tlp) -> (Option<u64>, u64, u64) {
    let register = |target: u16, offset: u16| Some(u64::from(target) << 12 | u64::from(offset));
    match tlp.plain() {
        Tlp::MemRead(read) => (Some(read.address), read.tag.0.into(), read.len_bytes.into()),
        Tlp::MemWrite(write) => (Some(write.address), write.tag.0.into(), write.data.len() as u64),
        Tlp::ConfigRead(read) => {
            (register(read.target.0, read.offset), read.tag.0.into(), read.len_bytes.into())
        }
        Tlp::ConfigWrite(write) => {
            (register(write.target.0, write.offset), write.tag.0.into(), write.data.len() as u64)
        }
        Tlp::Completion(completion) => {
            (None, completion.tag.0.into(), completion.data.len() as u64)
        }
        Tlp::Message(message) => (None, message.tag.0.into(), message.data.len() as u64),
        other => panic!("no card sends {other}"),
    }
}

fn way(line: &Line) -> &'static str {
    if line.up { "link.upstream" } else { "link.downstream" }
}

/// Each line of the trace is on the link at its time, and nothing else ever is.
fn link_is_as_traced(waves: &Waves, lines: &[Line]) {
    let mut sent = BTreeMap::from([("link.upstream", 0), ("link.downstream", 0)]);
    for line in lines {
        let (way, at) = (way(line), line.departs.as_ps());
        let signal = |name: &str| format!("{way}.{name}");
        let count = sent.entry(way).or_default();
        *count += 1;
        assert_eq!(number(waves, &signal("tlps"), at), Some(*count), "{line:?}");
        assert_eq!(word(waves, &signal("kind"), at), line.tlp.kind(), "{line:?}");
        assert_eq!(number(waves, &signal("busy"), at), Some(1));
        let (address, tag, len) = facts(&line.tlp);
        assert_eq!(number(waves, &signal("address"), at), address, "{line:?}");
        assert_eq!(number(waves, &signal("tag"), at), Some(tag), "{line:?}");
        assert_eq!(number(waves, &signal("length"), at), Some(len), "{line:?}");
        if let Some(purpose) = &line.purpose {
            let name = purpose.split(' ').next();
            assert_eq!(Some(word(waves, &signal("purpose"), at).as_str()), name);
        }
    }
    for (way, count) in sent {
        assert_eq!(number(waves, &format!("{way}.tlps"), u64::MAX), Some(count));
        assert_eq!(number(waves, &format!("{way}.busy"), u64::MAX), Some(0));
    }
}

/// A TLP takes a header credit and one for each 16 bytes of data; the receiver gives back what it was
/// given, which the sender takes note of at the latest when it sends the next one.
fn credits_are_as_traced(waves: &Waves, lines: &[Line]) {
    for line in lines {
        let (class, at) = (line.tlp.flow_class(), line.departs.as_ps());
        let (class, headers, data) = match class {
            FlowClass::Posted => ("posted", 64, 256),
            FlowClass::NonPosted => ("non_posted", 64, 64),
            FlowClass::Completion => ("completion", 64, 512),
        };
        let taken = [("header", headers, 1), ("data", data, u64::from(line.tlp.data_credits()))];
        for (kind, granted, taken) in taken {
            let signal = format!("{}.credits.{class}_{kind}", way(line));
            let left = number(waves, &signal, at).expect("known from the first TLP on");
            // Before the first TLP nothing was reported: then all that was granted was there.
            let before = number(waves, &signal, at - 1).unwrap_or(granted);
            assert!((before - taken..=granted - taken).contains(&left), "{signal} {left} {line:?}");
        }
    }
    let low = values(waves, "link.upstream.credits.posted_header");
    assert!(low.iter().any(|(_, left)| *left < 63), "several writes are under way at times");
}

fn values(waves: &Waves, signal: &str) -> Vec<(u64, u64)> {
    let known = |(at, bits): &(u64, String)| Some((*at, u64::from_str_radix(bits, 2).ok()?));
    waves[signal].iter().filter_map(known).collect()
}

/// The 16-bit values that the trace shows for one purpose, where they change.
fn traced(lines: &[Line], wanted: &str, reads: bool) -> Vec<(u64, u64)> {
    let mut last = 0;
    let mut found = Vec::new();
    for line in lines.iter().filter(|line| line.purpose.as_deref() == Some(wanted)) {
        let data = match &line.tlp {
            Tlp::Completion(completion) if reads => &completion.data,
            Tlp::MemWrite(write) if !reads => &write.data,
            _ => continue,
        };
        let value = u64::from(u16::from_le_bytes([data[0], data[1]]));
        if value != last {
            found.push((line.departs.as_ps(), value));
        }
        last = value;
    }
    found
}

fn queues_are_as_traced(waves: &Waves, lines: &[Line], queues: u16) {
    for queue in 0..queues {
        let shown = |signal: &str| {
            let mut shown = values(waves, &format!("queue{queue}.{signal}"));
            shown.retain(|&(_, value)| value != 0);
            shown
        };
        let (avail, used) = (shown("avail_idx"), shown("used_idx"));
        assert!(!avail.is_empty() && !used.is_empty());
        assert_eq!(avail, traced(lines, &format!("avail_idx q{queue}"), true));
        assert_eq!(used, traced(lines, &format!("used_idx q{queue}"), false));
        for (at, _) in avail.into_iter().chain(used) {
            let index = |signal: &str| number(waves, &format!("queue{queue}.{signal}"), at);
            let idle = index("avail_idx") == index("used_idx");
            let state = word(waves, &format!("queue{queue}.state"), at);
            assert_eq!(state, if idle { "idle" } else { "busy" });
        }
    }
}

fn interrupts_are_as_traced(waves: &Waves, lines: &[Line]) {
    let mut sent: BTreeMap<u16, Vec<(u64, u64)>> = BTreeMap::new();
    let message = |line: &&Line| line.purpose.as_ref().is_some_and(|p| p.starts_with("msix"));
    for line in lines.iter().filter(message) {
        let Tlp::MemWrite(write) = &line.tlp else { panic!("{line:?}") };
        let of = sent.entry(u16::from_le_bytes([write.data[0], write.data[1]])).or_default();
        of.push((line.departs.as_ps(), of.len() as u64 + 1));
    }
    assert!(!sent.is_empty());
    for vector in 0..4 {
        let mut shown = values(waves, &format!("interrupt.vector{vector}"));
        assert_eq!(shown.remove(0), (0, 0));
        assert_eq!(shown, sent.remove(&vector).unwrap_or_default(), "vector {vector}");
    }
    let on = values(waves, "interrupt.bus_master");
    let switched: Vec<u64> = on.iter().map(|(_, value)| *value).collect();
    assert_eq!(switched[..2], [0, 1]);
    let first = lines.iter().find(|line| line.up && matches!(line.tlp, Tlp::MemRead(_)));
    assert!(on[1].0 < first.expect("the card reads").departs.as_ps());
}

fn shown_as_traced(file: &str) {
    for (device, queues) in [("blk", 1), ("net", 2)] {
        let folder = tempfile::tempdir().expect("a place for files");
        let text = trace::SMALL.replace("layouts = [\"indirect\"]", "layouts = [\"direct\"]");
        // Infinite credits never change, and waves show nothing of them.
        let finite = "completion = { headers = 64, data = 512 }";
        let text =
            format!("{text}\n[link.root_buffers]\n{finite}\n[link.card_buffers]\n{finite}\n");
        let scenario = scenario(folder.path(), &text);
        let (waves, trace) = (folder.path().join(file), folder.path().join("t.txt"));
        let [scenario, shown, traced] =
            [&scenario, &waves, &trace].map(|path| path.to_str().expect("UTF-8"));
        let only = format!("host/direct+event_idx/{device}/x86-vtd");
        vtb(&["run", scenario, "--only", &only, "--waves", shown, "--trace", traced]);
        let runs = trace::read(&trace);
        assert_eq!(runs.len(), 1);
        let (waves, lines) = (read(&waves), &runs[0].1);
        assert!(lines.len() > 200, "{}", lines.len());
        link_is_as_traced(&waves, lines);
        credits_are_as_traced(&waves, lines);
        queues_are_as_traced(&waves, lines, queues);
        interrupts_are_as_traced(&waves, lines);
    }
}

/// DESIGN.md, "The command": `--waves FILE.fst`.
#[test]
fn waves_in_fst_show_what_the_trace_of_the_same_run_says() {
    shown_as_traced("x.fst");
}

/// DESIGN.md, "The command": `--waves FILE.vcd`. IEEE 1364-2005 §18.
#[test]
fn waves_in_vcd_show_what_the_trace_of_the_same_run_says() {
    shown_as_traced("x.vcd");
}
