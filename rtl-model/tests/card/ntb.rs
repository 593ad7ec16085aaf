//! Two hosts joined by a non-transparent bridge: the far one's software is the card.

use std::cell::RefCell;
use std::rc::Rc;

use pcie_sim::ntb::{Crossing, Ntb, NtbConfig, NtbError};
use pcie_sim::spec::virtio_pci::{CommonReg, status};
use pcie_sim::time::Span;
use pcie_sim::tlp::Tlp;
use rtl_model::{Card, CardConfig, RingFault};

use crate::fetch::{BUFFER, net};
use crate::rig::{BAR2, BASE_FEATURES, HOST, HOST_BYTES, Rig, Ring, Use, readable, then, writable};

const FAR: u64 = 0x60_0000_0000;
const FAR_MEMORY: u64 = 0x1_4000_0000;

type Shared = Rc<RefCell<Ntb<Card>>>;

fn config() -> NtbConfig {
    NtbConfig { far: FAR, far_memory: FAR_MEMORY, ..NtbConfig::new(HOST, HOST_BYTES as u64) }
}

/// What the driver hands over for its own address.
fn offset(near: u64) -> u64 {
    near - HOST
}

fn handed_over(ring: &Ring) -> Ring {
    let (desc, avail, used) = (offset(ring.desc), offset(ring.avail), offset(ring.used));
    Ring { desc, avail, used, ..ring.clone() }
}

fn pair(config: NtbConfig) -> (Rig<Shared>, Ring, Ring) {
    let software = Card::new(net()).expect("the parameters fit");
    let ntb = Ntb::new(config, software).expect("whole pages");
    let mut rig = Rig::of(Rc::new(RefCell::new(ntb)));
    rig.clocked = false;
    rig.place();
    let [rx, tx] = [0, 1].map(|queue| Ring::in_host(queue, 64));
    rig.start(BASE_FEATURES, &[handed_over(&rx), handed_over(&tx)]);
    (rig, rx, tx)
}

fn send(rig: &mut Rig<Shared>, tx: &mut Ring, address: u64) {
    tx.describe(rig, 0, readable(address, 1200));
    tx.offer(rig, &[0]);
    rig.doorbell(1);
    rig.settle();
}

#[test]
fn a_packet_goes_to_the_other_host_and_comes_back() {
    let (mut rig, mut rx, mut tx) = pair(config());
    let received = BUFFER + 0x1000;
    rx.describe(&mut rig, 0, writable(offset(received), 1600));
    rx.offer(&mut rig, &[0]);
    rig.doorbell(0);
    let data: Vec<u8> = (0..1200).map(|i| i as u8).collect();
    rig.poke(BUFFER, &data);
    send(&mut rig, &mut tx, offset(BUFFER));
    assert_eq!(rx.used_elem(&mut rig, 0), (0, 1200));
    assert_eq!(rig.peek(received + 12, 1188), data[12..]);
    let messages = rig.uses(&tx).into_iter().filter(|&u| u == Use::Message).count() as u64;
    assert_eq!((messages, rig.card.borrow().log().doorbells), (2, 2));
}

/// Each request of the far software's shows three addresses, and only one of them on each side.
#[test]
fn every_address_is_translated_twice_and_none_leaks() {
    let (mut rig, _, mut tx) = pair(config());
    rig.poke(BAR2 + 0x40, &[1; 4]);
    send(&mut rig, &mut tx, offset(BUFFER));
    let ntb = rig.card.borrow();
    let log = ntb.log();
    assert_eq!(log.translated as usize, log.translations.len());
    let near: Vec<u64> = rig.log.iter().filter_map(|(_, tlp)| address(tlp)).collect();
    let window = HOST..HOST + HOST_BYTES as u64;
    let outward: Vec<_> =
        log.translations.iter().filter(|t| t.crossing == Crossing::FarToNear).collect();
    for access in &outward {
        assert_eq!(access.far, FAR + access.offset);
        assert_eq!(access.near, HOST + access.offset);
    }
    let dma: Vec<u64> = near.iter().copied().filter(|at| window.contains(at)).collect();
    assert_eq!(dma, outward.iter().map(|access| access.near).collect::<Vec<_>>());
    assert!(near.iter().all(|at| !(FAR..FAR + HOST_BYTES as u64).contains(at)));
    let inward: Vec<_> =
        log.translations.iter().filter(|t| t.crossing == Crossing::NearToFar).collect();
    assert_eq!(inward.len(), 1);
    assert_eq!((inward[0].near, inward[0].far), (BAR2 + 0x40, FAR_MEMORY + 0x40));
}

fn address(tlp: &Tlp) -> Option<u64> {
    match tlp {
        Tlp::MemRead(read) => Some(read.address),
        Tlp::MemWrite(write) => Some(write.address),
        _ => None,
    }
}

/// A driver that hands over its own addresses instead of offsets.
#[test]
fn an_access_outside_of_the_window_is_refused_and_recorded() {
    let (mut rig, _, mut tx) = pair(config());
    send(&mut rig, &mut tx, BUFFER);
    let refusals = rig.card.borrow().log().refusals.clone();
    assert!(!refusals.is_empty());
    assert!(refusals.iter().all(|r| (BUFFER..BUFFER + 1200).contains(&r.offset) && !r.write));
    assert_eq!(rig.card.borrow().software().counters().packets_dropped_bad, 1);
    assert_eq!(tx.used_idx(&mut rig), 1, "the packet is lost, the buffer is not");
    assert!(rig.log.iter().filter_map(|(_, tlp)| address(tlp)).all(|at| at != BUFFER));
}

#[test]
fn a_write_outside_of_the_window_reaches_no_memory() {
    let (mut rig, mut rx, mut tx) = pair(config());
    let end = HOST_BYTES as u64 - 8;
    rx.describe(&mut rig, 0, writable(end, 1600));
    rx.offer(&mut rig, &[0]);
    rig.doorbell(0);
    send(&mut rig, &mut tx, offset(BUFFER));
    let refusals = rig.card.borrow().log().refusals.clone();
    assert!(!refusals.is_empty() && refusals.iter().all(|r| r.write && r.offset >= end));
    let beyond = |at: u64| at >= HOST + HOST_BYTES as u64 && at < BAR2;
    assert!(rig.log.iter().filter_map(|(_, tlp)| address(tlp)).all(|at| !beyond(at)));
}

#[test]
fn rings_outside_of_the_window_need_a_reset() {
    let (mut rig, rx, tx) = pair(config());
    rig.start(BASE_FEATURES, &[rx, tx]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.card.borrow().software().fault(), Some(RingFault::ReadFailed));
    let status = rig.common(CommonReg::DeviceStatus) as u8;
    assert_ne!(status & status::DEVICE_NEEDS_RESET, 0);
}

/// A register read crosses twice; a request's four dependent reads each add two crossings.
#[test]
fn each_crossing_takes_its_time() {
    let time = |crossing: Span| {
        let (mut rig, _, mut tx) = pair(NtbConfig { crossing, ..config() });
        let start = rig.now;
        rig.common(CommonReg::NumQueues);
        let asked = rig.now.since(start);
        tx.describe(&mut rig, 0, readable(offset(BUFFER), 100));
        tx.offer(&mut rig, &[0]);
        let start = rig.now;
        rig.doorbell(1);
        rig.settle();
        let used = rig.log.iter().find(|(_, tlp)| tx.purpose(tlp) == Some(Use::UsedElement));
        (asked.as_ps(), used.expect("used").0.since(start).as_ps())
    };
    let (near, far) = (time(Span::ZERO), time(Span::from_us(1)));
    // The edges of the far software's clock are 4 ns apart.
    let about = |more: u64, us: u64| more.abs_diff(us * 1_000_000) < 40_000;
    assert!(about(far.0 - near.0, 2), "{near:?} {far:?}");
    assert!(about(far.1 - near.1, 10), "{near:?} {far:?}");
}

/// 512 writes of 128 bytes, of which the bridge holds a few.
#[test]
fn a_bridge_that_is_full_makes_the_software_wait_and_loses_nothing() {
    let image = CardConfig::default();
    let ntb = Ntb::new(
        NtbConfig { crossing: Span::from_us(2), ..config() },
        Card::new(image).expect("fits"),
    );
    let mut rig = Rig::of(ntb.expect("whole pages"));
    rig.clocked = false;
    rig.place();
    rig.config_write(0x48, &0x2110_u16.to_le_bytes());
    let mut ring = Ring::in_host(0, 64);
    rig.start(BASE_FEATURES, &[handed_over(&ring)]);
    let (header, data) = (BUFFER, BUFFER + 0x1000);
    rig.poke(header, &[0; 16]);
    rig.poke(data, &[0xdd; 0x1_0001]);
    ring.describe(&mut rig, 0, then(readable(offset(header), 16), 1));
    ring.describe(&mut rig, 1, writable(offset(data), 0x1_0001));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(0);
    // The link takes no write for a while: the bridge fills, and a credit is all that tells it.
    rig.port.no_posted = true;
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 0);
    rig.port.no_posted = false;
    let credit = rig.now;
    rig.advance();
    rig.settle();
    assert_eq!(ring.used_elem(&mut rig, 0), (0, 0x1_0001));
    assert!(rig.peek(data, 0x1_0001).iter().all(|&byte| byte == 0), "a blank disk, and S_OK");
    let writes = rig.log.iter().filter(|(_, tlp)| ring.purpose(tlp) == Some(Use::Write)).count();
    assert_eq!(writes, 513);
    // Sixteen times two microseconds, and no timeout in between.
    let used = rig.log.iter().find(|(_, tlp)| ring.purpose(tlp) == Some(Use::UsedIdx));
    assert!(used.expect("used").0.since(credit) < Span::from_us(50));
}

#[test]
fn a_window_that_is_not_whole_pages_cannot_be_set_up() {
    let bad = [
        NtbConfig { near: 100, ..config() },
        NtbConfig { len_bytes: 0, ..config() },
        NtbConfig { far: u64::MAX - 0xfff, ..config() },
        NtbConfig { far_memory_bytes: 10, ..config() },
    ];
    for config in bad {
        let software = Card::new(net()).expect("the parameters fit");
        assert!(matches!(Ntb::new(config, software), Err(NtbError::Window { .. })));
    }
}
