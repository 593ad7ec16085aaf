//! From meaning to bytes.

use super::{
    EP, FMT_DATA, FMT_LONG, FMT_PREFIX, PREFIX_END_TO_END, PREFIX_HINTS, PREFIX_PASID, TD, TH,
    TYPE_COMPARE_AND_SWAP, TYPE_COMPLETION, TYPE_CONFIG_0, TYPE_CONFIG_1, TYPE_FETCH_ADD, TYPE_IO,
    TYPE_MEMORY, TYPE_MESSAGE, TYPE_SWAP,
};
use crate::address::Bdf;
use crate::tlp::{
    AddressType, Atomic, AtomicOperation, Attributes, Completion, CompletionStatus, ConfigRead,
    ConfigWrite, Extended, Extras, IoRead, IoWrite, MemRead, MemWrite, Message, MessageRouting,
    Prefix, Tag, Tlp,
};

/// Appends the bytes of `tlp` to `out`: nothing is allocated when `out` has room for
/// [`Tlp::len_bytes`].
///
/// Never fails, so that a trace can show a packet that breaks a rule: a value too large for its field
/// loses its high bits. [`check`](super::check) says whether that would happen.
pub fn emit(tlp: &Tlp, out: &mut Vec<u8>) {
    out.reserve(tlp.len_bytes());
    match tlp {
        Tlp::MemRead(read) => emit_mem_read(read, out),
        Tlp::MemWrite(write) => emit_mem_write(write, out),
        Tlp::ConfigRead(read) => emit_config_read(read, out),
        Tlp::ConfigWrite(write) => emit_config_write(write, out),
        Tlp::Completion(completion) => emit_completion(completion, out),
        Tlp::Message(message) => emit_message(message, out),
        Tlp::IoRead(read) => emit_io_read(read, out),
        Tlp::IoWrite(write) => emit_io_write(write, out),
        Tlp::Atomic(atomic) => emit_atomic(atomic, out),
        Tlp::Extended(extended) => emit_extended(extended, out),
    }
}

fn emit_extended(extended: &Extended, out: &mut Vec<u8>) {
    let (tlp, extras) = (extended.tlp(), extended.extras());
    out.extend(extras.prefixes.iter().flat_map(|prefix| prefix_dword(*prefix)));
    let start = out.len();
    emit(tlp, out);
    let end = start + 4 * tlp.header_dwords();
    set_extras(matches!(tlp, Tlp::MemWrite(_)), extras, &mut out[start..end]);
    if let Some(ecrc) = extras.ecrc {
        out.extend(ecrc);
    }
}

fn prefix_dword(prefix: Prefix) -> [u8; 4] {
    let first = |end_to_end: u8, kind: u8| FMT_PREFIX << 5 | end_to_end | kind & 0xf;
    match prefix {
        Prefix::Local { kind, bytes: [b1, b2, b3] } => [first(0, kind), b1, b2, b3],
        Prefix::ExtendedHints { steering_high } => {
            [first(PREFIX_END_TO_END, PREFIX_HINTS), steering_high, 0, 0]
        }
        Prefix::Pasid(pasid) => {
            let [_, high, middle, low] = pasid.id.to_be_bytes();
            let asked = u8::from(pasid.privileged) << 7 | u8::from(pasid.execute) << 6;
            [first(PREFIX_END_TO_END, PREFIX_PASID), asked | high & 0xf, middle, low]
        }
        Prefix::EndToEnd { kind, bytes: [b1, b2, b3] } => {
            [first(PREFIX_END_TO_END, kind), b1, b2, b3]
        }
    }
}

/// Writes into a header what only few have. The steering tag of a write stands where its tag would.
fn set_extras(is_write: bool, extras: &Extras, header: &mut [u8]) {
    let last = header.len() - 1;
    header[2] |= if extras.ecrc.is_some() { TD } else { 0 };
    header[2] |= if extras.poisoned { EP } else { 0 };
    let (code, no_write) = match extras.address_type {
        AddressType::Untranslated => (0, false),
        AddressType::TranslationRequest { no_write } => (1, no_write),
        AddressType::Translated => (2, false),
        AddressType::Reserved => (3, false),
    };
    header[2] |= code << 2;
    header[last] |= u8::from(no_write);
    if let Some(hints) = extras.hints {
        header[1] |= TH;
        header[last] |= hints.processing & 3;
        header[if is_write { 6 } else { 7 }] = hints.steering;
    }
    if let Some(enables) = extras.enables {
        header[7] = enables.last << 4 | enables.first & 0xf;
    }
}

fn emit_io_read(read: &IoRead, out: &mut Vec<u8>) {
    let run = Run::in_one_dword(read.address as u16, usize::from(read.len_bytes));
    out.extend(first_dword(0, TYPE_IO, Attributes::default(), read.tag.0 >> 8, 1));
    out.extend(requester_dword(read.requester, read.tag, run.enables()));
    emit_address(read.address.into(), out);
}

fn emit_io_write(write: &IoWrite, out: &mut Vec<u8>) {
    let run = Run::in_one_dword(write.address as u16, write.data.len());
    out.extend(first_dword(FMT_DATA, TYPE_IO, Attributes::default(), write.tag.0 >> 8, 1));
    out.extend(requester_dword(write.requester, write.tag, run.enables()));
    emit_address(write.address.into(), out);
    emit_padded(run.lead, &write.data[..run.len], 1, out);
}

/// The byte enables of an atomic request are reserved. PCIe 5.0 §2.2.7.
fn emit_atomic(atomic: &Atomic, out: &mut Vec<u8>) {
    let kind = match atomic.operation {
        AtomicOperation::FetchAdd => TYPE_FETCH_ADD,
        AtomicOperation::Swap => TYPE_SWAP,
        AtomicOperation::CompareAndSwap => TYPE_COMPARE_AND_SWAP,
    };
    let fmt = FMT_DATA | if atomic.address >> 32 == 0 { 0 } else { FMT_LONG };
    let dwords = atomic.operands.len().div_ceil(4);
    out.extend(first_dword(fmt, kind, atomic.attributes, atomic.tag.0 >> 8, dwords));
    out.extend(requester_dword(atomic.requester, atomic.tag, 0));
    emit_address(atomic.address, out);
    emit_padded(0, &atomic.operands, dwords, out);
}

fn emit_mem_read(read: &MemRead, out: &mut Vec<u8>) {
    let run = Run::new(read.address, usize::from(read.len_bytes));
    let fmt = if read.address >> 32 == 0 { 0 } else { FMT_LONG };
    out.extend(first_dword(fmt, TYPE_MEMORY, read.attributes, read.tag.0 >> 8, run.dwords));
    out.extend(requester_dword(read.requester, read.tag, run.enables()));
    emit_address(read.address, out);
}

fn emit_mem_write(write: &MemWrite, out: &mut Vec<u8>) {
    let run = Run::new(write.address, write.data.len());
    let fmt = FMT_DATA | if write.address >> 32 == 0 { 0 } else { FMT_LONG };
    out.extend(first_dword(fmt, TYPE_MEMORY, write.attributes, 0, run.dwords));
    out.extend(requester_dword(write.requester, write.tag, run.enables()));
    emit_address(write.address, out);
    emit_padded(run.lead, &write.data, run.dwords, out);
}

fn emit_config_read(read: &ConfigRead, out: &mut Vec<u8>) {
    let run = Run::in_one_dword(read.offset, usize::from(read.len_bytes));
    let kind = if read.forwarded { TYPE_CONFIG_1 } else { TYPE_CONFIG_0 };
    out.extend(first_dword(0, kind, Attributes::default(), read.tag.0 >> 8, 1));
    out.extend(requester_dword(read.requester, read.tag, run.enables()));
    out.extend(config_dword(read.target, read.offset));
}

fn emit_config_write(write: &ConfigWrite, out: &mut Vec<u8>) {
    let run = Run::in_one_dword(write.offset, write.data.len());
    let kind = if write.forwarded { TYPE_CONFIG_1 } else { TYPE_CONFIG_0 };
    out.extend(first_dword(FMT_DATA, kind, Attributes::default(), write.tag.0 >> 8, 1));
    out.extend(requester_dword(write.requester, write.tag, run.enables()));
    out.extend(config_dword(write.target, write.offset));
    emit_padded(run.lead, &write.data[..run.len], 1, out);
}

fn emit_completion(completion: &Completion, out: &mut Vec<u8>) {
    let lead = usize::from(completion.lower_address & 3);
    let (fmt, dwords) = match completion.data.len() {
        0 => (0, 0),
        len => (FMT_DATA, (lead + len).div_ceil(4)),
    };
    let tag = completion.tag.0;
    out.extend(first_dword(fmt, TYPE_COMPLETION, completion.attributes, tag >> 8, dwords));
    let [c0, c1] = completion.completer.0.to_be_bytes();
    // 4096 is written as 0: twelve bits hold no more than 4095.
    let [count_high, count_low] = (completion.byte_count & 0xfff).to_be_bytes();
    out.extend([c0, c1, status_code(completion.status) << 5 | count_high, count_low]);
    let [r0, r1] = completion.requester.0.to_be_bytes();
    out.extend([r0, r1, tag as u8, completion.lower_address & 0x7f]);
    emit_padded(lead, &completion.data, dwords, out);
}

fn emit_message(message: &Message, out: &mut Vec<u8>) {
    let fmt = FMT_LONG | if message.data.is_empty() { 0 } else { FMT_DATA };
    let (route, specific) = match message.routing {
        MessageRouting::ToRootComplex => (0, message.specific),
        MessageRouting::ByAddress(address) => (1, address.to_be_bytes()),
        MessageRouting::ById(target) => {
            let mut specific = message.specific;
            specific[..2].copy_from_slice(&target.0.to_be_bytes());
            (2, specific)
        }
        MessageRouting::Broadcast => (3, message.specific),
        MessageRouting::Local => (4, message.specific),
        MessageRouting::Gathered => (5, message.specific),
        MessageRouting::Reserved(code) => (code & 7, message.specific),
    };
    let dwords = message.data.len().div_ceil(4);
    out.extend(first_dword(fmt, TYPE_MESSAGE | route, message.attributes, 0, dwords));
    out.extend(requester_dword(message.requester, message.tag, message.code));
    out.extend(specific);
    emit_padded(0, &message.data, dwords, out);
}

/// A run of bytes inside doublewords.
struct Run {
    /// Pad bytes before it, 0 to 3.
    lead: usize,
    /// Its bytes.
    len: usize,
    /// The doublewords it touches; a run of nothing takes one.
    dwords: usize,
}

impl Run {
    fn new(address: u64, len: usize) -> Self {
        let lead = (address & 3) as usize;
        Self { lead, len, dwords: (lead + len).div_ceil(4).max(1) }
    }

    /// The part of a run that lies in its first doubleword.
    fn in_one_dword(offset: u16, len: usize) -> Self {
        let lead = usize::from(offset & 3);
        Self { lead, len: len.min(4 - lead), dwords: 1 }
    }

    /// The byte with Last DW BE in its high and First DW BE in its low half.
    fn enables(&self) -> u8 {
        let from_lead = 0xf << self.lead & 0xf;
        if self.len == 0 {
            return 0;
        }
        let to_end = 0xf >> ((4 - (self.lead + self.len) % 4) % 4);
        if self.dwords == 1 { from_lead & to_end } else { to_end << 4 | from_lead }
    }
}

fn first_dword(fmt: u8, kind: u8, attributes: Attributes, tag_high: u16, dwords: usize) -> [u8; 4] {
    let tag_high = tag_high as u8;
    let length = (dwords & 0x3ff) as u16;
    [
        fmt << 5 | kind,
        (tag_high & 2) << 6
            | (attributes.traffic_class & 7) << 4
            | (tag_high & 1) << 3
            | u8::from(attributes.id_based_ordering) << 2,
        u8::from(attributes.relaxed_ordering) << 5
            | u8::from(attributes.no_snoop) << 4
            | (length >> 8) as u8,
        length as u8,
    ]
}

fn requester_dword(requester: Bdf, tag: Tag, last: u8) -> [u8; 4] {
    let [r0, r1] = requester.0.to_be_bytes();
    [r0, r1, tag.0 as u8, last]
}

fn config_dword(target: Bdf, offset: u16) -> [u8; 4] {
    let [t0, t1] = target.0.to_be_bytes();
    [t0, t1, (offset >> 8) as u8 & 0xf, offset as u8 & 0xfc]
}

/// The address of the doubleword: the two low bits are not on the wire.
fn emit_address(address: u64, out: &mut Vec<u8>) {
    let bytes = (address & !3).to_be_bytes();
    out.extend_from_slice(if address >> 32 == 0 { &bytes[4..] } else { &bytes });
}

/// Appends `data` with its pads: `dwords` doublewords in all.
fn emit_padded(lead: usize, data: &[u8], dwords: usize, out: &mut Vec<u8>) {
    let end = out.len() + 4 * dwords;
    if dwords != 0 {
        out.extend_from_slice(&[0; 3][..lead]);
    }
    out.extend_from_slice(data);
    out.resize(end, 0);
}

fn status_code(status: CompletionStatus) -> u8 {
    match status {
        CompletionStatus::Success => 0b000,
        CompletionStatus::UnsupportedRequest => 0b001,
        CompletionStatus::RequestRetry => 0b010,
        CompletionStatus::CompleterAbort => 0b100,
        CompletionStatus::Reserved(code) => code & 7,
    }
}
