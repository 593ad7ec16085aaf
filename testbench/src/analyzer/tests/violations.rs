//! Each rule fires on its planted error, and only that rule.

use pcie_sim::spec::pci::command;
use pcie_sim::spec::virtio_pci::CommonReg;
use pcie_sim::spec::virtq::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE};
use pcie_sim::time::Span;
use pcie_sim::tlp::Tag;

use super::fake_link::{AVAIL, BAR0, BAR2, DESC, FakeLink, USED, desc, element};
use crate::check::Rule;

fn assert_broken(link: &FakeLink, rules: &[Rule]) {
    let expected: Vec<_> = rules.iter().map(|rule| rule.id()).collect();
    assert_eq!(link.rules(), expected, "{:#?}", link.analyzer.violations());
}

/// A host queue with a request of 64 readable and 64 writable bytes in flight at head 0.
fn in_flight() -> FakeLink {
    let mut link = FakeLink::host();
    link.doorbell(0);
    link.reads_idx(1);
    link.reads_entry(0, 0);
    link.reads_desc(0, desc(0x5000, 64, DESC_F_NEXT, 1));
    link.reads_desc(1, desc(0x6000, 64, DESC_F_WRITE, 0));
    link
}

#[test]
fn a_clean_request_exercises_the_rules_and_breaks_none() {
    let mut link = in_flight();
    link.reads(0x5000, &[0; 64]);
    link.writes(0x6000, &[0; 64]);
    link.returns(0, 0, 64);
    assert_broken(&link, &[]);
    // The others need more than one request.
    let rare = [
        Rule::AnswerOrder,
        Rule::Masked,
        Rule::IsrCleared,
        Rule::Features,
        Rule::UsedEvent,
        Rule::AvailEvent,
        Rule::RefusedRead,
    ];
    for &rule in Rule::ALL {
        let exercised = link.analyzer.findings().count(rule).exercised > 0;
        assert_eq!(exercised, !rare.contains(&rule), "{rule}");
    }
}

#[test]
fn a_message_names_the_tlp_what_was_expected_and_what_was_seen() {
    let mut link = in_flight();
    link.writes_element(0, 5, 0);
    let at = link.now;
    link.writes_used_idx(1);
    let violation = &link.analyzer.violations()[0];
    assert_eq!(violation.time, at);
    assert_eq!(
        violation.message,
        "MWr of 2 bytes at 0x30002: expected the used element of index 0 of queue 0 to name a chain \
         in flight, seen id 5"
    );
}

/// PCIe 5.0 §7.5.1.1.3, Bus Master Enable.
#[test]
fn dma_and_interrupts_with_bus_master_off_are_found() {
    let mut link = in_flight();
    link.writes_element(0, 0, 0);
    link.writes_used_idx(1);
    link.command(command::MEMORY_SPACE);
    link.reads_idx(1);
    link.interrupts();
    assert_broken(&link, &[Rule::BusMaster, Rule::BusMaster]);
}

#[test]
fn dma_that_crosses_the_write_of_bus_master_enable_is_no_error() {
    let mut link = in_flight();
    let off = link.config_write_begins(4, &command::MEMORY_SPACE.to_le_bytes());
    link.reads(0x5000, &[0; 64]);
    link.config_write_ends(off);
    let on = command::MEMORY_SPACE | command::BUS_MASTER;
    let on = link.config_write_begins(4, &on.to_le_bytes());
    link.reads(0x5000, &[0; 64]);
    link.config_write_ends(on);
    assert_broken(&link, &[]);
}

#[test]
fn dma_before_driver_ok_is_found() {
    let mut link = FakeLink::enumerated();
    link.set_up(DESC, AVAIL, USED, 1 << 32);
    link.reads_idx(0);
    link.interrupts();
    assert_broken(&link, &[Rule::BeforeDriverOk, Rule::InterruptBeforeDriverOk]);
}

#[test]
fn a_configuration_interrupt_may_come_before_driver_ok() {
    let mut link = FakeLink::enumerated();
    link.set_up(DESC, AVAIL, USED, 1 << 32);
    link.writes(0xfee0_0000, &0x40_u32.to_le_bytes());
    assert_broken(&link, &[]);
}

#[test]
fn dma_after_a_confirmed_reset_is_found_and_before_its_end_is_none() {
    let mut link = in_flight();
    link.common(CommonReg::DeviceStatus, 0);
    link.reads(0x5000, &[0; 64]);
    link.common_reads(CommonReg::DeviceStatus, 15);
    link.writes(0x6000, &[0; 64]);
    assert_broken(&link, &[]);
    link.common_reads(CommonReg::DeviceStatus, 0);
    link.writes(0x6000, &[0; 64]);
    link.interrupts();
    assert_broken(&link, &[Rule::AfterReset, Rule::AfterReset]);
}

#[test]
fn the_used_index_before_its_element_is_found() {
    let mut link = in_flight();
    link.writes_used_idx(1);
    link.writes_element(0, 0, 0);
    assert_broken(&link, &[Rule::ElementBeforeIdx]);
}

#[test]
fn half_an_element_is_none() {
    let mut link = in_flight();
    link.writes(USED + 4, &[0; 4]);
    link.writes_used_idx(1);
    assert_broken(&link, &[Rule::ElementBeforeIdx]);
}

#[test]
fn an_element_and_its_index_in_one_write_are_no_error() {
    let mut link = in_flight();
    link.writes(USED + 2, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_broken(&link, &[]);
    assert_eq!(link.log().requests.len(), 1);
}

#[test]
fn an_id_that_is_not_in_flight_is_found() {
    for id in [3, 8, u32::MAX] {
        let mut link = in_flight();
        link.writes_element(0, id, 0);
        link.writes_used_idx(1);
        assert_broken(&link, &[Rule::UsedId]);
    }
}

#[test]
fn a_request_returned_twice_is_found() {
    let mut link = in_flight();
    link.returns(0, 0, 0);
    // Another is available, so that only the id is wrong.
    link.reads_idx(2);
    link.reads_entry(1, 2);
    link.writes_element(1, 0, 0);
    link.writes_used_idx(2);
    assert_broken(&link, &[Rule::UsedId]);
}

#[test]
fn a_used_index_that_jumps_is_found() {
    let mut link = in_flight();
    link.writes_used_idx(9);
    assert_broken(&link, &[Rule::UsedIdxStep]);
}

#[test]
fn a_used_length_beyond_the_writable_bytes_is_found() {
    let mut link = in_flight();
    link.writes_element(0, 0, 65);
    link.writes_used_idx(1);
    assert_broken(&link, &[Rule::UsedLen, Rule::UsedWritten]);
    let mut link = in_flight();
    link.writes(0x6000, &[0; 64]);
    link.returns(0, 0, 64);
    assert_broken(&link, &[]);
}

/// VQ-USED-DEV-02.
#[test]
fn a_used_length_of_more_than_was_written_is_found() {
    let mut link = in_flight();
    link.writes(0x6000, &[0; 48]);
    link.writes(0x6010, &[0; 15]);
    link.returns(0, 0, 64);
    assert_broken(&link, &[Rule::UsedWritten]);
}

/// Whose a write to two requests' buffer is cannot be told.
#[test]
fn what_was_written_to_a_buffer_that_two_requests_share_is_not_counted() {
    let mut link = in_flight();
    link.fetches(1, 2, desc(0x6000, 64, DESC_F_WRITE, 0));
    link.writes(0x6000, &[0; 32]);
    link.writes(0x6000, &[0; 64]);
    link.returns(0, 2, 64);
    link.returns(1, 0, 32);
    assert_broken(&link, &[]);
    assert_eq!(link.analyzer.findings().count(Rule::UsedWritten).exercised, 0);
}

/// VQ-USED-DEV-02: what a card has not read of, it cannot have written to.
#[test]
fn a_used_length_of_a_chain_whose_buffers_the_card_has_never_read_of_is_found() {
    let mut link = FakeLink::host();
    link.reads_idx(1);
    link.reads_entry(0, 0);
    link.reads_desc(0, desc(0x5000, 64, DESC_F_NEXT, 1));
    link.returns(0, 0, 1000);
    assert_broken(&link, &[Rule::UsedWritten]);
    assert_eq!(link.analyzer.findings().count(Rule::UsedLen).exercised, 0);
}

#[test]
fn an_interrupt_between_element_and_index_is_found() {
    let mut link = in_flight();
    link.writes_element(0, 0, 0);
    link.interrupts();
    link.writes_used_idx(1);
    assert_broken(&link, &[Rule::InterruptAfterIdx]);
}

#[test]
fn an_interrupt_for_an_earlier_index_may_come_while_an_element_waits() {
    let mut link = in_flight();
    link.writes_element(0, 0, 0);
    link.writes_used_idx(1);
    link.fetches(1, 2, desc(0x7000, 64, 0, 0));
    link.writes_element(1, 2, 0);
    link.interrupts();
    link.writes_used_idx(2);
    assert_broken(&link, &[]);
}

/// Virtio 1.4, "Used Buffer Notification Suppression": the driver tolerates spurious notifications.
#[test]
fn an_interrupt_too_many_is_not_judged_when_no_element_waits() {
    let mut link = in_flight();
    link.returns(0, 0, 0);
    link.interrupts();
    assert_broken(&link, &[]);
}

#[test]
fn a_used_length_is_not_judged_by_descriptors_read_before_the_index_was_known() {
    let mut link = FakeLink::host();
    let index = link.asks(AVAIL + 2, 2);
    let table = link.asks(DESC, 16);
    link.answered(index, &[1, 0]);
    link.answered(table, &desc(0x6000, 64, DESC_F_WRITE, 0).to_bytes());
    link.reads_entry(0, 0);
    link.writes_element(0, 0, 1000);
    link.writes_used_idx(1);
    assert_broken(&link, &[]);
    assert_eq!(link.log().requests.len(), 1);
}

#[test]
fn an_interrupt_that_may_be_for_a_configuration_change_is_not_judged() {
    let mut link = in_flight();
    link.common(CommonReg::QueueSelect, 0);
    link.common(CommonReg::QueueMsixVector, 0);
    link.writes_element(0, 0, 0);
    link.writes(0xfee0_0000, &0x40_u32.to_le_bytes());
    link.writes_used_idx(1);
    assert_broken(&link, &[]);
}

#[test]
fn a_request_across_4_kib_is_found() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x5000, 0x2000, 0, 0));
    link.reads(0x5fc0, &[0; 64]);
    assert_broken(&link, &[]);
    link.reads(0x5fc0, &[0; 65]);
    assert_broken(&link, &[Rule::PageBoundary]);
}

#[test]
fn a_read_longer_than_the_maximum_read_request_is_found() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x5000, 0x1000, 0, 0));
    link.reads(0x5000, &[0; 512]);
    assert_broken(&link, &[]);
    link.reads(0x5002, &[0; 512]);
    assert_broken(&link, &[Rule::ReadRequestSize]);
}

#[test]
fn a_write_longer_than_the_maximum_payload_is_found() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x5000, 0x1000, DESC_F_WRITE, 0));
    link.writes(0x5000, &[0; 256]);
    assert_broken(&link, &[]);
    link.writes(0x5000, &[0; 257]);
    assert_broken(&link, &[Rule::PayloadSize]);
}

#[test]
fn a_limit_that_is_lowered_counts_from_its_answer_on() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x5000, 0x1000, DESC_F_WRITE, 0));
    let lowered = link.config_write_begins(0x48, &(2_u16 << 12).to_le_bytes());
    link.writes(0x5000, &[0; 256]);
    link.config_write_ends(lowered);
    assert_broken(&link, &[]);
    link.writes(0x5000, &[0; 256]);
    assert_broken(&link, &[Rule::PayloadSize]);
}

#[test]
fn a_tag_used_again_before_its_answer_is_found() {
    let mut link = in_flight();
    link.asks_with_tag(0x5000, 32, Tag(200));
    let second = link.asks_with_tag(0x5020, 32, Tag(200));
    assert_broken(&link, &[Rule::TagInUse]);
    link.answered(second, &[0; 32]);
    link.asks_with_tag(0x5000, 32, Tag(200));
    assert_broken(&link, &[Rule::TagInUse]);
}

/// PCIe 5.0 §2.8: a requester may give up after 50 µs.
#[test]
fn a_tag_used_again_after_a_time_out_is_no_error() {
    let mut link = in_flight();
    link.asks_with_tag(0x5000, 32, Tag(200));
    link.now += Span::from_us(50);
    link.asks_with_tag(0x5000, 32, Tag(200));
    assert_broken(&link, &[]);
}

#[test]
fn a_refused_read_ends_and_teaches_nothing() {
    let mut link = FakeLink::host();
    let refused = link.asks(AVAIL + 2, 2);
    link.refused(refused);
    link.asks_with_tag(AVAIL + 2, 2, Tag(1));
    assert_broken(&link, &[]);
    assert_eq!(link.analyzer.queues().next().map(|queue| queue.avail_idx), Some(0));
}

#[test]
fn a_write_to_a_device_readable_buffer_is_found() {
    let mut link = in_flight();
    link.writes(0x5010, &[0; 16]);
    assert_broken(&link, &[Rule::ReadableBuffer]);
}

#[test]
fn a_write_to_memory_that_is_readable_for_one_request_and_writable_for_another_is_no_error() {
    let mut link = in_flight();
    link.fetches(1, 2, desc(0x5000, 64, DESC_F_WRITE, 0));
    link.writes(0x5000, &[0; 64]);
    assert_broken(&link, &[]);
}

#[test]
fn a_write_to_an_indirect_table_is_found() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x7000, 32, DESC_F_INDIRECT, 0));
    link.writes(0x7000, &[0; 16]);
    assert_broken(&link, &[Rule::ReadableBuffer]);
}

#[test]
fn writes_to_the_drivers_own_areas_are_found() {
    let mut link = in_flight();
    link.writes(DESC + 16, &[0; 16]);
    link.writes(AVAIL + 2, &[0; 2]);
    assert_broken(&link, &[Rule::DescriptorWrite, Rule::DriverAreaWrite]);
}

#[test]
fn stray_reads_and_writes_are_found() {
    let mut link = in_flight();
    link.reads(0x9_0000, &[0; 64]);
    link.writes(0x9_0000, &[0; 64]);
    assert_broken(&link, &[Rule::StrayDma, Rule::StrayDma]);
}

#[test]
fn a_write_that_runs_over_the_end_of_its_buffer_is_found() {
    let mut link = in_flight();
    link.writes(0x6000, &[0; 65]);
    assert_broken(&link, &[Rule::StrayDma]);
    assert!(link.analyzer.violations()[0].message.ends_with("0x6040"));
}

#[test]
fn one_write_over_two_buffers_that_touch_is_no_error() {
    let mut link = FakeLink::host();
    link.reads_idx(1);
    link.reads_entry(0, 0);
    link.reads_desc(0, desc(0x6000, 64, DESC_F_WRITE | DESC_F_NEXT, 1));
    link.reads_desc(1, desc(0x6040, 64, DESC_F_WRITE, 0));
    link.writes(0x6000, &[0; 128]);
    assert_broken(&link, &[]);
}

#[test]
fn a_read_rounded_out_to_whole_doublewords_is_no_error() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x5003, 5, 0, 0));
    link.reads(0x5000, &[0; 8]);
    assert_broken(&link, &[]);
}

#[test]
fn dma_to_a_buffer_that_was_given_back_is_found() {
    let mut link = in_flight();
    link.returns(0, 0, 0);
    link.writes(0x6000, &[0; 64]);
    assert_broken(&link, &[Rule::StrayDma]);
}

/// What a card does with descriptors read too early may be wrong or right; it cannot be seen.
#[test]
fn a_card_that_acts_on_what_it_read_ahead_is_not_judged() {
    let mut link = FakeLink::host();
    link.reads(
        DESC,
        &[desc(0x5000, 64, 0, 0).to_bytes(), desc(0x6000, 64, 0, 0).to_bytes()].concat(),
    );
    link.reads_idx(1);
    link.reads_entry(0, 1);
    link.reads(0x6000, &[0; 64]);
    link.returns(0, 1, 0);
    assert_broken(&link, &[]);
    assert_eq!(link.log().requests.len(), 1);
}

#[test]
fn an_entry_read_ahead_is_not_held_against_the_used_id() {
    let mut link = FakeLink::host();
    link.reads_entry(0, 4);
    link.reads_idx(1);
    link.writes_element(0, 4, 0);
    link.writes_used_idx(1);
    assert_broken(&link, &[]);
}

#[test]
fn a_packed_queue_is_not_judged() {
    let features = 1 << 32 | pcie_sim::spec::features::RING_PACKED;
    let mut link = FakeLink::running(DESC, AVAIL, USED, features);
    link.reads(DESC, &[0; 16]);
    link.writes(DESC, &[0; 16]);
    assert_broken(&link, &[]);
}

#[test]
fn interrupts_of_a_queue_whose_used_ring_is_on_the_card_are_not_judged() {
    let mut link = FakeLink::running(BAR2, BAR2 + 0x1000, BAR2 + 0x2000, 1 << 32);
    link.interrupts();
    link.interrupts();
    assert_broken(&link, &[]);
}

#[test]
fn the_data_of_a_doorbell_decides_and_a_doorbell_for_nobody_is_ignored() {
    let mut link = FakeLink::host();
    link.doorbell(7);
    link.mmio_write(BAR0 + 0x3000, &[1]);
    link.transmits(0, 0, 0x5000);
    link.writes(USED + 4, &element(0, 0));
    assert_broken(&link, &[]);
}
