//! Drivers side by side: the same card and workload, and what each driver made of them.
//!
//! A row is a driver's name and the figures of a run, so that whatever writes a `vtb-run/1` report can be
//! put into the table.

use std::fmt::Write;

use super::json::RunFigures;

/// A driver and what its run showed.
#[derive(Debug, Clone, PartialEq)]
pub struct DriverRow {
    /// Its name.
    pub driver: String,
    /// Its figures.
    pub figures: RunFigures,
}

impl DriverRow {
    /// A row.
    #[must_use]
    pub fn new(driver: &str, figures: RunFigures) -> Self {
        Self { driver: driver.to_owned(), figures }
    }
}

/// The table: per descriptor and per request what each driver cost, and which features it took.
#[must_use]
pub fn driver_table(rows: &[DriverRow]) -> String {
    let mut out = format!(
        "{:<16} {:<4} {:>8} {:>9} {:>11} {:>12} {:>9} {:>10}  features\n",
        "driver",
        "dev",
        "requests",
        "desc/req",
        "trips/desc",
        "serial/desc",
        "bells/req",
        "irqs/req"
    );
    for DriverRow { driver, figures } in rows {
        let per_request = if figures.requests == 0 {
            0.0
        } else {
            figures.descriptors as f64 / figures.requests as f64
        };
        // A string takes everything, so there is no error to tell of.
        let _ = writeln!(
            out,
            "{driver:<16} {:<4} {:>8} {per_request:>9.2} {:>11.2} {:>12.2} {:>9.2} {:>10.2}  {}",
            figures.device.to_string(),
            figures.requests,
            figures.round_trips_per_descriptor.total,
            figures.round_trips_per_descriptor.serial,
            figures.doorbells_per_request,
            figures.interrupts_per_request,
            names(&figures.feature_bits),
        );
    }
    out
}

/// Bits that do not depend on the device by name, the others by number.
fn names(bits: &[u8]) -> String {
    let names: Vec<String> = bits
        .iter()
        .map(|bit| match bit {
            27 => "SWIOTLB".to_owned(),
            28 => "INDIRECT_DESC".to_owned(),
            29 => "EVENT_IDX".to_owned(),
            32 => "VERSION_1".to_owned(),
            33 => "ACCESS_PLATFORM".to_owned(),
            34 => "RING_PACKED".to_owned(),
            35 => "IN_ORDER".to_owned(),
            36 => "ORDER_PLATFORM".to_owned(),
            other => other.to_string(),
        })
        .collect();
    names.join(" ")
}
