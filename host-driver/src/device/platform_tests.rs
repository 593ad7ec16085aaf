//! Drivers on every kind of host: data, cleaning up, removal and reset in flight, cards that lie.

use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Barrier, Memory};
use pcie_sim::spec::virtio_pci::{cap, cfg_type};
use pcie_sim::spec::{features, net as net_spec};
use proptest::prelude::*;

use super::*;
use crate::dma::debug::Finding;
use crate::dma::noncoherent::MaintenanceStep;
use crate::dma::select::Coherence;
use crate::testing::card::Card;
use crate::testing::platforms::{ALL, Bench, Kind};
use crate::testing::{BAR2, CARD_MEMORY_BYTES, FakeHost, LINE, SLOT, pages};
use crate::transport::Transport;
use crate::transport::TransportError;
use crate::virtqueue::Segment;
use crate::{
    BlkDriver, BlkOp, BlkRequest, ControlError, MmioTransport, NetDriver, NetEvents, PlatformDma,
};

const BUFFER: PhysAddr = PhysAddr(0xe0_0010);
const SECTORS: u32 = 4096;

fn small() -> DriverConfig {
    DriverConfig { queue_size: 16, ..DriverConfig::default() }
}

fn submit(
    host: &mut FakeHost,
    driver: &mut BlkDriver,
    op: BlkOp,
    token: u64,
) -> Result<(), SubmitError> {
    let segments = [Segment { address: BUFFER + token * 0x1_0000, len: SECTORS }];
    driver.submit(host, &BlkRequest { op, sector: 0, segments: &segments }, token)
}

fn one_round(host: &mut FakeHost, driver: &mut BlkDriver, op: BlkOp) -> u8 {
    submit(host, driver, op, 0).expect("room");
    driver.kick(host);
    let deadline = host.soon();
    assert_eq!(driver.wait(host, deadline), Ok(true));
    let mut done = Vec::new();
    assert_eq!(driver.poll(host, &mut done), Ok(1));
    done[0].status
}

/// Writes a pattern to the disk and reads it back, through whatever the host does with addresses.
fn write_and_read(host: &mut FakeHost, driver: &mut BlkDriver, pattern: u8) -> Vec<u8> {
    host.write(BUFFER, &[pattern; SECTORS as usize]);
    assert_eq!(one_round(host, driver, BlkOp::Write), 0);
    host.write(BUFFER, &[0; SECTORS as usize]);
    assert_eq!(one_round(host, driver, BlkOp::Read), 0);
    let mut back = vec![0; SECTORS as usize];
    host.read(BUFFER, &mut back);
    back
}

fn expected_ops(kind: Kind) -> &'static str {
    match kind {
        Kind::Direct | Kind::PassThrough => "direct",
        Kind::Offset => "direct+offset",
        Kind::Strict | Kind::Lazy | Kind::Large => "iommu",
        Kind::Tce | Kind::TceRuns | Kind::Table => "tce",
        Kind::Swiotlb | Kind::Secure => "swiotlb",
        Kind::Xen => "xen",
        Kind::NonCoherent => "direct+maintenance",
        Kind::CardBounce => "card_bounce",
        Kind::Hint => "card_bounce+platform",
    }
}

fn removed_cleanly(bench: Bench, removed: Removed) {
    assert_eq!(removed.findings, vec![], "{:?}", bench.kind);
    let dma = removed.counters.dma;
    assert_eq!(dma.maps, dma.unmaps, "{:?}", bench.kind);
    bench.assert_clean();
}

/// PLATFORMS.md, rule 1: one data path; each row that "works".
#[test]
fn blocks_come_back_on_every_host_and_nothing_stays_behind() {
    for kind in ALL {
        for indirect in [Indirect::Never, Indirect::Always] {
            let mut bench = Bench::new(kind, Card::blk());
            let context = bench.context(DriverConfig { indirect, ..small() });
            let mut driver = BlkDriver::probe(&mut bench.host, context).expect("the card is good");
            assert_eq!(driver.ops_name(), expected_ops(kind));
            for pattern in 1..20 {
                let back = write_and_read(&mut bench.host, &mut driver, pattern);
                assert!(back.iter().all(|&byte| byte == pattern), "{kind:?} {indirect:?}");
            }
            assert_eq!(bench.host.fabric.blocked, 0, "{kind:?}");
            let removed = driver.remove(&mut bench.host).expect("nothing is left");
            let bounces =
                matches!(kind, Kind::Swiotlb | Kind::Secure | Kind::CardBounce | Kind::Hint);
            let bounced = removed.counters.dma.bounced_bytes > 0;
            // The buffer crosses a page, which on Xen is no neighbour of the next.
            assert_eq!(bounced, bounces || kind == Kind::Xen, "{kind:?}");
            removed_cleanly(bench, removed);
        }
    }
}

#[test]
fn packets_come_back_on_every_host_and_nothing_stays_behind() {
    for kind in ALL {
        let mut bench = Bench::new(kind, Card::net());
        let context = bench.context(small());
        let host = &mut bench.host;
        let mut driver = NetDriver::probe(host, context, net::NetOptions::default()).expect("good");
        for round in 0..40u64 {
            let packet = vec![round as u8; 60 + 20 * round as usize];
            host.write(BUFFER, &packet);
            driver.send(host, BUFFER, packet.len() as u32, round).expect("room");
            driver.kick(host);
            let deadline = host.soon();
            assert_eq!(driver.wait(host, deadline), Ok(true));
            let mut events = NetEvents::default();
            driver.poll(host, &mut events).expect("packets");
            for received in events.received {
                let mut back = vec![0; received.len as usize];
                host.read(received.address, &mut back);
                assert_eq!(back, packet, "{kind:?}");
                driver.recycle(host, received).expect("its descriptor is free again");
            }
        }
        let removed = driver.remove(host).expect("nothing is left");
        assert_eq!(removed.unfinished, vec![]);
        removed_cleanly(bench, removed);
    }
}

/// PLATFORMS.md, rule 5: a failed add leaves nothing behind; the driver goes on when there is room.
#[test]
fn adding_until_nothing_goes_any_more_and_going_on_works_on_every_host() {
    for kind in ALL {
        let mut bench = Bench::new(kind, Card::blk());
        bench.host.card.script.hold = true;
        let context = bench.context(small());
        let host = &mut bench.host;
        let mut driver = BlkDriver::probe(host, context).expect("the card is good");
        let mut accepted = 0;
        let refused = loop {
            match submit(host, &mut driver, BlkOp::Write, accepted) {
                Ok(()) => accepted += 1,
                Err(error) => break error,
            }
        };
        assert!(refused.is_full(), "{kind:?}: {refused}");
        bench.host.card.script.hold = false;
        let host = &mut bench.host;
        driver.kick(host);
        let deadline = host.soon();
        assert_eq!(driver.wait(host, deadline), Ok(true));
        let mut done = Vec::new();
        assert_eq!(driver.poll(host, &mut done), Ok(accepted as usize));
        assert_eq!(write_and_read(host, &mut driver, 7), vec![7; SECTORS as usize]);
        let removed = driver.remove(host).expect("nothing is left");
        removed_cleanly(bench, removed);
    }
}

/// The pool is smaller than what the queue could hold.
#[test]
fn an_exhausted_pool_is_an_error_that_the_driver_survives() {
    let mut bench = Bench::new(Kind::Swiotlb, Card::blk());
    bench.host.card.script.hold = true;
    let context =
        bench.context(DriverConfig { indirect: Indirect::Always, ..DriverConfig::default() });
    let host = &mut bench.host;
    let mut driver = BlkDriver::probe(host, context).expect("the card is good");
    assert_eq!(driver.geometry().size_max, 256 << 10, "one segment of the pool");
    let mut last = Ok(());
    let mut nth = 0;
    while last.is_ok() {
        let segments = [Segment { address: BUFFER + nth * 0x8000, len: 64 * 512 }];
        let read = BlkRequest { op: BlkOp::Read, sector: 0, segments: &segments };
        nth += 1;
        let live = driver.dma_debug().map_or(0, |debug| debug.live());
        last = driver.submit(host, &read, 0);
        if last.is_err() {
            assert_eq!(driver.dma_debug().map_or(0, |debug| debug.live()), live, "unwound");
        }
    }
    let Err(error @ SubmitError::Queue(AddError::Io(DmaError::PoolFull { .. }))) = last else {
        panic!("{last:?}");
    };
    assert!(error.is_full());
    bench.host.card.script.hold = false;
    let host = &mut bench.host;
    driver.kick(host);
    assert!(driver.poll(host, &mut Vec::new()).expect("well") > 10);
    let removed = driver.remove(host).expect("nothing is left");
    removed_cleanly(bench, removed);
}

/// A hypervisor that refuses gives an error, and what was half done is undone.
#[test]
fn a_refused_hypercall_fails_the_request_and_nothing_else() {
    for kind in [Kind::Tce, Kind::TceRuns] {
        let mut bench = Bench::new(kind, Card::blk());
        let context = bench.context(small());
        let host = &mut bench.host;
        let mut driver = BlkDriver::probe(host, context).expect("the card is good");
        host.refuse_hypercalls = true;
        let refused = submit(host, &mut driver, BlkOp::Read, 0);
        assert!(matches!(refused, Err(SubmitError::Queue(AddError::Io(DmaError::Hypercall(_))))));
        host.refuse_hypercalls = false;
        assert_eq!(write_and_read(host, &mut driver, 3), vec![3; SECTORS as usize]);
        let removed = driver.remove(host).expect("nothing is left");
        removed_cleanly(bench, removed);
    }
}

#[test]
fn a_card_that_is_taken_out_in_flight_leaves_nothing_behind_on_any_host() {
    for kind in ALL {
        let mut bench = Bench::new(kind, Card::blk());
        bench.host.card.script.hold = true;
        let context = bench.context(small());
        let host = &mut bench.host;
        let mut driver = BlkDriver::probe(host, context).expect("the card is good");
        for token in [5, 6] {
            submit(host, &mut driver, BlkOp::Read, token).expect("room");
        }
        driver.kick(host);
        host.gone = true;
        let deadline = host.soon();
        assert!(
            driver.wait(host, deadline).is_err() || driver.poll(host, &mut Vec::new()).is_err()
        );
        let removed = driver.remove(host).expect("what is gone needs no reset");
        assert!(removed.gone);
        assert_eq!(removed.unfinished, [5, 6], "{kind:?}");
        removed_cleanly(bench, removed);
    }
}

#[test]
fn a_reset_in_flight_takes_all_back_and_starts_again_on_every_host() {
    for kind in ALL {
        let mut bench = Bench::new(kind, Card::blk());
        bench.host.card.script.hold = true;
        let context = bench.context(small());
        let host = &mut bench.host;
        let mut driver = BlkDriver::probe(host, context).expect("the card is good");
        submit(host, &mut driver, BlkOp::Read, 8).expect("room");
        driver.kick(host);
        assert_eq!(driver.restart(host), Ok(vec![8]));
        assert_eq!(driver.dma_debug().map(|debug| debug.live()), Some(0));
        host.card.script.hold = false;
        assert_eq!(write_and_read(host, &mut driver, 9), vec![9; SECTORS as usize], "{kind:?}");
        let removed = driver.remove(host).expect("nothing is left");
        removed_cleanly(bench, removed);
    }
}

/// What a card does to a queue that it must not do.
#[derive(Debug, Clone, Copy)]
enum Lie {
    Id(u32),
    Length(u32),
    IndexJump(u16),
    /// The descriptor area is overwritten with this byte, then the chain is used.
    Rewrite(u8),
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        any::<u32>().prop_map(Lie::Id),
        any::<u32>().prop_map(Lie::Length),
        any::<u16>().prop_map(Lie::IndexJump),
        any::<u8>().prop_map(Lie::Rewrite),
    ]
}

fn tell(host: &mut FakeHost, lie: Lie) {
    let Some((head, chain)) = host.card.next_chain(&mut host.fabric, 0) else { return };
    host.card.queues[0].seen = host.card.queues[0].seen.wrapping_add(1);
    let head = u32::from(head);
    match lie {
        Lie::Id(id) => host.card.complete(&mut host.fabric, 0, id, 1),
        Lie::Length(len) => host.card.complete(&mut host.fabric, 0, head, len),
        Lie::IndexJump(by) => {
            let used = &mut host.card.queues[0].used;
            *used = used.wrapping_add(by);
            host.card.complete(&mut host.fabric, 0, head, 1);
        }
        Lie::Rewrite(byte) => {
            let descriptors = host.card.queues[0].addresses[0];
            host.fabric.write(descriptors, &[byte; 16 * 16]);
            // Where it was told to write, it writes.
            let _ = chain;
            host.card.complete(&mut host.fabric, 0, head, 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// PLATFORMS.md, rule 5: whatever the card says, the driver unmaps what it mapped, once, with the
    /// right length and direction; reads nothing outside its buffers; and comes to an end.
    #[test]
    fn a_lying_card_harms_no_host(
        lies in prop::collection::vec(lie(), 1..6),
        indirect in prop_oneof![Just(Indirect::Never), Just(Indirect::Always)],
    ) {
        for kind in ALL {
            let mut bench = Bench::new(kind, Card::blk());
            bench.host.card.script.hold = true;
            let context = bench.context(DriverConfig { indirect, ..small() });
            let host = &mut bench.host;
            let mut driver = BlkDriver::probe(host, context).expect("the card is good");
            let mut given = 0;
            for &lie in &lies {
                if submit(host, &mut driver, BlkOp::Read, given).is_ok() {
                    given += 1;
                }
                driver.kick(host);
                tell(host, lie);
                let mut done = Vec::new();
                let polled = driver.poll(host, &mut done);
                if polled.is_err() {
                    prop_assert!(matches!(polled, Err(DriverError::Queue(_))));
                    let again = submit(host, &mut driver, BlkOp::Read, 0);
                    prop_assert!(matches!(again, Err(SubmitError::Queue(AddError::Broken(_)))));
                }
            }
            let removed = driver.remove(host).expect("all that was mapped is unmapped");
            removed_cleanly(bench, removed);
        }
    }
}

/// PLATFORMS.md, `arm64-noncoherent`.
#[test]
fn leaving_a_maintenance_step_out_shows_stale_data_and_dma_debug_names_it() {
    let steps = [
        (MaintenanceStep::CleanAtMap, true),
        (MaintenanceStep::InvalidateAtUnmap, true),
        (MaintenanceStep::UncachedCoherent, false),
    ];
    for (step, completes) in steps {
        let mut bench = Bench::new(Kind::NonCoherent, Card::blk());
        bench.platform.caches = Coherence::Maintained { leave_out: Some(step) };
        let context = bench.context(small());
        let host = &mut bench.host;
        let mut driver = BlkDriver::probe(host, context).expect("the card is good");
        let debug = driver.dma_debug().expect("it is on");
        if completes {
            host.write(BUFFER, &[4; SECTORS as usize]);
            submit(host, &mut driver, BlkOp::Write, 0).expect("room");
            driver.kick(host);
            let _ = driver.poll(host, &mut Vec::new());
            host.write(BUFFER, &[0; SECTORS as usize]);
            submit(host, &mut driver, BlkOp::Read, 0).expect("room");
            driver.kick(host);
            let _ = driver.poll(host, &mut Vec::new());
            let mut back = vec![0; SECTORS as usize];
            host.read(BUFFER, &mut back);
            assert_ne!(back, vec![4; SECTORS as usize], "{step:?}: stale");
        } else {
            submit(host, &mut driver, BlkOp::Read, 0).expect("room");
            driver.kick(host);
            assert_eq!(driver.poll(host, &mut Vec::new()), Ok(0), "the card sees an old ring");
        }
        let named = |finding: &Finding| match step {
            MaintenanceStep::CleanAtMap => matches!(finding, Finding::NotCleaned { .. }),
            MaintenanceStep::InvalidateAtUnmap => matches!(finding, Finding::NotInvalidated { .. }),
            _ => matches!(finding, Finding::CoherentCached { .. }),
        };
        assert!(debug.findings().iter().any(named), "{step:?}: {:?}", debug.findings());
    }
}

/// `arm64-noncoherent`: "coherent cards need none".
#[test]
fn a_card_that_does_not_obey_the_platform_gets_no_maintenance() {
    let mut bench = Bench::new(Kind::NonCoherent, Card::blk());
    let context = bench.context(DriverConfig { accept_access_platform: false, ..small() });
    let driver = BlkDriver::probe(&mut bench.host, context).expect("the card is good");
    assert_eq!(driver.ops_name(), "direct");
    assert_eq!(driver.dma_debug().map(|debug| debug.count()), Some(0));
}

/// PLATFORMS.md, `pkvm-restricted`.
#[test]
fn with_swiotlb_negotiated_every_address_handed_over_lies_in_the_region() {
    let region = BAR2 + CARD_MEMORY_BYTES as u64 / 2..BAR2 + CARD_MEMORY_BYTES as u64;
    for placement in [Placement::Host, Placement::Card, Placement::Hybrid] {
        let mut bench = Bench::new(Kind::CardBounce, Card::blk());
        bench.host.card.script.hold = true;
        let context =
            bench.context(DriverConfig { placement, indirect: Indirect::Always, ..small() });
        let host = &mut bench.host;
        let mut driver = BlkDriver::probe(host, context).expect("the card is good");
        assert_ne!(driver.features() & features::SWIOTLB, 0);
        submit(host, &mut driver, BlkOp::Write, 0).expect("room");
        driver.kick(host);
        let (_, chain) = host.card.next_chain(&mut host.fabric, 0).expect("published");
        for desc in chain {
            assert!(region.contains(&desc.addr) && desc.addr + u64::from(desc.len) <= region.end);
        }
        for area in host.card.queues[0].addresses {
            assert!(region.contains(&area), "{placement:?}");
        }
        host.card.script.hold = false;
        driver.kick(host);
        let counts = driver.counters().dma.ops;
        assert!(counts.device_written_bytes > u64::from(SECTORS));
        assert_eq!(counts.device_reads, 0, "nothing came back yet");
    }
}

/// The 2025 proposal: the feature needs the region.
#[test]
fn swiotlb_offered_without_a_region_is_the_devices_error() {
    let mut bench = Bench::new(Kind::CardBounce, Card::blk());
    bench.host.card.config[0xc0 + usize::from(cap::CFG_TYPE)] = 0x77;
    assert_ne!(cfg_type::SWIOTLB, 0x77);
    let context = bench.context(small());
    let result = BlkDriver::probe(&mut bench.host, context);
    assert_eq!(result.err(), Some(ProbeError::NoBounceRegion));
    assert_ne!(bench.host.card.status & pcie_sim::spec::virtio_pci::status::FAILED, 0);
    assert_eq!(bench.pages.in_use_bytes(), 0);
}

/// PLATFORMS.md, rules 3 and 4, and `pkvm-hint`: a bit that the driver does not know is not accepted.
#[test]
fn a_driver_can_be_ignorant_of_each_platform_bit() {
    let known = DriverConfig::default();
    let cases = [
        (known, features::ACCESS_PLATFORM | features::ORDER_PLATFORM | features::SWIOTLB),
        (
            DriverConfig { accept_access_platform: false, ..known },
            features::ORDER_PLATFORM | features::SWIOTLB,
        ),
        (
            DriverConfig { accept_order_platform: false, ..known },
            features::ACCESS_PLATFORM | features::SWIOTLB,
        ),
        (
            DriverConfig { accept_swiotlb: false, ..known },
            features::ACCESS_PLATFORM | features::ORDER_PLATFORM,
        ),
    ];
    let all = features::ACCESS_PLATFORM | features::ORDER_PLATFORM | features::SWIOTLB;
    for (config, expected) in cases {
        let mut bench = Bench::new(Kind::CardBounce, Card::blk());
        let context = bench.context(config);
        let mut driver = BlkDriver::probe(&mut bench.host, context).expect("the card is good");
        assert_eq!(driver.features() & all, expected);
        let bounces = expected & features::SWIOTLB != 0;
        assert_eq!(driver.ops_name(), if bounces { "card_bounce" } else { "direct" });
        bench.host.barriers.clear();
        submit(&mut bench.host, &mut driver, BlkOp::Read, 0).expect("room");
        driver.kick(&mut bench.host);
        // On the card the barriers drain write-combining buffers, whatever was negotiated.
        let strong = bounces || expected & features::ORDER_PLATFORM != 0;
        let first = if strong { Barrier::DmaWrite } else { Barrier::SmpWrite };
        assert_eq!(bench.host.barriers.first(), Some(&first));
    }
}

/// Virtio 1.4, "Control Virtqueue"; PLATFORMS.md, rule 7.
#[test]
fn control_commands_reach_the_card_from_the_heap_and_its_answer_counts() {
    for kind in ALL {
        let mut bench = Bench::new(kind, Card::net());
        let context = bench.context(small());
        let host = &mut bench.host;
        let mut driver = NetDriver::probe(host, context, net::NetOptions::default()).expect("good");
        assert_ne!(driver.features() & net_spec::F_CTRL_VQ, 0);
        let deadline = host.soon();
        driver.set_promiscuous(host, true, deadline).expect("answered");
        driver.set_mac(host, [2, 1, 2, 3, 4, 5], deadline).expect("answered");
        assert_eq!(driver.identity().mac, Some([2, 1, 2, 3, 4, 5]));
        host.card.script.answer = 1;
        let refused = driver.set_promiscuous(host, false, deadline);
        assert_eq!(refused, Err(DriverError::Control(ControlError::Refused { answer: 1 })));
        host.card.script.no_answer = true;
        let refused = driver.set_promiscuous(host, false, deadline);
        assert_eq!(refused, Err(DriverError::Control(ControlError::Refused { answer: 0xff })));
        let sent = [vec![0, 0, 1], vec![1, 1, 2, 1, 2, 3, 4, 5], vec![0, 0, 0], vec![0, 0, 0]];
        assert_eq!(host.card.commands, sent);
        host.card.script.hold = true;
        let deadline = host.soon();
        let late = driver.set_promiscuous(host, true, deadline);
        assert_eq!(late, Err(DriverError::Control(ControlError::Timeout)));
        let busy = driver.set_promiscuous(host, true, deadline);
        assert_eq!(busy, Err(DriverError::Control(ControlError::Busy)));
        let removed = driver.remove(host).expect("nothing is left");
        assert_eq!(removed.unfinished, vec![], "a command is no packet");
        removed_cleanly(bench, removed);
    }
}

/// PLATFORMS.md, rule 7.
#[test]
fn a_buffer_on_the_stack_is_refused_and_reported() {
    let mut bench = Bench::new(Kind::Direct, Card::blk());
    let context = bench.context(small());
    let host = &mut bench.host;
    let mut driver = BlkDriver::probe(host, context).expect("the card is good");
    let stack = PhysAddr(0x8_0000);
    let segments = [Segment { address: stack, len: 512 }];
    let request = BlkRequest { op: BlkOp::Read, sector: 0, segments: &segments };
    let line = line!() + 1;
    let refused = driver.submit(host, &request, 0);
    let not_heap = DmaError::NotHeap { address: stack, bytes: 512 };
    assert_eq!(refused, Err(SubmitError::Queue(AddError::Io(not_heap))));
    let findings = driver.dma_debug().expect("it is on").findings();
    let [Finding::NotHeap { address, mapped_at, .. }] = findings[..] else {
        panic!("{findings:?}")
    };
    assert_eq!((address, mapped_at.line()), (stack, line));
    assert_eq!(driver.dma_debug().map(|debug| debug.live()), Some(0), "nothing stays mapped");
}

/// PLATFORMS.md, `mmio-platform`.
#[test]
fn a_virtio_mmio_slot_fills_later_and_the_same_driver_runs_on_it() {
    for completion in [CompletionMode::Interrupt, CompletionMode::Poll] {
        let mut host = FakeHost::new(Card::blk());
        let pages = pages();
        let slot = PhysAddr(SLOT);
        let empty = MmioTransport::open(&mut host, slot, LINE);
        assert_eq!(empty.err(), Some(TransportError::EmptySlot { address: slot }));
        host.slot.device = 2;
        // There is no bus to master.
        host.card.config[4] = 4;
        let transport = MmioTransport::open(&mut host, slot, LINE).expect("now it is there");
        assert!(transport.shared_memory(0).is_none());
        let region = transport.shared_memory(1).expect("the slot has one");
        assert_eq!((region.address.get(), region.len_bytes), (9 << 32 | 0x4000, 0x1_0000));
        let config = DriverConfig { completion, ..small() };
        let platform = PlatformDma::default();
        let context =
            ProbeContext { transport: Box::new(transport), pages: pages.clone(), platform, config };
        let mut driver = BlkDriver::probe(&mut host, context).expect("the card is good");
        assert_eq!(driver.geometry().capacity_sectors, 64);
        for pattern in 1..5 {
            let back = write_and_read(&mut host, &mut driver, pattern);
            assert_eq!(back, vec![pattern; SECTORS as usize]);
        }
        host.card.script.hold = true;
        submit(&mut host, &mut driver, BlkOp::Read, 0).expect("room");
        driver.kick(&mut host);
        host.card.script.hold = false;
        if completion == CompletionMode::Interrupt {
            let deadline = host.soon();
            assert_eq!(driver.wait(&mut host, deadline), Ok(true));
            assert_eq!((host.slot.acknowledged, host.slot.status), (1, 0), "the line is let go");
        }
        let removed = driver.remove(&mut host).expect("nothing is left");
        assert_eq!((removed.findings, pages.in_use_bytes()), (vec![], 0));
    }
    let mut host = FakeHost::new(Card::blk());
    let nowhere = MmioTransport::open(&mut host, PhysAddr(0xd100_0000), LINE);
    assert!(matches!(nowhere, Err(TransportError::NotMmio { magic: u32::MAX, .. })));
}
