//! What a function does about an error that it detects: which bits say so, what is logged, which message
//! goes. PCIe 5.0 §6.2.5, "Sequence of Device Error Signaling and Logging Operations", as a function.
//!
//! ```text
//!             correctable ───────────────▶ Device Status ▶ status ▶ masked? ▶ ERR_COR, if enabled
//!  error ──┤  uncorrectable, advisory ──▶ as correctable, and logged as uncorrectable
//!             uncorrectable ─────────────▶ Device Status ▶ status ▶ masked? ▶ log ▶ by severity, if enabled
//! ```
//!
//! Left out: more than one logged header, internal errors, header log overflow.

use crate::config_space::{ConfigSpace, access};
use crate::spec::aer::{self, Error, Signal};
use crate::spec::pci::{command, express, header, status};
use crate::tlp::{Tlp, codec};

/// The header of a TLP as the registers log it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    header: [u8; 16],
    prefixes: [u8; 16],
    has_prefix: bool,
}

/// Fmt of a prefix, in the first byte of a doubleword.
const PREFIX: u8 = 0b100 << 5;
/// The three bits of Fmt.
const FMT: u8 = 0b111 << 5;

impl Logged {
    /// Header and prefixes of a TLP; of a header of three doublewords the fourth stays zero.
    #[must_use]
    pub fn of(tlp: &Tlp) -> Self {
        let mut bytes = Vec::new();
        codec::emit(tlp, &mut bytes);
        let is_prefix = |dword: &&[u8]| dword.first().is_some_and(|first| first & FMT == PREFIX);
        let prefixes = 4 * bytes.chunks(4).take_while(is_prefix).count();
        let (before, behind) = bytes.split_at(prefixes.min(bytes.len()));
        Self {
            header: first_bytes(behind, 4 * tlp.header_dwords()),
            prefixes: first_bytes(before, before.len()),
            has_prefix: !before.is_empty(),
        }
    }
}

fn first_bytes(bytes: &[u8], most: usize) -> [u8; 16] {
    let mut log = [0; 16];
    let len = bytes.len().min(most).min(log.len());
    log[..len].copy_from_slice(&bytes[..len]);
    log
}

/// How an error came about, as far as it decides how grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Somebody else hears of it too, from the completion or by its absence: if it is not fatal it is told
    /// as a correctable one. PCIe 5.0 §6.2.3.2.4, "Advisory Non-Fatal Error Cases".
    Advisory,
    /// Nobody else will tell.
    Sole,
}

/// Where a function has its error registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRegisters {
    /// The PCI Express capability.
    pub express: u16,
    /// The AER capability.
    pub aer: u16,
}

/// The registers while an error is recorded.
struct Record<'a> {
    space: &'a mut ConfigSpace,
    at: ErrorRegisters,
}

/// Adds an AER capability as every function of the bench has it; where it begins.
pub fn put_capability(space: &mut ConfigSpace) -> u16 {
    let at = space.extended(aer::CAP_ID, aer::CAP_VERSION, aer::BYTES);
    space.put(at + aer::UNCORRECTABLE_SEVERITY, &aer::SEVERITY_DEFAULT.to_le_bytes());
    space.put(at + aer::CORRECTABLE_MASK, &aer::ADVISORY_NON_FATAL.to_le_bytes());
    let control = aer::CONTROL_ECRC_GENERATION_CAPABLE | aer::CONTROL_ECRC_CHECK_CAPABLE;
    space.put(at + aer::CONTROL, &control.to_le_bytes());
    space.rights(at, access::AER);
    at
}

impl ErrorRegisters {
    /// ECRC Check Enable.
    #[must_use]
    pub fn checks_ecrc(self, space: &ConfigSpace) -> bool {
        space.dword(self.aer + aer::CONTROL) & aer::CONTROL_ECRC_CHECK != 0
    }

    /// Records an error; the signal to send, if one is to be sent.
    pub fn report(
        self,
        space: &mut ConfigSpace,
        error: Error,
        role: Role,
        logged: Option<&Logged>,
    ) -> Option<Signal> {
        Record { space, at: self }.report(error, role, logged)
    }
}

impl Record<'_> {
    fn report(&mut self, error: Error, role: Role, logged: Option<&Logged>) -> Option<Signal> {
        if error == Error::PoisonedTlp {
            self.space.set_word(header::STATUS, status::DETECTED_PARITY, u16::MAX);
        }
        if error.is_correctable() {
            self.detected(express::STATUS_CORRECTABLE);
            return self.correctable(1 << error.bit());
        }
        if error == Error::UnsupportedRequest {
            self.detected(express::STATUS_UNSUPPORTED);
        }
        let bit = 1 << error.bit();
        let fatal = self.space.dword(self.at.aer + aer::UNCORRECTABLE_SEVERITY) & bit != 0;
        if !fatal && role == Role::Advisory {
            return self.advisory(error, logged);
        }
        self.detected(if fatal { express::STATUS_FATAL } else { express::STATUS_NON_FATAL });
        if !self.uncorrectable(error, logged) {
            return None;
        }
        let signal = if fatal { Signal::Fatal } else { Signal::NonFatal };
        self.uncorrectable_enabled(error, signal).then_some(signal)
    }

    fn detected(&mut self, bit: u16) {
        self.space.set_word(self.at.express + express::DEVICE_STATUS, bit, u16::MAX);
    }

    fn device_control(&self, bit: u16) -> bool {
        self.space.word(self.at.express + express::DEVICE_CONTROL) & bit != 0
    }

    /// Sets a correctable status bit; the signal, when it is neither masked nor switched off.
    fn correctable(&mut self, bit: u32) -> Option<Signal> {
        self.space.set_dword(self.at.aer + aer::CORRECTABLE_STATUS, bit, u32::MAX);
        let masked = self.space.dword(self.at.aer + aer::CORRECTABLE_MASK) & bit != 0;
        let enabled = self.device_control(express::CONTROL_CORRECTABLE);
        (!masked && enabled).then_some(Signal::Correctable)
    }

    fn advisory(&mut self, error: Error, logged: Option<&Logged>) -> Option<Signal> {
        self.detected(express::STATUS_CORRECTABLE);
        let signal = self.correctable(aer::ADVISORY_NON_FATAL);
        let masks = self.space.dword(self.at.aer + aer::CORRECTABLE_MASK);
        if masks & aer::ADVISORY_NON_FATAL != 0 {
            return None;
        }
        self.uncorrectable(error, logged);
        let wanted =
            error != Error::UnsupportedRequest || self.device_control(express::CONTROL_UNSUPPORTED);
        signal.filter(|_| wanted)
    }

    /// Sets an uncorrectable status bit and logs the header if it is the first; whether it is unmasked.
    fn uncorrectable(&mut self, error: Error, logged: Option<&Logged>) -> bool {
        let base = self.at.aer;
        let bit = 1 << error.bit();
        // The pointer says something as long as the bit it points to is set.
        let pointer = self.space.dword(base + aer::CONTROL) & aer::CONTROL_FIRST_ERROR;
        let status = self.space.dword(base + aer::UNCORRECTABLE_STATUS);
        let first = status & 1 << pointer == 0;
        self.space.set_dword(base + aer::UNCORRECTABLE_STATUS, bit, u32::MAX);
        if self.space.dword(base + aer::UNCORRECTABLE_MASK) & bit != 0 {
            return false;
        }
        if first {
            self.space.set_dword(base + aer::CONTROL, aer::CONTROL_FIRST_ERROR, error.bit());
            self.log(logged);
        }
        true
    }

    fn log(&mut self, logged: Option<&Logged>) {
        let base = self.at.aer;
        let blank = Logged { header: [0; 16], prefixes: [0; 16], has_prefix: false };
        let logged = logged.unwrap_or(&blank);
        for (register, bytes) in
            [(aer::HEADER_LOG, &logged.header), (aer::PREFIX_LOG, &logged.prefixes)]
        {
            let mut register = base + register;
            for dword in bytes.as_chunks::<4>().0 {
                self.space.put(register, &u32::from_be_bytes(*dword).to_le_bytes());
                register += 4;
            }
        }
        let present = if logged.has_prefix { u32::MAX } else { 0 };
        self.space.set_dword(base + aer::CONTROL, aer::CONTROL_PREFIX_LOGGED, present);
    }

    /// PCIe 5.0 §6.2.6, "Error Message Controls": SERR# Enable, or the bits of Device Control.
    fn uncorrectable_enabled(&mut self, error: Error, signal: Signal) -> bool {
        let system = self.space.word(header::COMMAND) & command::SERR != 0;
        if system {
            self.space.set_word(header::STATUS, status::SIGNALED_SYSTEM_ERROR, u16::MAX);
        }
        let by_kind = match signal {
            Signal::Fatal => express::CONTROL_FATAL,
            Signal::Correctable | Signal::NonFatal => express::CONTROL_NON_FATAL,
        };
        let wanted =
            error != Error::UnsupportedRequest || self.device_control(express::CONTROL_UNSUPPORTED);
        system || self.device_control(by_kind) && wanted
    }
}
