//! How long a TLP is, from its first bytes: for designs that do not mark the bytes of the last beat.

/// Bytes that prefixes and header announce; `None` when they do not say.
pub(super) fn expected_bytes(bytes: &[u8]) -> Option<usize> {
    let prefixed = bytes.chunks_exact(4).take_while(|dword| dword[0] >> 5 == 0b100).count() * 4;
    let &[first, _, third, fourth] = bytes.get(prefixed..)?.first_chunk::<4>()?;
    let header = if first & 0x20 != 0 { 16 } else { 12 };
    let data = match (first & 0x40 != 0, usize::from(third & 3) << 8 | usize::from(fourth)) {
        (false, _) => 0,
        (true, 0) => 4096,
        (true, dwords) => 4 * dwords,
    };
    let digest = if third & 0x80 != 0 { 4 } else { 0 };
    Some(prefixed + header + data + digest)
}
