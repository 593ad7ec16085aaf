//! A guest's memory in this process: mapped from a file descriptor that the client sent.
//!
//! The guest's processors read and write the same bytes at the same time. So nothing here makes a
//! reference to them: they are copied in and out, and what is aligned is copied in one access, so that an
//! index is seen whole.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{SealFlags, fcntl_get_seals, fstat};

const PAGE_BYTES: u64 = 4096;

/// A part of a file, mapped.
#[derive(Debug)]
pub(super) struct Shared {
    map: MmapRaw,
    /// Where it begins in the mapping, which begins at a page.
    start: u64,
    len_bytes: u64,
}

impl Shared {
    /// Maps `len_bytes` bytes from `offset` on.
    ///
    /// # Errors
    /// When they are not all there, cannot be mapped, or could go away: the file must be sealed against
    /// shrinking, as QEMU seals its `memory-backend-memfd`, since touching what is no more would end this
    /// process.
    pub(super) fn of(file: OwnedFd, offset: u64, len_bytes: u64) -> io::Result<Self> {
        let end = offset.checked_add(len_bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let size = u64::try_from(fstat(&file)?.st_size).map_err(io::Error::other)?;
        if size < end || !fcntl_get_seals(&file)?.contains(SealFlags::SHRINK) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let start = offset % PAGE_BYTES;
        let whole = usize::try_from(start + len_bytes).map_err(io::Error::other)?;
        let map = MmapOptions::new().offset(offset - start).len(whole).map_raw(&file)?;
        Ok(Self { map, start, len_bytes })
    }

    /// Where `len` bytes from `at` on are; `None` when they are not all there.
    fn place(&self, at: u64, len: usize) -> Option<*mut u8> {
        let end = at.checked_add(len as u64)?;
        let inside = end <= self.len_bytes;
        inside.then(|| self.map.as_mut_ptr().wrapping_add((self.start + at) as usize))
    }

    /// Copies bytes out. What is not there is left alone: the caller knows the length.
    #[expect(unsafe_code, reason = "memory that a guest changes cannot be borrowed")]
    pub(super) fn read(&self, at: u64, into: &mut [u8]) {
        let Some(place) = self.place(at, into.len()) else { return };
        for (offset, part) in pieces(place as usize, into.len()) {
            let from = place.wrapping_add(offset);
            // SAFETY: `place` vouches for all of the bytes, the mapping lives as long as `self`, and
            // `pieces` aligns each access; others touch the bytes by atomic accesses of their own or
            // from outside of this process.
            let bytes = unsafe {
                match part {
                    8 => AtomicU64::from_ptr(from.cast()).load(Ordering::Acquire),
                    4 => u64::from(AtomicU32::from_ptr(from.cast()).load(Ordering::Acquire)),
                    2 => u64::from(AtomicU16::from_ptr(from.cast()).load(Ordering::Acquire)),
                    _ => u64::from(AtomicU8::from_ptr(from).load(Ordering::Acquire)),
                }
            };
            into[offset..offset + part].copy_from_slice(&bytes.to_ne_bytes()[..part]);
        }
    }

    /// Copies bytes in.
    #[expect(unsafe_code, reason = "memory that a guest changes cannot be borrowed")]
    pub(super) fn write(&self, at: u64, data: &[u8]) {
        let Some(place) = self.place(at, data.len()) else { return };
        for (offset, part) in pieces(place as usize, data.len()) {
            let to = place.wrapping_add(offset);
            let mut bytes = [0; 8];
            bytes[..part].copy_from_slice(&data[offset..offset + part]);
            let value = u64::from_ne_bytes(bytes);
            // SAFETY: as for reading.
            unsafe {
                match part {
                    8 => AtomicU64::from_ptr(to.cast()).store(value, Ordering::Release),
                    4 => AtomicU32::from_ptr(to.cast()).store(value as u32, Ordering::Release),
                    2 => AtomicU16::from_ptr(to.cast()).store(value as u16, Ordering::Release),
                    _ => AtomicU8::from_ptr(to).store(value as u8, Ordering::Release),
                }
            }
        }
    }
}

/// Cuts `len` bytes at `address` into aligned accesses of 8, 4, 2 or 1 bytes: offset and length of each.
fn pieces(address: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let part = [8, 4, 2, 1]
            .into_iter()
            .find(|part| done + part <= len && (address + done).is_multiple_of(*part))?;
        let piece = (done, part);
        done += part;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aligned_index_is_one_access_and_every_byte_is_covered_once() {
        assert_eq!(pieces(0x1002, 2).collect::<Vec<_>>(), [(0, 2)]);
        assert_eq!(pieces(0x1001, 7).collect::<Vec<_>>(), [(0, 1), (1, 2), (3, 4)]);
        for (address, len) in [(0, 0), (3, 64), (7, 1), (6, 21)] {
            let mut next = 0;
            for (offset, part) in pieces(address, len) {
                assert_eq!((offset, (address + offset) % part), (next, 0));
                next += part;
            }
            assert_eq!(next, len);
        }
    }
}
