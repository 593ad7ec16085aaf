//! The root complex as completer of atomic requests to memory. PCIe 5.0 §6.15.3.1, "Root Complex Support of
//! AtomicOps"; the old value goes back.
//!
//! A request takes its place among the posted writes: those before it are in memory when it happens, and
//! those behind it come after. Nobody writes between its reading and its writing, for that is one event.

use super::{Effect, Ordered, Refusal, Refused, RootComplex, RootEvent};
use crate::address::{Bdf, PhysAddr};
use crate::iommu::DmaKind;
use crate::schedule::Schedule;
use crate::time::{Instant, Span};
use crate::tlp::{Atomic, Completion, CompletionStatus, Payload, Tlp};

/// An atomic request on its way, and where it goes: nowhere, when it was refused.
pub(super) struct PendingAtomic {
    request: Atomic,
    place: Option<PhysAddr>,
}

impl RootComplex {
    /// An atomic request from the card. One that is malformed is dropped without an answer.
    pub fn atomic(
        &mut self,
        now: Instant,
        request: Atomic,
        schedule: &mut Schedule<impl From<RootEvent>>,
    ) {
        let Some(size) =
            request.location_bytes().filter(|size| request.address.is_multiple_of(*size as u64))
        else {
            return self.refuse(Refused {
                at: now,
                requester: request.requester,
                address: request.address,
                len_bytes: request.operands.len() as u32,
                kind: DmaKind::Write,
                refusal: Refusal::Malformed,
            });
        };
        let (place, took) = self.locate_both(now, &request, size as u32);
        let due = now + self.timing.inbound + took + self.timing.memory_read;
        self.last_commit = self.last_commit.max(due);
        self.ordered.push_back(Ordered::Atomic(Box::new(PendingAtomic { request, place })));
        schedule.at(self.last_commit, RootEvent::Commit.into());
        self.watch_iommu(now, schedule);
    }

    /// Reading and writing both have to be allowed.
    fn locate_both(
        &mut self,
        now: Instant,
        request: &Atomic,
        size: u32,
    ) -> (Option<PhysAddr>, Span) {
        let (requester, address) = (request.requester, request.address);
        let (read, took) = self.locate(now, requester, address, size, DmaKind::Read);
        if read.is_err() {
            return (None, took);
        }
        let (write, again) = self.locate(now, requester, address, size, DmaKind::Write);
        (write.ok(), took + again)
    }

    /// Does it: now all earlier writes are in memory.
    pub(super) fn perform(&mut self, pending: &PendingAtomic) -> Effect {
        let request = &pending.request;
        let size = request.location_bytes().unwrap_or_default();
        let before = pending.place.and_then(|place| {
            let before = request.perform(self.ram.slice_mut(place, size)?)?;
            Some((place, before))
        });
        let (status, data, written) = match before {
            Some((place, before)) => (CompletionStatus::Success, before, Some((place, size))),
            None => (CompletionStatus::UnsupportedRequest, Payload::new(), None),
        };
        Effect::Answered {
            completion: Completion {
                completer: Bdf::new(0, 0, 0),
                requester: request.requester,
                tag: request.tag,
                status,
                byte_count: size as u16,
                lower_address: 0,
                data,
                attributes: request.attributes,
            },
            written,
        }
    }

    /// Notes that a request was refused for what `refusal` says, wherever it would have gone.
    pub fn refuse_request(&mut self, now: Instant, tlp: &Tlp, refusal: Refusal) {
        let (address, len_bytes, kind) = match tlp.plain() {
            Tlp::MemRead(read) => (read.address, read.len_bytes.into(), DmaKind::Read),
            Tlp::MemWrite(write) => (write.address, write.data.len() as u32, DmaKind::Write),
            Tlp::Atomic(atomic) => {
                let len_bytes = atomic.location_bytes().unwrap_or_default();
                (atomic.address, len_bytes as u32, DmaKind::Write)
            }
            Tlp::IoRead(read) => (read.address.into(), read.len_bytes.into(), DmaKind::Read),
            Tlp::IoWrite(write) => (write.address.into(), write.data.len() as u32, DmaKind::Write),
            _ => return,
        };
        let requester = tlp.requester();
        self.refuse(Refused { at: now, requester, address, len_bytes, kind, refusal });
    }
}
