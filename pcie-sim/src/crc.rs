//! The checksums of the link: CRC-32 for ECRC and LCRC, CRC-16 for DLLPs.
//!
//! PCIe 5.0 §2.7.1 "ECRC Rules", §3.6.2.2 "TLP Transmitter" (LCRC), §3.6.1.1 "DLLP Transmitter":
//! generator 04C1 1DB7h and 100Bh, seed all ones, bit 0 of each byte first, the result inverted and its
//! bits mirrored within each byte of the field. That is the mirrored form of the register, sent with
//! its low byte first, which is what these functions compute: a table look-up for each byte of input,
//! and eight bytes at a time for the long one.

/// Generator of the CRC-32, mirrored: 04C1 1DB7h.
const POLYNOMIAL_32: u32 = 0xedb8_8320;
/// Generator of the CRC-16, mirrored: 100Bh.
const POLYNOMIAL_16: u16 = 0xd008;

/// What each byte adds to the CRC-32 when 0 to 7 other bytes follow it.
static TABLES_32: [[u32; 256]; 8] = tables_32();
/// What each byte adds to the CRC-16.
static TABLE_16: [u16; 256] = table_16();

const fn tables_32() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut register = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            register = register >> 1 ^ (POLYNOMIAL_32 & (register & 1).wrapping_neg());
            bit += 1;
        }
        tables[0][byte] = register;
        byte += 1;
    }
    let mut at = 1;
    while at < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[at - 1][byte];
            tables[at][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        at += 1;
    }
    tables
}

const fn table_16() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut register = byte as u16;
        let mut bit = 0;
        while bit < 8 {
            register = register >> 1 ^ (POLYNOMIAL_16 & (register & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = register;
        byte += 1;
    }
    table
}

/// A CRC-32 that grows with the bytes which pass: LCRC and ECRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crc32 {
    register: u32,
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32 {
    /// Before the first byte: all ones.
    #[must_use]
    pub const fn new() -> Self {
        Self { register: u32::MAX }
    }

    /// With `bytes` behind what has passed already.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        let mut eights = bytes.chunks_exact(8);
        for eight in &mut eights {
            let &[a, b, c, d, e, f, g, h] = eight else { unreachable!("chunks of eight") };
            let [a, b, c, d] = (self.register ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes();
            let of = |table: usize, byte: u8| TABLES_32[table][usize::from(byte)];
            self.register = of(7, a) ^ of(6, b) ^ of(5, c) ^ of(4, d);
            self.register ^= of(3, e) ^ of(2, f) ^ of(1, g) ^ of(0, h);
        }
        for &byte in eights.remainder() {
            let at = usize::from(self.register as u8 ^ byte);
            self.register = self.register >> 8 ^ TABLES_32[0][at];
        }
        self
    }

    /// The four bytes of the field, in the order in which they are sent.
    #[must_use]
    pub const fn field(self) -> [u8; 4] {
        (!self.register).to_le_bytes()
    }
}

/// The CRC-32 of `bytes` as it follows them on the link: an LCRC when `bytes` are the two bytes of the
/// sequence number and the TLP with its digest. PCIe 5.0 §3.6.2.2, "TLP Transmitter". An ECRC besides
/// takes some bits of the TLP as 1.
#[must_use]
pub fn crc32(bytes: &[u8]) -> [u8; 4] {
    Crc32::new().with(bytes).field()
}

/// The CRC-16 of the four bytes of a DLLP as it follows them on the link.
/// PCIe 5.0 §3.6.1.1, "DLLP CRC Rules".
#[must_use]
pub fn crc16(bytes: &[u8]) -> [u8; 2] {
    let register = bytes.iter().fold(u16::MAX, |register, &byte| {
        register >> 8 ^ TABLE_16[usize::from(register as u8 ^ byte)]
    });
    (!register).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule as the specification's figures draw it: a shift register, bit 0 of each byte first, the
    /// result inverted, and result bit i at bit 7 - i of its byte of the field.
    fn by_shift_register(bytes: &[u8], width: u32, polynomial: u64) -> Vec<u8> {
        let ones = (1u64 << width) - 1;
        let mut register = ones;
        for bit in bytes.iter().flat_map(|byte| (0..8).map(move |at| u64::from(byte >> at & 1))) {
            let feedback = (register >> (width - 1) & 1) ^ bit;
            register = ((register << 1) ^ (feedback * polynomial)) & ones;
        }
        let result = !register & ones;
        (0..width / 8).rev().map(|byte| ((result >> (8 * byte)) as u8).reverse_bits()).collect()
    }

    /// The check value that catalogues of CRCs give for CBF4 3926h, "CRC-32/ISO-HDLC": of "123456789".
    #[test]
    fn the_crc_32_of_the_nine_digits_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926_u32.to_le_bytes());
        assert_eq!(crc32(b""), [0; 4]);
    }

    /// Two figures that the tests of an independent implementation hold (Warp Pipe, `tests/test_crc.cc`):
    /// an Ack DLLP of sequence number 0, and sequence number 0 before a header of zeros.
    #[test]
    fn an_ack_of_nothing_and_a_tlp_of_zeros_have_the_sums_that_others_found() {
        assert_eq!(crc16(&[0; 4]), 0x62b3_u16.to_le_bytes());
        assert_eq!(crc32(&[0; 2 + 12]), 0xd1bb_79c7_u32.to_le_bytes());
    }

    #[test]
    fn the_tables_give_what_the_shift_register_gives_at_any_length_and_cut() {
        let bytes: Vec<u8> = (0..300u32).map(|at| (at * at * 7 + at / 3) as u8).collect();
        for len in (0..70).chain([256, 299]) {
            let bytes = &bytes[..len];
            assert_eq!(crc32(bytes)[..], by_shift_register(bytes, 32, 0x04c1_1db7), "{len}");
            assert_eq!(crc16(bytes)[..], by_shift_register(bytes, 16, 0x100b), "{len}");
            let (front, back) = bytes.split_at(len / 3);
            assert_eq!(Crc32::new().with(front).with(back).field(), crc32(bytes), "{len}");
        }
    }

    /// What makes a checksum one: each error of up to three bits in a DLLP is seen.
    #[test]
    fn a_dllp_with_one_to_three_wrong_bits_has_another_crc_16() {
        let (data, sum) = ([0x80, 0x12, 0x34, 0x56], crc16(&[0x80, 0x12, 0x34, 0x56]));
        let sent = [data[0], data[1], data[2], data[3], sum[0], sum[1]];
        for (a, b) in (0..48).flat_map(|a| (a..48).map(move |b| (a, b))) {
            for flips in (b..48).map(|c| 1_u64 << a | 1 << b | 1 << c) {
                let mut seen = sent;
                seen.iter_mut().zip(flips.to_le_bytes()).for_each(|(byte, flip)| *byte ^= flip);
                assert_ne!(crc16(&seen[..4])[..], seen[4..], "{flips:#x}");
            }
        }
    }
}
