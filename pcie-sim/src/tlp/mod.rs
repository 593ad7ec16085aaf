//! Transaction layer packets: what they mean. What they look like as bytes is [`codec`]'s affair,
//! what they look like to a person is [`text`]'s.
//!
//! A [`Tlp`] holds meaning only: no reserved field, no length or byte enable that could contradict
//! its data. PCIe 5.0, chapter 2, "Transaction Layer Specification".
//!
//! What few packets have (prefixes, ECRC, poison, hints, holes among the bytes) is in [`extras`], around
//! the packet, so that the others are no larger for it.
//!
//! Not modelled: locked reads and their completions, lightweight notification, deferrable writes.

pub mod atomic;
pub mod codec;
pub mod extras;
pub mod message;
mod shape;
pub mod text;

use std::ops::Range;

use smallvec::SmallVec;

pub use self::atomic::{Atomic, AtomicOperation};
pub use self::extras::{AddressType, ByteEnables, Extended, Extras, Hints, Pasid, Prefix};
pub(crate) use self::shape::Measures;
use crate::address::Bdf;

// Packets are moved from queue to queue millions of times a second: what is rare is behind a pointer.
const _: () = assert!(size_of::<Tlp>() <= 96);

/// The number by which a requester recognises the completion of a request: 0 to 1023.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tag(pub u16);

/// How many bits of the tag a requester uses. PCIe 5.0 §2.2.6.2, "Transaction Descriptor – Transaction
/// ID Field".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TagBits {
    /// Five, until Extended Tag Field Enable is set.
    Five,
    /// Eight.
    Eight,
    /// Ten, once 10-Bit Tag Requester Enable is set; T9 and T8 are never both 0 then, so that a completer
    /// which drops them is found out.
    Ten,
}

impl TagBits {
    /// The tags that such a requester gives its requests.
    #[must_use]
    pub const fn tags(self) -> Range<u16> {
        match self {
            Self::Five => 0..32,
            Self::Eight => 0..256,
            Self::Ten => 256..1024,
        }
    }
}

/// The bytes that a TLP carries; up to 64 of them without an allocation.
pub type Payload = SmallVec<[u8; 64]>;

/// Attributes and traffic class that travel with a request and return with its completion.
/// PCIe 5.0 §2.2.6.3, "Transaction Descriptor – Attributes Field".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Relaxed Ordering: may pass posted writes that came earlier.
    pub relaxed_ordering: bool,
    /// ID-based Ordering: may pass TLPs of other requesters.
    pub id_based_ordering: bool,
    /// No Snoop: the host need not look into its caches.
    pub no_snoop: bool,
    /// Traffic class, 0 to 7.
    pub traffic_class: u8,
}

/// How a request ended. PCIe 5.0 §2.2.9, "Completion Rules"; other codes are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionStatus {
    /// Successful Completion (SC).
    Success,
    /// Unsupported Request (UR): nobody there, or not allowed.
    UnsupportedRequest,
    /// Request Retry Status (RRS), for configuration requests only.
    RequestRetry,
    /// Completer Abort (CA).
    CompleterAbort,
    /// A code that the specification reserves, as received.
    Reserved(u8),
}

/// Where a message goes. PCIe 5.0 §2.2.8, "Message Request Rules", table of r\[2:0\].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageRouting {
    /// To the root complex.
    ToRootComplex,
    /// By address; the value is bytes 8 to 15 of the header.
    ByAddress(u64),
    /// By identifier.
    ById(Bdf),
    /// From the root complex to everybody below.
    Broadcast,
    /// Ends at the receiver.
    Local,
    /// Gathered and routed to the root complex.
    Gathered,
    /// A code that the specification reserves, as received.
    Reserved(u8),
}

/// A memory read request for `len_bytes` bytes at `address`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemRead {
    /// Who asks.
    pub requester: Bdf,
    /// By what number it knows the answer.
    pub tag: Tag,
    /// The first byte wanted; a multiple of 4 when none is.
    pub address: u64,
    /// How many bytes: 0 (a flush: one doubleword, no byte enabled) to 4096, inside one 4-KiB page.
    pub len_bytes: u16,
    /// Ordering and traffic class.
    pub attributes: Attributes,
}

/// A memory write request; posted: nobody answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemWrite {
    /// Who writes.
    pub requester: Bdf,
    /// Of no use to anybody, but on the wire: 0 to 255.
    pub tag: Tag,
    /// Where the first byte goes.
    pub address: u64,
    /// The bytes: 0 (one doubleword, no byte enabled; at a multiple of 4) to 4096, inside one 4-KiB page.
    pub data: Payload,
    /// Ordering and traffic class.
    pub attributes: Attributes,
}

/// A configuration read; type 0 ends at the link's other side, type 1 travels on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRead {
    /// Who asks.
    pub requester: Bdf,
    /// By what number it knows the answer.
    pub tag: Tag,
    /// Whose configuration space.
    pub target: Bdf,
    /// Byte offset, 0 to 4095.
    pub offset: u16,
    /// 0 (no byte enabled) to 4 bytes, inside one doubleword.
    pub len_bytes: u8,
    /// Type 1: for a bus behind the receiver.
    pub forwarded: bool,
}

/// A configuration write; not posted: it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigWrite {
    /// Who writes.
    pub requester: Bdf,
    /// By what number it knows the answer.
    pub tag: Tag,
    /// Whose configuration space.
    pub target: Bdf,
    /// Byte offset, 0 to 4095.
    pub offset: u16,
    /// 0 (no byte enabled) to 4 bytes, inside one doubleword.
    pub data: Payload,
    /// Type 1: for a bus behind the receiver.
    pub forwarded: bool,
}

/// A read in I/O space, which is for legacy devices. It has traffic class 0 and no attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoRead {
    /// Who asks.
    pub requester: Bdf,
    /// By what number it knows the answer.
    pub tag: Tag,
    /// The first byte wanted.
    pub address: u32,
    /// 0 (no byte enabled) to 4 bytes, inside one doubleword.
    pub len_bytes: u8,
}

/// A write in I/O space; not posted: it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoWrite {
    /// Who writes.
    pub requester: Bdf,
    /// By what number it knows the answer.
    pub tag: Tag,
    /// Where the first byte goes.
    pub address: u32,
    /// 0 (no byte enabled) to 4 bytes, inside one doubleword.
    pub data: Payload,
}

/// The answer, or a part of the answer, to a request that is not posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Who answers.
    pub completer: Bdf,
    /// Whose request it was.
    pub requester: Bdf,
    /// Which of its requests.
    pub tag: Tag,
    /// How it went.
    pub status: CompletionStatus,
    /// Bytes still to come, those here included: 1 to 4096. Answers to a memory read count down; the
    /// answer to a read of 0 bytes says 1, that to an atomic request how large the location is, that to a
    /// configuration or I/O request always 4.
    pub byte_count: u16,
    /// The low seven bits of the first byte's address in an answer to a memory read, else 0.
    pub lower_address: u8,
    /// The bytes; empty for Cpl. All of `byte_count`, or as many as end on a doubleword boundary. To a
    /// configuration read: the whole doubleword, whichever of its bytes were asked for.
    pub data: Payload,
    /// As in the request.
    pub attributes: Attributes,
}

/// A message: an error, a power event, something from a vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sends it.
    pub requester: Bdf,
    /// On the wire, without use: 0 to 255.
    pub tag: Tag,
    /// What it says. PCIe 5.0 appendix F, "Message Code Usage".
    pub code: u8,
    /// Where it goes.
    pub routing: MessageRouting,
    /// Bytes 8 to 15 of the header, which the code gives a meaning (vendor id, latency, ...); those that
    /// [`MessageRouting`] holds are zero here.
    pub specific: [u8; 8],
    /// What it carries: whole doublewords, or nothing (Msg rather than MsgD).
    pub data: Payload,
    /// Ordering and traffic class.
    pub attributes: Attributes,
}

/// One transaction layer packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tlp {
    /// MRd.
    MemRead(MemRead),
    /// MWr.
    MemWrite(MemWrite),
    /// CfgRd0, CfgRd1.
    ConfigRead(ConfigRead),
    /// CfgWr0, CfgWr1.
    ConfigWrite(ConfigWrite),
    /// Cpl, CplD.
    Completion(Completion),
    /// Msg, MsgD. In a box, since it is rare and long: every packet is moved a few times.
    Message(Box<Message>),
    /// IORd.
    IoRead(IoRead),
    /// IOWr.
    IoWrite(IoWrite),
    /// FetchAdd, Swap, CAS. In a box as messages are.
    Atomic(Box<Atomic>),
    /// One of the above with something rare about it.
    Extended(Extended),
}

impl Completion {
    /// The completion without data with which `completer` answers `request`; `None` when it is posted, or
    /// itself an answer. PCIe 5.0 §2.2.9, "Completion Rules".
    #[must_use]
    pub fn refusing(request: &Tlp, completer: Bdf, status: CompletionStatus) -> Option<Self> {
        let (byte_count, attributes) = match request.plain() {
            Tlp::MemRead(read) => (read.len_bytes.max(1), read.attributes),
            Tlp::Atomic(atomic) => (atomic.location_bytes()? as u16, atomic.attributes),
            Tlp::ConfigRead(_) | Tlp::ConfigWrite(_) | Tlp::IoRead(_) | Tlp::IoWrite(_) => {
                (4, Attributes::default())
            }
            Tlp::MemWrite(_) | Tlp::Message(_) | Tlp::Completion(_) | Tlp::Extended(_) => {
                return None;
            }
        };
        Some(Self {
            completer,
            requester: request.requester(),
            tag: request.tag(),
            status,
            byte_count,
            lower_address: 0,
            data: Payload::new(),
            attributes,
        })
    }
}

/// The three classes that flow control keeps apart. PCIe 5.0 §2.6.1, "Flow Control Rules".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowClass {
    /// Memory writes and messages.
    Posted,
    /// Requests that are answered.
    NonPosted,
    /// Answers.
    Completion,
}
