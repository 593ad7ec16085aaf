//! What comes up the link: memory requests, completions for the CPU, messages, and what is refused.

use super::{Event, Machine, ROOT_COMPLEX};
use crate::endpoint::{Direction, Endpoint, Tap};
use crate::root::inbound::Refusal;
use crate::tlp::{Completion, CompletionStatus, Tlp};

impl<T: Tap> Machine<T> {
    /// Takes what has come up, as far as the root complex has room for it.
    pub(super) fn take_upstream(&mut self) {
        while self.root.has_room() && self.link.has_landed(Direction::Upstream) {
            if self.root.iommu.is_some() || self.path.is_some() {
                self.root.bypassed = self.card.bypasses_translation();
            }
            if !self.take_memory_request()
                && let Some(tlp) = self.link.take_at_root(self.now)
            {
                self.root_receives(tlp);
            }
        }
    }

    /// Takes what nearly everything is that comes up, without moving it; `false` when something else has.
    #[inline]
    fn take_memory_request(&mut self) -> bool {
        let Self { now, root, link, schedule, .. } = self;
        match link.first_at_root() {
            Some(Tlp::MemRead(read)) => root.memory_read(*now, read, schedule),
            Some(Tlp::MemWrite(write)) => root.memory_write(*now, write, schedule),
            _ => return false,
        }
        match self.root.take_refusal() {
            None => self.link.drop_at_root(self.now),
            Some(refusal) => {
                if let Some(tlp) = self.link.take_at_root(self.now) {
                    self.refused(refusal, &tlp);
                }
            }
        }
        true
    }

    pub(super) fn root_receives(&mut self, tlp: Tlp) {
        match tlp {
            Tlp::MemRead(read) => self.memory_read(&read),
            Tlp::MemWrite(write) => self.memory_write(write),
            Tlp::Completion(completion) => self.cpu_receives(completion),
            Tlp::Message(message) => self.message_arrives(&message),
            Tlp::Atomic(atomic) => {
                let request = Tlp::Atomic(atomic.clone());
                self.root.atomic(self.now, *atomic, &mut self.schedule);
                self.tell_refused(|| request);
            }
            Tlp::ConfigRead(_) | Tlp::ConfigWrite(_) | Tlp::IoRead(_) | Tlp::IoWrite(_) => {
                self.refuse(&tlp);
            }
            Tlp::Extended(extended) => self.root_receives_extended(extended),
        }
    }

    /// Answers a request with Unsupported Request, if it is to be answered.
    pub(super) fn refuse(&mut self, request: &Tlp) {
        self.root.refuse_request(self.now, request, Refusal::NotSupported);
        self.tell_refused(|| request.clone());
        let status = CompletionStatus::UnsupportedRequest;
        if let Some(completion) = Completion::refusing(request, ROOT_COMPLEX, status) {
            self.link.hand_over(self.now, Direction::Downstream, Tlp::Completion(completion));
            self.pump(Direction::Downstream);
        }
    }

    pub(super) fn cpu_receives(&mut self, completion: Completion) {
        if self.asked != Some(completion.tag) || self.answer.is_some() {
            return self.unexpected(completion);
        }
        self.root.port.answered(completion.status);
        self.answer = Some(completion);
        // A completion may not pass the writes posted before it. PCIe 5.0 §2.4.1.
        let at = (self.now + self.config.root.completion).max(self.root.posted_done());
        self.schedule.at(at, Event::Answer);
    }
}
