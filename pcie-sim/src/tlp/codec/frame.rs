//! Bytes cut into prefixes, header, data and digest, with the fields that all kinds of packets share.

use super::{
    EP, FMT_DATA, FMT_LONG, FMT_PREFIX, Feature, LN, PREFIX_END_TO_END, PREFIX_HINTS, PREFIX_PASID,
    TD, TH, TYPE_COMPARE_AND_SWAP, TYPE_COMPLETION, TYPE_CONFIG_0, TYPE_CONFIG_1, TYPE_FETCH_ADD,
    TYPE_IO, TYPE_MEMORY, TYPE_MESSAGE, TYPE_SWAP, TlpError,
};
use crate::address::Bdf;
use crate::tlp::extras::END_TO_END_PREFIXES_MAX;
use crate::tlp::{Attributes, Extras, Pasid, Prefix, Tag};

/// Type of a locked memory read.
const TYPE_MEMORY_LOCKED: u8 = 0b0_0001;
/// Type of the completion of a locked read.
const TYPE_COMPLETION_LOCKED: u8 = 0b0_1011;
/// Type of a deferrable memory write.
const TYPE_DEFERRABLE_WRITE: u8 = 0b1_1011;

pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) has_data: bool,
    pub(super) long: bool,
    pub(super) attributes: Attributes,
    /// T9 and T8.
    tag_high: u16,
    /// Length, 1 to 1024. Means nothing in a completion or message without data.
    pub(super) dwords: usize,
    /// The last four bytes are zero when there are but three doublewords.
    pub(super) header: [u8; 16],
    pub(super) data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame, and those extras that any kind of packet may have.
    pub(super) fn split(bytes: &'a [u8]) -> Result<(Self, Extras), TlpError> {
        let (prefixes, first) = split_prefixes(bytes)?;
        let before = 4 * prefixes.len();
        let [b0, b1, b2, b3] = first;
        let (fmt, kind) = (b0 >> 5, b0 & 0x1f);
        known(fmt, kind)?;
        let (has_data, long) = (fmt & FMT_DATA != 0, fmt & FMT_LONG != 0);
        let dwords = match usize::from(b2 & 3) << 8 | usize::from(b3) {
            0 => 1024,
            dwords => dwords,
        };
        let header_bytes = if long { 16 } else { 12 };
        let digest_bytes = if b2 & TD != 0 { 4 } else { 0 };
        let data_bytes = if has_data { 4 * dwords } else { 0 };
        let expected = before + header_bytes + data_bytes + digest_bytes;
        let seen = bytes.len();
        if seen < expected {
            return Err(TlpError::Truncated { expected, seen });
        }
        if seen > expected {
            return Err(TlpError::TrailingBytes { expected, seen });
        }
        let (head, rest) = bytes[before..].split_at(header_bytes);
        let (data, digest) = rest.split_at(data_bytes);
        let poisoned = b2 & EP != 0;
        if poisoned && !has_data {
            let field = "EP of a packet without data";
            return Err(TlpError::Field { field, expected: "0", seen: 1 });
        }
        let mut header = [0; 16];
        header[..header_bytes].copy_from_slice(head);
        let attributes = Attributes {
            relaxed_ordering: b2 & 0x20 != 0,
            id_based_ordering: b1 & 0x04 != 0,
            no_snoop: b2 & 0x10 != 0,
            traffic_class: b1 >> 4 & 7,
        };
        let tag_high = u16::from(b1 >> 7) << 9 | u16::from(b1 >> 3 & 1) << 8;
        let ecrc = digest.first_chunk::<4>().copied();
        let extras = Extras { prefixes, ecrc, poisoned, ..Extras::default() };
        Ok((Self { kind, has_data, long, attributes, tag_high, dwords, header, data }, extras))
    }

    pub(super) fn bdf_at(&self, at: usize) -> Bdf {
        Bdf(u16::from_be_bytes([self.header[at], self.header[at + 1]]))
    }

    /// The ten bits of the tag of a request that is answered.
    pub(super) fn tag(&self) -> Tag {
        self.tag_at(6)
    }

    /// The ten bits of the tag whose low eight stand in byte `at`.
    pub(super) fn tag_at(&self, at: usize) -> Tag {
        Tag(self.tag_high | u16::from(self.header[at]))
    }

    /// AT: bits 3:2 of byte 2.
    pub(super) fn address_type(&self) -> u8 {
        self.header[2] >> 2 & 3
    }

    /// The two bits that are below the address of a doubleword: PH, or NW.
    pub(super) fn address_low_bits(&self) -> u8 {
        self.header[if self.long { 15 } else { 11 }] & 3
    }

    pub(super) fn hints(&self) -> bool {
        self.header[1] & TH != 0
    }

    pub(super) fn notification(&self) -> bool {
        self.header[1] & LN != 0
    }
}

/// The prefixes, and the first doubleword of the header behind them.
fn split_prefixes(bytes: &[u8]) -> Result<(Vec<Prefix>, [u8; 4]), TlpError> {
    let mut prefixes = Vec::new();
    loop {
        let at = 4 * prefixes.len();
        let Some(&dword) = bytes[at..].first_chunk::<4>() else {
            return Err(TlpError::Truncated { expected: at + 12, seen: bytes.len() });
        };
        if dword[0] >> 5 != FMT_PREFIX {
            check_prefixes(&prefixes)?;
            return Ok((prefixes, dword));
        }
        prefixes.push(prefix(dword));
    }
}

fn prefix([first, b1, b2, b3]: [u8; 4]) -> Prefix {
    let kind = first & 0xf;
    if first & PREFIX_END_TO_END == 0 {
        return Prefix::Local { kind, bytes: [b1, b2, b3] };
    }
    match kind {
        PREFIX_HINTS => Prefix::ExtendedHints { steering_high: b1 },
        PREFIX_PASID => Prefix::Pasid(Pasid {
            id: u32::from_be_bytes([0, b1 & 0xf, b2, b3]),
            execute: b1 & 0x40 != 0,
            privileged: b1 & 0x80 != 0,
        }),
        _ => Prefix::EndToEnd { kind, bytes: [b1, b2, b3] },
    }
}

/// Number and order. PCIe 5.0 §2.2.10, "TLP Prefix Rules".
pub(super) fn check_prefixes(prefixes: &[Prefix]) -> Result<(), TlpError> {
    let local = prefixes.iter().take_while(|prefix| prefix.is_local()).count();
    let end_to_end = &prefixes[local..];
    if let Some(at) = end_to_end.iter().position(|prefix| prefix.is_local()) {
        let (field, expected) = ("place of a local prefix", "before every End-End prefix");
        return Err(TlpError::Field { field, expected, seen: (local + at) as u64 });
    }
    if end_to_end.len() > END_TO_END_PREFIXES_MAX {
        let seen = end_to_end.len() as u64;
        return Err(TlpError::Field { field: "End-End prefixes", expected: "at most 4", seen });
    }
    Ok(())
}

fn known(fmt: u8, kind: u8) -> Result<(), TlpError> {
    let (data, long) = (fmt & FMT_DATA != 0, fmt & FMT_LONG != 0);
    let pair = match kind {
        TYPE_MEMORY => true,
        TYPE_CONFIG_0 | TYPE_CONFIG_1 | TYPE_COMPLETION | TYPE_IO => !long,
        TYPE_FETCH_ADD | TYPE_SWAP | TYPE_COMPARE_AND_SWAP => data,
        _ => long && kind & !7 == TYPE_MESSAGE,
    };
    if fmt > FMT_PREFIX {
        return Err(TlpError::UnknownType { fmt, kind });
    }
    not_modelled(kind == TYPE_MEMORY_LOCKED && !data, Feature::Locked)?;
    not_modelled(kind == TYPE_COMPLETION_LOCKED && !long, Feature::Locked)?;
    not_modelled(kind == TYPE_DEFERRABLE_WRITE && data, Feature::DeferrableWrite)?;
    if pair { Ok(()) } else { Err(TlpError::UnknownType { fmt, kind }) }
}

pub(super) fn not_modelled(there: bool, feature: Feature) -> Result<(), TlpError> {
    if there { Err(TlpError::NotModelled { feature }) } else { Ok(()) }
}
