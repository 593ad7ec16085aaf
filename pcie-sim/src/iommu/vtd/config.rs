//! What a VT-d unit can do, and how long it takes.

use super::invalidate::{Command, IotlbScope};
use super::walk::Abilities;
use crate::address::PhysAddr;
use crate::iommu::cache::Geometry;
use crate::time::Span;

/// The widths of a device's address that the tables can translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressWidths {
    /// 39 bits, tables of 3 levels.
    Bits39,
    /// 48 bits, tables of 4 levels.
    Bits48,
    /// Both: the context entry chooses.
    Both,
}

/// What a unit can do. The capability registers tell the driver the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VtdConfig {
    /// Where the registers lie. The BIOS says so in the DMAR table.
    pub registers: PhysAddr,
    /// Bits of a host address (32 to 52): higher bits in table entries are reserved.
    pub host_address_bits: u8,
    /// The widths of a device's address.
    pub widths: AddressWidths,
    /// Whether table entries may map pages of 2 MiB.
    pub superpages_2m: bool,
    /// Whether table entries may map pages of 1 GiB.
    pub superpages_1g: bool,
    /// Whether context entries may ask for pass-through.
    pub pass_through: bool,
    /// Number of fault records (1 to 224).
    pub fault_records: u8,
    /// Size and shape of the IOTLB.
    pub iotlb: Geometry,
    /// Size and shape of the context cache.
    pub context_cache: Geometry,
    /// Size and shape of the cache of upper-level tables; no ways where there is none.
    pub paging_structure_cache: Geometry,
    /// How long things take.
    pub timing: VtdTiming,
}

impl Default for VtdConfig {
    /// 48 bits, superpages and pass-through.
    ///
    /// 64 IOTLB entries: R. Neugebauer et al., "Understanding PCIe performance for end host
    /// networking" (SIGCOMM 2018), section on the IOMMU, infers that number from the working set at
    /// which latency rises. Assumed: 46 bits of host address, 8 fault records, the associativity, 64
    /// context entries, no cache of upper levels (the measured miss fits one full walk).
    fn default() -> Self {
        Self {
            registers: PhysAddr(0xfed9_0000),
            host_address_bits: 46,
            widths: AddressWidths::Both,
            superpages_2m: true,
            superpages_1g: true,
            pass_through: true,
            fault_records: 8,
            iotlb: Geometry { sets: 8, ways: 8 },
            context_cache: Geometry { sets: 16, ways: 4 },
            paging_structure_cache: Geometry { sets: 1, ways: 0 },
            timing: VtdTiming::default(),
        }
    }
}

impl VtdConfig {
    pub(super) fn abilities(&self) -> Abilities {
        Abilities {
            host_address_bits: u32::from(self.host_address_bits.clamp(32, 52)),
            three_levels: self.widths != AddressWidths::Bits48,
            four_levels: self.widths != AddressWidths::Bits39,
            superpages_2m: self.superpages_2m,
            superpages_1g: self.superpages_1g,
            pass_through: self.pass_through,
        }
    }
}

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VtdTiming {
    /// A request whose translation is in the IOTLB; part of every other request too.
    pub hit: Span,
    /// Each read of a root or context entry.
    pub context_walk_read: Span,
    /// Each read of a page-table entry.
    pub page_walk_read: Span,
    /// Of every walk of page tables, besides its reads.
    pub walk: Span,
    /// Walks of page tables that can run at once; 0: any number.
    pub walks_at_once: u32,
    /// How much longer a walk for a read keeps its walker: the read is sent on its way again.
    pub read_hold: Span,
    /// From a write to the global command register to the change of the status register.
    pub command: Span,
    /// Fetching an invalidation descriptor.
    pub descriptor_fetch: Span,
    /// Dropping context entries.
    pub context_invalidation: Span,
    /// Dropping all translations, or those of a domain.
    pub iotlb_invalidation: Span,
    /// Dropping the translations of some pages.
    pub page_invalidation: Span,
    /// A wait descriptor: its status write reaching memory.
    pub wait: Span,
    /// From the end of a translation until the request has reached memory: draining waits for it. No
    /// shorter than what the root complex takes on that way.
    pub to_memory: Span,
}

impl Default for VtdTiming {
    /// A miss with four levels costs 330 ns in all: Neugebauer et al., as for [`VtdConfig`]. The rest is
    /// assumed: no measurement of these steps one by one is known.
    fn default() -> Self {
        Self {
            hit: Span::from_ns(10),
            context_walk_read: Span::from_ns(80),
            page_walk_read: Span::from_ns(80),
            walk: Span::ZERO,
            walks_at_once: 0,
            read_hold: Span::ZERO,
            command: Span::from_ns(100),
            descriptor_fetch: Span::from_ns(100),
            context_invalidation: Span::from_ns(200),
            iotlb_invalidation: Span::from_ns(400),
            page_invalidation: Span::from_ns(200),
            wait: Span::from_ns(100),
            to_memory: Span::from_ns(140),
        }
    }
}

impl VtdTiming {
    /// A unit that takes no time: for tests of what happens rather than when.
    pub const INSTANT: Self = Self {
        hit: Span::ZERO,
        context_walk_read: Span::ZERO,
        page_walk_read: Span::ZERO,
        walk: Span::ZERO,
        walks_at_once: 0,
        read_hold: Span::ZERO,
        command: Span::ZERO,
        descriptor_fetch: Span::ZERO,
        context_invalidation: Span::ZERO,
        iotlb_invalidation: Span::ZERO,
        page_invalidation: Span::ZERO,
        wait: Span::ZERO,
        to_memory: Span::ZERO,
    };

    pub(super) const fn of_iotlb(&self, scope: IotlbScope) -> Span {
        match scope {
            IotlbScope::All | IotlbScope::Domain(_) => self.iotlb_invalidation,
            IotlbScope::Pages { .. } => self.page_invalidation,
        }
    }

    pub(super) fn of_command(&self, command: Command) -> Span {
        self.descriptor_fetch
            + match command {
                Command::Context(_) => self.context_invalidation,
                Command::Iotlb { scope, .. } => self.of_iotlb(scope),
                Command::Wait { .. } => self.wait,
            }
    }
}
