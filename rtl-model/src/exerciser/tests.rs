//! Laws of the exerciser, on a port that takes everything.

use pcie_sim::endpoint::{Endpoint, Port};
use pcie_sim::link::{Generation, LinkTiming};
use pcie_sim::spec::pci::{command, header};
use pcie_sim::tlp::{ConfigWrite, Payload};

use super::*;

#[derive(Default)]
struct Pins {
    down: VecDeque<Tlp>,
    up: Vec<(Instant, Tlp)>,
    now: Instant,
    closed: bool,
}

impl Port for Pins {
    fn receive(&mut self) -> Option<Tlp> {
        self.down.pop_front()
    }

    fn can_send(&self, _: FlowClass, _: u32) -> bool {
        !self.closed
    }

    fn send(&mut self, tlp: Tlp) {
        self.up.push((self.now, tlp));
    }
}

const LINK: LinkTiming = LinkTiming {
    generation: Generation::Gen3,
    lanes: 8,
    propagation: Span::ZERO,
    credit_return: Span::ZERO,
};

fn card(timing: ExerciserTiming, pins: &mut Pins) -> Exerciser {
    let mut card = Exerciser::new(timing, LINK);
    let data = Payload::from_slice(&command::BUS_MASTER.to_le_bytes());
    pins.down.push_back(Tlp::ConfigWrite(ConfigWrite {
        requester: Bdf::default(),
        tag: Tag(0),
        target: Bdf::new(1, 0, 0),
        offset: header::COMMAND,
        data,
        forwarded: false,
    }));
    card.advance(Instant::ZERO, pins);
    pins.up.clear();
    card
}

fn run(card: &mut Exerciser, pins: &mut Pins, until_ns: u64) {
    let until = Instant::ZERO + Span::from_ns(until_ns);
    while let Some(wake) = card.next_wake().filter(|wake| *wake <= until) {
        pins.now = pins.now.max(wake);
        card.advance(pins.now, pins);
    }
}

fn answer(pins: &mut Pins, at_ns: u64, tag: Tag, bytes: u16, left: u16) {
    pins.now = Instant::ZERO + Span::from_ns(at_ns);
    pins.down.push_back(Tlp::Completion(Completion {
        completer: Bdf::default(),
        requester: Bdf::new(1, 0, 0),
        tag,
        status: CompletionStatus::Success,
        byte_count: left,
        lower_address: 0,
        data: Payload::from_elem(0, usize::from(bytes)),
        attributes: Attributes::default(),
    }));
}

fn job(kind: Kind, way: Way, address: u64, len_bytes: u16) -> Job {
    Job { kind, way, address, len_bytes }
}

fn reads(pins: &Pins) -> Vec<(u64, u16)> {
    let reads = pins.up.iter().filter_map(|(_, tlp)| match tlp {
        Tlp::MemRead(read) => Some((read.address, read.len_bytes)),
        _ => None,
    });
    reads.collect()
}

/// PCIe 5.0 §7.5.3.4, Max_Read_Request_Size: 512 bytes after reset.
#[test]
fn a_read_is_cut_at_multiples_of_the_largest_request() {
    let mut pins = Pins::default();
    let mut card = card(ExerciserTiming::INSTANT, &mut pins);
    card.load([job(Kind::Read, Way::Bulk, 0x1180, 1024)], 1, Instant::ZERO);
    run(&mut card, &mut pins, 1000);
    assert_eq!(reads(&pins), [(0x1180, 128), (0x1200, 512), (0x1400, 384)]);
}

/// PCIe 5.0 §7.5.3.4, Max_Payload_Size: 128 bytes after reset.
#[test]
fn a_write_is_cut_at_the_largest_payload_and_each_part_leaves_when_its_units_are_fetched() {
    let mut pins = Pins::default();
    let timing = ExerciserTiming { write_unit: Span::from_ns(100), ..ExerciserTiming::INSTANT };
    let mut card = card(timing, &mut pins);
    card.load([job(Kind::Write, Way::Bulk, 0x1000, 300)], 1, Instant::ZERO);
    run(&mut card, &mut pins, 1000);
    let sent: Vec<(u64, usize)> = pins
        .up
        .iter()
        .map(|(at, tlp)| match tlp {
            Tlp::MemWrite(write) => (at.as_ns(), write.data.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sent, [(100, 128), (200, 128), (300, 44)]);
    assert!(card.is_done());
}

#[test]
fn no_more_jobs_are_under_way_than_asked_for() {
    let mut pins = Pins::default();
    let mut card = card(ExerciserTiming::INSTANT, &mut pins);
    card.load((0..9).map(|n| job(Kind::Read, Way::Bulk, n << 12, 64)), 3, Instant::ZERO);
    run(&mut card, &mut pins, 1000);
    assert_eq!(reads(&pins).len(), 3);
    answer(&mut pins, 2000, Tag(0), 64, 64);
    card.advance(pins.now, &mut pins);
    run(&mut card, &mut pins, 3000);
    assert_eq!((reads(&pins).len(), card.laps().len()), (4, 1));
}

#[test]
fn the_read_of_a_command_goes_right_behind_its_write_and_that_of_a_bulk_transfer_when_it_is_done() {
    let timing = ExerciserTiming { bulk_done: Span::from_ns(500), ..ExerciserTiming::INSTANT };
    for (way, gap_ns) in [(Way::Command, 0..20), (Way::Bulk, 500..520)] {
        let mut pins = Pins::default();
        let mut card = card(timing, &mut pins);
        card.load([job(Kind::WriteRead, way, 0x1000, 64)], 1, Instant::ZERO);
        run(&mut card, &mut pins, 5000);
        let [(wrote, Tlp::MemWrite(_)), (read, Tlp::MemRead(_))] = &pins.up[..] else {
            panic!("{way:?}: {:?}", pins.up)
        };
        assert!(gap_ns.contains(&read.since(*wrote).as_ns()), "{way:?}");
    }
}

#[test]
fn two_engines_store_what_one_would_take_twice_as_long_for() {
    for (engines, last_ns) in [(1, 1400), (2, 1200)] {
        let mut pins = Pins::default();
        let read_beat = Span::from_ns(100);
        let timing = ExerciserTiming { engines, read_beat, ..ExerciserTiming::INSTANT };
        let mut card = card(timing, &mut pins);
        card.load((0..2).map(|n| job(Kind::Read, Way::Bulk, n << 12, 64)), 2, Instant::ZERO);
        run(&mut card, &mut pins, 900);
        for tag in 0..2 {
            answer(&mut pins, 1000, Tag(tag), 64, 64);
        }
        card.advance(pins.now, &mut pins);
        run(&mut card, &mut pins, 5000);
        assert_eq!(card.laps().last().map(|lap| lap.done.as_ns()), Some(last_ns));
    }
}

#[test]
fn a_request_smaller_than_the_largest_costs_its_engine_more() {
    let partial = Span::from_ns(100);
    for (address, len, done_ns) in [(0x1000, 512, 0), (0x1000, 511, 0), (0x1040, 448, 100)] {
        let mut pins = Pins::default();
        let timing = ExerciserTiming { read_partial: partial, ..ExerciserTiming::INSTANT };
        let mut card = card(timing, &mut pins);
        card.load([job(Kind::Read, Way::Bulk, address, len)], 1, Instant::ZERO);
        run(&mut card, &mut pins, 900);
        // In two completions: the request is paid for once.
        for (bytes, left) in [(128, len), (len - 128, len - 128)] {
            answer(&mut pins, 1000, Tag(0), bytes, left);
        }
        card.advance(pins.now, &mut pins);
        run(&mut card, &mut pins, 5000);
        let done = card.laps()[0].done.as_ns();
        assert_eq!(done, 1000 + done_ns, "{len} bytes at {address:#x}");
    }
}

#[test]
fn reads_wait_for_a_tag_and_writes_do_not_wait_behind_them() {
    let mut pins = Pins::default();
    let timing = ExerciserTiming { reads_at_once: 2, ..ExerciserTiming::INSTANT };
    let mut card = card(timing, &mut pins);
    let kind = |n| if n == 3 { Kind::Write } else { Kind::Read };
    card.load((0..4).map(|n| job(kind(n), Way::Bulk, n << 12, 64)), 4, Instant::ZERO);
    run(&mut card, &mut pins, 1000);
    assert_eq!((reads(&pins).len(), pins.up.len()), (2, 3));
    answer(&mut pins, 2000, Tag(1), 64, 64);
    card.advance(pins.now, &mut pins);
    run(&mut card, &mut pins, 3000);
    assert_eq!(reads(&pins)[2], (2 << 12, 64));
}

/// PCIe 5.0 §7.5.1.1.3: without Bus Master Enable no memory request leaves.
#[test]
fn without_bus_master_enable_no_request_leaves() {
    let mut pins = Pins::default();
    let mut card = Exerciser::new(ExerciserTiming::INSTANT, LINK);
    card.load([job(Kind::Write, Way::Command, 0x1000, 64)], 1, Instant::ZERO);
    run(&mut card, &mut pins, 1000);
    assert!(pins.up.is_empty() && !card.is_done());
}

#[test]
fn a_refusal_of_the_link_is_waited_for_and_not_asked_again_at_once() {
    let mut pins = Pins { closed: false, ..Pins::default() };
    let mut card = card(ExerciserTiming::INSTANT, &mut pins);
    pins.closed = true;
    card.load([job(Kind::Write, Way::Command, 0x1000, 64)], 1, Instant::ZERO);
    run(&mut card, &mut pins, 1000);
    assert_eq!((pins.up.len(), card.next_wake()), (0, None));
    pins.closed = false;
    card.advance(pins.now, &mut pins);
    assert_eq!(pins.up.len(), 1);
}

#[test]
fn a_completion_that_nobody_asked_for_is_counted() {
    let mut pins = Pins::default();
    let mut card = card(ExerciserTiming::INSTANT, &mut pins);
    answer(&mut pins, 10, Tag(9), 64, 64);
    card.advance(pins.now, &mut pins);
    assert_eq!(card.unexpected(), 1);
}
