//! TLPs as words, and as hex digits, for traces and messages.
//!
//! ```text
//! MRd 01:00.0 tag 5 addr 0x7f001000 len 64
//! MWr 01:00.0 tag 0 addr 0xfee00000 len 4
//! CfgWr0 00:00.0 -> 01:00.0 tag 1 reg 0x004 len 2 data 0x0406
//! CplD 00:00.0 -> 01:00.0 tag 5 SC bc 64 la 0x00 len 64
//! Msg 01:00.0 tag 0 code 0x30 ERR_COR to root complex
//! IOWr 00:00.0 tag 3 addr 0x00000060 len 1 data 0x2a
//! CAS 01:00.0 tag 7 addr 0x00001000 len 4 expect 0x00000001 new 0x00000002
//! MWr 01:00.0 tag 0 addr 0x7f001000 len 64 poisoned pasid 0x00123 privileged ecrc 0a1b2c3d
//! ```
//!
//! Attributes follow when they are not all zero: `tc 1 ro ido ns`. Then what few packets have: `poisoned`,
//! `at`, hints (`ph`, `st`), byte enables with holes (`be first/last`), prefixes, `ecrc`.

use std::fmt;

use super::{
    AddressType, Atomic, AtomicOperation, Attributes, ByteEnables, CompletionStatus, Extras,
    Message, MessageRouting, Prefix, Tlp, codec, message,
};
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
            Self::IoRead(_) => "IORd",
            Self::IoWrite(_) => "IOWr",
            Self::Atomic(atomic) => match atomic.operation {
                AtomicOperation::FetchAdd => "FetchAdd",
                AtomicOperation::Swap => "Swap",
                AtomicOperation::CompareAndSwap => "CAS",
            },
            Self::Extended(extended) => extended.tlp().kind(),
        }
    }
}

impl fmt::Display for Tlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind())?;
        self.words(f)?;
        self.extras().map_or(Ok(()), |extras| words_of_extras(f, extras))
    }
}

impl Tlp {
    /// All but the kind and the extras.
    fn words(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
                write!(f, "tag {tag} reg {offset:#05x} len {len}")?;
                value(f, " data ", &write.data)
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
            Self::IoRead(read) => {
                memory(f, read.requester, read.tag.0, read.address.into(), read.len_bytes.into())
            }
            Self::IoWrite(write) => {
                let (tag, address, len) = (write.tag.0, write.address.into(), write.data.len());
                memory(f, write.requester, tag, address, len)?;
                value(f, " data ", &write.data)
            }
            Self::Atomic(atomic) => words_of_atomic(f, atomic),
            Self::Extended(extended) => extended.tlp().words(f),
        }
    }
}

/// A number of a few bytes, little-endian: the byte at the lowest address is the value's lowest.
fn value(f: &mut fmt::Formatter<'_>, name: &str, data: &[u8]) -> fmt::Result {
    if data.is_empty() {
        return Ok(());
    }
    write!(f, "{name}0x")?;
    data.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn words_of_atomic(f: &mut fmt::Formatter<'_>, atomic: &Atomic) -> fmt::Result {
    let operands = &atomic.operands[..];
    let size = atomic.location_bytes().unwrap_or(operands.len());
    memory(f, atomic.requester, atomic.tag.0, atomic.address, size)?;
    let (first, second) = operands.split_at(size);
    let name = match atomic.operation {
        AtomicOperation::FetchAdd => " add ",
        AtomicOperation::Swap => " new ",
        AtomicOperation::CompareAndSwap => " expect ",
    };
    value(f, name, first)?;
    value(f, " new ", second)?;
    attributes(f, atomic.attributes)
}

fn words_of_extras(f: &mut fmt::Formatter<'_>, extras: &Extras) -> fmt::Result {
    if extras.poisoned {
        f.write_str(" poisoned")?;
    }
    match extras.address_type {
        AddressType::Untranslated => {}
        AddressType::TranslationRequest { no_write: false } => f.write_str(" at request")?,
        AddressType::TranslationRequest { no_write: true } => f.write_str(" at request nw")?,
        AddressType::Translated => f.write_str(" at translated")?,
        AddressType::Reserved => f.write_str(" at reserved")?,
    }
    if let Some(hints) = extras.hints {
        write!(f, " ph {} st {:#04x}", hints.processing, hints.steering)?;
    }
    if let Some(ByteEnables { first, last }) = extras.enables {
        write!(f, " be {first:04b}/{last:04b}")?;
    }
    extras.prefixes.iter().try_for_each(|prefix| words_of_prefix(f, *prefix))?;
    extras.ecrc.map_or(Ok(()), |ecrc| write!(f, " ecrc {}", Hex(&ecrc)))
}

fn words_of_prefix(f: &mut fmt::Formatter<'_>, prefix: Prefix) -> fmt::Result {
    match prefix {
        Prefix::Local { kind, bytes } => write!(f, " local prefix {kind} {}", Hex(&bytes)),
        Prefix::ExtendedHints { steering_high } => write!(f, " st high {steering_high:#04x}"),
        Prefix::Pasid(pasid) => {
            write!(f, " pasid {:#07x}", pasid.id)?;
            f.write_str(if pasid.execute { " execute" } else { "" })?;
            f.write_str(if pasid.privileged { " privileged" } else { "" })
        }
        Prefix::EndToEnd { kind, bytes } => write!(f, " prefix {kind} {}", Hex(&bytes)),
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
    if let Some(name) = message::name(message.code) {
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
