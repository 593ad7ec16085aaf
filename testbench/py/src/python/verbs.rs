//! The verbs: a report comes back as the JSON that the command writes.

use std::path::PathBuf;

use pyo3::prelude::*;
use serde::de::DeserializeOwned;
use testbench::cli::Bench;
use testbench::compare::CompareReport;
use testbench::report::{self, RunReport};
use testbench::scenario::config::Device;
use testbench::study::{self as studies, Shard, StudyReport};
use testbench::verb::{self, CompareArgs, Failure, LspciArgs, RunOptions, SoakArgs, StudyArgs};

use super::raise;
use super::watched::watched;

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::Internal(error.to_string())
}

/// Runs a scenario; the report's JSON.
#[pyfunction]
#[pyo3(signature = (
    scenario=None, *, platform=Vec::new(), card="model".to_owned(), seed=None, json=None, waves=None,
    trace=None, pcap=None, blk_log=None, only=None, set=Vec::new(), jobs=None, wall_clock=false,
    progress=None
))]
#[expect(clippy::too_many_arguments, reason = "the options of the command, by name")]
pub(crate) fn run(
    py: Python<'_>,
    scenario: Option<PathBuf>,
    platform: Vec<String>,
    card: String,
    seed: Option<u64>,
    json: Option<PathBuf>,
    waves: Option<PathBuf>,
    trace: Option<PathBuf>,
    pcap: Option<PathBuf>,
    blk_log: Option<PathBuf>,
    only: Option<String>,
    set: Vec<String>,
    jobs: Option<usize>,
    wall_clock: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let options = RunOptions {
        platform,
        card,
        seed,
        json,
        waves,
        trace,
        pcap,
        blk_log,
        only,
        set,
        jobs,
        wall_clock,
        ..RunOptions::default()
    };
    watched(py, progress, |control| {
        let report = verb::run(scenario.as_deref(), &options, &Bench::SIMULATED, control)?;
        report.to_text().map_err(internal)
    })
}

/// Runs a scenario on the model and on RTL; the report's JSON.
#[pyfunction]
#[pyo3(signature = (
    scenario=None, *, rtl, platform=Vec::new(), seed=None, json=None, only=None, set=Vec::new(), jobs=None,
    progress=None
))]
#[expect(clippy::too_many_arguments, reason = "the options of the command, by name")]
pub(crate) fn compare(
    py: Python<'_>,
    scenario: Option<PathBuf>,
    rtl: PathBuf,
    platform: Vec<String>,
    seed: Option<u64>,
    json: Option<PathBuf>,
    only: Option<String>,
    set: Vec<String>,
    jobs: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let args = CompareArgs { scenario, rtl, platform, seed, json, only, set, jobs, waves: None };
    watched(py, progress, |control| {
        let report = verb::compare(&args, &Bench::SIMULATED, control)?;
        report.to_text().map_err(internal)
    })
}

/// What `vtb compare` prints of a report.
#[pyfunction]
pub(crate) fn compare_text(report: &str) -> PyResult<String> {
    read::<CompareReport>(report).map(|report| testbench::compare::text(&report))
}

/// Whether all of a comparison held.
#[pyfunction]
pub(crate) fn compare_held(report: &str) -> PyResult<bool> {
    read::<CompareReport>(report).map(|report| report.all_held())
}

/// Runs a study, or merges its parts; the report's JSON.
#[pyfunction]
#[pyo3(signature = (
    study=None, *, shard=None, merge=Vec::new(), json=None, html=None, jobs=None, progress=None
))]
#[expect(clippy::too_many_arguments, reason = "the options of the command, by name")]
pub(crate) fn study(
    py: Python<'_>,
    study: Option<PathBuf>,
    shard: Option<&str>,
    merge: Vec<PathBuf>,
    json: Option<PathBuf>,
    html: Option<PathBuf>,
    jobs: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let shard = shard.map(str::parse::<Shard>).transpose();
    let shard = shard.map_err(|why| raise(&Failure::Input(format!("--shard: {why}"))))?;
    let card = "model".to_owned();
    let args = StudyArgs { study, card, shard, merge, json, html, jobs };
    watched(py, progress, |control| {
        let report = verb::study(&args, &Bench::SIMULATED, control)?;
        report.to_text().map_err(internal)
    })
}

/// Runs what is drawn by lot, with faults; how many runs came to which verdict, and what may not be.
#[pyfunction]
#[pyo3(signature = (runs=1000, *, seed=1, jobs=None, progress=None))]
pub(crate) fn soak(
    py: Python<'_>,
    runs: u64,
    seed: u64,
    jobs: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let args = SoakArgs { runs, seed, show: false, jobs };
    watched(py, progress, |control| {
        let tally = verb::soak(&args, &Bench::SIMULATED, control)?;
        let wrong = tally.wrong.iter();
        let wrong: Vec<_> =
            wrong.map(|(seed, why)| serde_json::json!({ "seed": seed, "why": why })).collect();
        Ok(serde_json::json!({ "verdicts": tally.verdicts, "wrong": wrong }).to_string())
    })
}

/// The scenario that `soak` runs for a seed, in TOML.
#[pyfunction]
pub(crate) fn soak_scenario(seed: u64) -> String {
    verb::soak_scenario(seed)
}

/// The card's and the root port's configuration space, as `lspci -F` reads it.
#[pyfunction]
#[pyo3(signature = (*, platform="x86-noiommu".to_owned(), card="model".to_owned(), device="blk"))]
pub(crate) fn lspci(
    py: Python<'_>,
    platform: String,
    card: String,
    device: &str,
) -> PyResult<String> {
    let device = match device {
        "blk" => Device::Blk,
        "net" => Device::Net,
        other => {
            let why = format!("--device: unknown device `{other}`; there are: blk, net");
            return Err(raise(&Failure::Input(why)));
        }
    };
    let args = LspciArgs { platform, card, device };
    watched(py, None, |_| verb::lspci(&args))
}

/// The JSON schema of a report.
#[pyfunction]
pub(crate) fn schema(of: &str) -> PyResult<String> {
    verb::schema(of).map_err(|failure| raise(&failure))
}

/// What `vtb run` prints of a report.
#[pyfunction]
pub(crate) fn run_text(report: &str) -> PyResult<String> {
    read::<RunReport>(report).map(|report| report::text(&report))
}

/// What `vtb study` prints of a report.
#[pyfunction]
pub(crate) fn study_text(report: &str) -> PyResult<String> {
    read::<StudyReport>(report).map(|report| studies::table(&report))
}

fn read<T: DeserializeOwned>(report: &str) -> PyResult<T> {
    let read = serde_json::from_str(report);
    read.map_err(|error| raise(&Failure::Input(format!("this is no report: {error}"))))
}
