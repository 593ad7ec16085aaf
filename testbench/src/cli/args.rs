//! What may be said on the command line.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use waves::Cut;

use super::live_args::{GuestArgs, ServeArgs};
use crate::scenario::Overrides;
use crate::scenario::config::Device;
use crate::scenario::source::InputError;
use crate::study::Shard;

/// The reports that have a schema.
pub(super) const SCHEMAS: [&str; 4] = ["run", "compare", "study", "bench"];

/// A test bench for a physical virtio PCIe card.
///
/// Without a verb: `run`, with the default scenario.
///
/// Exit status: 0 all held; 1 a rule was violated or a threshold missed; 2 the input is wrong;
/// 3 internal error.
#[derive(Debug, Parser)]
#[command(name = "vtb", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// As for `run`.
    #[command(flatten)]
    pub options: RunOptions,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a scenario and print the round-trip table
    Run(Box<RunArgs>),
    /// Run a study: a sweep over parameters, or a published benchmark replayed and compared
    Study(StudyArgs),
    /// Run what is drawn by lot, with faults: no panic, no hang, nothing lost without anybody being told
    Soak(SoakArgs),
    /// Run a scenario on the model and on RTL: the first difference, and how far apart they are in time
    Compare(Box<CompareArgs>),
    /// Put reports of several drivers on the same card and workload side by side
    Drivers(DriversArgs),
    /// Print the JSON schema of a report
    Schema {
        /// Which report
        #[arg(value_parser = SCHEMAS, default_value = "run")]
        of: String,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the card's and the root port's configuration space, as `lspci -F` reads it
    Lspci(LspciArgs),
    /// Offer the card to a QEMU guest over vfio-user, and report what its driver did
    Serve(ServeArgs),
    /// Boot a Linux guest under QEMU on the card, let it work, and show what it said beside our report
    Guest(GuestArgs),
    /// Measure the bench's own speed and memory
    Bench(BenchArgs),
}

/// The options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The scenario, a TOML file; the default one when left out
    pub scenario: Option<PathBuf>,
    /// The options.
    #[command(flatten)]
    pub options: RunOptions,
}

/// What can be put in place of what the scenario says, and what is written.
#[derive(Debug, Args, Default)]
pub struct RunOptions {
    /// Machine to plug the card into, instead of the scenario's; may be repeated. `all`, without a
    /// scenario: the table of every platform and what becomes of a card there
    #[arg(long, value_name = "ID")]
    pub platform: Vec<String>,
    /// Tell the story of the platforms named: what address the driver had, and what became of it
    #[arg(long, requires = "platform")]
    pub explain: bool,
    /// Card under test: `model`, or `rtl:MANIFEST`
    #[arg(long, value_name = "CARD", default_value = "model")]
    pub card: String,
    /// Seed of everything drawn by lot, instead of the scenario's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write waves (.fst, .vcd: signals; .perfetto-trace: what took how long) of one run: the first, or
    /// the one that --only names
    #[arg(long, value_name = "FILE")]
    pub waves: Option<PathBuf>,
    /// Write what Verilator sees inside of RTL (.fst) of one run, as --waves does
    #[arg(long, value_name = "FILE")]
    pub rtl_waves: Option<PathBuf>,
    /// Only what lies between two simulated times is in the waves, as in `10us..20us` or `1ms..`
    #[arg(long, value_name = "START..END", requires = "waves", value_parser = window)]
    pub waves_window: Option<Window>,
    /// How many levels of scopes, or of tracks, are in the waves; all when left out
    #[arg(long, value_name = "LEVELS", requires = "waves", value_parser = clap::value_parser!(u32).range(1..))]
    pub waves_depth: Option<u32>,
    /// Write every TLP of every run, one a line, in hex and in words
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Packets of a capture (pcap, pcapng), instead of the scenario's
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Block commands of a fio iolog (version 2, 3), instead of the scenario's
    #[arg(long, value_name = "FILE")]
    pub blk_log: Option<PathBuf>,
    /// Only runs whose name contains this, as in `hybrid/direct/net`
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Set one key of the scenario, as in `card.queue_size=64`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Runs at a time; as many as there are cores when left out
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Report the wall-clock time as `wall_s`, which otherwise is 0 so that equal runs give equal files
    #[arg(long)]
    pub wall_clock: bool,
}

/// The options of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The scenario, a TOML file; the default one when left out
    pub scenario: Option<PathBuf>,
    /// The RTL: a manifest
    #[arg(long, value_name = "MANIFEST")]
    pub rtl: PathBuf,
    /// Seed of everything drawn by lot, instead of the scenario's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Machine to plug the card into, instead of the scenario's; may be repeated
    #[arg(long, value_name = "ID")]
    pub platform: Vec<String>,
    /// Only runs whose name contains this, as in `hybrid/direct/net`
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Set one key of the scenario, as in `card.queue_size=64`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write waves of both cards into this folder, `model.fst` and `rtl.fst` with the same signals, and
    /// `rtl-inside.fst` with all of the RTL's; layouts for viewers; `show`, which opens the two. They show the
    /// first difference and what is around it; where there is none, the request that is furthest apart in
    /// time
    #[arg(long, value_name = "DIR")]
    pub waves: Option<PathBuf>,
    /// Runs at a time; as many as there are cores when left out
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

impl CompareArgs {
    /// What they put in place of what a scenario says.
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            platforms: self.platform.clone(),
            seed: self.seed,
            only: self.only.clone(),
            set: self.set.clone(),
            ..Overrides::default()
        }
    }
}

/// The options of `soak`.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// How many runs
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub runs: u64,
    /// Seed of the first; each of the others has the next one
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print the scenario with this seed instead of running anything; `vtb run` takes it
    #[arg(long)]
    pub show: bool,
    /// Runs at a time; as many as there are cores when left out
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// The options of `study`.
#[derive(Debug, Args)]
pub struct StudyArgs {
    /// The study, a TOML file
    #[arg(required_unless_present = "merge", conflicts_with = "merge")]
    pub study: Option<PathBuf>,
    /// Card under test: `model`, or `rtl:MANIFEST`. A study of kind `pcie-bench` has a card of its own
    #[arg(long, value_name = "CARD", default_value = "model")]
    pub card: String,
    /// Only every Nth of its points, from the Ith on: a part that another machine need not run
    #[arg(long, value_name = "I/N", conflicts_with = "merge")]
    pub shard: Option<Shard>,
    /// Put the JSON reports of all shards together instead of running anything
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub merge: Vec<PathBuf>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as one HTML page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Points at a time; as many as there are cores when left out
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// The options of `drivers`.
#[derive(Debug, Args)]
pub struct DriversArgs {
    /// What a driver is called and its report, as `vtb run --json` writes it
    #[arg(value_name = "NAME=FILE", required = true)]
    pub reports: Vec<String>,
}

/// The options of `lspci`.
#[derive(Debug, Args)]
pub struct LspciArgs {
    /// Machine to plug the card into
    #[arg(long, value_name = "ID", default_value = "x86-noiommu")]
    pub platform: String,
    /// Card under test: `model`, or `rtl:MANIFEST`
    #[arg(long, value_name = "CARD", default_value = "model")]
    pub card: String,
    /// Which virtio device the card is: `blk` or `net`
    #[arg(long, value_name = "DEVICE", default_value = "blk", value_parser = device)]
    pub device: Device,
}

pub(super) fn device(name: &str) -> Result<Device, String> {
    match name {
        "blk" => Ok(Device::Blk),
        "net" => Ok(Device::Net),
        _ => Err("there are: blk, net".to_owned()),
    }
}

/// From when until when, in picoseconds of simulated time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window(pub Range<u64>);

fn window(text: &str) -> Result<Window, String> {
    let (start, end) =
        text.split_once("..").ok_or("two times with `..` between them are needed")?;
    let time = |text: &str, open| if text.is_empty() { Ok(open) } else { picoseconds(text) };
    let (start, end) = (time(start, 0)?, time(end, u64::MAX)?);
    if start < end { Ok(Window(start..end)) } else { Err("it ends before it begins".to_owned()) }
}

/// A time such as `10us`: a whole number and a unit.
pub(super) fn picoseconds(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim_start() {
        "ps" => 1,
        "ns" => 1_000,
        "us" => 1_000_000,
        "ms" => 1_000_000_000,
        "s" => 1_000_000_000_000,
        _ => return Err(format!("`{text}` is no time such as 10us; units are ps, ns, us, ms, s")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` has no number that fits"))?;
    number.checked_mul(scale).ok_or_else(|| format!("`{text}` is more than a simulation can reach"))
}

impl LspciArgs {
    /// What they put in place of what the default scenario says.
    ///
    /// # Errors
    /// A card that this version does not have.
    pub(super) fn overrides(&self) -> Result<Overrides, InputError> {
        Ok(Overrides { platforms: vec![self.platform.clone()], ..Overrides::default() })
    }
}

/// The options of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Descriptors per measurement; may be repeated
    #[arg(long, value_name = "N", default_values_t = [10_000_u64, 100_000, 1_000_000])]
    pub descriptors: Vec<u64>,
    /// Measurements of each, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub runs: usize,
    /// Measure, too, how fast this RTL is built and simulated
    #[arg(long, value_name = "MANIFEST")]
    pub rtl: Option<PathBuf>,
    /// Measure so many packets once, in this process, and print one line of JSON
    #[arg(long, value_name = "PACKETS", hide = true)]
    pub child: Option<u64>,
    /// With `--child`: the card reads so many descriptors ahead, and tells of so many requests at once
    #[arg(long, value_name = "N", default_value_t = 1, hide = true)]
    pub ahead: u16,
    /// Measure a stream of TLPs once, with these layers, in this process, and print one line of JSON
    #[arg(long, value_name = "LAYERS", hide = true)]
    pub layers_child: Option<String>,
    /// Measure the DMA back end of a platform once, in this process, and print one line of JSON
    #[arg(long, value_name = "PLATFORM", hide = true)]
    pub dma_child: Option<String>,
}

impl RunOptions {
    /// How much of a run its waves show.
    pub(super) fn wave_cut(&self) -> Cut {
        let everything = Cut::default();
        Cut {
            window_ps: self.waves_window.as_ref().map_or(everything.window_ps, |w| w.0.clone()),
            depth: self.waves_depth.unwrap_or(everything.depth),
        }
    }

    /// What they put in place of what a scenario says.
    ///
    /// # Errors
    /// A card that this version does not have.
    pub(super) fn overrides(&self) -> Result<Overrides, InputError> {
        Ok(Overrides {
            platforms: self.platform.clone(),
            seed: self.seed,
            pcap: self.pcap.clone(),
            blk_log: self.blk_log.clone(),
            only: self.only.clone(),
            set: self.set.clone(),
        })
    }
}
