//! When an interrupt may come. Virtio 1.4, "Used Buffer Notifications".

use pcie_sim::time::Instant;

use super::{Dma, Findings, Rule};

/// An interrupt of a queue. It came too soon if no used index has moved since the last one, and elements are
/// written that wait for their index (`element`), or if none has ever moved. Others too many are no error.
pub(crate) fn after_index(
    findings: &mut Findings,
    dma: &Dma,
    queue: u16,
    too_soon: bool,
    element: bool,
) {
    findings.judge(Rule::InterruptAfterIdx, !too_soon, dma.at, || {
        let seen = if element { "a used element only" } else { "none since the queue was set up" };
        format!("{dma}: expected the used index of queue {queue} before the interrupt, seen {seen}")
    });
}

/// An interrupt of a queue, of which the card has read since the last one that the driver wants none.
pub(crate) fn suppressed(
    findings: &mut Findings,
    dma: &Dma,
    queue: u16,
    event_idx: bool,
    suppressed: bool,
) {
    let rule = if event_idx { Rule::UsedEvent } else { Rule::NoInterrupt };
    findings.judge(rule, !suppressed, dma.at, || {
        let (place, said) = match event_idx {
            true => ("used_event", "not to have been passed"),
            false => ("flags of the available ring", "to forbid it"),
        };
        format!(
            "{dma}: expected no interrupt of queue {queue}, as the card has read {place} {said}"
        )
    });
}

/// A vector was masked and the CPU has been answered after that. `Some` is its message, seen all the same, and
/// whether a used index has moved since; `None` when it was unmasked again and nothing had come.
pub(crate) fn masked(
    findings: &mut Findings,
    vector: u16,
    at: Instant,
    message: Option<(&Dma, bool)>,
) {
    let Some((dma, caused)) = message else {
        findings.judge(Rule::Masked, true, at, String::new);
        return findings.judge(Rule::AnswerOrder, true, at, String::new);
    };
    // What was on its way before the answer had to be sent before it; what began after it is the mask's.
    let rule = if caused { Rule::Masked } else { Rule::AnswerOrder };
    findings.judge(rule, false, dma.at, || {
        let why = match caused {
            true => "it is masked, and its used index has moved since",
            false => "it is masked, and what was posted before goes before the answer that said so",
        };
        format!("{dma}: expected no message of vector {vector}: {why}")
    });
}

/// Nothing moves any more, and the card has put to sleep a queue whose available index it knows as `known`.
pub(crate) fn doorbell_wanted(
    findings: &mut Findings,
    at: Instant,
    queue: u16,
    known: u16,
    avail_event: u16,
) {
    findings.judge(Rule::AvailEvent, known == avail_event, at, || {
        format!(
            "queue {queue} has come to rest at available index {known}: expected avail_event {known}, so that \
             the next buffer rings the doorbell, seen {avail_event}"
        )
    });
}
