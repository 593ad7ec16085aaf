//! Feature bits that do not depend on the device type. Virtio 1.4, "Reserved Feature Bits".

/// VIRTIO_F_SWIOTLB (27, proposed in 2025, not in the specification): only the card's bounce buffer.
pub const SWIOTLB: u64 = 1 << 27;
/// VIRTIO_F_INDIRECT_DESC (28): descriptors may point to a table of descriptors.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// VIRTIO_F_EVENT_IDX (29): notifications are suppressed by index.
pub const EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_F_VERSION_1 (32): not the legacy interface.
pub const VERSION_1: u64 = 1 << 32;
/// VIRTIO_F_ACCESS_PLATFORM (33): the platform may translate or restrict what the device accesses.
pub const ACCESS_PLATFORM: u64 = 1 << 33;
/// VIRTIO_F_RING_PACKED (34): packed queue layout.
pub const RING_PACKED: u64 = 1 << 34;
/// VIRTIO_F_IN_ORDER (35): buffers are used in the order in which they were made available.
pub const IN_ORDER: u64 = 1 << 35;
/// VIRTIO_F_ORDER_PLATFORM (36): memory is ordered as the platform orders it for devices.
pub const ORDER_PLATFORM: u64 = 1 << 36;
/// VIRTIO_F_NOTIFICATION_DATA (38): a doorbell carries the ring position.
pub const NOTIFICATION_DATA: u64 = 1 << 38;
/// VIRTIO_F_NOTIF_CONFIG_DATA (39): a doorbell carries a value of the device's choice.
pub const NOTIF_CONFIG_DATA: u64 = 1 << 39;
/// VIRTIO_F_RING_RESET (40): queues can be reset one by one.
pub const RING_RESET: u64 = 1 << 40;
