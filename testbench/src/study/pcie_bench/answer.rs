//! Rows of the report, out of rows of the benchmark.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::data::{Iommu, Measurement};
use super::file::PcieBench;
use super::replay::simulate;
use crate::report::{RuleViolation, RunError};
use crate::study::report::{Allowed, Axis, Row, SCHEMA, StudyReport};

/// The parameters of a row, in the order of the table.
const AXES: [&str; 6] = ["test", "pattern", "host_cache", "iommu", "window_bytes", "size_bytes"];

impl PcieBench {
    /// Replays a row.
    pub(in crate::study) fn answer(
        &self,
        point: usize,
    ) -> Result<(Vec<Row>, Vec<RuleViolation>), RunError> {
        let measurement = &self.rows[point];
        let simulated = simulate(self, measurement)?;
        let row = Row {
            point,
            parameters: AXES
                .iter()
                .map(|name| ((*name).to_owned(), value(measurement, name)))
                .collect(),
            unit: Some(if measurement.test.is_bandwidth() { "Gbit/s" } else { "ns" }.to_owned()),
            simulated: Some(simulated),
            measured: Some(measurement.value),
            error: Some(simulated / measurement.value - 1.0),
            source: Some(measurement.place.clone()),
            run: None,
        };
        Ok((vec![row], Vec::new()))
    }

    /// The report without its rows.
    pub(in crate::study) fn report(&self) -> StudyReport {
        let axis = |name: &&str| {
            let mut values: Vec<Value> = self.rows.iter().map(|row| value(row, name)).collect();
            values.sort_by(|a, b| match (a.as_u64(), b.as_u64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => a.as_str().cmp(&b.as_str()),
            });
            values.dedup();
            Axis { name: (*name).to_owned(), values }
        };
        let mut values: BTreeMap<_, _> = self.timing.quantities.clone();
        let card = self.card.quantities.iter();
        values.extend(card.map(|(key, quantity)| (format!("exerciser.{key}"), quantity.clone())));
        StudyReport {
            schema: SCHEMA.to_owned(),
            study: self.name.clone(),
            kind: "pcie-bench".to_owned(),
            seed: self.seed,
            axes: AXES.iter().map(axis).collect(),
            points: self.rows.len(),
            rows: Vec::new(),
            summary: None,
            allowed: Some(Allowed {
                median_abs_error: self.thresholds.median,
                max_abs_error: self.thresholds.worst,
            }),
            preset: self.timing.preset.clone(),
            values,
            notes: self.notes(),
            violations: Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        let relabelled = self.relabel.iter().map(|relabel| {
            let on = if relabel.iommu == Iommu::Off { "off" } else { "on" };
            format!(
                "{} rows with the IOMMU {on} that say {} are run as {}: {}",
                relabel.test, relabel.says, relabel.shows, relabel.why
            )
        });
        let states = self.states.iter().map(|of| {
            format!("{} rows have {} entries in the IOTLB: {}", of.state, of.iotlb_entries, of.why)
        });
        relabelled.chain(states).collect()
    }
}

fn value(row: &Measurement, name: &str) -> Value {
    match name {
        "test" => json!(row.test.to_string()),
        "pattern" => json!(row.pattern.to_string()),
        "host_cache" => json!(row.host_cache.to_string()),
        "iommu" => json!(if row.iommu == Iommu::Off { "off" } else { "on" }),
        "window_bytes" => json!(row.window),
        _ => json!(row.size),
    }
}
