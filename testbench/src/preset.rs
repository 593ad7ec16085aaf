//! What takes how long: timing values, each with its unit and its source.
//!
//! A preset is a TOML file with a table per value. A scenario names one, built in or a file of the
//! user's, and may set single values otherwise. Every key below must be there: no number has a default
//! that nobody sees.
//!
//! ```toml
//! [link.propagation]
//! value = 100
//! unit = "ns"
//! source = "assumed: no measurement of this card yet"
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use pcie_sim::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::source::{InputError, Source};

/// The presets that the program carries in itself: name and text.
const BUILT_IN: &[(&str, &str)] =
    &[("gen3x8-assumed", include_str!("../presets/gen3x8-assumed.toml"))];

/// A value as written in a preset or a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// The figure.
    pub value: f64,
    /// `ps`, `ns` or `us` for a time, `cycles` of the card's clock, or `count`.
    pub unit: String,
    /// Where the figure comes from; one that nobody measured begins with `assumed`.
    pub source: String,
}

impl Quantity {
    /// Nobody measured it.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.source.starts_with("assumed")
    }
}

/// What a key's value may be measured in.
trait Measured: Sized {
    const UNITS: &'static [(&'static str, f64)];
    /// In the first unit; anything larger is a mistake.
    const LARGEST: f64;
    fn from_base(value: f64) -> Self;
}

impl Measured for Span {
    const UNITS: &'static [(&'static str, f64)] = &[("ps", 1.0), ("ns", 1e3), ("us", 1e6)];
    const LARGEST: f64 = 3.6e15;
    fn from_base(value: f64) -> Self {
        Self::from_ps(value as u64)
    }
}

/// A number of the card's clock cycles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cycles(pub u32);

impl Measured for Cycles {
    const UNITS: &'static [(&'static str, f64)] = &[("cycles", 1.0)];
    const LARGEST: f64 = 1e9;
    fn from_base(value: f64) -> Self {
        Self(value as u32)
    }
}

impl Measured for u32 {
    const UNITS: &'static [(&'static str, f64)] = &[("count", 1.0)];
    const LARGEST: f64 = 1e9;
    fn from_base(value: f64) -> Self {
        value as Self
    }
}

fn measure<T: Measured>(key: &str, quantity: &Quantity) -> Result<T, String> {
    let Some(&(_, factor)) = T::UNITS.iter().find(|(unit, _)| *unit == quantity.unit) else {
        let units = T::UNITS.iter().map(|(unit, _)| *unit).collect::<Vec<_>>().join(", ");
        return Err(format!("unit `{}` does not suit {key}; there are: {units}", quantity.unit));
    };
    let base = (quantity.value * factor).round();
    let fine = (0.0..=T::LARGEST).contains(&base) && (base - quantity.value * factor).abs() < 1e-6;
    if !fine {
        let smallest = T::UNITS[0].0;
        let largest = T::LARGEST;
        return Err(format!(
            "{} {} is not a whole number of {smallest} from 0 to {largest:e}",
            quantity.value, quantity.unit
        ));
    }
    if quantity.source.trim().is_empty() {
        return Err("a value needs a source".to_owned());
    }
    Ok(T::from_base(base))
}

macro_rules! timing {
    ($($(#[$doc:meta])* $field:ident : $kind:ty = $key:literal;)*) => {
        /// Every timing value of a run, and where each came from.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Timing {
            $($(#[$doc])* pub $field: $kind,)*
            /// The preset's name or path.
            pub preset: String,
            /// Key and value as written, for the report.
            pub quantities: BTreeMap<String, Quantity>,
        }

        /// Every key, in the order of the table.
        const KEYS: &[&str] = &[$($key),*];

        fn build(
            preset: &str,
            quantities: BTreeMap<String, Quantity>,
            complain: &dyn Fn(&str, String) -> InputError,
        ) -> Result<Timing, InputError> {
            let of = |key: &str| quantities.get(key)
                .ok_or_else(|| complain(key, "this value is missing".to_owned()));
            Ok(Timing {
                $($field: measure($key, of($key)?).map_err(|why| complain($key, why))?,)*
                preset: preset.to_owned(),
                quantities: quantities.clone(),
            })
        }
    };
}

timing! {
    /// One way through the link, pin to pin, both ends' logic included.
    link_propagation: Span = "link.propagation";
    /// From the last symbol of a card's read request at the root port to its first completion's start.
    root_memory_read: Span = "root.memory_read";
    /// From the last symbol of a card's write at the root port to the CPU's being able to see it.
    root_memory_write: Span = "root.memory_write";
    /// One way between a CPU core and the root port, for MMIO.
    root_mmio: Span = "root.mmio";
    /// CPU time of one uncached write; the next cannot leave earlier.
    cpu_mmio_write: Span = "cpu.mmio_write";
    /// CPU time of one write-combined burst of up to 64 bytes.
    cpu_write_combined: Span = "cpu.write_combined";
    /// CPU time of one access to memory that its cache holds.
    cpu_memory: Span = "cpu.memory";
    /// CPU time of one access to a cache line that a device wrote.
    cpu_memory_miss: Span = "cpu.memory_miss";
    /// CPU time of one memory barrier.
    cpu_barrier: Span = "cpu.barrier";
    /// From an interrupt message's arrival to its handler's first instruction.
    cpu_interrupt: Span = "cpu.interrupt";
    /// CPU time that the driver spends on one request, besides its memory accesses.
    cpu_request: Span = "cpu.request";
    /// CPU time of one mapping through an IOMMU, besides its memory and register accesses.
    cpu_dma_map: Span = "cpu.dma_map";
    /// CPU time of giving one up, besides its memory and register accesses.
    cpu_dma_unmap: Span = "cpu.dma_unmap";
    /// Translations that the IOTLB holds.
    iommu_iotlb_entries: u32 = "iommu.iotlb_entries";
    /// What a translation found in the IOTLB adds to a DMA.
    iommu_iotlb_hit: Span = "iommu.iotlb_hit";
    /// What a translation that needs a walk adds to a DMA.
    iommu_iotlb_miss: Span = "iommu.iotlb_miss";
    /// Walks under way at once.
    iommu_walks: u32 = "iommu.walks";
    /// From an invalidation descriptor's being queued to its being done.
    iommu_invalidation: Span = "iommu.invalidation";
    /// On the card: from a register read's arrival to its completion.
    card_mmio_read: Cycles = "card.mmio_read";
    /// On the card: from a notification's arrival to the first ring access.
    card_doorbell: Cycles = "card.doorbell";
    /// On the card: from wanting a DMA to its request's start.
    card_dma_issue: Cycles = "card.dma_issue";
    /// On the card: from a completion's arrival to its data's being understood.
    card_parse: Cycles = "card.parse";
    /// On the card: one access to ring memory of its own.
    card_local_memory: Cycles = "card.local_memory";
    /// On the card: from a request's last byte to its used element.
    card_complete: Cycles = "card.complete";
    /// On the card: from the used index to the interrupt message.
    card_interrupt: Cycles = "card.interrupt";
    /// On the card: what the medium takes for one block command.
    card_medium: Span = "card.medium";
}

impl Timing {
    /// The preset that is used when a scenario names none.
    pub const DEFAULT: &'static str = "gen3x8-assumed";

    /// Reads a preset, built in or from a file, and lays `set` over it.
    ///
    /// # Errors
    /// [`InputError`] with file, line and key: an unknown preset (the message lists those that exist),
    /// an unknown, missing or unsuitable value.
    pub fn load(
        preset: &str,
        scenario: &Source,
        set: &BTreeMap<String, Quantity>,
    ) -> Result<Self, InputError> {
        let source = preset_source(preset, scenario)?;
        let table: toml::Table = source.parse()?;
        let mut quantities = BTreeMap::new();
        flatten(&source, "", &table, &mut quantities)?;
        known(quantities.keys(), |key, why| source.complain(key, why))?;
        known(set.keys(), |key, why| scenario.complain(&in_scenario(key), why))?;
        quantities.extend(set.iter().map(|(key, value)| (key.clone(), value.clone())));
        build(preset, quantities, &|key, why| {
            if set.contains_key(key) {
                scenario.complain(&in_scenario(key), why)
            } else {
                source.complain(key, why)
            }
        })
    }

    /// The values that nobody measured, by key.
    pub fn assumptions(&self) -> impl Iterator<Item = (&str, &Quantity)> {
        self.quantities
            .iter()
            .filter(|(_, quantity)| quantity.is_assumed())
            .map(|(key, quantity)| (key.as_str(), quantity))
    }
}

fn in_scenario(key: &str) -> String {
    format!("timing.set.{key}")
}

fn known<'k>(
    keys: impl Iterator<Item = &'k String>,
    complain: impl Fn(&str, String) -> InputError,
) -> Result<(), InputError> {
    for key in keys {
        if !KEYS.contains(&key.as_str()) {
            let why = format!("unknown timing value; there are: {}", KEYS.join(", "));
            return Err(complain(key, why));
        }
    }
    Ok(())
}

fn preset_source(preset: &str, scenario: &Source) -> Result<Source, InputError> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == preset) {
        return Ok(Source::built_in(&format!("preset {name}"), text));
    }
    if Path::new(preset).extension().is_some_and(|extension| extension == "toml") {
        return Source::read(&scenario.resolve(Path::new(preset)));
    }
    let names = BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let why = format!(
        "unknown preset `{preset}`; there are: {names}; a file of your own is named by its path, ending in .toml"
    );
    Err(scenario.complain("timing.preset", why))
}

fn flatten(
    source: &Source,
    prefix: &str,
    table: &toml::Table,
    into: &mut BTreeMap<String, Quantity>,
) -> Result<(), InputError> {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(leaf) if leaf.contains_key("value") => {
                let quantity = leaf
                    .clone()
                    .try_into()
                    .map_err(|error: toml::de::Error| source.complain(&path, error.message()))?;
                into.insert(path, quantity);
            }
            toml::Value::Table(inner) => flatten(source, &path, inner, into)?,
            _ => return Err(source.complain(&path, "expected a table with value, unit and source")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Source {
        Source::built_in(
            "s.toml",
            "[timing]\npreset = \"x\"\n[timing.set]\n\"link.propagation\" = 1\n",
        )
    }

    fn ns(value: f64, unit: &str) -> BTreeMap<String, Quantity> {
        let quantity = Quantity { value, unit: unit.to_owned(), source: "a test".to_owned() };
        BTreeMap::from([("link.propagation".to_owned(), quantity)])
    }

    #[test]
    fn the_default_preset_is_complete_and_says_what_it_assumes() {
        let timing = Timing::load(Timing::DEFAULT, &scenario(), &BTreeMap::new()).unwrap();
        assert_eq!(timing.iommu_iotlb_miss, Span::from_ns(270));
        assert!(timing.assumptions().any(|(key, _)| key == "cpu.interrupt"));
        assert!(!timing.assumptions().any(|(key, _)| key == "iommu.iotlb_miss"));
    }

    #[test]
    fn a_scenario_sets_a_single_value() {
        let timing = Timing::load(Timing::DEFAULT, &scenario(), &ns(0.25, "ns")).unwrap();
        assert_eq!(timing.link_propagation, Span::from_ps(250));
    }

    #[test]
    fn a_unit_that_does_not_suit_is_refused_with_those_that_do() {
        let error = Timing::load(Timing::DEFAULT, &scenario(), &ns(1.0, "cycles")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "s.toml:4: timing.set.link.propagation: unit `cycles` does not suit link.propagation; \
             there are: ps, ns, us"
        );
    }

    #[test]
    fn a_time_below_the_picosecond_or_below_zero_is_refused() {
        for value in [0.0001, -1.0, f64::NAN, 1e300] {
            assert!(Timing::load(Timing::DEFAULT, &scenario(), &ns(value, "ns")).is_err());
        }
    }

    #[test]
    fn an_unknown_preset_is_refused_with_those_that_exist() {
        let error = Timing::load("fast", &scenario(), &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("there are: gen3x8-assumed"), "{error}");
        assert_eq!(error.line, Some(2));
    }

    #[test]
    fn every_built_in_preset_names_every_value() {
        for (name, _) in BUILT_IN {
            let timing = Timing::load(name, &scenario(), &BTreeMap::new()).unwrap();
            assert_eq!(timing.quantities.len(), KEYS.len());
        }
    }
}
