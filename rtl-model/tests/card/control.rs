//! The control queue of the network card.

use pcie_sim::spec::net::{CONTROL_QUEUE, F_CTRL_MAC_ADDR, F_CTRL_RX, F_CTRL_VQ, HDR_BYTES, ctrl};
use pcie_sim::spec::virtio_pci::CommonReg;
use proptest::prelude::*;
use rtl_model::{CardConfig, DeviceConfig, NetConfig};

use crate::rig::{BAR0, BASE_FEATURES, DEVICE, HOST, Rig, Ring, readable, then, writable};

const COMMAND: u64 = HOST + 0x50_0000;
const SENT: u64 = HOST + 0x51_0000;
const RECEIVED: u64 = HOST + 0x52_0000;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ALL: u64 = BASE_FEATURES | F_CTRL_VQ | F_CTRL_RX | F_CTRL_MAC_ADDR;

struct Net {
    rig: Rig,
    rings: Vec<Ring>,
}

impl Net {
    fn new(accepted: u64) -> Self {
        let net = NetConfig { mac: MAC, control_queue: true, ..NetConfig::default() };
        let config = CardConfig::new(DeviceConfig::Net(net));
        let (rig, rings) = Rig::running(config, accepted, 64);
        assert_eq!(rings.len(), 3);
        Self { rig, rings }
    }

    /// Header, data and acknowledgement in a buffer each, as drivers send them; used length and ack.
    fn command(&mut self, class: u8, command: u8, data: &[u8]) -> (u32, u8) {
        let Self { rig, rings } = self;
        let ring = &mut rings[usize::from(CONTROL_QUEUE)];
        rig.poke(COMMAND, &[class, command]);
        rig.poke(COMMAND + 0x100, data);
        rig.poke(COMMAND + 0x800, &[0xdd]);
        ring.describe(rig, 0, then(readable(COMMAND, 2), 1));
        ring.describe(rig, 1, then(readable(COMMAND + 0x100, data.len() as u32), 2));
        ring.describe(rig, 2, writable(COMMAND + 0x800, 1));
        let slot = ring.avail_idx % ring.size;
        ring.offer(rig, &[0]);
        rig.doorbell(CONTROL_QUEUE);
        rig.settle();
        let (id, len) = ring.used_elem(rig, slot);
        assert_eq!(id, 0);
        (len, rig.peek(COMMAND + 0x800, 1)[0])
    }

    fn ok(&mut self, class: u8, command: u8, data: &[u8]) {
        assert_eq!(self.command(class, command, data), (1, ctrl::OK), "{class}/{command}");
    }

    /// Whether a frame to this address is received.
    fn receives(&mut self, to: [u8; 6]) -> bool {
        let Self { rig, rings } = self;
        let before = rings[0].used_idx(rig);
        if rings[0].avail_idx == before {
            let rx = &mut rings[0];
            rx.describe(rig, 0, writable(RECEIVED, 1600));
            rx.offer(rig, &[0]);
            rig.doorbell(0);
        }
        rig.poke(SENT, &[0; HDR_BYTES]);
        rig.poke(SENT + HDR_BYTES as u64, &to);
        rings[1].describe(rig, 0, readable(SENT, 76));
        rings[1].offer(rig, &[0]);
        rig.doorbell(1);
        rig.settle();
        rings[0].used_idx(rig) != before
    }

    fn mac(&mut self) -> Vec<u8> {
        self.rig.mmio_read(BAR0 + DEVICE, 6)
    }
}

fn tables(single: &[[u8; 6]], groups: &[[u8; 6]]) -> Vec<u8> {
    let count = |n: usize| (n as u32).to_le_bytes();
    [&count(single.len())[..], single.as_flattened(), &count(groups.len()), groups.as_flattened()]
        .concat()
}

const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
const BROADCAST: [u8; 6] = [0xff; 6];

/// NET-FEAT-BTH-04, and a card without one.
#[test]
fn the_control_queue_is_there_only_when_it_is_offered() {
    let mut rig = Rig::placed(crate::fetch::net());
    assert_eq!(rig.common(CommonReg::NumQueues), 2);
    rig.set_common(CommonReg::DeviceFeatureSelect, 0);
    let offered = u64::from(rig.common(CommonReg::DeviceFeature));
    assert_eq!(offered & (F_CTRL_VQ | F_CTRL_RX | F_CTRL_MAC_ADDR), 0);
}

/// NET-CTRL-DEV-01, NET-CTRL-DEV-06.
#[test]
fn a_card_that_is_not_promiscuous_receives_what_is_for_it() {
    let mut net = Net::new(ALL);
    assert!(net.receives(OTHER) && net.receives(GROUP), "promiscuous until told otherwise");
    net.ok(ctrl::CLASS_RX, ctrl::RX_PROMISC, &[0]);
    assert!(net.receives(MAC) && net.receives(BROADCAST));
    assert!(!net.receives(OTHER) && !net.receives(GROUP));
    assert_eq!(net.rig.card.counters().packets_filtered, 2);
    net.ok(ctrl::CLASS_RX, ctrl::RX_ALLMULTI, &[1]);
    assert!(net.receives(GROUP) && !net.receives(OTHER));
    net.ok(ctrl::CLASS_RX, ctrl::RX_PROMISC, &[1]);
    assert!(net.receives(OTHER));
}

/// NET-CTRL-DEV-03, NET-CTRL-DEV-04, NET-CTRL-DRV-05.
#[test]
fn the_table_of_addresses_is_in_force_when_its_command_returns_and_empty_after_a_reset() {
    let mut net = Net::new(ALL);
    net.ok(ctrl::CLASS_RX, ctrl::RX_PROMISC, &[0]);
    net.ok(ctrl::CLASS_MAC, ctrl::MAC_TABLE_SET, &tables(&[OTHER], &[GROUP]));
    assert!(net.receives(OTHER) && net.receives(GROUP));
    net.ok(ctrl::CLASS_MAC, ctrl::MAC_TABLE_SET, &tables(&[], &[]));
    assert!(!net.receives(OTHER) && !net.receives(GROUP));
    net.ok(ctrl::CLASS_MAC, ctrl::MAC_TABLE_SET, &tables(&[OTHER], &[]));
    net.rig.memory.fill(0);
    let rings: Vec<Ring> = (0..3).map(|queue| Ring::in_host(queue, 64)).collect();
    net.rig.start(ALL, &rings);
    net.rings = rings;
    net.ok(ctrl::CLASS_RX, ctrl::RX_PROMISC, &[0]);
    assert!(!net.receives(OTHER));
}

/// NET-CTRL-DEV-05.
#[test]
fn the_address_in_the_configuration_is_the_new_one_when_its_command_returns() {
    let mut net = Net::new(ALL);
    assert_eq!(net.mac(), MAC);
    let generation = net.rig.common(CommonReg::ConfigGeneration);
    net.ok(ctrl::CLASS_MAC, ctrl::MAC_ADDR_SET, &OTHER);
    assert_eq!(net.mac(), OTHER);
    assert_ne!(net.rig.common(CommonReg::ConfigGeneration), generation);
    net.ok(ctrl::CLASS_RX, ctrl::RX_PROMISC, &[0]);
    assert!(net.receives(OTHER) && !net.receives(MAC));
    net.rig.set_common(CommonReg::DeviceStatus, 0);
    assert_eq!(net.mac(), MAC);
}

#[test]
fn what_the_card_does_not_know_or_was_not_agreed_is_answered_with_an_error() {
    let mut net = Net::new(ALL);
    let good = tables(&[OTHER], &[]);
    let bad: [(u8, u8, &[u8]); 8] = [
        (9, 0, &[0]),
        (ctrl::CLASS_RX, 2, &[1]),
        (ctrl::CLASS_RX, ctrl::RX_PROMISC, &[]),
        (ctrl::CLASS_RX, ctrl::RX_PROMISC, &[1, 1]),
        (ctrl::CLASS_MAC, ctrl::MAC_ADDR_SET, &OTHER[..5]),
        (ctrl::CLASS_MAC, ctrl::MAC_TABLE_SET, &good[..good.len() - 1]),
        (ctrl::CLASS_MAC, ctrl::MAC_TABLE_SET, &[0xff; 8]),
        (2, 0, &[1, 0]),
    ];
    for (class, command, data) in bad {
        assert_eq!(net.command(class, command, data), (1, ctrl::ERR), "{class}/{command}");
    }
    let mut net = Net::new(BASE_FEATURES | F_CTRL_VQ);
    assert_eq!(net.command(ctrl::CLASS_RX, ctrl::RX_PROMISC, &[0]), (1, ctrl::ERR));
    assert_eq!(net.command(ctrl::CLASS_MAC, ctrl::MAC_ADDR_SET, &OTHER), (1, ctrl::ERR));
    assert!(net.receives(OTHER));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bytes: one byte of acknowledgement, no panic, the queue goes on.
    #[test]
    fn any_command_is_acknowledged(
        class in 0_u8..4,
        command in 0_u8..4,
        data in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut net = Net::new(ALL);
        let (len, ack) = net.command(class, command, &data);
        prop_assert_eq!(len, 1);
        prop_assert!(ack == ctrl::OK || ack == ctrl::ERR);
        net.ok(ctrl::CLASS_RX, ctrl::RX_PROMISC, &[1]);
    }
}
