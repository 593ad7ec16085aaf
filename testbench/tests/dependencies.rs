//! `waves <- pcie-sim <- {rtl-model, host-driver} <- testbench`: who may depend on whom.
//!
//! Card and driver meet in TLPs and in bytes of memory, as in a computer. A dependency between them,
//! even for a test, would let one be right by looking at the other. Cargo itself is asked who names
//! whom, so that renamed, inherited, target-specific and test dependencies all count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The crates of the project and which of them each may name, tests and build scripts included.
const ALLOWED: &[(&str, &[&str])] = &[
    ("waves", &[]),
    ("pcie-sim", &["waves"]),
    ("rtl-model", &["pcie-sim", "waves"]),
    ("host-driver", &["pcie-sim", "waves"]),
    ("testbench", &["waves", "pcie-sim", "rtl-model", "host-driver"]),
    ("testbench-py", &["host-driver", "pcie-sim", "rtl-model", "testbench"]),
];

/// Each member of a workspace with the members that it names.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The workspace at `folder`, as Cargo sees it. Nothing is fetched.
fn graph(folder: &Path) -> Graph {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(folder)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    packages
        .iter()
        .map(|package| {
            let named = package["dependencies"].as_array().expect("a list of dependencies");
            (name(package), named.iter().map(name).filter(|other| ours.contains(other)).collect())
        })
        .collect()
}

/// Everybody on whom `from` depends, however far away.
fn reach(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(name) = next.pop() {
        for other in graph.get(&name).into_iter().flatten() {
            if reached.insert(other.clone()) {
                next.push(other.clone());
            }
        }
    }
    reached
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for (member, named) in graph(top()) {
        let Some(may) = allowed.get(member.as_str()) else {
            panic!("{member} is new: say in this test on whom it may depend");
        };
        for other in named {
            assert!(may.contains(&other.as_str()), "{member} may not depend on {other}");
        }
    }
}

#[test]
fn the_driver_never_sees_the_card_nor_the_card_the_driver() {
    let graph = graph(top());
    assert!(!reach(&graph, "host-driver").contains("rtl-model"));
    assert!(!reach(&graph, "rtl-model").contains("host-driver"));
}

#[test]
fn waves_sees_nobody() {
    assert_eq!(reach(&graph(top()), "waves"), BTreeSet::new());
}

/// The laws above hold in an empty graph too; this one does not.
#[test]
fn the_bench_reaches_everybody() {
    let all = ["host-driver", "pcie-sim", "rtl-model", "waves"].map(str::to_owned);
    assert_eq!(reach(&graph(top()), "testbench"), BTreeSet::from(all));
}

/// The ways in which a dependency might hide, in a small workspace of its own.
#[test]
fn a_hidden_dependency_is_seen() {
    let hidden = [
        "[dev-dependencies]\ncard = { path = '../card' }",
        "[build-dependencies]\ncard = { path = '../card' }",
        "[dependencies]\nalias = { package = 'card', path = '../card' }",
        "[target.'cfg(windows)'.dependencies]\ncard = { path = '../card' }",
        "[dev-dependencies]\ninherited.workspace = true",
    ];
    for tables in hidden {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        let workspace = "[workspace]\nmembers = ['card', 'driver']\nresolver = '3'\n\
            [workspace.dependencies]\ninherited = { package = 'card', path = 'card' }\n";
        write("Cargo.toml", workspace);
        for (name, tables) in [("card", ""), ("driver", tables)] {
            let package = format!("[package]\nname = '{name}'\nedition = '2024'\n{tables}\n");
            write(&format!("{name}/Cargo.toml"), &package);
            write(&format!("{name}/src/lib.rs"), "");
        }
        let seen = reach(&graph(folder.path()), "driver");
        assert_eq!(seen, BTreeSet::from(["card".to_owned()]), "{tables}");
    }
}

/// No table would name what `#[path]` or `include!` takes from another crate's folder.
#[test]
fn no_source_file_takes_in_code_from_another_folder() {
    for member in ["waves", "pcie-sim", "rtl-model", "host-driver"] {
        visit(&top().join(member), &mut |path, text| {
            let stray = text.lines().find(|line| {
                (line.contains("#[path") || line.contains("include!(")) && line.contains("../")
            });
            assert_eq!(stray, None, "{}", path.display());
        });
    }
}

fn visit(folder: &Path, each: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, each);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            each(&path, &std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}
