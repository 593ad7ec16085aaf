//! One run: a machine is wired, a card plugged in, a driver loaded, traffic driven, and told what was
//! seen.
//!
//! ```text
//!   RunConfig ─▶ wiring ─▶ probe ─▶ net / blk traffic ─▶ removal ─▶ RunResult
//!                             └──── watch (analyzer, measure, trace, waves) ────┘
//! ```

mod blk;
pub mod bridge;
mod commands;
mod early;
mod exercise;
pub mod faults;
mod net;
mod outcome;
mod packets;
mod platform_bus;
pub mod qemu;
pub mod record;
pub mod session;
mod shortage;
mod stand;
pub mod system;
pub mod tables;
mod trace;
pub mod watch;
pub mod wiring;
pub mod witness;

use crate::card::under_test;
use crate::report::{RunError, RunResult};
use crate::scenario::config::{RunConfig, Workload};

/// Looks through the files of a workload without running it.
///
/// # Errors
/// [`RunError::Input`] with file and place when a capture, a log or an image cannot be used.
pub fn inspect(workload: &Workload) -> Result<(), RunError> {
    match workload {
        Workload::Blk(workload) => blk::inspect(workload),
        Workload::Net(workload) => net::inspect(workload),
    }
}

/// What a run asks of its card.
///
/// # Errors
/// As [`inspect`].
pub fn card_of(config: &RunConfig) -> Result<rtl_model::CardConfig, RunError> {
    let device = match &config.workload {
        Workload::Blk(workload) => blk::device(config.seed, workload)?,
        Workload::Net(workload) => {
            net::device(workload, packets::Packets::open(config.seed, workload)?.mtu()?)
        }
    };
    Ok(wiring::card_config(config, device))
}

/// Runs one configuration with the card that it names.
///
/// # Errors
/// [`RunError::Input`] when the capture, log or image cannot be used; [`RunError::Internal`] when the
/// bench itself is at fault. What a card does wrong is a violation in the result, not an error.
pub fn run(config: &RunConfig) -> Result<RunResult, RunError> {
    run_with(config, &under_test)
}

/// Runs one configuration with a card from `make`.
///
/// # Errors
/// As [`run`], and what `make` says.
pub fn run_with(config: &RunConfig, make: wiring::MakeCard<'_>) -> Result<RunResult, RunError> {
    if config.platform.is_outside() {
        return qemu::run(config);
    }
    match &config.workload {
        Workload::Blk(workload) => blk::run(config, workload, make),
        Workload::Net(workload) => net::run(config, workload, make),
    }
}
