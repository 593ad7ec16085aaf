//! RTL that owes nothing to the reference runs by its manifest alone: other names, other reset, other width.

use std::path::Path;

use testbench::bench::run;
use testbench::card::CardChoice;
use testbench::scenario::config::{Placement, RunConfig};

use crate::rig::runs;

fn tiny_disk() -> CardChoice {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/tiny_disk.toml");
    CardChoice::parse(&format!("rtl:{}", manifest.display())).expect("the manifest is right")
}

/// `rtl_model::verilated::manifest`: a text file is all that a designer has to write.
#[test]
fn a_foreign_disk_reads_and_writes_by_its_manifest_alone_on_every_machine_of_the_default_scenario()
{
    let traffic = "[blk]\nsynthetic = { requests = 30, bytes = 6144 }\n";
    let card = tiny_disk();
    for platform in ["x86-noiommu", "x86-vtd"] {
        let mut configs = runs(platform, traffic);
        let all = configs.len();
        assert!(card.adapt(&mut configs).expect("some fit") < all);
        assert!(!configs.is_empty());
        for config in configs {
            assert_eq!(config.placement, Placement::Host, "its memory is not for rings");
            let name = config.name();
            let result = run(&RunConfig { under_test: card.clone(), ..config }).expect("it runs");
            assert_eq!(result.violations, [], "{name}");
            assert_eq!(result.requests, 30, "{name}");
            assert!(result.rtl_cycles > 10_000, "{name}");
        }
    }
}
