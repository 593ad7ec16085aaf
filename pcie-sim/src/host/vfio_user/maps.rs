//! The memory that the client lets the card use: which bus addresses, and, where it is shared, the bytes.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::message::DmaRange;
use super::message::errno::{EEXIST, EINVAL, ENOSPC, ENOTSUP};
use super::shared::Shared;

/// Ranges a client may have mapped at a time, as Linux's `dma_entry_limit`.
const MOST_MAPS: usize = 65_535;
/// In the flags of a map: the device may read, write.
const READ: u32 = 1;
const WRITE: u32 = 2;
/// In the flags of an unmap: tell what was written to; everything.
const DIRTY: u32 = 1;
const ALL: u32 = 2;

/// A range that is mapped.
#[derive(Debug, Clone)]
struct Map {
    len_bytes: u64,
    flags: u32,
    /// Its bytes, and where in them it begins; `None` where every access is a message.
    shared: Option<(Rc<Shared>, u64)>,
}

/// Every range.
#[derive(Debug, Default)]
pub(super) struct Maps {
    by_address: BTreeMap<u64, Map>,
}

/// What became of an access to memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// All of it was read or written.
    All,
    /// A part of it is not mapped, or not for this.
    Refused,
    /// A part of it is mapped but not shared.
    NotShared,
}

impl Maps {
    /// Maps a range; with `file` its bytes are shared, if they can be.
    ///
    /// # Errors
    /// The number of the error for the client.
    pub(super) fn map(&mut self, range: &DmaRange, file: Option<OwnedFd>) -> Result<(), u32> {
        let end = range.address.checked_add(range.len_bytes).ok_or(EINVAL)?;
        if range.len_bytes == 0 || range.flags & !(READ | WRITE) != 0 {
            return Err(EINVAL);
        }
        let before = self.by_address.range(..end).next_back();
        if before.is_some_and(|(start, map)| start + map.len_bytes > range.address) {
            return Err(EEXIST);
        }
        if self.by_address.len() >= MOST_MAPS {
            return Err(ENOSPC);
        }
        let shared = match file {
            None => None,
            Some(file) => {
                let shared = Shared::of(file, range.offset, range.len_bytes).map_err(|_| EINVAL)?;
                Some((Rc::new(shared), 0))
            }
        };
        let (len_bytes, flags) = (range.len_bytes, range.flags);
        self.by_address.insert(range.address, Map { len_bytes, flags, shared });
        Ok(())
    }

    /// Unmaps whatever is mapped in a range; a part of one that was mapped leaves the rest.
    ///
    /// # Errors
    /// The number of the error for the client.
    pub(super) fn unmap(&mut self, range: &DmaRange) -> Result<(), u32> {
        if range.flags & DIRTY != 0 {
            return Err(ENOTSUP);
        }
        if range.flags & ALL != 0 {
            self.by_address.clear();
            return Ok(());
        }
        // A client unmaps the whole of an address space, mapped or not.
        let end = range.address.saturating_add(range.len_bytes);
        loop {
            let before = self.by_address.range(..end).next_back();
            let Some((&start, map)) =
                before.filter(|(start, map)| *start + map.len_bytes > range.address)
            else {
                return Ok(());
            };
            let map = map.clone();
            self.by_address.remove(&start);
            self.keep(start, &map, start, range.address);
            self.keep(start, &map, end, start + map.len_bytes);
        }
    }

    /// Keeps of a map at `start` what is in `from..to`.
    fn keep(&mut self, start: u64, map: &Map, from: u64, to: u64) {
        if from < to {
            let shared = map.shared.clone().map(|(shared, at)| (shared, at + (from - start)));
            self.by_address.insert(from, Map { len_bytes: to - from, flags: map.flags, shared });
        }
    }

    /// Whether anything is shared.
    pub(super) fn shares(&self) -> bool {
        self.by_address.values().any(|map| map.shared.is_some())
    }

    /// Reads memory that is shared. An access may lie in several maps.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Reached {
        let parts = match self.parts(address, into.len(), READ) {
            Ok(parts) => parts,
            Err(reached) => return reached,
        };
        let mut left = into;
        for (shared, at, bytes) in parts {
            let (part, rest) = left.split_at_mut(bytes);
            shared.read(at, part);
            left = rest;
        }
        Reached::All
    }

    /// Writes memory that is shared.
    pub(super) fn write(&self, address: u64, data: &[u8]) -> Reached {
        let parts = match self.parts(address, data.len(), WRITE) {
            Ok(parts) => parts,
            Err(reached) => return reached,
        };
        let mut left = data;
        for (shared, at, bytes) in parts {
            let (part, rest) = left.split_at(bytes);
            shared.write(at, part);
            left = rest;
        }
        Reached::All
    }

    /// The pieces of an access, all of them or none.
    fn parts(
        &self,
        address: u64,
        len: usize,
        wanted: u32,
    ) -> Result<Vec<(&Shared, u64, usize)>, Reached> {
        let end = address.checked_add(len as u64).ok_or(Reached::Refused)?;
        let (mut parts, mut at) = (Vec::new(), address);
        while at < end {
            let before = self.by_address.range(..=at).next_back();
            let found = before.filter(|(start, map)| *start + map.len_bytes > at);
            let (start, map) = found.ok_or(Reached::Refused)?;
            if map.flags & wanted == 0 {
                return Err(Reached::Refused);
            }
            let (shared, from) = map.shared.as_ref().ok_or(Reached::NotShared)?;
            let to = end.min(start + map.len_bytes);
            parts.push((&**shared, from + (at - start), (to - at) as usize));
            at = to;
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

    use super::*;

    fn range(address: u64, len_bytes: u64, offset: u64) -> DmaRange {
        DmaRange { flags: READ | WRITE, offset, address, len_bytes }
    }

    /// A file that cannot shrink, and another name of it.
    fn file(bytes: u64) -> (OwnedFd, OwnedFd) {
        let file = memfd_create("memory", MemfdFlags::ALLOW_SEALING).expect("a file");
        ftruncate(&file, bytes).expect("its length");
        fcntl_add_seals(&file, SealFlags::SHRINK).expect("a seal");
        let other = file.try_clone().expect("another name");
        (file, other)
    }

    /// With an IOMMU every page is a map of its own, and neighbours lie anywhere in the file.
    #[test]
    fn an_access_may_span_several_maps() {
        let (first, second) = file(0x3000);
        let mut maps = Maps::default();
        assert_eq!(maps.map(&range(0x1000, 0x1000, 0x2000), Some(first)), Ok(()));
        assert_eq!(maps.map(&range(0x2000, 0x1000, 0), Some(second)), Ok(()));
        assert_eq!(maps.write(0x1ffe, &[1, 2, 3, 4]), Reached::All);
        let mut back = [0; 4];
        assert_eq!(maps.read(0x1ffe, &mut back), Reached::All);
        assert_eq!(back, [1, 2, 3, 4]);
        assert_eq!(maps.read(0x2ffe, &mut back), Reached::Refused);
        assert_eq!(maps.write(u64::MAX, &[0; 2]), Reached::Refused);
    }

    #[test]
    fn what_is_mapped_already_is_not_mapped_again() {
        let mut maps = Maps::default();
        assert_eq!(maps.map(&range(0x1000, 0x1000, 0), None), Ok(()));
        for (address, len) in [(0x1000, 0x1000), (0xfff, 2), (0x1fff, 0x10), (0, 0x10_0000)] {
            assert_eq!(maps.map(&range(address, len, 0), None), Err(EEXIST), "{address:#x}");
        }
        assert_eq!(maps.map(&range(0x2000, 0, 0), None), Err(EINVAL));
        assert_eq!(maps.map(&range(u64::MAX, 2, 0), None), Err(EINVAL));
        assert_eq!(maps.read(0x1000, &mut [0]), Reached::NotShared);
    }

    /// Memory that could shrink under a mapping would end the bench, not the client.
    #[test]
    fn a_file_that_may_shrink_or_is_too_short_is_not_mapped() {
        let mut maps = Maps::default();
        let loose = memfd_create("memory", MemfdFlags::ALLOW_SEALING).expect("a file");
        ftruncate(&loose, 0x2000).expect("its length");
        assert_eq!(maps.map(&range(0, 0x1000, 0), Some(loose)), Err(EINVAL));
        assert_eq!(maps.map(&range(0, 0x1000, 0x800), Some(file(0x1000).0)), Err(EINVAL));
        assert_eq!(maps.map(&range(0, 0x1000, u64::MAX), Some(file(0x1000).0)), Err(EINVAL));
        let (pipe, _other) = rustix::pipe::pipe().expect("a pipe");
        assert_eq!(maps.map(&range(0, 0x1000, 0), Some(pipe)), Err(EINVAL));
    }

    #[test]
    fn what_a_device_may_only_read_it_does_not_write() {
        let mut maps = Maps::default();
        let readable = DmaRange { flags: READ, ..range(0, 0x1000, 0) };
        assert_eq!(maps.map(&readable, Some(file(0x1000).0)), Ok(()));
        assert_eq!(maps.write(0, &[1]), Reached::Refused);
        assert_eq!(maps.read(0, &mut [1]), Reached::All);
    }

    proptest! {
        /// Against a set of bytes.
        #[test]
        fn after_any_unmaps_the_rest_is_mapped(
            unmaps in proptest::collection::vec((0_u64..64, 1_u64..64), 0..6),
        ) {
            let (first, second) = file(64);
            let mut maps = Maps::default();
            maps.map(&range(0, 40, 0), Some(first)).expect("it is free");
            maps.map(&range(40, 24, 40), Some(second)).expect("it is free");
            let pattern: Vec<u8> = (0..64).collect();
            prop_assert_eq!(maps.write(0, &pattern), Reached::All);
            let mut mapped = [true; 64];
            for (start, len) in unmaps {
                maps.unmap(&DmaRange { flags: 0, ..range(start, len, 0) }).expect("a range");
                let end = (start + len).min(64) as usize;
                mapped[start as usize..end].fill(false);
            }
            for (at, mapped) in mapped.into_iter().enumerate() {
                let mut byte = [0xff];
                let wanted = if mapped { Reached::All } else { Reached::Refused };
                prop_assert_eq!(maps.read(at as u64, &mut byte), wanted);
                prop_assert_eq!(usize::from(byte[0]), if mapped { at } else { 0xff });
            }
        }
    }
}
