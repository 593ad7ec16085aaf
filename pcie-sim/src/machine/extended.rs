//! Packets with something rare about them, as the root port takes them: what it does not support it refuses,
//! bad data goes nowhere, and of a write only the enabled bytes are written.

use super::{CpuFinding, Event, Machine};
use crate::aer::Role;
use crate::endpoint::Tap;
use crate::root::inbound::Refusal;
use crate::spec::aer::Error;
use crate::tlp::{AddressType, Completion, Extended, Extras, MemWrite, Payload, Tlp};

impl<T: Tap> Machine<T> {
    /// The root port has neither End-End TLP Prefix Supported nor address translation services. It checks
    /// ECRC when software has switched that on.
    pub(super) fn root_receives_extended(&mut self, extended: Extended) {
        let whole = Tlp::Extended(extended);
        if self.root.port.checks_ecrc() && whole.ecrc_holds() == Some(false) {
            // PCIe 5.0 §2.7.1: the packet is dropped, and nobody answers it.
            return self.detect(Error::Ecrc, Role::Sole, Some(&whole));
        }
        let (tlp, extras) = whole.into_parts();
        if !extras.prefixes.is_empty() {
            // PCIe 5.0 §2.2.10: a prefix that the receiver does not support makes the TLP malformed.
            self.root.refuse_request(self.now, &tlp, Refusal::Malformed);
            return self.tell_refused(|| tlp);
        }
        if extras.address_type != AddressType::Untranslated {
            return self.refuse(&tlp);
        }
        if extras.poisoned {
            return self.root_receives_poisoned(tlp);
        }
        match (tlp, extras) {
            (Tlp::MemWrite(write), Extras { enables: Some(enables), .. }) => {
                for (offset, data) in enables.runs((write.address & 3) as usize, &write.data) {
                    let address = write.address + offset as u64;
                    let data = Payload::from_slice(data);
                    let run = MemWrite { address, data, ..write };
                    self.memory_write(run);
                }
            }
            (tlp, _) => self.root_receives(tlp),
        }
    }

    /// PCIe 5.0 §2.7.2.2, "Rules For Use of Data Poisoning".
    fn root_receives_poisoned(&mut self, tlp: Tlp) {
        match tlp {
            Tlp::Completion(completion) => self.cpu_receives_poisoned(completion),
            Tlp::MemWrite(_) => {
                self.root.refuse_request(self.now, &tlp, Refusal::Poisoned);
                self.tell_refused(|| tlp);
            }
            Tlp::Message(_) => {}
            request => self.refuse(&request),
        }
    }

    /// The CPU gets all ones, as for an answer that never comes.
    fn cpu_receives_poisoned(&mut self, completion: Completion) {
        if self.asked != Some(completion.tag) || self.answer.is_some() {
            return self.unexpected(completion);
        }
        let tlp = Tlp::Completion(completion.clone()).poisoned();
        self.detect(Error::PoisonedTlp, Role::Sole, Some(&tlp));
        self.findings.push(CpuFinding::PoisonedCompletion { at: self.now, completion });
        self.schedule.at(self.now + self.config.root.completion, Event::Answer);
    }
}
