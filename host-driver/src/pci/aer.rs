//! The service that hears of PCI Express errors: it lets the functions report, and asks them what happened.
//!
//! ```text
//!   card ─ERR_*─▶ root port ─MSI─▶ [`ErrorService::collect`]: root status ▶ each function's own registers
//! ```
//!
//! What to do about an error is for whoever drives the function. PCIe 5.0 §6.2, "Error Signaling and
//! Logging".

use std::fmt;

use pcie_sim::address::Bdf;
use pcie_sim::host::{Host, Vector, Width};
use pcie_sim::spec::aer::{self, Error};
use pcie_sim::spec::pci::{bridge, cap_id, express, extended, header, msi, status};

use super::Function;

/// Every error message that a function can send.
const REPORTING: u16 = express::CONTROL_CORRECTABLE
    | express::CONTROL_NON_FATAL
    | express::CONTROL_FATAL
    | express::CONTROL_UNSUPPORTED;
/// Extended capabilities a chain can hold at most: 3840 bytes, 4 bytes each. Longer ones loop.
const MAX_EXTENDED: usize = 960;

/// Bits of the status registers, as lspci does not abbreviate them. PCIe 5.0 §7.5.1.1.4.
const STATUS_WORDS: [(u16, &str); 5] = [
    (status::MASTER_DATA_PARITY, "Master Data Parity Error"),
    (status::SIGNALED_TARGET_ABORT, "Signaled Target Abort"),
    (status::RECEIVED_TARGET_ABORT, "Received Target Abort"),
    (status::RECEIVED_MASTER_ABORT, "Received Master Abort"),
    (status::DETECTED_PARITY, "Detected Parity Error"),
];

/// How grave an error is to its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Repaired, or somebody else's to deal with.
    Correctable,
    /// A transaction was lost.
    NonFatal,
    /// The link is not reliable any more.
    Fatal,
}

/// An error, as the registers of the function that detected it have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRecord {
    /// Who detected it.
    pub function: Bdf,
    /// What.
    pub error: Error,
    /// How grave it is.
    pub severity: Severity,
    /// The header of the TLP that it was found in: of the first uncorrectable error, when one is logged.
    pub header: Option<[u32; 4]>,
}

impl fmt::Display for ErrorRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Correctable => "correctable",
            Severity::NonFatal => "non-fatal",
            Severity::Fatal => "fatal",
        };
        write!(f, "{}: {} ({severity})", self.function, self.error.name())?;
        match self.header {
            Some([a, b, c, d]) => write!(f, ", TLP header {a:08x} {b:08x} {c:08x} {d:08x}"),
            None => Ok(()),
        }
    }
}

/// One function's error registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reporter {
    function: Function,
    express: u16,
    aer: u16,
}

/// The service of one root port and the function below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorService {
    port: Reporter,
    below: Reporter,
    vector: Option<Vector>,
}

impl Reporter {
    fn find(host: &mut dyn Host, bdf: Bdf) -> Option<Self> {
        let function = Function::new(bdf);
        let capabilities = function.capabilities(host);
        let (_, express) = capabilities.into_iter().find(|(id, _)| *id == cap_id::PCI_EXPRESS)?;
        let aer = function.extended_capability(host, aer::CAP_ID)?;
        Some(Self { function, express, aer })
    }

    fn read(&self, host: &mut dyn Host, register: u16) -> u32 {
        self.function.read_u32(host, self.aer + register)
    }

    fn write(&self, host: &mut dyn Host, register: u16, value: u32) {
        host.config_write(self.function.bdf(), self.aer + register, Width::W32, value);
    }

    /// Forgets what happened before, checks ECRCs where it can, and reports what happens from now on; advisory errors, too, which
    /// are masked after a reset.
    fn enable(&self, host: &mut dyn Host) {
        self.clear(host);
        let mask = self.read(host, aer::CORRECTABLE_MASK);
        self.write(host, aer::CORRECTABLE_MASK, mask & !aer::ADVISORY_NON_FATAL);
        let control = self.read(host, aer::CONTROL);
        if control & aer::CONTROL_ECRC_CHECK_CAPABLE != 0 {
            self.write(host, aer::CONTROL, control | aer::CONTROL_ECRC_CHECK);
        }
        let at = self.express + express::DEVICE_CONTROL;
        let control = self.function.read_u16(host, at) | REPORTING;
        host.config_write(self.function.bdf(), at, Width::W16, control.into());
    }

    fn clear(&self, host: &mut dyn Host) {
        self.write(host, aer::UNCORRECTABLE_STATUS, u32::MAX);
        self.write(host, aer::CORRECTABLE_STATUS, u32::MAX);
        let at = self.express + express::DEVICE_STATUS;
        host.config_write(self.function.bdf(), at, Width::W16, 0xf);
    }

    /// What the registers say, worst first; nothing when the function does not answer.
    fn records(&self, host: &mut dyn Host) -> Vec<ErrorRecord> {
        let uncorrectable = self.read(host, aer::UNCORRECTABLE_STATUS);
        let correctable = self.read(host, aer::CORRECTABLE_STATUS);
        if uncorrectable == u32::MAX && correctable == u32::MAX {
            return Vec::new();
        }
        let severity = self.read(host, aer::UNCORRECTABLE_SEVERITY);
        let first = self.read(host, aer::CONTROL) & aer::CONTROL_FIRST_ERROR;
        let advisory = correctable & aer::ADVISORY_NON_FATAL != 0;
        let mut records = Vec::new();
        for error in Error::ALL {
            let bit = 1 << error.bit();
            let status = if error.is_correctable() { correctable } else { uncorrectable };
            if status & bit == 0 {
                continue;
            }
            let severity = match error {
                _ if error.is_correctable() => Severity::Correctable,
                _ if severity & bit != 0 => Severity::Fatal,
                _ if advisory && may_be_advisory(error) => Severity::Correctable,
                _ => Severity::NonFatal,
            };
            let logged = !error.is_correctable() && error.bit() == first;
            let header = if logged { self.header(host) } else { None };
            records.push(ErrorRecord { function: self.function.bdf(), error, severity, header });
        }
        records
    }

    fn header(&self, host: &mut dyn Host) -> Option<[u32; 4]> {
        let log = [0, 4, 8, 12].map(|offset| self.read(host, aer::HEADER_LOG + offset));
        (log != [0; 4]).then_some(log)
    }
}

/// The errors that a function tells as correctable ones when somebody else hears of them, too. PCIe 5.0
/// §6.2.3.2.4, "Advisory Non-Fatal Error Cases", as far as the bench's functions know them.
fn may_be_advisory(error: Error) -> bool {
    matches!(error, Error::UnsupportedRequest | Error::CompleterAbort | Error::UnexpectedCompletion)
}

impl ErrorService {
    /// Lets `port` and the function `below` it report their errors, with an interrupt of the port's when
    /// the platform has a vector to give. `None` when either has no AER.
    pub fn start(host: &mut dyn Host, port: Bdf, below: Bdf) -> Option<Self> {
        let port = Reporter::find(host, port)?;
        let below = Reporter::find(host, below)?;
        port.write(host, aer::ROOT_STATUS, u32::MAX);
        let bridge = port.function.read_u16(host, header::BRIDGE_CONTROL) | bridge::CONTROL_SERR;
        host.config_write(port.function.bdf(), header::BRIDGE_CONTROL, Width::W16, bridge.into());
        let vector = set_message(host, port.function);
        port.write(host, aer::ROOT_COMMAND, aer::ROOT_COMMAND_ALL);
        port.enable(host);
        below.enable(host);
        Some(Self { port, below, vector })
    }

    /// The vector of the port's interrupt.
    #[must_use]
    pub fn vector(&self) -> Option<Vector> {
        self.vector
    }

    /// What the status registers that PCI has had all along say, in words; they are cleared.
    pub fn collect_status(&self, host: &mut dyn Host) -> Vec<String> {
        let registers = [
            (self.port.function, header::STATUS, "Status"),
            (self.port.function, bridge::SECONDARY_STATUS, "Secondary Status"),
            (self.below.function, header::STATUS, "Status"),
        ];
        let mut said = Vec::new();
        for (function, register, name) in registers {
            let bits = function.read_u16(host, register);
            if bits == u16::MAX {
                continue;
            }
            let errors = bits & status::ERRORS;
            host.config_write(function.bdf(), register, Width::W16, errors.into());
            let words = STATUS_WORDS.iter().filter(|(bit, _)| bits & bit != 0);
            said.extend(words.map(|(_, word)| format!("{} {name}: {word}", function.bdf())));
        }
        said
    }

    /// What has happened since this was last asked, the port's own errors first; the registers are
    /// cleared. Of a function that does not answer nothing is learned.
    pub fn collect(&self, host: &mut dyn Host) -> Vec<ErrorRecord> {
        let mut records = self.port.records(host);
        records.extend(self.below.records(host));
        self.port.write(host, aer::ROOT_STATUS, u32::MAX);
        self.port.clear(host);
        self.below.clear(host);
        records
    }
}

/// Points the function's MSI at a vector of the CPU's.
fn set_message(host: &mut dyn Host, function: Function) -> Option<Vector> {
    let capabilities = function.capabilities(host);
    let (_, at) = capabilities.into_iter().find(|(id, _)| *id == cap_id::MSI)?;
    let (vector, message) = host.allocate_message()?;
    let bdf = function.bdf();
    host.config_write(bdf, at + msi::ADDRESS, Width::W32, message.address as u32);
    host.config_write(bdf, at + msi::ADDRESS_HIGH, Width::W32, (message.address >> 32) as u32);
    host.config_write(bdf, at + msi::DATA, Width::W16, message.data);
    let control = function.read_u16(host, at + msi::CONTROL) | msi::CONTROL_ENABLE;
    host.config_write(bdf, at + msi::CONTROL, Width::W16, control.into());
    Some(vector)
}

impl Function {
    /// Where the extended capability of this id begins. A chain that loops or leaves its bounds ends there.
    pub fn extended_capability(self, host: &mut dyn Host, id: u16) -> Option<u16> {
        let mut at = header::CAPABILITIES_END;
        for _ in 0..MAX_EXTENDED {
            let (found, next) = extended::parts(self.read_u32(host, at));
            if found == id {
                return Some(at);
            }
            at = next & !3;
            if at < header::CAPABILITIES_END {
                break;
            }
        }
        None
    }
}
