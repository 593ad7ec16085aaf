//! What can be wrong with a declaration, a change, or the file itself.

use std::path::PathBuf;

/// A scope or signal that cannot be declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// VCD separates words by white space and viewers separate scopes by dots.
    #[error("{name:?} is no name for a scope or signal: 1 to 128 characters of A-Z a-z 0-9 _ $")]
    BadName {
        /// The name as given.
        name: String,
    },
    /// Two things of one path cannot be told apart in a viewer.
    #[error("{path} is declared twice")]
    Twice {
        /// Full path, scopes separated by dots.
        path: String,
    },
    /// Signals live in scopes.
    #[error("signal {name} stands outside of every scope")]
    Unscoped {
        /// The signal's name.
        name: String,
    },
    /// Nothing to show, or more than viewers take.
    #[error(
        "{path} would be {width_bits} bits wide; 1 to {} can be shown",
        crate::signal::MAX_WIDTH_BITS
    )]
    BadWidth {
        /// Full path, scopes separated by dots.
        path: String,
        /// The width asked for.
        width_bits: u64,
    },
}

/// A wave file that cannot be written, or a change that cannot be in it.
#[derive(Debug, thiserror::Error)]
pub enum WaveError {
    /// The tree of the file cannot be built.
    #[error(transparent)]
    Declare(#[from] DeclareError),
    /// The file's kind is taken from its extension, and this one says nothing.
    #[error("{}: the extension is neither .fst nor .vcd nor .perfetto-trace", path.display())]
    UnknownKind {
        /// The file asked for.
        path: PathBuf,
    },
    /// A kind of file that holds no signals.
    #[error("{}: a Perfetto trace shows slices of time, not signals", path.display())]
    NoSignals {
        /// The file asked for.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file being written.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The FST writer refused.
    #[error("{}: {source}", path.display())]
    Fst {
        /// The file being written.
        path: PathBuf,
        /// Why.
        source: fst_writer::FstWriteError,
    },
    /// Every format is a stream in order of time; in a Perfetto trace, every track.
    #[error("a change at {asked_ps} ps, when the file has already reached {reached_ps} ps")]
    TimeBackwards {
        /// Time of the change.
        asked_ps: u64,
        /// Time of the latest change before it.
        reached_ps: u64,
    },
    /// An id of another tree, or a track of another trace.
    #[error("signal or track number {index} is not declared in this file")]
    UnknownSignal {
        /// The number inside the id.
        index: usize,
    },
    /// A wrong number must not become a plausible one by losing its top.
    #[error("{signal} has {width_bits} bits and the value needs {needed_bits}")]
    TooWide {
        /// Full path of the signal.
        signal: String,
        /// Its width.
        width_bits: u32,
        /// Bits of the value up to its highest 1 (for text: eight a character).
        needed_bits: u64,
    },
    /// Text for a signal of bits, or a number for a signal of text.
    #[error("{signal} is declared as {declared}, and the value is of another kind")]
    WrongKind {
        /// Full path of the signal.
        signal: String,
        /// `bits` or `text`.
        declared: &'static str,
    },
    /// Viewers show printable ASCII only.
    #[error("{signal}: {text:?} has characters outside of printable ASCII")]
    BadText {
        /// Full path of the signal.
        signal: String,
        /// The text as given.
        text: String,
    },
}
