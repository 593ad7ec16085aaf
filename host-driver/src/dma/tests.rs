//! The DMA API and its watcher.

use std::rc::Rc;

use pcie_sim::address::{Bdf, BusAddr, PhysAddr};
use pcie_sim::host::Memory;

use super::debug::{DmaDebug, Finding};
use super::direct::Direct;
use super::select::{DeviceFacts, PlatformDma, Translation, dma_mask, select};
use super::*;
use crate::pages::Pages;
use crate::testing::card::Card;
use crate::testing::flaky::{Flaky, Strings};
use crate::testing::{CARD, FakeHost, iommu, pages};

const BUFFER: PhysAddr = PhysAddr(0x4_0000);

fn direct() -> (FakeHost, Dma, DmaDebug) {
    let debug = DmaDebug::new();
    let dma = Dma::new(Box::new(Direct::new(pages(), u64::MAX)), Some(debug.clone()));
    (FakeHost::new(Card::blk()), dma, debug)
}

/// A mapping that nobody made, as a faulty driver might hold it.
#[track_caller]
fn forged(buffer: PhysAddr, len_bytes: u64, direction: Direction) -> Mapping {
    let place = Location::caller();
    Mapping::new(BusAddr(buffer.get()), &MapRequest { buffer, len_bytes, direction, place })
}

/// PLATFORMS.md, rule 9.
#[test]
fn unmapping_what_is_not_mapped_so_is_reported() {
    let (mut host, mut dma, debug) = direct();
    let _first = dma.map(&mut host, BUFFER, 100, Direction::ToDevice).expect("direct");
    dma.unmap(&mut host, forged(BUFFER, 101, Direction::FromDevice))
        .expect("direct ops do not care");
    dma.unmap(&mut host, forged(BUFFER, 100, Direction::ToDevice)).expect("direct ops do not care");
    let findings = debug.findings();
    assert!(matches!(findings[0], Finding::WrongLength { bytes: 100, unmapped_bytes: 101, .. }));
    assert!(matches!(findings[1], Finding::WrongDirection { unmapped: Direction::FromDevice, .. }));
    assert!(matches!(findings[2], Finding::NotMapped { bytes: 100, .. }));
    assert_eq!(findings.len(), 3);
}

#[test]
fn what_is_still_mapped_when_the_device_goes_is_a_leak_with_its_place() {
    let (mut host, mut dma, debug) = direct();
    let line = line!() + 1;
    let _lost = dma.map(&mut host, BUFFER, 100, Direction::ToDevice).expect("direct");
    let _ring = dma.alloc_coherent(&mut host, 4096).expect("there is memory");
    dma.close(&mut host).expect("direct ops hold nothing");
    let findings = debug.findings();
    assert!(
        matches!(findings[0], Finding::Leak { bytes: 100, mapped_at, .. } if mapped_at.line() == line)
    );
    assert!(matches!(findings[1], Finding::CoherentLeak { bytes: 4096, .. }));
    assert!(findings[0].to_string().contains(file!()));
}

#[test]
fn a_synced_buffer_is_the_cpus_until_it_is_given_back() {
    let (mut host, mut dma, debug) = direct();
    let mapping = dma.map(&mut host, BUFFER, 4096, Direction::FromDevice).expect("direct");
    dma.sync_for_cpu(&mut host, &mapping);
    debug.watch(&mut host).read(BUFFER, &mut [0; 8]);
    assert_eq!(debug.count(), 0);
    dma.sync_for_device(&mut host, &mapping);
    debug.watch(&mut host).write(BUFFER + 4090, &[0; 8]);
    assert!(matches!(debug.findings()[..], [Finding::CpuAccess { write: true, .. }]));
    dma.unmap(&mut host, mapping).expect("mapped");
    debug.watch(&mut host).write(BUFFER, &[0; 8]);
    assert_eq!((debug.count(), dma.stats().syncs), (1, 2));
}

/// What the card only reads may be read by the CPU too, and not written.
#[test]
fn reading_a_buffer_that_is_being_sent_is_allowed() {
    let (mut host, mut dma, debug) = direct();
    let mapping = dma.map(&mut host, BUFFER, 64, Direction::ToDevice).expect("direct");
    debug.watch(&mut host).read(BUFFER, &mut [0; 8]);
    assert_eq!(debug.count(), 0);
    debug.watch(&mut host).write(BUFFER, &[0; 8]);
    assert_eq!(debug.count(), 1);
    dma.unmap(&mut host, mapping).expect("mapped");
}

/// PLATFORMS.md, rule 6.
#[test]
fn the_dma_mask_is_64_bits_else_32_else_a_warning() {
    assert_eq!(dma_mask(None), (u64::MAX, None));
    assert_eq!(dma_mask(Some(40)), (0xffff_ffff, None));
    let (mask, warning) = dma_mask(Some(24));
    assert_eq!((mask, warning.is_some()), (0xff_ffff, true));
    let mut host = FakeHost::new(Card::blk());
    let mut dma = Dma::new(Box::new(Direct::new(pages(), mask)), None);
    let result = dma.map(&mut host, PhysAddr(0xff_fff0), 17, Direction::ToDevice);
    assert!(matches!(result, Err(DmaError::BeyondMask { .. })));
    dma.map(&mut host, PhysAddr(0xff_fff0), 16, Direction::ToDevice).map(drop).expect("just fits");
}

#[test]
fn an_empty_or_endless_buffer_is_refused() {
    let (mut host, mut dma, _) = direct();
    for (address, bytes) in [(BUFFER, 0), (PhysAddr(u64::MAX), 2)] {
        let result = dma.map(&mut host, address, bytes, Direction::ToDevice);
        assert_eq!(result, Err(DmaError::BadLength { address, bytes }));
    }
}

/// PLATFORMS.md, rules 1 to 3.
#[test]
fn the_platform_and_the_negotiated_feature_choose_the_ops_in_one_place() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let unit = iommu(&mut host, &pages);
    let translated =
        PlatformDma { translation: Translation::Iommu(unit.clone()), ..PlatformDma::default() };
    let hook_pages = pages.clone();
    let hooked = PlatformDma {
        hook: Some(Rc::new(move |_: &mut dyn Host, _: &Pages, _: &DeviceFacts| {
            Ok(Some(Box::new(Flaky::new(&hook_pages, &Strings::default())) as Box<dyn DmaApi>))
        })),
        ..translated.clone()
    };
    let none = PlatformDma { translation: Translation::NoDmaApi, ..PlatformDma::default() };
    let elsewhere = Bdf::new(2, 0, 0);
    let cases = [
        (&PlatformDma::default(), true, CARD, Some("direct")),
        (&PlatformDma::default(), false, CARD, Some("direct")),
        (&translated, true, CARD, Some("iommu")),
        (&translated, false, CARD, Some("direct")),
        (&translated, true, elsewhere, Some("iommu")),
        (&hooked, true, CARD, Some("flaky")),
        (&none, true, CARD, None),
        (&none, false, CARD, Some("direct")),
    ];
    for (platform, access_platform, requester, expected) in cases {
        let facts = DeviceFacts {
            requester: Some(requester),
            access_platform,
            bounce: Default::default(),
            mask: u64::MAX,
            bypassing_hypervisor: false,
        };
        let chosen = select(&mut host, &pages, platform, &facts, &[], None);
        assert_eq!(chosen.as_ref().ok().map(Dma::ops_name), expected);
        match chosen {
            Ok(dma) => dma.close(&mut host).expect("nothing is mapped"),
            Err(error) => assert_eq!(error, DmaError::NoDmaApi),
        }
    }
    unit.shut_down(&mut host).expect("all devices have left");
    assert_eq!(pages.in_use_bytes(), 0);
}
