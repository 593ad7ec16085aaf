use super::*;
use crate::pins::PortId;

#[derive(Debug, serde::Deserialize)]
struct File {
    ports: PortNames,
}

fn names(text: &str) -> PortNames {
    toml::from_str::<File>(&format!("[ports]\n{text}")).unwrap().ports
}

fn port(name: &str, direction: PortDirection, bits: u32) -> PortInfo {
    PortInfo { name: name.to_owned(), id: PortId(0), direction, bits }
}

#[test]
fn the_longest_left_side_names_the_port() {
    let names = names(
        "\"*\" = [\"*_i\", \"*_o\"]\n\"rx_*\" = \"s_*\"\nrx_sop = \"first\"\nrx_np_ok = false\n",
    );
    assert_eq!(names.of("tx_data"), Some(vec!["tx_data_i".to_owned(), "tx_data_o".to_owned()]));
    assert_eq!(names.of("rx_data"), Some(vec!["s_data".to_owned()]));
    assert_eq!(names.of("rx_sop"), Some(vec!["first".to_owned()]));
    assert_eq!(names.of("rx_np_ok"), None);
    let there = [port("tx_data_o", PortDirection::Output, 8)];
    assert_eq!(names.pick("tx_data", &there), Some("tx_data_o".to_owned()));
    assert_eq!(names.pick("tx_sop", &there), Some("tx_sop_i".to_owned()));
    assert_eq!(names.pick("rx_np_ok", &there), None);
    assert_eq!(PortNames::default().of("rx_sop"), Some(vec!["rx_sop".to_owned()]));
}

#[test]
fn a_rule_with_two_stars_or_no_name_is_refused() {
    for text in ["\"*_*\" = \"a\"", "a = \"*_*\"", "a = \"\"", "a = []", "a = true", "a = 1"] {
        assert!(toml::from_str::<File>(&format!("[ports]\n{text}")).is_err(), "{text}");
    }
}

#[test]
fn a_port_that_is_not_there_is_reported_with_those_like_it() {
    let ports = [port("rx_valid_i", PortDirection::Input, 1), port("clk", PortDirection::Input, 1)];
    let error = PortNames::default().find("rx_vald_i", "card", &ports).unwrap_err();
    assert_eq!(
        error.to_string(),
        "card has no port `rx_vald_i` for `rx_vald_i`; near it: rx_valid_i"
    );
}

#[test]
fn a_port_of_the_wrong_width_or_direction_is_reported_with_what_it_is() {
    let ports = [port("data", PortDirection::Input, 48)];
    let names = PortNames::default();
    let require = |direction, bits| names.require("data", "card", &ports, direction, bits);
    assert!(require(PortDirection::Input, Some(48)).is_ok());
    let error = require(PortDirection::Input, Some(64)).unwrap_err().to_string();
    assert_eq!(error, "card.data (`data`) has 48 bits, and must have 64");
    let error = require(PortDirection::Output, None).unwrap_err().to_string();
    assert_eq!(error, "card.data (`data`) is an input and has to be an output");
}
