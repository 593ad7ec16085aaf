//! The card's registers as `virtio-drivers` reaches them: through the bench's CPU, over the link.

use std::cell::RefCell;
use std::collections::BTreeMap;

use host_driver::transport::{ConfigWidth, QueueSetup};
use host_driver::virtqueue::AreaAddresses;
use host_driver::virtqueue::notify::Doorbell;
use host_driver::{PciTransport, Transport as Registers};
use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::{Bus, Memory};
use pcie_sim::spec::virtq;
use pcie_sim::time::Span;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::hal::with;

/// How long a card may take for what it was told by a doorbell.
const PATIENCE: Span = Span::from_ms(20);

/// A queue that runs: its doorbell, and where its used index lies.
struct Queue {
    doorbell: Doorbell,
    used_idx: PhysAddr,
}

/// The [`Transport`] over the thread's bench.
pub(crate) struct StageTransport {
    registers: RefCell<PciTransport>,
    queues: BTreeMap<u16, Queue>,
    /// A doorbell returns only when the card has used something: for calls that then wait without end.
    until_used: bool,
    interrupts: bool,
}

impl StageTransport {
    /// Takes the card in the thread's bench over.
    pub(crate) fn open(until_used: bool, interrupts: bool) -> Self {
        let registers = with(|stage| {
            let bench = &mut stage.bench;
            let mut registers =
                PciTransport::open(&mut bench.machine, bench.card).expect("a virtio card");
            registers.set_bus_master(&mut bench.machine, true);
            registers
        });
        let registers = RefCell::new(registers);
        Self { registers, queues: BTreeMap::new(), until_used, interrupts }
    }

    fn used_idx(queue: &Queue) -> u16 {
        let mut idx = [0; 2];
        with(|stage| stage.bench.machine.read(queue.used_idx, &mut idx));
        u16::from_le_bytes(idx)
    }
}

impl Transport for StageTransport {
    fn device_type(&self) -> DeviceType {
        match self.registers.borrow().device_type() {
            1 => DeviceType::Network,
            _ => DeviceType::Block,
        }
    }

    fn read_device_features(&mut self) -> u64 {
        with(|stage| self.registers.get_mut().device_features(&mut stage.bench.machine))
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        with(|stage| {
            self.registers.get_mut().set_driver_features(&mut stage.bench.machine, driver_features);
        });
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        with(|stage| {
            u32::from(self.registers.get_mut().max_queue_size(&mut stage.bench.machine, queue))
        })
    }

    fn notify(&mut self, queue: u16) {
        let Some(queue) = self.queues.get(&queue) else { panic!("queue {queue} does not run") };
        let before = Self::used_idx(queue);
        with(|stage| {
            stage.bench.machine.barrier(pcie_sim::host::Barrier::Full);
            queue.doorbell.ring(&mut stage.bench.machine);
        });
        if !self.until_used {
            return;
        }
        let deadline = with(|stage| stage.bench.machine.now()) + PATIENCE;
        while Self::used_idx(queue) == before {
            with(|stage| {
                let machine = &mut stage.bench.machine;
                machine.spin_on_memory(queue.used_idx, 2, deadline);
                assert!(machine.now() < deadline, "the card uses nothing within {PATIENCE:?}");
            });
        }
    }

    fn get_status(&self) -> DeviceStatus {
        let mut registers = self.registers.borrow_mut();
        let status = with(|stage| registers.status(&mut stage.bench.machine));
        DeviceStatus::from_bits_truncate(u32::from(status))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let registers = self.registers.get_mut();
        with(|stage| {
            let machine = &mut stage.bench.machine;
            if status.is_empty() {
                registers.reset(machine).expect("the card resets");
            } else {
                registers.set_status(machine, status.bits() as u8);
            }
        });
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: u64, driver: u64, device: u64) {
        let setup = QueueSetup {
            index: queue,
            size: u16::try_from(size).expect("a queue's size"),
            areas: AreaAddresses {
                descriptors: BusAddr(descriptors),
                driver: BusAddr(driver),
                device: BusAddr(device),
            },
            interrupt: self.interrupts,
        };
        let registers = self.registers.get_mut();
        let active = with(|stage| registers.activate_queue(&mut stage.bench.machine, &setup));
        let doorbell = active.expect("the card takes the queue").doorbell;
        // Bus addresses are physical here.
        let used_idx = PhysAddr(device + virtq::USED_IDX);
        self.queues.insert(queue, Queue { doorbell, used_idx });
    }

    fn queue_unset(&mut self, queue: u16) {
        // A modern card's queue goes with a reset only (RING_RESET aside), and this is called at the end.
        if self.queues.remove(&queue).is_some() {
            let registers = self.registers.get_mut();
            with(|stage| registers.reset(&mut stage.bench.machine).expect("the card resets"));
        }
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.queues.contains_key(&queue)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let taken = with(|stage| stage.bench.machine.take_interrupt());
        if taken.is_some() { InterruptStatus::QUEUE_INTERRUPT } else { InterruptStatus::empty() }
    }

    fn read_config_generation(&self) -> u32 {
        let mut registers = self.registers.borrow_mut();
        u32::from(with(|stage| registers.config_generation(&mut stage.bench.machine)))
    }

    /// A field of 1, 2 or 4 bytes by its natural width, anything else byte by byte.
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let (width, step) = match size_of::<T>() {
            2 => (ConfigWidth::W16, 2),
            4 => (ConfigWidth::W32, 4),
            _ => (ConfigWidth::W8, 1),
        };
        let mut registers = self.registers.borrow_mut();
        let mut bytes = Vec::new();
        for at in (0..size_of::<T>()).step_by(step) {
            let at = u16::try_from(offset + at).map_err(|_| Error::ConfigSpaceTooSmall)?;
            let read = with(|stage| registers.read_config(&mut stage.bench.machine, at, width));
            let value = read.map_err(|_| Error::ConfigSpaceTooSmall)?;
            bytes.extend_from_slice(&value.to_le_bytes()[..step]);
        }
        T::read_from_bytes(&bytes).map_err(|_| Error::ConfigSpaceTooSmall)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        Err(Error::Unsupported)
    }
}
