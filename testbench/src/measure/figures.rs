//! One row of `results` in the JSON of `vtb run`.

use std::collections::BTreeMap;

use pcie_sim::time::Span;
use serde::Serialize;

use super::Counts;
use super::latency::LatencyNs;
use crate::analyzer::Purpose;

/// DMA round trips per descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct RoundTripFigures {
    /// Every read of the card.
    pub total: f64,
    /// Only those of a request that do not overlap in time.
    pub serial: f64,
}

/// DMA per descriptor.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct DmaFigures {
    /// Reads of the card.
    pub reads: f64,
    /// Writes of the card, interrupt messages included.
    pub writes: f64,
    /// Reads and writes by purpose. Every purpose is there; the sum is reads and writes together.
    pub by_purpose: BTreeMap<Purpose, f64>,
}

/// CPU accesses to the card's BARs per request.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct MmioFigures {
    /// Reads: the CPU waits for each.
    pub reads: f64,
    /// Writes, doorbells included.
    pub writes: f64,
}

/// Bytes on the wire per descriptor, framing included.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct WireFigures {
    /// From the card.
    pub upstream: f64,
    /// To the card.
    pub downstream: f64,
}

/// Look-ups of the IOMMU's translation cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct IotlbFigures {
    /// Found.
    pub hits: u64,
    /// Walked.
    pub misses: u64,
}

/// What the driver asked of the DMA API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DmaApiFigures {
    /// Mappings made.
    pub maps: u64,
    /// Mappings taken back.
    pub unmaps: u64,
    /// Bytes copied through a bounce buffer.
    pub bounced_bytes: u64,
}

/// One result. A figure "per" something of which there was none is zero.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Figures {
    /// What was measured, as in `split/host/direct`.
    pub name: String,
    /// Requests completed.
    pub requests: u64,
    /// Descriptors consumed.
    pub descriptors: u64,
    /// DMA round trips per descriptor.
    pub round_trips_per_descriptor: RoundTripFigures,
    /// DMA per descriptor.
    pub dma_per_descriptor: DmaFigures,
    /// CPU accesses per request.
    pub mmio_per_request: MmioFigures,
    /// Wire bytes per descriptor.
    pub wire_bytes_per_descriptor: WireFigures,
    /// Latency as the traffic generator saw it, in nanoseconds.
    pub latency_ns: LatencyNs,
    /// Descriptors per simulated second.
    pub descriptors_per_s: f64,
    /// Payload, in 10^9 bits per simulated second.
    pub payload_gbit_per_s: f64,
    /// The IOMMU's translation cache.
    pub iotlb: IotlbFigures,
    /// The DMA API.
    pub dma_api: DmaApiFigures,
    /// Simulated time since the start mark, in nanoseconds.
    pub sim_time_ns: u64,
    /// TLPs in both directions since the start mark.
    pub tlps: u64,
}

impl Figures {
    pub(super) fn from_counts(name: &str, counts: &Counts, elapsed: Span) -> Self {
        let per_descriptor = |count: u64| ratio(count, counts.descriptors);
        let per_request = |count: u64| ratio(count, counts.requests);
        let by_purpose = Purpose::ALL.map(|purpose| (purpose, per_descriptor(counts.of(purpose))));
        Self {
            name: name.to_owned(),
            requests: counts.requests,
            descriptors: counts.descriptors,
            round_trips_per_descriptor: RoundTripFigures {
                total: per_descriptor(counts.round_trips()),
                serial: per_descriptor(counts.serial_round_trips),
            },
            dma_per_descriptor: DmaFigures {
                reads: per_descriptor(counts.round_trips()),
                writes: per_descriptor(counts.writes.iter().sum()),
                by_purpose: by_purpose.into(),
            },
            mmio_per_request: MmioFigures {
                reads: per_request(counts.mmio_reads),
                writes: per_request(counts.mmio_writes),
            },
            wire_bytes_per_descriptor: WireFigures {
                upstream: per_descriptor(counts.upstream_bytes),
                downstream: per_descriptor(counts.downstream_bytes),
            },
            sim_time_ns: elapsed.as_ns(),
            tlps: counts.tlps,
            ..Self::default()
        }
    }
}

fn ratio(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of the design's example of `vtb run --json`, no more and no fewer.
    #[test]
    fn a_result_has_the_keys_of_the_design() {
        let counts = Counts { descriptors: 2, requests: 1, mmio_writes: 3, ..Counts::default() };
        let figures = Figures::from_counts("split/host/direct", &counts, Span::from_ns(7));
        let json = serde_json::to_value(&figures).expect("figures are plain data");
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
        };
        let mut expected = [
            "name",
            "requests",
            "descriptors",
            "round_trips_per_descriptor",
            "dma_per_descriptor",
            "mmio_per_request",
            "wire_bytes_per_descriptor",
            "latency_ns",
            "descriptors_per_s",
            "payload_gbit_per_s",
            "iotlb",
            "dma_api",
            "sim_time_ns",
            "tlps",
        ];
        expected.sort_unstable();
        assert_eq!(keys(&json), expected);
        assert_eq!(keys(&json["latency_ns"]), ["max", "mean", "min", "p50", "p90", "p99", "p999"]);
        assert_eq!(keys(&json["dma_per_descriptor"]["by_purpose"]).len(), Purpose::ALL.len());
        assert_eq!(json["mmio_per_request"]["writes"], 3.0);
        assert_eq!(json["sim_time_ns"], 7);
    }

    #[test]
    fn a_result_without_traffic_is_zero_and_not_a_division_by_zero() {
        let figures = Figures::from_counts("", &Counts::default(), Span::ZERO);
        assert_eq!(figures.round_trips_per_descriptor.total, 0.0);
    }
}
