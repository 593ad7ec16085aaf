//! The file is read back with `wellen`.

use std::collections::BTreeMap;

use pcie_sim::address::Bdf;
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, MemRead, MemWrite, Payload, Tag, Tlp,
};

use super::*;

const CARD: Bdf = Bdf::new(1, 0, 0);
const PROPAGATION: Span = Span::from_ns(100);
const SHAPE: Shape =
    Shape { queues: 2, vectors: 2, propagation: PROPAGATION, clock: Span::from_ns(4) };

fn ns(ns: u64) -> Instant {
    Instant::ZERO + Span::from_ns(ns)
}

fn read(tag: u16, address: u64, len_bytes: u16) -> Tlp {
    let attributes = Attributes::default();
    Tlp::MemRead(MemRead { requester: CARD, tag: Tag(tag), address, len_bytes, attributes })
}

fn write(address: u64, bytes: usize) -> Tlp {
    let (data, attributes) = (Payload::from_elem(7, bytes), Attributes::default());
    Tlp::MemWrite(MemWrite { requester: CARD, tag: Tag(0), address, data, attributes })
}

fn completion(tag: u16, status: CompletionStatus, bytes: usize) -> Tlp {
    Tlp::Completion(Completion {
        completer: Bdf::new(0, 1, 0),
        requester: CARD,
        tag: Tag(tag),
        status,
        byte_count: bytes as u16,
        lower_address: 0,
        data: Payload::from_elem(1, bytes),
        attributes: Attributes::default(),
    })
}

/// A TLP whose first symbol leaves at `from_ns` and whose last leaves at `to_ns`.
fn shown(direction: Direction, tlp: &Tlp, from_ns: u64, to_ns: u64) -> Sighting<'_> {
    let arrives = ns(to_ns) + PROPAGATION;
    Sighting { direction, departs: ns(from_ns), arrives, wire_bytes: 32, tlp }
}

/// Every change of every signal: time in ns, value in decimal; text in quotes; `x` unknown.
type Contents = BTreeMap<String, Vec<(u64, String)>>;

fn contents(shape: &Shape, run: impl FnOnce(&mut WavesTap)) -> Contents {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.fst");
    let mut tap = WavesTap::create(&path, shape, &Cut::default()).unwrap();
    run(&mut tap);
    tap.finish(Instant::ZERO).unwrap();
    let mut waves = wellen::simple::read(&path).unwrap();
    let tree = waves.hierarchy();
    let vars: Vec<_> =
        tree.all_vars().map(|var| (tree[var].full_name(tree), tree[var].signal_ref())).collect();
    waves.load_signals(&vars.iter().map(|(_, signal)| *signal).collect::<Vec<_>>());
    let times = waves.time_table();
    let changes = |name: &str, signal| {
        let changes = waves.get_signal(signal).unwrap().iter_changes();
        let told = |bits: String| value(name, &bits);
        changes.map(|(at, bits)| (times[at as usize] / 1_000, told(bits.to_string()))).collect()
    };
    vars.into_iter().map(|(name, signal)| (name.clone(), changes(&name, signal))).collect()
}

fn value(name: &str, bits: &str) -> String {
    let is_text = ["kind", "purpose", "status", "state"].iter().any(|end| name.ends_with(end));
    if bits.starts_with('x') {
        return "x".to_owned();
    }
    if !is_text {
        return u64::from_str_radix(bits, 2).unwrap().to_string();
    }
    let bytes = (0..bits.len()).step_by(8).map(|at| u8::from_str_radix(&bits[at..at + 8], 2));
    let text: String = bytes.map(|b| char::from(b.unwrap())).filter(|c| *c != '\0').collect();
    format!("'{text}'")
}

fn is(contents: &Contents, signal: &str, expected: &[(u64, &str)]) {
    let found: Vec<_> = contents[signal].iter().map(|(at, v)| (*at, v.as_str())).collect();
    assert_eq!(found, expected, "{signal}");
}

#[test]
fn a_read_and_its_completion_are_seen_with_all_that_is_in_them() {
    let read = read(5, 0x1_0000_1000, 512);
    let answer = completion(5, CompletionStatus::Success, 64);
    let refusal = completion(6, CompletionStatus::UnsupportedRequest, 0);
    let seen = contents(&SHAPE, |tap| {
        tap.tlp_for(&shown(Direction::Upstream, &read, 1_000, 1_004), "descriptor");
        tap.tlp(&shown(Direction::Downstream, &answer, 1_500, 1_512));
        tap.tlp(&shown(Direction::Downstream, &refusal, 1_600, 1_603));
    });
    is(&seen, "link.upstream.kind", &[(0, "''"), (1_000, "'MRd'"), (1_004, "''")]);
    is(&seen, "link.upstream.busy", &[(0, "0"), (1_000, "1"), (1_004, "0")]);
    is(&seen, "link.upstream.purpose", &[(0, "x"), (1_000, "'descriptor'")]);
    is(&seen, "link.upstream.address", &[(0, "x"), (1_000, "4294971392")]);
    is(&seen, "link.upstream.tag", &[(0, "x"), (1_000, "5")]);
    is(&seen, "link.upstream.length", &[(0, "x"), (1_000, "512")]);
    is(&seen, "link.downstream.address", &[(0, "x")]);
    is(&seen, "link.downstream.length", &[(0, "x"), (1_500, "64"), (1_600, "0")]);
    is(&seen, "link.downstream.status", &[(0, "x"), (1_500, "'SC'"), (1_600, "'UR'")]);
    is(&seen, "link.downstream.tlps", &[(0, "0"), (1_500, "1"), (1_600, "2")]);
    let kinds = [(0, "''"), (1_500, "'CplD'"), (1_512, "''"), (1_600, "'Cpl'"), (1_603, "''")];
    is(&seen, "link.downstream.kind", &kinds);
}

/// The end of one TLP and the start of the next in the same picosecond are no gap.
#[test]
fn a_link_without_a_pause_stays_busy() {
    let write = write(0xfee0_0000, 4);
    let seen = contents(&SHAPE, |tap| {
        for n in 0..3 {
            tap.tlp(&shown(Direction::Upstream, &write, 10 + 4 * n, 14 + 4 * n));
        }
        tap.tlp(&shown(Direction::Upstream, &write, 30, 34));
    });
    let busy = [(0, "0"), (10, "1"), (22, "0"), (30, "1"), (34, "0")];
    is(&seen, "link.upstream.busy", &busy);
    let counted = [(0, "0"), (10, "1"), (14, "2"), (18, "3"), (30, "4")];
    is(&seen, "link.upstream.tlps", &counted);
}

/// A long TLP ends after the whole of a short one the other way, and is reported before it.
#[test]
fn what_is_reported_out_of_order_is_shown_in_order() {
    let (long, short) = (write(0x8000, 4096), read(1, 0x9000, 4));
    let seen = contents(&SHAPE, |tap| {
        tap.tlp(&shown(Direction::Downstream, &long, 100, 5_000));
        tap.queue(ns(7_000), 0, Some(1), None, "fetch");
        tap.tlp(&shown(Direction::Upstream, &short, 200, 204));
        tap.queue(ns(300), 0, Some(0), Some(0), "idle");
        tap.tlp(&shown(Direction::Upstream, &short, 9_000, 9_004));
        assert_eq!(tap.late(), 0);
    });
    is(&seen, "link.downstream.busy", &[(0, "0"), (100, "1"), (5_000, "0")]);
    is(&seen, "queue0.avail_idx", &[(0, "x"), (300, "0"), (7_000, "1")]);
    is(&seen, "queue0.used_idx", &[(0, "x"), (300, "0")]);
    is(&seen, "queue0.state", &[(0, "x"), (300, "'idle'"), (7_000, "'fetch'")]);
    is(&seen, "queue1.state", &[(0, "x")]);
}

#[test]
fn a_report_that_is_too_late_is_counted_and_shown_at_the_earliest_time_left() {
    let seen = contents(&SHAPE, |tap| {
        tap.bus_master(ns(1_000), true);
        tap.bus_master(ns(50_000), false);
        tap.queue(ns(400), 1, None, None, "idle");
        assert_eq!(tap.late(), 1);
    });
    is(&seen, "interrupt.bus_master", &[(0, "0"), (1_000, "1"), (50_000, "0")]);
    is(&seen, "queue1.state", &[(0, "x"), (1_000, "'idle'")]);
}

#[test]
fn credits_and_interrupts_are_seen_per_class_and_per_vector() {
    let seen = contents(&SHAPE, |tap| {
        tap.credits(ns(1), Direction::Upstream, FlowClass::Posted, 32, 1_024);
        tap.credits(ns(2), Direction::Upstream, FlowClass::NonPosted, 0, u32::MAX);
        tap.credits(ns(3), Direction::Upstream, FlowClass::Completion, 8, 9);
        tap.interrupt(ns(5), 1);
        tap.interrupt(ns(6), 1);
        tap.interrupt(ns(7), 2);
    });
    is(&seen, "link.upstream.credits.posted_header", &[(0, "x"), (1, "32")]);
    is(&seen, "link.upstream.credits.posted_data", &[(0, "x"), (1, "1024")]);
    is(&seen, "link.upstream.credits.non_posted_header", &[(0, "x"), (2, "0")]);
    is(&seen, "link.upstream.credits.non_posted_data", &[(0, "x"), (2, "65535")]);
    is(&seen, "link.upstream.credits.completion_data", &[(0, "x"), (3, "9")]);
    is(&seen, "link.downstream.credits.posted_header", &[(0, "x")]);
    is(&seen, "interrupt.vector0", &[(0, "0")]);
    is(&seen, "interrupt.vector1", &[(0, "0"), (5, "1"), (6, "2")]);
}

/// A text longer than its signal is cut, not refused: a card's report must not end the file.
#[test]
fn a_long_word_is_shown_as_far_as_it_fits() {
    let read = read(0, 0, 4);
    let seen = contents(&SHAPE, |tap| {
        tap.tlp_for(&shown(Direction::Upstream, &read, 1, 2), "a purpose of more than 24 letters");
        tap.queue(ns(3), 0, None, None, "a state of more than sixteen");
    });
    is(&seen, "link.upstream.purpose", &[(0, "x"), (1, "'a purpose of more than 2'")]);
    is(&seen, "queue0.state", &[(0, "x"), (3, "'a state of more '")]);
}

/// The layout that is shipped names signals that exist.
#[test]
fn the_viewer_layout_lists_only_signals_of_a_bench() {
    let seen = contents(&SHAPE, |_| ());
    let layout = include_str!("../../../waves/layouts/bench.gtkw");
    let listed: Vec<&str> = layout
        .lines()
        .filter(|line| line.starts_with(char::is_alphabetic))
        .map(|line| line.split('[').next().unwrap())
        .collect();
    let missing: Vec<_> = listed.iter().filter(|name| !seen.contains_key(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(listed.len(), seen.len(), "every signal of such a bench is listed once");
}

fn listed<'l>(layout: &'l str, before: &str) -> Vec<&'l str> {
    let lines = layout.lines().filter_map(|line| line.strip_prefix(before));
    lines.filter(|line| line.contains('.')).map(|line| line.split('[').next().unwrap()).collect()
}

/// Both viewers show the same, and the model's pins stand as the RTL's do.
#[test]
fn the_layouts_of_both_viewers_and_of_model_and_rtl_agree() {
    let text = |name: &str| waves::layout::LAYOUTS.iter().find(|of| of.name == name).unwrap().text;
    for name in ["bench", "card", "rtl"] {
        let gtkwave: Vec<_> = listed(text(&format!("{name}.gtkw")), "");
        let gtkwave: Vec<_> =
            gtkwave.into_iter().filter(|l| !l.is_empty() && !l.starts_with('-')).collect();
        assert_eq!(gtkwave, listed(text(&format!("{name}.sucl")), "variable_add "), "{name}");
    }
    let seen = contents(&SHAPE, |_| ());
    let card = listed(text("card.sucl"), "variable_add ");
    assert!(card.iter().all(|name| seen.contains_key(*name)));
    let pins = card.iter().map(|name| name.strip_prefix("card.").unwrap());
    let rtl = listed(text("rtl.sucl"), "variable_add ");
    let rtl = rtl.iter().map(|name| name.strip_prefix("TOP.").unwrap());
    // The device's own work is not on the link.
    assert_eq!(
        pins.collect::<Vec<_>>(),
        rtl.filter(|pin| *pin != "stat_process_o").collect::<Vec<_>>()
    );
}

#[test]
fn of_two_reports_for_one_time_the_later_one_is_shown() {
    let seen = contents(&SHAPE, |tap| {
        for index in 1..=9 {
            tap.queue(ns(10), 0, Some(index), None, if index == 9 { "idle" } else { "fetch" });
        }
    });
    is(&seen, "queue0.avail_idx", &[(0, "x"), (10, "9")]);
    is(&seen, "queue0.state", &[(0, "x"), (10, "'idle'")]);
}
