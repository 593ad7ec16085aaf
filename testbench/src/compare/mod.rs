//! Two cards, the same scenario and seed: where they part, and how far they are apart in time.
//!
//! ```text
//!   run on the model ─▶ Recording ─▶ transactions ─┐            ┌─▶ first functional difference
//!                                                  ├─▶ align ───┤
//!   run on the RTL ───▶ Recording ─▶ transactions ─┘            └─▶ timing, by request and by stage
//! ```
//!
//! What the two cards have to have in common are the CPU's accesses to their registers and the answers, and
//! of each request its descriptors, what was read from and written to its buffers, and the length in its
//! used element. Transactions are laid side by side by what they are for, and places in buffers count
//! instead of addresses: two cards that are not equally fast are handed other addresses in another order.
//! How often a card looks at an index, suppresses, interrupts or is notified follows from its pace, and so is
//! counted beside, and no difference.

mod align;
mod report;
mod stages;
mod transactions;
mod window;

pub use align::{Difference, Side};
pub use report::{CompareReport, PaceFigures, RunComparison, StageFigures, TimingError, text};
pub use transactions::{Act, Stream, Transaction, transactions};
pub use window::Window;

use crate::bench;
use crate::bench::watch::Recording;
use crate::bench::wiring::MakeCard;
use crate::report::{RunError, RunResult};
use crate::scenario::config::RunConfig;

/// A run on one card, with all that crossed the link.
#[derive(Debug)]
pub struct Recorded {
    /// What it showed.
    pub result: RunResult,
    /// All that crossed the link.
    pub recording: Recording,
}

/// Runs `config` with a card from `make`, and keeps all that crosses the link.
///
/// # Errors
/// As [`bench::run_with`].
pub fn record(config: &RunConfig, make: MakeCard<'_>) -> Result<Recorded, RunError> {
    let config = RunConfig { recorded: true, ..config.clone() };
    let mut result = bench::run_with(&config, make)?;
    let recording = result.recording.take().map(|recording| *recording).unwrap_or_default();
    Ok(Recorded { result, recording })
}

/// Lays two runs of `config` side by side.
#[must_use]
pub fn compare(config: &RunConfig, model: &Recorded, rtl: &Recorded) -> RunComparison {
    let (left, right) = (transactions(&model.recording), transactions(&rtl.recording));
    let difference = align::first_difference(
        align::Half { transactions: &left, requests: &model.recording.requests },
        align::Half { transactions: &right, requests: &rtl.recording.requests },
    );
    report::run(config, (model, &left), (rtl, &right), difference)
}
