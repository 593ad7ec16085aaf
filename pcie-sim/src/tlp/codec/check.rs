//! Whether a packet can be said in bytes without loss, and obeys the rules on its form.

use super::{Feature, MAX_DATA_BYTES, TlpError};
use crate::tlp::{Attributes, Completion, CompletionStatus, Message, MessageRouting, Tag, Tlp};

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
            if read.len_bytes == 0 {
                let low = read.address & 3;
                return field(low == 0, "address[1:0] of a read of 0 bytes", "0", low);
            }
            check_page(read.address, usize::from(read.len_bytes))
        }
        Tlp::MemWrite(write) => {
            check_tag(write.tag, 8)?;
            check_attributes(write.attributes)?;
            check_not_empty(&write.data)?;
            check_page(write.address, write.data.len())
        }
        Tlp::ConfigRead(read) => {
            check_tag(read.tag, 10)?;
            if read.len_bytes == 0 {
                return Err(TlpError::NotModelled { feature: Feature::EmptyConfigRead });
            }
            check_register(read.offset, usize::from(read.len_bytes))
        }
        Tlp::ConfigWrite(write) => {
            check_tag(write.tag, 10)?;
            check_not_empty(&write.data)?;
            check_register(write.offset, write.data.len())
        }
        Tlp::Completion(completion) => check_completion(completion),
        Tlp::Message(message) => check_message(message),
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

fn check_not_empty(data: &[u8]) -> Result<(), TlpError> {
    if data.is_empty() {
        return Err(TlpError::NotModelled { feature: Feature::EmptyWrite });
    }
    Ok(())
}

fn check_page(address: u64, len_bytes: usize) -> Result<(), TlpError> {
    if (address & 0xfff) as usize + len_bytes > 4096 {
        return Err(TlpError::CrossesPage { address, len_bytes });
    }
    Ok(())
}

fn check_register(offset: u16, len: usize) -> Result<(), TlpError> {
    field(offset < 4096, "register offset", "0 to 4095", u64::from(offset))?;
    let end = usize::from(offset & 3) + len;
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
