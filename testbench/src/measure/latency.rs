//! Latencies, without keeping each: a histogram for the percentiles, the exact sum and ends beside it.

use hdrhistogram::Histogram;
use pcie_sim::time::Span;
use serde::Serialize;

/// Significant decimal digits of a percentile.
const DIGITS: u8 = 3;

/// Latency figures in nanoseconds. Percentiles are exact to 3 significant digits, the rest exactly.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LatencyNs {
    /// The shortest.
    pub min: u64,
    /// Half took at most this.
    pub p50: u64,
    /// Nine of ten.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p999: u64,
    /// The longest.
    pub max: u64,
    /// The mean.
    pub mean: f64,
}

/// Latencies of many requests; memory does not grow with their number.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Option<Histogram<u64>>,
    min: Span,
    max: Span,
    sum_ps: u128,
    count: u64,
}

impl Latency {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        // Three digits are within what the crate offers, so there always is a histogram.
        let histogram = Histogram::new(DIGITS).ok();
        Self { histogram, min: Span::ZERO, max: Span::ZERO, sum_ps: 0, count: 0 }
    }

    /// One more.
    pub fn record(&mut self, latency: Span) {
        if let Some(histogram) = &mut self.histogram {
            // It grows to any value, so recording cannot fail.
            let _ = histogram.record(latency.as_ns());
        }
        self.min = if self.count == 0 { latency } else { self.min.min(latency) };
        self.max = self.max.max(latency);
        self.sum_ps += u128::from(latency.as_ps());
        self.count += 1;
    }

    /// How many.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Adds those of another run; the result is as if all had been recorded here.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if let (Some(mine), Some(theirs)) = (&mut self.histogram, &other.histogram) {
            // Both grow as needed and have the same digits, so adding cannot fail.
            let _ = mine.add(theirs);
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.sum_ps += other.sum_ps;
        self.count += other.count;
    }

    /// The figures.
    #[must_use]
    pub fn figures(&self) -> LatencyNs {
        if self.count == 0 {
            return LatencyNs::default();
        }
        let (min, max) = (self.min.as_ns(), self.max.as_ns());
        // A bucket's upper end may lie beyond the longest that was recorded.
        let at = |quantile: f64| {
            let value = self.histogram.as_ref().map_or(0, |h| h.value_at_quantile(quantile));
            value.clamp(min, max)
        };
        LatencyNs {
            min,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max,
            mean: self.sum_ps as f64 / self.count as f64 / 1e3,
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_percentile_is_right_to_three_digits(mut ns in prop::collection::vec(1_u64..10_000_000, 1..300)) {
            let mut latency = Latency::new();
            for &ns in &ns {
                latency.record(Span::from_ns(ns));
            }
            ns.sort_unstable();
            let figures = latency.figures();
            let rank = (0.9 * ns.len() as f64).ceil() as usize;
            let exact = ns[rank - 1] as f64;
            prop_assert!((figures.p90 as f64 - exact).abs() <= exact / 1000.0 + 1.0);
            prop_assert_eq!((figures.min, figures.max), (ns[0], ns[ns.len() - 1]));
            let mean = ns.iter().sum::<u64>() as f64 / ns.len() as f64;
            prop_assert!((figures.mean - mean).abs() < 1e-6 * mean);
        }

        #[test]
        fn merged_runs_equal_one_run(
            first in prop::collection::vec(1_u64..1_000_000, 0..50),
            second in prop::collection::vec(1_u64..1_000_000, 0..50),
        ) {
            let record = |ns: &[u64]| {
                let mut latency = Latency::new();
                ns.iter().for_each(|&ns| latency.record(Span::from_ns(ns)));
                latency
            };
            let mut merged = record(&first);
            merged.merge(&record(&second));
            let all: Vec<u64> = first.into_iter().chain(second).collect();
            prop_assert_eq!(merged.figures(), record(&all).figures());
        }
    }
}
