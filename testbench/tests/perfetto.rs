//! A Perfetto trace before the judge: the schema that Perfetto publishes, compiled by Perfetto, reads it.
//! Runs with the feature `live-tools` only, and then `scripts/setup` must have been run.

mod tool;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use prost_reflect::prost::Message;
use serde_json::Value;
use testbench::cli::{Bench, HELD, main_with};

/// How long an outside program may take.
const PATIENCE: Duration = Duration::from_secs(60);

const SCENARIO: &str = "name = \"small\"\nplatforms = [\"x86-vtd\"]\n\
    [matrix]\ndevices = [\"net\"]\nrings = [\"host\"]\nlayouts = [\"direct\"]\nevent_idx = [true]\n\
    [net]\nsynthetic = { packets = 20, bytes = 300 }\n";

/// Where `scripts/setup` has put Python with Perfetto's schema.
fn python() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let tools = variable("VTB_TOOLS").or_else(|| {
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        Some(cache?.join("virtio-testbench/tools"))
    });
    tools.expect("a home folder").join("perfetto/bin/python3")
}

fn schema() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../waves/tests/perfetto")
}

/// What the check says, as JSON.
fn checked(trace: &Path, descriptors: &Path) -> Value {
    let mut check = Command::new(python());
    check.arg(schema().join("check.py")).args([trace, descriptors]);
    serde_json::from_str(&tool::said(&mut check, PATIENCE, "run scripts/setup")).expect("JSON")
}

#[test]
fn perfetto_knows_every_field_of_a_trace_and_the_schema_of_the_other_tests_is_its_own() {
    let folder = tempfile::tempdir().expect("a place for files");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("s.toml"), SCENARIO).expect("a file can be written");
    let [scenario, trace] =
        ["s.toml", "x.perfetto-trace"].map(|name| path(name).display().to_string());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ["vtb", "run", &scenario, "--waves", &trace];
    let status = main_with(arguments, &Bench::SIMULATED, &mut out, &mut err);
    assert_eq!(status, HELD, "{}", String::from_utf8_lossy(&err));

    let files = protox::compile(["trace.proto"], [schema()]).expect("the schema is valid");
    std::fs::write(path("schema"), files.encode_to_vec()).expect("a file can be written");
    let said = checked(Path::new(&trace), &path("schema"));
    assert_eq!(said["unknown"], 0, "{said}");
    assert_eq!(said["differ"], Value::Array(Vec::new()), "{said}");
    assert!(said["compared"].as_u64() > Some(100), "{said}");
    assert!(said["TYPE_SLICE_BEGIN"].as_u64() > Some(200), "{said}");
    assert_eq!(said["TYPE_SLICE_BEGIN"], said["TYPE_SLICE_END"], "{said}");
    assert!(said["track_descriptor"].as_u64() > Some(10), "{said}");
    assert_eq!(said.get("nothing"), None, "{said}");
}
