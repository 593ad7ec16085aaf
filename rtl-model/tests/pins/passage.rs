//! TLPs that pass through pins, both ways at once.

use pcie_sim::endpoint::Endpoint;
use pcie_sim::host::seed::Sequence;
use pcie_sim::link::credits::{Credits, ReceiverBuffers};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::Tlp;
use proptest::prelude::*;
use rtl_model::pins::PinCard;
use rtl_model::pins::card::{PinCardConfig, Reset};
use rtl_model::pins::pinned::{Pinned, PinnedConfig};
use rtl_model::pins::tlp_stream::Stalls;

use crate::link::{CLASSES, Keeper, Link, of_class};
use crate::tlps;

pub(crate) const PERIOD: Span = Span::from_ps(4000);

pub(crate) fn card_config(stalls: Stalls) -> PinCardConfig {
    let reset = Reset { port: "rst_ni".into(), active_high: false, cycles: 3 };
    PinCardConfig { period: PERIOD, reset: Some(reset), stalls }
}

/// What a design may be without.
const PARTS: [&[&str]; 5] = [
    &["rx_sop", "tx_sop"],
    &["rx_keep"],
    &["tx_keep"],
    &["rx_np_ok"],
    &["tx_credit_npd", "tx_credit_cplh", "tx_credit_cpld"],
];

pub(crate) fn pinned(beat_bits: u32, without: u64, stalls: Stalls) -> PinnedConfig {
    let parts = PARTS.iter().enumerate().filter(|(at, _)| without >> at & 1 != 0);
    let without = parts.flat_map(|(_, part)| part.iter().copied()).collect();
    PinnedConfig { beat_bits, without, stalls }
}

pub(crate) fn plugged<E: Endpoint>(
    endpoint: E,
    config: &PinnedConfig,
    stalls: Stalls,
) -> PinCard<Pinned<E>> {
    let design = Pinned::new(endpoint, config.clone());
    PinCard::new(design, &Pinned::<E>::name(config), &card_config(stalls)).expect("the pins fit")
}

/// The least that lets the largest TLP through.
fn scarce() -> ReceiverBuffers {
    ReceiverBuffers {
        posted: Credits { headers: 2, data: 257 },
        non_posted: Credits { headers: 1, data: 1 },
        completion: Credits { headers: 3, data: 300 },
    }
}

fn passes(seed: u64, beat_bits: u32, without: u64, percents: [u8; 4]) {
    let mut lots = Sequence::new(seed);
    let (down, up) = (tlps::list(&mut lots, 25), tlps::list(&mut lots, 25));
    let [rx, tx, own_rx, own_tx] = percents;
    let config =
        pinned(beat_bits, without, Stalls { seed, rx_percent: own_rx, tx_percent: own_tx });
    let stalls = Stalls { seed: !seed, rx_percent: rx, tx_percent: tx };
    let mut card = plugged(Keeper::new(up.clone()), &config, stalls);
    // Completions that a design knows no credits of have to be infinite.
    let mut credits = scarce();
    if config.without.contains(&"tx_credit_cplh") {
        credits.completion = Credits::INFINITE;
    }
    let mut link = Link::new(down.clone(), credits);
    let mut now = Instant::ZERO;
    let done = |card: &PinCard<Pinned<Keeper>>, link: &Link| {
        card.design().endpoint().got.len() == down.len() && link.up.len() == up.len()
    };
    while !done(&card, &link) {
        now += PERIOD;
        assert!(now < Instant::from_ps(0) + Span::from_ms(1), "they come to an end");
        link.refresh(&mut lots);
        card.advance(now, &mut link);
    }
    card.advance(now + PERIOD, &mut link);
    let got = &card.design().endpoint().got;
    for class in CLASSES {
        assert_eq!(of_class(got, class), of_class(&down, class), "{class:?} in");
    }
    assert_eq!(link.up, up);
    assert_eq!(card.design().complaints(), [""; 0]);
    assert_eq!(card.findings().kept(), []);
    assert!(!link.overdrawn);
    assert_eq!(link.taken, 0, "all credits are back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// `rtl-model/src/pins/tlp_stream.rs`: the interface carries TLPs unchanged, and in the order of their
    /// class; requests begin with leave only; nothing leaves without credits; all credits come back.
    #[test]
    fn any_tlps_pass_pins_of_any_width_at_any_pace_unchanged_and_in_order(
        seed in any::<u64>(),
        width in 0_u32..4,
        without in 0_u64..32,
        percents in prop::array::uniform4(prop_oneof![Just(0_u8), 0..95_u8]),
    ) {
        passes(seed, 64 << width, without, percents);
    }
}

/// Back-to-back beats: nothing pauses where nobody is made to.
#[test]
fn without_pauses_a_beat_passes_at_every_edge_in_both_directions() {
    let mut lots = Sequence::new(1);
    let completions: Vec<_> = (0..40).map(|_| tlps::completion(&mut lots)).collect();
    let beats: usize = completions.iter().map(|tlp| tlp.len_bytes().div_ceil(32)).sum();
    let config = pinned(256, 0, Stalls::default());
    let mut card = plugged(Keeper::new(completions.clone()), &config, Stalls::default());
    let infinite = ReceiverBuffers { completion: Credits::INFINITE, ..scarce() };
    let mut link = Link::new(completions.clone(), infinite);
    let mut edges = 0;
    while link.up.len() < 40 || card.design().endpoint().got.len() < 40 {
        edges += 1;
        card.advance(Instant::ZERO + PERIOD * edges, &mut link);
        assert!(edges < 5000);
    }
    // Reset, and what a flip-flop on either side takes.
    assert!(edges as usize <= beats + 10, "{edges} edges, {beats} beats");
}

/// PCIe 5.0 §2.4.1: posted requests and completions pass requests that have to wait.
#[test]
fn while_there_is_no_leave_other_tlps_pass_and_requests_keep_their_credits() {
    let mut lots = Sequence::new(2);
    let mut down: Vec<_> = (0..3).map(|_| tlps::read(&mut lots)).collect();
    down.push(tlps::write(&mut lots));
    down.push(tlps::completion(&mut lots));
    // A design that almost never gives leave again after the first request.
    let config = pinned(128, 0, Stalls { seed: 3, rx_percent: 95, tx_percent: 0 });
    let mut card = plugged(Keeper::new(Vec::new()), &config, Stalls::default());
    let mut link = Link::new(down.clone(), scarce());
    let mut now = Instant::ZERO;
    while card.design().endpoint().got.len() < down.len() {
        now += PERIOD;
        card.advance(now, &mut link);
        assert!(now < Instant::ZERO + Span::from_us(100));
    }
    let got = &card.design().endpoint().got;
    let place = |tlp: &Tlp| got.iter().position(|other| other == tlp);
    assert!(place(&down[3]) < place(&down[2]), "{got:?}");
    assert!(place(&down[4]) < place(&down[2]), "{got:?}");
    assert!(link.most_taken >= 3, "two requests that wait, and what passes them");
    assert_eq!(card.design().complaints(), [""; 0]);
}

#[test]
fn the_same_seed_gives_the_same_edges() {
    let run = || {
        let mut lots = Sequence::new(9);
        let down = tlps::list(&mut lots, 30);
        let stalls = Stalls { seed: 5, rx_percent: 40, tx_percent: 40 };
        let config = pinned(64, 0, stalls);
        let mut card = plugged(Keeper::new(down.clone()), &config, stalls);
        let mut link = Link::new(down, ReceiverBuffers::default());
        let mut arrivals = Vec::new();
        for edge in 1..4000 {
            card.advance(Instant::ZERO + PERIOD * edge, &mut link);
            arrivals.push((link.up.len(), card.design().endpoint().got.len()));
        }
        arrivals
    };
    assert_eq!(run(), run());
}
