//! The report as a file: schema `vtb-run/1`. Ratios are made here, from the counts of [`RunResult`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::FaultFigures;
use super::result::RunResult;
use super::threshold::Verdict;
use crate::card::CardChoice;
use crate::peer::PeerCounts;
use crate::platform::Outcome;
use crate::preset::{Quantity, Timing};
use crate::scenario::Scenario;
use crate::scenario::config::{Device, Layout, Placement, RingFormat, RunConfig};

/// The name of this form of report.
pub const SCHEMA: &str = "vtb-run/1";

/// What `vtb run` found. The same scenario, seed and version give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    /// `vtb-run/1`.
    pub schema: String,
    /// The scenario's name.
    pub scenario: String,
    /// The platforms, joined by commas.
    pub platform: String,
    /// What was under test: `model`, or `rtl:` and a manifest.
    pub card: String,
    /// The seed.
    pub seed: u64,
    /// One entry for each run.
    pub results: Vec<RunFigures>,
    /// Seconds of wall-clock time for all runs; 0 unless `--wall-clock` asked for it, since it is the
    /// one figure that no two runs share.
    pub wall_s: f64,
    /// Rules that did not hold, over all runs.
    pub violations: Vec<RuleViolation>,
    /// The scenario's thresholds, and how each result stood.
    pub thresholds: Vec<Verdict>,
    /// What was taken to last how long.
    pub timing: TimingUsed,
    /// Runs of the scenario that the card is not made for, and that were left out.
    #[serde(default)]
    pub left_out: usize,
    /// Platforms that are not run here, in a report on all of them.
    #[serde(default)]
    pub elsewhere: Vec<Elsewhere>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunFigures {
    /// `RING/PLACEMENT/LAYOUT[+event_idx]/DEVICE/PLATFORM`, as in `split/host/direct/blk/x86-vtd`.
    pub name: String,
    /// The device.
    pub device: Device,
    /// The platform.
    pub platform: String,
    /// The ring format.
    pub ring: RingFormat,
    /// Where the rings lived.
    pub placement: Placement,
    /// How buffers were described.
    pub layout: Layout,
    /// Whether the event index was negotiated.
    pub event_idx: bool,
    /// Packets or block commands.
    pub requests: u64,
    /// Descriptors the card consumed; an indirect table's entries count, the one pointing at it does not.
    pub descriptors: u64,
    /// Memory reads of the card with their completions.
    pub round_trips_per_descriptor: RoundTrips,
    /// Memory requests of the card on the link.
    pub dma_per_descriptor: Dma,
    /// The CPU's accesses to the card.
    pub mmio_per_request: Accesses,
    /// The doorbells among them.
    #[serde(default)]
    pub doorbells_per_request: f64,
    /// The card's interrupts.
    #[serde(default)]
    pub interrupts_per_request: f64,
    /// The numbers of the feature bits that were negotiated, where that is known.
    #[serde(default)]
    pub feature_bits: Vec<u8>,
    /// Bytes on the wire, framing included.
    pub wire_bytes_per_descriptor: WireBytes,
    /// From notification to the driver's knowing.
    pub latency_ns: LatencyNs,
    /// In simulated time.
    pub descriptors_per_s: f64,
    /// In simulated time; packets, or blocks read and written.
    pub payload_gbit_per_s: f64,
    /// The IOMMU's cache.
    pub iotlb: Iotlb,
    /// The driver's mappings.
    pub dma_api: DmaApi,
    /// All of the simulated time.
    pub sim_time_ns: u64,
    /// TLPs on the link, both ways; 0 where nobody could watch it, and then times and what is counted on
    /// it are 0 as well.
    pub tlps: u64,
    /// What was judged, of a run that shows a platform.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
    /// What went wrong on purpose, and who was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub faults: Option<FaultFigures>,
    /// What a station at the end of the card's cable was asked, and answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<PeerCounts>,
}

/// What became of a card on a platform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// In what the machine differs from the platform's own; empty for that one.
    pub variant: String,
    /// The DMA ops that the driver was given; empty when it was given none.
    pub ops: String,
    /// Which of SWIOTLB, ACCESS_PLATFORM and ORDER_PLATFORM were negotiated.
    pub features: Vec<String>,
    /// What became of the card.
    pub outcome: Outcome,
    /// What had to.
    pub expected: Outcome,
    /// One line: a fault record, a finding, or what was compared.
    pub evidence: String,
    /// CPU time in ns for submitting, notifying and completing a request.
    pub cpu_ns_per_request: f64,
}

/// A platform that other commands run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Elsewhere {
    /// Its name.
    pub platform: String,
    /// Where it is run.
    pub place: String,
}

/// Memory reads of the card with their completions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundTrips {
    /// All of them.
    pub total: f64,
    /// Those that did not overlap in time.
    pub serial: f64,
}

/// Memory requests of the card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dma {
    /// Reads.
    pub reads: f64,
    /// Writes, interrupt messages included.
    pub writes: f64,
    /// Both, by what they were for.
    pub by_purpose: BTreeMap<String, f64>,
}

/// Accesses of the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accesses {
    /// Reads.
    pub reads: f64,
    /// Writes.
    pub writes: f64,
}

/// Bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireBytes {
    /// From card to host.
    pub upstream: f64,
    /// From host to card.
    pub downstream: f64,
}

/// Latencies in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "percentiles say themselves what they are")]
pub struct LatencyNs {
    pub min: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    pub mean: f64,
}

/// How often a translation was found ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Iotlb {
    /// Found.
    pub hits: u64,
    /// Walked for.
    pub misses: u64,
}

/// The driver's mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DmaApi {
    /// Made.
    pub maps: u64,
    /// Given up.
    pub unmaps: u64,
    /// Bytes copied through bounce buffers.
    pub bounced_bytes: u64,
}

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleViolation {
    /// The requirement's id, or the name of a rule of the bench.
    pub rule: String,
    /// When, in the run's own time.
    pub time_ns: u64,
    /// What was seen.
    pub message: String,
    /// The run's name.
    pub result: String,
}

/// What was taken to last how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimingUsed {
    /// The preset's name or path.
    pub preset: String,
    /// Every value with its unit and its source; a source that begins with `assumed` is a guess.
    pub values: BTreeMap<String, Quantity>,
}

impl RunReport {
    /// The report on a scenario's runs, in their order.
    #[must_use]
    pub fn new(scenario: &Scenario, results: &[RunResult], wall_s: f64) -> Self {
        let runs = || scenario.runs.iter().zip(results);
        let results: Vec<RunFigures> =
            runs().map(|(run, result)| RunFigures::new(run, result)).collect();
        let platforms: Vec<&str> = scenario.platforms.iter().map(|platform| platform.id).collect();
        Self {
            schema: SCHEMA.to_owned(),
            scenario: scenario.name.clone(),
            platform: platforms.join(","),
            card: scenario
                .runs
                .first()
                .map_or(CardChoice::Model, |run| run.under_test.clone())
                .to_string(),
            seed: scenario.seed,
            thresholds: Verdict::all(&scenario.thresholds, &results),
            results,
            wall_s,
            violations: runs().flat_map(|(run, result)| violations(run, result)).collect(),
            timing: TimingUsed::of(&scenario.timing),
            left_out: 0,
            elsewhere: Vec::new(),
        }
    }

    /// Every rule held and every threshold was reached.
    #[must_use]
    pub fn all_held(&self) -> bool {
        self.violations.is_empty() && self.thresholds.iter().all(|verdict| verdict.held)
    }

    /// The report as the text of a file.
    ///
    /// # Errors
    /// None in practice: every key is a string and every figure finite.
    pub fn to_text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

fn violations(run: &RunConfig, result: &RunResult) -> impl Iterator<Item = RuleViolation> {
    let name = run.name();
    result.violations.iter().map(move |violation| RuleViolation {
        rule: violation.rule.clone(),
        time_ns: violation.time.as_ns(),
        message: violation.message.clone(),
        result: name.clone(),
    })
}

impl TimingUsed {
    fn of(timing: &Timing) -> Self {
        Self { preset: timing.preset.clone(), values: timing.quantities.clone() }
    }
}

/// A share, to six decimals so that a report stays readable; 0 of nothing.
pub(super) fn per(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { (count as f64 / of as f64 * 1e6).round() / 1e6 }
}

/// A rate, to three decimals; 0 in no time.
fn rate(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { (amount / seconds * 1e3).round() / 1e3 } else { 0.0 }
}

impl RunFigures {
    /// Whether the run's link was one that could be watched.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.tlps > 0
    }

    /// The figures of one run.
    #[must_use]
    pub fn new(run: &RunConfig, result: &RunResult) -> Self {
        let (requests, descriptors) = (result.requests, result.descriptors);
        let seconds = result.traffic_time.as_s_f64();
        let by_purpose = result.dma_by_purpose.iter();
        Self {
            name: run.name(),
            device: run.device,
            platform: run.platform.id.to_owned(),
            ring: run.ring,
            placement: run.placement,
            layout: run.layout,
            event_idx: run.event_idx,
            requests,
            descriptors,
            round_trips_per_descriptor: RoundTrips {
                total: per(result.round_trips, descriptors),
                serial: per(result.serial_round_trips, descriptors),
            },
            dma_per_descriptor: Dma {
                reads: per(result.dma_reads, descriptors),
                writes: per(result.dma_writes, descriptors),
                by_purpose: by_purpose
                    .map(|(name, n)| (name.clone(), per(*n, descriptors)))
                    .collect(),
            },
            mmio_per_request: Accesses {
                reads: per(result.mmio_reads, requests),
                writes: per(result.mmio_writes, requests),
            },
            doorbells_per_request: per(result.doorbells, requests),
            interrupts_per_request: per(result.interrupts, requests),
            feature_bits: (0..64).filter(|bit| result.facts.features >> bit & 1 != 0).collect(),
            wire_bytes_per_descriptor: WireBytes {
                upstream: per(result.wire_upstream_bytes, descriptors),
                downstream: per(result.wire_downstream_bytes, descriptors),
            },
            latency_ns: result.latency.into(),
            descriptors_per_s: rate(descriptors as f64, seconds),
            payload_gbit_per_s: rate(result.payload_bytes as f64 * 8e-9, seconds),
            iotlb: Iotlb { hits: result.iotlb.hits, misses: result.iotlb.misses },
            dma_api: DmaApi {
                maps: result.dma_api.maps,
                unmaps: result.dma_api.unmaps,
                bounced_bytes: result.dma_api.bounced_bytes,
            },
            sim_time_ns: result.sim_time.as_ns(),
            tlps: result.tlps,
            judged: None,
            faults: result.told.as_deref().map(|told| FaultFigures::of(told, &result.violations)),
            peer: result.peer,
        }
    }
}

impl From<super::result::Latency> for LatencyNs {
    fn from(latency: super::result::Latency) -> Self {
        Self {
            min: latency.min_ns,
            p50: latency.p50_ns,
            p90: latency.p90_ns,
            p99: latency.p99_ns,
            p999: latency.p999_ns,
            max: latency.max_ns,
            // Of no samples there is no mean, and JSON has no such number.
            mean: if latency.mean_ns.is_finite() {
                (latency.mean_ns * 1e3).round() / 1e3
            } else {
                0.0
            },
        }
    }
}
