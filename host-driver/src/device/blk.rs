//! The block driver. Virtio 1.4, "Block Device".
//!
//! ```text
//!   slot of a request:  0  header, 16 bytes │ range, 16 bytes      the card reads
//!                      64  status, 1 byte                          the card writes
//! ```
//!
//! Slots are heap memory, one per request, and what the two sides write never shares a cache line.

use pcie_sim::address::PhysAddr;
use pcie_sim::host::Host;
use pcie_sim::spec::blk as spec;
use pcie_sim::time::Instant;

use super::core::Core;
use super::{Counters, DriverError, ProbeContext, ProbeError, Removed, SubmitError};
use crate::dma::debug::DmaDebug;
use crate::transport::{ConfigWidth, Transport, TransportError, read_consistent};
use crate::virtqueue::Segment;

const SLOT_BYTES: u64 = 128;
const RANGE_OFFSET: u64 = spec::REQ_HDR_BYTES as u64;
const STATUS_OFFSET: u64 = 64;
/// In a status byte before the card has written it; no status of the specification.
const STATUS_UNWRITTEN: u8 = 0xff;
/// The `unmap` flag of a write-zeroes range.
const RANGE_UNMAP: u32 = 1;

const WANTED: u64 = spec::F_SIZE_MAX
    | spec::F_SEG_MAX
    | spec::F_RO
    | spec::F_BLK_SIZE
    | spec::F_FLUSH
    | spec::F_DISCARD
    | spec::F_WRITE_ZEROES;

/// What a block request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlkOp {
    /// Reads sectors into the segments.
    Read,
    /// Writes the segments to sectors.
    Write,
    /// Makes earlier writes durable. No segments; sector 0.
    Flush,
    /// The content of these sectors does not matter any more. No segments.
    Discard {
        /// How many.
        sectors: u32,
    },
    /// These sectors shall read as zeroes. No segments.
    WriteZeroes {
        /// How many.
        sectors: u32,
        /// They may be deallocated.
        unmap: bool,
    },
    /// The disk's identification, 20 bytes. Sector 0.
    GetId,
}

/// One block request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlkRequest<'a> {
    /// What to do.
    pub op: BlkOp,
    /// The first sector, in units of 512 bytes.
    pub sector: u64,
    /// The data.
    pub segments: &'a [Segment],
}

/// A request that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlkDone {
    /// What was given with it.
    pub token: u64,
    /// The status byte: 0 done, 1 I/O error, 2 unsupported; 0xff: the card wrote none.
    pub status: u8,
    /// Bytes the card says it wrote, the status byte included.
    pub written_len: u32,
}

/// What the disk is. Fields whose feature is not offered have the value that means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlkGeometry {
    /// Sectors of 512 bytes.
    pub capacity_sectors: u64,
    /// Most bytes of one segment.
    pub size_max: u32,
    /// Most segments of a request.
    pub seg_max: u32,
    /// Preferred block size in bytes.
    pub blk_size: u32,
    /// Most sectors of a discard.
    pub max_discard_sectors: u32,
    /// Most sectors of a write-zeroes.
    pub max_write_zeroes_sectors: u32,
}

/// A block device under its driver.
#[derive(Debug)]
pub struct BlkDriver {
    core: Core,
    geometry: BlkGeometry,
    slots: PhysAddr,
    slots_bytes: u64,
    free_slots: Vec<u16>,
    tokens: Vec<u64>,
    out: Vec<Segment>,
    in_: Vec<Segment>,
}

impl BlkDriver {
    /// Takes a block device over, up to DRIVER_OK.
    pub fn probe(host: &mut dyn Host, context: ProbeContext) -> Result<Self, ProbeError> {
        let mut core = Core::start(host, context, spec::DEVICE_TYPE, WANTED, |_| &[0])?;
        let features = core.features;
        let read = read_consistent(core.transport.as_mut(), host, |transport, host| {
            read_geometry(transport, host, features)
        });
        let geometry = match read {
            // A segment is one mapping, and bounce buffers have an end.
            Ok(geometry) => BlkGeometry {
                size_max: u32::try_from(core.dma.max_mapping_bytes())
                    .map_or(geometry.size_max, |most| geometry.size_max.min(most)),
                ..geometry
            },
            Err(error) => return Err(core.give_up(host, error.into())),
        };
        let count = core.slots[0].queue.size();
        let slots_bytes = u64::from(count) * SLOT_BYTES;
        let slots = match core.pages.alloc(slots_bytes, 1) {
            Ok(slots) => slots,
            Err(error) => return Err(core.give_up(host, error.into())),
        };
        if let Err(error) = core.go(host) {
            core.pages.free(slots, slots_bytes)?;
            return Err(core.give_up(host, error));
        }
        Ok(Self {
            core,
            geometry,
            slots,
            slots_bytes,
            free_slots: (0..count).rev().collect(),
            tokens: vec![0; usize::from(count)],
            out: Vec::new(),
            in_: Vec::new(),
        })
    }

    /// What the disk is.
    #[must_use]
    pub fn geometry(&self) -> BlkGeometry {
        self.geometry
    }

    /// The features negotiated.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.core.features
    }

    /// Name of the DMA back end.
    #[must_use]
    pub fn ops_name(&self) -> &'static str {
        self.core.dma.ops_name()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.core.counters()
    }

    /// The DMA watcher, when `dma_debug` is on; wrap the host in [`DmaDebug::watch`] to have the
    /// caller's own accesses to buffers watched too.
    #[must_use]
    pub fn dma_debug(&self) -> Option<DmaDebug> {
        self.core.debug()
    }

    /// Requests that have not come back.
    #[must_use]
    pub fn outstanding(&self) -> u16 {
        self.core.slots[0].queue.outstanding()
    }

    /// Adds a request to the queue; the card learns of it at the latest by [`BlkDriver::kick`].
    #[track_caller]
    pub fn submit(
        &mut self,
        host: &mut dyn Host,
        request: &BlkRequest<'_>,
        token: u64,
    ) -> Result<(), SubmitError> {
        let mut watched;
        let host: &mut dyn Host = match self.core.debug() {
            Some(debug) => {
                watched = debug.watch(host);
                &mut watched
            }
            None => host,
        };
        self.check(request)?;
        let Some(&slot) = self.free_slots.last() else {
            return Err(SubmitError::Busy { outstanding: self.outstanding() });
        };
        let costs = self.core.config.costs;
        host.spend(costs.add_buffer + costs.add_segment * (request.segments.len() as u64 + 2));
        let memory = self.slots + u64::from(slot) * SLOT_BYTES;
        self.build(host, request, memory);
        let queue = &mut self.core.slots[0].queue;
        queue.add(host, &mut self.core.dma, &self.out, &self.in_, u64::from(slot))?;
        self.free_slots.pop();
        self.tokens[usize::from(slot)] = token;
        self.core.counters.requests += 1;
        Ok(())
    }

    fn check(&self, request: &BlkRequest<'_>) -> Result<(), SubmitError> {
        let bytes: u64 = request.segments.iter().map(|segment| u64::from(segment.len)).sum();
        let malformed = |why| Err(SubmitError::Malformed { why });
        let (sectors, writes) = match request.op {
            BlkOp::Read | BlkOp::Write
                if bytes == 0 || !bytes.is_multiple_of(spec::SECTOR_BYTES) =>
            {
                return malformed("data is not a multiple of 512 bytes (BLK-REQ-DRV-06)");
            }
            BlkOp::Read => (bytes / spec::SECTOR_BYTES, false),
            BlkOp::Write => (bytes / spec::SECTOR_BYTES, true),
            BlkOp::Flush if bytes != 0 || request.sector != 0 => {
                return malformed("a flush has no data and sector 0 (BLK-REQ-DRV-04, -05)");
            }
            BlkOp::GetId if bytes != spec::ID_BYTES as u64 || request.sector != 0 => {
                return malformed("the identification has 20 bytes (BLK-REQ-DRV-08)");
            }
            BlkOp::Flush | BlkOp::GetId => (0, false),
            BlkOp::Discard { .. } | BlkOp::WriteZeroes { .. } if bytes != 0 => {
                return malformed("a range has no data besides itself");
            }
            BlkOp::Discard { sectors } | BlkOp::WriteZeroes { sectors, .. } => {
                (u64::from(sectors), true)
            }
        };
        self.check_offered(request.op)?;
        let too_long = request.segments.iter().any(|segment| segment.len > self.geometry.size_max);
        if too_long || request.segments.len() as u64 > u64::from(self.geometry.seg_max) {
            return malformed("more or longer segments than seg_max and size_max (BLK-REQ-DRV-19)");
        }
        if writes && self.core.has(spec::F_RO) {
            return Err(SubmitError::Unsupported { what: "writing: the disk is read-only" });
        }
        let (sector, capacity) = (request.sector, self.geometry.capacity_sectors);
        let end = sector.saturating_add(sectors);
        if end > capacity {
            return Err(SubmitError::BeyondEnd { sector, end, capacity });
        }
        Ok(())
    }

    fn check_offered(&self, op: BlkOp) -> Result<(), SubmitError> {
        let (feature, what) = match op {
            BlkOp::Flush => (spec::F_FLUSH, "flush"),
            BlkOp::Discard { .. } => (spec::F_DISCARD, "discard"),
            BlkOp::WriteZeroes { .. } => (spec::F_WRITE_ZEROES, "write-zeroes"),
            BlkOp::Read | BlkOp::Write | BlkOp::GetId => return Ok(()),
        };
        if !self.core.has(feature) {
            return Err(SubmitError::Unsupported { what });
        }
        let most = match op {
            BlkOp::Discard { .. } => self.geometry.max_discard_sectors,
            _ => self.geometry.max_write_zeroes_sectors,
        };
        match op {
            BlkOp::Discard { sectors } | BlkOp::WriteZeroes { sectors, .. } if sectors > most => {
                Err(SubmitError::Malformed { why: "more sectors than the device takes at once" })
            }
            _ => Ok(()),
        }
    }

    /// Writes header, range and status of a request and lists its segments.
    fn build(&mut self, host: &mut dyn Host, request: &BlkRequest<'_>, memory: PhysAddr) {
        let mut front = [0; 2 * spec::REQ_HDR_BYTES];
        let mut out_bytes = spec::REQ_HDR_BYTES;
        let (kind, sector) = match request.op {
            BlkOp::Read => (spec::T_IN, request.sector),
            BlkOp::Write => (spec::T_OUT, request.sector),
            BlkOp::Flush => (spec::T_FLUSH, 0),
            BlkOp::GetId => (spec::T_GET_ID, 0),
            BlkOp::Discard { sectors } => {
                out_bytes += put_range(&mut front, request.sector, sectors, false);
                (spec::T_DISCARD, 0)
            }
            BlkOp::WriteZeroes { sectors, unmap } => {
                out_bytes += put_range(&mut front, request.sector, sectors, unmap);
                (spec::T_WRITE_ZEROES, 0)
            }
        };
        front[0..4].copy_from_slice(&kind.to_le_bytes());
        front[8..16].copy_from_slice(&sector.to_le_bytes());
        host.write(memory, &front[..out_bytes]);
        host.write(memory + STATUS_OFFSET, &[STATUS_UNWRITTEN]);
        self.out.clear();
        self.in_.clear();
        self.out.push(Segment { address: memory, len: spec::REQ_HDR_BYTES as u32 });
        if out_bytes > spec::REQ_HDR_BYTES {
            self.out
                .push(Segment { address: memory + RANGE_OFFSET, len: spec::RANGE_BYTES as u32 });
        }
        let data = if request.op == BlkOp::Write { &mut self.out } else { &mut self.in_ };
        data.extend_from_slice(request.segments);
        self.in_.push(Segment { address: memory + STATUS_OFFSET, len: 1 });
    }

    /// Rings the doorbell for what was submitted, if the card wants it.
    pub fn kick(&mut self, host: &mut dyn Host) {
        self.core.kick(host);
    }

    /// Takes all requests that are done, and says how many.
    pub fn poll(
        &mut self,
        host: &mut dyn Host,
        done: &mut Vec<BlkDone>,
    ) -> Result<usize, DriverError> {
        let mut watched;
        let host: &mut dyn Host = match self.core.debug() {
            Some(debug) => {
                watched = debug.watch(host);
                &mut watched
            }
            None => host,
        };
        let before = done.len();
        while let Some(used) = self.core.slots[0].queue.take_used(host, &mut self.core.dma) {
            let used = used?;
            let slot = used.token as u16;
            let mut status = [0];
            host.read(self.slots + u64::from(slot) * SLOT_BYTES + STATUS_OFFSET, &mut status);
            host.spend(self.core.config.costs.take_used);
            let token = self.tokens[usize::from(slot)];
            done.push(BlkDone { token, status: status[0], written_len: used.len });
            self.free_slots.push(slot);
        }
        let taken = done.len() - before;
        self.core.counters.completed += taken as u64;
        Ok(taken)
    }

    /// Waits until a request is done (`true`) or `deadline` passed (`false`).
    pub fn wait(&mut self, host: &mut dyn Host, deadline: Instant) -> Result<bool, DriverError> {
        self.core.wait(host, deadline)
    }

    /// Resets the device and starts it again; gives the tokens of the requests that were lost.
    pub fn restart(&mut self, host: &mut dyn Host) -> Result<Vec<u64>, DriverError> {
        let lost = self.core.restart(host)?;
        self.core.go(host).map_err(DriverError::Restart)?;
        let slots: Vec<u16> = lost.into_iter().flatten().map(|slot| slot as u16).collect();
        let tokens = slots.iter().map(|&slot| self.tokens[usize::from(slot)]).collect();
        self.free_slots.extend(slots);
        Ok(tokens)
    }

    /// Resets the device and gives everything back.
    pub fn remove(self, host: &mut dyn Host) -> Result<Removed, DriverError> {
        let pages = self.core.pages.clone();
        let removed = self.core.remove(host);
        pages.free(self.slots, self.slots_bytes).map_err(crate::dma::DmaError::from)?;
        let mut removed = removed?;
        for slot in &mut removed.unfinished {
            *slot = self.tokens[*slot as usize];
        }
        Ok(removed)
    }
}

/// Puts the range of a discard or write-zeroes request behind the header, and gives its length.
fn put_range(
    front: &mut [u8; 2 * spec::REQ_HDR_BYTES],
    sector: u64,
    sectors: u32,
    unmap: bool,
) -> usize {
    let flags = if unmap { RANGE_UNMAP } else { 0 };
    front[16..24].copy_from_slice(&sector.to_le_bytes());
    front[24..28].copy_from_slice(&sectors.to_le_bytes());
    front[28..32].copy_from_slice(&flags.to_le_bytes());
    spec::RANGE_BYTES
}

/// Reads the fields whose feature is there (CFGSP-DRV-03); the others say "no limit".
fn read_geometry(
    transport: &mut dyn Transport,
    host: &mut dyn Host,
    features: u64,
) -> Result<BlkGeometry, TransportError> {
    let mut field = |feature: u64, offset: usize, otherwise: u32| {
        if feature != 0 && features & feature == 0 {
            return Ok(otherwise);
        }
        transport.read_config(host, offset as u16, ConfigWidth::W32)
    };
    let low = field(0, spec::CONFIG_CAPACITY, 0)?;
    let high = field(0, spec::CONFIG_CAPACITY + 4, 0)?;
    Ok(BlkGeometry {
        capacity_sectors: u64::from(high) << 32 | u64::from(low),
        size_max: field(spec::F_SIZE_MAX, spec::CONFIG_SIZE_MAX, u32::MAX)?,
        seg_max: field(spec::F_SEG_MAX, spec::CONFIG_SEG_MAX, u32::MAX)?,
        blk_size: field(spec::F_BLK_SIZE, spec::CONFIG_BLK_SIZE, 512)?,
        max_discard_sectors: field(spec::F_DISCARD, spec::CONFIG_MAX_DISCARD_SECTORS, 0)?,
        max_write_zeroes_sectors: field(
            spec::F_WRITE_ZEROES,
            spec::CONFIG_MAX_WRITE_ZEROES_SECTORS,
            0,
        )?,
    })
}
