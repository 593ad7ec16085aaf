use super::*;

const WHOLE: &str = r#"name = "a card"
top = "card"
files = ["pkg.sv", "*.sv"]
include = ["inc"]
defines = { FAST = true, DEPTH = 16, NAME = "x" }
parameters = { W = 64, MAC = "48'h02" }
clock = { port = "clk", period = "4 ns" }
reset = { port = "rst", polarity = "active_high", cycles = 3 }
interface = { kind = "tlp-stream" }
[ports]
"*" = "*_x"
[tie]
mode = 2
wide = "0x1_0000_0000"
[card]
device = "net"
memory_bar = 2
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.sv", "a.sv", "pkg.sv"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    std::fs::create_dir(folder.path().join("inc")).unwrap();
    folder
}

/// Reads a manifest that stands among the files of [`folder`].
fn read(text: &str) -> Result<Manifest, InputError> {
    let folder = folder();
    let path = folder.path().join("card.toml");
    std::fs::write(&path, text).unwrap();
    Manifest::read(&path)
}

/// What is wrong with the manifest when `from` is `to`, without the folder's name.
fn wrong(from: &str, to: &str) -> String {
    assert!(WHOLE.contains(from), "{from}");
    let error = read(&WHOLE.replace(from, to)).expect_err("it is wrong").to_string();
    error.split_once("card.toml").map(|(_, rest)| rest.to_owned()).expect("it names the file")
}

#[test]
fn a_pattern_stands_for_its_files_by_name_each_once() {
    let manifest = read(WHOLE).unwrap();
    let names: Vec<_> = manifest.files.iter().map(|file| file.file_name().unwrap()).collect();
    assert_eq!(names, ["pkg.sv", "a.sv", "b.sv"]);
    assert_eq!(manifest.include.len(), 1);
}

#[test]
fn a_manifest_says_what_was_written() {
    let manifest = read(WHOLE).unwrap();
    assert_eq!(manifest.clock, Clock { port: "clk".to_owned(), period: Span::from_ns(4) });
    let reset = Reset { port: "rst".to_owned(), polarity: Polarity::ActiveHigh, cycles: 3 };
    assert_eq!(manifest.reset, Some(reset));
    assert_eq!(manifest.defines["FAST"], Value::Flag(true));
    assert_eq!(manifest.parameters["MAC"], Value::Text("48'h02".to_owned()));
    assert_eq!(manifest.tie["wide"].words(), Some(vec![0, 1]));
    assert_eq!(manifest.card.device, Some(CardDevice::Net));
    assert_eq!(manifest.card.memory_bar, Some(2));
    assert_eq!(manifest.ports.of("rx_data"), Some(vec!["rx_data_x".to_owned()]));
}

#[test]
fn a_mistake_is_reported_with_file_line_and_key() {
    let cases = [
        ("top =", "topp =", ":2: topp: unknown field `topp`"),
        ("memory_bar", "memory_bars", ":17: card.memory_bars: unknown field"),
        ("\"4 ns\"", "\"4 hours\"", ":7: clock.period: invalid value"),
        ("\"4 ns\"", "\"1 ps\"", ":7: clock.period: an even number of picoseconds"),
        ("active_high", "high", ":8: reset.polarity: unknown variant `high`"),
        ("cycles = 3", "cycles = 0", ":8: reset.cycles: 1 or more"),
        ("tlp-stream", "tlp-steam", ":9: interface.kind: unknown variant"),
        ("\"pkg.sv\", ", "\"pkq.sv\", ", ":3: files: `pkq.sv`: is not there; near it: pkg.sv"),
        ("\"*.sv\"", "\"*.vhd\"", ":3: files: `*.vhd`: fits no file"),
        ("\"*.sv\"", "\"inc\"", ":3: files: `inc`: is a folder"),
        ("[\"pkg.sv\", \"*.sv\"]", "[]", ":3: files: at least one file"),
        ("[\"inc\"]", "[\"ink\"]", ":4: include: `ink`: no folder is there"),
        ("DEPTH = 16", "\"A-B\" = 16", ":5: defines.A-B: no name that Verilog allows"),
        ("W = 64", "W = 6.4", ":6: parameters.W: invalid type: floating point `6.4`"),
        ("mode = 2", "mode = -2", ":13: tie.mode: `-2` is no value"),
        ("top = \"card\"", "top = \"a card\"", ":2: top: `a card` is no name of a module"),
    ];
    for (from, to, expected) in cases {
        let said = wrong(from, to);
        assert!(said.starts_with(expected), "{to}: {said}");
    }
}

#[test]
fn a_manifest_that_is_not_there_is_said_so() {
    let error = Manifest::read(Path::new("no/such.toml")).unwrap_err().to_string();
    assert!(error.starts_with("no/such.toml: cannot be read"), "{error}");
}
