//! Studies: one question put to many configurations, and the answers in one table.
//!
//! ```text
//!   study.toml ─┬─ kind = "pcie-bench": rows of a published benchmark, on the exerciser card
//!               ├─ kind = "sweep": a scenario, with keys set to each value of each axis
//!               └─ kind = "faults": the same, with every fault there is
//!                     └─▶ points ─▶ in parallel, a shard, or merged ─▶ StudyReport ─▶ table, HTML
//! ```
//!
//! A study is a list of points, numbered from 0. Each is run by itself, so that shards of a study can be run
//! on several machines and merged: the report is the same byte for byte.

pub mod html;
pub mod pcie_bench;
pub mod report;
pub mod sweep;
mod table;

use std::path::Path;

use serde::Deserialize;

use self::pcie_bench::PcieBench;
pub use self::report::{Axis, Row, Shard, StudyReport, Summary};
use self::sweep::Sweep;
pub use self::table::table;
use crate::card::CardChoice;
use crate::parallel::{Workers, map_all};
use crate::report::{RunError, RunResult};
use crate::scenario::config::RunConfig;
use crate::scenario::source::{InputError, Source};

/// A study that passed every check that can be made without running it.
#[derive(Debug, Clone)]
pub enum Study {
    /// A benchmark replayed.
    PcieBench(Box<PcieBench>),
    /// A scenario swept.
    Sweep(Box<Sweep>),
}

/// What every study's file has.
#[derive(Debug, Deserialize)]
struct Head {
    kind: String,
}

/// Runs one configuration of a sweep.
pub type Run<'r> = &'r (dyn Fn(&RunConfig) -> Result<RunResult, RunError> + Sync);

impl Study {
    /// Reads a study's file and all that it names.
    ///
    /// # Errors
    /// [`InputError`] with file, line and key.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        let source = Source::read(path)?;
        match source.parse::<Head>()?.kind.as_str() {
            "pcie-bench" => Ok(Self::PcieBench(Box::new(PcieBench::load(&source)?))),
            "sweep" | sweep::FAULTS => Ok(Self::Sweep(Box::new(Sweep::load(&source)?))),
            other => {
                let why = format!("unknown kind `{other}`; there are: pcie-bench, sweep, faults");
                Err(source.complain("kind", why))
            }
        }
    }

    /// Has the study made with this card, as far as it is one of its runs.
    ///
    /// # Errors
    /// A benchmark that needs the card of its own; a point of which the card can do no run.
    pub fn plug(&mut self, card: &CardChoice) -> Result<(), InputError> {
        match (self, card) {
            (_, CardChoice::Model) => Ok(()),
            (Self::PcieBench(_), CardChoice::Rtl(_)) => {
                let why = format!(
                    "`{card}` cannot be had in a study of kind `pcie-bench`: it replays single reads and writes, \
                     which the exerciser does and no virtio card; kinds `sweep` and `faults` take it"
                );
                Err(InputError::whole("--card", why))
            }
            (Self::Sweep(sweep), CardChoice::Rtl(_)) => sweep.plug(card),
        }
    }

    /// How many points it has.
    #[must_use]
    pub fn points(&self) -> usize {
        match self {
            Self::PcieBench(study) => study.rows.len(),
            Self::Sweep(study) => study.points.len(),
        }
    }

    /// Runs the points of a shard on at most `workers` threads, and calls `done` after each.
    ///
    /// # Errors
    /// The first point, in their order, that could not be run.
    pub fn run(
        &self,
        shard: Shard,
        workers: impl Into<Workers>,
        run: Run<'_>,
        done: &mut dyn FnMut(),
    ) -> Result<StudyReport, RunError> {
        let points: Vec<usize> = shard.points(self.points()).collect();
        let name = |point: &usize| format!("point {point}");
        let answer = |point: &usize| match self {
            Self::PcieBench(study) => study.answer(*point),
            Self::Sweep(study) => study.answer(*point, run),
        };
        let answers = map_all(&points, workers, &name, &answer, &mut |_| done())?;
        let mut report = match self {
            Self::PcieBench(study) => study.report(),
            Self::Sweep(study) => study.report(),
        };
        for (rows, violations) in answers {
            report.rows.extend(rows);
            report.violations.extend(violations);
        }
        report.conclude();
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
