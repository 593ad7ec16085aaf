//! The block device: one request in, data and a status byte out. Virtio 1.4, "Block Device".
//!
//! The header is the first 16 readable bytes and the status the last writable byte, however the driver
//! has cut the request into buffers (VQ-SPLIT-DEV-02).
//!
//! Left out: zones, secure erase, lifetime, several queues, the write cache mode.

use pcie_sim::spec::blk::{
    CONFIG_BLK_SIZE, CONFIG_BYTES, CONFIG_CAPACITY, CONFIG_DISCARD_ALIGNMENT,
    CONFIG_MAX_DISCARD_SECTORS, CONFIG_MAX_DISCARD_SEG, CONFIG_MAX_WRITE_ZEROES_SECTORS,
    CONFIG_MAX_WRITE_ZEROES_SEG, CONFIG_SEG_MAX, F_BLK_SIZE, F_DISCARD, F_FLUSH, F_RO, F_SEG_MAX,
    F_WRITE_ZEROES, ID_BYTES, RANGE_BYTES, REQ_HDR_BYTES, S_IOERR, S_OK, S_UNSUPP, SECTOR_BYTES,
    T_DISCARD, T_FLUSH, T_GET_ID, T_IN, T_OUT, T_WRITE_ZEROES,
};

use super::disk::Disk;
use crate::config::{BlkConfig, CardError};
use crate::dma::request::Request;

/// Flag of a range: its sectors may be unmapped.
const RANGE_UNMAP: u32 = 1;

/// The disk and what it says about itself.
#[derive(Debug)]
pub(crate) struct Blk {
    disk: Disk,
    read_only: bool,
    max_range_sectors: u32,
    max_ranges: u32,
    id: [u8; ID_BYTES],
    config: [u8; CONFIG_BYTES],
}

/// One segment of a discard or write-zeroes request.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: u64,
    len: u64,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Well, and the buffer holds what goes in front of the status.
    Data,
    /// With this status and nothing else.
    Bare(u8),
}

/// What a command asks of the disk, as far as it takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// So many bytes come from the medium.
    FromDisk(u64),
    /// So many bytes go to the medium.
    ToDisk(u64),
    /// So many bytes are said.
    Said(u64),
    /// So many ranges are looked at, and so many bytes cleared.
    Ranges(u32, u64),
}

/// What a request asks of the disk; of one that is refused, nothing.
pub(crate) fn effort(request: &Request) -> Effort {
    let nothing = Effort::Said(0);
    let room = request.writable_bytes.saturating_sub(1);
    let Some((header, payload)) = request.data.split_first_chunk::<REQ_HDR_BYTES>() else {
        return nothing;
    };
    let [k0, k1, k2, k3, ..] = *header;
    match u32::from_le_bytes([k0, k1, k2, k3]) {
        T_IN => Effort::FromDisk(room),
        T_OUT => Effort::ToDisk(payload.len() as u64),
        T_GET_ID => Effort::Said(room),
        T_DISCARD | T_WRITE_ZEROES => {
            let (ranges, _) = payload.as_chunks::<RANGE_BYTES>();
            let sectors = |range: &[u8; RANGE_BYTES]| {
                let [_, _, _, _, _, _, _, _, n0, n1, n2, n3, ..] = *range;
                u64::from(u32::from_le_bytes([n0, n1, n2, n3]))
            };
            let cleared = ranges.iter().map(sectors).sum::<u64>() * SECTOR_BYTES;
            Effort::Ranges(ranges.len() as u32, cleared)
        }
        _ => nothing,
    }
}

impl Blk {
    /// Opens the disk.
    pub(crate) fn new(blk: BlkConfig) -> Result<Self, CardError> {
        let disk = Disk::new(blk.backing)?;
        let mut config = [0; CONFIG_BYTES];
        config[CONFIG_CAPACITY..][..8].copy_from_slice(&disk.sectors().to_le_bytes());
        let mut put = |at: usize, value: u32| {
            config[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(CONFIG_SEG_MAX, blk.seg_max);
        put(CONFIG_BLK_SIZE, SECTOR_BYTES as u32);
        put(CONFIG_MAX_DISCARD_SECTORS, blk.max_range_sectors);
        put(CONFIG_MAX_DISCARD_SEG, blk.max_ranges);
        put(CONFIG_DISCARD_ALIGNMENT, 1);
        put(CONFIG_MAX_WRITE_ZEROES_SECTORS, blk.max_range_sectors);
        put(CONFIG_MAX_WRITE_ZEROES_SEG, blk.max_ranges);
        Ok(Self {
            disk,
            read_only: blk.read_only,
            max_range_sectors: blk.max_range_sectors,
            max_ranges: blk.max_ranges,
            id: blk.id,
            config,
        })
    }

    /// What it offers.
    pub(crate) fn features(&self) -> u64 {
        let read_only = if self.read_only { F_RO } else { 0 };
        F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_DISCARD | F_WRITE_ZEROES | read_only
    }

    /// Device configuration.
    pub(crate) fn config(&self) -> &[u8] {
        &self.config
    }

    /// Carries out a request: its data become what is to be written. Gives the used length.
    pub(crate) fn process(&mut self, request: &mut Request, bytes_max: u64) -> u32 {
        // Without a writable byte there is nowhere to put a status.
        let Some(room) = request.writable_bytes.checked_sub(1) else {
            request.data.clear();
            return 0;
        };
        let fits = !request.failed && room <= bytes_max;
        let buffer = &mut request.data;
        let outcome =
            if fits { self.execute(buffer, room as usize) } else { Outcome::Bare(S_IOERR) };
        match outcome {
            Outcome::Data => {
                buffer.push(S_OK);
                buffer.len() as u32
            }
            Outcome::Bare(status) => {
                buffer.clear();
                buffer.push(status);
                request.write_from = room;
                // The length counts from the first writable byte on (VQ-USED-DEV-02), and here only
                // the last one is written.
                u32::from(room == 0)
            }
        }
    }

    /// Carries out a command, whose readable bytes are in `buffer` and make place there for an answer.
    fn execute(&mut self, buffer: &mut Vec<u8>, room: usize) -> Outcome {
        let Some((header, payload)) = buffer.split_first_chunk::<REQ_HDR_BYTES>() else {
            return Outcome::Bare(S_IOERR);
        };
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = *header;
        let sector = u64::from_le_bytes(sector);
        let status = match u32::from_le_bytes([k0, k1, k2, k3]) {
            T_IN => return self.read(sector, room, buffer),
            T_GET_ID => {
                buffer.clear();
                buffer.extend_from_slice(&self.id);
                buffer.resize(room, 0);
                return Outcome::Data;
            }
            T_OUT => self.write(sector, payload),
            T_FLUSH => status(self.disk.flush().is_ok()),
            T_DISCARD => self.ranges(payload, 0, |disk, range| {
                disk.discard(range.start, range.len);
                true
            }),
            T_WRITE_ZEROES => self.ranges(payload, RANGE_UNMAP, |disk, range| {
                disk.zero(range.start, range.len).is_ok()
            }),
            _ => S_UNSUPP,
        };
        Outcome::Bare(status)
    }

    fn read(&self, sector: u64, room: usize, buffer: &mut Vec<u8>) -> Outcome {
        let whole = (room as u64).is_multiple_of(SECTOR_BYTES);
        let Some(start) = self.disk.locate(sector, room as u64).filter(|_| whole) else {
            return Outcome::Bare(S_IOERR);
        };
        buffer.clear();
        buffer.resize(room, 0);
        if self.disk.read(start, buffer).is_ok() { Outcome::Data } else { Outcome::Bare(S_IOERR) }
    }

    fn write(&mut self, sector: u64, payload: &[u8]) -> u8 {
        let len = payload.len() as u64;
        let allowed = len.is_multiple_of(SECTOR_BYTES) && !self.read_only;
        let Some(start) = self.disk.locate(sector, len).filter(|_| allowed) else {
            return S_IOERR;
        };
        status(self.disk.write(start, payload).is_ok())
    }

    /// Checks all segments, then acts on each.
    fn ranges(
        &mut self,
        payload: &[u8],
        flags_known: u32,
        act: impl Fn(&mut Disk, Range) -> bool,
    ) -> u8 {
        let (segments, rest) = payload.as_chunks::<RANGE_BYTES>();
        let counted = !segments.is_empty() && segments.len() <= self.max_ranges as usize;
        if self.read_only || !rest.is_empty() || !counted {
            return S_IOERR;
        }
        for segment in segments {
            if let Err(refusal) = self.range(segment, flags_known) {
                return refusal;
            }
        }
        for segment in segments {
            let done =
                self.range(segment, flags_known).is_ok_and(|range| act(&mut self.disk, range));
            if !done {
                return S_IOERR;
            }
        }
        S_OK
    }

    /// BLK-REQ-DEV-05, BLK-REQ-DEV-06: flags that are unknown, or not for this command, are unsupported.
    fn range(&self, segment: &[u8; RANGE_BYTES], flags_known: u32) -> Result<Range, u8> {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = *segment;
        if u32::from_le_bytes(flags) & !flags_known != 0 {
            return Err(S_UNSUPP);
        }
        let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
        let len = u64::from(sectors) * SECTOR_BYTES;
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let allowed = sectors <= self.max_range_sectors;
        let start = self.disk.locate(sector, len).filter(|_| allowed).ok_or(S_IOERR)?;
        Ok(Range { start, len })
    }
}

fn status(done: bool) -> u8 {
    if done { S_OK } else { S_IOERR }
}
