//! `vtb run`.

use std::io::Write;
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::RunOptions;
use super::outputs::Outputs;
use super::stopwatch::Stopwatch;
use super::{Bench, HELD, Status, VIOLATED, platforms};
use crate::cancel::Cancel;
use crate::card::CardChoice;
use crate::parallel::{Workers, run_all};
use crate::report::{self, RunError, RunReport, RunResult};
use crate::scenario::Scenario;
use crate::scenario::config::RunConfig;
use crate::verb::{Control, Failure, Progress};

/// Runs a scenario, prints what it showed, writes the files asked for.
pub(super) fn run(
    path: Option<&Path>,
    options: &RunOptions,
    bench: &Bench<'_>,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    if options.explain || is_table(path, options) {
        return platforms::run(path, options, bench, out);
    }
    let mut bar = Bar::default();
    let report = report(path, options, bench, Control::of(&mut bar))?;
    super::say(out, &report::text(&report))?;
    Ok(if report.all_held() { HELD } else { VIOLATED })
}

/// The table of every platform is asked for, not a scenario on every platform.
fn is_table(path: Option<&Path>, options: &RunOptions) -> bool {
    path.is_none() && options.platform.iter().any(|id| id == "all")
}

/// Runs a scenario, or the table of every platform, and writes the files asked for.
///
/// # Errors
/// [`Failure::Input`] when scenario, options or traffic cannot be used: nothing was run then, and no file
/// written.
pub fn report(
    path: Option<&Path>,
    options: &RunOptions,
    bench: &Bench<'_>,
    control: Control<'_>,
) -> Result<RunReport, Failure> {
    if is_table(path, options) {
        return platforms::report(path, options, bench, control).map(|found| found.report);
    }
    let stopwatch = Stopwatch::start();
    let card = CardChoice::parse(&options.card)?;
    let mut scenario = Scenario::load(path, &options.overrides()?)?;
    let left_out = card.adapt(&mut scenario.runs)?;
    scenario.runs.iter_mut().for_each(|run| run.under_test = card.clone());
    inspect(&scenario.runs, bench)?;
    let outputs = Outputs::prepare(options, &mut scenario.runs)?;

    let results = all(&scenario.runs, options.jobs, bench, control)?;
    let wall_s = if options.wall_clock { stopwatch.seconds() } else { 0.0 };
    let report = RunReport { left_out, ..RunReport::new(&scenario, &results, wall_s) };
    outputs.deliver(&scenario.runs, &report.to_text().map_err(anyhow::Error::from)?)?;
    Ok(report)
}

/// Runs all of them, watched.
pub(super) fn all(
    runs: &[RunConfig],
    jobs: Option<usize>,
    bench: &Bench<'_>,
    control: Control<'_>,
) -> Result<Vec<RunResult>, Failure> {
    let Control { cancel, progress } = control;
    progress.begin(runs.len());
    let workers = Workers { count: jobs.unwrap_or_else(cores), cancel: cancel.clone() };
    Ok(run_all(runs, workers, &ended_by(&cancel, bench), &mut |_| progress.done())?)
}

/// What runs a configuration until it ends by itself or by the flag.
pub(super) fn ended_by<'b>(
    cancel: &'b Cancel,
    bench: &Bench<'b>,
) -> impl Fn(&RunConfig) -> Result<RunResult, RunError> + Sync + 'b {
    let run = bench.run;
    move |config| run(&RunConfig { cancel: cancel.clone(), ..config.clone() })
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

/// A line on standard error, where that is a terminal; elsewhere nothing. It goes when all is done.
#[derive(Debug, Default)]
pub(super) struct Bar(Option<ProgressBar>);

impl Progress for Bar {
    fn begin(&mut self, parts: usize) {
        if let Some(bar) = &self.0 {
            bar.inc_length(parts as u64);
            return;
        }
        let bar = ProgressBar::new(parts as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} runs, {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        self.0 = Some(bar);
    }

    fn done(&mut self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
