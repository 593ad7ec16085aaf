//! What comes up from the card: memory requests and interrupts for the guest, completions, messages.

use super::{Event, LiveFinding, LiveSlot, ROOT_COMPLEX, ReadId, Request};
use crate::endpoint::Tap;
use crate::root::inbound::{self, INTERRUPT_RANGE};
use crate::spec::aer::Signal;
use crate::tlp::{
    AddressType, Completion, CompletionStatus, Extended, MemRead, MemWrite, Payload, Tlp,
};

/// No request crosses one. PCIe 5.0 §2.2.7.
const PAGE_BYTES: u64 = 4096;

/// A read of the card under way.
#[derive(Debug)]
pub(super) struct Pending {
    id: ReadId,
    request: MemRead,
    /// What the guest has brought; `Err` when it refused.
    data: Option<Result<Vec<u8>, CompletionStatus>>,
    /// The time for its answer has passed.
    is_due: bool,
}

impl<T: Tap> LiveSlot<T> {
    /// The guest brings what a read asked for, or says that it may not be read, with the status that the
    /// card is to be told.
    pub fn answer_read(&mut self, id: ReadId, data: Result<Vec<u8>, CompletionStatus>) {
        let same = |pending: &Option<Pending>| pending.as_ref().is_some_and(|read| read.id == id);
        // A reset may have made it forgotten.
        let Some(place) = self.reads.iter().position(same) else { return };
        let Some(pending) = &mut self.reads[place] else { return };
        if data.is_err() {
            let (address, len_bytes) = (pending.request.address, pending.request.len_bytes);
            self.refused(false, address, u32::from(len_bytes));
        }
        let Some(pending) = &mut self.reads[place] else { return };
        pending.data = Some(data);
        if pending.is_due {
            self.held -= 1;
            self.complete(place);
        }
    }

    /// The guest refused a write of the card.
    pub fn write_refused(&mut self, address: u64, len_bytes: u32) {
        self.refused(true, address, len_bytes);
    }

    /// How often the card's registers were reset, as far as its slot can tell: what the front end had
    /// written into them is gone each time.
    #[must_use]
    pub const fn resets(&self) -> u64 {
        self.resets
    }

    fn refused(&mut self, write: bool, address: u64, len_bytes: u32) {
        self.finding(LiveFinding::Refused { at: self.now, write, address, len_bytes });
    }

    pub(super) fn forget_reads(&mut self) {
        self.reads.clear();
        self.free_reads.clear();
        self.held = 0;
        self.requests.retain(|request| !matches!(request, Request::Read { .. }));
    }

    pub(super) fn receive(&mut self, tlp: Tlp) {
        match tlp {
            Tlp::MemRead(read) => self.receive_read(read),
            Tlp::MemWrite(write) => self.receive_write(write),
            Tlp::Completion(completion) => self.receive_completion(completion, false),
            Tlp::Message(message) => {
                if Signal::of_code(message.code).is_some() {
                    let code = message.code;
                    self.finding(LiveFinding::ErrorMessage { at: self.now, code });
                }
            }
            Tlp::Extended(extended) => self.receive_extended(extended),
            Tlp::Atomic(_)
            | Tlp::ConfigRead(_)
            | Tlp::ConfigWrite(_)
            | Tlp::IoRead(_)
            | Tlp::IoWrite(_) => self.refuse(tlp),
        }
    }

    fn receive_read(&mut self, request: MemRead) {
        let (address, len_bytes) = (request.address, request.len_bytes.max(1));
        if address % PAGE_BYTES + u64::from(len_bytes) > PAGE_BYTES {
            return self.refuse(Tlp::MemRead(request));
        }
        let id = ReadId(self.reads_count);
        self.reads_count += 1;
        let pending = Some(Pending { id, request, data: None, is_due: false });
        let place = match self.free_reads.pop() {
            Some(place) => place,
            None => {
                self.reads.push(None);
                self.reads.len() as u32 - 1
            }
        };
        if let Some(free) = self.reads.get_mut(place as usize) {
            *free = pending;
        }
        self.requests.push_back(Request::Read { id, address, len_bytes });
        let due = self.now + self.config.root.inbound + self.config.root.memory_read;
        self.schedule.at(due, Event::ReadDue(place));
    }

    fn receive_write(&mut self, write: MemWrite) {
        let MemWrite { address, data, .. } = &write;
        if INTERRUPT_RANGE.contains(address) {
            let Some(data) = data.first_chunk().filter(|_| data.len() == 4) else {
                return self.refuse(Tlp::MemWrite(write));
            };
            let data = u32::from_le_bytes(*data);
            return self.requests.push_back(Request::Interrupt { data });
        }
        if address % PAGE_BYTES + data.len() as u64 > PAGE_BYTES {
            return self.refuse(Tlp::MemWrite(write));
        }
        if !data.is_empty() {
            self.requests.push_back(Request::Write { address: write.address, data: write.data });
        }
    }

    /// As the root port takes them in a [`Machine`](crate::machine::Machine).
    fn receive_extended(&mut self, extended: Extended) {
        let (tlp, extras) = Tlp::Extended(extended).into_parts();
        if !extras.prefixes.is_empty() || extras.address_type != AddressType::Untranslated {
            return self.refuse(tlp);
        }
        match (tlp, extras.poisoned) {
            (Tlp::Completion(completion), true) => self.receive_completion(completion, true),
            (tlp, true) => self.refuse(tlp),
            (Tlp::MemWrite(write), false) => match extras.enables {
                None => self.receive_write(write),
                Some(enables) => {
                    for (offset, data) in enables.runs((write.address & 3) as usize, &write.data) {
                        let address = write.address + offset as u64;
                        let data = Payload::from_slice(data);
                        self.receive_write(MemWrite { address, data, ..write });
                    }
                }
            },
            (tlp, false) => self.receive(tlp),
        }
    }

    /// Answers with Unsupported Request, if there is anybody to be answered.
    fn refuse(&mut self, tlp: Tlp) {
        let status = CompletionStatus::UnsupportedRequest;
        let completion = Completion::refusing(&tlp, ROOT_COMPLEX, status);
        self.finding(LiveFinding::NotSupported { at: self.now, tlp });
        if let Some(completion) = completion {
            self.send_down(Tlp::Completion(completion));
        }
    }

    pub(super) fn read_due(&mut self, place: u32) {
        // After a reset there may be none, or a later one whose time has not come: it is early then.
        let Some(Some(pending)) = self.reads.get_mut(place as usize) else { return };
        if pending.data.is_some() {
            self.complete(place as usize);
        } else if !pending.is_due {
            pending.is_due = true;
            self.held += 1;
        }
    }

    /// The completions of a read, cut at the read completion boundary within Max_Payload_Size. PCIe 5.0
    /// §2.3.1.1, "Data Return for Read Requests".
    fn complete(&mut self, place: usize) {
        let Some(Pending { request, data: Some(data), .. }) = self.reads[place].take() else {
            return;
        };
        self.free_reads.push(place as u32);
        let bytes = match data {
            Ok(bytes) => bytes,
            Err(status) => {
                let request = Tlp::MemRead(request);
                if let Some(refusal) = Completion::refusing(&request, ROOT_COMPLEX, status) {
                    self.send_down(Tlp::Completion(refusal));
                }
                return;
            }
        };
        let (mut address, mut left) = (request.address, &bytes[..]);
        while !left.is_empty() {
            let (largest, rcb) = (self.max_payload_bytes, self.config.rcb_bytes);
            let len = inbound::cut(address, left.len() as u16, largest, rcb);
            let (part, rest) = left.split_at(usize::from(len));
            let completion = Completion {
                completer: ROOT_COMPLEX,
                requester: request.requester,
                tag: request.tag,
                status: CompletionStatus::Success,
                byte_count: left.len() as u16,
                lower_address: address as u8 & 0x7f,
                data: Payload::from_slice(part),
                attributes: request.attributes,
            };
            self.send_down(Tlp::Completion(completion));
            address += part.len() as u64;
            left = rest;
        }
    }
}
