//! The laws of the packet scoreboard.

use proptest::prelude::*;

use super::*;

fn packet(number: u64) -> Vec<u8> {
    let mut bytes = vec![0x5a; 60 + (number % 7) as usize];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Sends packets 0..count and receives `seen`; the findings, those of the end included.
fn play(order: Order, count: u64, seen: &[Vec<u8>]) -> Vec<NetFinding> {
    let mut board = NetScoreboard::new(1, order);
    (0..count).for_each(|number| board.sent(0, &packet(number)));
    let mut findings: Vec<_> =
        seen.iter().filter_map(|packet| board.received(0, packet).err()).collect();
    findings.extend(board.finish());
    findings
}

#[test]
fn packets_that_come_back_as_sent_are_no_finding() {
    let all: Vec<_> = (0..20).map(packet).collect();
    assert_eq!(play(Order::Fifo, 20, &all), []);
}

#[test]
fn a_changed_byte_is_named_with_its_place_and_is_the_only_finding() {
    let mut all: Vec<_> = (0..20).map(packet).collect();
    all[7][33] = 0xa5;
    let findings = play(Order::Fifo, 20, &all);
    let [NetFinding::Mismatch { lane: 0, number: 7, offset: 33, expected, seen, .. }] =
        &findings[..]
    else {
        panic!("{findings:?}")
    };
    assert_eq!((expected.bytes()[0], seen.bytes()[0]), (0x5a, 0xa5));
    assert!(findings[0].to_string().starts_with("lane 0: packet 7 came back changed at byte 33"));
}

#[test]
fn a_packet_cut_short_differs_where_it_ends() {
    let mut all: Vec<_> = (0..3).map(packet).collect();
    all[2].truncate(20);
    let findings = play(Order::Fifo, 3, &all);
    assert!(
        matches!(findings[..], [NetFinding::Mismatch { number: 2, offset: 20, seen_len: 20, .. }]),
        "{findings:?}"
    );
}

#[test]
fn a_lost_packet_is_one_finding_and_those_behind_it_are_none() {
    let seen: Vec<_> = (0..20).filter(|number| ![3, 4, 11].contains(number)).map(packet).collect();
    let lost = NetFinding::Lost { lane: 0, count: 3, first: vec![3, 4, 11] };
    assert_eq!(play(Order::Fifo, 20, &seen).as_slice(), std::slice::from_ref(&lost));
    assert_eq!(play(Order::Any, 20, &seen), [lost]);
}

#[test]
fn an_overtaken_packet_is_a_finding_where_order_counts() {
    let seen: Vec<_> = [0, 1, 3, 4, 2, 5].map(packet).to_vec();
    assert_eq!(play(Order::Fifo, 6, &seen), [NetFinding::Overtaken { lane: 0, number: 2, by: 3 }]);
    assert_eq!(play(Order::Any, 6, &seen), []);
}

#[test]
fn a_second_copy_is_a_finding_even_when_nothing_else_is_due() {
    let seen: Vec<_> = [0, 1, 2, 2].map(packet).to_vec();
    assert_eq!(play(Order::Fifo, 3, &seen), [NetFinding::Duplicate { lane: 0, number: 2 }]);
    assert_eq!(play(Order::Any, 4, &seen)[0], NetFinding::Duplicate { lane: 0, number: 2 });
}

#[test]
fn a_packet_that_nobody_sent_is_a_finding() {
    let findings = play(Order::Fifo, 0, &[vec![1, 2, 3]]);
    assert!(matches!(findings[..], [NetFinding::Unexpected { len: 3, .. }]), "{findings:?}");
    let mut board = NetScoreboard::new(1, Order::Fifo);
    assert!(board.received(9, &[1]).is_err(), "a lane that does not exist");
}

#[test]
fn a_strange_packet_in_between_does_not_spoil_those_behind_it() {
    let mut seen: Vec<_> = (0..10).map(packet).collect();
    seen.insert(4, vec![0xee; 90]);
    let findings = play(Order::Fifo, 10, &seen);
    assert!(matches!(findings[..], [NetFinding::Mismatch { number: 4, .. }]), "{findings:?}");
}

#[test]
fn lanes_do_not_know_each_other() {
    let mut board = NetScoreboard::new(1, Order::Fifo);
    board.sent(0, &[1]);
    board.sent(2, &[2]);
    assert!(board.received(2, &[2]).is_ok());
    assert!(board.received(2, &[1]).is_err());
    assert_eq!((board.matched(), board.in_flight()), (1, 1));
}

#[test]
fn memory_is_that_of_the_packets_in_flight() {
    let mut board = NetScoreboard::new(1, Order::Fifo);
    for number in 0..100_000 {
        board.sent(0, &packet(number));
        board.sent(0, &packet(number + 1_000_000));
        board.received(0, &packet(number)).unwrap();
        board.received(0, &packet(number + 1_000_000)).unwrap();
    }
    assert!(board.lanes[0].bytes.capacity() < 4096 && board.lanes[0].waiting.capacity() < 64);
    assert_eq!(board.finish(), []);
}

proptest! {
    #[test]
    fn each_packet_is_matched_or_in_exactly_one_finding(
        count in 1..40_u64,
        events in prop::collection::vec((0..45_u64, 0..8u8), 0..80),
    ) {
        let mut board = NetScoreboard::new(1, Order::Fifo);
        (0..count).for_each(|number| board.sent(0, &packet(number)));
        let mut findings = 0;
        let offered = events.len() as u64;
        for (number, kind) in events {
            let mut bytes = packet(number);
            if kind == 0 {
                bytes[20] ^= 1;
            }
            findings += u64::from(board.received(0, &bytes).is_err());
        }
        prop_assert_eq!(board.matched() + findings, offered);
        prop_assert!(board.in_flight() as u64 <= count);
    }

    #[test]
    fn any_permutation_passes_where_order_does_not_count(
        order in Just((0..30_u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let seen: Vec<_> = order.into_iter().map(packet).collect();
        prop_assert_eq!(play(Order::Any, 30, &seen), []);
    }
}
