//! When an interrupt may come. Virtio 1.4, "Used Buffer Notifications".

use super::{Dma, Findings, Rule};

/// An interrupt of a queue. It came too soon if no used index has moved since the last one, and
/// elements are written that wait for their index.
pub(crate) fn after_index(findings: &mut Findings, dma: &Dma, queue: u16, too_soon: bool) {
    findings.judge(Rule::InterruptAfterIdx, !too_soon, dma.at, || {
        format!(
            "{dma}: expected the used index of queue {queue} before the interrupt, seen a used \
             element only"
        )
    });
}
