//! When a card may touch memory at all: from DRIVER_OK to the end of a reset.

use super::{Dma, Findings, Rule};
use crate::analyzer::registers::Life;

/// A DMA that is no interrupt.
pub(crate) fn dma(findings: &mut Findings, dma: &Dma, life: Life) {
    match life {
        Life::Fresh | Life::Setup => findings.judge(Rule::BeforeDriverOk, false, dma.at, || {
            format!("{dma}: expected no DMA before DRIVER_OK")
        }),
        Life::AfterReset => after_reset(findings, dma),
        Life::Running => {
            findings.judge(Rule::BeforeDriverOk, true, dma.at, String::new);
            findings.judge(Rule::AfterReset, true, dma.at, String::new);
        }
        // What was on its way may still come.
        Life::Resetting => {}
    }
}

/// An interrupt; `of_queue` when its vector belongs to queues only.
pub(crate) fn interrupt(findings: &mut Findings, dma: &Dma, life: Life, of_queue: bool) {
    match life {
        Life::Fresh | Life::Setup if of_queue => {
            findings.judge(Rule::InterruptBeforeDriverOk, false, dma.at, || {
                format!("{dma}: expected no queue interrupt before DRIVER_OK")
            });
        }
        Life::AfterReset => after_reset(findings, dma),
        Life::Running if of_queue => {
            findings.judge(Rule::InterruptBeforeDriverOk, true, dma.at, String::new);
        }
        Life::Fresh | Life::Setup | Life::Running | Life::Resetting => {}
    }
}

fn after_reset(findings: &mut Findings, dma: &Dma) {
    findings.judge(Rule::AfterReset, false, dma.at, || {
        format!("{dma}: expected silence, since device_status has read 0 after a reset")
    });
}
