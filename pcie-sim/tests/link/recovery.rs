//! What is damaged or lost comes again, once and in order; what cannot come is told.

use pcie_sim::link::LinkConfig;
use pcie_sim::link::aside::{LinkError, Outcome, Side};
use pcie_sim::link::dllp::Dllp;
use pcie_sim::link::faults::{DllpFault, LinkFault, TlpFault, Upset};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::Tlp;
use proptest::prelude::*;

use super::rig::{DOWN, Listed, Rig, UP, address, read, write, writes};

fn addresses(count: u64) -> Vec<u64> {
    (0..count).map(|i| 64 * i).collect()
}

fn tlp_fault(nth: usize, fault: TlpFault) -> Listed {
    Listed { tlps: vec![(UP, nth, fault)], ..Listed::default() }
}

fn acks(rig: &Rig) -> Vec<Dllp> {
    let dllps = rig.log.dllps.iter().filter(|(_, way, _)| *way == DOWN).map(|&(.., dllp)| dllp);
    dllps.filter(|dllp| matches!(dllp, Dllp::Ack(_) | Dllp::Nak(_))).collect()
}

/// PCIe 5.0 §3.6.3.1: a TLP whose LCRC does not match is discarded and a Nak is sent.
#[test]
fn a_damaged_tlp_is_refused_with_a_nak_and_comes_again_once_and_in_order() {
    let mut rig = Rig::with_fault(&LinkConfig::default(), tlp_fault(2, TlpFault::Corrupt));
    rig.send(UP, writes(6));
    rig.settle();
    assert_eq!(rig.written(), addresses(6));
    assert_eq!(acks(&rig)[0], Dllp::Nak(1), "the last good one");
    assert!(rig.errors(Side::Root).contains(&LinkError::BadTlp));
    let shown = &rig.log.shown;
    assert_eq!(shown[2].outcome, Outcome::Corrupted);
    assert!(shown[3..6].iter().all(|seen| seen.outcome == Outcome::OutOfSequence));
    let again: Vec<_> = shown.iter().filter(|seen| seen.replay).map(|seen| seen.sequence).collect();
    assert_eq!(again, [2, 3, 4, 5]);
    assert_eq!(
        rig.log.tlps.iter().filter_map(|(.., tlp)| address(tlp)).collect::<Vec<_>>(),
        addresses(6)
    );
}

/// PCIe 5.0 §3.6.3.1: a TLP that is not the next in sequence is discarded and a Nak is sent.
#[test]
fn a_lost_tlp_is_noticed_by_the_gap_behind_it() {
    let mut rig = Rig::with_fault(&LinkConfig::default(), tlp_fault(1, TlpFault::Lose));
    rig.send(UP, writes(4));
    rig.settle();
    assert_eq!(rig.written(), addresses(4));
    assert_eq!(acks(&rig)[0], Dllp::Nak(0));
    assert_eq!(rig.errors(Side::Card), [], "no timer ran out");
}

/// PCIe 5.0 §3.6.2.1: without Ack or Nak the replay timer brings the TLP again.
#[test]
fn the_last_tlp_when_lost_comes_again_by_the_replay_timer() {
    let config = LinkConfig::default();
    let mut rig = Rig::with_fault(&config, tlp_fault(0, TlpFault::Lose));
    rig.send(UP, writes(1));
    rig.settle();
    assert_eq!(rig.written(), addresses(1));
    assert_eq!(rig.errors(Side::Card), [LinkError::ReplayTimeout]);
    // 24,000 symbol times at 8 GT/s.
    assert_eq!(rig.log.shown[1].departs, Instant::ZERO + Span::from_us(24));
}

/// PCIe 5.0 §3.6.3.1: a TLP seen before is discarded, and acknowledged again.
#[test]
fn a_lost_ack_brings_a_replay_which_is_discarded_as_a_duplicate() {
    let fault = Listed { dllps: vec![(DOWN, 0, DllpFault::Lose)], ..Listed::default() };
    let mut config = LinkConfig::default();
    config.timing.credit_return = Span::from_us(100);
    let mut rig = Rig::with_fault(&config, fault);
    rig.send(UP, writes(3));
    rig.settle();
    assert_eq!(rig.written(), addresses(3), "each once");
    assert_eq!(rig.errors(Side::Card), [LinkError::ReplayTimeout]);
    assert_eq!(rig.errors(Side::Root), [], "a duplicate is no error");
    let replays: Vec<_> = rig.log.shown.iter().filter(|seen| seen.replay).collect();
    assert_eq!(replays.len(), 3);
    assert!(replays.iter().all(|seen| seen.outcome == Outcome::Duplicate));
    assert_eq!(rig.log.tlps.len(), 3, "who measures sees each once");
    assert_eq!(acks(&rig)[..2], [Dllp::Ack(2), Dllp::Ack(2)]);
}

/// PCIe 5.0 §3.6.2.2: a later Ack stands for all before it.
#[test]
fn a_damaged_ack_is_made_good_by_the_next_one() {
    let fault = Listed { dllps: vec![(DOWN, 0, DllpFault::Corrupt)], ..Listed::default() };
    let mut config = LinkConfig::default();
    config.timing.credit_return = Span::from_us(100);
    let mut rig = Rig::with_fault(&config, fault);
    rig.send(UP, writes(40));
    rig.settle();
    assert_eq!(rig.written(), addresses(40));
    assert_eq!(rig.errors(Side::Card), [LinkError::BadDllp]);
    assert!(rig.log.shown.iter().all(|seen| !seen.replay));
}

#[test]
fn a_tlp_sent_twice_arrives_once() {
    let mut rig = Rig::with_fault(&LinkConfig::default(), tlp_fault(1, TlpFault::Duplicate));
    rig.send(UP, writes(3));
    rig.settle();
    assert_eq!(rig.written(), addresses(3));
    assert_eq!(rig.log.shown.len(), 4);
    assert_eq!(rig.log.shown[2].outcome, Outcome::Duplicate);
}

#[test]
fn a_delayed_tlp_delays_all_behind_it_and_none_passes() {
    let late = Span::from_us(3);
    let mut rig = Rig::with_fault(&LinkConfig::default(), tlp_fault(1, TlpFault::Delay(late)));
    rig.send(UP, writes(3));
    rig.settle();
    assert_eq!(rig.written(), addresses(3));
    assert!(rig.at_root[0].0 < Instant::ZERO + late && rig.at_root[1].0 > Instant::ZERO + late);
    assert!(rig.at_root[2].0 >= rig.at_root[1].0);
}

/// PCIe 5.0 §3.6.2.1: when REPLAY_NUM rolls over from 3 to 0, the link is retrained before the replay.
#[test]
fn four_replays_without_progress_retrain_the_link() {
    let lost = (0..4).map(|nth| (UP, nth, TlpFault::Lose)).collect();
    let fault = Listed { tlps: lost, ..Listed::default() };
    let config = LinkConfig::default();
    let mut rig = Rig::with_fault(&config, fault);
    rig.send(UP, writes(1));
    rig.settle();
    assert_eq!(rig.written(), addresses(1));
    use LinkError::{ReplayRollover, ReplayTimeout, Retrained};
    let four = [ReplayTimeout, ReplayTimeout, ReplayTimeout, ReplayTimeout];
    let expected: Vec<_> = four.into_iter().chain([ReplayRollover, Retrained]).collect();
    assert_eq!(rig.errors(Side::Card), expected);
    assert_eq!(rig.errors(Side::Root), [Retrained]);
    let last = rig.log.shown.last().expect("five transmissions");
    assert_eq!(last.departs, Instant::ZERO + Span::from_us(4 * 24) + config.data_link.retrain);
}

/// PCIe 5.0 §4.2.6.4: Recovery loses nothing; both directions stand still meanwhile.
#[test]
fn a_retrain_stops_both_directions_and_loses_nothing() {
    let at = Instant::ZERO + Span::from_ns(30);
    let fault = Listed { upsets: [(at, Upset::Retrain)].into(), ..Listed::default() };
    let config = LinkConfig::default();
    let mut rig = Rig::with_fault(&config, fault);
    rig.send(UP, writes(20));
    rig.send(DOWN, writes(20));
    rig.settle();
    assert_eq!(rig.written(), addresses(20));
    assert_eq!(rig.at_card.len(), 20);
    assert_eq!(rig.log.shown.len(), 40, "no replay");
    let over = at + config.data_link.retrain;
    assert!(rig.log.shown.iter().all(|seen| seen.departs <= at || seen.departs >= over));
}

/// PCIe 5.0 §3.2.1: in DL_Inactive nothing is kept and nothing accepted.
#[test]
fn a_surprise_down_takes_all_that_is_in_flight_and_both_ends_are_told() {
    let at = Instant::ZERO + Span::from_ns(180);
    let fault = Listed { upsets: [(at, Upset::SurpriseDown)].into(), ..Listed::default() };
    let mut rig = Rig::with_fault(&LinkConfig::default(), fault);
    rig.send(UP, writes(30));
    rig.send(DOWN, (0..3).map(|tag| read(tag, 64)));
    rig.settle();
    let arrived = rig.at_root.len();
    assert!(arrived > 0 && arrived < 30);
    assert_eq!(rig.written(), addresses(arrived as u64));
    for side in [Side::Root, Side::Card] {
        assert_eq!(rig.errors(side).last(), Some(&LinkError::SurpriseDown));
    }
    assert!(!rig.link.is_up());
    let lost = rig.link.lost();
    assert!(lost >= 30 - arrived as u64);
    rig.send(UP, writes(1));
    assert_eq!(rig.link.lost(), lost + 1);
    rig.link.bring_up(rig.now);
    rig.send(UP, writes(2));
    rig.settle();
    assert_eq!(rig.at_root.len(), arrived + 2, "a link that is trained again carries again");
}

/// Random damage, with a seed; after `limit` faults it lets everything through.
#[derive(Debug)]
struct Storm {
    numbers: pcie_sim::host::seed::Sequence,
    one_in: u64,
    left: u32,
}

impl Storm {
    fn strikes(&mut self) -> Option<u64> {
        let hit = self.left > 0 && self.numbers.below(self.one_in) == 0;
        self.left -= u32::from(hit);
        hit.then(|| self.numbers.below(4))
    }
}

impl LinkFault for Storm {
    fn tlp(
        &mut self,
        _: Instant,
        _: pcie_sim::endpoint::Direction,
        _: u16,
        _: &Tlp,
        _: bool,
    ) -> TlpFault {
        match self.strikes() {
            None => TlpFault::None,
            Some(0) => TlpFault::Corrupt,
            Some(1) => TlpFault::Lose,
            Some(2) => TlpFault::Duplicate,
            Some(_) => TlpFault::Delay(Span::from_ns(700)),
        }
    }

    fn dllp(&mut self, _: Instant, _: pcie_sim::endpoint::Direction, _: Dllp) -> DllpFault {
        match self.strikes() {
            None => DllpFault::None,
            Some(0) => DllpFault::Corrupt,
            Some(1) => DllpFault::Lose,
            Some(2) => DllpFault::Credits { headers: -1, data: -2 },
            Some(_) => DllpFault::Delay(Span::from_us(2)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// PCIe 5.0 §3.1: the data link layer delivers every TLP, once, undamaged, in order.
    #[test]
    fn whatever_is_damaged_each_tlp_arrives_once_and_in_order(
        seed in any::<u64>(),
        one_in in 2u64..20,
        left in 0u32..60,
        headers in 2u32..10,
        lens in prop::collection::vec(1usize..256, 1..80),
    ) {
        let mut config = LinkConfig::default();
        config.root_buffers.posted.headers = headers;
        config.card_buffers.posted.data = 20;
        let numbers = pcie_sim::host::seed::Sequence::new(seed);
        let mut rig = Rig::with_fault(&config, Storm { numbers, one_in, left });
        let sent: Vec<Tlp> =
            lens.iter().enumerate().map(|(i, &len)| write(i as u64 * 256, len)).collect();
        rig.send(UP, sent.clone());
        rig.send(DOWN, sent.clone());
        rig.settle();
        let got = |all: &[(Instant, Tlp)]| all.iter().map(|(_, tlp)| tlp.clone()).collect::<Vec<_>>();
        prop_assert_eq!(got(&rig.at_root), sent.clone());
        prop_assert_eq!(got(&rig.at_card), sent);
    }

    /// The same link with and without the means to recover: as long as nothing goes wrong, not a
    /// picosecond differs.
    #[test]
    fn a_link_that_could_fail_and_does_not_is_as_fast_as_one_that_cannot(
        lens in prop::collection::vec((any::<bool>(), 1usize..256), 1..80),
        headers in 1u32..10,
        buffer in 300u32..3000,
    ) {
        let mut config = LinkConfig::default();
        config.root_buffers.posted.headers = headers;
        config.data_link.replay_buffer_bytes = buffer;
        let run = |mut rig: Rig| {
            for (i, &(up, len)) in lens.iter().enumerate() {
                rig.send(if up { UP } else { DOWN }, [write(i as u64 * 256, len)]);
            }
            rig.settle();
            (rig.log.tlps, rig.at_root, rig.at_card)
        };
        let plain = run(Rig::new(&config));
        let careful = run(Rig::with_fault(&config, Listed::default()));
        prop_assert_eq!(plain, careful);
    }
}
