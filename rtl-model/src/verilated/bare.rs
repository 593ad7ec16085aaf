//! How fast a design is without a bench: the same verilated C++ in a loop that does nothing but the clock, as
//! a program of its own. `scripts/bench` sets the bench's figure against this one.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use pcie_sim::time::Instant;

use super::build::{Options, cache_folder, verilated};
use super::cache;
use super::compile::{Sources, accepted, compiler, including, libraries, write};
use super::error::{RtlError, ToolError};
use super::manifest::{Manifest, Polarity};
use super::model::VerilatedModel;
use super::run::{run, run_well};
use super::toolchain::{Toolchain, tool};
use super::verilate::PREFIX;

const PROGRAM: &str = "bare";

/// Clock cycles a second of a bare C++ loop over the design, out of reset, inputs at their tied value or 0.
/// The clock is the wall's: the figure is about this machine, and differs from run to run.
///
/// # Errors
/// As [`super::Rtl::load`]; when the program fails.
pub fn bare_loop(manifest: &Manifest, options: &Options, cycles: u64) -> Result<f64, RtlError> {
    let tools = Toolchain::find(&options.places)?;
    let text = program(manifest);
    let key = cache::key(manifest, options, &tools, &text)?;
    let build = |folder: &Path| build(&tools, manifest, options, &text, folder);
    let (folder, _) = cache::entry(&cache_folder(options)?, &key, build)?;
    let path = folder.join(PROGRAM);
    let mut command = Command::new(&path);
    let said = run_well(command.arg(cycles.to_string()), options.limit).map_err(tool(&path))?;
    // What the design itself says stands before it.
    said.lines().last().unwrap_or_default().parse().map_err(|_| {
        tool(&path)(ToolError::Failed { status: "no figure".to_owned(), said: said.clone() })
    })
}

/// The same loop over a model that the bench loaded: clock and nothing else. The caller measures the time.
pub fn idle_loop(model: &mut VerilatedModel, cycles: u64) {
    let mut at: Instant = model.reset(Instant::ZERO);
    for _ in 0..cycles {
        model.cycle(at, |_| ());
        at += model.period();
    }
}

fn build(
    tools: &Toolchain,
    manifest: &Manifest,
    options: &Options,
    text: &str,
    folder: &Path,
) -> Result<(), RtlError> {
    verilated(tools, manifest, options, folder, &[PROGRAM], |work| {
        let sources = Sources::find(tools, work)?;
        // Verilator's library first: it has templates that must not be used before they are specialised.
        let all = [sources.library, sources.hot, sources.cold].concat();
        write(work, "main.cpp", &(including(&all) + text))?;
        let mut command = compiler(tools, options, work);
        command.args(["-std=gnu++17", "-O3", "-w", "-pthread", "-o", PROGRAM, "main.cpp"]);
        command.args(libraries(options));
        // The shim is not in it; Verilator's own ways to end are.
        command.args(["-UVL_USER_FINISH", "-UVL_USER_STOP", "-UVL_USER_FATAL"]);
        accepted(tools, run(&mut command, options.limit).map_err(tool(&tools.compiler))?)
    })
}

fn program(manifest: &Manifest) -> String {
    let clock = &manifest.clock.port;
    let mut text = format!(
        "#include <chrono>\n#include <cstdio>\n#include <cstdlib>\n\
         static void cycle({PREFIX}& top) {{ top.{clock} = 1; top.eval(); top.{clock} = 0; top.eval(); }}\n\
         int main(int, char** arguments) {{\n  VerilatedContext context;\n  context.randSeed(1);\n"
    );
    let _ = writeln!(text, "  {PREFIX} top{{&context}};");
    for (port, value) in &manifest.tie {
        for (at, word) in value.words().unwrap_or_default().iter().enumerate() {
            let _ = writeln!(text, "  tie(top.{port}, {at}, {word}u);");
        }
    }
    if let Some(reset) = &manifest.reset {
        let active = u8::from(reset.polarity == Polarity::ActiveHigh);
        let (port, cycles) = (&reset.port, reset.cycles);
        let _ = writeln!(text, "  top.{port} = {active};");
        let _ = writeln!(text, "  for (int i = 0; i < {cycles}; ++i) cycle(top);");
        let _ = writeln!(text, "  top.{port} = {};", 1 - active);
    }
    text.push_str(
        "  const unsigned long long cycles = std::strtoull(arguments[1], nullptr, 10);\n  \
         const auto start = std::chrono::steady_clock::now();\n  \
         for (unsigned long long i = 0; i < cycles; ++i) cycle(top);\n  \
         const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;\n  \
         std::printf(\"%.0f\\n\", cycles / took.count());\n}\n",
    );
    TIE.to_owned() + &text
}

/// Sets one word of a port of any width.
const TIE: &str = "#include <cstdint>
template <typename T> static void tie(T& port, unsigned at, uint32_t word) {
    if (at * 32 < sizeof port * 8) port |= static_cast<T>(static_cast<uint64_t>(word) << 32 * at);
}
template <std::size_t N> static void tie(VlWide<N>& port, unsigned at, uint32_t word) {
    if (at < N) port[at] = word;
}
";
