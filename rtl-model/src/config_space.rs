//! The card's configuration space: its capabilities, and what software's settings mean to the card.
//!
//! | room | its job |
//! |---|---|
//! | `build` | where each capability lies and what it says |
//! | `access` | what software may do with the bits of virtio's own capabilities |
//!
//! The bytes and the rules of access are [`pcie_sim::config_space`]'s, errors are recorded by
//! [`pcie_sim::aer`]. Left out: INTx, ASPM, wake-up events (PME), the extended capabilities of the
//! physical layer.

mod access;
mod build;

use pcie_sim::aer::{ErrorRegisters, Logged, Role};
use pcie_sim::config_space::ConfigSpace;
use pcie_sim::endpoint::ResetKind;
use pcie_sim::spec::aer::{Error, Signal};
use pcie_sim::spec::pci::{bar, command, express, header, msix, power, status};
use pcie_sim::spec::virtio_pci::cap;
use pcie_sim::time::Span;

use crate::config::CardConfig;

/// The largest payload that the card can send or take, in bytes: the largest there is, so that the slot
/// alone decides.
const PAYLOAD_SUPPORTED: u16 = 4096;

/// The registers, and where the card finds its own among them.
#[derive(Debug)]
pub(crate) struct CardSpace {
    registers: ConfigSpace,
    /// Where the capabilities are that the card itself uses.
    pub(crate) at: Places,
}

/// Where capabilities begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Places {
    /// PCI Express.
    pub(crate) express: u16,
    /// MSI-X.
    pub(crate) msix: u16,
    /// PCI configuration access.
    pub(crate) window: u16,
    /// Power management.
    pub(crate) power: u16,
    /// Advanced error reporting.
    pub(crate) aer: u16,
}

/// How many bits a tag may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TagBits {
    /// 5.
    Five,
    /// 8: Extended Tag Field Enable.
    Eight,
    /// 10: 10-Bit Tag Requester Enable.
    Ten,
}

/// How long a request may stay unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// For ever.
    Never,
    /// As the card is built: Completion Timeout Value 0.
    AsBuilt,
    /// This long.
    After(Span),
}

/// What software has set, as far as the rest of the card must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Memory requests to the BARs are answered.
    pub(crate) memory_space: bool,
    /// The card may send memory requests.
    pub(crate) bus_master: bool,
    /// Where BAR0, BAR1 and BAR2 are.
    pub(crate) bars: [u64; 3],
    /// Max_Payload_Size, bytes.
    pub(crate) payload_max: u16,
    /// Max_Read_Request_Size, bytes.
    pub(crate) read_max: u16,
    /// Width of tags.
    pub(crate) tag_bits: TagBits,
    /// Completion timeout.
    pub(crate) timeout: Timeout,
    /// MSI-X Enable.
    pub(crate) msix_enabled: bool,
    /// MSI-X Function Mask.
    pub(crate) msix_masked: bool,
}

/// What the PCI configuration access capability points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// BAR index.
    pub(crate) bar: u8,
    /// Offset in it.
    pub(crate) offset: u32,
    /// Bytes.
    pub(crate) length: u32,
}

impl CardSpace {
    /// The configuration space of a card that is `identity`, as power-on leaves it.
    pub(crate) fn new(config: &CardConfig, identity: &Identity) -> Self {
        build::build(config, identity)
    }

    /// Puts back what a reset of this kind does not leave alone.
    pub(crate) fn reset(&mut self, kind: ResetKind) {
        self.registers.reset(kind);
    }

    /// Records an error; the signal to send, if one is to be sent.
    pub(crate) fn report(
        &mut self,
        error: Error,
        role: Role,
        logged: Option<&Logged>,
    ) -> Option<Signal> {
        self.error_registers().report(&mut self.registers, error, role, logged)
    }

    fn error_registers(&self) -> ErrorRegisters {
        ErrorRegisters { express: self.at.express, aer: self.at.aer }
    }

    /// A request of the card's was answered with an error: the bits that PCI has had for it all along.
    /// PCIe 5.0 §7.5.1.1.4, "Status Register".
    pub(crate) fn request_failed(&mut self, aborted: bool) {
        let bit =
            if aborted { status::RECEIVED_TARGET_ABORT } else { status::RECEIVED_MASTER_ABORT };
        self.registers.set_word(header::STATUS, bit, u16::MAX);
    }

    /// The bytes at `offset`; past the end, zeroes.
    pub(crate) fn read(&self, offset: u16, into: &mut [u8]) {
        self.registers.read(offset, into);
    }

    /// Writes what may be written. The reset that this may ask for is for the caller to carry out.
    pub(crate) fn write(&mut self, offset: u16, data: &[u8]) -> Option<ResetKind> {
        let state = self.power_state();
        self.registers.write(offset, data);
        if !matches!(self.power_state(), power::D0 | power::D3HOT) {
            // D1 and D2 are not supported: the write is done, and changes nothing. PCI PM 1.2 §3.2.4.
            self.registers.set_word(self.at.power + power::CONTROL, power::CONTROL_STATE, state);
        }
        if self.starts_flr(offset, data) {
            return Some(ResetKind::FunctionLevel);
        }
        let control = self.registers.word(self.at.power + power::CONTROL);
        let woken = state == power::D3HOT && self.power_state() == power::D0;
        (woken && control & power::CONTROL_NO_SOFT_RESET == 0).then_some(ResetKind::Soft)
    }

    /// The bit reads as zero, so that the write itself must be looked at.
    fn starts_flr(&self, offset: u16, data: &[u8]) -> bool {
        let upper = self.at.express + express::DEVICE_CONTROL + 1;
        let byte = upper.checked_sub(offset).and_then(|at| data.get(usize::from(at)));
        byte.is_some_and(|byte| byte & (express::CONTROL_FLR >> 8) as u8 != 0)
    }

    fn power_state(&self) -> u16 {
        self.registers.word(self.at.power + power::CONTROL) & power::CONTROL_STATE
    }

    /// Shows the bits that follow the card rather than software.
    pub(crate) fn show(&mut self, interrupt: bool, transactions_pending: bool) {
        let when = |on: bool| if on { u16::MAX } else { 0 };
        self.registers.set_word(header::STATUS, status::INTERRUPT, when(interrupt));
        let device_status = self.at.express + express::DEVICE_STATUS;
        self.registers.set_word(device_status, express::STATUS_PENDING, when(transactions_pending));
    }

    /// What software has set.
    pub(crate) fn settings(&self) -> Settings {
        let command = self.registers.word(header::COMMAND);
        let control = self.registers.word(self.at.express + express::DEVICE_CONTROL);
        let messages = self.registers.word(self.at.msix + msix::CONTROL);
        // PCI power management 1.2 §5.4.1: only in D0 does the function answer to and use memory space.
        let awake = self.power_state() == power::D0;
        let base =
            |index: u16| u64::from(self.registers.dword(header::BAR0 + 4 * index) & !bar::FLAGS);
        Settings {
            memory_space: awake && command & command::MEMORY_SPACE != 0,
            bus_master: awake && command & command::BUS_MASTER != 0,
            bars: [
                base(0),
                base(1),
                base(2) | u64::from(self.registers.dword(header::BAR0 + 12)) << 32,
            ],
            payload_max: express::size_bytes(control >> 5).min(PAYLOAD_SUPPORTED),
            read_max: express::size_bytes(control >> 12),
            tag_bits: self.tag_bits(),
            timeout: self.timeout(),
            msix_enabled: messages & msix::CONTROL_ENABLE != 0,
            msix_masked: messages & msix::CONTROL_FUNCTION_MASK != 0,
        }
    }

    /// ECRC Check Enable.
    pub(crate) fn checks_ecrc(&self) -> bool {
        self.error_registers().checks_ecrc(&self.registers)
    }

    fn tag_bits(&self) -> TagBits {
        let control = self.registers.word(self.at.express + express::DEVICE_CONTROL);
        let control_2 = self.registers.word(self.at.express + express::DEVICE_CONTROL_2);
        if control_2 & express::CONTROL_2_TAG_10 != 0 {
            TagBits::Ten
        } else if control & express::CONTROL_EXTENDED_TAG != 0 {
            TagBits::Eight
        } else {
            TagBits::Five
        }
    }

    /// The middle of the range asked for: a card's timer is coarse.
    fn timeout(&self) -> Timeout {
        let control = self.registers.word(self.at.express + express::DEVICE_CONTROL_2);
        if control & express::CONTROL_2_TIMEOUT_OFF != 0 {
            return Timeout::Never;
        }
        if control & express::CONTROL_2_TIMEOUT == 0 {
            return Timeout::AsBuilt;
        }
        let (least, most) = express::completion_timeout_us(control);
        Timeout::After(Span::from_us(least.midpoint(most)))
    }

    /// What the PCI configuration access capability points to, when it can be accessed: 1, 2 or 4 bytes
    /// at a multiple of their number. Virtio 1.4, "PCI configuration access capability".
    pub(crate) fn window(&self) -> Option<Window> {
        let at = self.at.window;
        let bar = self.registers.byte(at + cap::BAR);
        let offset = self.registers.dword(at + cap::OFFSET);
        let length = self.registers.dword(at + cap::LENGTH);
        let fits = matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length);
        fits.then_some(Window { bar, offset, length })
    }

    /// Whether an access touches `pci_cfg_data`.
    pub(crate) fn in_window(&self, offset: u16, len: usize) -> bool {
        let data = self.at.window + cap::PCI_CFG_DATA;
        (data..data + 4).contains(&offset) && len != 0
    }

    /// Stores what a read through the window found.
    pub(crate) fn set_window_data(&mut self, data: &[u8]) {
        self.registers.put(self.at.window + cap::PCI_CFG_DATA, data);
    }

    /// The bytes of `pci_cfg_data`.
    pub(crate) fn window_data(&self) -> [u8; 4] {
        self.registers.dword(self.at.window + cap::PCI_CFG_DATA).to_le_bytes()
    }
}

/// What configuration space says about the device behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    /// Virtio device type.
    pub(crate) device_type: u16,
    /// PCI class code, 24 bits.
    pub(crate) class_code: u32,
    /// Number of virtqueues.
    pub(crate) queues: u16,
    /// Bytes of device configuration.
    pub(crate) config_bytes: usize,
}
