//! What Python says of a design, and what it can be told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pcie_sim::time::Span;
use pyo3::prelude::*;
use rtl_model::source::Duration;
use rtl_model::verilated::Manifest;
use rtl_model::verilated::manifest::{CardFacts, Clock, Interface, InterfaceKind, Polarity, Reset};
use rtl_model::verilated::names::PortNames;
use rtl_model::verilated::value::Value;
use serde::Deserialize;
use testbench::card::RtlCard;
use testbench::scenario::source::InputError;
use testbench::scenario::{Overrides, Scenario};
use testbench::verb::Failure;

use super::raise;
use crate::attached::Plan;

/// What the constructor was given.
#[derive(Debug, Deserialize)]
pub(super) struct Options {
    module: String,
    interface: InterfaceKind,
    clock: String,
    reset: Option<ResetLine>,
    ports: PortNames,
    card: CardFacts,
    manifest: Option<PathBuf>,
    #[serde(flatten)]
    scenario: ScenarioOptions,
    trace: Option<PathBuf>,
    patience: Duration,
}

#[derive(Debug, Deserialize)]
struct ResetLine {
    port: String,
    active: u8,
    cycles: u32,
}

#[derive(Debug, Deserialize)]
struct ScenarioOptions {
    scenario: Option<PathBuf>,
    platform: Vec<String>,
    seed: Option<u64>,
    only: Option<String>,
    set: Vec<String>,
}

impl ScenarioOptions {
    fn load(&self) -> Result<Scenario, InputError> {
        let overrides = Overrides {
            platforms: self.platform.clone(),
            seed: self.seed,
            only: self.only.clone(),
            set: self.set.clone(),
            ..Overrides::default()
        };
        Scenario::load(self.scenario.as_deref(), &overrides)
    }
}

impl Options {
    /// What is to be done, read out of JSON.
    pub(super) fn plan(text: &str) -> Result<Plan, Failure> {
        let options: Self = serde_json::from_str(text).map_err(|error| {
            let text = error.to_string();
            // Where in the text that nobody wrote it was is of no use to anybody.
            Failure::Input(text.split(" at line ").next().unwrap_or_default().to_owned())
        })?;
        Ok(Plan {
            scenario: options.scenario.load()?,
            patience: options.patience.0,
            trace: options.trace.clone(),
            module: options.module.clone(),
            manifest: options.manifest()?,
        })
    }

    /// The manifest, or one made up of the other options.
    fn manifest(self) -> Result<Manifest, InputError> {
        if let Some(path) = &self.manifest {
            return Manifest::read(path);
        }
        Ok(Manifest {
            origin: self.module.clone(),
            name: self.module.clone(),
            top: self.module,
            files: Vec::new(),
            include: Vec::new(),
            defines: BTreeMap::new(),
            parameters: BTreeMap::new(),
            options: Vec::new(),
            // The simulator has compiled it.
            optimise: 0,
            // Measured later.
            clock: Clock { port: self.clock, period: Span::from_ns(1) },
            reset: self.reset.map(|reset| Reset {
                port: reset.port,
                polarity: if reset.active == 0 {
                    Polarity::ActiveLow
                } else {
                    Polarity::ActiveHigh
                },
                cycles: reset.cycles,
            }),
            interface: Interface { kind: self.interface },
            ports: self.ports,
            tie: BTreeMap::new(),
            scenario: BTreeMap::new(),
            card: self.card,
            model: None,
        })
    }
}

/// What a manifest says of a design, with the parameters that a scenario asks for; JSON.
#[pyfunction]
#[pyo3(signature = (manifest, *, scenario=None, platform=Vec::new(), only=None, set=Vec::new()))]
pub(crate) fn design(
    manifest: PathBuf,
    scenario: Option<PathBuf>,
    platform: Vec<String>,
    only: Option<String>,
    set: Vec<String>,
) -> PyResult<String> {
    let options = ScenarioOptions { scenario, platform, seed: None, only, set };
    told(&manifest, &options).map_err(|failure| raise(&failure))
}

fn told(manifest: &Path, options: &ScenarioOptions) -> Result<String, Failure> {
    let card = RtlCard::read(manifest)?;
    let mut scenario = options.load()?;
    let choice = testbench::card::CardChoice::Rtl(std::sync::Arc::new(RtlCard::read(manifest)?));
    choice.adapt(&mut scenario.runs)?;
    let mut all = Vec::new();
    for run in &scenario.runs {
        let asked = card.asked(run, &testbench::bench::card_of(run)?)?;
        if !all.contains(&asked) {
            all.push(asked);
        }
    }
    let [asked] = &*all else {
        let names: Vec<_> = scenario.runs.iter().map(|run| run.name()).collect();
        let why = format!(
            "these runs need different parameters: choose some by `only`: {}",
            names.join(", ")
        );
        return Err(Failure::Input(why));
    };
    let manifest = card.manifest();
    let plain = |value: &Value| match value {
        Value::Flag(flag) => serde_json::json!(flag),
        Value::Number(number) => serde_json::json!(number),
        Value::Text(text) => serde_json::json!(text),
    };
    let plain = |values: &BTreeMap<String, Value>| -> serde_json::Map<_, _> {
        values.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
    };
    let mut parameters = plain(&manifest.parameters);
    parameters.extend(asked.iter().map(|(name, value)| (name.clone(), (*value).into())));
    Ok(serde_json::json!({
        "name": manifest.name,
        "top": manifest.top,
        "files": manifest.files,
        "include": manifest.include,
        "defines": plain(&manifest.defines),
        "parameters": parameters,
        "clock": manifest.clock.port,
        "period_ps": manifest.clock.period.as_ps(),
    })
    .to_string())
}
