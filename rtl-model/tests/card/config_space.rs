//! Configuration space and the card as a target on the link.

use pcie_sim::address::Bdf;
use pcie_sim::spec::pci::{cap_id, command, express, header};
use pcie_sim::spec::virtio_pci::{CommonReg, cap, cfg_type};
use pcie_sim::tlp::{
    Atomic, AtomicOperation, Attributes, ByteEnables, CompletionStatus, ConfigRead, ConfigWrite,
    Extras, IoRead, MemRead, MemWrite, Payload, Tag, Tlp,
};
use rtl_model::CardConfig;

use crate::fetch::{net, transmitter};
use crate::rig::{BAR0, BAR2, BASE_FEATURES, CARD, ISR, ROOT, Rig};

/// Capabilities as (id, offset), in the order of the list.
fn capabilities(rig: &mut Rig) -> Vec<(u8, u16)> {
    let mut at = rig.config_read(header::CAPABILITIES, 1) as u16;
    let mut found = Vec::new();
    while at != 0 {
        assert!(at >= header::BYTES && at.is_multiple_of(4) && found.len() < 48);
        found.push((rig.config_read(at, 1) as u8, at));
        at = rig.config_read(at + 1, 1) as u16;
    }
    found
}

/// PCI-DISC-DEV-01 to PCI-DISC-DEV-06.
#[test]
fn the_card_says_that_it_is_a_modern_virtio_device() {
    let mut rig = Rig::new(net());
    assert_eq!(rig.config_read(0, 4), 0x1041_1af4);
    assert!(rig.config_read(header::REVISION_ID, 1) >= 1);
    assert!(rig.config_read(header::SUBSYSTEM_ID, 2) >= 0x40);
    let mut rig = Rig::new(CardConfig::default());
    assert_eq!(rig.config_read(0, 4), 0x1042_1af4);
    assert_eq!(rig.config_read(header::HEADER_TYPE, 1), 0);
}

/// PCI-CAP-DEV-01, PCI-CAP-DEV-05, PCI-CFGA-DEV-01, PCI-NOT-DEV-05, PCI-SHM-DEV-01.
#[test]
fn every_structure_has_a_capability_inside_its_bar() {
    let mut rig = Rig::placed(net());
    let sizes = [0x4000_u64, 0x1000, 1 << 20];
    let mut types = Vec::new();
    for (id, at) in capabilities(&mut rig) {
        if id != cap_id::VENDOR {
            continue;
        }
        let kind = rig.config_read(at + cap::CFG_TYPE, 1) as u8;
        let len = rig.config_read(at + cap::LEN, 1) as u8;
        if kind == cfg_type::VENDOR {
            types.push(kind);
            continue;
        }
        let bar = rig.config_read(at + cap::BAR, 1) as usize;
        let offset = u64::from(rig.config_read(at + cap::OFFSET, 4));
        let length = u64::from(rig.config_read(at + cap::LENGTH, 4));
        let expected = match kind {
            cfg_type::NOTIFY | cfg_type::PCI => cap::BYTES_WITH_DATA,
            cfg_type::SHARED_MEMORY => cap::BYTES_64,
            _ => cap::BYTES,
        };
        assert_eq!(len, expected, "type {kind}");
        assert!(offset + length <= sizes[bar], "type {kind}");
        types.push(kind);
    }
    assert_eq!(types, [9, 1, 2, 3, 4, 5, 8]);
}

/// PCI Express, MSI-X and power management are there too; a card without memory has no region to show.
#[test]
fn the_list_of_capabilities_is_whole() {
    let ids = |rig: &mut Rig| capabilities(rig).iter().map(|c| c.0).collect::<Vec<_>>();
    let mut rig = Rig::new(net());
    assert_eq!(ids(&mut rig), [0x10, 9, 0x11, 9, 9, 9, 9, 9, 9, 0x01]);
    let mut rig = Rig::new(CardConfig { memory_bytes: 0, ..net() });
    assert_eq!(ids(&mut rig), [0x10, 9, 0x11, 9, 9, 9, 9, 9, 0x01]);
    rig.config_write(header::BAR0 + 8, &[0xff; 4]);
    assert_eq!(rig.config_read(header::BAR0 + 8, 4), 0);
}

/// PCI 3.0 §6.2.5.1: all ones written, the size read back.
#[test]
fn bars_are_sized_by_writing_all_ones() {
    let mut rig = Rig::new(CardConfig { memory_bytes: 1 << 32, ..net() });
    for (bar, expected) in [(0, 0xffff_c000), (1, 0xffff_f000), (2, 0xc), (3, 0xffff_ffff), (4, 0)]
    {
        let at = header::BAR0 + 4 * bar;
        rig.config_write(at, &[0xff; 4]);
        assert_eq!(rig.config_read(at, 4), expected, "BAR{bar}");
    }
}

/// PCIe 5.0 §2.2.6.2: the ids in the card's TLPs are those of the last configuration write.
#[test]
fn the_card_learns_its_number_from_configuration_writes() {
    let mut rig = Rig::new(net());
    let tlp = |target, forwarded| {
        Tlp::ConfigRead(ConfigRead {
            requester: ROOT,
            tag: Tag(9),
            target,
            offset: 0,
            len_bytes: 4,
            forwarded,
        })
    };
    assert_eq!(rig.ask(tlp(CARD, false)).completer, Bdf::default());
    rig.config_write(header::CACHE_LINE_SIZE, &[16]);
    assert_eq!(rig.ask(tlp(CARD, false)).completer, CARD);
    let refused = [tlp(Bdf::new(1, 0, 1), false), tlp(Bdf::new(2, 0, 0), true)];
    for tlp in refused {
        assert_eq!(rig.ask(tlp).status, CompletionStatus::UnsupportedRequest);
    }
    assert_eq!(rig.config_read(0x40 + express::DEVICE_STATUS, 1) & 8, 8, "UR detected");
    rig.config_write(0x40 + express::DEVICE_STATUS, &[8]);
    assert_eq!(rig.config_read(0x40 + express::DEVICE_STATUS, 1) & 8, 0, "written ones clear");
}

/// PCIe 5.0 §2.3.1, "Request Handling Rules".
#[test]
fn memory_that_is_not_enabled_or_not_there_is_an_unsupported_request() {
    let mut rig = Rig::placed(net());
    for address in [BAR0 - 4, BAR0 + 0x4000, BAR2 + (1 << 20)] {
        let answer = rig.mmio_request(address, 4);
        assert_eq!(answer.status, CompletionStatus::UnsupportedRequest, "{address:#x}");
        assert!(answer.data.is_empty());
    }
    rig.set_command(0);
    assert_eq!(rig.mmio_request(BAR0, 4).status, CompletionStatus::UnsupportedRequest);
    rig.mmio_write(BAR2, &[1, 2, 3, 4]);
    rig.set_command(command::MEMORY_SPACE);
    assert_eq!(rig.mmio_read(BAR2, 4), [0, 0, 0, 0], "the write was dropped");
    rig.config_write(0xf8 + 4, &[3]);
    assert_eq!(rig.mmio_request(BAR0, 4).status, CompletionStatus::UnsupportedRequest, "D3hot");
}

/// PCIe 5.0 §2.3.1: a card with neither I/O space nor an AtomicOp completer.
#[test]
fn io_and_atomic_requests_are_unsupported_and_change_nothing() {
    let mut rig = Rig::placed(net());
    rig.mmio_write(BAR2, &[1, 0, 0, 0]);
    let (tag, attributes) = (Tag(7), Attributes::default());
    let operands = Payload::from_slice(&[1, 0, 0, 0]);
    let operation = AtomicOperation::FetchAdd;
    let atomic = Atomic { requester: ROOT, tag, address: BAR2, operation, operands, attributes };
    let read = IoRead { requester: ROOT, tag, address: 0x60, len_bytes: 1 };
    for tlp in [Tlp::Atomic(Box::new(atomic)), Tlp::IoRead(read)] {
        let answer = rig.ask(tlp);
        assert_eq!(answer.status, CompletionStatus::UnsupportedRequest);
        assert_eq!((answer.tag, answer.byte_count, answer.data.len()), (tag, 4, 0));
    }
    assert_eq!(rig.mmio_read(BAR2, 4), [1, 0, 0, 0]);
}

/// PCIe 5.0 §2.2.5: of a write with holes only the enabled bytes are written; §2.7.2.2: of a poisoned one, none.
#[test]
fn writes_with_holes_write_what_is_enabled_and_poisoned_ones_nothing() {
    let mut rig = Rig::placed(net());
    let attributes = Attributes::default();
    let write = |data: &[u8]| {
        let (tag, data) = (Tag(0), Payload::from_slice(data));
        Tlp::MemWrite(MemWrite { requester: ROOT, tag, address: BAR2, data, attributes })
    };
    let enables = Some(ByteEnables { first: 0b1001, last: 0 });
    let holes = Extras { enables, ..Extras::default() };
    rig.deliver(write(&[1, 2, 3, 4]));
    rig.deliver(write(&[5, 0, 0, 6]).with(holes.clone()));
    rig.deliver(write(&[7, 7, 7, 7]).poisoned());
    rig.settle();
    assert_eq!(rig.mmio_read(BAR2, 4), [5, 2, 3, 6]);
    let write = ConfigWrite {
        requester: ROOT,
        tag: Tag(1),
        target: CARD,
        offset: header::CACHE_LINE_SIZE,
        data: Payload::from_slice(&[16, 0, 0, 0xff]),
        forwarded: false,
    };
    let answer = rig.ask(Tlp::ConfigWrite(write).with(holes));
    assert_eq!((answer.status, answer.tag), (CompletionStatus::Success, Tag(1)));
    assert_eq!(rig.config_read(header::CACHE_LINE_SIZE, 1), 16);
}

/// The card's memory takes any run of bytes.
#[test]
fn memory_on_the_card_reads_as_written_at_any_length_and_alignment() {
    let mut rig = Rig::placed(net());
    let data: Vec<u8> = (0..=255).cycle().take(1000).collect();
    rig.mmio_write(BAR2 + 0x2003, &data[..500]);
    rig.mmio_write(BAR2 + 0x2003 + 500, &data[500..]);
    assert_eq!(rig.mmio_read(BAR2 + 0x2007, 3), data[4..7]);
    assert_eq!(rig.mmio_read(BAR2 + 0x2002, 1), [0]);
    assert_eq!(rig.mmio_read(BAR2 + 0x2003, 100), data[..100]);
}

/// PCIe 5.0 §2.3.1.1: completions keep to the payload size and break at 128-byte boundaries.
#[test]
fn a_long_read_is_answered_in_parts() {
    let mut rig = Rig::placed(net());
    let data: Vec<u8> = (0..=255).cycle().take(600).collect();
    rig.mmio_write(BAR2 + 0x2031, &data);
    let attributes = Attributes { relaxed_ordering: true, ..Attributes::default() };
    let (requester, tag, address) = (ROOT, Tag(3), BAR2 + 0x2031);
    let read = MemRead { requester, tag, address, len_bytes: 600, attributes };
    rig.deliver(Tlp::MemRead(read));
    rig.settle();
    let (mut whole, mut at) = (Vec::new(), 0x2031_usize);
    for part in std::mem::take(&mut rig.answers) {
        assert_eq!(usize::from(part.byte_count), 600 - whole.len());
        assert_eq!(usize::from(part.lower_address), at & 0x7f);
        assert!((at & 3) + part.data.len() <= 128);
        assert!(
            part.data.len() == part.byte_count.into() || (at + part.data.len()).is_multiple_of(128)
        );
        assert_eq!(part.attributes, attributes);
        at += part.data.len();
        whole.extend_from_slice(&part.data);
    }
    assert_eq!(whole, data);
}

/// PCIe 5.0 §2.2.5: nothing is read, but there is an answer, and no side effect.
#[test]
fn a_read_of_nothing_is_answered_and_does_nothing() {
    let (mut rig, _) = transmitter(net(), BASE_FEATURES);
    rig.card.set_link_up(false);
    rig.settle();
    let answer = rig.mmio_request(BAR0 + ISR, 0);
    assert_eq!((answer.byte_count, answer.data.len()), (1, 1));
    assert_eq!(rig.mmio_read(BAR0 + ISR, 1), [2], "the ISR is as it was");
}

/// PCI-CFGA-DEV-02, PCI-CFGA-DEV-03, with 1, 2 and 4 bytes.
#[test]
fn the_window_in_configuration_space_reads_and_writes_registers() {
    let mut rig = Rig::new(net());
    let aim = |rig: &mut Rig, bar: u8, offset: u32, length: u32| {
        rig.config_write(0xcc + cap::BAR, &[bar]);
        rig.config_write(0xcc + cap::OFFSET, &offset.to_le_bytes());
        rig.config_write(0xcc + cap::LENGTH, &length.to_le_bytes());
    };
    let data = 0xcc + cap::PCI_CFG_DATA;
    aim(&mut rig, 0, CommonReg::DeviceFeatureSelect.offset().into(), 4);
    rig.config_write(data, &1_u32.to_le_bytes());
    aim(&mut rig, 0, CommonReg::DeviceFeature.offset().into(), 4);
    assert_eq!(rig.config_read(data, 4) & 1, 1, "VERSION_1 is bit 0 of window 1");
    aim(&mut rig, 0, CommonReg::NumQueues.offset().into(), 2);
    assert_eq!(rig.config_read(data, 2), 2);
    aim(&mut rig, 0, CommonReg::DeviceStatus.offset().into(), 1);
    rig.config_write(data, &[3, 0xff, 0xff, 0xff]);
    assert_eq!(rig.config_read(data, 1), 3);
    aim(&mut rig, 2, 0x100, 2);
    rig.config_write(data, &[0x34, 0x12, 0xff, 0xff]);
    aim(&mut rig, 2, 0x100, 4);
    assert_eq!(rig.config_read(data, 4), 0x1234, "two bytes were written and no more");
}

/// A window that points nowhere, or is misaligned, does nothing.
#[test]
fn a_window_that_points_nowhere_reads_as_zero() {
    let mut rig = Rig::placed(net());
    rig.mmio_write(BAR2, &[0xff; 8]);
    for (bar, offset, length) in
        [(2, 1_u32, 2_u32), (2, 1 << 20, 4), (5, 0, 4), (2, 0, 3), (2, 0, 0)]
    {
        rig.config_write(0xcc + cap::BAR, &[bar]);
        rig.config_write(0xcc + cap::OFFSET, &offset.to_le_bytes());
        rig.config_write(0xcc + cap::LENGTH, &length.to_le_bytes());
        assert_eq!(rig.config_read(0xcc + cap::PCI_CFG_DATA, 4), 0);
    }
}

/// Reading the ISR through the window clears it, as reading it by MMIO would.
#[test]
fn the_window_has_all_side_effects() {
    let (mut rig, _) = transmitter(net(), BASE_FEATURES);
    rig.card.set_link_up(false);
    rig.settle();
    rig.config_write(0xcc + cap::BAR, &[0]);
    rig.config_write(0xcc + cap::OFFSET, &0x1000_u32.to_le_bytes());
    rig.config_write(0xcc + cap::LENGTH, &1_u32.to_le_bytes());
    assert_eq!(rig.config_read(0xcc + cap::PCI_CFG_DATA, 1), 2);
    assert_eq!(rig.mmio_read(BAR0 + ISR, 1), [0]);
}
