//! One run, resolved: every choice made, every number with its unit, nothing left to look up.
//!
//! A scenario file names a matrix; [`super::Scenario::runs`] turns it into these, one per cell. What runs
//! one of them is [`crate::bench`]; what it gives back is [`crate::report::RunResult`].

use std::net::Ipv4Addr;
use std::path::PathBuf;

use pcie_sim::fault::Fault;
use pcie_sim::time::{Instant, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waves::{Cut, FileKind, WaveError};

use crate::cancel::Cancel;
use crate::card::CardChoice;
use crate::platform::{Platform, Setup};
use crate::preset::Timing;

/// Which virtio device the card is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// A block device, backed by a file or memory.
    Blk,
    /// A network card; what goes out comes back in.
    Net,
}

/// Which of virtio's two ring formats is used.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RingFormat {
    /// Split virtqueues. Virtio 1.4 §2.7.
    Split,
}

/// Where the rings live. The buffers are in host memory in each case.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// All three areas in host memory.
    Host,
    /// Descriptors and driver area on the card, device area in host memory.
    Hybrid,
    /// All three areas on the card; the CPU polls the device area by MMIO reads.
    Card,
}

/// How a request's buffers are described.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Descriptors in the ring, chained.
    Direct,
    /// One descriptor in the ring which points at a table.
    Indirect,
}

/// How the driver learns that a request is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CompletionMode {
    /// By MSI-X interrupt.
    Interrupt,
    /// By looking at the used index.
    Poll,
}

/// The slot: the link between root port and card, and how requests are cut on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotConfig {
    /// Speed, length and buffers.
    pub link: pcie_sim::link::LinkConfig,
    /// Maximum payload of a TLP in bytes, 128 to 4096.
    pub mps_bytes: u16,
    /// Largest read request of the card in bytes, 128 to 4096.
    pub mrrs_bytes: u16,
    /// Where completions are cut, in bytes: 64 or 128.
    pub rcb_bytes: u16,
}

/// The computer the card is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Bytes of RAM, from address 0.
    pub ram_bytes: u64,
    /// The file that stands for RAM; anonymous memory when there is none.
    pub ram_file: Option<PathBuf>,
}

/// The card model's own choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardConfig {
    /// Its clock, in MHz.
    pub clock_mhz: u32,
    /// Entries it offers per virtqueue.
    pub queue_size: u16,
    /// Requests per queue that it may work on at once.
    pub contexts: u16,
    /// Bytes of a TLP that leave it in one cycle.
    pub datapath_bytes: u32,
    /// DMA reads it may have under way at once.
    pub reads_in_flight: u16,
    /// Descriptors it fetches with one read.
    pub descriptor_prefetch: u16,
    /// Used elements it gathers before it writes them.
    pub completion_batch: u16,
    /// It never reads the suppression word, and always interrupts.
    pub always_interrupt: bool,
    /// Bytes of on-card memory behind its own BAR, a power of two.
    pub memory_bytes: u64,
    /// It offers `VIRTIO_F_ACCESS_PLATFORM`.
    pub access_platform: bool,
}

/// What the driver does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverConfig {
    /// Requests under way at once.
    pub queue_depth: u16,
    /// How it learns of completions.
    pub completion: CompletionMode,
    /// Requests made available before one notification.
    pub kick_batch: u16,
    /// It watches its own use of the DMA API; what it finds is a violation.
    pub dma_debug: bool,
    /// How far into its page each buffer begins.
    pub buffer_offset_bytes: u16,
    /// How long it waits for anything to happen before it gives up.
    pub patience: Span,
}

/// What is done with a card that traffic alone does not bring about. What the card answers, the rules judge.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Exercise {
    /// A driver accepts features that were not offered.
    Features,
    /// A doorbell rings while Bus Master Enable is off.
    BusMaster,
    /// Vectors are masked, at all moments of requests that are under way.
    MaskedVectors,
    /// MSI-X is off, and the ISR status is read again and again.
    Isr,
    /// A read of the card is refused, one after the other.
    RefusedReads,
}

/// Where a net run's packets come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketSource {
    /// The capture that the project ships.
    Recorded,
    /// A capture, pcap or pcapng, streamed.
    Capture(PathBuf),
    /// Packets of one length and seeded contents.
    Synthetic {
        /// How many.
        packets: u64,
        /// Bytes of each, Ethernet header included.
        bytes: u32,
    },
}

/// What a net run carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetWorkload {
    /// The packets.
    pub source: PacketSource,
    /// Stop after so many packets.
    pub max_packets: Option<u64>,
    /// The way through the cable which brings them back.
    pub cable_delay: Span,
    /// The cable's rate in Gbit/s; without one a packet takes no time of its own.
    pub cable_gbps: Option<u32>,
    /// Who is at its far end.
    pub far_end: CableEnd,
}

/// Who is at the far end of a network card's cable: `loop`, or a station's address as in `192.0.2.1/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum CableEnd {
    /// The card itself: what it sends comes back.
    #[default]
    Loop,
    /// A station that answers ARP, pings and datagrams to the echo port.
    Station {
        /// Its IPv4 address.
        address: Ipv4Addr,
        /// Bits of it that are its network's.
        prefix: u8,
    },
}

impl TryFrom<String> for CableEnd {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "loop" {
            return Ok(Self::Loop);
        }
        let (address, prefix) = text.split_once('/').unwrap_or((&text, ""));
        match (address.parse(), prefix.parse()) {
            (Ok(address), Ok(prefix @ 1..=30)) => Ok(Self::Station { address, prefix }),
            _ => Err(format!("`{text}` is neither `loop` nor an address such as 192.0.2.1/24")),
        }
    }
}

/// Where a blk run's commands come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockSource {
    /// The log that the project ships.
    Recorded,
    /// A fio iolog, version 2 or 3, streamed.
    Log(PathBuf),
    /// Writes and reads by turns, at seeded places.
    Synthetic {
        /// How many commands.
        requests: u64,
        /// Bytes of the longest, a multiple of the sector.
        bytes: u32,
        /// Bytes of the shortest, a multiple of the sector.
        smallest: u32,
    },
}

/// What stands behind the block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// Zeroed memory.
    Memory {
        /// Its size, a multiple of 512.
        bytes: u64,
    },
    /// An image; a run works on a private copy of its pages and never changes the file.
    Image {
        /// Where it is.
        path: PathBuf,
        /// Its size, a multiple of 512.
        bytes: u64,
    },
}

/// What a blk run carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlkWorkload {
    /// The commands.
    pub source: BlockSource,
    /// Stop after so many commands.
    pub max_requests: Option<u64>,
    /// The medium.
    pub disk: Disk,
}

/// What a run carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// Block commands.
    Blk(BlkWorkload),
    /// Packets.
    Net(NetWorkload),
}

/// The format of a wave file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaveFormat {
    /// GTKWave's fast signal trace.
    Fst,
    /// Value change dump. IEEE 1364-2001 §18.
    Vcd,
    /// Perfetto trace.
    Perfetto,
}

/// A wave file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveFile {
    /// Where: a temporary name, which the command renames when every run has ended well.
    pub path: PathBuf,
    /// How. The extension of `path` says the same.
    pub format: WaveFormat,
    /// How much of the run is in it.
    pub cut: Cut,
}

impl WaveFile {
    /// A file of everything; its extension says how.
    ///
    /// # Errors
    /// [`WaveError::UnknownKind`].
    pub fn new(path: PathBuf) -> Result<Self, WaveError> {
        let format = match FileKind::of(&path)? {
            FileKind::Fst => WaveFormat::Fst,
            FileKind::Vcd => WaveFormat::Vcd,
            FileKind::Perfetto => WaveFormat::Perfetto,
        };
        Ok(Self { path, format, cut: Cut::default() })
    }

    /// A file of what happened from `half` before `at` to `half` behind it, with the state at the
    /// beginning. A run of the same configuration is the same with it as without, so that what was found
    /// in a run can be looked at in another.
    ///
    /// # Errors
    /// [`WaveError::UnknownKind`].
    pub fn around(path: PathBuf, at: Instant, half: Span) -> Result<Self, WaveError> {
        let cut = Cut::around(at.as_ps(), half.as_ps());
        Ok(Self { cut, ..Self::new(path)? })
    }
}

/// One run, with every choice made.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// The machine.
    pub platform: &'static Platform,
    /// The card under test.
    pub under_test: CardChoice,
    /// How it is built: the platform's own way, or a variant of it.
    pub setup: Setup,
    /// What that variant is; empty for the platform's own way.
    pub variant: &'static str,
    /// Every DMA address is kept, and the run is judged by them.
    pub watched: bool,
    /// Everything that crosses the link is kept beside the result.
    pub recorded: bool,
    /// The device.
    pub device: Device,
    /// The format of its rings.
    pub ring: RingFormat,
    /// Where they live.
    pub placement: Placement,
    /// How buffers are described.
    pub layout: Layout,
    /// `VIRTIO_F_EVENT_IDX` is negotiated.
    pub event_idx: bool,
    /// The seed of everything drawn by lot.
    pub seed: u64,
    /// The link, and how requests are cut.
    pub slot: SlotConfig,
    /// The host.
    pub host: HostConfig,
    /// The card.
    pub card: CardConfig,
    /// The driver.
    pub driver: DriverConfig,
    /// What takes how long.
    pub timing: Timing,
    /// What is carried.
    pub workload: Workload,
    /// What goes wrong once the traffic has begun.
    pub faults: Vec<Fault>,
    /// What is done with the card when the traffic is over.
    pub exercises: Vec<Exercise>,
    /// Where to write one TLP a line (a temporary name); nowhere when `None`.
    pub trace: Option<PathBuf>,
    /// Where to write waves; nowhere when `None`.
    pub waves: Option<WaveFile>,
    /// Where RTL writes its own waves, an FST file; nowhere when `None`.
    pub rtl_waves: Option<PathBuf>,
    /// What ends it early.
    pub cancel: Cancel,
}

impl RunConfig {
    /// The run's name in every report:
    /// `RING/PLACEMENT/LAYOUT[+event_idx]/DEVICE/PLATFORM`, for example `split/host/direct/blk/x86-vtd`;
    /// a variant of a platform follows in brackets.
    #[must_use]
    pub fn name(&self) -> String {
        let event_idx = if self.event_idx { "+event_idx" } else { "" };
        format!(
            "{}/{}/{}{event_idx}/{}/{}",
            self.ring,
            self.placement,
            self.layout,
            self.device,
            self.machine()
        )
    }

    /// The platform's name, and in brackets its variant.
    #[must_use]
    pub fn machine(&self) -> String {
        let id = self.platform.id;
        if self.variant.is_empty() { id.to_owned() } else { format!("{id} ({})", self.variant) }
    }
}

macro_rules! shown_as {
    ($($kind:ident { $($variant:ident => $text:literal),* $(,)? })*) => {$(
        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$variant => $text),* })
            }
        }
    )*};
}

shown_as! {
    Device { Blk => "blk", Net => "net" }
    RingFormat { Split => "split" }
    Placement { Host => "host", Hybrid => "hybrid", Card => "card" }
    Layout { Direct => "direct", Indirect => "indirect" }
}
