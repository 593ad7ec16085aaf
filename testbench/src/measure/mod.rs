//! From what the analyzer saw to the figures of a result.
//!
//! Only what crosses the link after [`Measure::begin`] counts, so that probing the card and filling its
//! receive queue cost nothing; a descriptor counts when its request completes, so buffers that were
//! filled before and are consumed after the mark do count.
//!
//! Latency and throughput are the traffic generator's to tell, IOTLB and DMA API figures the
//! machine's.

pub mod latency;

use std::collections::BTreeMap;

use pcie_sim::endpoint::{Direction, Sighting};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::Tlp;

use crate::analyzer::{Classified, Observer, Purpose, Region, RequestRecord, Role};
pub use latency::{Latency, LatencyNs};

/// Exact counts since the start mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests completed.
    pub requests: u64,
    /// Descriptors of those requests: entries of an indirect table count, the one that points at it
    /// does not.
    pub descriptors: u64,
    /// Serial round trips of those requests, summed.
    pub serial_round_trips: u64,
    /// The card's reads by purpose, in the order of [`Purpose::ALL`]. Each is one DMA round trip.
    pub reads: [u64; Purpose::ALL.len()],
    /// The card's writes by purpose, interrupt messages included.
    pub writes: [u64; Purpose::ALL.len()],
    /// The CPU's reads behind the card's BARs.
    pub mmio_reads: u64,
    /// The CPU's writes behind the card's BARs, doorbells included.
    pub mmio_writes: u64,
    /// The doorbells among them.
    pub doorbells: u64,
    /// Interrupts: MSI-X messages, and assertions of INTx.
    pub interrupts: u64,
    /// Bytes on the wire from the card, framing included.
    pub upstream_bytes: u64,
    /// Bytes on the wire to the card, framing included.
    pub downstream_bytes: u64,
    /// TLPs in both directions.
    pub tlps: u64,
}

impl Counts {
    /// The card's reads: its DMA round trips.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.reads.iter().sum()
    }

    /// Reads and writes by the name of their purpose.
    #[must_use]
    pub fn by_purpose(&self) -> BTreeMap<String, u64> {
        Purpose::ALL.iter().map(|&purpose| (purpose.name().to_owned(), self.of(purpose))).collect()
    }

    /// Reads and writes with this purpose.
    #[must_use]
    pub const fn of(&self, purpose: Purpose) -> u64 {
        self.reads[purpose as usize] + self.writes[purpose as usize]
    }
}

/// Accumulates [`Counts`] as an observer of the analyzer.
#[derive(Debug, Default)]
pub struct Measure {
    started: Option<Instant>,
    counts: Counts,
}

impl Measure {
    /// Counts nothing until [`Measure::begin`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The traffic starts now: forget what was, count what comes.
    pub fn begin(&mut self, now: Instant) {
        self.started = Some(now);
        self.counts = Counts::default();
    }

    /// The counts so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Time since the start mark.
    #[must_use]
    pub fn elapsed(&self, now: Instant) -> Span {
        self.started.map_or(Span::ZERO, |started| now.since(started))
    }
}

impl Observer for Measure {
    fn tlp(&mut self, sighting: &Sighting<'_>, seen: &Classified) {
        if self.started.is_none() {
            return;
        }
        let counts = &mut self.counts;
        counts.tlps += 1;
        let bytes = match sighting.direction {
            Direction::Upstream => &mut counts.upstream_bytes,
            Direction::Downstream => &mut counts.downstream_bytes,
        };
        *bytes += u64::from(sighting.wire_bytes);
        match (seen.role, sighting.tlp.plain()) {
            (Role::Dma(purpose), Tlp::MemRead(_)) => counts.reads[purpose as usize] += 1,
            (Role::Dma(purpose), Tlp::MemWrite(_)) => {
                counts.writes[purpose as usize] += 1;
                counts.interrupts += u64::from(purpose == Purpose::MsiX);
            }
            (Role::Mmio(Region::Nowhere), _) => {}
            (Role::Mmio(_), Tlp::MemRead(_)) => counts.mmio_reads += 1,
            (Role::Mmio(region), Tlp::MemWrite(_)) => {
                counts.mmio_writes += 1;
                counts.doorbells += u64::from(region == Region::Notify);
            }
            (Role::Message, Tlp::Message(message)) => {
                // Assert_INTA to Assert_INTD. PCIe 5.0 §2.2.8.1, "INTx Interrupt Signaling – Rules".
                counts.interrupts += u64::from(matches!(message.code, 0x20..=0x23));
            }
            _ => {}
        }
    }

    fn request(&mut self, request: &RequestRecord) {
        if self.started.is_none() {
            return;
        }
        self.counts.requests += 1;
        self.counts.descriptors += u64::from(request.descriptors);
        self.counts.serial_round_trips += u64::from(request.serial_round_trips);
    }
}
