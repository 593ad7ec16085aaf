//! The exerciser's configuration space: a header without BARs, and the PCI Express capability.

use pcie_sim::address::Bdf;
use pcie_sim::link::LinkTiming;
use pcie_sim::spec::pci::{cap_id, command, express, header, status};
use pcie_sim::tlp::{Attributes, Completion, CompletionStatus, Payload, Tlp};

/// An id at the very end of the range, so that no driver takes the card for its own.
pub const VENDOR_ID: u16 = 0xfffe;
/// The device id under it.
pub const DEVICE_ID: u16 = 0xd3a0;

const BYTES: usize = 256;
const EXPRESS: u16 = 0x40;
/// Max_Payload_Size Supported: the largest there is, so that the slot alone decides.
const PAYLOAD_SUPPORTED: u16 = 4096;

/// The bytes, and which bits of them software may change.
#[derive(Debug)]
pub(super) struct ConfigSpace {
    bytes: [u8; BYTES],
    writable: [u8; BYTES],
    id: Bdf,
}

impl ConfigSpace {
    pub(super) fn new(link: &LinkTiming) -> Self {
        let mut space = Self { bytes: [0; BYTES], writable: [0; BYTES], id: Bdf::default() };
        space.set(header::VENDOR_ID, u32::from(VENDOR_ID), 2);
        space.set(header::DEVICE_ID, u32::from(DEVICE_ID), 2);
        space.set(header::STATUS, u32::from(status::CAPABILITIES), 2);
        space.set(header::CLASS_CODE, 0xff_00_00, 3);
        space.set(header::CAPABILITIES, u32::from(EXPRESS), 1);
        space.set(EXPRESS, u32::from(cap_id::PCI_EXPRESS), 1);
        space.set(EXPRESS + express::CAPABILITIES, 2, 2);
        let largest = u32::from(express::size_code(PAYLOAD_SUPPORTED));
        space.set(EXPRESS + express::DEVICE_CAPABILITIES, largest, 4);
        let speed = u32::from(link.lanes) << 4 | u32::from(link.generation.number());
        space.set(EXPRESS + express::LINK_CAPABILITIES, speed, 4);
        space.set(EXPRESS + express::LINK_STATUS, speed, 2);
        // 128 bytes of payload, 512 of a read request: PCIe 5.0 §7.5.3.4.
        space.set(EXPRESS + express::DEVICE_CONTROL, 0x2010, 2);
        space.let_write(header::COMMAND, command::MEMORY_SPACE | command::BUS_MASTER);
        space.let_write(EXPRESS + express::DEVICE_CONTROL, 0x78ff);
        space
    }

    /// The function's id, learned from configuration writes. PCIe 5.0 §2.2.6.2, "Transaction Descriptor –
    /// Transaction ID Field".
    pub(super) const fn id(&self) -> Bdf {
        self.id
    }

    /// Memory requests may leave the function.
    pub(super) fn bus_master(&self) -> bool {
        self.bytes[usize::from(header::COMMAND)] & command::BUS_MASTER as u8 != 0
    }

    /// Max_Payload_Size in bytes.
    pub(super) fn payload_max(&self) -> u16 {
        express::size_bytes(self.control() >> 5)
    }

    /// Max_Read_Request_Size in bytes.
    pub(super) fn read_request_max(&self) -> u16 {
        express::size_bytes(self.control() >> 12)
    }

    fn control(&self) -> u16 {
        let at = usize::from(EXPRESS + express::DEVICE_CONTROL);
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// The answer to a request; nothing to what is not answered. A memory read finds nobody.
    pub(super) fn answer(&mut self, request: &Tlp) -> Option<Tlp> {
        let (requester, tag, status, data) = match request {
            Tlp::ConfigRead(read) => {
                let first = usize::from(read.offset & !3);
                let data = self.bytes.get(first..first + 4).unwrap_or(&[0; 4]);
                (read.requester, read.tag, CompletionStatus::Success, Payload::from_slice(data))
            }
            Tlp::ConfigWrite(write) => {
                self.id = write.target;
                self.write(write.offset, &write.data);
                (write.requester, write.tag, CompletionStatus::Success, Payload::new())
            }
            Tlp::MemRead(read) => {
                (read.requester, read.tag, CompletionStatus::UnsupportedRequest, Payload::new())
            }
            _ => return None,
        };
        Some(Tlp::Completion(Completion {
            completer: self.id,
            requester,
            tag,
            status,
            byte_count: 4,
            lower_address: 0,
            data,
            attributes: Attributes::default(),
        }))
    }

    fn write(&mut self, offset: u16, data: &[u8]) {
        for (at, new) in (usize::from(offset)..).zip(data) {
            if let (Some(old), Some(mask)) = (self.bytes.get_mut(at), self.writable.get(at)) {
                *old = *old & !mask | new & mask;
            }
        }
    }

    fn set(&mut self, offset: u16, value: u32, len: usize) {
        let first = usize::from(offset);
        self.bytes[first..first + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    fn let_write(&mut self, offset: u16, mask: u16) {
        let first = usize::from(offset);
        self.writable[first..first + 2].copy_from_slice(&mask.to_le_bytes());
    }
}
