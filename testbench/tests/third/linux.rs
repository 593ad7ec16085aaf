//! Linux's own driver on the same card and workload, beside the other two.
//!
//! Its rows are not the same each time: a guest's requests meet as its clock has it.

use std::path::{Path, PathBuf};
use std::process::Command;

use testbench::bench::wiring::model;
use testbench::report::{DriverRow, RunReport, driver_table};
use testbench::scenario::config::Device;

use super::{ours, workload};

/// VIRTIO_F_VERSION_1 and VIRTIO_F_ACCESS_PLATFORM.
const WANTED: [u8; 2] = [32, 33];

/// The kit; `None`, and a line, where there is none and need not be.
#[allow(clippy::print_stderr, reason = "a test that cannot run says why")]
fn kit() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/guest");
    let made = Command::new(script).arg("--make-kit").output().expect("the script can be started");
    let said = String::from_utf8_lossy(&made.stdout);
    if made.status.success() {
        return said.lines().last().map(PathBuf::from);
    }
    let why = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("not run, no guest can be had here: {why}");
    None
}

/// What Linux did: of the drivers that came, firmware's among them, the one with the most requests.
fn linux(kit: &Path, device: &str, work: &str) -> DriverRow {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    // As the others have it; but Linux's network driver keeps room for a packet of 19 parts in its queue, and
    // sends no more than one packet through a queue that has not so much.
    let queue_size = if device == "blk" { "card.queue_size=16" } else { "card.queue_size=64" };
    let output = Command::new(env!("CARGO_BIN_EXE_vtb"))
        .args(["guest", "--only-card", "--device", device, "--work", work, "--kit"])
        .arg(kit)
        .args(["--set", queue_size, "--json"])
        .arg(&report)
        .output()
        .expect("vtb can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = std::fs::read_to_string(&report).expect("a report");
    let report: RunReport = serde_json::from_str(&text).expect("a report of a run");
    let most = report.results.into_iter().max_by_key(|run| run.requests).expect("a driver came");
    DriverRow::new("linux", most)
}

#[test]
#[allow(clippy::print_stderr, reason = "the table is what it is for")]
fn three_drivers_on_the_same_card_are_compared_side_by_side() {
    let Some(kit) = kit() else { return };
    let rows = [
        DriverRow::new("host-driver", ours::blk(model)),
        DriverRow::new("virtio-drivers", workload::blk(model)),
        linux(&kit, "blk", "blocks"),
        DriverRow::new("host-driver", ours::net(model)),
        DriverRow::new("virtio-drivers", workload::net(model)),
        linux(&kit, "net", "packets"),
    ];
    let table = driver_table(&rows);
    eprintln!("{table}");
    for row in &rows {
        let figures = &row.figures;
        // Linux looks for partitions, and asks who has an address.
        let work = workload::REQUESTS as u64 * if figures.device == Device::Net { 2 } else { 1 };
        assert!((work..work + work / 4).contains(&figures.requests), "{table}");
        assert!(figures.doorbells_per_request > 0.0, "{table}");
        assert!(figures.interrupts_per_request > 0.0, "{table}");
    }
    for row in rows.iter().filter(|row| row.driver == "linux") {
        assert!(WANTED.iter().all(|bit| row.figures.feature_bits.contains(bit)), "{table}");
    }
}
