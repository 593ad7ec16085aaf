//! The command from outside: exit status, messages, files. Bad input never reaches the simulation, so
//! where one is needed a made-up one stands in.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use pcie_sim::time::{Instant, Span};
use testbench::cli::{Bench, HELD, INTERNAL, Status, VIOLATED, WRONG_INPUT, main_with};
use testbench::report::{RunError, RunReport, RunResult, Violation};
use testbench::scenario::config::{RunConfig, Workload};

/// What a command did.
struct Done {
    status: Status,
    out: String,
    err: String,
}

fn vtb(arguments: &[&str], bench: &Bench<'_>) -> Done {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ["vtb"].iter().chain(arguments);
    let status = main_with(arguments, bench, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { status, out: text(out), err: text(err) }
}

fn made_up(config: &RunConfig) -> Result<RunResult, RunError> {
    if let Some(trace) = &config.trace {
        fs::write(trace, format!("TLPs of {}\n", config.name())).map_err(RunError::internal)?;
    }
    if let Some(waves) = &config.waves {
        fs::write(&waves.path, format!("{:?}", waves.format)).map_err(RunError::internal)?;
    }
    Ok(RunResult {
        requests: 10,
        descriptors: 20,
        round_trips: 60 + config.seed,
        serial_round_trips: 40,
        traffic_time: Span::from_us(20),
        tlps: 100,
        ..RunResult::default()
    })
}

const NOTHING_WRONG: &dyn Fn(&Workload) -> Result<(), RunError> = &|_| Ok(());
const MADE_UP: Bench<'static> = Bench { inspect: NOTHING_WRONG, run: &made_up };

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn binary(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vtb")).args(arguments).output().unwrap()
}

/// Exit 2, one line that says `expected`, nothing on standard output.
fn refused(arguments: &[&str], expected: &str) {
    let output = binary(arguments);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains(expected), "{err}");
    assert!(output.stdout.is_empty());
}

#[test]
fn bad_input_is_refused_with_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("name = \"x\"\nplatforms = [\"x86-vtd\"]\n{text}")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let image = folder.path().join("odd.img");
    fs::write(&image, [0; 513]).unwrap();
    let cases = [
        ("[card]\nqueue_sise = 8\n", ".toml:4: card.queue_sise: unknown field `queue_sise`"),
        ("[card]\nqueue_size = true\n", ".toml:4: card.queue_size: invalid type: boolean"),
        ("[card]\nqueue_size = 100\n", ".toml:4: card.queue_size: 100 is not a power of two"),
        (
            "[host]\nram = \"64 KiB\"\n",
            ".toml:4: host.ram: 65536 bytes are too small for the rings",
        ),
        (
            "[blk]\ndisk = \"odd.img\"\n",
            ".toml:4: blk.disk: the disk's 513 bytes are not a multiple",
        ),
        (
            "[timing]\npreset = \"none\"\n",
            ".toml:4: timing.preset: unknown preset `none`; there are:",
        ),
        ("this is not TOML\n", ".toml:3: "),
    ];
    for (number, (text, expected)) in cases.iter().enumerate() {
        refused(&["run", &scenario(&format!("{number}.toml"), text)], expected);
    }
}

#[test]
fn a_bad_option_is_refused_with_one_line_and_status_2() {
    refused(&["--platform", "sun4"], "unknown platform `sun4`; there are: x86-noiommu, x86-os-off");
    refused(&["run", "nowhere.toml"], "nowhere.toml: cannot be read");
    refused(&["run", "--card", "rtl:card.toml"], "card.toml: cannot be read");
    refused(&["run", "--card", "silicon"], "there are: model, rtl:MANIFEST");
    refused(&["run", "--card", "wood"], "unknown card `wood`");
    refused(
        &["run", "--waves", "x.png"],
        "--waves: x.png: the extension is neither .fst nor .vcd nor",
    );
    refused(&["run", "--json", "/nowhere/x.json"], "--json: cannot write /nowhere/x.json");
    refused(&["run", "--pcap", "nowhere.pcap"], "--pcap: cannot read nowhere.pcap");
    refused(&["run", "--blk-log", "/"], "--blk-log: cannot read /: it is a folder");
    refused(&["run", "--only", "hosts"], "no run's name contains `hosts`; there are: split/host/");
    refused(&["run", "--set", "card.size=1"], "--set card.size=1: unknown field `size`");
}

#[test]
fn bad_traffic_is_refused_with_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let capture = testbench::traffic::recorded::NET_PCAP;
    let text = file("a.pcap", b"this is a text, not a capture\n");
    refused(&["run", "--pcap", &text], "a.pcap: not a packet capture");
    let cut = file("cut.pcap", &capture[..capture.len() - 5]);
    refused(&["run", "--pcap", &cut], "cut.pcap: the capture is cut off in packet");
    let past = file(
        "past.iolog",
        b"fio version 2 iolog\n/dev/x add\n/dev/x open\n/dev/x write 2147483648 4096\n",
    );
    refused(&["run", "--blk-log", &past], "past.iolog");
    refused(&["run", "--blk-log", &text], "a.pcap");
    refused(&["run", "--set", "blk.disk_size=\"1 MiB\""], "the recorded log");
    let json = folder.path().join("out.json");
    refused(&["run", "--pcap", &cut, "--json", json.to_str().unwrap()], "cut off");
    assert!(!json.exists());
}

#[test]
fn no_verb_is_the_verb_run() {
    let (without, with) = (vtb(&[], &MADE_UP), vtb(&["run"], &MADE_UP));
    assert_eq!((without.status, without.out.as_str()), (HELD, with.out.as_str()));
    assert!(with.out.starts_with("  ") && with.err.is_empty(), "{}{}", with.out, with.err);
}

#[test]
fn traffic_that_cannot_be_used_ends_the_command_before_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("out.json");
    let runs = AtomicUsize::new(0);
    let run = |config: &RunConfig| {
        runs.fetch_add(1, Ordering::Relaxed);
        made_up(config)
    };
    let inspect = |_: &Workload| Err(RunError::input("a.pcap: the capture is cut off"));
    let bench = Bench { inspect: &inspect, run: &run };
    let done = vtb(&["run", "--json", json.to_str().unwrap()], &bench);
    assert_eq!(
        (done.status, done.err.as_str()),
        (WRONG_INPUT, "vtb: a.pcap: the capture is cut off\n")
    );
    assert_eq!((runs.into_inner(), names(folder.path())), (0, vec![]));
}

#[test]
fn a_run_that_fails_leaves_no_file_and_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |config: &RunConfig| match config.name().as_str() {
        "split/card/indirect+event_idx/net/x86-vtd" => Err(RunError::internal("a wire came off")),
        _ => made_up(config),
    };
    let (json, trace, waves) = (path("a.json"), path("a.txt"), path("a.vcd"));
    let arguments = ["run", "--json", &json, "--trace", &trace, "--waves", &waves];
    let done = vtb(&arguments, &Bench { inspect: NOTHING_WRONG, run: &run });
    assert_eq!((done.status, done.out.as_str()), (INTERNAL, ""));
    assert_eq!(done.err, "vtb: internal error: a wire came off\n");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_panic_is_an_internal_error() {
    let run = |_: &RunConfig| -> Result<RunResult, RunError> { panic!("on purpose") };
    let done = vtb(&["run", "--jobs", "1"], &Bench { inspect: NOTHING_WRONG, run: &run });
    assert_eq!(done.status, INTERNAL);
    assert!(done.err.starts_with("vtb: internal error: split/host/direct/blk/x86-noiommu: "));
}

/// The law: same seed, same bytes; two runs' JSON and trace are identical.
#[test]
fn two_runs_write_the_same_bytes_whatever_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let files = |jobs: &str| {
        let path =
            |name: &str| folder.path().join(format!("{jobs}{name}")).to_str().unwrap().to_owned();
        let (json, trace) = (path("a.json"), path("a.txt"));
        let arguments = ["run", "--jobs", jobs, "--json", &json, "--trace", &trace];
        assert_eq!(vtb(&arguments, &MADE_UP).status, HELD);
        (fs::read(json).unwrap(), fs::read_to_string(trace).unwrap())
    };
    let (one, four) = (files("1"), files("4"));
    assert!(one == four);
    assert!(
        one.1.starts_with("# split/host/direct/blk/x86-noiommu\nTLPs of split/host/direct/blk")
    );
    assert_eq!(one.1.lines().count(), 96);
}

#[test]
fn files_are_replaced_whole_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, waves) = (path("a.json"), path("a.fst"));
    fs::write(&json, "old").unwrap();
    let done = vtb(&["run", "--seed", "9", "--json", &json, "--waves", &waves], &MADE_UP);
    assert_eq!(done.status, HELD);
    assert_eq!(names(folder.path()), ["a.fst", "a.json"]);
    let report: RunReport = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!((report.seed, report.wall_s, report.results.len()), (9, 0.0, 48));
    assert_eq!(report.results[0].round_trips_per_descriptor.total, 69.0 / 20.0);
    assert_eq!(fs::read_to_string(waves).unwrap(), "Fst");
}

#[test]
fn the_wall_clock_is_reported_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    vtb(&["run", "--wall-clock", "--json", json.to_str().unwrap()], &MADE_UP);
    let report: RunReport = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert!(report.wall_s > 0.0);
}

#[test]
fn a_violated_rule_is_status_1_and_its_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    let run = |config: &RunConfig| {
        let violation = Violation {
            rule: "VQ-USED-DEV-01".to_owned(),
            time: Instant::from_ps(7_000),
            message: "made up".to_owned(),
        };
        Ok(RunResult { violations: vec![violation], ..made_up(config)? })
    };
    let bench = Bench { inspect: NOTHING_WRONG, run: &run };
    let done = vtb(
        &["run", "--only", "host/direct/blk/x86-vtd", "--json", json.to_str().unwrap()],
        &bench,
    );
    assert_eq!(done.status, VIOLATED);
    let line = "violated: VQ-USED-DEV-01 at 7 ns in split/host/direct/blk/x86-vtd: made up\n";
    assert!(done.out.ends_with(line), "{}", done.out);
    assert!(fs::read_to_string(json).unwrap().contains("\"rule\": \"VQ-USED-DEV-01\""));
}

#[test]
fn a_missed_threshold_is_status_1() {
    let done = vtb(&["run", "--set", "threshold=[{figure=\"requests\",at_least=11}]"], &MADE_UP);
    assert_eq!(done.status, VIOLATED);
    assert!(done.out.contains("requests is 10, wanted at least 11"), "{}", done.out);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for arguments in [vec!["vtb"], vec!["vtb", "schema"], vec!["vtb", "completions", "bash"]] {
        let mut err = Vec::new();
        assert_eq!(main_with(arguments, &MADE_UP, &mut Gone, &mut err), HELD);
        assert!(err.is_empty());
    }
}

#[test]
fn the_schema_names_every_key_of_a_report() {
    let done = vtb(&["schema"], &MADE_UP);
    let schema: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    vtb(&["run", "--json", json.to_str().unwrap()], &MADE_UP);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    let keys = |value: &serde_json::Value| {
        value.as_object().unwrap().keys().cloned().collect::<Vec<String>>()
    };
    assert_eq!(keys(&schema["properties"]), keys(&report));
    // What is judged is said of a platform's row only.
    let judged = schemars::schema_for!(testbench::report::Judged).to_value();
    let judged = keys(&judged["properties"]);
    let mut all = keys(&report["results"][0]);
    all.extend(judged);
    // And what went wrong on purpose, of a run in which something did; and what a station at the cable's end
    // was asked, of a card that is served to a guest.
    all.extend(["faults", "peer"].map(str::to_owned));
    all.sort();
    assert_eq!(keys(&schema["$defs"]["RunFigures"]["properties"]), all);
}

#[test]
fn a_wrong_verb_is_status_2_and_help_is_status_0() {
    assert_eq!(vtb(&["walk"], &MADE_UP).status, WRONG_INPUT);
    assert_eq!(vtb(&["run", "--nothing"], &MADE_UP).status, WRONG_INPUT);
    let help = vtb(&["--help"], &MADE_UP);
    assert_eq!((help.status, help.err.as_str()), (HELD, ""));
    assert!(help.out.contains("Exit status: 0 all held"), "{}", help.out);
    assert!(vtb(&["completions", "bash"], &MADE_UP).out.contains("_vtb"));
}

/// A row a platform, with outcome, expectation and evidence; status 0 when all are as expected.
#[test]
fn the_table_of_platforms_has_every_row_and_holds() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    let output = binary(&["run", "--platform", "all", "--json", json.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for id in testbench::platform::ids() {
        assert!(text.lines().any(|line| line.starts_with(id)), "{id}: {text}");
    }
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    for row in report["results"].as_array().unwrap() {
        for key in ["platform", "ops", "features", "outcome", "expected", "evidence"] {
            assert!(!row[key].is_null(), "{key}: {row}");
        }
        assert_eq!(row["outcome"], row["expected"]);
        assert!(row["evidence"].as_str().is_some_and(|line| !line.contains('\n')));
    }
}

#[test]
fn the_story_of_a_row_follows_one_buffer() {
    let output = binary(&["run", "--platform", "ppc64-ddw", "--explain"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["the driver had", "it handed over", "window base", "it came to", "Outcome: works"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let output = binary(&["run", "--platform", "qemu-guest", "--explain"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("Nothing was run"));
}

/// DESIGN.md, "The command": the dump needs neither driver nor workload.
#[test]
fn lspci_prints_four_kibibytes_of_port_and_card() {
    let done = vtb(&["lspci", "--device", "net"], &MADE_UP);
    assert_eq!((done.status, done.err.as_str()), (HELD, ""));
    let functions: Vec<&str> = done.out.split("\n\n").collect();
    assert_eq!(functions.len(), 2);
    for (function, slot) in functions.iter().zip(["00:01.0 ", "01:00.0 "]) {
        let lines: Vec<&str> = function.lines().collect();
        assert!(lines[0].starts_with(slot), "{}", lines[0]);
        assert_eq!(lines.len(), 1 + 256);
        assert!(lines[1].starts_with("00: ") && lines[256].starts_with("ff0: "));
    }
    assert!(functions[1].contains("\n00: f4 1a 41 10 "), "a virtio network card");
    assert!(functions[1].contains("\n100: 01 00 82 14 "), "AER, and what follows at 0x148");
}

#[test]
fn lspci_refuses_what_has_no_configuration_space() {
    for (arguments, why) in [
        (["lspci", "--platform", "mmio-platform"], "mmio-platform"),
        (["lspci", "--card", "rtl:x.toml"], "x.toml: cannot be read"),
        (["lspci", "--platform", "nonsense"], "nonsense"),
    ] {
        let done = vtb(&arguments, &MADE_UP);
        assert_eq!((done.status, done.out.as_str()), (WRONG_INPUT, ""), "{arguments:?}");
        assert!(done.err.contains(why) && done.err.lines().count() == 1, "{}", done.err);
    }
}

/// Three rows of the shipped study, and one that no simulation will reach.
fn small_study(folder: &Path) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("studies");
    let text = fs::read_to_string(shipped.join("pcie-bench.toml")).unwrap();
    let mut study: toml::Table = text.parse().unwrap();
    study["name"] = "small".into();
    study["data"] = toml::Value::Array(vec!["rows.csv".into()]);
    study.remove("state");
    study.remove("relabel");
    for kind in ["latency", "bandwidth"] {
        study["accesses"][kind] = 100.into();
    }
    let head =
        "iommu,test,pattern,host_cache,host_offset_B,window_B,size_B,avg_ns,bandwidth_Gbit_s";
    let rows = "off,LAT_CMD_RD,Seq,Cold,0,4096,64,523,\noff,BW_DMA_RD,Seq,DWarm,0,65536,512,,55.11\n\
                off,BW_DMA_WR,Seq,DWarm,0,65536,512,,54.44\noff,BW_DMA_WR,Seq,DWarm,0,65536,256,,80\n";
    fs::write(folder.join("rows.csv"), format!("{head}\n{rows}")).unwrap();
    let path = folder.join("small.toml");
    fs::write(&path, study.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_study_prints_its_rows_and_how_well_they_agree() {
    let folder = tempfile::tempdir().unwrap();
    let study = small_study(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, html) = (file("r.json"), file("r.html"));
    let output = binary(&["study", &study, "--json", &json, "--html", &html]);
    assert_eq!(output.status.code(), Some(1), "one row is missed by far");
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
    assert!(fs::read_to_string(&html).unwrap().starts_with("<!DOCTYPE html>"));

    let parts: Vec<String> = ["1/2", "2/2"]
        .iter()
        .map(|shard| {
            let part = file(&shard.replace('/', "-"));
            binary(&["study", &study, "--shard", shard, "--json", &part]);
            part
        })
        .collect();
    let merged = file("merged.json");
    binary(&["study", "--merge", &parts[0], &parts[1], "--json", &merged]);
    assert_eq!(fs::read(merged).unwrap(), fs::read(json).unwrap());
}

/// A driver's row is any report's run: whatever drives the card and writes one can be compared.
#[test]
fn reports_of_drivers_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("r.json").to_str().unwrap().to_owned();
    let only = ["run", "--platform", "x86-noiommu", "--only", "host/direct/", "--json", &report];
    assert_eq!(vtb(&only, &MADE_UP).status, HELD);
    let (ours, other) = (format!("ours={report}"), format!("linux={report}"));
    let done = vtb(&["drivers", &ours, &other], &MADE_UP);
    assert_eq!(done.status, HELD, "{}", done.err);
    let rows = |name: &str| done.out.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!((rows("ours "), rows("linux "), rows("driver ")), (2, 2, 1), "{}", done.out);
    for wrong in ["no-name", "ours=/nonexistent", "ours=/dev/null"] {
        let done = vtb(&["drivers", wrong], &MADE_UP);
        assert_eq!((done.status, done.err.lines().count()), (WRONG_INPUT, 1), "{}", done.err);
    }
}

fn with_qemu(program: &str) -> Output {
    let arguments = ["run", "--platform", "qemu-qtest", "--only", "direct/blk"];
    Command::new(env!("CARGO_BIN_EXE_vtb"))
        .args(arguments)
        .env("VTB_QEMU", program)
        .output()
        .unwrap()
}

/// PLATFORMS.md, `qemu-qtest`: where there is no QEMU, one line says so and how to get it.
#[test]
fn without_a_qemu_one_line_says_how_to_get_it() {
    let output = with_qemu("/nonexistent/qemu");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("apt-get install qemu-system-x86"), "{said}");
}

#[test]
fn a_qemu_that_dies_ends_the_command_with_its_last_words() {
    let output = with_qemu("/bin/sh");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(3), 1), "{said}");
    assert!(said.contains("its last words") && said.contains("option"), "{said}");
}
