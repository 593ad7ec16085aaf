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
#[inline]
pub(crate) fn write(findings: &mut Findings, dma: &Dma, hit: Option<Forbidden>) {
    let broken = hit.map(|hit| match hit {
        Forbidden::Descriptors(_) => Rule::DescriptorWrite,
        Forbidden::DriverArea(_) => Rule::DriverAreaWrite,
        Forbidden::Readable(..) => Rule::ReadableBuffer,
    });
    for rule in [Rule::DescriptorWrite, Rule::DriverAreaWrite, Rule::ReadableBuffer] {
        findings.judge(rule, broken != Some(rule), dma.at, || hits(dma, hit));
    }
}

fn hits(dma: &Dma, hit: Option<Forbidden>) -> String {
    let (queue, what) = match hit {
        Some(Forbidden::Descriptors(queue)) => (queue, "the descriptor table".to_owned()),
        Some(Forbidden::DriverArea(queue)) => (queue, "the available ring".to_owned()),
        Some(Forbidden::Readable(queue, head)) => {
            (queue, format!("device-readable memory of the chain at head {head}"))
        }
        None => (0, String::new()),
    };
    format!("{dma}: expected no write there, seen to hit {what} of queue {queue}")
}

/// A DMA whose first `explained` bytes lie in memory that the card was told about.
pub(crate) fn stray(findings: &mut Findings, dma: &Dma, explained: u64) {
    let held = explained >= dma.len as u64;
    findings.judge(Rule::StrayDma, held, dma.at, || {
        let place = dma.address.wrapping_add(explained);
        format!("{dma}: expected a ring, table or buffer in flight, seen none at {place:#x}")
    });
}
