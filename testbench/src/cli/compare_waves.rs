//! The waves of `vtb compare`: both cards in the run that is worth a look, cut to what is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use crate::card::{self, CardChoice};
use crate::compare::{self, CompareReport};
use crate::scenario::config::{RunConfig, WaveFile};
use crate::scenario::source::InputError;
use crate::verb::Failure;

/// The files, in the folder that the user names.
const MODEL: &str = "model.fst";
const RTL: &str = "rtl.fst";
const INSIDE: &str = "rtl-inside.fst";

/// Opens the two, with the same signals in the same order.
const SHOW: &str = "#!/bin/sh
# Opens the waves of the model and those of the RTL: link, rings and the pins of the card. With `inside`, the
# pins of the model beside those that Verilator has written.
set -eu
here=$(dirname \"$0\")
model=\"$here/model.fst\" rtl=\"$here/rtl.fst\" left=bench right=bench
if [ \"${1-}\" = inside ]; then
    rtl=\"$here/rtl-inside.fst\" left=card right=rtl
fi
if command -v twinwave >/dev/null; then
    exec twinwave \"$model\" \"$here/$left.gtkw\" + \"$rtl\" \"$here/$right.gtkw\"
elif command -v surfer >/dev/null; then
    surfer --command-file \"$here/$left.sucl\" \"$model\" &
    exec surfer --command-file \"$here/$right.sucl\" \"$rtl\"
fi
echo \"show: there is neither twinwave (of GTKWave) nor surfer\" >&2
exit 2
";

/// A folder for waves.
#[derive(Debug)]
pub(super) struct WaveFolder {
    target: PathBuf,
    made: TempDir,
}

impl WaveFolder {
    /// Makes sure that files can be written there.
    pub(super) fn prepare(target: &Path) -> Result<Self, InputError> {
        let made = fs::create_dir_all(target)
            .and_then(|()| tempfile::Builder::new().prefix(".vtb-").tempdir_in(target));
        let made = made.map_err(|error| {
            InputError::whole("--waves", format!("cannot write to {}: {error}", target.display()))
        })?;
        Ok(Self { target: target.to_path_buf(), made })
    }

    /// Runs both cards again, `model` being the run that stands beside `rtl`, and writes what they do.
    pub(super) fn write(
        self,
        report: &CompareReport,
        runs: &[RunConfig],
        beside: &dyn Fn(&RunConfig) -> RunConfig,
        rtl_card: &CardChoice,
    ) -> Result<(), Failure> {
        let Some(place) = report.worth_a_look() else { return Ok(()) };
        let window = report.runs[place].window;
        let file = |name: &str, at| {
            let path = self.made.path().join(name);
            WaveFile::around(path, at, window.half).map(Some).map_err(anyhow::Error::from)
        };
        let rtl = RunConfig {
            waves: file(RTL, window.rtl)?,
            rtl_waves: Some(self.made.path().join(INSIDE)),
            under_test: rtl_card.clone(),
            ..runs[place].clone()
        };
        let model = RunConfig { waves: file(MODEL, window.model)?, ..beside(&runs[place]) };
        compare::record(&RunConfig { under_test: CardChoice::Model, ..model }, &card::under_test)?;
        compare::record(&rtl, &card::under_test)?;
        self.deliver().map_err(Failure::from)
    }

    fn deliver(self) -> anyhow::Result<()> {
        for name in [MODEL, RTL, INSIDE] {
            let target = self.target.join(name);
            fs::rename(self.made.path().join(name), &target)
                .with_context(|| format!("--waves: cannot write {}", target.display()))?;
        }
        waves::layout::write_all(&self.target)?;
        let show = self.target.join("show");
        fs::write(&show, SHOW).with_context(|| show.display().to_string())?;
        make_executable(&show)
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> anyhow::Result<()> {
    Ok(())
}
