//! The study file: which machine, which card, which rows, and how good the agreement must be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pcie_sim::link::credits::ReceiverBuffers;
use pcie_sim::link::{Generation, LinkConfig};
use pcie_sim::time::Span;
use rtl_model::ExerciserTiming;
use serde::Deserialize;

use super::data::{self, Iommu, Measurement, State, Test};
use crate::preset::{Measured, Quantity, Timing, measure};
use crate::scenario::source::{InputError, Source};

/// The largest window: what the benchmark's host program allocates.
pub const LARGEST_WINDOW: u32 = 64 << 20;

/// The study, with everything looked up.
#[derive(Debug, Clone)]
pub struct PcieBench {
    /// What reports call it.
    pub name: String,
    /// The seed of addresses drawn by lot.
    pub seed: u64,
    /// The machine.
    pub timing: Timing,
    /// Its link.
    pub link: LinkConfig,
    /// How requests are cut on it.
    pub sizes: Sizes,
    /// The card.
    pub card: Card,
    /// The measured rows.
    pub rows: Vec<Measurement>,
    /// Rows whose label is not what it says.
    pub relabel: Vec<Relabel>,
    /// What a state does to the machine besides the cache.
    pub states: Vec<StateOf>,
    /// How many accesses a point takes.
    pub accesses: Accesses,
    /// How good the agreement must be.
    pub thresholds: Agreement,
}

/// How requests and completions are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Speed of the link, 1 to 5.
    pub generation: u8,
    /// Lanes.
    pub width: u8,
    /// Max_Payload_Size.
    pub mps: u16,
    /// Max_Read_Request_Size.
    pub mrrs: u16,
    /// Read completion boundary.
    pub rcb: u16,
}

/// The card's own values, and where they come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// How long its steps take.
    pub timing: ExerciserTiming,
    /// Transfers at once when bandwidth is measured.
    pub at_once: u32,
    /// As written, for the report.
    pub quantities: BTreeMap<String, Quantity>,
}

/// Rows that say one state of the cache and show another.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relabel {
    /// Of this test.
    pub test: Test,
    /// With or without IOMMU.
    pub iommu: Iommu,
    /// What they say.
    pub says: State,
    /// What they show.
    pub shows: State,
    /// Why that is believed.
    pub why: String,
}

/// What was seen to go with a state, and that its definition does not explain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateOf {
    /// The state.
    pub state: State,
    /// Entries of the IOTLB that are of use.
    pub iotlb_entries: u32,
    /// On what evidence.
    pub why: String,
}

/// How many accesses a point takes; the first tenth does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accesses {
    /// Of a latency.
    pub latency: u32,
    /// Of a bandwidth.
    pub bandwidth: u32,
}

/// The largest errors, as fractions of what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Of the median row.
    pub median: f64,
    /// Of any row.
    pub worst: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(rename = "kind")]
    _kind: String,
    seed: u64,
    preset: String,
    data: Vec<PathBuf>,
    link: Sizes,
    accesses: Accesses,
    thresholds: Agreement,
    #[serde(default)]
    relabel: Vec<Relabel>,
    #[serde(default)]
    state: Vec<StateOf>,
    exerciser: BTreeMap<String, Quantity>,
    /// Values in place of the preset's.
    #[serde(default)]
    set: BTreeMap<String, Quantity>,
}

impl PcieBench {
    /// Reads a study, its preset and its tables.
    ///
    /// # Errors
    /// [`InputError`] with file, line and key.
    pub fn load(source: &Source) -> Result<Self, InputError> {
        let file: File = source.parse()?;
        let timing = Timing::load(&file.preset, source, &file.set)?;
        let mut rows = Vec::new();
        for table in &file.data {
            rows.extend(data::read(&Source::read(&source.resolve(table))?)?);
        }
        if rows.is_empty() {
            return Err(source.complain("data", "no row was measured"));
        }
        if file.accesses.latency.min(file.accesses.bandwidth) < 100 {
            return Err(source.complain("accesses", "fewer than 100 say nothing"));
        }
        Ok(Self {
            name: file.name,
            seed: file.seed,
            link: link(source, &file.link, &timing)?,
            timing,
            sizes: file.link,
            card: card(source, file.exerciser)?,
            rows,
            relabel: file.relabel,
            states: file.state,
            accesses: file.accesses,
            thresholds: file.thresholds,
        })
    }

    /// What a row shows, whatever it says.
    #[must_use]
    pub fn state_of(&self, row: &Measurement) -> State {
        let named = self.relabel.iter().find(|relabel| {
            (relabel.test, relabel.iommu, relabel.says) == (row.test, row.iommu, row.host_cache)
        });
        named.map_or(row.host_cache, |relabel| relabel.shows)
    }
}

fn link(source: &Source, sizes: &Sizes, timing: &Timing) -> Result<LinkConfig, InputError> {
    let Some(generation) = Generation::from_number(sizes.generation) else {
        return Err(source.complain("link.generation", "a generation is 1 to 5"));
    };
    let payload = |size: u16| size.is_power_of_two() && (128..=4096).contains(&size);
    let checks = [
        ("link.width", matches!(sizes.width, 1 | 2 | 4 | 8 | 16), "a width is 1, 2, 4, 8 or 16"),
        ("link.mps", payload(sizes.mps), "a power of two from 128 to 4096"),
        ("link.mrrs", payload(sizes.mrrs), "a power of two from 128 to 4096"),
        ("link.rcb", matches!(sizes.rcb, 64 | 128), "a boundary is 64 or 128"),
    ];
    if let Some((key, _, why)) = checks.into_iter().find(|(_, fine, _)| !fine) {
        return Err(source.complain(key, why));
    }
    let mut card_buffers = ReceiverBuffers::default();
    // An endpoint takes every completion that it asked for: PCIe 5.0 §2.6.1.
    card_buffers.completion.headers = 2048;
    card_buffers.completion.data = 2048 * 256;
    Ok(LinkConfig {
        timing: timing.link(generation, sizes.width),
        card_buffers,
        ..LinkConfig::default()
    })
}

/// Takes the card's values out of the table; none may be left over.
fn card(source: &Source, quantities: BTreeMap<String, Quantity>) -> Result<Card, InputError> {
    let mut left = quantities.clone();
    let timing = ExerciserTiming {
        command_issue: take(source, &mut left, "command_issue")?,
        command_done: take(source, &mut left, "command_done")?,
        command_beat: take(source, &mut left, "command_beat")?,
        bulk_issue: take(source, &mut left, "bulk_issue")?,
        bulk_done: take(source, &mut left, "bulk_done")?,
        reads_at_once: take(source, &mut left, "reads_at_once")?,
        engines: take(source, &mut left, "engines")?,
        read_partial: take(source, &mut left, "read_partial")?,
        read_beat: take(source, &mut left, "read_beat")?,
        read_odd_floor: take(source, &mut left, "read_odd_floor")?,
        write_descriptor: take(source, &mut left, "write_descriptor")?,
        write_unit: take::<Span>(source, &mut left, "write_unit")?,
        write_unit_bytes: take::<u32>(source, &mut left, "write_unit_bytes")?.clamp(1, 4096) as u16,
        transmit_gap: take(source, &mut left, "transmit_gap")?,
        transmit_turn: take(source, &mut left, "transmit_turn")?,
    };
    let at_once = take::<u32>(source, &mut left, "at_once")?.clamp(1, 4096);
    if let Some(key) = left.keys().next() {
        let known = quantities.keys().filter(|key| !left.contains_key(*key));
        let known = known.map(String::as_str).collect::<Vec<_>>().join(", ");
        let why = format!("unknown value; there are: {known}");
        return Err(source.complain(&format!("exerciser.{key}"), why));
    }
    Ok(Card { timing, at_once, quantities })
}

fn take<T: Measured>(
    source: &Source,
    from: &mut BTreeMap<String, Quantity>,
    key: &str,
) -> Result<T, InputError> {
    let complain = |why: String| source.complain(&format!("exerciser.{key}"), why);
    let quantity = from.remove(key).ok_or_else(|| complain("this value is missing".to_owned()))?;
    measure(key, &quantity).map_err(complain)
}
