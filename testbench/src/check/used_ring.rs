//! What the card writes into the used ring. Virtio 1.4, "The Virtqueue Used Ring".

use super::{Dma, Findings, Rule};

/// The used index moves by at most the queue size.
pub(crate) fn index_step(
    findings: &mut Findings,
    dma: &Dma,
    queue: u16,
    old: u16,
    new: u16,
    size: u16,
) {
    let step = new.wrapping_sub(old);
    findings.judge(Rule::UsedIdxStep, step <= size, dma.at, || {
        format!(
            "{dma}: expected the used index of queue {queue} to go on from {old} by at most {size}, \
             seen {new}"
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
