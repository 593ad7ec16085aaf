//! `vtb compare`.

use std::io::Write;

use super::args::CompareArgs;
use super::outputs::Output;
use super::run::{cores, inspect, progress};
use super::{Bench, Failure, HELD, Status, VIOLATED};
use crate::card::CardChoice;
use crate::compare::{self, CompareReport};
use crate::parallel::map_all;
use crate::scenario::Scenario;
use crate::scenario::config::RunConfig;

/// Runs a scenario on two cards, and tells where they part.
pub(super) fn compare(
    args: &CompareArgs,
    bench: &Bench<'_>,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    let named = format!("rtl:{}", args.rtl.display());
    let rtl = CardChoice::parse(&named)?;
    let mut scenario = Scenario::load(args.scenario.as_deref(), &args.overrides())?;
    rtl.adapt(&mut scenario.runs)?;
    inspect(&scenario.runs, bench)?;
    let json = args.json.as_deref().map(|path| Output::prepare("--json", path)).transpose()?;

    let progress = progress(scenario.runs.len());
    let one = |run: &RunConfig| {
        let on = |card: &CardChoice| compare::record(run, &|run, config| card.plug(run, config));
        Ok(compare::compare(run, &on(&CardChoice::Model)?, &on(&rtl)?))
    };
    let workers = args.jobs.unwrap_or_else(cores);
    let runs = map_all(&scenario.runs, workers, &RunConfig::name, &one, &mut |_| progress.inc(1));
    progress.finish_and_clear();

    let report = CompareReport::new(&scenario, &named, runs?);
    if let Some(json) = json {
        let text = report.to_text().map_err(anyhow::Error::from)?;
        std::fs::write(json.path(), text).map_err(anyhow::Error::from)?;
        json.deliver()?;
    }
    super::say(out, &compare::text(&report))?;
    Ok(if report.all_held() { HELD } else { VIOLATED })
}
