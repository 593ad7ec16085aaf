//! Who may depend on whom: `waves <- pcie-sim <- {rtl-model, host-driver} <- testbench`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Each crate, and the crates of this project that it may name.
const ALLOWED: &[(&str, &[&str])] = &[
    ("waves", &[]),
    ("pcie-sim", &["waves"]),
    ("rtl-model", &["waves", "pcie-sim"]),
    ("host-driver", &["waves", "pcie-sim"]),
    ("testbench", &["waves", "pcie-sim", "rtl-model", "host-driver"]),
];

fn manifest(folder: &str) -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("Cargo.toml");
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// What a crate names, for building and for its tests.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = manifest(folder);
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let named = tables.iter().filter_map(|table| manifest.get(*table)?.as_table());
    named.flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for (name, may) in ALLOWED {
        for dependency in dependencies(name) {
            let ours = allowed.contains_key(dependency.as_str());
            assert!(!ours || may.contains(&dependency.as_str()), "{name} names {dependency}");
        }
    }
}

#[test]
fn the_driver_never_sees_the_card() {
    assert!(!dependencies("host-driver").contains("rtl-model"));
    assert!(!dependencies("rtl-model").contains("host-driver"));
}

#[test]
fn every_crate_has_its_place_in_the_order() {
    let workspace = manifest("");
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<_> = members.iter().filter_map(|member| member.as_str()).collect();
    assert_eq!(members, ALLOWED.iter().map(|(name, _)| *name).collect());
}
