//! The model that is fitted to the reference RTL, beside it: how far apart they are, and what shows it.

use std::fs;
use std::path::Path;
use std::process::Command;

use testbench::card::CardChoice;
use testbench::compare::{RunComparison, compare, record};
use testbench::preset::CardPreset;
use testbench::scenario::config::RunConfig;
use testbench::scenario::source::Source;

use crate::rig::{CARD, cell_with};

const TRAFFIC: &str = "[net]\nsynthetic = { packets = 40, bytes = 700 }\n\
                       [blk]\nsynthetic = { requests = 40, bytes = 6144 }\n";

/// The fitted model beside the RTL.
fn beside(config: &RunConfig) -> RunComparison {
    let named_by = Source::built_in("the test", "");
    let steps = CardPreset::load("reference", &named_by, "model").expect("it is built in");
    let timing = config.timing.clone().with_card(steps);
    let model = RunConfig { timing, ..config.clone() };
    let model = record(&model, &|run, card| CardChoice::Model.plug(run, card)).expect("it runs");
    let rtl = record(config, &CARD).expect("it runs");
    compare(config, &model, &rtl)
}

/// The figures to reach: of the same requests, half are no further apart than 2 %, 99 in a hundred no further
/// than 5 %.
#[test]
fn the_fitted_model_takes_as_long_as_the_rtl_for_nearly_every_request() {
    for (platform, device, rings, layout, event_idx, depth) in [
        ("x86-noiommu", "blk", "host", "direct", false, 16),
        ("x86-noiommu", "blk", "hybrid", "indirect", true, 1),
        ("x86-vtd", "net", "host", "indirect", true, 16),
        ("x86-noiommu", "net", "card", "direct", false, 1),
    ] {
        let more = format!("{TRAFFIC}[driver]\nqueue_depth = {depth}\n");
        let seen = beside(&cell_with(platform, device, rings, layout, event_idx, &more));
        assert_eq!(seen.first_difference, None, "{}", seen.name);
        assert!(seen.requests >= 40, "{}", seen.name);
        let error = seen.timing_error;
        assert!(error.p50 <= 0.02 && error.p99 <= 0.05, "{}: {error:?}", seen.name);
    }
}

/// One request at a time leaves no two things to be told apart: every stage takes what it takes, to the cycle.
#[test]
fn one_request_at_a_time_is_as_long_in_every_stage_of_the_fitted_model_as_on_the_rtl() {
    let more = format!("{TRAFFIC}[driver]\nqueue_depth = 1\n");
    for device in ["blk", "net"] {
        let seen = beside(&cell_with("x86-noiommu", device, "host", "direct", false, &more));
        assert_eq!(seen.timing_error.p99, 0.0, "{}", seen.name);
        for stage in &seen.stages {
            assert_eq!(stage.apart_p50_ns, 0.0, "{}: {}", seen.name, stage.stage);
        }
    }
}

/// A planted bug: both cards' waves, cut to where they part, with the same signals, and layouts that name them.
#[test]
fn a_comparison_writes_waves_of_both_cards_around_their_first_difference() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl-model/reference.toml");
    let rtl = reference.with_file_name("rtl").canonicalize().expect("it is there");
    let text = fs::read_to_string(&reference).expect("it is there");
    let text = text.replace("\"rtl/", &format!("\"{}/", rtl.display()));
    let bug = "defines = { BUG_USED_LENGTH = true }\nparameters = ";
    fs::write(place("bug.toml"), text.replacen("parameters = ", bug, 1)).expect("written");
    let scenario = "name = \"bug\"\nplatforms = [\"x86-noiommu\"]\n[matrix]\ndevices = [\"blk\"]\n\
                    rings = [\"host\"]\nlayouts = [\"direct\"]\nevent_idx = [false]\n\
                    [blk]\nsynthetic = { requests = 4, bytes = 4096 }\n";
    fs::write(place("s.toml"), scenario).expect("written");
    let done = Command::new(env!("CARGO_BIN_EXE_vtb"))
        .args(["compare", "s.toml", "--rtl", "bug.toml", "--waves", "waves"])
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains("rule  VQ-USED-DEV-06"), "{said}");
    let signals = |name: &str| {
        let wave = wellen::simple::read(place("waves").join(name)).expect("it is a wave");
        let hierarchy = wave.hierarchy();
        let names: Vec<_> =
            hierarchy.all_vars().map(|var| hierarchy[var].full_name(hierarchy)).collect();
        let times = wave.time_table();
        (names, times.first().copied(), times.last().copied())
    };
    let (model, _, model_ends) = signals("model.fst");
    let (rtl, _, rtl_ends) = signals("rtl.fst");
    assert!(model.len() > 50 && model == rtl);
    // The first request is over at 103 us, the window is 5 us to each side.
    assert!(model_ends < Some(120_000_000) && rtl_ends < Some(120_000_000));
    let (inside, _, inside_ends) = signals("rtl-inside.fst");
    assert!(inside.iter().any(|name| name.ends_with("u_used.state_q")), "{}", inside.len());
    assert!(inside_ends < Some(120_000_000));
    let layout = fs::read_to_string(place("waves").join("bench.gtkw")).expect("it is there");
    assert!(layout.contains("link.upstream.kind"));
    assert!(place("waves").join("show").exists());
}
