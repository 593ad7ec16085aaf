//! What every packet has, whatever its kind: a class, a requester, a tag, and its lengths.

use super::{Extras, FlowClass, Tag, Tlp};
use crate::address::Bdf;

/// What the link asks of a TLP, found in one look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measures {
    pub(crate) class: FlowClass,
    /// As [`Tlp::data_dwords`].
    pub(crate) data_dwords: u32,
    /// As [`Tlp::len_bytes`].
    pub(crate) len_bytes: u32,
}

impl Measures {
    fn new(class: FlowClass, header_dwords: u32, data_dwords: u32) -> Self {
        Self { class, data_dwords, len_bytes: 4 * (header_dwords + data_dwords) }
    }
}

impl Tlp {
    /// Class and lengths.
    #[inline]
    pub(crate) fn measures(&self) -> Measures {
        let header = |address: u64| if address >> 32 == 0 { 3 } else { 4 };
        match self {
            Self::MemRead(read) => Measures::new(FlowClass::NonPosted, header(read.address), 0),
            Self::MemWrite(write) => {
                let bytes = (write.address as u32 & 3) + (write.data.len() as u32).max(1);
                Measures::new(FlowClass::Posted, header(write.address), bytes.div_ceil(4))
            }
            Self::Completion(completion) => {
                let data = match completion.data.len() as u32 {
                    0 => 0,
                    len => (u32::from(completion.lower_address & 3) + len).div_ceil(4),
                };
                Measures::new(FlowClass::Completion, 3, data)
            }
            _ => self.rare_measures(),
        }
    }

    #[cold]
    fn rare_measures(&self) -> Measures {
        let (header, data) = (self.header_dwords() as u32, self.data_dwords() as u32);
        let mut measures = Measures::new(self.flow_class(), header, data);
        measures.len_bytes += self.extras().map_or(0, Extras::len_bytes) as u32;
        measures
    }

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
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.measures().len_bytes as usize
    }

    /// Flow control data credits this TLP takes: one for each 16 bytes of data, begun ones counted.
    /// Prefixes and digest are part of the header's credit. PCIe 5.0 §2.6.1, "Flow Control Rules".
    #[must_use]
    pub fn data_credits(&self) -> u32 {
        self.data_dwords().div_ceil(4) as u32
    }
}
