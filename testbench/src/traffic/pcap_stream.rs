//! The records of a capture: framing, byte order, interfaces and time stamps.
//!
//! `pcap-parser` keeps a window on the file and decodes what is in it. It is only given records that
//! are whole, have sound lengths and matter: whether a record is long, cut off, or lies about its
//! length is decided here, and blocks without packets (names, statistics, ...) are skipped unread.

use std::io::{self, Chain, Cursor, Read};

use pcap_parser::pcapng::{Block, InterfaceDescriptionBlock, OptionCode};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{
    EPB_MAGIC, IDB_MAGIC, LegacyPcapReader, PcapBlockOwned, PcapNGReader, SHB_MAGIC, SPB_MAGIC,
};
use pcie_sim::time::Span;

use super::LONGEST;
use super::greedy::{Failure, Greedy};
use super::link_type::LinkType;
use super::pcap::Damage;

/// The window on the file, in bytes, unless a block needs more.
const WINDOW_BYTES: usize = 256 * 1024;
/// The longest record believed, in bytes: 16 MiB, as Wireshark reads at most.
const MAX_RECORD_BYTES: u64 = 16 * 1024 * 1024;
/// Length of a pcap file header, in bytes, and the least that a pcapng section header has.
const HEADER_BYTES: usize = 24;
const PS_PER_S: i128 = 1_000_000_000_000;
/// pcapng's obsolete Packet Block. draft-ietf-opsawg-pcapng, appendix "Packet Block (obsolete!)".
const OBSOLETE_PACKET_BLOCK: u32 = 2;

/// What went wrong, before it is known where.
#[derive(Debug)]
pub(super) enum Problem {
    Read(io::Error),
    NotACapture(String),
    Empty,
    CutOff,
    LinkType(u32),
    Damaged(Damage),
}

/// What is known of a packet besides its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Captured {
    pub(super) at: Span,
    pub(super) link: LinkType,
    pub(super) original_len: usize,
}

type Source<R> = Greedy<Chain<Cursor<Vec<u8>>, R>>;

/// A capture that is being read.
pub(super) struct Stream<R: Read> {
    parser: Parser<R>,
    failure: Failure,
    interpreter: Interpreter,
}

enum Parser<R: Read> {
    Legacy(LegacyPcapReader<Source<R>>),
    Pcapng(PcapNGReader<Source<R>>),
}

impl<R: Read> std::fmt::Debug for Stream<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("interpreter", &self.interpreter).finish_non_exhaustive()
    }
}

impl<R: Read> Stream<R> {
    pub(super) fn new(mut reader: R) -> Result<Self, Problem> {
        let mut head = Vec::with_capacity(HEADER_BYTES);
        reader.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut head).map_err(Problem::Read)?;
        if head.is_empty() {
            return Err(Problem::Empty);
        }
        let format = Format::of(&head).ok_or_else(|| Problem::NotACapture(hex(&head)))?;
        if head.len() < HEADER_BYTES {
            return Err(Problem::CutOff);
        }
        let source = Greedy::new(Cursor::new(head).chain(reader));
        let failure = source.failure();
        let parser = match format {
            Format::Pcapng => PcapNGReader::new(WINDOW_BYTES, source).map(Parser::Pcapng),
            Format::Pcap { .. } => LegacyPcapReader::new(WINDOW_BYTES, source).map(Parser::Legacy),
        };
        match parser {
            Ok(parser) => Ok(Self { parser, failure, interpreter: Interpreter::new(format) }),
            Err(error) => Err(creation_problem(&error, &failure)),
        }
    }

    /// Where in the file the next record starts, in bytes.
    pub(super) fn offset(&self) -> u64 {
        let consumed = match &self.parser {
            Parser::Legacy(reader) => reader.consumed(),
            Parser::Pcapng(reader) => reader.consumed(),
        };
        consumed as u64
    }

    /// Appends the next packet's Ethernet frame to `frame`; `None` at the end of the file.
    pub(super) fn next_packet(&mut self, frame: &mut Vec<u8>) -> Result<Option<Captured>, Problem> {
        loop {
            let reader: &mut dyn PcapReaderIterator = match &mut self.parser {
                Parser::Legacy(reader) => reader,
                Parser::Pcapng(reader) => reader,
            };
            match self.interpreter.framing(reader.data())? {
                Framing::Partial(_) if reader.reader_exhausted() => {
                    return if reader.data().is_empty() { Ok(None) } else { Err(Problem::CutOff) };
                }
                Framing::Partial(bytes) => {
                    if bytes > WINDOW_BYTES {
                        reader.grow(2 * bytes);
                    }
                    if reader.refill().is_err() {
                        return Err(self.failure.take());
                    }
                }
                Framing::Skip(bytes) => reader.consume(bytes),
                Framing::Parse => {
                    let Ok((bytes, block)) = reader.next() else {
                        return Err(Problem::Damaged(Damage::Unreadable));
                    };
                    let captured = self.interpreter.take(&block, frame)?;
                    drop(block);
                    reader.consume(bytes);
                    if captured.is_some() {
                        return Ok(captured);
                    }
                }
            }
        }
    }
}

/// What to do with the record at the start of the window.
enum Framing {
    /// It is not whole; so many bytes are wanted (0: not known yet).
    Partial(usize),
    /// It is whole and of no interest.
    Skip(usize),
    /// It is whole.
    Parse,
}

fn creation_problem(error: &pcap_parser::PcapError<&[u8]>, failure: &Failure) -> Problem {
    match error {
        pcap_parser::PcapError::ReadError => failure.take(),
        pcap_parser::PcapError::Incomplete(_) => Problem::CutOff,
        _ => Problem::Damaged(Damage::Unreadable),
    }
}

fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    shown.join(" ")
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Pcap { big_endian: bool, record_header_bytes: u64, ps_per_tick: i128 },
    Pcapng,
}

impl Format {
    /// Told by the first four bytes. draft-ietf-opsawg-pcap, "File Header".
    fn of(head: &[u8]) -> Option<Self> {
        let pcap = |big_endian, record_header_bytes, ps_per_tick| {
            Some(Self::Pcap { big_endian, record_header_bytes, ps_per_tick })
        };
        match head.get(..4)? {
            [0x0a, 0x0d, 0x0d, 0x0a] => Some(Self::Pcapng),
            [0xa1, 0xb2, 0xc3, 0xd4] => pcap(true, 16, 1_000_000),
            [0xd4, 0xc3, 0xb2, 0xa1] => pcap(false, 16, 1_000_000),
            [0xa1, 0xb2, 0x3c, 0x4d] => pcap(true, 16, 1_000),
            [0x4d, 0x3c, 0xb2, 0xa1] => pcap(false, 16, 1_000),
            [0x34, 0xcd, 0xb2, 0xa1] => pcap(false, 24, 1_000_000),
            _ => None,
        }
    }
}

/// Turns blocks into packets: what it needs to remember from block to block.
#[derive(Debug)]
struct Interpreter {
    format: Format,
    big_endian_section: bool,
    interfaces: Vec<Interface>,
    first_ps: Option<i128>,
    latest: Span,
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    link_number: u32,
    snap_bytes: usize,
    /// Exponent of the time stamp's unit; its top bit chooses base 2 instead of 10.
    resolution: u8,
    offset_ps: i128,
}

impl Interpreter {
    fn new(format: Format) -> Self {
        let interfaces = Vec::new();
        Self { format, big_endian_section: false, interfaces, first_ps: None, latest: Span::ZERO }
    }

    /// The length, header included, of the record at the start of `window`, when that is visible.
    fn record_bytes(&self, window: &[u8]) -> Option<u64> {
        let word = |at: usize, big_endian| {
            let bytes = window.get(at..at + 4)?.try_into().ok()?;
            Some(u64::from(if big_endian {
                u32::from_be_bytes(bytes)
            } else {
                u32::from_le_bytes(bytes)
            }))
        };
        match self.format {
            // The file header comes first and has no length.
            Format::Pcap { .. } if self.interfaces.is_empty() => Some(HEADER_BYTES as u64),
            Format::Pcap { big_endian, record_header_bytes, .. } => {
                Some(record_header_bytes + word(8, big_endian)?)
            }
            // A section header brings its own byte order, after its length.
            Format::Pcapng if window.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) => {
                word(4, window.get(8..12)? == [0x1a, 0x2b, 0x3c, 0x4d])
            }
            Format::Pcapng => word(4, self.big_endian_section),
        }
    }

    /// Looks at the record at the start of `window`. The parser is only given records that are whole,
    /// have sound lengths, and are needed.
    fn framing(&self, window: &[u8]) -> Result<Framing, Problem> {
        let bytes = match self.record_bytes(window) {
            None => return Ok(Framing::Partial(0)),
            Some(bytes) if bytes > MAX_RECORD_BYTES => {
                return Err(Problem::Damaged(Damage::TooLong { bytes }));
            }
            Some(bytes) => bytes as usize,
        };
        let Format::Pcapng = self.format else {
            return Ok(if bytes > window.len() { Framing::Partial(bytes) } else { Framing::Parse });
        };
        // Type, length, length again.
        if bytes < 12 {
            return Err(Problem::Damaged(Damage::Unreadable));
        }
        let Some(block) = window.get(..bytes) else { return Ok(Framing::Partial(bytes)) };
        if block[4..8] != block[bytes - 4..] {
            return Err(Problem::Damaged(Damage::Unreadable));
        }
        match self.word(&block[..4]) {
            Some(SHB_MAGIC | IDB_MAGIC | EPB_MAGIC | SPB_MAGIC) => Ok(Framing::Parse),
            Some(OBSOLETE_PACKET_BLOCK) => Err(Problem::Damaged(Damage::ObsoleteBlock)),
            _ => Ok(Framing::Skip(bytes)),
        }
    }

    /// A number in the byte order of the section.
    fn word(&self, bytes: &[u8]) -> Option<u32> {
        let bytes = bytes.try_into().ok()?;
        Some(match self.big_endian_section {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        })
    }

    fn take(
        &mut self,
        block: &PcapBlockOwned<'_>,
        frame: &mut Vec<u8>,
    ) -> Result<Option<Captured>, Problem> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.interfaces.push(Interface {
                    link_number: header.network.0.cast_unsigned(),
                    snap_bytes: usize::MAX,
                    resolution: 6,
                    offset_ps: 0,
                });
                Ok(None)
            }
            PcapBlockOwned::Legacy(record) => {
                let Format::Pcap { ps_per_tick, .. } = self.format else { return Ok(None) };
                let ps =
                    i128::from(record.ts_sec) * PS_PER_S + i128::from(record.ts_usec) * ps_per_tick;
                let at = self.since_first(ps);
                let interface = self.interface(0)?;
                frame_of(interface, record.data, record.origlen, at, frame).map(Some)
            }
            PcapBlockOwned::NG(block) => self.take_pcapng(block, frame),
        }
    }

    fn take_pcapng(
        &mut self,
        block: &Block<'_>,
        frame: &mut Vec<u8>,
    ) -> Result<Option<Captured>, Problem> {
        match block {
            Block::SectionHeader(header) => {
                self.big_endian_section = header.big_endian();
                self.interfaces.clear();
                Ok(None)
            }
            Block::InterfaceDescription(description) => {
                self.interfaces.push(Interface::new(description, self.big_endian_section));
                Ok(None)
            }
            Block::EnhancedPacket(packet) => {
                let interface = self.interface(packet.if_id)?;
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let at = self.since_first(interface.ps(ticks));
                let bytes = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                frame_of(interface, bytes, packet.origlen, at, frame).map(Some)
            }
            // It has no time stamp: as late as the packet before it.
            Block::SimplePacket(packet) => {
                let interface = self.interface(0)?;
                let bytes = packet.packet_data();
                let bytes = &bytes[..bytes.len().min(interface.snap_bytes)];
                frame_of(interface, bytes, packet.origlen, self.latest, frame).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn interface(&self, number: u32) -> Result<Interface, Problem> {
        match self.interfaces.get(number as usize) {
            Some(interface) => Ok(*interface),
            None => Err(Problem::Damaged(Damage::UnknownInterface { interface: number })),
        }
    }

    fn since_first(&mut self, ps: i128) -> Span {
        let since = (ps - *self.first_ps.get_or_insert(ps)).max(0);
        self.latest = LONGEST.min(Span::from_ps(u64::try_from(since).unwrap_or(u64::MAX)));
        self.latest
    }
}

impl Interface {
    fn new(description: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        let offset_s =
            description.options.iter().find(|option| option.code == OptionCode::IfTsoffset);
        let offset_s = offset_s.and_then(|option| option.value.get(..8)?.try_into().ok());
        let offset_s = match (offset_s, big_endian) {
            (None, _) => 0,
            (Some(bytes), true) => i64::from_be_bytes(bytes),
            (Some(bytes), false) => i64::from_le_bytes(bytes),
        };
        Self {
            link_number: description.linktype.0.cast_unsigned(),
            snap_bytes: match description.snaplen {
                0 => usize::MAX,
                limit => limit as usize,
            },
            resolution: description.if_tsresol,
            offset_ps: i128::from(offset_s) * PS_PER_S,
        }
    }

    /// draft-ietf-opsawg-pcapng, "Interface Description Block", option `if_tsresol`.
    fn ps(&self, ticks: u64) -> i128 {
        let ps = i128::from(ticks) * PS_PER_S;
        let exponent = u32::from(self.resolution & 0x7f);
        let ps = match (self.resolution & 0x80 != 0, 10_i128.checked_pow(exponent)) {
            (true, _) => ps >> exponent,
            (false, Some(ticks_per_s)) => ps / ticks_per_s,
            (false, None) => 0,
        };
        ps + self.offset_ps
    }
}

fn frame_of(
    interface: Interface,
    bytes: &[u8],
    original_len: u32,
    at: Span,
    frame: &mut Vec<u8>,
) -> Result<Captured, Problem> {
    let number = interface.link_number & 0xffff;
    let link = LinkType::from_number(number).ok_or(Problem::LinkType(number))?;
    link.append_frame(bytes, frame);
    Ok(Captured { at, link, original_len: original_len as usize })
}
