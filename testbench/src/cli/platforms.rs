//! `vtb run --platform all`, and `--explain`: every case of the platforms asked for, judged.

use std::io::Write;
use std::path::Path;

use super::args::RunOptions;
use super::outputs::Outputs;
use super::run::{Bar, all, inspect};
use super::stopwatch::Stopwatch;
use super::{Bench, HELD, Status, VIOLATED};
use crate::platform::judge::judge;
use crate::platform::{self, PLATFORMS, Place, Platform, cases_of, story};
use crate::report::{RunReport, RunResult, judge_all, platform_table, summary};
use crate::scenario::config::Device;
use crate::scenario::source::{InputError, Source};
use crate::scenario::{Overrides, Scenario};
use crate::verb::{Control, Failure};

/// What was found, with what a story is told of.
pub(super) struct Found {
    pub(super) report: RunReport,
    scenario: Scenario,
    results: Vec<RunResult>,
}

/// Runs every case of the platforms asked for, and shows table or stories.
pub(super) fn run(
    path: Option<&Path>,
    options: &RunOptions,
    bench: &Bench<'_>,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    let mut bar = Bar::default();
    let Found { report, scenario, results } =
        self::report(path, options, bench, Control::of(&mut bar))?;
    let text = if options.explain {
        stories(&scenario, &results)
    } else {
        format!("{}\n{}\n", platform_table(&report), summary(&report))
    };
    let wrong = report.violations.iter();
    let wrong: String =
        wrong.map(|violation| format!("{}: {}\n", violation.result, violation.message)).collect();
    super::say(out, &(text + &wrong))?;
    Ok(if report.all_held() { HELD } else { VIOLATED })
}

/// Runs every case of the platforms asked for, and judges it.
pub(super) fn report(
    path: Option<&Path>,
    options: &RunOptions,
    bench: &Bench<'_>,
    control: Control<'_>,
) -> Result<Found, Failure> {
    let stopwatch = Stopwatch::start();
    let platforms = wanted(&options.platform)?;
    let overrides = Overrides { platforms: Vec::new(), ..options.overrides()? };
    let mut scenario = match path {
        Some(path) => Scenario::load(Some(path), &overrides)?,
        None => Scenario::from_source(
            &Source::built_in("platforms scenario", platform::WORKLOAD),
            &overrides,
        )?,
    };
    let (runs, cases) = cases_of(&platforms, &scenario.runs);
    scenario.runs = runs;
    scenario.platforms = platforms;
    inspect(&scenario.runs, bench)?;
    let outputs = Outputs::prepare(options, &mut scenario.runs)?;

    let results = all(&scenario.runs, options.jobs, bench, control)?;
    let wall_s = if options.wall_clock { stopwatch.seconds() } else { 0.0 };
    let mut report = RunReport::new(&scenario, &results, wall_s);
    judge_all(&mut report, &scenario.runs, &cases, &results);
    outputs.deliver(&scenario.runs, &report.to_text().map_err(anyhow::Error::from)?)?;
    Ok(Found { report, scenario, results })
}

fn wanted(names: &[String]) -> Result<Vec<&'static Platform>, InputError> {
    if names.iter().any(|name| name == "all") {
        return Ok(PLATFORMS.iter().collect());
    }
    let find = |name: &String| {
        platform::find(name).map_err(|error| InputError::whole("--platform", error))
    };
    names.iter().map(find).collect()
}

/// The stories of the platforms: of each case the disk's, since one device's way is every device's.
fn stories(scenario: &Scenario, results: &[RunResult]) -> String {
    let mut out = String::new();
    for &platform in &scenario.platforms {
        if !matches!(platform.place, Place::Here(_)) {
            out += &format!("{}: {}\n\n", platform.id, platform.title);
            out += &format!("Nothing was run: {}.\n\n", platform.why_not_here());
        }
    }
    let mut runs = scenario.runs.iter().zip(results).peekable();
    let blk = scenario.runs.iter().any(|run| run.device == Device::Blk);
    while let Some((run, result)) = runs.next() {
        if run.device == Device::Blk || !blk {
            out += &story(run, result, &judge(result));
            out += if runs.peek().is_some() { "\n" } else { "" };
        }
    }
    out
}
