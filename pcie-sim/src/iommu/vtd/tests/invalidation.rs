use super::*;
use crate::iommu::vtd::Geometry;
use crate::spec::vtd::{ccmd, fault, fsts, iotlb, iqei};

const GLOBAL: (u64, u64) = (0x12, 0);

fn domain(id: u16) -> (u64, u64) {
    (0x22 | u64::from(id) << 16, 0)
}

/// A bench in which page `0x5000` was used and is no longer mapped.
fn stale(config: VtdConfig) -> (Bench, u64) {
    let (mut bench, top) = Bench::running(config);
    let place = bench.map(top, 0x5000, 0x6000, 1, RW);
    assert_eq!(bench.read(0x5000), Ok(0x6000));
    bench.ram.set_word(place, 0);
    (bench, place)
}

/// "Caching Translation Information": a cached translation stays until it is invalidated.
#[test]
fn a_page_taken_from_the_tables_stays_usable_until_it_is_invalidated() {
    for (invalidation, gone) in [
        (GLOBAL, true),
        (domain(DOMAIN), true),
        (domain(DOMAIN + 1), false),
        (iotlb_pages(DOMAIN, 0x5000, 0), true),
        (iotlb_pages(DOMAIN, 0x4000, 0), false),
        (iotlb_pages(DOMAIN + 1, 0x5000, 0), false),
        (iotlb_pages(DOMAIN, 0x4000, 1), true),
        (iotlb_pages(DOMAIN + 1, 0x4000, 1), false),
        (iotlb_pages(DOMAIN, 0x6000, 1), false),
        (iotlb_pages(DOMAIN, 0, 3), true),
        (iotlb_pages(DOMAIN, 0, 18), true),
        (iotlb_pages(DOMAIN, 0x4000_0000, 18), false),
    ] {
        let (mut bench, _) = stale(instant());
        bench.pass(Span::from_ms(100));
        assert_eq!(bench.read(0x5000), Ok(0x6000), "stale, not snooped");
        bench.queue(&[invalidation]);
        let after = if gone { Err(fault::READ_DENIED) } else { Ok(0x6000) };
        assert_eq!(bench.read(0x5000), after, "{invalidation:x?}");
    }
}

/// "IOTLB Invalidation": a driver that maps in 2 MiB invalidates with an address mask of 9.
#[test]
fn a_2_mib_page_is_taken_back_by_one_invalidation_and_may_become_small_pages() {
    let (mut bench, top) = Bench::running(instant());
    let place = bench.map(top, 0x40_0000, 0x1_2340_0000, 2, RW);
    let other = bench.map(top, 0x60_0000, 0x1_2360_0000, 2, RW);
    assert_eq!(bench.read(0x41_0000), Ok(0x1_2341_0000));
    assert_eq!(bench.read(0x61_0000), Ok(0x1_2361_0000));
    bench.ram.set_word(place, 0);
    bench.ram.set_word(other, 0);
    bench.map(top, 0x41_0000, 0x9000, 1, RW);
    assert_eq!(bench.read(0x41_0000), Ok(0x1_2341_0000), "still cached");
    bench.queue(&[iotlb_pages(DOMAIN, 0x40_0000, 9), wait(1)]);
    bench.pass(Span::from_us(1));
    assert_eq!(bench.read(0x41_0000), Ok(0x9000));
    assert_eq!(bench.read(0x42_0000), Err(fault::READ_DENIED));
    assert_eq!(bench.read(0x61_0000), Ok(0x1_2361_0000), "the neighbour was not named");
}

/// "IOTLB Invalidation": a page-selective invalidation reaches the superpage that covers its address.
#[test]
fn one_page_of_a_superpage_invalidates_the_superpage() {
    for (invalidation, gone) in [
        (iotlb_pages(DOMAIN, 0x2f_f000, 0), true),
        (iotlb_pages(DOMAIN, 0x20_0000, 9), true),
        (iotlb_pages(DOMAIN, 0x28_0000, 4), true),
        (iotlb_pages(DOMAIN, 0x40_0000, 9), false),
    ] {
        let (mut bench, top) = Bench::running(instant());
        let place = bench.map(top, 0x20_0000, 0x80_0000, 2, RW);
        assert_eq!(bench.read(0x20_0040), Ok(0x80_0040));
        bench.ram.set_word(place, 0);
        bench.queue(&[invalidation]);
        let after = if gone { Err(fault::READ_DENIED) } else { Ok(0x80_0040) };
        assert_eq!(bench.read(0x20_0040), after, "{invalidation:x?}");
    }
}

/// "Capability Register", CM clear: a not-present entry is not remembered, and mapping needs no
/// invalidation.
#[test]
fn a_page_mapped_after_its_fault_is_usable_at_once() {
    let (mut bench, top) = Bench::running(instant());
    assert_eq!(bench.read(0x5000), Err(fault::READ_DENIED));
    bench.map(top, 0x5000, 0x6000, 1, RW);
    assert_eq!(bench.read(0x5000), Ok(0x6000));
}

/// "Capability Register", CM clear: a partial increase of permissions needs an invalidation.
#[test]
fn a_permission_added_to_a_cached_page_is_not_seen_before_invalidation() {
    let (mut bench, top) = Bench::running(instant());
    bench.map(top, 0x5000, 0x6000, 1, sl_entry::R);
    assert_eq!(bench.read(0x5000), Ok(0x6000));
    bench.map(top, 0x5000, 0x6000, 1, RW);
    assert_eq!(bench.write(0x5000), Err(fault::WRITE_DENIED));
    bench.queue(&[iotlb_pages(DOMAIN, 0x5000, 0)]);
    assert_eq!(bench.write(0x5000), Ok(0x6000));
}

/// "Context-Cache Invalidation": entries of devices stay until dropped, by device, domain or all.
#[test]
fn a_context_entry_stays_in_force_until_it_is_invalidated() {
    let function =
        |mask: u64, id: u16| 0x31 | u64::from(DOMAIN) << 16 | u64::from(id) << 32 | mask << 48;
    for (low, gone) in [
        (0x11, true),
        (0x21 | u64::from(DOMAIN) << 16, true),
        (0x21, false),
        (function(0, CARD.0), true),
        (function(0, CARD.0 + 1), false),
        (function(1, CARD.0 + 4), true),
        (function(2, CARD.0 + 6), true),
        (function(3, CARD.0 + 7), true),
        (function(3, CARD.0 + 8), false),
    ] {
        let (mut bench, top) = Bench::running(instant());
        bench.map(top, 0x5000, 0x6000, 1, RW);
        assert_eq!(bench.read(0x5000), Ok(0x6000));
        bench.set_context(CARD, 0, 0);
        assert_eq!(bench.read(0x5000), Ok(0x6000), "stale, not snooped");
        bench.queue(&[(low, 0)]);
        let after = if gone { Err(fault::CONTEXT_NOT_PRESENT) } else { Ok(0x6000) };
        assert_eq!(bench.read(0x5000), after, "{low:#x}");
    }
}

/// "IOTLB Invalidation", invalidation hint: with it, tables of upper levels may stay remembered.
#[test]
fn a_table_taken_away_stays_in_force_until_invalidated_without_the_hint() {
    let config = VtdConfig { paging_structure_cache: Geometry { sets: 1, ways: 8 }, ..instant() };
    let (mut bench, top) = Bench::running(config);
    bench.map(top, 0x5000, 0x6000, 1, RW);
    assert_eq!(bench.read(0x5000), Ok(0x6000));
    let above = bench.entry_place(top, 4, 0x5000, 2);
    bench.ram.set_word(above, 0);
    bench.queue(&[iotlb_pages(DOMAIN, 0x5000 | inv::IOTLB_IH, 0)]);
    assert_eq!(bench.read(0x5000), Ok(0x6000));
    bench.queue(&[iotlb_pages(DOMAIN, 0x5000, 0)]);
    assert_eq!(bench.read(0x5000), Err(fault::READ_DENIED));
}

/// "Invalidation Wait Descriptor": its status is written when all before it are done, and the head
/// says only what was fetched.
#[test]
fn a_wait_status_is_written_after_the_invalidations_before_it() {
    let timing = VtdTiming {
        descriptor_fetch: Span::from_ns(100),
        page_invalidation: Span::from_ns(200),
        wait: Span::from_ns(50),
        ..VtdTiming::INSTANT
    };
    let (mut bench, _) = stale(VtdConfig { timing, ..VtdConfig::default() });
    bench.queue(&[iotlb_pages(DOMAIN, 0x5000, 0), wait(0xcafe_f00d)]);
    assert_eq!(bench.read64(reg::IQH), 16, "fetched, not done");
    bench.pass(Span::from_ns(299));
    assert_eq!(bench.read(0x5000), Ok(0x6000));
    bench.pass(Span::from_ns(1));
    assert_eq!(bench.read(0x5000), Err(fault::READ_DENIED));
    assert_eq!(bench.read64(reg::IQH), 32);
    bench.pass(Span::from_ns(149));
    assert_eq!(bench.ram.word(STATUS), 0);
    bench.pass(Span::from_ns(1));
    assert_eq!(bench.ram.word(STATUS), 0xcafe_f00d);
    assert_eq!(bench.unit.next_wake(), None);
}

/// "IOTLB Invalidation", drain reads and writes: requests translated before reach memory first.
#[test]
fn a_draining_invalidation_waits_for_requests_on_their_way() {
    let timing = VtdTiming {
        page_walk_read: Span::from_ns(200),
        to_memory: Span::from_ns(200),
        ..VtdTiming::INSTANT
    };
    for (drain, late_ns) in [(inv::IOTLB_DR, 1000), (inv::IOTLB_DW, 1000), (0, 0)] {
        let (mut bench, top) = Bench::running(VtdConfig { timing, ..VtdConfig::default() });
        bench.map(top, 0x5000, 0x6000, 1, RW);
        assert_eq!(bench.read(0x5000), Ok(0x6000));
        bench.queue(&[(GLOBAL.0 | drain, 0), wait(1)]);
        assert_eq!(bench.unit.next_wake().is_some(), drain != 0);
        bench.pass(Span::from_ns(late_ns).max(Span::from_ps(1)) - Span::from_ps(1));
        assert_eq!(bench.ram.word(STATUS), u64::from(drain == 0));
        bench.pass(Span::from_ps(1));
        assert_eq!(bench.ram.word(STATUS), 1);

        bench.write32(reg::GCMD, gcmd::TE);
        assert_eq!(bench.read(0x5000), Ok(0x6000));
        let register = bench.iotlb_registers() + iotlb::IOTLB;
        bench.write64(register, iotlb::IVT | 1 << 60 | if drain == 0 { 0 } else { iotlb::DR });
        assert_eq!(bench.read64(register) >> 63, u64::from(drain != 0));
        bench.pass(Span::from_ns(late_ns));
        assert_eq!(bench.read64(register) >> 63, 0);
    }
}

/// "Invalidation Queue": head and tail wrap at the queue's end, for every size.
#[test]
fn the_queue_wraps() {
    let (mut bench, _) = Bench::running(instant());
    for turn in 1..=700 {
        bench.queue(&[GLOBAL, wait(turn)]);
        assert_eq!(bench.ram.word(STATUS), u64::from(turn));
        assert_eq!(bench.read64(reg::IQH), u64::from(turn) * 32 % 4096);
    }
}

/// "Invalidation Completion Event": the interrupt flag raises one message, and another only after the
/// driver has cleared the completion status.
#[test]
fn a_wait_with_the_interrupt_flag_raises_the_invalidation_event() {
    let (mut bench, _) = Bench::running(instant());
    bench.write32(reg::IEDATA, 0x41);
    bench.write32(reg::IEADDR, 0xfee0_1004);
    bench.write32(reg::IEUADDR, 1);
    bench.queue(&[(0x15, 0)]);
    assert_eq!(bench.pass(Span::ZERO), [], "masked after reset");
    assert_eq!(bench.read32(reg::IECTL), 3 << 30);
    assert_eq!(bench.read32(reg::ICS), 1);
    bench.write32(reg::IECTL, 0);
    assert_eq!(bench.pass(Span::ZERO), [(0x1_fee0_1004, 0x41)]);
    bench.queue(&[(0x15, 0)]);
    assert_eq!(bench.pass(Span::ZERO), [], "not acknowledged");
    bench.write32(reg::ICS, 1);
    assert_eq!(bench.read32(reg::ICS), 0);
    bench.queue(&[(0x15, 0)]);
    assert_eq!(bench.pass(Span::ZERO), [(0x1_fee0_1004, 0x41)]);
}

/// "Fault Status Register", IQE: a bad descriptor stops the queue with the head on it; clearing the
/// error makes the unit look again.
#[test]
fn a_bad_descriptor_stops_the_queue_until_the_error_is_cleared() {
    let reserved = iqei::RESERVED;
    for (bad, information) in [
        ((0x0, 0), iqei::BAD_TYPE),
        ((0x3, 0), iqei::BAD_TYPE),
        ((0x4, 0), iqei::BAD_TYPE),
        ((0x7, 0), iqei::BAD_TYPE),
        ((0x212, 0), iqei::BAD_TYPE),
        ((0x1, 0), reserved),
        ((0x2, 0), reserved),
        ((0x12, 1 << 7), reserved),
        ((0x12 | 1 << 32, 0), reserved),
        ((0x11, 1), reserved),
        ((0x25, STATUS | 1), reserved),
        ((0x25 | 1 << 12, STATUS), reserved),
        (iotlb_pages(DOMAIN, 0, 19), reserved),
    ] {
        let (mut bench, _) = Bench::running(instant());
        bench.write32(reg::FECTL, 0);
        bench.queue(&[wait(1), bad, wait(2)]);
        assert_eq!(bench.read32(reg::FSTS), fsts::IQE, "{bad:x?}");
        assert_eq!(bench.read64(reg::IQERCD), information, "{bad:x?}");
        assert_eq!(bench.read64(reg::IQH), 16);
        assert_eq!(bench.ram.word(STATUS), 1);
        assert_eq!(bench.pass(Span::ZERO).len(), 1, "fault event");
        bench.write32(reg::FSTS, fsts::IQE);
        assert_eq!(bench.read32(reg::FSTS), fsts::IQE, "still there");
        bench.ram.set_word(QUEUE + 16, GLOBAL.0);
        bench.ram.set_word(QUEUE + 24, GLOBAL.1);
        bench.queue(&[wait(3)]);
        assert_eq!(bench.ram.word(STATUS), 1, "nothing is fetched while the error stands");
        bench.write32(reg::FSTS, fsts::IQE);
        assert_eq!(bench.read32(reg::FSTS), 0);
        assert_eq!(bench.ram.word(STATUS), 3);
    }
}

/// "Invalidation Queue Error Record Register": a tail outside the queue, a queue outside memory.
#[test]
fn a_queue_that_cannot_be_read_is_a_queue_error() {
    let (mut bench, _) = Bench::running(instant());
    bench.write64(reg::IQT, 4096);
    assert_eq!(bench.read64(reg::IQERCD), iqei::BAD_TAIL);

    let (mut bench, _) = Bench::running(instant());
    bench.write32(reg::GCMD, gcmd::TE);
    bench.write64(reg::IQA, RAM_BYTES as u64);
    bench.write32(reg::GCMD, gcmd::TE | gcmd::QIE);
    bench.write64(reg::IQT, 16);
    assert_eq!(bench.read64(reg::IQERCD), iqei::FETCH_FAILED);
}

/// "Invalidation Queue Head Register": turning the queue off ends what runs, and rewinds the head.
#[test]
fn turning_the_queue_off_waits_for_the_command_under_way() {
    let timing = VtdTiming { wait: Span::from_us(5), ..VtdTiming::INSTANT };
    let (mut bench, _) = Bench::running(VtdConfig { timing, ..VtdConfig::default() });
    bench.queue(&[wait(1), wait(2)]);
    bench.write32(reg::GCMD, gcmd::TE);
    bench.pass(Span::from_ns(4999));
    assert_eq!(bench.read32(reg::GSTS) & gcmd::QIE, gcmd::QIE);
    bench.pass(Span::from_us(50));
    assert_eq!(bench.read32(reg::GSTS) & gcmd::QIE, 0);
    assert_eq!(bench.ram.word(STATUS), 1);
    assert_eq!(bench.read64(reg::IQH), 0);
}

/// "IOTLB Registers": the invalidation is done when IVT reads zero, and says how much it dropped.
#[test]
fn the_iotlb_registers_invalidate_at_each_granularity() {
    let id = u64::from(DOMAIN);
    for (request, address, code, gone) in [
        (1 << 60, 0, 1, true),
        (2 << 60 | id << 32, 0, 2, true),
        (2 << 60 | (id + 1) << 32, 0, 2, false),
        (3 << 60 | id << 32, 0x5000, 3, true),
        (3 << 60 | id << 32, 0x8000 | 2, 3, false),
        (3 << 60 | id << 32, 40, 2, true), // more pages than offered: the domain instead
        (0, 0, 0, false),
    ] {
        let timing = VtdTiming {
            iotlb_invalidation: Span::from_ns(10),
            page_invalidation: Span::from_ns(10),
            ..VtdTiming::INSTANT
        };
        let (mut bench, _) = stale(VtdConfig { timing, ..VtdConfig::default() });
        let registers = bench.iotlb_registers();
        bench.write64(registers + iotlb::IOTLB, iotlb::IVT | 1 << 60);
        assert_eq!(bench.read64(registers + iotlb::IOTLB) & iotlb::IVT, 0, "refused: queue on");
        bench.pass(Span::from_ns(10));
        bench.write32(reg::GCMD, gcmd::TE);
        bench.write64(registers + iotlb::IVA, address);
        bench.write64(registers + iotlb::IOTLB, iotlb::IVT | request);
        let busy = bench.read64(registers + iotlb::IOTLB) & iotlb::IVT != 0;
        assert_eq!(busy, code != 0);
        assert_eq!(bench.read(0x5000), Ok(0x6000), "not before it is done");
        bench.pass(Span::from_ns(10));
        let done = bench.read64(registers + iotlb::IOTLB);
        assert_eq!((done & iotlb::IVT, done >> iotlb::IAIG_SHIFT & 3), (0, code));
        let after = if gone { Err(fault::READ_DENIED) } else { Ok(0x6000) };
        assert_eq!(bench.read(0x5000), after, "{request:#x}");
    }
}

/// "Context Command Register": as the IOTLB registers, for context entries.
#[test]
fn the_context_command_register_invalidates_and_says_how_much() {
    let id = u64::from(DOMAIN);
    let card = u64::from(CARD.0);
    for (request, code, gone) in [
        (1 << 61, 1, true),
        (2 << 61 | id, 2, true),
        (3 << 61 | card << 16 | id, 3, true),
        (3 << 61 | card << 16, 3, false),
        (0, 0, false),
    ] {
        let (mut bench, top) = Bench::running(instant());
        bench.map(top, 0x5000, 0x6000, 1, RW);
        assert_eq!(bench.read(0x5000), Ok(0x6000));
        bench.set_context(CARD, 0, 0);
        bench.write64(reg::CCMD, ccmd::ICC | 1 << 61);
        assert_eq!(bench.read64(reg::CCMD) >> ccmd::CAIG_SHIFT & 3, 0, "not while the queue is on");
        assert_eq!(bench.read(0x5000), Ok(0x6000));
        bench.write32(reg::GCMD, gcmd::TE);
        bench.write64(reg::CCMD, ccmd::ICC | request);
        let done = bench.read64(reg::CCMD);
        assert_eq!((done & ccmd::ICC, done >> ccmd::CAIG_SHIFT & 3), (0, code));
        let after = if gone { Err(fault::CONTEXT_NOT_PRESENT) } else { Ok(0x6000) };
        assert_eq!(bench.read(0x5000), after, "{request:#x}");
    }
}
