//! The ports of a top module, read from the header that Verilator writes for it. Widths are resolved there,
//! whatever parameters they hang on.
//!
//! ```text
//!     VL_IN8(&clk_i,0,0);            CData, up to 8 bits          VL_OUT16  SData, up to 16
//!     VL_INW(&rx_data_i,255,0,8);    VlWide<8>, above 64          VL_OUT64  QData, up to 64
//!     VL_OUT(&tx_keep_o,31,0);       IData, up to 32
//! ```
//!
//! Left out: arrays of ports, `inout`, ports of type `real` and `string`: they are listed by name.

use crate::pins::PortDirection;

/// How Verilator keeps a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// One byte.
    Bits8,
    /// Two bytes.
    Bits16,
    /// Four bytes.
    Bits32,
    /// Eight bytes.
    Bits64,
    /// So many words of four bytes, low word first.
    Words(u32),
}

/// More bits than a vector of Verilator's can have.
const WIDEST: u32 = 1 << 24;

/// One port of the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPort {
    /// Its name in the design.
    pub name: String,
    /// Its name in C++.
    pub member: String,
    /// Which way it goes.
    pub direction: PortDirection,
    /// Width in bits, at least 1.
    pub bits: u32,
    /// How it is kept.
    pub storage: Storage,
}

/// What a header says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// Ports that can be read and written.
    pub ports: Vec<HeaderPort>,
    /// Names of ports that cannot: arrays, `inout`.
    pub others: Vec<String>,
}

/// Reads the ports out of a header. What is no port is passed over.
#[must_use]
pub fn parse(text: &str) -> Header {
    let mut header = Header::default();
    for line in text.lines() {
        let Some((kind, arguments)) = macro_call(line.trim()) else { continue };
        let mut arguments = arguments.split(',');
        let Some(place) = arguments.next().and_then(|first| first.trim().strip_prefix('&')) else {
            // `(&name)[4]`, an array.
            header.others.extend(array_name(line));
            continue;
        };
        let numbers: Option<Vec<u32>> = arguments.map(|text| text.trim().parse().ok()).collect();
        match numbers.and_then(|numbers| port(kind, place.trim(), &numbers)) {
            Some(port) => header.ports.push(port),
            None => header.others.push(plain(place.trim())),
        }
    }
    header
}

/// `VL_IN8(&a,0,0);` as `IN8` and `&a,0,0`.
fn macro_call(line: &str) -> Option<(&str, &str)> {
    let (kind, rest) = line.strip_prefix("VL_")?.split_once('(')?;
    let known = kind.starts_with("IN") || kind.starts_with("OUT");
    known.then_some((kind, rest.strip_suffix(");")?))
}

fn array_name(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("(&")?;
    let name = rest.split([')', ',', '[']).next()?;
    (!name.is_empty()).then(|| plain(name))
}

fn port(kind: &str, member: &str, numbers: &[u32]) -> Option<HeaderPort> {
    let (direction, size) = match kind.strip_prefix("OUT") {
        Some(size) => (PortDirection::Output, size),
        None => (PortDirection::Input, kind.strip_prefix("IN")?),
    };
    let (&high, &low) = (numbers.first()?, numbers.get(1)?);
    let bits = high.checked_sub(low)?.checked_add(1)?;
    let (storage, most) = match (size, numbers.get(2)) {
        ("8", None) => (Storage::Bits8, 8),
        ("16", None) => (Storage::Bits16, 16),
        ("", None) => (Storage::Bits32, 32),
        ("64", None) => (Storage::Bits64, 64),
        ("W", Some(&words)) if words == bits.div_ceil(32) => (Storage::Words(words), bits),
        _ => return None,
    };
    let is_member = member.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (bits <= most.min(WIDEST) && is_member && !member.is_empty()).then(|| HeaderPort {
        name: plain(member),
        member: member.to_owned(),
        direction,
        bits,
        storage,
    })
}

/// A name as it was in Verilog: Verilator writes `__0` and two hexadecimal digits for what C++ does not
/// allow in a name, and `__SYM__` before what is a word of C++.
fn plain(member: &str) -> String {
    let mut rest = member.strip_prefix("__SYM__").unwrap_or(member);
    let mut name = String::new();
    while let Some((before, after)) = rest.split_once("__0") {
        name.push_str(before);
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) if code.is_ascii_graphic() => {
                name.push(char::from(code));
                rest = &after[2..];
            }
            _ => {
                name.push_str("__0");
                rest = after;
            }
        }
    }
    name.push_str(rest);
    name
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
