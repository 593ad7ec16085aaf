//! Packets, from a recording, a capture of the user's or made up, one at a time.

use std::fs::File;

use crate::report::RunError;
use crate::scenario::config::{NetWorkload, PacketSource};
use crate::traffic::blocks::SectorContent;
use crate::traffic::pcap::{self, Packet, PcapError, PcapReader};
use crate::traffic::recorded;

/// Bytes of an Ethernet header, which the MTU does not count.
const ETHERNET_BYTES: usize = 14;
/// The smallest MTU that the card is given.
const LEAST_MTU: usize = 1500;

/// Where packets come from, one at a time.
pub(super) struct Packets {
    source: Source,
    left: u64,
    /// Bytes of the longest.
    pub(super) longest: usize,
}

enum Source {
    Recorded(PcapReader<&'static [u8]>),
    Capture(PcapReader<File>),
    Synthetic { content: SectorContent, bytes: usize, made: u64 },
}

impl Packets {
    /// Opens the source and looks through it once, so that what is wrong with it is known before
    /// anything runs.
    pub(super) fn open(seed: u64, workload: &NetWorkload) -> Result<Self, RunError> {
        let (source, longest) = match &workload.source {
            PacketSource::Recorded => {
                let summary =
                    recorded::packets().and_then(pcap::survey).map_err(RunError::internal)?;
                let reader = recorded::packets().map_err(RunError::internal)?;
                (Source::Recorded(reader), summary.longest_bytes)
            }
            PacketSource::Capture(path) => {
                let summary =
                    PcapReader::open(path).and_then(pcap::survey).map_err(RunError::input)?;
                let reader = PcapReader::open(path).map_err(RunError::input)?;
                (Source::Capture(reader), summary.longest_bytes)
            }
            &PacketSource::Synthetic { packets, bytes } => {
                let content = SectorContent::new(seed);
                let bytes = bytes as usize;
                let source = Source::Synthetic { content, bytes, made: 0 };
                let left = packets.min(workload.max_packets.unwrap_or(u64::MAX));
                return Ok(Self { source, left, longest: bytes });
            }
        };
        Ok(Self { source, left: workload.max_packets.unwrap_or(u64::MAX), longest })
    }

    /// The MTU that lets the longest packet through.
    pub(super) fn mtu(&self) -> Result<u16, RunError> {
        let longest = self.longest;
        u16::try_from(longest.saturating_sub(ETHERNET_BYTES).max(LEAST_MTU)).map_err(|_| {
            RunError::input(format!(
                "the longest packet has {longest} bytes; no MTU allows more than {}",
                usize::from(u16::MAX) + ETHERNET_BYTES
            ))
        })
    }

    /// The next packet, in place of the one before; `false` when there is none.
    pub(super) fn next(&mut self, packet: &mut Packet) -> Result<bool, RunError> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        let read = |result: Result<bool, PcapError>| result.map_err(RunError::input);
        match &mut self.source {
            Source::Recorded(reader) => read(reader.read_into(packet)),
            Source::Capture(reader) => read(reader.read_into(packet)),
            Source::Synthetic { content, bytes, made } => {
                packet.data.resize(*bytes, 0);
                content.fill(*made, *made, &mut packet.data);
                *made += 1;
                Ok(true)
            }
        }
    }
}
