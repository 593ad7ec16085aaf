//! The regions that a client sees, and an access to one of them as accesses that a link can carry.

use super::message::RegionRange;
use crate::endpoint::Tap;
use crate::live::{Access, Facts, LiveSlot};
use crate::spec::pci::header;
use crate::tlp::Payload;

/// Regions by Linux's `VFIO_PCI_*_REGION_INDEX`: six BARs, a ROM, configuration space, VGA.
pub(super) const REGIONS: u32 = 9;
const CONFIG: u32 = 7;

/// The size of a region in bytes; 0 for one that the card does not have, `None` for one that no card has.
pub(super) fn len_bytes(facts: &Facts, region: u32) -> Option<u64> {
    match region {
        0..=5 => Some(facts.bars[region as usize].map_or(0, |bar| bar.len_bytes)),
        CONFIG if facts.express.is_some() => Some(u64::from(header::SPACE_BYTES)),
        CONFIG => Some(u64::from(header::CAPABILITIES_END)),
        region => (region < REGIONS).then_some(0),
    }
}

/// An access of the client under way.
#[derive(Debug)]
pub(super) struct RegionAccess {
    range: RegionRange,
    /// What is written, or was read so far.
    pub(super) data: Vec<u8>,
    write: bool,
    done: usize,
}

impl RegionAccess {
    /// A read, or with `data` a write; `None` when it is not inside its region.
    pub(super) fn new(facts: &Facts, range: RegionRange, data: Option<Vec<u8>>) -> Option<Self> {
        let end = range.offset.checked_add(u64::from(range.count))?;
        let size = len_bytes(facts, range.region)?;
        let write = data.is_some();
        let data = data.unwrap_or_default();
        (end <= size).then_some(Self { range, data, write, done: 0 })
    }

    /// What was asked for.
    pub(super) const fn range(&self) -> RegionRange {
        self.range
    }

    /// Whether there is nothing left to do.
    pub(super) const fn is_done(&self) -> bool {
        self.done >= self.range.count as usize
    }

    pub(super) const fn is_write(&self) -> bool {
        self.write
    }

    /// The next access for the link. `None`: the card does not answer at its BAR; what is left of a read
    /// is all ones, what is left of a write goes nowhere.
    pub(super) fn next<T: Tap>(&mut self, slot: &LiveSlot<T>) -> Option<Access> {
        let at = self.range.offset + self.done as u64;
        let left = self.range.count as usize - self.done;
        let is_config = self.range.region == CONFIG;
        let unit = if is_config { 4 } else { 8 };
        let room = unit - (at % unit) as usize as u64;
        let len = left.min(room as usize);
        let data = self.data.get(self.done..self.done + len).filter(|_| self.write);
        let data = data.map(Payload::from_slice);
        let base = slot.bar_address(self.range.region as usize);
        let access = match (is_config, data) {
            (true, None) => Some(Access::ConfigRead { offset: at as u16, len_bytes: len as u8 }),
            (true, Some(data)) => Some(Access::ConfigWrite { offset: at as u16, data }),
            (false, None) => {
                base.map(|base| Access::Read { address: base + at, len_bytes: len as u16 })
            }
            (false, Some(data)) => base.map(|base| Access::Write { address: base + at, data }),
        };
        self.done = if access.is_some() { self.done + len } else { self.range.count as usize };
        access
    }

    /// An access has brought this; `None` when it failed.
    pub(super) fn brought(&mut self, data: Option<&[u8]>) {
        if !self.write {
            self.data.extend(data.unwrap_or_default());
            self.data.resize(self.done, 0xff);
        }
    }

    /// The data of a read, all of them.
    pub(super) fn into_data(mut self) -> Vec<u8> {
        self.data.resize(self.range.count as usize, 0xff);
        self.data
    }
}
