//! The machines a card can be plugged into: what the host does with an address, as data.
//!
//! ```text
//!   table (rows) ──▶ Setup ──▶ bench::wiring, bench::system ──▶ a run ──▶ judge ──▶ outcome, evidence
//! ```
//!
//! A platform is a row of [`PLATFORMS`] and the parts it names; nothing else asks which machine it runs on.
//! A row that has to show more than one thing has variants: the same machine with one thing changed.

pub mod judge;
mod parts;
pub mod setup;
mod story;
mod table;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::setup::{Setup, Traffic};
pub use self::story::{features, story};
pub use self::table::PLATFORMS;
use crate::scenario::config::{PacketSource, Placement, RunConfig, Workload};

/// The workload with which the cases are shown, as a scenario.
pub const WORKLOAD: &str = include_str!("../../scenarios/platforms.toml");

/// What becomes of a virtio card on a machine.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every request was done, and its data is right.
    Works,
    /// The same, by copying through buffers that the card reaches.
    Bounces,
    /// What the card asked for was blocked, and there is a record of it.
    Faults,
    /// The card read or wrote memory that was not meant, or data came back wrong.
    Corrupts,
    /// Driver or device refused before anything moved.
    Refused,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Works => "works",
            Self::Bounces => "bounces",
            Self::Faults => "faults",
            Self::Corrupts => "corrupts",
            Self::Refused => "refused",
        })
    }
}

/// What a case must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// What becomes of the card.
    pub outcome: Outcome,
    /// The ops that the driver is given; empty when it is given none.
    pub ops: &'static str,
    /// Which of SWIOTLB, ACCESS_PLATFORM and ORDER_PLATFORM are negotiated.
    pub features: u64,
    /// What the evidence must say.
    pub evidence: &'static str,
}

/// A machine with everything chosen, and what it must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// What is different from the platform's first case; empty for that one.
    pub variant: &'static str,
    /// How it is built.
    pub setup: Setup,
    /// The traffic that shows it.
    pub traffic: Traffic,
    /// What it must show.
    pub expected: Expected,
}

/// Where a platform is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Here: these cases, the ordinary one first.
    Here(&'static [Case]),
    /// Here, on a machine that nobody here wrote, when it is asked for by name.
    Outside {
        /// How it is built.
        setup: &'static Setup,
        /// What says so where all platforms are listed.
        how: &'static str,
    },
    /// By another command.
    Elsewhere(&'static str),
}

/// A machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its name in scenarios and reports.
    pub id: &'static str,
    /// The host, in a line.
    pub title: &'static str,
    /// Where it is run.
    pub place: Place,
}

impl Platform {
    /// Its cases, the ordinary one first; none when it is not run here.
    #[must_use]
    pub const fn cases(&self) -> &'static [Case] {
        match self.place {
            Place::Here(cases) => cases,
            Place::Outside { .. } | Place::Elsewhere(_) => &[],
        }
    }

    /// How the machine is built for an ordinary scenario; `None` when a card does not work on it here, or
    /// is on a bus whose figures the analyzer cannot give.
    #[must_use]
    pub fn setup(&self) -> Option<&'static Setup> {
        if let Place::Outside { setup, .. } = self.place {
            return Some(setup);
        }
        let case = self.cases().first()?;
        let works = matches!(case.expected.outcome, Outcome::Works | Outcome::Bounces);
        (works && case.setup.slot.is_analyzed()).then_some(&case.setup)
    }

    /// Whether the machine is one that nobody here wrote.
    #[must_use]
    pub const fn is_outside(&self) -> bool {
        matches!(self.place, Place::Outside { .. })
    }

    /// Why there is no [`Platform::setup`], or no case.
    #[must_use]
    pub fn why_not_here(&self) -> &'static str {
        match self.place {
            Place::Here(_) => {
                "only `--platform all` and `--explain` do, for the analyzer knows PCI only"
            }
            Place::Outside { how, .. } => how,
            Place::Elsewhere(place) => place,
        }
    }
}

/// A platform's name that no row has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownPlatform {
    /// There is no such row.
    #[error("unknown platform `{id}`; there are: {}", ids().collect::<Vec<_>>().join(", "))]
    NoRow {
        /// The name.
        id: String,
    },
    /// The row is there, and no scenario can run on it here.
    #[error("platform `{id}` does not run a scenario: {why}")]
    NotHere {
        /// The name.
        id: &'static str,
        /// Why.
        why: &'static str,
    },
}

/// The names of all platforms.
pub fn ids() -> impl Iterator<Item = &'static str> {
    PLATFORMS.iter().map(|platform| platform.id)
}

/// The platforms that can run a scenario with nothing but this program.
pub fn runnable() -> impl Iterator<Item = &'static Platform> {
    PLATFORMS.iter().filter(|platform| platform.setup().is_some() && !platform.is_outside())
}

/// The platform of this name.
///
/// # Errors
/// [`UnknownPlatform::NoRow`], which lists those that exist.
pub fn find(id: &str) -> Result<&'static Platform, UnknownPlatform> {
    PLATFORMS
        .iter()
        .find(|platform| platform.id == id)
        .ok_or_else(|| UnknownPlatform::NoRow { id: id.to_owned() })
}

/// The platform of this name, and how it is built for an ordinary scenario.
///
/// # Errors
/// [`UnknownPlatform`].
pub fn find_runnable(id: &str) -> Result<&'static Platform, UnknownPlatform> {
    let platform = find(id)?;
    match platform.setup() {
        Some(_) => Ok(platform),
        None => Err(UnknownPlatform::NotHere { id: platform.id, why: platform.why_not_here() }),
    }
}

/// Each case of each platform, with each of the `patterns`: those of the built-in workload, or a
/// scenario's own.
pub fn cases_of(
    platforms: &[&'static Platform],
    patterns: &[RunConfig],
) -> (Vec<RunConfig>, Vec<&'static Case>) {
    let mut runs = Vec::new();
    let mut cases = Vec::new();
    for &platform in platforms {
        for case in platform.cases() {
            for pattern in patterns {
                let Some(pattern) = traffic(case, pattern) else { continue };
                runs.push(RunConfig {
                    platform,
                    setup: case.setup,
                    variant: case.variant,
                    watched: true,
                    ..pattern
                });
                cases.push(case);
            }
        }
    }
    (runs, cases)
}

/// The pattern with the case's own traffic in it; `None` for a device that does not show it.
fn traffic(case: &Case, pattern: &RunConfig) -> Option<RunConfig> {
    let mut pattern = pattern.clone();
    match (case.traffic, &mut pattern.workload) {
        (Traffic::AsItIs, _) => {}
        (Traffic::Bursts { packets, bytes, burst, building }, Workload::Net(net)) => {
            net.source = PacketSource::Synthetic { packets, bytes };
            pattern.timing.driver_add_buffer = building;
            pattern.driver.kick_batch = burst;
            pattern.driver.queue_depth = burst * 2;
            pattern.card.queue_size = (burst * 8).next_power_of_two();
        }
        (Traffic::OneByOne { building }, Workload::Blk(_)) => {
            pattern.timing.driver_add_buffer = building;
            pattern.driver.kick_batch = 1;
            pattern.driver.queue_depth = 1;
        }
        (Traffic::HybridRings, Workload::Blk(_)) => pattern.placement = Placement::Hybrid,
        _ => return None,
    }
    Some(pattern)
}
