//! One run on the simulated machine.

use crate::report::{RunError, RunResult};
use crate::scenario::config::RunConfig;

/// Runs one configuration.
///
/// # Errors
/// Always, in this version.
pub fn run(config: &RunConfig) -> Result<RunResult, RunError> {
    Err(RunError::internal(format!("{}: not wired", config.name())))
}
