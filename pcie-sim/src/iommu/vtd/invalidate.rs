//! Invalidation: what a descriptor asks for, and the queue that descriptors come through.
//!
//! ```text
//!   tail moved ─▶ fetch at head ─▶ check ─▶ head moves ─▶ (time passes) ─▶ effect ─▶ fetch the next
//!                                    └─▶ IQE: the head stays, nothing is fetched until it is cleared
//! ```
//!
//! Each is done before the next is fetched, so a wait descriptor finds all before it done. An entry
//! stays usable until the end of its invalidation: the latest moment that hardware may choose, and the
//! one that shows a driver which does not wait. "Queued Invalidation Interface" of the specification.
//! Left out: device TLBs, interrupt entry cache, descriptors of 256 bits.

use super::fault::Event;
use crate::address::PhysAddr;
use crate::iommu::TableMemory;
use crate::spec::vtd::{granularity, inv, iqa, iqei};
use crate::time::Instant;

/// The largest address mask of a page-selective invalidation: 2^18 pages, one page of 1 GiB.
pub(super) const MAX_ADDRESS_MASK: u32 = 18;

/// Which context entries to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContextScope {
    All,
    Domain(u16),
    Device { domain: u16, source: u16, function_mask: u8 },
}

impl ContextScope {
    /// From the fields that register and descriptor share; `None` for the reserved granularity.
    pub(super) const fn from_fields(
        code: u64,
        domain: u16,
        source: u16,
        function_mask: u8,
    ) -> Option<Self> {
        match code {
            granularity::GLOBAL => Some(Self::All),
            granularity::DOMAIN => Some(Self::Domain(domain)),
            granularity::DEVICE => Some(Self::Device { domain, source, function_mask }),
            _ => None,
        }
    }

    /// Whether the entry of `source`, which belongs to `domain`, is among them.
    pub(super) const fn covers(self, source: u16, domain: u16) -> bool {
        match self {
            Self::All => true,
            Self::Domain(wanted) => domain == wanted,
            Self::Device { domain: wanted, source: device, function_mask } => {
                // The mask says which of the function's bits do not count: none, 2, 2:1, 2:0.
                let ignored = match function_mask & 3 {
                    0 => 0b000,
                    1 => 0b100,
                    2 => 0b110,
                    _ => 0b111,
                };
                domain == wanted && (source ^ device) & !ignored == 0
            }
        }
    }

    pub(super) const fn code(self) -> u64 {
        match self {
            Self::All => granularity::GLOBAL,
            Self::Domain(_) => granularity::DOMAIN,
            Self::Device { .. } => granularity::DEVICE,
        }
    }
}

/// Which translations to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IotlbScope {
    All,
    Domain(u16),
    Pages { domain: u16, address: u64, mask: u32, leaf_only: bool },
}

impl IotlbScope {
    /// From the fields that register and descriptor share: `page` has address, hint and mask where
    /// both have them. `None` for the reserved granularity, or a mask that is too large.
    pub(super) const fn from_fields(code: u64, domain: u16, page: u64) -> Option<Self> {
        let mask = (page & inv::IOTLB_AM_MASK) as u32;
        match code {
            granularity::GLOBAL => Some(Self::All),
            granularity::DOMAIN => Some(Self::Domain(domain)),
            granularity::PAGE if mask <= MAX_ADDRESS_MASK => Some(Self::Pages {
                domain,
                address: page & inv::IOTLB_ADDRESS_MASK,
                mask,
                leaf_only: page & inv::IOTLB_IH != 0,
            }),
            _ => None,
        }
    }

    pub(super) const fn code(self) -> u64 {
        match self {
            Self::All => granularity::GLOBAL,
            Self::Domain(_) => granularity::DOMAIN,
            Self::Pages { .. } => granularity::PAGE,
        }
    }
}

/// What a descriptor asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Context(ContextScope),
    /// Drop translations and, when asked to drain, let the requests translated before reach memory.
    Iotlb {
        scope: IotlbScope,
        drain: bool,
    },
    Wait {
        status: Option<(PhysAddr, u32)>,
        interrupt: bool,
    },
}

impl Command {
    /// Nothing but the passing of time.
    pub(super) const IDLE: Self = Self::Wait { status: None, interrupt: false };

    /// Reads a descriptor; the error is what the error record says about it.
    pub(super) fn decode(low: u64, high: u64) -> Result<Self, u64> {
        let (kind, reserved_low, reserved_high) = match low & inv::TYPE_MASK {
            kind @ inv::CONTEXT => (kind, inv::CONTEXT_RESERVED, u64::MAX),
            kind @ inv::IOTLB => (kind, inv::IOTLB_RESERVED_LOW, inv::IOTLB_RESERVED_HIGH),
            kind @ inv::WAIT => (kind, inv::WAIT_RESERVED_LOW, !inv::WAIT_ADDRESS_MASK),
            _ => return Err(iqei::BAD_TYPE),
        };
        if low & reserved_low != 0 || high & reserved_high != 0 {
            return Err(iqei::RESERVED);
        }
        let code = low >> inv::GRANULARITY_SHIFT & 3;
        let domain = (low >> inv::DID_SHIFT) as u16;
        let command = match kind {
            inv::CONTEXT => {
                let source = (low >> inv::SID_SHIFT) as u16;
                let mask = (low >> inv::FM_SHIFT & 3) as u8;
                ContextScope::from_fields(code, domain, source, mask).map(Self::Context)
            }
            inv::IOTLB => {
                let drain = low & (inv::IOTLB_DR | inv::IOTLB_DW) != 0;
                IotlbScope::from_fields(code, domain, high)
                    .map(|scope| Self::Iotlb { scope, drain })
            }
            _ => Some(Self::Wait {
                status: (low & inv::WAIT_SW != 0)
                    .then_some((PhysAddr(high), (low >> inv::WAIT_DATA_SHIFT) as u32)),
                interrupt: low & inv::WAIT_IF != 0,
            }),
        };
        command.ok_or(iqei::RESERVED)
    }
}

/// The invalidation queue: its registers, and the command under way.
#[derive(Debug)]
pub(super) struct Queue {
    /// The address register.
    pub(super) address: u64,
    /// The tail register.
    pub(super) tail: u64,
    /// The head register.
    pub(super) head: u64,
    /// The command under way, and when it is done.
    pub(super) running: Option<(Instant, Command)>,
    /// A wait with its interrupt flag is done, and the driver has not cleared that.
    pub(super) completed: bool,
    /// The invalidation event.
    pub(super) event: Event,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { address: 0, tail: 0, head: 0, running: None, completed: false, event: Event::new() }
    }

    const fn bytes(&self) -> u64 {
        (inv::BYTES * inv::PER_PAGE) << (self.address & iqa::QS_MASK)
    }

    /// Fetches the command at the head, if there is one, and moves the head behind it. The error is
    /// what the error record says.
    pub(super) fn fetch(&mut self, memory: &dyn TableMemory) -> Result<Option<Command>, u64> {
        if self.tail >= self.bytes() {
            return Err(iqei::BAD_TAIL);
        }
        if self.head == self.tail {
            return Ok(None);
        }
        let mut bytes = [0; 16];
        let base = self.address & iqa::ADDRESS_MASK;
        if !memory.read(PhysAddr(base.wrapping_add(self.head)), &mut bytes) {
            return Err(iqei::FETCH_FAILED);
        }
        let both = u128::from_le_bytes(bytes);
        let command = Command::decode(both as u64, (both >> 64) as u64)?;
        self.head = (self.head + inv::BYTES) % self.bytes();
        Ok(Some(command))
    }

    /// A wait with its interrupt flag is done. One that finds the last not yet acknowledged is no new
    /// cause for an interrupt.
    pub(super) const fn complete(&mut self) {
        if !self.completed {
            self.completed = true;
            self.event.raise();
        }
    }

    /// The driver acknowledges the completion.
    pub(super) const fn acknowledge(&mut self) {
        self.completed = false;
        self.event.withdraw();
    }
}
