//! What a TLP was for, as told from the outside.

use std::fmt;

use serde::Serialize;

/// Why the card reads or writes memory.
///
/// A read or write that covers several parts of one ring area carries the purpose which the rest
/// depends on, and is marked [`Classified::mixed`]: in the driver area `idx` before entries before
/// `flags`/`used_event`; in the device area `idx` before elements before `flags`/`avail_event`.
/// One that spans several areas or buffers carries the purpose of the lowest address it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Read of the available ring's `idx`.
    AvailIdx,
    /// Read of entries of the available ring.
    RingEntry,
    /// Read of the descriptor table.
    Descriptor,
    /// Read of an indirect descriptor table.
    IndirectTable,
    /// Read or write of a buffer.
    Payload,
    /// Write of elements of the used ring.
    UsedElement,
    /// Write of the used ring's `idx`.
    UsedIdx,
    /// Read of `avail.flags` or `used_event`, write of `used.flags` or `avail_event`.
    EventSuppression,
    /// An interrupt message.
    #[serde(rename = "msix")]
    MsiX,
    /// Nothing that the analyzer knows of lies there.
    Unknown,
}

impl Purpose {
    /// Every purpose, in the order of the enumeration.
    pub const ALL: [Self; 10] = [
        Self::AvailIdx,
        Self::RingEntry,
        Self::Descriptor,
        Self::IndirectTable,
        Self::Payload,
        Self::UsedElement,
        Self::UsedIdx,
        Self::EventSuppression,
        Self::MsiX,
        Self::Unknown,
    ];

    /// The name used in results: the key in `by_purpose`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AvailIdx => "avail_idx",
            Self::RingEntry => "ring_entry",
            Self::Descriptor => "descriptor",
            Self::IndirectTable => "indirect_table",
            Self::Payload => "payload",
            Self::UsedElement => "used_element",
            Self::UsedIdx => "used_idx",
            Self::EventSuppression => "event_suppression",
            Self::MsiX => "msix",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What of the card a CPU access touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Region {
    /// Common configuration.
    Common,
    /// A doorbell.
    Notify,
    /// ISR status.
    Isr,
    /// Device-specific configuration.
    Device,
    /// The MSI-X table.
    MsixTable,
    /// The MSI-X pending bits.
    MsixPending,
    /// Anything else behind a BAR, memory of the card for one.
    Memory,
    /// No BAR is known to lie there.
    Nowhere,
}

/// What kind of traffic a TLP belongs to; an answer belongs with what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The card's access to memory.
    Dma(Purpose),
    /// The CPU's access to the card's BARs.
    Mmio(Region),
    /// Configuration space.
    Config,
    /// A message.
    Message,
    /// An answer to nothing that was seen.
    Stray,
}

/// What the analyzer makes of one TLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    /// The traffic it belongs to.
    pub role: Role,
    /// The queue it serves, where that is known.
    pub queue: Option<u16>,
    /// It covers parts of more than one purpose.
    pub mixed: bool,
    /// The request in whose buffer or indirect table it lies: [`RequestRecord::serial`], 0 for none.
    ///
    /// [`RequestRecord::serial`]: super::RequestRecord::serial
    pub request: u64,
}

/// A place in the buffers of a request: the same one for every card that was given the same requests,
/// whatever the addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The request's queue.
    pub queue: u16,
    /// How many requests were made available in that queue before this one.
    pub position: u64,
    /// Which of its buffers; an indirect table is one.
    pub buffer: usize,
    /// Bytes from the buffer's beginning.
    pub offset: u64,
}

impl Classified {
    pub(crate) const fn new(role: Role, queue: Option<u16>) -> Self {
        Self { role, queue, mixed: false, request: 0 }
    }

    /// The purpose, when the TLP is part of a DMA of the card (its answer included).
    #[must_use]
    pub const fn purpose(&self) -> Option<Purpose> {
        match self.role {
            Role::Dma(purpose) => Some(purpose),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_is_written_in_json_under_the_name_it_prints() {
        for purpose in Purpose::ALL {
            let json = serde_json::to_string(&purpose).expect("a name is valid JSON");
            assert_eq!(json, format!("\"{purpose}\""));
        }
    }
}
