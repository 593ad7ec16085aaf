//! A scenario as it is written. Keys that are not here are refused.
//!
//! Defaults live in the `Default` of each table, so that a scenario holds only what it is about.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use pcie_sim::link::credits::{self, ReceiverBuffers};
use pcie_sim::link::{Choices, CompletionOrder};
use pcie_sim::time::Span;
use rtl_model::source::Duration;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::config::{CableEnd, CompletionMode, Device, Exercise, Layout, Placement, RingFormat};
use super::fault::FaultLine;
use crate::preset::{Quantity, Timing};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What reports call it.
    pub name: String,
    /// The seed of everything drawn by lot.
    #[serde(default = "one")]
    pub seed: u64,
    /// The machines.
    pub platforms: Vec<String>,
    /// What is done with the card besides, when the traffic is over.
    #[serde(default)]
    pub exercises: Vec<Exercise>,
    /// What is varied.
    #[serde(default)]
    pub matrix: Matrix,
    /// The link.
    #[serde(default)]
    pub link: Link,
    /// The host.
    #[serde(default)]
    pub host: Host,
    /// The card.
    #[serde(default)]
    pub card: Card,
    /// The driver.
    #[serde(default)]
    pub driver: Driver,
    /// The packets.
    #[serde(default)]
    pub net: Net,
    /// The block commands.
    #[serde(default)]
    pub blk: Blk,
    /// What takes how long.
    #[serde(default)]
    pub timing: TimingChoice,
    /// What goes wrong.
    #[serde(default)]
    pub fault: Vec<FaultLine>,
    /// What must be reached.
    #[serde(default)]
    pub threshold: Vec<Threshold>,
}

fn one() -> u64 {
    1
}

/// What is varied: one run for each combination.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matrix {
    /// The devices.
    pub devices: Vec<Device>,
    /// The ring formats.
    pub formats: Vec<RingFormat>,
    /// Where rings live.
    pub rings: Vec<Placement>,
    /// How buffers are described.
    pub layouts: Vec<Layout>,
    /// Whether the event index is negotiated.
    pub event_idx: Vec<bool>,
}

impl Default for Matrix {
    fn default() -> Self {
        Self {
            devices: vec![Device::Blk, Device::Net],
            formats: vec![RingFormat::Split],
            rings: vec![Placement::Host, Placement::Hybrid, Placement::Card],
            layouts: vec![Layout::Direct, Layout::Indirect],
            event_idx: vec![false, true],
        }
    }
}

/// The link between root port and card.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// Generation, 1 to 5.
    pub generation: u8,
    /// Lanes.
    pub width: u8,
    /// Maximum payload size in bytes.
    pub mps: u16,
    /// Maximum read request size in bytes.
    pub mrrs: u16,
    /// Read completion boundary in bytes.
    pub rcb: u16,
    /// What both transmitters do where the ordering rules leave a choice.
    pub ordering: OrderingChoice,
    /// In which order the root complex answers reads.
    pub completions: CompletionChoice,
    /// Bytes of TLPs that may be without Ack.
    pub replay_buffer: ByteSize,
    /// What the root port can hold.
    pub root_buffers: Buffers,
    /// What the card can hold.
    pub card_buffers: Buffers,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            generation: 3,
            width: 8,
            mps: 256,
            mrrs: 512,
            rcb: 64,
            ordering: OrderingChoice::Keep,
            completions: CompletionChoice::AsReady,
            replay_buffer: ByteSize(64 << 10),
            root_buffers: Buffers::default(),
            card_buffers: Buffers::default(),
        }
    }
}

/// What a transmitter does where the ordering rules say "may". PCIe 5.0 §2.4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderingChoice {
    /// It keeps the order in which TLPs came.
    Keep,
    /// The seed decides.
    Drawn,
}

/// In which order reads are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompletionChoice {
    /// As memory has the data.
    AsReady,
    /// As they came.
    InOrder,
    /// The seed decides.
    Drawn,
    /// The youngest first: the worst case.
    Reversed,
}

impl Link {
    /// The link's choices, drawn by `seed` where they are.
    #[must_use]
    pub fn choices(&self, seed: u64) -> (Choices, CompletionOrder) {
        let ordering = match self.ordering {
            OrderingChoice::Keep => Choices::Keep,
            OrderingChoice::Drawn => Choices::Draw(seed),
        };
        let completions = match self.completions {
            CompletionChoice::AsReady => CompletionOrder::AsReady,
            CompletionChoice::InOrder => CompletionOrder::InOrder,
            CompletionChoice::Drawn => CompletionOrder::Drawn(seed),
            CompletionChoice::Reversed => CompletionOrder::Reversed,
        };
        (ordering, completions)
    }
}

/// Flow control credits that one receiver grants when the link comes up; zero of both is infinite.
/// PCIe 5.0 §2.6.1.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Buffers {
    /// Memory writes and messages.
    pub posted: Credits,
    /// Reads and configuration requests.
    pub non_posted: Credits,
    /// Completions.
    pub completion: Credits,
}

/// Credits of one class.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credits {
    /// TLPs.
    pub headers: u32,
    /// Units of 16 bytes of data.
    pub data: u32,
}

impl Default for Buffers {
    fn default() -> Self {
        let ReceiverBuffers { posted, non_posted, completion } = ReceiverBuffers::default();
        Self { posted: posted.into(), non_posted: non_posted.into(), completion: completion.into() }
    }
}

impl From<Buffers> for ReceiverBuffers {
    fn from(buffers: Buffers) -> Self {
        Self {
            posted: buffers.posted.into(),
            non_posted: buffers.non_posted.into(),
            completion: buffers.completion.into(),
        }
    }
}

impl Credits {
    /// Whether these never run out: zero of each, as InitFC says it. PCIe 5.0 §3.4.1.
    #[must_use]
    pub fn is_infinite(self) -> bool {
        (self.headers, self.data) == (0, 0)
    }
}

impl From<credits::Credits> for Credits {
    fn from(credits: credits::Credits) -> Self {
        if credits.is_infinite() {
            return Self { headers: 0, data: 0 };
        }
        Self { headers: credits.headers, data: credits.data }
    }
}

impl From<Credits> for credits::Credits {
    fn from(credits: Credits) -> Self {
        if credits.is_infinite() {
            return Self::INFINITE;
        }
        Self { headers: credits.headers, data: credits.data }
    }
}

/// The host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// Its RAM.
    pub ram: ByteSize,
    /// The file that stands for it.
    pub ram_file: Option<PathBuf>,
}

impl Default for Host {
    fn default() -> Self {
        Self { ram: ByteSize(1 << 30), ram_file: None }
    }
}

/// The card.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Card {
    /// How long the steps of a pipelined card take: a preset's name, or a file. Without it the stages of
    /// `timing.preset` count.
    pub preset: Option<String>,
    /// Its clock in MHz.
    pub clock_mhz: u32,
    /// Entries per virtqueue.
    pub queue_size: u32,
    /// Requests per queue worked on at once.
    pub contexts: u16,
    /// Bytes of a TLP that leave the card in one cycle.
    pub datapath_bytes: u32,
    /// DMA reads under way at once.
    pub reads_in_flight: u16,
    /// Descriptors fetched with one read.
    pub descriptor_prefetch: u16,
    /// Used elements gathered before they are written.
    pub completion_batch: u16,
    /// The suppression word is never read, each completion interrupts.
    pub always_interrupt: bool,
    /// On-card memory.
    pub memory: ByteSize,
    /// `VIRTIO_F_ACCESS_PLATFORM` is offered.
    pub access_platform: bool,
}

impl Default for Card {
    fn default() -> Self {
        Self {
            preset: None,
            clock_mhz: 250,
            queue_size: 256,
            contexts: 8,
            datapath_bytes: 32,
            reads_in_flight: 16,
            descriptor_prefetch: 1,
            completion_batch: 1,
            always_interrupt: false,
            memory: ByteSize(1 << 20),
            access_platform: true,
        }
    }
}

/// The driver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Driver {
    /// Requests under way at once.
    pub queue_depth: u16,
    /// How completions are learned of.
    pub completion: CompletionMode,
    /// Requests made available before one notification.
    pub kick_batch: u16,
    /// Whether the driver's use of the DMA API is watched.
    pub dma_debug: bool,
    /// How far into its page each buffer begins, in bytes.
    pub buffer_offset: u16,
    /// How long it waits for anything to happen, a reset included, before it gives up.
    pub patience: Duration,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            queue_depth: 16,
            completion: CompletionMode::Interrupt,
            kick_batch: 1,
            dma_debug: true,
            buffer_offset: 0,
            patience: Duration(Span::from_ms(100)),
        }
    }
}

/// The packets; the capture that the project ships when neither `pcap` nor `synthetic` is given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Net {
    /// A capture.
    pub pcap: Option<PathBuf>,
    /// Made-up packets.
    pub synthetic: Option<SyntheticPackets>,
    /// Stop after so many packets.
    pub max_packets: Option<u64>,
    /// The way through the cable, in nanoseconds.
    pub cable_delay_ns: u64,
    /// The cable's rate in Gbit/s; without one a packet takes no time of its own.
    pub cable_gbps: Option<u32>,
    /// Who is at the cable's far end.
    pub peer: CableEnd,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            pcap: None,
            synthetic: None,
            max_packets: None,
            cable_delay_ns: 500,
            cable_gbps: None,
            peer: CableEnd::default(),
        }
    }
}

/// Made-up packets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyntheticPackets {
    /// How many.
    pub packets: u64,
    /// Bytes of each.
    pub bytes: u32,
}

/// The block commands; the log that the project ships when neither `log` nor `synthetic` is given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Blk {
    /// A fio iolog.
    pub log: Option<PathBuf>,
    /// Made-up commands.
    pub synthetic: Option<SyntheticCommands>,
    /// Stop after so many commands.
    pub max_requests: Option<u64>,
    /// A disk image.
    pub disk: Option<PathBuf>,
    /// The size of a disk in memory; 1 GiB when neither it nor an image is given.
    pub disk_size: Option<ByteSize>,
}

/// Made-up block commands.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyntheticCommands {
    /// How many.
    pub requests: u64,
    /// Bytes of each; of the longest, when they are not all as long.
    pub bytes: u32,
    /// Bytes of the shortest, when they are not all as long.
    pub smallest: Option<u32>,
}

/// What takes how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingChoice {
    /// A preset's name, or the path of one.
    pub preset: String,
    /// Single values to be laid over it.
    pub set: BTreeMap<String, Quantity>,
}

impl Default for TimingChoice {
    fn default() -> Self {
        Self { preset: Timing::DEFAULT.to_owned(), set: BTreeMap::new() }
    }
}

/// What must be reached: exit status 1 where it is not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// A figure of a result in the JSON report, `latency_ns.p99` for example.
    pub figure: String,
    /// Only for results whose name contains this; for all when it is empty.
    #[serde(default)]
    pub of: String,
    /// The figure may not be larger.
    pub at_most: Option<f64>,
    /// The figure may not be smaller.
    pub at_least: Option<f64>,
}

/// A number of bytes, written `4096` or `"1 GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads `"4096"`, `"512 B"`, `"64 KiB"`, `"1 MiB"`, `"2GiB"`, `"1 TiB"`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(1 << shift).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.iter().find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, such as 4096 or \"1 GiB\" (B, KiB, MiB, GiB, TiB)")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<ByteSize, E> {
                u64::try_from(value)
                    .map(ByteSize)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(value))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                ByteSize::parse(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_a_binary_unit() {
        for (text, bytes) in
            [("4096", 4096), ("512 B", 512), ("64KiB", 65_536), ("1 GiB", 1 << 30), ("0", 0)]
        {
            assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)));
        }
        for text in ["", "GiB", "1 GB", "-1", "1.5 GiB", "99999999999 TiB", "1 GiB x"] {
            assert_eq!(ByteSize::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_size_is_printed_in_its_largest_whole_unit() {
        for (bytes, text) in [(1 << 30, "1 GiB"), (1536, "1536 B"), (3 << 10, "3 KiB"), (0, "0 B")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
