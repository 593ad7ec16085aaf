//! Two hosts joined by a non-transparent bridge: how it is set up, and whose addresses were seen where.
//!
//! ```text
//!   near RAM, upper half ◀── window ── far bus ◀── offset ── far software, which is the card
//! ```
//!
//! Offsets, near addresses and far addresses are three ranges without a common number, so an address
//! says by itself whose it is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use host_driver::dma::direct::Window;
use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::endpoint::{Direction, Endpoint};
use pcie_sim::host::ram::HOLE_START;
use pcie_sim::ntb::{Crossing, Ntb, NtbConfig, Translation};
use pcie_sim::tlp::Tlp;

use super::record::{Dma, INTERRUPTS, Led};
use super::wiring::Bench;
use crate::analyzer::Purpose;
use crate::platform::setup::Leads;
use crate::report::RunError;

/// The bridge with the far host's software, in the machine's hand and in the bench's.
pub(super) type Joined = Rc<RefCell<Ntb<Box<dyn Endpoint>>>>;

const PAGE_BYTES: u64 = 4096;

/// The part of RAM that the near host sets aside for the window: its upper half, so that none of its
/// addresses is an offset into it.
pub(super) fn window(ram_bytes: u64) -> Window {
    let end = ram_bytes.min(HOLE_START);
    let start = (end / 2).next_multiple_of(PAGE_BYTES);
    let bytes = (end - start) / PAGE_BYTES * PAGE_BYTES;
    Window { start: PhysAddr(start), bytes, base: BusAddr(0) }
}

/// Joins the far software to the near host's slot. Every access is recorded in runs that are `watched`.
pub(super) fn join(
    software: Box<dyn Endpoint>,
    window: Window,
    leads: Leads,
    watched: bool,
) -> Result<Joined, RunError> {
    let near = match leads {
        Leads::WhereAgreed => window.start.get(),
        Leads::OnePageOff => window.start.get() + PAGE_BYTES,
        Leads::PastMemory => HOLE_START,
    };
    let config = NtbConfig::new(near, window.bytes);
    let records = if watched { usize::MAX } else { config.records };
    let ntb = Ntb::new(NtbConfig { records, ..config }, software).map_err(RunError::internal)?;
    Ok(Rc::new(RefCell::new(ntb)))
}

/// What the card asked for, request by request: what is seen on the near host's bus is the last of three
/// addresses.
pub(super) struct Asked(VecDeque<Translation>);

impl Asked {
    pub(super) fn of(bridge: &Joined) -> Self {
        let outward = |access: &&Translation| access.crossing == Crossing::FarToNear;
        Self(bridge.borrow().log().translations.iter().filter(outward).copied().collect())
    }

    /// The offset that became `near`, the next address on the near host's bus.
    pub(super) fn next(&mut self, near: u64) -> u64 {
        match self.0.pop_front() {
            Some(access) if access.near == near => access.offset,
            // It did not come through the window; as it stands it says whose it is.
            _ => near,
        }
    }
}

/// What the bridge itself refused, and the near host never saw.
pub(super) fn refused(bench: &Bench, bridge: &Joined) -> Vec<Dma> {
    let ntb = bridge.borrow();
    let len = ntb.config().len_bytes;
    let refused = ntb.log().refusals.iter();
    let dma = refused.map(|refused| Dma {
        at: refused.at,
        address: refused.offset,
        len_bytes: refused.len_bytes,
        write: refused.write,
        requester: bench.card,
        purpose: Purpose::Unknown,
        led: Led::Refused(format!("it is not in the bridge's window of {len:#x} bytes")),
        descriptor: None,
    });
    dma.collect()
}

/// The lowest and the highest address of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first byte of the lowest access.
    pub lowest: u64,
    /// The first byte of the highest access.
    pub highest: u64,
}

impl Span {
    fn of(addresses: impl Iterator<Item = u64> + Clone) -> Self {
        let lowest = addresses.clone().min().unwrap_or(0);
        Self { lowest, highest: addresses.max().unwrap_or(0) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} to {:#x}", self.lowest, self.highest)
    }
}

/// Whose addresses were seen where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sides {
    /// Accesses of the far software's that reached the near host.
    pub crossed: u64,
    /// Accesses that the bridge refused.
    pub refused: u64,
    /// What the two hosts said to each other.
    pub offsets: Span,
    /// Addresses on the far host's bus.
    pub far: Span,
    /// Addresses on the near host's bus, as the link shows them.
    pub near: Span,
    /// An address of one host that was seen by the other.
    pub leak: Option<String>,
}

impl fmt::Display for Sides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { crossed, offsets, far, near, .. } = self;
        write!(
            f,
            "{crossed} accesses translated twice: offsets {offsets}, far bus {far}, near bus {near}; \
             neither host saw an address of the other's"
        )
    }
}

impl Sides {
    /// Looks at the near host's bus, at the bridge's log, and at what descriptors handed over.
    pub(super) fn of(bench: &Bench, bridge: &Joined, dma: &[Dma]) -> Self {
        let ntb = bridge.borrow();
        let (log, config) = (ntb.log(), ntb.config());
        let outward = || log.translations.iter().filter(|it| it.crossing == Crossing::FarToNear);
        let near: Vec<u64> = bus_addresses(bench, Direction::Upstream).collect();
        let handed = dma.iter().filter_map(|dma| dma.descriptor).map(|found| found.addr);
        let places = Places::of(config);
        let down = bus_addresses(bench, Direction::Downstream);
        let leak = places
            .foreign("handed to the far host", handed, &places.offsets)
            .or_else(|| {
                let far = outward().map(|access| access.far);
                places.foreign("on the far host's bus", far, &places.far)
            })
            .or_else(|| {
                places.foreign("on the near host's bus", near.iter().copied(), &places.near)
            })
            .or_else(|| {
                let hit = |at: &u64| places.far.contains(at) || places.far_memory.contains(at);
                down.filter(hit).map(|at| format!("the near CPU accesses {at:#x}")).next()
            });
        Self {
            crossed: outward().count() as u64,
            refused: log.refused,
            offsets: Span::of(outward().map(|access| access.offset)),
            far: Span::of(outward().map(|access| access.far)),
            near: Span::of(near.iter().copied()),
            leak,
        }
    }
}

/// Addresses of memory requests on the near host's link, interrupts left out.
fn bus_addresses(bench: &Bench, direction: Direction) -> impl Iterator<Item = u64> + '_ {
    let log = bench.machine.tap.observers().log.iter().flatten();
    log.filter(move |seen| seen.direction == direction).filter_map(|seen| match &seen.tlp {
        Tlp::MemRead(read) => Some(read.address),
        Tlp::MemWrite(write) if !INTERRUPTS.contains(&write.address) => Some(write.address),
        _ => None,
    })
}

/// The ranges that say whose an address is.
struct Places {
    offsets: Range<u64>,
    near: Range<u64>,
    far: Range<u64>,
    far_memory: Range<u64>,
}

impl Places {
    fn of(config: &NtbConfig) -> Self {
        let at = |base: u64, len: u64| base..base + len;
        Self {
            offsets: 0..config.len_bytes,
            near: at(config.near, config.len_bytes),
            far: at(config.far, config.len_bytes),
            far_memory: at(config.far_memory, config.far_memory_bytes),
        }
    }

    /// The first of `addresses` that is in none of the ranges where it may be.
    fn foreign(
        &self,
        place: &str,
        mut addresses: impl Iterator<Item = u64>,
        allowed: &Range<u64>,
    ) -> Option<String> {
        let address = addresses.find(|address| !allowed.contains(address))?;
        let whose = [
            ("an offset", &self.offsets),
            ("the near host's", &self.near),
            ("the far host's", &self.far),
            ("the far host's memory", &self.far_memory),
        ];
        let whose = whose.iter().find(|(_, range)| range.contains(&address));
        let whose = whose.map_or("nobody's", |(name, _)| name);
        Some(format!("{address:#x} was {place}, and is {whose}"))
    }
}
