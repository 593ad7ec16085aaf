//! The root port's own configuration space: a bridge from bus 0 to the link.
//!
//! Type 1 header, PCI Express capability; PCI-to-PCI Bridge Architecture 1.2 §3 and PCIe 5.0 §7.5.
//! Not modelled: interrupts, AER and hot-plug of the port itself.

use crate::address::PhysAddr;
use crate::link::LinkTiming;
use crate::spec::pci::{cap_id, command, express, header, status};

const CONFIG_BYTES: usize = 256;
const EXPRESS: u16 = 0x40;

/// A root port.
#[derive(Debug)]
pub struct RootPort {
    space: [u8; CONFIG_BYTES],
    writable: [u8; CONFIG_BYTES],
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
        let mut port = Self { space: [0; CONFIG_BYTES], writable: [0; CONFIG_BYTES], fixed: None };
        port.set(header::VENDOR_ID, 0x1b36, 2);
        port.set(header::DEVICE_ID, 0x000c, 2);
        port.set(header::STATUS, u32::from(status::CAPABILITIES), 2);
        port.set(header::CLASS_CODE, 0x06_04_00, 3);
        port.set(header::HEADER_TYPE, 1, 1);
        port.set(header::PREFETCHABLE_WINDOW, 0x0001_0001, 4);
        port.set(header::CAPABILITIES, u32::from(EXPRESS), 1);
        port.set_express(timing, rcb_bytes);
        let command = command::MEMORY_SPACE | command::BUS_MASTER | command::SERR;
        port.let_write(header::COMMAND, u32::from(command), 2);
        port.let_write(header::CACHE_LINE_SIZE, 0xff, 1);
        port.let_write(header::BUS_NUMBERS, 0x00ff_ffff, 4);
        port.let_write(header::MEMORY_WINDOW, 0xfff0_fff0, 4);
        port.let_write(header::PREFETCHABLE_WINDOW, 0xfff0_fff0, 4);
        port.let_write(header::PREFETCHABLE_BASE_HIGH, 0xffff_ffff, 4);
        port.let_write(header::PREFETCHABLE_LIMIT_HIGH, 0xffff_ffff, 4);
        port.let_write(header::BRIDGE_CONTROL, u32::from(header::BRIDGE_CONTROL_RESET), 2);
        port.let_write(EXPRESS + express::DEVICE_CONTROL, 0x70ff, 2);
        port
    }

    /// Lets a window through whatever the port's registers say.
    pub fn set_fixed(&mut self, window: Option<FixedWindow>) {
        self.fixed = window;
    }

    fn set_express(&mut self, timing: &LinkTiming, rcb_bytes: u16) {
        let kind = u32::from(express::TYPE_ROOT_PORT) << 4 | 2;
        self.set(EXPRESS, u32::from(cap_id::PCI_EXPRESS), 1);
        self.set(EXPRESS + express::CAPABILITIES, kind, 2);
        // The largest there is: what a slot uses is the scenario's to choose.
        let largest = u32::from(express::size_code(4096));
        self.set(EXPRESS + express::DEVICE_CAPABILITIES, largest, 4);
        let link = u32::from(timing.lanes) << 4 | u32::from(timing.generation.number());
        self.set(EXPRESS + express::LINK_CAPABILITIES, link, 4);
        self.set(EXPRESS + express::LINK_CONTROL, u32::from(rcb_bytes == 128) << 3, 2);
        self.set(EXPRESS + express::LINK_STATUS, link, 2);
    }

    /// Reads `len_bytes` (1 to 4) bytes at `offset`; beyond the space, zeroes.
    #[must_use]
    pub fn read(&self, offset: u16, len_bytes: usize) -> u32 {
        (0..len_bytes).fold(0, |value, i| {
            let byte = self.space.get(usize::from(offset) + i).copied().unwrap_or(0);
            value | u32::from(byte) << (8 * i)
        })
    }

    /// Writes `len_bytes` (1 to 4) bytes at `offset`, where bits are writable.
    pub fn write(&mut self, offset: u16, len_bytes: usize, value: u32) {
        for i in 0..len_bytes {
            let at = usize::from(offset) + i;
            let (Some(byte), Some(mask)) = (self.space.get_mut(at), self.writable.get(at)) else {
                return;
            };
            *byte = (*byte & !mask) | ((value >> (8 * i)) as u8 & mask);
        }
    }

    /// The buses behind the port: the link's own, and the last one below it.
    #[must_use]
    pub fn buses(&self) -> (u8, u8) {
        let numbers = self.read(header::BUS_NUMBERS, 4).to_le_bytes();
        (numbers[1], numbers[2])
    }

    /// Whether the link below is held in reset: Secondary Bus Reset. PCIe 5.0 §7.5.1.3.13.
    #[must_use]
    pub fn holds_reset(&self) -> bool {
        self.read(header::BRIDGE_CONTROL, 2) & u32::from(header::BRIDGE_CONTROL_RESET) != 0
    }

    /// Whether the port passes memory requests from the CPU down to `address`.
    #[must_use]
    pub fn forwards_down(&self, address: u64) -> bool {
        let command = self.read(header::COMMAND, 2) & u32::from(command::MEMORY_SPACE) != 0;
        let enabled = command && !self.holds_reset();
        let in_windows =
            enabled && (self.memory_window(address) || self.prefetchable_window(address));
        in_windows || self.fixed.is_some_and(|fixed| fixed.contains(address))
    }

    /// Whether the port passes memory requests from the card up.
    #[must_use]
    pub fn forwards_up(&self) -> bool {
        self.fixed.is_some() || self.read(header::COMMAND, 2) & u32::from(command::BUS_MASTER) != 0
    }

    /// Max_Payload_Size of completions and writes that the port sends, in bytes.
    #[must_use]
    pub fn max_payload_bytes(&self) -> u16 {
        express::size_bytes((self.read(EXPRESS + express::DEVICE_CONTROL, 2) >> 5) as u16)
    }

    fn memory_window(&self, address: u64) -> bool {
        let (base, limit) = self.window(header::MEMORY_WINDOW);
        (base..=limit | 0xf_ffff).contains(&address)
    }

    fn prefetchable_window(&self, address: u64) -> bool {
        let (base, limit) = self.window(header::PREFETCHABLE_WINDOW);
        let base = base | u64::from(self.read(header::PREFETCHABLE_BASE_HIGH, 4)) << 32;
        let limit = limit | u64::from(self.read(header::PREFETCHABLE_LIMIT_HIGH, 4)) << 32;
        (base..=limit | 0xf_ffff).contains(&address)
    }

    fn window(&self, offset: u16) -> (u64, u64) {
        let both = self.read(offset, 4);
        (u64::from(both & 0xfff0) << 16, u64::from(both & 0xfff0_0000))
    }

    fn set(&mut self, offset: u16, value: u32, len_bytes: usize) {
        let start = usize::from(offset);
        self.space[start..start + len_bytes].copy_from_slice(&value.to_le_bytes()[..len_bytes]);
    }

    fn let_write(&mut self, offset: u16, mask: u32, len_bytes: usize) {
        let start = usize::from(offset);
        self.writable[start..start + len_bytes].copy_from_slice(&mask.to_le_bytes()[..len_bytes]);
    }
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
        port.write(EXPRESS + express::LINK_STATUS, 2, 0xffff);
        assert_eq!(port.read(header::VENDOR_ID, 4), 0x000c_1b36);
        assert_eq!(port.read(EXPRESS + express::LINK_STATUS, 2), 0x83);
    }
}
