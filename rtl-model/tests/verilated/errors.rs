//! What is said when a manifest and a design do not go together.

use super::*;

/// What is said about the counter with `change` made to its manifest.
fn wrong(change: impl FnOnce(&mut Manifest)) -> RtlError {
    let mut manifest = counter();
    change(&mut manifest);
    Rtl::load(&manifest, &Options::default()).expect_err("it is wrong")
}

/// What is said about a design of this text.
fn wrong_text(text: &str) -> String {
    let sources = tempfile::tempdir().unwrap();
    let file = sources.path().join("bad.sv");
    std::fs::write(&file, text).unwrap();
    let manifest = Manifest { files: vec![file.canonicalize().unwrap()], ..counter() };
    let options = Options { cache: Some(sources.path().join("cache")), ..Options::default() };
    match Rtl::load(&manifest, &options).and_then(|rtl| VerilatedModel::new(&rtl)) {
        Ok(_) => panic!("it is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_top_that_is_not_there_is_reported_with_those_that_are() {
    let said = wrong(|manifest| manifest.top = "countr".to_owned()).to_string();
    assert!(said.contains("counter.toml: Verilator does not accept it"), "{said}");
    assert!(said.contains("`top` is countr; near it: counter"), "{said}");
}

#[test]
fn a_port_that_is_not_there_is_reported_with_those_near_it() {
    let error = wrong(|manifest| manifest.clock.port = "clock".to_owned());
    let said = error.to_string();
    assert!(said.contains("counter has no port `clock` for `clock.port`; near it: clk"), "{said}");
    let RtlError::Port { error, .. } = error else { panic!("{said}") };
    assert!(matches!(*error, PortError::Missing { .. }));
}

#[test]
fn a_port_of_the_wrong_width_or_direction_is_reported_with_what_it_has() {
    let said = wrong(|manifest| manifest.clock.port = "in33".to_owned()).to_string();
    assert!(said.contains("counter.in33 (`clock.port`) has 33 bits, and must have 1"), "{said}");
    let said = wrong(|manifest| manifest.clock.port = "comb".to_owned()).to_string();
    assert!(said.contains("counter.comb (`clock.port`) is an output"), "{said}");
    let said = wrong(|manifest| drop(manifest.tie.insert("mode".to_owned(), Value::Number(16))))
        .to_string();
    assert!(
        said.contains("counter.mode (`tie.mode`) has 4 bits, and must have 5 or more for 16"),
        "{said}"
    );
}

#[test]
fn a_parameter_that_is_not_there_is_reported() {
    let said =
        wrong(|manifest| drop(manifest.parameters.insert("STEPS".to_owned(), Value::Number(1))));
    assert!(said.to_string().contains("STEPS"), "{said}");
}

#[test]
fn an_error_of_verilator_is_reported_with_file_and_line() {
    let said = wrong_text("module counter(input logic clk);\n  assign x = ;\nendmodule\n");
    assert!(said.contains("bad.sv:2: syntax error"), "{said}");
}

#[test]
fn an_included_file_that_the_manifest_does_not_know_is_an_error() {
    let elsewhere = tempfile::tempdir().unwrap();
    let header = elsewhere.path().join("far.svh");
    std::fs::write(&header, "").unwrap();
    let said = wrong_text(&format!(
        "`include \"{}\"\nmodule counter(input logic clk, input logic rst, input logic [3:0] mode);\nendmodule\n",
        header.display()
    ));
    assert!(
        said.contains("far.svh, which is neither among `files` nor in a folder of `include`"),
        "{said}"
    );
}

#[test]
fn a_design_that_refuses_its_parameters_is_reported() {
    let said = wrong_text(
        "module counter(input logic clk, input logic rst, input logic [3:0] mode);\n  \
         initial if (mode == 5) $fatal(1, \"no\");\nendmodule\n",
    );
    assert!(said.contains("the design stops by itself") && said.contains("bad.sv:2"), "{said}");
}

#[test]
fn a_compiler_that_fails_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = folder.path().join("cxx");
    std::fs::write(&compiler, "#!/bin/sh\ncase $* in *--version*|*-dumpmachine*) echo 1;; *) echo broken; exit 1;; esac\n")
        .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&compiler, mode).unwrap();
    let places = Places { compiler: Some(compiler), ..Places::of_process() };
    let options = Options { places, cache: Some(folder.path().to_owned()), ..Options::default() };
    let said = Rtl::load(&counter(), &options).unwrap_err().to_string();
    assert!(said.contains("does not accept what Verilator wrote:\nbroken"), "{said}");
}

#[test]
fn a_manifest_with_a_mistake_is_reported_with_file_and_line() {
    let text = std::fs::read_to_string(folder().join("counter.toml")).unwrap();
    let source = Source::built_in("my.toml", &text.replace("clock =", "clok ="));
    let said = Manifest::from_source(&source).unwrap_err().to_string();
    assert!(said.starts_with("my.toml:4: clok: unknown field `clok`"), "{said}");
}
