//! What a run ends with: counts from the tap, latencies from the traffic, findings from everybody.

use host_driver::device::Removed;
use host_driver::{Counters, DriverError, ProbeError};
use pcie_sim::host::Bus;
use pcie_sim::iommu::IotlbCounts;
use pcie_sim::machine::CpuFinding;
use pcie_sim::time::{Instant, Span};

use super::record::{self, Record};
use super::shortage;
use super::wiring::Bench;
use crate::measure::{Counts, Latency};
use crate::report::{DmaApiCounts, Facts, RunError, RunResult, Violation};

/// How long a bench may go without any progress before it is given up.
pub(super) const STALL: Span = Span::from_ms(100);
/// How many findings of one kind are told one by one.
const TOLD: usize = 20;

/// The result of a run whose card the driver did not take over: a finding, unless the user's machine is
/// too small for it.
pub(super) fn not_driven(mut bench: Bench, error: &ProbeError) -> Result<RunResult, RunError> {
    if shortage::at_probe(error) {
        return Err(RunError::input(format!("host.ram: too small for the driver: {error}")));
    }
    let mut tally = Tally::begin(&mut bench, Counters::default());
    tally.violation(&bench, "DRIVER-PROBE", error.to_string());
    tally.facts.refused = Some(error.to_string());
    tally.end(&bench, Counters::default());
    tally.result(bench, None)
}

/// The state at the start of the traffic, and what the traffic added.
pub(super) struct Tally {
    started: Instant,
    iotlb: IotlbCounts,
    before: Counters,
    /// How long requests took.
    pub(super) latency: Latency,
    /// Bytes of payload carried.
    pub(super) payload_bytes: u64,
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

impl Tally {
    /// The traffic starts now.
    pub(super) fn begin(bench: &mut Bench, before: Counters) -> Self {
        let started = bench.machine.now();
        if let Some(trouble) = &bench.trouble {
            trouble.begin(started);
        }
        bench.machine.tap.observers_mut().measure.begin(started);
        Self {
            started,
            iotlb: bench.iotlb(),
            before,
            latency: Latency::new(),
            payload_bytes: 0,
            violations: Vec::new(),
            facts: Facts::default(),
            ended: None,
        }
    }

    /// The CPU has worked for the traffic since `begun`; `what` is for those who look at waves.
    pub(super) fn worked(&mut self, bench: &mut Bench, begun: Instant, what: &'static str) {
        let now = bench.machine.now();
        self.facts.cpu_time += now.since(begun);
        bench.machine.tap.cpu_worked(begun, now, what);
    }

    /// The driver has waited until `deadline` at most, and since `begun` taken what came. Whether the run
    /// can go on; if not, that is a finding, in which `waiting` says for what it waits.
    pub(super) fn goes_on(
        &mut self,
        bench: &mut Bench,
        begun: Instant,
        deadline: Instant,
        taken: Result<usize, DriverError>,
        waiting: impl FnOnce() -> String,
    ) -> bool {
        self.worked(bench, begun, "complete");
        match taken {
            Ok(0) if bench.machine.now() >= deadline => {
                let message = format!("{}, and nothing comes", waiting());
                self.violation(bench, "BENCH-STALLED", message);
                false
            }
            Ok(_) => true,
            Err(error) => {
                self.violation(bench, "DRIVER-ERROR", error.to_string());
                false
            }
        }
    }

    /// The driver has let the card go; what it left, when it could.
    pub(super) fn removed(
        &mut self,
        bench: &Bench,
        removed: Result<Removed, DriverError>,
    ) -> Option<Removed> {
        removed.map_err(|error| self.violation(bench, "DRIVER-ERROR", error.to_string())).ok()
    }

    /// The traffic has ended.
    pub(super) fn end(&mut self, bench: &Bench, after: Counters) {
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

    /// Something does not hold.
    pub(super) fn violation(&mut self, bench: &Bench, rule: &str, message: String) {
        self.violations.push(Violation {
            rule: rule.to_owned(),
            time: bench.machine.now(),
            message,
        });
    }

    /// The result, after the driver has gone.
    pub(super) fn result(
        mut self,
        mut bench: Bench,
        removed: Option<Removed>,
    ) -> Result<RunResult, RunError> {
        let now = bench.machine.now();
        let told = bench.trouble.take().map(|trouble| trouble.told(&mut bench.machine));
        bench.machine.tap.finish(now).map_err(RunError::internal)?;
        self.collect(&bench, removed);
        self.violations.extend(bench.at_pins.violations());
        let rtl_cycles = bench.at_pins.cycles();
        let record = Record::of(&mut bench).map(Box::new);
        let recording = bench.machine.tap.take_recording().map(Box::new);
        for left in bench.stop() {
            self.violation(&bench, "DMA-LEFT", left);
        }
        self.violations.sort();
        let Some(window) = self.ended else {
            return Err(RunError::internal("the traffic was never ended"));
        };
        let counts = window.counts;
        let completed = self.latency.count();
        self.facts.dma_time = window.after.dma.cpu_time - self.before.dma.cpu_time;
        Ok(RunResult {
            payload_bytes: self.payload_bytes,
            latency: self.latency.figures().into(),
            completed,
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
            ..RunResult::of_link(&counts, 0, window.traffic_time)
        })
    }

    fn collect(&mut self, bench: &Bench, removed: Option<Removed>) {
        let analyzed = bench.machine.tap.analyzer.violations().iter().filter(|_| bench.analyzed);
        for found in analyzed {
            self.violations.push(Violation {
                rule: found.rule.to_owned(),
                time: found.time,
                message: found.to_string(),
            });
        }
        for refused in bench.machine.root.refused().iter().take(TOLD) {
            let why = record::why(bench, refused);
            self.violations.push(Violation {
                rule: "DMA-REFUSED".to_owned(),
                time: refused.at,
                message: format!(
                    "{:?} of {} bytes at bus address {:#x} by {}: {why}",
                    refused.kind, refused.len_bytes, refused.address, refused.requester
                ),
            });
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

/// The result of a run that ended before it began.
pub(super) fn refused(mut bench: Bench, why: String) -> Result<RunResult, RunError> {
    let mut tally = Tally::begin(&mut bench, Counters::default());
    tally.end(&bench, Counters::default());
    tally.facts.refused = Some(why);
    tally.result(bench, None)
}

fn cpu_violation(finding: &CpuFinding) -> Violation {
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
