//! A whole computer with a card behind pins in it.

use std::cell::RefCell;
use std::rc::Rc;

use pcie_sim::endpoint::{Sighting, Tap};
use pcie_sim::host::ram::Ram;
use pcie_sim::machine::{Machine, MachineConfig};
use pcie_sim::root::enumerate::{Windows, enumerate};
use pcie_sim::spec::virtio_pci;
use rtl_model::pins::tlp_stream::Stalls;
use rtl_model::{BlkConfig, Card, CardConfig, DeviceConfig};

use crate::passage::{pinned, plugged};

struct Unwatched;

impl Tap for Unwatched {
    fn tlp(&mut self, _: &Sighting<'_>) {}
}

/// The same code that finds the model finds it behind pins.
#[test]
fn firmware_finds_a_card_behind_pins() {
    let model = Card::new(CardConfig::new(DeviceConfig::Blk(BlkConfig::default())));
    let config = pinned(64, 0, Stalls::default());
    let card = plugged(model.expect("the parameters fit"), &config, Stalls::default());
    let card = Rc::new(RefCell::new(card));
    let ram = Ram::anonymous(1 << 20).expect("a megabyte");
    let config = MachineConfig::default();
    let mut machine = Machine::new(config, ram, None, Box::new(card.clone()), Unwatched);
    let found = enumerate(&mut machine, Windows::default(), 256, 512).expect("it fits");
    assert_eq!(card.borrow().findings().kept(), []);
    assert_eq!(card.borrow().design().complaints(), [""; 0]);
    assert!(found.iter().any(|function| function.vendor == virtio_pci::VENDOR_ID), "{found:?}");
}
