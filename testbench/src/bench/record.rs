//! What a watched run leaves behind to be judged: every DMA with the place it led to, every address the
//! driver handed over, what the root complex refused, what the system said.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use host_driver::dma::iommu::FaultRecord;
use pcie_sim::address::PhysAddr;
use pcie_sim::endpoint::Direction;
use pcie_sim::iommu::{DmaKind, Iommu};
use pcie_sim::root::{Refusal, Refused};
use pcie_sim::time::Instant;
use pcie_sim::tlp::{MemRead, Tlp};

use super::bridge::{self, Asked, Sides};
use super::watch::Seen;
use super::wiring::Bench;
use super::witness::{Grant, Witness};
use crate::analyzer::{Purpose, Role};

/// Writes here are interrupts, also those of a bus that the analyzer does not know.
pub(super) const INTERRUPTS: Range<u64> = 0xfee0_0000..0xfef0_0000;

/// Where a DMA led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Led {
    /// To memory.
    Memory {
        /// Where in the machine.
        machine: PhysAddr,
        /// The driver's address of the same place; `None` when it has none.
        driver: Option<PhysAddr>,
    },
    /// Nowhere: it was refused, for this reason.
    Refused(String),
}

/// A request of the card, interrupts left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dma {
    /// When it left the card.
    pub at: Instant,
    /// The bus address.
    pub address: u64,
    /// Bytes.
    pub len_bytes: u32,
    /// A write.
    pub write: bool,
    /// Who asked.
    pub requester: pcie_sim::address::Bdf,
    /// What for, as the analyzer takes it.
    pub purpose: Purpose,
    /// What came of it.
    pub led: Led,
    /// The descriptor that it read, when it read one.
    pub descriptor: Option<Descriptor>,
}

/// A descriptor as the card saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The buffer's bus address.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u32,
}

impl fmt::Display for Dma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.write { "write" } else { "read" };
        let Self { requester, len_bytes, address, purpose, .. } = self;
        write!(f, "{requester} {verb} {len_bytes} bytes at {address:#x} [{purpose}]")
    }
}

/// Everything by which a run is judged, besides its figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Addresses handed over, in order.
    pub grants: Vec<Grant>,
    /// The card's requests, in order.
    pub dma: Vec<Dma>,
    /// What the IOMMU's own registers recorded.
    pub faults: Vec<FaultRecord>,
    /// Something stood between the card and memory, switched on.
    pub translated: bool,
    /// Memory through which buffers bounce.
    pub pools: Vec<Range<PhysAddr>>,
    /// Whose addresses were seen where, when the card is another host.
    pub sides: Option<Sides>,
    /// What the system said.
    pub log: Vec<String>,
}

impl Record {
    /// What was seen of a bench; `None` when it was not watched.
    pub(super) fn of(bench: &mut Bench) -> Option<Self> {
        let witness = bench.witness.clone()?;
        let faults = bench.system.take_faults(&mut bench.machine);
        let mut dma = dma(bench, &witness);
        let sides = bench.bridge.as_ref().map(|bridge| {
            dma.extend(bridge::refused(bench, bridge));
            dma.sort_by_key(|dma| dma.at);
            Sides::of(bench, bridge, &dma)
        });
        let iommu = bench.machine.root.iommu.as_deref();
        Some(Self {
            grants: witness.grants(),
            dma,
            faults,
            translated: sides.is_some() || iommu.is_some_and(Iommu::is_translating),
            sides,
            pools: bench.system.pools().collect(),
            log: bench.system.log.clone(),
        })
    }

    /// Whether an address of the driver's lies in a pool.
    #[must_use]
    pub fn in_pool(&self, address: PhysAddr) -> bool {
        self.pools.iter().any(|pool| pool.contains(&address))
    }
}

fn dma(bench: &Bench, witness: &Witness) -> Vec<Dma> {
    let mut refusals = Refusals::new(bench);
    let mut asked = bench.bridge.as_ref().map(Asked::of);
    let Some(log) = &bench.machine.tap.observers().log else { return Vec::new() };
    log.iter()
        .enumerate()
        .filter(|(_, seen)| seen.direction == Direction::Upstream)
        .filter_map(|(nth, seen)| {
            let (requester, address, len_bytes, write) = match seen.tlp.plain() {
                Tlp::MemRead(read) => {
                    (read.requester, read.address, u32::from(read.len_bytes), false)
                }
                Tlp::MemWrite(write) => {
                    (write.requester, write.address, write.data.len() as u32, true)
                }
                _ => return None,
            };
            let purpose = match seen.role {
                Role::Dma(Purpose::MsiX) => return None,
                _ if write && INTERRUPTS.contains(&address) => return None,
                Role::Dma(purpose) => purpose,
                _ => Purpose::Unknown,
            };
            // What the IOMMU answered to this very request counts; of the others the root complex says so.
            let led = match witness.take_hop(address, len_bytes, write) {
                Some(Err(reason)) => Led::Refused(blocked(bench, reason)),
                hop => match refusals.take(address, len_bytes, write) {
                    Some(why) => Led::Refused(why),
                    None => {
                        let machine = hop.and_then(Result::ok).unwrap_or(PhysAddr(address));
                        Led::Memory { machine, driver: bench.machine.driver_address(machine) }
                    }
                },
            };
            let address = asked.as_mut().map_or(address, |asked| asked.next(address));
            let at = seen.departs;
            let descriptor = descriptor(&log[nth..]);
            Some(Dma { at, address, len_bytes, write, requester, purpose, led, descriptor })
        })
        .collect()
}

/// What the read at the start of `log` brought, when it was for one descriptor.
fn descriptor(log: &[Seen]) -> Option<Descriptor> {
    let (read, later) = log.split_first()?;
    let Tlp::MemRead(MemRead { tag, .. }) = read.tlp else { return None };
    if read.role != Role::Dma(Purpose::Descriptor) {
        return None;
    }
    let data = later.iter().find_map(|seen| match &seen.tlp {
        Tlp::Completion(completion)
            if seen.direction == Direction::Downstream && completion.tag == tag =>
        {
            Some(&completion.data)
        }
        _ => None,
    })?;
    let addr = u64::from_le_bytes(*data.first_chunk()?);
    let len = u32::from_le_bytes(*data.get(8..)?.first_chunk()?);
    Some(Descriptor { addr, len })
}

/// What the root complex refused, to be found again by request; what its IOMMU blocked is left out.
struct Refusals(BTreeMap<(u64, u32, bool), Vec<String>>);

impl Refusals {
    fn new(bench: &Bench) -> Self {
        let mut by_request: BTreeMap<_, Vec<String>> = BTreeMap::new();
        let all = bench.machine.root.refused().iter().rev();
        for refused in all.filter(|it| !matches!(it.refusal, Refusal::Iommu(_))) {
            let write = refused.kind == DmaKind::Write;
            let key = (refused.address, refused.len_bytes, write);
            by_request.entry(key).or_default().push(why(bench, refused));
        }
        Self(by_request)
    }

    fn take(&mut self, address: u64, len_bytes: u32, write: bool) -> Option<String> {
        self.0.get_mut(&(address, len_bytes, write))?.pop()
    }
}

/// A refusal in words.
pub(super) fn why(bench: &Bench, refused: &Refused) -> String {
    match refused.refusal {
        Refusal::Iommu(reason) => blocked(bench, reason),
        Refusal::NoMemory => "unsupported request, there is no memory".to_owned(),
        Refusal::NotShared => "the page is not shared by the secure guest".to_owned(),
        Refusal::SlotFrozen => "an earlier fault has frozen the slot".to_owned(),
        Refusal::PortDisabled => "the root port's Bus Master Enable is off".to_owned(),
        Refusal::CrossesPage => "it crosses a 4-KiB boundary".to_owned(),
        Refusal::Malformed => "it is malformed".to_owned(),
        Refusal::NotSupported => "unsupported request, of this kind".to_owned(),
        Refusal::Poisoned => "its data is poisoned".to_owned(),
        Refusal::UnknownInterrupt => "no interrupt message stands for it".to_owned(),
    }
}

fn blocked(bench: &Bench, reason: u8) -> String {
    let iommu = bench.machine.root.iommu.as_deref();
    let text = iommu.map_or("", |iommu| iommu.explain(reason));
    format!("the IOMMU blocks it, fault reason {reason:#04x} ({text})")
}
