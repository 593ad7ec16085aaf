//! How fast RTL is simulated: building it, its bare loop, and the bench around it with all pins served and the
//! analyzer on.
//!
//! Left out: a card that does nothing but read. The reads that are counted are those of a network interface that
//! is sent packets of 64 bytes: ring entries, descriptors, packets, none longer than that, with 32 allowed in
//! flight; how many are in flight is up to the card.

use std::path::Path;

use rtl_model::verilated::bare::bare_loop;
use rtl_model::verilated::{Manifest, Options, Rtl};

use super::stopwatch::Stopwatch;
use super::{Bench, Failure};
use crate::card::CardChoice;
use crate::scenario::source::{InputError, Source};
use crate::scenario::{Overrides, Scenario};

/// Clock cycles of the bare loop.
const BARE_CYCLES: u64 = 1_000_000;
/// Packets of one measurement.
const PACKETS: u64 = 20_000;

/// What one measurement showed, by figure: name and unit, value.
pub(super) type Figures = Vec<(&'static str, &'static str, f64)>;

/// Measures the RTL of a manifest once.
///
/// # Errors
/// What is wrong in it; that a tool is absent, and how it is had.
pub(super) fn measure(manifest: &Path, bench: &Bench<'_>) -> Result<Figures, Failure> {
    let mut figures = Vec::new();
    build(&Manifest::read(manifest)?, &mut figures)?;
    let card = CardChoice::parse(&format!("rtl:{}", manifest.display()))?;
    let source = Source::built_in("speed scenario", super::bench::SPEED);
    let set = [
        &format!("net.synthetic.packets={PACKETS}"),
        "card.reads_in_flight=32",
        "card.contexts=32",
        "card.descriptor_prefetch=8",
    ];
    let set = set.map(str::to_owned).to_vec();
    let mut scenario = Scenario::from_source(&source, &Overrides { set, ..Overrides::default() })?;
    card.adapt(&mut scenario.runs)?;
    let mut config = scenario.runs.swap_remove(0);
    config.under_test = card;
    let mut short = config.clone();
    if let crate::scenario::config::Workload::Net(net) = &mut short.workload {
        net.max_packets = Some(1);
    }
    // What is built for it is not what is measured.
    (bench.run)(&short)?;
    let stopwatch = Stopwatch::start();
    let result = (bench.run)(&config)?;
    let seconds = stopwatch.seconds();
    if let Some(violation) = result.violations.first() {
        return Err(Failure::Internal(format!("{}: {}", violation.rule, violation.message)));
    }
    figures.push(("rtl_cycles_per_s", "1/s", result.rtl_cycles as f64 / seconds));
    figures.push(("rtl_dma_reads_per_s", "1/s", result.dma_reads as f64 / seconds));
    figures.push(("rtl_descriptors_per_s", "1/s", result.descriptors as f64 / seconds));
    Ok(figures)
}

fn build(manifest: &Manifest, figures: &mut Figures) -> Result<(), Failure> {
    let refuse = |error| InputError::whole(&manifest.origin, error);
    let folder = tempfile::tempdir().map_err(anyhow::Error::from)?;
    let options = Options { cache: Some(folder.path().to_owned()), ..Options::default() };
    for name in ["rtl_build_cold_s", "rtl_build_cached_s"] {
        let stopwatch = Stopwatch::start();
        Rtl::load(manifest, &options).map_err(refuse)?;
        figures.push((name, "s", stopwatch.seconds()));
    }
    let bare = bare_loop(manifest, &options, BARE_CYCLES).map_err(refuse)?;
    figures.push(("rtl_bare_cycles_per_s", "1/s", bare));
    Ok(())
}
