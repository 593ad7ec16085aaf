//! What a run on QEMU ends with: the driver's counts, the bench's comparisons, VT-d's fault records.

use host_driver::device::Removed;
use host_driver::{Counters, DriverError};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::qtest::QtestHost;
use pcie_sim::time::{Instant, Span};

use super::station::Station;
use crate::bench::stand::Stand;
use crate::cancel::Cancel;
use crate::report::{DmaApiCounts, Facts, RunError, RunResult, Violation};
use crate::scenario::config::RunConfig;

/// How many findings of one kind are told one by one.
const TOLD: usize = 20;

/// QEMU under the traffic, and what the traffic adds up to.
pub(super) struct Tally {
    station: Station,
    cancel: Cancel,
    before: Counters,
    after: Counters,
    completed: u64,
    payload_bytes: u64,
    violations: Vec<Violation>,
    /// What the driver said of itself.
    pub(super) facts: Facts,
}

impl Tally {
    /// The traffic starts now.
    pub(super) fn begin(station: Station, config: &RunConfig, before: Counters) -> Self {
        Self {
            station,
            cancel: config.cancel.clone(),
            before,
            after: before,
            completed: 0,
            payload_bytes: 0,
            violations: Vec::new(),
            facts: Facts::default(),
        }
    }
}

impl Stand for Tally {
    type Host = QtestHost;

    /// Some seconds.
    fn stall(&self) -> Span {
        Span::from_ms(5_000)
    }

    fn host(&mut self) -> &mut Self::Host {
        &mut self.station.host
    }

    fn buffers(&mut self, bytes: u64) -> Result<PhysAddr, RunError> {
        self.station.buffers(bytes)
    }

    fn check(&self) -> Result<(), RunError> {
        self.cancel.check()
    }

    /// Not told, for the reason of [`found`].
    fn worked(&mut self, _: Instant, _: &'static str) {}

    fn done(&mut self, _: Span) {
        self.completed += 1;
    }

    fn carried(&mut self, bytes: u64) {
        self.payload_bytes += bytes;
    }

    fn violation(&mut self, rule: &str, message: String) {
        self.violations.push(found(rule, message));
    }

    fn end(&mut self, after: Counters) {
        self.after = after;
    }

    fn result(mut self, removed: Result<Removed, DriverError>) -> Result<RunResult, RunError> {
        match removed {
            Ok(removed) => {
                for finding in removed.findings.iter().take(TOLD) {
                    self.violation("DMA-API", finding.to_string());
                }
            }
            Err(error) => self.violation("DRIVER-ERROR", error.to_string()),
        }
        for fault in self.station.faults().into_iter().take(TOLD) {
            let kind = if fault.read { "Read" } else { "Write" };
            let why = pcie_sim::spec::vtd::fault::name(fault.reason);
            let message = format!(
                "{kind} in the page at bus address {} by {}: {why}",
                fault.address, fault.requester
            );
            self.violation("DMA-REFUSED", message);
        }
        let Self { before, after, mut violations, .. } = self;
        violations.extend(self.station.stop()?.into_iter().map(|left| found("DMA-LEFT", left)));
        violations.sort();
        Ok(RunResult {
            requests: after.completed - before.completed,
            completed: self.completed,
            descriptors: after.descriptors - before.descriptors,
            payload_bytes: self.payload_bytes,
            dma_api: DmaApiCounts::between(&before, &after),
            violations,
            facts: self.facts,
            ..RunResult::default()
        })
    }
}

/// A finding, without a time: the driver's depends on how often it had to ask.
fn found(rule: &str, message: String) -> Violation {
    Violation { rule: rule.to_owned(), time: Instant::ZERO, message }
}
