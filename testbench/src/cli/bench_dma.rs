//! What each DMA back end costs the driver's CPU, in simulated time, and how fast the bench simulates it.
//!
//! The work is the same on each: block commands of 4 KiB, written and read, DMA debug off. A back end is
//! shown by the ordinary case of a platform that uses it.

use serde::{Deserialize, Serialize};

use super::stopwatch::Stopwatch;
use super::{Bench, Failure};
use crate::platform::{self, WORKLOAD};
use crate::scenario::config::{Device, RunConfig};
use crate::scenario::source::Source;
use crate::scenario::{Overrides, Scenario};

/// Block commands of one measurement.
const REQUESTS: u64 = 4_000;

/// Back ends, as figures name them, and the platforms that show them. Names stay the same between versions.
pub(super) const BACK_ENDS: [(&str, &str); 14] = [
    ("direct", "x86-noiommu"),
    ("offset", "ppc64-ddw"),
    ("bridge_window", "ntb-pair"),
    ("pass_through", "x86-vtd-pt"),
    ("iommu", "x86-vtd"),
    ("iommu_lazy", "x86-vtd-lazy"),
    ("iommu_2m", "x86-vtd-2m"),
    ("tce", "ppc64-tce"),
    ("flat_table", "sparc64"),
    ("swiotlb", "ppc64-secure"),
    ("xen", "xen-dom0"),
    ("maintenance", "arm64-noncoherent"),
    ("card_bounce", "pkvm-restricted"),
    ("card_bounce_hint", "pkvm-hint"),
];

/// What one process measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct DmaSample {
    requests: u64,
    dma_ns: u64,
    driver_ns: u64,
    seconds: f64,
}

impl DmaSample {
    /// Simulated CPU time that the DMA API took per block command; the same in every run.
    pub(super) fn dma_ns_per_request(&self) -> f64 {
        self.dma_ns as f64 / self.requests as f64
    }

    /// Simulated CPU time that the driver took per block command, the DMA API included.
    pub(super) fn driver_ns_per_request(&self) -> f64 {
        self.driver_ns as f64 / self.requests as f64
    }

    /// Block commands simulated per second of real time.
    pub(super) fn requests_per_s(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// The run by which the back end of platform `id` is measured.
fn config(id: &str, requests: u64) -> Result<RunConfig, Failure> {
    let platform = platform::find(id).map_err(|error| Failure::Internal(error.to_string()))?;
    let set = vec![
        format!("blk.synthetic.requests={requests}"),
        "driver.dma_debug=false".to_owned(),
        "matrix.devices=[\"blk\"]".to_owned(),
    ];
    let source = Source::built_in("platforms scenario", WORKLOAD);
    let scenario = Scenario::from_source(&source, &Overrides { set, ..Overrides::default() })?;
    let blk = scenario.runs.into_iter().find(|run| run.device == Device::Blk);
    let case = platform.cases().first();
    match (blk, case) {
        (Some(run), Some(case)) => Ok(RunConfig { platform, setup: case.setup, ..run }),
        _ => Err(Failure::Internal(format!("{id} does not run here"))),
    }
}

/// One measurement, in this process.
pub(super) fn measure(id: &str, bench: &Bench<'_>) -> Result<DmaSample, Failure> {
    let config = config(id, REQUESTS)?;
    let stopwatch = Stopwatch::start();
    let result = (bench.run)(&config)?;
    let seconds = stopwatch.seconds();
    if let Some(violation) = result.violations.first() {
        return Err(Failure::Internal(format!("{id}: {}: {}", violation.rule, violation.message)));
    }
    Ok(DmaSample {
        requests: result.completed,
        dma_ns: result.facts.dma_time.as_ns(),
        driver_ns: result.facts.cpu_time.as_ns(),
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use pcie_sim::time::Span;

    use super::*;
    use crate::bench;

    /// Each back end's platform works, and by other means than the platforms before it.
    #[test]
    fn each_back_end_is_shown_by_a_platform_that_uses_it() {
        for (name, id) in BACK_ENDS {
            let result = bench::run(&config(id, 16).expect("it is a row")).expect("it runs");
            assert_eq!(result.violations, [], "{name}");
            let ops = match name {
                "direct" | "pass_through" => "direct",
                "offset" | "bridge_window" => "direct+offset",
                "iommu" | "iommu_lazy" | "iommu_2m" => "iommu",
                "tce" | "flat_table" => "tce",
                "maintenance" => "direct+maintenance",
                "card_bounce_hint" => "card_bounce+platform",
                other => other,
            };
            assert_eq!(result.facts.ops, ops, "{name}");
            let free = result.facts.dma_time == Span::ZERO;
            assert_eq!(free, ops.trim_end_matches("+offset") == "direct", "{name}");
            assert!(result.facts.dma_time <= result.facts.cpu_time, "{name}");
        }
    }
}
