//! Where a disk keeps its sectors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memmap2::{MmapMut, MmapOptions};
use pcie_sim::spec::blk::SECTOR_BYTES;

use crate::config::{Backing, CardError};

const BLOCK_BYTES: usize = 1 << 16;

/// The medium.
#[derive(Debug)]
pub(crate) enum Disk {
    /// Blocks that have been written; all others read as zeroes.
    Memory {
        /// Bytes of the disk.
        bytes: u64,
        /// Block number to content.
        blocks: BTreeMap<u64, Box<[u8]>>,
    },
    /// A file.
    File {
        /// Bytes of the disk.
        bytes: u64,
        /// The file.
        file: File,
    },
    /// A file's content, mapped copy-on-write.
    Copy(MmapMut),
}

impl Disk {
    /// Opens the medium.
    pub(crate) fn new(backing: Backing) -> Result<Self, CardError> {
        match backing {
            Backing::Memory { capacity_sectors } => {
                let bytes = capacity_sectors.saturating_mul(SECTOR_BYTES);
                Ok(Self::Memory { bytes, blocks: BTreeMap::new() })
            }
            Backing::File { file } => Ok(Self::File { bytes: whole_sectors(&file)?, file }),
            Backing::PrivateCopy { file } => {
                whole_sectors(&file)?;
                Ok(Self::Copy(private_copy(&file)?))
            }
        }
    }

    /// The disk's size in sectors.
    pub(crate) fn sectors(&self) -> u64 {
        match self {
            Self::Memory { bytes, .. } | Self::File { bytes, .. } => bytes / SECTOR_BYTES,
            Self::Copy(map) => map.len() as u64 / SECTOR_BYTES,
        }
    }

    /// Where `len` bytes from `sector` on begin, when they are on the disk.
    pub(crate) fn locate(&self, sector: u64, len: u64) -> Option<u64> {
        let start = sector.checked_mul(SECTOR_BYTES)?;
        let end = start.checked_add(len)?;
        (end <= self.sectors() * SECTOR_BYTES).then_some(start)
    }

    /// Reads from `start` on.
    pub(crate) fn read(&self, start: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.read_exact_at(into, start),
            Self::Copy(map) => {
                into.copy_from_slice(&map[start as usize..start as usize + into.len()]);
                Ok(())
            }
            Self::Memory { blocks, .. } => {
                for_each_block(start, into.len() as u64, |number, at, from, len| {
                    let part = &mut into[at..at + len];
                    match blocks.get(&number) {
                        Some(block) => part.copy_from_slice(&block[from..from + len]),
                        None => part.fill(0),
                    }
                });
                Ok(())
            }
        }
    }

    /// Writes from `start` on.
    pub(crate) fn write(&mut self, start: u64, data: &[u8]) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.write_all_at(data, start),
            Self::Copy(map) => {
                map[start as usize..start as usize + data.len()].copy_from_slice(data);
                Ok(())
            }
            Self::Memory { blocks, .. } => {
                for_each_block(start, data.len() as u64, |number, at, from, len| {
                    let block = blocks.entry(number).or_insert_with(empty_block);
                    block[from..from + len].copy_from_slice(&data[at..at + len]);
                });
                Ok(())
            }
        }
    }

    /// Makes `len` bytes from `start` on read as zeroes.
    pub(crate) fn zero(&mut self, start: u64, len: u64) -> io::Result<()> {
        match self {
            Self::File { file, .. } => {
                let zeroes = [0; 4096];
                let mut at = start;
                while at < start + len {
                    let part = (start + len - at).min(zeroes.len() as u64) as usize;
                    file.write_all_at(&zeroes[..part], at)?;
                    at += part as u64;
                }
                Ok(())
            }
            Self::Copy(map) => {
                map[start as usize..(start + len) as usize].fill(0);
                Ok(())
            }
            Self::Memory { blocks, .. } => {
                zero_blocks(blocks, start, len);
                Ok(())
            }
        }
    }

    /// Whether `len` bytes from `start` on may be forgotten: done only where it costs nothing.
    pub(crate) fn discard(&mut self, start: u64, len: u64) {
        if let Self::Memory { blocks, .. } = self {
            zero_blocks(blocks, start, len);
        }
    }

    /// Makes what was written last (BLK-REQ-DEV-09).
    pub(crate) fn flush(&self) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.sync_data(),
            Self::Memory { .. } | Self::Copy(_) => Ok(()),
        }
    }
}

/// A file's length, when it is a whole number of sectors.
fn whole_sectors(file: &File) -> Result<u64, CardError> {
    let bytes = file.metadata()?.len();
    if bytes.is_multiple_of(SECTOR_BYTES) {
        Ok(bytes)
    } else {
        Err(CardError::PartialSector { bytes, sector: SECTOR_BYTES })
    }
}

#[expect(unsafe_code, reason = "a mapped file can be changed by others while it is mapped")]
fn private_copy(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the mapping is private, so nothing written here reaches the file; a foreign writer of the
    // file changes sectors not yet written to here, which to the bench is a disk with other content.
    unsafe { MmapOptions::new().map_copy(file) }
}

fn empty_block() -> Box<[u8]> {
    vec![0; BLOCK_BYTES].into_boxed_slice()
}

/// Only blocks that exist are visited, so that a range of a terabyte takes no time.
fn zero_blocks(blocks: &mut BTreeMap<u64, Box<[u8]>>, start: u64, len: u64) {
    let size = BLOCK_BYTES as u64;
    let end = start + len;
    let touched: Vec<u64> =
        blocks.range(start / size..end.div_ceil(size)).map(|(&n, _)| n).collect();
    for number in touched {
        let (first, last) = (number * size, (number + 1) * size);
        if start <= first && last <= end {
            blocks.remove(&number);
        } else if let Some(block) = blocks.get_mut(&number) {
            let from = (start.max(first) - first) as usize;
            let upto = (end.min(last) - first) as usize;
            block[from..upto].fill(0);
        }
    }
}

/// Calls `visit(block number, offset in the range, offset in the block, bytes)` for each block touched.
fn for_each_block(start: u64, len: u64, mut visit: impl FnMut(u64, usize, usize, usize)) {
    let mut done = 0;
    while done < len {
        let at = start + done;
        let from = (at % BLOCK_BYTES as u64) as usize;
        let part = (len - done).min((BLOCK_BYTES - from) as u64) as usize;
        visit(at / BLOCK_BYTES as u64, done as usize, from, part);
        done += part as u64;
    }
}
