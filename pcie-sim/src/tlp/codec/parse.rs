//! From bytes to meaning.

use super::{
    FMT_DATA, FMT_LONG, FMT_PREFIX, Feature, MAX_DATA_BYTES, TYPE_COMPLETION, TYPE_CONFIG_0,
    TYPE_CONFIG_1, TYPE_MEMORY, TYPE_MESSAGE, TlpError,
};
use crate::address::Bdf;
use crate::tlp::{
    Attributes, Completion, CompletionStatus, ConfigRead, ConfigWrite, MemRead, MemWrite, Message,
    MessageRouting, Payload, Tag, Tlp,
};

/// The packet that `bytes` are: all of them, from Fmt and Type to the last byte of data.
///
/// Reserved bits and pads are not looked at.
///
/// # Errors
/// [`TlpError`] names the field that is wrong, or what the packet says that a [`Tlp`] cannot.
pub fn parse(bytes: &[u8]) -> Result<Tlp, TlpError> {
    let frame = Frame::split(bytes)?;
    match frame.kind {
        TYPE_MEMORY => memory(&frame),
        TYPE_CONFIG_0 | TYPE_CONFIG_1 => config(&frame),
        TYPE_COMPLETION => completion(&frame),
        _ => Ok(Tlp::Message(message(&frame))),
    }
}

/// A packet cut into header and data, with the fields that all kinds share.
struct Frame<'a> {
    kind: u8,
    has_data: bool,
    long: bool,
    attributes: Attributes,
    /// T9 and T8.
    tag_high: u16,
    /// Length, 1 to 1024. Means nothing in a completion or message without data.
    dwords: usize,
    /// The last four bytes are zero when there are but three doublewords.
    header: [u8; 16],
    data: &'a [u8],
}

impl<'a> Frame<'a> {
    fn split(bytes: &'a [u8]) -> Result<Self, TlpError> {
        let Some(&[b0, b1, b2, b3]) = bytes.first_chunk::<4>() else {
            return Err(TlpError::Truncated { expected: 12, seen: bytes.len() });
        };
        let (fmt, kind) = (b0 >> 5, b0 & 0x1f);
        known(fmt, kind)?;
        not_modelled(b2 & 0x80 != 0, Feature::Digest)?;
        not_modelled(b2 & 0x40 != 0, Feature::Poison)?;
        let (has_data, long) = (fmt & FMT_DATA != 0, fmt & FMT_LONG != 0);
        let dwords = match usize::from(b2 & 3) << 8 | usize::from(b3) {
            0 => 1024,
            dwords => dwords,
        };
        let header_bytes = if long { 16 } else { 12 };
        let expected = header_bytes + if has_data { 4 * dwords } else { 0 };
        let seen = bytes.len();
        if seen < expected {
            return Err(TlpError::Truncated { expected, seen });
        }
        if seen > expected {
            return Err(TlpError::TrailingBytes { expected, seen });
        }
        let (head, data) = bytes.split_at(header_bytes);
        let mut header = [0; 16];
        header[..header_bytes].copy_from_slice(head);
        let attributes = Attributes {
            relaxed_ordering: b2 & 0x20 != 0,
            id_based_ordering: b1 & 0x04 != 0,
            no_snoop: b2 & 0x10 != 0,
            traffic_class: b1 >> 4 & 7,
        };
        let tag_high = u16::from(b1 >> 7) << 9 | u16::from(b1 >> 3 & 1) << 8;
        Ok(Self { kind, has_data, long, attributes, tag_high, dwords, header, data })
    }

    fn bdf_at(&self, at: usize) -> Bdf {
        Bdf(u16::from_be_bytes([self.header[at], self.header[at + 1]]))
    }

    /// AT: bits 3:2 of byte 2.
    fn address_type(&self) -> u8 {
        self.header[2] >> 2 & 3
    }

    fn hints(&self) -> bool {
        self.header[1] & 1 != 0
    }

    fn notification(&self) -> bool {
        self.header[1] & 2 != 0
    }
}

fn known(fmt: u8, kind: u8) -> Result<(), TlpError> {
    if fmt == FMT_PREFIX {
        return Err(TlpError::NotModelled { feature: Feature::Prefix });
    }
    let long = fmt & FMT_LONG != 0;
    let pair = match kind {
        TYPE_MEMORY => true,
        TYPE_CONFIG_0 | TYPE_CONFIG_1 | TYPE_COMPLETION => !long,
        _ => long && kind & !7 == TYPE_MESSAGE,
    };
    if fmt < FMT_PREFIX && pair { Ok(()) } else { Err(TlpError::UnknownType { fmt, kind }) }
}

fn not_modelled(there: bool, feature: Feature) -> Result<(), TlpError> {
    if there { Err(TlpError::NotModelled { feature }) } else { Ok(()) }
}

fn memory(frame: &Frame<'_>) -> Result<Tlp, TlpError> {
    not_modelled(frame.hints(), Feature::ProcessingHints)?;
    not_modelled(frame.notification(), Feature::LightweightNotification)?;
    not_modelled(frame.address_type() != 0, Feature::AddressType)?;
    let [.., a0, a1, a2, a3, b0, b1, b2, b3] = frame.header;
    let start = if frame.long {
        let address = u64::from_be_bytes([a0, a1, a2, a3, b0, b1, b2, b3]);
        if address >> 32 == 0 {
            return Err(TlpError::LongHeader { address });
        }
        address & !3
    } else {
        u64::from(u32::from_be_bytes([a0, a1, a2, a3]) & !3)
    };
    let (lead, len) = run(frame.header[7], frame.dwords)?;
    let address = start + lead as u64;
    if (start & 0xfff) as usize + 4 * frame.dwords > 4096 {
        return Err(TlpError::CrossesPage { address, len_bytes: len });
    }
    let (requester, attributes) = (frame.bdf_at(4), frame.attributes);
    let tag = u16::from(frame.header[6]);
    if !frame.has_data {
        // At most 4096, since it lies in one page.
        let len_bytes = len as u16;
        let tag = Tag(frame.tag_high | tag);
        return Ok(Tlp::MemRead(MemRead { requester, tag, address, len_bytes, attributes }));
    }
    not_modelled(len == 0, Feature::EmptyWrite)?;
    let data = Payload::from_slice(&frame.data[lead..lead + len]);
    Ok(Tlp::MemWrite(MemWrite { requester, tag: Tag(tag), address, data, attributes }))
}

/// The run of bytes that the byte enables name: pads before it, and its length.
/// PCIe 5.0 §2.2.5, "First/Last DW Byte Enables Rules".
fn run(enables: u8, dwords: usize) -> Result<(usize, usize), TlpError> {
    let (first, last) = (enables & 0xf, enables >> 4);
    let lead = first.trailing_zeros() as usize;
    if dwords == 1 {
        if last != 0 {
            return Err(TlpError::ByteEnables { first, last, dwords });
        }
        return match first {
            0 => Ok((0, 0)),
            _ if is_run(first) => Ok((lead, first.count_ones() as usize)),
            _ => Err(TlpError::ByteEnableHoles { first, last }),
        };
    }
    if first == 0 || last == 0 {
        return Err(TlpError::ByteEnables { first, last, dwords });
    }
    if !is_run(first) || first & 0b1000 == 0 || !is_run(last) || last & 1 == 0 {
        return Err(TlpError::ByteEnableHoles { first, last });
    }
    Ok((lead, 4 * (dwords - 2) + (first.count_ones() + last.count_ones()) as usize))
}

/// Whether the set bits stand side by side.
fn is_run(enables: u8) -> bool {
    let from_bit_0 = enables >> enables.trailing_zeros();
    from_bit_0 & (from_bit_0 + 1) == 0
}

fn config(frame: &Frame<'_>) -> Result<Tlp, TlpError> {
    let [_, b1, b2, _, _, _, tag, enables, _, _, high, low, ..] = frame.header;
    zero("TC of a configuration request", b1 >> 4 & 7)?;
    zero("Attr[1:0] of a configuration request", b2 >> 4 & 3)?;
    zero("AT of a configuration request", frame.address_type())?;
    if frame.dwords != 1 {
        return Err(TlpError::Field {
            field: "Length of a configuration request",
            expected: "1",
            seen: frame.dwords as u64,
        });
    }
    let (lead, len) = run(enables, 1)?;
    let tag = Tag(frame.tag_high | u16::from(tag));
    let (requester, target) = (frame.bdf_at(4), frame.bdf_at(8));
    let offset = u16::from(high & 0xf) << 8 | u16::from(low & 0xfc) | lead as u16;
    let forwarded = frame.kind == TYPE_CONFIG_1;
    if frame.has_data {
        not_modelled(len == 0, Feature::EmptyWrite)?;
        let data = Payload::from_slice(&frame.data[lead..lead + len]);
        return Ok(Tlp::ConfigWrite(ConfigWrite {
            requester,
            tag,
            target,
            offset,
            data,
            forwarded,
        }));
    }
    not_modelled(len == 0, Feature::EmptyConfigRead)?;
    let len_bytes = len as u8;
    Ok(Tlp::ConfigRead(ConfigRead { requester, tag, target, offset, len_bytes, forwarded }))
}

fn zero(field: &'static str, seen: u8) -> Result<(), TlpError> {
    if seen == 0 {
        return Ok(());
    }
    Err(TlpError::Field { field, expected: "0", seen: u64::from(seen) })
}

fn completion(frame: &Frame<'_>) -> Result<Tlp, TlpError> {
    not_modelled(frame.notification(), Feature::LightweightNotification)?;
    let [.., status, count, _, _, tag, low, _, _, _, _] = frame.header;
    not_modelled(status & 0x10 != 0, Feature::ByteCountModified)?;
    let byte_count = match u16::from_be_bytes([status & 0xf, count]) {
        0 => MAX_DATA_BYTES as u16,
        byte_count => byte_count,
    };
    let lower_address = low & 0x7f;
    Ok(Tlp::Completion(Completion {
        completer: frame.bdf_at(4),
        requester: frame.bdf_at(8),
        tag: Tag(frame.tag_high | u16::from(tag)),
        status: completion_status(status >> 5),
        byte_count,
        lower_address,
        data: completion_data(frame.data, byte_count, lower_address)?,
        attributes: frame.attributes,
    }))
}

fn completion_data(dwords: &[u8], byte_count: u16, lower_address: u8) -> Result<Payload, TlpError> {
    if dwords.is_empty() {
        return Ok(Payload::new());
    }
    let lead = usize::from(lower_address & 3);
    let len = usize::from(byte_count).min(dwords.len() - lead);
    if (lead + len).div_ceil(4) * 4 != dwords.len() {
        let data_bytes = dwords.len();
        return Err(TlpError::CompletionData { data_bytes, byte_count, lower_address });
    }
    Ok(Payload::from_slice(&dwords[lead..lead + len]))
}

fn completion_status(code: u8) -> CompletionStatus {
    match code {
        0b000 => CompletionStatus::Success,
        0b001 => CompletionStatus::UnsupportedRequest,
        0b010 => CompletionStatus::RequestRetry,
        0b100 => CompletionStatus::CompleterAbort,
        code => CompletionStatus::Reserved(code),
    }
}

fn message(frame: &Frame<'_>) -> Message {
    let [.., s0, s1, s2, s3, s4, s5, s6, s7] = frame.header;
    let bytes = [s0, s1, s2, s3, s4, s5, s6, s7];
    let (routing, specific) = match frame.kind & 7 {
        0 => (MessageRouting::ToRootComplex, bytes),
        1 => (MessageRouting::ByAddress(u64::from_be_bytes(bytes)), [0; 8]),
        2 => (MessageRouting::ById(frame.bdf_at(8)), [0, 0, s2, s3, s4, s5, s6, s7]),
        3 => (MessageRouting::Broadcast, bytes),
        4 => (MessageRouting::Local, bytes),
        5 => (MessageRouting::Gathered, bytes),
        code => (MessageRouting::Reserved(code), bytes),
    };
    Message {
        requester: frame.bdf_at(4),
        tag: Tag(u16::from(frame.header[6])),
        code: frame.header[7],
        routing,
        specific,
        data: Payload::from_slice(frame.data),
        attributes: frame.attributes,
    }
}
