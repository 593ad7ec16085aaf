//! Accesses of the guest on their way down: one at a time if answered, as a CPU makes them.

use super::{
    Access, Answer, Asked, CARD, Event, LiveFinding, LiveSlot, ROOT_COMPLEX, STORE_BUFFER,
};
use crate::endpoint::{Direction, Tap};
use crate::spec::pci::{bar, command, express, header};
use crate::time::Span;
use crate::tlp::{
    Attributes, Completion, CompletionStatus, ConfigRead, ConfigWrite, MemRead, MemWrite, Payload,
    Tag, Tlp,
};

/// The time within which a function must be ready after a reset. PCIe 5.0 §6.6.1.
const READY_TIME: Span = Span::from_ms(1000);
/// From a request that was put off to the next.
const AGAIN: Span = Span::from_us(100);

impl<T: Tap> LiveSlot<T> {
    /// Whether [`LiveSlot::begin`] takes another access: none is under way that is to be answered, and
    /// the posted ones before it are not too many.
    #[must_use]
    pub fn accepts(&self) -> bool {
        let waiting = self.outbound.len() + self.link.queued(Direction::Downstream);
        let has_room = waiting < STORE_BUFFER || self.is_stuck;
        self.asked.is_none() && self.answer.is_none() && has_room
    }

    /// The card takes no posted writes, and time does not go on: from now on nothing is sent down to it,
    /// reads are answered with all ones, and writes are lost.
    pub fn give_card_up(&mut self) {
        if !self.is_stuck {
            self.is_stuck = true;
            self.finding(LiveFinding::PostedStuck { at: self.now });
        }
    }

    /// Whether an access is under way that is to be answered.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// The answer to the access under way, once it has come.
    pub fn take_answer(&mut self) -> Option<Answer> {
        self.answer.take()
    }

    /// Where the card's BAR is, when the guest has placed it and the card answers there.
    #[must_use]
    pub fn bar_address(&self, index: usize) -> Option<u64> {
        let facts = self.facts.bars.get(index)?.as_ref()?;
        let low = u64::from(self.bars[index] & !bar::FLAGS);
        let high = match facts.is_64_bit {
            true => u64::from(*self.bars.get(index + 1)?) << 32,
            false => 0,
        };
        let address = (high | low) & !(facts.len_bytes - 1);
        let placed =
            address != 0 && self.lost_bars == 0 && self.command & command::MEMORY_SPACE != 0;
        placed.then_some(address)
    }

    /// Begins an access.
    pub fn begin(&mut self, access: Access) {
        self.last_traffic = self.now;
        if self.is_stuck {
            let answered = !matches!(access, Access::Write { .. });
            self.answer = answered.then_some(Answer::Failed);
            return;
        }
        let tag = self.issue(&access);
        if !matches!(access, Access::Write { .. }) {
            self.asked = Some(Asked { tag, access, since: self.now, answer: None });
            let deadline = self.now + self.config.root.completion_timeout;
            self.schedule.set_alarm(self.timeout, Some(deadline));
        }
    }

    /// Sends a request on its way; its tag.
    fn issue(&mut self, access: &Access) -> Tag {
        let tag = Tag((self.asked_count & 0xff) as u16);
        self.asked_count += 1;
        self.outbound.push_back(tlp_of(tag, access));
        self.schedule.at(self.now + self.config.root.outbound, Event::Outbound);
        tag
    }

    /// The card was not ready for a configuration request: the root complex makes it again, as one without
    /// Configuration RRS Software Visibility does. PCIe 5.0 §2.3.2, "Completion Handling Rules".
    pub(super) fn ask_again(&mut self) {
        let Some(mut asked) = self.asked.take() else { return };
        asked.tag = self.issue(&asked.access);
        self.asked = Some(asked);
        let deadline = self.now + self.config.root.completion_timeout;
        self.schedule.set_alarm(self.timeout, Some(deadline));
    }

    /// Begins an access and lets time pass until it is answered, or, if posted, accepted.
    pub fn ask(&mut self, access: Access) -> Option<Payload> {
        let deadline = self.now + self.config.root.completion_timeout;
        while !self.accepts() && self.next_by(deadline) {}
        if !self.accepts() {
            self.give_card_up();
        }
        self.begin(access);
        while self.asked.is_some() && self.next_by(self.now + self.config.root.completion_timeout) {
        }
        match self.answer.take() {
            Some(Answer::Done(data)) => Some(data),
            Some(Answer::Failed) | None => None,
        }
    }

    fn next_by(&mut self, until: crate::time::Instant) -> bool {
        let Some((at, event)) = self.schedule.take_due(until) else { return false };
        self.now = at.max(self.now);
        self.happen(event);
        true
    }

    /// The guest resets the card: by a function level reset, or a hot one if it has none. Its reads under
    /// way are forgotten. One that is not ready after [`LiveConfig::reset`](super::LiveConfig::reset) puts
    /// configuration requests off.
    pub fn reset(&mut self) {
        while self.asked.is_some() && self.next_by(self.now + self.config.root.completion_timeout) {
        }
        self.answer = None;
        match self.facts.express.filter(|_| self.facts.resets_by_function) {
            Some(at) => {
                let offset = at + express::DEVICE_CONTROL;
                let data = Payload::from_slice(&express::CONTROL_FLR.to_le_bytes());
                self.ask(Access::ConfigWrite { offset, data });
            }
            None => {
                self.link.bring_up(self.now);
                self.card.hot_reset(self.now);
                self.turn_card();
            }
        }
        self.forget_reads();
        self.forget_registers();
        self.run_until(self.now + self.config.reset);
    }

    pub(super) fn receive_completion(&mut self, completion: Completion, bad: bool) {
        let waits = |asked: &&mut Asked| asked.tag == completion.tag && asked.answer.is_none();
        let (true, Some(asked)) = (!bad, self.asked.as_mut().filter(waits)) else {
            let (at, tlp) = (self.now, Tlp::Completion(completion));
            if bad && let Some(asked) = self.asked.take_if(|asked| asked.tag == tlp.tag()) {
                drop(asked);
                self.schedule.set_alarm(self.timeout, None);
                self.answer = Some(Answer::Failed);
            }
            return self.finding(LiveFinding::UnexpectedCompletion { at, tlp });
        };
        asked.answer = Some(completion);
        self.schedule.set_alarm(self.timeout, None);
        self.schedule.at(self.now + self.config.root.completion, Event::Answer);
    }

    /// The answer has reached the CPU.
    pub(super) fn answered(&mut self) {
        let has = |asked: &mut Asked| asked.answer.is_some();
        let Some(Asked { tag, access, since, answer: Some(completion) }) = self.asked.take_if(has)
        else {
            return;
        };
        let put_off = completion.status == CompletionStatus::RequestRetry;
        if put_off && self.now.since(since) < READY_TIME {
            self.asked = Some(Asked { tag, access, since, answer: None });
            return self.schedule.at(self.now + AGAIN, Event::Again);
        }
        if completion.status != CompletionStatus::Success {
            self.answer = Some(Answer::Failed);
            return;
        }
        let mut data = completion.data;
        match access {
            // The answer is the whole doubleword, whichever of its bytes were asked for.
            Access::ConfigRead { offset, len_bytes } => {
                let lane = usize::from(offset & 3).min(data.len());
                data.drain(..lane);
                data.resize(usize::from(len_bytes), 0xff);
            }
            Access::ConfigWrite { offset, data: written } => self.note_write(offset, &written),
            Access::Read { len_bytes, .. } => data.resize(usize::from(len_bytes), 0xff),
            Access::Write { .. } => {}
        }
        self.answer = Some(Answer::Done(data));
    }

    /// An access was not answered in time.
    pub(super) fn give_up(&mut self) {
        if let Some(asked) = self.asked.take_if(|asked| asked.answer.is_none()) {
            let request = tlp_of(asked.tag, &asked.access);
            self.finding(LiveFinding::CompletionTimeout { at: self.now, request });
            self.answer = Some(Answer::Failed);
        }
    }

    /// A write to configuration space has succeeded.
    fn note_write(&mut self, offset: u16, data: &[u8]) {
        for (offset, &byte) in (offset..).zip(data) {
            if let Some(past) = offset.checked_sub(header::BAR0)
                && let Some(register) = self.bars.get_mut(usize::from(past / 4))
            {
                let shift = u32::from(past % 4) * 8;
                *register = *register & !(0xff << shift) | u32::from(byte) << shift;
            }
            if let Some(past @ 0..2) = offset.checked_sub(header::COMMAND) {
                let shift = past * 8;
                self.command = self.command & !(0xff << shift) | u16::from(byte) << shift;
            }
            let control = self.facts.express.map(|at| at + express::DEVICE_CONTROL);
            if control == Some(offset) {
                self.max_payload_bytes = express::size_bytes(u16::from(byte) >> 5);
            }
            if control.map(|at| at + 1) == Some(offset) {
                let reset = u16::from(byte) << 8 & express::CONTROL_FLR != 0;
                if reset && self.facts.resets_by_function {
                    self.forget_registers();
                }
            }
        }
    }

    /// A write that gives the card back a BAR that it had before a reset. The client emulates these
    /// registers: its guest reads there what it wrote, and sees no reason to write it again.
    pub fn next_restore(&mut self) -> Option<Access> {
        let index = (self.lost_bars != 0).then(|| self.lost_bars.trailing_zeros() as u16)?;
        self.lost_bars &= self.lost_bars - 1;
        let data = Payload::from_slice(&self.bars.get(usize::from(index))?.to_le_bytes());
        Some(Access::ConfigWrite { offset: header::BAR0 + 4 * index, data })
    }

    /// What a reset takes from the card.
    fn forget_registers(&mut self) {
        let placed = (0..6).filter(|&index| self.bars[index] != 0);
        self.lost_bars = placed.fold(0, |lost, index| lost | 1 << index);
        self.command = 0;
        self.max_payload_bytes = 128;
        self.resets += 1;
    }
}

fn tlp_of(tag: Tag, access: &Access) -> Tlp {
    let (requester, target, attributes) = (ROOT_COMPLEX, CARD, Attributes::default());
    match access {
        &Access::ConfigRead { offset, len_bytes } => Tlp::ConfigRead(ConfigRead {
            requester,
            tag,
            target,
            offset,
            len_bytes,
            forwarded: false,
        }),
        Access::ConfigWrite { offset, data } => Tlp::ConfigWrite(ConfigWrite {
            requester,
            tag,
            target,
            offset: *offset,
            data: data.clone(),
            forwarded: false,
        }),
        &Access::Read { address, len_bytes } => {
            Tlp::MemRead(MemRead { requester, tag, address, len_bytes, attributes })
        }
        Access::Write { address, data } => Tlp::MemWrite(MemWrite {
            requester,
            tag: Tag(0),
            address: *address,
            data: data.clone(),
            attributes,
        }),
    }
}
