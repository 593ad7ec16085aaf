//! `x86-vtd`: every address is an IOVA, mapped for as long as the card has it, in the right direction;
//! what is aimed elsewhere is recorded and touches nothing.

use std::cell::Cell;
use std::rc::Rc;

use host_driver::{BlkDriver, BlkOp, Segment};
use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::endpoint::Direction;
use pcie_sim::host::{Bus, Width};
use pcie_sim::iommu::DmaKind;
use pcie_sim::link::faults::Redirect;
use pcie_sim::root::Refusal;
use pcie_sim::tlp::Tlp;
use testbench::analyzer::{Purpose, Role};
use testbench::bench::run_with;

use crate::rig::{self, CARD, Card, Rig, cell, cell_with};
use crate::tables::{REGISTERS, Tables};

/// Descriptor flags. Virtio 1.4 §2.7.5.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A descriptor as the card was given it.
#[derive(Debug, Clone, Copy)]
struct Given {
    address: u64,
    len: usize,
    flags: u16,
    next: u16,
}

fn descriptors(bytes: &[u8]) -> Vec<Given> {
    let of = |desc: &[u8; 16]| Given {
        address: u64::from_le_bytes(desc[0..8].try_into().expect("8")),
        len: u32::from_le_bytes(desc[8..12].try_into().expect("4")) as usize,
        flags: u16::from_le_bytes(desc[12..14].try_into().expect("2")),
        next: u16::from_le_bytes(desc[14..16].try_into().expect("2")),
    };
    bytes.as_chunks::<16>().0.iter().map(of).collect()
}

/// Descriptors in the completions of the log: what the card was told, as it was told.
fn given(rig: &Rig<BlkDriver>) -> Vec<Given> {
    let mut given = Vec::new();
    for seen in rig.log().iter().filter(|seen| seen.direction == Direction::Downstream) {
        let table = Role::Dma(Purpose::IndirectTable);
        if let Tlp::Completion(completion) = &seen.tlp
            && (seen.role == Role::Dma(Purpose::Descriptor) || seen.role == table)
        {
            given.extend(descriptors(&completion.data));
        }
    }
    given
}

fn addresses_are_mapped(card: Card) {
    for layout in ["direct", "indirect"] {
        for event_idx in [false, true] {
            let mut rig = rig::blk(&cell("x86-vtd", "blk", "host", layout, event_idx), &card);
            let card_at = rig.card;
            let tables = Tables::of(&mut rig, card_at);
            for (op, len) in [(BlkOp::Write, 512), (BlkOp::Read, 3 * 4096), (BlkOp::Write, 8192)] {
                one_command(&mut rig, &tables, op, len);
            }
            let mut bench = rig.bench;
            let queue = *bench.machine.tap.analyzer.registers().queue(0).expect("set up");
            rig.driver.remove(&mut bench.machine).expect("the driver goes");
            let mut ring = [queue.desc, queue.driver, queue.device].into_iter();
            assert!(ring.all(|area| tables.page(&bench, area).is_none()), "rings stay mapped");
        }
    }
}

fn one_command(rig: &mut Rig<BlkDriver>, tables: &Tables, op: BlkOp, len: usize) {
    let buffer = rig.buffer(&vec![0x77; len + 100]) + 100;
    rig.forget();
    let looked_up = |rig: &Rig<BlkDriver>| rig.iotlb().hits + rig.iotlb().misses;
    let before = looked_up(rig);
    rig.submit(op, 8, &[Segment { address: buffer, len: len as u32 }], 1);
    // The CPU stands still, and with it the tables, while the card does all of its work.
    rig.rest();
    let queue = rig.queue(0);
    for (area, write) in [(queue.desc, false), (queue.driver, false), (queue.device, true)] {
        tables.allow(rig, area, 4096, write);
    }
    let given = given(rig);
    assert!(given.len() >= 3, "header, data, status: {given:?}");
    for desc in given.iter().filter(|desc| desc.flags & INDIRECT == 0) {
        assert!(desc.flags & NEXT != 0 || desc.next == 0);
        let places = tables.allow(rig, desc.address, desc.len, desc.flags & WRITE != 0);
        assert_ne!(places[0], desc.address, "a bus address is not the physical one");
    }
    for table in given.iter().filter(|desc| desc.flags & INDIRECT != 0) {
        tables.allow(rig, table.address, table.len, false);
    }
    let dma = rig.dma();
    let to_memory = dma.iter().filter(|dma| dma.purpose != Purpose::MsiX);
    let mut translated = 0;
    for dma in to_memory {
        tables.allow(rig, dma.address, dma.len, dma.write);
        translated += 1;
    }
    assert_eq!(looked_up(rig) - before, translated, "every DMA goes through the IOMMU");
    assert_eq!(rig.finish(1).expect("the driver runs")[0].status, 0);
    for desc in given {
        assert_eq!(tables.page(rig, desc.address), None, "given back, and no longer mapped");
    }
    rig.assert_clean();
}

/// VT-d, "Second-Stage Translation"; PLATFORMS.md, row `x86-vtd` and rule 5.
#[test]
fn every_address_the_card_is_given_is_an_iova_mapped_in_its_direction_until_it_is_given_back() {
    addresses_are_mapped(CARD);
}

/// Where stray DMA goes: a bus address that nothing is mapped at, with RAM at the physical address of
/// that number.
const NOWHERE: u64 = 0x0060_0000;

type Aim = Rc<Cell<Option<(u64, u64)>>>;

/// A blk rig whose card sends what is meant for the bus addresses in `aim` to [`NOWHERE`].
fn stray(card: Card) -> (Rig<BlkDriver>, Aim) {
    let aim = Aim::default();
    let small = "[host]\nram = \"16 MiB\"\n[card]\nqueue_size = 16\n";
    let config = cell_with("x86-vtd", "blk", "host", "direct", false, small);
    let make = |config: &_, parameters| {
        let aim = Rc::clone(&aim);
        let elsewhere = move |_, address: u64| match aim.get() {
            Some((start, end)) if (start..end).contains(&address) => NOWHERE + address - start,
            _ => address,
        };
        Ok(card(config, parameters)?.behind(|card| Redirect::new(card, elsewhere)))
    };
    let rig = rig::blk(&config, &make);
    (rig, aim)
}

/// The data descriptor of the command that was submitted last, read where the driver put it.
fn data_descriptor(rig: &mut Rig<BlkDriver>, tables: &Tables, len: usize) -> Given {
    let table = rig.queue(0).desc;
    let at = tables.page(rig, table).expect("the descriptor table is mapped").at;
    let bytes = rig.ram(PhysAddr(at), 16 * 16);
    let found = descriptors(&bytes)
        .into_iter()
        .find(|desc| desc.len == len && tables.page(rig, desc.address).is_some());
    found.expect("the data is in the ring")
}

fn ram_image(rig: &Rig<BlkDriver>) -> Vec<u8> {
    let ram = &rig.machine.root.ram;
    ram.slice(PhysAddr(0), ram.size_bytes() as usize).expect("RAM").to_vec()
}

/// One command whose data goes astray. Gives its status.
fn astray(rig: &mut Rig<BlkDriver>, aim: &Aim, op: BlkOp, data: &[u8]) -> u8 {
    let card = rig.card;
    let tables = Tables::of(rig, card);
    assert_eq!(tables.page(rig, NOWHERE), None, "nothing is mapped there");
    let buffer = rig.buffer(data);
    let mut bytes = ram_image(rig);
    let target = NOWHERE as usize..NOWHERE as usize + data.len();
    rig.machine.root.ram.slice_mut(PhysAddr(NOWHERE), data.len()).expect("RAM").fill(0xa5);
    rig.submit(op, 0, &[Segment { address: buffer, len: data.len() as u32 }], 1);
    let desc = data_descriptor(rig, &tables, data.len());
    aim.set(Some((desc.address, desc.address + desc.len as u64)));
    rig.forget();
    let before = rig.machine.root.refused_count();
    bytes.clone_from(&ram_image(rig));
    rig.rest();
    aim.set(None);
    // What changed in RAM is what the card was allowed to write, to the byte.
    for dma in rig.dma().iter().filter(|dma| dma.write && dma.purpose != Purpose::MsiX) {
        if !(NOWHERE..NOWHERE + data.len() as u64).contains(&dma.address) {
            let place = tables.allow(rig, dma.address, dma.len, true)[0] as usize;
            let now = rig.ram(PhysAddr(place as u64), dma.len);
            bytes[place..place + dma.len].copy_from_slice(&now);
        }
    }
    let after = ram_image(rig);
    assert!(bytes == after, "memory is touched");
    assert!(after[target].iter().all(|byte| *byte == 0xa5));
    assert!(rig.machine.root.refused_count() > before);
    let done = rig.finish(1).expect("the driver goes on");
    assert_eq!(rig.ram(buffer, data.len()), data, "the buffer is as it was");
    done[0].status
}

/// The refusals, and the fault records, name requester, address and reason.
fn recorded(rig: &mut Rig<BlkDriver>, kind: DmaKind, reason: u8) {
    let card = rig.card;
    for refused in rig.machine.root.refused() {
        assert_eq!(
            (refused.requester, refused.kind, refused.refusal),
            (card, kind, Refusal::Iommu(reason))
        );
        assert_eq!(refused.address & !0xfff, NOWHERE);
    }
    // "Fault Status Register": primary pending fault. "Fault Recording Registers": F, T, FR, SID.
    let status = rig.machine.mmio_read(REGISTERS + 0x34, Width::W32);
    assert_eq!(status & 2, 2);
    let capabilities = rig.machine.mmio_read(REGISTERS + 8, Width::W64);
    let first = REGISTERS + (capabilities >> 24 & 0x3ff) * 16;
    let low = rig.machine.mmio_read(first, Width::W64);
    let high = rig.machine.mmio_read(first + 8, Width::W64);
    assert_eq!((high >> 63, high & 0xffff), (1, u64::from(card.0)));
    assert_eq!((high >> 62 & 1 == 1, high >> 32 & 0xff), (kind == DmaKind::Read, reason.into()));
    assert_eq!(low & !0xfff, NOWHERE);
    let unit = rig.iommu.clone().expect("the platform has one");
    let faults = unit.take_faults(&mut rig.machine);
    assert!(!faults.is_empty());
    for fault in faults {
        assert_eq!((fault.requester, fault.address), (card, BusAddr(NOWHERE)));
        assert_eq!((fault.reason, fault.read), (reason, kind == DmaKind::Read));
    }
    assert_eq!(rig.machine.mmio_read(REGISTERS + 0x34, Width::W32) & 2, 0, "taken");
}

fn stray_read(card: Card) {
    let (mut rig, aim) = stray(card);
    assert_eq!(rig.write_disk(0, &[0x11; 1024]), 0);
    let status = astray(&mut rig, &aim, BlkOp::Write, &[0x22; 1024]);
    assert_eq!(status, 1, "VIRTIO_BLK_S_IOERR");
    recorded(&mut rig, DmaKind::Read, 6);
    assert_eq!(rig.read_disk(0, 1024), (0, vec![0x11; 1024]), "the disk is as it was");
    assert_eq!(rig.write_disk(0, &[0x33; 1024]), 0);
    assert_eq!(rig.read_disk(0, 1024), (0, vec![0x33; 1024]));
    assert_eq!(
        rig.machine.tap.analyzer.violations().iter().filter(|v| v.rule != "DMA-STRAY").count(),
        0
    );
}

/// VT-d, "Fault Reason Encodings", 6: read permission missing. Virtio 1.4 §5.2.6: VIRTIO_BLK_S_IOERR.
#[test]
fn a_read_of_an_unmapped_page_is_recorded_and_fails_the_request_and_nothing_is_written() {
    stray_read(CARD);
}

fn stray_write(card: Card) {
    let (mut rig, aim) = stray(card);
    assert_eq!(rig.write_disk(0, &[0x11; 1024]), 0);
    // Nobody answers a posted write: the card cannot know, and the caller's buffer stays as it was.
    let status = astray(&mut rig, &aim, BlkOp::Read, &[0xee; 1024]);
    assert_eq!(status, 0);
    recorded(&mut rig, DmaKind::Write, 5);
    assert_eq!(rig.read_disk(0, 1024), (0, vec![0x11; 1024]), "the driver goes on");
}

/// VT-d, "Fault Reason Encodings", 5: write permission missing. PCIe 5.0 §2.4.1: writes are posted.
#[test]
fn a_write_to_an_unmapped_page_is_recorded_and_touches_no_memory() {
    stray_write(CARD);
}

fn report(card: Card) {
    let traffic = "[blk]\nsynthetic = { requests = 8, bytes = 4096 }\n";
    let config = cell_with("x86-vtd", "blk", "host", "direct", false, traffic);
    let result = run_with(&config, &|config, parameters| {
        let mut sent = 0;
        let elsewhere = move |_, address: u64| {
            // The interrupt range is no memory.
            sent += u32::from(address >> 20 != 0xfee);
            if sent == 30 { NOWHERE } else { address }
        };
        Ok(card(config, parameters)?.behind(|card| Redirect::new(card, elsewhere)))
    })
    .expect("a card's fault is a finding");
    let told = result.violations.iter().find(|violation| violation.rule == "DMA-REFUSED");
    let told = &told.unwrap_or_else(|| panic!("{:?}", result.violations)).message;
    for part in ["01:00.0", "0x600000", "the IOMMU blocks it, fault reason 0x0"] {
        assert!(told.contains(part), "{told}");
    }
}

/// DESIGN.md, "The command": what a run found is in its report.
#[test]
fn the_report_names_a_blocked_access_with_requester_address_and_reason() {
    report(CARD);
}

fn physical_addresses(card: Card) {
    let rest =
        "[card]\naccess_platform = false\n[blk]\nsynthetic = { requests = 4, bytes = 512 }\n";
    let config = cell_with("x86-vtd", "blk", "host", "direct", false, rest);
    let result = run_with(&config, &card).expect("a driver's fault is a finding");
    let rules: Vec<&str> = result.violations.iter().map(|found| found.rule.as_str()).collect();
    assert!(rules.contains(&"DMA-REFUSED") && rules.contains(&"DRIVER-ERROR"), "{rules:?}");
    assert_eq!(result.requests, 0);
}

/// PLATFORMS.md, row `x86-vtd`: without ACCESS_PLATFORM each DMA faults.
#[test]
fn physical_addresses_handed_to_a_translated_card_end_in_faults_and_a_driver_that_says_so() {
    physical_addresses(CARD);
}
