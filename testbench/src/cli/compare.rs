//! `vtb compare`.

use std::io::Write;
use std::path::Path;

use super::args::CompareArgs;
use super::compare_waves::WaveFolder;
use super::outputs::Output;
use super::run::{Bar, cores, inspect};
use super::{Bench, HELD, Status, VIOLATED};
use crate::card::{self, CardChoice};
use crate::compare::{self, CompareReport};
use crate::parallel::{Workers, map_all};
use crate::preset::CardPreset;
use crate::scenario::Scenario;
use crate::scenario::config::RunConfig;
use crate::scenario::source::{InputError, Source};
use crate::verb::{Control, Failure};

/// Runs a scenario on two cards, tells where they part, writes the files asked for.
pub(super) fn compare(
    args: &CompareArgs,
    bench: &Bench<'_>,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    let mut bar = Bar::default();
    let report = report(args, bench, Control::of(&mut bar))?;
    super::say(out, &compare::text(&report))?;
    Ok(if report.all_held() { HELD } else { VIOLATED })
}

/// Runs a scenario on two cards, and writes the files asked for.
///
/// # Errors
/// [`Failure::Input`] when scenario, manifest, RTL, options or traffic cannot be used.
pub fn report(
    args: &CompareArgs,
    bench: &Bench<'_>,
    control: Control<'_>,
) -> Result<CompareReport, Failure> {
    let named = format!("rtl:{}", args.rtl.display());
    let rtl = CardChoice::parse(&named)?;
    let mut scenario = Scenario::load(args.scenario.as_deref(), &args.overrides())?;
    rtl.adapt(&mut scenario.runs)?;
    inspect(&scenario.runs, bench)?;
    let json = args.json.as_deref().map(|path| Output::prepare("--json", path)).transpose()?;

    let folder = args.waves.as_deref().map(WaveFolder::prepare).transpose()?;

    let Control { cancel, progress } = control;
    progress.begin(scenario.runs.len());
    let fitted = fitted(&rtl)?;
    let one = |run: &RunConfig| {
        let on = |run: &RunConfig, card: &CardChoice| {
            let (cancel, under_test) = (cancel.clone(), card.clone());
            compare::record(&RunConfig { cancel, under_test, ..run.clone() }, &card::under_test)
        };
        let model = on(&beside(run, fitted.as_ref()), &CardChoice::Model)?;
        Ok(compare::compare(run, &model, &on(run, &rtl)?))
    };
    let workers = Workers { count: args.jobs.unwrap_or_else(cores), cancel: cancel.clone() };
    let runs = map_all(&scenario.runs, workers, &RunConfig::name, &one, &mut |_| progress.done())?;

    let report = CompareReport::new(&scenario, &named, runs);
    if let Some(json) = json {
        let text = report.to_text().map_err(anyhow::Error::from)?;
        std::fs::write(json.path(), text).map_err(anyhow::Error::from)?;
        json.deliver()?;
    }
    if let Some(folder) = folder {
        folder.write(&report, &scenario.runs, &|run| beside(run, fitted.as_ref()), &rtl)?;
    }
    Ok(report)
}

/// The steps of the model that the RTL's manifest names.
fn fitted(rtl: &CardChoice) -> Result<Option<CardPreset>, InputError> {
    let CardChoice::Rtl(card) = rtl else { return Ok(None) };
    let manifest = card.manifest();
    let Some(name) = &manifest.model else { return Ok(None) };
    let named_by = Source::read(Path::new(&manifest.origin))?;
    CardPreset::load(name, &named_by, "model").map(Some)
}

/// The same run for the model that stands beside the RTL. What the scenario says of its card comes first.
fn beside(run: &RunConfig, fitted: Option<&CardPreset>) -> RunConfig {
    let mut run = run.clone();
    if let (None, Some(card)) = (&run.timing.card, fitted) {
        run.timing = run.timing.with_card(card.clone());
    }
    run
}
