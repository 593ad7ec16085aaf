//! What is particular to each back end.

use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Memory};
use pcie_sim::time::Span;
use proptest::prelude::*;

use super::costs::BackEndCosts;
use super::iommu::IommuMode;
use super::iommu::flush::Deferred;
use super::select::{BounceUse, DeviceFacts, PlatformDma, Translation, select};
use super::slots::{SEGMENT_BYTES, SLOT_BYTES, SlotPool};
use super::swiotlb::{SwiotlbConfig, SwiotlbPool};
use super::*;
use crate::testing::card::Card;
use crate::testing::platforms::{ALL, Bench, Kind};
use crate::testing::{CARD, FakeHost, iommu_in, pages};
use crate::transport::SharedMemory;

const BUFFER: PhysAddr = PhysAddr(0xd0_0000);

fn facts() -> DeviceFacts {
    DeviceFacts {
        requester: Some(CARD),
        access_platform: true,
        bounce: BounceUse::No,
        mask: u64::MAX,
        bypassing_hypervisor: false,
    }
}

fn of(bench: &mut Bench) -> Dma {
    of_facts(bench, &facts())
}

fn of_facts(bench: &mut Bench, facts: &DeviceFacts) -> Dma {
    select(&mut bench.host, &bench.pages, &bench.platform, facts, &[], None).expect("chosen")
}

/// PLATFORMS.md, `ppc64-ddw`.
#[test]
fn a_direct_window_adds_its_base_and_costs_nothing() {
    let mut bench = Bench::new(Kind::Offset, Card::blk());
    let mut dma = of(&mut bench);
    let before = bench.host.now();
    let mapping = dma.map(&mut bench.host, BUFFER, 100, Direction::ToDevice).expect("RAM");
    assert_eq!(mapping.bus().get(), BUFFER.get() + (1 << 59));
    assert_eq!((bench.host.now(), bench.host.hypercalls), (before, 0));
    dma.unmap(&mut bench.host, mapping).expect("mapped");
    let beyond = dma.map(&mut bench.host, PhysAddr(1 << 40), 1, Direction::ToDevice);
    assert!(matches!(beyond, Err(DmaError::OutsideWindow { .. })), "the window ends with RAM");
}

/// PLATFORMS.md, `x86-vtd-lazy`.
#[test]
fn deferred_invalidation_flushes_at_250_entries_or_10_ms_and_reuses_nothing_before() {
    let mut bench = Bench::new(Kind::Lazy, Card::blk());
    let mut dma = of(&mut bench);
    let host = &mut bench.host;
    let mut seen = std::collections::BTreeSet::new();
    let first = dma.map(host, BUFFER, 64, Direction::ToDevice).expect("room");
    let stale = first.bus().get();
    assert!(host.fabric.read::<8>(stale).is_some(), "now it is in the IOTLB");
    dma.unmap(host, first).expect("mapped");
    assert!(host.fabric.read::<8>(stale).is_some(), "use after unmap is not stopped");
    let invalidations = host.fabric.vtd.invalidations;
    seen.insert(stale);
    for _ in 1..250 {
        let mapping = dma.map(host, BUFFER, 64, Direction::ToDevice).expect("room");
        assert!(seen.insert(mapping.bus().get()), "not given out again before the flush");
        assert_eq!(dma.stats().ops.flushes, 0);
        dma.unmap(host, mapping).expect("mapped");
    }
    assert_eq!(dma.stats().ops.flushes, 1);
    assert_eq!(host.fabric.vtd.invalidations, invalidations + 1, "one for all");
    assert!(host.fabric.read::<8>(stale).is_none());
    let mapping = dma.map(host, BUFFER, 64, Direction::ToDevice).expect("room");
    assert!(seen.contains(&mapping.bus().get()), "now it may be given out again");
    dma.unmap(host, mapping).expect("mapped");
    host.spend(Span::from_ms(10));
    dma.tick(host).expect("the hardware is well");
    assert_eq!(dma.stats().ops.flushes, 2, "the timer");
    dma.close(host).expect("the hardware is well");
    bench.assert_clean();
}

/// Coherent memory is strict in every mode.
#[test]
fn freed_rings_are_out_of_reach_at_once_even_when_invalidation_is_deferred() {
    let mut bench = Bench::new(Kind::Lazy, Card::blk());
    let mut dma = of(&mut bench);
    let ring = dma.alloc_coherent(&mut bench.host, 4096).expect("room");
    let bus = ring.bus.get();
    assert!(bench.host.fabric.read::<8>(bus).is_some());
    dma.free_coherent(&mut bench.host, ring).expect("given out by it");
    assert!(bench.host.fabric.read::<8>(bus).is_none());
    assert_eq!(dma.stats().ops.flushes, 0);
}

/// A small address space is flushed before it counts as full.
#[test]
fn addresses_that_wait_for_their_flush_are_flushed_when_no_other_is_free() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let deferred = Some(Deferred { entries: 1000, after: Span::from_ms(1000) });
    let unit = iommu_in(&mut host, &pages, IommuMode { deferred, ..IommuMode::default() });
    let platform = PlatformDma { translation: Translation::Iommu(unit), ..PlatformDma::default() };
    let narrow = DeviceFacts { mask: 0x7fff, ..facts() };
    let mut dma = select(&mut host, &pages, &platform, &narrow, &[], None).expect("chosen");
    for _ in 0..50 {
        let mapping = dma.map(&mut host, BUFFER, 64, Direction::ToDevice).expect("flushed");
        dma.unmap(&mut host, mapping).expect("mapped");
    }
    assert!(dma.stats().ops.flushes >= 6);
}

/// PLATFORMS.md, `x86-vtd-2m`.
#[test]
fn neighbours_share_one_page_of_2_mib_until_the_last_has_gone() {
    let mut bench = Bench::new(Kind::Large, Card::blk());
    let mut dma = of(&mut bench);
    let host = &mut bench.host;
    let a = dma.map(host, BUFFER + 10, 100, Direction::ToDevice).expect("room");
    let writes = host.fabric.vtd.invalidations;
    let b = dma.map(host, BUFFER + 0x5000, 0x3000, Direction::FromDevice).expect("room");
    assert_eq!(b.bus().get() - a.bus().get(), 0x5000 - 10, "one large page");
    let (bus_a, bus_b) = (a.bus().get(), b.bus().get());
    assert!(host.fabric.write(bus_b, &[7; 16]));
    assert_eq!(host.fabric.ram[0xd0_5000..0xd0_5010], [7; 16]);
    dma.unmap(host, a).expect("mapped");
    assert_eq!(host.fabric.vtd.invalidations, writes, "nothing to invalidate as yet");
    assert!(host.fabric.read::<8>(bus_a).is_some());
    dma.unmap(host, b).expect("mapped");
    assert!(host.fabric.read::<8>(bus_b).is_none());
    // A long buffer: two large pages and a tail of small ones.
    let long =
        dma.map(host, PhysAddr(0x80_0000), (4 << 20) + 5000, Direction::ToDevice).expect("r");
    for offset in [0, (2 << 20) + 77, (4 << 20) + 4999] {
        host.fabric.ram[0x80_0000 + offset] = 0x5a;
        assert_eq!(host.fabric.read::<1>(long.bus().get() + offset as u64), Some([0x5a]));
    }
    dma.unmap(host, long).expect("mapped");
    // The same addresses by small pages, where the large ones were.
    let small = dma.map(host, PhysAddr(0x7f_f800), 0x1000, Direction::ToDevice).expect("room");
    assert!(host.fabric.read::<8>(small.bus().get() + 0xff0).is_some());
    dma.unmap(host, small).expect("mapped");
    dma.close(host).expect("the hardware is well");
    bench.assert_clean();
}

/// PLATFORMS.md, `ppc64-tce`, `sparc64`.
#[test]
fn each_page_of_a_window_is_set_by_one_call_or_a_run_by_one() {
    for (kind, per_map, per_unmap) in
        [(Kind::Tce, 3, 3), (Kind::TceRuns, 1, 1), (Kind::Table, 0, 0)]
    {
        let mut bench = Bench::new(kind, Card::blk());
        let mut dma = of(&mut bench);
        let host = &mut bench.host;
        let calls = host.hypercalls;
        let mapping = dma.map(host, BUFFER + 100, 0x2000, Direction::ToDevice).expect("room");
        assert_eq!(host.hypercalls - calls, per_map, "{kind:?}");
        let bus = mapping.bus().get();
        assert!(host.fabric.read::<8>(bus + 0x1ff0).is_some());
        assert!(!host.fabric.write(bus, &[1]), "to the device only");
        let forged = MapRequest {
            buffer: BUFFER,
            len_bytes: 0x100,
            direction: Direction::ToDevice,
            place: Location::caller(),
        };
        let forged = dma.unmap(host, Mapping::new(mapping.bus(), &forged));
        assert!(matches!(forged, Err(DmaError::NotMapped { .. })));
        dma.unmap(host, mapping).expect("mapped");
        assert_eq!(host.hypercalls - calls, per_map + per_unmap, "{kind:?}");
        assert_eq!(dma.stats().ops.hypercalls, per_map + per_unmap);
        assert!(host.fabric.read::<8>(bus).is_none());
        dma.close(host).expect("nothing is held");
        bench.assert_clean();
    }
}

/// PLATFORMS.md, `xen-dom0`.
#[test]
fn on_xen_only_what_the_machine_has_in_pieces_is_bounced() {
    let mut bench = Bench::new(Kind::Xen, Card::blk());
    let mut dma = of(&mut bench);
    let host = &mut bench.host;
    host.write(BUFFER, &[1; 0x2000]);
    let inside = dma.map(host, BUFFER + 8, 4000, Direction::ToDevice).expect("one page");
    assert_ne!(inside.bus().get(), BUFFER.get() + 8);
    assert_eq!(host.fabric.read::<4>(inside.bus().get()), Some([1; 4]));
    assert_eq!(dma.stats().bounced_bytes, 0);
    let across = dma.map(host, BUFFER + 0xff8, 16, Direction::FromDevice).expect("pool");
    assert!(host.fabric.write(across.bus().get(), &[9; 16]));
    let mut seen = [0; 16];
    host.read(BUFFER + 0xff8, &mut seen);
    assert_eq!(seen, [1; 16], "the buffer has it only after unmap");
    dma.unmap(host, across).expect("mapped");
    host.read(BUFFER + 0xff8, &mut seen);
    assert_eq!((seen, dma.stats().bounced_bytes), ([9; 16], 32));
    dma.unmap(host, inside).expect("mapped");
    let ring = dma.alloc_coherent(host, 0x3000).expect("frames are free");
    let CpuView::Ram(start) = ring.cpu else { panic!("it is RAM") };
    host.write(start + 0x1ffc, &[5; 8]);
    assert_eq!(host.fabric.read::<8>(ring.bus.get() + 0x1ffc), Some([5; 8]), "in one piece");
    dma.free_coherent(host, ring).expect("given out by it");
    dma.close(host).expect("nothing is held");
    bench.assert_clean();
}

/// PLATFORMS.md, `ppc64-secure`: the card touches nothing but the shared pool.
#[test]
fn a_secure_guest_shares_its_pool_and_nothing_else() {
    let mut bench = Bench::new(Kind::Secure, Card::blk());
    for access_platform in [true, false] {
        let mut dma = of_facts(&mut bench, &DeviceFacts { access_platform, ..facts() });
        assert_eq!(dma.ops_name(), "swiotlb", "forced even over direct");
        let host = &mut bench.host;
        host.write(BUFFER, b"secret");
        let mapping = dma.map(host, BUFFER, 6, Direction::ToDevice).expect("room");
        assert_eq!(host.fabric.read::<6>(mapping.bus().get()).as_ref(), Some(b"secret"));
        assert!(host.fabric.read::<6>(BUFFER.get()).is_none());
        dma.unmap(host, mapping).expect("mapped");
        dma.close(host).expect("nothing is held");
    }
    bench.assert_clean();
}

#[test]
fn what_lies_beyond_the_mask_bounces_and_the_rest_does_not() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let pool = SwiotlbPool::new(&mut host, &pages, SwiotlbConfig::default()).expect("room");
    let platform = PlatformDma { swiotlb: Some(pool.clone()), ..PlatformDma::default() };
    let narrow = DeviceFacts { mask: 0x7f_ffff, ..facts() };
    let mut dma = select(&mut host, &pages, &platform, &narrow, &[], None).expect("chosen");
    let low = dma.map(&mut host, PhysAddr(0x1000), 64, Direction::ToDevice).expect("reached");
    assert_eq!(low.bus(), BusAddr(0x1000));
    let high = dma.map(&mut host, BUFFER, 64, Direction::ToDevice).expect("bounced");
    assert!(pool.range().contains(&PhysAddr(high.bus().get())));
    dma.unmap(&mut host, low).and(dma.unmap(&mut host, high)).expect("mapped");
    assert_eq!(pool.slots().0, pool.slots().1);
}

#[test]
fn a_part_is_synced_and_the_rest_stays_as_it_was() {
    let mut bench = Bench::new(Kind::Swiotlb, Card::blk());
    let mut dma = of(&mut bench);
    let host = &mut bench.host;
    host.write(BUFFER, &[1; 64]);
    let mapping = dma.map(host, BUFFER, 64, Direction::Bidirectional).expect("room");
    assert!(host.fabric.write(mapping.bus().get(), &[2; 64]));
    dma.sync_part_for_cpu(host, &mapping, 16..32);
    let mut seen = [0; 64];
    host.read(BUFFER, &mut seen);
    assert_eq!(
        (&seen[..16], &seen[16..32], &seen[32..]),
        (&[1; 16][..], &[2; 16][..], &[1; 32][..])
    );
    host.write(BUFFER, &[3; 64]);
    dma.sync_part_for_device(host, &mapping, 60..1000);
    let at_card = host.fabric.read::<64>(mapping.bus().get()).expect("shared");
    assert_eq!((&at_card[..60], &at_card[60..]), (&[2; 60][..], &[3; 4][..]));
    assert_eq!(dma.stats().bounced_bytes, 64 + 16 + 4);
    dma.unmap(host, mapping).expect("mapped");
}

/// A card that writes less than the buffer holds must not hand over another buffer's old content.
#[test]
fn the_rest_of_a_short_write_is_what_the_buffer_held_before() {
    for kind in [Kind::Swiotlb, Kind::CardBounce] {
        let mut bench = Bench::new(kind, Card::blk());
        let region = SharedMemory { address: PhysAddr(crate::testing::BAR2), len_bytes: 1 << 16 };
        let bounce = if kind == Kind::CardBounce { BounceUse::All(region) } else { BounceUse::No };
        let mut dma = of_facts(&mut bench, &DeviceFacts { bounce, ..facts() });
        let host = &mut bench.host;
        host.write(BUFFER, &[0xee; 100]);
        let other = dma.map(host, BUFFER, 100, Direction::ToDevice).expect("room");
        dma.unmap(host, other).expect("mapped");
        host.write(BUFFER + 4096, &[1; 100]);
        let mapping = dma.map(host, BUFFER + 4096, 100, Direction::FromDevice).expect("room");
        assert!(host.fabric.write(mapping.bus().get(), &[2; 3]));
        dma.unmap(host, mapping).expect("mapped");
        let mut seen = [0; 100];
        host.read(BUFFER + 4096, &mut seen);
        assert_eq!((&seen[..3], &seen[3..]), (&[2; 3][..], &[1; 97][..]), "{kind:?}");
    }
}

/// The capability without the feature: short buffers and rings on the card, long ones by the platform.
#[test]
fn a_hinted_bounce_buffer_mixes_with_the_platforms_ops() {
    let mut bench = Bench::new(Kind::Strict, Card::blk());
    let region = SharedMemory { address: PhysAddr(crate::testing::BAR2), len_bytes: 1 << 14 };
    let bounce = BounceUse::Hint { region, most_bytes: 512 };
    let mut dma = of_facts(&mut bench, &DeviceFacts { bounce, ..facts() });
    let host = &mut bench.host;
    let is_on_card = |bus: BusAddr| bus.get() >= crate::testing::BAR2;
    let mut live = Vec::new();
    for (bytes, on_card) in [(512, true), (513, false), (64, true)] {
        let mapping = dma.map(host, BUFFER, bytes, Direction::FromDevice).expect("room");
        assert_eq!(is_on_card(mapping.bus()), on_card);
        live.push(mapping);
    }
    let mut fell_back = false;
    for _ in 0..64 {
        let mapping = dma.map(host, BUFFER, 512, Direction::ToDevice).expect("the rest goes on");
        fell_back |= !is_on_card(mapping.bus());
        live.push(mapping);
    }
    assert!(fell_back, "when the card is full the platform's ops serve");
    live.into_iter().for_each(|mapping| dma.unmap(host, mapping).expect("mapped"));
    dma.close(host).expect("nothing is held");
    bench.assert_clean();
}

/// PLATFORMS.md, rules 1 and 3: ops by platform, without the feature always direct unless forced.
#[test]
fn without_access_platform_every_host_gives_direct_ops_unless_it_forces_others() {
    for kind in ALL {
        let mut bench = Bench::new(kind, Card::blk());
        let dma = of_facts(&mut bench, &DeviceFacts { access_platform: false, ..facts() });
        let forced = matches!(kind, Kind::Swiotlb | Kind::Secure);
        assert_eq!(dma.ops_name(), if forced { "swiotlb" } else { "direct" }, "{kind:?}");
        dma.close(&mut bench.host).expect("nothing is held");
        bench.assert_clean();
    }
}

/// PLATFORMS.md, rule 2: using the DMA API never switches pass-through.
#[test]
fn in_pass_through_bus_is_physical_and_the_device_reaches_memory_with_and_without_the_feature() {
    for access_platform in [true, false] {
        let mut bench = Bench::new(Kind::PassThrough, Card::blk());
        let mut dma = of_facts(&mut bench, &DeviceFacts { access_platform, ..facts() });
        let mapping = dma.map(&mut bench.host, BUFFER, 64, Direction::ToDevice).expect("direct");
        assert_eq!(mapping.bus().get(), BUFFER.get());
        assert!(bench.host.fabric.read::<8>(BUFFER.get()).is_some());
        dma.unmap(&mut bench.host, mapping).expect("mapped");
        dma.close(&mut bench.host).expect("nothing is held");
        assert!(bench.host.fabric.read::<8>(BUFFER.get()).is_none(), "the entry went with it");
        bench.assert_clean();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The swiotlb's slots: 2 KiB each, 128 a segment, lowest address bits kept.
    #[test]
    fn bounce_buffers_never_overlap_and_keep_their_lowest_address_bits(
        steps in prop::collection::vec((any::<bool>(), 0u64..0x4000, 1u64..0x2_0000, any::<prop::sample::Index>()), 1..60),
        mask in prop_oneof![Just(0u64), Just(0x1ff), Just(0xfff)],
    ) {
        let mut host = FakeHost::new(Card::blk());
        let start = PhysAddr(0x20_0000);
        let segments = vec![BusAddr(0x20_0000), BusAddr(0x9000_0000), BusAddr(0x24_0000)];
        let mut pool = SlotPool::new(start, segments, mask, BackEndCosts::default());
        let all = pool.free_slots();
        let mut live: Vec<Mapping> = Vec::new();
        for (give, at, len_bytes, pick) in steps {
            if give || live.is_empty() {
                let request = MapRequest {
                    buffer: BUFFER + at,
                    len_bytes,
                    direction: Direction::ToDevice,
                    place: Location::caller(),
                };
                match pool.map(&mut host, &request) {
                    Ok(mapping) => {
                        let (from, to) = (mapping.bus().get(), mapping.bus().get() + len_bytes);
                        prop_assert_eq!(from & mask, request.buffer.get() & mask);
                        prop_assert!(from / SEGMENT_BYTES == (to - 1) / SEGMENT_BYTES);
                        for other in &live {
                            let end = other.bus().get() + other.len_bytes();
                            prop_assert!(to <= other.bus().get() || end <= from);
                        }
                        live.push(mapping);
                    }
                    Err(DmaError::PoolFull { free_bytes, .. }) => {
                        prop_assert_eq!(free_bytes, pool.free_slots() * SLOT_BYTES);
                    }
                    Err(other) => prop_assert!(false, "{other}"),
                }
            } else {
                let gone = live.swap_remove(pick.index(live.len()));
                pool.unmap(&mut host, &gone).expect("mapped");
                prop_assert!(pool.unmap(&mut host, &gone).is_err(), "twice");
            }
        }
        for mapping in live {
            pool.unmap(&mut host, &mapping).expect("mapped");
        }
        prop_assert_eq!(pool.free_slots(), all);
    }
}
