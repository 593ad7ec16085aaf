//! Each thing that a design may not do on its pins is found, with the port and the edge.

use pcie_sim::endpoint::Endpoint;
use pcie_sim::host::seed::Sequence;
use pcie_sim::link::credits::{Credits, ReceiverBuffers};
use pcie_sim::time::Instant;
use pcie_sim::tlp::codec::TlpError;
use pcie_sim::tlp::{FlowClass, Tlp};
use rtl_model::pins::PinFinding;

use crate::link::Link;
use crate::passage::PERIOD;
use crate::scripted::{Step, beat, beats, card, play, play_on};
use crate::tlps;

/// Its last beat is not full.
fn completion() -> Tlp {
    let mut lots = Sequence::new(4);
    loop {
        let tlp = tlps::completion(&mut lots);
        if (40..60).contains(&tlp.len_bytes()) && tlp.len_bytes() % 8 == 4 {
            return tlp;
        }
    }
}

fn port(name: &str) -> String {
    name.into()
}

/// A design that has no room to send finds `tx_ready` low, and what it shows has to stay.
fn stalled(steps: Vec<Step>) -> Vec<(u64, PinFinding)> {
    let mut link = Link::new(Vec::new(), ReceiverBuffers::default());
    link.room = false;
    play_on(steps, &mut link)
}

#[test]
fn a_script_of_whole_tlps_is_without_findings() {
    let tlp = completion();
    let (found, came) = play([beats(&tlp), vec![Step::default()], beats(&tlp)].concat());
    assert_eq!((found, came), (vec![], vec![tlp.clone(), tlp]));
}

#[test]
fn valid_that_falls_before_the_beat_has_passed_is_found() {
    let first = beats(&completion())[0].clone();
    let found = stalled(vec![first, Step::default()]);
    assert_eq!(found, [(1, PinFinding::ValidDropped { port: port("tx_valid") })]);
    assert_eq!(found[0].1.rule(), "PIN-VALID");
}

#[test]
fn a_beat_that_changes_while_it_waits_is_found() {
    let first = beats(&completion())[0].clone();
    let mut other = first.clone();
    other.data[7] ^= 1;
    other.values[2].1 = 1;
    let found = stalled(vec![first, other]);
    let changed =
        ["tx_eop", "tx_data"].map(|name| (1, PinFinding::BeatChanged { port: port(name) }));
    assert_eq!(&found[..2], changed);
    // The script ends there with a beat on the pins.
    assert_eq!(found.len(), 3);
}

#[test]
fn a_tlp_that_begins_unmarked_is_found_and_taken() {
    let tlp = completion();
    let mut steps = beats(&tlp);
    steps[0].values[1].1 = 0;
    let (found, came) = play(steps);
    assert_eq!(found, [(0, PinFinding::NoStart { port: port("tx_sop") })]);
    assert_eq!(came, [tlp]);
}

#[test]
fn a_start_inside_of_a_tlp_is_found_and_what_came_before_it_is_dropped() {
    let tlp = completion();
    let steps = [beats(&tlp)[..2].to_vec(), beats(&tlp)].concat();
    let (found, came) = play(steps);
    assert_eq!(found, [(2, PinFinding::StartInside { port: port("tx_sop"), bytes: 16 })]);
    assert_eq!(came, [tlp]);
}

#[test]
fn holes_in_keep_and_parts_of_beats_that_are_not_the_last_are_found() {
    let tlp = completion();
    for (at, keep, last) in [(0, 0x0f, false), (1, 0, false), (2, 0xbf, false), (9, 0x03, true)] {
        let mut steps = beats(&tlp);
        let at = at.min(steps.len() - 1);
        steps[at].values[3].1 = keep;
        let (found, came) = play(steps);
        let expected = PinFinding::Keep { port: port("tx_keep"), keep, last };
        assert_eq!(found[0], (at as u64, expected), "{keep:#x}");
        assert!(matches!(found[1].1, PinFinding::NoTlp { .. }), "{found:?}");
        assert_eq!(came, []);
    }
}

#[test]
fn bytes_that_are_no_tlp_are_found_and_dropped_and_the_next_tlp_is_not() {
    let tlp = completion();
    let mut short = beats(&tlp);
    short.truncate(3);
    short[2].values[2].1 = 1;
    let (found, came) = play([short, beats(&tlp)].concat());
    let error = TlpError::Truncated { expected: tlp.len_bytes(), seen: 24 };
    assert_eq!(found, [(2, PinFinding::NoTlp { bytes: 24, error })]);
    assert_eq!(came, [tlp]);
}

#[test]
fn a_tlp_without_end_is_found_and_dropped_up_to_its_end() {
    let tlp = completion();
    let mut steps = vec![beat(&[0x4a; 8], true, false)];
    steps.extend(vec![beat(&[0; 8], false, false); 600]);
    steps.push(beat(&[0; 8], false, true));
    let (found, came) = play([steps, beats(&tlp)].concat());
    assert!(matches!(found[..], [(_, PinFinding::TooLong { bytes: 4152 })]), "{found:?}");
    assert_eq!(came, [tlp]);
}

#[test]
fn a_tlp_that_begins_without_credits_is_found_and_left_to_the_link() {
    let mut lots = Sequence::new(6);
    let write = std::iter::repeat_with(|| tlps::write(&mut lots))
        .find(|tlp| tlp.data_credits() == 4)
        .expect("lots of them are");
    for (had, enough) in [((1, 4), true), ((1, 3), false), ((0, 9), false)] {
        let had = Credits { headers: had.0, data: had.1 };
        let credits = ReceiverBuffers { posted: had, ..ReceiverBuffers::default() };
        let mut link = Link::new(Vec::new(), credits);
        let found = play_on(beats(&write), &mut link);
        let last = beats(&write).len() as u64 - 1;
        let expected = (last, PinFinding::NoCredits { class: FlowClass::Posted, data: 4, had });
        assert_eq!(found, if enough { vec![] } else { vec![expected] });
        assert_eq!(link.up, std::slice::from_ref(&write));
    }
}

#[test]
fn leave_that_is_withdrawn_before_it_was_used_is_found() {
    let mut lots = Sequence::new(8);
    let mut link = Link::new(vec![tlps::read(&mut lots)], ReceiverBuffers::default());
    let leave = Step { values: vec![("rx_np_ok", 1)], ..Step::default() };
    let ready = Step { values: vec![("rx_ready", 1)], ..Step::default() };
    let found = play_on(vec![leave.clone(), leave, Step::default(), ready], &mut link);
    assert_eq!(found, [(3, PinFinding::LeaveWithdrawn { port: port("rx_np_ok") })]);
}

#[test]
fn x_and_z_on_pins_that_matter_are_found_by_name() {
    let tlp = completion();
    for name in ["tx_valid", "tx_sop", "tx_eop", "tx_keep", "tx_data", "rx_np_ok"] {
        let mut steps = beats(&tlp);
        steps[0].unknown = vec![name];
        let (found, _) = play(steps);
        assert_eq!(found[0], (0, PinFinding::Unknown { port: port(name) }));
    }
    // Where nobody looks there may be anything: data without valid, and behind the end of a TLP.
    let mut steps = beats(&tlp);
    let last = steps.len() - 1;
    steps[last].unknown = vec!["tx_data"];
    steps.push(Step {
        unknown: vec!["tx_data", "tx_keep", "tx_sop", "rx_ready"],
        ..Step::default()
    });
    assert_eq!(play(steps), (vec![], vec![tlp]));
}

#[test]
fn of_each_rule_the_first_findings_are_kept_and_all_are_counted() {
    let steps = vec![Step { unknown: vec!["tx_valid"], ..Step::default() }; 100];
    let mut card = card([steps, beats(&completion())[1..].to_vec()].concat());
    let mut link = Link::new(Vec::new(), ReceiverBuffers::default());
    for edge in 1..120 {
        let now = Instant::ZERO + PERIOD * edge;
        card.advance(now, &mut link);
    }
    let findings = card.findings();
    assert_eq!(findings.kept().len(), 16 + 2);
    let counts: Vec<_> = findings.counts().collect();
    assert_eq!(counts, [("PIN-START", 1), ("PIN-TLP", 1), ("PIN-UNKNOWN", 100)]);
}
