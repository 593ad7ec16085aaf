//! The split virtqueue, byte by byte. Virtio 1.4, "Split Virtqueues".
//!
//! All fields are little-endian. The three areas may lie in different places:
//! descriptor area (16 n bytes), driver area (6 + 2 n), device area (6 + 8 n), for n descriptors.

/// Bytes of one descriptor.
pub const DESC_BYTES: usize = 16;
/// Alignment of the descriptor area.
pub const DESC_ALIGN: u64 = 16;
/// Alignment of the driver area (available ring).
pub const AVAIL_ALIGN: u64 = 2;
/// Alignment of the device area (used ring).
pub const USED_ALIGN: u64 = 4;
/// The largest queue size.
pub const MAX_SIZE: u16 = 32_768;

/// Descriptor flag: the chain goes on at `next`.
pub const DESC_F_NEXT: u16 = 1;
/// Descriptor flag: the device writes this buffer (else it reads it).
pub const DESC_F_WRITE: u16 = 2;
/// Descriptor flag: the buffer is a table of descriptors.
pub const DESC_F_INDIRECT: u16 = 4;

/// Available ring flag: the driver wants no interrupt (without EVENT_IDX).
pub const AVAIL_F_NO_INTERRUPT: u16 = 1;
/// Used ring flag: the device wants no doorbell (without EVENT_IDX).
pub const USED_F_NO_NOTIFY: u16 = 1;

/// Offset of `flags` in the available ring.
pub const AVAIL_FLAGS: u64 = 0;
/// Offset of `idx` in the available ring.
pub const AVAIL_IDX: u64 = 2;
/// Offset of `flags` in the used ring.
pub const USED_FLAGS: u64 = 0;
/// Offset of `idx` in the used ring.
pub const USED_IDX: u64 = 2;
/// Bytes of one used element.
pub const USED_ELEM_BYTES: usize = 8;

/// Offset of entry `slot` (0 to size − 1) in the available ring.
#[must_use]
pub const fn avail_entry(slot: u16) -> u64 {
    4 + 2 * slot as u64
}

/// Offset of `used_event` in the available ring.
#[must_use]
pub const fn used_event(size: u16) -> u64 {
    4 + 2 * size as u64
}

/// Offset of element `slot` (0 to size − 1) in the used ring.
#[must_use]
pub const fn used_elem(slot: u16) -> u64 {
    4 + 8 * slot as u64
}

/// Offset of `avail_event` in the used ring.
#[must_use]
pub const fn avail_event(size: u16) -> u64 {
    4 + 8 * size as u64
}

/// Bytes of the descriptor area.
#[must_use]
pub const fn desc_area_bytes(size: u16) -> u64 {
    DESC_BYTES as u64 * size as u64
}

/// Bytes of the driver area, `used_event` included.
#[must_use]
pub const fn avail_area_bytes(size: u16) -> u64 {
    6 + 2 * size as u64
}

/// Bytes of the device area, `avail_event` included.
#[must_use]
pub const fn used_area_bytes(size: u16) -> u64 {
    6 + 8 * size as u64
}

/// A split-ring descriptor's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SplitDesc {
    /// Bus address of the buffer.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u32,
    /// `DESC_F_*`.
    pub flags: u16,
    /// The next descriptor of the chain, with [`DESC_F_NEXT`].
    pub next: u16,
}

impl SplitDesc {
    /// As it lies in memory.
    #[must_use]
    pub fn to_bytes(self) -> [u8; DESC_BYTES] {
        let mut bytes = [0; DESC_BYTES];
        bytes[0..8].copy_from_slice(&self.addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.flags.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }

    /// From memory.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; DESC_BYTES]) -> Self {
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = *bytes;
        Self {
            addr: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        }
    }
}

/// Whether moving an index from `old` to `new` passes `event`, so that a notification is due.
/// Virtio 1.4, "Used Buffer Notification Suppression" (the same rule serves both directions).
#[must_use]
pub const fn need_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
