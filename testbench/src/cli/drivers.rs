//! `vtb drivers`: reports of several drivers on the same card and workload, side by side.

use std::fs;
use std::io::Write;

use super::args::DriversArgs;
use super::{Failure, HELD, Status};
use crate::report::{DriverRow, RunReport, SCHEMA, driver_table};
use crate::scenario::source::InputError;

/// Reads the reports and prints one row for each run in them.
pub(super) fn drivers(args: &DriversArgs, out: &mut dyn Write) -> Result<Status, Failure> {
    let mut rows = Vec::new();
    for argument in &args.reports {
        let (driver, path) = argument.split_once('=').ok_or_else(|| {
            InputError::whole(argument, "expected NAME=FILE, as in linux=report.json")
        })?;
        rows.extend(read(path)?.results.into_iter().map(|run| DriverRow::new(driver, run)));
    }
    super::say(out, &driver_table(&rows))?;
    Ok(HELD)
}

fn read(path: &str) -> Result<RunReport, InputError> {
    let refuse = |why: String| InputError::whole(path, why);
    let text =
        fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let report: RunReport = serde_json::from_str(&text)
        .map_err(|error| refuse(format!("is no report of a run: {error}")))?;
    if report.schema != SCHEMA {
        return Err(refuse(format!("is {}, not {SCHEMA}", report.schema)));
    }
    Ok(report)
}
