//! The verbs that measure, as functions: options in, report out. The command prints what they return; another
//! language hands it on.
//!
//! ```text
//!   vtb run …  ──▶ clap ──▶ RunOptions ─┐
//!                                       ├─▶ verb::run ─▶ RunReport ─▶ text, JSON
//!   Python: run(…) ───────▶ RunOptions ─┘
//! ```
//!
//! A new verb has its place here: a function of its options and a [`Control`], which returns its report.

use crate::cancel::Cancel;
pub use crate::cli::args::{CompareArgs, LspciArgs, RunArgs, RunOptions, SoakArgs, StudyArgs};
pub use crate::cli::compare::report as compare;
pub use crate::cli::lspci::report as lspci;
pub use crate::cli::run::report as run;
pub use crate::cli::schema;
pub use crate::cli::soak::{report as soak, scenario as soak_scenario};
pub use crate::cli::study::report as study;
use crate::report::RunError;
use crate::scenario::source::InputError;

/// Why a verb has no report. What it says is the command's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What the user gave is wrong: file, line and key, or the option. Exit status 2.
    #[error("{0}")]
    Input(String),
    /// The bench failed. Exit status 3.
    #[error("internal error: {0}")]
    Internal(String),
    /// Somebody ended it before it was done.
    #[error("cancelled")]
    Cancelled,
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self::Input(error.to_string())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Input(error) => Self::Input(error.to_string()),
            RunError::Internal(error) => Self::Internal(error.to_string()),
            RunError::Cancelled => Self::Cancelled,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Internal(format!("{error:#}"))
    }
}

/// Who wants to know how far it is.
pub trait Progress {
    /// So many parts, runs or points, are about to begin. Called again when more come.
    fn begin(&mut self, parts: usize);

    /// One of them has ended.
    fn done(&mut self);
}

/// Nobody wants to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unseen;

impl Progress for Unseen {
    fn begin(&mut self, _: usize) {}

    fn done(&mut self) {}
}

/// How a verb is watched, and ended early.
pub struct Control<'c> {
    /// The flag that ends it.
    pub cancel: Cancel,
    /// Who is told of every part.
    pub progress: &'c mut dyn Progress,
}

impl<'c> Control<'c> {
    /// Watched by `progress`, and never ended early.
    pub fn of(progress: &'c mut dyn Progress) -> Self {
        Self { cancel: Cancel::default(), progress }
    }
}
