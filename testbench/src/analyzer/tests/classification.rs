//! Every DMA gets the purpose it has.

use pcie_sim::spec::features;
use pcie_sim::spec::virtq::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE};

use super::fake_link::{AVAIL, BAR0, BAR1, BAR2, DESC, FakeLink, SIZE, USED, desc};
use crate::analyzer::{Purpose, Region, Role};

#[test]
fn each_dma_of_a_direct_request_has_its_purpose() {
    let mut link = FakeLink::host();
    link.doorbell(0);
    assert_eq!(link.reads_idx(1), Purpose::AvailIdx);
    assert_eq!(link.reads_entry(0, 3), Purpose::RingEntry);
    assert_eq!(link.reads_desc(3, desc(0x5000, 64, DESC_F_NEXT, 4)), Purpose::Descriptor);
    assert_eq!(link.reads_desc(4, desc(0x6000, 64, DESC_F_WRITE, 0)), Purpose::Descriptor);
    assert_eq!(link.reads(0x5000, &[0; 64]), Purpose::Payload);
    assert_eq!(link.writes(0x6000, &[0; 64]), Purpose::Payload);
    assert_eq!(link.writes_element(0, 3, 64), Purpose::UsedElement);
    assert_eq!(link.writes_used_idx(1), Purpose::UsedIdx);
    assert_eq!(link.reads_flags(), Purpose::EventSuppression);
    assert_eq!(link.interrupts(), Purpose::MsiX);
    assert_eq!(link.rules(), [""; 0]);
}

#[test]
fn event_indices_are_event_suppression() {
    let mut link = FakeLink::running(DESC, AVAIL, USED, 1 << 32 | features::EVENT_IDX);
    let used_event = AVAIL + 4 + 2 * u64::from(SIZE);
    let avail_event = USED + 4 + 8 * u64::from(SIZE);
    assert_eq!(link.reads(used_event, &[0, 0]), Purpose::EventSuppression);
    assert_eq!(link.writes(avail_event, &[0, 0]), Purpose::EventSuppression);
    assert_eq!(link.writes(USED, &[1, 0]), Purpose::EventSuppression);
}

/// The rule for accesses that span several parts: what the rest depends on names it.
#[test]
fn an_access_to_several_parts_is_mixed_and_named_after_the_index() {
    let mut link = FakeLink::host();
    let mut avail = [0; 20];
    avail[2] = 1;
    assert_eq!(link.reads(AVAIL, &avail), Purpose::AvailIdx);
    assert!(link.last.expect("a TLP was sent").mixed);
    assert_eq!(link.reads(AVAIL + 4, &[0; 18]), Purpose::RingEntry);
    assert!(link.last.expect("a TLP was sent").mixed, "used_event is covered, too");
    link.reads_entry(0, 0);
    assert!(!link.last.expect("a TLP was sent").mixed);
}

#[test]
fn a_read_over_two_areas_is_named_after_the_lower_one() {
    let mut link = FakeLink::running(DESC, DESC + 128, USED, 1 << 32);
    assert_eq!(link.reads(DESC + 112, &[0; 32]), Purpose::Descriptor);
    assert!(link.last.expect("a TLP was sent").mixed);
}

#[test]
fn an_indirect_table_and_what_it_points_at_are_told_apart() {
    let mut link = FakeLink::host();
    link.doorbell(0);
    link.fetches(0, 2, desc(0x7000, 32, DESC_F_INDIRECT, 0));
    let mut table = [0; 32];
    table[..16].copy_from_slice(&desc(0x5000, 16, DESC_F_NEXT, 1).to_bytes());
    table[16..].copy_from_slice(&desc(0x6000, 512, DESC_F_WRITE, 0).to_bytes());
    assert_eq!(link.reads(0x7000, &table), Purpose::IndirectTable);
    assert_eq!(link.reads(0x5000, &[0; 16]), Purpose::Payload);
    assert_eq!(link.writes(0x6100, &[0; 256]), Purpose::Payload);
}

#[test]
fn memory_that_the_card_was_not_told_about_is_unknown() {
    let mut link = FakeLink::host();
    assert_eq!(link.reads(0x9_0000, &[0; 4]), Purpose::Unknown);
    link.transmits(0, 0, 0x5000);
    assert_eq!(link.reads(0x5000, &[0; 64]), Purpose::Unknown, "the buffer was given back");
}

#[test]
fn a_write_that_only_looks_like_an_interrupt_by_address_is_none() {
    let mut link = FakeLink::host();
    assert_eq!(link.writes(0xfee0_0000, &0x99_u32.to_le_bytes()), Purpose::Unknown);
    assert_eq!(link.interrupts(), Purpose::MsiX);
    assert_eq!(link.last.expect("a TLP was sent").queue, Some(0));
}

#[test]
fn cpu_accesses_are_named_after_the_structure_they_touch() {
    let mut link = FakeLink::host();
    for (address, region) in [
        (BAR0 + 0x14, Region::Common),
        (BAR0 + 0x1000, Region::Isr),
        (BAR0 + 0x2000, Region::Device),
        (BAR0 + 0x3004, Region::Notify),
        (BAR1 + 0x10, Region::MsixTable),
        (BAR1 + 0x4000, Region::MsixPending),
        (BAR2 + 0x8000, Region::Memory),
        (0x1234_0000, Region::Nowhere),
    ] {
        link.mmio_read(address, &[0]);
        assert_eq!(link.last.expect("a TLP was sent").role, Role::Mmio(region), "{address:#x}");
    }
    link.doorbell(0);
    assert_eq!(link.last.expect("a TLP was sent").queue, Some(0));
}

/// Descriptors straddle completions when the read does not begin on a Read Completion Boundary.
#[test]
fn a_read_answered_in_parts_teaches_as_much_as_one_answered_at_once() {
    let mut link = FakeLink::host();
    link.reads_idx(1);
    link.reads_entry(0, 0);
    let open = link.asks(DESC, 32);
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&desc(0x5000, 64, DESC_F_NEXT, 1).to_bytes());
    bytes[16..].copy_from_slice(&desc(0x6000, 64, DESC_F_WRITE, 0).to_bytes());
    link.answered_in_part(open, 0, &bytes[..24]);
    assert_eq!(link.reads(0x5000, &[0; 64]), Purpose::Payload);
    assert_eq!(link.log().trips.len(), 3, "the read of the table is not over");
    link.answered_in_part(open, 24, &bytes[24..]);
    assert_eq!(link.log().trips.len(), 4);
    assert_eq!(link.writes(0x6000, &[0; 64]), Purpose::Payload);
    assert_eq!(link.rules(), [""; 0]);
}

#[test]
fn one_buffer_for_many_requests_is_charged_to_the_oldest_not_yet_transferred() {
    let mut link = FakeLink::host();
    link.reads_idx(2);
    link.reads(AVAIL + 4, &[0, 0, 1, 0]);
    link.reads_desc(0, desc(0x5000, 64, 0, 0));
    link.reads_desc(1, desc(0x5000, 64, 0, 0));
    link.reads(0x5000, &[0; 64]);
    link.returns(0, 0, 0);
    link.reads(0x5000, &[0; 64]);
    link.returns(1, 1, 0);
    let trips: Vec<u32> = link.log().requests.iter().map(|r| r.round_trips).collect();
    assert_eq!(trips, [4, 4], "index, entries, own descriptor, own payload");
}
