//! Which memory a card may read, and which it may write.

use super::{Dma, Findings, Rule};

/// What a write hits that is not the card's to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forbidden {
    /// The descriptor table of this queue.
    Descriptors(u16),
    /// The available ring of this queue.
    DriverArea(u16),
    /// A device-readable buffer or table of the request with this queue and head.
    Readable(u16, u16),
}

/// A write; `hit` is what it must not touch.
pub(crate) fn write(findings: &mut Findings, dma: &Dma, hit: Option<Forbidden>) {
    for rule in [Rule::DescriptorWrite, Rule::DriverAreaWrite, Rule::ReadableBuffer] {
        let broken = match (rule, hit) {
            (Rule::DescriptorWrite, Some(Forbidden::Descriptors(queue))) => {
                Some((queue, "the descriptor table".to_owned()))
            }
            (Rule::DriverAreaWrite, Some(Forbidden::DriverArea(queue))) => {
                Some((queue, "the available ring".to_owned()))
            }
            (Rule::ReadableBuffer, Some(Forbidden::Readable(queue, head))) => {
                Some((queue, format!("device-readable memory of the chain at head {head}")))
            }
            _ => None,
        };
        findings.judge(rule, broken.is_none(), dma.at, || {
            let (queue, what) = broken.unwrap_or_default();
            format!("{dma}: expected no write there, seen to hit {what} of queue {queue}")
        });
    }
}

/// A DMA whose first `explained` bytes lie in memory that the card was told about.
pub(crate) fn stray(findings: &mut Findings, dma: &Dma, explained: u64) {
    let held = explained >= dma.len as u64;
    findings.judge(Rule::StrayDma, held, dma.at, || {
        let place = dma.address.wrapping_add(explained);
        format!("{dma}: expected a ring, table or buffer in flight, seen none at {place:#x}")
    });
}
