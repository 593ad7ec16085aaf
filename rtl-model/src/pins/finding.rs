//! What a design does on its pins that the interface forbids.

use pcie_sim::link::credits::Credits;
use pcie_sim::time::Instant;
use pcie_sim::tlp::FlowClass;
use pcie_sim::tlp::codec::TlpError;
use thiserror::Error;

/// Findings of one rule that are kept; the others are counted.
const KEPT_OF_A_RULE: u64 = 16;

/// A rule of the pins that was broken. Each is one of [`PinFinding::RULES`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PinFinding {
    /// `valid` may fall only after a beat has passed.
    #[error("{port} fell before the beat had passed")]
    ValidDropped {
        /// The port of `tx_valid`.
        port: String,
    },
    /// A beat that waits stays as it is.
    #[error("{port} changed while the beat waited")]
    BeatChanged {
        /// The port whose value is another one.
        port: String,
    },
    /// The first beat of a TLP says so.
    #[error("a TLP begins and {port} is 0")]
    NoStart {
        /// The port of `tx_sop`.
        port: String,
    },
    /// Only the first beat of a TLP says that it is. What had come before was dropped.
    #[error("{port} is 1 inside of a TLP, behind {bytes} of its bytes")]
    StartInside {
        /// The port of `tx_sop`.
        port: String,
        /// Bytes that had come.
        bytes: usize,
    },
    /// Whole doublewords, from byte 0 on, at least one, and all of them but in the last beat.
    #[error("{port} is {keep:#x} in {}", if *.last { "a last beat" } else { "a beat that is not the last" })]
    Keep {
        /// The port of `tx_keep`.
        port: String,
        /// Its value.
        keep: u64,
        /// Whether it is the last beat of a TLP.
        last: bool,
    },
    /// The bytes are no TLP. Dropped.
    #[error("{bytes} bytes are no TLP: {error}")]
    NoTlp {
        /// How many bytes there were.
        bytes: usize,
        /// What is wrong with them.
        error: TlpError,
    },
    /// No TLP has so many bytes. Dropped, up to its end.
    #[error("a TLP goes on behind byte {bytes}, more than any TLP has")]
    TooLong {
        /// How many bytes had come.
        bytes: usize,
    },
    /// A TLP begins only when there are credits for all of it.
    #[error(
        "a TLP of class {class:?} with {data} data credits began when there were {} for headers and {} for \
         data", .had.headers, .had.data
    )]
    NoCredits {
        /// Its class.
        class: FlowClass,
        /// The data credits it takes.
        data: u32,
        /// The credits that there were.
        had: Credits,
    },
    /// Leave for a request that wants an answer stays until one has begun.
    #[error("{port} fell, and a request that it had given leave to began")]
    LeaveWithdrawn {
        /// The port of `rx_np_ok`.
        port: String,
    },
    /// What is looked at is 0 or 1. X and Z were taken for 0.
    #[error("{port} is X or Z")]
    Unknown {
        /// Which port.
        port: String,
    },
}

impl PinFinding {
    /// The id of every rule of the pins.
    pub const RULES: [&'static str; 10] = [
        "PIN-VALID",
        "PIN-BEAT",
        "PIN-START",
        "PIN-INSIDE",
        "PIN-KEEP",
        "PIN-TLP",
        "PIN-LENGTH",
        "PIN-CREDITS",
        "PIN-LEAVE",
        "PIN-UNKNOWN",
    ];

    /// The id of the rule.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        Self::RULES[self.index()]
    }

    const fn index(&self) -> usize {
        match self {
            Self::ValidDropped { .. } => 0,
            Self::BeatChanged { .. } => 1,
            Self::NoStart { .. } => 2,
            Self::StartInside { .. } => 3,
            Self::Keep { .. } => 4,
            Self::NoTlp { .. } => 5,
            Self::TooLong { .. } => 6,
            Self::NoCredits { .. } => 7,
            Self::LeaveWithdrawn { .. } => 8,
            Self::Unknown { .. } => 9,
        }
    }
}

/// What was found, the first few of each rule in the order of time.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<(Instant, PinFinding)>,
    counts: [u64; PinFinding::RULES.len()],
}

impl Findings {
    /// The first of each rule, with the clock edge at which it was seen.
    #[must_use]
    pub fn kept(&self) -> &[(Instant, PinFinding)] {
        &self.kept
    }

    /// How often each rule was broken, those which were, by id.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = PinFinding::RULES.into_iter().zip(self.counts);
        all.filter(|(_, count)| *count > 0)
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    #[cold]
    pub(super) fn add(&mut self, at: Instant, finding: PinFinding) {
        let count = &mut self.counts[finding.index()];
        *count += 1;
        if *count <= KEPT_OF_A_RULE {
            self.kept.push((at, finding));
        }
    }
}
