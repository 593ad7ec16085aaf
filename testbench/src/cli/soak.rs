//! `vtb soak`.

use std::io::Write;

use super::args::SoakArgs;
use super::run::{Bar, cores, ended_by};
use super::{Bench, HELD, Status, VIOLATED};
use crate::parallel::{Workers, map_all};
use crate::report::RunError;
use crate::soak::{Ended, Tally, run, text};
use crate::verb::{Control, Failure};

/// Runs at a time whose results are kept before they are added up.
const BATCH: u64 = 1000;

/// Runs what is drawn, prints what it comes to.
pub(super) fn soak(
    args: &SoakArgs,
    bench: &Bench<'_>,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    if args.show {
        super::say(out, &scenario(args.seed))?;
        return Ok(HELD);
    }
    let mut bar = Bar::default();
    let tally = report(args, bench, Control::of(&mut bar))?;
    super::say(out, &tally.text())?;
    Ok(if tally.wrong.is_empty() { HELD } else { VIOLATED })
}

/// The scenario that is run for a seed, in TOML.
#[must_use]
pub fn scenario(seed: u64) -> String {
    text(seed)
}

/// Runs what is drawn, and counts what became of it.
///
/// # Errors
/// [`Failure::Cancelled`]: a run that fails is one more finding.
pub fn report(args: &SoakArgs, bench: &Bench<'_>, control: Control<'_>) -> Result<Tally, Failure> {
    let Control { cancel, progress } = control;
    let end = args.seed.saturating_add(args.runs);
    progress.begin(usize::try_from(args.runs).unwrap_or(usize::MAX));
    let workers = Workers { count: args.jobs.unwrap_or_else(cores), cancel: cancel.clone() };
    let simulate = ended_by(&cancel, bench);
    let mut tally = Tally::default();
    let mut next = args.seed;
    while next < end {
        let seeds: Vec<u64> = (next..end.min(next.saturating_add(BATCH))).collect();
        next = next.saturating_add(BATCH);
        let name = |seed: &u64| format!("seed {seed}");
        let one = |&seed: &u64| {
            let config = run(seed).map_err(RunError::internal)?;
            simulate(&config).map(|result| Ended::of(seed, &result))
        };
        // A run that fails is one more finding, and the others go on.
        let each = |seed: &u64| {
            let held = crate::parallel::without_panic(|| one(seed));
            Ok((*seed, held.unwrap_or_else(|panic| Err(RunError::internal(panic)))))
        };
        let ended = map_all(&seeds, workers.clone(), &name, &each, &mut |_| progress.done())?;
        cancel.check()?;
        for (seed, ended) in ended {
            tally.add(seed, ended);
        }
    }
    Ok(tally)
}
