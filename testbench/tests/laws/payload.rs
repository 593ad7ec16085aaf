//! How payload is cut into requests.

use host_driver::{BlkOp, Segment};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::Bus;
use proptest::prelude::*;
use testbench::analyzer::Purpose::Payload;
use testbench::scenario::config::RunConfig;

use crate::rig::{self, CARD, Card, Dma, cell_with};

/// Bytes of the largest packet, virtio header included.
const LONGEST: usize = 12 + 9014;

/// What 4-KiB boundaries and a largest request force, and the pieces in order. The length field of a
/// request counts doublewords, begun ones whole. PCIe 5.0 §2.2.7, "Memory, I/O, and Configuration
/// Request Rules".
fn forced(address: u64, len: usize, most: usize) -> usize {
    let (mut at, end, mut requests) = (address as usize, address as usize + len, 0);
    while at < end {
        let page_end = end.min((at / 4096 + 1) * 4096);
        requests += (page_end - (at & !3)).div_ceil(most);
        at = page_end;
    }
    requests
}

/// The pieces cover the buffer once, in order, and none is larger than allowed.
fn judge(pieces: &[Dma], address: u64, len: usize, most: usize) -> Result<(), TestCaseError> {
    let mut at = address;
    for piece in pieces {
        prop_assert_eq!(piece.address, at);
        let whole = (piece.address as usize & 3) + piece.len;
        prop_assert!(whole.next_multiple_of(4) <= most, "{piece:?}");
        prop_assert!((piece.address as usize & 0xfff) + piece.len <= 4096, "{piece:?}");
        at += piece.len as u64;
    }
    prop_assert_eq!(at, address + len as u64);
    prop_assert_eq!(pieces.len(), forced(address, len, most));
    Ok(())
}

fn payload(dma: Vec<Dma>, write: bool) -> Vec<Dma> {
    dma.into_iter().filter(|dma| dma.write == write && dma.purpose == Payload).collect()
}

fn size() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![128_u16, 256, 512, 1024, 2048, 4096])
}

fn reads(card: Card, config: &RunConfig, len: usize, offset: u64) -> Result<(), TestCaseError> {
    let mut rig = rig::net(config, &card);
    let sent = rig.send(len, offset);
    let pieces = payload(rig.dma(), false);
    let address = pieces.first().map_or(0, |first| first.address);
    prop_assert_eq!(address & 0xfff, sent.get() & 0xfff, "a mapping keeps the place in the page");
    judge(&pieces, address, len, config.slot.mrrs_bytes.into())?;
    prop_assert_eq!(rig.machine.tap.analyzer.violations(), &[]);
    Ok(())
}

/// A disk's sector read into memory: what is written is the data, then the status byte.
fn writes(
    card: Card,
    config: &RunConfig,
    sectors: usize,
    offset: u64,
) -> Result<(), TestCaseError> {
    let mut rig = rig::blk(config, &card);
    let len = sectors * 512;
    let page = rig.buffer(&vec![0; len + 4096]);
    rig.forget();
    let segment = Segment { address: page + offset, len: len as u32 };
    prop_assert_eq!(rig.command(BlkOp::Read, 0, &[segment]), 0);
    let mut pieces = payload(rig.dma(), true);
    prop_assert_eq!(pieces.pop().map(|status| status.len), Some(1));
    let address = pieces.first().map_or(0, |first| first.address);
    prop_assert_eq!(PhysAddr(address & 0xfff), PhysAddr(offset));
    judge(&pieces, address, len, config.slot.mps_bytes.into())?;
    prop_assert_eq!(rig.machine.tap.analyzer.violations(), &[]);
    prop_assert!(rig.machine.now() < rig.deadline());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// PCIe 5.0 §2.2.7: no request crosses 4 KiB, none is longer than Max_Read_Request_Size.
    #[test]
    fn a_payload_costs_as_many_reads_as_page_boundaries_and_mrrs_force(
        len in prop_oneof![13..200_usize, 13..=LONGEST],
        offset in prop_oneof![(0..1024_u64).prop_map(|dword| dword * 4), 0..4096_u64],
        mrrs in size(),
        platform in prop::sample::select(vec!["x86-noiommu", "x86-vtd"]),
    ) {
        let link = format!("[link]\nmrrs = {mrrs}\n");
        let config = cell_with(platform, "net", "host", "direct", false, &link);
        reads(CARD, &config, len, offset)?;
    }

    /// PCIe 5.0 §2.2.2: no payload is longer than Max_Payload_Size.
    #[test]
    fn an_answer_costs_as_many_writes_as_page_boundaries_and_mps_force(
        sectors in 1..=16_usize,
        offset in prop_oneof![(0..1024_u64).prop_map(|dword| dword * 4), 0..4096_u64],
        mps in size(),
        platform in prop::sample::select(vec!["x86-noiommu", "x86-vtd"]),
    ) {
        let link = format!("[link]\nmps = {mps}\n");
        let config = cell_with(platform, "blk", "host", "direct", false, &link);
        writes(CARD, &config, sectors, offset)?;
    }
}

/// PCIe 5.0 §7.5.3.4, "Device Control Register": what a scenario asks for is what firmware sets.
#[test]
fn the_sizes_of_a_scenario_reach_the_card() {
    for (mps, mrrs) in [(128, 4096), (512, 128), (1024, 512), (4096, 2048)] {
        let link = format!("[link]\nmps = {mps}\nmrrs = {mrrs}\n");
        let config = cell_with("x86-noiommu", "blk", "host", "direct", false, &link);
        let rig = rig::blk(&config, &CARD);
        let shadow = rig.machine.tap.analyzer.config().expect("firmware was there");
        let limits = shadow.limits().expect("Device Control was written");
        assert_eq!((limits.payload, limits.read_request), (mps, mrrs));
    }
}
