//! Block commands, from a recording, a log of the user's or made up, one at a time.

use std::fs::File;
use std::io::BufReader;

use pcie_sim::spec::blk::SECTOR_BYTES;

use crate::report::RunError;
use crate::scenario::config::{BlkWorkload, BlockSource, Disk};
use crate::traffic::iolog::{self, BlockCommand, BlockOp, IologReader};
use crate::traffic::recorded;

/// Longer commands are cut, as a kernel cuts them at the device's limits.
const LONGEST_BYTES: u64 = 128 * 1024;

/// First sector and number of sectors.
pub(super) fn sectors_of(command: BlockCommand) -> (u64, u64) {
    (command.offset_bytes / SECTOR_BYTES, command.len_bytes / SECTOR_BYTES)
}

/// Where commands come from, one at a time, long ones cut.
pub(super) struct Commands {
    source: Source,
    left: u64,
    /// The longest command, cut as it may be.
    pub(super) longest: u64,
    rest: Option<BlockCommand>,
}

enum Source {
    Recorded(IologReader<&'static [u8]>),
    Log(IologReader<BufReader<File>>),
    Synthetic { places: u64, bytes: u64, smallest: u64, made: u64, state: u64 },
}

impl Commands {
    /// Opens the source and looks through it once, so that what is wrong with it is known before
    /// anything runs.
    pub(super) fn open(seed: u64, workload: &BlkWorkload) -> Result<Self, RunError> {
        let capacity = match workload.disk {
            Disk::Memory { bytes } | Disk::Image { bytes, .. } => bytes,
        };
        let mut left = workload.max_requests.unwrap_or(u64::MAX);
        let (source, longest) = match &workload.source {
            BlockSource::Recorded => {
                let open = || recorded::block_commands(capacity).map_err(RunError::input);
                let summary = iolog::survey(open()?).map_err(RunError::input)?;
                (Source::Recorded(open()?), summary.longest_bytes)
            }
            BlockSource::Log(path) => {
                let open = || IologReader::open(path, capacity).map_err(RunError::input);
                let summary = iolog::survey(open()?).map_err(RunError::input)?;
                (Source::Log(open()?), summary.longest_bytes)
            }
            &BlockSource::Synthetic { requests, bytes, smallest } => {
                left = left.min(requests);
                let bytes = u64::from(bytes);
                let places = capacity / bytes.max(1);
                let smallest = u64::from(smallest);
                (Source::Synthetic { places, bytes, smallest, made: 0, state: seed }, bytes)
            }
        };
        Ok(Self { source, left, longest: longest.min(LONGEST_BYTES), rest: None })
    }

    /// The next command; `None` when there is none.
    pub(super) fn next(&mut self) -> Result<Option<BlockCommand>, RunError> {
        let command = match self.rest.take() {
            Some(rest) => rest,
            None if self.left == 0 => return Ok(None),
            None => {
                self.left -= 1;
                match self.source.next()? {
                    Some(command) => command,
                    None => return Ok(None),
                }
            }
        };
        let cut = matches!(command.op, BlockOp::Read | BlockOp::Write);
        if cut && command.len_bytes > LONGEST_BYTES {
            self.rest = Some(BlockCommand {
                offset_bytes: command.offset_bytes + LONGEST_BYTES,
                len_bytes: command.len_bytes - LONGEST_BYTES,
                ..command
            });
            return Ok(Some(BlockCommand { len_bytes: LONGEST_BYTES, ..command }));
        }
        Ok(Some(command))
    }
}

impl Source {
    fn next(&mut self) -> Result<Option<BlockCommand>, RunError> {
        match self {
            Self::Recorded(reader) => reader.next().transpose().map_err(RunError::input),
            Self::Log(reader) => reader.next().transpose().map_err(RunError::input),
            Self::Synthetic { places, bytes, smallest, made, state } => {
                // A linear congruential step (Knuth, MMIX) is plenty to spread places over a disk.
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let op = if *made % 2 == 0 { BlockOp::Write } else { BlockOp::Read };
                *made += 1;
                let place = (*state >> 33) % (*places).max(1);
                // Other bits of the same draw: the places of commands that are all as long stay what they were.
                let lengths = (*bytes - *smallest) / SECTOR_BYTES + 1;
                let len_bytes = *smallest + (*state >> 20) % lengths * SECTOR_BYTES;
                Ok(Some(BlockCommand { at: None, op, offset_bytes: place * *bytes, len_bytes }))
            }
        }
    }
}
