//! Round trips and requests are counted exactly.

use pcie_sim::spec::features;
use pcie_sim::spec::virtq::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE};
use pcie_sim::time::Instant;
use proptest::prelude::*;

use super::fake_link::{AVAIL, BAR2, DESC, FakeLink, USED, desc, element};
use crate::analyzer::{Purpose, RequestRecord, serial_round_trips};

fn only(link: &FakeLink) -> RequestRecord {
    let requests = &link.log().requests;
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests[0]
}

/// Three ring reads that depend on each other, one of payload; two ring writes, one interrupt.
#[test]
fn one_direct_descriptor_costs_three_ring_reads_and_its_payload_one_after_the_other() {
    let mut link = FakeLink::host();
    link.transmits(0, 5, 0x5000);
    let request = only(&link);
    assert_eq!((request.queue, request.head, request.descriptors), (0, 5, 1));
    assert_eq!((request.round_trips, request.serial_round_trips), (4, 4));
    assert_eq!((request.readable_bytes, request.used_len), (64, Some(0)));
    let counts = link.measure().counts();
    assert_eq!((counts.requests, counts.descriptors, counts.serial_round_trips), (1, 1, 4));
    for (purpose, times) in [
        (Purpose::AvailIdx, 1),
        (Purpose::RingEntry, 1),
        (Purpose::Descriptor, 1),
        (Purpose::Payload, 1),
        (Purpose::UsedElement, 1),
        (Purpose::UsedIdx, 1),
        (Purpose::EventSuppression, 1),
        (Purpose::MsiX, 1),
        (Purpose::IndirectTable, 0),
        (Purpose::Unknown, 0),
    ] {
        assert_eq!(counts.of(purpose), times, "{purpose}");
    }
    assert_eq!((counts.round_trips(), counts.interrupts), (5, 1));
    assert_eq!((counts.mmio_reads, counts.mmio_writes, counts.doorbells), (0, 1, 1));
    assert_eq!(counts.tlps, 1 + 5 * 2 + 3);
    assert_eq!(link.rules(), [""; 0]);
}

#[test]
fn a_request_lasts_from_the_doorbells_arrival_to_the_used_indexs_departure() {
    let mut link = FakeLink::host();
    link.doorbell(0);
    let doorbell_arrived = link.now;
    link.fetches(0, 0, desc(0x5000, 64, 0, 0));
    link.reads(0x5000, &[0; 64]);
    link.writes_element(0, 0, 0);
    let used_idx_departs = link.now;
    link.writes_used_idx(1);
    let request = only(&link);
    assert_eq!((request.begin, request.end), (doorbell_arrived, used_idx_departs));
}

#[test]
fn without_a_doorbell_a_request_begins_with_the_read_that_shows_it() {
    let mut link = FakeLink::host();
    link.reads_idx(0);
    let first_read = link.now;
    link.fetches(0, 0, desc(0x5000, 64, 0, 0));
    link.reads(0x5000, &[0; 64]);
    link.returns(0, 0, 0);
    let request = only(&link);
    assert_eq!(request.begin, first_read);
    assert_eq!(request.round_trips, 4, "the poll that showed nothing belongs to nobody");
}

#[test]
fn an_indirect_table_adds_one_read_and_its_pointer_is_no_descriptor() {
    let mut link = FakeLink::host();
    link.doorbell(0);
    link.fetches(0, 0, desc(0x7000, 48, DESC_F_INDIRECT, 0));
    let table: Vec<u8> = [
        desc(0x5000, 16, DESC_F_NEXT, 1),
        desc(0x5100, 64, DESC_F_NEXT, 2),
        desc(0x6000, 1, DESC_F_WRITE, 0),
    ]
    .iter()
    .flat_map(|desc| desc.to_bytes())
    .collect();
    link.reads(0x7000, &table);
    let header = link.asks(0x5000, 16);
    let data = link.asks(0x5100, 64);
    link.answered(header, &[0; 16]);
    link.answered(data, &[0; 64]);
    link.writes(0x6000, &[0]);
    link.returns(0, 0, 1);
    let request = only(&link);
    assert_eq!((request.descriptors, request.readable_bytes, request.writable_bytes), (3, 80, 1));
    assert_eq!(request.round_trips, 6);
    assert_eq!(request.serial_round_trips, 5, "both payload reads are in flight together");
    assert_eq!(link.rules(), [""; 0]);
}

/// Rings on the card, the used ring in host memory: no ring read crosses the link.
#[test]
fn a_hybrid_queue_reads_payload_only() {
    let mut link = FakeLink::running(BAR2, BAR2 + 0x1000, USED, 1 << 32);
    link.mmio_write(BAR2 + 16 * 3, &desc(0x5000, 64, 0, 0).to_bytes());
    link.mmio_write(BAR2 + 0x1004, &3_u16.to_le_bytes());
    link.mmio_write(BAR2 + 0x1002, &1_u16.to_le_bytes());
    link.doorbell(0);
    let begin = link.now;
    assert_eq!(link.reads(0x5000, &[0; 64]), Purpose::Payload);
    link.writes_element(0, 3, 0);
    link.writes_used_idx(1);
    link.interrupts();
    let request = only(&link);
    assert_eq!((request.head, request.round_trips, request.serial_round_trips), (3, 1, 1));
    assert_eq!(request.begin, begin);
    assert_eq!(link.measure().counts().mmio_writes, 4);
    assert_eq!(link.rules(), [""; 0]);
}

fn card_request(link: &mut FakeLink) {
    link.mmio_write(BAR2, &desc(0x5000, 64, DESC_F_WRITE, 0).to_bytes());
    link.mmio_write(BAR2 + 0x1004, &0_u16.to_le_bytes());
    link.mmio_write(BAR2 + 0x1002, &1_u16.to_le_bytes());
    link.doorbell(0);
    link.writes(0x5000, &[0; 64]);
}

#[test]
fn with_the_used_ring_on_the_card_a_request_ends_with_the_answer_that_shows_the_index() {
    let mut link = FakeLink::running(BAR2, BAR2 + 0x1000, BAR2 + 0x2000, 1 << 32);
    card_request(&mut link);
    link.mmio_read(BAR2 + 0x2002, &0_u16.to_le_bytes());
    let answer_departs = link.now + pcie_sim::time::Span::from_ns(100);
    link.mmio_read(BAR2 + 0x2002, &1_u16.to_le_bytes());
    link.mmio_read(BAR2 + 0x2004, &element(0, 64));
    let request = only(&link);
    assert_eq!((request.end, request.used_len), (answer_departs, Some(64)));
    assert_eq!((request.round_trips, request.serial_round_trips), (0, 0));
    let counts = link.measure().counts();
    assert_eq!((counts.mmio_reads, counts.mmio_writes, counts.round_trips()), (3, 4, 0));
    assert_eq!(link.rules(), [""; 0]);
}

#[test]
fn with_the_used_ring_on_the_card_an_interrupt_ends_a_request_sooner() {
    let mut link = FakeLink::running(BAR2, BAR2 + 0x1000, BAR2 + 0x2000, 1 << 32);
    card_request(&mut link);
    let interrupt = link.now;
    link.interrupts();
    link.mmio_read(BAR2 + 0x2002, &1_u16.to_le_bytes());
    link.mmio_read(BAR2 + 0x2004, &element(0, 64)[..4]);
    assert_eq!(only(&link).end, interrupt);
    assert_eq!(link.rules(), [""; 0]);
}

#[test]
fn an_indirect_table_on_the_card_is_followed_without_a_read() {
    let mut link = FakeLink::running(BAR2, BAR2 + 0x1000, USED, 1 << 32);
    link.mmio_write(BAR2 + 0x8000, &desc(0x5000, 64, DESC_F_NEXT, 1).to_bytes());
    link.mmio_write(BAR2 + 0x8010, &desc(0x6000, 64, DESC_F_WRITE, 0).to_bytes());
    link.mmio_write(BAR2, &desc(BAR2 + 0x8000, 32, DESC_F_INDIRECT, 0).to_bytes());
    link.mmio_write(BAR2 + 0x1002, &[1, 0, 0, 0]);
    link.doorbell(0);
    assert_eq!(link.reads(0x5000, &[0; 64]), Purpose::Payload);
    assert_eq!(link.writes(0x6000, &[0; 64]), Purpose::Payload);
    link.writes_element(0, 0, 64);
    link.writes_used_idx(1);
    assert_eq!(only(&link).descriptors, 2);
    assert_eq!(link.rules(), [""; 0]);
}

#[test]
fn a_read_shared_by_a_batch_belongs_to_each_of_its_requests() {
    let mut link = FakeLink::host();
    link.doorbell(0);
    link.reads_idx(3);
    link.reads(AVAIL + 4, &[0, 0, 1, 0, 2, 0]);
    let descs: Vec<u8> =
        (0..3).flat_map(|i| desc(0x5000 + 0x100 * i, 64, 0, 0).to_bytes()).collect();
    link.reads(DESC, &descs);
    let open: Vec<_> = (0..3).map(|i| link.asks(0x5000 + 0x100 * i, 64)).collect();
    open.into_iter().for_each(|open| link.answered(open, &[0; 64]));
    link.writes(USED + 4, &[element(0, 0), element(1, 0), element(2, 0)].concat());
    link.writes_used_idx(3);
    let requests = &link.log().requests;
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!((request.round_trips, request.serial_round_trips), (4, 4), "{request:?}");
    }
    assert_eq!(link.measure().counts().round_trips(), 6);
}

#[test]
fn descriptors_read_ahead_count_for_a_request_only_if_read_after_it_was_made_available() {
    let mut link = FakeLink::host();
    // Descriptor 1 comes along before anybody made it available, and changes afterwards.
    let both = [desc(0x5000, 64, 0, 0).to_bytes(), desc(0xbad0, 64, 0, 0).to_bytes()].concat();
    link.reads_idx(1);
    link.reads_entry(0, 0);
    link.reads(DESC, &both);
    link.reads(0x5000, &[0; 64]);
    link.returns(0, 0, 0);
    link.reads_idx(2);
    link.reads_entry(1, 1);
    assert_eq!(link.reads_desc(1, desc(0x6000, 64, 0, 0)), Purpose::Descriptor);
    assert_eq!(link.reads(0x6000, &[0; 64]), Purpose::Payload);
    link.returns(1, 1, 0);
    assert_eq!(link.log().requests[1].round_trips, 4);
    assert_eq!(link.rules(), [""; 0]);
}

#[test]
fn index_and_entries_in_one_read_cost_one_round_trip() {
    let mut link = FakeLink::host();
    link.doorbell(0);
    link.reads(AVAIL, &[0, 0, 1, 0, 6, 0]);
    link.reads_desc(6, desc(0x5000, 64, 0, 0));
    link.reads(0x5000, &[0; 64]);
    link.returns(0, 6, 0);
    assert_eq!((only(&link).round_trips, only(&link).serial_round_trips), (3, 3));
}

#[test]
fn in_order_one_element_stands_for_a_batch() {
    let mut link = FakeLink::running(DESC, AVAIL, USED, 1 << 32 | features::IN_ORDER);
    link.reads_idx(2);
    link.reads(AVAIL + 4, &[0, 0, 1, 0]);
    link.reads_desc(0, desc(0x5000, 64, 0, 0));
    link.reads_desc(1, desc(0x6000, 64, 0, 0));
    link.writes_element(0, 1, 0);
    link.writes_used_idx(2);
    let heads: Vec<u16> = link.log().requests.iter().map(|request| request.head).collect();
    assert_eq!(heads, [0, 1]);
    assert_eq!(link.rules(), [""; 0]);
}

#[test]
fn what_comes_before_the_start_mark_does_not_count_and_what_is_consumed_after_it_does() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x5000, 64, DESC_F_WRITE, 0));
    link.begin();
    link.writes(0x5000, &[0; 64]);
    link.returns(0, 0, 64);
    let counts = link.measure().counts();
    assert_eq!((counts.requests, counts.descriptors, counts.round_trips()), (1, 1, 1));
    assert_eq!(counts.tlps, 4 + 2);
}

#[test]
fn a_thousand_requests_leave_nothing_behind() {
    let mut link = FakeLink::host();
    for index in 0..1000 {
        link.transmits(index, index % 8, 0x5000 + 64 * u64::from(index % 8));
    }
    assert_eq!(link.log().requests.len(), 1000);
    assert!(link.log().requests.iter().all(|request| request.serial_round_trips == 4));
    assert_eq!(link.rules(), [""; 0]);
    let queue = link.analyzer.queues().next().expect("queue 0 is on");
    assert_eq!((queue.avail_idx, queue.used_idx), (1000, 1000));
}

#[test]
fn a_doorbell_that_a_read_just_missed_is_answered_by_the_next() {
    let mut link = FakeLink::host();
    link.doorbell(0);
    let doorbell_arrived = link.now;
    link.reads_idx(0);
    link.fetches(0, 0, desc(0x5000, 64, 0, 0));
    link.returns(0, 0, 0);
    assert_eq!(only(&link).begin, doorbell_arrived);
}

#[test]
fn a_queue_on_the_card_without_a_doorbell_begins_a_request_with_its_first_read() {
    let mut link = FakeLink::running(BAR2, BAR2 + 0x1000, USED, 1 << 32);
    link.mmio_write(BAR2, &desc(0x5000, 64, 0, 0).to_bytes());
    link.mmio_write(BAR2 + 0x1002, &[1, 0, 0, 0]);
    link.mmio_read(BAR2, &[0]);
    let first_read = link.now;
    link.reads(0x5000, &[0; 64]);
    link.doorbell(0);
    link.writes_element(0, 0, 0);
    link.writes_used_idx(1);
    assert_eq!(only(&link).begin, first_read);
}

#[test]
fn a_doorbell_still_under_way_does_not_begin_a_request_that_the_card_already_reads() {
    let mut link = FakeLink::running(BAR2, BAR2 + 0x1000, USED, 1 << 32);
    link.mmio_write(BAR2, &desc(0x5000, 64, 0, 0).to_bytes());
    link.mmio_write(BAR2 + 0x1002, &[1, 0, 0, 0]);
    let doorbell_departs = link.now;
    link.doorbell(0);
    link.now = doorbell_departs + pcie_sim::time::Span::from_ns(1);
    let first_read = link.now;
    link.reads(0x5000, &[0; 64]);
    link.writes_element(0, 0, 0);
    link.writes_used_idx(1);
    assert_eq!(only(&link).begin, first_read);
    assert_eq!(only(&link).serial_round_trips, 1);
}

#[test]
fn an_interrupt_before_a_requests_last_dma_was_for_another_request() {
    let mut link = FakeLink::running(BAR2, BAR2 + 0x1000, BAR2 + 0x2000, 1 << 32);
    card_request(&mut link);
    link.interrupts();
    link.writes(0x5000, &[0; 64]);
    let answer_departs = link.now + pcie_sim::time::Span::from_ns(100);
    link.mmio_read(BAR2 + 0x2002, &1_u16.to_le_bytes());
    link.mmio_read(BAR2 + 0x2004, &element(0, 64));
    assert_eq!(only(&link).end, answer_departs);
}

#[test]
fn descriptors_that_came_in_several_completions_count_for_requests_that_need_them_later() {
    let mut link = FakeLink::host();
    link.reads_idx(2);
    link.reads_entry(0, 0);
    let three = [0x5000, 0x6000, 0].map(|buffer| desc(buffer, 64, 0, 0).to_bytes()).concat();
    let open = link.asks(DESC, 48);
    link.answered_in_part(open, 0, &three[..32]);
    link.answered_in_part(open, 32, &three[32..]);
    link.reads_entry(1, 1);
    link.reads(0x6000, &[0; 64]);
    link.writes(USED + 4, &[element(0, 0), element(1, 0)].concat());
    link.writes_used_idx(2);
    let trips: Vec<u32> = link.log().requests.iter().map(|r| r.round_trips).collect();
    assert_eq!(trips, [3, 4]);
}

#[test]
fn a_descriptor_read_once_more_costs_its_request_another_round_trip() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x5000, 64, 0, 0));
    link.reads_desc(0, desc(0x5000, 64, 0, 0));
    link.reads(0x5000, &[0; 64]);
    link.returns(0, 0, 0);
    assert_eq!((only(&link).round_trips, only(&link).serial_round_trips), (5, 5));
}

/// The largest set without overlap, by trying every subset.
fn by_force(intervals: &[(Instant, Instant)]) -> u32 {
    (0_u32..1 << intervals.len())
        .filter(|subset| {
            let chosen: Vec<_> = (0..intervals.len())
                .filter(|i| subset >> i & 1 == 1)
                .map(|i| intervals[i])
                .collect();
            chosen
                .iter()
                .enumerate()
                .all(|(i, a)| chosen[i + 1..].iter().all(|b| a.1 <= b.0 || b.1 <= a.0))
        })
        .map(u32::count_ones)
        .max()
        .unwrap_or(0)
}

proptest! {
    #[test]
    fn serial_round_trips_are_the_largest_set_without_overlap(
        spans in prop::collection::vec((0_u64..40, 1_u64..20), 0..9)
    ) {
        let mut intervals: Vec<_> = spans
            .iter()
            .map(|&(start, len)| (Instant::from_ps(start), Instant::from_ps(start + len)))
            .collect();
        let expected = by_force(&intervals);
        prop_assert_eq!(serial_round_trips(&mut intervals), expected);
    }
}

#[test]
fn reads_that_touch_in_time_are_serial_and_reads_that_overlap_are_not() {
    let at = Instant::from_ps;
    assert_eq!(serial_round_trips(&mut [(at(0), at(5)), (at(5), at(9))]), 2);
    assert_eq!(serial_round_trips(&mut [(at(0), at(6)), (at(5), at(9))]), 1);
    assert_eq!(serial_round_trips(&mut []), 0);
}
