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

mod messages;
mod outcome;
pub mod station;

pub use self::messages::{MessageOps, Misdirect};
pub use self::station::{Plugged, Station, StationConfig};

use host_driver::{BlkDriver, NetDriver, ProbeError};

use self::outcome::Tally;
use super::blk::disk;
use super::commands::Commands;
use super::net::options;
use super::packets::Packets;
use super::wiring::driver_config;
use crate::report::{RunError, RunResult};
use crate::scenario::config::{BlkWorkload, Disk, NetWorkload, RunConfig, Workload};

/// RAM that a q35 has in one piece from address 0, in bytes.
const MOST_RAM: u64 = 2 << 30;

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
        Workload::Blk(workload) => blk(config, workload),
        Workload::Net(workload) => net(config, workload),
    }
}

fn blk(config: &RunConfig, workload: &BlkWorkload) -> Result<RunResult, RunError> {
    let commands = Commands::open(config.seed, workload)?;
    let (_, scoreboard) = disk(config.seed, &workload.disk)?;
    let device = match &workload.disk {
        &Disk::Memory { bytes } => Plugged::Blk { bytes },
        Disk::Image { path, .. } => Plugged::Image { path: path.clone() },
    };
    let mut station = Station::start(&station_config(config, device))?;
    let probed = station
        .probe_context(driver_config(config))
        .and_then(|context| BlkDriver::probe(&mut station.host, context));
    let driver = probed.map_err(|error| not_driven(&mut station, &error))?;
    let mut tally = Tally::begin(station, config, driver.counters());
    (tally.facts.ops, tally.facts.features) = (driver.ops_name(), driver.features());
    super::blk::traffic(tally, driver, config, commands, scoreboard)
}

fn net(config: &RunConfig, workload: &NetWorkload) -> Result<RunResult, RunError> {
    let packets = Packets::open(config.seed, workload)?;
    let device = Plugged::Net { mtu: packets.mtu()? };
    let mut station = Station::start(&station_config(config, device))?;
    let probed = station
        .probe_context(driver_config(config))
        .and_then(|context| NetDriver::probe(&mut station.host, context, options(config)));
    let driver = probed.map_err(|error| not_driven(&mut station, &error))?;
    let mut tally = Tally::begin(station, config, driver.counters());
    (tally.facts.ops, tally.facts.features) = (driver.ops_name(), driver.features());
    super::net::traffic(tally, driver, config, packets)
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
