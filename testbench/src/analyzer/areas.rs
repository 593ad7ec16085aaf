//! Where the ring areas lie, and which part of an area an access touches.

use pcie_sim::spec::virtq;

use super::purpose::Purpose;

/// The three areas of a split virtqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AreaKind {
    /// Descriptor table.
    Descriptors,
    /// Available ring: written by the driver.
    Driver,
    /// Used ring: written by the device.
    Device,
}

/// One area of one queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Area {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) queue: u16,
    pub(crate) size: u16,
    pub(crate) kind: AreaKind,
}

impl Area {
    /// The part of an access of `len` bytes at `address` that lies in the area: offset in the area,
    /// offset in the access, bytes.
    pub(crate) fn clip(&self, address: u64, len: usize) -> (usize, usize, usize) {
        let low = address.max(self.start);
        let high = address.saturating_add(len as u64).min(self.end);
        let bytes = high.saturating_sub(low) as usize;
        ((low - self.start) as usize, (low - address) as usize, bytes)
    }

    /// Purpose of an access to `len` bytes at `offset` of the area, and whether it has others besides.
    pub(crate) fn purpose(&self, offset: usize, len: usize) -> (Purpose, bool) {
        let (entries_end, index, entries) = match self.kind {
            AreaKind::Descriptors => return (Purpose::Descriptor, false),
            AreaKind::Driver => {
                (virtq::used_event(self.size), Purpose::AvailIdx, Purpose::RingEntry)
            }
            AreaKind::Device => {
                (virtq::avail_event(self.size), Purpose::UsedIdx, Purpose::UsedElement)
            }
        };
        let (start, end) = (offset as u64, (offset + len.max(1)) as u64);
        let covers_index = start < 4 && end > 2;
        let covers_entries = start < entries_end && end > 4;
        let covers_events = start < 2 || end > entries_end;
        let parts = u8::from(covers_index) + u8::from(covers_entries) + u8::from(covers_events);
        let purpose = if covers_index {
            index
        } else if covers_entries {
            entries
        } else {
            Purpose::EventSuppression
        };
        (purpose, parts > 1)
    }
}

/// Up to so many areas, looking at one after the other is faster than halving.
const FEW: usize = 8;

/// All areas of one world (host memory, or the card's own), sorted by address.
#[derive(Debug, Default)]
pub(crate) struct Areas {
    sorted: Vec<Area>,
}

impl Areas {
    pub(crate) fn insert(&mut self, area: Area) {
        let at = self.sorted.partition_point(|other| other.start < area.start);
        self.sorted.insert(at, area);
    }

    pub(crate) fn forget_queue(&mut self, queue: u16) {
        self.sorted.retain(|area| area.queue != queue);
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.sorted.clear();
    }

    /// Position of the first area that an access may touch: where to begin with [`Areas::touched`].
    #[inline]
    pub(crate) fn first(&self, address: u64) -> usize {
        if self.sorted.len() > FEW {
            return self.sorted.partition_point(|area| area.end <= address);
        }
        let mut first = 0;
        while self.sorted.get(first).is_some_and(|area| area.end <= address) {
            first += 1;
        }
        first
    }

    /// The area at `position`, when an access of `len` bytes at `address` touches it.
    #[inline]
    pub(crate) fn touched(&self, position: usize, address: u64, len: usize) -> Option<&Area> {
        let area = self.sorted.get(position)?;
        let end = address.saturating_add(len.max(1) as u64);
        (area.start < end && area.end > address).then_some(area)
    }
}
