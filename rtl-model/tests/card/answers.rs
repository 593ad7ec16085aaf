//! Answers to the CPU among everything else that leaves the card.

use pcie_sim::spec::blk::T_IN;
use pcie_sim::time::Span;
use rtl_model::{BlkConfig, CardConfig, DeviceConfig};

use crate::rig::{BAR0, BAR2, BASE_FEATURES, HOST, Rig, Ring, Use, readable, then, writable};

const NO_INTERRUPT: [u8; 2] = [1, 0];
const DATA: u64 = HOST + 0x10_0000;
const ON_CARD: u64 = BAR2 + 0x1_0000;

/// A disk read whose first sector goes to host memory and the rest to the card's own, with the rings on
/// the card too and no interrupt asked for: the first sector's writes are all that leaves the card.
fn reading() -> (Rig, Ring) {
    let mut rig = Rig::placed(CardConfig::new(DeviceConfig::Blk(BlkConfig::default())));
    let at = |offset: u64| BAR2 + offset;
    let mut ring =
        Ring { queue: 0, size: 64, desc: at(0), avail: at(0x2000), used: at(0x4000), avail_idx: 0 };
    rig.start(BASE_FEATURES, std::slice::from_ref(&ring));
    rig.poke(ring.avail, &NO_INTERRUPT);
    rig.poke(ON_CARD, &[&T_IN.to_le_bytes()[..], &[0; 12]].concat());
    ring.describe(&mut rig, 0, then(readable(ON_CARD, 16), 1));
    ring.describe(&mut rig, 1, then(writable(DATA, 512), 2));
    ring.describe(&mut rig, 2, then(writable(ON_CARD + 0x1000, 3584), 3));
    ring.describe(&mut rig, 3, writable(ON_CARD + 0x3000, 1));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(0);
    (rig, ring)
}

/// An answer follows the writes before it; the end of a burst that is no write of its own must let it go
/// all the same, whenever the CPU asks.
#[test]
fn a_burst_whose_rest_lies_on_the_card_lets_the_answer_behind_it_go() {
    let (mut whole, ring) = reading();
    let mut steps = 0;
    while whole.step() {
        steps += 1;
    }
    assert_eq!(ring.used_idx(&mut whole), 1);
    let writes: Vec<_> = whole.uses(&ring).into_iter().filter(|&u| u != Use::Message).collect();
    assert!(!writes.is_empty() && writes.iter().all(|&u| u == Use::Write), "{writes:?}");
    for asked_after in 0..steps {
        let (mut rig, ring) = reading();
        for _ in 0..asked_after {
            rig.step();
        }
        let asked = rig.now;
        rig.mmio_read(BAR0, 4);
        let waited = rig.now.since(asked);
        assert!(waited < Span::from_us(2), "asked after {asked_after} steps: {waited:?}");
        rig.settle();
        assert_eq!(ring.used_idx(&mut rig), 1);
    }
}
