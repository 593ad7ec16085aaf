//! One run on the simulated machine.

use crate::report::{RunError, RunResult};
use crate::scenario::config::{RunConfig, Workload};

/// Looks at the files of a workload without running it.
///
/// # Errors
/// None in this version.
pub fn inspect(_workload: &Workload) -> Result<(), RunError> {
    Ok(())
}

/// Runs one configuration.
///
/// # Errors
/// Always, in this version.
pub fn run(config: &RunConfig) -> Result<RunResult, RunError> {
    Err(RunError::internal(format!("{}: not wired", config.name())))
}
