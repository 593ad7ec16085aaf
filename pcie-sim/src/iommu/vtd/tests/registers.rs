use super::*;
use crate::spec::vtd::{ccmd, fault, iotlb};

/// "Capability Register", "Extended Capability Register": what is offered is what is there.
#[test]
fn the_capabilities_tell_what_the_unit_does() {
    let mut bench = Bench::new(instant());
    assert_eq!(bench.read32(reg::VER), 0x10);
    let cap = bench.read64(reg::CAP);
    assert_eq!(cap & cap::ND_MASK, cap::ND_16_BIT);
    assert_eq!(cap & (cap::SAGAW_39 | cap::SAGAW_48), cap::SAGAW_39 | cap::SAGAW_48);
    assert_eq!(cap & cap::CM, 0);
    assert_ne!(cap & cap::PSI, 0);
    assert_eq!(cap::max_address_mask(cap), 18);
    assert_eq!(cap::fault_records(cap), 8);
    let ecap = bench.read64(reg::ECAP);
    assert_eq!(ecap & (ecap::QI | ecap::PT), ecap::QI | ecap::PT);
    let records_end = cap::fault_records_offset(cap) + u64::from(cap::fault_records(cap)) * 16;
    assert!(records_end <= bench.unit.registers().1);
    bench.write64(reg::CAP, 0);
    assert_eq!(bench.read64(reg::CAP), cap, "read only");
    assert_eq!(bench.read32(reg::CAP), cap as u32);
    assert_eq!(bench.read32(reg::CAP + 4), (cap >> 32) as u32);
}

/// "Global Command Register": each command shows in the status register when it is done, not before.
#[test]
fn a_command_shows_in_the_status_register_when_it_is_done() {
    let timing = VtdTiming { command: Span::from_ns(100), ..VtdTiming::INSTANT };
    let mut bench = Bench::new(VtdConfig { timing, ..VtdConfig::default() });
    let mut on = 0;
    for command in [gcmd::SRTP, gcmd::QIE, gcmd::TE] {
        bench.write32(reg::GCMD, command | on & !gcmd::SRTP);
        bench.pass(Span::from_ns(99));
        assert_eq!(bench.read32(reg::GSTS), on);
        bench.pass(Span::from_ns(1));
        on |= command;
        assert_eq!(bench.read32(reg::GSTS), on);
        assert_eq!(bench.read32(reg::GCMD), 0, "write only");
    }
    bench.write32(reg::GCMD, 0);
    bench.pass(Span::from_ns(100));
    assert_eq!(bench.read32(reg::GSTS), gcmd::SRTP);
}

/// "Root Table Address Register": taken over by SRTP, not when written.
#[test]
fn the_root_table_is_the_one_set_not_the_one_written() {
    let (mut bench, top) = Bench::running(instant());
    bench.map(top, 0x5000, 0x6000, 1, RW);
    bench.write64(reg::RTADDR, 0x8_0abc);
    assert_eq!(bench.read64(reg::RTADDR), 0x8_0000);
    assert_eq!(bench.read(0x5000), Ok(0x6000));
    bench.write32(reg::GCMD, gcmd::TE | gcmd::QIE | gcmd::SRTP);
    assert_eq!(bench.read(0x5000), Ok(0x6000), "the context cache is not dropped by it");
    bench.queue(&[(0x11, 0), (0x12, 0)]);
    assert_eq!(bench.read(0x5000), Err(fault::ROOT_NOT_PRESENT));
}

/// "Software Access to Registers": halves of a 64-bit register may be written one by one.
#[test]
fn a_register_of_64_bits_may_be_written_in_halves() {
    let mut bench = Bench::new(instant());
    bench.write32(reg::IQA + 4, 0x12);
    bench.write32(reg::IQA, 0x3000 | 2);
    assert_eq!(bench.read64(reg::IQA), 0x12_0000_3002);
    bench.write32(reg::RTADDR + 4, 0x7);
    bench.write32(reg::RTADDR, 0x4000);
    assert_eq!(bench.read64(reg::RTADDR), 0x7_0000_4000);
}

/// "Software Access to Registers": accesses that are not allowed read as all ones and write nothing.
#[test]
fn an_unaligned_access_reads_as_ones() {
    let mut bench = Bench::new(instant());
    assert_eq!(bench.unit.register_read(bench.now, reg::CAP + 1, 4), 0xffff_ffff);
    assert_eq!(bench.unit.register_read(bench.now, reg::CAP + 4, 8), u64::MAX);
    assert_eq!(bench.unit.register_read(bench.now, reg::CAP, 2), 0xffff);
    bench.unit.register_write(bench.now, &mut bench.ram, reg::FEDATA + 2, 4, 7);
    assert_eq!(bench.read32(reg::FEDATA), 0);
}

/// "Root Table Address Register": the status falls while a new root table is being taken over.
#[test]
fn the_root_table_status_falls_until_the_new_table_is_set() {
    let timing = VtdTiming { command: Span::from_ns(100), ..VtdTiming::INSTANT };
    let (mut bench, _) = Bench::running(VtdConfig { timing, ..VtdConfig::default() });
    bench.write32(reg::GCMD, gcmd::TE | gcmd::QIE | gcmd::SRTP);
    assert_eq!(bench.read32(reg::GSTS), gcmd::TE | gcmd::QIE);
    bench.pass(Span::from_ns(100));
    assert_eq!(bench.read32(reg::GSTS), gcmd::TE | gcmd::QIE | gcmd::SRTP);
}

/// "Context Command Register", "IOTLB Invalidate Register": the register belongs to the hardware until
/// its invalidation is done; a request written meanwhile is lost.
#[test]
fn a_request_written_over_one_under_way_is_lost() {
    let timing = VtdTiming {
        context_invalidation: Span::from_ns(100),
        iotlb_invalidation: Span::from_ns(100),
        ..VtdTiming::INSTANT
    };
    let mut bench = Bench::new(VtdConfig { timing, ..VtdConfig::default() });
    let iotlb_register = bench.iotlb_registers() + iotlb::IOTLB;
    for (place, global, domain, actual) in [
        (reg::CCMD, ccmd::ICC | 1 << 61, ccmd::ICC | 2 << 61, ccmd::CAIG_SHIFT),
        (iotlb_register, iotlb::IVT | 1 << 60, iotlb::IVT | 2 << 60, iotlb::IAIG_SHIFT),
    ] {
        bench.write64(place, global);
        bench.pass(Span::from_ns(50));
        bench.write64(place, domain);
        bench.pass(Span::from_ns(50));
        let done = bench.read64(place);
        assert_eq!((done >> 63, done >> actual & 3), (0, 1));
        assert_eq!(bench.unit.next_wake(), None);
    }
}

/// "Invalidation Queue Address Register": not to be changed while the queue is on.
#[test]
fn the_queue_cannot_be_moved_while_it_is_on() {
    let (mut bench, _) = Bench::running(instant());
    bench.write64(reg::IQA, 0x9000);
    assert_eq!(bench.read64(reg::IQA), QUEUE);
}
