//! TLPs as bytes, in the order in which they cross the link. PCIe 5.0, chapter 2, "Transaction Layer
//! Specification", §2.1.2 "Packet Format Overview" to §2.2.9 "Completion Rules".
//!
//! ```text
//!  byte   7   6   5   4   3   2   1   0          memory            configuration     completion
//!       [ prefixes: Fmt 100, four bytes each ]
//!   0   | Fmt[2:0]  |     Type[4:0]     |
//!   1   |T9 |   TC[2:0] |T8 |IDO|LN |TH |
//!   2   |TD |EP |RO |NS | AT    |Len 9:8|
//!   3   |        Length[7:0]            |
//!   4,5                                          requester         requester         completer
//!   6                                            tag[7:0]          tag[7:0]          status, BCM, count[11:8]
//!   7                                            last, first BE    0000, first BE    count[7:0]
//!   8,9                                          address ...       target function   requester
//!   10                                           (4 or 8 bytes,    0000, reg[11:8]   tag[7:0]
//!   11                                           big-endian)       reg[7:2], 00      0, lower address[6:0]
//!       [ data ] [ digest: ECRC, when TD ]
//! ```
//!
//! I/O requests are like memory requests of one doubleword below 4 GiB, atomic requests like memory
//! writes without byte enables. With TH, PH stands in the two low bits of the address, and ST in the place
//! of a write's tag or of the byte enables; in a translation request NW is the lowest bit of the address.
//!
//! # How a run of bytes becomes doublewords
//!
//! A [`Tlp`](super::Tlp) names a run of bytes; the wire carries whole doublewords. The bytes before the run in its
//! first doubleword and behind it in its last are *pads*: [`emit`] writes zeros there, [`parse`] does
//! not look at them.
//!
//! - Requests: byte enables follow from address and length, and say which bytes are pads.
//! - Completions have no byte enables. The first `lower_address % 4` bytes are pads. A completion whose
//!   doublewords hold all of `byte_count` is the last one, and what is left over behind is pad; one whose
//!   doublewords hold less has no pad behind, for it must end on a boundary.
//! - A read of 0 bytes is one doubleword with no byte enabled; its answer is a doubleword with
//!   `byte_count` 1 (§2.3.1.1), thus one byte of data, of no meaning. So is a write of 0 bytes.
//! - Byte enables with holes: the run goes from the first enabled byte to the last, and the bytes in the
//!   holes are pads too, zero in what [`parse`] gives.
//!
//! With that, `parse(emit(t)) == t` for each `t` that [`check`] passes, and `emit(parse(b)) == b` for
//! each `b` that [`parse`] takes and whose pads and reserved bits are zero.
//!
//! The digest is kept as it came: a wrong one is an error of the packet's way, not of its form, and for
//! [`ecrc_holds`] to find, on the bytes, for pads count there too.
//!
//! Not modelled, and refused by name ([`Feature`]): locked reads, lightweight notification, deferrable
//! writes, modified byte counts. What depends on a receiver's settings (Max_Payload_Size, which prefixes
//! and tags it takes) is no matter of form: [`Limits`].

mod check;
mod ecrc;
mod emit;
mod error;
mod frame;
mod limits;
mod parse;

pub use check::check;
pub use ecrc::{ecrc, ecrc_holds};
pub use emit::emit;
pub use error::{Feature, TlpError};
pub use limits::Limits;
pub use parse::parse;

/// Bit 1 of Fmt: data follows the header.
const FMT_DATA: u8 = 0b010;
/// Bit 0 of Fmt: the header has four doublewords.
const FMT_LONG: u8 = 0b001;
/// Bit 2 of Fmt alone: a prefix.
const FMT_PREFIX: u8 = 0b100;

/// Type of a memory request.
const TYPE_MEMORY: u8 = 0b0_0000;
/// Type of a configuration request of type 0.
const TYPE_CONFIG_0: u8 = 0b0_0100;
/// Type of a configuration request of type 1.
const TYPE_CONFIG_1: u8 = 0b0_0101;
/// Type of an I/O request.
const TYPE_IO: u8 = 0b0_0010;
/// Type of a completion.
const TYPE_COMPLETION: u8 = 0b0_1010;
/// Type of a FetchAdd.
const TYPE_FETCH_ADD: u8 = 0b0_1100;
/// Type of an unconditional Swap.
const TYPE_SWAP: u8 = 0b0_1101;
/// Type of a compare and swap.
const TYPE_COMPARE_AND_SWAP: u8 = 0b0_1110;
/// Type of a message; the low three bits are the routing.
const TYPE_MESSAGE: u8 = 0b1_0000;

/// Bit 4 of a prefix's Type: it travels to the end.
const PREFIX_END_TO_END: u8 = 0b1_0000;
/// E\[3:0\] of the prefix with the high byte of a steering tag.
const PREFIX_HINTS: u8 = 0;
/// E\[3:0\] of the prefix with a process address space.
const PREFIX_PASID: u8 = 1;

/// Byte 2: a digest follows.
const TD: u8 = 0x80;
/// Byte 2: the data is bad.
const EP: u8 = 0x40;
/// Byte 1: there are hints.
const TH: u8 = 0x01;
/// Byte 1: lightweight notification.
const LN: u8 = 0x02;

/// The most bytes behind one header: 1024 doublewords.
const MAX_DATA_BYTES: usize = 4096;

#[cfg(test)]
mod tests;
