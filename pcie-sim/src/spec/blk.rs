//! The block device. Virtio 1.4, "Block Device".

/// Device type number.
pub const DEVICE_TYPE: u16 = 2;
/// The unit of `sector` and `capacity`.
pub const SECTOR_BYTES: u64 = 512;

/// VIRTIO_BLK_F_SIZE_MAX (1): the configuration field `size_max` is valid.
pub const F_SIZE_MAX: u64 = 1 << 1;
/// VIRTIO_BLK_F_SEG_MAX (2): the configuration field `seg_max` is valid.
pub const F_SEG_MAX: u64 = 1 << 2;
/// VIRTIO_BLK_F_RO (5): the disk is read-only.
pub const F_RO: u64 = 1 << 5;
/// VIRTIO_BLK_F_BLK_SIZE (6): the configuration field `blk_size` is valid.
pub const F_BLK_SIZE: u64 = 1 << 6;
/// VIRTIO_BLK_F_FLUSH (9): flush requests.
pub const F_FLUSH: u64 = 1 << 9;
/// VIRTIO_BLK_F_DISCARD (13): discard requests.
pub const F_DISCARD: u64 = 1 << 13;
/// VIRTIO_BLK_F_WRITE_ZEROES (14): write-zeroes requests.
pub const F_WRITE_ZEROES: u64 = 1 << 14;

/// Request type: read.
pub const T_IN: u32 = 0;
/// Request type: write.
pub const T_OUT: u32 = 1;
/// Request type: flush.
pub const T_FLUSH: u32 = 4;
/// Request type: 20 bytes of identification.
pub const T_GET_ID: u32 = 8;
/// Request type: discard.
pub const T_DISCARD: u32 = 11;
/// Request type: write zeroes.
pub const T_WRITE_ZEROES: u32 = 13;

/// Bytes of the header: le32 type, le32 reserved, le64 sector.
pub const REQ_HDR_BYTES: usize = 16;
/// Bytes of one segment of a discard or write-zeroes request: le64 sector, le32 number, le32 flags.
pub const RANGE_BYTES: usize = 16;
/// Bytes that GET_ID returns.
pub const ID_BYTES: usize = 20;

/// Status: done.
pub const S_OK: u8 = 0;
/// Status: the device or driver failed.
pub const S_IOERR: u8 = 1;
/// Status: not supported.
pub const S_UNSUPP: u8 = 2;

/// Offset of `capacity` (le64, sectors) in the device configuration.
pub const CONFIG_CAPACITY: usize = 0x00;
/// Offset of `size_max` (le32).
pub const CONFIG_SIZE_MAX: usize = 0x08;
/// Offset of `seg_max` (le32).
pub const CONFIG_SEG_MAX: usize = 0x0c;
/// Offset of `blk_size` (le32).
pub const CONFIG_BLK_SIZE: usize = 0x14;
/// Offset of `max_discard_sectors` (le32).
pub const CONFIG_MAX_DISCARD_SECTORS: usize = 0x24;
/// Offset of `max_discard_seg` (le32).
pub const CONFIG_MAX_DISCARD_SEG: usize = 0x28;
/// Offset of `discard_sector_alignment` (le32).
pub const CONFIG_DISCARD_ALIGNMENT: usize = 0x2c;
/// Offset of `max_write_zeroes_sectors` (le32).
pub const CONFIG_MAX_WRITE_ZEROES_SECTORS: usize = 0x30;
/// Offset of `max_write_zeroes_seg` (le32).
pub const CONFIG_MAX_WRITE_ZEROES_SEG: usize = 0x34;
/// Bytes of the device configuration that the card shows (up to `unused1`).
pub const CONFIG_BYTES: usize = 0x3c;
