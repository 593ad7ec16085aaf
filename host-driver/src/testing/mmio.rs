//! A virtio-mmio slot in front of the scripted card.

use pcie_sim::host::Width;
use pcie_sim::spec::pci::msix;
use pcie_sim::spec::virtio_mmio::{CONFIG, MAGIC, MmioAccess, MmioReg, VERSION, interrupt};
use pcie_sim::spec::virtio_pci::{Access, CommonReg};

use super::card::Card;
use super::{LINE, get, put};

/// Device type of the card in the slot; 0 when it is empty.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) device: u32,
    pub(crate) status: u32,
    pub(crate) acknowledged: u32,
    shm: u32,
}

impl Slot {
    /// The card used a buffer.
    pub(crate) fn raise(&mut self, raised: &[u16]) {
        if !raised.is_empty() {
            self.status |= interrupt::USED_BUFFER;
        }
    }

    pub(crate) fn read(&mut self, card: &mut Card, offset: u64, width: Width) -> u64 {
        if offset >= CONFIG {
            return get(&card.device_config, (offset - CONFIG) as usize, width);
        }
        assert_eq!(width, Width::W32, "registers are 32 bits wide");
        let register = MmioReg::at(offset).expect("a register");
        assert_ne!(register.access(), MmioAccess::Wo, "{register:?} is write-only");
        let value = match register {
            MmioReg::MagicValue => MAGIC,
            MmioReg::Version => VERSION,
            MmioReg::DeviceId => self.device,
            MmioReg::DeviceFeatures => card.read_common(CommonReg::DeviceFeature),
            MmioReg::QueueSizeMax => card.read_common(CommonReg::QueueSize),
            MmioReg::QueueReady => card.read_common(CommonReg::QueueEnable),
            MmioReg::InterruptStatus => self.status,
            MmioReg::Status => card.read_common(CommonReg::DeviceStatus),
            MmioReg::ShmLenLow | MmioReg::ShmLenHigh if self.shm != 1 => u32::MAX,
            MmioReg::ShmLenLow => 0x1_0000,
            MmioReg::ShmBaseLow => 0x4000,
            MmioReg::ShmBaseHigh => 9,
            MmioReg::ConfigGeneration => card.read_common(CommonReg::ConfigGeneration),
            _ => 0,
        };
        u64::from(value)
    }

    /// `true` when it was a doorbell.
    pub(crate) fn write(&mut self, card: &mut Card, offset: u64, width: Width, value: u64) -> bool {
        assert_eq!(width, Width::W32, "registers are 32 bits wide");
        let register = MmioReg::at(offset).expect("a register");
        assert_ne!(register.access(), MmioAccess::Plain(Access::Ro), "{register:?} is read-only");
        let value = value as u32;
        let common = match register {
            MmioReg::DeviceFeaturesSel => CommonReg::DeviceFeatureSelect,
            MmioReg::DriverFeatures => CommonReg::DriverFeature,
            MmioReg::DriverFeaturesSel => CommonReg::DriverFeatureSelect,
            MmioReg::QueueSel => CommonReg::QueueSelect,
            MmioReg::QueueSize => CommonReg::QueueSize,
            MmioReg::QueueReady => {
                card.write_common(CommonReg::QueueMsixVector, 0);
                let data = msix::ENTRY_DATA as usize;
                put(&mut card.msix_table, data, Width::W32, u64::from(LINE.0));
                CommonReg::QueueEnable
            }
            MmioReg::Status => CommonReg::DeviceStatus,
            MmioReg::QueueDescLow => CommonReg::QueueDescLow,
            MmioReg::QueueDescHigh => CommonReg::QueueDescHigh,
            MmioReg::QueueDriverLow => CommonReg::QueueDriverLow,
            MmioReg::QueueDriverHigh => CommonReg::QueueDriverHigh,
            MmioReg::QueueDeviceLow => CommonReg::QueueDeviceLow,
            MmioReg::QueueDeviceHigh => CommonReg::QueueDeviceHigh,
            MmioReg::InterruptAck => {
                self.status &= !value;
                self.acknowledged |= value;
                return false;
            }
            MmioReg::ShmSel => {
                self.shm = value;
                return false;
            }
            MmioReg::QueueNotify => {
                card.doorbells += 1;
                return true;
            }
            other => panic!("{other:?} is not written by this driver"),
        };
        card.write_common(common, value);
        false
    }
}
