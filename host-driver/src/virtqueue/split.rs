//! The split virtqueue. Virtio 1.4, "Split Virtqueues".
//!
//! With the driver area in host memory each `add` publishes its chain at once, as a card that still
//! works on earlier chains finds it without a doorbell. With the driver area on the card chains are
//! published by `prepare_kick`, a batch in one burst.

mod used;

use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Barrier, Host};
use pcie_sim::spec::virtq::{self, DESC_BYTES, SplitDesc};

use super::table::TablePool;
use super::{AddError, AreaAddresses, Areas, Indirect, QueueBroken, QueueConfig, Segment};
use crate::dma::{Direction, Dma, DmaError, Mapping};
use crate::pages::Pages;

/// A split virtqueue.
#[derive(Debug)]
pub struct Split {
    config: QueueConfig,
    areas: Areas,
    /// The free list, and the links of the chains in use: as in the ring, but the driver's own.
    next: Vec<u16>,
    free_head: u16,
    num_free: u16,
    heads: Vec<Head>,
    tables: TablePool,
    /// Heads in the available ring, the driver's own copy.
    entries: Vec<u16>,
    avail_idx: u16,
    /// The index the card sees.
    published: u16,
    /// Chains added since the card was last asked whether it wants the doorbell.
    unkicked: u32,
    last_used: u16,
    /// The used index as last read.
    used_seen: u16,
    outstanding: u16,
    interrupts: bool,
    used_event: u16,
    descriptors_added: u64,
    broken: Option<QueueBroken>,
    /// Mappings of the chain being added; its memory is reused.
    mapping: Vec<Mapping>,
    bytes: Vec<u8>,
}

/// What belongs to the chain that starts at a descriptor.
#[derive(Debug, Default)]
struct Head {
    live: bool,
    token: u64,
    /// Descriptors it takes from the ring.
    descriptors: u16,
    writable_bytes: u64,
    mappings: Vec<Mapping>,
    table: Option<(PhysAddr, Mapping)>,
}

impl Split {
    /// A queue on `areas`, whose memory is zeroed here. Tables come from `pages`.
    pub fn new(host: &mut dyn Host, areas: Areas, pages: &Pages, config: QueueConfig) -> Self {
        let size = usize::from(config.size);
        let entries = config.table_entries.min(config.size);
        let mut queue = Self {
            config,
            areas,
            next: vec![0; size],
            free_head: 0,
            num_free: 0,
            heads: std::iter::repeat_with(Head::default).take(size).collect(),
            tables: TablePool::new(pages, entries),
            entries: vec![0; size],
            avail_idx: 0,
            published: 0,
            unkicked: 0,
            last_used: 0,
            used_seen: 0,
            outstanding: 0,
            interrupts: config.interrupts,
            used_event: 0,
            descriptors_added: 0,
            broken: None,
            mapping: Vec::new(),
            bytes: Vec::new(),
        };
        queue.clear(host);
        queue
    }

    /// Makes the queue as new: zeroed rings, all descriptors free.
    pub fn clear(&mut self, host: &mut dyn Host) {
        for area in [&self.areas.descriptors, &self.areas.driver, &self.areas.device] {
            area.clear(host);
        }
        let size = self.config.size;
        for (at, next) in self.next.iter_mut().enumerate() {
            *next = (at as u16 + 1) % size;
        }
        (self.free_head, self.num_free, self.outstanding) = (0, size, 0);
        (self.avail_idx, self.published, self.unkicked) = (0, 0, 0);
        (self.last_used, self.used_seen, self.used_event) = (0, 0, 0);
        self.broken = None;
        self.interrupts = self.config.interrupts;
        if !self.interrupts {
            self.write_silence(host);
        }
        host.barrier(Barrier::DmaWrite);
    }

    /// See [`super::Virtqueue::add`].
    #[track_caller]
    pub fn add(
        &mut self,
        host: &mut dyn Host,
        dma: &mut Dma,
        out: &[Segment],
        in_: &[Segment],
        token: u64,
    ) -> Result<(), AddError> {
        if let Some(broken) = self.broken {
            return Err(AddError::Broken(broken));
        }
        let segments = out.len() + in_.len();
        let size = self.config.size;
        let bytes: u64 = out.iter().chain(in_).map(|segment| u64::from(segment.len)).sum();
        if segments == 0 || segments > usize::from(size) || bytes > 1 << 32 {
            return Err(AddError::BadChain { segments, bytes, size });
        }
        let through_table = self.goes_through_table(segments);
        let needed = if through_table { 1 } else { segments as u16 };
        if self.num_free < needed {
            return Err(AddError::Full { needed, free: self.num_free });
        }
        self.map_all(host, dma, out, in_)?;
        let table = if through_table { Some(self.map_table(host, dma)?) } else { None };
        // Nothing fails from here on.
        let writable_bytes = in_.iter().map(|segment| u64::from(segment.len)).sum();
        let head = self.fill_descriptors(host, needed, &table);
        let state = &mut self.heads[usize::from(head)];
        std::mem::swap(&mut state.mappings, &mut self.mapping);
        (state.live, state.token, state.descriptors) = (true, token, needed);
        (state.writable_bytes, state.table) = (writable_bytes, table);
        self.descriptors_added += segments as u64;
        self.make_available(host, head);
        Ok(())
    }

    fn goes_through_table(&self, segments: usize) -> bool {
        let wanted = match self.config.indirect {
            Indirect::Never => false,
            Indirect::Chains => segments > 1,
            Indirect::Always => true,
        };
        wanted && segments <= self.tables.entries()
    }

    #[track_caller]
    fn map_all(
        &mut self,
        host: &mut dyn Host,
        dma: &mut Dma,
        out: &[Segment],
        in_: &[Segment],
    ) -> Result<(), AddError> {
        for (segments, direction) in [(out, Direction::ToDevice), (in_, Direction::FromDevice)] {
            for segment in segments {
                match dma.map(host, segment.address, u64::from(segment.len), direction) {
                    Ok(mapping) => self.mapping.push(mapping),
                    Err(error) => return Err(self.unwind(host, dma, AddError::Io(error))),
                }
            }
        }
        Ok(())
    }

    /// Puts what is mapped into a table and maps that too.
    #[track_caller]
    fn map_table(
        &mut self,
        host: &mut dyn Host,
        dma: &mut Dma,
    ) -> Result<(PhysAddr, Mapping), AddError> {
        let table = match self.tables.take() {
            Ok(table) => table,
            Err(error) => return Err(self.unwind(host, dma, AddError::OutOfMemory(error))),
        };
        self.bytes.clear();
        let last = self.mapping.len() - 1;
        for (at, mapping) in self.mapping.iter().enumerate() {
            let next = (at < last).then_some(at as u16 + 1);
            self.bytes.extend_from_slice(&descriptor(mapping, next).to_bytes());
        }
        host.write(table, &self.bytes);
        match dma.map(host, table, self.bytes.len() as u64, Direction::ToDevice) {
            Ok(mapping) => Ok((table, mapping)),
            Err(error) => {
                self.tables.put(table);
                Err(self.unwind(host, dma, AddError::Io(error)))
            }
        }
    }

    /// Unmaps the chain being added, and gives `error` on.
    fn unwind(&mut self, host: &mut dyn Host, dma: &mut Dma, error: AddError) -> AddError {
        while let Some(mapping) = self.mapping.pop() {
            if let Err(error) = dma.unmap(host, mapping) {
                self.broken = Some(QueueBroken::Unmap { queue: self.config.index, error });
            }
        }
        error
    }

    /// Takes `needed` descriptors from the free list and writes them, neighbours in one go.
    fn fill_descriptors(
        &mut self,
        host: &mut dyn Host,
        needed: u16,
        table: &Option<(PhysAddr, Mapping)>,
    ) -> u16 {
        let head = self.free_head;
        let (mut at, mut first) = (head, head);
        self.bytes.clear();
        for nth in 0..needed {
            let next = self.next[usize::from(at)];
            let desc = match table {
                Some((_, mapping)) => {
                    SplitDesc { flags: virtq::DESC_F_INDIRECT, ..descriptor(mapping, None) }
                }
                None => {
                    let link = (nth + 1 < needed).then_some(next);
                    descriptor(&self.mapping[usize::from(nth)], link)
                }
            };
            self.bytes.extend_from_slice(&desc.to_bytes());
            if nth + 1 == needed || next != at + 1 {
                self.areas.descriptors.write(
                    host,
                    u64::from(first) * DESC_BYTES as u64,
                    &self.bytes,
                );
                self.bytes.clear();
                first = next;
            }
            at = next;
        }
        self.free_head = at;
        self.num_free -= needed;
        head
    }

    /// Where in a ring an index points; a ring's size is a power of two, and a division is dear.
    fn slot(&self, index: u16) -> u16 {
        index & (self.config.size - 1)
    }

    fn make_available(&mut self, host: &mut dyn Host, head: u16) {
        let slot = usize::from(self.slot(self.avail_idx));
        self.entries[slot] = head;
        self.avail_idx = self.avail_idx.wrapping_add(1);
        self.outstanding += 1;
        self.unkicked = self.unkicked.saturating_add(1);
        if !self.areas.driver.is_on_card() {
            self.publish(host);
        }
    }

    /// Shows the card what was added: entries, barrier, index (VQ-SUPPLY-DRV-01).
    fn publish(&mut self, host: &mut dyn Host) {
        let mut from = self.published;
        while from != self.avail_idx {
            let slot = self.slot(from);
            let run = (self.avail_idx.wrapping_sub(from)).min(self.config.size - slot);
            self.bytes.clear();
            for entry in &self.entries[usize::from(slot)..usize::from(slot + run)] {
                self.bytes.extend_from_slice(&entry.to_le_bytes());
            }
            self.areas.driver.write(host, virtq::avail_entry(slot), &self.bytes);
            from = from.wrapping_add(run);
        }
        let strong = self.config.order_platform || self.areas.driver.is_on_card();
        host.barrier(if strong { Barrier::DmaWrite } else { Barrier::SmpWrite });
        self.areas.driver.write_u16(host, virtq::AVAIL_IDX, self.avail_idx);
        self.published = self.avail_idx;
    }

    /// See [`super::Virtqueue::prepare_kick`].
    pub fn prepare_kick(&mut self, host: &mut dyn Host) -> bool {
        if self.unkicked == 0 {
            return false;
        }
        if self.published != self.avail_idx {
            self.publish(host);
        }
        // The index must be out before the card's wish is read (VQ-SUPPLY-DRV-02).
        host.barrier(Barrier::Full);
        let added = std::mem::take(&mut self.unkicked);
        if self.areas_are_apart() {
            // No barrier of the CPU reaches as far as the card: the index may still be on its way while
            // the card goes to sleep, and the event read here be the one before. The doorbell travels
            // behind the index, so it is rung without asking.
            return true;
        }
        if !self.config.event_idx {
            let flags = self.areas.device.read_u16(host, virtq::USED_FLAGS);
            return flags & virtq::USED_F_NO_NOTIFY == 0;
        }
        let Ok(added) = u16::try_from(added) else {
            return true; // The index went once around, so every event was passed.
        };
        let event = self.areas.device.read_u16(host, virtq::avail_event(self.config.size));
        virtq::need_event(event, self.avail_idx, self.avail_idx.wrapping_sub(added))
    }

    /// What the driver writes lies across the link, and what the card writes does not: each side may then
    /// see its own latest write before the other does, and miss the other's.
    fn areas_are_apart(&self) -> bool {
        self.areas.driver.is_on_card() && !self.areas.device.is_on_card()
    }

    /// See [`super::Virtqueue::free`].
    pub fn free(self, host: &mut dyn Host, dma: &mut Dma) -> Result<(), DmaError> {
        let areas = self.areas.free(host, dma);
        self.tables.free().map_err(DmaError::from).and(areas)
    }

    /// See [`super::Virtqueue::addresses`].
    #[must_use]
    pub fn addresses(&self) -> AreaAddresses {
        AreaAddresses {
            descriptors: self.areas.descriptors.bus(),
            driver: self.areas.driver.bus(),
            device: self.areas.device.bus(),
        }
    }

    /// See [`super::Virtqueue::has_unkicked`].
    #[must_use]
    pub fn has_unkicked(&self) -> bool {
        self.unkicked != 0
    }

    /// Number of descriptors.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.config.size
    }

    /// Free descriptors.
    #[must_use]
    pub fn free_descriptors(&self) -> u16 {
        self.num_free
    }

    /// Chains that have not come back.
    #[must_use]
    pub fn outstanding(&self) -> u16 {
        self.outstanding
    }

    /// See [`super::Virtqueue::descriptors_added`].
    #[must_use]
    pub fn descriptors_added(&self) -> u64 {
        self.descriptors_added
    }

    /// See [`super::Virtqueue::spin_address`].
    #[must_use]
    pub fn spin_address(&self) -> Option<PhysAddr> {
        self.areas.device.spin_address(virtq::USED_IDX)
    }
}

fn descriptor(mapping: &Mapping, next: Option<u16>) -> SplitDesc {
    let write = if mapping.direction().device_writes() { virtq::DESC_F_WRITE } else { 0 };
    let link = if next.is_some() { virtq::DESC_F_NEXT } else { 0 };
    SplitDesc {
        addr: mapping.bus().get(),
        len: mapping.len_bytes() as u32,
        flags: write | link,
        next: next.unwrap_or(0),
    }
}
