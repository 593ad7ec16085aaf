//! RTL by its manifest: built for what a run asks of it, and put into the slot.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use pcie_sim::time::Instant;
use rtl_model::pins::card::{PinCardConfig, Reset};
use rtl_model::pins::tlp_stream::{Signal, Stalls};
use rtl_model::pins::{Clocked, PinCard};
use rtl_model::verilated::manifest::{Manifest, Polarity, Wanted};
use rtl_model::verilated::{Options, Rtl, VerilatedModel, value::Value};
use rtl_model::{Backing, CardConfig, DeviceConfig};

use super::Plugged;
use crate::report::RunError;
use crate::scenario::config::RunConfig;
use crate::scenario::source::InputError;

/// A manifest, and what was built of it.
#[derive(Debug)]
pub struct RtlCard {
    manifest: Manifest,
    /// By parameters, and whether waves can be written.
    built: Mutex<BTreeMap<(String, bool), Rtl>>,
}

impl RtlCard {
    /// The card of a manifest.
    ///
    /// # Errors
    /// What is wrong in it, with file, line and key.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        Ok(Self::new(Manifest::read(path)?))
    }

    /// The card of a manifest that was read.
    #[must_use]
    pub fn new(manifest: Manifest) -> Self {
        Self { manifest, built: Mutex::default() }
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The parameters that a run sets, by the manifest's `[scenario]`.
    ///
    /// # Errors
    /// What the manifest asks for and a run cannot say.
    pub fn asked(
        &self,
        run: &RunConfig,
        config: &CardConfig,
    ) -> Result<BTreeMap<String, u64>, RunError> {
        let of = |(parameter, wanted): (&String, &Wanted)| {
            let value = value(*wanted, run, config).map_err(|why| {
                let origin = &self.manifest.origin;
                RunError::input(format!("{origin}: scenario.{parameter}: {why}"))
            })?;
            Ok((parameter.clone(), value))
        };
        self.manifest.scenario.iter().map(of).collect()
    }

    /// The design with the parameters that `run` asks for.
    ///
    /// # Errors
    /// What Verilator or the compiler says, and what the manifest asks for and a run cannot say.
    pub fn build(&self, run: &RunConfig, config: &CardConfig) -> Result<Rtl, RunError> {
        let mut manifest = self.manifest.clone();
        for (parameter, value) in self.asked(run, config)? {
            // Sized, as a plain number has 32 bits in Verilog.
            let value = Value::Text(format!("64'h{value:x}"));
            manifest.parameters.insert(parameter, value);
        }
        let waves = run.rtl_waves.is_some();
        let key = (format!("{:?}", manifest.parameters), waves);
        let mut built = self.built.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(rtl) = built.get(&key) {
            return Ok(rtl.clone());
        }
        let rtl = Rtl::load(&manifest, &Options { waves, ..Options::default() })
            .map_err(RunError::input)?;
        built.insert(key, rtl.clone());
        Ok(rtl)
    }

    /// The design in the slot.
    ///
    /// # Errors
    /// As [`Self::build`]; a port that is not there or not what it should be.
    pub(super) fn plug(&self, run: &RunConfig, config: &CardConfig) -> Result<Plugged, RunError> {
        if matches!(&config.device, DeviceConfig::Net(net) if net.far_end.is_some()) {
            return Err(RunError::input(format!(
                "{}: the cable of RTL is in the RTL, no station can be put at its end: net.peer=\"loop\"",
                self.manifest.origin
            )));
        }
        let rtl = self.build(run, config)?;
        let mut model = VerilatedModel::new(&rtl).map_err(RunError::input)?;
        if let Some(path) = &run.rtl_waves {
            model.open_waves(path).map_err(RunError::internal)?;
            if let Some(waves) = &run.waves {
                let Range { start, end } = waves.cut.window_ps;
                model.cut_waves(Instant::from_ps(start)..Instant::from_ps(end));
            }
        }
        Ok(Plugged::on_pins(in_slot(rtl.manifest(), model)?))
    }
}

/// A design in whatever simulator, put into the slot as its manifest says; what there is no port for is left out.
///
/// # Errors
/// A port that is not there or not what it should be.
pub fn in_slot<S: Clocked>(manifest: &Manifest, design: S) -> Result<PinCard<S>, RunError> {
    let ports = design.ports().to_vec();
    let name = |signal: &Signal| {
        let name = manifest.ports.pick(signal.name, &ports)?;
        // What a design may be without it is without, unless the manifest says otherwise.
        let there = ports.iter().any(|port| port.name == name);
        (there || !signal.optional || manifest.ports.names_it(signal.name)).then_some(name)
    };
    let pins = PinCardConfig {
        period: manifest.clock.period,
        reset: manifest.reset.as_ref().map(|reset| Reset {
            port: reset.port.clone(),
            active_high: reset.polarity == Polarity::ActiveHigh,
            cycles: reset.cycles,
        }),
        stalls: Stalls::default(),
    };
    PinCard::new(design, &name, &pins)
        .map_err(|error| RunError::input(format!("{}: {error}", manifest.origin)))
}

/// What a run asks of a card, as a number for a parameter.
fn value(wanted: Wanted, run: &RunConfig, config: &CardConfig) -> Result<u64, String> {
    let log2 = |n: u64| match n.is_power_of_two() {
        true => Ok(u64::from(n.trailing_zeros())),
        false => Err(format!("{n} is no power of two")),
    };
    let cycles = |ps: u64| ps.div_ceil(1_000_000 / u64::from(run.card.clock_mhz.max(1)));
    Ok(match wanted {
        Wanted::DeviceType => match config.device {
            DeviceConfig::Net(_) => 1,
            DeviceConfig::Blk(_) => 2,
        },
        Wanted::QueueSize => config.queue_size_max.into(),
        Wanted::ContextsLog2 => log2(config.contexts.into())?,
        Wanted::DescriptorPrefetch => config.descriptor_prefetch.into(),
        Wanted::CompletionBatch => config.completion_batch.into(),
        Wanted::ReadsInFlight => config.reads_in_flight.into(),
        Wanted::MemoryBytes => config.memory_bytes,
        Wanted::WithheldFeatures => config.withheld_features,
        Wanted::LinkGeneration => config.link_generation.into(),
        Wanted::LinkLanes => config.link_lanes.into(),
        Wanted::CableCycles => match &config.device {
            DeviceConfig::Net(net) => cycles(net.cable_delay.as_ps()),
            DeviceConfig::Blk(_) => 0,
        },
        Wanted::DiskSectors => match &config.device {
            DeviceConfig::Blk(blk) => match &blk.backing {
                Backing::Memory { capacity_sectors } => *capacity_sectors,
                Backing::File { .. } | Backing::PrivateCopy { .. } => {
                    return Err("a disk image cannot be put into RTL".to_owned());
                }
            },
            DeviceConfig::Net(_) => 1,
        },
    })
}
