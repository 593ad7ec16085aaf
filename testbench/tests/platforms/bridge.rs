//! `ntb-pair`: two hosts joined by a non-transparent bridge, the far one being the card.

use testbench::bench::bridge::Sides;
use testbench::bench::record::Led;
use testbench::platform::Outcome;
use testbench::platform::judge::judge;
use testbench::report::RunResult;

use crate::rig::{blk, case, patterns, run};

/// Where the window leads on the near host: the upper half of its 64 MiB.
const NEAR: u64 = 32 << 20;
const WINDOW_BYTES: u64 = 32 << 20;
const FAR: u64 = 0x60_0000_0000;

fn sides(result: &RunResult) -> &Sides {
    let record = result.record.as_deref().expect("the run was watched");
    record.sides.as_ref().expect("there is a bridge")
}

/// A request completes end to end, on both devices, with its data compared; each DMA is translated from
/// the offset that was handed over to the far bus and from there to the near one.
#[test]
fn a_request_crosses_the_bridge_and_every_address_is_translated_twice() {
    for pattern in patterns(&[]) {
        let (result, verdict) = run("ntb-pair", case("ntb-pair", "").setup, &pattern);
        assert_eq!(verdict.outcome, Outcome::Works, "{}", verdict.evidence);
        assert_eq!(result.violations, []);
        assert!(result.completed >= 64 && result.round_trips > 0);
        let record = result.record.as_deref().expect("the run was watched");
        assert!(record.grants.iter().all(|grant| grant.had.get() - grant.bus.get() == NEAR));
        assert_eq!(sides(&result).crossed as usize, record.dma.len());
        assert!(record.dma.iter().all(|dma| match dma.led {
            Led::Memory { machine, .. } => machine.get() == dma.address + NEAR,
            Led::Refused(_) => false,
        }));
    }
}

/// The addresses seen on each side have no number in common.
#[test]
fn no_address_of_one_host_is_seen_by_the_other() {
    let (result, verdict) = blk("ntb-pair", "");
    let Sides { offsets, far, near, leak, refused, .. } = sides(&result);
    assert_eq!((leak, *refused), (&None, 0));
    assert!(offsets.highest < WINDOW_BYTES, "what the hosts say to each other");
    assert!(far.lowest == FAR + offsets.lowest && far.highest == FAR + offsets.highest);
    assert!(near.lowest == NEAR + offsets.lowest && near.highest == NEAR + offsets.highest);
    assert!(verdict.evidence.contains("neither host saw an address of the other's"));
}

/// The same run with an address that crossed is no success, though its data is right.
#[test]
fn an_address_that_crossed_is_reported() {
    let (mut result, _) = blk("ntb-pair", "");
    let leak = Some("0x6000000000 was on the near host's bus, and is the far host's".to_owned());
    let record = result.record.as_deref_mut().expect("the run was watched");
    record.sides.as_mut().expect("there is a bridge").leak = leak.clone();
    let verdict = judge(&result);
    assert_eq!((verdict.outcome, Some(verdict.evidence)), (Outcome::Corrupts, leak));
}

/// Were the outcome the opposite: a window that leads elsewhere never completes a request, and the place
/// where the card came to is named.
#[test]
fn a_window_aimed_wrongly_completes_nothing_and_is_named() {
    for (variant, outcome, named) in [
        ("window one page off", Outcome::Corrupts, "leads to machine address 0x20"),
        ("window past memory", Outcome::Faults, "unsupported request"),
        ("driver hands over its own addresses", Outcome::Faults, "not in the bridge's window"),
    ] {
        let (result, verdict) = blk("ntb-pair", variant);
        assert_eq!((verdict.outcome, result.completed), (outcome, 0), "{variant}");
        assert!(verdict.evidence.contains(named), "{variant}: {}", verdict.evidence);
        assert!(!result.violations.is_empty());
    }
    let (own, _) = blk("ntb-pair", "driver hands over its own addresses");
    assert!(sides(&own).refused > 0 && sides(&own).crossed == 0);
}
