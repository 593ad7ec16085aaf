//! Flow control credits: how much a receiver can hold, class by class.
//!
//! Counts are as wide as needed, as if the scale factors of scaled flow control were always at hand.

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
    /// A receiver that always has room, and sends no updates. PCIe 5.0 §2.6.1: what an endpoint, and a root
    /// port that does not forward between ports, must advertise for completions. On the wire: zero.
    pub const INFINITE: Self = Self { headers: u32::MAX, data: u32::MAX };

    /// None left.
    pub const NONE: Self = Self { headers: 0, data: 0 };

    /// Whether these never run out.
    #[must_use]
    pub const fn is_infinite(&self) -> bool {
        self.headers == u32::MAX
    }

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
    /// 64 headers each, 4 KiB of posted data; completions without limit, as the specification wants it of
    /// both ends of such a link.
    fn default() -> Self {
        Self {
            posted: Credits { headers: 64, data: 256 },
            non_posted: Credits { headers: 64, data: 64 },
            completion: Credits::INFINITE,
        }
    }
}
