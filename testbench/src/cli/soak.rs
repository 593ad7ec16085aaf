//! `vtb soak`.

use std::io::Write;

use super::args::SoakArgs;
use super::run::{cores, progress};
use super::{Bench, Failure, HELD, Status, VIOLATED};
use crate::parallel::map_all;
use crate::report::RunError;
use crate::soak::{Ended, Tally, run, text};

/// Runs at a time whose results are kept before they are added up.
const BATCH: u64 = 1000;

/// Runs what is drawn, prints what it comes to.
pub(super) fn soak(
    args: &SoakArgs,
    bench: &Bench<'_>,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    if args.show {
        super::say(out, &text(args.seed))?;
        return Ok(HELD);
    }
    let end = args.seed.saturating_add(args.runs);
    let progress = progress(usize::try_from(args.runs).unwrap_or(usize::MAX));
    let workers = args.jobs.unwrap_or_else(cores);
    let mut tally = Tally::default();
    let mut next = args.seed;
    while next < end {
        let seeds: Vec<u64> = (next..end.min(next.saturating_add(BATCH))).collect();
        next = next.saturating_add(BATCH);
        let name = |seed: &u64| format!("seed {seed}");
        let one = |&seed: &u64| {
            let config = run(seed).map_err(RunError::internal)?;
            (bench.run)(&config).map(|result| Ended::of(seed, &result))
        };
        // A run that fails is one more finding, and the others go on.
        let each = |seed: &u64| {
            let held = crate::parallel::without_panic(|| one(seed));
            Ok((*seed, held.unwrap_or_else(|panic| Err(RunError::internal(panic)))))
        };
        for (seed, ended) in map_all(&seeds, workers, &name, &each, &mut |_| progress.inc(1))? {
            tally.add(seed, ended);
        }
    }
    progress.finish_and_clear();
    super::say(out, &tally.text())?;
    Ok(if tally.wrong.is_empty() { HELD } else { VIOLATED })
}
