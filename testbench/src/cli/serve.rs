//! `vtb serve`.

use std::io::Write;
use std::path::Path;

use super::live_args::ServeArgs;
use super::outputs::Outputs;
use super::stopwatch::Stopwatch;
use super::{Failure, HELD, Status, VIOLATED};
use crate::card;
use crate::report::{self, RunReport};
use crate::serve;

/// Offers the card to one client, and tells what it did when it has gone.
pub(super) fn serve(args: &ServeArgs, out: &mut dyn Write) -> Result<Status, Failure> {
    let mut scenario = serve::scenario(&args.card.choice()?, &args.card.overrides())?;
    let outputs = Outputs::prepare(&args.card.files(), &mut scenario.runs)?;
    let Some(run) = scenario.runs.first().cloned() else {
        return Err(Failure::Internal("the serve scenario has no run".to_owned()));
    };
    let config = args.card.config(args.socket.clone(), run);
    let mut ready = |path: &Path| {
        // A reader that has left does not keep a client from coming.
        let _ = super::say(out, &format!("waiting for a client at {}\n", path.display()));
        true
    };
    let stopwatch = Stopwatch::start();
    let served = serve::serve(&config, &card::under_test, &mut ready)?;
    let seconds = stopwatch.seconds();
    scenario.runs.clone_from(&served.runs);
    let report = RunReport::new(&scenario, &served.results, seconds);
    outputs.deliver(&scenario.runs, &report.to_text().map_err(anyhow::Error::from)?)?;
    super::say(out, &format!("{}\n{}\n", report::text(&report), serve::ending(&served, seconds)))?;
    Ok(if report.all_held() { HELD } else { VIOLATED })
}
