//! Rules about what a card answers, and about interrupts that should not be.

use pcie_sim::endpoint::Direction;
use pcie_sim::spec::pci::msix;
use pcie_sim::spec::virtio_pci::CommonReg;
use pcie_sim::spec::virtq::{DESC_F_NEXT, DESC_F_WRITE};
use pcie_sim::spec::{features, virtq};
use pcie_sim::tlp::Tlp;

use super::fake_link::{AVAIL, BAR0, BAR1, DESC, FakeLink, SIZE, USED, desc};
use crate::check::Rule;

const VERSION_1: u64 = features::VERSION_1;
const CONTROL: u64 = BAR1 + msix::ENTRY_BYTES + msix::ENTRY_CONTROL;

fn broken(link: &FakeLink) -> Vec<&'static str> {
    link.rules()
}

fn request(link: &mut FakeLink, index: u16) {
    link.fetches(index, 0, desc(0x5000, 64, 0, 0));
    link.writes_element(index % SIZE, 0, 0);
    link.writes_used_idx(index + 1);
}

/// PCIe 5.0 §2.2.9.
#[test]
fn an_answer_whose_lower_address_or_byte_count_does_not_follow_from_the_read_is_found() {
    for change in [(0x14, 4), (0, 4), (0x14, 8)] {
        let mut link = FakeLink::host();
        let (lower, count) = change;
        link.mmio_read_answered(BAR0 + 0x14, &[1, 2, 3, 4], |answer| {
            answer.lower_address = lower;
            answer.byte_count = count;
        });
        let expected: &[&str] = if change == (0x14, 4) { &[] } else { &["PCIE-COMPLETION"] };
        assert_eq!(broken(&link), expected, "{change:?}");
    }
}

/// PCIe 5.0 §2.3.1.1: a read may be answered in parts, each of which says how much is still to come.
#[test]
fn an_answer_in_parts_counts_down() {
    let mut link = FakeLink::host();
    link.mmio_read_in_parts(BAR0 + 0x2038, 72, 8);
    assert_eq!(broken(&link), [""; 0]);
}

fn negotiates(offered: u32, accepted: u32, kept: bool) -> FakeLink {
    let mut link = FakeLink::enumerated();
    link.common(CommonReg::DeviceStatus, 3);
    link.common(CommonReg::DeviceFeatureSelect, 0);
    link.common_reads(CommonReg::DeviceFeature, offered);
    link.common(CommonReg::DriverFeatureSelect, 0);
    link.common(CommonReg::DriverFeature, accepted);
    link.common(CommonReg::DeviceStatus, 11);
    link.common_reads(CommonReg::DeviceStatus, if kept { 11 } else { 3 });
    link
}

/// FEAT-DEV-03.
#[test]
fn features_ok_for_features_that_were_not_offered_is_found() {
    assert_eq!(broken(&negotiates(6, 6, true)), [""; 0]);
    assert_eq!(broken(&negotiates(6, 7, false)), [""; 0]);
    assert_eq!(broken(&negotiates(6, 7, true)), ["FEAT-DEV-03"]);
    let count = negotiates(6, 6, true).analyzer.findings().count(Rule::Features);
    assert_eq!((count.exercised, count.violated), (1, 0));
}

/// PCI-ISR-DEV-05. What comes again may be new; what comes a third time, and nothing was done for it, is not.
#[test]
fn an_isr_status_that_reading_does_not_clear_is_found() {
    let reads = |values: &[u8]| {
        let mut link = FakeLink::host();
        values.iter().for_each(|&value| link.mmio_read(BAR0 + 0x1000, &[value]));
        link
    };
    assert_eq!(broken(&reads(&[1, 0, 3, 0])), [""; 0]);
    assert_eq!(broken(&reads(&[1, 1, 0])), [""; 0]);
    assert_eq!(broken(&reads(&[1, 1, 1])), ["PCI-ISR-DEV-05"]);
    let mut busy = reads(&[1, 1]);
    busy.reads_idx(0);
    busy.mmio_read(BAR0 + 0x1000, &[1]);
    assert_eq!(broken(&busy), [""; 0]);
}

/// PCI-MSIX-DEV-10: from the answer to a read behind the mask on.
#[test]
fn a_message_of_a_masked_vector_is_found_and_one_on_its_way_is_none() {
    let mut link = FakeLink::host();
    request(&mut link, 0);
    link.mmio_write(CONTROL, &[1, 0, 0, 0]);
    link.interrupts();
    assert_eq!(broken(&link), [""; 0], "it may have been on its way");
    link.mmio_read(CONTROL, &[1, 0, 0, 0]);
    request(&mut link, 1);
    link.mmio_write(CONTROL, &[0; 4]);
    link.interrupts();
    assert_eq!(broken(&link), [""; 0]);
    assert_eq!(link.analyzer.findings().count(Rule::Masked).exercised, 1);
    link.mmio_write(CONTROL, &[1, 0, 0, 0]);
    link.mmio_read(CONTROL, &[1, 0, 0, 0]);
    request(&mut link, 2);
    link.interrupts();
    assert_eq!(broken(&link), ["PCI-MSIX-DEV-10"]);
}

/// PCIe 5.0 §2.4.1, table "Ordering Rules Summary", completions against posted requests.
#[test]
fn a_message_from_before_the_mask_that_comes_after_the_answer_was_passed_by_it() {
    let mut link = FakeLink::host();
    request(&mut link, 0);
    link.mmio_write(CONTROL, &[1, 0, 0, 0]);
    link.mmio_read(CONTROL, &[1, 0, 0, 0]);
    link.interrupts();
    assert_eq!(broken(&link), ["PCIE-ORDERING"]);
}

/// PCI 3.0 §6.8.2.3, "Message Control for MSI-X", Function Mask and MSI-X Enable.
#[test]
fn a_message_of_a_function_that_is_masked_or_may_send_none_is_found() {
    for control in [msix::CONTROL_ENABLE | msix::CONTROL_FUNCTION_MASK, 0] {
        let mut link = FakeLink::host();
        request(&mut link, 0);
        let write = link.config_write_begins(0x82, &control.to_le_bytes());
        link.interrupts();
        assert_eq!(broken(&link), [""; 0]);
        link.config_write_ends(write);
        request(&mut link, 1);
        link.interrupts();
        assert_eq!(broken(&link), ["PCI-MSIX-DEV-10"]);
        link.config_write(0x82, &msix::CONTROL_ENABLE.to_le_bytes());
        link.interrupts();
        assert_eq!(broken(&link), ["PCI-MSIX-DEV-10"]);
    }
}

/// VQ-USUP-DEV-02.
#[test]
fn an_interrupt_although_the_flags_forbid_it_is_found() {
    let mut link = FakeLink::host();
    request(&mut link, 0);
    link.reads(AVAIL, &virtq::AVAIL_F_NO_INTERRUPT.to_le_bytes());
    link.interrupts();
    assert_eq!(broken(&link), ["VQ-USUP-DEV-02"]);
    // What it read before its index moved may have changed.
    request(&mut link, 1);
    link.interrupts();
    request(&mut link, 2);
    link.reads_flags();
    request(&mut link, 3);
    link.reads(AVAIL, &virtq::AVAIL_F_NO_INTERRUPT.to_le_bytes());
    link.interrupts();
    assert_eq!(broken(&link), ["VQ-USUP-DEV-02"], "one of two was wanted");
}

fn reads_used_event(link: &mut FakeLink, event: u16) {
    link.reads(AVAIL + virtq::used_event(SIZE), &event.to_le_bytes());
}

/// VQ-USUP-DEV-06.
#[test]
fn an_interrupt_before_used_event_is_passed_is_found() {
    let mut link = FakeLink::running(DESC, AVAIL, USED, VERSION_1 | features::EVENT_IDX);
    request(&mut link, 0);
    reads_used_event(&mut link, 0);
    link.interrupts();
    request(&mut link, 1);
    reads_used_event(&mut link, 1);
    link.interrupts();
    assert_eq!(broken(&link), [""; 0]);
    request(&mut link, 2);
    reads_used_event(&mut link, 3);
    link.interrupts();
    assert_eq!(broken(&link), ["VQ-USUP-DEV-06"]);
}

/// VQ-ASUP-DEV-04.
#[test]
fn a_queue_that_sleeps_without_having_asked_for_its_doorbell_is_found() {
    for (event, expected) in [(1, &[][..]), (0, &["VQ-ASUP-DEV-04"][..])] {
        let mut link = FakeLink::running(DESC, AVAIL, USED, VERSION_1 | features::EVENT_IDX);
        link.doorbell(0);
        request(&mut link, 0);
        link.writes(USED + virtq::avail_event(SIZE), &u16::to_le_bytes(event));
        let now = link.now;
        link.analyzer.stalled(now);
        assert_eq!(broken(&link), expected);
    }
}

/// PCI-UBN-DEV-02.
#[test]
fn an_interrupt_of_a_queue_that_has_never_returned_anything_is_found() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x5000, 64, 0, 0));
    link.interrupts();
    assert_eq!(broken(&link), ["PCI-UBN-DEV-02"]);
}

/// VQ-USED-DEV-05.
#[test]
fn a_used_index_beyond_the_available_one_is_found() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x5000, 64, 0, 0));
    link.writes_element(0, 0, 0);
    link.writes_element(1, 0, 0);
    link.writes_used_idx(2);
    assert_eq!(broken(&link)[0], "VQ-USED-DEV-05");
}

/// PCIe 5.0 §2.3.2.
#[test]
fn a_disk_request_that_succeeds_although_its_data_was_refused_is_found() {
    for (status, expected) in [(1, &[][..]), (0, &["PCIE-REFUSED-READ"][..])] {
        let mut link = FakeLink::host();
        link.config_read(2, &0x1042_u16.to_le_bytes());
        link.reads_idx(1);
        link.reads_entry(0, 0);
        link.reads_desc(0, desc(0x5000, 64, DESC_F_NEXT, 1));
        link.reads_desc(1, desc(0x6000, 1, DESC_F_WRITE, 0));
        let refused = link.asks(0x5000, 64);
        link.refused(refused);
        link.writes(0x6000, &[status]);
        link.returns(0, 0, 1);
        assert_eq!(broken(&link), expected);
    }
}

/// A read that nobody sent: the answer is not judged, and nothing is learned from it.
#[test]
fn an_answer_that_nobody_asked_for_is_not_judged() {
    let mut link = FakeLink::host();
    link.sends(Direction::Upstream, &Tlp::Completion(FakeLink::stray_answer()));
    assert_eq!(broken(&link), [""; 0]);
}
