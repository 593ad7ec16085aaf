//! From a manifest to a library that is loaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache;
use super::compile::{self, LIBRARY};
use super::error::RtlError;
use super::header::{self, Header};
use super::library::Library;
use super::manifest::Manifest;
use super::names::{PortError, missing};
use super::toolchain::{Places, Toolchain};
use super::verilate::{PREFIX, verilate};
use crate::pins::{PortDirection, PortId, PortInfo};

/// How a design is built.
#[derive(Debug, Clone)]
pub struct Options {
    /// So that waves can be written. Costs a part of the speed even when none are.
    pub waves: bool,
    /// Where to look for the tools.
    pub places: Places,
    /// Where to keep what was built; the user's cache folder when there is none.
    pub cache: Option<PathBuf>,
    /// How long Verilator, and the compiler, may take each.
    pub limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            waves: false,
            places: Places::of_process(),
            cache: None,
            limit: Duration::from_secs(1800),
        }
    }
}

/// A design that was built and loaded: any number of models of it can be made.
#[derive(Debug, Clone)]
pub struct Rtl {
    pub(super) manifest: Manifest,
    pub(super) library: Library,
    pub(super) header: Header,
    pub(super) ports: Vec<PortInfo>,
    folder: PathBuf,
    built_now: bool,
}

impl Rtl {
    /// Builds what `manifest` says, or finds it built, and loads it.
    ///
    /// # Errors
    /// [`RtlError`] says what to do: a tool is missing, the design is not accepted, a port is not there.
    pub fn load(manifest: &Manifest, options: &Options) -> Result<Self, RtlError> {
        let tools = Toolchain::find(&options.places)?;
        let key = cache::key(manifest, options, &tools, "model")?;
        let build = |folder: &Path| build(&tools, manifest, options, folder);
        let (folder, built_now) = cache::entry(&cache_folder(options)?, &key, build)?;
        let path = folder.join(format!("{PREFIX}.h"));
        let header = header::parse(&fs::read_to_string(&path).map_err(RtlError::io(&path))?);
        let library = Library::load(&folder.join(LIBRARY))?;
        let ports = infos(&header);
        let rtl = Self { manifest: manifest.clone(), library, header, ports, folder, built_now };
        rtl.check_ports()?;
        Ok(rtl)
    }

    /// What it was built from.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its ports, in the order in which Verilator keeps them.
    #[must_use]
    pub fn ports(&self) -> &[PortInfo] {
        &self.ports
    }

    /// Ports that are there and cannot be used: arrays, `inout`.
    #[must_use]
    pub fn unusable_ports(&self) -> &[String] {
        &self.header.others
    }

    /// What Verilator said: its warnings.
    ///
    /// # Errors
    /// When the cache was emptied meanwhile.
    pub fn warnings(&self) -> Result<String, RtlError> {
        let path = self.folder.join("verilate.log");
        fs::read_to_string(&path).map_err(RtlError::io(&path))
    }

    /// Whether it had to be built, and was not there already.
    #[must_use]
    pub fn built_now(&self) -> bool {
        self.built_now
    }

    /// The port that the manifest names under `key`, which has to be an input.
    pub(super) fn input(&self, key: &str, name: &str) -> Result<&PortInfo, RtlError> {
        let found = self.ports.iter().find(|port| port.name == name);
        let top = || self.manifest.top.clone();
        let error = match found {
            Some(port) if port.direction == PortDirection::Input => return Ok(port),
            Some(port) => PortError::Direction {
                top: top(),
                signal: key.to_owned(),
                port: name.to_owned(),
                has: port.direction,
            },
            None => missing(&top(), key, vec![name.to_owned()], &self.ports),
        };
        Err(RtlError::Port { origin: self.manifest.origin.clone(), error: Box::new(error) })
    }

    /// Clock, reset and tied inputs have to be there, one bit wide or wide enough.
    fn check_ports(&self) -> Result<(), RtlError> {
        let one_bit = |key: &str, name: &str| {
            let port = self.input(key, name)?;
            self.width(port, key, port.bits == 1, "1")
        };
        one_bit("clock.port", &self.manifest.clock.port)?;
        if let Some(reset) = &self.manifest.reset {
            one_bit("reset.port", &reset.port)?;
        }
        for (name, value) in &self.manifest.tie {
            let key = format!("tie.{name}");
            let port = self.input(&key, name)?;
            let bits = used_bits(&value.words().unwrap_or_default());
            self.width(port, &key, bits <= port.bits, &format!("{bits} or more for {value}"))?;
        }
        Ok(())
    }

    fn width(&self, port: &PortInfo, key: &str, right: bool, wants: &str) -> Result<(), RtlError> {
        if right {
            return Ok(());
        }
        let error = PortError::Width {
            top: self.manifest.top.clone(),
            signal: key.to_owned(),
            port: port.name.clone(),
            has: port.bits,
            wants: wants.to_owned(),
        };
        Err(RtlError::Port { origin: self.manifest.origin.clone(), error: Box::new(error) })
    }
}

/// Bits up to the highest that is 1.
fn used_bits(words: &[u32]) -> u32 {
    let top = words.iter().rposition(|&word| word != 0);
    top.map_or(0, |at| at as u32 * 32 + 32 - words[at].leading_zeros())
}

fn infos(header: &Header) -> Vec<PortInfo> {
    let info = |(index, port): (usize, &header::HeaderPort)| PortInfo {
        name: port.name.clone(),
        id: PortId(index as u32),
        direction: port.direction,
        bits: port.bits,
    };
    header.ports.iter().enumerate().map(info).collect()
}

pub(super) fn cache_folder(options: &Options) -> Result<PathBuf, RtlError> {
    let folder = options.cache.clone().or_else(|| Some(cache::user_folder()?.join("rtl")));
    folder.ok_or_else(|| RtlError::Io {
        path: PathBuf::from("~/.cache"),
        error: std::io::Error::other("neither HOME nor XDG_CACHE_HOME says where it is"),
    })
}

fn build(
    tools: &Toolchain,
    manifest: &Manifest,
    options: &Options,
    folder: &Path,
) -> Result<(), RtlError> {
    let header = format!("{PREFIX}.h");
    verilated(tools, manifest, options, folder, &[LIBRARY, &header, "verilate.log"], |work| {
        let text = fs::read_to_string(work.join(&header)).map_err(RtlError::io(work))?;
        compile::compile(tools, &header::parse(&text), (manifest, options), work)
    })
}

/// Verilates `manifest` in a folder inside `folder` that does not stay, lets `compile` go on there, and keeps of
/// it what `results` names.
pub(super) fn verilated(
    tools: &Toolchain,
    manifest: &Manifest,
    options: &Options,
    folder: &Path,
    results: &[&str],
    compile: impl FnOnce(&Path) -> Result<(), RtlError>,
) -> Result<(), RtlError> {
    let work = tempfile::Builder::new()
        .prefix(".work-")
        .tempdir_in(folder)
        .map_err(RtlError::io(folder))?;
    let work = work.path();
    verilate(tools, manifest, options, work)?;
    compile(work)?;
    for name in results {
        fs::rename(work.join(name), folder.join(name)).map_err(RtlError::io(folder))?;
    }
    Ok(())
}
