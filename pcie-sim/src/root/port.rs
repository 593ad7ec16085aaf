//! The root port's own configuration space: a bridge from bus 0 to the link, and where errors end.
//!
//! Type 1 header, PCI Express, MSI, AER; PCI-to-PCI Bridge Architecture 1.2 §3, PCIe 5.0 §7.5 and §7.8.4.
//! Not modelled: hot-plug and power management events of the port.

use crate::address::PhysAddr;
use crate::aer::{self, ErrorRegisters};
use crate::config_space::access::{self, Access, Row};
use crate::config_space::{BYTES, ConfigSpace};
use crate::link::LinkTiming;
use crate::spec::aer as registers;
use crate::spec::pci::{bridge, cap_id, command, express, header, msi, status};

/// What software may do with a bridge's header. PCIe 5.0 §7.5.1.3, "Type 1 Configuration Space Header".
const HEADER: &[Row] = &[
    (
        header::COMMAND,
        (command::MEMORY_SPACE | command::BUS_MASTER | command::PARITY | command::SERR) as u32,
        Access::Rw,
    ),
    (header::STATUS, status::ERRORS as u32, Access::Rw1c),
    (header::CACHE_LINE_SIZE, 0xff, Access::Rw),
    (header::BUS_NUMBERS, 0x00ff_ffff, Access::Rw),
    (bridge::SECONDARY_STATUS, status::ERRORS as u32, Access::Rw1c),
    (header::MEMORY_WINDOW, 0xfff0_fff0, Access::Rw),
    (header::PREFETCHABLE_WINDOW, 0xfff0_fff0, Access::Rw),
    (header::PREFETCHABLE_BASE_HIGH, u32::MAX, Access::Rw),
    (header::PREFETCHABLE_LIMIT_HIGH, u32::MAX, Access::Rw),
    (
        header::BRIDGE_CONTROL,
        (bridge::CONTROL_SERR | header::BRIDGE_CONTROL_RESET) as u32,
        Access::Rw,
    ),
];

/// The MSI capability. PCI 3.0 §6.8.1.
const MSI: &[Row] = &[
    (msi::CONTROL, msi::CONTROL_ENABLE as u32, Access::Rw),
    (msi::ADDRESS, 0xffff_fffc, Access::Rw),
    (msi::ADDRESS_HIGH, u32::MAX, Access::Rw),
    (msi::DATA, 0xffff, Access::Rw),
];

/// What only a root port's AER capability has.
const ROOT_ERRORS: &[Row] = &[
    (registers::ROOT_COMMAND, registers::ROOT_COMMAND_ALL, Access::Rw),
    (registers::ROOT_STATUS, registers::ROOT_STATUS_ALL, Access::Rw1cs),
    (registers::ERROR_SOURCE, u32::MAX, Access::Ros),
];

/// A root port.
#[derive(Debug)]
pub struct RootPort {
    pub(super) space: ConfigSpace,
    pub(super) errors: ErrorRegisters,
    pub(super) msi: u16,
    fixed: Option<FixedWindow>,
}

/// Addresses that lead to the device on any account: the place of a device on a platform's own bus, which
/// no software enumerates. The device may then send memory requests, too, without anybody's leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedWindow {
    /// Where it begins.
    pub base: PhysAddr,
    /// Its length in bytes.
    pub len_bytes: u64,
}

impl FixedWindow {
    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(self, address: u64) -> bool {
        PhysAddr(address).offset_from(self.base).is_some_and(|offset| offset < self.len_bytes)
    }
}

impl RootPort {
    /// A root port of this link, as reset leaves it.
    #[must_use]
    pub fn new(timing: &LinkTiming, rcb_bytes: u16) -> Self {
        let mut space = ConfigSpace::new();
        space.put(header::VENDOR_ID, &0x1b36_u16.to_le_bytes());
        space.put(header::DEVICE_ID, &0x000c_u16.to_le_bytes());
        space.put(header::STATUS, &status::CAPABILITIES.to_le_bytes());
        space.put(header::CLASS_CODE, &[0x00, 0x04, 0x06]);
        space.put(header::HEADER_TYPE, &[1]);
        space.put(header::PREFETCHABLE_WINDOW, &[1, 0, 1, 0]);
        space.rights(0, HEADER);
        let express = put_express(&mut space, timing, rcb_bytes);
        let msi = space.capability(cap_id::MSI, msi::BYTES);
        space.put(msi + msi::CONTROL, &msi::CONTROL_64_BIT.to_le_bytes());
        space.rights(msi, MSI);
        let aer = aer::put_capability(&mut space);
        space.rights(aer, ROOT_ERRORS);
        space.built();
        Self { space, errors: ErrorRegisters { express, aer }, msi, fixed: None }
    }

    /// Lets a window through whatever the port's registers say.
    pub fn set_fixed(&mut self, window: Option<FixedWindow>) {
        self.fixed = window;
    }

    /// Reads `len_bytes` (1 to 4) bytes at `offset`; beyond the space, zeroes.
    #[must_use]
    pub fn read(&self, offset: u16, len_bytes: usize) -> u32 {
        let mut bytes = [0; 4];
        self.space.read(offset, &mut bytes[..len_bytes.min(4)]);
        u32::from_le_bytes(bytes)
    }

    /// Writes `len_bytes` (1 to 4) bytes at `offset`, where bits are writable.
    pub fn write(&mut self, offset: u16, len_bytes: usize, value: u32) {
        if usize::from(offset) < BYTES {
            self.space.write(offset, &value.to_le_bytes()[..len_bytes.min(4)]);
        }
    }

    /// The buses behind the port: the link's own, and the last one below it.
    #[must_use]
    pub fn buses(&self) -> (u8, u8) {
        let numbers = self.space.dword(header::BUS_NUMBERS).to_le_bytes();
        (numbers[1], numbers[2])
    }

    /// Whether the link below is held in reset: Secondary Bus Reset. PCIe 5.0 §7.5.1.3.13.
    #[must_use]
    pub fn holds_reset(&self) -> bool {
        self.space.word(header::BRIDGE_CONTROL) & header::BRIDGE_CONTROL_RESET != 0
    }

    /// Whether the port passes memory requests from the CPU down to `address`.
    #[must_use]
    pub fn forwards_down(&self, address: u64) -> bool {
        let command = self.space.word(header::COMMAND) & command::MEMORY_SPACE != 0;
        let enabled = command && !self.holds_reset();
        let in_windows =
            enabled && (self.memory_window(address) || self.prefetchable_window(address));
        in_windows || self.fixed.is_some_and(|fixed| fixed.contains(address))
    }

    /// Whether the port passes memory requests from the card up.
    #[must_use]
    pub fn forwards_up(&self) -> bool {
        self.fixed.is_some() || self.space.word(header::COMMAND) & command::BUS_MASTER != 0
    }

    /// Max_Payload_Size of completions and writes that the port sends, in bytes.
    #[must_use]
    pub fn max_payload_bytes(&self) -> u16 {
        express::size_bytes(self.space.word(self.errors.express + express::DEVICE_CONTROL) >> 5)
    }

    fn memory_window(&self, address: u64) -> bool {
        let (base, limit) = self.window(header::MEMORY_WINDOW);
        (base..=limit | 0xf_ffff).contains(&address)
    }

    fn prefetchable_window(&self, address: u64) -> bool {
        let (base, limit) = self.window(header::PREFETCHABLE_WINDOW);
        let base = base | u64::from(self.space.dword(header::PREFETCHABLE_BASE_HIGH)) << 32;
        let limit = limit | u64::from(self.space.dword(header::PREFETCHABLE_LIMIT_HIGH)) << 32;
        (base..=limit | 0xf_ffff).contains(&address)
    }

    fn window(&self, offset: u16) -> (u64, u64) {
        let both = self.space.dword(offset);
        (u64::from(both & 0xfff0) << 16, u64::from(both & 0xfff0_0000))
    }
}

/// The PCI Express capability, where it begins. The largest payload there is, as what a slot uses is the
/// scenario's to choose.
fn put_express(space: &mut ConfigSpace, timing: &LinkTiming, rcb_bytes: u16) -> u16 {
    let at = space.capability(cap_id::PCI_EXPRESS, express::BYTES);
    let kind = u16::from(express::TYPE_ROOT_PORT) << 4 | 2;
    space.put(at + express::CAPABILITIES, &kind.to_le_bytes());
    let device = u32::from(express::size_code(4096)) | express::CAPABLE_ROLE_BASED_ERRORS;
    space.put(at + express::DEVICE_CAPABILITIES, &device.to_le_bytes());
    let generation = timing.generation.number();
    let link = u16::from(timing.lanes) << 4 | u16::from(generation);
    let capabilities = u32::from(link) | express::LINK_CAPABLE_ASPM_OPTIONALITY;
    space.put(at + express::LINK_CAPABILITIES, &capabilities.to_le_bytes());
    space.put(at + express::LINK_CONTROL, &[u8::from(rcb_bytes == 128) << 3]);
    space.put(at + express::LINK_STATUS, &link.to_le_bytes());
    let speeds = ((1_u32 << generation) - 1) << 1;
    space.put(at + express::LINK_CAPABILITIES_2, &speeds.to_le_bytes());
    space.put(at + express::LINK_CONTROL_2, &[generation]);
    space.rights(at, access::EXPRESS);
    space.rights(at, &[(express::ROOT_CONTROL, express::ROOT_CONTROL_ERRORS as u32, Access::Rw)]);
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkConfig;

    fn port() -> RootPort {
        RootPort::new(&LinkConfig::default().timing, 64)
    }

    #[test]
    fn a_port_forwards_only_what_lies_in_its_windows_and_only_when_enabled() {
        let mut port = port();
        port.write(header::MEMORY_WINDOW, 4, 0xe010_e000);
        assert!(!port.forwards_down(0xe000_0000), "memory space is not enabled yet");
        port.write(header::COMMAND, 2, u32::from(command::MEMORY_SPACE));
        assert!(port.forwards_down(0xe000_0000) && port.forwards_down(0xe01f_ffff));
        assert!(!port.forwards_down(0xdfff_ffff) && !port.forwards_down(0xe020_0000));
    }

    #[test]
    fn a_fixed_window_needs_no_register() {
        let mut port = port();
        port.set_fixed(Some(FixedWindow { base: PhysAddr(0x1000), len_bytes: 0x200 }));
        assert!(port.forwards_up() && port.forwards_down(0x1000) && port.forwards_down(0x11ff));
        assert!(!port.forwards_down(0xfff) && !port.forwards_down(0x1200));
    }

    #[test]
    fn what_is_read_only_stays() {
        let mut port = port();
        port.write(header::VENDOR_ID, 4, 0);
        let link_status = port.errors.express + express::LINK_STATUS;
        port.write(link_status, 2, 0xffff);
        assert_eq!(port.read(header::VENDOR_ID, 4), 0x000c_1b36);
        assert_eq!(port.read(link_status, 2), 0x83);
    }
}
