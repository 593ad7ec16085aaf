//! The card as it takes what it has no use for: I/O, atomic requests, and packets with something rare.

use pcie_sim::aer::Role;
use pcie_sim::spec::aer::Error;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{
    AddressType, Completion, CompletionStatus, Extended, Extras, FlowClass, MemWrite, Payload, Tlp,
};

use super::Card;
use crate::dma::tags::Arrival;

impl Card {
    /// A request of a kind that the card does not serve: it has neither I/O space nor an AtomicOp completer.
    pub(super) fn not_served(&mut self, now: Instant, request: &Tlp) {
        let answered = request.flow_class() == FlowClass::NonPosted;
        self.unsupported(if answered { Role::Advisory } else { Role::Sole }, request);
        self.answer_unsupported(now, request);
    }

    pub(super) fn answer_unsupported(&mut self, now: Instant, request: &Tlp) {
        let status = CompletionStatus::UnsupportedRequest;
        if let Some(answer) = Completion::refusing(request, self.dma.limits.id, status) {
            self.dma.answer(now, self.dma.timing.register_access, answer);
        }
    }

    /// A packet with something rare. End-to-end prefixes and hints mean nothing to this card; a prefix of the
    /// link makes the packet malformed. ECRC is checked when software has switched that on.
    pub(super) fn receive_extended(&mut self, now: Instant, extended: Extended) {
        let whole = Tlp::Extended(extended);
        if whole.extras().is_some_and(|extras| extras.prefixes.iter().any(|p| p.is_local())) {
            return self.detect(Error::MalformedTlp, Role::Sole, Some(&whole));
        }
        if self.space.checks_ecrc() && whole.ecrc_holds() == Some(false) {
            return self.detect(Error::Ecrc, Role::Sole, Some(&whole));
        }
        if whole.is_poisoned() {
            self.detect(Error::PoisonedTlp, Role::Sole, Some(&whole));
        }
        let (tlp, extras) = whole.into_parts();
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

    /// Bad data changes nothing: a read that brings it has failed, a write is answered as one that is not
    /// supported. PCIe 5.0 §2.7.2.2, "Rules For Use of Data Poisoning".
    fn receive_poisoned(&mut self, now: Instant, tlp: Tlp) {
        match tlp {
            Tlp::Completion(completion) => {
                let arrival = self.dma.tags.spoil(&completion);
                if matches!(arrival, Arrival::Failed { .. }) {
                    self.counters.failed_reads += 1;
                }
                self.arrived(now, arrival, &[]);
            }
            request => self.answer_unsupported(now, &request),
        }
    }
}
