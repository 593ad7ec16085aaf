//! Who wants to know what the analyzer found: the measure, a trace, waves.

use pcie_sim::endpoint::Sighting;
use pcie_sim::time::{Instant, Span};

use super::purpose::{Classified, Purpose};

/// One read by the card, answered to the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    /// What it was for.
    pub purpose: Purpose,
    /// The queue it served.
    pub queue: Option<u16>,
    /// Bytes asked for.
    pub len_bytes: u16,
    /// When the request left the card's pins.
    pub departed: Instant,
    /// When its last completion reached the card's pins.
    pub arrived: Instant,
}

impl RoundTrip {
    /// How long it took.
    #[must_use]
    pub fn duration(&self) -> Span {
        self.arrived.since(self.departed)
    }
}

/// One buffer of the driver, from doorbell to used index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRecord {
    /// Its number among all requests of the run, from 1 on.
    pub serial: u64,
    /// Its queue.
    pub queue: u16,
    /// The descriptor at its head.
    pub head: u16,
    /// How many requests were made available in its queue before it, since the queue was switched on.
    pub position: u64,
    /// The doorbell's arrival, or the card's first read for it when that came sooner.
    pub begin: Instant,
    /// The used-index write that publishes it leaves the card; with a used ring on the card, the
    /// interrupt or the answer that shows the CPU the new index.
    pub end: Instant,
    /// Descriptors of the chain: entries of an indirect table count, the one that points to it does not.
    pub descriptors: u32,
    /// Reads by the card that belong to it, shared ones included.
    pub round_trips: u32,
    /// The largest number of them that do not overlap in time.
    pub serial_round_trips: u32,
    /// Bytes the card may read.
    pub readable_bytes: u64,
    /// Bytes the card may write.
    pub writable_bytes: u64,
    /// `len` of the used element, when it was seen.
    pub used_len: Option<u32>,
}

/// Receives what the analyzer finds, in the order in which it happens. Every method may be left out.
pub trait Observer {
    /// A TLP, and what it was for.
    fn tlp(&mut self, sighting: &Sighting<'_>, seen: &Classified) {
        let _ = (sighting, seen);
    }

    /// A read of the card is answered.
    fn round_trip(&mut self, trip: &RoundTrip) {
        let _ = trip;
    }

    /// A request is completed.
    fn request(&mut self, request: &RequestRecord) {
        let _ = request;
    }
}

impl Observer for () {}

impl<A: Observer, B: Observer> Observer for (A, B) {
    fn tlp(&mut self, sighting: &Sighting<'_>, seen: &Classified) {
        self.0.tlp(sighting, seen);
        self.1.tlp(sighting, seen);
    }

    fn round_trip(&mut self, trip: &RoundTrip) {
        self.0.round_trip(trip);
        self.1.round_trip(trip);
    }

    fn request(&mut self, request: &RequestRecord) {
        self.0.request(request);
        self.1.request(request);
    }
}

impl<O: Observer + ?Sized> Observer for Box<O> {
    fn tlp(&mut self, sighting: &Sighting<'_>, seen: &Classified) {
        (**self).tlp(sighting, seen);
    }

    fn round_trip(&mut self, trip: &RoundTrip) {
        (**self).round_trip(trip);
    }

    fn request(&mut self, request: &RequestRecord) {
        (**self).request(request);
    }
}
