use super::*;
use crate::address::Bdf;
use crate::endpoint::Sighting;
use crate::link::credits::Credits;
use crate::tlp::{Attributes, Completion, CompletionStatus, MemRead, MemWrite, Payload, Tag};
use proptest::prelude::*;

#[derive(Default)]
struct Log(Vec<(Instant, Instant, Tlp)>);

impl Tap for Log {
    fn tlp(&mut self, sighting: &Sighting<'_>) {
        self.0.push((sighting.departs, sighting.arrives, sighting.tlp.clone()));
    }
}

fn write(address: u64, len: usize) -> Tlp {
    Tlp::MemWrite(MemWrite {
        requester: Bdf::new(1, 0, 0),
        tag: Tag(0),
        address,
        data: Payload::from_elem(0xa5, len),
        attributes: Attributes::default(),
    })
}

fn read(tag: u16) -> Tlp {
    Tlp::MemRead(MemRead {
        requester: Bdf::new(1, 0, 0),
        tag: Tag(tag),
        address: 0x1000,
        len_bytes: 64,
        attributes: Attributes::default(),
    })
}

fn completion(len: usize) -> Tlp {
    Tlp::Completion(Completion {
        completer: Bdf::new(1, 0, 0),
        requester: Bdf::new(0, 1, 0),
        tag: Tag(0),
        status: CompletionStatus::Success,
        byte_count: len as u16,
        lower_address: 0,
        data: Payload::from_elem(0x5a, len),
        attributes: Attributes::default(),
    })
}

/// Runs a link until nothing moves; the root takes what comes at once. Returns what arrived.
fn drain(link: &mut Link, log: &mut Log) -> Vec<Tlp> {
    let mut now = Instant::ZERO;
    let mut landing = None;
    let mut got = Vec::new();
    loop {
        let pumped = link.pump(Direction::Upstream, now, log);
        landing = pumped.arrives.or(landing);
        let next = [pumped.again, landing].into_iter().flatten().min();
        let Some(next) = next else { return got };
        now = next;
        while landing.is_some_and(|at| at <= now) {
            landing = link.land(Direction::Upstream, now);
            got.extend(link.take_at_root(now));
        }
    }
}

/// A 64-byte write below 4 GiB is 12 + 64 + 8 bytes; at generation 3, x8, 63.015 Gbit/s.
#[test]
fn a_tlp_arrives_after_its_serialisation_and_the_propagation() {
    let config = LinkConfig::default();
    let mut link = Link::new(&config);
    let mut log = Log::default();
    link.submit(Direction::Upstream, write(0x1000, 64));
    link.submit(Direction::Upstream, write(0x1040, 64));
    drain(&mut link, &mut log);
    let serial = Span::from_ps(10_665);
    assert_eq!(config.timing.serialisation(84), serial);
    assert_eq!(log.0[0].0, Instant::ZERO);
    assert_eq!(log.0[0].1, Instant::ZERO + serial + Span::from_ns(125));
    assert_eq!(log.0[1].0, Instant::ZERO + serial, "the second waits for the lanes");
}

/// PCIe 5.0 §2.4.1, table of ordering rules, entry B2: a read may not pass a posted write.
#[test]
fn a_read_waits_behind_a_write_that_has_no_credits() {
    let mut config = LinkConfig::default();
    config.root_buffers.posted = Credits { headers: 1, data: 4 };
    let mut link = Link::new(&config);
    let mut log = Log::default();
    link.submit(Direction::Upstream, write(0, 64));
    link.submit(Direction::Upstream, write(64, 64));
    link.submit(Direction::Upstream, read(1));
    drain(&mut link, &mut log);
    let order: Vec<_> = log.0.iter().map(|(.., tlp)| tlp.flow_class()).collect();
    assert_eq!(order, [FlowClass::Posted, FlowClass::Posted, FlowClass::NonPosted]);
    let back = config.timing.serialisation(8) + config.timing.propagation;
    let freed = log.0[0].1 + back;
    assert_eq!(log.0[1].0, freed, "the second write leaves when the first one's UpdateFC is there");
}

/// PCIe 5.0 §2.4.1, entry A3: a posted write must be able to pass a blocked read.
#[test]
fn a_write_passes_a_read_that_has_no_credits() {
    let mut config = LinkConfig::default();
    config.root_buffers.non_posted = Credits { headers: 1, data: 1 };
    let mut link = Link::new(&config);
    let mut log = Log::default();
    link.submit(Direction::Upstream, read(1));
    link.submit(Direction::Upstream, read(2));
    link.submit(Direction::Upstream, write(0, 4));
    drain(&mut link, &mut log);
    let order: Vec<_> = log.0.iter().map(|(.., tlp)| tlp.flow_class()).collect();
    assert_eq!(order, [FlowClass::NonPosted, FlowClass::Posted, FlowClass::NonPosted]);
}

/// PCIe 5.0 §2.6.1: credits return when a TLP leaves the buffer, not when somebody looks at it.
#[test]
fn a_tlp_that_was_taken_keeps_its_credits_until_they_are_given_back() {
    let mut config = LinkConfig::default();
    config.card_buffers.posted = Credits { headers: 1, data: 4 };
    let mut link = Link::new(&config);
    let mut log = Log::default();
    link.submit(Direction::Downstream, write(0, 64));
    link.submit(Direction::Downstream, write(64, 64));
    let pumped = link.pump(Direction::Downstream, Instant::ZERO, &mut log);
    let arrives = pumped.arrives.expect("it is on its way");
    link.land(Direction::Downstream, arrives);
    assert_eq!(link.card_port(arrives).take(), Some(write(0, 64)));
    let later = arrives + Span::from_us(50);
    assert!(link.pump(Direction::Downstream, later, &mut log).arrives.is_none());
    assert_eq!(link.credits(Direction::Downstream).posted, Credits::NONE);
    link.card_port(later).give_back(FlowClass::Posted, 4);
    let again = link.pump(Direction::Downstream, later, &mut log).again.expect("an update comes");
    assert!(link.pump(Direction::Downstream, again, &mut log).arrives.is_some());
}

/// A card that does its own accounting sees what it has sent as spent, before it has left.
#[test]
fn the_credits_that_a_card_is_shown_are_less_those_of_tlps_that_wait() {
    let mut config = LinkConfig::default();
    config.root_buffers.posted = Credits { headers: 8, data: 20 };
    config.root_buffers.non_posted = Credits { headers: 1, data: 0 };
    let mut link = Link::new(&config);
    let shown = |link: &mut Link| {
        let port = link.card_port(Instant::ZERO);
        (port.credits(FlowClass::Posted), port.credits(FlowClass::Completion), port.has_room())
    };
    let posted = |headers, data| Credits { headers, data };
    assert_eq!(shown(&mut link), (posted(8, 20), Credits::INFINITE, true));
    for tlp in [write(0, 64), read(1), write(64, 40), read(2)] {
        link.card_port(Instant::ZERO).send(tlp);
    }
    assert_eq!(shown(&mut link), (posted(6, 13), Credits::INFINITE, false));
    let non_posted = link.card_port(Instant::ZERO).credits(FlowClass::NonPosted);
    assert_eq!(non_posted, Credits::NONE, "more wait than may go");
    link.pump(Direction::Upstream, Instant::ZERO, &mut Log::default());
    assert_eq!(shown(&mut link), (posted(6, 13), Credits::INFINITE, true), "one has left");
    link.surprise_down(Instant::ZERO);
    assert_eq!(shown(&mut link), (Credits::NONE, Credits::NONE, false));
}

/// PCIe 5.0 §3.6.2.1: the replay buffer has one order. What it has no room for is not passed by what is
/// smaller, as that would keep the room from it.
#[test]
fn what_the_replay_buffer_has_no_room_for_is_not_passed() {
    let mut config = LinkConfig::default();
    config.data_link.replay_buffer_bytes = 100;
    let mut link = Link::new(&config);
    let mut log = Log::default();
    link.submit(Direction::Upstream, read(1));
    link.pump(Direction::Upstream, Instant::ZERO, &mut log);
    let large = completion(256);
    link.submit(Direction::Upstream, large.clone());
    (2..8).for_each(|tag| link.submit(Direction::Upstream, read(tag)));
    drain(&mut link, &mut log);
    assert_eq!(log.0.iter().position(|(.., tlp)| *tlp == large), Some(1));
}

proptest! {
    /// PCIe 5.0 §2.6.1: credits are neither made nor lost, and nothing sent is dropped.
    #[test]
    fn whatever_is_sent_arrives_once_and_every_credit_comes_home(
        kinds in prop::collection::vec((any::<bool>(), 1usize..256), 1..60),
        headers in 1u32..4,
        data in 16u32..40,
    ) {
        let mut config = LinkConfig::default();
        config.root_buffers.posted = Credits { headers, data };
        config.root_buffers.non_posted = Credits { headers, data: 1 };
        let mut link = Link::new(&config);
        let mut log = Log::default();
        let sent: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(i, &(posted, len))| if posted { write(i as u64 * 256, len) } else { read(i as u16) })
            .collect();
        for tlp in &sent {
            link.submit(Direction::Upstream, tlp.clone());
        }
        let got = drain(&mut link, &mut log);
        for class in [FlowClass::Posted, FlowClass::NonPosted] {
            let of = |tlps: &[Tlp]| -> Vec<Tlp> {
                tlps.iter().filter(|tlp| tlp.flow_class() == class).cloned().collect()
            };
            prop_assert_eq!(of(&got), of(&sent));
        }
        link.pump(Direction::Upstream, Instant::FAR_FUTURE, &mut log);
        prop_assert_eq!(link.credits(Direction::Upstream), &config.root_buffers);
    }
}
