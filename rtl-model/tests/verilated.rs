//! Designs built by Verilator from a manifest, loaded and run. Runs with the feature `live-tools` only; what
//! `scripts/setup` installs must be there then.

use std::path::{Path, PathBuf};

use pcie_sim::time::{Instant, Span};
use rtl_model::pins::{Known, Pins, PortDirection, PortId};
use rtl_model::source::Source;
use rtl_model::verilated::bare::{bare_loop, idle_loop};
use rtl_model::verilated::names::PortError;
use rtl_model::verilated::toolchain::Places;
use rtl_model::verilated::value::Value;
use rtl_model::verilated::{Manifest, Options, Rtl, RtlError, VerilatedModel};

#[path = "verilated/errors.rs"]
mod errors;
#[path = "verilated/waves.rs"]
mod waves;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verilated")
}

fn counter() -> Manifest {
    Manifest::read(&folder().join("counter.toml")).unwrap()
}

fn reference(name: &str) -> Manifest {
    Manifest::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn load(manifest: &Manifest, waves: bool) -> Rtl {
    let options = Options { waves, ..Options::default() };
    Rtl::load(manifest, &options).unwrap_or_else(|error| panic!("{error}"))
}

fn model(rtl: &Rtl) -> VerilatedModel {
    VerilatedModel::new(rtl).unwrap_or_else(|error| panic!("{error}"))
}

fn port(model: &VerilatedModel, name: &str) -> PortId {
    let found = model.ports().iter().find(|port| port.name == name);
    found.unwrap_or_else(|| panic!("no port {name}")).id
}

fn read(model: &mut VerilatedModel, name: &str) -> u32 {
    let port = port(model, name);
    let (value, known) = model.read(port);
    assert_eq!(known, Known::All);
    value
}

/// Writes `value` words to `in` behind an edge and gives what `out` holds behind the next.
fn through(model: &mut VerilatedModel, bits: u32, value: &[u32]) -> Vec<u32> {
    let (input, output) = (port(model, &format!("in{bits}")), port(model, &format!("out{bits}")));
    model.cycle(Instant::ZERO, |model| model.write_wide(input, value));
    model.cycle(Instant::ZERO, |_| ());
    let mut words = vec![0x5555_5555; value.len()];
    assert_eq!(model.read_wide(output, &mut words), Known::All);
    words
}

#[test]
fn ports_of_every_width_are_read_and_written() {
    let mut model = model(&load(&counter(), false));
    for bits in [8_u32, 33, 64, 100, 512] {
        let words = bits.div_ceil(32) as usize;
        let value: Vec<u32> = (0..words as u32).map(|word| 0x1234_5678 ^ word << 20).collect();
        let mut expected: Vec<u32> = value.iter().map(|word| !word).collect();
        // Bits beyond the width are ignored when written, and zero when read.
        *expected.last_mut().unwrap() &= u32::MAX >> (31 - (bits - 1) % 32);
        assert_eq!(through(&mut model, bits, &value), expected, "{bits}");
    }
}

#[test]
fn a_narrow_write_to_a_wide_port_clears_what_is_above_it() {
    let mut model = model(&load(&counter(), false));
    for bits in [33_u32, 64, 100, 512] {
        let words = bits.div_ceil(32) as usize;
        through(&mut model, bits, &vec![u32::MAX; words]);
        let input = port(&model, &format!("in{bits}"));
        model.write(input, 7);
        let mut all = vec![0; words + 1];
        let _ = model.read_wide(input, &mut all);
        assert_eq!((all[0], all[1..].iter().all(|&word| word == 0)), (7, true), "{bits}");
    }
}

#[test]
fn ports_say_their_name_direction_and_width() {
    let rtl = load(&counter(), false);
    let find = |name: &str| rtl.ports().iter().find(|port| port.name == name).unwrap();
    assert_eq!((find("in33").direction, find("in33").bits), (PortDirection::Input, 33));
    assert_eq!((find("out512").direction, find("out512").bits), (PortDirection::Output, 512));
    assert_eq!((find("clk").direction, find("clk").bits), (PortDirection::Input, 1));
    assert_eq!(rtl.ports().len(), 18);
}

#[test]
fn a_flip_flop_sees_what_was_written_before_its_edge() {
    let mut model = model(&load(&counter(), false));
    let enable = port(&model, "enable");
    let start = model.reset(Instant::ZERO);
    assert_eq!(start, Instant::ZERO + Span::from_ns(20));
    model.cycle(start, |model| model.write(enable, 1));
    assert_eq!(read(&mut model, "count"), 0, "written behind the edge, seen at the next");
    assert_eq!(read(&mut model, "comb"), 1, "and what hangs on it settles at once");
    for edge in 1..=3 {
        model.cycle(start, |_| ());
        assert_eq!(read(&mut model, "count"), edge);
    }
}

#[test]
fn tied_inputs_hold_their_value_and_others_are_zero() {
    let mut model = model(&load(&counter(), false));
    assert_eq!(read(&mut model, "mode_seen"), 5);
    assert_eq!(read(&mut model, "in8"), 0);
}

#[test]
fn instances_of_one_library_do_not_touch_each_other() {
    let rtl = load(&counter(), false);
    let mut models: Vec<_> = (0..3).map(|_| model(&rtl)).collect();
    for (index, model) in models.iter_mut().enumerate() {
        let enable = port(model, "enable");
        model.reset(Instant::ZERO);
        model.write(enable, 1);
        (0..=index).for_each(|_| model.cycle(Instant::ZERO, |_| ()));
    }
    let counts: Vec<u32> = models.iter_mut().map(|model| read(model, "count")).collect();
    assert_eq!(counts, [1, 2, 3]);
    // Nor do those of another design of the same names, nor do threads.
    let mut other = counter();
    other.parameters.insert("STEP".to_owned(), Value::Number(100));
    let mut other = model(&load(&other, false));
    let mut first = models.swap_remove(0);
    let other = std::thread::spawn(move || {
        let enable = port(&other, "enable");
        other.reset(Instant::ZERO);
        other.write(enable, 1);
        (0..50).for_each(|_| other.cycle(Instant::ZERO, |_| ()));
        read(&mut other, "count")
    });
    (0..50).for_each(|_| first.cycle(Instant::ZERO, |_| ()));
    assert_eq!((read(&mut first, "count"), other.join().unwrap()), (51, 5000));
}

#[test]
fn a_second_load_takes_what_the_first_built() {
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..Options::default() };
    let built = |manifest: &Manifest| Rtl::load(manifest, &options).unwrap().built_now();
    let manifest = counter();
    assert!(built(&manifest));
    assert!(!built(&manifest));
    let mut other = manifest.clone();
    other.defines.insert("X".to_owned(), Value::Flag(true));
    assert!(built(&other), "a define makes another design");
    // A change of a source, too.
    let sources = tempfile::tempdir().unwrap();
    let copy = sources.path().join("counter.sv");
    let text = std::fs::read_to_string(&manifest.files[0]).unwrap();
    std::fs::write(&copy, &text).unwrap();
    let moved = Manifest { files: vec![copy.clone()], ..manifest };
    assert!(!built(&moved), "the same content elsewhere");
    std::fs::write(&copy, text.replace("~in8", "in8")).unwrap();
    assert!(built(&moved));
}

#[test]
fn a_design_that_ends_itself_says_why_and_where() {
    let mut model = model(&load(&counter(), false));
    let die = port(&model, "die");
    model.write(die, 1);
    model.cycle(Instant::ZERO, |_| ());
    let why = model.stopped().expect("it stopped");
    assert!(why.contains("counter.sv:") && why.contains("$fatal"), "{why}");
    model.cycle(Instant::ZERO, |_| ());
}

/// A card of the reference RTL leaves its reset, is ready, and asks for nothing.
fn stands_still(device: i64) {
    let mut manifest = reference("reference.toml");
    manifest.parameters.insert("DEVICE".to_owned(), Value::Number(device));
    let rtl = load(&manifest, false);
    for (signal, way, bits) in [
        ("rx_data", PortDirection::Input, 256),
        ("tx_data", PortDirection::Output, 256),
        ("rx_ready", PortDirection::Output, 1),
        ("stat_doorbell", PortDirection::Output, 2),
    ] {
        manifest.ports.require(signal, "virtio_card", rtl.ports(), way, Some(bits)).unwrap();
    }
    let mut model = model(&rtl);
    idle_loop(&mut model, 200);
    assert_eq!(read(&mut model, "rx_ready_o"), 1);
    assert_eq!(read(&mut model, "rx_np_ok_o"), 1);
    assert_eq!(read(&mut model, "tx_valid_o"), 0);
    assert_eq!(model.stopped(), None);
}

#[test]
fn the_reference_disk_comes_out_of_reset_and_stands_still() {
    stands_still(2);
}

#[test]
fn the_reference_interface_comes_out_of_reset_and_stands_still() {
    stands_still(1);
}

#[test]
fn a_bare_loop_gives_a_figure() {
    let figure = bare_loop(&counter(), &Options::default(), 100_000).unwrap();
    assert!(figure > 1000.0, "{figure}");
}
