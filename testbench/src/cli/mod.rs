//! The command `vtb`: options in, exit status out.
//!
//! Errors are told in one line on standard error. [`main_with`] is all of it but the process: where the
//! simulation is plugged in, and where tests plug in something else. A verb that measures has a function
//! `report`, which does all of it but the talking: [`crate::verb`] has them together.

pub mod args;
mod bench;
mod bench_dma;
mod bench_layers;
mod bench_rtl;
pub mod compare;
mod compare_waves;
mod drivers;
mod guest;
mod live_args;
pub mod lspci;
mod outputs;
mod platforms;
pub mod run;
mod serve;
pub mod soak;
mod stopwatch;
pub mod study;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};

use clap::{CommandFactory, Parser};

use self::args::{Cli, Verb};
use crate::compare::CompareReport;
use crate::parallel::{keep_panics_quiet, without_panic};
use crate::report::{RunError, RunReport, RunResult};
use crate::scenario::config::{RunConfig, Workload};
use crate::study::StudyReport;
use crate::verb::Failure;

/// An exit status.
pub type Status = u8;
/// Everything held.
pub const HELD: Status = 0;
/// A rule was violated or a threshold missed.
pub const VIOLATED: Status = 1;
/// What the user gave is wrong.
pub const WRONG_INPUT: Status = 2;
/// The bench failed.
pub const INTERNAL: Status = 3;

/// What runs a configuration, and what looks at traffic beforehand.
#[derive(Clone, Copy)]
pub struct Bench<'b> {
    /// Reads through a workload's files without running it: a capture that is none, a log that ends past
    /// the disk. An [`RunError::Input`] ends the command before it began.
    pub inspect: &'b dyn Fn(&Workload) -> Result<(), RunError>,
    /// Runs one configuration; called from several threads.
    pub run: &'b (dyn Fn(&RunConfig) -> Result<RunResult, RunError> + Sync),
}

impl Bench<'static> {
    /// The simulated machine.
    pub const SIMULATED: Self = Self { inspect: &crate::bench::inspect, run: &crate::bench::run };
}

/// The command as the operating system starts it.
#[must_use]
pub fn main() -> std::process::ExitCode {
    keep_panics_quiet();
    let arguments = std::env::args_os();
    let status = without_panic(|| {
        main_with(arguments, &Bench::SIMULATED, &mut io::stdout().lock(), &mut io::stderr())
    });
    match status {
        Ok(status) => status.into(),
        Err(panic) => {
            let _ = writeln!(io::stderr(), "vtb: internal error: {panic}");
            INTERNAL.into()
        }
    }
}

/// The command with its surroundings handed in. The first argument is the program's name.
pub fn main_with(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    bench: &Bench<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Status {
    let done = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli, bench, out, err),
        Err(error) => {
            // Help and version are asked for; the rest is a mistake.
            let to: &mut dyn Write = if error.use_stderr() { err } else { out };
            let _ = write!(to, "{}", error.render());
            return u8::try_from(error.exit_code()).unwrap_or(WRONG_INPUT);
        }
    };
    // Whoever would read this may be gone as well: then the status says it.
    match done {
        Ok(status) => status,
        Err(failure) => {
            let _ = writeln!(err, "vtb: {failure}");
            if matches!(failure, Failure::Input(_)) { WRONG_INPUT } else { INTERNAL }
        }
    }
}

fn dispatch(
    cli: Cli,
    bench: &Bench<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Status, Failure> {
    match cli.verb {
        None => run::run(None, &cli.options, bench, out),
        Some(Verb::Run(args)) => run::run(args.scenario.as_deref(), &args.options, bench, out),
        Some(Verb::Compare(args)) => compare::compare(&args, bench, out),
        Some(Verb::Study(args)) => study::study(&args, bench, out),
        Some(Verb::Soak(args)) => soak::soak(&args, bench, out),
        Some(Verb::Drivers(args)) => drivers::drivers(&args, out),
        Some(Verb::Schema { of }) => {
            say(out, &schema(&of)?)?;
            Ok(HELD)
        }
        Some(Verb::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "vtb", &mut script);
            say(out, &String::from_utf8_lossy(&script))?;
            Ok(HELD)
        }
        Some(Verb::Lspci(args)) => lspci::lspci(&args, out),
        Some(Verb::Guest(args)) => guest::guest(&args, out),
        Some(Verb::Serve(args)) => serve::serve(&args, out),
        Some(Verb::Bench(args)) => bench::bench(&args, bench, out, err),
    }
}

/// The JSON schema of a report: of `run`, `study` or `bench`.
///
/// # Errors
/// [`Failure::Input`] when there is no such report.
pub fn schema(of: &str) -> Result<String, Failure> {
    let schema = match of {
        "run" => schemars::schema_for!(RunReport),
        "study" => schemars::schema_for!(StudyReport),
        "compare" => schemars::schema_for!(CompareReport),
        "bench" => schemars::schema_for!(bench::BenchReport),
        _ => {
            let why = format!("no schema `{of}`; there are: {}", args::SCHEMAS.join(", "));
            return Err(Failure::Input(why));
        }
    };
    let text = serde_json::to_string_pretty(&schema).map_err(anyhow::Error::from)?;
    Ok(text + "\n")
}

/// Writes to standard output. A reader that has left (`| head`) has what it wanted.
fn say(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Internal(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
