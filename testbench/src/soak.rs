//! Runs drawn by lot in which things go wrong, any number of them: whatever happens, the bench neither
//! panics nor hangs, and nothing is lost without anybody being told.
//!
//! A run is known by its seed: [`run`] gives the same one each time.

use std::collections::BTreeMap;
use std::fmt::Write;

use pcie_sim::fault::FaultKind;
use pcie_sim::host::seed::Sequence;
use pcie_sim::time::Span;

use crate::bench::faults::Verdict;
use crate::report::{RunError, RunResult};
use crate::scenario::config::RunConfig;
use crate::scenario::source::{InputError, Source};
use crate::scenario::{Overrides, Scenario};

/// No run may take longer, in simulated time: every wait in driver and bench has an end.
pub const LONGEST: Span = Span::from_ms(20_000);
/// The platforms that take part: with an IOMMU and without, and one that bounces.
const PLATFORMS: [&str; 5] =
    ["x86-noiommu", "x86-vtd", "x86-vtd-lazy", "x86-vtd-2m", "ppc64-secure"];

/// The text of the scenario with this seed.
#[must_use]
pub fn text(seed: u64) -> String {
    let mut lots = Sequence::new(seed);
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{words}");
    };
    let platform = pick(&mut lots, &PLATFORMS);
    line(format_args!("name = \"soak\"\nseed = {seed}\nplatforms = [\"{platform}\"]\n[matrix]"));
    line(format_args!("devices = [\"{}\"]", pick(&mut lots, &["blk", "net"])));
    line(format_args!("rings = [\"{}\"]", pick(&mut lots, &["host", "hybrid", "card"])));
    line(format_args!("layouts = [\"{}\"]", pick(&mut lots, &["direct", "indirect"])));
    line(format_args!("event_idx = [{}]", pick(&mut lots, &["false", "true"])));
    line(format_args!("[host]\nram = \"64 MiB\"\n[link]"));
    line(format_args!("generation = {}", 1 + lots.below(5)));
    line(format_args!("width = {}", pick(&mut lots, &["1", "4", "8", "16"])));
    line(format_args!("mps = {}", pick(&mut lots, &["128", "256", "512"])));
    line(format_args!("mrrs = {}", pick(&mut lots, &["128", "512", "4096"])));
    line(format_args!("ordering = \"{}\"", pick(&mut lots, &["keep", "drawn"])));
    let orders = ["as-ready", "in-order", "drawn", "reversed"];
    line(format_args!("completions = \"{}\"", pick(&mut lots, &orders)));
    line(format_args!("[driver]\nqueue_depth = {}", 1 + lots.below(8)));
    line(format_args!("completion = \"{}\"", pick(&mut lots, &["interrupt", "poll"])));
    line(format_args!("[card]\ndescriptor_prefetch = {}", pick(&mut lots, &["1", "4"])));
    let bytes = 64 + lots.below(1400);
    line(format_args!("[net]\nsynthetic = {{ packets = 30, bytes = {bytes} }}"));
    let bytes = 512 * (1 + lots.below(8));
    line(format_args!("[blk]\ndisk_size = \"1 MiB\""));
    line(format_args!("synthetic = {{ requests = 30, bytes = {bytes} }}"));
    for _ in 0..=lots.below(3) {
        line(format_args!("{}", fault(&mut lots)));
    }
    text
}

/// One `[[fault]]`: mostly rare ones, so that a run comes to its later parts.
fn fault(lots: &mut Sequence) -> String {
    let kind = FaultKind::ALL[lots.below(FaultKind::ALL.len() as u64) as usize];
    let ways = [
        ("up", pcie_sim::endpoint::Direction::Upstream),
        ("down", pcie_sim::endpoint::Direction::Downstream),
    ];
    let ways: Vec<_> = ways.into_iter().filter(|(_, way)| kind.fits(*way)).collect();
    let (way, _) = ways[lots.below(ways.len() as u64) as usize];
    let often = match lots.below(3) {
        0 => format!("when = {{ packet = {} }}", 1 + lots.below(200)),
        1 => format!("when = {{ after = \"{} us\" }}", lots.below(50)),
        _ => format!("probability = 0.{:03}\ntimes = {}", 1 + lots.below(50), 1 + lots.below(20)),
    };
    let delay = 1 + lots.below(60);
    let name = kind.name();
    format!("[[fault]]\nkind = \"{name}\"\ndirection = \"{way}\"\n{often}\ndelay = \"{delay} us\"")
}

fn pick<'t>(lots: &mut Sequence, of: &[&'t str]) -> &'t str {
    of[lots.below(of.len() as u64) as usize]
}

/// The run with this seed.
///
/// # Errors
/// None that can happen: what is drawn is allowed.
pub fn run(seed: u64) -> Result<RunConfig, InputError> {
    let source = Source::built_in(&format!("soak {seed}"), &text(seed));
    let scenario = Scenario::from_source(&source, &Overrides::default())?;
    let first = scenario.runs.into_iter().next();
    first.ok_or_else(|| source.complain("matrix", "there is nothing to run"))
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its seed.
    pub seed: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// What may never be: a silent loss, a run without end. One line.
    pub wrong: Option<String>,
}

impl Ended {
    /// What the result of a run comes to.
    #[must_use]
    pub fn of(seed: u64, result: &RunResult) -> Self {
        let told = result.told.as_deref();
        let verdict = told.map_or(Verdict::NoStrike, |told| told.verdict(&result.violations));
        let wrong = if verdict == Verdict::Silent {
            Some("something is lost, and nobody was told".to_owned())
        } else if result.sim_time > LONGEST {
            Some(format!("it took {} ns of simulated time", result.sim_time.as_ns()))
        } else {
            left_behind(result)
        };
        Self { seed, verdict, wrong }
    }
}

/// What a run without any fault may not show either.
fn left_behind(result: &RunResult) -> Option<String> {
    let clean = result.told.as_deref().is_none_or(|told| told.strikes.is_empty());
    let left = |rule: &str| rule == "DMA-LEFT" || rule == "DMA-API" || clean;
    let found = result.violations.iter().find(|violation| left(&violation.rule))?;
    Some(format!("{}: {}", found.rule, found.message))
}

/// What many runs come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Runs by verdict.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Those that may not be, with their seeds.
    pub wrong: Vec<(u64, String)>,
}

impl Tally {
    /// Adds a run; one that could not be run at all is wrong.
    pub fn add(&mut self, seed: u64, ended: Result<Ended, RunError>) {
        match ended {
            Ok(ended) => {
                *self.verdicts.entry(ended.verdict.word()).or_default() += 1;
                self.wrong.extend(ended.wrong.map(|why| (seed, why)));
            }
            Err(error) => self.wrong.push((seed, error.to_string())),
        }
    }

    /// A few lines.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (verdict, runs) in &self.verdicts {
            let _ = writeln!(out, "{verdict}: {runs}");
        }
        for (seed, why) in &self.wrong {
            let _ = writeln!(out, "wrong: seed {seed}: {why}");
        }
        out
    }
}
