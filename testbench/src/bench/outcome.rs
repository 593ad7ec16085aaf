//! What a run ends with: counts from the tap, latencies from the traffic, findings from everybody.

use host_driver::device::Removed;
use host_driver::transport::TransportError;
use host_driver::{BlkDriver, Counters, DriverError, ProbeError};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::Bus;
use pcie_sim::iommu::IotlbCounts;
use pcie_sim::machine::{CpuFinding, Machine};
use pcie_sim::root::Refused;
use pcie_sim::time::{Instant, Span};

use super::exercise;
use super::record::{self, Record};
use super::shortage;
use super::stand::Stand;
use super::watch::Watch;
use super::wiring::Bench;
use crate::measure::{Counts, Latency};
use crate::report::{DmaApiCounts, Facts, RunError, RunResult, Violation};
use crate::scenario::config::RunConfig;

/// Virtio 1.4, "Device Reset": `device_status` is 0 once a reset is done.
pub(super) const NOT_RESET: &str = "RST-DEV-01";
/// How many findings of one kind are told one by one.
const TOLD: usize = 20;

/// The result of a run whose card the driver did not take over: a finding, unless the user's machine is
/// too small for it.
pub(super) fn not_driven(bench: Bench, error: &ProbeError) -> Result<RunResult, RunError> {
    if shortage::at_probe(error) {
        return Err(RunError::input(format!("host.ram: too small for the driver: {error}")));
    }
    let mut tally = Tally::begin(bench, Counters::default());
    let rule = match error {
        ProbeError::Transport(error) => named(error, "DRIVER-PROBE"),
        _ => "DRIVER-PROBE",
    };
    tally.violation(rule, error.to_string());
    tally.facts.refused = Some(error.to_string());
    tally.end(Counters::default());
    tally.conclude(None)
}

/// The rule that an error of the registers breaks, where there is one that says more than `otherwise`.
pub(super) fn named(error: &TransportError, otherwise: &'static str) -> &'static str {
    match error {
        TransportError::ResetTimeout { .. } => NOT_RESET,
        _ => otherwise,
    }
}

/// The result of a run that ended before it began.
pub(super) fn refused(bench: Bench, why: String) -> Result<RunResult, RunError> {
    let mut tally = Tally::begin(bench, Counters::default());
    tally.end(Counters::default());
    tally.facts.refused = Some(why);
    tally.conclude(None)
}

/// The bench under the traffic, its state at the start, and what the traffic added.
pub(super) struct Tally {
    pub(super) bench: Bench,
    started: Instant,
    iotlb: IotlbCounts,
    before: Counters,
    latency: Latency,
    payload_bytes: u64,
    /// What went wrong, as it was found.
    pub(super) violations: Vec<Violation>,
    /// What the driver said of itself.
    pub(super) facts: Facts,
    ended: Option<Window>,
}

struct Window {
    traffic_time: Span,
    counts: Counts,
    iotlb: IotlbCounts,
    after: Counters,
}

impl Stand for Tally {
    type Host = Machine<Watch>;

    fn stall(&self) -> Span {
        self.bench.patience
    }

    fn stalled(&mut self, message: String) {
        self.violation("BENCH-STALLED", message);
        let now = self.bench.machine.now();
        self.bench.machine.tap.analyzer.stalled(now);
    }

    fn exercise(&mut self, config: &RunConfig, driver: &mut BlkDriver) -> Result<(), RunError> {
        exercise::with_driver(config, self, driver)
    }

    fn exercise_alone(&mut self, config: &RunConfig) {
        exercise::without_driver(config, self);
    }

    fn host(&mut self) -> &mut Self::Host {
        &mut self.bench.machine
    }

    fn buffers(&mut self, bytes: u64) -> Result<PhysAddr, RunError> {
        self.bench.buffers(bytes)
    }

    fn check(&self) -> Result<(), RunError> {
        self.bench.cancel.check()
    }

    fn worked(&mut self, begun: Instant, what: &'static str) {
        let now = self.bench.machine.now();
        self.facts.cpu_time += now.since(begun);
        self.bench.machine.tap.cpu_worked(begun, now, what);
    }

    fn done(&mut self, took: Span) {
        self.latency.record(took);
    }

    fn carried(&mut self, bytes: u64) {
        self.payload_bytes += bytes;
    }

    fn violation(&mut self, rule: &str, message: String) {
        let time = self.bench.machine.now();
        self.violations.push(Violation { rule: rule.to_owned(), time, message });
    }

    fn end(&mut self, after: Counters) {
        let bench = &self.bench;
        if let Some(trouble) = &bench.trouble {
            trouble.end();
        }
        self.ended = Some(Window {
            traffic_time: bench.machine.now().since(self.started),
            counts: *bench.machine.tap.observers().measure.counts(),
            iotlb: bench.iotlb(),
            after,
        });
    }

    fn result(mut self, removed: Result<Removed, DriverError>) -> Result<RunResult, RunError> {
        let removed = removed.map_err(|error| self.violation("DRIVER-ERROR", error.to_string()));
        self.conclude(removed.ok())
    }
}

impl Tally {
    /// The traffic starts now.
    pub(super) fn begin(mut bench: Bench, before: Counters) -> Self {
        let started = bench.machine.now();
        if let Some(trouble) = &bench.trouble {
            trouble.begin(started);
        }
        bench.machine.tap.observers_mut().measure.begin(started);
        Self {
            started,
            iotlb: bench.iotlb(),
            bench,
            before,
            latency: Latency::new(),
            payload_bytes: 0,
            violations: Vec::new(),
            facts: Facts::default(),
            ended: None,
        }
    }

    /// The result, with what the driver left when it went.
    pub(super) fn conclude(mut self, removed: Option<Removed>) -> Result<RunResult, RunError> {
        let now = self.bench.machine.now();
        let told = self.bench.trouble.take();
        let told = told.map(|trouble| trouble.told(&mut self.bench.machine));
        self.bench.machine.tap.finish(now).map_err(RunError::internal)?;
        self.collect(removed);
        self.violations.extend(self.bench.at_pins.violations());
        let rtl_cycles = self.bench.at_pins.cycles();
        let record = Record::of(&mut self.bench).map(Box::new);
        let recording = self.bench.machine.tap.take_recording().map(Box::new);
        for left in self.bench.stop() {
            self.violation("DMA-LEFT", left);
        }
        self.violations.sort();
        let Some(window) = self.ended else {
            return Err(RunError::internal("the traffic was never ended"));
        };
        self.facts.dma_time = window.after.dma.cpu_time - self.before.dma.cpu_time;
        Ok(RunResult {
            payload_bytes: self.payload_bytes,
            latency: self.latency.figures().into(),
            completed: self.latency.count(),
            sim_time: now.since(Instant::ZERO),
            iotlb: IotlbCounts {
                hits: window.iotlb.hits - self.iotlb.hits,
                misses: window.iotlb.misses - self.iotlb.misses,
            },
            dma_api: DmaApiCounts::between(&self.before, &window.after),
            violations: self.violations,
            facts: self.facts,
            told: told.map(Box::new),
            rtl_cycles,
            record,
            recording,
            ..RunResult::of_link(&window.counts, 0, window.traffic_time)
        })
    }

    fn collect(&mut self, removed: Option<Removed>) {
        let bench = &self.bench;
        let found = bench.machine.tap.analyzer.violations().iter().filter(|_| bench.analyzed);
        self.violations.extend(found.map(analyzed));
        for refused in bench.machine.root.refused().iter().take(TOLD) {
            self.violations.push(refused_dma(bench, refused));
        }
        for finding in bench.machine.findings().iter().take(TOLD) {
            self.violations.push(cpu_violation(finding));
        }
        let now = bench.machine.now();
        for finding in removed.iter().flat_map(|removed| &removed.findings).take(TOLD) {
            self.violations.push(Violation {
                rule: "DMA-API".to_owned(),
                time: now,
                message: finding.to_string(),
            });
        }
    }
}

/// What the analyzer has found.
pub(super) fn analyzed(found: &crate::check::Violation) -> Violation {
    Violation { rule: found.rule.to_owned(), time: found.time, message: found.to_string() }
}

/// What the root complex has refused.
pub(super) fn refused_dma(bench: &Bench, refused: &Refused) -> Violation {
    let why = record::why(bench, refused);
    Violation {
        rule: "DMA-REFUSED".to_owned(),
        time: refused.at,
        message: format!(
            "{:?} of {} bytes at bus address {:#x} by {}: {why}",
            refused.kind, refused.len_bytes, refused.address, refused.requester
        ),
    }
}

/// What the CPU has met.
pub(super) fn cpu_violation(finding: &CpuFinding) -> Violation {
    let (rule, time, message) = match finding {
        CpuFinding::CompletionTimeout { at, request } => {
            ("PCIE-COMPLETION-TIMEOUT", *at, format!("no completion came for {request}"))
        }
        CpuFinding::UnexpectedCompletion { at, completion } => {
            let tlp = pcie_sim::tlp::Tlp::Completion(completion.clone());
            ("PCIE-UNEXPECTED-COMPLETION", *at, format!("nobody waits for {tlp}"))
        }
        CpuFinding::PoisonedCompletion { at, completion } => {
            let tlp = pcie_sim::tlp::Tlp::Completion(completion.clone());
            ("PCIE-POISONED", *at, format!("the data of {tlp} is marked as bad"))
        }
        CpuFinding::PostedStuck { at } => {
            ("PCIE-POSTED-STUCK", *at, "the card takes no posted writes any more".to_owned())
        }
    };
    Violation { rule: rule.to_owned(), time, message }
}
