//! `vtb run`.

use std::io::Write;
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::RunOptions;
use super::outputs::Outputs;
use super::stopwatch::Stopwatch;
use super::{Bench, Failure, HELD, Status, VIOLATED, platforms};
use crate::card::CardChoice;
use crate::parallel::run_all;
use crate::report::{self, RunReport};
use crate::scenario::Scenario;
use crate::scenario::config::RunConfig;

/// Runs a scenario, prints what it showed, writes the files asked for.
pub(super) fn run(
    path: Option<&Path>,
    options: &RunOptions,
    bench: &Bench<'_>,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    if options.explain || path.is_none() && options.platform.iter().any(|id| id == "all") {
        return platforms::run(path, options, bench, out);
    }
    let stopwatch = Stopwatch::start();
    let card = CardChoice::parse(&options.card)?;
    let mut scenario = Scenario::load(path, &options.overrides()?)?;
    let left_out = card.adapt(&mut scenario.runs)?;
    scenario.runs.iter_mut().for_each(|run| run.under_test = card.clone());
    inspect(&scenario.runs, bench)?;
    let outputs = Outputs::prepare(options, &mut scenario.runs)?;

    let progress = progress(scenario.runs.len());
    let workers = options.jobs.unwrap_or_else(cores);
    let results = run_all(&scenario.runs, workers, bench.run, &mut |_| progress.inc(1));
    progress.finish_and_clear();

    let wall_s = if options.wall_clock { stopwatch.seconds() } else { 0.0 };
    let report = RunReport::new(&scenario, &results?, wall_s);
    outputs.deliver(&scenario.runs, &report.to_text().map_err(anyhow::Error::from)?)?;
    super::say(out, &report::text(&report))?;
    if left_out > 0 {
        super::say(
            out,
            &format!("{left_out} runs were left out: the card is not made for them.\n"),
        )?;
    }
    Ok(if report.all_held() { HELD } else { VIOLATED })
}

/// Looks at each kind of traffic once, before any of it runs.
pub(super) fn inspect(runs: &[RunConfig], bench: &Bench<'_>) -> Result<(), Failure> {
    let mut last = None;
    for run in runs {
        if last != Some(&run.workload) {
            (bench.inspect)(&run.workload)?;
            last = Some(&run.workload);
        }
    }
    Ok(())
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// A line on standard error, where that is a terminal; elsewhere nothing.
pub(super) fn progress(runs: usize) -> ProgressBar {
    let bar = ProgressBar::new(runs as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} runs, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
