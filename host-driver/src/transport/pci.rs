//! Virtio over PCI, modern. Virtio 1.4, "Virtio Over PCI Bus".
//!
//! Registers are accessed by their natural width, 64-bit fields as two halves (PCI-LAY-DRV-01).

use std::ops::Range;

use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::host::{Host, MsiMessage, Vector, Width};
use pcie_sim::spec::pci::{command, header};
use pcie_sim::spec::virtio_pci::{
    COMMON_CFG_BYTES, CommonReg, DEVICE_ID_BASE, NO_VECTOR, VENDOR_ID, bounce, cap, cfg_type,
};
use pcie_sim::time::Span;

use super::{
    ActiveQueue, ConfigWidth, Event, QueueSetup, RESET_PATIENCE, SharedMemory, Transport,
    TransportError, await_reset,
};
use crate::pci::{Function, Msix};
use crate::virtqueue::notify::Doorbell;

/// Modern device ids: this many from [`DEVICE_ID_BASE`].
const DEVICE_IDS: u16 = 0x40;
/// Bytes of the common configuration up to and with `queue_device`, which every device has.
const COMMON_NEEDED: u64 = 0x38;

/// One structure of the device, as a capability describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Structure {
    kind: u8,
    id: u8,
    address: PhysAddr,
    len_bytes: u64,
    /// The word behind the plain capability, where the capability has one.
    extra: u32,
}

/// The registers of a virtio device on PCI.
#[derive(Debug)]
pub struct PciTransport {
    function: Function,
    device_type: u16,
    structures: Vec<Structure>,
    common: PhysAddr,
    notify: Structure,
    device: Option<Structure>,
    msix: Option<Msix>,
    /// MSI-X entries in use, with vector and message of each.
    vectors: Vec<(Vector, MsiMessage)>,
    vectors_used: u16,
    patience: Span,
}

impl PciTransport {
    /// Finds the structures of the virtio device at `bdf`, and lets it answer memory accesses.
    pub fn open(host: &mut dyn Host, bdf: Bdf) -> Result<Self, TransportError> {
        let function = Function::new(bdf);
        let vendor = function.read_u16(host, header::VENDOR_ID);
        if vendor == u16::MAX {
            return Err(TransportError::Absent { function: bdf });
        }
        let device = function.read_u16(host, header::DEVICE_ID);
        if vendor != VENDOR_ID || !(DEVICE_ID_BASE..DEVICE_ID_BASE + DEVICE_IDS).contains(&device) {
            return Err(TransportError::NotVirtio { function: bdf, vendor, device });
        }
        let capabilities = function.capabilities(host);
        let structures: Vec<Structure> = capabilities
            .iter()
            .filter(|(id, _)| *id == pcie_sim::spec::virtio_pci::CAP_VENDOR)
            .filter_map(|&(_, at)| read_structure(host, function, at))
            .collect();
        let missing = |structure| TransportError::MissingStructure { function: bdf, structure };
        let find = |kind: u8| structures.iter().copied().find(|found| found.kind == kind);
        let common = find(cfg_type::COMMON)
            .filter(|common| common.len_bytes >= COMMON_NEEDED)
            .ok_or(missing("common configuration"))?;
        let notify = find(cfg_type::NOTIFY).ok_or(missing("notification"))?;
        let device_config = find(cfg_type::DEVICE);
        function.change_command(host, command::MEMORY_SPACE | command::INTX_DISABLE, 0);
        Ok(Self {
            function,
            device_type: device - DEVICE_ID_BASE,
            common: common.address,
            notify,
            device: device_config,
            msix: Msix::find(host, function, &capabilities),
            structures,
            vectors: Vec::new(),
            vectors_used: 0,
            patience: RESET_PATIENCE,
        })
    }

    /// Waits so long for a reset, and no longer.
    #[must_use]
    pub fn with_patience(self, patience: Span) -> Self {
        Self { patience, ..self }
    }

    fn read(&self, host: &mut dyn Host, reg: CommonReg) -> u32 {
        host.mmio_read(self.common + u64::from(reg.offset()), width_of(reg)) as u32
    }

    fn write(&self, host: &mut dyn Host, reg: CommonReg, value: u32) {
        host.mmio_write(self.common + u64::from(reg.offset()), width_of(reg), u64::from(value));
    }

    fn write_address(&self, host: &mut dyn Host, low: CommonReg, high: CommonReg, address: u64) {
        self.write(host, low, address as u32);
        self.write(host, high, (address >> 32) as u32);
    }

    /// A programmed MSI-X entry: one that is not in use, or, when table or host have no more, the last
    /// one once again, so that any table size will do (PCI-MSIX-DRV-01).
    fn entry_for(
        &mut self,
        host: &mut dyn Host,
        event: Event,
    ) -> Result<(u16, Vector), TransportError> {
        let none_left = TransportError::NoVector { event };
        let msix = self.msix.ok_or(none_left)?;
        let wanted = self.vectors_used.min(msix.entries() - 1);
        if usize::from(wanted) >= self.vectors.len() {
            self.vectors.extend(host.allocate_message());
        }
        // After a reset the entries are programmed anew: one of the whole function has cleared them.
        if wanted == self.vectors_used
            && let Some(&(_, message)) = self.vectors.get(usize::from(wanted))
        {
            if wanted == 0 {
                msix.enable(host);
            }
            msix.set_entry(host, wanted, message);
            if wanted == 0 {
                msix.unmask(host);
            }
        }
        let entry = usize::from(wanted).min(self.vectors.len().checked_sub(1).ok_or(none_left)?);
        self.vectors_used = wanted + 1;
        Ok((entry as u16, self.vectors[entry].0))
    }

    /// Maps an event to a vector and looks whether the device took it (PCI-MSIX-DRV-05).
    fn connect(
        &mut self,
        host: &mut dyn Host,
        reg: CommonReg,
        event: Event,
    ) -> Result<Vector, TransportError> {
        let (entry, vector) = self.entry_for(host, event)?;
        self.write(host, reg, u32::from(entry));
        let read_back = self.read(host, reg) as u16;
        if read_back == entry {
            Ok(vector)
        } else {
            Err(TransportError::VectorRefused { event, vector: entry, read_back })
        }
    }
}

fn width_of(reg: CommonReg) -> Width {
    match reg.shape().0 {
        1 => Width::W8,
        2 => Width::W16,
        _ => Width::W32,
    }
}

/// What the virtio capability at `at` describes; `None` for a reserved BAR or a BAR that lies nowhere
/// (PCI-CAP-DRV-04).
fn read_structure(host: &mut dyn Host, function: Function, at: u16) -> Option<Structure> {
    let cap_len = function.read_u8(host, at + cap::LEN);
    let kind = function.read_u8(host, at + cap::CFG_TYPE);
    // The vendor's own data are laid out otherwise, and point nowhere.
    if kind == cfg_type::VENDOR {
        return None;
    }
    let index = function.read_u8(host, at + cap::BAR);
    let start = function.bar(host, index)?;
    let mut offset = u64::from(function.read_u32(host, at + cap::OFFSET));
    let mut len_bytes = u64::from(function.read_u32(host, at + cap::LENGTH));
    let mut extra = 0;
    if matches!(kind, cfg_type::SHARED_MEMORY | cfg_type::SWIOTLB) && cap_len >= cap::BYTES_64 {
        offset |= u64::from(function.read_u32(host, at + cap::OFFSET_HI)) << 32;
        len_bytes |= u64::from(function.read_u32(host, at + cap::LENGTH_HI)) << 32;
    } else if kind == cfg_type::NOTIFY && cap_len >= cap::BYTES_WITH_DATA {
        extra = function.read_u32(host, at + cap::NOTIFY_OFF_MULTIPLIER);
    }
    let id = function.read_u8(host, at + cap::ID);
    Some(Structure { kind, id, address: start + offset, len_bytes, extra })
}

impl Transport for PciTransport {
    fn device_type(&self) -> u16 {
        self.device_type
    }

    fn requester(&self) -> Option<Bdf> {
        Some(self.function.bdf())
    }

    fn windows(&self) -> Vec<Range<u64>> {
        let structures = self.structures.iter().map(|found| (found.address, found.len_bytes));
        let table = self.msix.map(|msix| msix.table());
        structures
            .chain(table)
            .map(|(start, len_bytes)| start.get()..start.get().saturating_add(len_bytes))
            .collect()
    }

    fn set_bus_master(&mut self, host: &mut dyn Host, on: bool) {
        self.function.set_bus_master(host, on);
    }

    fn device_features(&mut self, host: &mut dyn Host) -> u64 {
        self.write(host, CommonReg::DeviceFeatureSelect, 0);
        let low = self.read(host, CommonReg::DeviceFeature);
        self.write(host, CommonReg::DeviceFeatureSelect, 1);
        let high = self.read(host, CommonReg::DeviceFeature);
        u64::from(high) << 32 | u64::from(low)
    }

    fn set_driver_features(&mut self, host: &mut dyn Host, features: u64) {
        self.write(host, CommonReg::DriverFeatureSelect, 0);
        self.write(host, CommonReg::DriverFeature, features as u32);
        self.write(host, CommonReg::DriverFeatureSelect, 1);
        self.write(host, CommonReg::DriverFeature, (features >> 32) as u32);
    }

    fn status(&mut self, host: &mut dyn Host) -> u8 {
        self.read(host, CommonReg::DeviceStatus) as u8
    }

    fn set_status(&mut self, host: &mut dyn Host, status: u8) {
        self.write(host, CommonReg::DeviceStatus, u32::from(status));
    }

    fn reset(&mut self, host: &mut dyn Host) -> Result<(), TransportError> {
        self.write(host, CommonReg::DeviceStatus, 0);
        await_reset(host, self.patience, |host| self.status(host))?;
        self.vectors_used = 0;
        Ok(())
    }

    fn max_queue_size(&mut self, host: &mut dyn Host, index: u16) -> u16 {
        if u32::from(index) >= self.read(host, CommonReg::NumQueues) {
            return 0;
        }
        self.write(host, CommonReg::QueueSelect, u32::from(index));
        self.read(host, CommonReg::QueueSize) as u16
    }

    fn activate_queue(
        &mut self,
        host: &mut dyn Host,
        setup: &QueueSetup,
    ) -> Result<ActiveQueue, TransportError> {
        let queue = setup.index;
        self.write(host, CommonReg::QueueSelect, u32::from(queue));
        let offered = self.read(host, CommonReg::QueueSize) as u16;
        if offered == 0 {
            return Err(TransportError::NoQueue { queue });
        }
        if setup.size > offered {
            return Err(TransportError::QueueTooSmall { queue, offered, asked: setup.size });
        }
        if setup.size != offered {
            self.write(host, CommonReg::QueueSize, u32::from(setup.size));
        }
        let notify_off = u64::from(self.read(host, CommonReg::QueueNotifyOff));
        let offset = notify_off * u64::from(self.notify.extra);
        if offset + 2 > self.notify.len_bytes {
            let function = self.function.bdf();
            return Err(TransportError::MissingStructure {
                function,
                structure: "notification (long enough)",
            });
        }
        let doorbell = Doorbell::of_queue(self.notify.address + offset, queue);
        let areas = &setup.areas;
        self.write_address(
            host,
            CommonReg::QueueDescLow,
            CommonReg::QueueDescHigh,
            areas.descriptors.get(),
        );
        self.write_address(
            host,
            CommonReg::QueueDriverLow,
            CommonReg::QueueDriverHigh,
            areas.driver.get(),
        );
        self.write_address(
            host,
            CommonReg::QueueDeviceLow,
            CommonReg::QueueDeviceHigh,
            areas.device.get(),
        );
        let vector = if setup.interrupt {
            Some(self.connect(host, CommonReg::QueueMsixVector, Event::Queue(queue))?)
        } else {
            self.write(host, CommonReg::QueueMsixVector, u32::from(NO_VECTOR));
            None
        };
        self.write(host, CommonReg::QueueEnable, 1);
        Ok(ActiveQueue { doorbell, vector })
    }

    fn connect_config(&mut self, host: &mut dyn Host) -> Result<Vector, TransportError> {
        self.connect(host, CommonReg::ConfigMsixVector, Event::Config)
    }

    fn config_generation(&mut self, host: &mut dyn Host) -> u8 {
        self.read(host, CommonReg::ConfigGeneration) as u8
    }

    fn read_config(
        &mut self,
        host: &mut dyn Host,
        offset: u16,
        width: ConfigWidth,
    ) -> Result<u32, TransportError> {
        let (width, bytes) = match width {
            ConfigWidth::W8 => (Width::W8, 1),
            ConfigWidth::W16 => (Width::W16, 2),
            ConfigWidth::W32 => (Width::W32, 4),
        };
        let offset = u64::from(offset);
        let len_bytes = self.device.map_or(0, |device| device.len_bytes);
        match self.device {
            Some(device) if offset + bytes <= len_bytes => {
                Ok(host.mmio_read(device.address + offset, width) as u32)
            }
            _ => Err(TransportError::ShortConfig { bytes: len_bytes, offset }),
        }
    }

    fn shared_memory(&self, id: u8) -> Option<SharedMemory> {
        let is_it = |found: &&Structure| found.kind == cfg_type::SHARED_MEMORY && found.id == id;
        let found = self.structures.iter().find(is_it)?;
        Some(SharedMemory { address: found.address, len_bytes: found.len_bytes })
    }

    fn bounce_region(&self) -> Option<SharedMemory> {
        let is_it = |found: &&Structure| found.kind == cfg_type::SWIOTLB && found.id == bounce::ID;
        let found = self.structures.iter().find(is_it)?;
        let is_aligned = found.address.get().is_multiple_of(bounce::ALIGN);
        (is_aligned && found.len_bytes >= bounce::ALIGN)
            .then_some(SharedMemory { address: found.address, len_bytes: found.len_bytes })
    }

    fn shut_down(&mut self, host: &mut dyn Host) {
        if let Some(msix) = self.msix
            && !self.vectors.is_empty()
        {
            msix.disable(host);
        }
        self.vectors.clear();
        self.function.set_bus_master(host, false);
    }
}

const _: () = assert!(COMMON_NEEDED <= COMMON_CFG_BYTES as u64);
