use super::*;
use crate::spec::vtd::{event, fault, fsts};

/// "Fault Recording Registers": requester, address, type and reason of the request.
#[test]
fn a_fault_record_names_requester_page_type_and_reason() {
    let (mut bench, _) = Bench::running(instant());
    assert_eq!(bench.write(0x1234_5678_9abc), Err(fault::WRITE_DENIED));
    assert_eq!(bench.record(0), (0x1234_5678_9000, 1 << 63 | 0x05 << 32 | 0x0100));
    let stranger = Bdf::new(2, 0, 0);
    assert_eq!(bench.dma(stranger, 0x9000, DmaKind::Read), Err(fault::ROOT_NOT_PRESENT));
    assert_eq!(bench.record(1), (0x9000, 3 << 62 | 0x01 << 32 | 0x0200));
    let neighbour = Bdf::new(1, 1, 0);
    assert_eq!(bench.dma(neighbour, 0x9000, DmaKind::Read), Err(fault::CONTEXT_NOT_PRESENT));
    assert_eq!(bench.record(2), (0x9000, 3 << 62 | 0x02 << 32 | 0x0108));
    assert_eq!(bench.read32(reg::FSTS), fsts::PPF, "first pending record is 0");
}

/// "Capability Register", MGAW; "Context Entry", AW: an address beyond is refused before any walk.
#[test]
fn an_address_beyond_the_width_faults() {
    let (mut bench, top) = Bench::running(instant());
    assert_eq!(cap::mgaw_bits(bench.read64(reg::CAP)), 48);
    assert_eq!(bench.read(1 << 48), Err(fault::ADDRESS_BEYOND_WIDTH));
    assert_eq!(bench.record(0), (0, 3 << 62 | 0x04 << 32 | 0x0100), "bits above are not kept");
    bench.attach(CARD, DOMAIN, top, context_entry::AW_39);
    bench.queue(&[(0x11, 0)]);
    assert_eq!(bench.read(1 << 39), Err(fault::ADDRESS_BEYOND_WIDTH));
    assert_eq!(bench.unit.counts(), Default::default());
}

/// "Context Entry", FPD: faults found behind it are not recorded, and block all the same.
#[test]
fn fault_processing_disable_keeps_faults_from_the_records() {
    let (mut bench, top) = Bench::running(instant());
    bench.set_context(CARD, top | context_entry::P | context_entry::FPD, context_entry::AW_48);
    assert_eq!(bench.read(0x5000), Err(fault::READ_DENIED));
    assert_eq!(bench.read(1 << 50), Err(fault::ADDRESS_BEYOND_WIDTH));
    let neighbour = Bdf::new(1, 1, 0);
    bench.set_context(neighbour, context_entry::FPD, 0);
    assert_eq!(bench.dma(neighbour, 0, DmaKind::Read), Err(fault::CONTEXT_NOT_PRESENT));
    assert_eq!(bench.read32(reg::FSTS), 0);
    assert_eq!(bench.dma(Bdf::new(9, 0, 0), 0, DmaKind::Read), Err(fault::ROOT_NOT_PRESENT));
    assert_eq!(bench.read32(reg::FSTS), fsts::PPF, "a root entry has no such bit");
}

/// "Primary Fault Logging": records are taken in turn; one that finds its record in use is lost, and so
/// are all until the overflow is cleared.
#[test]
fn a_fault_without_a_free_record_sets_overflow() {
    let (mut bench, _) = Bench::running(VtdConfig { fault_records: 3, ..instant() });
    assert_eq!(cap::fault_records(bench.read64(reg::CAP)), 3);
    for page in 1..=4 {
        assert!(bench.read(page << 12).is_err());
    }
    assert_eq!(bench.read32(reg::FSTS), fsts::PPF | fsts::PFO);
    assert_eq!([0, 1, 2].map(|index| bench.record(index).0), [0x1000, 0x2000, 0x3000]);
    for index in 0..3 {
        bench.clear_record(index);
    }
    assert_eq!(bench.read32(reg::FSTS), fsts::PFO, "PPF follows the records");
    assert!(bench.read(0x5000).is_err());
    assert_eq!(bench.read32(reg::FSTS), fsts::PFO, "nothing is recorded while it stands");
    bench.write32(reg::FSTS, fsts::PFO);
    assert_eq!(bench.read32(reg::FSTS), 0);
    assert!(bench.read(0x6000).is_err());
    assert_eq!(bench.record(0), (0x6000, 3 << 62 | 0x06 << 32 | 0x0100));
}

/// "Fault Status Register", FRI: the first pending record, also when the index has wrapped.
#[test]
fn the_fault_record_index_names_the_first_pending_record() {
    let (mut bench, _) = Bench::running(VtdConfig { fault_records: 4, ..instant() });
    for turn in 0..9 {
        assert!(bench.read(0x1000).is_err());
        assert!(bench.write(0x2000).is_err());
        let first = turn * 2 % 4;
        assert_eq!(bench.read32(reg::FSTS), fsts::PPF | (first as u32) << fsts::FRI_SHIFT);
        bench.clear_record(first);
        bench.clear_record(first + 1);
    }
    bench.write32(reg::GCMD, 0);
    bench.write32(reg::GCMD, gcmd::TE);
    assert!(bench.read(0x1000).is_err());
    assert_eq!(bench.read32(reg::FSTS), fsts::PPF, "translation off rewinds to record 0");
}

/// "Fault Recording Registers", F: written 1 to clear; all else of a record is read only.
#[test]
fn only_a_one_written_to_its_flag_frees_a_record() {
    let (mut bench, _) = Bench::running(instant());
    assert!(bench.read(0x5000).is_err());
    let before = bench.record(0);
    let place = bench.record_place(0);
    for offset in [0, 4, 8] {
        bench.write32(place + offset, u32::MAX);
    }
    bench.write32(place + 12, 0x7fff_ffff);
    bench.write32(reg::FSTS, fsts::PPF);
    assert_eq!(bench.record(0), before);
    assert_eq!(bench.read32(reg::FSTS), fsts::PPF);
    bench.write64(place + 8, 1 << 63);
    assert_eq!(bench.record(0).1 >> 63, 0);
    assert_eq!(bench.read32(reg::FSTS), 0);
}

/// "Fault Event Control Register": a fault while none is pending raises the message; masked, it waits.
#[test]
fn the_fault_event_is_raised_once_and_waits_while_masked() {
    let (mut bench, _) = Bench::running(instant());
    bench.write32(reg::FEDATA, 0x1234_0031);
    bench.write32(reg::FEADDR, 0xfee0_2003);
    assert_eq!(bench.read32(reg::FEADDR), 0xfee0_2000);
    assert!(bench.read(0x1000).is_err());
    assert_eq!(bench.read32(reg::FECTL), event::IM | event::IP);
    assert_eq!(bench.pass(Span::from_us(1)), []);
    bench.write32(reg::FECTL, 0);
    assert_eq!(bench.pass(Span::ZERO), [(0xfee0_2000, 0x1234_0031)]);
    assert_eq!(bench.read32(reg::FECTL), 0);
    assert!(bench.read(0x2000).is_err());
    assert_eq!(bench.pass(Span::ZERO), [], "a fault was pending already");
    bench.clear_record(0);
    bench.clear_record(1);
    assert!(bench.read(0x3000).is_err());
    assert_eq!(bench.pass(Span::ZERO), [(0xfee0_2000, 0x1234_0031)]);
}

/// "Fault Event Control Register", IP: a driver that serves the fault while the message is masked takes
/// the message back.
#[test]
fn serving_every_fault_withdraws_a_masked_message() {
    let (mut bench, _) = Bench::running(instant());
    assert!(bench.read(0x1000).is_err());
    bench.clear_record(0);
    assert_eq!(bench.read32(reg::FECTL), event::IM);
    bench.write32(reg::FECTL, 0);
    assert_eq!(bench.pass(Span::ZERO), []);
}
