//! Packet captures, pcap and pcapng, read as a stream of Ethernet frames.
//!
//! ```text
//!   file --> records (pcap_stream) --> time since the first packet
//!                                  --> Ethernet frame (link_type), at its original length
//! ```
//!
//! A packet that the capture cut short (snap length) is filled up with zeroes to its original
//! length: how many bytes travel matters to a card, what is in them does not. Likewise a packet that
//! is shorter than an Ethernet header becomes 14 bytes long.
//!
//! Formats: IETF draft-ietf-opsawg-pcap (both byte orders, micro- and nanoseconds, and Kuznetzov's
//! variant) and draft-ietf-opsawg-pcapng (several sections and interfaces). Left out: pcapng's
//! obsolete Packet Block, which is refused, and compressed files, which must be unpacked first.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pcie_sim::time::Span;
use thiserror::Error;

use super::pcap_stream::{Captured, Problem, Stream};

/// The longest frame taken from a capture, in bytes: tcpdump's largest snap length.
pub const MAX_FRAME_BYTES: usize = 262_144;

/// A frame out of a capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packet {
    /// Time since the first packet; zero for one that claims to be older, at most
    /// [`super::LONGEST`].
    pub at: Span,
    /// The Ethernet frame without frame check sequence, as long as it was on the cable.
    pub data: Vec<u8>,
    /// How many bytes of `data` were captured (with the Ethernet header that may have been put in
    /// front); the rest are zeroes.
    pub captured_bytes: usize,
}

/// Why a capture cannot be used. Packets are counted from 1, offsets are in bytes into the file.
#[derive(Debug, Error)]
pub enum PcapError {
    /// The file cannot be opened.
    #[error("{file}: cannot be opened: {source}")]
    Open {
        /// The file.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Reading failed in the middle.
    #[error("{file}: cannot be read at byte {offset} (packet {packet}): {source}")]
    Read {
        /// The file.
        file: String,
        /// The packet that was being read.
        packet: u64,
        /// Where it starts.
        offset: u64,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file starts with neither a pcap nor a pcapng header.
    #[error("{file}: not a packet capture: it starts with {head}, no pcap or pcapng file does")]
    NotACapture {
        /// The file.
        file: String,
        /// The first bytes, in hexadecimal.
        head: String,
    },
    /// The file ends without a packet.
    #[error("{file}: the capture is empty: {offset} bytes and no packet in them")]
    Empty {
        /// The file.
        file: String,
        /// The file's length.
        offset: u64,
    },
    /// The file ends in the middle of a packet or block.
    #[error("{file}: the capture is cut off in packet {packet}, which starts at byte {offset}")]
    CutOff {
        /// The file.
        file: String,
        /// The packet that is not whole.
        packet: u64,
        /// Where it, or the block before it, starts.
        offset: u64,
    },
    /// The packet's link type cannot be turned into Ethernet.
    #[error(
        "{file}: packet {packet} at byte {offset}: link type {number} is not supported \
         (Ethernet, RAW, NULL, LOOP, LINUX_SLL and LINUX_SLL2 are)"
    )]
    LinkType {
        /// The file.
        file: String,
        /// The packet.
        packet: u64,
        /// Where it starts.
        offset: u64,
        /// The number of the link type, as in the file.
        number: u32,
    },
    /// The file contradicts its own format.
    #[error("{file}: packet {packet} at byte {offset}: {damage}")]
    Damaged {
        /// The file.
        file: String,
        /// The packet, or the one before which the damage is.
        packet: u64,
        /// Where it starts.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
}

/// What contradicts the format of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Damage {
    /// A length field says more than any tool writes.
    #[error("a length of {bytes} bytes is beyond what captures hold")]
    TooLong {
        /// The length, in bytes.
        bytes: u64,
    },
    /// A packet names an interface that was not described before.
    #[error("interface {interface} has not been described")]
    UnknownInterface {
        /// The number of the interface within the section.
        interface: u32,
    },
    /// A block's inner lengths do not fit its outer length, or its two lengths differ.
    #[error("the block's length fields contradict each other")]
    Unreadable,
    /// pcapng's Packet Block, obsolete since 2004.
    #[error("an obsolete Packet Block (type 2); convert the file with `editcap -F pcapng`")]
    ObsoleteBlock,
}

/// Reads the packets of a capture one after the other, in constant memory.
///
/// As an iterator it allocates each packet; [`PcapReader::read_into`] reuses one.
#[derive(Debug)]
pub struct PcapReader<R: Read> {
    file: String,
    stream: Stream<R>,
    packets: u64,
    done: bool,
}

impl PcapReader<File> {
    /// Opens a capture file.
    ///
    /// # Errors
    /// The file cannot be opened or does not start like a capture.
    pub fn open(path: &Path) -> Result<Self, PcapError> {
        let file = path.display().to_string();
        match File::open(path) {
            Ok(reader) => Self::new(file, reader),
            Err(source) => Err(PcapError::Open { file, source }),
        }
    }
}

impl<R: Read> PcapReader<R> {
    /// Reads a capture from `reader`; `file` is what errors call it.
    ///
    /// # Errors
    /// What `reader` holds does not start like a capture, or cannot be read.
    pub fn new(file: impl Into<String>, reader: R) -> Result<Self, PcapError> {
        let file = file.into();
        match Stream::new(reader) {
            Ok(stream) => Ok(Self { file, stream, packets: 0, done: false }),
            Err(problem) => Err(locate(file, 0, 0, problem)),
        }
    }

    /// Reads the next packet into `packet`, whose buffer is reused; `false` at the end of the file.
    ///
    /// # Errors
    /// See [`PcapError`]. After an error the reader is at its end.
    pub fn read_into(&mut self, packet: &mut Packet) -> Result<bool, PcapError> {
        if self.done {
            return Ok(false);
        }
        packet.data.clear();
        let outcome = match self.stream.next_packet(&mut packet.data) {
            Ok(Some(captured)) => finish(captured, packet).map(|()| true),
            Ok(None) if self.packets == 0 => Err(Problem::Empty),
            Ok(None) => Ok(false),
            Err(problem) => Err(problem),
        };
        match outcome {
            Ok(true) => self.packets += 1,
            Ok(false) => self.done = true,
            Err(_) => self.done = true,
        }
        let offset = self.stream.offset();
        outcome.map_err(|problem| locate(self.file.clone(), self.packets, offset, problem))
    }
}

/// Gives the frame its original length and the packet its time.
fn finish(captured: Captured, packet: &mut Packet) -> Result<(), Problem> {
    packet.at = captured.at;
    packet.captured_bytes = packet.data.len();
    let bytes = captured.link.frame_bytes(captured.original_len).max(packet.data.len());
    if bytes > MAX_FRAME_BYTES {
        return Err(Problem::Damaged(Damage::TooLong { bytes: bytes as u64 }));
    }
    packet.data.resize(bytes, 0);
    Ok(())
}

fn locate(file: String, packets_before: u64, offset: u64, problem: Problem) -> PcapError {
    let packet = packets_before + 1;
    match problem {
        Problem::Read(source) => PcapError::Read { file, packet, offset, source },
        Problem::NotACapture(head) => PcapError::NotACapture { file, head },
        Problem::Empty => PcapError::Empty { file, offset },
        Problem::CutOff => PcapError::CutOff { file, packet, offset },
        Problem::LinkType(number) => PcapError::LinkType { file, packet, offset, number },
        Problem::Damaged(damage) => PcapError::Damaged { file, packet, offset, damage },
    }
}

impl<R: Read> Iterator for PcapReader<R> {
    type Item = Result<Packet, PcapError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut packet = Packet::default();
        match self.read_into(&mut packet) {
            Ok(true) => Some(Ok(packet)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// What a capture holds, from one pass over it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureSummary {
    /// Packets.
    pub packets: u64,
    /// Bytes in all frames, at their original length.
    pub bytes: u64,
    /// Bytes in the longest frame.
    pub longest_bytes: usize,
    /// Packets that the capture cut short.
    pub padded: u64,
    /// From the first packet to the latest.
    pub duration: Span,
}

/// Reads a capture to its end, so that whatever is wrong with it is known before a run starts.
///
/// # Errors
/// The first thing wrong with the file.
pub fn survey<R: Read>(mut reader: PcapReader<R>) -> Result<CaptureSummary, PcapError> {
    let mut summary = CaptureSummary::default();
    let mut packet = Packet::default();
    while reader.read_into(&mut packet)? {
        summary.packets += 1;
        summary.bytes += packet.data.len() as u64;
        summary.longest_bytes = summary.longest_bytes.max(packet.data.len());
        summary.padded += u64::from(packet.captured_bytes < packet.data.len());
        summary.duration = summary.duration.max(packet.at);
    }
    Ok(summary)
}

#[cfg(test)]
#[path = "pcap_tests.rs"]
mod tests;
