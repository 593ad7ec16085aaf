//! What the analyzer learns of the card from configuration and register accesses.

use pcie_sim::spec::features;
use pcie_sim::spec::pci::{cap_id, command, header};
use pcie_sim::spec::virtio_pci::CommonReg;
use pcie_sim::spec::virtq::DESC_F_WRITE;
use proptest::prelude::*;

use super::fake_link::{AVAIL, BAR0, BAR1, BAR2, DESC, FakeLink, SIZE, USED, desc};
use crate::analyzer::config_shadow::{ConfigShadow, Limits};
use crate::analyzer::registers::Life;
use crate::analyzer::{Purpose, Region, Role};

#[test]
fn enumeration_tells_bars_capabilities_and_limits() {
    let link = FakeLink::enumerated();
    let config = link.analyzer.config().expect("somebody read it");
    assert_eq!(config.bar(0), Some((BAR0, 0x4000)));
    assert_eq!(config.bar(1), Some((BAR1, 0x8000)));
    assert_eq!(config.bar(2), Some((BAR2, 1 << 20)));
    assert_eq!(config.bar(3), None, "the upper half of BAR 2");
    let layout = config.layout();
    assert_eq!(layout.common.map(|common| (common.bar, common.offset)), Some((0, 0)));
    assert_eq!(layout.notify_off_multiplier, 4);
    assert_eq!(layout.window, Some(0xd4));
    assert_eq!(layout.shared_memory[0].1.length, 1 << 20);
    let msix = layout.msix.expect("the capability was read");
    assert_eq!((msix.vectors, msix.table.bar, msix.pending.offset), (2, 1, 0x4000));
    assert_eq!(config.limits(), Some(Limits { payload: 256, read_request: 512 }));
    assert!(config.memory_space() && config.bus_master_allowed());
}

/// PCI 3.0 §6.2.5.1: all ones ask for the size.
#[test]
fn sizing_is_not_mistaken_for_an_address() {
    let mut link = FakeLink::host();
    for register in 0..4 {
        link.config_write(header::BAR0 + 4 * register, &u32::MAX.to_le_bytes());
    }
    let config = link.analyzer.config().expect("somebody read it");
    assert_eq!(config.bar(0), Some((BAR0, 0x4000)));
    assert_eq!(config.bar(2), Some((BAR2, 1 << 20)));
    link.config_read(header::BAR0, &0xffff_c000_u32.to_le_bytes());
    let config = link.analyzer.config().expect("somebody read it");
    assert_eq!(config.bar(0), Some((BAR0, 0x4000)), "the mask is no address either");
    link.config_write(header::BAR0, &0xfd00_0000_u32.to_le_bytes());
    let config = link.analyzer.config().expect("somebody read it");
    assert_eq!(config.bar(0), Some((0xfd00_0000, 0x4000)));
}

proptest! {
    #[test]
    fn a_bar_is_found_whatever_its_size_and_place(
        bits in 12_u32..40, place in 1_u64..1000, prefetchable in any::<bool>()
    ) {
        let (size, flags) = (1_u64 << bits, 4 | u32::from(prefetchable) << 3);
        let base = place << bits.max(20);
        let mask = !(size - 1);
        let mut shadow = ConfigShadow::new();
        let halves = |value: u64| [value as u32, (value >> 32) as u32];
        shadow.read_done(header::BAR0, &flags.to_le_bytes());
        for (i, (mask, base)) in halves(mask).into_iter().zip(halves(base)).enumerate() {
            let offset = header::BAR0 + 4 * i as u16;
            let mask = if i == 0 { mask | flags } else { mask };
            shadow.write_departs(offset, &u32::MAX.to_le_bytes());
            shadow.read_done(offset, &mask.to_le_bytes());
            shadow.write_departs(offset, &base.to_le_bytes());
        }
        prop_assert_eq!(shadow.bar(0), Some((base, size)));
    }
}

#[test]
fn a_bar_that_nobody_sized_reaches_as_far_as_what_lies_behind_it() {
    let mut shadow = ConfigShadow::new();
    shadow.read_done(header::BAR0, &0xfe00_0000_u32.to_le_bytes());
    shadow.read_done(header::CAPABILITIES, &[0x90, 0, 0, 0]);
    shadow.read_done(0x90, &[9, 0, 16, 1]);
    shadow.read_done(0x98, &0x2000_u32.to_le_bytes());
    shadow.read_done(0x9c, &64_u32.to_le_bytes());
    assert_eq!(shadow.bar(0), Some((0xfe00_0000, 0x4000)));
}

#[test]
fn a_function_that_refuses_is_not_the_device() {
    let mut link = FakeLink::dark();
    link.config_read(0, &[0xff; 4]);
    assert_eq!(link.analyzer.config().map(ConfigShadow::vendor), Some(0xffff));
    assert_eq!(link.analyzer.queues().count(), 0);
}

#[test]
fn accesses_with_memory_space_off_reach_nothing() {
    let mut link = FakeLink::enumerated();
    link.command(command::BUS_MASTER);
    link.common(CommonReg::DeviceStatus, 1);
    assert_eq!(link.last.expect("a TLP was sent").role, Role::Mmio(Region::Nowhere));
    assert_eq!(link.analyzer.registers().life(), Life::Fresh);
}

#[test]
fn a_queue_is_known_when_it_is_enabled() {
    let link = FakeLink::running(BAR2, AVAIL, BAR2 + 0x2000, 1 << 32);
    let queue = link.analyzer.queues().next().expect("queue 0 is on");
    assert_eq!((queue.index, queue.size), (0, SIZE));
    assert_eq!(
        (queue.desc_on_card, queue.driver_on_card, queue.device_on_card),
        (true, false, true)
    );
    assert_eq!(link.analyzer.registers().features(), features::VERSION_1);
}

#[test]
fn a_queue_size_that_is_only_read_counts() {
    let mut link = FakeLink::enumerated();
    link.set_up(DESC, AVAIL, USED, 1 << 32);
    link.common(CommonReg::QueueSelect, 1);
    link.common_reads(CommonReg::QueueSize, 16);
    link.common(CommonReg::QueueDescLow, 0x8_0000);
    link.common(CommonReg::QueueDriverLow, 0x8_1000);
    link.common(CommonReg::QueueDeviceLow, 0x8_2000);
    link.common(CommonReg::QueueEnable, 1);
    let sizes: Vec<u16> = link.analyzer.queues().map(|queue| queue.size).collect();
    assert_eq!(sizes, [SIZE, 16]);
}

/// Virtio 1.4, "PCI configuration access capability": the window is another way to the BARs.
#[test]
fn accesses_through_the_configuration_window_are_followed() {
    let mut link = FakeLink::enumerated();
    let mut window = |offset: u32, length: u32, data: &[u8]| {
        link.config_write(0xd4 + 4, &[0]);
        link.config_write(0xd4 + 8, &offset.to_le_bytes());
        link.config_write(0xd4 + 12, &length.to_le_bytes());
        link.config_write(0xd4 + 16, data);
    };
    window(0x14, 1, &[1, 0, 0, 0]);
    window(0x16, 2, &[3, 0, 0, 0]);
    link.config_write(0xd4 + 8, &0x18_u32.to_le_bytes());
    link.config_read(0xd4 + 16, &[0, 1, 0, 0]);
    assert_eq!(link.analyzer.registers().life(), Life::Setup);
    assert_eq!(link.analyzer.registers().selected(), 3);
    assert_eq!(link.analyzer.registers().queue(3).map(|queue| queue.size), Some(256));
}

#[test]
fn a_reset_forgets_queues_and_buffers_once_it_is_confirmed() {
    let mut link = FakeLink::host();
    link.fetches(0, 0, desc(0x5000, 64, DESC_F_WRITE, 0));
    link.common(CommonReg::DeviceStatus, 0);
    assert_eq!(link.analyzer.queues().count(), 1, "what is under way still has its purpose");
    link.common_reads(CommonReg::DeviceStatus, 0);
    assert_eq!(link.analyzer.queues().count(), 0);
    assert_eq!(link.analyzer.registers().features(), 0);
    assert_eq!(link.reads(AVAIL, &[0; 4]), Purpose::Unknown);
    assert_eq!(link.reads(0x5000, &[0; 4]), Purpose::Unknown);
}

#[test]
fn after_a_reset_indices_begin_at_zero_again() {
    let mut link = FakeLink::host();
    for index in 0..5 {
        link.transmits(index, 0, 0x5000);
    }
    link.common(CommonReg::DeviceStatus, 0);
    link.common_reads(CommonReg::DeviceStatus, 0);
    link.set_up(DESC, AVAIL, USED, 1 << 32);
    link.common(CommonReg::DeviceStatus, 15);
    link.transmits(0, 0, 0x5000);
    assert_eq!(link.log().requests.len(), 6);
    assert_eq!(link.rules(), [""; 0]);
}

#[test]
fn a_driver_that_does_not_wait_for_the_reset_ends_it_by_beginning_again() {
    let mut link = FakeLink::host();
    link.common(CommonReg::DeviceStatus, 0);
    link.common(CommonReg::DeviceStatus, 1);
    assert_eq!(link.analyzer.queues().count(), 0);
}

/// Virtio 1.4, "Virtqueue Reset".
#[test]
fn a_queue_reset_forgets_that_queue_once_it_reads_zero() {
    let mut link = FakeLink::host();
    link.common(CommonReg::QueueReset, 1);
    link.common_reads(CommonReg::QueueReset, 1);
    assert_eq!(link.analyzer.queues().count(), 1);
    link.common_reads(CommonReg::QueueReset, 0);
    assert_eq!(link.analyzer.queues().count(), 0);
}

#[test]
fn features_of_the_upper_window_are_known() {
    let all = features::VERSION_1 | features::EVENT_IDX | features::ACCESS_PLATFORM;
    let link = FakeLink::running(DESC, AVAIL, USED, all);
    assert_eq!(link.analyzer.registers().features(), all);
}

/// A completion of a configuration read carries the whole doubleword. PCIe 5.0 §2.2.9.
#[test]
fn a_narrow_configuration_read_teaches_what_was_asked_for_and_no_more() {
    let mut link = FakeLink::dark();
    link.config_read(header::VENDOR_ID, &0x1af4_u16.to_le_bytes());
    link.config_read(header::STATUS, &[0x10, 0]);
    link.config_read(header::CAPABILITIES, &[0x80]);
    link.config_read(0x80, &[cap_id::MSIX, 0]);
    link.config_read(0x82, &[3, 0]);
    let config = link.analyzer.config().expect("somebody read it");
    assert_eq!(config.vendor(), 0x1af4);
    assert_eq!(config.layout().msix.map(|msix| msix.vectors), Some(4));
    assert!(config.bus_master_allowed(), "nobody read the command register");
    link.config_read(header::COMMAND, &[0, 0]);
    let config = link.analyzer.config().expect("somebody read it");
    assert!(!config.bus_master_allowed());
}
