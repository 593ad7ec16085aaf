//! From a requester and an address to a page, through the tables in the host's memory.
//!
//! ```text
//!   RTADDR ─▶ root table [bus] ─▶ context table [device, function] ─▶ domain, width, top table
//!   top table [47:39] ─▶ [38:30] ─▶ [29:21] ─▶ [20:12] ─▶ page      (the first is left out at 39 bits)
//! ```
//!
//! "Translation Structure Formats" and "Second-Stage Translation" of the VT-d specification. Left out:
//! accessed and dirty bits, which legacy mode does not have.

use super::iotlb::{Iotlb, Page, Table};
use crate::address::{Bdf, PhysAddr};
use crate::iommu::TableMemory;
use crate::spec::vtd::{context_entry, fault, root_entry, sl_entry};

/// What a walk asks of the hardware it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) host_address_bits: u32,
    pub(super) three_levels: bool,
    pub(super) four_levels: bool,
    pub(super) superpages_2m: bool,
    pub(super) superpages_1g: bool,
    pub(super) pass_through: bool,
}

impl Abilities {
    /// Bits of an address that no memory answers to.
    const fn above_host(&self) -> u64 {
        u64::MAX << self.host_address_bits
    }

    /// Bits that a device's address may have, whatever its context entry says.
    pub(super) const fn widest_bits(&self) -> u32 {
        if self.four_levels { 48 } else { 39 }
    }
}

/// A context entry that passed its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Context {
    pub(super) domain: u16,
    pub(super) pass_through: bool,
    pub(super) quiet: bool,
    /// Levels of the tables: 3 or 4.
    pub(super) levels: u8,
    pub(super) top: u64,
}

impl Context {
    /// Bits that an address may have.
    pub(super) const fn address_bits(&self) -> u32 {
        sl_entry::shift(self.levels as u32 + 1)
    }
}

/// A fault, and whether the context entry asked for silence (fault processing disable). A fault found
/// before that entry was read has nobody to ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: u8,
    pub(super) quiet: bool,
}

impl Fault {
    const fn loud(reason: u8) -> Self {
        Self { reason, quiet: false }
    }
}

/// Reads tables and counts how often.
pub(super) struct Walker<'a> {
    pub(super) abilities: &'a Abilities,
    pub(super) memory: &'a dyn TableMemory,
    /// Root and context entries read.
    pub(super) context_reads: u64,
    /// Second-stage entries read.
    pub(super) page_reads: u64,
}

impl<'a> Walker<'a> {
    pub(super) fn new(abilities: &'a Abilities, memory: &'a dyn TableMemory) -> Self {
        Self { abilities, memory, context_reads: 0, page_reads: 0 }
    }

    fn pair(&mut self, address: u64) -> Option<(u64, u64)> {
        let mut bytes = [0; 16];
        self.context_reads += 1;
        if !self.memory.read(PhysAddr(address), &mut bytes) {
            return None;
        }
        let both = u128::from_le_bytes(bytes);
        Some((both as u64, (both >> 64) as u64))
    }

    /// Reads the root entry and the context entry of `requester`.
    pub(super) fn context(&mut self, root: u64, requester: Bdf) -> Result<Context, Fault> {
        let bus = u64::from(requester.bus());
        let (low, high) = self
            .pair(root.wrapping_add(bus * root_entry::BYTES))
            .ok_or(Fault::loud(fault::ROOT_TABLE_UNREACHABLE))?;
        if low & root_entry::P == 0 {
            return Err(Fault::loud(fault::ROOT_NOT_PRESENT));
        }
        if low & (root_entry::RESERVED_LOW | self.abilities.above_host()) != 0 || high != 0 {
            return Err(Fault::loud(fault::ROOT_RESERVED));
        }
        let table = low & root_entry::CTP_MASK;
        let function = u64::from(requester.0 & 0xff);
        let (low, high) = self
            .pair(table + function * context_entry::BYTES)
            .ok_or(Fault::loud(fault::CONTEXT_TABLE_UNREACHABLE))?;
        let quiet = low & context_entry::FPD != 0;
        self.check_context(low, high).map_err(|reason| Fault { reason, quiet })
    }

    fn check_context(&self, low: u64, high: u64) -> Result<Context, u8> {
        if low & context_entry::P == 0 {
            return Err(fault::CONTEXT_NOT_PRESENT);
        }
        if low & (context_entry::RESERVED_LOW | self.abilities.above_host()) != 0
            || high & context_entry::RESERVED_HIGH != 0
        {
            return Err(fault::CONTEXT_RESERVED);
        }
        let pass_through = match low >> context_entry::TT_SHIFT & 3 {
            context_entry::TT_TRANSLATE => false,
            context_entry::TT_PASS_THROUGH if self.abilities.pass_through => true,
            _ => return Err(fault::CONTEXT_INVALID),
        };
        let levels = match high & context_entry::AW_MASK {
            context_entry::AW_39 if self.abilities.three_levels => 3,
            context_entry::AW_48 if self.abilities.four_levels => 4,
            _ => return Err(fault::CONTEXT_INVALID),
        };
        let context = Context {
            domain: (high >> context_entry::DID_SHIFT) as u16,
            pass_through,
            quiet: low & context_entry::FPD != 0,
            levels,
            top: low & context_entry::SLPTPTR_MASK,
        };
        // "Context Entry", translation type: pass-through must name the largest width there is.
        if pass_through && context.address_bits() != self.abilities.widest_bits() {
            return Err(fault::CONTEXT_INVALID);
        }
        Ok(context)
    }

    /// Walks the second-stage tables for `address`, beginning at the lowest table that `known`
    /// remembers, and lets it remember those on the way. `wanted` is the permission asked for.
    pub(super) fn page(
        &mut self,
        context: &Context,
        address: u64,
        wanted: u64,
        known: &mut Iotlb,
    ) -> Result<Page, u8> {
        let top = Table { address: context.top, permissions: sl_entry::R | sl_entry::W };
        let (mut level, mut table) = known
            .find_table(context.domain, address, context.levels)
            .unwrap_or((context.levels, top));
        loop {
            let entry = self.entry(table.address, address, level)?;
            let permissions = table.permissions & entry;
            if permissions & wanted == 0 {
                return Err(denied(wanted));
            }
            self.check_entry(entry, level)?;
            let points_to = entry & sl_entry::ADDRESS_MASK;
            if level == 1 || entry & sl_entry::PS != 0 {
                return Ok(Page { frame: points_to, level, permissions });
            }
            level -= 1;
            table = Table { address: points_to, permissions };
            known.enter_table(context.domain, address, level, table);
        }
    }

    fn entry(&mut self, table: u64, address: u64, level: u8) -> Result<u64, u8> {
        let offset = sl_entry::index(address, u32::from(level)) * sl_entry::BYTES;
        let mut bytes = [0; 8];
        self.page_reads += 1;
        if !self.memory.read(PhysAddr(table + offset), &mut bytes) {
            return Err(fault::TABLE_UNREACHABLE);
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn check_entry(&self, entry: u64, level: u8) -> Result<(), u8> {
        let mut reserved =
            self.abilities.above_host() & sl_entry::ADDRESS_MASK | sl_entry::SNP | sl_entry::TM;
        let superpage = match level {
            2 => self.abilities.superpages_2m,
            3 => self.abilities.superpages_1g,
            1 => true, // PS is ignored in the last table
            _ => false,
        };
        if !superpage {
            reserved |= sl_entry::PS;
        }
        if entry & sl_entry::PS != 0 && level > 1 {
            let page_bytes = 1 << sl_entry::shift(u32::from(level));
            reserved |= sl_entry::ADDRESS_MASK & (page_bytes - 1);
        }
        if entry & reserved == 0 { Ok(()) } else { Err(fault::ENTRY_RESERVED) }
    }
}

/// The fault of a request that lacks the permission `wanted`.
pub(super) const fn denied(wanted: u64) -> u8 {
    if wanted == sl_entry::W { fault::WRITE_DENIED } else { fault::READ_DENIED }
}
