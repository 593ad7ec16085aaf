//! What goes wrong on the host's side of the link, and who is told: the root port's registers, its
//! interrupt, and the card's end of the link.

use super::{CpuFinding, Event, Machine};
use crate::aer::{Logged, Role};
use crate::endpoint::{Direction, Tap};
use crate::link::aside::{LinkError, LinkEvent, Side};
use crate::root::inbound::Refusal;
use crate::spec::aer::{Error, Signal};
use crate::tlp::{Completion, FlowClass, MemRead, MemWrite, Message, Tlp};

impl<T: Tap> Machine<T> {
    /// The root port has detected an error in `tlp`, or in none.
    pub(super) fn detect(&mut self, error: Error, role: Role, tlp: Option<&Tlp>) {
        let logged = tlp.map(Logged::of);
        if let Some(message) = self.root.port.detect(error, role, logged.as_ref()) {
            self.root.deliver(self.now, message, &mut self.schedule);
        }
    }

    /// A message of the card's. Those about errors end in the root port's registers, others need no action.
    pub(super) fn message_arrives(&mut self, message: &Message) {
        if let Some(signal) = Signal::of_code(message.code)
            && let Some(message) = self.root.port.error_message(message.requester, signal)
        {
            self.root.deliver(self.now, message, &mut self.schedule);
        }
    }

    /// The root complex has refused a request of the card's. What an IOMMU blocks it records itself.
    pub(super) fn refused(&mut self, refusal: Refusal, request: &Tlp) {
        let answered = request.flow_class() == FlowClass::NonPosted;
        // Whoever is answered hears of it by the answer. PCIe 5.0 §6.2.3.2.4.1.
        let role = if answered { Role::Advisory } else { Role::Sole };
        match refusal {
            Refusal::Iommu(_) | Refusal::SlotFrozen => {}
            Refusal::Malformed | Refusal::CrossesPage => {
                self.detect(Error::MalformedTlp, Role::Sole, Some(request));
            }
            Refusal::Poisoned => self.detect(Error::PoisonedTlp, Role::Sole, Some(request)),
            Refusal::NoMemory
            | Refusal::NotShared
            | Refusal::PortDisabled
            | Refusal::UnknownInterrupt
            | Refusal::NotSupported => self.detect(Error::UnsupportedRequest, role, Some(request)),
        }
    }

    /// A completion that answers nothing the CPU waits for.
    pub(super) fn unexpected(&mut self, completion: Completion) {
        let tlp = Tlp::Completion(completion.clone());
        self.detect(Error::UnexpectedCompletion, Role::Advisory, Some(&tlp));
        self.findings.push(CpuFinding::UnexpectedCompletion { at: self.now, completion });
    }

    pub(super) fn memory_read(&mut self, read: &MemRead) {
        self.root.memory_read(self.now, read, &mut self.schedule);
        self.tell_refused(|| Tlp::MemRead(read.clone()));
    }

    pub(super) fn memory_write(&mut self, mut write: MemWrite) {
        self.root.memory_write(self.now, &mut write, &mut self.schedule);
        self.tell_refused(|| Tlp::MemWrite(write));
    }

    /// Records a refusal of the root complex, if there was one since this was last asked.
    pub(super) fn tell_refused(&mut self, request: impl FnOnce() -> Tlp) {
        if let Some(refusal) = self.root.take_refusal() {
            self.refused(refusal, &request());
        }
    }

    /// Both ends are told what the data link layer found.
    pub(super) fn link_events(&mut self) {
        for event in self.link.take_events() {
            self.tap.link_event(&event);
            if let Some(error) = error_of(&event) {
                match event.side {
                    Side::Root => self.detect(error, Role::Sole, None),
                    Side::Card => self.card.link_error(self.now, error, None),
                }
            }
        }
        if !self.link.is_up() {
            self.link_is_down();
        }
    }

    /// Nothing moves any more, and what the CPU waits for is answered by the port: with an Unsupported
    /// Request, which reads as all ones. PCIe 5.0 §2.9.1, "Transaction Layer Behavior in DL_Down Status".
    fn link_is_down(&mut self) {
        for direction in [Direction::Downstream, Direction::Upstream] {
            self.schedule.set_alarm(self.arrival[direction as usize], None);
            self.schedule.set_alarm(self.pump_again[direction as usize], None);
        }
        if self.asked.is_some() && self.answer.is_none() {
            self.schedule.at(self.now + self.config.root.completion, Event::Answer);
        }
    }
}

/// What the end that found it has to record, if anything.
fn error_of(event: &LinkEvent) -> Option<Error> {
    // Surprise Down is an error of the port above the link. PCIe 5.0 §3.2.1.
    let told = event.error != LinkError::SurpriseDown || event.side == Side::Root;
    event.error.recorded().filter(|_| told)
}
