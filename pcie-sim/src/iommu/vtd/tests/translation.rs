use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::iommu::vtd::{AddressWidths, Geometry};
use crate::spec::vtd::fault;

/// "Global Command Register", TE: requests pass untranslated while it is off.
#[test]
fn nothing_is_translated_while_translation_is_off() {
    let mut bench = Bench::new(instant());
    assert_eq!(bench.read(0xdead_beef_0123), Ok(0xdead_beef_0123));
}

/// "Second-Stage Translation": the offset in the page stays.
#[test]
fn a_mapped_address_goes_to_its_frame() {
    let (mut bench, top) = Bench::running(instant());
    bench.map(top, 0x1234_5678_9000, 0x4_2000, 1, RW);
    assert_eq!(bench.read(0x1234_5678_9abc), Ok(0x4_2abc));
    assert_eq!(bench.write(0x1234_5678_9fff), Ok(0x4_2fff));
}

/// "Capability Register", SLLPS: an entry of level 2 or 3 with its size bit maps 2 MiB or 1 GiB.
#[test]
fn a_superpage_is_translated_by_one_entry() {
    let (mut bench, top) = Bench::running(instant());
    bench.map(top, 0x4020_0000, 0x1_2340_0000, 2, RW);
    bench.map(top, 0x80_0000_0000, 0x2_4000_0000, 3, RW);
    for _ in 0..2 {
        assert_eq!(bench.read(0x403f_f123), Ok(0x1_235f_f123));
        assert_eq!(bench.read(0x80_3fff_f123), Ok(0x2_7fff_f123));
    }
    assert_eq!(bench.read(0x4020_0000), Ok(0x1_2340_0000));
    assert_eq!((bench.unit.counts().hits, bench.unit.counts().misses), (3, 2));
}

/// PLATFORMS, `x86-vtd-2m`: 512 pages cost one walk, and one entry of the IOTLB, at both table depths.
#[test]
fn all_of_a_2_mib_page_is_one_miss() {
    for (levels, width) in [(3, context_entry::AW_39), (4, context_entry::AW_48)] {
        let mut bench = Bench::new(instant());
        let top = bench.table();
        bench.attach(CARD, DOMAIN, top, width);
        bench.enable();
        let place = bench.entry_place(top, levels, 0x60_0000, 2);
        bench.ram.set_word(place, 0x1_2340_0000 | sl_entry::PS | RW);
        for page in 0..512 {
            assert_eq!(bench.write(0x60_0ff8 + page * 4096), Ok(0x1_2340_0ff8 + page * 4096));
        }
        assert_eq!((bench.unit.counts().hits, bench.unit.counts().misses), (511, 1));
        assert_eq!(bench.read(0x5f_ffff), Err(fault::READ_DENIED));
        assert_eq!(bench.read(0x80_0000), Err(fault::READ_DENIED));
    }
}

/// "Capability Register", SLLPS: without the bit, the size bit is reserved.
#[test]
fn a_superpage_that_is_not_offered_is_a_reserved_bit() {
    let config = VtdConfig { superpages_2m: false, superpages_1g: false, ..instant() };
    let (mut bench, top) = Bench::running(config);
    assert_eq!(bench.read64(reg::CAP) & (cap::SLLPS_2M | cap::SLLPS_1G), 0);
    bench.map(top, 0x20_0000, 0x40_0000, 2, RW);
    bench.map(top, 0x80_0000_0000, 0x4000_0000, 3, RW);
    assert_eq!(bench.read(0x20_0000), Err(fault::ENTRY_RESERVED));
    assert_eq!(bench.read(0x80_0000_0000), Err(fault::ENTRY_RESERVED));
}

/// "Second-Stage Translation": permissions of all levels count together.
#[test]
fn a_permission_missing_at_any_level_is_missing() {
    for level in 1..=4 {
        for (left, read, write) in [
            (sl_entry::R, Ok(0x5000), Err(fault::WRITE_DENIED)),
            (sl_entry::W, Err(fault::READ_DENIED), Ok(0x5000)),
            (0, Err(fault::READ_DENIED), Err(fault::WRITE_DENIED)),
        ] {
            let (mut bench, top) = Bench::running(instant());
            bench.map(top, 0x5000, 0x5000, 1, RW);
            let place = bench.entry_place(top, 4, 0x5000, level);
            let entry = bench.ram.word(place) & !RW | left;
            bench.ram.set_word(place, entry);
            for _ in 0..2 {
                assert_eq!(bench.read(0x5000), read, "level {level}");
                assert_eq!(bench.write(0x5000), write, "level {level}");
            }
        }
    }
}

/// "Capability Register", ZLR: a read of no bytes passes where only writes do.
#[test]
fn a_zero_length_read_passes_on_a_write_only_page() {
    let (mut bench, top) = Bench::running(instant());
    bench.map(top, 0x5000, 0x6000, 1, sl_entry::W);
    let got =
        bench.unit.translate(bench.now, &mut bench.ram, CARD, BusAddr(0x5000), 0, DmaKind::Read);
    assert_eq!(got.map(|t| t.address), Ok(PhysAddr(0x6000)));
    assert_eq!(bench.read(0x5000), Err(fault::READ_DENIED));
}

/// "Context Entry", translation type 10b: addresses pass as they are, up to the widest.
#[test]
fn pass_through_keeps_the_address() {
    let (mut bench, _) = Bench::running(instant());
    let through = context_entry::P | context_entry::TT_PASS_THROUGH << context_entry::TT_SHIFT;
    bench.set_context(CARD, through, context_entry::AW_48);
    assert_eq!(bench.write(0xffff_ffff_f123), Ok(0xffff_ffff_f123));
    assert_eq!(bench.write(1 << 48), Err(fault::ADDRESS_BEYOND_WIDTH));
    assert_eq!(bench.unit.counts(), Default::default());
}

/// "Context Entry": pass-through names the largest width; types and widths that the hardware does not
/// have are invalid.
#[test]
fn a_context_entry_that_asks_for_what_is_not_there_is_invalid() {
    let narrow = VtdConfig { pass_through: false, widths: AddressWidths::Bits39, ..instant() };
    let through = context_entry::TT_PASS_THROUGH << context_entry::TT_SHIFT;
    let device_tlb = 1 << context_entry::TT_SHIFT;
    for (config, low, high, expected) in [
        (instant(), through, context_entry::AW_39, fault::CONTEXT_INVALID),
        (narrow, through, context_entry::AW_39, fault::CONTEXT_INVALID),
        (narrow, 0, context_entry::AW_48, fault::CONTEXT_INVALID),
        (instant(), 0, 3, fault::CONTEXT_INVALID),
        (instant(), device_tlb, context_entry::AW_48, fault::CONTEXT_INVALID),
        (instant(), 1 << 4, context_entry::AW_48, fault::CONTEXT_RESERVED),
        (instant(), 1 << 50, context_entry::AW_48, fault::CONTEXT_RESERVED),
        (instant(), 0, context_entry::AW_48 | 1 << 7, fault::CONTEXT_RESERVED),
        (instant(), 0, context_entry::AW_48 | 1 << 24, fault::CONTEXT_RESERVED),
    ] {
        let (mut bench, top) = Bench::running(config);
        bench.set_context(CARD, top | context_entry::P | low, high);
        assert_eq!(bench.read(0), Err(expected), "{low:#x} {high:#x}");
    }
}

/// "Context Entry", address width 1: three levels, 39 bits.
#[test]
fn three_levels_translate_39_bits() {
    let mut bench = Bench::new(VtdConfig { widths: AddressWidths::Bits39, ..instant() });
    let top = bench.table();
    bench.attach(CARD, DOMAIN, top, context_entry::AW_39);
    bench.enable();
    assert_eq!(cap::mgaw_bits(bench.read64(reg::CAP)), 39);
    let place = bench.entry_place(top, 3, 0x7f_ffff_f000, 1);
    bench.ram.set_word(place, 0x9000 | RW);
    assert_eq!(bench.read(0x7f_ffff_f008), Ok(0x9008));
    assert_eq!(bench.read(1 << 39), Err(fault::ADDRESS_BEYOND_WIDTH));
}

/// "Second-Stage Paging Entries": bits above the host's width, snoop without snoop control, transient
/// mapping without device TLB, an offset inside a superpage and the size bit at level 4 are reserved.
#[test]
fn reserved_bits_of_a_present_entry_fault() {
    for (level, bits) in [
        (1, 1 << 46),
        (1, sl_entry::SNP),
        (1, sl_entry::TM),
        (2, sl_entry::PS | 0x1000),
        (3, sl_entry::PS | 0x20_0000),
        (4, sl_entry::PS),
    ] {
        let (mut bench, top) = Bench::running(instant());
        bench.map(top, 0x5000, 0x6000, 1, RW);
        let place = bench.entry_place(top, 4, 0x5000, level);
        let entry = bench.ram.word(place) | bits;
        bench.ram.set_word(place, entry);
        assert_eq!(bench.read(0x5000), Err(fault::ENTRY_RESERVED), "level {level}");
        bench.ram.set_word(place, entry & !RW);
        assert_eq!(bench.read(0x5000), Err(fault::READ_DENIED), "not present: bits are free");
    }
}

/// "Root Entry": reserved bits; tables that no memory answers for.
#[test]
fn a_table_outside_memory_faults_by_its_kind() {
    let (mut bench, _) = Bench::running(instant());
    bench.attach(CARD, DOMAIN, RAM_BYTES as u64, context_entry::AW_48);
    assert_eq!(bench.read(0), Err(fault::TABLE_UNREACHABLE));

    let (mut bench, _) = Bench::running(instant());
    bench.ram.set_word(ROOT + 16, RAM_BYTES as u64 | 1);
    assert_eq!(bench.read(0), Err(fault::CONTEXT_TABLE_UNREACHABLE));
    bench.ram.set_word(ROOT + 16, 0x3000 | 3);
    assert_eq!(bench.read(0), Err(fault::ROOT_RESERVED));
    bench.ram.set_word(ROOT + 16, 0x3000 | 1);
    bench.ram.set_word(ROOT + 24, 1);
    assert_eq!(bench.read(0), Err(fault::ROOT_RESERVED));
    bench.write64(reg::RTADDR, RAM_BYTES as u64);
    bench.write32(reg::GCMD, gcmd::TE | gcmd::QIE | gcmd::SRTP);
    assert_eq!(bench.read(0), Err(fault::ROOT_TABLE_UNREACHABLE));
}

/// A hit costs the hit alone; a miss costs each table entry read besides.
#[test]
fn a_miss_costs_one_read_per_level_and_a_hit_none() {
    let timing = VtdTiming {
        hit: Span::from_ns(3),
        context_walk_read: Span::from_ns(50),
        page_walk_read: Span::from_ns(70),
        ..VtdTiming::default()
    };
    for (paging_structure_ways, neighbour_reads) in [(0, 4), (4, 1)] {
        let paging_structure_cache = Geometry { sets: 1, ways: paging_structure_ways };
        let config = VtdConfig { timing, paging_structure_cache, ..VtdConfig::default() };
        let (mut bench, top) = Bench::running(config);
        bench.map(top, 0x5000, 0x6000, 1, RW);
        bench.map(top, 0x7000, 0x8000, 1, RW);
        bench.map(top, 0x4000_0000, 0, 3, RW);
        let mut took = |address| {
            let memory = &mut bench.ram;
            let kind = DmaKind::Read;
            let got = bench.unit.translate(bench.now, memory, CARD, BusAddr(address), 4, kind);
            got.map(|translated| translated.took.as_ns())
        };
        assert_eq!(took(0x5000), Ok(3 + 2 * 50 + 4 * 70));
        assert_eq!(took(0x5000), Ok(3));
        assert_eq!(took(0x7000), Ok(3 + neighbour_reads * 70));
        let superpage_reads = if paging_structure_ways == 0 { 2 } else { 1 };
        assert_eq!(took(0x4000_0000), Ok(3 + superpage_reads * 70));
    }
}

/// The IOTLB holds what it has room for, and forgets what was used longest ago.
#[test]
fn the_page_used_longest_ago_leaves_first() {
    let config = VtdConfig { iotlb: Geometry { sets: 1, ways: 4 }, ..instant() };
    let (mut bench, top) = Bench::running(config);
    for page in 0..5 {
        bench.map(top, page << 12, page << 12, 1, RW);
    }
    for page in [0, 1, 2, 3, 0, 4, 0, 2, 3, 4] {
        assert_eq!(bench.read(page << 12), Ok(page << 12));
    }
    assert_eq!(bench.unit.counts().misses, 5);
    assert_eq!(bench.read(1 << 12), Ok(1 << 12));
    assert_eq!(bench.unit.counts().misses, 6);
}

/// "Context Entry", domain id: devices of one domain share its translations, others do not.
#[test]
fn translations_belong_to_a_domain() {
    let (mut bench, top) = Bench::running(instant());
    let (twin, other) = (Bdf::new(1, 0, 1), Bdf::new(2, 3, 0));
    bench.attach(twin, DOMAIN, top, context_entry::AW_48);
    let other_top = bench.table();
    bench.attach(other, DOMAIN + 1, other_top, context_entry::AW_48);
    bench.map(top, 0x5000, 0x6000, 1, RW);
    bench.map(other_top, 0x5000, 0x9000, 1, RW);
    assert_eq!(bench.read(0x5000), Ok(0x6000));
    assert_eq!(bench.dma(twin, 0x5000, DmaKind::Read), Ok(0x6000));
    assert_eq!(bench.unit.counts().hits, 1);
    assert_eq!(bench.dma(other, 0x5000, DmaKind::Read), Ok(0x9000));
    assert_eq!(bench.unit.counts().hits, 1);
}

/// What a request of a model that knows the mappings gives.
fn expected(model: &BTreeMap<u64, (u64, u64)>, address: u64, kind: DmaKind) -> Result<u64, u8> {
    let (frame, permissions) = model.get(&(address >> 12)).copied().unwrap_or((0, 0));
    let (wanted, reason) = match kind {
        DmaKind::Read => (sl_entry::R, fault::READ_DENIED),
        DmaKind::Write => (sl_entry::W, fault::WRITE_DENIED),
    };
    if permissions & wanted == 0 { Err(reason) } else { Ok(frame | address & 0xfff) }
}

prop_compose! {
    /// Few distinct upper bits, so that mappings and requests meet.
    fn some_page()(top in 0u64..2, third in 0u64..2, second in 0u64..3, last in 0u64..6) -> u64 {
        top << 27 | third << 18 | second << 9 | last
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is mapped where, and whatever the caches are: a request gives what the tables say, and
    /// each blocked one is the next fault record.
    #[test]
    fn a_walk_agrees_with_the_list_of_mappings(
        mappings in prop::collection::btree_map(some_page(), (0u64..1 << 34, 1u64..4), 0..12),
        requests in prop::collection::vec((some_page(), 0u64..4096, any::<bool>()), 1..60),
        ways in 1usize..4,
        table_ways in 0usize..4,
    ) {
        let config = VtdConfig {
            iotlb: Geometry { sets: 4, ways },
            paging_structure_cache: Geometry { sets: 2, ways: table_ways },
            fault_records: 64,
            ..instant()
        };
        let (mut bench, top) = Bench::running(config);
        let mut model = BTreeMap::new();
        for (page, (frame, permissions)) in mappings {
            bench.map(top, page << 12, frame << 12, 1, permissions);
            model.insert(page, (frame << 12, permissions));
        }
        let mut faults = 0;
        for (page, offset, read) in requests {
            let address = page << 12 | offset;
            let kind = if read { DmaKind::Read } else { DmaKind::Write };
            let got = bench.dma(CARD, address, kind);
            prop_assert_eq!(got, expected(&model, address, kind));
            if let Err(reason) = got {
                let (low, high) = bench.record(faults);
                prop_assert_eq!(low, page << 12);
                let read_bit = u64::from(read) << 62;
                prop_assert_eq!(high, 1 << 63 | read_bit | u64::from(reason) << 32 | 0x100);
                faults += 1;
            }
        }
    }
}
