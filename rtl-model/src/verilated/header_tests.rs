use proptest::prelude::*;

use super::*;

fn ports(text: &str) -> Vec<(String, PortDirection, u32, Storage)> {
    let all = parse(text).ports.into_iter();
    all.map(|port| (port.name, port.direction, port.bits, port.storage)).collect()
}

#[test]
fn each_width_has_its_own_storage() {
    use PortDirection::{Input, Output};
    let text = "class Vtop {\n  public:\n    VL_IN8(&a,0,0);\n    VL_OUT16(&b,12,3);\n    VL_IN(&c,31,0);\n    \
                VL_OUT64(&d,32,0);\n    VL_INW(&e,511,0,16);\n    Vtop___024root* const rootp;\n};\n";
    let expected = [
        ("a", Input, 1, Storage::Bits8),
        ("b", Output, 10, Storage::Bits16),
        ("c", Input, 32, Storage::Bits32),
        ("d", Output, 33, Storage::Bits64),
        ("e", Input, 512, Storage::Words(16)),
    ];
    let expected = expected.map(|(name, way, bits, kept)| (name.to_owned(), way, bits, kept));
    assert_eq!(ports(text), expected);
}

#[test]
fn names_that_cpp_does_not_allow_come_back_as_they_were() {
    let text = "VL_IN8(&a___05Fb,0,0);\nVL_IN8(&__SYM__int,0,0);\nVL_IN8(&c__02Ex,0,0);\nVL_IN8(&d__0zz,0,0);\n";
    let names: Vec<_> = parse(text).ports.into_iter().map(|port| port.name).collect();
    assert_eq!(names, ["a__b", "int", "c.x", "d__0zz"]);
}

#[test]
fn arrays_and_inouts_are_named_and_left_out() {
    let header = parse("VL_IN8((&many)[4],7,0);\nVL_INOUT8(&both,7,0);\nVL_IN8(&one,0,0);\n");
    assert_eq!(header.others, ["many", "both"]);
    assert_eq!(header.ports.len(), 1);
}

proptest! {
    /// Any text is ports that fit their storage, or nothing.
    #[test]
    fn any_text_is_ports_that_fit_their_storage(
        lines in prop::collection::vec("(VL_(IN|OUT|INOUT)(8|16|64|W|)\\(&?[a-z_0]{0,6}(,-?[0-9]{1,10}){0,4}\\);|.{0,20})", 0..20),
    ) {
        for port in parse(&lines.join("\n")).ports {
            let most = match port.storage {
                Storage::Bits8 => 8,
                Storage::Bits16 => 16,
                Storage::Bits32 => 32,
                Storage::Bits64 => 64,
                Storage::Words(words) => words * 32,
            };
            prop_assert!(port.bits >= 1 && port.bits <= most);
            prop_assert!(!port.member.is_empty());
        }
    }
}
