//! What one run gives back: counts, not ratios, so that whoever adds up runs stays exact.

use std::collections::BTreeMap;

use host_driver::Counters;
use pcie_sim::iommu::IotlbCounts;
use pcie_sim::time::{Instant, Span};

use crate::bench::faults::Told;
use crate::bench::record::Record;
use crate::bench::watch::Recording;
use crate::measure::{self, Counts};
use crate::peer::PeerCounts;

/// The time from a request's notification to the driver's knowing that it is done, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Latency {
    /// The shortest.
    pub min_ns: u64,
    /// Half of the requests took no longer.
    pub p50_ns: u64,
    /// 90 in a hundred took no longer.
    pub p90_ns: u64,
    /// 99 in a hundred took no longer.
    pub p99_ns: u64,
    /// 999 in a thousand took no longer.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// The mean.
    pub mean_ns: f64,
}

impl From<measure::LatencyNs> for Latency {
    fn from(figures: measure::LatencyNs) -> Self {
        Self {
            min_ns: figures.min,
            p50_ns: figures.p50,
            p90_ns: figures.p90,
            p99_ns: figures.p99,
            p999_ns: figures.p999,
            max_ns: figures.max,
            mean_ns: figures.mean,
        }
    }
}

/// What the driver asked of the DMA API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DmaApiCounts {
    /// Mappings made.
    pub maps: u64,
    /// Mappings given up.
    pub unmaps: u64,
    /// Bytes copied through bounce buffers.
    pub bounced_bytes: u64,
}

impl DmaApiCounts {
    /// What was asked from one look at a driver's counters to the next.
    pub(crate) fn between(before: &Counters, after: &Counters) -> Self {
        Self {
            maps: after.dma.maps - before.dma.maps,
            unmaps: after.dma.unmaps - before.dma.unmaps,
            bounced_bytes: after.dma.bounced_bytes - before.dma.bounced_bytes,
        }
    }
}

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The requirement's id, as in `spec/virtio_requirements.csv`, or the name of a rule of the bench.
    pub rule: String,
    /// When, in the run's own time.
    pub time: Instant,
    /// What was seen, and what should have been.
    pub message: String,
}

/// What one run showed. Sums over all its requests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunResult {
    /// Requests completed: packets, block commands.
    pub requests: u64,
    /// Descriptors the card consumed, as DESIGN.md counts them.
    pub descriptors: u64,
    /// Bytes of payload carried: packets, or blocks read and written.
    pub payload_bytes: u64,
    /// Memory reads of the card, each with its completions.
    pub round_trips: u64,
    /// The sum over requests of each one's serial round trips.
    pub serial_round_trips: u64,
    /// Memory reads of the card on the link.
    pub dma_reads: u64,
    /// Memory writes of the card on the link, interrupts included.
    pub dma_writes: u64,
    /// The same reads and writes by what they were for: `avail_idx`, `descriptor`, `payload_read`, ...
    pub dma_by_purpose: BTreeMap<String, u64>,
    /// The CPU's reads of the card's registers and memory, while traffic ran.
    pub mmio_reads: u64,
    /// The CPU's writes to the card's registers and memory, while traffic ran.
    pub mmio_writes: u64,
    /// Bytes on the wire from card to host, framing included.
    pub wire_upstream_bytes: u64,
    /// Bytes on the wire from host to card, framing included.
    pub wire_downstream_bytes: u64,
    /// TLPs on the link, both ways.
    pub tlps: u64,
    /// How long requests took.
    pub latency: Latency,
    /// The CPU's doorbells, while traffic ran.
    pub doorbells: u64,
    /// The card's interrupts, while traffic ran.
    pub interrupts: u64,
    /// Requests whose completion the driver learned of.
    pub completed: u64,
    /// The simulated time in which the traffic ran, without probe and removal.
    pub traffic_time: Span,
    /// All of the simulated time.
    pub sim_time: Span,
    /// The IOMMU's cache; zeroes where there is none.
    pub iotlb: IotlbCounts,
    /// The driver's mappings.
    pub dma_api: DmaApiCounts,
    /// What broke a rule: the scoreboard's, the checker's and DMA debug's findings.
    pub violations: Vec<Violation>,
    /// What was chosen for the run.
    pub facts: Facts,
    /// What struck and who was told, of a run in which something went wrong on purpose.
    pub told: Option<Box<Told>>,
    /// What a station at the end of the card's cable was asked, where there is one.
    pub peer: Option<PeerCounts>,
    /// Clock cycles of the design, of RTL; 0 of the model.
    pub rtl_cycles: u64,
    /// Every DMA address, of a run that was watched.
    pub record: Option<Box<Record>>,
    /// All that crossed the link, of a run that was recorded.
    pub recording: Option<Box<Recording>>,
}

impl RunResult {
    /// What the link showed of a driver whose own side is not known: its counts, the features that it
    /// accepted, and the time in which they were counted.
    #[must_use]
    pub fn of_link(counts: &Counts, features: u64, traffic_time: Span) -> Self {
        Self {
            requests: counts.requests,
            completed: counts.requests,
            descriptors: counts.descriptors,
            round_trips: counts.round_trips(),
            serial_round_trips: counts.serial_round_trips,
            dma_reads: counts.reads.iter().sum(),
            dma_writes: counts.writes.iter().sum(),
            dma_by_purpose: counts.by_purpose(),
            mmio_reads: counts.mmio_reads,
            mmio_writes: counts.mmio_writes,
            doorbells: counts.doorbells,
            interrupts: counts.interrupts,
            wire_upstream_bytes: counts.upstream_bytes,
            wire_downstream_bytes: counts.downstream_bytes,
            tlps: counts.tlps,
            traffic_time,
            facts: Facts { features, ..Facts::default() },
            ..Self::default()
        }
    }
}

/// What was chosen for a run, and what the CPU had to do for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The DMA ops that the driver was given; empty when it was given none.
    pub ops: &'static str,
    /// The features negotiated.
    pub features: u64,
    /// Why nothing ran, when driver, system or card refused.
    pub refused: Option<String>,
    /// CPU time spent in submitting, notifying and completing; not in waiting for something to come.
    pub cpu_time: Span,
    /// The part of it, and of the time between, that the DMA API took.
    pub dma_time: Span,
}

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What the user gave cannot be used: a capture, a log, an image. Exit status 2.
    #[error("{0}")]
    Input(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The bench itself failed. Exit status 3.
    #[error("{0}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Somebody ended it, see [`Cancel`](crate::cancel::Cancel).
    #[error("cancelled")]
    Cancelled,
}

impl RunError {
    /// The user's input is at fault.
    pub fn input(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Input(error.into())
    }

    /// The bench is at fault.
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(error.into())
    }
}
