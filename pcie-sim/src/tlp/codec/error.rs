//! Why bytes are no TLP, or a TLP has no bytes.

use std::fmt;

use thiserror::Error;

/// A part of the specification that [`Tlp`](crate::tlp::Tlp) cannot express, so that ignoring it would
/// change what a packet means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Fmt 100: a local or end-to-end prefix comes before the header.
    Prefix,
    /// TD: an ECRC follows the data.
    Digest,
    /// EP: the data is known to be bad.
    Poison,
    /// TH: a processing hint takes the place of other fields.
    ProcessingHints,
    /// LN: the requester wants to hear of changes.
    LightweightNotification,
    /// AT other than 00: the address is translated, or a translation is wanted.
    AddressType,
    /// BCM: the byte count is not what it seems (PCI-X bridges only).
    ByteCountModified,
    /// A write with no byte enabled.
    EmptyWrite,
    /// A configuration read with no byte enabled.
    EmptyConfigRead,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefix => "a TLP prefix (Fmt = 100)",
            Self::Digest => "an ECRC (TD = 1)",
            Self::Poison => "poisoned data (EP = 1)",
            Self::ProcessingHints => "processing hints (TH = 1)",
            Self::LightweightNotification => "lightweight notification (LN = 1)",
            Self::AddressType => "an address type other than untranslated (AT != 00)",
            Self::ByteCountModified => "a modified byte count (BCM = 1)",
            Self::EmptyWrite => "a write with no byte enabled",
            Self::EmptyConfigRead => "a configuration read with no byte enabled",
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
    /// Legal byte enables that do not name one run of bytes.
    #[error("not modelled: byte enables with holes (first {first:04b}, last {last:04b})")]
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
