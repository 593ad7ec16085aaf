//! Logs of block commands in fio's format, versions 2 and 3.
//!
//! ```text
//!   fio version 2 iolog                 fio version 3 iolog
//!   FILE add|open|close                 TIME FILE add|open|close
//!   FILE ACTION OFFSET LENGTH           TIME FILE ACTION OFFSET LENGTH
//!   FILE wait MICROSECONDS [0]          (no wait: each line has its time)
//! ```
//!
//! ACTION is `read`, `write`, `trim`, `sync`, `datasync`, `syncfs` or `sync_file_range`; offset and
//! length are bytes. TIME is microseconds since the run started (fio's manual leaves the unit out;
//! fio writes microseconds). A wait of version 2 counts from the wait before it.
//! Source: fio(1), "Trace file format v2" and "v3".
//!
//! The bench has one disk, so a log that reads or writes two files is refused. Files need not be
//! added or opened first. Left out: version 1, which fio itself dropped, and blktrace's binary logs.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use pcie_sim::time::Span;

use super::LONGEST;
use super::blocks::SECTOR_BYTES;
pub use super::iolog_error::{IologError, Mistake};

/// The longest line believed, in bytes, as in fio.
const MAX_LINE_BYTES: usize = 4096;

/// What a block command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockOp {
    /// Read from the disk.
    Read,
    /// Write to the disk.
    Write,
    /// Make what was written so far permanent.
    Flush,
    /// Tell the disk that the content is of no use any more.
    Discard,
}

/// A command out of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCommand {
    /// Time since the log started, never earlier than the command before, at most [`LONGEST`]; `None` in a log of
    /// version 2 before its first wait.
    pub at: Option<Span>,
    /// What is asked for.
    pub op: BlockOp,
    /// Where, in bytes, a multiple of 512; 0 for a flush.
    pub offset_bytes: u64,
    /// How much, in bytes, a multiple of 512 and not 0; 0 for a flush.
    pub len_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Two,
    Three,
}

/// Reads the commands of a log one after the other, in constant memory.
#[derive(Debug)]
pub struct IologReader<R> {
    file: String,
    reader: R,
    line: u64,
    text: Vec<u8>,
    parser: Parser,
    done: bool,
}

impl IologReader<BufReader<File>> {
    /// Opens a log for a disk of `capacity_bytes`.
    ///
    /// # Errors
    /// The file cannot be opened or does not start like a log.
    pub fn open(path: &Path, capacity_bytes: u64) -> Result<Self, IologError> {
        let file = path.display().to_string();
        match File::open(path) {
            Ok(reader) => Self::new(file, BufReader::new(reader), capacity_bytes),
            Err(source) => Err(IologError::Open { file, source }),
        }
    }
}

impl<R: BufRead> IologReader<R> {
    /// Reads a log from `reader` for a disk of `capacity_bytes`; `file` is what errors call it.
    ///
    /// # Errors
    /// The first line is not that of a log.
    pub fn new(
        file: impl Into<String>,
        reader: R,
        capacity_bytes: u64,
    ) -> Result<Self, IologError> {
        let parser = Parser { version: Version::Three, capacity_bytes, now: None, disk: None };
        let text = Vec::new();
        let mut log = Self { file: file.into(), reader, line: 0, text, parser, done: false };
        log.next_line()?;
        log.parser.version = match log.text.trim_ascii() {
            b"fio version 2 iolog" => Version::Two,
            b"fio version 3 iolog" => Version::Three,
            _ => return Err(log.wrong(Mistake::Header)),
        };
        Ok(log)
    }

    /// The next command; `None` at the end of the log.
    fn next_command(&mut self) -> Result<Option<BlockCommand>, IologError> {
        while self.next_line()? {
            let parsed = match std::str::from_utf8(&self.text) {
                Ok(text) => self.parser.line(text),
                Err(_) => Err(Mistake::NotText),
            };
            if let Some(command) = parsed.map_err(|mistake| self.wrong(mistake))? {
                return Ok(Some(command));
            }
        }
        match self.parser.disk {
            Some(_) => Ok(None),
            None => Err(self.wrong(Mistake::Empty)),
        }
    }

    /// Reads a line into `text`; `false` at the end of the log.
    fn next_line(&mut self) -> Result<bool, IologError> {
        self.text.clear();
        self.line += 1;
        let mut limited = self.reader.by_ref().take(MAX_LINE_BYTES as u64 + 1);
        match limited.read_until(b'\n', &mut self.text) {
            Ok(0) => {
                self.line -= 1;
                Ok(false)
            }
            Ok(_) if self.text.len() > MAX_LINE_BYTES => Err(self.wrong(Mistake::LineTooLong)),
            Ok(_) => Ok(true),
            Err(source) => {
                Err(IologError::Read { file: self.file.clone(), line: self.line, source })
            }
        }
    }

    fn wrong(&self, mistake: Mistake) -> IologError {
        IologError::Line { file: self.file.clone(), line: self.line.max(1), mistake }
    }
}

impl<R: BufRead> Iterator for IologReader<R> {
    type Item = Result<BlockCommand, IologError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.next_command().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Turns lines into commands: what it needs to remember from line to line.
#[derive(Debug)]
struct Parser {
    version: Version,
    capacity_bytes: u64,
    now: Option<Span>,
    disk: Option<String>,
}

impl Parser {
    /// The command in a line; `None` for a line without one.
    fn line(&mut self, text: &str) -> Result<Option<BlockCommand>, Mistake> {
        let mut fields = [""; 6];
        let mut found = 0;
        for (field, word) in fields.iter_mut().zip(text.split_ascii_whitespace()) {
            *field = word;
            found += 1;
        }
        if found == 0 {
            return Ok(None);
        }
        let (fields, form) = match self.version {
            Version::Two => (&fields[..found], ["FILE ACTION", "FILE ACTION OFFSET LENGTH"]),
            Version::Three => {
                self.advance_to(number("time", fields[0])?);
                (&fields[1..found], ["TIME FILE ACTION", "TIME FILE ACTION OFFSET LENGTH"])
            }
        };
        let action = fields.get(1).copied().unwrap_or_default();
        let wrong_count = |form| Mistake::Fields { action: action.to_owned(), found, form };
        match (action, fields) {
            ("add" | "open" | "close", [_, _]) => Ok(None),
            ("add" | "open" | "close" | "", _) => Err(wrong_count(form[0])),
            ("wait", _) if self.version == Version::Three => Err(Mistake::Wait),
            ("wait", [_, _, wait] | [_, _, wait, _]) => {
                let wait = microseconds(number("time to wait", wait)?);
                let now = self.now.unwrap_or(Span::ZERO);
                self.now = Some(LONGEST.min(now + wait));
                Ok(None)
            }
            (_, [file, _, offset, len]) => self.command(file, action, offset, len).map(Some),
            _ => match op(action) {
                Some(_) => Err(wrong_count(form[1])),
                None => Err(Mistake::Action { action: action.to_owned() }),
            },
        }
    }

    fn command(
        &mut self,
        file: &str,
        action: &str,
        offset: &str,
        len: &str,
    ) -> Result<BlockCommand, Mistake> {
        let op = op(action).ok_or_else(|| Mistake::Action { action: action.to_owned() })?;
        let offset_bytes = number("offset", offset)?;
        let len_bytes = number("length", len)?;
        match &self.disk {
            None => self.disk = Some(file.to_owned()),
            Some(first) if first == file => {}
            Some(first) => {
                return Err(Mistake::SecondFile { first: first.clone(), second: file.to_owned() });
            }
        }
        // fio notes where the file position was at a flush; a disk has no use for it.
        if op == BlockOp::Flush {
            return Ok(BlockCommand { at: self.now, op, offset_bytes: 0, len_bytes: 0 });
        }
        self.check_range(action, offset_bytes, len_bytes)?;
        Ok(BlockCommand { at: self.now, op, offset_bytes, len_bytes })
    }

    fn check_range(&self, action: &str, offset: u64, len: u64) -> Result<(), Mistake> {
        for (field, bytes) in [("offset", offset), ("length", len)] {
            if !bytes.is_multiple_of(SECTOR_BYTES as u64) {
                return Err(Mistake::Unaligned { field, bytes });
            }
        }
        if len == 0 {
            return Err(Mistake::Nothing { action: action.to_owned() });
        }
        match offset.checked_add(len) {
            Some(end) if end <= self.capacity_bytes => Ok(()),
            _ => Err(Mistake::PastTheEnd { offset, len, capacity: self.capacity_bytes }),
        }
    }

    /// A time that goes back counts as no time passed, as in fio.
    fn advance_to(&mut self, time_us: u64) {
        self.now = self.now.max(Some(microseconds(time_us)));
    }
}

fn op(action: &str) -> Option<BlockOp> {
    match action {
        "read" => Some(BlockOp::Read),
        "write" => Some(BlockOp::Write),
        "trim" => Some(BlockOp::Discard),
        "sync" | "datasync" | "syncfs" | "sync_file_range" => Some(BlockOp::Flush),
        _ => None,
    }
}

fn number(field: &'static str, text: &str) -> Result<u64, Mistake> {
    text.parse().map_err(|_| Mistake::Number { field, text: text.to_owned() })
}

/// Longer than [`LONGEST`] is cut to that.
fn microseconds(us: u64) -> Span {
    LONGEST.min(Span::from_ps(us.saturating_mul(1_000_000)))
}

/// What a log holds, from one pass over it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IologSummary {
    /// Commands that read.
    pub reads: u64,
    /// Commands that write.
    pub writes: u64,
    /// Commands that flush.
    pub flushes: u64,
    /// Commands that discard.
    pub discards: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// Bytes in the longest read or write.
    pub longest_bytes: u64,
    /// From the start of the log to its last command.
    pub duration: Span,
}

/// Reads a log to its end, so that whatever is wrong with it is known before a run starts.
///
/// # Errors
/// The first thing wrong with the log.
pub fn survey<R: BufRead>(reader: IologReader<R>) -> Result<IologSummary, IologError> {
    let mut summary = IologSummary::default();
    for command in reader {
        let command = command?;
        *match command.op {
            BlockOp::Read => &mut summary.reads,
            BlockOp::Write => &mut summary.writes,
            BlockOp::Flush => &mut summary.flushes,
            BlockOp::Discard => &mut summary.discards,
        } += 1;
        if matches!(command.op, BlockOp::Read | BlockOp::Write) {
            summary.bytes += command.len_bytes;
            summary.longest_bytes = summary.longest_bytes.max(command.len_bytes);
        }
        summary.duration = command.at.unwrap_or(summary.duration);
    }
    Ok(summary)
}

#[cfg(test)]
#[path = "iolog_tests.rs"]
mod tests;
