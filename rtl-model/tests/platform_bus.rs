//! A slot on a platform's own bus, in a whole machine.

use std::cell::RefCell;
use std::rc::Rc;

use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::endpoint::{Sighting, Tap};
use pcie_sim::host::ram::Ram;
use pcie_sim::host::{Bus, Memory, MsiMessage, Width};
use pcie_sim::machine::{Machine, MachineConfig};
use pcie_sim::root::FixedWindow;
use pcie_sim::spec::virtio_mmio::interrupt::USED_BUFFER;
use pcie_sim::spec::virtio_mmio::{MmioReg, NO_DEVICE, SLOT_BYTES};
use pcie_sim::spec::virtio_pci::status;
use pcie_sim::spec::virtq::SplitDesc;
use pcie_sim::spec::{features, net};
use pcie_sim::time::Span;
use rtl_model::{CardConfig, DeviceConfig, MmioCard, MmioConfig, NetConfig};

const BLOCK: u64 = 0xd000_0000;
const PLACE: MmioConfig = MmioConfig {
    registers: BLOCK,
    memory: None,
    // The first message that the machine gives out.
    interrupt: MsiMessage { address: 0xfee0_0000, data: 0 },
    requester: Bdf::new(0, 9, 0),
};

struct Nobody;

impl Tap for Nobody {
    fn tlp(&mut self, _: &Sighting<'_>) {}
}

fn get(machine: &mut Machine<Nobody>, reg: MmioReg) -> u32 {
    machine.mmio_read(PhysAddr(BLOCK + reg.offset()), Width::W32) as u32
}

fn set(machine: &mut Machine<Nobody>, reg: MmioReg, value: u32) {
    machine.mmio_write(PhysAddr(BLOCK + reg.offset()), Width::W32, value.into());
}

/// Ready, with the transmit queue at 0x1000, 0x2000 and 0x3000, 16 descriptors.
fn start(machine: &mut Machine<Nobody>) {
    let mut status = u32::from(status::ACKNOWLEDGE | status::DRIVER);
    set(machine, MmioReg::Status, status);
    set(machine, MmioReg::DriverFeaturesSel, 1);
    set(machine, MmioReg::DriverFeatures, (features::VERSION_1 >> 32) as u32);
    status |= u32::from(status::FEATURES_OK);
    set(machine, MmioReg::Status, status);
    assert_eq!(get(machine, MmioReg::Status), status);
    set(machine, MmioReg::QueueSel, net::TRANSMIT_QUEUE.into());
    set(machine, MmioReg::QueueSize, 16);
    set(machine, MmioReg::QueueDescLow, 0x1000);
    set(machine, MmioReg::QueueDriverLow, 0x2000);
    set(machine, MmioReg::QueueDeviceLow, 0x3000);
    set(machine, MmioReg::QueueReady, 1);
    set(machine, MmioReg::Status, status | u32::from(status::DRIVER_OK));
}

/// Nobody enumerates, nobody sets a bus master bit; the device comes while the machine runs.
#[test]
fn a_device_plugged_into_an_empty_slot_of_a_running_machine_works() {
    let window = FixedWindow { base: PhysAddr(BLOCK), len_bytes: SLOT_BYTES };
    let config = MachineConfig { fixed_window: Some(window), ..MachineConfig::default() };
    let slot = Rc::new(RefCell::new(MmioCard::empty(PLACE)));
    let ram = Ram::anonymous(1 << 20).expect("a mebibyte");
    let mut machine = Machine::new(config, ram, None, Box::new(Rc::clone(&slot)), Nobody);
    let (vector, message) = machine.allocate_message().expect("one is left");
    assert_eq!(message, PLACE.interrupt);
    assert_eq!(get(&mut machine, MmioReg::DeviceId), NO_DEVICE);
    let device = CardConfig::new(DeviceConfig::Net(NetConfig::default()));
    slot.borrow_mut().plug(device).expect("the slot is free");
    assert_eq!(get(&mut machine, MmioReg::DeviceId), u32::from(net::DEVICE_TYPE));
    start(&mut machine);
    let packet = SplitDesc { addr: 0x4000, len: 76, flags: 0, next: 0 };
    machine.write(PhysAddr(0x1000), &packet.to_bytes());
    machine.write(PhysAddr(0x2002), &1_u16.to_le_bytes());
    set(&mut machine, MmioReg::QueueNotify, net::TRANSMIT_QUEUE.into());
    let deadline = machine.now() + Span::from_ms(1);
    assert_eq!(machine.wait_interrupt(deadline), Some(vector));
    assert_eq!(get(&mut machine, MmioReg::InterruptStatus), USED_BUFFER);
    set(&mut machine, MmioReg::InterruptAck, USED_BUFFER);
    assert_eq!(get(&mut machine, MmioReg::InterruptStatus), 0);
    let mut used = [0; 2];
    machine.read(PhysAddr(0x3002), &mut used);
    assert_eq!(used, [1, 0]);
    let requests = slot.borrow().card().map(|card| card.counters().requests);
    assert_eq!(requests, Some(1));
}
