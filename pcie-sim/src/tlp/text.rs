//! TLPs as words, and as hex digits, for traces and messages.
//!
//! ```text
//! MRd 01:00.0 tag 5 addr 0x7f001000 len 64
//! MWr 01:00.0 tag 0 addr 0xfee00000 len 4
//! CfgWr0 00:00.0 -> 01:00.0 tag 1 reg 0x004 len 2 data 0x0406
//! CplD 00:00.0 -> 01:00.0 tag 5 SC bc 64 la 0x00 len 64
//! Msg 01:00.0 tag 0 code 0x30 ERR_COR to root complex
//! ```
//!
//! Attributes follow when they are not all zero: `tc 1 ro ido ns`.

use std::fmt;

use super::codec;
use super::{Attributes, CompletionStatus, Message, MessageRouting, Tlp};
use crate::address::Bdf;

impl Tlp {
    /// The specification's abbreviation. PCIe 5.0 §2.2.1, table of Fmt\[2:0\] and Type\[4:0\].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::MemRead(_) => "MRd",
            Self::MemWrite(_) => "MWr",
            Self::ConfigRead(read) if read.forwarded => "CfgRd1",
            Self::ConfigRead(_) => "CfgRd0",
            Self::ConfigWrite(write) if write.forwarded => "CfgWr1",
            Self::ConfigWrite(_) => "CfgWr0",
            Self::Completion(completion) if completion.data.is_empty() => "Cpl",
            Self::Completion(_) => "CplD",
            Self::Message(message) if message.data.is_empty() => "Msg",
            Self::Message(_) => "MsgD",
        }
    }
}

impl fmt::Display for Tlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind())?;
        match self {
            Self::MemRead(read) => {
                memory(f, read.requester, read.tag.0, read.address, read.len_bytes.into())?;
                attributes(f, read.attributes)
            }
            Self::MemWrite(write) => {
                memory(f, write.requester, write.tag.0, write.address, write.data.len())?;
                attributes(f, write.attributes)
            }
            Self::ConfigRead(read) => write!(
                f,
                "{} -> {} tag {} reg {:#05x} len {}",
                read.requester, read.target, read.tag.0, read.offset, read.len_bytes
            ),
            Self::ConfigWrite(write) => {
                let (tag, offset, len) = (write.tag.0, write.offset, write.data.len());
                write!(f, "{} -> {} ", write.requester, write.target)?;
                write!(f, "tag {tag} reg {offset:#05x} len {len} data 0x")?;
                // Little-endian: the byte at the lowest offset is the value's lowest.
                write.data.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Completion(completion) => {
                write!(
                    f,
                    "{} -> {} tag {} {} bc {} la {:#04x}",
                    completion.completer,
                    completion.requester,
                    completion.tag.0,
                    completion.status,
                    completion.byte_count,
                    completion.lower_address
                )?;
                if !completion.data.is_empty() {
                    write!(f, " len {}", completion.data.len())?;
                }
                attributes(f, completion.attributes)
            }
            Self::Message(message) => words_of_message(f, message),
        }
    }
}

fn memory(
    f: &mut fmt::Formatter<'_>,
    requester: Bdf,
    tag: u16,
    address: u64,
    len: usize,
) -> fmt::Result {
    write!(f, "{requester} tag {tag} addr {address:#010x} len {len}")
}

fn attributes(f: &mut fmt::Formatter<'_>, attributes: Attributes) -> fmt::Result {
    if attributes.traffic_class != 0 {
        write!(f, " tc {}", attributes.traffic_class)?;
    }
    let words = [
        (attributes.relaxed_ordering, " ro"),
        (attributes.id_based_ordering, " ido"),
        (attributes.no_snoop, " ns"),
    ];
    words.iter().filter(|(set, _)| *set).try_for_each(|(_, word)| f.write_str(word))
}

impl fmt::Display for CompletionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("SC"),
            Self::UnsupportedRequest => f.write_str("UR"),
            Self::RequestRetry => f.write_str("RRS"),
            Self::CompleterAbort => f.write_str("CA"),
            Self::Reserved(code) => write!(f, "status {code}"),
        }
    }
}

impl fmt::Display for MessageRouting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToRootComplex => f.write_str("to root complex"),
            Self::ByAddress(address) => write!(f, "to {address:#010x}"),
            Self::ById(target) => write!(f, "to {target}"),
            Self::Broadcast => f.write_str("to all below"),
            Self::Local => f.write_str("to the neighbour"),
            Self::Gathered => f.write_str("gathered to root complex"),
            Self::Reserved(code) => write!(f, "by reserved routing {code}"),
        }
    }
}

fn words_of_message(f: &mut fmt::Formatter<'_>, message: &Message) -> fmt::Result {
    write!(f, "{} tag {} code {:#04x}", message.requester, message.tag.0, message.code)?;
    if let Some(name) = message_name(message.code) {
        write!(f, " {name}")?;
    }
    write!(f, " {}", message.routing)?;
    if message.specific != [0; 8] {
        write!(f, " bytes 8-15 {}", Hex(&message.specific))?;
    }
    if !message.data.is_empty() {
        write!(f, " len {}", message.data.len())?;
    }
    attributes(f, message.attributes)
}

/// The name of a message code. PCIe 5.0 appendix F, "Message Code Usage".
fn message_name(code: u8) -> Option<&'static str> {
    Some(match code {
        0x00 => "Unlock",
        0x10 => "LTR",
        0x12 => "OBFF",
        0x14 => "PM_Active_State_Nak",
        0x18 => "PM_PME",
        0x19 => "PME_Turn_Off",
        0x1b => "PME_TO_Ack",
        0x20 => "Assert_INTA",
        0x21 => "Assert_INTB",
        0x22 => "Assert_INTC",
        0x23 => "Assert_INTD",
        0x24 => "Deassert_INTA",
        0x25 => "Deassert_INTB",
        0x26 => "Deassert_INTC",
        0x27 => "Deassert_INTD",
        0x30 => "ERR_COR",
        0x31 => "ERR_NONFATAL",
        0x33 => "ERR_FATAL",
        0x50 => "Set_Slot_Power_Limit",
        0x7e => "Vendor_Defined_Type_0",
        0x7f => "Vendor_Defined_Type_1",
        _ => return None,
    })
}

/// Bytes as hex digits: two each, nothing between, first byte first.
#[derive(Debug, Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Written in runs: a call for each byte is what makes large traces slow.
        let mut run = [0; 64];
        for bytes in self.0.chunks(32) {
            for (pair, byte) in run.chunks_exact_mut(2).zip(bytes) {
                pair[0] = DIGITS[usize::from(byte >> 4)];
                pair[1] = DIGITS[usize::from(byte & 0xf)];
            }
            f.write_str(str::from_utf8(&run[..2 * bytes.len()]).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

/// Header and data of `tlp` as hex digits. Who writes many lines keeps a buffer instead, fills it with
/// [`codec::emit`] and prints [`Hex`] of it.
#[must_use]
pub fn hex(tlp: &Tlp) -> String {
    let mut bytes = Vec::new();
    codec::emit(tlp, &mut bytes);
    Hex(&bytes).to_string()
}

#[cfg(test)]
mod tests;
