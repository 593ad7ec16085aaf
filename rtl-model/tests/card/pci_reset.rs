//! Function level reset, hot reset, and the way from D3hot to D0: what is left, and what is not.

use pcie_sim::endpoint::Endpoint;
use pcie_sim::spec::pci::{cap_id, command, express, header, power};
use pcie_sim::spec::virtio_pci::CommonReg;
use pcie_sim::spec::{aer, features};
use pcie_sim::time::Span;
use pcie_sim::tlp::{Attributes, CompletionStatus, ConfigRead, MemWrite, Payload, Tag, Tlp};
use proptest::prelude::*;
use rtl_model::CardConfig;

use crate::fetch::{BUFFER, net, transmitter};
use crate::rig::{BAR0, BAR1, BASE_FEATURES, CARD, ROOT, Rig, Ring, readable};

const AER: u16 = 0x100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    FunctionLevel,
    Hot,
    Soft,
}

const KINDS: [Kind; 3] = [Kind::FunctionLevel, Kind::Hot, Kind::Soft];

fn start(rig: &mut Rig, kind: Kind) {
    match kind {
        Kind::FunctionLevel => {
            let at = rig.capability(cap_id::PCI_EXPRESS) + express::DEVICE_CONTROL;
            let control = rig.config_read(at, 2) as u16 | express::CONTROL_FLR;
            let answer = rig.config_write(at, &control.to_le_bytes());
            assert_eq!(answer.status, CompletionStatus::Success, "before the reset begins");
        }
        Kind::Hot => {
            let now = rig.now;
            rig.card.hot_reset(now);
        }
        Kind::Soft => {
            let at = rig.capability(cap_id::POWER_MANAGEMENT) + power::CONTROL;
            rig.config_write(at, &power::D3HOT.to_le_bytes());
            rig.config_write(at, &power::D0.to_le_bytes());
        }
    }
}

fn asked(rig: &mut Rig) -> CompletionStatus {
    let read = ConfigRead {
        requester: ROOT,
        tag: Tag(1),
        target: CARD,
        offset: 0,
        len_bytes: 4,
        forwarded: false,
    };
    rig.ask(Tlp::ConfigRead(read)).status
}

fn busy() -> (Rig, Ring) {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES | features::EVENT_IDX);
    for i in 0..4 {
        ring.describe(&mut rig, i, readable(BUFFER + 0x1000 * u64::from(i), 1400));
    }
    ring.offer(&mut rig, &[0, 1, 2, 3]);
    rig.doorbell(1);
    (rig, ring)
}

/// STAT-DEV-05, PCIe 5.0 §6.6: at whatever moment the reset comes, nothing of the old life follows, and a
/// driver that starts anew finds a card that works.
#[test]
fn after_any_reset_the_card_is_silent_and_works_again() {
    for kind in KINDS {
        for steps in (0..60).step_by(3) {
            let (mut rig, _) = busy();
            for _ in 0..steps {
                rig.step();
            }
            if kind == Kind::Hot {
                // The link is down: what was on its way is lost.
                rig.drop_under_way();
            }
            start(&mut rig, kind);
            rig.log.clear();
            rig.settle_for(Span::from_ms(10));
            assert!(rig.log.is_empty(), "{kind:?} after {steps} steps: {:?}", rig.log);
            assert_eq!(asked(&mut rig), CompletionStatus::Success);
            assert_eq!(rig.card.counters().unexpected_completions, 0, "{kind:?}");
            rig.place();
            assert_eq!(rig.common(CommonReg::DeviceStatus), 0);
            rig.set_common(CommonReg::QueueSelect, 1);
            assert_eq!(rig.common(CommonReg::QueueEnable), 0);
            assert_eq!(rig.common(CommonReg::QueueMsixVector), 0xffff);
            assert_eq!(rig.common(CommonReg::QueueDescLow), 0);
            rig.memory.fill(0);
            let rings = [Ring::in_host(0, 256), Ring::in_host(1, 256)];
            rig.start(BASE_FEATURES, &rings);
            let [_, mut ring] = rings;
            ring.describe(&mut rig, 0, readable(BUFFER, 1400));
            ring.offer(&mut rig, &[0]);
            rig.doorbell(1);
            rig.settle();
            assert_eq!(ring.used_idx(&mut rig), 1, "{kind:?} after {steps} steps");
        }
    }
}

/// PCIe 5.0 §2.3.1, §6.6.2: Request Retry Status and nothing else, for the reset time, which is less than
/// the 100 ms that software waits (10 ms after D3hot). Nothing of that is an error.
#[test]
fn until_a_reset_is_over_configuration_requests_are_put_off() {
    for kind in KINDS {
        let mut rig = Rig::placed(net());
        start(&mut rig, kind);
        let begun = rig.now;
        assert_eq!(asked(&mut rig), CompletionStatus::RequestRetry, "{kind:?}");
        assert_eq!(rig.mmio_request(BAR0, 4).status, CompletionStatus::UnsupportedRequest);
        rig.mmio_write(BAR1, &[0; 4]);
        while asked(&mut rig) == CompletionStatus::RequestRetry {
            rig.settle_for(Span::from_us(100));
        }
        let took = rig.now.since(begun);
        assert!(took >= Span::from_ms(1) && took < Span::from_ms(10), "{kind:?}");
        assert_eq!(rig.config_read(AER + aer::UNCORRECTABLE_STATUS, 4), 0);
        assert_eq!(rig.config_read(AER + aer::CORRECTABLE_STATUS, 4), 0);
        let at = rig.capability(cap_id::PCI_EXPRESS) + express::DEVICE_STATUS;
        assert_eq!(rig.config_read(at, 2), 0);
    }
}

/// PCIe 5.0 §7.4: sticky registers stay; §6.6.2: those of the link stay unless the link is reset.
#[test]
fn what_is_sticky_outlives_a_reset_and_the_rest_does_not() {
    for kind in KINDS {
        let mut rig = Rig::placed(net());
        rig.config_write(AER + aer::UNCORRECTABLE_MASK, &(1_u32 << 15).to_le_bytes());
        rig.config_write(AER + aer::CORRECTABLE_MASK, &0_u32.to_le_bytes());
        rig.config_write(AER + aer::CONTROL, &aer::CONTROL_ECRC_CHECK.to_le_bytes());
        let data = Payload::from_slice(&[0; 4]);
        let attributes = Attributes::default();
        let stray =
            MemWrite { requester: ROOT, tag: Tag(0), address: 0xdead_0000, data, attributes };
        rig.deliver(Tlp::MemWrite(stray));
        let express = rig.capability(cap_id::PCI_EXPRESS);
        let control = express::size_code(256) << 5 | express::size_code(4096) << 12 | 0xf;
        rig.config_write(express + express::DEVICE_CONTROL, &control.to_le_bytes());
        rig.config_write(express + express::DEVICE_CONTROL_2, &2_u16.to_le_bytes());
        let sticky: Vec<u32> = (0..18).map(|i| rig.config_read(AER + 4 * i, 4)).collect();
        start(&mut rig, kind);
        rig.settle_for(Span::from_ms(10));
        let after: Vec<u32> = (0..18).map(|i| rig.config_read(AER + 4 * i, 4)).collect();
        assert_eq!(after, sticky, "{kind:?}");
        assert_eq!(after[1], 1 << 20, "the error is still there to be seen");
        assert_ne!(after[7], 0, "and so is its header");
        let payload = if kind == Kind::Hot { 128 } else { 256 };
        let control = rig.config_read(express + express::DEVICE_CONTROL, 2) as u16;
        assert_eq!(express::size_bytes(control >> 5), payload, "{kind:?}");
        assert_eq!(express::size_bytes(control >> 12), 512);
        assert_eq!(control & 0xf, 0);
        assert_eq!(rig.config_read(express + express::DEVICE_STATUS, 2), 0);
        assert_eq!(rig.config_read(express + express::DEVICE_CONTROL_2, 2), 0);
        assert_eq!(rig.config_read(header::COMMAND, 2), 0);
        for bar in 0..4 {
            let left = rig.config_read(header::BAR0 + 4 * bar, 4) & !0xf;
            assert_eq!(left, 0, "BAR{bar}");
        }
        let msix = rig.capability(cap_id::MSIX);
        assert_eq!(rig.config_read(msix + 2, 2), 7, "MSI-X is off");
        rig.place();
        assert_eq!(rig.mmio_read(BAR1 + 16 * 5 + 12, 4), [1, 0, 0, 0], "and its table masked");
    }
}

/// PCIe 5.0 §5.3.1.4.1: in D3hot only configuration requests and messages are taken.
#[test]
fn in_d3hot_only_configuration_requests_are_answered_and_nothing_is_sent() {
    for steps in (0..60).step_by(7) {
        let (mut rig, _) = busy();
        for _ in 0..steps {
            rig.step();
        }
        let at = rig.capability(cap_id::POWER_MANAGEMENT) + power::CONTROL;
        rig.config_write(at, &power::D3HOT.to_le_bytes());
        rig.log.clear();
        rig.doorbell(1);
        rig.card.set_link_up(false);
        rig.settle();
        assert!(rig.log.is_empty(), "after {steps} steps: {:?}", rig.log);
        assert_eq!(rig.mmio_request(BAR0, 4).status, CompletionStatus::UnsupportedRequest);
        assert_eq!(asked(&mut rig), CompletionStatus::Success);
        assert_eq!(rig.config_read(at, 2) as u16 & power::CONTROL_STATE, power::D3HOT);
    }
}

/// PCI PM 1.2 §5.4.1: with No_Soft_Reset a card that wakes up goes on as if nothing had been.
#[test]
fn with_no_soft_reset_a_card_goes_on_where_it_was() {
    let config = CardConfig { no_soft_reset: true, ..net() };
    let (mut rig, mut ring) = transmitter(config, BASE_FEATURES);
    ring.describe(&mut rig, 0, readable(BUFFER, 1400));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    for _ in 0..10 {
        rig.step();
    }
    let at = rig.capability(cap_id::POWER_MANAGEMENT) + power::CONTROL;
    rig.config_write(at, &power::D3HOT.to_le_bytes());
    rig.settle_for(Span::from_us(100));
    rig.config_write(at, &power::D0.to_le_bytes());
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 1);
    assert_ne!(rig.config_read(at, 2) as u16 & power::CONTROL_NO_SOFT_RESET, 0);
}

/// PCI PM 1.2 §3.2.4: a state that is not supported is not entered.
#[test]
fn power_states_that_the_card_does_not_have_are_not_entered() {
    let mut rig = Rig::placed(net());
    let at = rig.capability(cap_id::POWER_MANAGEMENT) + power::CONTROL;
    for state in [1, 2] {
        rig.config_write(at, &[state]);
        assert_eq!(rig.config_read(at, 2) as u16 & power::CONTROL_STATE, power::D0);
        assert_eq!(rig.mmio_read(BAR0, 4), [0; 4]);
    }
}

/// PCIe 5.0 §6.6.2: after a function level reset no request of before is pending any more.
#[test]
fn a_function_level_reset_leaves_no_transaction_pending() {
    let (mut rig, _) = busy();
    while rig.log.is_empty() {
        assert!(rig.step());
    }
    let status = rig.capability(cap_id::PCI_EXPRESS) + express::DEVICE_STATUS;
    rig.delay = Span::from_ms(5);
    for _ in 0..20 {
        rig.step();
    }
    assert_ne!(rig.config_read(status, 2) as u16 & express::STATUS_PENDING, 0);
    start(&mut rig, Kind::FunctionLevel);
    rig.settle_for(Span::from_ms(2));
    assert_eq!(rig.config_read(status, 2), 0);
    // The answers that still come are nobody's error.
    rig.settle_for(Span::from_ms(20));
    assert_eq!(rig.config_read(AER + aer::CORRECTABLE_STATUS, 4), 0);
    assert_eq!(rig.card.counters().unexpected_completions, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever software writes wherever: identity and the chains of capabilities stay as they are, and
    /// the card goes on answering.
    #[test]
    fn no_write_changes_what_is_read_only(writes in prop::collection::vec((0_u16..1024, any::<u32>()), 1..40)) {
        let mut rig = Rig::new(net());
        let fixed = |rig: &mut Rig| {
            let mut words = vec![0, 8, 0x2c, 0x34, 0x100, 0x148, 0x14c, 0x150];
            let mut at = rig.config_read(header::CAPABILITIES, 1) as u16;
            let mut seen = Vec::new();
            while at != 0 {
                words.push(at);
                at = rig.config_read(at + 1, 1) as u16;
            }
            for at in words {
                let word = rig.config_read(at, 4);
                // Message Control of MSI-X shares the first doubleword.
                seen.push(if word as u8 == cap_id::MSIX { word & 0x3fff_ffff } else { word });
            }
            seen
        };
        let before = fixed(&mut rig);
        for (dword, value) in writes {
            rig.config_write(4 * dword, &value.to_le_bytes());
            rig.settle_for(Span::from_ms(2));
        }
        rig.set_command(command::MEMORY_SPACE);
        rig.settle_for(Span::from_ms(2));
        prop_assert_eq!(fixed(&mut rig), before);
    }
}
