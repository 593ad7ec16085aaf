//! PCI configuration space of one function: 4 KiB of bytes, with masks that say which bits software may
//! change and which of them a reset leaves alone.
//!
//! A function of the bench (a card, a root port) lays its own out with the methods that add capabilities,
//! and reads its settings back out of the bytes. What a write asks the function to do is for the function
//! to see.

pub mod access;

use self::access::{Access, Row};
use crate::endpoint::ResetKind;
use crate::spec::pci::{extended, header};

/// Bytes of a PCI Express function's configuration space.
pub const BYTES: usize = header::SPACE_BYTES as usize;
/// Where a capability holds the offset of the next one.
const NEXT: u16 = 1;

type Bytes = Box<[u8; BYTES]>;

/// The bytes, and what may be done to each bit.
#[derive(Debug)]
pub struct ConfigSpace {
    bytes: Bytes,
    /// As built: what power-on leaves.
    initial: Bytes,
    writable: Bytes,
    /// Bits that a written one clears.
    clearable: Bytes,
    /// Bits that every reset but power-on keeps.
    sticky: Bytes,
    /// Bits that only a reset of the link puts back.
    of_link: Bytes,
    chains: Chains,
}

/// Where the two chains of capabilities end.
#[derive(Debug)]
struct Chains {
    /// Where the next capability goes.
    next: u16,
    /// The byte that points to it.
    pointer: u16,
    /// Where the next extended capability goes.
    next_extended: u16,
    /// The header that points to it.
    last_extended: Option<u16>,
}

impl Default for ConfigSpace {
    fn default() -> Self {
        Self::new()
    }
}

impl ConfigSpace {
    /// All zeroes, read only.
    #[must_use]
    pub fn new() -> Self {
        let blank = || Box::new([0; BYTES]);
        Self {
            bytes: blank(),
            initial: blank(),
            writable: blank(),
            clearable: blank(),
            sticky: blank(),
            of_link: blank(),
            chains: Chains {
                next: header::BYTES,
                pointer: header::CAPABILITIES,
                next_extended: header::CAPABILITIES_END,
                last_extended: None,
            },
        }
    }

    /// Adds a capability of `len` bytes behind the one before; where it begins.
    pub fn capability(&mut self, id: u8, len: u16) -> u16 {
        let at = self.chains.next;
        self.put(self.chains.pointer, &[at as u8]);
        self.put(at, &[id]);
        self.chains.pointer = at + NEXT;
        self.chains.next = at + len;
        debug_assert!(self.chains.next <= header::CAPABILITIES_END, "there is no more room");
        at
    }

    /// Adds an extended capability of `len` bytes behind the one before; where it begins.
    pub fn extended(&mut self, id: u16, version: u8, len: u16) -> u16 {
        let at = self.chains.next_extended;
        if let Some(last) = self.chains.last_extended {
            let (id, _) = extended::parts(self.dword(last));
            let version = self.bytes[usize::from(last) + 2] & 0xf;
            self.put(last, &extended::header(id, version, at).to_le_bytes());
        }
        self.put(at, &extended::header(id, version, 0).to_le_bytes());
        self.chains.last_extended = Some(at);
        self.chains.next_extended = at + len;
        debug_assert!(self.chains.next_extended <= header::SPACE_BYTES, "there is no more room");
        at
    }

    /// Says what software may do with bits; the rows are relative to `base`.
    pub fn rights(&mut self, base: u16, rows: &[Row]) {
        for &(offset, bits, access) in rows {
            for (at, mask) in (usize::from(base + offset)..).zip(bits.to_le_bytes()) {
                let when = |on: bool| if on { mask } else { 0 };
                self.writable[at] |= when(access.writable());
                self.clearable[at] |= when(access.clearable());
                self.sticky[at] |= when(access.sticky());
                self.of_link[at] |= when(access == Access::RwLink);
            }
        }
    }

    /// What the bytes are now is what a reset puts back.
    pub fn built(&mut self) {
        self.initial.copy_from_slice(&self.bytes[..]);
    }

    /// Puts back what a reset of this kind does not leave alone.
    pub fn reset(&mut self, kind: ResetKind) {
        for at in 0..BYTES {
            let of_link = if kind == ResetKind::Hot { 0 } else { self.of_link[at] };
            let kept = self.sticky[at] | of_link;
            self.bytes[at] = self.bytes[at] & kept | self.initial[at] & !kept;
        }
    }

    /// The bytes at `offset`; past the end, zeroes.
    pub fn read(&self, offset: u16, into: &mut [u8]) {
        for (at, byte) in (usize::from(offset)..).zip(into) {
            *byte = self.bytes.get(at).copied().unwrap_or(0);
        }
    }

    /// Writes what software may write.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        for (at, &byte) in (usize::from(offset)..BYTES).zip(data) {
            let writable = self.writable[at];
            let kept = self.bytes[at] & !writable & !(byte & self.clearable[at]);
            self.bytes[at] = kept | byte & writable;
        }
    }

    /// Sets bytes whatever software may do to them. They lie inside the space.
    pub fn put(&mut self, at: u16, data: &[u8]) {
        let at = usize::from(at);
        self.bytes[at..at + data.len()].copy_from_slice(data);
    }

    /// Sets those bits of a word that `mask` names.
    pub fn set_word(&mut self, at: u16, mask: u16, value: u16) {
        let value = self.word(at) & !mask | value & mask;
        self.put(at, &value.to_le_bytes());
    }

    /// Sets those bits of a doubleword that `mask` names.
    pub fn set_dword(&mut self, at: u16, mask: u32, value: u32) {
        let value = self.dword(at) & !mask | value & mask;
        self.put(at, &value.to_le_bytes());
    }

    /// 8 bits.
    #[must_use]
    pub fn byte(&self, at: u16) -> u8 {
        self.bytes[usize::from(at)]
    }

    /// 16 bits.
    #[must_use]
    pub fn word(&self, at: u16) -> u16 {
        let at = usize::from(at);
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// 32 bits.
    #[must_use]
    pub fn dword(&self, at: u16) -> u32 {
        u32::from(self.word(at)) | u32::from(self.word(at + 2)) << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PCIe 5.0 §7.4, "Configuration Register Types".
    #[test]
    fn each_bit_answers_software_and_reset_by_its_type() {
        let at = 0x40;
        let mut space = ConfigSpace::new();
        let types =
            [Access::Rw, Access::RwLink, Access::Rw1c, Access::Ros, Access::Rws, Access::Rw1cs];
        for (bit, access) in types.into_iter().enumerate() {
            space.rights(at, &[(0, 1 << bit, access)]);
        }
        space.write(at, &[0xff]);
        assert_eq!(space.byte(at), 0b01_0011, "what software can set");
        space.put(at, &[0xff]);
        space.write(at, &[0xff]);
        assert_eq!(space.byte(at), 0b1101_1011, "a written one clears bits 2 and 5");
        for (kind, left) in [(ResetKind::FunctionLevel, 0b11_1010), (ResetKind::Hot, 0b11_1000)] {
            space.put(at, &[0xff]);
            space.reset(kind);
            assert_eq!(space.byte(at), left, "{kind:?}");
        }
    }

    #[test]
    fn capabilities_form_two_chains() {
        let mut space = ConfigSpace::new();
        let first = space.capability(0x10, 0x3c);
        let second = space.capability(0x05, 0x10);
        assert_eq!((space.byte(header::CAPABILITIES), first), (0x40, 0x40));
        assert_eq!((u16::from(space.byte(first + 1)), space.byte(second + 1)), (second, 0));
        let (first, second) = (space.extended(1, 2, 0x48), space.extended(3, 1, 0xc));
        assert_eq!((first, extended::parts(space.dword(first))), (0x100, (1, second)));
        assert_eq!(extended::parts(space.dword(second)), (3, 0));
    }

    #[test]
    fn what_lies_past_the_end_is_zero_and_stays() {
        let mut space = ConfigSpace::new();
        space.write(0xffe, &[0xff; 4]);
        let mut read = [1; 4];
        space.read(0xffe, &mut read);
        assert_eq!(read, [0; 4]);
    }
}
