//! Host RAM: one mapping, anonymous or of a file; gigabytes cost nothing until they are touched.
//!
//! As on a PC, RAM ends at 3 GiB where memory-mapped I/O begins and goes on at 4 GiB.

use std::fs::File;
use std::io;

use memmap2::{MmapMut, MmapOptions};

use crate::address::PhysAddr;
use crate::iommu::TableMemory;

/// Where the hole for memory-mapped I/O begins.
pub const HOLE_START: u64 = 3 << 30;
/// Where RAM goes on behind the hole.
pub const HOLE_END: u64 = 4 << 30;

/// The host's RAM.
#[derive(Debug)]
pub struct Ram {
    bytes: MmapMut,
}

impl Ram {
    /// `size_bytes` of zeroed RAM that belongs to this process alone.
    pub fn anonymous(size_bytes: u64) -> io::Result<Self> {
        let size = usize::try_from(size_bytes).map_err(io::Error::other)?;
        Ok(Self { bytes: MmapOptions::new().len(size).no_reserve_swap().map_anon()? })
    }

    /// RAM that is the content of `file`, grown to `size_bytes` if it is shorter.
    #[expect(unsafe_code, reason = "mapping a file shares it with whoever else has it open")]
    pub fn of_file(file: &File, size_bytes: u64) -> io::Result<Self> {
        if file.metadata()?.len() < size_bytes {
            file.set_len(size_bytes)?;
        }
        let size = usize::try_from(size_bytes).map_err(io::Error::other)?;
        // SAFETY: the file is at least `size` long, and the bench is its only writer by contract of the
        // scenario key that names it; a foreign writer changes data, which to the bench is any DMA.
        let bytes = unsafe { MmapOptions::new().len(size).map_mut(file)? };
        Ok(Self { bytes })
    }

    /// Bytes of RAM, the hole not counted.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether all of `len_bytes` bytes at `address` are RAM.
    #[must_use]
    pub fn contains(&self, address: PhysAddr, len_bytes: u64) -> bool {
        self.range(address, len_bytes as usize).is_some()
    }

    /// The bytes at `address`, when all of them are RAM.
    #[must_use]
    pub fn slice(&self, address: PhysAddr, len_bytes: usize) -> Option<&[u8]> {
        self.range(address, len_bytes).map(|range| &self.bytes[range])
    }

    /// The bytes at `address` to be changed, when all of them are RAM.
    #[must_use]
    pub fn slice_mut(&mut self, address: PhysAddr, len_bytes: usize) -> Option<&mut [u8]> {
        self.range(address, len_bytes).map(|range| &mut self.bytes[range])
    }

    fn range(&self, address: PhysAddr, len_bytes: usize) -> Option<std::ops::Range<usize>> {
        let end = address.get().checked_add(len_bytes as u64)?;
        let start = if end <= HOLE_START {
            address.get()
        } else if address.get() >= HOLE_END {
            address.get() - HOLE_END + HOLE_START
        } else {
            return None;
        };
        let start = usize::try_from(start).ok()?;
        let end = start.checked_add(len_bytes)?;
        (end <= self.bytes.len()).then_some(start..end)
    }
}

impl TableMemory for Ram {
    fn read(&self, address: PhysAddr, into: &mut [u8]) -> bool {
        match self.slice(address, into.len()) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => {
                into.fill(0);
                return false;
            }
        }
        true
    }

    fn write(&mut self, address: PhysAddr, data: &[u8]) -> bool {
        match self.slice_mut(address, data.len()) {
            Some(bytes) => bytes.copy_from_slice(data),
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_goes_on_at_four_gib_and_the_hole_is_nobodys() {
        let mut ram = Ram::anonymous(HOLE_START + 8192).expect("address space is free");
        assert!(ram.contains(PhysAddr(HOLE_START - 8), 8));
        assert!(!ram.contains(PhysAddr(HOLE_START - 8), 9));
        assert!(!ram.contains(PhysAddr(HOLE_START), 1));
        assert!(!ram.contains(PhysAddr(HOLE_END - 1), 2));
        assert!(ram.write(PhysAddr(HOLE_END + 8188), &[1, 2, 3, 4]));
        assert!(!ram.write(PhysAddr(HOLE_END + 8189), &[1, 2, 3, 4]));
        assert_eq!(ram.slice(PhysAddr(HOLE_END + 8188), 4), Some(&[1, 2, 3, 4][..]));
    }
}
