//! The qtest protocol: lines of ASCII, one reply a command, and lines of interrupts in between.
//!
//! Source: QEMU, `softmmu/qtest.c` ("QTest Protocol"), versions 7.2 to 10.

use std::io::Write;

use super::base64;
use crate::address::PhysAddr;
use crate::host::Width;

/// What QEMU is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Writes an I/O port; up to 4 bytes.
    Out {
        /// The port.
        port: u16,
        /// How many bytes; 8 are sent as 4.
        width: Width,
        /// The value.
        value: u32,
    },
    /// Reads memory or a register with one access.
    Read {
        /// Where.
        address: PhysAddr,
        /// How many bytes.
        width: Width,
    },
    /// Writes memory or a register with one access.
    Write {
        /// Where.
        address: PhysAddr,
        /// How many bytes.
        width: Width,
        /// The value; what does not fit the width is not sent.
        value: u64,
    },
    /// Reads a block of memory, at least one byte.
    ReadBlock {
        /// Where it starts.
        address: PhysAddr,
        /// Its length in bytes.
        len_bytes: usize,
    },
    /// Writes a block of memory, at least one byte.
    WriteBlock {
        /// Where it starts.
        address: PhysAddr,
        /// What.
        data: &'a [u8],
    },
    /// Lets QEMU's own clock run on.
    ClockStep {
        /// So many nanoseconds.
        ns: u64,
    },
}

const fn suffix(width: Width) -> char {
    match width {
        Width::W8 => 'b',
        Width::W16 => 'w',
        Width::W32 => 'l',
        Width::W64 => 'q',
    }
}

const fn fitting(value: u64, width: Width) -> u64 {
    value & (u64::MAX >> (64 - 8 * width.bytes()))
}

impl Command<'_> {
    /// Puts the command, with the end of its line, behind `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // A vector takes everything, so there is no error to tell of.
        let _ = match *self {
            Self::Out { port, width, value } => {
                let width = if width == Width::W64 { Width::W32 } else { width };
                let value = fitting(u64::from(value), width);
                write!(out, "out{} {port:#x} {value:#x}", suffix(width))
            }
            Self::Read { address, width } => write!(out, "read{} {address}", suffix(width)),
            Self::Write { address, width, value } => {
                write!(out, "write{} {address} {:#x}", suffix(width), fitting(value, width))
            }
            Self::ReadBlock { address, len_bytes } => {
                write!(out, "b64read {address} {len_bytes:#x}")
            }
            Self::WriteBlock { address, data } => {
                let head = write!(out, "b64write {address} {:#x} ", data.len());
                base64::encode(data, out);
                head
            }
            Self::ClockStep { ns } => write!(out, "clock_step {ns}"),
        };
        out.push(b'\n');
    }
}

/// A line that QEMU has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// The command was done; what it gave.
    Ok(&'a str),
    /// The command was not done; why.
    Failed(&'a str),
    /// An interrupt line that is watched has changed. Not a reply.
    Irq {
        /// Which.
        number: u32,
        /// To what.
        raised: bool,
    },
}

/// A line, or a value in it, that the protocol does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// No text.
    #[error("it is not ASCII")]
    NotText,
    /// A first word that no reply begins with.
    #[error("it begins with no word of the protocol")]
    UnknownWord,
    /// A number that is none, or does not fit.
    #[error("a number is expected in it")]
    NotANumber,
    /// A block of another length, or no base64.
    #[error("a block of {len_bytes} bytes in base64 is expected in it")]
    NotTheBlock {
        /// Bytes that were asked for.
        len_bytes: usize,
    },
}

/// Reads a line, without its end.
///
/// # Errors
/// [`CodecError`] for a line that is no reply and no interrupt.
pub fn parse_line(line: &[u8]) -> Result<Line<'_>, CodecError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !line.is_ascii() {
        return Err(CodecError::NotText);
    }
    let text = std::str::from_utf8(line).map_err(|_| CodecError::NotText)?;
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "OK" => Ok(Line::Ok(rest)),
        "FAIL" | "ERR" => Ok(Line::Failed(rest)),
        "IRQ" => interrupt(rest),
        _ => Err(CodecError::UnknownWord),
    }
}

fn interrupt(rest: &str) -> Result<Line<'_>, CodecError> {
    let (what, number) = rest.split_once(' ').ok_or(CodecError::NotANumber)?;
    let raised = match what {
        "raise" => true,
        "lower" => false,
        _ => return Err(CodecError::UnknownWord),
    };
    let number = number.parse().map_err(|_| CodecError::NotANumber)?;
    Ok(Line::Irq { number, raised })
}

/// The number that a reply gives: hexadecimal with `0x`, or decimal.
///
/// # Errors
/// [`CodecError::NotANumber`].
pub fn value(text: &str) -> Result<u64, CodecError> {
    let parsed = match text.strip_prefix("0x") {
        // A sign would pass the library's parser.
        Some(hex) if hex.starts_with('+') => return Err(CodecError::NotANumber),
        Some(hex) => u64::from_str_radix(hex, 16),
        None if text.starts_with('+') => return Err(CodecError::NotANumber),
        None => text.parse(),
    };
    parsed.map_err(|_| CodecError::NotANumber)
}

/// The block that a reply gives, which must fill `into`.
///
/// # Errors
/// [`CodecError::NotTheBlock`].
pub fn block(text: &str, into: &mut [u8]) -> Result<(), CodecError> {
    let len_bytes = into.len();
    base64::decode(text.as_bytes(), into).then_some(()).ok_or(CodecError::NotTheBlock { len_bytes })
}
