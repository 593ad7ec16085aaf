//! Base64 as the protocol has it: the standard alphabet, padded. RFC 4648 §4.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PAD: u8 = b'=';

/// Puts `data` behind `out`.
pub fn encode(data: &[u8], out: &mut Vec<u8>) {
    out.reserve(data.len().div_ceil(3) * 4);
    for three in data.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 0x3f) as usize];
            out.push(if at <= three.len() { digit } else { PAD });
        }
    }
}

/// The bytes that `text` stands for, if they are exactly as many as `into` holds; `false` for anything
/// else: another length, another alphabet, bits set that stand for nothing.
#[must_use]
pub fn decode(text: &[u8], into: &mut [u8]) -> bool {
    if text.len() != into.len().div_ceil(3) * 4 {
        return false;
    }
    text.chunks_exact(4).zip(into.chunks_mut(3)).all(|(four, three)| decode_group(four, three))
}

/// Four digits to one, two or three bytes.
fn decode_group(four: &[u8], three: &mut [u8]) -> bool {
    let mut bits = 0u32;
    for (at, &digit) in four.iter().enumerate() {
        let value = if at <= three.len() { value_of(digit) } else { padding(digit) };
        let Some(value) = value else { return false };
        bits = bits << 6 | value;
    }
    let bytes = bits.to_be_bytes();
    let (kept, dropped) = bytes[1..].split_at(three.len());
    three.copy_from_slice(kept);
    dropped.iter().all(|&byte| byte == 0)
}

fn padding(digit: u8) -> Option<u32> {
    (digit == PAD).then_some(0)
}

fn value_of(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}
