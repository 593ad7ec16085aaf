//! Flow control credits: how much a receiver can hold, class by class.
//!
//! Not modelled: scaled credits; a receiver that overflows (a sender here cannot send without credit).

use crate::tlp::FlowClass;

/// Credits of one class: headers, and data in units of 16 bytes. PCIe 5.0 §2.6.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credits {
    /// TLPs.
    pub headers: u32,
    /// Units of 16 bytes of data.
    pub data: u32,
}

impl Credits {
    /// Whether one TLP with `data` data credits fits.
    #[must_use]
    pub const fn allow(&self, data: u32) -> bool {
        self.headers >= 1 && self.data >= data
    }
}

/// What one receiver advertises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverBuffers {
    /// For memory writes and messages.
    pub posted: Credits,
    /// For reads and configuration requests.
    pub non_posted: Credits,
    /// For completions.
    pub completion: Credits,
}

impl ReceiverBuffers {
    /// The credits of one class.
    #[must_use]
    pub const fn of(&self, class: FlowClass) -> Credits {
        match class {
            FlowClass::Posted => self.posted,
            FlowClass::NonPosted => self.non_posted,
            FlowClass::Completion => self.completion,
        }
    }

    /// The credits of one class, to be changed.
    pub const fn of_mut(&mut self, class: FlowClass) -> &mut Credits {
        match class {
            FlowClass::Posted => &mut self.posted,
            FlowClass::NonPosted => &mut self.non_posted,
            FlowClass::Completion => &mut self.completion,
        }
    }
}

impl Default for ReceiverBuffers {
    /// Finite in every class: 64 headers each and 4 KiB of posted and 8 KiB of completion data.
    fn default() -> Self {
        Self {
            posted: Credits { headers: 64, data: 256 },
            non_posted: Credits { headers: 64, data: 64 },
            completion: Credits { headers: 64, data: 512 },
        }
    }
}
