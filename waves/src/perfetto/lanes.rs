//! Slices that overlap: as many tracks of one name as there are slices at a time. Viewers show tracks of
//! one name and parent as one.

use super::{Slice, Trace, TrackId};
use crate::error::WaveError;

/// Tracks of one name, of which a slice takes the first that is free.
#[derive(Debug, Clone)]
pub struct Lanes {
    parent: Option<TrackId>,
    name: String,
    lanes: Vec<Lane>,
}

#[derive(Debug, Clone, Copy)]
struct Lane {
    track: TrackId,
    free_from_ps: u64,
}

impl Lanes {
    /// Tracks below `parent`, none of them made yet.
    #[must_use]
    pub fn new(parent: Option<TrackId>, name: &str) -> Self {
        Self { parent, name: name.to_owned(), lanes: Vec::new() }
    }

    /// How many there are: the most slices that there were at a time, if they came in order of their
    /// ends or beginnings.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Writes a slice to the first track that is free, made if none is. Slices may come in any order, but
    /// one that begins before the end of all that were written takes a track of its own.
    ///
    /// # Errors
    /// Those of [`Trace::slice`].
    pub fn slice(&mut self, trace: &mut Trace, slice: &Slice<'_>) -> Result<(), WaveError> {
        if !trace.shows(slice) {
            return Ok(());
        }
        let free = |lane: &&mut Lane| lane.free_from_ps <= slice.begin_ps;
        let track = match self.lanes.iter_mut().find(free) {
            Some(lane) => {
                lane.free_from_ps = slice.end_ps;
                lane.track
            }
            None => {
                let track = trace.track(self.parent, &self.name)?;
                self.lanes.push(Lane { track, free_from_ps: slice.end_ps });
                track
            }
        };
        trace.slice(track, slice)
    }
}
