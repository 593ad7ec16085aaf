//! Virtio over MMIO. Virtio 1.4, "Virtio Over MMIO".
//!
//! There is no bus to look on: the platform says where a slot's registers lie and which interrupt it
//! raises. The interrupt is one line for everything, held until it is acknowledged. A slot can be empty,
//! and get its device later; then [`MmioTransport::open`] is simply called again.

use std::ops::Range;

use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::host::{Host, Vector, Width};
use pcie_sim::spec::virtio_mmio::{
    CONFIG, MAGIC, MmioReg, NO_DEVICE, NO_REGION, SLOT_BYTES, VERSION, interrupt,
};

use super::{
    ActiveQueue, ConfigWidth, QueueSetup, RESET_PATIENCE, SharedMemory, Transport, TransportError,
    await_reset,
};
use crate::irq::Cause;
use crate::virtqueue::notify::Doorbell;

/// Shared memory regions that are looked for.
const REGIONS: u8 = 4;

/// The registers of a virtio device in a virtio-mmio slot.
#[derive(Debug)]
pub struct MmioTransport {
    registers: PhysAddr,
    line: Vector,
    device_type: u16,
    regions: Vec<(u8, SharedMemory)>,
}

impl MmioTransport {
    /// Looks at the slot whose registers lie at `registers` and whose interrupt is `line`.
    /// [`TransportError::EmptySlot`]: nothing is in it, as yet.
    pub fn open(
        host: &mut dyn Host,
        registers: PhysAddr,
        line: Vector,
    ) -> Result<Self, TransportError> {
        let mut slot = Self { registers, line, device_type: 0, regions: Vec::new() };
        let magic = slot.read(host, MmioReg::MagicValue);
        let version = slot.read(host, MmioReg::Version);
        if magic != MAGIC || version != VERSION {
            return Err(TransportError::NotMmio { address: registers, magic, version });
        }
        match slot.read(host, MmioReg::DeviceId) {
            NO_DEVICE => return Err(TransportError::EmptySlot { address: registers }),
            device => slot.device_type = device as u16,
        }
        for id in 0..REGIONS {
            slot.find_region(host, id);
        }
        Ok(slot)
    }

    fn find_region(&mut self, host: &mut dyn Host, id: u8) {
        self.write(host, MmioReg::ShmSel, u32::from(id));
        let len_bytes = self.read_pair(host, MmioReg::ShmLenLow, MmioReg::ShmLenHigh);
        if len_bytes != NO_REGION {
            let base = self.read_pair(host, MmioReg::ShmBaseLow, MmioReg::ShmBaseHigh);
            self.regions.push((id, SharedMemory { address: PhysAddr(base), len_bytes }));
        }
    }

    fn read(&self, host: &mut dyn Host, register: MmioReg) -> u32 {
        host.mmio_read(self.registers + register.offset(), Width::W32) as u32
    }

    fn read_pair(&self, host: &mut dyn Host, low: MmioReg, high: MmioReg) -> u64 {
        let low = self.read(host, low);
        u64::from(self.read(host, high)) << 32 | u64::from(low)
    }

    fn write(&self, host: &mut dyn Host, register: MmioReg, value: u32) {
        host.mmio_write(self.registers + register.offset(), Width::W32, u64::from(value));
    }

    fn write_pair(&self, host: &mut dyn Host, low: MmioReg, high: MmioReg, value: u64) {
        self.write(host, low, value as u32);
        self.write(host, high, (value >> 32) as u32);
    }
}

impl Transport for MmioTransport {
    fn device_type(&self) -> u16 {
        self.device_type
    }

    fn requester(&self) -> Option<Bdf> {
        None
    }

    fn windows(&self) -> Vec<Range<u64>> {
        let registers = self.registers.get()..self.registers.get() + SLOT_BYTES;
        let regions = self.regions.iter().map(|(_, region)| {
            region.address.get()..region.address.get().saturating_add(region.len_bytes)
        });
        regions.chain([registers]).collect()
    }

    fn set_bus_master(&mut self, _host: &mut dyn Host, _on: bool) {}

    fn device_features(&mut self, host: &mut dyn Host) -> u64 {
        self.write(host, MmioReg::DeviceFeaturesSel, 0);
        let low = self.read(host, MmioReg::DeviceFeatures);
        self.write(host, MmioReg::DeviceFeaturesSel, 1);
        u64::from(self.read(host, MmioReg::DeviceFeatures)) << 32 | u64::from(low)
    }

    fn set_driver_features(&mut self, host: &mut dyn Host, features: u64) {
        self.write(host, MmioReg::DriverFeaturesSel, 0);
        self.write(host, MmioReg::DriverFeatures, features as u32);
        self.write(host, MmioReg::DriverFeaturesSel, 1);
        self.write(host, MmioReg::DriverFeatures, (features >> 32) as u32);
    }

    fn status(&mut self, host: &mut dyn Host) -> u8 {
        self.read(host, MmioReg::Status) as u8
    }

    fn set_status(&mut self, host: &mut dyn Host, status: u8) {
        self.write(host, MmioReg::Status, u32::from(status));
    }

    fn reset(&mut self, host: &mut dyn Host) -> Result<(), TransportError> {
        self.write(host, MmioReg::Status, 0);
        await_reset(host, RESET_PATIENCE, |host| self.status(host))
    }

    fn max_queue_size(&mut self, host: &mut dyn Host, index: u16) -> u16 {
        self.write(host, MmioReg::QueueSel, u32::from(index));
        // All ones: the device is gone.
        u16::try_from(self.read(host, MmioReg::QueueSizeMax)).unwrap_or(0)
    }

    fn activate_queue(
        &mut self,
        host: &mut dyn Host,
        setup: &QueueSetup,
    ) -> Result<ActiveQueue, TransportError> {
        let queue = setup.index;
        let offered = self.max_queue_size(host, queue);
        if offered == 0 || self.read(host, MmioReg::QueueReady) != 0 {
            return Err(TransportError::NoQueue { queue });
        }
        if setup.size > offered {
            return Err(TransportError::QueueTooSmall { queue, offered, asked: setup.size });
        }
        self.write(host, MmioReg::QueueSize, u32::from(setup.size));
        let areas = &setup.areas;
        let halves = [
            (MmioReg::QueueDescLow, MmioReg::QueueDescHigh, areas.descriptors),
            (MmioReg::QueueDriverLow, MmioReg::QueueDriverHigh, areas.driver),
            (MmioReg::QueueDeviceLow, MmioReg::QueueDeviceHigh, areas.device),
        ];
        for (low, high, area) in halves {
            self.write_pair(host, low, high, area.get());
        }
        self.write(host, MmioReg::QueueReady, 1);
        let at = self.registers + MmioReg::QueueNotify.offset();
        let doorbell = Doorbell::new(at, Width::W32, u32::from(queue));
        Ok(ActiveQueue { doorbell, vector: setup.interrupt.then_some(self.line) })
    }

    fn connect_config(&mut self, _host: &mut dyn Host) -> Result<Vector, TransportError> {
        Ok(self.line)
    }

    fn config_generation(&mut self, host: &mut dyn Host) -> u8 {
        self.read(host, MmioReg::ConfigGeneration) as u8
    }

    fn read_config(
        &mut self,
        host: &mut dyn Host,
        offset: u16,
        width: ConfigWidth,
    ) -> Result<u32, TransportError> {
        let width = match width {
            ConfigWidth::W8 => Width::W8,
            ConfigWidth::W16 => Width::W16,
            ConfigWidth::W32 => Width::W32,
        };
        let (offset, bytes) = (u64::from(offset), SLOT_BYTES - CONFIG);
        if offset + width.bytes() as u64 > bytes {
            return Err(TransportError::ShortConfig { bytes, offset });
        }
        Ok(host.mmio_read(self.registers + CONFIG + offset, width) as u32)
    }

    fn shared_memory(&self, id: u8) -> Option<SharedMemory> {
        self.regions.iter().find(|(found, _)| *found == id).map(|&(_, region)| region)
    }

    fn acknowledge(&mut self, host: &mut dyn Host, _cause: Cause) -> Cause {
        let why = self.read(host, MmioReg::InterruptStatus);
        // Only what was seen is acknowledged: what comes between holds the line up again.
        self.write(host, MmioReg::InterruptAck, why);
        Cause {
            config: why & interrupt::CONFIG_CHANGE != 0,
            queue: why & interrupt::USED_BUFFER != 0,
        }
    }

    fn shut_down(&mut self, _host: &mut dyn Host) {}
}
