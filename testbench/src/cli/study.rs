//! `vtb study`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::args::StudyArgs;
use super::outputs::Output;
use super::run::{Bar, cores, ended_by};
use super::{Bench, HELD, Status, VIOLATED};
use crate::card::CardChoice;
use crate::parallel::Workers;
use crate::scenario::source::InputError;
use crate::study::{self, Shard, Study, StudyReport};
use crate::verb::{Control, Failure};

/// Runs a study or merges its parts, prints the table, writes the files asked for.
pub(super) fn study(
    args: &StudyArgs,
    bench: &Bench<'_>,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    let mut bar = Bar::default();
    let report = report(args, bench, Control::of(&mut bar))?;
    super::say(out, &study::table(&report))?;
    Ok(if report.all_held() { HELD } else { VIOLATED })
}

/// Runs a study or merges its parts, and writes the files asked for.
///
/// # Errors
/// [`Failure::Input`] when study, scenario, options or traffic cannot be used: nothing was run then, and no
/// file written.
pub fn report(
    args: &StudyArgs,
    bench: &Bench<'_>,
    control: Control<'_>,
) -> Result<StudyReport, Failure> {
    let card = CardChoice::parse(&args.card)?;
    let mut study = args.study.as_deref().map(Study::load).transpose()?;
    study.iter_mut().try_for_each(|study| study.plug(&card))?;
    let prepare = |option, path: &Option<PathBuf>| {
        path.as_deref().map(|path| Output::prepare(option, path)).transpose()
    };
    let json = prepare("--json", &args.json)?;
    let html = prepare("--html", &args.html)?;
    let report = match &study {
        Some(study) => run(study, args, bench, control)?,
        None => merge(&args.merge)?,
    };
    let text = report.to_text().map_err(anyhow::Error::from)?;
    let page = study::html::page(&report);
    for (output, text) in [(&json, &text), (&html, &page)] {
        if let Some(output) = output {
            fs::write(output.path(), text).map_err(anyhow::Error::from)?;
        }
    }
    [json, html].into_iter().flatten().try_for_each(Output::deliver)?;
    Ok(report)
}

fn run(
    study: &Study,
    args: &StudyArgs,
    bench: &Bench<'_>,
    control: Control<'_>,
) -> Result<StudyReport, Failure> {
    if let Study::Sweep(sweep) = study {
        for (_, scenario) in &sweep.points {
            super::run::inspect(&scenario.runs, bench)?;
        }
    }
    let shard = args.shard.unwrap_or(Shard::WHOLE);
    let Control { cancel, progress } = control;
    progress.begin(shard.points(study.points()).count());
    let workers = Workers { count: args.jobs.unwrap_or_else(cores), cancel: cancel.clone() };
    Ok(study.run(shard, workers, &ended_by(&cancel, bench), &mut || progress.done())?)
}

fn merge(paths: &[PathBuf]) -> Result<StudyReport, Failure> {
    let reports = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    Ok(StudyReport::merge(reports).map_err(|error| InputError::whole("--merge", error))?)
}

fn read(path: &Path) -> Result<StudyReport, InputError> {
    let refuse = |why: String| InputError::whole(path.display(), why);
    let text =
        fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let report: StudyReport = serde_json::from_str(&text)
        .map_err(|error| refuse(format!("is no report of a study: {error}")))?;
    if report.schema != study::report::SCHEMA {
        return Err(refuse(format!("is {}, not {}", report.schema, study::report::SCHEMA)));
    }
    Ok(report)
}
