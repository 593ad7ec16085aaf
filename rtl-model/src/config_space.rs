//! PCI configuration space: 4 KiB of bytes, with a mask that says which bits software may change.
//!
//! What a write means to the rest of the card is read back out by [`ConfigSpace::settings`].
//! Left out: extended capabilities (the list at 0x100 is empty), function level reset, INTx.

use pcie_sim::spec::pci::{bar, cap_id, command, express, header, msix, status};
use pcie_sim::spec::virtio_pci::{CAP_VENDOR, DEVICE_ID_BASE, VENDOR_ID, bounce, cap, cfg_type};

use crate::config::CardConfig;
use crate::layout;
use crate::msix::Msix;

/// Bytes of a PCI Express function's configuration space.
pub(crate) const BYTES: usize = 4096;
/// The largest payload that the card can send or take, in bytes: the largest there is, so that the slot
/// alone decides.
const PAYLOAD_SUPPORTED: u16 = 4096;
/// Device Status bit 5: reads are unanswered.
const TRANSACTIONS_PENDING: u8 = 1 << 5;
/// Device Status bit 3: an unsupported request came.
const UNSUPPORTED_DETECTED: u8 = 1 << 3;

/// The bytes, and what may be done to each bit.
#[derive(Debug)]
pub(crate) struct ConfigSpace {
    bytes: Box<[u8; BYTES]>,
    writable: Box<[u8; BYTES]>,
    /// Bits that a written one clears.
    clearable: Box<[u8; BYTES]>,
}

/// What software has set, as far as the rest of the card must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Memory requests to the BARs are answered.
    pub(crate) memory_space: bool,
    /// The card may send memory requests.
    pub(crate) bus_master: bool,
    /// Where BAR0, BAR1 and BAR2 are.
    pub(crate) bars: [u64; 3],
    /// Max_Payload_Size, bytes.
    pub(crate) payload_max: u16,
    /// Max_Read_Request_Size, bytes.
    pub(crate) read_max: u16,
    /// Tags of 8 bits may be used.
    pub(crate) extended_tag: bool,
    /// MSI-X Enable.
    pub(crate) msix_enabled: bool,
    /// MSI-X Function Mask.
    pub(crate) msix_masked: bool,
}

/// What the PCI configuration access capability points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// BAR index.
    pub(crate) bar: u8,
    /// Offset in it.
    pub(crate) offset: u32,
    /// Bytes.
    pub(crate) length: u32,
}

impl ConfigSpace {
    /// The configuration space of a card with `queues` queues and `device_bytes` of device configuration.
    pub(crate) fn new(config: &CardConfig, identity: &Identity) -> Self {
        let mut space = Self {
            bytes: Box::new([0; BYTES]),
            writable: Box::new([0; BYTES]),
            clearable: Box::new([0; BYTES]),
        };
        space.header(identity);
        space.bars(config);
        space.express(config);
        space.msix(config.msix_vectors);
        space.virtio(config, identity);
        space.power(config.memory_bytes != 0);
        space
    }

    fn header(&mut self, identity: &Identity) {
        self.put(header::VENDOR_ID, &VENDOR_ID.to_le_bytes());
        self.put(header::DEVICE_ID, &(DEVICE_ID_BASE + identity.device_type).to_le_bytes());
        let commands = command::MEMORY_SPACE
            | command::BUS_MASTER
            | command::SERR
            | command::INTX_DISABLE
            | 1 << 6;
        self.allow(header::COMMAND, &commands.to_le_bytes());
        self.put(header::STATUS, &status::CAPABILITIES.to_le_bytes());
        // Status bits 15:11 and 8 report errors and are cleared by writing ones.
        self.clearable[usize::from(header::STATUS) + 1] = 0xf9;
        self.put(header::REVISION_ID, &[1]);
        self.put(header::CLASS_CODE, &identity.class_code.to_le_bytes()[..3]);
        self.allow(header::CACHE_LINE_SIZE, &[0xff]);
        self.put(header::SUBSYSTEM_VENDOR_ID, &VENDOR_ID.to_le_bytes());
        self.put(header::SUBSYSTEM_ID, &(0x40 + identity.device_type).to_le_bytes());
        self.put(header::CAPABILITIES, &[layout::CAP_EXPRESS as u8]);
        self.allow(0x3c, &[0xff]);
    }

    fn bars(&mut self, config: &CardConfig) {
        self.allow(header::BAR0, &(!(layout::REGISTERS_BYTES - 1)).to_le_bytes());
        self.allow(header::BAR0 + 4, &(!(Msix::bar_bytes(config.msix_vectors) - 1)).to_le_bytes());
        if config.memory_bytes != 0 {
            self.put(header::BAR0 + 8, &(bar::MEMORY_64 | bar::PREFETCHABLE).to_le_bytes());
            self.allow(header::BAR0 + 8, &(!(config.memory_bytes - 1)).to_le_bytes());
        }
    }

    fn express(&mut self, config: &CardConfig) {
        let at = layout::CAP_EXPRESS;
        self.put(at, &[cap_id::PCI_EXPRESS, layout::CAP_MSIX as u8]);
        let kind = 2 | u16::from(express::TYPE_ENDPOINT) << 4;
        self.put(at + express::CAPABILITIES, &kind.to_le_bytes());
        // Extended tags supported (bit 5), role-based error reporting (bit 15).
        let device = u32::from(express::size_code(PAYLOAD_SUPPORTED)) | 1 << 5 | 1 << 15;
        self.put(at + express::DEVICE_CAPABILITIES, &device.to_le_bytes());
        // PCIe 5.0 §7.5.3.4 defaults: relaxed ordering and no snoop allowed, payload 128, reads 512.
        let control = express::CONTROL_RELAXED_ORDERING
            | express::CONTROL_EXTENDED_TAG
            | express::CONTROL_NO_SNOOP
            | express::size_code(512) << 12;
        self.put(at + express::DEVICE_CONTROL, &control.to_le_bytes());
        self.allow(at + express::DEVICE_CONTROL, &(0x79ff_u16 & !(1 << 9)).to_le_bytes());
        self.clearable[usize::from(at + express::DEVICE_STATUS)] = 0x0f;
        let link = u32::from(config.link_generation) | u32::from(config.link_lanes) << 4;
        self.put(at + express::LINK_CAPABILITIES, &link.to_le_bytes());
        self.put(at + express::LINK_STATUS, &(link as u16).to_le_bytes());
        // Read Completion Boundary, common clock, extended synch.
        self.allow(at + express::LINK_CONTROL, &0x00c8_u16.to_le_bytes());
        // Completion Timeout Disable supported.
        self.put(at + express::DEVICE_CAPABILITIES_2, &(1_u32 << 4).to_le_bytes());
        self.allow(at + express::DEVICE_CONTROL_2, &(1_u16 << 4).to_le_bytes());
        let speeds = ((1_u32 << config.link_generation) - 1) << 1;
        self.put(at + 0x2c, &speeds.to_le_bytes());
        self.put(at + express::LINK_CONTROL_2, &[config.link_generation]);
        self.allow(at + express::LINK_CONTROL_2, &[0x0f]);
    }

    fn msix(&mut self, vectors: u16) {
        let at = layout::CAP_MSIX;
        self.put(at, &[cap_id::MSIX, layout::CAP_COMMON as u8]);
        self.put(at + msix::CONTROL, &(vectors - 1).to_le_bytes());
        let control = msix::CONTROL_ENABLE | msix::CONTROL_FUNCTION_MASK;
        self.allow(at + msix::CONTROL, &control.to_le_bytes());
        self.put(at + msix::TABLE, &1_u32.to_le_bytes());
        self.put(at + msix::PBA, &(Msix::pending_offset(vectors) | 1).to_le_bytes());
    }

    fn virtio(&mut self, config: &CardConfig, identity: &Identity) {
        let common = u32::from(pcie_sim::spec::virtio_pci::COMMON_CFG_BYTES);
        let doorbells = u32::from(identity.queues) * layout::NOTIFY_MULTIPLIER;
        let plain = cap::BYTES;
        let longer = cap::BYTES_WITH_DATA;
        self.structure(layout::CAP_COMMON, cfg_type::COMMON, plain, layout::COMMON, common);
        self.structure(layout::CAP_NOTIFY, cfg_type::NOTIFY, longer, layout::NOTIFY, doorbells);
        let multiplier = layout::NOTIFY_MULTIPLIER.to_le_bytes();
        self.put(layout::CAP_NOTIFY + cap::NOTIFY_OFF_MULTIPLIER, &multiplier);
        self.structure(layout::CAP_ISR, cfg_type::ISR, plain, layout::ISR, 1);
        let device_bytes = identity.config_bytes as u32;
        self.structure(layout::CAP_DEVICE, cfg_type::DEVICE, plain, layout::DEVICE, device_bytes);
        self.structure(layout::CAP_WINDOW, cfg_type::PCI, longer, 0, 0);
        self.allow(layout::CAP_WINDOW + cap::BAR, &[0xff]);
        self.allow(layout::CAP_WINDOW + cap::OFFSET, &[0xff; 4]);
        self.allow(layout::CAP_WINDOW + cap::LENGTH, &[0xff; 4]);
        self.allow(layout::CAP_WINDOW + cap::PCI_CFG_DATA, &[0xff; 4]);
        if config.memory_bytes == 0 {
            return;
        }
        let region = match config.swiotlb.filter(|swiotlb| swiotlb.capability) {
            Some(swiotlb) => (cfg_type::SWIOTLB, swiotlb.offset, swiotlb.bytes),
            None => (cfg_type::SHARED_MEMORY, 0, config.memory_bytes),
        };
        self.region(layout::CAP_SHARED, region);
    }

    /// A capability for a region of BAR2: type, offset, length.
    fn region(&mut self, at: u16, (kind, offset, length): (u8, u64, u64)) {
        self.structure(at, kind, cap::BYTES_64, offset as u32, length as u32);
        // Either kind has one region, of id 0.
        self.put(at + cap::BAR, &[2, bounce::ID]);
        self.put(at + cap::OFFSET_HI, &((offset >> 32) as u32).to_le_bytes());
        self.put(at + cap::LENGTH_HI, &((length >> 32) as u32).to_le_bytes());
    }

    /// One virtio capability, linked to the one behind it.
    fn structure(&mut self, at: u16, kind: u8, len: u8, offset: u32, length: u32) {
        self.put(at, &[CAP_VENDOR, at as u8 + len, len, kind]);
        self.put(at + cap::OFFSET, &offset.to_le_bytes());
        self.put(at + cap::LENGTH, &length.to_le_bytes());
    }

    fn power(&mut self, shared_memory: bool) {
        if !shared_memory {
            self.put(layout::CAP_WINDOW + cap::NEXT, &[layout::CAP_POWER as u8]);
        }
        self.put(layout::CAP_POWER, &[cap_id::POWER_MANAGEMENT, 0]);
        self.put(layout::CAP_POWER + 2, &3_u16.to_le_bytes());
        // No_Soft_Reset: nothing is lost on the way from D3hot to D0.
        self.put(layout::CAP_POWER + 4, &[1 << 3]);
        self.allow(layout::CAP_POWER + 4, &[3]);
    }

    fn put(&mut self, at: u16, data: &[u8]) {
        let at = usize::from(at);
        self.bytes[at..at + data.len()].copy_from_slice(data);
    }

    fn allow(&mut self, at: u16, mask: &[u8]) {
        let at = usize::from(at);
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }

    /// The bytes at `offset`; past the end, zeroes.
    pub(crate) fn read(&self, offset: u16, into: &mut [u8]) {
        for (at, byte) in (usize::from(offset)..).zip(into) {
            *byte = self.bytes.get(at).copied().unwrap_or(0);
        }
    }

    /// Writes what may be written.
    pub(crate) fn write(&mut self, offset: u16, data: &[u8]) {
        for (at, &byte) in (usize::from(offset)..).zip(data) {
            if at < BYTES {
                let writable = self.writable[at];
                let kept = self.bytes[at] & !writable & !(byte & self.clearable[at]);
                self.bytes[at] = kept | byte & writable;
            }
        }
    }

    /// Shows the bits that follow the card rather than software.
    pub(crate) fn show(&mut self, interrupt: bool, transactions_pending: bool) {
        let at = usize::from(header::STATUS);
        set(&mut self.bytes[at], status::INTERRUPT as u8, interrupt);
        let at = usize::from(layout::CAP_EXPRESS + express::DEVICE_STATUS);
        set(&mut self.bytes[at], TRANSACTIONS_PENDING, transactions_pending);
    }

    /// Records that an unsupported request was answered as such.
    pub(crate) fn unsupported_request(&mut self) {
        let at = usize::from(layout::CAP_EXPRESS + express::DEVICE_STATUS);
        self.bytes[at] |= UNSUPPORTED_DETECTED;
    }

    /// What software has set.
    pub(crate) fn settings(&self) -> Settings {
        let command = self.word(header::COMMAND);
        let control = self.word(layout::CAP_EXPRESS + express::DEVICE_CONTROL);
        let messages = self.word(layout::CAP_MSIX + msix::CONTROL);
        // PCI power management 1.2 §5.4.1: only in D0 does the function answer to and use memory space.
        let awake = self.bytes[usize::from(layout::CAP_POWER + 4)] & 3 == 0;
        let base = |index: u16| u64::from(self.dword(header::BAR0 + 4 * index) & !bar::FLAGS);
        Settings {
            memory_space: awake && command & command::MEMORY_SPACE != 0,
            bus_master: awake && command & command::BUS_MASTER != 0,
            bars: [base(0), base(1), base(2) | u64::from(self.dword(header::BAR0 + 12)) << 32],
            payload_max: express::size_bytes(control >> 5).min(PAYLOAD_SUPPORTED),
            read_max: express::size_bytes(control >> 12),
            extended_tag: control & express::CONTROL_EXTENDED_TAG != 0,
            msix_enabled: messages & msix::CONTROL_ENABLE != 0,
            msix_masked: messages & msix::CONTROL_FUNCTION_MASK != 0,
        }
    }

    /// What the PCI configuration access capability points to, when it can be accessed: 1, 2 or 4 bytes
    /// at a multiple of their number. Virtio 1.4, "PCI configuration access capability".
    pub(crate) fn window(&self) -> Option<Window> {
        let at = layout::CAP_WINDOW;
        let bar = self.bytes[usize::from(at + cap::BAR)];
        let offset = self.dword(at + cap::OFFSET);
        let length = self.dword(at + cap::LENGTH);
        let fits = matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length);
        fits.then_some(Window { bar, offset, length })
    }

    /// Stores what a read through the window found.
    pub(crate) fn set_window_data(&mut self, data: &[u8]) {
        self.put(layout::CAP_WINDOW + cap::PCI_CFG_DATA, data);
    }

    /// The bytes of `pci_cfg_data`.
    pub(crate) fn window_data(&self) -> [u8; 4] {
        self.dword(layout::CAP_WINDOW + cap::PCI_CFG_DATA).to_le_bytes()
    }

    fn word(&self, at: u16) -> u16 {
        let at = usize::from(at);
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn dword(&self, at: u16) -> u32 {
        u32::from(self.word(at)) | u32::from(self.word(at + 2)) << 16
    }
}

/// What configuration space says about the device behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    /// Virtio device type.
    pub(crate) device_type: u16,
    /// PCI class code, 24 bits.
    pub(crate) class_code: u32,
    /// Number of virtqueues.
    pub(crate) queues: u16,
    /// Bytes of device configuration.
    pub(crate) config_bytes: usize,
}

fn set(byte: &mut u8, bit: u8, on: bool) {
    *byte = if on { *byte | bit } else { *byte & !bit };
}
