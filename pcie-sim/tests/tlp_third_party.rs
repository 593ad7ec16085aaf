//! Every kind of TLP that the codec emits, decoded by the crate `rtlp-lib`, which shares no code and no
//! author with it, and compared field by field with what was meant.
//!
//! What it does not expose is compared as the bytes of a doubleword that it hands out (prefixes), or not at
//! all: it knows no digest (that is cut off first, for it counts as data there), and takes the size of an
//! atomic operand from the header's length instead of from Length, so that it decodes those requests only
//! where the two agree; of the others it reads the header, which is that of a memory request.
//!
//! `rtlp-lib` names the fields of the first doubleword only through `Debug`, so those are looked up by
//! their name in that text.

mod tlps;

use pcie_sim::tlp::codec::emit;
use pcie_sim::tlp::{
    AddressType, Atomic, AtomicOperation, Attributes, Completion, CompletionStatus, Extras,
    Message, MessageRouting, Tag, Tlp,
};
use proptest::prelude::*;
use rtlp_lib::{
    AtomicOp, TlpFmt, TlpMode, TlpPacket, TlpType, new_atomic_req, new_cmpl_req, new_conf_req,
    new_mem_req, new_msg_req,
};
use tlps::any_tlp;

type Outcome = Result<(), TestCaseError>;

/// What the other crate made of it.
struct Theirs {
    packet: TlpPacket,
    first_dword: String,
}

impl Theirs {
    fn decode(bytes: &[u8]) -> Result<Self, TestCaseError> {
        let packet = TlpPacket::new(bytes.to_vec(), TlpMode::NonFlit)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        let first_dword = format!("{:?}", packet.header());
        Ok(Self { packet, first_dword })
    }

    /// A field of the first doubleword.
    fn first(&self, name: &str) -> Option<u32> {
        let (_, rest) = self.first_dword.split_once(&format!(" {name}: "))?;
        rest.split([',', ' ']).next()?.parse().ok()
    }

    fn shape(&self) -> Result<(TlpType, TlpFmt), TestCaseError> {
        let fail = |error: rtlp_lib::TlpError| TestCaseError::fail(error.to_string());
        Ok((self.packet.tlp_type().map_err(fail)?, self.packet.tlp_format().map_err(fail)?))
    }

    /// T9, T8 and the eight low bits that the other crate found elsewhere.
    fn tag(&self, low: u8) -> Option<Tag> {
        let high = self.first("t9")? << 9 | self.first("t8")? << 8;
        Some(Tag(high as u16 | u16::from(low)))
    }
}

/// Attr\[2\] is ID-based ordering, Attr\[1\] relaxed ordering, Attr\[0\] no snoop.
fn attributes_agree(theirs: &Theirs, ours: Attributes) -> Outcome {
    prop_assert_eq!(theirs.first("tc"), Some(u32::from(ours.traffic_class)));
    prop_assert_eq!(theirs.first("attr_b2"), Some(u32::from(ours.id_based_ordering)));
    let low = u32::from(ours.relaxed_ordering) << 1 | u32::from(ours.no_snoop);
    prop_assert_eq!(theirs.first("attr"), Some(low));
    Ok(())
}

/// Each prefix is one of its scope to them, with our bytes; the digest is at the end.
fn decode(bytes: &[u8], extras: &Extras) -> Result<Theirs, TestCaseError> {
    let (mut rest, end) = (bytes, bytes.len() - if extras.ecrc.is_some() { 4 } else { 0 });
    for prefix in &extras.prefixes {
        let (dword, behind) = rest.split_at(4);
        let scope =
            if prefix.is_local() { TlpType::LocalTlpPrefix } else { TlpType::EndToEndTlpPrefix };
        prop_assert_eq!(Theirs::decode(dword)?.shape()?, (scope, TlpFmt::TlpPrefix));
        rest = behind;
    }
    if let Some(ecrc) = extras.ecrc {
        prop_assert_eq!(&bytes[end..], &ecrc);
    }
    Theirs::decode(&rest[..end - 4 * extras.prefixes.len()])
}

/// Fields that our extras give, one that is zero in whatever is emitted, and Length, which the meaning
/// gives.
fn first_dword_agrees(theirs: &Theirs, tlp: &Tlp, extras: &Extras) -> Outcome {
    let address_type = match extras.address_type {
        AddressType::Untranslated => 0,
        AddressType::TranslationRequest { .. } => 1,
        AddressType::Translated => 2,
        AddressType::Reserved => 3,
    };
    let meant = [
        ("ln", 0),
        ("th", u32::from(extras.hints.is_some())),
        ("td", u32::from(extras.ecrc.is_some())),
        ("ep", u32::from(extras.poisoned)),
        ("at", address_type),
    ];
    for (name, value) in meant {
        prop_assert_eq!(theirs.first(name), Some(value), "{}", name);
    }
    let dwords = match tlp {
        Tlp::MemRead(read) => {
            let first = read.address / 4;
            let last = (read.address + u64::from(read.len_bytes.max(1)) - 1) / 4;
            last - first + 1
        }
        Tlp::ConfigRead(_) | Tlp::IoRead(_) => 1,
        _ => tlp.data_dwords() as u64,
    };
    prop_assert_eq!(theirs.first("length"), Some((dwords % 1024) as u32));
    Ok(())
}

/// The doublewords of a request as the byte enables paint them: `true` where a byte is wanted.
fn enabled(first: u8, last: u8, dwords: usize) -> Vec<bool> {
    let nibble = |bits: u8| (0..4).map(move |at| bits >> at & 1 == 1);
    match dwords {
        1 => nibble(first).collect(),
        _ => nibble(first).chain((0..4 * (dwords - 2)).map(|_| true)).chain(nibble(last)).collect(),
    }
}

/// Which of the lanes that begin with the run's first doubleword are enabled.
fn lanes_meant(extras: &Extras, lead: usize, len: usize, lanes: usize) -> Vec<bool> {
    match extras.enables {
        Some(enables) => enabled(enables.first, enables.last, lanes / 4),
        None => (0..lanes).map(|at| at >= lead && at < lead + len).collect(),
    }
}

/// The bits below a memory request's address: PH, NW or nothing.
fn low_bits(extras: &Extras) -> u64 {
    let no_write = extras.address_type == AddressType::TranslationRequest { no_write: true };
    extras.hints.map_or(u64::from(no_write), |hints| hints.processing.into())
}

/// Memory and I/O requests: address, requester, byte enables, and the data that the enables select.
fn memory_agrees(
    theirs: &Theirs,
    wanted: TlpType,
    extras: &Extras,
    address: u64,
    len: usize,
    data: Option<&[u8]>,
) -> Result<(u16, u8), TestCaseError> {
    let (kind, fmt) = theirs.shape()?;
    prop_assert_eq!(kind, wanted);
    let long = address >> 32 != 0;
    let wanted = match (data.is_some(), long) {
        (false, false) => TlpFmt::NoDataHeader3DW,
        (false, true) => TlpFmt::NoDataHeader4DW,
        (true, false) => TlpFmt::WithDataHeader3DW,
        (true, true) => TlpFmt::WithDataHeader4DW,
    };
    prop_assert_eq!(fmt, wanted);
    let request = new_mem_req(theirs.packet.data(), &fmt)
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(request.address(), address & !3 | low_bits(extras));
    if let (Some(hints), None) = (extras.hints, data) {
        prop_assert_eq!(request.ldwbe() << 4 | request.fdwbe(), hints.steering);
        return Ok((request.req_id(), request.tag()));
    }
    let dwords = match theirs.first("length") {
        Some(0) => 1024,
        length => length.unwrap_or(0) as usize,
    };
    let lanes = enabled(request.fdwbe(), request.ldwbe(), dwords);
    let lead = (address & 3) as usize;
    prop_assert_eq!(&lanes, &lanes_meant(extras, lead, len, lanes.len()));
    prop_assert!(dwords > 1 || request.ldwbe() == 0);
    if let Some(data) = data {
        let behind = &theirs.packet.data()[if long { 12 } else { 8 }..];
        prop_assert_eq!(behind.len(), 4 * dwords);
        let pick = |bytes: &[u8], lanes: &[bool]| -> Vec<u8> {
            bytes.iter().zip(lanes).filter(|(_, lane)| **lane).map(|(byte, _)| *byte).collect()
        };
        // From the run's first byte on, for data begins there.
        prop_assert_eq!(pick(behind, &lanes), pick(data, &lanes[lead..]));
    }
    Ok((request.req_id(), request.tag()))
}

fn completion_agrees(theirs: &Theirs, ours: &Completion) -> Outcome {
    let empty = ours.data.is_empty();
    let wanted = if empty {
        (TlpType::Cpl, TlpFmt::NoDataHeader3DW)
    } else {
        (TlpType::CplData, TlpFmt::WithDataHeader3DW)
    };
    prop_assert_eq!(theirs.shape()?, wanted);
    let completion = new_cmpl_req(theirs.packet.data())
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(completion.cmpl_id(), ours.completer.0);
    prop_assert_eq!(completion.req_id(), ours.requester.0);
    prop_assert_eq!(theirs.tag(completion.tag()), Some(ours.tag));
    prop_assert_eq!(completion.byte_cnt(), ours.byte_count % 4096);
    prop_assert_eq!(completion.laddr(), ours.lower_address);
    prop_assert_eq!(completion.bcm(), 0);
    let status = match ours.status {
        CompletionStatus::Success => 0,
        CompletionStatus::UnsupportedRequest => 1,
        CompletionStatus::RequestRetry => 2,
        CompletionStatus::CompleterAbort => 4,
        CompletionStatus::Reserved(code) => code,
    };
    prop_assert_eq!(completion.cmpl_stat(), status);
    let lead = if empty { 0 } else { usize::from(completion.laddr() & 3) };
    let behind = &theirs.packet.data()[8 + lead..];
    prop_assert_eq!(&behind[..ours.data.len()], &ours.data[..]);
    attributes_agree(theirs, ours.attributes)
}

/// The header of a memory request, and what it operates with.
fn atomic_agrees(theirs: &Theirs, extras: &Extras, ours: &Atomic) -> Outcome {
    let (kind, fmt) = theirs.shape()?;
    let (wanted, operation) = match ours.operation {
        AtomicOperation::FetchAdd => (TlpType::FetchAddAtomicOpReq, AtomicOp::FetchAdd),
        AtomicOperation::Swap => (TlpType::SwapAtomicOpReq, AtomicOp::Swap),
        AtomicOperation::CompareAndSwap => (TlpType::CompareSwapAtomicOpReq, AtomicOp::CompareSwap),
    };
    prop_assert_eq!(kind, wanted);
    let bytes = theirs.packet.data();
    let request =
        new_mem_req(bytes, &fmt).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(request.address(), ours.address | low_bits(extras));
    prop_assert_eq!(request.req_id(), ours.requester.0);
    prop_assert_eq!(theirs.tag(request.tag()), Some(ours.tag));
    let steering = extras.hints.map_or(0, |hints| hints.steering);
    prop_assert_eq!(request.ldwbe() << 4 | request.fdwbe(), steering);
    let long = fmt == TlpFmt::WithDataHeader4DW;
    prop_assert_eq!(long, ours.address >> 32 != 0);
    prop_assert_eq!(&bytes[if long { 12 } else { 8 }..], &ours.operands[..]);
    let size = ours.location_bytes().unwrap_or_default();
    let decoded = new_atomic_req(&theirs.packet);
    prop_assert_eq!(decoded.is_ok(), size == if long { 8 } else { 4 });
    if let Ok(decoded) = decoded {
        let number =
            |bytes: &[u8]| bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        let (first, second) = ours.operands.split_at(size);
        prop_assert_eq!(decoded.op(), operation);
        prop_assert_eq!(decoded.operand0(), number(first));
        prop_assert_eq!(decoded.operand1(), (!second.is_empty()).then(|| number(second)));
        prop_assert_eq!(decoded.address(), ours.address | low_bits(extras));
        prop_assert_eq!((decoded.req_id(), decoded.tag()), (ours.requester.0, ours.tag.0 as u8));
    }
    attributes_agree(theirs, ours.attributes)
}

fn config_agrees(theirs: &Theirs, tlp: &Tlp, extras: &Extras) -> Outcome {
    let (target, tag, offset, len, data, requester, kind) = match tlp {
        Tlp::ConfigRead(read) => {
            let kind = match read.forwarded {
                false => TlpType::ConfType0ReadReq,
                true => TlpType::ConfType1ReadReq,
            };
            let len = usize::from(read.len_bytes);
            (read.target, read.tag, read.offset, len, None, read.requester, kind)
        }
        Tlp::ConfigWrite(write) => {
            let kind = match write.forwarded {
                false => TlpType::ConfType0WriteReq,
                true => TlpType::ConfType1WriteReq,
            };
            let (len, data) = (write.data.len(), Some(&write.data[..]));
            (write.target, write.tag, write.offset, len, data, write.requester, kind)
        }
        other => return Err(TestCaseError::fail(other.kind())),
    };
    prop_assert_eq!(theirs.shape()?.0, kind);
    let bytes = theirs.packet.data();
    let request = new_conf_req(bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(request.req_id(), requester.0);
    prop_assert_eq!(theirs.tag(request.tag()), Some(tag));
    prop_assert_eq!(
        (request.bus_nr(), request.dev_nr(), request.func_nr()),
        (target.bus(), target.device(), target.function())
    );
    let register = u16::from(request.ext_reg_nr()) << 6 | u16::from(request.reg_nr());
    prop_assert_eq!(register, offset / 4);
    // The trait has no byte enables; they are the fourth byte of this doubleword.
    let (lead, lanes) = (usize::from(offset & 3), enabled(bytes[3] & 0xf, 0, 1));
    prop_assert_eq!(lanes, lanes_meant(extras, lead, len, 4));
    if let Some(data) = data {
        prop_assert_eq!(&bytes[8 + lead..8 + lead + len], data);
    }
    attributes_agree(theirs, Attributes::default())
}

fn message_agrees(theirs: &Theirs, ours: &Message) -> Outcome {
    let wanted = if ours.data.is_empty() {
        (TlpType::MsgReq, TlpFmt::NoDataHeader4DW)
    } else {
        (TlpType::MsgReqData, TlpFmt::WithDataHeader4DW)
    };
    prop_assert_eq!(theirs.shape()?, wanted);
    let bytes = theirs.packet.data();
    let message = new_msg_req(bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(message.req_id(), ours.requester.0);
    prop_assert_eq!(theirs.tag(message.tag()), Some(ours.tag));
    prop_assert_eq!(message.msg_code(), ours.code);
    let words = u64::from(message.dw3()) << 32 | u64::from(message.dw4());
    let specific = u64::from_be_bytes(ours.specific);
    let (route, meant) = match ours.routing {
        MessageRouting::ToRootComplex => (0, specific),
        MessageRouting::ByAddress(address) => (1, address),
        MessageRouting::ById(target) => (2, u64::from(target.0) << 48 | specific),
        MessageRouting::Broadcast => (3, specific),
        MessageRouting::Local => (4, specific),
        MessageRouting::Gathered => (5, specific),
        MessageRouting::Reserved(code) => (u32::from(code), specific),
    };
    prop_assert_eq!(words, meant);
    prop_assert_eq!(theirs.first("type"), Some(0b10000 | route));
    prop_assert_eq!(&bytes[12..], &ours.data[..]);
    attributes_agree(theirs, ours.attributes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// The bytes say to a stranger what the TLP says to us.
    #[test]
    fn a_stranger_reads_every_field_as_it_was_meant(tlp in any_tlp()) {
        let mut bytes = Vec::new();
        emit(&tlp, &mut bytes);
        let (tlp, extras) = tlp.into_parts();
        let theirs = decode(&bytes, &extras)?;
        // Routings 6 and 7 are reserved; the other crate has no type for them.
        if let Tlp::Message(message) = &tlp && matches!(message.routing, MessageRouting::Reserved(_)) {
            prop_assert!(theirs.shape().is_err());
            return Ok(());
        }
        first_dword_agrees(&theirs, &tlp, &extras)?;
        let request = |kind, address, len, data| memory_agrees(&theirs, kind, &extras, address, len, data);
        let (requester, tag) = match &tlp {
            Tlp::MemRead(read) => {
                attributes_agree(&theirs, read.attributes)?;
                request(TlpType::MemReadReq, read.address, read.len_bytes.into(), None)?
            }
            Tlp::MemWrite(write) => {
                attributes_agree(&theirs, write.attributes)?;
                request(TlpType::MemWriteReq, write.address, write.data.len(), Some(&write.data))?
            }
            Tlp::IoRead(read) => {
                attributes_agree(&theirs, Attributes::default())?;
                request(TlpType::IOReadReq, read.address.into(), read.len_bytes.into(), None)?
            }
            Tlp::IoWrite(write) => {
                attributes_agree(&theirs, Attributes::default())?;
                let data = Some(&write.data[..]);
                request(TlpType::IOWriteReq, write.address.into(), write.data.len(), data)?
            }
            Tlp::ConfigRead(_) | Tlp::ConfigWrite(_) => return config_agrees(&theirs, &tlp, &extras),
            Tlp::Completion(completion) => return completion_agrees(&theirs, completion),
            Tlp::Message(message) => return message_agrees(&theirs, message),
            Tlp::Atomic(atomic) => return atomic_agrees(&theirs, &extras, atomic),
            Tlp::Extended(_) => unreachable!("its parts were taken"),
        };
        prop_assert_eq!(requester, tlp.requester().0);
        // In a write with hints the steering tag stands where the tag would.
        let in_place_of_tag = extras.hints.filter(|_| matches!(tlp, Tlp::MemWrite(_)));
        let meant = in_place_of_tag.map_or(tlp.tag(), |hints| Tag(hints.steering.into()));
        prop_assert_eq!(theirs.tag(tag), Some(meant));
    }
}
