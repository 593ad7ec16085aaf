//! What cannot be run is refused, whatever it is: the real simulation behind the real command.

use std::fs;
use std::process::Command;

use proptest::prelude::*;
use proptest::sample::select;
use testbench::cli::{Bench, HELD, WRONG_INPUT, main_with};

/// What is behind the head of a scenario, files of zeroes with their lengths, and parts of the message.
type Case = (&'static str, &'static [(&'static str, usize)], &'static [&'static str]);

/// Exit 2, one line with `expected`, nothing said, nothing written.
fn refused(text: &str, files: &[(&str, usize)], arguments: &[&str], expected: &[&str]) {
    let folder = tempfile::tempdir().expect("a place for files");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("s.toml"), text).expect("a file can be written");
    for (name, bytes) in files {
        fs::write(path(name), vec![0; *bytes]).expect("a file can be written");
    }
    let outputs = ["out.json", "out.txt", "out.vcd"];
    let output = Command::new(env!("CARGO_BIN_EXE_vtb"))
        .current_dir(folder.path())
        .args(["run", "s.toml", "--json", "out.json", "--trace", "out.txt", "--waves", "out.vcd"])
        .args(arguments)
        .output()
        .expect("the command starts");
    let err = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{text}{err}");
    assert_eq!((err.lines().count(), output.stdout.len()), (1, 0), "{err}");
    for part in expected {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert!(outputs.iter().all(|name| !path(name).exists()), "{err}");
    let left = fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(left, 1 + files.len(), "nothing half done");
}

const HEAD: &str = "name = \"x\"\nplatforms = [\"x86-vtd\"]\n";

/// DESIGN.md, "The command": 2 the input is wrong, the message names file, line and key.
#[test]
fn a_scenario_that_cannot_run_is_refused_with_file_line_and_key_and_leaves_no_file() {
    let cases: [Case; 12] = [
        ("[matrix]\nrings = [\"moon\"]\n", &[], &["s.toml:4", "matrix.rings", "moon"]),
        ("[matrix]\nevent_idx = true\n", &[], &["s.toml:4", "matrix.event_idx", "sequence"]),
        ("[matrix]\nlayouts = []\n", &[], &["s.toml:4", "matrix.layouts", "empty"]),
        ("[mtarix]\n", &[], &["s.toml:3", "mtarix"]),
        ("seed = -1\n", &[], &["s.toml:3", "seed"]),
        ("[host]\nram = \"1 GB\"\n", &[], &["s.toml:4", "host.ram", "GB"]),
        ("[link]\nmps = 300\n", &[], &["s.toml:4", "link.mps", "300"]),
        (
            "[link.root_buffers]\nposted = { headers = 0, data = 256 }\n",
            &[],
            &["s.toml:3", "root_buffers"],
        ),
        ("[driver]\nqueue_depth = 0\n", &[], &["s.toml:4", "driver.queue_depth", "0"]),
        ("[blk]\ndisk = \"d.img\"\n", &[("d.img", 1000)], &["s.toml:4", "blk.disk", "1000"]),
        ("[blk]\ndisk = \"none.img\"\n", &[], &["s.toml:4", "blk.disk", "none.img"]),
        ("[card]\nalways_interrupt = true\n", &[], &["s.toml:4", "card.always_interrupt"]),
    ];
    for (text, files, expected) in cases {
        refused(&format!("{HEAD}{text}"), files, &[], expected);
    }
}

/// The same: a platform that no row has, in a file as on the command line.
#[test]
fn an_unknown_platform_in_a_scenario_is_refused_with_a_list_of_those_that_exist() {
    let text = "name = \"x\"\nplatforms = [\"x86-vtd\", \"vax\"]\n";
    let listed = ["s.toml:2", "platforms", "vax", "x86-noiommu", "x86-vtd"];
    refused(text, &[], &[], &listed);
    refused(HEAD, &[], &["--platform", "vax"], &listed[2..]);
}

/// The same, for what only reading the traffic shows.
#[test]
fn traffic_that_does_not_fit_is_refused_before_anything_runs() {
    let small = format!(
        "{HEAD}[matrix]\ndevices = [\"blk\"]\n[blk]\nlog = \"l.iolog\"\ndisk_size = \"1 MiB\"\n"
    );
    refused(&small, &[("l.iolog", 30)], &[], &["l.iolog"]);
    refused(&format!("{HEAD}[net]\npcap = \"c.pcap\"\n"), &[("c.pcap", 100)], &[], &["c.pcap"]);
    refused(&format!("{HEAD}[net]\npcap = \"c.pcap\"\n"), &[("c.pcap", 0)], &[], &["c.pcap"]);
    let log = format!("{HEAD}[matrix]\ndevices = [\"blk\"]\n[blk]\ndisk = \"d.img\"\n");
    refused(&log, &[("d.img", 4096)], &[], &["past"]);
}

/// Sizes from far too small to plenty.
fn ram() -> impl Strategy<Value = u64> {
    prop_oneof![4..2048_u64, 256..8192_u64].prop_map(|pages| pages * 4096)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(80) })]

    /// DESIGN.md, "The command": what the user has chosen badly is status 2, never an internal error.
    #[test]
    fn sizes_of_any_kind_run_or_are_refused_and_are_never_an_internal_error(
        device in select(vec!["net", "blk"]),
        rings in select(vec!["host", "hybrid", "card"]),
        layout in select(vec!["direct", "indirect"]),
        platform in select(vec!["x86-noiommu", "x86-vtd"]),
        ram in ram(),
        card_memory in (12..24_u32).prop_map(|log| 1_u64 << log),
        log_size in 0..=15_u32,
        depth in prop_oneof![1..64_u32, 1..1000_u32],
        bytes in prop_oneof![Just(14_u32), Just(9216), 14..9216_u32],
        sectors in 1..=2048_u32,
        disk in prop_oneof![Just(512_u64), (1..4096_u64).prop_map(|n| n * 512)],
    ) {
        let size = 1_u32 << log_size;
        let block = sectors * 512;
        let text = format!(
            "name = \"x\"\nplatforms = [\"{platform}\"]\n\
             [matrix]\ndevices = [\"{device}\"]\nrings = [\"{rings}\"]\nlayouts = [\"{layout}\"]\n\
             [host]\nram = {ram}\n[card]\nqueue_size = {size}\nmemory = {card_memory}\n\
             [driver]\nqueue_depth = {depth}\n\
             [net]\nsynthetic = {{ packets = 5, bytes = {bytes} }}\n\
             [blk]\nsynthetic = {{ requests = 5, bytes = {block} }}\ndisk_size = {disk}\n",
            depth = depth.min(size),
        );
        let folder = tempfile::tempdir().expect("a place for files");
        let path = folder.path().join("s.toml");
        fs::write(&path, &text).expect("a file can be written");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let arguments = ["vtb", "run", path.to_str().expect("UTF-8")];
        let status = main_with(arguments, &Bench::SIMULATED, &mut out, &mut err);
        let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
        prop_assert!([HELD, WRONG_INPUT].contains(&status), "{status} {out}{err}\n{text}");
        prop_assert_eq!(status == WRONG_INPUT, !err.is_empty());
    }
}
