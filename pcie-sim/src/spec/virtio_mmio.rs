//! Virtio over MMIO: one page of registers a device, found by the platform and not by a bus. Virtio 1.4,
//! "Virtio Over MMIO".
//!
//! Registers are 32 bits wide and little-endian; only the device configuration is accessed by the width of
//! its fields.

use super::virtio_pci::Access;

/// Bytes of a slot's registers, the device configuration included as far as a page goes.
pub const SLOT_BYTES: u64 = 0x1000;
/// What `MagicValue` reads: "virt".
pub const MAGIC: u32 = 0x7472_6976;
/// What `Version` reads on a device that is not of the legacy interface.
pub const VERSION: u32 = 2;
/// What `DeviceID` reads where no device is.
pub const NO_DEVICE: u32 = 0;
/// Offset of the device configuration.
pub const CONFIG: u64 = 0x100;
/// Length and base of a shared memory region that does not exist.
pub const NO_REGION: u64 = u64::MAX;

/// Bits of `InterruptStatus` and `InterruptACK`.
pub mod interrupt {
    /// The device has used a buffer in at least one queue.
    pub const USED_BUFFER: u32 = 1;
    /// The configuration has changed.
    pub const CONFIG_CHANGE: u32 = 2;
}

/// Who may do what, as the driver sees it; some registers are write-only here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MmioAccess {
    /// As on PCI.
    Plain(Access),
    /// Write only.
    Wo,
}

macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident = $offset:literal, $access:expr;)*) => {
        /// A register of a virtio-mmio slot, by its offset.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum MmioReg { $($(#[$doc])* $name = $offset,)* }

        /// Every register: itself, offset, access. Virtio 1.4, "MMIO Device Register Layout".
        pub const REGISTERS: &[(MmioReg, u16, MmioAccess)] =
            &[$((MmioReg::$name, $offset, $access)),*];
    };
}

const RO: MmioAccess = MmioAccess::Plain(Access::Ro);
const RW: MmioAccess = MmioAccess::Plain(Access::Rw);
const WO: MmioAccess = MmioAccess::Wo;

registers! {
    /// [`MAGIC`].
    MagicValue = 0x000, RO;
    /// [`VERSION`].
    Version = 0x004, RO;
    /// Device type; [`NO_DEVICE`] in an empty slot.
    DeviceId = 0x008, RO;
    /// Vendor id.
    VendorId = 0x00c, RO;
    /// 32 of the features offered.
    DeviceFeatures = 0x010, RO;
    /// Which 32.
    DeviceFeaturesSel = 0x014, WO;
    /// 32 of the features accepted.
    DriverFeatures = 0x020, WO;
    /// Which 32.
    DriverFeaturesSel = 0x024, WO;
    /// The queue that the following registers are about.
    QueueSel = 0x030, WO;
    /// Most descriptors it can have; 0: there is no such queue.
    QueueSizeMax = 0x034, RO;
    /// Descriptors it has.
    QueueSize = 0x038, WO;
    /// It is enabled.
    QueueReady = 0x044, RW;
    /// The doorbell: a queue's number.
    QueueNotify = 0x050, WO;
    /// Why an interrupt came, [`interrupt`].
    InterruptStatus = 0x060, RO;
    /// What of it was taken care of.
    InterruptAck = 0x064, WO;
    /// `device_status`.
    Status = 0x070, RW;
    /// Descriptor area, low half.
    QueueDescLow = 0x080, WO;
    /// Descriptor area, high half.
    QueueDescHigh = 0x084, WO;
    /// Driver area, low half.
    QueueDriverLow = 0x090, WO;
    /// Driver area, high half.
    QueueDriverHigh = 0x094, WO;
    /// Device area, low half.
    QueueDeviceLow = 0x0a0, WO;
    /// Device area, high half.
    QueueDeviceHigh = 0x0a4, WO;
    /// The shared memory region that the following registers are about.
    ShmSel = 0x0ac, WO;
    /// Its length, low half; all ones where there is none.
    ShmLenLow = 0x0b0, RO;
    /// Its length, high half.
    ShmLenHigh = 0x0b4, RO;
    /// Where it lies, low half.
    ShmBaseLow = 0x0b8, RO;
    /// Where it lies, high half.
    ShmBaseHigh = 0x0bc, RO;
    /// Resets the selected queue (VIRTIO_F_RING_RESET).
    QueueReset = 0x0c0, RW;
    /// `config_generation`.
    ConfigGeneration = 0x0fc, RO;
}

impl MmioReg {
    /// The register's offset from the start of the slot.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self as u16 as u64
    }

    /// The register at `offset`, if one is.
    #[must_use]
    pub fn at(offset: u64) -> Option<Self> {
        REGISTERS.iter().find(|(_, at, _)| u64::from(*at) == offset).map(|&(register, ..)| register)
    }

    /// Who may do what with it.
    #[must_use]
    pub fn access(self) -> MmioAccess {
        REGISTERS
            .iter()
            .find(|(register, ..)| *register == self)
            .map_or(MmioAccess::Wo, |&(.., access)| access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_in_order_aligned_and_below_the_device_configuration() {
        for pair in REGISTERS.windows(2) {
            assert!(pair[0].1 < pair[1].1);
        }
        for &(register, offset, access) in REGISTERS {
            assert!(offset % 4 == 0 && u64::from(offset) < CONFIG);
            assert_eq!(MmioReg::at(register.offset()), Some(register));
            assert_eq!(register.access(), access);
        }
        assert_eq!(MAGIC.to_le_bytes(), *b"virt");
        assert_eq!(MmioReg::at(0x3c), None);
    }
}
