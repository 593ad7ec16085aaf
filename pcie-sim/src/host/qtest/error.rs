//! What can go wrong with a QEMU.

use std::time::Duration;

/// Why QEMU does not do what it is asked. Each carries what QEMU has said on standard error, if anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QtestError {
    /// It could not be started.
    #[error("{program} cannot be started: {why}")]
    NotStarted {
        /// The program.
        program: String,
        /// What the system says.
        why: String,
    },
    /// It has closed its end: it has died, or ended.
    #[error("QEMU has gone away ({status}); its last words: {last_words}")]
    Gone {
        /// How it ended, where that is known.
        status: String,
        /// What it said last.
        last_words: String,
    },
    /// It did not answer in time, and was ended.
    #[error("QEMU did not answer {asked} within {limit:?}; its last words: {last_words}")]
    Silent {
        /// What it was asked.
        asked: String,
        /// How long it had.
        limit: Duration,
        /// What it said last.
        last_words: String,
    },
    /// It said no.
    #[error("QEMU does not do {asked}: {why}")]
    Refused {
        /// What it was asked.
        asked: String,
        /// What it answered.
        why: String,
    },
    /// It said what the protocol does not have.
    #[error("QEMU answers {asked} with «{line}»: {why}")]
    Garbled {
        /// What it was asked.
        asked: String,
        /// What it answered, the beginning of it.
        line: String,
        /// What is wrong with it.
        why: String,
    },
}
