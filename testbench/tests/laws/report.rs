//! The report as a file, and that the same seed gives the same one.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::trace::{SMALL, scenario, vtb};

/// A run with its JSON and trace.
fn files(folder: &Path, scenario: &Path, more: &[&str]) -> (String, String) {
    let (json, trace) = (folder.join("out.json"), folder.join("out.txt"));
    let paths = [scenario, &json, &trace].map(|path| path.to_str().expect("UTF-8"));
    let mut arguments = vec!["run", paths[0], "--json", paths[1], "--trace", paths[2]];
    arguments.extend(more);
    vtb(&arguments);
    let text = |path| fs::read_to_string(path).expect("the file is there");
    (text(json), text(trace))
}

/// DESIGN.md, Decision 1: same scenario, seed and card, same bytes.
#[test]
fn the_same_seed_gives_the_same_json_and_trace_and_another_seed_another_trace() {
    let folder = tempfile::tempdir().expect("a place for files");
    let scenario = scenario(folder.path(), SMALL);
    let run = |more: &[&str]| files(folder.path(), &scenario, more);
    let first = run(&["--jobs", "1"]);
    assert!(first == run(&["--jobs", "1"]));
    assert!(first == run(&["--jobs", "2"]), "the number of threads");
    assert!(first == run(&["--seed", "1"]), "the scenario's own");
    let other = run(&["--seed", "2"]);
    assert_ne!(first.0, other.0);
    assert_ne!(first.1, other.1, "other contents, other places on the disk");
}

/// The example of DESIGN.md: every key with a value of its kind, a list with an entry of its kind.
const DESIGN: &str = r#"{"schema": "vtb-run/1", "scenario": "", "platform": "", "card": "model", "seed": 1,
 "results": [{"name": "split/host/direct", "requests": 0, "descriptors": 0,
   "round_trips_per_descriptor": {"total": 0.0, "serial": 0.0},
   "dma_per_descriptor": {"reads": 0.0, "writes": 0.0, "by_purpose": {"avail_idx": 0.0}},
   "mmio_per_request": {"reads": 0.0, "writes": 0.0},
   "wire_bytes_per_descriptor": {"upstream": 0.0, "downstream": 0.0},
   "latency_ns": {"min": 0, "p50": 0, "p90": 0, "p99": 0, "p999": 0, "max": 0, "mean": 0.0},
   "descriptors_per_s": 0.0, "payload_gbit_per_s": 0.0, "iotlb": {"hits": 0, "misses": 0},
   "dma_api": {"maps": 0, "unmaps": 0, "bounced_bytes": 0}, "sim_time_ns": 0, "tlps": 0}],
 "wall_s": 0.0, "violations": [{"rule": "VQ-USED-DEV-01", "time_ns": 0, "message": ""}]}"#;

/// Every key of `wanted` is in `found`, with a value of the same kind.
fn has(wanted: &Value, found: &Value, at: &str) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, wanted) in wanted {
                let value = found.get(key).unwrap_or_else(|| panic!("{at} has no {key}"));
                has(wanted, value, &format!("{at}.{key}"));
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            for (nth, value) in found.iter().enumerate() {
                has(&wanted[0], value, &format!("{at}[{nth}]"));
            }
        }
        (Value::Number(wanted), Value::Number(found)) => {
            assert!(wanted.is_f64() || found.is_u64(), "{at} is {found}, not a whole number");
        }
        (Value::String(_), Value::String(_)) => {}
        _ => panic!("{at} is {found}, unlike {wanted}"),
    }
}

/// As much of JSON Schema as the report's schema uses; what it does not know it refuses.
fn valid(schema: &Value, root: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/$defs/").expect("a definition of the same file");
        return valid(&root["$defs"][name], root, value, at);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        Value::Null => vec![],
        other => panic!("{at}: type {other}"),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{at}: type {other}"),
    };
    assert!(kinds.is_empty() || kinds.iter().any(is), "{at}: {value} is not {kinds:?}");
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(list) = schema[alternatives].as_array() {
            assert!(
                list.iter().any(|one| one["const"] == *value
                    || one["enum"].as_array().is_some_and(|list| list.contains(value))),
                "{at}: {value}"
            );
        }
    }
    if let Some(list) = schema["enum"].as_array() {
        assert!(list.contains(value), "{at}: {value} is none of {list:?}");
    }
    if schema["format"].as_str().is_some_and(|format| format.starts_with("uint")) {
        assert!(value.is_u64(), "{at}: {value}");
    }
    if let (Some(fields), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(object.contains_key(required.as_str().expect("a name")), "{at}.{required}");
        }
        for (key, value) in object {
            let field = fields.get(key).unwrap_or_else(|| panic!("{at}.{key} is not described"));
            valid(field, root, value, &format!("{at}.{key}"));
        }
    }
    if let (Some(every), Some(object)) = (schema.get("additionalProperties"), value.as_object())
        && schema["properties"].is_null()
    {
        object.iter().for_each(|(key, value)| valid(every, root, value, &format!("{at}.{key}")));
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        list.iter().for_each(|value| valid(items, root, value, &format!("{at}[]")));
    }
}

fn schema() -> Value {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_vtb")).arg("schema").output();
    serde_json::from_slice(&output.expect("the command starts").stdout).expect("JSON")
}

/// DESIGN.md, "The command": `--json` of `run` has at least these keys, and `vtb schema` describes it.
#[test]
fn a_report_has_every_key_of_the_design_and_is_what_the_schema_says() {
    let folder = tempfile::tempdir().expect("a place for files");
    let scenario = scenario(folder.path(), SMALL);
    let (json, _) = files(folder.path(), &scenario, &[]);
    let report: Value = serde_json::from_str(&json).expect("JSON");
    has(&serde_json::from_str(DESIGN).expect("JSON"), &report, "report");
    assert_eq!(report["schema"], "vtb-run/1");
    let schema = schema();
    valid(&schema, &schema, &report, "report");
    for result in report["results"].as_array().expect("a list") {
        let figures = |key: &str| result[key].as_u64().unwrap_or(0);
        // Of a packet, the transmit buffer and the receive buffer it comes back in are a request each.
        let requests = if result["device"] == "net" { 20 } else { 10 };
        assert_eq!(figures("requests"), requests, "{}", result["name"]);
        assert!(figures("descriptors") >= requests && figures("tlps") > 0);
        let by_purpose = result["dma_per_descriptor"]["by_purpose"].as_object().expect("a table");
        let sum: f64 = by_purpose.values().filter_map(Value::as_f64).sum();
        let dma = |key: &str| result["dma_per_descriptor"][key].as_f64().unwrap_or(0.0);
        assert!((sum - dma("reads") - dma("writes")).abs() < 1e-4, "{}", result["name"]);
        let round_trips = &result["round_trips_per_descriptor"];
        let (total, serial) = (round_trips["total"].as_f64(), round_trips["serial"].as_f64());
        assert_eq!(total, Some(dma("reads")));
        assert!(serial > Some(0.0));
        let vtd = result["platform"] == "x86-vtd";
        let looked_up = result["iotlb"]["hits"].as_u64().unwrap_or(0)
            + result["iotlb"]["misses"].as_u64().unwrap_or(0);
        assert_eq!(looked_up > 0, vtd, "{}", result["name"]);
    }
}

/// The judge of the test above can say no.
#[test]
fn a_report_with_a_key_of_another_kind_is_not_what_the_schema_says() {
    let schema = schema();
    let wrong = [r#"{"schema": 1}"#, r#"{"schema": "vtb-run/1"}"#, r#"[]"#];
    for text in wrong {
        let value: Value = serde_json::from_str(text).expect("JSON");
        let judged = std::panic::catch_unwind(|| valid(&schema, &schema, &value, "report"));
        assert!(judged.is_err(), "{text}");
    }
}
