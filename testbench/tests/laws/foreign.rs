//! Traffic that nobody of this project recorded: what it is, `tests/data` says.

use std::path::Path;

use serde_json::Value;
use testbench::traffic::iolog::IologReader;
use testbench::traffic::pcap::{self, PcapReader};

use crate::trace::vtb;

/// The results of a run with this file as traffic, in every placement, direct.
fn results(option: &str, file: &Path, device: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a place for files");
    let json = folder.path().join("out.json");
    let [file, json_path] = [file, &json].map(|path| path.to_str().expect("UTF-8"));
    let only = format!("/direct/{device}/");
    vtb(&["run", option, file, "--only", &only, "--json", json_path]);
    let report = std::fs::read_to_string(json).expect("the report is there");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["violations"], serde_json::json!([]));
    let results = report["results"].as_array().expect("a list").clone();
    assert_eq!(results.len(), 6, "three placements, two platforms");
    results
}

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// DESIGN.md, "The command": `--pcap`, pcap and pcapng, by others' programs.
#[test]
fn every_packet_of_captures_by_other_programs_goes_through_every_ring_placement() {
    for name in ["wireshark.pcapng", "ns.pcap", "sll.pcap", "sll2.pcap"] {
        let capture = data(name);
        let packets = PcapReader::open(&capture).and_then(pcap::survey).expect("a capture").packets;
        assert!(packets > 0);
        for result in results("--pcap", &capture, "net") {
            // A packet is sent, and comes back.
            assert_eq!(result["requests"].as_u64(), Some(2 * packets), "{name} {}", result["name"]);
        }
    }
}

/// DESIGN.md, "The command": `--blk-log`, fio's iolog versions 2 and 3, written by fio.
#[test]
fn every_command_of_logs_by_fio_goes_through_every_ring_placement() {
    for name in ["fio-v2.iolog", "fio-v3.iolog"] {
        let log = data(name);
        let commands = IologReader::open(&log, 1 << 30).expect("a log").count() as u64;
        assert!(commands > 0);
        for result in results("--blk-log", &log, "blk") {
            assert_eq!(result["requests"].as_u64(), Some(commands), "{name} {}", result["name"]);
        }
    }
}
