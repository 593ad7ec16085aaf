//! The card as it takes what it has no use for: I/O, atomic requests, and packets with something rare.

use pcie_sim::time::Instant;
use pcie_sim::tlp::{
    AddressType, Completion, CompletionStatus, Extended, Extras, MemWrite, Payload, Tlp,
};

use super::Card;

impl Card {
    /// A request of a kind that the card does not serve: it has neither I/O space nor an AtomicOp completer.
    pub(super) fn not_served(&mut self, now: Instant, request: &Tlp) {
        self.unsupported();
        let status = CompletionStatus::UnsupportedRequest;
        if let Some(answer) = Completion::refusing(request, self.dma.limits.id, status) {
            self.dma.answer(now, self.dma.timing.register_access, answer);
        }
    }

    /// The card supports no prefixes: one makes a packet malformed, and nobody answers it. Hints it does not
    /// look at, ECRC it does not check.
    pub(super) fn receive_extended(&mut self, now: Instant, extended: Extended) {
        let (tlp, extras) = extended.into_parts();
        if !extras.prefixes.is_empty() {
            return;
        }
        match (tlp, extras) {
            (tlp, Extras { poisoned: true, .. }) => self.receive_poisoned(now, tlp),
            (tlp, extras) if extras.address_type != AddressType::Untranslated => {
                self.not_served(now, &tlp);
            }
            (Tlp::MemWrite(write), Extras { enables: Some(enables), .. }) => {
                for (offset, data) in enables.runs((write.address & 3) as usize, &write.data) {
                    let address = write.address + offset as u64;
                    let data = Payload::from_slice(data);
                    self.memory_write(now, &MemWrite { address, data, ..write });
                }
            }
            (Tlp::ConfigWrite(write), Extras { enables: Some(enables), .. }) => {
                let lead = usize::from(write.offset & 3);
                let runs: Vec<_> = enables.runs(lead, &write.data).collect();
                self.config_write_runs(now, &write, &runs);
            }
            (tlp, _) => self.receive(now, tlp),
        }
    }

    /// Bad data changes nothing: a read that brings it has failed, a write is as one that is not supported.
    /// PCIe 5.0 §2.7.2.2, "Rules For Use of Data Poisoning".
    fn receive_poisoned(&mut self, now: Instant, tlp: Tlp) {
        match tlp {
            Tlp::Completion(completion) => {
                let status = CompletionStatus::CompleterAbort;
                let data = Payload::new();
                self.receive(now, Tlp::Completion(Completion { status, data, ..completion }));
            }
            Tlp::Message(_) => {}
            request => self.not_served(now, &request),
        }
    }
}
