//! What the card writes into the used ring. Virtio 1.4, "The Virtqueue Used Ring".

use super::{Dma, Findings, Rule};

/// The used index moves by at most the queue size, and not past the available index that the card has read.
pub(crate) fn index_step(
    findings: &mut Findings,
    dma: &Dma,
    queue: u16,
    (old, new): (u16, u16),
    available: u16,
    size: u16,
) {
    let held = new.wrapping_sub(old) <= size && available.wrapping_sub(new) <= size;
    findings.judge(Rule::UsedIdxStep, held, dma.at, || {
        format!(
            "{dma}: expected the used index of queue {queue} to go on from {old} by at most {size}, and not past \
             the available index {available}, seen {new}"
        )
    });
}

/// The element was written before the index that publishes it.
pub(crate) fn element_before_index(
    findings: &mut Findings,
    dma: &Dma,
    queue: u16,
    index: u16,
    written: bool,
) {
    findings.judge(Rule::ElementBeforeIdx, written, dma.at, || {
        format!(
            "{dma}: expected the used element of index {index} of queue {queue} to be written \
             before, seen the index first"
        )
    });
}

/// The id is the head of a chain in flight.
pub(crate) fn id_outstanding(
    findings: &mut Findings,
    dma: &Dma,
    queue: u16,
    index: u16,
    id: u32,
    outstanding: bool,
) {
    findings.judge(Rule::UsedId, outstanding, dma.at, || {
        format!(
            "{dma}: expected the used element of index {index} of queue {queue} to name a chain in \
             flight, seen id {id}"
        )
    });
}

/// What `len` counts was written to the chain before its index; `written` is what can have been.
pub(crate) fn len_written(
    findings: &mut Findings,
    dma: &Dma,
    queue: u16,
    id: u32,
    len: u32,
    written: u64,
) {
    findings.judge(Rule::UsedWritten, u64::from(len) <= written, dma.at, || {
        format!(
            "{dma}: expected {len} bytes (len of used id {id} of queue {queue}) to have been written to its \
             buffers before, seen {written}"
        )
    });
}

/// A read for this request was refused, and a disk says that all is well with it.
pub(crate) fn refused(findings: &mut Findings, dma: &Dma, queue: u16, id: u32, status: u8) {
    findings.judge(Rule::RefusedRead, status != 0, dma.at, || {
        format!(
            "{dma}: expected used id {id} of queue {queue} to have failed, since a read for it was refused, seen \
             status 0"
        )
    });
}

/// `len` is at most what the chain lets the card write.
pub(crate) fn len_fits(
    findings: &mut Findings,
    dma: &Dma,
    queue: u16,
    id: u32,
    len: u32,
    writable: u64,
) {
    findings.judge(Rule::UsedLen, u64::from(len) <= writable, dma.at, || {
        format!(
            "{dma}: expected len of used id {id} of queue {queue} to be at most {writable}, seen {len}"
        )
    });
}
