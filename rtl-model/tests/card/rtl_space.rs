//! The configuration space that the RTL is to have: the model's, in a file that the RTL's smoke test reads.
//!
//! One line for each doubleword that is not all zeroes: `@index` in the space, what it holds after power-on, and
//! which of its bits software can change.

use std::fmt::Write;

use pcie_sim::spec::aer;
use pcie_sim::spec::pci::{cap_id, express, header, power};
use pcie_sim::time::Span;
use rtl_model::CardConfig;

use crate::fetch::net;
use crate::rig::Rig;

const BLK: &str = include_str!("../../rtl/tb/space_blk.hex");
const NET: &str = include_str!("../../rtl/tb/space_net.hex");

const EXPRESS: u16 = 0x40;
const AER: u16 = 0x100;
/// What the model has and the RTL has not, as its README says: register, bits.
const LEFT_OUT: &[(u16, u32)] = &[
    (EXPRESS + express::DEVICE_CAPABILITIES_2, express::CAPABLE_PREFIXES),
    (
        AER + aer::CONTROL,
        aer::CONTROL_ECRC_GENERATION_CAPABLE
            | aer::CONTROL_ECRC_GENERATION
            | aer::CONTROL_ECRC_CHECK_CAPABLE
            | aer::CONTROL_ECRC_CHECK,
    ),
];

/// What a doubleword holds, and which bits can be set and cleared.
fn probe(rig: &mut Rig, at: u16, wait: Span) -> (u32, u32) {
    let before = rig.config_read(at, 4);
    // That bit would start a reset.
    let keep = if at == EXPRESS + express::DEVICE_CONTROL { express::CONTROL_FLR } else { 0 };
    rig.config_write(at, &(!u32::from(keep)).to_le_bytes());
    let ones = rig.config_read(at, 4);
    rig.config_write(at, &[0; 4]);
    rig.settle_for(wait);
    let zeroes = rig.config_read(at, 4);
    rig.config_write(at, &before.to_le_bytes());
    let left_out = LEFT_OUT.iter().find(|(register, _)| *register == at).map_or(0, |l| l.1);
    (before & !left_out, (ones & !zeroes) & !left_out)
}

fn file(config: CardConfig) -> String {
    let mut rig = Rig::new(CardConfig { memory_bytes: 0x1_0000, ..config });
    assert_eq!(rig.capability(cap_id::PCI_EXPRESS), EXPRESS);
    // The way back to D0 resets the card, so that this one comes last.
    let state = rig.capability(cap_id::POWER_MANAGEMENT) + power::CONTROL;
    let at = (0..header::SPACE_BYTES).step_by(4).filter(|at| *at != state);
    let mut lines: Vec<_> = at.map(|at| (at, probe(&mut rig, at, Span::ZERO))).collect();
    lines.push((state, probe(&mut rig, state, Span::from_ms(10))));
    lines.sort_unstable();
    let mut text = String::new();
    for (at, (value, writable)) in lines {
        if (value, writable) != (0, 0) {
            let _ = writeln!(text, "@{:03x} {value:08x}_{writable:08x}", at / 4);
        }
    }
    text
}

/// The RTL's side of it is `tb/card_tb.sv`, which compares every doubleword with the same file.
#[test]
fn the_rtls_configuration_space_is_the_models() {
    for (name, committed, config) in
        [("space_blk.hex", BLK, CardConfig::default()), ("space_net.hex", NET, net())]
    {
        let text = file(config);
        assert!(text == committed, "rtl/tb/{name} is to be:\n{text}");
    }
}
