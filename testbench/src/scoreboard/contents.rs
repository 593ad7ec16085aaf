//! What a sector may hold, in words and in bytes.

use std::fmt;

use crate::traffic::blocks::{SECTOR_BYTES, SectorContent};

/// What a sector holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// What it held before the run.
    Original,
    /// Zeroes, written as such.
    Zeroes,
    /// Anything: it was discarded, or a write to it failed.
    Anything,
    /// What the write with this number brought.
    Written(u64),
    /// One of these: writes in flight together.
    OneOf(Vec<Held>),
}

impl Held {
    /// This or that.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Anything, _) | (_, Self::Anything) => Self::Anything,
            (same, other) if same == *other => same,
            (Self::OneOf(list), other) if list.contains(other) => Self::OneOf(list),
            (Self::OneOf(mut list), other) => {
                list.push(other.clone());
                Self::OneOf(list)
            }
            (one, other) => Self::OneOf(vec![one, other.clone()]),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Original => f.write_str("what the disk held before the run"),
            Self::Zeroes => f.write_str("zeroes"),
            Self::Anything => f.write_str("anything"),
            Self::Written(number) => write!(f, "what command {number} wrote"),
            Self::OneOf(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                f.write_str(&list.join(" or "))
            }
        }
    }
}

/// Where the bytes that were seen come from, when that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The sector is all zeroes.
    Zeroes,
    /// A write of this run brought them, for this sector.
    Written {
        /// The command.
        command: u64,
        /// The sector for which it brought them.
        sector: u64,
    },
    /// From nowhere: at least part of the sector is neither.
    Unknown,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeroes => f.write_str("a sector of zeroes"),
            Self::Written { command, sector } => {
                write!(f, "what command {command} wrote to sector {sector}")
            }
            Self::Unknown => f.write_str("bytes that no command wrote"),
        }
    }
}

/// Gives the contents of a sector before the run.
pub(super) type Original = Box<dyn FnMut(u64, &mut [u8]) + Send>;

/// Turns what a sector holds into bytes, and back.
pub(super) struct Contents {
    made_up: SectorContent,
    original: Option<Original>,
}

impl Contents {
    pub(super) fn new(seed: u64) -> Self {
        Self { made_up: SectorContent::new(seed), original: None }
    }

    pub(super) fn set_original(&mut self, original: Original) {
        self.original = Some(original);
    }

    pub(super) fn made_up(&self) -> &SectorContent {
        &self.made_up
    }

    /// Whether these bytes are what the sector may hold.
    pub(super) fn are(&mut self, held: &Held, sector: u64, bytes: &[u8]) -> bool {
        match held {
            Held::Anything => true,
            Held::Zeroes => bytes.iter().all(|byte| *byte == 0),
            Held::Written(number) => {
                self.made_up.first_difference(sector, *number, bytes).is_none()
            }
            Held::Original if self.original.is_none() => bytes.iter().all(|byte| *byte == 0),
            Held::Original => self.expected(held, sector) == bytes,
            Held::OneOf(list) => list.iter().any(|one| self.are(one, sector, bytes)),
        }
    }

    /// The bytes that the sector should hold; of several possibilities the first.
    pub(super) fn expected(&mut self, held: &Held, sector: u64) -> [u8; SECTOR_BYTES] {
        let mut bytes = [0; SECTOR_BYTES];
        match held {
            Held::Anything | Held::Zeroes => {}
            Held::Written(number) => self.made_up.fill(sector, *number, &mut bytes),
            Held::Original => {
                if let Some(original) = &mut self.original {
                    original(sector, &mut bytes);
                }
            }
            Held::OneOf(list) => {
                if let Some(first) = list.first() {
                    bytes = self.expected(first, sector);
                }
            }
        }
        bytes
    }

    /// Where a sector's bytes come from.
    pub(super) fn origin(&self, bytes: &[u8]) -> Origin {
        match self.made_up.identify(bytes) {
            Some((sector, command)) => Origin::Written { command, sector },
            None if bytes.iter().all(|byte| *byte == 0) => Origin::Zeroes,
            None => Origin::Unknown,
        }
    }
}
