//! The test plan names tests that exist. What it lists is what the project promises to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Testpoint {
    clause: String,
    tests: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn plan() -> BTreeMap<String, Testpoint> {
    toml::from_str(&std::fs::read_to_string(root().join("testbench/testplan.toml")).unwrap())
        .unwrap()
}

/// Names of functions right behind a `#[test]`, or inside a `proptest!` block, where it is the same.
fn tests_in(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(tests_of(&std::fs::read_to_string(path).unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "py") {
            names.extend(python_tests_of(&std::fs::read_to_string(path).unwrap()));
        }
    }
}

fn tests_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        marked |= line.starts_with("#[test]");
        let declared = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
        if let (true, Some((name, _))) = (marked, declared) {
            names.push(name.to_owned());
            marked = false;
        }
    }
    names
}

/// Functions of a module whose names are sentences, as pytest and cocotb find them.
fn python_tests_of(text: &str) -> Vec<String> {
    let declared = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let (name, _) = line.strip_prefix("def ")?.split_once('(')?;
        (!name.starts_with('_') && name.matches('_').count() > 1).then(|| name.to_owned())
    };
    text.lines().filter_map(declared).collect()
}

#[test]
fn every_test_of_the_plan_exists() {
    let mut names = BTreeSet::new();
    for folder in ["waves", "pcie-sim", "rtl-model", "host-driver", "testbench", "testbench/py"] {
        for part in ["src", "tests"].map(|part| root().join(folder).join(part)) {
            if part.is_dir() {
                tests_in(&part, &mut names);
            }
        }
    }
    let plan = plan();
    let listed =
        plan.iter().flat_map(|(point, plan)| plan.tests.iter().map(move |test| (point, test)));
    let missing: Vec<_> = listed.filter(|(_, test)| !names.contains(*test)).collect();
    assert!(missing.is_empty(), "listed, but nowhere to be found: {missing:?}");
}

#[test]
fn every_testpoint_has_a_clause_and_a_test() {
    for (point, Testpoint { clause, tests }) in plan() {
        assert!(!clause.is_empty() && !tests.is_empty(), "{point}");
    }
}

#[test]
fn a_function_that_is_no_test_does_not_count_as_one() {
    let text = "#[test]\n#[should_panic]\nfn one() {}\nfn two() {}\n  #[test] fn three() {}\n";
    assert_eq!(tests_of(text), ["one", "three"]);
    let text =
        "def _a_b_c():\ndef helper():\nasync def it_does_so(dut):\n    def not_at_top_level():\n";
    assert_eq!(python_tests_of(text), ["it_does_so"]);
}
