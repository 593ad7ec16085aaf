//! The end-to-end checksum. PCIe 5.0 §2.7.1, "ECRC Rules".

use super::{EP, FMT_PREFIX, PREFIX_END_TO_END, TD};
use crate::crc::Crc32;

/// The digest that belongs to the packet which `bytes` are, in the order in which it is sent; `None` when
/// they have none: TD is clear, or they are shorter than a header and a digest.
///
/// It covers all from the first End-End prefix to the last byte of data. Two bits may change on the way
/// and are taken as 1, whatever they are: bit 0 of the header's Type, and EP.
#[must_use]
pub fn ecrc(bytes: &[u8]) -> Option<[u8; 4]> {
    let covered = &bytes[local_prefixes(bytes)..];
    let header = prefixes(covered, |_| true);
    let [b0, b1, b2, ..] = *covered.get(header..)? else { return None };
    if b2 & TD == 0 || covered.len() < header + 12 + 4 {
        return None;
    }
    let rest = &covered[header + 3..covered.len() - 4];
    let sum = Crc32::new().with(&covered[..header]).with(&[b0 | 1, b1, b2 | EP]).with(rest);
    Some(sum.field())
}

/// Whether the digest at the end of `bytes` is right; `None` when there is none.
#[must_use]
pub fn ecrc_holds(bytes: &[u8]) -> Option<bool> {
    let right = ecrc(bytes)?;
    Some(bytes.ends_with(&right))
}

fn local_prefixes(bytes: &[u8]) -> usize {
    prefixes(bytes, |first| first & PREFIX_END_TO_END == 0)
}

/// The bytes of the prefixes at the start, as long as `wanted` is true of their first byte.
fn prefixes(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> usize {
    let dwords = bytes.chunks_exact(4).take_while(|p| p[0] >> 5 == FMT_PREFIX && wanted(p[0]));
    4 * dwords.count()
}
