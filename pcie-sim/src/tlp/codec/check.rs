//! Whether a packet can be said in bytes without loss, and obeys the rules on its form.

use super::frame::check_prefixes;
use super::parse::{Run, run};
use super::{MAX_DATA_BYTES, PREFIX_PASID, TlpError};
use crate::tlp::{
    AddressType, Atomic, AtomicOperation, Attributes, ByteEnables, Completion, CompletionStatus,
    Extras, Message, MessageRouting, Prefix, Tag, Tlp, message,
};

/// Whether `tlp` is well-formed: each field fits its bits, no request crosses a 4-KiB page, and
/// [`parse`](super::parse) of what [`emit`](super::emit) writes gives `tlp` again.
///
/// # Errors
/// [`TlpError`] names the field.
pub fn check(tlp: &Tlp) -> Result<(), TlpError> {
    match tlp {
        Tlp::MemRead(read) => {
            check_tag(read.tag, 10)?;
            check_attributes(read.attributes)?;
            check_run(read.address, usize::from(read.len_bytes))
        }
        Tlp::MemWrite(write) => {
            check_tag(write.tag, 8)?;
            check_attributes(write.attributes)?;
            check_run(write.address, write.data.len())
        }
        Tlp::ConfigRead(read) => {
            check_tag(read.tag, 10)?;
            check_register(read.offset, usize::from(read.len_bytes))
        }
        Tlp::ConfigWrite(write) => {
            check_tag(write.tag, 10)?;
            check_register(write.offset, write.data.len())
        }
        Tlp::Completion(completion) => check_completion(completion),
        Tlp::Message(message) => check_message(message),
        Tlp::IoRead(read) => {
            check_tag(read.tag, 10)?;
            check_dword(read.address.into(), usize::from(read.len_bytes))
        }
        Tlp::IoWrite(write) => {
            check_tag(write.tag, 10)?;
            check_dword(write.address.into(), write.data.len())
        }
        Tlp::Atomic(atomic) => {
            check_tag(atomic.tag, 10)?;
            check_attributes(atomic.attributes)?;
            check_operands(atomic)
        }
        Tlp::Extended(extended) => {
            check(extended.tlp())?;
            check_extras(extended.tlp(), extended.extras())
        }
    }
}

fn check_extras(tlp: &Tlp, extras: &Extras) -> Result<(), TlpError> {
    check_prefixes(&extras.prefixes)?;
    extras.prefixes.iter().try_for_each(|prefix| check_prefix(*prefix))?;
    let data = !extras.poisoned || tlp.data_dwords() > 0;
    field(data, "EP of a packet without data", "0", 1)?;
    let addressed = matches!(tlp, Tlp::MemRead(_) | Tlp::MemWrite(_) | Tlp::Atomic(_));
    let plain = extras.address_type == AddressType::Untranslated && extras.hints.is_none();
    field(plain || addressed, "AT and TH of a request without a memory address", "0", 1)?;
    let asks = matches!(extras.address_type, AddressType::TranslationRequest { .. });
    let is_read = matches!(tlp, Tlp::MemRead(_));
    field(!asks || is_read, "AT of a request that is no memory read", "00 or 10", 1)?;
    if let Some(hints) = extras.hints {
        field(!asks, "TH of a translation request", "0", 1)?;
        field(hints.processing < 4, "PH", "0 to 3", hints.processing.into())?;
        check_hinted(tlp)?;
    }
    extras.enables.map_or(Ok(()), |enables| check_enables(tlp, extras, enables))
}

fn check_prefix(prefix: Prefix) -> Result<(), TlpError> {
    match prefix {
        Prefix::Local { kind, .. } => {
            field(kind < 16, "type of a local prefix", "0 to 15", kind.into())
        }
        Prefix::Pasid(pasid) => field(pasid.id >> 20 == 0, "PASID", "20 bits", pasid.id.into()),
        Prefix::ExtendedHints { .. } => Ok(()),
        Prefix::EndToEnd { kind, .. } => {
            let other = (PREFIX_PASID + 1..16).contains(&kind);
            field(other, "type of another End-End prefix", "2 to 15", kind.into())
        }
    }
}

/// ST has taken a write's tag, or a read's byte enables, which are as if all set.
fn check_hinted(tlp: &Tlp) -> Result<(), TlpError> {
    match tlp {
        Tlp::MemWrite(write) => {
            field(write.tag.0 == 0, "tag of a write with hints", "0", write.tag.0.into())
        }
        Tlp::MemRead(read) => {
            let whole = read.address % 4 == 0 && read.len_bytes % 4 == 0 && read.len_bytes != 0;
            let expected = "whole doublewords";
            field(whole, "bytes of a read with hints", expected, read.len_bytes.into())
        }
        _ => Ok(()),
    }
}

fn check_enables(tlp: &Tlp, extras: &Extras, enables: ByteEnables) -> Result<(), TlpError> {
    let refused = TlpError::ByteEnableHoles { first: enables.first, last: enables.last };
    let hinted_read = extras.hints.is_some() && matches!(tlp, Tlp::MemRead(_));
    let (start, len, data): (u64, usize, &[u8]) = match tlp {
        Tlp::MemRead(read) if !hinted_read => (read.address, read.len_bytes.into(), &[]),
        Tlp::MemWrite(write) => (write.address, write.data.len(), &write.data),
        Tlp::ConfigRead(read) => (read.offset.into(), read.len_bytes.into(), &[]),
        Tlp::ConfigWrite(write) => (write.offset.into(), write.data.len(), &write.data),
        Tlp::IoRead(read) => (read.address.into(), read.len_bytes.into(), &[]),
        Tlp::IoWrite(write) => (write.address.into(), write.data.len(), &write.data),
        _ => return Err(refused),
    };
    let lead = (start & 3) as usize;
    let (both, aligned) = (enables.last << 4 | enables.first & 0xf, start & !3 & 7 == 0);
    let fits = enables.first < 16 && enables.last < 16 && len != 0;
    let named = run(both, (lead + len).div_ceil(4).max(1), aligned)?;
    let filled = (lead..).zip(data).any(|(lane, byte)| *byte != 0 && !enables.enables(lane));
    let meant = Run { lead, len, holes: Some(enables) };
    if fits && named == meant && !filled { Ok(()) } else { Err(refused) }
}

/// The operands are of a size that the operation has, and the address is a multiple of the location's.
/// PCIe 5.0 §2.2.7, "Memory, I/O, and Configuration Request Rules".
pub(super) fn check_operands(atomic: &Atomic) -> Result<(), TlpError> {
    let seen = atomic.operands.len() as u64;
    let expected = match atomic.operation {
        AtomicOperation::FetchAdd | AtomicOperation::Swap => "4 or 8",
        AtomicOperation::CompareAndSwap => "8, 16 or 32",
    };
    let Some(size) = atomic.location_bytes() else {
        return Err(TlpError::Field { field: "bytes of operands", expected, seen });
    };
    let aligned = atomic.address.is_multiple_of(size as u64);
    let expected = "a multiple of the location's size";
    field(aligned, "address of an atomic request", expected, atomic.address)
}

/// What the code of a message demands. PCIe 5.0 §2.2.8, "Message Request Rules".
pub(super) fn check_code(message: &Message) -> Result<(), TlpError> {
    let class = message.attributes.traffic_class;
    let any_class = class == 0 || !message::needs_traffic_class_0(message.code);
    field(any_class, "TC of a message with this code", "0", class.into())?;
    let seen = message.data.len();
    match message::data_bytes(message.code) {
        Some(0) => field(seen == 0, "bytes of a message with this code", "0", seen as u64),
        Some(_) => field(seen == 4, "bytes of a message with this code", "4", seen as u64),
        None => Ok(()),
    }
}

fn field(
    held: bool,
    field: &'static str,
    expected: &'static str,
    seen: u64,
) -> Result<(), TlpError> {
    if held { Ok(()) } else { Err(TlpError::Field { field, expected, seen }) }
}

/// Tag\[9:8\] are reserved in posted requests. PCIe 5.0 §2.2.6.2, "Transaction Descriptor –
/// Transaction ID Field".
fn check_tag(tag: Tag, bits: u32) -> Result<(), TlpError> {
    let expected = if bits == 8 { "0 to 255 (posted)" } else { "0 to 1023" };
    field(tag.0 >> bits == 0, "tag", expected, u64::from(tag.0))
}

fn check_attributes(attributes: Attributes) -> Result<(), TlpError> {
    let class = attributes.traffic_class;
    field(class < 8, "traffic class", "0 to 7", u64::from(class))
}

/// A run of bytes in memory. One of no bytes has no first: it is at a doubleword.
fn check_run(address: u64, len_bytes: usize) -> Result<(), TlpError> {
    if len_bytes == 0 {
        return field(address & 3 == 0, "address[1:0] of a request for 0 bytes", "0", address & 3);
    }
    if (address & 0xfff) as usize + len_bytes > 4096 {
        return Err(TlpError::CrossesPage { address, len_bytes });
    }
    Ok(())
}

fn check_register(offset: u16, len: usize) -> Result<(), TlpError> {
    field(offset < 4096, "register offset", "0 to 4095", u64::from(offset))?;
    check_dword(offset.into(), len)
}

/// A run of bytes in one doubleword.
fn check_dword(address: u64, len: usize) -> Result<(), TlpError> {
    if len == 0 {
        return check_run(address, 0);
    }
    let end = (address & 3) as usize + len;
    field(end <= 4, "end of the access in its doubleword", "at most 4", end as u64)
}

fn check_completion(completion: &Completion) -> Result<(), TlpError> {
    check_tag(completion.tag, 10)?;
    check_attributes(completion.attributes)?;
    if let CompletionStatus::Reserved(code) = completion.status {
        let reserved = matches!(code, 3 | 5..=7);
        field(reserved, "reserved completion status", "3, 5, 6 or 7", u64::from(code))?;
    }
    let &Completion { byte_count, lower_address, .. } = completion;
    let counts = (1..=MAX_DATA_BYTES as u16).contains(&byte_count);
    field(counts, "byte count", "1 to 4096", u64::from(byte_count))?;
    field(lower_address < 128, "lower address", "0 to 127", u64::from(lower_address))?;
    let len = completion.data.len();
    let end = usize::from(lower_address & 3) + len;
    // A part that is not the last has no pad behind it: a receiver could not tell pad from data.
    let whole = len == usize::from(byte_count) || end.is_multiple_of(4);
    if len != 0 && (len > usize::from(byte_count) || end > MAX_DATA_BYTES || !whole) {
        return Err(TlpError::CompletionData { data_bytes: len, byte_count, lower_address });
    }
    Ok(())
}

fn check_message(message: &Message) -> Result<(), TlpError> {
    check_tag(message.tag, 8)?;
    check_attributes(message.attributes)?;
    check_code(message)?;
    let len = message.data.len();
    let dwords = len.is_multiple_of(4) && len <= MAX_DATA_BYTES;
    field(dwords, "bytes of a message", "whole doublewords, at most 4096", len as u64)?;
    let routed = match message.routing {
        MessageRouting::ByAddress(_) => 8,
        MessageRouting::ById(_) => 2,
        MessageRouting::Reserved(code) => {
            field(matches!(code, 6 | 7), "reserved routing", "6 or 7", u64::from(code))?;
            0
        }
        _ => 0,
    };
    let said_twice = message.specific[..routed].iter().find(|&&byte| byte != 0);
    let seen = said_twice.copied().unwrap_or(0);
    field(seen == 0, "message bytes that the routing holds", "0", u64::from(seen))
}
