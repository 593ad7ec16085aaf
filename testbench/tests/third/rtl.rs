//! The same driver on RTL: two sides that nobody made for each other.

use std::path::Path;

use rtl_model::CardConfig;
use testbench::card::{CardChoice, Plugged};
use testbench::report::{DriverRow, RunError, driver_table};
use testbench::scenario::config::RunConfig;

use super::{ours, workload};

/// The reference RTL, with what the run asks of it.
fn reference(run: &RunConfig, card: CardConfig) -> Result<Plugged, RunError> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl-model/reference.toml");
    let choice =
        CardChoice::parse(&format!("rtl:{}", manifest.display())).map_err(RunError::input)?;
    let mut runs = vec![run.clone()];
    choice.adapt(&mut runs).map_err(RunError::input)?;
    choice.plug(&runs[0], card)
}

#[test]
fn a_driver_nobody_here_wrote_reads_and_writes_a_disk_in_rtl() {
    workload::blocking(reference);
}

/// The workloads check their bytes; what each driver makes of the same RTL is close to what it makes of the
/// model, and the rows are of the same requests.
#[test]
fn drivers_do_the_work_of_the_table_on_rtl() {
    let rows = [
        DriverRow::new("host-driver", ours::blk(reference)),
        DriverRow::new("virtio-drivers", workload::blk(reference)),
        DriverRow::new("host-driver", ours::net(reference)),
        DriverRow::new("virtio-drivers", workload::net(reference)),
    ];
    let table = driver_table(&rows);
    for row in &rows {
        assert_eq!(row.figures.requests % workload::REQUESTS as u64, 0, "{table}");
        assert!(row.figures.requests > 0 && row.figures.interrupts_per_request > 0.0, "{table}");
    }
}
