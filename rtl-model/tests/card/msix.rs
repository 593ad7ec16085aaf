//! Interrupts: messages, masks, pending bits, and the ISR without them. PCI 3.0 §6.8.2.

use pcie_sim::spec::pci::{header, msix};
use pcie_sim::spec::virtio_pci::{CommonReg, NO_VECTOR};
use pcie_sim::tlp::Tlp;

use crate::fetch::{BUFFER, net, transmitter};
use crate::rig::{BAR0, BAR1, BASE_FEATURES, ISR, MSI, Rig, Ring, readable};

const PENDING: u64 = BAR1 + 0x800;

fn send(rig: &mut Rig, ring: &mut Ring) {
    ring.describe(rig, 0, readable(BUFFER, 76));
    ring.offer(rig, &[0]);
    rig.doorbell(1);
    rig.settle();
}

fn messages(rig: &Rig) -> Vec<(u64, Vec<u8>)> {
    let message = |tlp: &Tlp| match tlp {
        Tlp::MemWrite(write) if write.address >> 20 == MSI >> 20 => {
            Some((write.address, write.data.to_vec()))
        }
        _ => None,
    };
    rig.log.iter().filter_map(|(_, tlp)| message(tlp)).collect()
}

/// PCI-UBN-DEV-02.
#[test]
fn a_message_is_the_table_entry_of_the_queues_vector() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    send(&mut rig, &mut ring);
    assert_eq!(messages(&rig), [(MSI + 0x20, vec![0x42, 0, 0, 0])]);
    assert_eq!(rig.mmio_read(BAR0 + ISR, 1), [0], "with MSI-X the ISR has no queue bit");
}

/// PCI-UBN-DEV-01.
#[test]
fn a_queue_without_a_vector_is_silent() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    rig.set_common(CommonReg::QueueSelect, 1);
    rig.set_common(CommonReg::QueueMsixVector, NO_VECTOR.into());
    send(&mut rig, &mut ring);
    assert!(messages(&rig).is_empty());
    assert_eq!(rig.mmio_read(PENDING, 8), [0; 8]);
}

/// PCI-MSIX-DEV-10: one message for however many causes.
#[test]
fn a_masked_vector_is_pending_and_sent_once_when_unmasked() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    rig.mmio_write(BAR1 + 0x2c, &1_u32.to_le_bytes());
    send(&mut rig, &mut ring);
    send(&mut rig, &mut ring);
    assert!(messages(&rig).is_empty());
    assert_eq!(rig.mmio_read(PENDING, 8), [4, 0, 0, 0, 0, 0, 0, 0]);
    rig.mmio_write(PENDING, &[0; 8]);
    assert_eq!(rig.mmio_read(PENDING, 1), [4], "pending bits are read only");
    rig.mmio_write(BAR1 + 0x2c, &0_u32.to_le_bytes());
    rig.settle();
    assert_eq!(messages(&rig).len(), 1);
    assert_eq!(rig.mmio_read(PENDING, 8), [0; 8]);
}

/// The whole function masked.
#[test]
fn the_function_mask_holds_every_vector_back() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    let control = msix::CONTROL_ENABLE | msix::CONTROL_FUNCTION_MASK;
    rig.config_write(0x7c + msix::CONTROL, &control.to_le_bytes());
    send(&mut rig, &mut ring);
    assert!(messages(&rig).is_empty());
    rig.config_write(0x7c + msix::CONTROL, &msix::CONTROL_ENABLE.to_le_bytes());
    rig.settle();
    assert_eq!(messages(&rig).len(), 1);
}

/// PCI-ISR-DEV-03, PCI-ISR-DEV-04.
#[test]
fn with_msix_off_the_isr_tells_and_nothing_is_sent() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    rig.config_write(0x7c + msix::CONTROL, &[0, 0]);
    send(&mut rig, &mut ring);
    assert!(messages(&rig).is_empty());
    assert_eq!(rig.config_read(header::STATUS, 2) & 8, 8);
    assert_eq!(rig.mmio_read(BAR0 + ISR, 1), [1]);
    assert_eq!(rig.config_read(header::STATUS, 2) & 8, 0);
}

/// Table entries start masked and hold what is written, in dwords or in bytes.
#[test]
fn the_table_is_masked_at_first_and_keeps_what_is_written() {
    let mut rig = Rig::placed(net());
    assert_eq!(rig.mmio_read(BAR1 + 16 * 7 + 12, 4), [1, 0, 0, 0]);
    assert_eq!(rig.config_read(0x7c + msix::CONTROL, 2) & 0x7ff, 7);
    rig.mmio_write(BAR1 + 16 * 7, &[0x10, 0x20, 0xe0, 0xfe, 1, 0, 0, 0, 0x55, 0x66, 0x77, 0x88]);
    rig.mmio_write(BAR1 + 16 * 7 + 9, &[0x99]);
    let entry = rig.mmio_read(BAR1 + 16 * 7, 16);
    assert_eq!(entry, [0x10, 0x20, 0xe0, 0xfe, 1, 0, 0, 0, 0x55, 0x99, 0x77, 0x88, 1, 0, 0, 0]);
}
