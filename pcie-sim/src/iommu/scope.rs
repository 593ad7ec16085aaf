//! What an IOMMU really stands before: some requesters, none at all, or everything until the OS is ready.
//!
//! ```text
//!   request ─▶ locked since reset? ─yes─▶ refused
//!              │no
//!              ▼
//!              covered? ─no─▶ passes as it is
//!              │yes
//!              ▼
//!              the unit
//! ```
//!
//! Firmware's table makes a claim ([`super::dmar`]); [`Coverage`] is what holds. A machine whose firmware
//! tells the truth has [`Coverage::of_unit`], one whose firmware lies has another.

use super::around::Around;
use super::dmar::{Dmar, Topology};
use super::{Blocked, DmaKind, Iommu, TableMemory, Translated};
use crate::address::{Bdf, BusAddr, PhysAddr};
use crate::time::{Instant, Span};

/// The reason of a request that came before the OS had switched the unit on. VT-d numbers no such fault
/// (its protected memory regions block without a record), so that this number lies beyond its own.
pub const LOCKED_SINCE_RESET: u8 = 0xff;

/// Which requesters an IOMMU stands before: one bit for each id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    bits: Box<[u64]>,
}

impl Coverage {
    /// Those for which `covered` holds.
    #[must_use]
    pub fn of(covered: impl Fn(Bdf) -> bool) -> Self {
        let word =
            |first: u16| (0..64).fold(0, |word, n| word | u64::from(covered(Bdf(first + n))) << n);
        Self { bits: (0..=u16::MAX).step_by(64).map(word).collect() }
    }

    /// All.
    #[must_use]
    pub fn all() -> Self {
        Self::of(|_| true)
    }

    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self::of(|_| false)
    }

    /// Those that a DMAR table says this unit (its place in the table) covers.
    #[must_use]
    pub fn of_unit(dmar: &Dmar, unit: usize, topology: &Topology) -> Self {
        Self::of(|function| dmar.unit_of(function, topology) == Some(unit))
    }

    /// Whether the IOMMU stands before this requester.
    #[must_use]
    pub fn covers(&self, requester: Bdf) -> bool {
        self.bits[usize::from(requester.0 / 64)] >> (requester.0 % 64) & 1 != 0
    }
}

/// What DMA may do before the OS has switched the unit on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Launch {
    /// Pass untranslated, as after any reset.
    #[default]
    Open,
    /// Nothing: a measured launch has closed memory to devices. The lock opens for good when the unit
    /// begins to translate.
    Locked,
}

/// An IOMMU that stands before some requesters only.
#[derive(Debug)]
pub struct Scoped<I> {
    unit: I,
    coverage: Coverage,
    locked: bool,
    passed: u64,
}

impl<I: Iommu> Scoped<I> {
    /// Puts `unit` before the requesters of `coverage`.
    #[must_use]
    pub fn new(unit: I, coverage: Coverage, launch: Launch) -> Self {
        Self { unit, coverage, locked: launch == Launch::Locked, passed: 0 }
    }

    /// How many requests passed beside the unit.
    #[must_use]
    pub const fn passed(&self) -> u64 {
        self.passed
    }

    fn watch_lock(&mut self) {
        self.locked &= !self.unit.is_translating();
    }
}

impl<I: Iommu> Around for Scoped<I> {
    type Unit = I;

    fn unit(&self) -> &Self::Unit {
        &self.unit
    }

    fn unit_mut(&mut self) -> &mut Self::Unit {
        &mut self.unit
    }

    fn translate(
        &mut self,
        now: Instant,
        memory: &mut dyn TableMemory,
        requester: Bdf,
        address: BusAddr,
        len_bytes: u32,
        kind: DmaKind,
    ) -> Result<Translated, Blocked> {
        self.watch_lock();
        if self.locked {
            return Err(Blocked { reason: LOCKED_SINCE_RESET, took: Span::ZERO });
        }
        if !self.coverage.covers(requester) {
            self.passed += 1;
            return Ok(Translated { address: PhysAddr(address.get()), took: Span::ZERO });
        }
        self.unit.translate(now, memory, requester, address, len_bytes, kind)
    }

    fn explain(&self, reason: u8) -> &'static str {
        match reason {
            LOCKED_SINCE_RESET => "DMA locked since reset, translation not switched on yet",
            other => self.unit.explain(other),
        }
    }

    fn changed(&mut self) {
        self.watch_lock();
    }
}

#[cfg(test)]
mod tests;
