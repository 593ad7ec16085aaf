//! Resets of the function and of the link in the middle of block commands: what the driver sees, what it
//! gives back, and that all goes on afterwards.

use host_driver::pci::Function;
use host_driver::pci::reset::Saved;
use host_driver::{BlkDriver, BlkOp, DriverError, Segment};
use pcie_sim::host::Bus;
use pcie_sim::machine::ROOT_PORT;
use pcie_sim::time::Span;
use testbench::bench::wiring::Bench;
use testbench::scenario::config::{Placement, RunConfig};

use crate::rig::{self, CARD, Card, Rig, cell};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    FunctionLevel,
    Hot,
    D3Hot,
}

const RESETS: [Reset; 3] = [Reset::FunctionLevel, Reset::Hot, Reset::D3Hot];
const BYTES: u32 = 16 * 1024;

fn perform(bench: &mut Bench, reset: Reset) -> Saved {
    let card = Function::new(bench.card);
    let host = &mut bench.machine;
    let saved = card.save(host);
    match reset {
        Reset::FunctionLevel => card.function_level_reset(host).expect("the card can do it"),
        Reset::Hot => Function::new(ROOT_PORT).hot_reset(host, card).expect("the card comes back"),
        Reset::D3Hot => {
            card.sleep(host).expect("the card can sleep");
            assert_eq!(card.wake(host), Ok(true), "and forgets everything by it");
        }
    }
    saved
}

/// A disk with a driver, known data on it, and eight commands that have been under way for `busy`.
fn in_the_middle(config: &RunConfig, card: Card, busy: Span) -> Rig<BlkDriver> {
    let mut rig = rig::blk(config, &card);
    assert_eq!(rig.write_disk(0, &[0x5a; 4096]), 0);
    for token in 0..8_u64 {
        let address = rig.buffer(&vec![token as u8; BYTES as usize]);
        let op = if token & 1 == 0 { BlkOp::Read } else { BlkOp::Write };
        rig.submit(op, 64 * (token + 1), &[Segment { address, len: BYTES }], 100 + token);
    }
    let until = rig.machine.now() + busy;
    rig.machine.run_until(until);
    rig
}

fn each_case(card: Card, law: impl Fn(Rig<BlkDriver>, Reset, &RunConfig)) {
    for platform in ["x86-noiommu", "x86-vtd"] {
        for rings in ["host", "card"] {
            for reset in RESETS {
                for busy_ns in [0, 700, 3_000, 9_000] {
                    let config = cell(platform, "blk", rings, "direct", false);
                    let rig = in_the_middle(&config, card, Span::from_ns(busy_ns));
                    law(rig, reset, &config);
                }
            }
        }
    }
}

/// Takes what is done: the commands that were not lost.
fn done(rig: &mut Rig<BlkDriver>) -> usize {
    let mut done = Vec::new();
    let Rig { bench, driver } = rig;
    driver.poll(&mut bench.machine, &mut done).expect("what is used is as it should be");
    assert!(done.iter().all(|done| done.status == 0), "{done:?}");
    done.len()
}

fn probes_again(card: Card) {
    each_case(card, |mut rig, reset, config| {
        let saved = perform(&mut rig.bench, reset);
        // With rings on the card there is nothing left to look at: all ones, like its registers.
        let on_card = config.placement == Placement::Card;
        let finished = if on_card { 0 } else { done(&mut rig) };
        let deadline = rig.machine.now() + Span::from_us(50);
        let Rig { mut bench, mut driver } = rig;
        if finished < 8 {
            let mut seen = driver.wait(&mut bench.machine, deadline);
            if seen == Ok(true) && on_card {
                seen = driver.poll(&mut bench.machine, &mut Vec::new()).map(|_| true);
            }
            let told = match seen {
                Err(DriverError::Queue(_)) => on_card,
                other => other == Err(DriverError::Gone),
            };
            assert!(told, "{reset:?}: its registers are nowhere");
        }
        let removed = driver.remove(&mut bench.machine).expect("all is given back");
        assert!(removed.gone && removed.findings.is_empty(), "{removed:?}");
        assert_eq!(removed.unfinished.len() + finished, 8, "{reset:?}: nothing is lost silently");
        Function::new(bench.card).restore(&mut bench.machine, &saved);
        let context = bench.probe_context(config).expect("the capabilities are there");
        let driver = BlkDriver::probe(&mut bench.machine, context).expect("the card works");
        let mut rig = Rig { bench, driver };
        assert_eq!(rig.read_disk(0, 4096), (0, vec![0x5a; 4096]), "{reset:?}");
        assert_eq!(rig.write_disk(8, &[0xa5; 4096]), 0);
        assert_eq!(rig.read_disk(8, 4096), (0, vec![0xa5; 4096]));
        rig.assert_clean();
        let Rig { mut bench, driver } = rig;
        let removed = driver.remove(&mut bench.machine).expect("the driver goes");
        assert_eq!((removed.unfinished, removed.findings, removed.gone), (vec![], vec![], false));
    });
}

/// STAT-DEV-05; PCIe 5.0 §6.6, §5.3.1.4: the driver finds the device gone, gives everything back, and a new
/// one finds it as after power-on, the disk's contents excepted.
#[test]
fn after_a_reset_in_the_middle_of_work_the_driver_is_told_and_a_new_one_goes_on() {
    probes_again(CARD);
}

fn restarts(card: Card) {
    each_case(card, |mut rig, reset, _| {
        let saved = perform(&mut rig.bench, reset);
        Function::new(rig.bench.card).restore(&mut rig.bench.machine, &saved);
        let finished = done(&mut rig);
        let deadline = rig.machine.now() + Span::from_us(50);
        let Rig { bench, driver } = &mut rig;
        if finished < 8 {
            let seen = driver.wait(&mut bench.machine, deadline);
            assert!(matches!(seen, Err(DriverError::NeedsReset { status: 0 })), "{seen:?}");
        }
        let lost = driver.restart(&mut bench.machine).expect("the card starts again");
        assert_eq!(lost.len() + finished, 8, "{reset:?}: nothing is lost silently");
        assert_eq!(rig.read_disk(0, 4096), (0, vec![0x5a; 4096]), "{reset:?}");
        rig.assert_clean();
        let Rig { mut bench, driver } = rig;
        let removed = driver.remove(&mut bench.machine).expect("the driver goes");
        assert_eq!((removed.unfinished, removed.findings), (vec![], vec![]));
    });
}

/// A kernel that resets a card behind its driver's back and restores its configuration: the driver finds
/// the status without DRIVER_OK, and starts the device again.
#[test]
fn a_driver_whose_card_was_reset_behind_its_back_sees_it_and_starts_again() {
    restarts(CARD);
}
