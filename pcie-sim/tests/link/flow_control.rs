//! Credits: counted, returned, and what happens when the count is wrong.

use pcie_sim::link::LinkConfig;
use pcie_sim::link::aside::{LinkError, Side};
use pcie_sim::link::credits::Credits;
use pcie_sim::link::dllp::Dllp;
use pcie_sim::link::faults::{DllpFault, LinkFault};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::FlowClass;

use super::rig::{DOWN, Listed, Rig, UP, completion, write, writes};
use pcie_sim::endpoint::Direction;
use pcie_sim::tlp::Tag;

/// PCIe 5.0 §2.6.1.2: an update says how much may have been sent since the link came up, and is gathered
/// for as long as the receiver may.
#[test]
fn freed_credits_are_gathered_and_told_with_one_update() {
    let config = LinkConfig::default();
    let mut rig = Rig::new(&config);
    rig.send(UP, writes(5));
    rig.settle();
    rig.now += Span::from_us(1);
    rig.pump(UP);
    let updates: Vec<_> =
        rig.log.dllps.iter().filter(|(.., dllp)| matches!(dllp, Dllp::UpdateFc { .. })).collect();
    let first = rig.at_root[0].0;
    let expected = Dllp::UpdateFc { class: FlowClass::Posted, headers: 64 + 5, data: 256 + 20 };
    assert_eq!(updates, [&(first + config.timing.credit_return, DOWN, expected)]);
    assert_eq!(rig.link.credits(UP).posted, config.root_buffers.posted);
}

/// PCIe 5.0 §2.6.1.2: a sender without credits is not left to wait.
#[test]
fn a_sender_without_credits_is_told_at_once() {
    let mut config = LinkConfig::default();
    config.root_buffers.posted = Credits { headers: 1, data: 16 };
    let mut rig = Rig::new(&config);
    rig.send(UP, writes(2));
    rig.settle();
    let way = config.timing.propagation;
    let (tlp, dllp) = (config.timing.serialisation(84), config.timing.serialisation(8));
    assert_eq!(rig.log.tlps[1].0, Instant::ZERO + tlp + way + dllp + way);
}

/// PCIe 5.0 §2.6.1: infinite credits are never counted, and never updated.
#[test]
fn infinite_credits_need_no_updates() {
    let mut config = LinkConfig::default();
    config.card_buffers.completion = Credits::INFINITE;
    let mut rig = Rig::new(&config);
    rig.send(DOWN, (0..1000).map(|tag| completion(Tag(tag), 256, 256)));
    rig.settle();
    assert_eq!(rig.at_card.len(), 1000);
    assert_eq!(rig.link.credits(DOWN).completion, Credits::INFINITE);
    assert!(rig.log.dllps.iter().all(|(.., dllp)| matches!(dllp, Dllp::Ack(_))));
    let pause = rig.log.tlps.windows(2).all(|two| two[1].0.since(two[0].0) < Span::from_ns(40));
    assert!(pause, "back to back");
}

/// PCIe 5.0 §3.5.2.1: a DLLP waits for the TLP under way, and goes before the next.
#[test]
fn a_dllp_goes_between_two_tlps_and_takes_wire_time() {
    let mut config = LinkConfig::default();
    config.card_buffers.posted = Credits { headers: 1000, data: 100_000 };
    let mut rig = Rig::new(&config);
    rig.send(UP, writes(1));
    rig.send(DOWN, (0..20).map(|i| write(i * 4096, 1024)));
    rig.settle();
    let acks: Vec<_> = rig.log.dllps.iter().filter(|(_, way, _)| *way == DOWN).collect();
    let (tlp, dllp) = (config.timing.serialisation(1024 + 20), config.timing.serialisation(8));
    let departs: Vec<_> = rig.log.tlps.iter().filter(|(_, way, _)| *way == DOWN).collect();
    let gaps: Vec<_> = departs.windows(2).map(|two| two[1].0.since(two[0].0)).collect();
    assert_eq!(acks.len(), 2, "an Ack and an UpdateFC");
    assert_eq!(gaps.iter().filter(|gap| **gap != tlp).collect::<Vec<_>>(), [&(tlp + dllp + dllp)]);
    let held_up = gaps.iter().position(|gap| *gap != tlp).expect("one of them");
    assert_eq!(acks[0].0, departs[held_up].0 + tlp, "at the boundary");
}

/// Every update is wrong by so much.
#[derive(Debug)]
struct Leak(i32, i32);

impl LinkFault for Leak {
    fn dllp(&mut self, _: Instant, _: Direction, dllp: Dllp) -> DllpFault {
        match dllp {
            Dllp::UpdateFc { .. } => DllpFault::Credits { headers: self.0, data: self.1 },
            _ => DllpFault::None,
        }
    }
}

/// PCIe 5.0 §2.6.1.2: updates are repeated, so a lost one costs time and nothing else.
#[test]
fn a_lost_update_is_made_good_within_thirty_microseconds() {
    let mut config = LinkConfig::default();
    config.root_buffers.posted = Credits { headers: 1, data: 16 };
    let lost = (0..1).map(|nth| (DOWN, nth, DllpFault::Lose)).collect();
    let mut rig = Rig::with_fault(&config, Listed { dllps: lost, ..Listed::default() });
    rig.send(UP, writes(2));
    rig.settle();
    assert_eq!(rig.written(), [0, 64]);
    let waited = rig.log.tlps[1].0.since(Instant::ZERO);
    assert!(waited >= Span::from_us(30) && waited < Span::from_us(31), "{waited}");
}

/// The receiver forgets so many of the headers that it has freed.
#[derive(Debug)]
struct Forgets(u32);

impl LinkFault for Forgets {
    fn dllp(&mut self, _: Instant, _: Direction, dllp: Dllp) -> DllpFault {
        match dllp {
            Dllp::UpdateFc { headers, .. } => {
                let forgotten = self.0.min(headers - 4) as i32;
                DllpFault::Credits { headers: -forgotten, data: 0 }
            }
            _ => DllpFault::None,
        }
    }
}

/// PCIe 5.0 §2.6.1: credits that leak away stop the link; nothing breaks.
#[test]
fn leaked_credits_throttle_the_sender_and_at_last_stop_it() {
    let mut config = LinkConfig::default();
    config.root_buffers.posted = Credits { headers: 4, data: 64 };
    for (forgotten, arrived) in [(2, 30), (4, 4)] {
        let mut rig = Rig::with_fault(&config, Forgets(forgotten));
        rig.send(UP, writes(30));
        while rig.step(Instant::ZERO + Span::from_ms(1)) {}
        assert_eq!(rig.at_root.len(), arrived);
        assert_eq!(rig.events, []);
    }
}

/// PCIe 5.0 §2.6.1.2: a receiver that gets more than it has room for reports Receiver Overflow.
#[test]
fn a_receiver_without_room_discards_and_reports_an_overflow() {
    let mut config = LinkConfig::default();
    config.card_buffers.posted = Credits { headers: 4, data: 64 };
    let mut rig = Rig::with_fault(&config, Leak(3, 30));
    rig.send(DOWN, writes(4));
    while rig.step(Instant::ZERO + Span::from_us(20)) {}
    rig.card_sleeps = true;
    rig.send(DOWN, writes(20));
    while rig.step(Instant::ZERO + Span::from_us(40)) {}
    rig.wake_card();
    let errors = rig.errors(Side::Card);
    assert!(errors.len() == 3, "{errors:?}");
    assert!(errors.iter().all(|error| *error == LinkError::ReceiverOverflow(FlowClass::Posted)));
    assert!(rig.at_card.len() >= 8);
}

/// PCIe 5.0 §2.6.1: at most 127 headers and 2047 units of data may be outstanding.
#[test]
fn an_update_of_more_than_can_be_is_a_flow_control_protocol_error() {
    let mut rig = Rig::with_fault(&LinkConfig::default(), Leak(200, 0));
    rig.send(UP, writes(1));
    while rig.step(Instant::ZERO + Span::from_us(20)) {}
    assert_eq!(rig.errors(Side::Card), [LinkError::FlowControl(FlowClass::Posted)]);
    assert_eq!(rig.link.credits(UP).posted.headers, 63, "it is not believed");
}
