//! From the C++ that Verilator wrote to a shared library.
//!
//! Two compilers run at once, each on one file that includes many: what runs every cycle, with all
//! optimisation and as one piece, so that calls between its parts can be inlined; and what runs once, for
//! which little optimisation does. Verilator's own library is the same for most designs, and has an entry of
//! its own in the cache.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::{Options, cache_folder};
use super::cache;
use super::error::RtlError;
use super::header::Header;
use super::manifest::Manifest;
use super::run::{Heard, run};
use super::shim;
use super::toolchain::{Toolchain, tool};
use super::verilate::PREFIX;

/// The library's name in its folder.
pub(super) const LIBRARY: &str = "libmodel.so";

/// For what runs every cycle, by what the manifest wants.
const HOT: [&str; 4] = ["-O0", "-O1", "-O2", "-O3"];
const COLD: &[&str] = &["-O1"];
const LIBRARY_LEVEL: &[&str] = &["-O2"];

/// The options of every call. Names stay inside the library: two designs have the same.
const ALWAYS: &[&str] = &["-std=gnu++17", "-fPIC", "-fvisibility=hidden", "-w", "-pthread", "-c"];

/// All options that decide what comes out, for the cache's key.
pub(super) fn arguments() -> Vec<&'static str> {
    [&HOT, COLD, LIBRARY_LEVEL, ALWAYS, shim::DEFINES].concat()
}

/// Compiles what is in `folder` into [`LIBRARY`].
pub(super) fn compile(
    tools: &Toolchain,
    header: &Header,
    (manifest, options): (&Manifest, &Options),
    folder: &Path,
) -> Result<(), RtlError> {
    if options.waves {
        headers_of_waves(tools)?;
    }
    let sources = Sources::find(tools, folder)?;
    write(folder, "hot.cpp", &(shim::source(header) + &including(&sources.hot)))?;
    write(folder, "cold.cpp", &including(&sources.cold))?;
    let library = std::thread::scope(|scope| {
        let cold = scope.spawn(|| {
            object(tools, options, folder, "cold.cpp", COLD)?;
            common_library(tools, options, &sources.library)
        });
        let level = HOT[usize::from(manifest.optimise.min(3))];
        object(tools, options, folder, "hot.cpp", &[level])?;
        cold.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let mut command = Command::new(&tools.compiler);
    command.current_dir(folder).args(["-shared", "-pthread", "-o", LIBRARY, "hot.o", "cold.o"]);
    command.arg(library).args(libraries(options));
    accepted(tools, run(&mut command, options.limit).map_err(tool(&tools.compiler))?)
}

fn object(
    tools: &Toolchain,
    options: &Options,
    folder: &Path,
    file: &str,
    level: &[&str],
) -> Result<(), RtlError> {
    let mut command = compiler(tools, options, folder);
    command.args(level).args(ALWAYS).arg(file);
    accepted(tools, run(&mut command, options.limit).map_err(tool(&tools.compiler))?)
}

/// The object file of those parts of Verilator's library that a design needs, compiled once.
fn common_library(
    tools: &Toolchain,
    options: &Options,
    files: &[PathBuf],
) -> Result<PathBuf, RtlError> {
    const NAME: &str = "library";
    let text = including(files);
    let key = cache::library_key(tools, &text, options.waves);
    let build = |folder: &Path| {
        write(folder, &format!("{NAME}.cpp"), &text)?;
        object(tools, options, folder, &format!("{NAME}.cpp"), LIBRARY_LEVEL)
    };
    let (folder, _) = cache::entry(&cache_folder(options)?, &key, build)?;
    Ok(folder.join(format!("{NAME}.o")))
}

/// What is linked besides.
pub(super) fn libraries(options: &Options) -> &'static [&'static str] {
    if options.waves { &["-llz4", "-lz"] } else { &[] }
}

/// A call of the compiler in `folder` that finds all headers.
pub(super) fn compiler(tools: &Toolchain, options: &Options, folder: &Path) -> Command {
    let mut command = Command::new(&tools.compiler);
    command.current_dir(folder).args(shim::DEFINES).arg("-I.");
    let include = tools.include();
    command.arg("-isystem").arg(include.join("vltstd")).arg("-isystem").arg(include);
    let waves = u8::from(options.waves);
    command.args(["-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE_VCD=0", "-DVM_TRACE_SAIF=0"]);
    command.args([format!("-DVM_TRACE={waves}"), format!("-DVM_TRACE_FST={waves}")]);
    command
}

pub(super) fn accepted(tools: &Toolchain, heard: Heard) -> Result<(), RtlError> {
    if heard.status.success() {
        return Ok(());
    }
    let said = heard.said.lines().take(20).collect::<Vec<_>>().join("\n");
    Err(RtlError::Compiler { compiler: tools.compiler.clone(), said })
}

fn headers_of_waves(tools: &Toolchain) -> Result<(), RtlError> {
    for (header, package) in [("lz4.h", "liblz4-dev"), ("zlib.h", "zlib1g-dev")] {
        if !tools.has_header(header)? {
            return Err(RtlError::NoHeader { header, package });
        }
    }
    Ok(())
}

/// The C++ files of a design, and those of Verilator's that it needs.
pub(super) struct Sources {
    pub(super) hot: Vec<PathBuf>,
    pub(super) cold: Vec<PathBuf>,
    pub(super) library: Vec<PathBuf>,
}

impl Sources {
    /// Looks for them in `folder`.
    pub(super) fn find(tools: &Toolchain, folder: &Path) -> Result<Self, RtlError> {
        let entries = fs::read_dir(folder).map_err(RtlError::io(folder))?;
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with(PREFIX) && name.ends_with(".cpp"))
            .collect();
        names.sort();
        let (cold, hot): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.contains("Slow"));
        let paths = |names: Vec<String>| names.into_iter().map(PathBuf::from).collect::<Vec<_>>();
        let list = folder.join(format!("{PREFIX}_classes.mk"));
        let text = fs::read_to_string(&list).map_err(RtlError::io(&list))?;
        let library =
            globals(&text).map(|name| tools.include().join(format!("{name}.cpp"))).collect();
        Ok(Self { hot: paths(hot), cold: paths(cold), library })
    }
}

/// The files of Verilator's own library that its make file lists: the lines behind `VM_GLOBAL_…`.
fn globals(makefile: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    makefile.lines().filter_map(move |line| {
        if line.contains("+=") {
            inside = line.starts_with("VM_GLOBAL_");
            return None;
        }
        let name = line.trim_end_matches('\\').trim();
        inside &= !name.is_empty();
        inside.then_some(name)
    })
}

pub(super) fn including(files: &[PathBuf]) -> String {
    let mut text = String::new();
    for file in files {
        let _ = writeln!(text, "#include \"{}\"", file.display());
    }
    text
}

pub(super) fn write(folder: &Path, name: &str, text: &str) -> Result<(), RtlError> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(RtlError::io(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_files_of_a_design_are_those_that_its_make_file_lists() {
        let text = "VM_CLASSES_FAST += \\\n  Vtop \\\n\nVM_GLOBAL_FAST += \\\n  verilated \\\n  \
                    verilated_fst_c \\\n\n# note\nVM_GLOBAL_SLOW += \\\n  verilated_dpi \\\n\n";
        let found: Vec<_> = globals(text).collect();
        assert_eq!(found, ["verilated", "verilated_fst_c", "verilated_dpi"]);
    }
}
