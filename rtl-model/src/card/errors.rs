//! The errors that the card itself can detect, and what becomes of them: recorded and told by [`pcie_sim::aer`],
//! and an end, if a bad one, for whoever waits.

use pcie_sim::aer::{Logged, Role};
use pcie_sim::spec::aer::Error;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{Completion, CompletionStatus, Message, Tlp};

use super::Card;

use crate::dma::tags::Arrival;

/// Messages that every endpoint takes, and this one does nothing about: unlock, power states, PME_Turn_Off,
/// ignored ones, the slot's power limit, and what a vendor lets everybody drop. PCIe 5.0 appendix F,
/// "Message Code Usage".
const TAKEN: [u8; 12] = [0x00, 0x14, 0x19, 0x40, 0x41, 0x43, 0x44, 0x45, 0x47, 0x48, 0x50, 0x7f];

impl Card {
    /// Records an error and tells of it.
    pub(super) fn detect(&mut self, error: Error, role: Role, tlp: Option<&Tlp>) {
        // A device on a platform's own bus has neither registers nor messages for it.
        if self.front.is_some() {
            return;
        }
        let logged = tlp.map(Logged::of);
        if let Some(signal) = self.space.report(error, role, logged.as_ref()) {
            self.dma.signal(signal);
        }
    }

    /// A request that is not supported: one that is answered tells its requester by that.
    pub(super) fn unsupported(&mut self, role: Role, tlp: &Tlp) {
        self.counters.unsupported_requests += 1;
        self.detect(Error::UnsupportedRequest, role, Some(tlp));
    }

    /// A TLP with more data than Max_Payload_Size is malformed. PCIe 5.0 §2.2.2, "TLPs with Data Payloads -
    /// Rules".
    #[inline]
    pub(super) fn is_too_long(&self, tlp: &Tlp) -> bool {
        let bytes = match tlp {
            Tlp::MemWrite(write) => write.data.len(),
            Tlp::Completion(completion) => completion.data.len(),
            _ => return false,
        };
        // The length counts whole doublewords, of which the first and the last may be in part.
        bytes + 6 > usize::from(self.settings.payload_max)
            && 4 * tlp.data_dwords() > usize::from(self.settings.payload_max)
            && self.front.is_none()
    }

    /// A message that the card does not know is an unsupported request. PCIe 5.0 §2.3.1.
    pub(super) fn message(&mut self, message: Box<Message>) {
        if !TAKEN.contains(&message.code) {
            self.unsupported(Role::Sole, &Tlp::Message(message));
        }
    }

    pub(super) fn completion(&mut self, now: Instant, completion: Completion) {
        let ours = completion.requester == self.dma.limits.id;
        let arrival = if ours { self.dma.tags.complete(&completion) } else { Arrival::Unexpected };
        match arrival {
            Arrival::Failed { .. } => {
                self.counters.failed_reads += 1;
                let aborted = completion.status == CompletionStatus::CompleterAbort;
                self.space.request_failed(aborted);
            }
            // Whoever sent it hears of it by its own timer. PCIe 5.0 §6.2.3.2.4.5.
            Arrival::Unexpected => {
                let tlp = Tlp::Completion(completion);
                self.detect(Error::UnexpectedCompletion, Role::Advisory, Some(&tlp));
                return self.arrived(now, arrival, &[]);
            }
            Arrival::Data { .. } | Arrival::Discarded => {}
        }
        self.arrived(now, arrival, &completion.data);
    }
}
