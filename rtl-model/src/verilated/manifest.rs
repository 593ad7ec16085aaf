//! The manifest: a text file that says what a design is made of and how it is spoken to.
//!
//! ```toml
//! name = "my card"
//! top = "my_card"                                  # the module that is the card
//! files = ["rtl/my_pkg.sv", "rtl/*.sv"]            # in this order, a file once; packages first
//! include = ["rtl/inc"]                            # where `include looks
//! defines = { SYNTHESIS = true, DEPTH = 16 }
//! parameters = { W = 256, MAC = "48'h02_00_00_00_00_01" }
//! options = ["-Wno-MULTIDRIVEN"]                   # more for Verilator
//! optimise = 3                                     # how hard the C++ compiler tries; see `Manifest`
//! clock = { port = "clk_i", period = "4 ns" }
//! reset = { port = "rst_ni", polarity = "active_low", cycles = 4 }
//! interface = { kind = "tlp-stream" }
//! model = "my_card.toml"                           # how a bench's model of it is timed; see `Manifest::model`
//!
//! [ports]                                          # see `names`
//! "*" = ["*_i", "*_o"]
//!
//! [tie]                                            # inputs that nobody drives; 0 unless said here
//! scan_mode = 0
//!
//! [scenario]                                       # parameters that a scenario sets; see `Wanted`
//! QUEUE_SIZE_MAX = "queue-size"
//!
//! [card]                                           # what a bench has to know; see `CardFacts`
//! device = "blk"
//! ```
//!
//! Paths start at the manifest's folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pcie_sim::time::Span;
use serde::Deserialize;

use super::names::PortNames;
use super::value::Value;
use crate::source::{Duration, InputError, Source};

/// A manifest whose files were found.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file that it was read from, for messages.
    pub origin: String,
    /// What the card is called.
    pub name: String,
    /// The top module.
    pub top: String,
    /// The sources, in order of compilation, from the root of the file system.
    pub files: Vec<PathBuf>,
    /// Folders of included files, from the root of the file system.
    pub include: Vec<PathBuf>,
    /// Macros: a flag that is `true` has no value, one that is `false` is not defined.
    pub defines: BTreeMap<String, Value>,
    /// Parameters of the top module.
    pub parameters: BTreeMap<String, Value>,
    /// More options for Verilator.
    pub options: Vec<String>,
    /// How hard the C++ compiler tries, 0 to 3: 3 for long runs; 1 is built in less than half the time, for a
    /// design that is built anew for each short run.
    pub optimise: u8,
    /// The clock.
    pub clock: Clock,
    /// The reset, when the design has one.
    pub reset: Option<Reset>,
    /// The preset of the steps of a model of this design, which stands beside it in a comparison: a name
    /// that the bench knows, or a file, from the root of the file system.
    pub model: Option<String>,
    /// How TLPs go in and out.
    pub interface: Interface,
    /// What the interface's signals are called in the design.
    pub ports: PortNames,
    /// Inputs that hold one value for ever.
    pub tie: BTreeMap<String, Value>,
    /// Parameters of the top module that are set to what a run asks of its card.
    pub scenario: BTreeMap<String, Wanted>,
    /// What a bench has to know of the card.
    pub card: CardFacts,
}

/// What a run asks of its card: a number that a parameter of the design may be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// Virtio's number of the device: 1 a network interface, 2 a disk.
    DeviceType,
    /// Entries offered per queue.
    QueueSize,
    /// Requests per queue worked on at once, as a power of two.
    ContextsLog2,
    /// Descriptors fetched with one read.
    DescriptorPrefetch,
    /// Used elements gathered before they are written.
    CompletionBatch,
    /// DMA reads under way at once.
    ReadsInFlight,
    /// Bytes of memory on the card.
    MemoryBytes,
    /// Feature bits that are not to be offered.
    WithheldFeatures,
    /// The link's generation.
    LinkGeneration,
    /// The link's lanes.
    LinkLanes,
    /// The way through the cable, in cycles of the clock.
    CableCycles,
    /// Sectors of 512 bytes on the disk.
    DiskSectors,
}

/// The clock of the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// The port.
    pub port: String,
    /// From rising edge to rising edge.
    pub period: Span,
}

/// The reset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// The port.
    pub port: String,
    /// At which level the design is in reset.
    pub polarity: Polarity,
    /// For so many rising edges.
    #[serde(default = "four")]
    pub cycles: u32,
}

const fn three() -> u8 {
    3
}

const fn four() -> u32 {
    4
}

/// At which level a design is in reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Polarity {
    /// At 0.
    ActiveLow,
    /// At 1.
    ActiveHigh,
}

/// How TLPs go in and out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Which pins there are and what they mean. Widths are taken from the ports.
    pub kind: InterfaceKind,
}

/// The kinds of interface that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceKind {
    /// Whole TLPs, byte n of a beat in bits 8n+7..8n; credits as numbers. `rtl-model/rtl/README.md`, Pins.
    TlpStream,
}

/// What a bench has to know of a card to choose what it asks of it. What is not said, a bench takes as it
/// takes it for the model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardFacts {
    /// What it is to a driver.
    pub device: Option<CardDevice>,
    /// The BAR that is memory on the card; rings may live in it.
    pub memory_bar: Option<u8>,
    /// Its size in bytes.
    pub memory_bytes: Option<u64>,
    /// The largest request, each way, in bytes.
    pub request_bytes_max: Option<u64>,
    /// Buffers of one request.
    pub chain_max: Option<u32>,
    /// Entries of an indirect table.
    pub table_entries_max: Option<u32>,
    /// Entries of a queue.
    pub queue_size_max: Option<u16>,
    /// Capacity of a disk in sectors of 512 bytes.
    pub disk_sectors: Option<u64>,
    /// DMA reads in flight.
    pub reads_in_flight: Option<u16>,
}

/// What a card is to a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CardDevice {
    /// A network interface.
    Net,
    /// A disk.
    Blk,
}

/// The text as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    top: String,
    files: Vec<String>,
    #[serde(default)]
    include: Vec<PathBuf>,
    #[serde(default)]
    defines: BTreeMap<String, Value>,
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default = "three")]
    optimise: u8,
    clock: ClockLine,
    reset: Option<Reset>,
    interface: Interface,
    model: Option<String>,
    #[serde(default)]
    ports: PortNames,
    #[serde(default)]
    tie: BTreeMap<String, Value>,
    #[serde(default)]
    scenario: BTreeMap<String, Wanted>,
    #[serde(default)]
    card: CardFacts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockLine {
    port: String,
    period: Duration,
}

impl Manifest {
    /// Reads a manifest and finds its files.
    ///
    /// # Errors
    /// With file, line and key: what cannot be read, is unknown, does not fit, is not there.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        Self::from_source(&Source::read(path)?)
    }

    /// The manifest in `source`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_source(source: &Source) -> Result<Self, InputError> {
        let file: File = source.parse()?;
        check(source, &file)?;
        Ok(Self {
            origin: source.origin().to_owned(),
            files: files(source, &file.files)?,
            include: folders(source, &file.include)?,
            name: file.name,
            top: file.top,
            defines: file.defines,
            parameters: file.parameters,
            options: file.options,
            optimise: file.optimise,
            clock: Clock { port: file.clock.port, period: file.clock.period.0 },
            reset: file.reset,
            interface: file.interface,
            model: file.model.map(|name| model(source, name)),
            ports: file.ports,
            tie: file.tie,
            scenario: file.scenario,
            card: file.card,
        })
    }
}

/// The preset's name, or where its file is.
fn model(source: &Source, name: String) -> String {
    if !name.ends_with(".toml") {
        return name;
    }
    let path = source.resolve(Path::new(&name));
    std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
}

/// What can be wrong in the text alone.
fn check(source: &Source, file: &File) -> Result<(), InputError> {
    let period = file.clock.period.0.as_ps();
    if period < 2 || !period.is_multiple_of(2) {
        return Err(source.complain("clock.period", "an even number of picoseconds, 2 or more"));
    }
    if file.optimise > 3 {
        return Err(source.complain("optimise", "a number from 0 to 3"));
    }
    if file.reset.as_ref().is_some_and(|reset| reset.cycles == 0) {
        return Err(source.complain("reset.cycles", "1 or more"));
    }
    if !is_name(&file.top) {
        return Err(source.complain("top", format!("`{}` is no name of a module", file.top)));
    }
    let tables = [
        ("defines", file.defines.keys().collect::<Vec<_>>()),
        ("parameters", file.parameters.keys().collect()),
        ("scenario", file.scenario.keys().collect()),
    ];
    for (table, keys) in tables {
        if let Some(key) = keys.into_iter().find(|key| !is_name(key)) {
            return Err(source.complain(&format!("{table}.{key}"), "no name that Verilog allows"));
        }
    }
    if let Some(key) = file.scenario.keys().find(|key| file.parameters.contains_key(*key)) {
        let message = "is set under `parameters` already";
        return Err(source.complain(&format!("scenario.{key}"), message));
    }
    for (key, value) in &file.tie {
        if value.words().is_none() {
            let message =
                format!("`{value}` is no value: a number from 0 on, or text such as \"0x1f\"");
            return Err(source.complain(&format!("tie.{key}"), message));
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// The files that the patterns name: in order of the patterns, those of one pattern by name, each once.
fn files(source: &Source, patterns: &[String]) -> Result<Vec<PathBuf>, InputError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let wrong = |what: String| source.complain("files", format!("`{pattern}`: {what}"));
        for path in expand(source, pattern).map_err(wrong)? {
            let path = path.canonicalize().map_err(|error| wrong(error.to_string()))?;
            if !path.is_file() {
                return Err(wrong("is a folder".to_owned()));
            }
            if !files.contains(&path) {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        return Err(source.complain("files", "at least one file"));
    }
    Ok(files)
}

fn expand(source: &Source, pattern: &str) -> Result<Vec<PathBuf>, String> {
    if !pattern.contains(['*', '?', '[']) {
        let path = source.resolve(Path::new(pattern));
        return match path.exists() {
            true => Ok(vec![path]),
            false => Err(absent(&path)),
        };
    }
    // What is special in the folder's own name is not meant.
    let folder = source.resolve(Path::new(""));
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    let whole = Path::new(&folder).join(pattern);
    let found = glob::glob(&whole.to_string_lossy()).map_err(|error| error.to_string())?;
    let paths = found.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    match paths.is_empty() {
        true => Err("fits no file".to_owned()),
        false => Ok(paths),
    }
}

/// That a file is not there, and which are like it.
fn absent(path: &Path) -> String {
    let there = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let Some(there) = there else { return "is not there, nor is its folder".to_owned() };
    let there: Vec<String> =
        there.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match super::names::near(&name, there.iter().map(String::as_str)).as_slice() {
        [] => "is not there".to_owned(),
        near => format!("is not there; near it: {}", near.join(", ")),
    }
}

fn folders(source: &Source, folders: &[PathBuf]) -> Result<Vec<PathBuf>, InputError> {
    let find = |folder: &PathBuf| {
        let path = source.resolve(folder).canonicalize();
        path.ok().filter(|path| path.is_dir()).ok_or_else(|| {
            source.complain("include", format!("`{}`: no folder is there", folder.display()))
        })
    };
    folders.iter().map(find).collect()
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
