//! Where a queue's areas lie: each in host memory or in the card's.

use pcie_sim::address::PhysAddr;
use pcie_sim::host::Host;
use pcie_sim::spec::virtq;

use super::area::Area;
use crate::dma::{Dma, DmaError};

/// Where rings lie. Buffers and indirect tables are always in host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Placement {
    /// All in host memory.
    #[default]
    Host,
    /// All on the card; the CPU polls by reads over the link.
    Card,
    /// What the driver writes on the card, what the card writes in host memory.
    Hybrid,
}

impl Placement {
    /// Whether the card's memory is used at all.
    #[must_use]
    pub const fn needs_window(self) -> bool {
        !matches!(self, Self::Host)
    }
}

/// Why an area has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The DMA API refused.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// The card offers no memory for rings.
    #[error("the card has no shared memory region 0, in which rings could lie")]
    NoWindow,
    /// The card's memory is full.
    #[error("{bytes} bytes for a ring do not fit the card's memory, {free} are left")]
    WindowFull {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes left.
        free: u64,
    },
}

/// The card's memory: the part of its shared memory region that is not used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardWindow {
    next: u64,
    end: u64,
}

impl CardWindow {
    /// A region of `len_bytes` bytes which the CPU finds at `address`.
    #[must_use]
    pub const fn new(address: PhysAddr, len_bytes: u64) -> Self {
        Self { next: address.get(), end: address.get().saturating_add(len_bytes) }
    }

    /// What is left, the longer side of it, when `len_bytes` bytes at `address` are somebody else's.
    #[must_use]
    pub fn without(self, address: PhysAddr, len_bytes: u64) -> Option<Self> {
        let (start, end) = (address.get(), address.get().saturating_add(len_bytes));
        if end <= self.next || self.end <= start {
            return Some(self);
        }
        let below = Self { next: self.next, end: start.max(self.next) };
        let above = Self { next: end.min(self.end), end: self.end };
        let longer = if above.end - above.next > below.end - below.next { above } else { below };
        (longer.next < longer.end).then_some(longer)
    }

    /// `len_bytes` bytes at an address that is `remainder` above a multiple of `align`.
    fn take(
        &mut self,
        len_bytes: u64,
        align: u64,
        remainder: u64,
    ) -> Result<PhysAddr, PlacementError> {
        let start = (self.next.saturating_sub(remainder)).next_multiple_of(align) + remainder;
        match start.checked_add(len_bytes) {
            Some(end) if end <= self.end => {
                self.next = end;
                Ok(PhysAddr(start))
            }
            _ => Err(PlacementError::WindowFull { bytes: len_bytes, free: self.end - self.next }),
        }
    }
}

/// The three areas of a queue.
#[derive(Debug)]
pub struct Areas {
    /// Descriptor area.
    pub descriptors: Area,
    /// Driver area (available ring).
    pub driver: Area,
    /// Device area (used ring).
    pub device: Area,
}

impl Areas {
    /// Finds a place for the areas of a split queue of `size` descriptors. On failure all is as before,
    /// except that the window may have less room.
    pub fn of_split(
        host: &mut dyn Host,
        dma: &mut Dma,
        placement: Placement,
        size: u16,
        window: &mut Option<CardWindow>,
    ) -> Result<Self, PlacementError> {
        let driver_on_card = placement.needs_window();
        let device_on_card = placement == Placement::Card;
        let mut place =
            |host: &mut dyn Host, dma: &mut Dma, on_card: bool, bytes: u64, remainder: u64| {
                if !on_card {
                    return Ok(Area::coherent(dma, host, bytes)?);
                }
                let window = window.as_mut().ok_or(PlacementError::NoWindow)?;
                // Whole words, since the card's memory is read by words.
                let address = window.take(bytes.next_multiple_of(8), 64, remainder)?;
                Ok::<_, PlacementError>(Area::window(address, bytes))
            };
        let descriptors = place(host, dma, driver_on_card, virtq::desc_area_bytes(size), 0)?;
        let driver = match place(host, dma, driver_on_card, virtq::avail_area_bytes(size), 0) {
            Ok(driver) => driver,
            Err(error) => {
                descriptors.free(dma, host)?;
                return Err(error);
            }
        };
        // 4 above a multiple of 8, so that each 8-byte element is aligned and read in one access.
        match place(host, dma, device_on_card, virtq::used_area_bytes(size), 4) {
            Ok(device) => Ok(Self { descriptors, driver, device }),
            Err(error) => {
                descriptors.free(dma, host).and(driver.free(dma, host))?;
                Err(error)
            }
        }
    }

    /// Gives the memory back.
    pub fn free(self, host: &mut dyn Host, dma: &mut Dma) -> Result<(), DmaError> {
        let descriptors = self.descriptors.free(dma, host);
        let driver = self.driver.free(dma, host);
        self.device.free(dma, host).and(driver).and(descriptors)
    }
}
