//! What every packet has, whatever its kind: a class, a requester, a tag, and its lengths.

use super::{Extras, FlowClass, Tag, Tlp};
use crate::address::Bdf;

impl Tlp {
    /// The class whose credits this TLP takes.
    #[must_use]
    pub fn flow_class(&self) -> FlowClass {
        match self {
            Self::MemWrite(_) | Self::Message(_) => FlowClass::Posted,
            Self::MemRead(_)
            | Self::ConfigRead(_)
            | Self::ConfigWrite(_)
            | Self::IoRead(_)
            | Self::IoWrite(_)
            | Self::Atomic(_) => FlowClass::NonPosted,
            Self::Completion(_) => FlowClass::Completion,
            Self::Extended(extended) => extended.tlp().flow_class(),
        }
    }

    /// Who sent the request; of a completion, who is to get it.
    #[must_use]
    pub fn requester(&self) -> Bdf {
        match self {
            Self::MemRead(read) => read.requester,
            Self::MemWrite(write) => write.requester,
            Self::ConfigRead(read) => read.requester,
            Self::ConfigWrite(write) => write.requester,
            Self::Completion(completion) => completion.requester,
            Self::Message(message) => message.requester,
            Self::IoRead(read) => read.requester,
            Self::IoWrite(write) => write.requester,
            Self::Atomic(atomic) => atomic.requester,
            Self::Extended(extended) => extended.tlp().requester(),
        }
    }

    /// The tag of the request, or of the request that is answered.
    #[must_use]
    pub fn tag(&self) -> Tag {
        match self {
            Self::MemRead(read) => read.tag,
            Self::MemWrite(write) => write.tag,
            Self::ConfigRead(read) => read.tag,
            Self::ConfigWrite(write) => write.tag,
            Self::Completion(completion) => completion.tag,
            Self::Message(message) => message.tag,
            Self::IoRead(read) => read.tag,
            Self::IoWrite(write) => write.tag,
            Self::Atomic(atomic) => atomic.tag,
            Self::Extended(extended) => extended.tlp().tag(),
        }
    }

    /// Doublewords of data behind the header.
    #[must_use]
    pub fn data_dwords(&self) -> usize {
        let (first, len) = match self {
            Self::MemRead(_) | Self::ConfigRead(_) | Self::IoRead(_) => return 0,
            // A write of nothing has a doubleword of which no byte is enabled.
            Self::MemWrite(write) => (write.address as usize & 3, write.data.len().max(1)),
            Self::ConfigWrite(_) | Self::IoWrite(_) => return 1,
            Self::Completion(completion) => {
                if completion.data.is_empty() {
                    return 0;
                }
                (usize::from(completion.lower_address & 3), completion.data.len())
            }
            Self::Message(message) => (0, message.data.len()),
            Self::Atomic(atomic) => (0, atomic.operands.len()),
            Self::Extended(extended) => return extended.tlp().data_dwords(),
        };
        (first + len).div_ceil(4)
    }

    /// Doublewords of the header, prefixes not counted: 3, or 4 for a message and for memory above 4 GiB.
    /// PCIe 5.0 §2.2.4.1, "Address-Based Routing Rules": below 4 GiB the 3-DW form must be used.
    #[must_use]
    pub fn header_dwords(&self) -> usize {
        let high = match self {
            Self::MemRead(read) => read.address >> 32 != 0,
            Self::MemWrite(write) => write.address >> 32 != 0,
            Self::Atomic(atomic) => atomic.address >> 32 != 0,
            Self::Message(_) => true,
            Self::ConfigRead(_)
            | Self::ConfigWrite(_)
            | Self::Completion(_)
            | Self::IoRead(_)
            | Self::IoWrite(_) => false,
            Self::Extended(extended) => return extended.tlp().header_dwords(),
        };
        if high { 4 } else { 3 }
    }

    /// Bytes of the TLP itself: prefixes, header, data and digest, without framing, sequence number and
    /// LCRC.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        let extras = self.extras().map_or(0, Extras::len_bytes);
        4 * (self.header_dwords() + self.data_dwords()) + extras
    }

    /// Flow control data credits this TLP takes: one for each 16 bytes of data, begun ones counted.
    /// Prefixes and digest are part of the header's credit. PCIe 5.0 §2.6.1, "Flow Control Rules".
    #[must_use]
    pub fn data_credits(&self) -> u32 {
        self.data_dwords().div_ceil(4) as u32
    }
}
