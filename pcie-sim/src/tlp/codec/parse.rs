//! From bytes to meaning.

use super::check::check_code;
use super::frame::{Frame, not_modelled};
use super::{
    Feature, MAX_DATA_BYTES, TYPE_COMPARE_AND_SWAP, TYPE_COMPLETION, TYPE_CONFIG_0, TYPE_CONFIG_1,
    TYPE_FETCH_ADD, TYPE_IO, TYPE_MEMORY, TYPE_SWAP, TlpError,
};
use crate::tlp::{
    AddressType, Atomic, AtomicOperation, ByteEnables, Completion, CompletionStatus, ConfigRead,
    ConfigWrite, Extras, Hints, IoRead, IoWrite, MemRead, MemWrite, Message, MessageRouting,
    Payload, Tag, Tlp,
};

/// The packet that `bytes` are: all of them, from Fmt and Type, or the first prefix, to the last byte of
/// data, or the digest.
///
/// Reserved bits and pads are not looked at, and a digest is not verified.
///
/// # Errors
/// [`TlpError`] names the field that is wrong, or what the packet says that a [`Tlp`] cannot.
pub fn parse(bytes: &[u8]) -> Result<Tlp, TlpError> {
    let (frame, mut extras) = Frame::split(bytes)?;
    let tlp = match frame.kind {
        TYPE_MEMORY => memory(&frame, &mut extras)?,
        TYPE_CONFIG_0 | TYPE_CONFIG_1 => config(&frame, &mut extras)?,
        TYPE_IO => io(&frame, &mut extras)?,
        TYPE_COMPLETION => completion(&frame)?,
        TYPE_FETCH_ADD => atomic(&frame, AtomicOperation::FetchAdd, &mut extras)?,
        TYPE_SWAP => atomic(&frame, AtomicOperation::Swap, &mut extras)?,
        TYPE_COMPARE_AND_SWAP => atomic(&frame, AtomicOperation::CompareAndSwap, &mut extras)?,
        _ => message(&frame)?,
    };
    Ok(if extras.is_none() { tlp } else { tlp.with(extras) })
}

fn memory(frame: &Frame<'_>, extras: &mut Extras) -> Result<Tlp, TlpError> {
    not_modelled(frame.notification(), Feature::LightweightNotification)?;
    let steering = frame.header[if frame.has_data { 6 } else { 7 }];
    addressing(frame, steering, !frame.has_data, extras)?;
    let start = address(frame)?;
    // The byte enables of a read with hints are taken as all ones: ST stands in their place. §2.2.5.
    let run = if extras.hints.is_some() && !frame.has_data {
        Run { lead: 0, len: 4 * frame.dwords, holes: None }
    } else {
        run(frame.header[7], frame.dwords, start % 8 == 0)?
    };
    extras.enables = run.holes;
    let address = start + run.lead as u64;
    if (start & 0xfff) as usize + 4 * frame.dwords > 4096 {
        return Err(TlpError::CrossesPage { address, len_bytes: run.len });
    }
    let (requester, attributes) = (frame.bdf_at(4), frame.attributes);
    if !frame.has_data {
        // At most 4096, since it lies in one page.
        let len_bytes = run.len as u16;
        let tag = frame.tag();
        return Ok(Tlp::MemRead(MemRead { requester, tag, address, len_bytes, attributes }));
    }
    let tag = if extras.hints.is_some() { 0 } else { frame.header[6] };
    let (tag, data) = (Tag(tag.into()), run.data(frame.data));
    Ok(Tlp::MemWrite(MemWrite { requester, tag, address, data, attributes }))
}

/// Hints and address type of a memory or atomic request.
fn addressing(
    frame: &Frame<'_>,
    steering: u8,
    is_read: bool,
    extras: &mut Extras,
) -> Result<(), TlpError> {
    let low = frame.address_low_bits();
    extras.address_type = match frame.address_type() {
        0 => AddressType::Untranslated,
        1 if is_read => AddressType::TranslationRequest { no_write: low & 1 != 0 },
        1 => {
            let field = "AT of a request that is no memory read";
            return Err(TlpError::Field { field, expected: "00 or 10", seen: 1 });
        }
        2 => AddressType::Translated,
        _ => AddressType::Reserved,
    };
    if frame.hints() {
        if frame.address_type() == 1 {
            zero("TH of a translation request", 1)?;
        }
        extras.hints = Some(Hints { processing: low, steering });
    }
    Ok(())
}

/// The address of the first doubleword. PCIe 5.0 §2.2.4.1, "Address-Based Routing Rules".
fn address(frame: &Frame<'_>) -> Result<u64, TlpError> {
    let [.., a0, a1, a2, a3, b0, b1, b2, b3] = frame.header;
    if !frame.long {
        return Ok(u64::from(u32::from_be_bytes([a0, a1, a2, a3]) & !3));
    }
    let address = u64::from_be_bytes([a0, a1, a2, a3, b0, b1, b2, b3]);
    if address >> 32 == 0 {
        return Err(TlpError::LongHeader { address });
    }
    Ok(address & !3)
}

/// The run of bytes that byte enables name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Pads before it.
    pub(super) lead: usize,
    /// Its length.
    pub(super) len: usize,
    /// The byte enables, when they leave out bytes of it.
    pub(super) holes: Option<ByteEnables>,
}

impl Run {
    fn data(self, dwords: &[u8]) -> Payload {
        let mut data = Payload::from_slice(&dwords[self.lead..self.lead + self.len]);
        if let Some(enables) = self.holes {
            for (lane, byte) in (self.lead..).zip(&mut data) {
                if !enables.enables(lane) {
                    *byte = 0;
                }
            }
        }
        data
    }
}

/// The run that the byte of both byte enables names; `aligned`: the first doubleword lies at a multiple of
/// 8. PCIe 5.0 §2.2.5, "First/Last DW Byte Enables Rules".
pub(super) fn run(enables: u8, dwords: usize, aligned: bool) -> Result<Run, TlpError> {
    let (first, last) = (enables & 0xf, enables >> 4);
    let against_length = if dwords == 1 { last != 0 } else { first == 0 || last == 0 };
    if against_length {
        return Err(TlpError::ByteEnables { first, last, dwords });
    }
    if first == 0 {
        return Ok(Run { lead: 0, len: 0, holes: None });
    }
    let lead = first.trailing_zeros() as usize;
    let ends = if dwords == 1 { first } else { last };
    let end = 4 * (dwords - 1) + (8 - ends.leading_zeros() as usize);
    let whole =
        is_run(first) && (dwords == 1 || (is_run(last) && first & 0b1000 != 0 && last & 1 != 0));
    let allowed = whole || dwords == 1 || (dwords == 2 && aligned);
    if !allowed {
        return Err(TlpError::ByteEnableHoles { first, last });
    }
    let holes = if whole { None } else { Some(ByteEnables { first, last }) };
    Ok(Run { lead, len: end - lead, holes })
}

/// Whether the set bits stand side by side.
fn is_run(enables: u8) -> bool {
    let from_bit_0 = enables >> enables.trailing_zeros();
    from_bit_0 & (from_bit_0 + 1) == 0
}

fn config(frame: &Frame<'_>, extras: &mut Extras) -> Result<Tlp, TlpError> {
    let [_, b1, b2, _, _, _, _, enables, _, _, high, low, ..] = frame.header;
    zero("TC of a configuration request", b1 >> 4 & 7)?;
    zero("Attr[1:0] of a configuration request", b2 >> 4 & 3)?;
    zero("AT of a configuration request", frame.address_type())?;
    one_dword("Length of a configuration request", frame)?;
    let run = run(enables, 1, false)?;
    extras.enables = run.holes;
    let (tag, requester, target) = (frame.tag(), frame.bdf_at(4), frame.bdf_at(8));
    let offset = u16::from(high & 0xf) << 8 | u16::from(low & 0xfc) | run.lead as u16;
    let forwarded = frame.kind == TYPE_CONFIG_1;
    Ok(if frame.has_data {
        let data = run.data(frame.data);
        Tlp::ConfigWrite(ConfigWrite { requester, tag, target, offset, data, forwarded })
    } else {
        let len_bytes = run.len as u8;
        Tlp::ConfigRead(ConfigRead { requester, tag, target, offset, len_bytes, forwarded })
    })
}

/// PCIe 5.0 §2.2.7, "Memory, I/O, and Configuration Request Rules".
fn io(frame: &Frame<'_>, extras: &mut Extras) -> Result<Tlp, TlpError> {
    let [_, b1, b2, _, _, _, _, enables, ..] = frame.header;
    zero("TC of an I/O request", b1 >> 4 & 7)?;
    zero("Attr[1:0] of an I/O request", b2 >> 4 & 3)?;
    zero("AT of an I/O request", frame.address_type())?;
    one_dword("Length of an I/O request", frame)?;
    let run = run(enables, 1, false)?;
    extras.enables = run.holes;
    let (tag, requester) = (frame.tag(), frame.bdf_at(4));
    // The header is a short one: known() lets no other pass.
    let address = address(frame)? as u32 | run.lead as u32;
    Ok(if frame.has_data {
        Tlp::IoWrite(IoWrite { requester, tag, address, data: run.data(frame.data) })
    } else {
        Tlp::IoRead(IoRead { requester, tag, address, len_bytes: run.len as u8 })
    })
}

fn atomic(
    frame: &Frame<'_>,
    operation: AtomicOperation,
    extras: &mut Extras,
) -> Result<Tlp, TlpError> {
    not_modelled(frame.notification(), Feature::LightweightNotification)?;
    addressing(frame, frame.header[7], false, extras)?;
    let atomic = Atomic {
        requester: frame.bdf_at(4),
        tag: frame.tag(),
        address: address(frame)?,
        operation,
        operands: Payload::from_slice(frame.data),
        attributes: frame.attributes,
    };
    super::check::check_operands(&atomic)?;
    Ok(Tlp::Atomic(Box::new(atomic)))
}

fn one_dword(field: &'static str, frame: &Frame<'_>) -> Result<(), TlpError> {
    if frame.dwords == 1 {
        return Ok(());
    }
    Err(TlpError::Field { field, expected: "1", seen: frame.dwords as u64 })
}

fn zero(field: &'static str, seen: u8) -> Result<(), TlpError> {
    if seen == 0 {
        return Ok(());
    }
    Err(TlpError::Field { field, expected: "0", seen: u64::from(seen) })
}

fn completion(frame: &Frame<'_>) -> Result<Tlp, TlpError> {
    not_modelled(frame.notification(), Feature::LightweightNotification)?;
    let [.., status, count, _, _, _, low, _, _, _, _] = frame.header;
    not_modelled(status & 0x10 != 0, Feature::ByteCountModified)?;
    let byte_count = match u16::from_be_bytes([status & 0xf, count]) {
        0 => MAX_DATA_BYTES as u16,
        byte_count => byte_count,
    };
    let lower_address = low & 0x7f;
    Ok(Tlp::Completion(Completion {
        completer: frame.bdf_at(4),
        requester: frame.bdf_at(8),
        tag: frame.tag_at(10),
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

fn message(frame: &Frame<'_>) -> Result<Tlp, TlpError> {
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
    let message = Message {
        requester: frame.bdf_at(4),
        tag: Tag(u16::from(frame.header[6])),
        code: frame.header[7],
        routing,
        specific,
        data: Payload::from_slice(frame.data),
        attributes: frame.attributes,
    };
    check_code(&message)?;
    Ok(Tlp::Message(Box::new(message)))
}
