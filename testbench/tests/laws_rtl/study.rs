//! A study on RTL: the same sweep, another card.

use testbench::bench::run;
use testbench::card::CardChoice;
use testbench::study::{Shard, Study};

/// DESIGN.md, "The command": `--card` is an option of every verb that runs scenarios.
#[test]
fn a_sweep_runs_on_rtl_and_its_points_differ_as_its_axis_does() {
    let folder = tempfile::tempdir().expect("a place for files");
    let at = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is there");
        path
    };
    at(
        "scenario.toml",
        "name = \"short\"\nplatforms = [\"x86-noiommu\"]\n[matrix]\ndevices = [\"blk\"]\nrings = [\"host\"]\n\
         layouts = [\"direct\"]\nevent_idx = [false]\n[blk]\nsynthetic = { requests = 12, bytes = 2048 }\n",
    );
    let study = at(
        "study.toml",
        "name = \"mrrs\"\nkind = \"sweep\"\nscenario = \"scenario.toml\"\n[[axis]]\nkey = \"link.mrrs\"\n\
         values = [128, 512]\n",
    );
    let mut study = Study::load(&study).expect("it is right");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../rtl-model/reference.toml");
    let card = CardChoice::parse(&format!("rtl:{manifest}")).expect("the manifest is right");
    study.plug(&card).expect("it does all of them");
    let report = study.run(Shard::WHOLE, 1, &run, &mut || ()).expect("it runs");
    assert!(report.all_held(), "{:?}", report.violations);
    let reads: Vec<f64> = report
        .rows
        .iter()
        .map(|row| row.run.as_ref().expect("it was run").dma_per_descriptor.reads)
        .collect();
    assert!(reads.len() == 2 && reads[0] > reads[1], "{reads:?}");
}
