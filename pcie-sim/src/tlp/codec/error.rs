//! Why bytes are no TLP, or a TLP has no bytes.

use std::fmt;

use thiserror::Error;

/// A part of the specification that [`Tlp`](crate::tlp::Tlp) cannot express, so that ignoring it would
/// change what a packet means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// MRdLk, CplLk, CplDLk: a locked read, which PCI Express keeps for old bridges.
    Locked,
    /// DMWr: a write that is answered.
    DeferrableWrite,
    /// LN: the requester wants to hear of changes.
    LightweightNotification,
    /// BCM: the byte count is not what it seems (PCI-X bridges only).
    ByteCountModified,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Locked => "a locked read or its completion",
            Self::DeferrableWrite => "a deferrable memory write",
            Self::LightweightNotification => "lightweight notification (LN = 1)",
            Self::ByteCountModified => "a modified byte count (BCM = 1)",
        })
    }
}

/// What is wrong with a packet: the field, what was expected there, what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TlpError {
    /// Fewer bytes than the header, or than header and data as announced.
    #[error("truncated: {expected} bytes expected, {seen} there")]
    Truncated {
        /// Bytes that the header needs or announces.
        expected: usize,
        /// Bytes that are there.
        seen: usize,
    },
    /// More bytes than announced.
    #[error("length mismatch: the header announces {expected} bytes in all, {seen} are there")]
    TrailingBytes {
        /// Bytes that the header announces.
        expected: usize,
        /// Bytes that are there.
        seen: usize,
    },
    /// A pair of Fmt and Type that stands for no packet known here.
    #[error("Fmt {fmt:03b} with Type {kind:05b}: no packet known here")]
    UnknownType {
        /// The three bits of Fmt.
        fmt: u8,
        /// The five bits of Type.
        kind: u8,
    },
    /// A legal packet that says more than a [`Tlp`](crate::tlp::Tlp) can.
    #[error("not modelled: {feature}")]
    NotModelled {
        /// What it says.
        feature: Feature,
    },
    /// Byte enables with holes, or ones that do not belong to the packet's run of bytes. Holes are for one
    /// doubleword, and for a memory request of an aligned pair. PCIe 5.0 §2.2.5.
    #[error("malformed: byte enables with holes (first {first:04b}, last {last:04b})")]
    ByteEnableHoles {
        /// First DW BE.
        first: u8,
        /// Last DW BE.
        last: u8,
    },
    /// Byte enables that contradict the length. PCIe 5.0 §2.2.5, "First/Last DW Byte Enables Rules".
    #[error("malformed: first BE {first:04b} and last BE {last:04b} with {dwords} doublewords")]
    ByteEnables {
        /// First DW BE.
        first: u8,
        /// Last DW BE.
        last: u8,
        /// The length.
        dwords: usize,
    },
    /// A header of 4 DW for an address that 3 DW can say. PCIe 5.0 §2.2.4.1.
    #[error("malformed: 4-DW header for the address {address:#x}, which lies below 4 GiB")]
    LongHeader {
        /// The address.
        address: u64,
    },
    /// A request that crosses a 4-KiB boundary. PCIe 5.0 §2.2.7, "Memory, I/O, and Configuration
    /// Request Rules".
    #[error("malformed: {len_bytes} bytes at {address:#x} cross a 4-KiB boundary")]
    CrossesPage {
        /// The first byte.
        address: u64,
        /// How many bytes.
        len_bytes: usize,
    },
    /// Doublewords of a completion that its byte count has no use for, or too few bytes for a part.
    #[error(
        "malformed: {data_bytes} bytes of data, byte count {byte_count}, lower address {lower_address:#04x}"
    )]
    CompletionData {
        /// Bytes of data: whole doublewords when read from the wire.
        data_bytes: usize,
        /// The byte count, 1 to 4096.
        byte_count: u16,
        /// The lower address.
        lower_address: u8,
    },
    /// Any other field with a value that is against the rules or does not fit.
    #[error("{field}: expected {expected}, seen {seen:#x}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        seen: u64,
    },
}

impl TlpError {
    /// Whether a receiver reports it as a Malformed TLP; what is not modelled is legal, and to be answered
    /// as an unsupported request. PCIe 5.0 §2.3, "Handling of Received TLPs".
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        !matches!(self, Self::NotModelled { .. })
    }
}
