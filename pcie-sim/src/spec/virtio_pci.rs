//! Virtio over PCI. Virtio 1.4, "Virtio Over PCI Bus".

/// PCI vendor id of every virtio device.
pub const VENDOR_ID: u16 = 0x1af4;
/// A modern device's PCI device id is this plus its device type.
pub const DEVICE_ID_BASE: u16 = 0x1040;
/// `cap_vndr` of every virtio capability: the PCI vendor-specific capability.
pub const CAP_VENDOR: u8 = 0x09;

/// `cfg_type`: which structure a capability points to.
pub mod cfg_type {
    /// Common configuration.
    pub const COMMON: u8 = 1;
    /// Notifications (doorbells).
    pub const NOTIFY: u8 = 2;
    /// ISR status.
    pub const ISR: u8 = 3;
    /// Device-specific configuration.
    pub const DEVICE: u8 = 4;
    /// PCI configuration access.
    pub const PCI: u8 = 5;
    /// Shared memory region (`virtio_pci_cap64`).
    pub const SHARED_MEMORY: u8 = 8;
    /// Vendor-specific data.
    pub const VENDOR: u8 = 9;
    /// Bounce buffer on the card (proposed in 2025): see [`super::bounce`].
    pub const SWIOTLB: u8 = 10;
}

/// Offsets in `struct virtio_pci_cap` and its extensions.
pub mod cap {
    /// Capability id, [`super::CAP_VENDOR`].
    pub const VNDR: u16 = 0x00;
    /// Next capability.
    pub const NEXT: u16 = 0x01;
    /// Length of the capability.
    pub const LEN: u16 = 0x02;
    /// Structure type.
    pub const CFG_TYPE: u16 = 0x03;
    /// BAR index, 0 to 5.
    pub const BAR: u16 = 0x04;
    /// Identifier (`shmid` of a shared memory region).
    pub const ID: u16 = 0x05;
    /// Offset inside the BAR.
    pub const OFFSET: u16 = 0x08;
    /// Length of the structure.
    pub const LENGTH: u16 = 0x0c;
    /// `notify_off_multiplier` of a notify capability.
    pub const NOTIFY_OFF_MULTIPLIER: u16 = 0x10;
    /// `pci_cfg_data` of a PCI access capability.
    pub const PCI_CFG_DATA: u16 = 0x10;
    /// `offset_hi` of a 64-bit capability.
    pub const OFFSET_HI: u16 = 0x10;
    /// `length_hi` of a 64-bit capability.
    pub const LENGTH_HI: u16 = 0x14;
    /// Bytes of the plain capability.
    pub const BYTES: u8 = 16;
    /// Bytes of a notify or PCI access capability.
    pub const BYTES_WITH_DATA: u8 = 20;
    /// Bytes of a 64-bit capability.
    pub const BYTES_64: u8 = 24;
    /// `vendor_id` of a vendor data capability, 16 bits; never [`super::VENDOR_ID`].
    pub const VENDOR_ID: u16 = 0x04;
    /// The vendor's own data in a vendor data capability, up to `cap_len`, a multiple of 4.
    pub const VENDOR_DATA: u16 = 0x06;
    /// Bytes of a vendor data capability with the fewest data, 2 bytes.
    pub const BYTES_VENDOR: u8 = 8;
}

/// Bounce buffer on the card: the region that VIRTIO_F_SWIOTLB and VIRTIO_PCI_CAP_SWIOTLB speak of.
///
/// The proposal of 2025 gives the capability no layout. Decided for this project: it is a
/// `struct virtio_pci_cap64` (`cap_len` 24) like that of a shared memory region, `id` `bounce::ID`, with the
/// BAR, the offset in it and the length, both 64 bits. A driver passes addresses of the region as the CPU
/// sees them: where the BAR lies, plus the offset, plus the place inside. (A rival proposal has offsets
/// from the region's start instead; and bit 27 was ANY_LAYOUT before virtio 1.0, which a device that
/// offers VERSION_1 never means.)
pub mod bounce {
    /// `id` of the capability: there is one region.
    pub const ID: u8 = 0;
    /// The region's start and length are multiples of this many bytes, a page.
    pub const ALIGN: u64 = 4096;
}

/// Bits of `device_status`.
pub mod status {
    /// The guest has found the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// The guest knows how to drive it.
    pub const DRIVER: u8 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u8 = 4;
    /// Features are agreed.
    pub const FEATURES_OK: u8 = 8;
    /// Suspended (1.4).
    pub const SUSPEND: u8 = 16;
    /// The device has met an error from which only a reset helps.
    pub const DEVICE_NEEDS_RESET: u8 = 64;
    /// The driver has given up.
    pub const FAILED: u8 = 128;
}

/// Bits of the ISR status byte.
pub mod isr {
    /// A queue has news.
    pub const QUEUE: u8 = 1;
    /// The configuration has changed.
    pub const CONFIG: u8 = 2;
}

/// "No vector" in `config_msix_vector` and `queue_msix_vector`.
pub const NO_VECTOR: u16 = 0xffff;

/// Who may do what with a register, as the driver sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only: a write is ignored.
    Ro,
    /// Read and write.
    Rw,
}

/// A field of `struct virtio_pci_common_cfg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the specification's own field of the same name")]
pub enum CommonReg {
    DeviceFeatureSelect,
    DeviceFeature,
    DriverFeatureSelect,
    DriverFeature,
    ConfigMsixVector,
    NumQueues,
    DeviceStatus,
    ConfigGeneration,
    QueueSelect,
    QueueSize,
    QueueMsixVector,
    QueueEnable,
    QueueNotifyOff,
    QueueDescLow,
    QueueDescHigh,
    QueueDriverLow,
    QueueDriverHigh,
    QueueDeviceLow,
    QueueDeviceHigh,
    QueueNotifConfigData,
    QueueReset,
    AdminQueueIndex,
    AdminQueueNum,
}

/// `struct virtio_pci_common_cfg` in order and without gaps: field, bytes, access. The two halves of a
/// 64-bit field stand apart, since a driver writes them apart.
/// Virtio 1.4, "Common configuration structure layout".
pub const COMMON_CFG: &[(CommonReg, u16, Access)] = &[
    (CommonReg::DeviceFeatureSelect, 4, Access::Rw),
    (CommonReg::DeviceFeature, 4, Access::Ro),
    (CommonReg::DriverFeatureSelect, 4, Access::Rw),
    (CommonReg::DriverFeature, 4, Access::Rw),
    (CommonReg::ConfigMsixVector, 2, Access::Rw),
    (CommonReg::NumQueues, 2, Access::Ro),
    (CommonReg::DeviceStatus, 1, Access::Rw),
    (CommonReg::ConfigGeneration, 1, Access::Ro),
    (CommonReg::QueueSelect, 2, Access::Rw),
    (CommonReg::QueueSize, 2, Access::Rw),
    (CommonReg::QueueMsixVector, 2, Access::Rw),
    (CommonReg::QueueEnable, 2, Access::Rw),
    (CommonReg::QueueNotifyOff, 2, Access::Ro),
    (CommonReg::QueueDescLow, 4, Access::Rw),
    (CommonReg::QueueDescHigh, 4, Access::Rw),
    (CommonReg::QueueDriverLow, 4, Access::Rw),
    (CommonReg::QueueDriverHigh, 4, Access::Rw),
    (CommonReg::QueueDeviceLow, 4, Access::Rw),
    (CommonReg::QueueDeviceHigh, 4, Access::Rw),
    (CommonReg::QueueNotifConfigData, 2, Access::Ro),
    (CommonReg::QueueReset, 2, Access::Rw),
    (CommonReg::AdminQueueIndex, 2, Access::Ro),
    (CommonReg::AdminQueueNum, 2, Access::Ro),
];

/// Bytes of the common configuration structure.
pub const COMMON_CFG_BYTES: u16 = 64;

const _: () = assert!(total_bytes() == COMMON_CFG_BYTES);

const fn total_bytes() -> u16 {
    let mut total = 0;
    let mut i = 0;
    while i < COMMON_CFG.len() {
        total += COMMON_CFG[i].1;
        i += 1;
    }
    total
}

impl CommonReg {
    /// The register's offset in the structure.
    #[must_use]
    pub const fn offset(self) -> u16 {
        let mut offset = 0;
        let mut i = 0;
        while i < COMMON_CFG.len() {
            if COMMON_CFG[i].0 as u8 == self as u8 {
                return offset;
            }
            offset += COMMON_CFG[i].1;
            i += 1;
        }
        unreachable!()
    }

    /// The register's width in bytes and access.
    #[must_use]
    pub const fn shape(self) -> (u16, Access) {
        let (_, bytes, access) = COMMON_CFG[self as usize];
        (bytes, access)
    }

    /// The register that starts at `offset`, if one does.
    #[must_use]
    pub fn at(offset: u16) -> Option<Self> {
        COMMON_CFG.iter().map(|&(reg, ..)| reg).find(|reg| reg.offset() == offset)
    }
}
