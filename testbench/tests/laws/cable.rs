//! The cable of a network card.

use pcie_sim::time::Span;
use testbench::bench::run_with;

use crate::rig::{CARD, Card, cell_with};

/// How long 20 packets of 1,226 bytes take from the first's sending to the last's return.
fn takes(card: Card, cable: &str) -> Span {
    let net = format!("[net]\nsynthetic = {{ packets = 20, bytes = 1226 }}\n{cable}\n");
    let config = cell_with("x86-noiommu", "net", "host", "direct", false, &net);
    let result = run_with(&config, &card).expect("it runs");
    assert_eq!(result.violations, []);
    result.traffic_time
}

fn cable(card: Card) {
    let quick = takes(card, "cable_delay_ns = 0");
    assert!(quick < Span::from_us(100), "{quick}");
    // Each packet waits for one before it by its place in the queue, not by the cable's length.
    let long = takes(card, "cable_delay_ns = 1_000_000");
    assert!(long >= Span::from_ms(1) && long < Span::from_ms(3), "{long}");
    // With preamble, check sequence and gap 1,250 bytes: 10 µs at 1 Gbit/s.
    let slow = takes(card, "cable_delay_ns = 0\ncable_gbps = 1");
    assert!(slow >= Span::from_us(200) && slow < Span::from_us(300), "{slow}");
}

/// IEEE 802.3 clause 4: a packet keeps the cable busy for its bytes and 24 more.
#[test]
fn a_cable_takes_the_time_that_its_length_and_its_rate_make_it_take() {
    cable(CARD);
}
