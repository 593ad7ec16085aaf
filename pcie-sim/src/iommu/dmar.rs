//! What firmware says about IOMMUs: the DMAR table, and which unit covers which function.
//!
//! ```text
//!   firmware ──to_bytes──▶ table in memory ──parse──▶ driver
//!                                                       │ unit_of(function)
//!   bridges as enumeration found them ──────────────────┘
//! ```
//!
//! A table is a claim. What the hardware does is [`super::scope`]'s; the two differ where firmware lies.
//! Left out: reserved memory (RMRR) and the other structures, which are skipped; I/O APIC, timer and
//! ACPI-named scopes, which are kept and cover nothing; where a table is found (RSDP, XSDT).

use crate::address::{Bdf, PhysAddr};
use crate::host::{Bus, Memory, Width};
use crate::root::enumerate::Function;
use crate::spec::dmar::{drhd, scope, structure, table};
use crate::spec::pci::header;

/// No table is longer than this.
const MOST_BYTES: usize = 1 << 16;

/// The table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dmar {
    /// Bits of a host address: 1 to 256.
    pub host_address_bits: u16,
    /// See [`crate::spec::dmar::flags`].
    pub flags: u8,
    /// The remapping units, in the table's order.
    pub units: Vec<Unit>,
}

/// A remapping unit and the functions that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// PCI segment.
    pub segment: u16,
    /// Where its registers lie.
    pub registers: PhysAddr,
    /// It covers what no other unit of its segment names.
    pub include_all: bool,
    /// What it names.
    pub scopes: Vec<Scope>,
}

/// A function, by the way that leads to it: bus numbers below a bridge are not firmware's to fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// What is at the end of the path.
    pub kind: ScopeKind,
    /// Which I/O APIC or timer; 0 for the others.
    pub enumeration_id: u8,
    /// The bus that the path starts from.
    pub start_bus: u8,
    /// Device and function of every hop.
    pub path: Vec<(u8, u8)>,
}

/// What a scope names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// One function.
    Endpoint,
    /// A bridge, and all that stands below it now or later.
    Bridge,
    /// Something that is no PCI function, by its number in the specification.
    Other(u8),
}

impl Scope {
    /// One function, on bus 0 or behind bridges.
    #[must_use]
    pub fn endpoint(path: &[(u8, u8)]) -> Self {
        Self { kind: ScopeKind::Endpoint, enumeration_id: 0, start_bus: 0, path: path.to_vec() }
    }

    /// A bridge, on bus 0 or behind bridges, with all below.
    #[must_use]
    pub fn bridge(path: &[(u8, u8)]) -> Self {
        Self { kind: ScopeKind::Bridge, ..Self::endpoint(path) }
    }

    /// Where the path ends; `None` when a hop on the way is no bridge.
    #[must_use]
    pub fn target(&self, topology: &Topology) -> Option<Bdf> {
        let (last, way) = self.path.split_last()?;
        let mut bus = self.start_bus;
        for &(device, function) in way {
            bus = topology.bridge(Bdf::new(bus, device, function))?.secondary;
        }
        Some(Bdf::new(bus, last.0, last.1))
    }

    fn covers(&self, function: Bdf, topology: &Topology) -> bool {
        let Some(target) = self.target(topology) else { return false };
        match self.kind {
            ScopeKind::Endpoint => function == target,
            ScopeKind::Bridge => {
                let below = topology.bridge(target).is_some_and(|bridge| bridge.leads_to(function));
                function == target || below
            }
            ScopeKind::Other(_) => false,
        }
    }
}

/// A bridge as firmware numbered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridge {
    /// Where it is.
    pub bdf: Bdf,
    /// The bus right below it.
    pub secondary: u8,
    /// The last bus below it.
    pub subordinate: u8,
}

impl Bridge {
    fn leads_to(&self, function: Bdf) -> bool {
        (self.secondary..=self.subordinate).contains(&function.bus())
    }
}

/// The bridges of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// In any order.
    pub bridges: Vec<Bridge>,
}

impl Topology {
    /// Reads bus numbers from those of the functions found that are bridges.
    pub fn read<B: Bus + ?Sized>(bus: &mut B, functions: &[Function]) -> Self {
        let mut bridges = Vec::new();
        for bdf in functions.iter().map(|function| function.bdf) {
            if bus.config_read(bdf, header::HEADER_TYPE, Width::W8) & 0x7f == 1 {
                let numbers = bus.config_read(bdf, header::BUS_NUMBERS, Width::W32).to_le_bytes();
                bridges.push(Bridge { bdf, secondary: numbers[1], subordinate: numbers[2] });
            }
        }
        Self { bridges }
    }

    fn bridge(&self, bdf: Bdf) -> Option<&Bridge> {
        self.bridges.iter().find(|bridge| bridge.bdf == bdf)
    }

    /// The bridge that a function hangs on; `None` on a root bus.
    #[must_use]
    pub fn parent(&self, function: Bdf) -> Option<&Bridge> {
        self.bridges.iter().find(|bridge| bridge.secondary == function.bus())
    }
}

/// Why bytes are no DMAR table. Offsets are counted from the table's start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DmarError {
    /// It does not begin as one.
    #[error("the signature is {0:02x?}, not DMAR")]
    Signature([u8; 4]),
    /// A length leads beyond what contains it, or is too small for what it describes.
    #[error("DMAR: the length at byte {at} is {length}, which cannot be")]
    Length {
        /// Where the length is.
        at: usize,
        /// What it says.
        length: usize,
    },
    /// The bytes do not add up to 0.
    #[error("DMAR: the sum of all bytes is {0:#04x}, not 0")]
    Checksum(u8),
}

/// Why a function may not be added while the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{device} is in the scope of an IOMMU and the bridge {bridge} above it is in none")]
pub struct HotplugRefused {
    /// What was to be added.
    pub device: Bdf,
    /// Where.
    pub bridge: Bdf,
}

/// Whether a function may be added at `device` while the machine runs: not below a bridge that is in no
/// unit's scope while the function is. Its requests and the bridge's would then be told apart by
/// nobody but firmware, whose word is what is in doubt. PLATFORMS, `x86-vtd-unscoped`.
pub fn hotplug_allowed(
    dmar: &Dmar,
    topology: &Topology,
    device: Bdf,
) -> Result<(), HotplugRefused> {
    let Some(bridge) = topology.parent(device).map(|bridge| bridge.bdf) else { return Ok(()) };
    if dmar.unit_of(device, topology).is_some() && dmar.unit_of(bridge, topology).is_none() {
        return Err(HotplugRefused { device, bridge });
    }
    Ok(())
}

impl Dmar {
    /// A table for one unit that covers everything.
    #[must_use]
    pub fn covering_all(registers: PhysAddr) -> Self {
        let unit = Unit { segment: 0, registers, include_all: true, scopes: Vec::new() };
        Self { host_address_bits: 46, flags: 0, units: vec![unit] }
    }

    /// A table for one unit that covers what `scopes` name and nothing else.
    #[must_use]
    pub fn covering(registers: PhysAddr, scopes: Vec<Scope>) -> Self {
        let unit = Unit { segment: 0, registers, include_all: false, scopes };
        Self { host_address_bits: 46, flags: 0, units: vec![unit] }
    }

    /// The place among [`Dmar::units`] of the unit that covers a function of segment 0: one that names
    /// it, else one that includes all.
    #[must_use]
    pub fn unit_of(&self, function: Bdf, topology: &Topology) -> Option<usize> {
        let names = |unit: &Unit| unit.scopes.iter().any(|scope| scope.covers(function, topology));
        let named = self.units.iter().position(|unit| unit.segment == 0 && names(unit));
        named.or_else(|| self.units.iter().position(|unit| unit.segment == 0 && unit.include_all))
    }

    /// The table's bytes. Paths of more than 124 hops, which no bus numbers suffice for, are cut.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; table::STRUCTURES];
        bytes[..4].copy_from_slice(table::SIGNATURE);
        bytes[table::REVISION] = table::REVISION_WRITTEN;
        bytes[table::OEM_ID..table::OEM_ID + 6].copy_from_slice(b"VTBNCH");
        bytes[table::OEM_TABLE_ID..table::OEM_TABLE_ID + 8].copy_from_slice(b"VTBNCH  ");
        bytes[table::HOST_ADDRESS_WIDTH] =
            self.host_address_bits.clamp(1, 256).wrapping_sub(1) as u8;
        bytes[table::FLAGS] = self.flags;
        for unit in &self.units {
            bytes.extend(unit_bytes(unit));
        }
        let length = bytes.len() as u32;
        bytes[table::LENGTH..table::LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        bytes[table::CHECKSUM] = sum(&bytes).wrapping_neg();
        bytes
    }

    /// Reads a table; what follows it is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, DmarError> {
        let bytes = whole(bytes)?;
        let mut units = Vec::new();
        let mut at = table::STRUCTURES;
        while at < bytes.len() {
            let end = end_of(bytes, at, at + structure::LENGTH, structure::HEADER_BYTES, 2)?;
            if u16_at(bytes, at + structure::TYPE) == structure::DRHD {
                units.push(parse_unit(bytes, at, end)?);
            }
            at = end;
        }
        let host_address_bits = u16::from(bytes[table::HOST_ADDRESS_WIDTH]) + 1;
        Ok(Self { host_address_bits, flags: bytes[table::FLAGS], units })
    }

    /// Firmware leaves the table in memory; it must lie within RAM.
    pub fn store<M: Memory + ?Sized>(&self, memory: &mut M, at: PhysAddr) {
        memory.write(at, &self.to_bytes());
    }

    /// The OS reads the table that firmware left at `at`.
    pub fn load<M: Memory + ?Sized>(memory: &mut M, at: PhysAddr) -> Result<Self, DmarError> {
        let mut start = [0; table::STRUCTURES];
        memory.read(at, &mut start);
        let length = length_of(&start)?;
        let inside = at.get() + length as u64 <= memory.ram_bytes();
        if !inside {
            return Err(DmarError::Length { at: table::LENGTH, length });
        }
        let mut bytes = vec![0; length];
        memory.read(at, &mut bytes);
        Self::parse(&bytes)
    }
}

fn unit_bytes(unit: &Unit) -> Vec<u8> {
    let mut bytes = vec![0; drhd::SCOPES];
    bytes[drhd::FLAGS] = if unit.include_all { drhd::INCLUDE_PCI_ALL } else { 0 };
    bytes[drhd::SEGMENT..drhd::SEGMENT + 2].copy_from_slice(&unit.segment.to_le_bytes());
    let registers = unit.registers.get().to_le_bytes();
    bytes[drhd::REGISTERS..drhd::REGISTERS + 8].copy_from_slice(&registers);
    for one in &unit.scopes {
        let path = &one.path[..one.path.len().min(124)];
        let kind = match one.kind {
            ScopeKind::Endpoint => scope::ENDPOINT,
            ScopeKind::Bridge => scope::BRIDGE,
            ScopeKind::Other(kind) => kind,
        };
        let length = (scope::PATH + 2 * path.len()) as u8;
        bytes.extend([kind, length, 0, 0, one.enumeration_id, one.start_bus]);
        bytes.extend(path.iter().flat_map(|&(device, function)| [device, function]));
    }
    let length = bytes.len() as u16;
    bytes[..2].copy_from_slice(&structure::DRHD.to_le_bytes());
    bytes[structure::LENGTH..structure::LENGTH + 2].copy_from_slice(&length.to_le_bytes());
    bytes
}

fn parse_unit(bytes: &[u8], start: usize, end: usize) -> Result<Unit, DmarError> {
    let too_short = DmarError::Length { at: start + structure::LENGTH, length: end - start };
    let body = bytes.get(start..end).filter(|body| body.len() >= drhd::SCOPES).ok_or(too_short)?;
    let registers =
        (0..8).fold(0, |value, n| value | u64::from(body[drhd::REGISTERS + n]) << (8 * n));
    let mut scopes = Vec::new();
    let mut at = start + drhd::SCOPES;
    while at < end {
        let scope_end = end_of(&bytes[..end], at, at + scope::LENGTH, scope::PATH, 1)?;
        let one = &bytes[at..scope_end];
        let kind = match one[scope::TYPE] {
            scope::ENDPOINT => ScopeKind::Endpoint,
            scope::BRIDGE => ScopeKind::Bridge,
            other => ScopeKind::Other(other),
        };
        scopes.push(Scope {
            kind,
            enumeration_id: one[scope::ENUMERATION_ID],
            start_bus: one[scope::START_BUS],
            path: one[scope::PATH..].chunks_exact(2).map(|hop| (hop[0], hop[1])).collect(),
        });
        at = scope_end;
    }
    Ok(Unit {
        segment: u16_at(body, drhd::SEGMENT),
        registers: PhysAddr(registers),
        include_all: body[drhd::FLAGS] & drhd::INCLUDE_PCI_ALL != 0,
        scopes,
    })
}

/// The table alone, checked as a whole.
fn whole(bytes: &[u8]) -> Result<&[u8], DmarError> {
    let length = length_of(bytes)?;
    let all = bytes.get(..length);
    let all = all.ok_or(DmarError::Length { at: table::LENGTH, length })?;
    match sum(all) {
        0 => Ok(all),
        wrong => Err(DmarError::Checksum(wrong)),
    }
}

fn length_of(bytes: &[u8]) -> Result<usize, DmarError> {
    if bytes.len() < table::STRUCTURES {
        return Err(DmarError::Length { at: table::LENGTH, length: bytes.len() });
    }
    let signature = [bytes[0], bytes[1], bytes[2], bytes[3]];
    if signature != *table::SIGNATURE {
        return Err(DmarError::Signature(signature));
    }
    let low = usize::from(u16_at(bytes, table::LENGTH));
    let length = low | usize::from(u16_at(bytes, table::LENGTH + 2)) << 16;
    if (table::STRUCTURES..=MOST_BYTES).contains(&length) {
        Ok(length)
    } else {
        Err(DmarError::Length { at: table::LENGTH, length })
    }
}

/// Where what begins at `start` ends: its length is the `width` bytes at `at`, and at least `least`.
fn end_of(
    bytes: &[u8],
    start: usize,
    at: usize,
    least: usize,
    width: usize,
) -> Result<usize, DmarError> {
    let field = bytes.get(at..at + width);
    let field = field.ok_or(DmarError::Length { at, length: bytes.len() - start })?;
    let length = field.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte));
    if length < least || start + length > bytes.len() {
        return Err(DmarError::Length { at, length });
    }
    Ok(start + length)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[cfg(test)]
mod tests;
