//! A call of Verilator: from SystemVerilog to C++, and what it has to say.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::build::Options;
use super::error::{Diagnostic, RtlError};
use super::manifest::Manifest;
use super::names::near;
use super::run::run;
use super::toolchain::{Toolchain, tool};
use super::value::Value;

/// What the class in C++ is called, and its files begin with.
pub(super) const PREFIX: &str = "Vtop";

/// The options of every call. Undefined values are zeros, so that a run repeats; delays of a test bench are
/// ignored; a time step is a picosecond, whatever the sources say; a warning is no error, as a design comes
/// with those its makers are used to.
const ALWAYS: &[&str] = &[
    "--cc",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--noassert",
    "--no-timing",
    "--timescale-override",
    "1ps/1ps",
    "-Wno-fatal",
    "--quiet-stats",
];

/// All that the call says of the design, without the files and where the output goes. Part of the cache's key.
pub(super) fn arguments(manifest: &Manifest, options: &Options) -> Vec<String> {
    let mut all: Vec<String> = ALWAYS.iter().map(|&option| option.to_owned()).collect();
    if options.waves {
        all.extend(["--trace-fst", "--trace-structs"].map(str::to_owned));
    }
    all.extend(["--prefix", PREFIX, "--top-module", &manifest.top].map(str::to_owned));
    for (name, value) in &manifest.defines {
        match value {
            Value::Flag(false) => {}
            Value::Flag(true) => all.push(format!("-D{name}")),
            value => all.push(format!("-D{name}={value}")),
        }
    }
    all.extend(manifest.parameters.iter().map(|(name, value)| format!("-G{name}={value}")));
    all.extend(manifest.options.iter().cloned());
    all
}

/// Writes the C++ of the design into `folder`.
pub(super) fn verilate(
    tools: &Toolchain,
    manifest: &Manifest,
    options: &Options,
    folder: &Path,
) -> Result<(), RtlError> {
    let mut command = tools.verilator();
    command.args(arguments(manifest, options)).arg("--Mdir").arg(folder).current_dir(folder);
    for include in &manifest.include {
        let mut option = OsString::from("-I");
        option.push(include);
        command.arg(option);
    }
    command.args(&manifest.files);
    let heard = run(&mut command, options.limit).map_err(tool(&tools.verilator))?;
    fs::write(folder.join("verilate.log"), &heard.said).map_err(RtlError::io(folder))?;
    if !heard.status.success() {
        return Err(refused(manifest, &heard.said));
    }
    every_source_is_listed(tools, manifest, folder)
}

fn refused(manifest: &Manifest, said: &str) -> RtlError {
    let mut diagnostics = diagnostics(said);
    if diagnostics.is_empty() {
        let message = said.lines().take(10).collect::<Vec<_>>().join("; ");
        diagnostics.push(Diagnostic { file: None, line: None, code: None, message });
    }
    let hint_text = hint(manifest, &diagnostics);
    RtlError::Verilator { origin: manifest.origin.clone(), diagnostics, hint_text }
}

/// The errors in what Verilator says.
pub(super) fn diagnostics(said: &str) -> Vec<Diagnostic> {
    said.lines().filter_map(diagnostic).collect()
}

/// `%Error-CODE: file:line:column: message`, in which all but the message may be missing.
fn diagnostic(line: &str) -> Option<Diagnostic> {
    let (head, rest) = line.strip_prefix("%Error")?.split_once(": ")?;
    if rest.starts_with("Exiting due to") || rest.starts_with("Command Failed") {
        return None;
    }
    let code = head.strip_prefix('-').map(str::to_owned);
    let place = rest.split_once(": ").and_then(|(place, message)| {
        let mut parts = place.rsplitn(3, ':');
        let (_column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
        Some((file.to_owned(), line.parse().ok()?, message.trim().to_owned()))
    });
    Some(match place {
        Some((file, line, message)) => {
            Diagnostic { file: Some(file), line: Some(line), code, message }
        }
        None => Diagnostic { file: None, line: None, code, message: rest.trim().to_owned() },
    })
}

/// Which modules there are when the top is not among them.
fn hint(manifest: &Manifest, diagnostics: &[Diagnostic]) -> String {
    let top = |diagnostic: &Diagnostic| diagnostic.message.contains("top-module");
    if !diagnostics.iter().any(top) {
        return String::new();
    }
    let mut modules: Vec<String> = manifest
        .files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| modules(&text))
        .collect();
    modules.sort();
    let like = near(&manifest.top, modules.iter().map(String::as_str));
    let (what, names) = if like.is_empty() { ("modules", modules) } else { ("near it", like) };
    let names = names.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
    format!("`top` is {}; {what}: {names}", manifest.top)
}

/// The modules that a source declares.
fn modules(text: &str) -> Vec<String> {
    let declared = |line: &str| {
        let name = line.trim_start().strip_prefix("module ")?.trim_start();
        let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        Some(name[..end.unwrap_or(name.len())].to_owned()).filter(|name| !name.is_empty())
    };
    text.lines().filter_map(declared).collect()
}

/// The cache looks at the files of the manifest and at the folders of `include`; nothing else may be read.
fn every_source_is_listed(
    tools: &Toolchain,
    manifest: &Manifest,
    folder: &Path,
) -> Result<(), RtlError> {
    let path = folder.join(format!("{PREFIX}__ver.d"));
    let text = fs::read_to_string(&path).map_err(RtlError::io(&path))?;
    let root = tools.verilator_root.canonicalize().map_err(RtlError::io(&tools.verilator_root))?;
    let folder = folder.canonicalize().map_err(RtlError::io(folder))?;
    let known = |file: &PathBuf| {
        file.starts_with(&root)
            || file.starts_with(&folder)
            || manifest.files.contains(file)
            || manifest.include.iter().any(|include| file.starts_with(include))
    };
    let program = |file: &PathBuf| file.file_name().is_some_and(|name| name == "verilator_bin");
    let real = |file: PathBuf| file.canonicalize().unwrap_or(file);
    let read = dependencies(&text).into_iter().map(|file| real(folder.join(file)));
    match read.filter(|file| !program(file)).find(|file| !known(file)) {
        None => Ok(()),
        Some(file) => Err(RtlError::Unlisted { origin: manifest.origin.clone(), file }),
    }
}

/// What stands behind the colon of a make rule: names between spaces, a space in a name behind a backslash.
fn dependencies(rule: &str) -> Vec<PathBuf> {
    let Some((_, rest)) = rule.split_once(" : ") else { return Vec::new() };
    let rest = rest.lines().next().unwrap_or_default();
    let mut names = vec![String::new()];
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => names.last_mut().into_iter().for_each(|name| name.extend(letters.next())),
            ' ' => names.push(String::new()),
            letter => names.last_mut().into_iter().for_each(|name| name.push(letter)),
        }
    }
    names.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_verilator_has_its_file_and_line() {
        let said = "%Warning-WIDTH: a.sv:1:2: x\n\
                    %Error: a/b.sv:12:7: syntax error, unexpected ';'\n   12 | x ;\n\
                    %Error-PINNOTFOUND: c.sv:3:1: Pin not found: 'q'\n\
                    %Error: Specified --top-module 'x' was not found in design.\n\
                    %Error: Exiting due to 3 error(s)\n";
        let found: Vec<String> = diagnostics(said).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "a/b.sv:12: syntax error, unexpected ';'",
                "c.sv:3: Pin not found: 'q' (PINNOTFOUND)",
                "Specified --top-module 'x' was not found in design.",
            ]
        );
    }

    #[test]
    fn modules_of_a_source_are_known_by_name() {
        assert_eq!(
            modules("// module no\nmodule a #(\n  module b_2;\nmodule c(input x);\n"),
            ["a", "b_2", "c"]
        );
    }

    #[test]
    fn a_dependency_may_have_a_space_in_its_name() {
        let rule = "x/Vtop.cpp x/Vtop.h  : /bin/verilator_bin /a\\ b/c.sv d.sv\n\nother : e\n";
        let expected = ["/bin/verilator_bin", "/a b/c.sv", "d.sv"].map(PathBuf::from);
        assert_eq!(dependencies(rule), expected);
    }
}
