//! The tables of `pcie_sim::spec` against the specification's own, kept as data in `spec/`: a layout
//! declared once and used by card and driver hides a mistake from both.

mod spec_tables;

use pcie_sim::spec::virtio_pci::{self, Access, COMMON_CFG, CommonReg};
use pcie_sim::spec::{blk, features, net, pci, virtq};
use spec_tables::{Registers, feature_bits, linear};

/// `DeviceFeatureSelect` as the specification writes it: `device_feature_select`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Virtio 1.4, "Common configuration structure layout".
#[test]
fn common_configuration_has_the_specifications_offsets_widths_and_access() {
    let registers = Registers::load();
    let mut named = 0;
    for row in registers.structure("virtio_pci_common_cfg") {
        let access = if row.access.starts_with("RW") { Access::Rw } else { Access::Ro };
        assert!(access == Access::Rw || row.access == "RO", "{}: {}", row.field, row.access);
        // A 64-bit field stands in two halves, low half first.
        let halves: &[(&str, u64)] =
            if row.width() == 8 { &[("_low", 0), ("_high", 4)] } else { &[("", 0)] };
        for (suffix, shift) in halves {
            let name = format!("{}{suffix}", row.field);
            let offset = (row.offset() + shift) as u16;
            let reg = CommonReg::at(offset).unwrap_or_else(|| panic!("nothing at {offset:#x}"));
            assert_eq!(snake(&format!("{reg:?}")), name);
            assert_eq!(reg.offset(), offset, "{name}");
            let width = (row.width() / halves.len() as u64) as u16;
            assert_eq!(reg.shape(), (width, access), "{name}");
            named += 1;
        }
    }
    assert_eq!(named, COMMON_CFG.len());
    let end = registers.field("virtio_pci_common_cfg", "admin_queue_num").end();
    assert_eq!(u64::from(virtio_pci::COMMON_CFG_BYTES), end);
}

/// Virtio 1.4, "Virtio Structure PCI Capabilities".
#[test]
fn capabilities_have_the_specifications_offsets_and_sizes() {
    use virtio_pci::cap;
    let registers = Registers::load();
    let base = "virtio_pci_cap (base";
    for (field, offset) in [
        ("cap_vndr", cap::VNDR),
        ("cap_next", cap::NEXT),
        ("cap_len", cap::LEN),
        ("cfg_type", cap::CFG_TYPE),
        ("bar", cap::BAR),
        ("id", cap::ID),
        ("offset", cap::OFFSET),
        ("length", cap::LENGTH),
    ] {
        assert_eq!(registers.field(base, field).offset(), u64::from(offset), "{field}");
    }
    let vendor = registers.field(base, "cap_vndr").reset();
    assert_eq!(vendor, Some(u64::from(virtio_pci::CAP_VENDOR)));
    assert_eq!(vendor, Some(u64::from(pci::cap_id::VENDOR)));
    assert_eq!(registers.field(base, "length").end(), u64::from(cap::BYTES));

    let multiplier = registers.field("virtio_pci_notify_cap", "notify_off_multiplier");
    assert_eq!(multiplier.offset(), u64::from(cap::NOTIFY_OFF_MULTIPLIER));
    assert_eq!(multiplier.end(), u64::from(cap::BYTES_WITH_DATA));
    let data = registers.field("virtio_pci_cfg_cap", "pci_cfg_data");
    assert_eq!(data.offset(), u64::from(cap::PCI_CFG_DATA));
    assert_eq!(data.end(), u64::from(cap::BYTES_WITH_DATA));
    let length = registers.field("virtio_pci_cfg_cap", "cap_len").reset();
    assert_eq!(length, Some(u64::from(cap::BYTES_WITH_DATA)));
    let high = registers.field("virtio_pci_cap64", "offset_hi");
    assert_eq!(high.offset(), u64::from(cap::OFFSET_HI));
    let high = registers.field("virtio_pci_cap64", "length_hi");
    assert_eq!((high.offset(), high.end()), (u64::from(cap::LENGTH_HI), u64::from(cap::BYTES_64)));
}

/// Virtio 1.4, "Virtio Structure PCI Capabilities", `cfg_type`.
#[test]
fn structure_types_have_the_specifications_numbers() {
    use virtio_pci::cfg_type;
    let registers = Registers::load();
    let ours = [
        ("COMMON_CFG", cfg_type::COMMON),
        ("NOTIFY_CFG", cfg_type::NOTIFY),
        ("ISR_CFG", cfg_type::ISR),
        ("DEVICE_CFG", cfg_type::DEVICE),
        ("PCI_CFG", cfg_type::PCI),
        ("SHARED_MEMORY_CFG", cfg_type::SHARED_MEMORY),
        ("VENDOR_CFG", cfg_type::VENDOR),
        ("SWIOTLB", cfg_type::SWIOTLB),
    ];
    let theirs = registers.structure("virtio_pci_cap cfg_type values");
    let theirs: Vec<_> =
        theirs.iter().map(|row| (row.field.as_str(), row.offset() as u8)).collect();
    assert_eq!(theirs, ours);
}

/// Virtio 1.4, "Device Status Field".
#[test]
fn device_status_bits_have_the_specifications_values() {
    use virtio_pci::status;
    let registers = Registers::load();
    let row = registers.field("virtio_pci_common_cfg", "device_status");
    for (name, bit) in [
        ("ACKNOWLEDGE", status::ACKNOWLEDGE),
        ("DRIVER", status::DRIVER),
        ("DRIVER_OK", status::DRIVER_OK),
        ("FEATURES_OK", status::FEATURES_OK),
        ("SUSPEND", status::SUSPEND),
        ("DEVICE_NEEDS_RESET", status::DEVICE_NEEDS_RESET),
        ("FAILED", status::FAILED),
    ] {
        assert_eq!(row.code(name), u64::from(bit), "{name}");
    }
}

/// Virtio 1.4, "ISR status capability"; "MSI-X Vector Configuration" for the vector.
#[test]
fn interrupt_bits_have_the_specifications_values() {
    let registers = Registers::load();
    let isr = registers.field("ISR status", "isr");
    assert_eq!((isr.offset(), isr.width()), (0, 1));
    // As in `bit 0 queue interrupt, bit 1 configuration change`.
    let bit = |what: &str| {
        let mut bits = isr.notes.split("bit ").filter_map(|part| part.split_once(' '));
        bits.find(|(_, rest)| rest.starts_with(what))?.0.parse::<u32>().ok()
    };
    assert_eq!(bit("queue interrupt"), Some(u32::from(virtio_pci::isr::QUEUE).trailing_zeros()));
    let config = u32::from(virtio_pci::isr::CONFIG).trailing_zeros();
    assert_eq!(bit("configuration change"), Some(config));
    for field in ["config_msix_vector", "queue_msix_vector"] {
        let reset = registers.field("virtio_pci_common_cfg", field).reset();
        assert_eq!(reset, Some(u64::from(virtio_pci::NO_VECTOR)), "{field}");
    }
}

/// PCI 3.0 §6.8.2, as the virtio tables repeat it.
#[test]
fn msix_has_the_specifications_bits() {
    use pci::msix;
    let registers = Registers::load();
    let place = |field| registers.field("MSI-X", field).place();
    let control = msix::CONTROL;
    let top = u32::from(msix::CONTROL_TABLE_SIZE).trailing_ones() - 1;
    assert_eq!(u32::from(msix::CONTROL_TABLE_SIZE).count_ones(), top + 1);
    assert_eq!(place("Table Size"), format!("MSI-X cap +{control} bits {top}:0"));
    let bit = msix::CONTROL_ENABLE.trailing_zeros();
    assert_eq!(place("MSI-X enable"), format!("MSI-X cap +{control} bit {bit}"));
    let bit = msix::CONTROL_FUNCTION_MASK.trailing_zeros();
    assert_eq!(place("Function mask"), format!("MSI-X cap +{control} bit {bit}"));
    let entry = registers.field("MSI-X", "table entry");
    assert_eq!(entry.place(), format!("{}*n", msix::ENTRY_BYTES));
    assert_eq!(entry.width(), msix::ENTRY_BYTES);
}

/// Virtio 1.4, "The Virtqueue Descriptor Table".
#[test]
fn a_split_descriptor_lies_in_memory_as_specified() {
    let registers = Registers::load();
    let row = |field| registers.field("struct virtq_desc", field);
    let desc = virtq::SplitDesc {
        addr: 0x1112_1314_1516_1718,
        len: 0x2122_2324,
        flags: 0x3132,
        next: 0x4142,
    };
    let bytes = desc.to_bytes();
    for (field, value) in [
        ("addr", desc.addr),
        ("len", desc.len.into()),
        ("flags", desc.flags.into()),
        ("next", desc.next.into()),
    ] {
        let (start, width) = (row(field).offset() as usize, row(field).width() as usize);
        assert_eq!(bytes[start..start + width], value.to_le_bytes()[..width], "{field}");
    }
    assert_eq!(virtq::SplitDesc::from_bytes(&bytes), desc);
    assert_eq!(row("next").end(), virtq::DESC_BYTES as u64);
    assert_eq!(row("flags").code("NEXT"), u64::from(virtq::DESC_F_NEXT));
    assert_eq!(row("flags").code("WRITE"), u64::from(virtq::DESC_F_WRITE));
    assert_eq!(row("flags").code("INDIRECT"), u64::from(virtq::DESC_F_INDIRECT));
}

/// Virtio 1.4, "The Virtqueue Available Ring" and "The Virtqueue Used Ring".
#[test]
fn the_split_rings_lie_in_memory_as_specified() {
    let registers = Registers::load();
    let avail = |field| registers.field("struct virtq_avail", field);
    let used = |field| registers.field("struct virtq_used", field);
    assert_eq!(avail("flags").offset(), virtq::AVAIL_FLAGS);
    assert_eq!(avail("idx").offset(), virtq::AVAIL_IDX);
    assert_eq!(used("flags").offset(), virtq::USED_FLAGS);
    assert_eq!(used("idx").offset(), virtq::USED_IDX);
    assert_eq!(avail("flags").code("NO_INTERRUPT"), u64::from(virtq::AVAIL_F_NO_INTERRUPT));
    assert_eq!(used("flags").code("NO_NOTIFY"), u64::from(virtq::USED_F_NO_NOTIFY));
    let element = used("ring[i].id").width() + used("ring[i].len").width();
    assert_eq!(element, virtq::USED_ELEM_BYTES as u64);
    for n in [0, 1, 2, 255, 256, virtq::MAX_SIZE] {
        let i = u64::from(n);
        assert_eq!(avail("ring[i]").offset_at(i), virtq::avail_entry(n));
        assert_eq!(avail("used_event").offset_at(i), virtq::used_event(n));
        assert_eq!(used("ring[i].id").offset_at(i), virtq::used_elem(n));
        assert_eq!(used("avail_event").offset_at(i), virtq::avail_event(n));
        let total = |notes: &str| linear(notes.split_once("total size ")?.1, i);
        assert_eq!(total(&avail("used_event").notes), Some(virtq::avail_area_bytes(n)));
        assert_eq!(total(&used("avail_event").notes), Some(virtq::used_area_bytes(n)));
        assert_eq!(
            virtq::desc_area_bytes(n),
            i * registers.field("struct virtq_desc", "next").end()
        );
    }
}

/// Virtio 1.4, "Split Virtqueues", table of alignments.
#[test]
fn the_split_rings_are_aligned_as_specified() {
    let registers = Registers::load();
    for (field, words) in [
        ("queue_desc", format!("{}-byte aligned", virtq::DESC_ALIGN)),
        ("queue_driver", format!("split: available ring, align {};", virtq::AVAIL_ALIGN)),
        ("queue_device", format!("split: used ring, align {};", virtq::USED_ALIGN)),
    ] {
        let notes = &registers.field("virtio_pci_common_cfg", field).notes;
        assert!(notes.contains(&words), "{field}: {words} in {notes}");
    }
}

/// Virtio 1.4, "Reserved Feature Bits", and "Feature bits" of net and blk.
#[test]
fn feature_bits_have_the_specifications_numbers() {
    let theirs = feature_bits();
    let ours = [
        ("VIRTIO_F_SWIOTLB", features::SWIOTLB),
        ("VIRTIO_F_INDIRECT_DESC", features::INDIRECT_DESC),
        ("VIRTIO_F_EVENT_IDX", features::EVENT_IDX),
        ("VIRTIO_F_VERSION_1", features::VERSION_1),
        ("VIRTIO_F_ACCESS_PLATFORM", features::ACCESS_PLATFORM),
        ("VIRTIO_F_RING_PACKED", features::RING_PACKED),
        ("VIRTIO_F_IN_ORDER", features::IN_ORDER),
        ("VIRTIO_F_ORDER_PLATFORM", features::ORDER_PLATFORM),
        ("VIRTIO_F_NOTIFICATION_DATA", features::NOTIFICATION_DATA),
        ("VIRTIO_F_NOTIF_CONFIG_DATA", features::NOTIF_CONFIG_DATA),
        ("VIRTIO_F_RING_RESET", features::RING_RESET),
        ("VIRTIO_NET_F_MTU", net::F_MTU),
        ("VIRTIO_NET_F_MAC", net::F_MAC),
        ("VIRTIO_NET_F_MRG_RXBUF", net::F_MRG_RXBUF),
        ("VIRTIO_NET_F_STATUS", net::F_STATUS),
        ("VIRTIO_NET_F_CTRL_VQ", net::F_CTRL_VQ),
        ("VIRTIO_NET_F_CTRL_RX", net::F_CTRL_RX),
        ("VIRTIO_NET_F_CTRL_MAC_ADDR", net::F_CTRL_MAC_ADDR),
        ("VIRTIO_BLK_F_SIZE_MAX", blk::F_SIZE_MAX),
        ("VIRTIO_BLK_F_SEG_MAX", blk::F_SEG_MAX),
        ("VIRTIO_BLK_F_RO", blk::F_RO),
        ("VIRTIO_BLK_F_BLK_SIZE", blk::F_BLK_SIZE),
        ("VIRTIO_BLK_F_FLUSH", blk::F_FLUSH),
        ("VIRTIO_BLK_F_DISCARD", blk::F_DISCARD),
        ("VIRTIO_BLK_F_WRITE_ZEROES", blk::F_WRITE_ZEROES),
    ];
    for (name, bit) in ours {
        let found: Vec<u64> =
            theirs.iter().filter(|row| row.0 == name).map(|row| 1 << row.1).collect();
        assert_eq!(found, [bit], "{name}");
    }
    // Nobody may add a feature bit without a row here.
    let declared = [
        include_str!("../src/spec/features.rs"),
        include_str!("../src/spec/net.rs"),
        include_str!("../src/spec/blk.rs"),
    ]
    .map(|source| source.matches(": u64 = 1 << ").count());
    assert_eq!(declared.iter().sum::<usize>(), ours.len());
}

/// Virtio 1.4, "Block Device", "Device configuration layout".
#[test]
fn blk_configuration_has_the_specifications_offsets() {
    let registers = Registers::load();
    let row = |field| registers.field("virtio_blk_config", field);
    for (field, offset) in [
        ("capacity", blk::CONFIG_CAPACITY),
        ("size_max", blk::CONFIG_SIZE_MAX),
        ("seg_max", blk::CONFIG_SEG_MAX),
        ("blk_size", blk::CONFIG_BLK_SIZE),
        ("max_discard_sectors", blk::CONFIG_MAX_DISCARD_SECTORS),
        ("max_discard_seg", blk::CONFIG_MAX_DISCARD_SEG),
        ("discard_sector_alignment", blk::CONFIG_DISCARD_ALIGNMENT),
        ("max_write_zeroes_sectors", blk::CONFIG_MAX_WRITE_ZEROES_SECTORS),
        ("max_write_zeroes_seg", blk::CONFIG_MAX_WRITE_ZEROES_SEG),
    ] {
        assert_eq!(row(field).offset(), offset as u64, "{field}");
    }
    assert_eq!(row("unused1").end(), blk::CONFIG_BYTES as u64);
    assert!(row("capacity").notes.contains(&format!("{}-byte sectors", blk::SECTOR_BYTES)));
}

/// Virtio 1.4, "Block Device", "Device Operation".
#[test]
fn blk_requests_have_the_specifications_codes_and_sizes() {
    let registers = Registers::load();
    let request = |field| registers.field("virtio_blk_req", field);
    for (name, code) in [
        ("IN", blk::T_IN),
        ("OUT", blk::T_OUT),
        ("FLUSH", blk::T_FLUSH),
        ("GET_ID", blk::T_GET_ID),
        ("DISCARD", blk::T_DISCARD),
        ("WRITE_ZEROES", blk::T_WRITE_ZEROES),
    ] {
        assert_eq!(request("type").code(name), u64::from(code), "{name}");
    }
    for (name, code) in [("OK", blk::S_OK), ("IOERR", blk::S_IOERR), ("UNSUPP", blk::S_UNSUPP)] {
        assert_eq!(request("status").code(name), u64::from(code), "{name}");
    }
    assert_eq!(request("data").offset(), blk::REQ_HDR_BYTES as u64);
    assert!(request("data").notes.contains(&format!("; {} for GET_ID", blk::ID_BYTES)));
    let range = registers.field("virtio_blk_discard_write_zeroes", "flags");
    assert_eq!(range.end(), blk::RANGE_BYTES as u64);
}

/// Virtio 1.4, "Network Device", "Device configuration layout" and "Device Operation".
#[test]
fn net_configuration_and_header_have_the_specifications_offsets() {
    let registers = Registers::load();
    let row = |field| registers.field("virtio_net_config", field);
    for (field, offset) in [
        ("mac", net::CONFIG_MAC),
        ("status", net::CONFIG_STATUS),
        ("max_virtqueue_pairs", net::CONFIG_MAX_VIRTQUEUE_PAIRS),
        ("mtu", net::CONFIG_MTU),
    ] {
        assert_eq!(row(field).offset(), offset as u64, "{field}");
    }
    assert_eq!(row("mtu").end(), net::CONFIG_BYTES as u64);
    let link_up = format!(" {} LINK_UP", net::STATUS_LINK_UP);
    assert!(row("status").notes.contains(&link_up), "{link_up}");
    let buffers = registers.field("virtio_net_hdr", "num_buffers");
    assert_eq!(buffers.offset(), net::HDR_NUM_BUFFERS as u64);
    assert_eq!(buffers.end(), net::HDR_BYTES as u64);
}
