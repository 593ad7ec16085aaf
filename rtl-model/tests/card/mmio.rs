//! The card behind a register block on a platform's own bus. Virtio 1.4, "Virtio Over MMIO".

use pcie_sim::endpoint::Endpoint;
use pcie_sim::host::MsiMessage;
use pcie_sim::spec::virtio_mmio::interrupt::{CONFIG_CHANGE, USED_BUFFER};
use pcie_sim::spec::virtio_mmio::{
    CONFIG, MAGIC, MmioAccess, MmioReg, REGISTERS, SLOT_BYTES, VERSION,
};
use pcie_sim::spec::virtio_pci::{Access, status};
use pcie_sim::spec::{features, net as net_spec};
use pcie_sim::time::Span;
use pcie_sim::tlp::{CompletionStatus, Tlp};
use rtl_model::{CardConfig, MmioCard, MmioConfig, NetConfig, PlugError};

use crate::fetch::{BUFFER, net};
use crate::rig::{BAR2, BASE_FEATURES, CARD, MSI, Rig, Ring, Use, readable, writable};

const BLOCK: u64 = 0x0a00_0000;

fn place() -> MmioConfig {
    // The rig knows the card's requester id and its messages.
    MmioConfig {
        registers: BLOCK,
        memory: Some(BAR2),
        interrupt: MsiMessage { address: MSI, data: 7 },
        requester: CARD,
    }
}

fn slot(config: CardConfig) -> Rig<MmioCard> {
    Rig::of(MmioCard::new(place(), config).expect("the parameters fit"))
}

fn get(rig: &mut Rig<MmioCard>, reg: MmioReg) -> u32 {
    let bytes = rig.mmio_read(BLOCK + reg.offset(), 4);
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

fn set(rig: &mut Rig<MmioCard>, reg: MmioReg, value: u32) {
    rig.mmio_write(BLOCK + reg.offset(), &value.to_le_bytes());
}

/// Virtio 1.4, "MMIO-specific Initialization And Device Operation".
fn negotiate(rig: &mut Rig<MmioCard>, accepted: u64) -> bool {
    set(rig, MmioReg::Status, 0);
    let driver = u32::from(status::ACKNOWLEDGE | status::DRIVER);
    set(rig, MmioReg::Status, driver);
    for half in 0..2 {
        set(rig, MmioReg::DriverFeaturesSel, half);
        set(rig, MmioReg::DriverFeatures, (accepted >> (32 * half)) as u32);
    }
    set(rig, MmioReg::Status, driver | u32::from(status::FEATURES_OK));
    get(rig, MmioReg::Status) & u32::from(status::FEATURES_OK) != 0
}

fn start(rig: &mut Rig<MmioCard>, accepted: u64, rings: &[Ring]) {
    assert!(negotiate(rig, accepted));
    for ring in rings {
        set(rig, MmioReg::QueueSel, ring.queue.into());
        assert_eq!(get(rig, MmioReg::QueueReady), 0);
        set(rig, MmioReg::QueueSize, ring.size.into());
        let halves = [
            (MmioReg::QueueDescLow, MmioReg::QueueDescHigh, ring.desc),
            (MmioReg::QueueDriverLow, MmioReg::QueueDriverHigh, ring.avail),
            (MmioReg::QueueDeviceLow, MmioReg::QueueDeviceHigh, ring.used),
        ];
        for (low, high, address) in halves {
            set(rig, low, address as u32);
            set(rig, high, (address >> 32) as u32);
        }
        set(rig, MmioReg::QueueReady, 1);
        assert_eq!(get(rig, MmioReg::QueueReady), 1);
    }
    let status = get(rig, MmioReg::Status) | u32::from(status::DRIVER_OK);
    set(rig, MmioReg::Status, status);
    rig.log.clear();
}

fn running() -> (Rig<MmioCard>, Ring, Ring) {
    let mut rig = slot(net());
    let [rx, tx] = [0, 1].map(|queue| Ring::in_host(queue, 64));
    start(&mut rig, BASE_FEATURES, &[rx.clone(), tx.clone()]);
    (rig, rx, tx)
}

fn send(rig: &mut Rig<MmioCard>, tx: &mut Ring) {
    tx.describe(rig, 0, readable(BUFFER, 76));
    tx.offer(rig, &[0]);
    set(rig, MmioReg::QueueNotify, 1);
    rig.settle();
}

#[test]
fn the_block_says_what_is_behind_it() {
    let mut rig = slot(net());
    assert_eq!(get(&mut rig, MmioReg::MagicValue), MAGIC);
    assert_eq!(get(&mut rig, MmioReg::Version), VERSION);
    assert_eq!(get(&mut rig, MmioReg::DeviceId), u32::from(net_spec::DEVICE_TYPE));
    for (queue, max) in [(0, 256), (1, 256), (2, 0)] {
        set(&mut rig, MmioReg::QueueSel, queue);
        assert_eq!(get(&mut rig, MmioReg::QueueSizeMax), max);
    }
    set(&mut rig, MmioReg::DeviceFeaturesSel, 1);
    assert_ne!(u64::from(get(&mut rig, MmioReg::DeviceFeatures)) << 32 & features::VERSION_1, 0);
    let mac = NetConfig::default().mac;
    assert_eq!(rig.mmio_read(BLOCK + CONFIG, 2), mac[..2]);
    assert_eq!(rig.mmio_read(BLOCK + CONFIG + 5, 1), mac[5..]);
}

#[test]
fn a_register_that_is_write_only_reads_zero_and_one_that_is_read_only_keeps_its_value() {
    let mut rig = slot(net());
    for &(reg, _, access) in REGISTERS {
        let before = get(&mut rig, reg);
        match access {
            MmioAccess::Plain(Access::Ro) => {
                set(&mut rig, reg, !before);
                assert_eq!(get(&mut rig, reg), before, "{reg:?}");
            }
            MmioAccess::Wo => assert_eq!(before, 0, "{reg:?}"),
            MmioAccess::Plain(Access::Rw) => {}
        }
    }
}

/// The same requests as over PCI, and one message.
#[test]
fn a_packet_goes_through_the_same_engines() {
    let (mut rig, mut rx, mut tx) = running();
    rx.describe(&mut rig, 0, writable(BUFFER + 0x1000, 1600));
    rx.offer(&mut rig, &[0]);
    rig.poke(BUFFER, &[0x77; 76]);
    set(&mut rig, MmioReg::QueueNotify, 0);
    send(&mut rig, &mut tx);
    assert_eq!(tx.used_idx(&mut rig), 1);
    assert_eq!(rx.used_elem(&mut rig, 0), (0, 76));
    assert_eq!(rig.peek(BUFFER + 0x1000 + 12, 64), [0x77; 64]);
    let messages = rig.uses(&tx).into_iter().filter(|&u| u == Use::Message).count();
    assert_eq!(messages, 1, "the line was up when the second cause came");
    assert_eq!(get(&mut rig, MmioReg::InterruptStatus), USED_BUFFER);
}

/// Virtio 1.4, "Notifications From The Device": a level, which the driver takes down.
#[test]
fn the_interrupt_line_stays_up_until_each_cause_is_acknowledged() {
    let (mut rig, _, mut tx) = running();
    send(&mut rig, &mut tx);
    rig.card.card_mut().expect("plugged").set_link_up(false);
    rig.settle();
    let messages = |rig: &Rig<MmioCard>| {
        let is = |tlp: &Tlp| matches!(tlp, Tlp::MemWrite(w) if w.address == MSI && w.data[0] == 7);
        rig.log.iter().filter(|(_, tlp)| is(tlp)).count()
    };
    assert_eq!(get(&mut rig, MmioReg::InterruptStatus), USED_BUFFER | CONFIG_CHANGE);
    assert_eq!(messages(&rig), 1);
    set(&mut rig, MmioReg::InterruptAck, USED_BUFFER);
    rig.settle();
    assert_eq!(messages(&rig), 2, "a line that is still up interrupts again");
    set(&mut rig, MmioReg::InterruptAck, USED_BUFFER | CONFIG_CHANGE);
    rig.settle();
    assert_eq!((get(&mut rig, MmioReg::InterruptStatus), messages(&rig)), (0, 2));
    send(&mut rig, &mut tx);
    assert_eq!(messages(&rig), 3);
}

#[test]
fn a_queue_size_that_does_not_fit_is_not_taken() {
    let mut rig = slot(net());
    assert!(negotiate(&mut rig, BASE_FEATURES));
    for size in [0, 3, 512, 0x1_0040] {
        set(&mut rig, MmioReg::QueueSize, size);
    }
    let ring = Ring::in_host(0, 256);
    start(&mut rig, BASE_FEATURES, &[ring]);
    assert_eq!(get(&mut rig, MmioReg::QueueSizeMax), 256);
}

#[test]
fn a_reset_takes_everything_back() {
    let (mut rig, _, mut tx) = running();
    send(&mut rig, &mut tx);
    set(&mut rig, MmioReg::Status, 0);
    for reg in [MmioReg::Status, MmioReg::InterruptStatus, MmioReg::QueueReady] {
        assert_eq!(get(&mut rig, reg), 0, "{reg:?}");
    }
    rig.memory.fill(0);
    let [rx, mut tx] = [0, 1].map(|queue| Ring::in_host(queue, 16));
    start(&mut rig, BASE_FEATURES, &[rx, tx.clone()]);
    send(&mut rig, &mut tx);
    assert_eq!(tx.used_idx(&mut rig), 1);
}

/// Virtio 1.4, "Shared Memory Regions" over MMIO.
#[test]
fn memory_on_the_card_is_region_zero_and_local_to_the_card() {
    let (mut rig, _, mut tx) = running();
    let wide = |rig: &mut Rig<MmioCard>, low, high| {
        u64::from(get(rig, low)) | u64::from(get(rig, high)) << 32
    };
    assert_eq!(wide(&mut rig, MmioReg::ShmBaseLow, MmioReg::ShmBaseHigh), BAR2);
    assert_eq!(wide(&mut rig, MmioReg::ShmLenLow, MmioReg::ShmLenHigh), 1 << 20);
    set(&mut rig, MmioReg::ShmSel, 1);
    assert_eq!(wide(&mut rig, MmioReg::ShmLenLow, MmioReg::ShmLenHigh), u64::MAX);
    rig.poke(BAR2 + 0x100, &[1; 76]);
    tx.describe(&mut rig, 0, readable(BAR2 + 0x100, 76));
    tx.offer(&mut rig, &[0]);
    set(&mut rig, MmioReg::QueueNotify, 1);
    rig.settle();
    assert!(!rig.uses(&tx).contains(&Use::Read));
    assert_eq!(tx.used_idx(&mut rig), 1);
}

/// "MMIO Device Register Layout": a driver must ignore a device whose id is 0.
#[test]
fn an_empty_slot_says_that_it_is_empty_and_nothing_else() {
    let mut rig = Rig::of(MmioCard::empty(place()));
    rig.clocked = false;
    assert_eq!(get(&mut rig, MmioReg::MagicValue), MAGIC);
    assert_eq!(get(&mut rig, MmioReg::Version), VERSION);
    assert_eq!(get(&mut rig, MmioReg::DeviceId), 0);
    set(&mut rig, MmioReg::Status, 1);
    assert_eq!(get(&mut rig, MmioReg::Status), 0);
    let beyond = rig.mmio_request(BLOCK + SLOT_BYTES, 4);
    assert_eq!(beyond.status, CompletionStatus::UnsupportedRequest);
}

#[test]
fn a_slot_that_fills_later_works_from_then_on() {
    let mut card = MmioCard::empty(place());
    let mut rig = Rig::of(MmioCard::empty(place()));
    let arrives = rig.now + Span::from_us(10);
    card.plug_at(arrives, net()).expect("free");
    rig.card = card;
    rig.clocked = false;
    assert_eq!(get(&mut rig, MmioReg::DeviceId), 0);
    assert_eq!(rig.card.next_wake(), Some(arrives));
    rig.settle_for(Span::from_us(20));
    assert_eq!(get(&mut rig, MmioReg::DeviceId), u32::from(net_spec::DEVICE_TYPE));
    let [rx, mut tx] = [0, 1].map(|queue| Ring::in_host(queue, 64));
    start(&mut rig, BASE_FEATURES, &[rx, tx.clone()]);
    send(&mut rig, &mut tx);
    assert_eq!(tx.used_idx(&mut rig), 1);
}

#[test]
fn a_slot_takes_one_device() {
    let mut card = MmioCard::empty(place());
    card.plug(net()).expect("free");
    assert!(matches!(card.plug(net()), Err(PlugError::Occupied { registers: BLOCK })));
    assert!(matches!(
        card.plug_at(pcie_sim::time::Instant::ZERO, net()),
        Err(PlugError::Occupied { .. })
    ));
    let bad = CardConfig { memory_bytes: 3, ..net() };
    assert!(matches!(MmioCard::empty(place()).plug(bad), Err(PlugError::Card(_))));
}

/// Configuration requests are for PCI.
#[test]
fn a_configuration_request_is_not_supported() {
    let mut rig = slot(net());
    let answer = rig.config_write(4, &[6, 0]);
    assert_eq!(answer.status, CompletionStatus::UnsupportedRequest);
}
