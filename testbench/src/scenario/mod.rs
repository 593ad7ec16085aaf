//! Scenarios: what is run, on which machine, with which numbers.
//!
//! ```text
//!   scenario.toml ──parse──▶ File ──check──▶ Scenario ──runs()──▶ [RunConfig; cells of the matrix]
//!   preset.toml ─────────────────────▲
//! ```
//!
//! Whatever is wrong is found here, before anything runs and before any file is created.

mod check;
pub mod config;
pub mod fault;
pub mod file;
pub use rtl_model::source;

use std::path::{Path, PathBuf};

use pcie_sim::link::{DataLinkConfig, Generation, LinkConfig};
use pcie_sim::time::Span;

pub use self::check::rings_bytes;
use self::config::{
    BlkWorkload, BlockSource, CardConfig, Device, Disk, DriverConfig, HostConfig, NetWorkload,
    PacketSource, RunConfig, SlotConfig, Workload,
};
pub use self::file::{ByteSize, Threshold};
use self::file::{File, SyntheticCommands, SyntheticPackets};
use self::source::{InputError, Source};
use crate::cancel::Cancel;
use crate::card::CardChoice;
use crate::platform::{self, Platform, Setup};
use crate::preset::{CardPreset, Timing};

/// The scenario that is run when none is named.
const DEFAULT: &str = include_str!("../../scenarios/default.toml");

/// What an option on the command line puts in place of what the scenario says.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The platforms; those of the scenario when empty.
    pub platforms: Vec<String>,
    /// The seed.
    pub seed: Option<u64>,
    /// A capture.
    pub pcap: Option<PathBuf>,
    /// A fio iolog.
    pub blk_log: Option<PathBuf>,
    /// Only runs whose name contains this.
    pub only: Option<String>,
    /// `key=value` pairs, the value in TOML or a bare word.
    pub set: Vec<String>,
}

/// A scenario that passed every check that can be made without running it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The seed of everything drawn by lot.
    pub seed: u64,
    /// The machines.
    pub platforms: Vec<&'static Platform>,
    /// What takes how long.
    pub timing: Timing,
    /// What must be reached.
    pub thresholds: Vec<Threshold>,
    /// One run for each cell of the matrix, in the order of the report.
    pub runs: Vec<RunConfig>,
}

impl Scenario {
    /// Reads a scenario, or the built-in one, with the command line's options laid over it.
    ///
    /// # Errors
    /// [`InputError`] with file, line and key.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, InputError> {
        let source = match path {
            Some(path) => Source::read(path)?,
            None => Source::built_in("default scenario", DEFAULT),
        };
        Self::from_source(&source, overrides)
    }

    /// The same from a text that is at hand.
    ///
    /// # Errors
    /// [`InputError`] with file, line and key.
    pub fn from_source(source: &Source, overrides: &Overrides) -> Result<Self, InputError> {
        let file = with_set(source, source.parse::<File>()?, &overrides.set)?;
        let platforms = platforms(source, &file, &overrides.platforms)?;
        let mut timing = Timing::load(&file.timing.preset, source, &file.timing.set)?;
        if let Some(name) = &file.card.preset {
            timing = timing.with_card(CardPreset::load(name, source, "card.preset")?);
        }
        check::file(source, &file)?;
        let cells =
            Cells { source, file: &file, overrides, timing: &timing, platforms: &platforms };
        let mut runs = cells.runs()?;
        if let Some(only) = &overrides.only {
            let names = runs.iter().map(RunConfig::name).collect::<Vec<_>>().join(", ");
            runs.retain(|run| run.name().contains(only.as_str()));
            if runs.is_empty() {
                let why = format!("no run's name contains `{only}`; there are: {names}");
                return Err(InputError::whole("--only", why));
            }
        }
        check::whole(source, &runs)?;
        for run in &runs {
            check::run(source, run)?;
        }
        Ok(Self {
            name: file.name,
            seed: overrides.seed.unwrap_or(file.seed),
            platforms,
            timing,
            thresholds: file.threshold,
            runs,
        })
    }
}

/// The file with single keys set from the command line.
fn with_set(source: &Source, file: File, set: &[String]) -> Result<File, InputError> {
    if set.is_empty() {
        return Ok(file);
    }
    let mut table: toml::Table = source.parse()?;
    for pair in set {
        let origin = format!("--set {pair}");
        let (key, value) =
            pair.split_once('=').ok_or_else(|| InputError::whole(&origin, "expected KEY=VALUE"))?;
        let value = format!("value = {value}")
            .parse::<toml::Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::String(value.to_owned()));
        set_key(&mut table, key.trim(), value).map_err(|why| InputError::whole(&origin, why))?;
    }
    table.try_into().map_err(|error: toml::de::Error| {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        InputError::whole(format!("--set {}", set.join(" --set ")), message)
    })
}

/// As `put`; a timing value is one key, though its name has a dot.
fn set_key(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), String> {
    let Some(name) = key.strip_prefix("timing.set.") else { return put(table, key, value) };
    let set = toml::Value::Table(toml::Table::new());
    let timing = table.entry("timing").or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let timing = timing.as_table_mut().ok_or("`timing` is not a table")?;
    let set = timing.entry("set").or_insert(set);
    set.as_table_mut().ok_or("`timing.set` is not a table")?.insert(name.to_owned(), value);
    Ok(())
}

fn put(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), String> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let inner = table
                .entry(first)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()))
                .as_table_mut()
                .ok_or_else(|| format!("`{first}` is not a table"))?;
            put(inner, rest, value)
        }
    }
}

fn platforms(
    source: &Source,
    file: &File,
    wanted: &[String],
) -> Result<Vec<&'static Platform>, InputError> {
    let from_options = !wanted.is_empty();
    let names = if from_options { wanted } else { &file.platforms };
    if names.iter().any(|name| name == "all") {
        return Ok(platform::runnable().collect());
    }
    let mut found: Vec<&'static Platform> = Vec::new();
    for name in names {
        let platform = platform::find_runnable(name).map_err(|error| {
            if from_options {
                InputError::whole("--platform", error)
            } else {
                source.complain("platforms", error)
            }
        })?;
        if !found.contains(&platform) {
            found.push(platform);
        }
    }
    if found.is_empty() {
        return Err(source.complain("platforms", "no platform is named"));
    }
    Ok(found)
}

/// What the cells of the matrix have in common.
struct Cells<'s> {
    source: &'s Source,
    file: &'s File,
    overrides: &'s Overrides,
    timing: &'s Timing,
    platforms: &'s [&'static Platform],
}

impl Cells<'_> {
    /// One run for each cell: by device, platform, format, rings, layout and event index.
    fn runs(&self) -> Result<Vec<RunConfig>, InputError> {
        let matrix = &self.file.matrix;
        let mut runs = Vec::new();
        for &device in &matrix.devices {
            let workload = self.workload(device)?;
            for &platform in self.platforms {
                for &ring in &matrix.formats {
                    for &placement in &matrix.rings {
                        // Devices that nobody here wrote have no memory for rings.
                        if platform.is_outside() && placement != config::Placement::Host {
                            continue;
                        }
                        for &layout in &matrix.layouts {
                            for &event_idx in &matrix.event_idx {
                                runs.push(RunConfig {
                                    platform,
                                    device,
                                    ring,
                                    placement,
                                    layout,
                                    event_idx,
                                    ..self.cell(device, platform, workload.clone())
                                });
                            }
                        }
                    }
                }
            }
        }
        Ok(runs)
    }

    fn cell(&self, device: Device, platform: &'static Platform, workload: Workload) -> RunConfig {
        let File { link, host, card, driver, .. } = self.file;
        let case = platform.cases().first();
        let seed = self.overrides.seed.unwrap_or(self.file.seed);
        let (choices, completion_order) = link.choices(seed);
        RunConfig {
            platform,
            // Platforms without one have been refused.
            setup: platform.setup().copied().unwrap_or(Setup::PLAIN),
            variant: case.map_or("", |case| case.variant),
            under_test: CardChoice::Model,
            rtl_waves: None,
            watched: false,
            recorded: false,
            device,
            ring: config::RingFormat::Split,
            placement: config::Placement::Host,
            layout: config::Layout::Direct,
            event_idx: false,
            seed,
            slot: SlotConfig {
                link: LinkConfig {
                    timing: self.timing.link(generation(link.generation), link.width),
                    card_buffers: link.card_buffers.into(),
                    root_buffers: link.root_buffers.into(),
                    data_link: DataLinkConfig {
                        max_payload_bytes: link.mps,
                        replay_buffer_bytes: u32::try_from(link.replay_buffer.0)
                            .unwrap_or(u32::MAX),
                        ..DataLinkConfig::default()
                    },
                    choices,
                    completion_order,
                },
                mps_bytes: link.mps,
                mrrs_bytes: link.mrrs,
                rcb_bytes: link.rcb,
            },
            host: HostConfig {
                ram_bytes: host.ram.0,
                ram_file: host.ram_file.as_deref().map(|path| self.source.resolve(path)),
            },
            card: CardConfig {
                clock_mhz: card.clock_mhz,
                // Checked before: a power of two of at most 32,768.
                queue_size: u16::try_from(card.queue_size).unwrap_or(u16::MAX),
                contexts: card.contexts,
                datapath_bytes: card.datapath_bytes,
                reads_in_flight: card.reads_in_flight,
                descriptor_prefetch: card.descriptor_prefetch,
                completion_batch: card.completion_batch,
                always_interrupt: card.always_interrupt,
                memory_bytes: card.memory.0,
                access_platform: card.access_platform,
            },
            driver: DriverConfig {
                queue_depth: driver.queue_depth,
                completion: driver.completion,
                kick_batch: driver.kick_batch,
                dma_debug: driver.dma_debug,
                buffer_offset_bytes: driver.buffer_offset,
                patience: driver.patience.0,
            },
            timing: self.timing.clone(),
            workload,
            // The check of the file has refused what cannot be resolved.
            faults: self.file.fault.iter().filter_map(|line| line.resolve().ok()).collect(),
            exercises: self.file.exercises.clone(),
            trace: None,
            waves: None,
            cancel: Cancel::default(),
        }
    }

    fn workload(&self, device: Device) -> Result<Workload, InputError> {
        Ok(match device {
            Device::Net => Workload::Net(NetWorkload {
                source: self.packets()?,
                max_packets: self.file.net.max_packets,
                cable_delay: Span::from_ns(self.file.net.cable_delay_ns),
                cable_gbps: self.file.net.cable_gbps,
                far_end: self.file.net.peer,
            }),
            Device::Blk => Workload::Blk(BlkWorkload {
                source: self.commands()?,
                max_requests: self.file.blk.max_requests,
                disk: self.disk()?,
            }),
        })
    }

    fn packets(&self) -> Result<PacketSource, InputError> {
        if let Some(path) = &self.overrides.pcap {
            return readable(path, || InputError::whole("--pcap", ""))
                .map(|()| PacketSource::Capture(path.clone()));
        }
        let net = &self.file.net;
        Ok(match (&net.pcap, &net.synthetic) {
            (Some(path), _) => {
                let path = self.source.resolve(path);
                readable(&path, || self.source.complain("net.pcap", ""))?;
                PacketSource::Capture(path)
            }
            (None, Some(SyntheticPackets { packets, bytes })) => {
                PacketSource::Synthetic { packets: *packets, bytes: *bytes }
            }
            (None, None) => PacketSource::Recorded,
        })
    }

    fn commands(&self) -> Result<BlockSource, InputError> {
        if let Some(path) = &self.overrides.blk_log {
            return readable(path, || InputError::whole("--blk-log", ""))
                .map(|()| BlockSource::Log(path.clone()));
        }
        let blk = &self.file.blk;
        Ok(match (&blk.log, &blk.synthetic) {
            (Some(path), _) => {
                let path = self.source.resolve(path);
                readable(&path, || self.source.complain("blk.log", ""))?;
                BlockSource::Log(path)
            }
            (None, Some(SyntheticCommands { requests, bytes, smallest })) => {
                let smallest = smallest.unwrap_or(*bytes);
                BlockSource::Synthetic { requests: *requests, bytes: *bytes, smallest }
            }
            (None, None) => BlockSource::Recorded,
        })
    }

    fn disk(&self) -> Result<Disk, InputError> {
        let blk = &self.file.blk;
        let Some(path) = &blk.disk else {
            return Ok(Disk::Memory { bytes: blk.disk_size.map_or(1 << 30, |size| size.0) });
        };
        let path = self.source.resolve(path);
        readable(&path, || self.source.complain("blk.disk", ""))?;
        let bytes = std::fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or(0);
        Ok(Disk::Image { path, bytes })
    }
}

/// Checked before: 1 to 5.
fn generation(number: u8) -> Generation {
    Generation::from_number(number).unwrap_or(Generation::Gen3)
}

/// Refuses a path at which no file can be opened for reading.
fn readable(path: &Path, complaint: impl Fn() -> InputError) -> Result<(), InputError> {
    let why = match std::fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_dir() => "it is a folder".to_owned(),
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    let message = format!("cannot read {}: {why}", path.display());
    Err(InputError { message, ..complaint() })
}

#[cfg(test)]
mod tests;
