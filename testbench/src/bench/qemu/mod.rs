//! A scenario on a machine that nobody here wrote: QEMU's chipset, its VT-d, its virtio device, driven by
//! this project's driver over the qtest protocol.
//!
//! ```text
//!   RunConfig ─▶ Station (QEMU, firmware's work, VT-d up) ─▶ probe ─▶ net / blk traffic ─▶ RunResult
//! ```
//!
//! What the link would show (round trips, bytes, latencies) cannot be seen from here, and is left at
//! nothing: `tlps` 0 says so. Requests, descriptors, data, features, faults and what is left at the end are
//! the same as anywhere.

mod blk;
mod messages;
mod net;
pub mod station;

pub use self::messages::{MessageOps, Misdirect};
pub use self::station::{Plugged, Station, StationConfig};

use host_driver::device::Removed;
use host_driver::{Counters, DriverError, ProbeError};
use pcie_sim::time::{Instant, Span};

use crate::report::{DmaApiCounts, Facts, RunError, RunResult, Violation};
use crate::scenario::config::{RunConfig, Workload};

/// How long QEMU may go without any progress, in the driver's time: some seconds.
const STALL: Span = Span::from_ms(5_000);
/// RAM that a q35 has in one piece from address 0, in bytes.
const MOST_RAM: u64 = 2 << 30;
/// How many findings of one kind are told one by one.
const TOLD: usize = 20;

/// Runs one configuration on QEMU.
///
/// # Errors
/// [`RunError::Input`] when there is no QEMU, or the scenario wants what only a simulated machine has.
pub(super) fn run(config: &RunConfig) -> Result<RunResult, RunError> {
    let id = config.platform.id;
    let simulated = [
        (config.trace.is_some(), "--trace"),
        (config.waves.is_some(), "--waves"),
        (!config.faults.is_empty(), "[[fault]]"),
        (config.host.ram_file.is_some(), "host.ram_file"),
    ];
    if let Some((_, what)) = simulated.iter().find(|(wanted, _)| *wanted) {
        let why = "its link is inside another program";
        return Err(RunError::input(format!("platform {id} has no {what}: {why}")));
    }
    match &config.workload {
        Workload::Blk(workload) => blk::run(config, workload),
        Workload::Net(workload) => net::run(config, workload),
    }
}

/// What a run on QEMU adds up.
#[derive(Default)]
struct Tally {
    completed: u64,
    payload_bytes: u64,
    before: Counters,
    violations: Vec<Violation>,
    facts: Facts,
}

impl Tally {
    fn violation(&mut self, rule: &str, message: String) {
        // No time: the driver's depends on how often it had to ask.
        self.violations.push(Violation { rule: rule.to_owned(), time: Instant::ZERO, message });
    }

    /// What the driver has taken after waiting until `deadline`; `false` when nothing comes any more.
    fn goes_on(
        &mut self,
        station: &Station,
        deadline: Instant,
        taken: Result<usize, DriverError>,
        waiting: impl FnOnce() -> String,
    ) -> bool {
        use pcie_sim::host::Bus;
        match taken {
            Ok(0) if station.host.now() >= deadline => {
                let message = format!("{}, and nothing comes", waiting());
                self.violation("BENCH-STALLED", message);
                false
            }
            Ok(_) => true,
            Err(error) => {
                self.violation("DRIVER-ERROR", error.to_string());
                false
            }
        }
    }

    /// The result, after the driver has gone.
    fn result(
        mut self,
        mut station: Station,
        after: Counters,
        removed: Result<Removed, DriverError>,
    ) -> Result<RunResult, RunError> {
        match removed {
            Ok(removed) => {
                for finding in removed.findings.iter().take(TOLD) {
                    self.violation("DMA-API", finding.to_string());
                }
            }
            Err(error) => self.violation("DRIVER-ERROR", error.to_string()),
        }
        for fault in station.faults().into_iter().take(TOLD) {
            let kind = if fault.read { "Read" } else { "Write" };
            let why = pcie_sim::spec::vtd::fault::name(fault.reason);
            let message = format!(
                "{kind} in the page at bus address {} by {}: {why}",
                fault.address, fault.requester
            );
            self.violation("DMA-REFUSED", message);
        }
        for left in station.stop()? {
            self.violation("DMA-LEFT", left);
        }
        self.violations.sort();
        Ok(RunResult {
            requests: after.completed - self.before.completed,
            completed: self.completed,
            descriptors: after.descriptors - self.before.descriptors,
            payload_bytes: self.payload_bytes,
            dma_api: DmaApiCounts::between(&self.before, &after),
            violations: self.violations,
            facts: self.facts,
            ..RunResult::default()
        })
    }
}

fn station_config(config: &RunConfig, device: Plugged) -> StationConfig {
    StationConfig {
        // A q35 keeps what is more above 4 GiB, where the driver does not look.
        ram_bytes: config.host.ram_bytes.min(MOST_RAM),
        sizes: (config.slot.mps_bytes, config.slot.mrrs_bytes),
        ..StationConfig::new(device)
    }
}

/// Why a driver did not take QEMU's device: what is wrong with QEMU itself comes first.
fn not_driven(station: &mut Station, error: &ProbeError) -> RunError {
    if let Some(failure) = station.host.failure() {
        return RunError::internal(failure.clone());
    }
    if super::shortage::at_probe(error) {
        return RunError::input(format!("host.ram: too small for the driver: {error}"));
    }
    RunError::internal(format!("the driver does not take QEMU's device: {error}"))
}
