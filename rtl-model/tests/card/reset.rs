//! Reset: nothing of the old life reaches the new one.

use pcie_sim::spec::virtio_pci::{CommonReg, status};
use pcie_sim::time::Span;

use crate::fetch::{BUFFER, net, transmitter};
use crate::rig::{BASE_FEATURES, Ring, readable};

/// RST-DEV-01, RST-DEV-02: at whatever moment the reset comes.
#[test]
fn after_the_status_reads_zero_the_card_is_silent_whenever_the_reset_came() {
    let mut waited = 0;
    for steps in 0..60 {
        let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
        for i in 0..4 {
            ring.describe(&mut rig, i, readable(BUFFER + 0x1000 * u64::from(i), 1400));
        }
        ring.offer(&mut rig, &[0, 1, 2, 3]);
        rig.doorbell(1);
        for _ in 0..steps {
            rig.step();
        }
        rig.set_common(CommonReg::DeviceStatus, 0);
        while rig.common(CommonReg::DeviceStatus) != 0 {
            waited += 1;
            assert!(waited < 10_000, "a reset ends");
        }
        rig.log.clear();
        rig.doorbell(1);
        rig.settle_for(Span::from_ms(20));
        rig.settle();
        assert!(rig.log.is_empty(), "reset after {steps} steps");
        assert_eq!(rig.card.counters().unexpected_completions, 0);
    }
    assert!(waited > 0, "some resets came while reads were unanswered");
}

/// While reads are unanswered the status does not read 0, and what is written to it meanwhile is lost.
#[test]
fn a_reset_is_not_over_before_the_last_answer_has_come() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    ring.describe(&mut rig, 0, readable(BUFFER, 1400));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    while rig.log.is_empty() {
        assert!(rig.step());
    }
    rig.delay = Span::from_us(50);
    rig.set_common(CommonReg::DeviceStatus, 0);
    assert_ne!(rig.common(CommonReg::DeviceStatus), 0);
    rig.set_common(CommonReg::DeviceStatus, status::ACKNOWLEDGE.into());
    rig.settle();
    assert_eq!(rig.common(CommonReg::DeviceStatus), 0);
    assert_eq!(rig.card.counters().discarded_completions, 1);
}

/// FEAT-DEV-05; ring positions begin at zero again.
#[test]
fn a_card_works_again_after_a_reset() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    for round in 0..4_u16 {
        for i in 0..20_u16 {
            ring.describe(&mut rig, i, readable(BUFFER, 200));
        }
        let count = 5 * (round + 1);
        ring.offer(&mut rig, &(0..count).collect::<Vec<_>>());
        rig.doorbell(1);
        rig.settle_for(Span::from_us(2 + u64::from(round)));
        rig.set_common(CommonReg::DeviceStatus, 0);
        while rig.common(CommonReg::DeviceStatus) != 0 {}
        rig.memory.fill(0);
        let rings = [Ring::in_host(0, 256), Ring::in_host(1, 256)];
        rig.start(BASE_FEATURES, &rings);
        [_, ring] = rings;
    }
    ring.describe(&mut rig, 0, readable(BUFFER, 200));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 1);
    assert_eq!(ring.used_elem(&mut rig, 0), (0, 0));
}
