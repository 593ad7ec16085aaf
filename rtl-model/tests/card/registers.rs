//! Every virtio register, against the specification's table.

use pcie_sim::spec::virtio_pci::{CommonReg, NO_VECTOR, status};
use pcie_sim::spec::{blk, features, net as net_spec};
use proptest::prelude::*;
use rtl_model::{AddressPolicy, BlkConfig, CardConfig, DeviceConfig, NetConfig};

use crate::fetch::{net, transmitter};
use crate::rig::{BAR0, BASE_FEATURES, DEVICE, ISR, NOTIFY, Rig};

const TABLE: &str = include_str!("../../../spec/virtio_registers.csv");

/// Structure, field, offset, width and access of each row with a plain number for a width.
fn rows(structure: &str) -> Vec<(String, u64, u16, String)> {
    let wanted = |line: &&str| line.starts_with(&format!("{structure},"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.splitn(7, ',').collect();
        let offset = u64::from_str_radix(cells[2].trim_start_matches("0x"), 16).expect(line);
        let width = cells[3].parse().expect(line);
        (cells[1].to_owned(), offset, width, cells[4].to_owned())
    };
    TABLE.lines().filter(wanted).map(row).collect()
}

/// RO fields keep their value whatever is written; the others are covered one by one below.
#[test]
fn a_read_only_field_of_common_configuration_ignores_writes() {
    let fields = rows("virtio_pci_common_cfg");
    assert_eq!(fields.len(), 20);
    for (field, offset, width, access) in fields {
        if access != "RO" {
            continue;
        }
        let mut rig = Rig::placed(net());
        for queue in [0_u32, 1, 9] {
            rig.set_common(CommonReg::QueueSelect, queue);
            let before = rig.mmio_read(BAR0 + offset, width);
            rig.mmio_write(BAR0 + offset, &[0xa5; 8][..width.into()]);
            assert_eq!(rig.mmio_read(BAR0 + offset, width), before, "{field}");
        }
    }
}

/// RW fields without a rule of their own hold what is written, in each half on its own (PCI-LAY-DEV-01).
#[test]
fn a_writable_field_of_common_configuration_holds_what_is_written() {
    let plain = ["feature_select", "queue_select", "queue_desc", "queue_driver", "queue_device"];
    let mut checked = 0;
    for (field, offset, width, access) in rows("virtio_pci_common_cfg") {
        if !access.starts_with("RW") || !plain.iter().any(|name| field.ends_with(name)) {
            continue;
        }
        let mut rig = Rig::placed(net());
        let part = width.min(4);
        for at in (0..width).step_by(part.into()).rev() {
            // Queue 1, when this is the selector itself.
            let value = [1, 0, 0x5a, 0xc3];
            rig.mmio_write(BAR0 + offset + u64::from(at), &value[..part.into()]);
            let read = rig.mmio_read(BAR0 + offset + u64::from(at), part);
            assert_eq!(read, value[..part.into()], "{field}");
        }
        checked += 1;
    }
    assert_eq!(checked, 6);
}

/// What the driver finds after power-on and after a reset, by the table's column.
#[test]
fn registers_have_their_reset_values() {
    let mut rig = Rig::placed(net());
    for round in 0..2 {
        assert_eq!(rig.common(CommonReg::DeviceStatus), 0);
        assert_eq!(rig.common(CommonReg::ConfigMsixVector), NO_VECTOR.into());
        assert_eq!(rig.common(CommonReg::NumQueues), 2);
        for reg in [CommonReg::DeviceFeatureSelect, CommonReg::DriverFeature] {
            assert_eq!(rig.common(reg), 0);
        }
        for queue in 0..2 {
            rig.set_common(CommonReg::QueueSelect, queue);
            assert_eq!(rig.common(CommonReg::QueueSize), 256, "round {round}");
            assert_eq!(rig.common(CommonReg::QueueEnable), 0, "PCI-CC-DEV-08");
            assert_eq!(rig.common(CommonReg::QueueMsixVector), NO_VECTOR.into(), "PCI-MSIX-DEV-07");
            assert_eq!(rig.common(CommonReg::QueueNotifyOff), queue);
            assert_eq!(rig.common(CommonReg::QueueDescLow), 0);
            assert_eq!(rig.common(CommonReg::QueueDeviceHigh), 0);
        }
        let rings = [crate::rig::Ring::in_host(0, 64), crate::rig::Ring::in_host(1, 64)];
        rig.start(BASE_FEATURES, &rings);
        rig.set_common(CommonReg::DeviceStatus, 0);
    }
}

/// PCI-CC-DEV-14.
#[test]
fn a_queue_that_does_not_exist_has_size_zero_and_keeps_nothing() {
    let mut rig = Rig::placed(net());
    rig.set_common(CommonReg::QueueSelect, 2);
    assert_eq!(rig.common(CommonReg::QueueSize), 0);
    rig.set_common(CommonReg::QueueSize, 64);
    rig.set_common(CommonReg::QueueEnable, 1);
    assert_eq!((rig.common(CommonReg::QueueSize), rig.common(CommonReg::QueueEnable)), (0, 0));
}

/// PCI-CC-DEV-15: only powers of two up to the maximum are taken.
#[test]
fn a_queue_size_that_cannot_be_is_not_taken() {
    let mut rig = Rig::placed(net());
    for (written, read) in [(128, 128), (100, 128), (512, 128), (0, 128), (1, 1)] {
        rig.set_common(CommonReg::QueueSize, written);
        assert_eq!(rig.common(CommonReg::QueueSize), read, "wrote {written}");
    }
}

/// An enabled queue cannot be disabled or moved but by a reset.
#[test]
fn an_enabled_queue_stays_enabled_and_where_it_is() {
    let (mut rig, ring) = transmitter(net(), BASE_FEATURES);
    rig.set_common(CommonReg::QueueSelect, 1);
    for reg in [CommonReg::QueueEnable, CommonReg::QueueDescLow, CommonReg::QueueSize] {
        rig.set_common(reg, 0);
    }
    assert_eq!(rig.common(CommonReg::QueueEnable), 1);
    assert_eq!(rig.common(CommonReg::QueueDescLow), ring.desc as u32);
    assert_eq!(rig.common(CommonReg::QueueSize), 256);
}

/// PCI-CC-DEV-03: each window, and the ones beyond.
#[test]
fn the_feature_windows_show_what_is_offered() {
    let mut rig = Rig::placed(net());
    let offered = features::VERSION_1
        | features::ACCESS_PLATFORM
        | features::ORDER_PLATFORM
        | features::INDIRECT_DESC
        | features::EVENT_IDX
        | net_spec::F_MAC
        | net_spec::F_MTU
        | net_spec::F_STATUS;
    for (select, expected) in [(0, offered as u32), (1, (offered >> 32) as u32), (2, 0), (77, 0)] {
        rig.set_common(CommonReg::DeviceFeatureSelect, select);
        assert_eq!(rig.common(CommonReg::DeviceFeature), expected);
    }
}

/// FEAT-DEV-03, and what a card that needs ACCESS_PLATFORM may do.
#[test]
fn features_ok_sticks_only_to_a_workable_set() {
    let platform = features::ACCESS_PLATFORM;
    let needs = || CardConfig { address_policy: AddressPolicy::NeedsAccessPlatform, ..net() };
    let cases = [
        (net(), BASE_FEATURES, true),
        (net(), features::VERSION_1, true),
        (net(), platform, false),
        (net(), BASE_FEATURES | features::RING_PACKED, false),
        (needs(), features::VERSION_1, false),
        (needs(), features::VERSION_1 | platform, true),
        (CardConfig { refuse_features_ok: true, ..net() }, BASE_FEATURES, false),
        (CardConfig { withheld_features: platform, ..net() }, BASE_FEATURES, false),
        (CardConfig { withheld_features: platform, ..needs() }, features::VERSION_1, true),
    ];
    for (config, accepted, works) in cases {
        let mut rig = Rig::placed(config);
        let status = rig.negotiate(accepted);
        assert_eq!(status & status::FEATURES_OK != 0, works, "{accepted:#x}");
    }
}

/// INIT-DRV-04, from the card's side.
#[test]
fn accepted_features_are_frozen_by_features_ok() {
    let mut rig = Rig::placed(net());
    rig.negotiate(BASE_FEATURES);
    rig.set_common(CommonReg::DriverFeatureSelect, 0);
    rig.set_common(CommonReg::DriverFeature, u32::MAX);
    assert_eq!(rig.common(CommonReg::DriverFeature), 0);
    rig.set_common(CommonReg::DriverFeatureSelect, 1);
    assert_eq!(rig.common(CommonReg::DriverFeature), 3);
}

/// STAT-DRV-02, from the card's side; DEVICE_NEEDS_RESET is the card's own.
#[test]
fn status_bits_go_away_only_by_a_reset() {
    let mut rig = Rig::placed(net());
    rig.negotiate(BASE_FEATURES);
    rig.set_common(CommonReg::DeviceStatus, status::DEVICE_NEEDS_RESET.into());
    assert_eq!(rig.common(CommonReg::DeviceStatus), 0x0b);
    rig.set_common(CommonReg::DeviceStatus, status::ACKNOWLEDGE.into());
    assert_eq!(rig.common(CommonReg::DeviceStatus), 0x0b);
    rig.set_common(CommonReg::DeviceStatus, 0);
    assert_eq!(rig.common(CommonReg::DeviceStatus), 0);
}

/// The driver is not ready before features are agreed.
#[test]
fn driver_ok_needs_features_ok() {
    let mut rig = Rig::placed(CardConfig { refuse_features_ok: true, ..net() });
    let status = rig.negotiate(BASE_FEATURES);
    rig.set_common(CommonReg::DeviceStatus, u32::from(status | status::DRIVER_OK));
    assert_eq!(rig.common(CommonReg::DeviceStatus) as u8 & status::DRIVER_OK, 0);
}

/// PCI-MSIX-DEV-04 to PCI-MSIX-DEV-06, PCI-MSIX-DEV-09.
#[test]
fn a_vector_that_exists_is_kept_and_another_reads_back_as_none() {
    let mut rig = Rig::placed(net());
    for reg in [CommonReg::ConfigMsixVector, CommonReg::QueueMsixVector] {
        for vector in 0..8 {
            rig.set_common(reg, vector);
            assert_eq!(rig.common(reg), vector);
        }
        for none in [8, u32::from(NO_VECTOR)] {
            rig.set_common(reg, none);
            assert_eq!(rig.common(reg), u32::from(NO_VECTOR));
        }
    }
}

/// Doorbells are write only: reading them is harmless.
#[test]
fn reading_a_doorbell_rings_nothing() {
    let (mut rig, _) = transmitter(net(), BASE_FEATURES);
    assert_eq!(rig.mmio_read(BAR0 + NOTIFY + 4, 2), [0, 0]);
    rig.settle();
    assert!(rig.log.is_empty());
    assert_eq!(rig.card.counters().doorbells, 0);
}

/// STAT-DEV-01.
#[test]
fn a_doorbell_before_driver_ok_fetches_nothing() {
    let mut rig = Rig::placed(net());
    rig.negotiate(BASE_FEATURES);
    rig.enable(&crate::rig::Ring::in_host(1, 64));
    rig.doorbell(1);
    rig.settle();
    assert!(rig.log.is_empty());
}

/// The table's fields of the network device, read one by one.
#[test]
fn the_network_configuration_is_where_the_table_says() {
    let settings = NetConfig { mac: [2, 3, 4, 5, 6, 7], mtu: 9000, ..NetConfig::default() };
    let mut rig = Rig::placed(CardConfig::new(DeviceConfig::Net(settings)));
    for (field, offset, width, access) in rows("virtio_net_config") {
        assert_eq!(access, "RO");
        let expected = match field.as_str() {
            "mac" => vec![2, 3, 4, 5, 6, 7],
            "status" => vec![1, 0],
            "mtu" => 9000_u16.to_le_bytes().to_vec(),
            _ => vec![0; width.into()],
        };
        rig.mmio_write(BAR0 + DEVICE + offset, &vec![0xff; width.into()]);
        assert_eq!(rig.mmio_read(BAR0 + DEVICE + offset, width), expected, "{field}");
    }
}

/// The table's fields of the block device.
#[test]
fn the_block_configuration_is_where_the_table_says() {
    let settings = BlkConfig { seg_max: 99, ..BlkConfig::default() };
    let mut rig = Rig::placed(CardConfig::new(DeviceConfig::Blk(settings)));
    for (field, offset, width, _) in rows("virtio_blk_config") {
        let expected: u64 = match field.as_str() {
            "capacity" => 131_072,
            "seg_max" => 99,
            "blk_size" => blk::SECTOR_BYTES,
            "max_discard_sectors" | "max_write_zeroes_sectors" => 1 << 22,
            "max_discard_seg" | "max_write_zeroes_seg" => 16,
            "discard_sector_alignment" => 1,
            _ => 0,
        };
        rig.mmio_write(BAR0 + DEVICE + offset, &vec![0xff; width.into()]);
        let read = rig.mmio_read(BAR0 + DEVICE + offset, width);
        assert_eq!(read, expected.to_le_bytes()[..width.into()], "{field}");
    }
}

/// PCI-CC-DEV-06 and PCI-CCN: a change of the configuration is counted and told.
#[test]
fn a_link_that_goes_down_changes_the_generation_and_interrupts() {
    let (mut rig, _) = transmitter(net(), BASE_FEATURES);
    let before = rig.common(CommonReg::ConfigGeneration);
    rig.card.set_link_up(false);
    rig.settle();
    assert_ne!(rig.common(CommonReg::ConfigGeneration), before);
    assert_eq!(rig.mmio_read(BAR0 + DEVICE + 6, 2), [0, 0]);
    assert_eq!(rig.log.len(), 1, "one message, by the configuration vector");
    assert_eq!(rig.mmio_read(BAR0 + ISR, 1), [2], "PCI-ISR-DEV-02");
    assert_eq!(rig.mmio_read(BAR0 + ISR, 1), [0], "PCI-ISR-DEV-05");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No access of any width and place makes the card fail, and each read is answered.
    #[test]
    fn every_access_is_survived(
        accesses in prop::collection::vec(
            (0_u64..0x1_2000, 1_u16..9, any::<bool>(), any::<u64>()), 1..40
        ),
    ) {
        let mut rig = Rig::placed(net());
        for (offset, len, write, value) in accesses {
            // Inside one page, as every request is.
            let address = BAR0 + offset.min(offset & !0xfff | (0x1000 - u64::from(len)));
            if write {
                rig.mmio_write(address, &value.to_le_bytes()[..len.into()]);
            } else {
                let answer = rig.mmio_request(address, len);
                prop_assert_eq!(answer.byte_count, len);
            }
        }
    }

    /// Reading byte by byte gives what reading in natural widths gives.
    #[test]
    fn the_width_of_a_read_does_not_change_what_is_read(offset in 0_u64..64, len in 1_u16..16) {
        let mut rig = Rig::placed(net());
        let whole = rig.mmio_read(BAR0 + offset, len);
        let bytes: Vec<u8> =
            (0..len).flat_map(|i| rig.mmio_read(BAR0 + offset + u64::from(i), 1)).collect();
        prop_assert_eq!(whole, bytes);
    }
}
