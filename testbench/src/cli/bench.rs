//! `vtb bench`: how fast the bench simulates, and how much memory that takes.
//!
//! Then what the layers cost (`bench_layers`), the DMA back ends (`bench_dma`), and how long the table of
//! platforms takes.
//!
//! Each measurement is a process of its own, so that its peak memory is its own. The work is one run on
//! one thread: packets of 64 bytes, split rings in host memory, every TLP simulated and looked at.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use rtl_model::verilated::toolchain::{Places, Toolchain};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::args::BenchArgs;
use super::bench_dma::{self, BACK_ENDS, DmaSample};
use super::bench_layers::{self, Layers, LayersSample};
use super::bench_rtl;
use super::outputs::Output;
use super::stopwatch::Stopwatch;
use super::{Bench, Failure, HELD, Status};
use crate::scenario::source::Source;
use crate::scenario::{Overrides, Scenario};

pub(super) const SPEED: &str = include_str!("../../scenarios/speed.toml");
/// The card that reads ahead: its descriptors of one read, and its requests of one used index.
const AHEAD: u16 = 8;
/// Enough to warm up, and to learn how many descriptors a packet takes.
const PROBE_PACKETS: u64 = 2_000;

/// The figures as a file: schema `vtb-bench/1`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct BenchReport {
    /// `vtb-bench/1`.
    schema: String,
    /// Processor and number of cores.
    machine: String,
    /// What was measured.
    figures: Vec<Figure>,
}

/// One figure: the median of its runs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Figure {
    /// What, and for how many descriptors: `descriptors_per_s/100000`, for a card that reads ahead
    /// `descriptors_per_s_prefetch8_batch8/100000`; or of which layer: `ns_per_tlp_analyzer`; or of which
    /// DMA back end: `dma_iommu_cpu_ns_per_request`. Stays the same between versions.
    name: String,
    /// The median.
    value: f64,
    /// Its unit.
    unit: String,
    /// How often it was measured.
    runs: usize,
    /// The smallest.
    min: f64,
    /// The largest.
    max: f64,
}

/// What one process measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sample {
    packets: u64,
    descriptors: u64,
    tlps: u64,
    seconds: f64,
    peak_bytes: u64,
}

/// Measures, prints one table, writes the figures.
pub(super) fn bench(
    args: &BenchArgs,
    bench: &Bench<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Status, Failure> {
    if let Some(packets) = args.child {
        let line = serde_json::to_string(&measure(packets, args.ahead, bench)?)
            .map_err(anyhow::Error::from)?;
        super::say(out, &(line + "\n"))?;
        return Ok(HELD);
    }
    if let Some(layers) = &args.layers_child {
        let sample = bench_layers::measure(layers)?;
        let line = serde_json::to_string(&sample).map_err(anyhow::Error::from)?;
        super::say(out, &(line + "\n"))?;
        return Ok(HELD);
    }
    if let Some(platform) = &args.dma_child {
        let sample = bench_dma::measure(platform, bench)?;
        let line = serde_json::to_string(&sample).map_err(anyhow::Error::from)?;
        super::say(out, &(line + "\n"))?;
        return Ok(HELD);
    }
    let json = args.json.as_deref().map(|path| Output::prepare("--json", path)).transpose()?;
    let mut report = report(args, err)?;
    if let Some(manifest) = &args.rtl {
        report.figures.extend(rtl(manifest, args.runs.max(1), bench, err)?);
    }
    if let Some(json) = json {
        let text = serde_json::to_string_pretty(&report).map_err(anyhow::Error::from)?;
        std::fs::write(json.path(), text + "\n").map_err(anyhow::Error::from)?;
        json.deliver()?;
    }
    super::say(out, &table(&report))?;
    Ok(HELD)
}

/// One measurement, in this process.
fn measure(packets: u64, ahead: u16, bench: &Bench<'_>) -> Result<Sample, Failure> {
    let set = vec![
        format!("net.synthetic.packets={packets}"),
        format!("card.descriptor_prefetch={ahead}"),
        format!("card.completion_batch={ahead}"),
    ];
    let overrides = Overrides { set, ..Overrides::default() };
    let source = Source::built_in("speed scenario", SPEED);
    let scenario = Scenario::from_source(&source, &overrides)?;
    let stopwatch = Stopwatch::start();
    let result = (bench.run)(&scenario.runs[0])?;
    let seconds = stopwatch.seconds();
    if let Some(violation) = result.violations.first() {
        return Err(Failure::Internal(format!("{}: {}", violation.rule, violation.message)));
    }
    Ok(Sample {
        packets,
        descriptors: result.descriptors,
        tlps: result.tlps,
        seconds,
        peak_bytes: peak_bytes().unwrap_or(0),
    })
}

/// The most memory this process ever had resident; Linux tells.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn report(args: &BenchArgs, err: &mut dyn Write) -> anyhow::Result<BenchReport> {
    let program = std::env::current_exe().context("where this program is")?;
    let runs = args.runs.max(1);
    let mut figures = speed(&program, args, 1, runs, err)?;
    figures.extend(speed(&program, args, AHEAD, runs, err)?);
    figures.extend(layers(&program, runs, err)?);
    figures.extend(back_ends(&program, runs, err)?);
    figures.push(platform_table(&program, runs, err)?);
    Ok(BenchReport { schema: "vtb-bench/1".to_owned(), machine: machine(), figures })
}

/// How fast it simulates, and how much memory that takes.
fn speed(
    program: &Path,
    args: &BenchArgs,
    ahead: u16,
    runs: usize,
    err: &mut dyn Write,
) -> anyhow::Result<Vec<Figure>> {
    let once = |packets: u64| {
        let (packets, ahead) = (packets.to_string(), ahead.to_string());
        child::<Sample>(program, &["--child", &packets, "--ahead", &ahead])
    };
    let probe = once(PROBE_PACKETS)?;
    if probe.descriptors == 0 {
        bail!("the probe moved no descriptor");
    }
    let mut figures = Vec::new();
    for &descriptors in &args.descriptors {
        let packets = (descriptors * probe.packets / probe.descriptors).max(1);
        // One more than counts: the first warms the file cache and the processor's clock.
        let mut samples = Vec::new();
        for run in 0..=runs {
            let _ = writeln!(err, "{descriptors} descriptors, {ahead} ahead, run {run} of {runs}");
            samples.push(once(packets)?);
        }
        figures.extend(summary(descriptors, ahead, &samples[1..]));
    }
    Ok(figures)
}

/// How many TLPs a second are simulated, and what each layer costs: what is saved by leaving it out.
fn layers(program: &Path, runs: usize, err: &mut dyn Write) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut costs = Vec::new();
    for layers in Layers::EVERY {
        let name = layers.name();
        let _ = writeln!(err, "TLPs, {name}, {runs} runs");
        let measure = |_| child::<LayersSample>(program, &["--layers-child", name]);
        let samples = (0..=runs).map(measure).collect::<Result<Vec<_>, _>>()?;
        let speed = samples[1..].iter().map(LayersSample::tlps_per_s).collect();
        figures.push(figure(format!("tlps_per_s_{name}"), "1/s", speed));
        let cost = samples[1..].iter().map(LayersSample::ns_per_tlp).collect();
        costs.push(figure(format!("ns_per_tlp_{name}"), "ns", cost));
    }
    let share = |name: &str, with: &Figure, without: &Figure| Figure {
        name: format!("ns_per_tlp_{name}"),
        value: with.value - without.value,
        unit: "ns".to_owned(),
        runs,
        min: with.min - without.max,
        max: with.max - without.min,
    };
    if let [all, no_analyzer, no_data_link, iommu] = &costs[..] {
        figures.push(share("analyzer", all, no_analyzer));
        figures.push(share("data_link", all, no_data_link));
        figures.push(share("iommu", iommu, all));
    }
    figures.extend(costs.into_iter().next());
    Ok(figures)
}

/// What each DMA back end costs the driver's CPU, and how fast it is simulated.
fn back_ends(program: &Path, runs: usize, err: &mut dyn Write) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, platform) in BACK_ENDS {
        let _ = writeln!(err, "DMA back end {name}, {runs} runs");
        let measure = |_| child::<DmaSample>(program, &["--dma-child", platform]);
        let samples = (0..runs).map(measure).collect::<Result<Vec<_>, _>>()?;
        let dma = samples.iter().map(DmaSample::dma_ns_per_request).collect();
        figures.push(figure(format!("dma_{name}_cpu_ns_per_request"), "ns", dma));
        let driver = samples.iter().map(DmaSample::driver_ns_per_request).collect();
        figures.push(figure(format!("dma_{name}_driver_cpu_ns_per_request"), "ns", driver));
        let speed = samples.iter().map(DmaSample::requests_per_s).collect();
        figures.push(figure(format!("dma_{name}_requests_per_s"), "1/s", speed));
    }
    Ok(figures)
}

/// How fast RTL is built and simulated. Without the tools for it a line says so, and there are no such figures.
fn rtl(
    manifest: &Path,
    runs: usize,
    bench: &Bench<'_>,
    err: &mut dyn Write,
) -> Result<Vec<Figure>, Failure> {
    if let Err(error) = Toolchain::find(&Places::of_process()) {
        let _ = writeln!(err, "no figures of RTL: {error}");
        return Ok(Vec::new());
    }
    let mut samples = Vec::new();
    for run in 1..=runs {
        let _ = writeln!(err, "RTL, run {run} of {runs}");
        samples.push(bench_rtl::measure(manifest, bench)?);
    }
    let first = samples[0].clone();
    let of = |at: usize| samples.iter().map(|sample| sample[at].2).collect();
    let named =
        |(at, (name, unit, _)): (usize, (&str, &str, f64))| figure(name.to_owned(), unit, of(at));
    Ok(first.into_iter().enumerate().map(named).collect())
}

/// How long `vtb run --platform all` takes, on all cores.
fn platform_table(program: &Path, runs: usize, err: &mut dyn Write) -> anyhow::Result<Figure> {
    let mut seconds = Vec::new();
    for run in 1..=runs {
        let _ = writeln!(err, "table of platforms, run {run} of {runs}");
        let stopwatch = Stopwatch::start();
        let output = Command::new(program)
            .args(["run", "--platform", "all"])
            .output()
            .context("starting the table of platforms")?;
        seconds.push(stopwatch.seconds());
        if !output.status.success() {
            bail!("the table of platforms differs: {}", String::from_utf8_lossy(&output.stdout));
        }
    }
    Ok(figure("platform_table_wall_s".to_owned(), "s", seconds))
}

/// Measures in a process of its own.
fn child<S: DeserializeOwned>(program: &Path, args: &[&str]) -> anyhow::Result<S> {
    let output =
        Command::new(program).arg("bench").args(args).output().context("starting a measurement")?;
    if !output.status.success() {
        bail!("a measurement failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("reading a measurement")
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    format!("{name}, {} cores", super::run::cores())
}

fn summary(descriptors: u64, ahead: u16, samples: &[Sample]) -> Vec<Figure> {
    let card = if ahead == 1 { String::new() } else { format!("_prefetch{ahead}_batch{ahead}") };
    let figure = |name: &str, unit: &str, of: &dyn Fn(&Sample) -> f64| {
        figure(format!("{name}{card}/{descriptors}"), unit, samples.iter().map(of).collect())
    };
    vec![
        figure("descriptors_per_s", "1/s", &|s| s.descriptors as f64 / s.seconds),
        figure("tlps_per_s", "1/s", &|s| s.tlps as f64 / s.seconds),
        figure("time_per_descriptor", "ns", &|s| s.seconds * 1e9 / s.descriptors as f64),
        figure("peak_memory", "MiB", &|s| s.peak_bytes as f64 / f64::from(1 << 20)),
    ]
}

fn figure(name: String, unit: &str, mut values: Vec<f64>) -> Figure {
    values.sort_by(f64::total_cmp);
    Figure {
        name,
        value: median(&values),
        unit: unit.to_owned(),
        runs: values.len(),
        min: values.first().copied().unwrap_or(0.0),
        max: values.last().copied().unwrap_or(0.0),
    }
}

/// Of sorted values.
fn median(values: &[f64]) -> f64 {
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn table(report: &BenchReport) -> String {
    let mut out = format!("{}, one core used\n", report.machine);
    out +=
        &format!("{:<48} {:>14} {:>14} {:>14} {:>5}\n", "figure", "median", "min", "max", "unit");
    for Figure { name, value, unit, min, max, .. } in &report.figures {
        out += &format!("{name:<48} {value:>14.1} {min:>14.1} {max:>14.1} {unit:>5}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_of_runs_is_between_the_middle_two() {
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_summary_names_each_figure_with_its_number_of_descriptors() {
        let sample = |seconds| Sample {
            packets: 5,
            descriptors: 10,
            tlps: 100,
            seconds,
            peak_bytes: 3 << 20,
        };
        let report = BenchReport {
            schema: "vtb-bench/1".to_owned(),
            machine: "a machine".to_owned(),
            figures: summary(10, 1, &[sample(1.0), sample(2.0), sample(4.0)]),
        };
        insta::assert_snapshot!(table(&report));
    }

    #[test]
    fn the_speed_scenario_is_one_run() {
        let source = Source::built_in("speed scenario", SPEED);
        let scenario = Scenario::from_source(&source, &Overrides::default()).unwrap();
        assert_eq!(scenario.runs.len(), 1);
    }

    #[test]
    fn this_process_has_a_peak() {
        assert!(peak_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
