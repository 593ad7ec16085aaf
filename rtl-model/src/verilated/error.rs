//! What can be wrong between a manifest and a model that runs, each said so that one can act on it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::names::PortError;
use crate::source::InputError;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum RtlError {
    /// The manifest is wrong.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The manifest and the ports of the design do not go together.
    #[error("{origin}: {error}")]
    Port {
        /// The manifest.
        origin: String,
        /// What does not.
        error: Box<PortError>,
    },
    /// No Verilator.
    #[error(
        "no Verilator ({looked}); `scripts/setup rtl` installs one, VTB_VERILATOR=FILE names one"
    )]
    NoVerilator {
        /// Where it was looked for.
        looked: String,
    },
    /// No C++ compiler.
    #[error(
        "no C++ compiler ({looked}); `scripts/setup rtl` or `apt-get install g++` installs one, \
         VTB_CXX=FILE names one"
    )]
    NoCompiler {
        /// Where it was looked for.
        looked: String,
    },
    /// A program could not be run, or was stopped.
    #[error("{program}: {why}")]
    Tool {
        /// The program.
        program: String,
        /// Why.
        why: ToolError,
    },
    /// Verilator does not accept the design.
    #[error("{origin}: Verilator does not accept it:{}{}", listed(diagnostics), hint(hint_text))]
    Verilator {
        /// The manifest.
        origin: String,
        /// Its errors.
        diagnostics: Vec<Diagnostic>,
        /// What might be meant instead, or empty.
        hint_text: String,
    },
    /// The compiler does not accept what Verilator wrote.
    #[error("{compiler} does not accept what Verilator wrote:\n{said}")]
    Compiler {
        /// The compiler.
        compiler: PathBuf,
        /// What it says, its first lines.
        said: String,
    },
    /// The header of a library that waves need is not there.
    #[error(
        "waves of RTL need {header}: `scripts/setup rtl` or `apt-get install {package}` installs it"
    )]
    NoHeader {
        /// The header.
        header: &'static str,
        /// Debian's package.
        package: &'static str,
    },
    /// A source was read that is not known to the cache.
    #[error(
        "{origin}: the design includes {}, which is neither among `files` nor in a folder of `include`: \
         a change in it would not be seen", .file.display()
    )]
    Unlisted {
        /// The manifest.
        origin: String,
        /// The file.
        file: PathBuf,
    },
    /// A file or folder.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// What was built cannot be loaded.
    #[error("{}: cannot be loaded: {why}", .library.display())]
    Load {
        /// The library.
        library: PathBuf,
        /// Why.
        why: String,
    },
    /// The model stopped before it could be used.
    #[error("{origin}: the design stops by itself: {why}")]
    Stopped {
        /// The manifest.
        origin: String,
        /// What it said.
        why: String,
    },
}

impl RtlError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}

/// Why a program did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started, or what it said could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It took too long and was ended.
    #[error("did not end within {} s", .0.as_secs())]
    Late(Duration),
    /// It failed.
    #[error("{status}: {said}")]
    Failed {
        /// Its exit status.
        status: String,
        /// What it said.
        said: String,
    },
}

/// One error of Verilator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The source, when one is named.
    pub file: Option<String>,
    /// The line, counted from 1.
    pub line: Option<u32>,
    /// Its name, `PINNOTFOUND`, when it has one.
    pub code: Option<String>,
    /// What it says.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)?;
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        Ok(())
    }
}

fn listed(diagnostics: &[Diagnostic]) -> String {
    const SHOWN: usize = 10;
    let mut text: String =
        diagnostics.iter().take(SHOWN).map(|diagnostic| format!("\n  {diagnostic}")).collect();
    if diagnostics.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", diagnostics.len() - SHOWN));
    }
    text
}

fn hint(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\n  {text}") }
}
