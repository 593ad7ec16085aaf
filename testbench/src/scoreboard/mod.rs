//! The scoreboards: did everything that was sent come back, and is everything read what was written?
//!
//! ```text
//!   driver --sent------------> NetScoreboard <--received-- driver
//!   driver --issue(write)----> BlkScoreboard <--complete-- driver
//! ```
//!
//! They look at data from the driver's side only, know nothing of rings or TLPs, and hold no more
//! than what is in flight (packets) or one record per extent of equal origin (blocks). What they
//! find is a typed finding, never a panic: a card may do anything.

mod blk;
mod contents;
mod extents;
mod net;

pub use blk::{Access, BlkFinding, BlkScoreboard, CommandId};
pub use contents::{Held, Origin};
pub use net::{NetFinding, NetScoreboard, Order};

use std::fmt;

/// A few bytes as they are shown in a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample(Vec<u8>);

impl Sample {
    /// The first bytes of `bytes`, at most 16.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().take(16).copied().collect())
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}
