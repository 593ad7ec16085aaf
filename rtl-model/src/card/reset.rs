//! The resets that PCI Express knows, and what of the card outlives them.
//!
//! | | asked for by | sticky registers | link's registers | its own number, answers under way |
//! |---|---|---|---|---|
//! | function level | Device Control | stay | stay | stay |
//! | D3hot to D0 | power management | stay | stay | stay |
//! | hot | the bridge above | stay | go | go |
//!
//! Of virtio nothing is left: the device status is 0, no queue is enabled (STAT-DEV-05).

use pcie_sim::address::Bdf;
use pcie_sim::endpoint::ResetKind;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{CompletionStatus, Tlp};

use super::Card;
use crate::dma::tags::Arrival;
use crate::msix::Msix;

impl Card {
    /// Carries out a reset.
    pub(super) fn reset(&mut self, now: Instant, kind: ResetKind) {
        self.counters.resets += 1;
        if kind == ResetKind::Hot {
            self.dma.reset_link();
        }
        self.begin_reset();
        self.dma.tags.forget_all();
        self.registers.end_reset();
        self.msix = Msix::new(self.msix_vectors);
        self.config_news = false;
        self.space.reset(kind);
        self.apply_settings(now);
        if kind == ResetKind::Hot {
            self.dma.limits.id = Bdf::default();
        }
        self.awake = now + self.dma.timing.reset;
    }

    /// Until a reset is over configuration requests are put off, other requests not answered for good, and
    /// none of that is an error. PCIe 5.0 §2.3.1, §6.6.2.
    pub(super) fn receive_in_reset(&mut self, now: Instant, tlp: Tlp) {
        match tlp {
            Tlp::ConfigRead(read) => self.put_off(now, read.requester, read.tag),
            Tlp::ConfigWrite(write) => self.put_off(now, write.requester, write.tag),
            Tlp::MemRead(read) => {
                let byte_count = read.len_bytes.max(1);
                self.refuse(now, read.requester, read.tag, byte_count, read.attributes);
            }
            Tlp::Completion(completion) => {
                let ours = completion.requester == self.dma.limits.id;
                let known = ours && self.dma.tags.complete(&completion) == Arrival::Discarded;
                self.counters.discarded_completions += u64::from(known);
            }
            Tlp::MemWrite(_) | Tlp::Message(_) => {}
            request @ (Tlp::IoRead(_) | Tlp::IoWrite(_) | Tlp::Atomic(_)) => {
                self.answer_unsupported(now, &request);
            }
            Tlp::Extended(extended) => self.receive_in_reset(now, extended.into_parts().0),
        }
    }

    fn put_off(&mut self, now: Instant, requester: Bdf, tag: pcie_sim::tlp::Tag) {
        let status = CompletionStatus::RequestRetry;
        self.answer_without_data(now, requester, tag, status, 4, Default::default());
    }
}
