//! The whole bench with the card behind pins: whatever simulates the card, TLPs reach it as beats.

use std::cell::RefCell;
use std::rc::Rc;

use pcie_sim::endpoint::Endpoint;
use pcie_sim::link::credits::Credits;
use rtl_model::pins::PinCard;
use rtl_model::pins::card::{PinCardConfig, Reset};
use rtl_model::pins::pinned::{Pinned, PinnedConfig};
use rtl_model::pins::tlp_stream::Stalls;
use rtl_model::{Card, CardConfig};
use testbench::bench::run_with;
use testbench::card::Plugged as InSlot;
use testbench::report::{RunError, RunResult};
use testbench::scenario::config::RunConfig;

use crate::rig::runs;

type Plugged = Rc<RefCell<PinCard<Pinned<Card>>>>;

/// The model behind pins of this kind, on the clock that the model has.
fn plug(card: CardConfig, pins: PinnedConfig, stalls: Stalls) -> Result<Plugged, RunError> {
    let reset = Some(Reset { port: "rst_ni".into(), active_high: false, cycles: 4 });
    let config = PinCardConfig { period: card.timing.clock, reset, stalls };
    let name = Pinned::<Card>::name(&pins);
    let design = Pinned::new(Card::new(card).map_err(RunError::input)?, pins);
    let card = PinCard::new(design, &name, &config).map_err(RunError::input)?;
    Ok(Rc::new(RefCell::new(card)))
}

/// A run with the model behind pins, on which nobody may have done anything wrong.
fn run_behind(config: &RunConfig, pins: &PinnedConfig, stalls: Stalls) -> RunResult {
    let plugged = RefCell::new(None);
    let make = |_: &RunConfig, card: CardConfig| -> Result<InSlot, RunError> {
        let card = plug(card, pins.clone(), stalls)?;
        plugged.replace(Some(card.clone()));
        Ok(InSlot::from(Box::new(card) as Box<dyn Endpoint>))
    };
    let result = run_with(config, &make).expect("it runs");
    let card = plugged.take().expect("a card was made");
    let card = card.borrow();
    assert_eq!(card.findings().kept(), [], "{} {pins:?}", config.name());
    assert_eq!(card.design().complaints(), [""; 0], "{} {pins:?}", config.name());
    assert!(card.edges() > 10_000);
    result
}

const TRAFFIC: &str = "[net]\nsynthetic = { packets = 20, bytes = 700 }\n\
                       [blk]\nsynthetic = { requests = 20, bytes = 1024 }\ndisk_size = \"16 KiB\"\n";

/// `rtl_model::pins::tlp_stream`: the interface is all that lies between the bench and a card, at any width
/// and pace, with few credits and with pins that a design is without.
#[test]
fn the_driver_works_with_a_card_behind_pins_of_any_width_through_every_cell_of_the_matrix() {
    let bare = vec!["rx_sop", "tx_sop", "rx_keep", "tx_keep", "rx_np_ok", "tx_credit_npd"];
    let no_credits = ["tx_credit_ph", "tx_credit_pd", "tx_credit_nph"];
    let blind = [&bare[..], &no_credits, &["tx_credit_cplh", "tx_credit_cpld"]].concat();
    let kinds = [vec![], bare, blind];
    for (at, mut config) in (0..).zip(runs("x86-vtd", TRAFFIC)) {
        let percent = [0, 30, 60][at % 3];
        let stalls = Stalls { seed: at as u64, rx_percent: percent, tx_percent: percent };
        let beat_bits = 64 << (at % 4);
        let pins = PinnedConfig { beat_bits, without: kinds[at / 2 % 3].clone(), stalls };
        let buffers = &mut config.slot.link.root_buffers;
        buffers.posted = Credits { headers: 2, data: 32 };
        buffers.non_posted = Credits { headers: 3, data: 1 };
        let result = run_behind(&config, &pins, stalls);
        assert_eq!(result.violations, [], "{}", config.name());
        assert!(result.requests >= 20, "{}: {}", config.name(), result.requests);
    }
}
