//! Lays a card's configuration space out: header, base addresses, the two chains of capabilities.
//!
//! ```text
//!  0x40  PCI Express ─▶ vendor data ─▶ MSI-X ─▶ virtio structures ─▶ power management
//!  0x100 AER ─▶ Device Serial Number
//! ```
//!
//! The first 256 bytes have room for 192 bytes of capabilities. A card with memory and vendor data has 200
//! of them. The last 8 of PCI Express are the second set of slot registers, which an endpoint has no use
//! for and reads as zeroes; where room is short the capability ends before them.

use pcie_sim::aer;
use pcie_sim::config_space::{ConfigSpace, access};
use pcie_sim::spec::pci;
use pcie_sim::spec::pci::{bar, cap_id, express, extended, header, msix, power, status};
use pcie_sim::spec::virtio_pci::{
    CAP_VENDOR, COMMON_CFG_BYTES, DEVICE_ID_BASE, VENDOR_ID, bounce, cap, cfg_type,
};

use super::{CardSpace, Identity, PAYLOAD_SUPPORTED, Places};
use crate::config::CardConfig;
use crate::layout;
use crate::msix::Msix;

/// A configuration space that grows.
struct Builder {
    space: ConfigSpace,
    at: Places,
}

/// The configuration space of a card behind which `identity` is.
pub(super) fn build(config: &CardConfig, identity: &Identity) -> CardSpace {
    let mut builder = Builder { space: ConfigSpace::new(), at: Places::default() };
    builder.header(identity);
    builder.bars(config);
    builder.express(config);
    if let Some(vendor) = config.vendor_data {
        let at = builder.structure(cfg_type::VENDOR, cap::BYTES_VENDOR);
        builder.put(at + cap::VENDOR_ID, &vendor.vendor_id.to_le_bytes());
        builder.put(at + cap::VENDOR_DATA, &vendor.data);
    }
    builder.msix(config.msix_vectors);
    builder.virtio(identity);
    builder.region(config);
    builder.power(config.no_soft_reset);
    builder.at.aer = aer::put_capability(&mut builder.space);
    builder.serial_number(config.serial_number);
    builder.space.built();
    CardSpace { registers: builder.space, at: builder.at }
}

/// Bytes of the capabilities below 0x100, with PCI Express whole.
fn bytes_wanted(config: &CardConfig) -> u16 {
    let fixed = express::BYTES + msix::BYTES + power::BYTES;
    let plain = 3 * u16::from(cap::BYTES) + 2 * u16::from(cap::BYTES_WITH_DATA);
    let region = if config.memory_bytes == 0 { 0 } else { u16::from(cap::BYTES_64) };
    let vendor = config.vendor_data.map_or(0, |_| u16::from(cap::BYTES_VENDOR));
    fixed + plain + region + vendor
}

impl Builder {
    fn put(&mut self, at: u16, data: &[u8]) {
        self.space.put(at, data);
    }

    fn header(&mut self, identity: &Identity) {
        self.put(header::VENDOR_ID, &VENDOR_ID.to_le_bytes());
        self.put(header::DEVICE_ID, &(DEVICE_ID_BASE + identity.device_type).to_le_bytes());
        self.put(header::STATUS, &status::CAPABILITIES.to_le_bytes());
        self.put(header::REVISION_ID, &[1]);
        self.put(header::CLASS_CODE, &identity.class_code.to_le_bytes()[..3]);
        self.put(header::SUBSYSTEM_VENDOR_ID, &VENDOR_ID.to_le_bytes());
        self.put(header::SUBSYSTEM_ID, &(0x40 + identity.device_type).to_le_bytes());
        self.space.rights(0, access::HEADER);
    }

    /// The bits of a base address that its size leaves are writable. PCI 3.0 §6.2.5.1.
    fn bars(&mut self, config: &CardConfig) {
        let register = |index: u16| header::BAR0 + 4 * index;
        let mut bar = |index: u16, bytes: u64| {
            for (offset, bits) in [(0, !(bytes - 1) as u32), (4, (!(bytes - 1) >> 32) as u32)] {
                if offset == 0 || index == 2 {
                    self.space.rights(register(index) + offset, &[(0, bits, access::Access::Rw)]);
                }
            }
        };
        bar(0, layout::REGISTERS_BYTES.into());
        bar(1, Msix::bar_bytes(config.msix_vectors).into());
        if config.memory_bytes != 0 {
            bar(2, config.memory_bytes);
            let kind = bar::MEMORY_64 | bar::PREFETCHABLE;
            self.put(register(2), &kind.to_le_bytes());
        }
    }

    fn express(&mut self, config: &CardConfig) {
        let room = header::CAPABILITIES_END - header::BYTES;
        let short = bytes_wanted(config) > room;
        let len = if short { express::SLOT_CAPABILITIES_2 } else { express::BYTES };
        let at = self.space.capability(cap_id::PCI_EXPRESS, len);
        self.at.express = at;
        let kind = 2 | u16::from(express::TYPE_ENDPOINT) << 4;
        self.put(at + express::CAPABILITIES, &kind.to_le_bytes());
        let device = u32::from(express::size_code(PAYLOAD_SUPPORTED))
            | express::CAPABLE_EXTENDED_TAG
            | express::CAPABLE_ROLE_BASED_ERRORS
            | express::CAPABLE_FLR;
        self.put(at + express::DEVICE_CAPABILITIES, &device.to_le_bytes());
        // PCIe 5.0 §7.5.3.4 defaults: relaxed ordering and no snoop allowed, payload 128, reads 512.
        let control = express::CONTROL_RELAXED_ORDERING
            | express::CONTROL_EXTENDED_TAG
            | express::CONTROL_NO_SNOOP
            | express::size_code(512) << 12;
        self.put(at + express::DEVICE_CONTROL, &control.to_le_bytes());
        self.link(at, config);
        let device_2 = express::CAPABLE_TIMEOUT_RANGES
            | express::CAPABLE_TIMEOUT_OFF
            | express::CAPABLE_TAG_10_COMPLETER
            | express::CAPABLE_TAG_10_REQUESTER
            | express::CAPABLE_PREFIXES;
        self.put(at + express::DEVICE_CAPABILITIES_2, &device_2.to_le_bytes());
        self.space.rights(at, access::EXPRESS);
    }

    /// The link's registers: the card is as fast and as wide as the link that it is in.
    fn link(&mut self, at: u16, config: &CardConfig) {
        let link = u32::from(config.link_generation) | u32::from(config.link_lanes) << 4;
        let capabilities = link | express::LINK_CAPABLE_ASPM_OPTIONALITY;
        self.put(at + express::LINK_CAPABILITIES, &capabilities.to_le_bytes());
        let status = link as u16 | express::LINK_STATUS_SLOT_CLOCK;
        self.put(at + express::LINK_STATUS, &status.to_le_bytes());
        let speeds = ((1_u32 << config.link_generation) - 1) << 1;
        self.put(at + express::LINK_CAPABILITIES_2, &speeds.to_le_bytes());
        self.put(at + express::LINK_CONTROL_2, &[config.link_generation]);
        if config.link_generation >= 3 {
            self.put(at + express::LINK_STATUS_2, &express::LINK_STATUS_2_EQUALISED.to_le_bytes());
        }
    }

    fn msix(&mut self, vectors: u16) {
        let at = self.space.capability(cap_id::MSIX, msix::BYTES);
        self.at.msix = at;
        self.put(at + msix::CONTROL, &(vectors - 1).to_le_bytes());
        self.put(at + msix::TABLE, &1_u32.to_le_bytes());
        self.put(at + msix::PBA, &(Msix::pending_offset(vectors) | 1).to_le_bytes());
        self.space.rights(at, access::MSIX);
    }

    /// A virtio capability of a type: where it begins.
    fn structure(&mut self, kind: u8, len: u8) -> u16 {
        let at = self.space.capability(CAP_VENDOR, len.into());
        self.put(at + cap::LEN, &[len, kind]);
        at
    }

    /// A virtio capability that points to a structure in BAR0.
    fn registers(&mut self, kind: u8, len: u8, offset: u32, length: u32) -> u16 {
        let at = self.structure(kind, len);
        self.put(at + cap::OFFSET, &offset.to_le_bytes());
        self.put(at + cap::LENGTH, &length.to_le_bytes());
        at
    }

    fn virtio(&mut self, identity: &Identity) {
        let (plain, longer) = (cap::BYTES, cap::BYTES_WITH_DATA);
        self.registers(cfg_type::COMMON, plain, layout::COMMON, COMMON_CFG_BYTES.into());
        let doorbells = u32::from(identity.queues) * layout::NOTIFY_MULTIPLIER;
        let notify = self.registers(cfg_type::NOTIFY, longer, layout::NOTIFY, doorbells);
        let multiplier = layout::NOTIFY_MULTIPLIER.to_le_bytes();
        self.put(notify + cap::NOTIFY_OFF_MULTIPLIER, &multiplier);
        self.registers(cfg_type::ISR, plain, layout::ISR, 1);
        let device_bytes = identity.config_bytes as u32;
        self.registers(cfg_type::DEVICE, plain, layout::DEVICE, device_bytes);
        let window = self.structure(cfg_type::PCI, longer);
        self.at.window = window;
        self.space.rights(window, super::access::WINDOW);
    }

    /// The memory on the card: shared with the driver, or its bounce buffer.
    fn region(&mut self, config: &CardConfig) {
        if config.memory_bytes == 0 {
            return;
        }
        let (kind, offset, length) = match config.swiotlb.filter(|swiotlb| swiotlb.capability) {
            Some(swiotlb) => (cfg_type::SWIOTLB, swiotlb.offset, swiotlb.bytes),
            None => (cfg_type::SHARED_MEMORY, 0, config.memory_bytes),
        };
        let at = self.registers(kind, cap::BYTES_64, offset as u32, length as u32);
        // Either kind has one region, of id 0.
        self.put(at + cap::BAR, &[2, bounce::ID]);
        self.put(at + cap::OFFSET_HI, &((offset >> 32) as u32).to_le_bytes());
        self.put(at + cap::LENGTH_HI, &((length >> 32) as u32).to_le_bytes());
    }

    fn power(&mut self, no_soft_reset: bool) {
        let at = self.space.capability(cap_id::POWER_MANAGEMENT, power::BYTES);
        self.at.power = at;
        self.put(at + power::CAPABILITIES, &power::VERSION.to_le_bytes());
        if no_soft_reset {
            self.put(at + power::CONTROL, &power::CONTROL_NO_SOFT_RESET.to_le_bytes());
        }
        self.space.rights(at, access::POWER);
    }

    fn serial_number(&mut self, number: u64) {
        let bytes = pci::extended::SERIAL_NUMBER_BYTES;
        let at = self.space.extended(extended::SERIAL_NUMBER, 1, bytes);
        self.put(at + extended::SERIAL_NUMBER_VALUE, &number.to_le_bytes());
    }
}
