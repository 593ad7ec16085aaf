//! The register block of virtio over MMIO, in front of the same engines. Virtio 1.4, "Virtio Over MMIO".
//!
//! Most registers are those of the PCI transport under another offset, and are handed on to them.
//!
//! Left out: a queue that stops alone (QueueReady written 0, QueueReset); QueueReady keeps reading 1 until
//! the device is reset. Accesses that are not whole registers read zeroes and write nothing.

use pcie_sim::host::MsiMessage;
use pcie_sim::spec::virtio_mmio::interrupt::{CONFIG_CHANGE, USED_BUFFER};
use pcie_sim::spec::virtio_mmio::{self as mmio, MmioReg, NO_REGION};
use pcie_sim::spec::virtio_pci::{CommonReg, VENDOR_ID};
use pcie_sim::time::Instant;

use super::Card;
use crate::dma::Cause;

/// What the block has besides the registers that both transports share.
#[derive(Debug)]
pub(crate) struct Front {
    device_type: u16,
    /// Sent when the interrupt line rises.
    message: MsiMessage,
    interrupt: u32,
    region: u32,
}

impl Front {
    /// A block in front of a device of this type.
    pub(crate) fn new(device_type: u16, message: MsiMessage) -> Self {
        Self { device_type, message, interrupt: 0, region: 0 }
    }

    /// As after power-on.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.device_type, self.message);
    }

    /// A cause for an interrupt: the message to send if the line rises by it.
    pub(super) fn raise(&mut self, cause: Cause) -> Option<MsiMessage> {
        let was = self.interrupt;
        self.interrupt |= match cause {
            Cause::Queue(_) => USED_BUFFER,
            Cause::Config => CONFIG_CHANGE,
        };
        (was == 0).then_some(self.message)
    }

    /// The driver has seen these causes. A line that stays up for another one interrupts again.
    fn acknowledge(&mut self, causes: u32) -> Option<MsiMessage> {
        let seen = self.interrupt & causes != 0;
        self.interrupt &= !causes;
        (seen && self.interrupt != 0).then_some(self.message)
    }
}

impl Card {
    pub(super) fn block_read(&self, front: &Front, offset: u64, into: &mut [u8]) {
        into.fill(0);
        if offset >= mmio::CONFIG {
            self.device.read_config(offset - mmio::CONFIG, into);
        } else if let (Some(reg), Ok(into)) = (MmioReg::at(offset), <&mut [u8; 4]>::try_from(into))
        {
            *into = self.block_register(front, reg).to_le_bytes();
        }
    }

    fn block_register(&self, front: &Front, reg: MmioReg) -> u32 {
        // Region 0 is the card's memory.
        let memory = (front.region == 0 && self.memory_bytes != 0 && self.settings.bars[2] != 0)
            .then_some((self.settings.bars[2], self.memory_bytes));
        let (base, length) = memory.unwrap_or((NO_REGION, NO_REGION));
        match reg {
            MmioReg::MagicValue => mmio::MAGIC,
            MmioReg::Version => mmio::VERSION,
            MmioReg::DeviceId => front.device_type.into(),
            MmioReg::VendorId => VENDOR_ID.into(),
            MmioReg::DeviceFeatures => self.common(CommonReg::DeviceFeature),
            MmioReg::QueueSizeMax => self.registers.selected_size_max().into(),
            MmioReg::QueueReady => self.common(CommonReg::QueueEnable),
            MmioReg::InterruptStatus => front.interrupt,
            MmioReg::Status => self.common(CommonReg::DeviceStatus),
            MmioReg::ShmLenLow => length as u32,
            MmioReg::ShmLenHigh => (length >> 32) as u32,
            MmioReg::ShmBaseLow => base as u32,
            MmioReg::ShmBaseHigh => (base >> 32) as u32,
            MmioReg::ConfigGeneration => self.common(CommonReg::ConfigGeneration),
            // Write only, or of a feature that the card does not offer.
            _ => 0,
        }
    }

    pub(super) fn block_write(&mut self, now: Instant, offset: u64, data: &[u8]) {
        let (Some(reg), Ok(data)) = (MmioReg::at(offset), <[u8; 4]>::try_from(data)) else {
            return;
        };
        let value = u32::from_le_bytes(data);
        match reg {
            MmioReg::QueueNotify => self.doorbell(now, u64::from(value & 0xffff)),
            MmioReg::InterruptAck => {
                let again = self.front.as_mut().and_then(|front| front.acknowledge(value));
                if let Some(message) = again {
                    self.dma.message(now, message);
                }
            }
            MmioReg::ShmSel => {
                if let Some(front) = &mut self.front {
                    front.region = value;
                }
            }
            _ => {
                if let Some(common) = shared_register(reg) {
                    self.set_common(now, common, value);
                }
            }
        }
    }

    fn common(&self, reg: CommonReg) -> u32 {
        let mut bytes = [0; 4];
        let len = usize::from(reg.shape().0);
        self.registers.read(reg.offset().into(), &mut bytes[..len]);
        u32::from_le_bytes(bytes)
    }

    /// A value that is too large for the narrower register of the PCI transport is not taken.
    fn set_common(&mut self, now: Instant, reg: CommonReg, value: u32) {
        let bytes = value.to_le_bytes();
        let (kept, lost) = bytes.split_at(reg.shape().0.into());
        if lost.iter().all(|&byte| byte == 0) {
            let effects = self.registers.write(reg.offset().into(), kept);
            self.take_effect(now, effects);
        }
    }
}

/// The register of the PCI transport that means the same.
fn shared_register(reg: MmioReg) -> Option<CommonReg> {
    Some(match reg {
        MmioReg::DeviceFeaturesSel => CommonReg::DeviceFeatureSelect,
        MmioReg::DriverFeatures => CommonReg::DriverFeature,
        MmioReg::DriverFeaturesSel => CommonReg::DriverFeatureSelect,
        MmioReg::QueueSel => CommonReg::QueueSelect,
        MmioReg::QueueSize => CommonReg::QueueSize,
        MmioReg::QueueReady => CommonReg::QueueEnable,
        MmioReg::Status => CommonReg::DeviceStatus,
        MmioReg::QueueDescLow => CommonReg::QueueDescLow,
        MmioReg::QueueDescHigh => CommonReg::QueueDescHigh,
        MmioReg::QueueDriverLow => CommonReg::QueueDriverLow,
        MmioReg::QueueDriverHigh => CommonReg::QueueDriverHigh,
        MmioReg::QueueDeviceLow => CommonReg::QueueDeviceLow,
        MmioReg::QueueDeviceHigh => CommonReg::QueueDeviceHigh,
        _ => return None,
    })
}
