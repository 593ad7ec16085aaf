//! Blocks: each sector read equals what was last written there.
//!
//! A block device may carry out commands that are in flight together in any order, so a read sees,
//! per sector, what was there before it was issued or what any write in flight with it brings; and
//! after two writes of the same sector in flight together, either may have won. Virtio 1.4, "Block
//! Device: Device Operation". Durability (what a flush promises after a power cut) is not modelled.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use thiserror::Error;

use super::Sample;
use super::contents::{Contents, Held, Origin};
use super::extents::Extents;
use crate::traffic::blocks::SECTOR_BYTES;

/// What a command does to its sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads them.
    Read,
    /// Writes the contents which the scoreboard makes up.
    Write,
    /// Writes zeroes.
    WriteZeroes,
    /// Gives them up: they hold anything afterwards.
    Discard,
}

/// A command, numbered from 1 in the order of issue; also the generation of what a write brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// What is wrong with a block command.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BlkFinding {
    /// A sector read is not what was written.
    #[error(
        "command {} read sector {sector}: expected {held}, seen {origin}; \
         from byte {offset}: expected {expected}, seen {seen}", command.0
    )]
    Mismatch {
        /// The read.
        command: CommandId,
        /// The first wrong sector.
        sector: u64,
        /// The first wrong byte in it.
        offset: usize,
        /// What the sector should hold.
        held: Held,
        /// Where the bytes seen come from.
        origin: Origin,
        /// What should be there, from `offset` on.
        expected: Sample,
        /// What is there, from `offset` on.
        seen: Sample,
    },
    /// A read brought another number of bytes than asked for.
    #[error("command {} asked for {asked} bytes and got {got}", command.0)]
    WrongLength {
        /// The read.
        command: CommandId,
        /// Bytes asked for.
        asked: u64,
        /// Bytes got.
        got: u64,
    },
    /// A command completed that was not in flight: never issued, or complete already.
    #[error("command {} completed although it was not in flight", command.0)]
    NotInFlight {
        /// The command.
        command: CommandId,
    },
    /// A command never completed.
    #[error("command {} ({access:?}, {sectors} sectors from {first_sector}) never completed", command.0)]
    NeverCompleted {
        /// The command.
        command: CommandId,
        /// What it was to do.
        access: Access,
        /// Its first sector.
        first_sector: u64,
        /// Its length, in sectors.
        sectors: u64,
    },
}

/// Knows what each sector must hold.
pub struct BlkScoreboard {
    contents: Contents,
    extents: Extents,
    in_flight: BTreeMap<u64, InFlight>,
    /// (first sector, command) of each command in flight.
    by_place: BTreeSet<(u64, u64)>,
    /// The longest command so far, in sectors: how far before a sector to look in `by_place`.
    longest: u64,
    last_id: u64,
}

#[derive(Debug)]
struct InFlight {
    access: Access,
    first: u64,
    end: u64,
    /// For a write, what others wrote that completed since it was issued; for a read, what its
    /// sectors held before such a write.
    rivals: Vec<(u64, u64, Held)>,
}

impl fmt::Debug for BlkScoreboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlkScoreboard").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl BlkScoreboard {
    /// A scoreboard for a disk of zeroes. The seed decides what is written.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            contents: Contents::new(seed),
            extents: Extents::default(),
            in_flight: BTreeMap::new(),
            by_place: BTreeSet::new(),
            longest: 0,
            last_id: 0,
        }
    }

    /// The disk holds something already: `original` fills the 512 bytes of a sector.
    #[must_use]
    pub fn with_original(mut self, original: impl FnMut(u64, &mut [u8]) + Send + 'static) -> Self {
        self.contents.set_original(Box::new(original));
        self
    }

    /// A command is handed to the card. Flushes are of no interest here.
    pub fn issue(&mut self, access: Access, first_sector: u64, sectors: u64) -> CommandId {
        self.last_id += 1;
        let end = first_sector.saturating_add(sectors);
        let command = InFlight { access, first: first_sector, end, rivals: Vec::new() };
        self.in_flight.insert(self.last_id, command);
        self.by_place.insert((first_sector, self.last_id));
        self.longest = self.longest.max(sectors);
        CommandId(self.last_id)
    }

    /// Fills `buffer` with what a write in flight brings to its sectors.
    pub fn fill(&self, command: CommandId, buffer: &mut [u8]) {
        if let Some(write) = self.in_flight.get(&command.0) {
            self.contents.made_up().fill(write.first, command.0, buffer);
        }
    }

    /// A command completed; `data` is what a read brought, and empty otherwise.
    ///
    /// # Errors
    /// What is wrong with it; the scoreboard goes on.
    pub fn complete(&mut self, command: CommandId, data: &[u8]) -> Result<(), BlkFinding> {
        let done = self.remove(command)?;
        match done.access {
            Access::Read => self.check(command, &done, data),
            Access::Write => self.settle(&done, Held::Written(command.0)),
            Access::WriteZeroes => self.settle(&done, Held::Zeroes),
            Access::Discard => self.settle(&done, Held::Anything),
        }
    }

    /// A command completed with an error status. A read brings nothing; sectors that were to be
    /// written may hold anything.
    ///
    /// # Errors
    /// The command was not in flight.
    pub fn fail(&mut self, command: CommandId) -> Result<(), BlkFinding> {
        let done = self.remove(command)?;
        match done.access {
            Access::Read => Ok(()),
            _ => self.settle(&done, Held::Anything),
        }
    }

    /// Commands in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Nothing completes any more: what is missing.
    #[must_use]
    pub fn finish(self) -> Vec<BlkFinding> {
        let missing = |(id, command): (u64, InFlight)| BlkFinding::NeverCompleted {
            command: CommandId(id),
            access: command.access,
            first_sector: command.first,
            sectors: command.end - command.first,
        };
        self.in_flight.into_iter().map(missing).collect()
    }

    fn remove(&mut self, command: CommandId) -> Result<InFlight, BlkFinding> {
        let done = self.in_flight.remove(&command.0).ok_or(BlkFinding::NotInFlight { command })?;
        self.by_place.remove(&(done.first, command.0));
        Ok(done)
    }

    /// Commands in flight that touch `first..end`.
    fn overlapping(&self, first: u64, end: u64) -> impl Iterator<Item = u64> + '_ {
        let from = (first.saturating_sub(self.longest), 0);
        let near = self.by_place.range(from..(end.max(from.0), 0)).map(|(_, id)| *id);
        near.filter(move |id| self.in_flight.get(id).is_some_and(|other| other.end > first))
    }

    /// The sectors of a command hold what it brought, unless one in flight with it came later.
    fn settle(&mut self, done: &InFlight, held: Held) -> Result<(), BlkFinding> {
        let others: Vec<u64> = self.overlapping(done.first, done.end).collect();
        for id in others {
            let Some(other) = self.in_flight.get_mut(&id) else { continue };
            let (first, end) = (done.first.max(other.first), done.end.min(other.end));
            match other.access {
                Access::Read => other.rivals.extend(self.extents.pieces(first, end)),
                _ => other.rivals.push((first, end, held.clone())),
            }
        }
        self.extents.set(done.first, done.end, held);
        for (first, end, rival) in &done.rivals {
            self.extents.add(*first, *end, rival);
        }
        Ok(())
    }

    fn check(
        &mut self,
        command: CommandId,
        read: &InFlight,
        data: &[u8],
    ) -> Result<(), BlkFinding> {
        let asked = (read.end - read.first).saturating_mul(SECTOR_BYTES as u64);
        if data.len() as u64 != asked {
            return Err(BlkFinding::WrongLength { command, asked, got: data.len() as u64 });
        }
        let mut sectors = data.chunks_exact(SECTOR_BYTES);
        for (first, end, held) in self.extents.pieces(read.first, read.end) {
            for (sector, bytes) in (first..end).zip(&mut sectors) {
                if self.contents.are(&held, sector, bytes) {
                    continue;
                }
                let held =
                    self.alternatives(read, sector).fold(held.clone(), |all, one| all.or(&one));
                if !self.contents.are(&held, sector, bytes) {
                    return Err(mismatch(command, &mut self.contents, held, sector, bytes));
                }
            }
        }
        Ok(())
    }

    /// What else a read may see in a sector: what was there before a write that completed meanwhile,
    /// and what writes bring that are in flight still.
    fn alternatives<'a>(
        &'a self,
        read: &'a InFlight,
        sector: u64,
    ) -> impl Iterator<Item = Held> + 'a {
        let before =
            read.rivals.iter().filter(move |(first, end, _)| (*first..*end).contains(&sector));
        let before = before.map(|(_, _, held)| held.clone());
        let writes = self.overlapping(sector, sector + 1).filter_map(|id| {
            match self.in_flight.get(&id)?.access {
                Access::Read => None,
                Access::Write => Some(Held::Written(id)),
                Access::WriteZeroes => Some(Held::Zeroes),
                Access::Discard => Some(Held::Anything),
            }
        });
        before.chain(writes)
    }
}

fn mismatch(
    command: CommandId,
    contents: &mut Contents,
    held: Held,
    sector: u64,
    seen: &[u8],
) -> BlkFinding {
    let expected = contents.expected(&held, sector);
    let offset =
        expected.iter().zip(seen).position(|(expected, seen)| expected != seen).unwrap_or(0);
    BlkFinding::Mismatch {
        command,
        sector,
        offset,
        origin: contents.origin(seen),
        expected: Sample::of(&expected[offset..]),
        seen: Sample::of(&seen[offset..]),
        held,
    }
}

#[cfg(test)]
#[path = "blk_tests.rs"]
mod tests;
