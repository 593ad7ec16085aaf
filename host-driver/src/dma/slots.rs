//! Bounce buffers in RAM: a pool cut into slots of 2 KiB, 128 slots a segment.
//!
//! ```text
//!   pool  │ segment 0: 128 slots of 2 KiB │ segment 1 │ …      a mapping never leaves its segment
//! ```
//!
//! The bus sees each segment where the pool's owner says. A buffer keeps its lowest address bits when the
//! card asks for it (`min_align_mask`), as NVMe-like devices do.

use std::collections::BTreeMap;
use std::ops::Range;

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::Host;

use super::costs::BackEndCosts;
use super::{DmaError, MapRequest, Mapping};

/// Bytes of one slot.
pub const SLOT_BYTES: u64 = 2048;
/// Slots of one segment.
pub const SEGMENT_SLOTS: u64 = 128;
/// Bytes of one segment, the most that one mapping can have: 256 KiB.
pub const SEGMENT_BYTES: u64 = SLOT_BYTES * SEGMENT_SLOTS;

#[derive(Debug)]
struct Segment {
    bus: BusAddr,
    /// One bit per slot in use.
    used: u128,
}

/// Who holds the run of slots that begins here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    slots: u32,
    bytes: u64,
    /// Where the data really lives; `None` for coherent memory.
    original: Option<PhysAddr>,
}

/// A pool of bounce buffers.
#[derive(Debug)]
pub struct SlotPool {
    start: PhysAddr,
    segments: Vec<Segment>,
    by_bus: BTreeMap<BusAddr, usize>,
    /// By first slot of the run.
    holders: Vec<Option<Holder>>,
    min_align_mask: u64,
    costs: BackEndCosts,
    free_slots: u64,
    /// The segment that is looked at first.
    cursor: usize,
    bounced_bytes: u64,
}

impl SlotPool {
    /// A pool of whole segments from `start` on, which the bus sees at `segments`, one after the other.
    /// `min_align_mask` must be a power of two less one, of at most a page.
    #[must_use]
    pub fn new(
        start: PhysAddr,
        segments: Vec<BusAddr>,
        min_align_mask: u64,
        costs: BackEndCosts,
    ) -> Self {
        let slots = segments.len() as u64 * SEGMENT_SLOTS;
        let by_bus = segments.iter().enumerate().map(|(nth, &bus)| (bus, nth)).collect();
        Self {
            start,
            by_bus,
            segments: segments.into_iter().map(|bus| Segment { bus, used: 0 }).collect(),
            holders: vec![None; slots as usize],
            min_align_mask,
            costs,
            free_slots: slots,
            cursor: 0,
            bounced_bytes: 0,
        }
    }

    /// Slots that nobody holds.
    #[must_use]
    pub fn free_slots(&self) -> u64 {
        self.free_slots
    }

    /// All slots.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.segments.len() as u64 * SEGMENT_SLOTS
    }

    /// Bytes of the pool.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.slots() * SLOT_BYTES
    }

    /// Bytes copied so far, both ways.
    #[must_use]
    pub fn bounced_bytes(&self) -> u64 {
        self.bounced_bytes
    }

    /// Most bytes of one mapping: a segment, less what keeping the lowest address bits may cost.
    #[must_use]
    pub fn max_mapping_bytes(&self) -> u64 {
        SEGMENT_BYTES - self.min_align_mask
    }

    /// Whether a bus address lies in the pool.
    #[must_use]
    pub fn contains(&self, bus: BusAddr) -> bool {
        self.place_of(bus).is_some()
    }

    /// Segment, and offset inside it, of a bus address.
    fn place_of(&self, bus: BusAddr) -> Option<(usize, u64)> {
        let (&start, &nth) = self.by_bus.range(..=bus).next_back()?;
        let offset = bus.offset_from(start)?;
        (offset < SEGMENT_BYTES).then_some((nth, offset))
    }

    /// Finds a run of slots: segment and first slot.
    fn take_run(&mut self, slots: u32, align_slots: u32) -> Option<(usize, u32)> {
        if u64::from(slots) > self.free_slots {
            return None;
        }
        let count = self.segments.len();
        for step in 0..count {
            let nth = (self.cursor + step) % count;
            if let Some(first) = find_run(self.segments[nth].used, slots, align_slots) {
                self.segments[nth].used |= ones(slots) << first;
                self.free_slots -= u64::from(slots);
                self.cursor = nth;
                return Some((nth, first));
            }
        }
        None
    }

    fn hold(
        &mut self,
        bytes: u64,
        offset: u64,
        align_bytes: u64,
        original: Option<PhysAddr>,
    ) -> Result<(PhysAddr, BusAddr), DmaError> {
        let most = self.max_mapping_bytes();
        if bytes > most {
            return Err(DmaError::TooLong { bytes, most });
        }
        let slots = (offset + bytes).div_ceil(SLOT_BYTES) as u32;
        let align = (align_bytes / SLOT_BYTES).max(1) as u32;
        let Some((nth, first)) = self.take_run(slots, align) else {
            let free_bytes = self.free_slots * SLOT_BYTES;
            return Err(DmaError::PoolFull { bytes, free_bytes, pool_bytes: self.bytes() });
        };
        self.holders[nth * SEGMENT_SLOTS as usize + first as usize] =
            Some(Holder { slots, bytes, original });
        let inside = u64::from(first) * SLOT_BYTES + offset;
        let cpu = self.start + (nth as u64 * SEGMENT_BYTES + inside);
        Ok((cpu, self.segments[nth].bus + inside))
    }

    /// The run that a mapping holds: segment, first slot, and its bytes for the CPU.
    fn held(
        &self,
        bus: BusAddr,
        bytes: u64,
        original: Option<PhysAddr>,
    ) -> Option<(usize, u32, PhysAddr)> {
        let offset = original.map_or(0, |original| original.get() & self.min_align_mask);
        let (nth, inside) = self.place_of(bus)?;
        let first = inside.checked_sub(offset)?;
        let holder = self.holders[nth * SEGMENT_SLOTS as usize + (first / SLOT_BYTES) as usize]?;
        let is_it = first.is_multiple_of(SLOT_BYTES)
            && (holder.bytes, holder.original) == (bytes, original);
        let cpu = self.start + (nth as u64 * SEGMENT_BYTES + inside);
        is_it.then_some((nth, (first / SLOT_BYTES) as u32, cpu))
    }

    fn release(
        &mut self,
        bus: BusAddr,
        bytes: u64,
        original: Option<PhysAddr>,
    ) -> Result<PhysAddr, DmaError> {
        let not_mapped = DmaError::NotMapped { address: bus, bytes };
        let (nth, first, cpu) = self.held(bus, bytes, original).ok_or(not_mapped)?;
        let holder = self.holders[nth * SEGMENT_SLOTS as usize + first as usize].take();
        let slots = holder.map_or(0, |holder| holder.slots);
        self.segments[nth].used &= !(ones(slots) << first);
        self.free_slots += u64::from(slots);
        Ok(cpu)
    }

    /// Gives a buffer a place in the pool and copies it there, whatever the direction: a card that
    /// writes less than the whole buffer must not leave another buffer's old content in the rest.
    pub fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        host.spend(self.costs.bounce_slot);
        let offset = request.buffer.get() & self.min_align_mask;
        let align = self.min_align_mask + 1;
        let (cpu, bus) = self.hold(request.len_bytes, offset, align, Some(request.buffer))?;
        self.copy(host, request.buffer, cpu, request.len_bytes);
        Ok(Mapping::new(bus, request))
    }

    /// Copies back what the card wrote, and frees the place.
    pub fn unmap(&mut self, host: &mut dyn Host, mapping: &Mapping) -> Result<(), DmaError> {
        host.spend(self.costs.bounce_slot);
        let (bytes, original) = (mapping.len_bytes(), mapping.buffer());
        let cpu = self.release(mapping.bus(), bytes, Some(original))?;
        if mapping.direction().device_writes() {
            self.copy(host, cpu, original, bytes);
        }
        Ok(())
    }

    /// Copies a part from the pool to the buffer (`for_cpu`) or back.
    pub fn sync(
        &mut self,
        host: &mut dyn Host,
        mapping: &Mapping,
        part: Range<u64>,
        for_cpu: bool,
    ) {
        let held = self.held(mapping.bus(), mapping.len_bytes(), Some(mapping.buffer()));
        let Some((_, _, cpu)) = held else { return };
        let (pool, buffer) = (cpu + part.start, mapping.buffer() + part.start);
        let bytes = part.end - part.start;
        // What goes only one way need not be copied the other; but what the CPU hands back of a buffer
        // that the card fills is copied, as at map.
        if for_cpu && mapping.direction().device_writes() {
            self.copy(host, pool, buffer, bytes);
        } else if !for_cpu {
            self.copy(host, buffer, pool, bytes);
        }
    }

    /// Whole pages for both sides, out of the pool, with whatever content.
    pub fn alloc(&mut self, bytes: u64) -> Result<(PhysAddr, BusAddr), DmaError> {
        self.hold(bytes.max(1), 0, crate::pages::PAGE_BYTES, None)
    }

    /// Takes back what [`SlotPool::alloc`] gave.
    pub fn free(&mut self, bus: BusAddr, bytes: u64) -> Result<(), DmaError> {
        self.release(bus, bytes.max(1), None).map(drop)
    }

    fn copy(&mut self, host: &mut dyn Host, from: PhysAddr, to: PhysAddr, bytes: u64) {
        const PIECE: usize = 512;
        host.spend(self.costs.copy(bytes));
        self.bounced_bytes += bytes;
        let mut piece = [0; PIECE];
        let mut done = 0;
        while done < bytes {
            let run = (bytes - done).min(PIECE as u64) as usize;
            host.read(from + done, &mut piece[..run]);
            host.write(to + done, &piece[..run]);
            done += run as u64;
        }
    }
}

fn ones(count: u32) -> u128 {
    if count == 0 { 0 } else { u128::MAX >> (128 - count.min(128)) }
}

/// The lowest multiple of `align` at which `count` zeroes begin in `used`.
fn find_run(used: u128, count: u32, align: u32) -> Option<u32> {
    // Bit n of `starts` says that slots n to n + length - 1 are free; the length doubles.
    let mut starts = !used;
    let mut length = 1;
    while length < count {
        let more = length.min(count - length);
        starts &= starts >> more;
        length += more;
    }
    // Runs may not reach past the end.
    starts &= ones(129u32.saturating_sub(count));
    starts &= every(align);
    (starts != 0).then(|| starts.trailing_zeros())
}

/// A bit at each multiple of `align`.
fn every(align: u32) -> u128 {
    let mut bits = 1u128;
    let mut distance = align.max(1);
    while distance < 128 {
        bits |= bits << distance;
        distance *= 2;
    }
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_run_is_found_exactly_when_there_is_one(used: u128, more: u128, count in 1u32..=128, order in 0u32..3) {
            // Sparse and dense patterns alike.
            for used in [used, used & more, used | more, 0] {
                let align = 1 << order;
                let plain = (0..=128 - count)
                    .step_by(align as usize)
                    .find(|&first| used & (ones(count) << first) == 0);
                prop_assert_eq!(find_run(used, count, align), plain);
            }
        }
    }
}
