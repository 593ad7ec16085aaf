//! How much of what happened a file shows.

use std::ops::Range;

/// A span of time, and how deep into the tree of scopes or tracks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// From when until when, in picoseconds, the end left out. What held when it begins is shown from
    /// there on.
    pub window_ps: Range<u64>,
    /// Levels of scopes shown: 1 for the outermost only.
    pub depth: u32,
}

impl Default for Cut {
    /// Everything.
    fn default() -> Self {
        Self { window_ps: 0..u64::MAX, depth: u32::MAX }
    }
}

impl Cut {
    /// From `half_ps` before a moment to `half_ps` behind it, all levels.
    #[must_use]
    pub fn around(at_ps: u64, half_ps: u64) -> Self {
        let window_ps = at_ps.saturating_sub(half_ps)..at_ps.saturating_add(half_ps.max(1));
        Self { window_ps, ..Self::default() }
    }
}
