//! The bounce buffer on the card: VIRTIO_F_SWIOTLB and its capability, as proposed in 2025.

use pcie_sim::spec::features;
use pcie_sim::spec::virtio_pci::{CommonReg, cap, cfg_type, status};
use pcie_sim::spec::virtq::{DESC_F_INDIRECT, SplitDesc};
use pcie_sim::tlp::Tlp;
use rtl_model::{CardConfig, CardError, RingFault, SwiotlbConfig};

use crate::fetch::{BUFFER, net};
use crate::rig::{BAR2, BASE_FEATURES, Rig, Ring, Use, readable, writable};

/// The region begins behind the first 64 KiB.
const REGION: SwiotlbConfig = SwiotlbConfig {
    offset: 0x1_0000,
    bytes: 0x8_0000,
    offer_feature: true,
    require: false,
    capability: true,
};
const START: u64 = BAR2 + 0x1_0000;
const END: u64 = START + 0x8_0000;
const ACCEPTED: u64 = BASE_FEATURES | features::SWIOTLB | features::INDIRECT_DESC;

fn card(swiotlb: SwiotlbConfig) -> CardConfig {
    CardConfig { swiotlb: Some(swiotlb), ..net() }
}

fn rings() -> [Ring; 2] {
    [0, 1].map(|queue| {
        let base = START + 0x1_0000 * u64::from(queue);
        let (avail, used) = (base + 0x2000, base + 0x4000);
        Ring { queue, size: 64, desc: base, avail, used, avail_idx: 0 }
    })
}

fn confined() -> (Rig, [Ring; 2]) {
    let mut rig = Rig::placed(card(REGION));
    let rings = rings();
    rig.start(ACCEPTED, &rings);
    (rig, rings)
}

/// Capabilities of type 8 and 10: type, BAR, offset, length.
fn regions(rig: &mut Rig) -> Vec<(u8, u8, u64, u64)> {
    let mut found = Vec::new();
    let mut at = rig.config_read(0x34, 1) as u16;
    while at != 0 {
        let id = rig.config_read(at, 1);
        let kind = rig.config_read(at + cap::CFG_TYPE, 1) as u8;
        if id == 9 && [cfg_type::SHARED_MEMORY, cfg_type::SWIOTLB].contains(&kind) {
            let mut wide = |low: u16, high: u16| {
                u64::from(rig.config_read(at + low, 4))
                    | u64::from(rig.config_read(at + high, 4)) << 32
            };
            let offset = wide(cap::OFFSET, cap::OFFSET_HI);
            let length = wide(cap::LENGTH, cap::LENGTH_HI);
            found.push((kind, rig.config_read(at + cap::BAR, 1) as u8, offset, length));
        }
        at = rig.config_read(at + cap::NEXT, 1) as u16;
    }
    found
}

fn offered(rig: &mut Rig) -> bool {
    rig.set_common(CommonReg::DeviceFeatureSelect, 0);
    u64::from(rig.common(CommonReg::DeviceFeature)) & features::SWIOTLB != 0
}

/// Feature and capability are said or left out one by one; the capability takes shared memory's place.
#[test]
fn the_card_says_what_it_is_told_to_say() {
    for (offer_feature, capability) in [(true, true), (true, false), (false, true)] {
        let mut rig = Rig::placed(card(SwiotlbConfig { offer_feature, capability, ..REGION }));
        assert_eq!(offered(&mut rig), offer_feature);
        let swiotlb = (cfg_type::SWIOTLB, 2, 0x1_0000, 0x8_0000);
        let shared = (cfg_type::SHARED_MEMORY, 2, 0, 1 << 20);
        assert_eq!(regions(&mut rig), [if capability { swiotlb } else { shared }]);
    }
    let mut rig = Rig::placed(net());
    assert!(!offered(&mut rig));
}

#[test]
fn a_card_that_requires_its_bounce_buffer_refuses_a_driver_that_does_without() {
    for (require, accepted, ok) in [
        (true, BASE_FEATURES, false),
        (true, BASE_FEATURES | features::SWIOTLB, true),
        (false, BASE_FEATURES, true),
    ] {
        let mut rig = Rig::placed(card(SwiotlbConfig { require, ..REGION }));
        assert_eq!(rig.negotiate(accepted) & status::FEATURES_OK != 0, ok);
    }
}

/// Nothing but interrupts crosses the link, and the packet comes back.
#[test]
fn with_everything_in_the_bounce_buffer_only_interrupts_leave_the_card() {
    let (mut rig, [mut rx, mut tx]) = confined();
    let (sent, received) = (START + 0x4_0000, START + 0x5_0000);
    rig.poke(sent, &[0x3c; 112]);
    rx.describe(&mut rig, 0, writable(received, 1600));
    rx.offer(&mut rig, &[0]);
    tx.describe(&mut rig, 0, readable(sent, 112));
    tx.offer(&mut rig, &[0]);
    rig.doorbell(0);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rx.used_elem(&mut rig, 0), (0, 112));
    assert_eq!(rig.peek(received + 12, 100), [0x3c; 100]);
    let uses: Vec<_> = rig.uses(&tx);
    assert_eq!(uses, [Use::Message, Use::Message]);
}

/// Not one request leaves for the address, the device says that it needs a reset, nothing is used.
fn refused(spoil: impl Fn(&mut Rig, &mut Ring), address: u64, len: u64) {
    let (mut rig, [_, mut tx]) = confined();
    spoil(&mut rig, &mut tx);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.card.fault(), Some(RingFault::OutsideBounceBuffer { address, len }));
    assert_eq!(rig.uses(&tx), [Use::Message], "the configuration change, and nothing else");
    let status = rig.common(CommonReg::DeviceStatus) as u8;
    assert_ne!(status & status::DEVICE_NEEDS_RESET, 0);
    assert_eq!(tx.used_idx(&mut rig), 0);
}

#[test]
fn a_buffer_outside_of_the_bounce_buffer_is_refused_and_never_touched() {
    let host = BUFFER;
    for (address, len) in
        [(host, 76), (BAR2, 76), (START - 1, 76), (END - 75, 76), (END, 1), (u64::MAX - 10, 76)]
    {
        let spoil = |rig: &mut Rig, ring: &mut Ring| {
            ring.describe(rig, 0, readable(address, len));
            ring.offer(rig, &[0]);
        };
        refused(spoil, address, len.into());
    }
}

#[test]
fn an_indirect_table_outside_of_the_bounce_buffer_is_refused() {
    let spoil = |rig: &mut Rig, ring: &mut Ring| {
        let table = SplitDesc { addr: BUFFER, len: 32, flags: DESC_F_INDIRECT, next: 0 };
        ring.describe(rig, 0, table);
        ring.offer(rig, &[0]);
    };
    refused(spoil, BUFFER, 32);
}

#[test]
fn a_buffer_outside_named_by_an_indirect_table_is_refused() {
    let spoil = |rig: &mut Rig, ring: &mut Ring| {
        let addr = START + 0x4_0000;
        rig.poke(addr, &readable(BUFFER, 76).to_bytes());
        ring.describe(rig, 0, SplitDesc { addr, len: 16, flags: DESC_F_INDIRECT, next: 0 });
        ring.offer(rig, &[0]);
    };
    refused(spoil, BUFFER, 76);
}

#[test]
fn a_ring_outside_of_the_bounce_buffer_is_never_read() {
    for part in 0..3 {
        let mut rig = Rig::placed(card(REGION));
        let mut rings = rings();
        let ring = &mut rings[1];
        let area = [&mut ring.desc, &mut ring.avail, &mut ring.used];
        *area.into_iter().nth(part).expect("three areas") = BUFFER;
        rig.start(ACCEPTED, &rings);
        rig.doorbell(1);
        rig.settle();
        let fault = rig.card.fault();
        assert!(matches!(fault, Some(RingFault::OutsideBounceBuffer { address: BUFFER, .. })));
        let requests = rig.log.iter().filter(|(_, tlp)| matches!(tlp, Tlp::MemRead(_))).count();
        assert_eq!(requests, 0);
    }
}

/// The capability alone is a hint: the driver may mix.
#[test]
fn without_the_feature_addresses_anywhere_are_served() {
    let hint = SwiotlbConfig { offer_feature: false, ..REGION };
    let (mut rig, mut rings) = Rig::running(card(hint), BASE_FEATURES, 64);
    let mut tx = rings.remove(1);
    tx.describe(&mut rig, 0, readable(BUFFER, 76));
    tx.describe(&mut rig, 1, readable(START, 76));
    tx.offer(&mut rig, &[0, 1]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(tx.used_idx(&mut rig), 2);
    assert_eq!(rig.card.fault(), None);
}

#[test]
fn a_region_that_is_not_in_the_cards_memory_cannot_be_built() {
    for (offset, bytes) in [(0, 0), (0, 2 << 20), (1 << 20, 4096), (100, 4096), (0, 100)] {
        let config = card(SwiotlbConfig { offset, bytes, ..REGION });
        let built = rtl_model::Card::new(config);
        assert!(matches!(built, Err(CardError::Range { .. })), "{offset:#x} {bytes:#x}");
    }
}
