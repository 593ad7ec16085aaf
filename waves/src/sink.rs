//! The seam between what happens and the file it is written to.

use std::path::Path;

use crate::cut::Cut;
use crate::error::WaveError;
use crate::signal::{SignalId, Tree, Value};
use crate::{fst, vcd};

/// An open wave file, its tree declared, that takes changes in order of time.
///
/// A file that is dropped rather than finished is cut off.
pub trait WaveSink: Send {
    /// From `time_ps` picoseconds on, `signal` has this value. A value equal to the one before
    /// leaves no mark; of several at one time, the last counts.
    ///
    /// # Errors
    /// [`WaveError::TimeBackwards`], [`WaveError::UnknownSignal`], [`WaveError::TooWide`],
    /// [`WaveError::WrongKind`], [`WaveError::BadText`]: the change is not in the file, which can go
    /// on. [`WaveError::Io`], [`WaveError::Fst`]: the file is lost.
    fn change(&mut self, time_ps: u64, signal: SignalId, value: Value<'_>)
    -> Result<(), WaveError>;

    /// Writes what is left and closes the file. It ends at `end_ps`, or at the last change, or 1 ps
    /// behind its beginning, whichever is latest (no viewer shows a file without duration), but not
    /// behind its window.
    ///
    /// # Errors
    /// [`WaveError::Io`], [`WaveError::Fst`].
    fn finish(self: Box<Self>, end_ps: u64) -> Result<(), WaveError>;
}

/// The kinds of file that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Fast Signal Trace: compressed, opens quickly.
    Fst,
    /// Value Change Dump, IEEE 1364-2005 clause 18: text, known to every tool.
    Vcd,
    /// Perfetto trace: not signals, but what took how long ([`crate::perfetto::Trace`]).
    Perfetto,
}

impl FileKind {
    /// The kind that the extension of `path` asks for; upper and lower case are the same.
    ///
    /// # Errors
    /// [`WaveError::UnknownKind`].
    pub fn of(path: &Path) -> Result<Self, WaveError> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "fst" => Ok(Self::Fst),
            "vcd" => Ok(Self::Vcd),
            "perfetto-trace" => Ok(Self::Perfetto),
            _ => Err(WaveError::UnknownKind { path: path.to_owned() }),
        }
    }
}

/// Creates the file at `path`, of the kind its extension names, and declares `tree` in it.
///
/// # Errors
/// Those of [`create_cut`].
pub fn create(path: &Path, tree: &Tree) -> Result<Box<dyn WaveSink>, WaveError> {
    create_cut(path, tree, &Cut::default())
}

/// Creates the file at `path`, of the kind its extension names, and declares in it what `cut` leaves of
/// `tree`. Changes of what is left out are taken and checked like all others, and not written.
///
/// # Errors
/// Those of [`FileKind::of`] and [`WaveError::NoSignals`], before anything is created;
/// [`WaveError::Io`], [`WaveError::Fst`].
pub fn create_cut(path: &Path, tree: &Tree, cut: &Cut) -> Result<Box<dyn WaveSink>, WaveError> {
    match FileKind::of(path)? {
        FileKind::Fst => fst::create(path, tree, cut),
        FileKind::Vcd => vcd::create(path, tree, cut),
        FileKind::Perfetto => Err(WaveError::NoSignals { path: path.to_owned() }),
    }
}
