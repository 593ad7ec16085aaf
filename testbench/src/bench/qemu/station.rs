//! A QEMU with one virtio device in its slot, firmware's work done, VT-d up, nobody driving the device yet.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host_driver::dma::iommu::{FaultRecord, IommuCosts};
use host_driver::{
    DmarUnit, DriverConfig, IommuMode, IommuUnit, Pages, PciTransport, PlatformDma, ProbeContext,
    ProbeError, Translation,
};
use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::host::qtest::{Qemu, QtestConfig, QtestError, QtestHost};
use pcie_sim::host::ram::HOLE_START;
use pcie_sim::root::enumerate::{Windows, enumerate};
use pcie_sim::spec::virtio_pci;
use tempfile::TempDir;

use super::messages::MessageOps;
use crate::report::RunError;

/// What names another QEMU than the one in the path.
pub const PROGRAM: &str = "VTB_QEMU";
/// The one in the path.
const IN_PATH: &str = "qemu-system-x86_64";
/// How long a reply may take: a machine with work for all its cores is slow.
const REPLY: Duration = Duration::from_secs(20);
/// Where QEMU's VT-d has its registers.
pub const VTD: PhysAddr = PhysAddr(0xfed9_0000);
/// A page for interrupt messages; what is below it is left alone, as firmware and system do.
const MESSAGES: PhysAddr = PhysAddr(1 << 20);

/// The device in the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plugged {
    /// A disk of zeroes.
    Blk {
        /// Its size in bytes.
        bytes: u64,
    },
    /// A disk with an image's content, which does not change.
    Image {
        /// The image.
        path: PathBuf,
    },
    /// A network card whose cable leads back to itself.
    Net {
        /// The MTU that it tells.
        mtu: u16,
    },
    /// A source of random bytes.
    Rng,
}

/// What QEMU is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StationConfig {
    /// The device.
    pub device: Plugged,
    /// It stands behind VT-d and obeys it: `VIRTIO_F_ACCESS_PLATFORM` is offered.
    pub translated: bool,
    /// The system brings VT-d up; else it is left as it is after reset.
    pub brought_up: bool,
    /// How VT-d serves it.
    pub mode: IommuMode,
    /// Bytes of RAM.
    pub ram_bytes: u64,
    /// Largest payload and read request of a TLP in bytes, as firmware sets them.
    pub sizes: (u16, u16),
}

impl StationConfig {
    /// A device behind VT-d with strict invalidation, in a machine of 64 MiB.
    #[must_use]
    pub const fn new(device: Plugged) -> Self {
        Self {
            device,
            translated: true,
            brought_up: true,
            mode: IommuMode { deferred: None, large_pages: false, pass_through: false },
            ram_bytes: 64 << 20,
            sizes: (256, 512),
        }
    }
}

/// A QEMU with a device.
pub struct Station {
    /// The computer.
    pub host: QtestHost,
    /// Where the device is.
    pub card: Bdf,
    /// RAM that the driver may use.
    pub pages: Pages,
    /// What the driver is told of the platform.
    pub platform: PlatformDma,
    /// VT-d, where it is used.
    pub iommu: Option<IommuUnit>,
    buffers: Vec<(PhysAddr, u64)>,
    _folder: TempDir,
}

/// The QEMU that is run.
#[must_use]
pub fn program() -> OsString {
    std::env::var_os(PROGRAM).unwrap_or_else(|| IN_PATH.into())
}

/// One line for who has no QEMU; other failures of it are the bench's.
fn explain(error: QtestError) -> RunError {
    match error {
        QtestError::NotStarted { .. } => RunError::input(format!(
            "{error}; install it, as in: apt-get install qemu-system-x86, or let {PROGRAM} name one"
        )),
        other => RunError::internal(other),
    }
}

impl Station {
    /// Starts a QEMU, does firmware's work, and brings VT-d up where it is wanted.
    ///
    /// # Errors
    /// [`RunError::Input`] when there is no QEMU; [`RunError::Internal`] when it is not as it should be.
    pub fn start(config: &StationConfig) -> Result<Self, RunError> {
        let folder = TempDir::new().map_err(RunError::internal)?;
        let arguments = arguments(config, folder.path())?;
        let qemu = Qemu::start(&program(), &arguments, REPLY).map_err(explain)?;
        let machine = QtestConfig { ram_bytes: config.ram_bytes, messages: MESSAGES };
        let mut host = QtestHost::new(qemu, machine).map_err(explain)?;
        let (payload, request) = config.sizes;
        let found = enumerate(&mut host, Windows::default(), payload, request)
            .map_err(RunError::internal)?;
        host.settle().map_err(RunError::internal)?;
        let card = found.iter().find(|function| function.vendor == virtio_pci::VENDOR_ID);
        let card = card.ok_or_else(|| RunError::internal("QEMU shows no virtio device"))?.bdf;
        let end = PhysAddr(config.ram_bytes.min(HOLE_START));
        let pages = Pages::new(MESSAGES + 4096..end);
        let mut platform = PlatformDma::default();
        let up = config.translated && config.brought_up;
        let iommu = if up { Some(bring_up(&mut host, &pages, config)?) } else { None };
        if let Some(unit) = &iommu {
            platform.translation = Translation::Iommu(unit.clone());
        }
        platform.wrap = Some(MessageOps::wrap(host.message_page(), host.message_bus()));
        Ok(Self { host, card, pages, platform, iommu, buffers: Vec::new(), _folder: folder })
    }

    /// What a driver needs to take over the device.
    ///
    /// # Errors
    /// When the device's virtio capabilities cannot be used.
    pub fn probe_context(&mut self, config: DriverConfig) -> Result<ProbeContext, ProbeError> {
        Ok(ProbeContext {
            transport: Box::new(PciTransport::open(&mut self.host, self.card)?),
            pages: self.pages.clone(),
            platform: self.platform.clone(),
            config,
        })
    }

    /// Memory for the traffic's own buffers, given back at the end.
    ///
    /// # Errors
    /// Too little RAM is [`RunError::Input`].
    pub fn buffers(&mut self, bytes: u64) -> Result<PhysAddr, RunError> {
        let start = self.pages.alloc(bytes, 4096).map_err(RunError::input)?;
        self.buffers.push((start, bytes));
        Ok(start)
    }

    /// Takes the fault records of VT-d.
    pub fn faults(&mut self) -> Vec<FaultRecord> {
        match &self.iommu {
            Some(unit) => unit.take_faults(&mut self.host),
            None => Vec::new(),
        }
    }

    /// Switches off after the driver has gone. What is left of the run, one line each.
    ///
    /// # Errors
    /// What has gone wrong with QEMU itself.
    pub fn stop(mut self) -> Result<Vec<String>, RunError> {
        let mut left = Vec::new();
        for (start, bytes) in self.buffers.drain(..) {
            // Allocated right here, so that it cannot be refused.
            let _ = self.pages.free(start, bytes);
        }
        self.platform = PlatformDma::default();
        if let Some(unit) = self.iommu.take()
            && let Err(error) = unit.shut_down(&mut self.host)
        {
            left.push(format!("the IOMMU does not go: {error}"));
        }
        if let bytes @ 1.. = self.pages.in_use_bytes() {
            left.push(format!("{bytes} bytes of memory were not given back"));
        }
        self.host.settle().map_err(RunError::internal)?;
        Ok(left)
    }
}

fn bring_up(
    host: &mut QtestHost,
    pages: &Pages,
    config: &StationConfig,
) -> Result<IommuUnit, RunError> {
    let windows = Windows::default();
    let dmar = DmarUnit {
        registers: VTD,
        scope: None,
        reserved: vec![windows.low..HOLE_START + (1 << 30), windows.high..u64::MAX],
        mode: config.mode,
        costs: IommuCosts::default(),
    };
    IommuUnit::bring_up(host, pages, dmar).map_err(RunError::internal)
}

/// A comma ends a value, and two of them are one.
fn path_value(path: &Path) -> OsString {
    path.as_os_str().to_string_lossy().replace(',', ",,").into()
}

fn joined(parts: &[&OsStr]) -> OsString {
    parts.iter().fold(OsString::new(), |mut all, part| {
        all.push(part);
        all
    })
}

fn arguments(config: &StationConfig, folder: &Path) -> Result<Vec<OsString>, RunError> {
    let mut all: Vec<OsString> = Vec::new();
    let mut say = |option: &str, value: OsString| {
        all.push(option.into());
        all.push(value);
    };
    say("-m", format!("{}M", config.ram_bytes >> 20).into());
    if config.translated {
        let unit = "intel-iommu,intremap=off,caching-mode=off,aw-bits=48";
        say("-device", unit.into());
    }
    // The same place as in a simulated machine: the first slot, behind a root port.
    say("-device", "pcie-root-port,id=slot1,bus=pcie.0,addr=1,chassis=1,slot=1".into());
    let obeys = if config.translated { "on" } else { "off" };
    let place = format!("bus=slot1,addr=0,disable-legacy=on,iommu_platform={obeys}");
    match &config.device {
        Plugged::Blk { bytes } => {
            let disk = folder.join("disk");
            let file = File::create(&disk).map_err(RunError::internal)?;
            file.set_len(*bytes).map_err(RunError::internal)?;
            let file = path_value(&disk);
            let rest = ",format=raw,discard=unmap,cache=unsafe";
            say("-drive", joined(&["if=none,id=disk,file=".as_ref(), &file, rest.as_ref()]));
            say("-device", format!("virtio-blk-pci,drive=disk,{place}").into());
        }
        Plugged::Image { path } => {
            let file = path_value(path);
            let rest = ",format=raw,snapshot=on,discard=unmap";
            say("-drive", joined(&["if=none,id=disk,file=".as_ref(), &file, rest.as_ref()]));
            say("-device", format!("virtio-blk-pci,drive=disk,{place}").into());
        }
        Plugged::Net { mtu } => {
            // A socket that is connected to itself: what is sent comes back, in order.
            let socket = path_value(&folder.join("cable"));
            let remote = ",remote.type=unix,remote.path=";
            let local = "dgram,id=cable,local.type=unix,local.path=";
            say("-netdev", joined(&[local.as_ref(), &socket, remote.as_ref(), &socket]));
            let mac = "mac=52:54:00:12:34:56";
            say(
                "-device",
                format!("virtio-net-pci,netdev=cable,{mac},host_mtu={mtu},{place}").into(),
            );
        }
        Plugged::Rng => {
            say("-object", "rng-builtin,id=source".into());
            say("-device", format!("virtio-rng-pci,rng=source,{place}").into());
        }
    }
    Ok(all)
}
