//! A card that interrupts without asking: a parameter of the model, which RTL need not have.

use testbench::analyzer::Purpose::{
    AvailIdx, Descriptor, MsiX, Payload, RingEntry, UsedElement, UsedIdx,
};

use crate::rig::{self, CARD, Card, cell_with, shape};

const READ: bool = false;
const WRITE: bool = true;

fn always_interrupt(card: Card) {
    let knob = "[card]\nalways_interrupt = true\n";
    let config = cell_with("x86-noiommu", "net", "host", "direct", false, knob);
    let mut rig = rig::net(&config, &card);
    rig.send(64, 0);
    assert_eq!(
        shape(&rig.dma()),
        [
            (READ, AvailIdx),
            (READ, RingEntry),
            (READ, Descriptor),
            (READ, Payload),
            (WRITE, UsedElement),
            (WRITE, UsedIdx),
            (WRITE, MsiX),
        ],
    );
    rig.assert_clean();
}

/// Virtio 1.4 §2.7.7.2: a device SHOULD NOT interrupt an unwilling driver, but may.
#[test]
fn a_card_that_always_interrupts_saves_the_read_of_the_suppression_word() {
    always_interrupt(CARD);
}
