//! A design in the slot: clock, reset, strobes.

use std::cell::RefCell;
use std::rc::Rc;

use pcie_sim::endpoint::Endpoint;
use pcie_sim::host::seed::Sequence;
use pcie_sim::link::credits::{Credits, ReceiverBuffers};
use pcie_sim::time::{Instant, Span};
use rtl_model::pins::card::{PinCardConfig, PinCardError, Reset};
use rtl_model::pins::pinned::Pinned;
use rtl_model::pins::tlp_stream::Stalls;
use rtl_model::pins::{PinCard, PinFinding};

use crate::link::{CLASSES, Keeper, Link, of_class};
use crate::passage::{PERIOD, card_config, pinned, plugged};
use crate::scripted::{self, Scripted, Step};
use crate::tlps;

fn at(edge: u64) -> Instant {
    Instant::ZERO + PERIOD * edge
}

fn idle_link() -> Link {
    Link::new(Vec::new(), ReceiverBuffers::default())
}

#[test]
fn every_edge_happens_and_the_next_one_is_always_awaited() {
    let mut card = scripted::card(Vec::new());
    assert_eq!(card.next_wake(), Some(at(1)));
    card.advance(Instant::from_ps(4001), &mut idle_link());
    assert_eq!((card.edges(), card.next_wake()), (1, Some(at(2))));
    card.advance(at(10), &mut idle_link());
    assert_eq!((card.edges(), card.next_wake()), (10, Some(at(11))));
}

#[test]
fn an_idle_edge_writes_nothing() {
    let mut card = scripted::card(Vec::new());
    card.advance(at(3), &mut idle_link());
    let written = card.design().written.len();
    card.advance(at(1000), &mut idle_link());
    assert_eq!(card.design().written.len(), written);
}

#[test]
fn credits_are_written_when_they_change_and_as_far_as_the_field_goes() {
    let mut card = scripted::card(Vec::new());
    let mut link = idle_link();
    let cases = [
        (Credits { headers: 7, data: 300 }, [7, 300]),
        (Credits { headers: 255, data: 4095 }, [254, 4094]),
        (Credits { headers: 1000, data: 1 << 20 }, [254, 4094]),
        (Credits::INFINITE, [255, 4095]),
        (Credits { headers: 254, data: u32::MAX }, [254, 4095]),
        (Credits::NONE, [0, 0]),
    ];
    for (edge, (credits, shown)) in (1..).zip(cases) {
        link.credits.posted = credits;
        card.advance(at(edge), &mut link);
        let stands = ["tx_credit_ph", "tx_credit_pd"].map(|name| card.design().input(name));
        assert_eq!(stands, shown.each_ref().map(|word| Some(std::slice::from_ref(word))));
    }
}

#[test]
fn reset_is_active_for_its_edges_with_its_polarity_and_again_after_a_hot_reset() {
    for active_high in [false, true] {
        let mut config = card_config(Stalls::default());
        let reset = Reset { port: "rx_sop".into(), active_high, cycles: 3 };
        config.reset = Some(reset);
        let names = |signal: &_| scripted::names(signal).filter(|name| name != "rx_sop");
        let mut card = PinCard::new(Scripted::new(vec![]), &names, &config).expect("it fits");
        let active = [u32::from(active_high)];
        let stands = |card: &PinCard<Scripted>| card.design().input("rx_sop") == Some(&active);
        for start in [0, 1000] {
            for edge in 1..=2 {
                card.advance(at(start + edge), &mut idle_link());
                assert!(stands(&card), "active high {active_high}, edge {edge}");
            }
            card.advance(at(start + 3), &mut idle_link());
            assert!(!stands(&card), "released behind the third");
            card.hot_reset(at(1000) + Span::from_ps(1));
            assert!(stands(&card));
        }
    }
}

/// PCIe 5.0 §6.6.1: what was under way is gone on either side of the link.
#[test]
fn a_hot_reset_in_the_middle_of_tlps_leaves_nothing_of_them() {
    let mut lots = Sequence::new(11);
    let lists = [tlps::list(&mut lots, 40), tlps::list(&mut lots, 40)];
    let stalls = Stalls { seed: 1, rx_percent: 30, tx_percent: 30 };
    for edge in [5, 17, 40, 77] {
        let config = pinned(64, 0, stalls);
        let mut card = plugged(Keeper::new(lists[0].clone()), &config, stalls);
        let mut link = Link::new(lists[1].clone(), ReceiverBuffers::default());
        card.advance(at(edge), &mut link);
        let got = card.design().endpoint().got.len();
        let sent = link.up.len();
        card.hot_reset(at(5000));
        let after = tlps::list(&mut lots, 5);
        let mut link = Link::new(after.clone(), ReceiverBuffers::default());
        card.advance(at(10_000), &mut link);
        let got = &card.design().endpoint().got[got..];
        for class in CLASSES {
            assert_eq!(of_class(got, class), of_class(&after, class));
        }
        assert!(link.up.len() + sent < 40 && lists[0].ends_with(&link.up));
        assert_eq!(card.design().complaints(), [""; 0]);
        assert_eq!(card.findings().kept(), []);
    }
}

#[test]
fn strobes_are_told_with_their_edge_and_bits() {
    let strobe = |bits| Step { values: vec![("stat", bits)], ..Step::default() };
    let mut unknown = strobe(0);
    unknown.unknown = vec!["stat"];
    let mut card = scripted::card(vec![strobe(0), strobe(5), strobe(5), strobe(1), unknown]);
    let log = Rc::new(RefCell::new(Vec::new()));
    let sink = log.clone();
    let kept = Box::new(move |strobe| sink.borrow_mut().push(strobe));
    card.watch(&["tx_eop".into(), "stat".into()], kept).expect("it has them");
    card.advance(at(20), &mut idle_link());
    let told: Vec<_> =
        log.borrow().iter().map(|strobe| (strobe.at, strobe.index, strobe.bits)).collect();
    assert_eq!(told, [(at(4), 1, 5), (at(5), 1, 5), (at(6), 1, 1)]);
    let expected = (at(7), PinFinding::Unknown { port: "stat".into() });
    assert_eq!(card.findings().kept(), [expected]);
    let error = card.watch(&["wide".into()], Box::new(|_| {})).expect_err("it is too wide");
    assert_eq!(error.to_string(), "strobe: port wide has 40 bits, not 32 or fewer");
    let error = card.watch(&["stat_x".into()], Box::new(|_| {})).expect_err("there is none");
    assert!(
        error.to_string().starts_with("strobe: the design has no port stat_x; it has rx_valid,")
    );
}

#[test]
fn a_clock_or_a_reset_that_cannot_be_is_refused() {
    let new = |change: &dyn Fn(&mut PinCardConfig)| {
        let mut config = card_config(Stalls::default());
        change(&mut config);
        let pins = pinned(64, 0, Stalls::default());
        let design = Pinned::new(Keeper::new(Vec::new()), pins.clone());
        PinCard::new(design, &Pinned::<Keeper>::name(&pins), &config).map(drop)
    };
    let reset = |port: &str, cycles| Some(Reset { port: port.into(), active_high: false, cycles });
    assert_eq!(new(&|_| {}), Ok(()));
    let short = Span::from_ps(1);
    assert_eq!(new(&|config| config.period = short), Err(PinCardError::Period(short)));
    let none = new(&|config| config.reset = reset("rst_ni", 0));
    assert_eq!(none, Err(PinCardError::ResetCycles { port: "rst_ni".into() }));
    let wide = new(&|config| config.reset = reset("rx_data_i", 1)).expect_err("it is wide");
    assert_eq!(wide.to_string(), "reset: port rx_data_i has 64 bits, not 1");
}
