//! The scripted card: a register file, and rings that are served inside the doorbell's write.

use std::collections::VecDeque;

use pcie_sim::host::Width;
use pcie_sim::spec::pci::{bar, cap_id, header, msix, status as pci_status};
use pcie_sim::spec::virtio_pci::{
    Access, CAP_VENDOR, CommonReg, DEVICE_ID_BASE, NO_VECTOR, VENDOR_ID, cap, cfg_type, status,
};
use pcie_sim::spec::virtq::{self, SplitDesc};
use pcie_sim::spec::{blk, features, net};

use super::{BAR0, BAR1, BAR2, CARD_MEMORY_BYTES, Fabric, get, is_bus_master, put};

/// What the card does wrong, or not at once.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) refuse_features: bool,
    pub(crate) stuck_reset: bool,
    pub(crate) refuse_vectors: bool,
    pub(crate) hold: bool,
    pub(crate) no_notify: bool,
    pub(crate) restless_config: bool,
    pub(crate) needs_reset_at_doorbell: bool,
    pub(crate) answer: u8,
    pub(crate) no_answer: bool,
}

#[derive(Default, Clone)]
pub(crate) struct Queue {
    pub(crate) size: u16,
    vector: u16,
    pub(crate) enabled: bool,
    pub(crate) addresses: [u64; 3],
    pub(crate) seen: u16,
    pub(crate) used: u16,
}

pub(crate) struct Card {
    pub(crate) config: [u8; 256],
    pub(crate) msix_table: Vec<u8>,
    pub(crate) offered: u64,
    pub(crate) accepted: u64,
    pub(crate) status: u8,
    pub(crate) status_log: Vec<u8>,
    selects: [u32; 2],
    queue_select: u16,
    config_vector: u16,
    pub(crate) generation: u8,
    pub(crate) queues: Vec<Queue>,
    pub(crate) device_config: Vec<u8>,
    pub(crate) script: Script,
    pub(crate) disk: Vec<u8>,
    cable: VecDeque<Vec<u8>>,
    pub(crate) doorbells: u64,
    pub(crate) blocked_dma: u64,
    pub(crate) commands: Vec<Vec<u8>>,
}

impl Card {
    fn new(device_type: u16, device_features: u64, queues: usize, device_config: Vec<u8>) -> Self {
        let common = features::VERSION_1
            | features::INDIRECT_DESC
            | features::EVENT_IDX
            | features::ACCESS_PLATFORM
            | features::ORDER_PLATFORM;
        let queue = Queue { size: 256, vector: NO_VECTOR, ..Queue::default() };
        Self {
            config: config_space(device_type),
            msix_table: vec![0; 4 * 16],
            offered: common | device_features,
            accepted: 0,
            status: 0,
            status_log: Vec::new(),
            selects: [0; 2],
            queue_select: 0,
            config_vector: NO_VECTOR,
            generation: 0,
            queues: vec![queue; queues],
            device_config,
            script: Script::default(),
            disk: vec![0; 64 * 512],
            cable: VecDeque::new(),
            doorbells: 0,
            blocked_dma: 0,
            commands: Vec::new(),
        }
    }

    pub(crate) fn blk() -> Self {
        let mut config = vec![0; blk::CONFIG_BYTES];
        config[0] = 64;
        config[blk::CONFIG_MAX_DISCARD_SECTORS] = 32;
        Self::new(blk::DEVICE_TYPE, blk::F_FLUSH | blk::F_DISCARD | 1 << 60, 1, config)
    }

    pub(crate) fn net() -> Self {
        let mut config = vec![0; net::CONFIG_BYTES];
        config[..6].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        let control = net::F_CTRL_VQ | net::F_CTRL_RX | net::F_CTRL_MAC_ADDR;
        Self::new(net::DEVICE_TYPE, net::F_MAC | net::F_MRG_RXBUF | control, 3, config)
    }

    pub(crate) fn read(&mut self, offset: u64, width: Width) -> u64 {
        match offset {
            0..0x40 => {
                let reg = CommonReg::at(offset as u16).expect("a register starts here");
                assert_eq!(
                    width.bytes(),
                    usize::from(reg.shape().0),
                    "{reg:?} has a natural width"
                );
                u64::from(self.read_common(reg))
            }
            0x2000..0x3000 => get(&self.device_config, (offset - 0x2000) as usize, width),
            _ => 0,
        }
    }

    pub(crate) fn read_common(&mut self, reg: CommonReg) -> u32 {
        let half = |value: u64, select: u32| match select {
            0 => value as u32,
            1 => (value >> 32) as u32,
            _ => 0,
        };
        let queue = self.queues.get(usize::from(self.queue_select)).cloned().unwrap_or_default();
        match reg {
            CommonReg::DeviceFeature => half(self.offered, self.selects[0]),
            CommonReg::ConfigMsixVector => u32::from(self.config_vector),
            CommonReg::NumQueues => self.queues.len() as u32,
            CommonReg::DeviceStatus => u32::from(self.status),
            CommonReg::ConfigGeneration => {
                self.generation =
                    self.generation.wrapping_add(u8::from(self.script.restless_config));
                u32::from(self.generation)
            }
            CommonReg::QueueSize => u32::from(queue.size),
            CommonReg::QueueMsixVector => u32::from(queue.vector),
            CommonReg::QueueEnable => u32::from(queue.enabled),
            CommonReg::QueueNotifyOff => u32::from(self.queue_select),
            _ => 0,
        }
    }

    /// `true` when it was a doorbell.
    pub(crate) fn write(&mut self, offset: u64, width: Width, value: u64) -> bool {
        if let 0x3000..0x4000 = offset {
            assert_eq!((width, offset - 0x3000), (Width::W16, 4 * value), "PCI-AVN-DRV-01, -07");
            assert_ne!(
                self.status & status::DRIVER_OK,
                0,
                "INIT-DRV-08: no doorbell before DRIVER_OK"
            );
            self.doorbells += 1;
            if self.script.needs_reset_at_doorbell {
                self.status |= status::DEVICE_NEEDS_RESET;
            }
            return true;
        }
        let reg = CommonReg::at(offset as u16).expect("a register starts here");
        assert_eq!(width.bytes(), usize::from(reg.shape().0), "{reg:?} has a natural width");
        assert_eq!(reg.shape().1, Access::Rw, "{reg:?} is read-only");
        self.write_common(reg, value as u32);
        false
    }

    pub(crate) fn write_common(&mut self, reg: CommonReg, value: u32) {
        let vector = if self.script.refuse_vectors { NO_VECTOR } else { value as u16 };
        match reg {
            CommonReg::DeviceFeatureSelect => self.selects[0] = value,
            CommonReg::DriverFeatureSelect => self.selects[1] = value,
            CommonReg::DriverFeature => {
                assert_eq!(self.status & status::FEATURES_OK, 0, "INIT-DRV-04");
                let shift = 32 * self.selects[1];
                self.accepted = self.accepted & !(0xffff_ffff << shift) | u64::from(value) << shift;
                assert_eq!(self.accepted & !self.offered, 0, "FEAT-DRV-01");
            }
            CommonReg::ConfigMsixVector => self.config_vector = vector,
            CommonReg::DeviceStatus => self.write_status(value as u8),
            CommonReg::QueueSelect => self.queue_select = value as u16,
            _ => {}
        }
        let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else { return };
        let mut half = |area: usize, shift: u32| {
            assert!(!queue.enabled, "PCI-CC-DRV-04: all fields before queue_enable");
            let old = queue.addresses[area] & !(0xffff_ffff << shift);
            queue.addresses[area] = old | u64::from(value) << shift;
        };
        match reg {
            CommonReg::QueueDescLow => half(0, 0),
            CommonReg::QueueDescHigh => half(0, 32),
            CommonReg::QueueDriverLow => half(1, 0),
            CommonReg::QueueDriverHigh => half(1, 32),
            CommonReg::QueueDeviceLow => half(2, 0),
            CommonReg::QueueDeviceHigh => half(2, 32),
            CommonReg::QueueSize => queue.size = value as u16,
            CommonReg::QueueMsixVector => queue.vector = vector,
            CommonReg::QueueEnable => {
                assert_eq!(value, 1, "PCI-CC-DRV-06");
                let [descriptors, driver, device] = queue.addresses;
                assert_eq!(
                    (descriptors % 16, driver % 2, device % 4),
                    (0, 0, 0),
                    "VQ-SPLIT-DRV-01"
                );
                queue.enabled = true;
            }
            _ => {}
        }
    }

    fn write_status(&mut self, value: u8) {
        self.status_log.push(value);
        if value == 0 {
            if !self.script.stuck_reset {
                self.status = 0;
            }
            self.accepted = 0;
            self.cable.clear();
            for queue in &mut self.queues {
                *queue = Queue { size: 256, vector: NO_VECTOR, ..Queue::default() };
            }
            return;
        }
        assert_eq!(
            value & self.status & !status::DEVICE_NEEDS_RESET,
            self.status & !status::DEVICE_NEEDS_RESET
        );
        let refused = if self.script.refuse_features { status::FEATURES_OK } else { 0 };
        self.status = value & !refused;
    }

    /// Works off what is available; gives the interrupts that are due, as vector numbers.
    pub(crate) fn serve(&mut self, fabric: &mut Fabric) -> Vec<u16> {
        let mut raised = Vec::new();
        if self.script.hold
            || self.status & status::DEVICE_NEEDS_RESET != 0
            || !is_bus_master(&self.config)
        {
            return raised;
        }
        // Transmit first, so that what was sent can be received.
        for index in (0..self.queues.len()).rev() {
            let old = self.queues[index].used;
            while self.serve_one(fabric, index).is_some() {}
            raised.extend(self.interrupt(fabric, index, old));
        }
        raised
    }

    fn serve_one(&mut self, fabric: &mut Fabric, index: usize) -> Option<()> {
        let (head, chain) = self.next_chain(fabric, index)?;
        let len = if self.queues.len() == 1 {
            self.block(fabric, &chain)
        } else if index == 2 {
            self.control(fabric, &chain)
        } else if index == 1 {
            let frame = gather(fabric, &chain);
            self.cable.push_back(frame?);
            0
        } else {
            let mut frame = self.cable.pop_front()?;
            frame[net::HDR_NUM_BUFFERS] = 1;
            scatter(fabric, &chain, &frame)
        };
        self.queues[index].seen = self.queues[index].seen.wrapping_add(1);
        self.complete(fabric, index, u32::from(head), len);
        Some(())
    }

    /// Answers a control command.
    fn control(&mut self, fabric: &mut Fabric, chain: &[SplitDesc]) -> u32 {
        self.commands.push(gather(fabric, chain).unwrap_or_default());
        if self.script.no_answer { 0 } else { scatter(fabric, chain, &[self.script.answer]) }
    }

    /// The next available chain, not yet taken.
    pub(crate) fn next_chain(
        &mut self,
        fabric: &mut Fabric,
        index: usize,
    ) -> Option<(u16, Vec<SplitDesc>)> {
        let queue = self.queues[index].clone();
        let [descriptors, driver, device] = queue.addresses;
        if !queue.enabled {
            return None;
        }
        let chain = (|| {
            let available = u16::from_le_bytes(fabric.read(driver + virtq::AVAIL_IDX)?);
            if available == queue.seen {
                return Some(None);
            }
            let slot = queue.seen % queue.size;
            let head = u16::from_le_bytes(fabric.read(driver + virtq::avail_entry(slot))?);
            Some(Some((head, read_chain(fabric, descriptors, head)?)))
        })();
        if self.script.no_notify {
            fabric.write(device + virtq::USED_FLAGS, &virtq::USED_F_NO_NOTIFY.to_le_bytes());
        }
        if chain.is_none() {
            self.blocked_dma += 1;
        }
        chain.flatten()
    }

    /// Writes a used element, true or not, and moves the used index.
    pub(crate) fn complete(&mut self, fabric: &mut Fabric, index: usize, id: u32, len: u32) {
        let queue = &mut self.queues[index];
        let device = queue.addresses[2];
        let element = u64::from(id) | u64::from(len) << 32;
        fabric.write(device + virtq::used_elem(queue.used % queue.size), &element.to_le_bytes());
        queue.used = queue.used.wrapping_add(1);
        fabric.write(device + virtq::USED_IDX, &queue.used.to_le_bytes());
        fabric.write(device + virtq::avail_event(queue.size), &queue.seen.to_le_bytes());
    }

    fn interrupt(&mut self, fabric: &mut Fabric, index: usize, old: u16) -> Option<u16> {
        let queue = self.queues[index].clone();
        if queue.used == old || queue.vector == NO_VECTOR {
            return None;
        }
        let driver = queue.addresses[1];
        let due = if self.accepted & features::EVENT_IDX != 0 {
            let event = u16::from_le_bytes(fabric.read(driver + virtq::used_event(queue.size))?);
            virtq::need_event(event, queue.used, old)
        } else {
            fabric.read(driver + virtq::AVAIL_FLAGS)? == [0, 0]
        };
        let entry = usize::from(queue.vector) * 16;
        let masked =
            get(&self.msix_table, entry + msix::ENTRY_CONTROL as usize, Width::W32) & 1 != 0;
        let data = get(&self.msix_table, entry + msix::ENTRY_DATA as usize, Width::W32) as u16;
        (due && !masked).then_some(data)
    }

    fn block(&mut self, fabric: &mut Fabric, chain: &[SplitDesc]) -> u32 {
        let status_at = chain.last().map_or(0, |last| last.addr + u64::from(last.len) - 1);
        let Some(sent) = gather(fabric, chain) else {
            self.blocked_dma += 1;
            return 0;
        };
        let kind = u32::from_le_bytes(sent[0..4].try_into().expect("4 bytes"));
        let sector = u64::from_le_bytes(sent[8..16].try_into().expect("8 bytes"));
        let at = sector as usize * 512;
        let writable: u32 = chain
            .iter()
            .filter(|desc| desc.flags & virtq::DESC_F_WRITE != 0)
            .map(|desc| desc.len)
            .sum();
        let mut written = 1;
        match kind {
            blk::T_IN => {
                let bytes = (writable - 1) as usize;
                let data = self.disk[at..at + bytes].to_vec();
                written += scatter(fabric, chain, &data);
            }
            blk::T_OUT => {
                self.disk[at..at + sent.len() - 16].copy_from_slice(&sent[16..]);
            }
            _ => {}
        }
        fabric.write(status_at, &[blk::S_OK]);
        written
    }
}

fn read_chain(fabric: &mut Fabric, table: u64, head: u16) -> Option<Vec<SplitDesc>> {
    let mut chain = Vec::new();
    let mut at = head;
    loop {
        let desc = SplitDesc::from_bytes(&fabric.read(table + 16 * u64::from(at))?);
        if desc.flags & virtq::DESC_F_INDIRECT != 0 {
            assert_eq!(
                (desc.flags & virtq::DESC_F_NEXT, desc.len % 16),
                (0, 0),
                "VQ-INDIR-DRV-04, -06"
            );
            let chain = read_chain(fabric, desc.addr, 0)?;
            assert_eq!(chain.len() as u32 * 16, desc.len);
            return Some(chain);
        }
        chain.push(desc);
        assert!(chain.len() <= 256, "VQ-INDIR-DRV-03");
        if desc.flags & virtq::DESC_F_NEXT == 0 {
            return Some(chain);
        }
        at = desc.next;
    }
}

fn gather(fabric: &mut Fabric, chain: &[SplitDesc]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for desc in chain.iter().filter(|desc| desc.flags & virtq::DESC_F_WRITE == 0) {
        let mut bytes = vec![0; desc.len as usize];
        if !fabric.dma(desc.addr, &mut bytes, false) {
            return None;
        }
        all.extend(bytes);
    }
    Some(all)
}

fn scatter(fabric: &mut Fabric, chain: &[SplitDesc], data: &[u8]) -> u32 {
    let mut done = 0;
    for desc in chain.iter().filter(|desc| desc.flags & virtq::DESC_F_WRITE != 0) {
        let piece = (desc.len as usize).min(data.len() - done);
        fabric.write(desc.addr, &data[done..done + piece]);
        done += piece;
    }
    done as u32
}

/// Where the capability list of the scripted card has room.
const BOUNCE_CAP: u16 = 0xc0;

impl Card {
    /// Puts a bounce buffer into the upper half of the card's memory, and offers the feature or not.
    pub(crate) fn with_bounce(mut self, feature: bool) -> Self {
        let w = |space: &mut [u8; 256], at: u16, width, value: u64| {
            put(space, usize::from(at), width, value);
        };
        let space = &mut self.config;
        let half = CARD_MEMORY_BYTES as u64 / 2;
        w(space, 0xa8 + cap::NEXT, Width::W8, u64::from(BOUNCE_CAP));
        w(space, BOUNCE_CAP, Width::W8, u64::from(CAP_VENDOR));
        w(space, BOUNCE_CAP + cap::LEN, Width::W8, u64::from(cap::BYTES_64));
        w(space, BOUNCE_CAP + cap::CFG_TYPE, Width::W8, u64::from(cfg_type::SWIOTLB));
        w(space, BOUNCE_CAP + cap::BAR, Width::W8, 2);
        w(space, BOUNCE_CAP + cap::OFFSET, Width::W32, half);
        w(space, BOUNCE_CAP + cap::LENGTH, Width::W32, half);
        if feature {
            self.offered |= features::SWIOTLB;
        }
        self
    }
}

fn config_space(device_type: u16) -> [u8; 256] {
    let mut space = [0; 256];
    let w = |space: &mut [u8; 256], at: u16, width, value: u64| {
        put(space, usize::from(at), width, value)
    };
    w(&mut space, header::VENDOR_ID, Width::W16, u64::from(VENDOR_ID));
    w(&mut space, header::DEVICE_ID, Width::W16, u64::from(DEVICE_ID_BASE + device_type));
    w(&mut space, header::STATUS, Width::W16, u64::from(pci_status::CAPABILITIES));
    w(&mut space, header::CAPABILITIES, Width::W8, 0x40);
    w(&mut space, header::BAR0, Width::W32, BAR0);
    w(&mut space, header::BAR0 + 4, Width::W32, BAR1);
    w(
        &mut space,
        header::BAR0 + 8,
        Width::W32,
        BAR2 & 0xffff_ffff | u64::from(bar::MEMORY_64 | bar::PREFETCHABLE),
    );
    w(&mut space, header::BAR0 + 12, Width::W32, BAR2 >> 32);
    w(&mut space, 0x40, Width::W16, u64::from(cap_id::MSIX) | 0x50 << 8);
    w(&mut space, 0x40 + msix::CONTROL, Width::W16, 3);
    w(&mut space, 0x40 + msix::TABLE, Width::W32, 1);
    // A reserved structure type and a reserved BAR come first, which a driver skips.
    let structures = [
        (0x50, cfg_type::COMMON, 9, 0u64, 0x40u64),
        (0x60, 0x77, 0, 0, 0x1000),
        (0x70, cfg_type::COMMON, 0, 0, 0x40),
        (0x80, cfg_type::NOTIFY, 0, 0x3000, 0x1000),
        (0x98, cfg_type::DEVICE, 0, 0x2000, 0x3c),
        (0xa8, cfg_type::SHARED_MEMORY, 2, 0, CARD_MEMORY_BYTES as u64),
    ];
    for (nth, &(at, kind, bar, offset, length)) in structures.iter().enumerate() {
        let next = structures.get(nth + 1).map_or(0, |next| next.0);
        let len = if kind == cfg_type::SHARED_MEMORY { cap::BYTES_64 } else { cap::BYTES };
        w(&mut space, at, Width::W8, u64::from(CAP_VENDOR));
        w(&mut space, at + cap::NEXT, Width::W8, u64::from(next));
        w(&mut space, at + cap::LEN, Width::W8, u64::from(len));
        w(&mut space, at + cap::CFG_TYPE, Width::W8, u64::from(kind));
        w(&mut space, at + cap::BAR, Width::W8, bar);
        w(&mut space, at + cap::OFFSET, Width::W32, offset);
        w(&mut space, at + cap::LENGTH, Width::W32, length);
    }
    w(&mut space, 0x80 + cap::LEN, Width::W8, u64::from(cap::BYTES_WITH_DATA));
    w(&mut space, 0x80 + cap::NOTIFY_OFF_MULTIPLIER, Width::W32, 4);
    space
}
