//! Advanced Error Reporting: the extended capability, the errors, the messages. PCIe 5.0 §7.8.4,
//! "Advanced Error Reporting Extended Capability", and §6.2, "Error Signaling and Logging".

/// Extended capability id.
pub const CAP_ID: u16 = 0x0001;
/// Version of the layout that has the TLP prefix log.
pub const CAP_VERSION: u8 = 2;
/// Uncorrectable Error Status, 32 bits.
pub const UNCORRECTABLE_STATUS: u16 = 0x04;
/// Uncorrectable Error Mask, 32 bits.
pub const UNCORRECTABLE_MASK: u16 = 0x08;
/// Uncorrectable Error Severity, 32 bits: a set one is fatal.
pub const UNCORRECTABLE_SEVERITY: u16 = 0x0c;
/// Correctable Error Status, 32 bits.
pub const CORRECTABLE_STATUS: u16 = 0x10;
/// Correctable Error Mask, 32 bits.
pub const CORRECTABLE_MASK: u16 = 0x14;
/// Advanced Error Capabilities and Control, 32 bits.
pub const CONTROL: u16 = 0x18;
/// Header Log: four doublewords, each with its first byte in the top bits.
pub const HEADER_LOG: u16 = 0x1c;
/// Root Error Command, 32 bits; root ports only.
pub const ROOT_COMMAND: u16 = 0x2c;
/// Root Error Status, 32 bits; root ports only.
pub const ROOT_STATUS: u16 = 0x30;
/// Error Source Identification, 32 bits; root ports only.
pub const ERROR_SOURCE: u16 = 0x34;
/// TLP Prefix Log: four doublewords, as the header log.
pub const PREFIX_LOG: u16 = 0x38;
/// Root Error Command: an interrupt for every error message, by kind; bit 0 for ERR_COR, 1 for
/// ERR_NONFATAL, 2 for ERR_FATAL.
pub const ROOT_COMMAND_ALL: u32 = 7;
/// Root Error Status: ERR_COR came.
pub const ROOT_CORRECTABLE: u32 = 1;
/// Root Error Status: and another one.
pub const ROOT_CORRECTABLE_MULTIPLE: u32 = 1 << 1;
/// Root Error Status: ERR_NONFATAL or ERR_FATAL came.
pub const ROOT_UNCORRECTABLE: u32 = 1 << 2;
/// Root Error Status: and another one.
pub const ROOT_UNCORRECTABLE_MULTIPLE: u32 = 1 << 3;
/// Root Error Status: the first uncorrectable one was fatal.
pub const ROOT_FIRST_FATAL: u32 = 1 << 4;
/// Root Error Status: ERR_NONFATAL came.
pub const ROOT_NON_FATAL: u32 = 1 << 5;
/// Root Error Status: ERR_FATAL came.
pub const ROOT_FATAL: u32 = 1 << 6;
/// Root Error Status: every bit that tells of an error.
pub const ROOT_STATUS_ALL: u32 = 0x7f;
/// Bytes of the capability.
pub const BYTES: u16 = 0x48;

/// Control: which uncorrectable error came first, a bit number.
pub const CONTROL_FIRST_ERROR: u32 = 0x1f;
/// Control: ECRC can be generated.
pub const CONTROL_ECRC_GENERATION_CAPABLE: u32 = 1 << 5;
/// Control: generate ECRC.
pub const CONTROL_ECRC_GENERATION: u32 = 1 << 6;
/// Control: ECRC can be checked.
pub const CONTROL_ECRC_CHECK_CAPABLE: u32 = 1 << 7;
/// Control: check ECRC.
pub const CONTROL_ECRC_CHECK: u32 = 1 << 8;
/// Control: the prefix log holds the prefixes of the TLP in the header log.
pub const CONTROL_PREFIX_LOGGED: u32 = 1 << 11;

/// Correctable Error Status and Mask: an uncorrectable error was signalled as an advisory one.
pub const ADVISORY_NON_FATAL: u32 = 1 << 13;

/// An error that a port or function can detect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Error {
    /// A sequence number that cannot be.
    DataLinkProtocol,
    /// The link went down without notice; of a port above a link.
    SurpriseDown,
    /// A TLP with EP set came.
    PoisonedTlp,
    /// A rule of flow control was broken.
    FlowControlProtocol,
    /// A request was not answered in time.
    CompletionTimeout,
    /// A request was answered with Completer Abort.
    CompleterAbort,
    /// A completion answers nothing that was asked.
    UnexpectedCompletion,
    /// A TLP came for which no credit had been given.
    ReceiverOverflow,
    /// A TLP breaks a rule of its form.
    MalformedTlp,
    /// A TLP's end-to-end CRC is wrong.
    Ecrc,
    /// A request that is not supported.
    UnsupportedRequest,
    /// Symbols that make no sense.
    Receiver,
    /// A TLP with a wrong LCRC or sequence number.
    BadTlp,
    /// A DLLP with a wrong CRC.
    BadDllp,
    /// A TLP was replayed as often as is allowed.
    ReplayRollover,
    /// A TLP was not acknowledged in time.
    ReplayTimeout,
}

impl Error {
    /// Every one, in the order of the registers.
    pub const ALL: [Self; 16] = [
        Self::DataLinkProtocol,
        Self::SurpriseDown,
        Self::PoisonedTlp,
        Self::FlowControlProtocol,
        Self::CompletionTimeout,
        Self::CompleterAbort,
        Self::UnexpectedCompletion,
        Self::ReceiverOverflow,
        Self::MalformedTlp,
        Self::Ecrc,
        Self::UnsupportedRequest,
        Self::Receiver,
        Self::BadTlp,
        Self::BadDllp,
        Self::ReplayRollover,
        Self::ReplayTimeout,
    ];

    /// What the registers' figures call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SurpriseDown => "Surprise Down Error",
            Self::DataLinkProtocol => "Data Link Protocol Error",
            Self::PoisonedTlp => "Poisoned TLP Received",
            Self::FlowControlProtocol => "Flow Control Protocol Error",
            Self::CompletionTimeout => "Completion Timeout",
            Self::CompleterAbort => "Completer Abort",
            Self::UnexpectedCompletion => "Unexpected Completion",
            Self::ReceiverOverflow => "Receiver Overflow",
            Self::MalformedTlp => "Malformed TLP",
            Self::Ecrc => "ECRC Error",
            Self::UnsupportedRequest => "Unsupported Request",
            Self::Receiver => "Receiver Error",
            Self::BadTlp => "Bad TLP",
            Self::BadDllp => "Bad DLLP",
            Self::ReplayRollover => "REPLAY_NUM Rollover",
            Self::ReplayTimeout => "Replay Timer Timeout",
        }
    }

    /// Its bit number, in the uncorrectable or in the correctable registers.
    #[must_use]
    pub const fn bit(self) -> u32 {
        match self {
            Self::DataLinkProtocol => 4,
            Self::SurpriseDown => 5,
            Self::PoisonedTlp => 12,
            Self::FlowControlProtocol => 13,
            Self::CompletionTimeout => 14,
            Self::CompleterAbort => 15,
            Self::UnexpectedCompletion => 16,
            Self::ReceiverOverflow => 17,
            Self::MalformedTlp => 18,
            Self::Ecrc => 19,
            Self::UnsupportedRequest => 20,
            Self::Receiver => 0,
            Self::BadTlp => 6,
            Self::BadDllp => 7,
            Self::ReplayRollover => 8,
            Self::ReplayTimeout => 12,
        }
    }

    /// Whether the link has repaired it by itself.
    #[must_use]
    pub const fn is_correctable(self) -> bool {
        matches!(
            self,
            Self::Receiver
                | Self::BadTlp
                | Self::BadDllp
                | Self::ReplayRollover
                | Self::ReplayTimeout
        )
    }
}

/// The uncorrectable errors of [`Error::ALL`], as a register has them.
pub const UNCORRECTABLE: u32 = bits(false);
/// The correctable errors of [`Error::ALL`], as a register has them.
pub const CORRECTABLE: u32 = bits(true);
/// Which of [`UNCORRECTABLE`] are fatal after a reset. PCIe 5.0 §7.8.4.4.
pub const SEVERITY_DEFAULT: u32 = 1 << Error::DataLinkProtocol.bit()
    | 1 << Error::SurpriseDown.bit()
    | 1 << Error::FlowControlProtocol.bit()
    | 1 << Error::ReceiverOverflow.bit()
    | 1 << Error::MalformedTlp.bit();

const fn bits(correctable: bool) -> u32 {
    let mut bits = 0;
    let mut i = 0;
    while i < Error::ALL.len() {
        if Error::ALL[i].is_correctable() == correctable {
            bits |= 1 << Error::ALL[i].bit();
        }
        i += 1;
    }
    bits
}

/// How an error is told to the root complex. PCIe 5.0 §2.2.8.3, "Error Signaling Messages".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// ERR_COR: nothing was lost.
    Correctable,
    /// ERR_NONFATAL: a transaction was lost, the link is sound.
    NonFatal,
    /// ERR_FATAL: the link is not reliable any more.
    Fatal,
}

impl Signal {
    /// The message's code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Correctable => 0x30,
            Self::NonFatal => 0x31,
            Self::Fatal => 0x33,
        }
    }

    /// The signal that a message code stands for, if it stands for one.
    #[must_use]
    pub const fn of_code(code: u8) -> Option<Self> {
        match code {
            0x30 => Some(Self::Correctable),
            0x31 => Some(Self::NonFatal),
            0x33 => Some(Self::Fatal),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PCIe 5.0 §7.8.4.2, §7.8.4.4, §7.8.4.5: the registers as their figures have them.
    #[test]
    fn errors_have_the_bits_of_the_registers() {
        assert_eq!(UNCORRECTABLE, 0x001f_f030);
        assert_eq!(CORRECTABLE, 0x0000_11c1);
        assert_eq!(SEVERITY_DEFAULT, 0x0006_2030);
        assert_eq!(ADVISORY_NON_FATAL & CORRECTABLE, 0);
    }

    #[test]
    fn a_signal_is_known_by_its_code() {
        for signal in [Signal::Correctable, Signal::NonFatal, Signal::Fatal] {
            assert_eq!(Signal::of_code(signal.code()), Some(signal));
        }
        assert_eq!(Signal::of_code(0x32), None);
    }
}
