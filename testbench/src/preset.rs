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

mod card;

use std::collections::BTreeMap;
use std::path::Path;

use host_driver::dma::costs::BackEndCosts;
use pcie_sim::host::llc::LlcShape;
use pcie_sim::host::shape::HostCosts;
use pcie_sim::link::{Generation, LinkTiming};
use pcie_sim::root::{CpuTiming, RootTiming};
use pcie_sim::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::card::CardPreset;
use crate::scenario::source::{InputError, Source};

/// The presets that the program carries in itself: name and text.
const BUILT_IN: &[(&str, &str)] = &[
    ("gen3x8-assumed", include_str!("../presets/gen3x8-assumed.toml")),
    ("haswell-e5-gen3x8", include_str!("../presets/haswell-e5-gen3x8.toml")),
    ("fpga-desktop-gen3x8", include_str!("../presets/fpga-desktop-gen3x8.toml")),
    ("ideal", include_str!("../presets/ideal.toml")),
];

/// A value as written in a preset or a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// The figure.
    pub value: f64,
    /// `ps`, `ns`, `us` or `ms` for a time, `cycles` of the card's clock, `KiB` or `MiB`, or `count`.
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
pub(crate) trait Measured: Sized {
    const UNITS: &'static [(&'static str, f64)];
    /// In the first unit; anything larger is a mistake.
    const LARGEST: f64;
    fn from_base(value: f64) -> Self;
}

impl Measured for Span {
    const UNITS: &'static [(&'static str, f64)] =
        &[("ps", 1.0), ("ns", 1e3), ("us", 1e6), ("ms", 1e9)];
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

/// A capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct KiB(pub u32);

impl Measured for KiB {
    const UNITS: &'static [(&'static str, f64)] = &[("KiB", 1.0), ("MiB", 1024.0)];
    const LARGEST: f64 = 1e7;
    fn from_base(value: f64) -> Self {
        Self(value as u32)
    }
}

/// The value of a quantity that is no key of a preset.
pub(crate) fn measure<T: Measured>(key: &str, quantity: &Quantity) -> Result<T, String> {
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
            /// The card's own steps, when it is a pipelined one; then the stages above do not count.
            pub card: Option<CardPreset>,
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
                card: None,
                preset: preset.to_owned(),
                quantities: quantities.clone(),
            })
        }
    };
}

timing! {
    /// One way through the link: wire, retimers, both sides' physical and data link layers.
    link_propagation: Span = "link.propagation";
    /// How long a receiver gathers freed credits before it sends an UpdateFC, unless the sender waits.
    link_credit_return: Span = "link.credit_return";
    /// A request of the card, from the root port's receive buffer to the memory system.
    root_inbound: Span = "root.inbound";
    /// Reading host memory for the card, up to the first completion at the transmitter.
    root_memory_read: Span = "root.memory_read";
    /// Added to a read of a line that a core of the CPU may have.
    root_core_snoop: Span = "root.core_snoop";
    /// Added to a read of a line that is not in the last-level cache.
    root_llc_miss: Span = "root.llc_miss";
    /// Writing host memory for the card, until the CPU and later reads see it.
    root_memory_write: Span = "root.memory_write";
    /// Posted writes of the card that the root complex holds until they take effect.
    root_posted_queue: u32 = "root.posted_queue";
    /// The last-level cache; nothing where every read of memory takes the same time.
    llc_capacity: KiB = "llc.capacity";
    /// Ways of its sets.
    llc_ways: u32 = "llc.ways";
    /// Ways that a card's writes may fill (DDIO).
    llc_device_ways: u32 = "llc.device_ways";
    /// A request of the CPU, from the core to the root port's transmitter.
    root_outbound: Span = "root.outbound";
    /// A completion for the CPU, from the root port's receive buffer to the core.
    root_completion: Span = "root.completion";
    /// From an MSI-X write's turn in memory order to the first instruction of its handler.
    root_interrupt_delivery: Span = "root.interrupt_delivery";
    /// How long the root complex waits for a completion.
    root_completion_timeout: Span = "root.completion_timeout";
    /// The core's time for an uncached write, before it may go on.
    cpu_mmio_write: Span = "cpu.mmio_write";
    /// The core's time for one burst of up to 64 bytes out of a write-combining buffer.
    cpu_write_combined_burst: Span = "cpu.write_combined_burst";
    /// Reading a register of the root complex itself, the IOMMU's.
    cpu_local_register: Span = "cpu.local_register";
    /// Seeing, in a spinning loop, that a device changed a cache line.
    cpu_spin_notice: Span = "cpu.spin_notice";
    /// The driver's time to build a request and add it to a queue, besides its accesses.
    driver_add_buffer: Span = "driver.add_buffer";
    /// The same, for each of the request's segments.
    driver_add_segment: Span = "driver.add_segment";
    /// The driver's time to take a used buffer and finish its request, besides its accesses.
    driver_take_used: Span = "driver.take_used";
    /// The CPU's way into an interrupt handler and back.
    driver_interrupt_handler: Span = "driver.interrupt_handler";
    /// One round of polling, besides the access itself.
    driver_poll: Span = "driver.poll";
    /// The driver's time for one mapping through an IOMMU, besides its accesses.
    driver_iommu_map: Span = "driver.iommu_map";
    /// The driver's time for giving one up, besides its accesses.
    driver_iommu_unmap: Span = "driver.iommu_unmap";
    /// The driver's time for carrying a deferred flush out, besides its accesses.
    driver_iommu_flush: Span = "driver.iommu_flush";
    /// The driver's time for one mapping through a table of entries (TCE), besides its accesses.
    driver_tce_map: Span = "driver.tce_map";
    /// The driver's time for giving one up, besides its accesses.
    driver_tce_unmap: Span = "driver.tce_unmap";
    /// Finding a bounce buffer, or giving it back.
    driver_bounce_slot: Span = "driver.bounce_slot";
    /// Copying 64 bytes between a buffer and its bounce buffer in RAM.
    driver_copy_line: Span = "driver.copy_line";
    /// Finding a machine frame in the driver's cache of them.
    driver_frame_lookup: Span = "driver.frame_lookup";
    /// One hypercall, there and back.
    host_hypercall: Span = "host.hypercall";
    /// What a hypercall takes on top for each table entry or page it is about.
    host_hypercall_item: Span = "host.hypercall_item";
    /// Cleaning or invalidating one cache line by address.
    host_line_maintenance: Span = "host.line_maintenance";
    /// A barrier that the CPU has to wait for, besides what it waits for.
    host_barrier: Span = "host.barrier";
    /// Translations that the IOTLB holds.
    iommu_iotlb_entries: u32 = "iommu.iotlb_entries";
    /// A request whose translation is in the IOTLB; part of every other request too.
    iommu_hit: Span = "iommu.hit";
    /// Each read of a root or context entry.
    iommu_context_walk_read: Span = "iommu.context_walk_read";
    /// Each read of a page table's entry.
    iommu_page_walk_read: Span = "iommu.page_walk_read";
    /// Entries of upper tables that the IOMMU remembers.
    iommu_table_entries: u32 = "iommu.table_entries";
    /// Every walk of a page table, besides its reads.
    iommu_walk: Span = "iommu.walk";
    /// Walks that run at once; 0 for any number.
    iommu_walks_at_once: u32 = "iommu.walks_at_once";
    /// How much longer a walk for a read keeps its walker.
    iommu_read_hold: Span = "iommu.read_hold";
    /// From a write to the global command register to the status register's change.
    iommu_command: Span = "iommu.command";
    /// Fetching an invalidation descriptor.
    iommu_descriptor_fetch: Span = "iommu.descriptor_fetch";
    /// Dropping context entries.
    iommu_context_invalidation: Span = "iommu.context_invalidation";
    /// Dropping all translations, or those of a domain.
    iommu_iotlb_invalidation: Span = "iommu.iotlb_invalidation";
    /// Dropping the translations of some pages.
    iommu_page_invalidation: Span = "iommu.page_invalidation";
    /// A wait descriptor: its status write's reaching memory.
    iommu_wait: Span = "iommu.wait";
    /// On the card: from a request for a register or on-card memory to its completion.
    card_register_access: Cycles = "card.register_access";
    /// On the card: from a doorbell's arrival to the decision to fetch.
    card_doorbell: Cycles = "card.doorbell";
    /// On the card: to understand an index, a ring entry, a descriptor.
    card_parse: Cycles = "card.parse";
    /// On the card: from the decision to read to the request at the pins.
    card_dma_read_issue: Cycles = "card.dma_read_issue";
    /// On the card: from a completion's last byte to its use.
    card_dma_completion: Cycles = "card.dma_completion";
    /// On the card: one access to its own memory.
    card_local_access: Cycles = "card.local_access";
    /// On the card: between a packet's last byte and the cable, each way.
    card_net_processing: Cycles = "card.net_processing";
    /// On the card: from a block command's last byte to its result, the medium included.
    card_blk_processing: Cycles = "card.blk_processing";
    /// On the card: added to a request's processing for each 16 bytes.
    card_per_16_bytes: Cycles = "card.per_16_bytes";
    /// On the card: from a request's end to the write of its used element.
    card_used_write: Cycles = "card.used_write";
    /// On the card: from the decision to interrupt to the message.
    card_interrupt: Cycles = "card.interrupt";
    /// On the card: how long a read may stay unanswered.
    card_completion_timeout: Span = "card.completion_timeout";
}

impl Timing {
    /// The preset that is used when a scenario names none.
    pub const DEFAULT: &'static str = "haswell-e5-gen3x8";

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

    /// The link's share, for one of this speed.
    #[must_use]
    pub const fn link(&self, generation: Generation, lanes: u8) -> LinkTiming {
        LinkTiming {
            generation,
            lanes,
            propagation: self.link_propagation,
            credit_return: self.link_credit_return,
        }
    }

    /// The root complex's share.
    #[must_use]
    pub const fn root(&self) -> RootTiming {
        RootTiming {
            inbound: self.root_inbound,
            memory_read: self.root_memory_read,
            llc: LlcShape {
                kib: self.llc_capacity.0,
                ways: self.llc_ways,
                device_ways: self.llc_device_ways,
            },
            core_snoop: self.root_core_snoop,
            llc_miss: self.root_llc_miss,
            posted_queue: self.root_posted_queue,
            memory_write: self.root_memory_write,
            outbound: self.root_outbound,
            completion: self.root_completion,
            interrupt_delivery: self.root_interrupt_delivery,
            completion_timeout: self.root_completion_timeout,
        }
    }

    /// What DMA back ends cost, besides an IOMMU's.
    #[must_use]
    pub const fn back_ends(&self) -> BackEndCosts {
        BackEndCosts {
            map: self.driver_tce_map,
            unmap: self.driver_tce_unmap,
            bounce_slot: self.driver_bounce_slot,
            copy_line: self.driver_copy_line,
            frame_lookup: self.driver_frame_lookup,
        }
    }

    /// What the host asks of a driver on top; a store waits in the CPU's buffer for `store_drain` at most.
    #[must_use]
    pub const fn host(&self, store_drain: Span) -> HostCosts {
        HostCosts {
            hypercall: self.host_hypercall,
            hypercall_item: self.host_hypercall_item,
            line_maintenance: self.host_line_maintenance,
            barrier: self.host_barrier,
            store_drain,
        }
    }

    /// The CPU's share.
    #[must_use]
    pub const fn cpu(&self) -> CpuTiming {
        CpuTiming {
            mmio_write: self.cpu_mmio_write,
            write_combined_burst: self.cpu_write_combined_burst,
            local_register: self.cpu_local_register,
            spin_notice: self.cpu_spin_notice,
        }
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
        assert_eq!(timing.iommu_iotlb_entries, 118);
        assert!(timing.assumptions().any(|(key, _)| key == "root.interrupt_delivery"));
        assert!(!timing.assumptions().any(|(key, _)| key == "iommu.iotlb_entries"));
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
             there are: ps, ns, us, ms"
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
