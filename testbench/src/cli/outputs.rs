//! Files that a command writes: none exists under its name before everything went well.
//!
//! Each is made in a hidden folder beside where it will be, and renamed at the end. What cannot be
//! written is found out before anything runs.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::args::RunOptions;
use crate::card::CardChoice;
use crate::scenario::config::{RunConfig, WaveFile};
use crate::scenario::source::InputError;

/// A file to be written, and where it is made until then.
#[derive(Debug)]
pub(super) struct Output {
    option: &'static str,
    target: PathBuf,
    folder: TempDir,
}

impl Output {
    /// Makes sure that `target` can be written.
    pub(super) fn prepare(option: &'static str, target: &Path) -> Result<Self, InputError> {
        let refuse = |why: &dyn Display| {
            InputError::whole(option, format!("cannot write {}: {why}", target.display()))
        };
        if target.is_dir() {
            return Err(refuse(&"it is a folder"));
        }
        let folder = if is_special(target) {
            tempfile::tempdir()
        } else {
            let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
            tempfile::Builder::new().prefix(".vtb-").tempdir_in(parent.unwrap_or(Path::new(".")))
        };
        let folder = folder.map_err(|error| refuse(&error))?;
        Ok(Self { option, target: target.to_path_buf(), folder })
    }

    /// Where the whole file is made. It has the extension of its target: by that the writer of waves
    /// knows their format.
    pub(super) fn path(&self) -> PathBuf {
        let extension = self.target.extension().unwrap_or_default();
        self.folder.path().join("whole").with_extension(extension)
    }

    /// Where a part of it is made.
    pub(super) fn part(&self, number: usize) -> PathBuf {
        self.folder.path().join(number.to_string())
    }

    /// Puts the file in its place.
    pub(super) fn deliver(self) -> anyhow::Result<()> {
        let delivered = if is_special(&self.target) {
            let into = File::options().write(true).open(&self.target);
            into.and_then(|mut into| io::copy(&mut File::open(self.path())?, &mut into)).map(|_| ())
        } else {
            fs::rename(self.path(), &self.target)
        };
        delivered.map_err(|error| {
            anyhow::anyhow!("{}: cannot write {}: {error}", self.option, self.target.display())
        })
    }
}

/// A pipe or a terminal: it must be written, not replaced.
fn is_special(target: &Path) -> bool {
    fs::metadata(target).is_ok_and(|metadata| !metadata.is_file())
}

/// The files of one `run`.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    json: Option<Output>,
    trace: Option<Output>,
    waves: Option<Output>,
    rtl_waves: Option<Output>,
}

impl Outputs {
    /// Makes sure that all can be written, and tells the runs where to write their parts.
    pub(super) fn prepare(
        options: &RunOptions,
        runs: &mut [RunConfig],
    ) -> Result<Self, InputError> {
        let output = |option: &'static str, path: &Option<PathBuf>| {
            path.as_deref().map(|path| Output::prepare(option, path)).transpose()
        };
        if let Some(path) = options.waves.as_deref() {
            wave_file(path)?;
        }
        let has_pins = runs.iter().all(|run| matches!(run.under_test, CardChoice::Rtl(_)));
        if options.rtl_waves.is_some() && !has_pins {
            return Err(InputError::whole("--rtl-waves", "the card is the model, not RTL"));
        }
        let outputs = Self {
            json: output("--json", &options.json)?,
            trace: output("--trace", &options.trace)?,
            waves: output("--waves", &options.waves)?,
            rtl_waves: output("--rtl-waves", &options.rtl_waves)?,
        };
        if let Some(trace) = &outputs.trace {
            for (number, run) in runs.iter_mut().enumerate() {
                run.trace = Some(trace.part(number));
            }
        }
        if let (Some(waves), Some(run)) = (&outputs.waves, runs.first_mut()) {
            run.waves = Some(WaveFile { cut: options.wave_cut(), ..wave_file(&waves.path())? });
        }
        if let (Some(waves), Some(run)) = (&outputs.rtl_waves, runs.first_mut()) {
            run.rtl_waves = Some(waves.path());
        }
        Ok(outputs)
    }

    /// Puts every file in its place: all are complete before the first is.
    pub(super) fn deliver(self, runs: &[RunConfig], json: &str) -> anyhow::Result<()> {
        if let Some(output) = &self.json {
            fs::write(output.path(), json)?;
        }
        if let Some(output) = &self.trace {
            join_traces(output, runs)?;
        }
        let all = [self.waves, self.rtl_waves, self.trace, self.json];
        all.into_iter().flatten().try_for_each(Output::deliver)
    }
}

/// One file of all runs' traces, in the order of the report, each headed by its run's name.
fn join_traces(output: &Output, runs: &[RunConfig]) -> io::Result<()> {
    let mut whole = BufWriter::new(File::create(output.path())?);
    for (run, part) in runs.iter().filter_map(|run| Some((run, run.trace.as_ref()?))) {
        writeln!(whole, "# {}", run.name())?;
        io::copy(&mut File::open(part)?, &mut whole)?;
        fs::remove_file(part)?;
    }
    whole.flush()
}

fn wave_file(path: &Path) -> Result<WaveFile, InputError> {
    WaveFile::new(path.to_path_buf())
        .map_err(|error| InputError::whole("--waves", error.to_string()))
}
