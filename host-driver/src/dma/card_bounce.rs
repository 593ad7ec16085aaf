//! The card_bounce back end: everything lives in a bounce buffer on the card (VIRTIO_F_SWIOTLB).
//!
//! ```text
//!   rings    coherent memory in the region; the CPU reaches it through the BAR
//!   buffers  map: buffer ──write-combined stores──▶ region     unmap: region ──reads──▶ buffer
//! ```
//!
//! An address in the region is local to the card, so nothing of it crosses the link upstream; the CPU
//! pays by MMIO instead. Where the region lies is in `pcie_sim::spec::virtio_pci`, "Bounce buffer on the
//! card". What lies in the region is not ordered or translated by the platform.

use std::collections::BTreeMap;
use std::ops::Range;

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::{Barrier, Host, Width};

use super::iommu::iova::IovaSpace;
use super::{Coherent, CpuView, DmaApi, DmaError, MapRequest, Mapping, OpsCounts, Place};
use crate::pages::PAGE_BYTES;
use crate::transport::SharedMemory;

/// The unit in which the region is given out: a cache line, and a write-combining buffer.
const UNIT_BYTES: u64 = 64;

/// The card_bounce back end.
#[derive(Debug)]
pub struct CardBounce {
    region: SharedMemory,
    /// Units of the region; the space counts them as pages. Unit 0 is never given out.
    space: IovaSpace,
    /// Offset in the region, and log2 of the units, of what is given out.
    live: BTreeMap<u64, u32>,
    used_bytes: u64,
    counts: OpsCounts,
}

impl CardBounce {
    /// Ops that use all of `region`.
    #[must_use]
    pub fn new(region: SharedMemory) -> Self {
        let units = region.len_bytes / UNIT_BYTES;
        let space = IovaSpace::new(units * PAGE_BYTES, &[]);
        Self { region, space, live: BTreeMap::new(), used_bytes: 0, counts: OpsCounts::default() }
    }

    /// Whether a bus address lies in the region.
    #[must_use]
    pub fn contains(&self, bus: BusAddr) -> bool {
        let offset = bus.get().checked_sub(self.region.address.get());
        offset.is_some_and(|offset| offset < self.region.len_bytes)
    }

    /// Bytes in use, whole blocks.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    fn take(&mut self, bytes: u64) -> Result<PhysAddr, DmaError> {
        let most = self.max_mapping_bytes();
        if bytes > most {
            return Err(DmaError::TooLong { bytes, most });
        }
        let order = order_of(bytes);
        let Some(at) = self.space.alloc(order) else {
            let free_bytes = self.space.free_pages() * UNIT_BYTES;
            return Err(DmaError::PoolFull {
                bytes,
                free_bytes,
                pool_bytes: self.region.len_bytes,
            });
        };
        self.used_bytes += UNIT_BYTES << order;
        let offset = at.get() / PAGE_BYTES * UNIT_BYTES;
        self.live.insert(offset, order);
        Ok(self.region.address + offset)
    }

    fn give_back(&mut self, bus: BusAddr, bytes: u64) -> Result<(), DmaError> {
        let order = order_of(bytes);
        let offset = bus.get().wrapping_sub(self.region.address.get());
        if self.live.get(&offset) != Some(&order) {
            return Err(DmaError::NotMapped { address: bus, bytes });
        }
        self.live.remove(&offset);
        self.used_bytes -= UNIT_BYTES << order;
        self.space.free(BusAddr(offset / UNIT_BYTES * PAGE_BYTES), order);
        Ok(())
    }

    /// Copies `part` of a mapped buffer to the card.
    fn push(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        let mut piece = [0; UNIT_BYTES as usize];
        let mut at = part.start;
        while at < part.end {
            // Up to the next line, so that each burst is whole.
            let run = (UNIT_BYTES - at % UNIT_BYTES).min(part.end - at);
            host.read(mapping.buffer() + at, &mut piece[..run as usize]);
            host.mmio_write_combined(PhysAddr(mapping.bus().get()) + at, &piece[..run as usize]);
            at += run;
        }
        let bytes = part.end - part.start;
        self.counts.bounced_bytes += bytes;
        self.counts.device_written_bytes += bytes;
    }

    /// Copies `part` of a mapped buffer from the card: 8 bytes a read, each a round trip.
    fn pull(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        let mut at = part.start;
        while at < part.end {
            let word_at = at & !7;
            let word = host.mmio_read(PhysAddr(mapping.bus().get()) + word_at, Width::W64);
            self.counts.device_reads += 1;
            let end = part.end.min(word_at + 8);
            let bytes = &word.to_le_bytes()[(at - word_at) as usize..(end - word_at) as usize];
            host.write(mapping.buffer() + at, bytes);
            at = end;
        }
        self.counts.bounced_bytes += part.end - part.start;
    }
}

/// Log2 of the units that hold `bytes` bytes.
fn order_of(bytes: u64) -> u32 {
    bytes.max(1).div_ceil(UNIT_BYTES).next_power_of_two().trailing_zeros()
}

impl DmaApi for CardBounce {
    fn name(&self) -> &'static str {
        "card_bounce"
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        let place = self.take(request.len_bytes)?;
        let mapping = Mapping::new(BusAddr(place.get()), request);
        // Nothing of another buffer can be read there: what the card leaves unwritten of a buffer that it
        // fills comes back as the driver's own bytes only if they are put there.
        self.push(host, &mapping, 0..request.len_bytes);
        Ok(mapping)
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        let (bus, bytes) = (mapping.bus(), mapping.len_bytes());
        if mapping.direction().device_writes() && self.contains(bus) {
            self.pull(host, &mapping, 0..bytes);
        }
        self.give_back(bus, bytes)
    }

    fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        if mapping.direction().device_writes() {
            self.pull(host, mapping, part);
        }
    }

    fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.push(host, mapping, part);
    }

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        _place: Place,
    ) -> Result<Coherent, DmaError> {
        let start = self.take(len_bytes)?;
        let mut done = 0;
        while done < len_bytes {
            let run = (len_bytes - done).min(UNIT_BYTES);
            host.mmio_write_combined(start + done, &[0; UNIT_BYTES as usize][..run as usize]);
            done += run;
        }
        host.barrier(Barrier::DmaWrite);
        Ok(Coherent { cpu: CpuView::Device(start), bus: BusAddr(start.get()), len_bytes })
    }

    fn free_coherent(&mut self, _host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        self.give_back(memory.bus, memory.len_bytes)
    }

    fn counts(&self) -> OpsCounts {
        self.counts
    }

    fn max_mapping_bytes(&self) -> u64 {
        // The largest block: unit 0 is missing from the lower half.
        match (self.region.len_bytes / UNIT_BYTES).checked_ilog2() {
            Some(order @ 1..) => UNIT_BYTES << (order - 1),
            _ => 0,
        }
    }

    fn close(&mut self, _host: &mut dyn Host) -> Result<(), DmaError> {
        Ok(())
    }
}

/// The capability without the feature: the region is used as far as it goes, for what is short, and the
/// platform's ops for the rest. The two may mix.
pub struct Hinted {
    card: CardBounce,
    ops: Box<dyn DmaApi>,
    most_bytes: u64,
}

impl Hinted {
    /// Buffers of at most `most_bytes` bytes, and rings, go to the card while it has room.
    #[must_use]
    pub fn new(card: CardBounce, ops: Box<dyn DmaApi>, most_bytes: u64) -> Self {
        Self { card, ops, most_bytes }
    }

    fn side(&mut self, bus: BusAddr) -> &mut dyn DmaApi {
        if self.card.contains(bus) { &mut self.card } else { self.ops.as_mut() }
    }
}

impl DmaApi for Hinted {
    fn name(&self) -> &'static str {
        "card_bounce+platform"
    }

    fn map(&mut self, host: &mut dyn Host, request: &MapRequest) -> Result<Mapping, DmaError> {
        if request.len_bytes <= self.most_bytes
            && let Ok(mapping) = self.card.map(host, request)
        {
            return Ok(mapping);
        }
        self.ops.map(host, request)
    }

    fn unmap(&mut self, host: &mut dyn Host, mapping: Mapping) -> Result<(), DmaError> {
        self.side(mapping.bus()).unmap(host, mapping)
    }

    fn sync_for_cpu(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.side(mapping.bus()).sync_for_cpu(host, mapping, part);
    }

    fn sync_for_device(&mut self, host: &mut dyn Host, mapping: &Mapping, part: Range<u64>) {
        self.side(mapping.bus()).sync_for_device(host, mapping, part);
    }

    fn alloc_coherent(
        &mut self,
        host: &mut dyn Host,
        len_bytes: u64,
        place: Place,
    ) -> Result<Coherent, DmaError> {
        match self.card.alloc_coherent(host, len_bytes, place) {
            Ok(memory) => Ok(memory),
            Err(_) => self.ops.alloc_coherent(host, len_bytes, place),
        }
    }

    fn free_coherent(&mut self, host: &mut dyn Host, memory: Coherent) -> Result<(), DmaError> {
        self.side(memory.bus).free_coherent(host, memory)
    }

    fn counts(&self) -> OpsCounts {
        self.card.counts() + self.ops.counts()
    }

    fn max_mapping_bytes(&self) -> u64 {
        self.ops.max_mapping_bytes()
    }

    fn tick(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.ops.tick(host)
    }

    fn close(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        self.card.close(host).and(self.ops.close(host))
    }
}
