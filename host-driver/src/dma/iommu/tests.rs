//! The tables as the hardware walks them, and the commands as it obeys them.

use std::collections::BTreeMap;

use pcie_sim::address::PhysAddr;
use pcie_sim::spec::vtd::{fault, sl_entry};
use proptest::prelude::*;

use super::*;
use crate::dma::{CpuView, Direction, Dma, DmaApi, Mapping};
use crate::testing::card::Card;
use crate::testing::vtd::{all_entries, walk};
use crate::testing::{CARD, FakeHost, iommu, pages};

fn domain(host: &mut FakeHost, pages: &Pages, windows: &[Range<u64>]) -> (IommuUnit, Domain) {
    let unit = iommu(host, pages);
    let domain = Domain::new(host, &unit, pages, CARD, u64::MAX, windows).expect("the first one");
    (unit, domain)
}

#[track_caller]
fn map(
    host: &mut FakeHost,
    domain: &mut Domain,
    at: u64,
    len_bytes: u64,
    direction: Direction,
) -> Mapping {
    let place = std::panic::Location::caller();
    let request = crate::dma::MapRequest { buffer: PhysAddr(at), len_bytes, direction, place };
    domain.map(host, &request).expect("far from full")
}

/// What the tables must hold for these mappings, by page number.
fn expected(live: &[Mapping]) -> BTreeMap<u64, u64> {
    let mut pages = BTreeMap::new();
    for mapping in live {
        let first = mapping.bus().get() >> 12;
        let last = (mapping.bus().get() + mapping.len_bytes() - 1) >> 12;
        for nth in 0..=last - first {
            let mut entry = (mapping.buffer().get() & !0xfff) + nth * 4096;
            entry |= if mapping.direction().device_reads() { sl_entry::R } else { 0 };
            entry |= if mapping.direction().device_writes() { sl_entry::W } else { 0 };
            assert!(pages.insert(first + nth, entry).is_none(), "no two mappings share a page");
        }
    }
    pages
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![
        Just(Direction::ToDevice),
        Just(Direction::FromDevice),
        Just(Direction::Bidirectional)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// PLATFORMS.md, `x86-vtd`: the tables in host memory are the live mappings, no more, no less.
    #[test]
    fn the_tables_hold_exactly_what_is_mapped(
        steps in prop::collection::vec(
            (any::<bool>(), 0u64..0x80_0000, 1u64..0x5000, direction(), any::<prop::sample::Index>()),
            1..60,
        ),
    ) {
        let mut host = FakeHost::new(Card::blk());
        let pages = pages();
        let (unit, mut domain) = domain(&mut host, &pages, &[]);
        let top = domain.tables().expect("open").top().get();
        let mut live: Vec<Mapping> = Vec::new();
        for (give, at, bytes, direction, pick) in steps {
            if give || live.is_empty() {
                live.push(map(&mut host, &mut domain, at, bytes, direction));
            } else {
                let gone = live.swap_remove(pick.index(live.len()));
                domain.unmap(&mut host, gone).expect("mapped");
            }
            let tables = all_entries(&host.fabric.ram, top);
            prop_assert_eq!(tables.len() as u64, domain.tables().expect("open").mapped_pages());
            prop_assert_eq!(tables, expected(&live));
        }
        for mapping in live {
            domain.unmap(&mut host, mapping).expect("mapped");
        }
        prop_assert!(all_entries(&host.fabric.ram, top).is_empty());
        domain.close(&mut host).expect("the hardware is well");
        unit.shut_down(&mut host).expect("no domain is left");
        prop_assert_eq!(pages.in_use_bytes(), 0);
    }
}

#[test]
fn a_large_buffer_spans_several_last_level_tables() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let (_unit, mut domain) = domain(&mut host, &pages, &[]);
    let top = domain.tables().expect("open").top().get();
    let mapping = map(&mut host, &mut domain, 0x1_0800, 5 << 20, Direction::ToDevice);
    for offset in [0, 0x7ff, 0x800, 3 << 20, (5 << 20) - 1] {
        let entry = walk(&host.fabric.ram, top, mapping.bus().get() + offset);
        assert_eq!(entry & sl_entry::ADDRESS_MASK, (0x1_0800 + offset) & !0xfff);
    }
    domain.unmap(&mut host, mapping).expect("mapped");
    assert!(all_entries(&host.fabric.ram, top).is_empty());
}

/// The fake hardware caches each translation until it is told to forget it.
#[test]
fn after_unmap_returns_the_card_cannot_reach_the_page_any_more() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let (unit, mut domain) = domain(&mut host, &pages, &[]);
    let mapping = map(&mut host, &mut domain, 0x3000, 4096, Direction::ToDevice);
    let bus = mapping.bus().get();
    assert!(host.fabric.read::<8>(bus).is_some(), "now it is in the cache");
    assert!(!host.fabric.write(bus, &[1]), "to the device only");
    assert_eq!(unit.take_faults(&mut host)[0].reason, fault::WRITE_DENIED);
    domain.unmap(&mut host, mapping).expect("mapped");
    assert!(host.fabric.read::<8>(bus).is_none());
    let record = FaultRecord {
        requester: CARD,
        address: BusAddr(bus),
        reason: fault::READ_DENIED,
        read: true,
    };
    assert_eq!(unit.take_faults(&mut host), [record]);
}

#[test]
fn a_device_in_no_domain_reaches_nothing() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let (unit, mut domain) = domain(&mut host, &pages, &[]);
    domain.close(&mut host).expect("the hardware is well");
    assert!(host.fabric.read::<8>(0x3000).is_none());
    assert_eq!(unit.take_faults(&mut host)[0].reason, fault::CONTEXT_NOT_PRESENT);
}

#[test]
fn an_address_is_never_one_of_a_window_and_never_the_physical_one() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let window = 0xffff_0000..0x1_0000_0000;
    let (_unit, mut domain) = domain(&mut host, &pages, std::slice::from_ref(&window));
    for nth in 0..600u64 {
        let mapping = map(&mut host, &mut domain, nth * 4096, 4096, Direction::ToDevice);
        let bus = mapping.bus().get();
        assert!(bus < window.start && !(0xc000_0000..0xfef0_0000).contains(&bus), "{bus:#x}");
        assert_ne!(bus, mapping.buffer().get());
        drop(mapping);
    }
}

#[test]
fn unmapping_twice_or_what_was_never_mapped_is_an_error() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let (_unit, mut domain) = domain(&mut host, &pages, &[]);
    let mapping = map(&mut host, &mut domain, 0x3000, 4096, Direction::ToDevice);
    let place = std::panic::Location::caller();
    let request = crate::dma::MapRequest {
        buffer: PhysAddr(0x3000),
        len_bytes: 4096,
        direction: Direction::ToDevice,
        place,
    };
    let forged = Mapping::new(mapping.bus(), &request);
    domain.unmap(&mut host, mapping).expect("mapped");
    assert!(matches!(domain.unmap(&mut host, forged), Err(DmaError::NotMapped { .. })));
}

#[test]
fn hardware_that_confirms_nothing_is_an_error_and_not_a_hang() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let (_unit, mut domain) = domain(&mut host, &pages, &[]);
    let mapping = map(&mut host, &mut domain, 0x3000, 4096, Direction::ToDevice);
    host.fabric.vtd.mute = true;
    let result = domain.unmap(&mut host, mapping);
    assert!(matches!(result, Err(DmaError::Iommu(IommuError::InvalidationHung { .. }))));
}

#[test]
fn where_no_iommu_answers_none_is_brought_up() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let dmar = DmarUnit {
        registers: PhysAddr(0xfed0_0000),
        scope: None,
        reserved: Vec::new(),
        costs: IommuCosts::default(),
        mode: IommuMode::default(),
    };
    let result = IommuUnit::bring_up(&mut host, &pages, dmar);
    assert!(matches!(result, Err(IommuError::Absent { version: u32::MAX, .. })));
    assert_eq!(pages.in_use_bytes(), 0);
}

#[test]
fn coherent_memory_is_mapped_both_ways_and_given_back() {
    let mut host = FakeHost::new(Card::blk());
    let pages = pages();
    let (unit, domain) = domain(&mut host, &pages, &[]);
    let mut dma = Dma::new(Box::new(domain), None);
    let memory = dma.alloc_coherent(&mut host, 6000).expect("there is memory");
    assert!(host.fabric.write(memory.bus.get() + 5990, &[9; 10]));
    let CpuView::Ram(start) = memory.cpu else { panic!("it is RAM") };
    assert_eq!(host.fabric.ram[start.get() as usize + 5999], 9);
    dma.free_coherent(&mut host, memory).expect("given out by it");
    dma.close(&mut host).expect("the hardware is well");
    unit.shut_down(&mut host).expect("no domain is left");
    assert_eq!(pages.in_use_bytes(), 0);
}

/// A computer that notes which lines of RAM were written and not written back.
struct Noted {
    host: FakeHost,
    dirty: std::collections::BTreeSet<u64>,
    /// What was dirty when the hardware was told something.
    when_told: Vec<u64>,
}

impl Noted {
    fn lines(address: PhysAddr, len_bytes: u64) -> Range<u64> {
        address.get() / 64..(address.get() + len_bytes).div_ceil(64)
    }
}

impl pcie_sim::host::Memory for Noted {
    fn read(&mut self, address: PhysAddr, into: &mut [u8]) {
        self.host.read(address, into);
    }

    fn write(&mut self, address: PhysAddr, data: &[u8]) {
        self.dirty.extend(Self::lines(address, data.len() as u64));
        self.host.write(address, data);
    }

    fn barrier(&mut self, barrier: Barrier) {
        self.host.barrier(barrier);
    }

    fn ram_bytes(&self) -> u64 {
        self.host.ram_bytes()
    }

    fn clean(&mut self, address: PhysAddr, len_bytes: u64) {
        for line in Self::lines(address, len_bytes) {
            self.dirty.remove(&line);
        }
    }
}

impl pcie_sim::host::Bus for Noted {
    fn now(&self) -> pcie_sim::time::Instant {
        self.host.now()
    }

    fn spend(&mut self, cost: Span) {
        self.host.spend(cost);
    }

    fn config_read(&mut self, function: Bdf, offset: u16, width: Width) -> u32 {
        self.host.config_read(function, offset, width)
    }

    fn config_write(&mut self, function: Bdf, offset: u16, width: Width, value: u32) {
        self.host.config_write(function, offset, width, value);
    }

    fn mmio_read(&mut self, address: PhysAddr, width: Width) -> u64 {
        self.host.mmio_read(address, width)
    }

    fn mmio_write(&mut self, address: PhysAddr, width: Width, value: u64) {
        let told = [reg::GCMD, reg::IQT].map(|register| crate::testing::VTD + register);
        if told.contains(&address.get()) {
            self.when_told.extend(&self.dirty);
        }
        self.host.mmio_write(address, width, value);
    }

    fn mmio_write_combined(&mut self, address: PhysAddr, data: &[u8]) {
        self.host.mmio_write_combined(address, data);
    }

    fn allocate_message(&mut self) -> Option<(pcie_sim::host::Vector, pcie_sim::host::MsiMessage)> {
        self.host.allocate_message()
    }

    fn take_interrupt(&mut self) -> Option<pcie_sim::host::Vector> {
        self.host.take_interrupt()
    }

    fn wait_interrupt(
        &mut self,
        deadline: pcie_sim::time::Instant,
    ) -> Option<pcie_sim::host::Vector> {
        self.host.wait_interrupt(deadline)
    }

    fn spin_on_memory(
        &mut self,
        address: PhysAddr,
        len_bytes: usize,
        deadline: pcie_sim::time::Instant,
    ) -> bool {
        self.host.spin_on_memory(address, len_bytes, deadline)
    }
}

/// Lines other than those of the invalidation queue and its status that the hardware may not have seen.
fn unseen_when_told(blind: bool) -> usize {
    let mut host = FakeHost::new(Card::blk());
    host.fabric.vtd.blind_to_caches = blind;
    let mut host = Noted { host, dirty: Default::default(), when_told: Vec::new() };
    let pages = pages();
    let dmar = DmarUnit {
        registers: PhysAddr(crate::testing::VTD),
        scope: None,
        reserved: Vec::new(),
        costs: IommuCosts::default(),
        mode: IommuMode::default(),
    };
    let unit = IommuUnit::bring_up(&mut host, &pages, dmar).expect("it needs no coherent walks");
    let mut domain =
        Domain::new(&mut host, &unit, &pages, CARD, u64::MAX, &[]).expect("the first one");
    let place = std::panic::Location::caller();
    for nth in 0..3u64 {
        let request = crate::dma::MapRequest {
            buffer: PhysAddr(nth << 16),
            len_bytes: 3 * 4096,
            direction: Direction::ToDevice,
            place,
        };
        let mapping = domain.map(&mut host, &request).expect("far from full");
        domain.unmap(&mut host, mapping).expect("mapped");
    }
    domain.close(&mut host).expect("the hardware is well");
    // The queue and its status are the second and third page given out; the root table is the first.
    let first: u64 = (1 << 20) / 64;
    let queue = first + 64..first + 3 * 64;
    host.when_told.iter().filter(|&&line| !queue.contains(&line)).count()
}

/// VT-d, "Extended Capability Register", C: hardware that does not snoop is shown every entry before it is
/// told of it; the invalidation queue is always snooped.
#[test]
fn hardware_that_does_not_snoop_sees_every_entry_before_it_is_told() {
    assert_eq!(unseen_when_told(true), 0);
    assert!(unseen_when_told(false) > 0, "where it snoops nothing is written back");
}
