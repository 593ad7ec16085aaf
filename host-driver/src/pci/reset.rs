//! Resets and power states of a function, as a kernel brings them about: save, reset, wait, restore.
//!
//! ```text
//!   save ─▶ function_level_reset │ hot_reset │ sleep, wake ─▶ restore ─▶ probe
//! ```
//!
//! What a driver of the device has to do is its own affair: here nothing is known of virtio.

use pcie_sim::address::Bdf;
use pcie_sim::host::{Host, Width};
use pcie_sim::spec::pci::{cap_id, express, header, power};
use pcie_sim::time::Span;

use super::Function;

/// Before a function level reset requests must have been answered; this long they are waited for.
const PENDING: Span = Span::from_ms(100);
/// From a reset to the first request. PCIe 5.0 §6.6.1, §6.6.2.
const AFTER_RESET: Span = Span::from_ms(100);
/// From D3hot to D0 and back. PCIe 5.0 §5.9, "State Transition Recovery Time Requirements".
const POWER_TRANSITION: Span = Span::from_ms(10);
/// How long the link is held in reset: 1 ms at least. PCIe 5.0 §6.6.1.
const HOLD: Span = Span::from_ms(2);
/// A function that answers with Request Retry Status is asked again after this long, so often.
const RETRY: (Span, u32) = (Span::from_ms(10), 100);

/// Registers of the PCI Express capability that software sets.
const EXPRESS: [u16; 4] = [
    express::DEVICE_CONTROL,
    express::LINK_CONTROL,
    express::DEVICE_CONTROL_2,
    express::LINK_CONTROL_2,
];

/// Why a reset did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// The function has no such reset.
    #[error("{function} cannot be reset so: {why}")]
    NotCapable {
        /// Which function.
        function: Bdf,
        /// What it lacks.
        why: &'static str,
    },
    /// The function is not there afterwards.
    #[error("{function} does not answer after its reset")]
    NotReady {
        /// Which function.
        function: Bdf,
    },
}

/// What firmware and kernel have set in a function's configuration space, to be set again after a reset.
/// MSI-X is the driver's to set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    command: u16,
    cache_line_size: u8,
    interrupt_line: u8,
    bars: [u32; 6],
    express: Option<(u16, [u16; EXPRESS.len()])>,
}

impl Function {
    /// Takes down what a reset would lose.
    pub fn save(self, host: &mut dyn Host) -> Saved {
        let mut bars = [0; 6];
        for (offset, bar) in (header::BAR0..).step_by(4).zip(&mut bars) {
            *bar = self.read_u32(host, offset);
        }
        let express = self.capability(host, cap_id::PCI_EXPRESS);
        Saved {
            command: self.read_u16(host, header::COMMAND),
            cache_line_size: self.read_u8(host, header::CACHE_LINE_SIZE),
            interrupt_line: self.read_u8(host, header::INTERRUPT_LINE),
            bars,
            express: express.map(|at| (at, EXPRESS.map(|reg| self.read_u16(host, at + reg)))),
        }
    }

    /// Sets it again; the command register last, so that no address is answered that is not yet right.
    pub fn restore(self, host: &mut dyn Host, saved: &Saved) {
        if let Some((at, values)) = saved.express {
            for (register, value) in EXPRESS.into_iter().zip(values) {
                host.config_write(self.bdf(), at + register, Width::W16, value.into());
            }
        }
        for (offset, &bar) in (header::BAR0..).step_by(4).zip(&saved.bars) {
            host.config_write(self.bdf(), offset, Width::W32, bar);
        }
        let bytes = [
            (header::CACHE_LINE_SIZE, saved.cache_line_size),
            (header::INTERRUPT_LINE, saved.interrupt_line),
        ];
        for (offset, byte) in bytes {
            host.config_write(self.bdf(), offset, Width::W8, byte.into());
        }
        host.config_write(self.bdf(), header::COMMAND, Width::W16, saved.command.into());
    }

    /// Function level reset: the function alone starts anew, the link stays up. PCIe 5.0 §6.6.2.
    pub fn function_level_reset(self, host: &mut dyn Host) -> Result<(), ResetError> {
        let lacks = |why| ResetError::NotCapable { function: self.bdf(), why };
        let at = self.capability(host, cap_id::PCI_EXPRESS).ok_or(lacks("no PCI Express"))?;
        let capabilities = self.read_u32(host, at + express::DEVICE_CAPABILITIES);
        if capabilities & express::CAPABLE_FLR == 0 {
            return Err(lacks("no function level reset"));
        }
        // No new request shall leave, and those that have left shall be answered: a late completion could
        // be taken for the answer to a new request.
        self.set_bus_master(host, false);
        let end = host.now() + PENDING;
        while self.read_u16(host, at + express::DEVICE_STATUS) & express::STATUS_PENDING != 0
            && host.now() < end
        {
            host.spend(Span::from_us(100));
        }
        let control = self.read_u16(host, at + express::DEVICE_CONTROL) | express::CONTROL_FLR;
        host.config_write(self.bdf(), at + express::DEVICE_CONTROL, Width::W16, control.into());
        host.spend(AFTER_RESET);
        self.wait_ready(host)
    }

    /// Hot reset of what is below this bridge, `function` being there. PCIe 5.0 §6.6.1.
    pub fn hot_reset(self, host: &mut dyn Host, function: Self) -> Result<(), ResetError> {
        let control = self.read_u16(host, header::BRIDGE_CONTROL);
        let write = |host: &mut dyn Host, value: u16| {
            host.config_write(self.bdf(), header::BRIDGE_CONTROL, Width::W16, value.into());
        };
        write(host, control | header::BRIDGE_CONTROL_RESET);
        host.spend(HOLD);
        write(host, control & !header::BRIDGE_CONTROL_RESET);
        host.spend(AFTER_RESET);
        function.wait_ready(host)
    }

    /// Puts the function to sleep: D3hot.
    pub fn sleep(self, host: &mut dyn Host) -> Result<(), ResetError> {
        self.set_power(host, power::D3HOT)
    }

    /// Wakes it: D0. Whether it has forgotten everything by that: No_Soft_Reset says.
    pub fn wake(self, host: &mut dyn Host) -> Result<bool, ResetError> {
        self.set_power(host, power::D0)?;
        self.wait_ready(host)?;
        let at = self.capability(host, cap_id::POWER_MANAGEMENT);
        let control = at.map_or(0, |at| self.read_u16(host, at + power::CONTROL));
        Ok(control & power::CONTROL_NO_SOFT_RESET == 0)
    }

    fn set_power(self, host: &mut dyn Host, state: u16) -> Result<(), ResetError> {
        let lacks = ResetError::NotCapable { function: self.bdf(), why: "no power management" };
        let at = self.capability(host, cap_id::POWER_MANAGEMENT).ok_or(lacks)?;
        let control = self.read_u16(host, at + power::CONTROL) & !power::CONTROL_STATE | state;
        host.config_write(self.bdf(), at + power::CONTROL, Width::W16, control.into());
        host.spend(POWER_TRANSITION);
        Ok(())
    }

    /// Asks until the answer is no Request Retry Status.
    fn wait_ready(self, host: &mut dyn Host) -> Result<(), ResetError> {
        let (pause, times) = RETRY;
        for _ in 0..times {
            if self.read_u16(host, header::VENDOR_ID) != u16::MAX {
                return Ok(());
            }
            host.spend(pause);
        }
        Err(ResetError::NotReady { function: self.bdf() })
    }

    fn capability(self, host: &mut dyn Host, id: u8) -> Option<u16> {
        let found = self.capabilities(host);
        found.into_iter().find(|&(found, _)| found == id).map(|(_, at)| at)
    }
}
