//! What a design is told when its ports do not fit.

use rtl_model::pins::PortInfo;
use rtl_model::pins::tlp_stream::{BindError, SIGNALS, Signal, Stalls, TlpStream, reference_name};

use crate::scripted::{Scripted, port};

fn ports() -> Vec<PortInfo> {
    let all = Scripted::new(Vec::new());
    rtl_model::pins::Pins::ports(&all).to_vec()
}

fn bind(
    ports: Vec<PortInfo>,
    name: &dyn Fn(&Signal) -> Option<String>,
) -> Result<[u32; 2], String> {
    let stream = TlpStream::bind(&Scripted::with_ports(ports), name, Stalls::default());
    stream.map(|stream| stream.beat_bits()).map_err(|error| error.to_string())
}

fn same(signal: &Signal) -> Option<String> {
    (!signal.optional).then(|| signal.name.into())
}

#[test]
fn the_widths_of_both_ways_come_from_the_ports_and_may_differ() {
    let mut all = ports();
    assert_eq!(bind(all.clone(), &same), Ok([64, 64]));
    all[4] = port("rx_data", 4, false, 512);
    assert_eq!(bind(all.clone(), &same), Ok([512, 64]));
    all[11] = port("tx_data", 11, true, 96);
    let error = "tx_data: port tx_data has 96 bits, not 64, 128, 256 or 512 bits";
    assert_eq!(bind(all, &same), Err(error.into()));
}

#[test]
fn a_missing_port_is_told_with_those_that_there_are() {
    let few = ports()[..2].to_vec();
    let error = "rx_data: the design has no port rx_data; it has rx_valid, rx_ready";
    assert_eq!(bind(few, &same), Err(error.into()));
    let none = |signal: &Signal| (signal.name != "tx_eop").then(|| signal.name.into());
    assert_eq!(
        TlpStream::bind(
            &Scripted::new(vec![]),
            &|s| none(s).filter(|_| !s.optional),
            Stalls::default()
        )
        .err(),
        Some(BindError::NotNamed { signal: "tx_eop" })
    );
}

#[test]
fn a_port_that_goes_the_wrong_way_or_is_too_wide_is_told_so() {
    let swapped = |signal: &Signal| match signal.name {
        "rx_valid" => Some("tx_valid".into()),
        _ => same(signal),
    };
    let error = "rx_valid: port tx_valid should be an input";
    assert_eq!(bind(ports(), &swapped), Err(error.into()));
    let wide = |signal: &Signal| match signal.name {
        "tx_keep" => Some("stat".into()),
        _ => same(signal),
    };
    let error = "tx_keep: port stat has 4 bits, not 8, one for each byte of the data";
    assert_eq!(bind(ports(), &wide), Err(error.into()));
}

#[test]
fn the_reference_names_say_the_direction() {
    let names: Vec<_> = SIGNALS.iter().map(reference_name).collect();
    assert_eq!(names[0], "rx_valid_i");
    assert_eq!(names[1], "rx_ready_o");
    assert!(names.contains(&"tx_credit_cpld_i".to_owned()));
}
