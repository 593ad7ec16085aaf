//! Errors at the root port: its own, and those that the card sends messages about.
//!
//! ```text
//!  card's ERR_* ─▶ secondary status ─▶ bridge's SERR# Enable ─┐
//!  port's own error ─▶ its AER registers ─▶ its Device Control┴─▶ root error status, source ─▶ MSI
//! ```
//!
//! PCIe 5.0 §6.2.4.1, "Root Complex Considerations (Advanced Error Reporting)".

use super::port::RootPort;
use crate::address::Bdf;
use crate::aer::{Logged, Role};
use crate::host::MsiMessage;
use crate::machine::ROOT_PORT;
use crate::spec::aer::{self, Error, Signal};
use crate::spec::pci::{bridge, header, msi, status};
use crate::tlp::CompletionStatus;

impl RootPort {
    /// The card has sent an error message; the interrupt to raise, if one is.
    pub fn error_message(&mut self, source: Bdf, signal: Signal) -> Option<MsiMessage> {
        if signal != Signal::Correctable {
            self.secondary(bridge::RECEIVED_SYSTEM_ERROR);
        }
        let forwarded = self.space.word(header::BRIDGE_CONTROL) & bridge::CONTROL_SERR != 0;
        if forwarded { self.record(source, signal) } else { None }
    }

    /// The port has detected an error; the interrupt to raise, if one is.
    pub fn detect(
        &mut self,
        error: Error,
        role: Role,
        logged: Option<&Logged>,
    ) -> Option<MsiMessage> {
        if error == Error::PoisonedTlp {
            self.secondary(status::DETECTED_PARITY);
        }
        let signal = self.errors.report(&mut self.space, error, role, logged)?;
        self.record(ROOT_PORT, signal)
    }

    /// ECRC Check Enable.
    #[must_use]
    pub fn checks_ecrc(&self) -> bool {
        self.errors.checks_ecrc(&self.space)
    }

    /// A request that went down was answered, and how.
    pub fn answered(&mut self, how: CompletionStatus) {
        match how {
            CompletionStatus::UnsupportedRequest => self.secondary(status::RECEIVED_MASTER_ABORT),
            CompletionStatus::CompleterAbort => self.secondary(status::RECEIVED_TARGET_ABORT),
            CompletionStatus::Success
            | CompletionStatus::RequestRetry
            | CompletionStatus::Reserved(_) => {}
        }
    }

    fn secondary(&mut self, bit: u16) {
        self.space.set_word(bridge::SECONDARY_STATUS, bit, u16::MAX);
    }

    /// Root Error Status and Error Source Identification. The source is that of the first error of its
    /// kind; of the later ones it is only told that there were more.
    fn record(&mut self, source: Bdf, signal: Signal) -> Option<MsiMessage> {
        let at = self.errors.aer;
        let before = self.space.dword(at + aer::ROOT_STATUS);
        let (received, multiple, shift) = match signal {
            Signal::Correctable => (aer::ROOT_CORRECTABLE, aer::ROOT_CORRECTABLE_MULTIPLE, 0),
            Signal::NonFatal | Signal::Fatal => {
                (aer::ROOT_UNCORRECTABLE, aer::ROOT_UNCORRECTABLE_MULTIPLE, 16)
            }
        };
        let first = before & received == 0;
        let mut news = if first { received } else { multiple };
        news |= match signal {
            Signal::Correctable => 0,
            Signal::NonFatal => aer::ROOT_NON_FATAL,
            Signal::Fatal if first => aer::ROOT_FATAL | aer::ROOT_FIRST_FATAL,
            Signal::Fatal => aer::ROOT_FATAL,
        };
        self.space.set_dword(at + aer::ROOT_STATUS, news, u32::MAX);
        if first {
            let source = u32::from(source.0) << shift;
            self.space.set_dword(at + aer::ERROR_SOURCE, 0xffff << shift, source);
        }
        self.interrupt(before)
    }

    /// The port's message, when an error that it is to interrupt for was not recorded before. PCIe 5.0
    /// §6.2.4.1.2, "Interrupt Generation".
    fn interrupt(&self, before: u32) -> Option<MsiMessage> {
        let at = self.errors.aer;
        let command = self.space.dword(at + aer::ROOT_COMMAND);
        let now = self.space.dword(at + aer::ROOT_STATUS);
        let asked = |status: u32| {
            let kinds = [aer::ROOT_CORRECTABLE, aer::ROOT_NON_FATAL, aer::ROOT_FATAL];
            (0..).zip(kinds).any(|(bit, kind)| command >> bit & 1 == 1 && status & kind != 0)
        };
        let enabled = self.space.word(self.msi + msi::CONTROL) & msi::CONTROL_ENABLE != 0;
        if !enabled || !asked(now) || asked(before) {
            return None;
        }
        let low = u64::from(self.space.dword(self.msi + msi::ADDRESS));
        let high = u64::from(self.space.dword(self.msi + msi::ADDRESS_HIGH));
        let data = u32::from(self.space.word(self.msi + msi::DATA));
        Some(MsiMessage { address: high << 32 | low, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkConfig;
    use crate::spec::pci::express;

    const CARD: Bdf = Bdf::new(1, 0, 0);
    const VECTOR: u32 = 7;

    /// A port as an operating system sets it up that wants to hear of errors.
    fn listening() -> RootPort {
        let mut port = RootPort::new(&LinkConfig::default().timing, 64);
        port.write(header::BRIDGE_CONTROL, 2, u32::from(bridge::CONTROL_SERR));
        port.write(port.errors.express + express::DEVICE_CONTROL, 2, 0xf);
        port.write(port.errors.aer + aer::ROOT_COMMAND, 4, aer::ROOT_COMMAND_ALL);
        port.write(port.msi + msi::ADDRESS, 4, 0xfee0_0000);
        port.write(port.msi + msi::DATA, 2, VECTOR);
        port.write(port.msi + msi::CONTROL, 2, u32::from(msi::CONTROL_ENABLE));
        port
    }

    fn root_status(port: &RootPort) -> u32 {
        port.read(port.errors.aer + aer::ROOT_STATUS, 4)
    }

    /// PCIe 5.0 §7.8.4.10, "Root Error Status Register", §7.8.4.11, "Error Source Identification
    /// Register".
    #[test]
    fn the_first_message_of_a_kind_leaves_its_source_and_later_ones_only_a_bit() {
        let mut port = listening();
        let message = port.error_message(CARD, Signal::NonFatal);
        assert_eq!(message, Some(MsiMessage { address: 0xfee0_0000, data: VECTOR }));
        assert_eq!(root_status(&port), aer::ROOT_UNCORRECTABLE | aer::ROOT_NON_FATAL);
        port.error_message(Bdf::new(1, 0, 1), Signal::Fatal);
        let multiple = aer::ROOT_UNCORRECTABLE_MULTIPLE | aer::ROOT_FATAL;
        assert_eq!(root_status(&port) & (multiple | aer::ROOT_FIRST_FATAL), multiple);
        port.error_message(Bdf::new(1, 0, 2), Signal::Correctable);
        let source = port.read(port.errors.aer + aer::ERROR_SOURCE, 4);
        assert_eq!(source, u32::from(CARD.0) << 16 | u32::from(Bdf::new(1, 0, 2).0));
    }

    /// PCIe 5.0 §6.2.4.1.2: only when the enabled part of the status becomes other than zero.
    #[test]
    fn one_interrupt_until_the_status_is_cleared() {
        let mut port = listening();
        assert!(port.error_message(CARD, Signal::Correctable).is_some());
        assert!(port.error_message(CARD, Signal::Correctable).is_none());
        port.write(port.errors.aer + aer::ROOT_STATUS, 4, u32::MAX);
        assert_eq!(root_status(&port), 0);
        assert!(port.error_message(CARD, Signal::Correctable).is_some());
    }

    #[test]
    fn nothing_goes_on_that_was_not_asked_for() {
        let mut port = RootPort::new(&LinkConfig::default().timing, 64);
        assert_eq!(port.error_message(CARD, Signal::Fatal), None);
        assert_eq!(root_status(&port), 0, "the bridge passes no messages on");
        let secondary = port.read(bridge::SECONDARY_STATUS, 2) as u16;
        assert_eq!(secondary, bridge::RECEIVED_SYSTEM_ERROR);
        assert_eq!(port.detect(Error::MalformedTlp, Role::Sole, None), None);
        let own = port.read(port.errors.aer + aer::UNCORRECTABLE_STATUS, 4);
        assert_eq!(own, 1 << Error::MalformedTlp.bit());
        assert_eq!(root_status(&port), 0, "the port may not signal");
    }

    #[test]
    fn an_error_of_the_port_itself_has_the_port_as_its_source() {
        let mut port = listening();
        assert!(port.detect(Error::CompletionTimeout, Role::Sole, None).is_some());
        let source = port.read(port.errors.aer + aer::ERROR_SOURCE, 4);
        assert_eq!(source >> 16, u32::from(ROOT_PORT.0));
    }
}
