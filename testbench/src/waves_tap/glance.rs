//! A TLP at a glance: the few things of it that a wave viewer shows.

use pcie_sim::address::Bdf;
use pcie_sim::tlp::{CompletionStatus, MessageRouting, Tlp};

use super::signals::{PURPOSE_BYTES, fit};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glance {
    pub(super) kind: &'static str,
    pub(super) purpose: &'static str,
    /// Of a completion; else empty.
    pub(super) status: &'static str,
    pub(super) address: Option<u64>,
    pub(super) tag: u16,
    /// Bytes asked for or carried.
    pub(super) len_bytes: u16,
}

impl Glance {
    pub(super) fn at(tlp: &Tlp, purpose: &'static str) -> Self {
        let tlp = tlp.plain();
        Self {
            kind: tlp.kind(),
            purpose: fit(purpose, PURPOSE_BYTES),
            status: status(tlp),
            address: address(tlp),
            tag: tlp.tag().0 & 0x3ff,
            len_bytes: len_bytes(tlp).min(0x1fff),
        }
    }
}

/// PCIe 5.0 §2.2.9, "Completion Rules", table of completion status.
fn status(tlp: &Tlp) -> &'static str {
    let Tlp::Completion(completion) = tlp else { return "" };
    match completion.status {
        CompletionStatus::Success => "SC",
        CompletionStatus::UnsupportedRequest => "UR",
        CompletionStatus::RequestRetry => "RRS",
        CompletionStatus::CompleterAbort => "CA",
        CompletionStatus::Reserved(_) => "?",
    }
}

/// A configuration request is shown with the address that the enhanced configuration access mechanism
/// gives its register (PCIe 5.0 §7.2.2), counted from the window's start. A completion has none.
fn address(tlp: &Tlp) -> Option<u64> {
    let register = |target: Bdf, offset: u16| u64::from(target.0) << 12 | u64::from(offset & 0xfff);
    match tlp {
        Tlp::MemRead(read) => Some(read.address),
        Tlp::MemWrite(write) => Some(write.address),
        Tlp::ConfigRead(read) => Some(register(read.target, read.offset)),
        Tlp::ConfigWrite(write) => Some(register(write.target, write.offset)),
        Tlp::Atomic(atomic) => Some(atomic.address),
        Tlp::IoRead(read) => Some(read.address.into()),
        Tlp::IoWrite(write) => Some(write.address.into()),
        Tlp::Completion(_) | Tlp::Extended(_) => None,
        Tlp::Message(message) => match message.routing {
            MessageRouting::ByAddress(address) => Some(address),
            _ => None,
        },
    }
}

fn len_bytes(tlp: &Tlp) -> u16 {
    let carried = match tlp {
        Tlp::MemRead(read) => return read.len_bytes,
        Tlp::ConfigRead(read) => return u16::from(read.len_bytes),
        Tlp::MemWrite(write) => write.data.len(),
        Tlp::ConfigWrite(write) => write.data.len(),
        Tlp::Completion(completion) => completion.data.len(),
        Tlp::Message(message) => message.data.len(),
        Tlp::IoRead(read) => return u16::from(read.len_bytes),
        Tlp::IoWrite(write) => write.data.len(),
        // The location, as a memory request would say it.
        Tlp::Atomic(atomic) => atomic.location_bytes().unwrap_or_default(),
        Tlp::Extended(_) => 0,
    };
    u16::try_from(carried).unwrap_or(u16::MAX)
}
