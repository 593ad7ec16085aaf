//! What the card answers when the CPU asks it: form of completions, features, ISR status.

use pcie_sim::time::Instant;
use pcie_sim::tlp::Completion;

use super::{Findings, Rule};

/// An answer to a read of `len` bytes, those that are still to come, at `address`.
#[inline]
pub(crate) fn form(
    findings: &mut Findings,
    answer: &Completion,
    address: u64,
    len: u16,
    at: Instant,
) {
    let lower = (address & 0x7f) as u8;
    let fits = answer.data.len() <= usize::from(len);
    let held = answer.lower_address == lower && answer.byte_count == len && fits;
    findings.judge(Rule::CompletionForm, held, at, || {
        format!(
            "answer to a read of {len} bytes at {address:#x}: expected Lower Address {lower:#x} and Byte Count \
             {len}, seen {:#x} and {} with {} bytes",
            answer.lower_address,
            answer.byte_count,
            answer.data.len()
        )
    });
}

/// `device_status` was read after FEATURES_OK had been written. `beyond` are bits accepted that were not
/// offered.
pub(crate) fn features(findings: &mut Findings, beyond: u64, kept: bool, at: Instant) {
    findings.judge(Rule::Features, beyond == 0 || !kept, at, || {
        format!(
            "device_status: expected no FEATURES_OK, since features {beyond:#x} were accepted and not offered, \
             seen it set"
        )
    });
}

/// The ISR status was read again after a read that had shown a cause.
pub(crate) fn isr(findings: &mut Findings, value: u8, held: bool, at: Instant) {
    findings.judge(Rule::IsrCleared, held, at, || {
        format!(
            "ISR status: expected 0 after it was read, with no DMA since, seen {value:#x} still"
        )
    });
}
