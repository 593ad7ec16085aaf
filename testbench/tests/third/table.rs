//! Two drivers on the same card and workload, side by side.

use testbench::bench::wiring::model;
use testbench::report::{DriverRow, driver_table};

use super::{ours, workload};

/// What each driver makes the card do: the figures are the drivers' own, so a change of one shows here.
#[test]
fn two_drivers_on_the_same_card_are_compared_side_by_side() {
    let rows = [
        DriverRow::new("host-driver", ours::blk(model)),
        DriverRow::new("virtio-drivers", workload::blk(model)),
        DriverRow::new("host-driver", ours::net(model)),
        DriverRow::new("virtio-drivers", workload::net(model)),
    ];
    for row in &rows {
        assert_eq!(row.figures.requests % workload::REQUESTS as u64, 0, "{}", row.driver);
        assert!(row.figures.requests > 0);
    }
    insta::assert_snapshot!(driver_table(&rows));
}
