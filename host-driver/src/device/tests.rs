//! Drivers on the scripted card.

use pcie_sim::address::PhysAddr;
use pcie_sim::host::Memory;
use pcie_sim::spec::features;
use pcie_sim::spec::virtio_pci::status;
use pcie_sim::spec::vtd::fault;

use super::*;
use crate::dma::debug::Finding;
use crate::testing::card::Card;
use crate::testing::{CARD, FakeHost, context, iommu, is_bus_master, pages};
use crate::transport::TransportError;
use crate::virtqueue::Segment;
use crate::{BlkDone, BlkDriver, BlkOp, BlkRequest, NetDriver, NetEvents};

/// Far up in the heap, where no test's allocations reach.
const BUFFER: PhysAddr = PhysAddr(0xe0_0010);

fn blk(op: BlkOp, sector: u64, segments: &[Segment]) -> BlkRequest<'_> {
    BlkRequest { op, sector, segments }
}

fn data(len: u32) -> [Segment; 1] {
    [Segment { address: BUFFER, len }]
}

fn every_config() -> Vec<DriverConfig> {
    let mut all = Vec::new();
    for placement in [Placement::Host, Placement::Card, Placement::Hybrid] {
        for indirect in [Indirect::Never, Indirect::Chains, Indirect::Always] {
            for event_idx in [false, true] {
                for completion in [CompletionMode::Interrupt, CompletionMode::Poll] {
                    let queue_size = 8;
                    let config = DriverConfig::default();
                    all.push(DriverConfig {
                        placement,
                        indirect,
                        event_idx,
                        completion,
                        queue_size,
                        ..config
                    });
                }
            }
        }
    }
    all
}

fn finish(host: &mut FakeHost, driver: &mut BlkDriver) -> BlkDone {
    let deadline = host.soon();
    assert_eq!(driver.wait(host, deadline), Ok(true));
    let mut done = Vec::new();
    assert_eq!(driver.poll(host, &mut done), Ok(1));
    done[0]
}

fn round_trip(config: DriverConfig, translated: bool) {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let unit = translated.then(|| iommu(&mut host, &pages));
    let at_boot = pages.in_use_bytes();
    let context = context(&mut host, &pages, unit.as_ref(), config);
    let mut driver = BlkDriver::probe(&mut host, context).expect("the card is good");
    assert_eq!(driver.ops_name(), if translated { "iommu" } else { "direct" });
    for round in 0..20u64 {
        let pattern = vec![round as u8 + 1; 4096];
        host.write(BUFFER, &pattern);
        driver.submit(&mut host, &blk(BlkOp::Write, round, &data(4096)), round).expect("room");
        driver.kick(&mut host);
        assert_eq!(
            finish(&mut host, &mut driver),
            BlkDone { token: round, status: 0, written_len: 1 }
        );
        host.write(BUFFER, &[0; 4096]);
        driver.submit(&mut host, &blk(BlkOp::Read, round, &data(4096)), round).expect("room");
        driver.kick(&mut host);
        assert_eq!(finish(&mut host, &mut driver).written_len, 4097);
        let mut back = vec![0; 4096];
        host.read(BUFFER, &mut back);
        assert_eq!(back, pattern);
    }
    let removed = driver.remove(&mut host).expect("nothing is left");
    assert_eq!((removed.unfinished, removed.findings), (vec![], vec![]));
    let counters = removed.counters;
    assert_eq!((counters.requests, counters.completed, counters.descriptors), (40, 40, 120));
    assert_eq!((counters.dma.maps, counters.dma.failed_maps), (counters.dma.unmaps, 0));
    let context_table = if translated { 4096 } else { 0 };
    assert_eq!(
        pages.in_use_bytes(),
        at_boot + context_table,
        "the bus's context table stays, nothing else"
    );
    assert!(!is_bus_master(&host.card.config));
    if let Some(unit) = unit {
        assert!(unit.take_faults(&mut host).is_empty());
        unit.shut_down(&mut host).expect("no domain is left");
    }
    assert_eq!(pages.in_use_bytes(), 0);
}

/// PLATFORMS.md, "Where rings and buffers live": the driver is the same wherever they do.
#[test]
fn blocks_come_back_through_every_ring_placement_and_format() {
    for config in every_config() {
        round_trip(config, false);
    }
}

/// PLATFORMS.md, `x86-vtd`.
#[test]
fn blocks_come_back_through_an_iommu() {
    for config in every_config() {
        round_trip(config, true);
    }
}

fn probe_blk(host: &mut FakeHost, config: DriverConfig) -> (Result<BlkDriver, ProbeError>, Pages) {
    let pages = pages();
    let context = context(host, &pages, None, config);
    (BlkDriver::probe(host, context), pages)
}

/// INIT-DRV-01, FEAT-DRV-07.
#[test]
fn the_status_bits_are_set_in_order_and_unknown_features_are_left_alone() {
    let mut host = FakeHost::new(Card::blk());
    let (driver, _) = probe_blk(&mut host, DriverConfig::default());
    driver.expect("an unknown feature harms nobody");
    assert_eq!(host.card.status_log, [0, 1, 3, 11, 15]);
    assert_eq!(host.card.accepted & (1 << 60), 0);
    assert_ne!(host.card.accepted & features::ACCESS_PLATFORM, 0);
}

/// INIT-DRV-05, -06.
#[test]
fn a_card_that_refuses_the_features_is_given_up() {
    let mut host = FakeHost::new(Card::blk());
    host.card.script.refuse_features = true;
    let (result, pages) = probe_blk(&mut host, DriverConfig::default());
    assert!(matches!(result, Err(ProbeError::FeaturesRefused { .. })));
    assert_ne!(host.card.status & status::FAILED, 0);
    assert_eq!(pages.in_use_bytes(), 0);
    assert!(!is_bus_master(&host.card.config));
}

/// PCI-CC-DRV-05: a reset is awaited, for a bounded time.
#[test]
fn a_reset_that_never_ends_is_an_error() {
    let mut host = FakeHost::new(Card::blk());
    host.card.script.stuck_reset = true;
    host.card.status = 7;
    let (result, _) = probe_blk(&mut host, DriverConfig::default());
    assert_eq!(
        result.err(),
        Some(ProbeError::Transport(TransportError::ResetTimeout { status: 7 }))
    );
}

/// PCI-MSIX-DRV-05.
#[test]
fn a_vector_that_does_not_read_back_is_an_error_and_nothing_leaks() {
    let mut host = FakeHost::new(Card::blk());
    host.card.script.refuse_vectors = true;
    let (result, pages) = probe_blk(&mut host, DriverConfig::default());
    assert!(matches!(result, Err(ProbeError::Transport(TransportError::VectorRefused { .. }))));
    assert_eq!(pages.in_use_bytes(), 0);
}

/// PCI-MSIX-DRV-01, PCI-CCN-DRV-01: all events share the one vector there is.
#[test]
fn a_table_of_a_single_vector_serves_all_events() {
    let mut host = FakeHost::new(Card::net());
    host.card.config[0x42] = 0;
    let pages = pages();
    let context = context(&mut host, &pages, None, DriverConfig::default());
    let mut driver =
        NetDriver::probe(&mut host, context, net::NetOptions::default()).expect("good");
    driver.send(&mut host, BUFFER, 64, 1).expect("room");
    driver.kick(&mut host);
    let deadline = host.soon();
    assert_eq!(driver.wait(&mut host, deadline), Ok(true));
    host.card.status |= status::DEVICE_NEEDS_RESET;
    driver.poll(&mut host, &mut NetEvents::default()).expect("two packets");
    host.pending.push_back(pcie_sim::host::Vector(1));
    assert!(matches!(driver.wait(&mut host, deadline), Err(DriverError::NeedsReset { .. })));
}

/// STAT-DRV-04.
#[test]
fn after_a_restart_packets_flow_again_and_held_ones_stay_the_callers() {
    let mut host = FakeHost::new(Card::net());
    let pages = pages();
    let context =
        context(&mut host, &pages, None, DriverConfig { queue_size: 4, ..DriverConfig::default() });
    let mut driver =
        NetDriver::probe(&mut host, context, net::NetOptions::default()).expect("good");
    let mut events = NetEvents::default();
    for token in 0..2 {
        driver.send(&mut host, BUFFER, 64, token).expect("room");
    }
    driver.kick(&mut host);
    driver.poll(&mut host, &mut events).expect("packets");
    assert_eq!(events.received.len(), 2);
    host.card.script.hold = true;
    driver.send(&mut host, BUFFER, 64, 9).expect("room");
    assert_eq!(driver.restart(&mut host), Ok(vec![9]));
    host.card.script.hold = false;
    for packet in events.received.drain(..) {
        driver.recycle(&mut host, packet).expect("its place in the queue is free");
    }
    driver.send(&mut host, BUFFER, 64, 10).expect("room");
    driver.kick(&mut host);
    driver.poll(&mut host, &mut events).expect("packets");
    assert_eq!((events.sent, events.received.len()), (vec![0, 1, 10], 1));
    let removed = driver.remove(&mut host).expect("nothing is left");
    assert_eq!((removed.findings, pages.in_use_bytes()), (vec![], 0));
}

/// CFGSP-DRV-02.
#[test]
fn a_configuration_that_never_rests_is_an_error() {
    let mut host = FakeHost::new(Card::blk());
    host.card.script.restless_config = true;
    let (result, pages) = probe_blk(&mut host, DriverConfig::default());
    assert_eq!(result.err(), Some(ProbeError::Transport(TransportError::UnstableConfig)));
    assert_eq!(pages.in_use_bytes(), 0);
}

#[test]
fn rings_on_the_card_need_a_card_with_memory() {
    let mut host = FakeHost::new(Card::blk());
    host.card.config[0xa8 + 3] = 0x78;
    let config = DriverConfig { placement: Placement::Hybrid, ..DriverConfig::default() };
    let (result, pages) = probe_blk(&mut host, config);
    assert_eq!(
        result.err(),
        Some(ProbeError::Placement(crate::virtqueue::placement::PlacementError::NoWindow))
    );
    assert_eq!(pages.in_use_bytes(), 0);
}

/// STAT-DRV-04, DEVICE_NEEDS_RESET.
#[test]
fn a_card_that_needs_a_reset_is_started_again_and_the_lost_requests_are_named() {
    let mut host = FakeHost::new(Card::blk());
    let (driver, _) = probe_blk(&mut host, DriverConfig::default());
    let mut driver = driver.expect("the card is good");
    host.card.script.needs_reset_at_doorbell = true;
    for token in [70, 71] {
        driver.submit(&mut host, &blk(BlkOp::Read, 0, &data(512)), token).expect("room");
    }
    driver.kick(&mut host);
    let deadline = host.soon();
    assert!(matches!(driver.wait(&mut host, deadline), Err(DriverError::NeedsReset { .. })));
    host.card.script.needs_reset_at_doorbell = false;
    let mut lost = driver.restart(&mut host).expect("the reset helps");
    lost.sort_unstable();
    assert_eq!(lost, [70, 71]);
    assert_eq!(driver.dma_debug().map(|debug| debug.live()), Some(0), "all was unmapped");
    driver.submit(&mut host, &blk(BlkOp::Read, 0, &data(512)), 72).expect("room");
    driver.kick(&mut host);
    assert_eq!(finish(&mut host, &mut driver).token, 72);
}

/// PLATFORMS.md, `x86-vtd`: without ACCESS_PLATFORM each DMA faults, the record names requester,
/// address and reason, memory is untouched.
#[test]
fn physical_addresses_fault_behind_an_iommu() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let unit = iommu(&mut host, &pages);
    let at_boot = pages.in_use_bytes();
    let config = DriverConfig { accept_access_platform: false, ..DriverConfig::default() };
    let context = context(&mut host, &pages, Some(&unit), config);
    let mut driver = BlkDriver::probe(&mut host, context).expect("probing needs no DMA");
    assert_eq!(driver.ops_name(), "direct");
    host.write(BUFFER, &[7; 512]);
    driver.submit(&mut host, &blk(BlkOp::Read, 0, &data(512)), 1).expect("room");
    driver.kick(&mut host);
    let deadline = host.soon();
    assert_eq!(driver.wait(&mut host, deadline), Ok(false), "the card cannot even see the ring");
    let faults = unit.take_faults(&mut host);
    assert_eq!(
        (faults[0].requester, faults[0].reason, faults[0].read),
        (CARD, fault::READ_DENIED, true)
    );
    assert!(unit.take_faults(&mut host).is_empty(), "taken once");
    let mut back = [0; 512];
    host.read(BUFFER, &mut back);
    assert_eq!(back, [7; 512]);
    assert_eq!(driver.remove(&mut host).expect("nothing is left").unfinished, [1]);
    assert_eq!(pages.in_use_bytes(), at_boot + 4096, "the bus's context table stays, nothing else");
}

/// BLK-REQ-DRV-02, -04, -06, -08, -19.
#[test]
fn requests_that_break_the_rules_of_the_disk_are_refused() {
    let mut host = FakeHost::new(Card::blk());
    let (driver, _) = probe_blk(&mut host, DriverConfig::default());
    let mut driver = driver.expect("the card is good");
    let [odd, id, long] = [data(511), data(21), data(1024)];
    let bad = [
        blk(BlkOp::Read, 0, &[]),
        blk(BlkOp::Write, 0, &odd),
        blk(BlkOp::Flush, 1, &[]),
        blk(BlkOp::GetId, 0, &id),
        blk(BlkOp::Read, 63, &long),
        blk(BlkOp::Discard { sectors: 33 }, 0, &[]),
        blk(BlkOp::WriteZeroes { sectors: 1, unmap: false }, 0, &[]),
    ];
    for request in &bad {
        assert!(driver.submit(&mut host, request, 0).is_err(), "{request:?}");
    }
    driver.submit(&mut host, &blk(BlkOp::Discard { sectors: 32 }, 0, &[]), 5).expect("offered");
    driver.submit(&mut host, &blk(BlkOp::Flush, 0, &[]), 6).expect("offered");
    assert_eq!((driver.outstanding(), driver.counters().descriptors), (2, 5));
}

/// PLATFORMS.md, rule 9.
#[test]
fn touching_a_buffer_that_the_card_owns_is_reported_with_the_place_that_mapped_it() {
    let mut host = FakeHost::new(Card::blk());
    let (driver, _) = probe_blk(&mut host, DriverConfig::default());
    let mut driver = driver.expect("the card is good");
    let line = line!() + 1;
    driver.submit(&mut host, &blk(BlkOp::Read, 0, &data(512)), 1).expect("room");
    let debug = driver.dma_debug().expect("it is on");
    debug.watch(&mut host).read(BUFFER + 511, &mut [0; 2]);
    debug.watch(&mut host).read(BUFFER + 512, &mut [0; 2]);
    let findings = debug.findings();
    let [Finding::CpuAccess { address, write: false, mapped_at, .. }] = findings[..] else {
        panic!("one read: {findings:?}");
    };
    assert_eq!((address, mapped_at.file(), mapped_at.line()), (BUFFER + 511, file!(), line));
}

#[test]
fn packets_come_back_through_every_ring_placement_and_format() {
    for (nth, config) in every_config().into_iter().enumerate() {
        let mut host = FakeHost::new(Card::net());
        let pages = pages();
        let unit = (nth % 3 == 0).then(|| iommu(&mut host, &pages));
        let context = context(&mut host, &pages, unit.as_ref(), config);
        let header_in_buffer = nth % 2 == 0;
        let options = net::NetOptions { header_in_buffer, ..net::NetOptions::default() };
        let mut driver = NetDriver::probe(&mut host, context, options).expect("the card is good");
        assert_eq!(driver.identity().mac, Some([2, 0, 0, 0, 0, 7]));
        for round in 0..30u64 {
            let packet = vec![round as u8; 100 + round as usize];
            host.write(BUFFER, &packet);
            driver.send(&mut host, BUFFER, packet.len() as u32, round).expect("room");
            driver.kick(&mut host);
            let deadline = host.soon();
            assert_eq!(driver.wait(&mut host, deadline), Ok(true));
            let mut events = NetEvents::default();
            assert_eq!(driver.poll(&mut host, &mut events), Ok(2), "{config:?}");
            assert_eq!(events.sent, [round]);
            for received in events.received {
                let mut back = vec![0; received.len as usize];
                host.read(received.address, &mut back);
                assert_eq!(back, packet);
                driver.recycle(&mut host, received).expect("its descriptor is free again");
            }
        }
        let per_packet = if header_in_buffer { 1 } else { 2 };
        assert_eq!(driver.counters().descriptors, 30 * per_packet + 8 + 30);
        let removed = driver.remove(&mut host).expect("nothing is left");
        assert_eq!((removed.unfinished, removed.findings), (vec![], vec![]));
        unit.into_iter().for_each(|unit| unit.shut_down(&mut host).expect("no domain is left"));
        assert_eq!(pages.in_use_bytes(), 0);
    }
}

/// The number of CPU reads over the link is what rings on the card cost.
#[test]
fn taking_one_completion_from_a_ring_on_the_card_costs_three_reads() {
    let mut host = FakeHost::new(Card::blk());
    let config = DriverConfig {
        placement: Placement::Card,
        completion: CompletionMode::Poll,
        ..DriverConfig::default()
    };
    let (driver, _) = probe_blk(&mut host, config);
    let mut driver = driver.expect("the card is good");
    driver.submit(&mut host, &blk(BlkOp::Read, 0, &data(512)), 1).expect("room");
    driver.kick(&mut host);
    let before = host.mmio_reads;
    finish(&mut host, &mut driver);
    // The index, one element of 8 bytes, and the index again to see that there is no more.
    assert_eq!(host.mmio_reads - before, 3);
}
