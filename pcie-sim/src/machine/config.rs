//! What a scenario can choose about a [`Machine`](super::Machine), and what it finds wrong.

use crate::host::shape::{HostCosts, HostShape};
use crate::link::LinkConfig;
use crate::root::{CpuTiming, FixedWindow, RootTiming};
use crate::time::Instant;
use crate::tlp::{Completion, Tlp};

/// Everything about a computer that a scenario can choose, but for what is plugged into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineConfig {
    /// The link.
    pub link: LinkConfig,
    /// Latencies of the root complex.
    pub root: RootTiming,
    /// Costs of the CPU's accesses.
    pub cpu: CpuTiming,
    /// Read completion boundary: 64 or 128 bytes.
    pub rcb_bytes: u16,
    /// In what the host differs from a PC.
    pub shape: HostShape,
    /// What that costs the CPU.
    pub host_costs: HostCosts,
    /// Addresses at which the device is found without enumeration, for one on the platform's own bus.
    pub fixed_window: Option<FixedWindow>,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            link: LinkConfig::default(),
            root: RootTiming::default(),
            cpu: CpuTiming::default(),
            rcb_bytes: 64,
            shape: HostShape::default(),
            host_costs: HostCosts::default(),
            fixed_window: None,
        }
    }
}

/// What went wrong between CPU and card, on the CPU's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CpuFinding {
    /// A request of the CPU was not answered in time; the CPU got all ones.
    CompletionTimeout {
        /// When the CPU gave up.
        at: Instant,
        /// What was not answered.
        request: Tlp,
    },
    /// A completion came that nobody had asked for.
    UnexpectedCompletion {
        /// When it came.
        at: Instant,
        /// What came.
        completion: Completion,
    },
    /// An answer came whose data is marked as bad; the CPU got all ones.
    PoisonedCompletion {
        /// When it came.
        at: Instant,
        /// What came.
        completion: Completion,
    },
    /// The card did not take posted writes; the CPU went on without waiting.
    PostedStuck {
        /// When the CPU gave up waiting.
        at: Instant,
    },
}
