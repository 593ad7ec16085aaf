//! Reads that are unanswered: one slot per tag, found by its number, never searched.

use std::collections::VecDeque;
use std::ops::Range;

use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::{Completion, CompletionStatus, Tag};

use super::Owner;
use crate::config_space::TagBits;

/// All tags that there are.
const TAGS: u16 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Free,
    /// Bytes go to the owner, from this place in its buffer on.
    Taken(Owner),
    /// Whoever asked is gone: the answer is dropped when it comes.
    Orphaned,
    /// As orphaned, and from before a reset of the function, which knows of no request any more.
    Forgotten,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    in_use: Use,
    at: u32,
    left: u16,
    /// Tells this use of the tag from the one before, for the timeout.
    generation: u32,
}

/// What a completion, or its absence, means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Bytes for the owner's buffer at this place.
    Data {
        /// Whose.
        owner: Owner,
        /// Where.
        at: u32,
    },
    /// The rest of the read, this many bytes, will not come.
    Failed {
        /// Whose.
        owner: Owner,
        /// Bytes that are missing.
        missing: u16,
    },
    /// An answer to somebody who is gone.
    Discarded,
    /// An answer to nothing that was asked. PCIe 5.0 §2.3.2, "Completion Handling Rules".
    Unexpected,
}

/// The table of tags.
#[derive(Debug)]
pub(crate) struct Tags {
    slots: Vec<Slot>,
    free: VecDeque<u16>,
    /// Since when each read waits, oldest first; the first is still unanswered.
    sent: VecDeque<(Instant, u16, u32)>,
    /// When the first of them times out; the far future when it does not.
    deadline: Instant,
    /// How long it may; `None` for ever.
    timeout: Option<Span>,
    in_flight_max: usize,
    usable: Range<u16>,
    in_flight: usize,
    forgotten: usize,
}

impl Tags {
    /// No read unanswered; at most `in_flight_max` at a time.
    pub(crate) fn new(in_flight_max: u16) -> Self {
        let idle = Slot { in_use: Use::Free, at: 0, left: 0, generation: 0 };
        Self {
            slots: vec![idle; usize::from(TAGS)],
            free: usable(TagBits::Eight).collect(),
            sent: VecDeque::new(),
            deadline: Instant::FAR_FUTURE,
            timeout: None,
            in_flight_max: usize::from(in_flight_max),
            usable: usable(TagBits::Eight),
            in_flight: 0,
            forgotten: 0,
        }
    }

    /// Keeps to tags of so many bits.
    pub(crate) fn set_bits(&mut self, bits: TagBits) {
        let usable = usable(bits);
        if usable != self.usable {
            let slots = &self.slots;
            let idle = |tag: &u16| slots[usize::from(*tag)].in_use == Use::Free;
            self.free = usable.clone().filter(idle).collect();
            self.usable = usable;
        }
    }

    /// How long a read may stay unanswered, those already sent too; `None` for ever.
    pub(crate) fn set_timeout(&mut self, timeout: Option<Span>) {
        self.timeout = timeout;
        self.look_at_first();
    }

    /// Reads that are unanswered, as far as the function knows.
    pub(crate) fn pending(&self) -> usize {
        self.in_flight - self.forgotten
    }

    /// Whether another read may go.
    pub(crate) fn available(&self) -> bool {
        self.in_flight < self.in_flight_max && !self.free.is_empty()
    }

    /// Takes a tag for `len` bytes that go to `at` in the owner's buffer. Tags are used in turn, so
    /// that an answer that comes too late meets a free tag rather than a new read.
    pub(crate) fn take(&mut self, owner: Owner, at: u32, len: u16, now: Instant) -> Tag {
        let tag = self.free.pop_front().unwrap_or_default();
        let slot = &mut self.slots[usize::from(tag)];
        let generation = slot.generation.wrapping_add(1);
        *slot = Slot { in_use: Use::Taken(owner), at, left: len, generation };
        self.sent.push_back((now, tag, generation));
        if self.in_flight == 0 {
            self.look_at_first();
        }
        self.in_flight += 1;
        Tag(tag)
    }

    /// Matches a completion with the read that it answers.
    pub(crate) fn complete(&mut self, completion: &Completion) -> Arrival {
        let tag = completion.tag.0;
        let Some(slot) = self.slots.get_mut(usize::from(tag)) else { return Arrival::Unexpected };
        let in_use = slot.in_use;
        if in_use == Use::Free {
            return Arrival::Unexpected;
        }
        if completion.status != CompletionStatus::Success {
            let missing = slot.left;
            self.release(tag);
            return failed(in_use, missing);
        }
        let len = completion.data.len() as u16;
        if len == 0 || len > slot.left || completion.byte_count != slot.left {
            return Arrival::Unexpected;
        }
        let at = slot.at;
        slot.at += u32::from(len);
        slot.left -= len;
        if slot.left == 0 {
            self.release(tag);
        }
        match in_use {
            Use::Taken(owner) => Arrival::Data { owner, at },
            Use::Orphaned | Use::Forgotten | Use::Free => Arrival::Discarded,
        }
    }

    /// Matches a completion with bad data: the read has failed, and what of its answer is still to come is
    /// dropped.
    pub(crate) fn spoil(&mut self, completion: &Completion) -> Arrival {
        match self.complete(completion) {
            Arrival::Data { owner, .. } => {
                let slot = &mut self.slots[usize::from(completion.tag.0)];
                if slot.left != 0 {
                    slot.in_use = Use::Orphaned;
                }
                Arrival::Failed { owner, missing: slot.left + completion.data.len() as u16 }
            }
            other => other,
        }
    }

    /// When the oldest unanswered read times out; the far future when none does.
    #[inline]
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Passes over the reads that were answered before those sent earlier.
    fn look_at_first(&mut self) {
        self.deadline = Instant::FAR_FUTURE;
        while let Some(&(sent, tag, generation)) = self.sent.front() {
            let slot = &self.slots[usize::from(tag)];
            if slot.in_use != Use::Free && slot.generation == generation {
                if let Some(timeout) = self.timeout {
                    self.deadline = sent + timeout;
                }
                break;
            }
            self.sent.pop_front();
        }
    }

    /// Gives up one read whose time has passed. PCIe 5.0 §2.8, "Completion Timeout Mechanism".
    pub(crate) fn take_timeout(&mut self, now: Instant) -> Option<Arrival> {
        if self.deadline > now {
            return None;
        }
        let &(_, tag, _) = self.sent.front()?;
        let slot = self.slots[usize::from(tag)];
        self.release(tag);
        Some(failed(slot.in_use, slot.left))
    }

    /// Nobody waits any more; the tags stay in use until their answers have come.
    pub(crate) fn orphan_all(&mut self) {
        for slot in &mut self.slots {
            if matches!(slot.in_use, Use::Taken(_)) {
                slot.in_use = Use::Orphaned;
            }
        }
    }

    /// The function has been reset: what is unanswered was never asked. The tags stay in use until their
    /// answers have come, or can come no more, so that none meets a new read.
    pub(crate) fn forget_all(&mut self) {
        for slot in &mut self.slots {
            if matches!(slot.in_use, Use::Taken(_) | Use::Orphaned) {
                slot.in_use = Use::Forgotten;
            }
        }
        self.forgotten = self.in_flight;
    }

    /// The link has been reset: no answer is on its way any more.
    pub(crate) fn free_all(&mut self) {
        self.forget_all();
        for tag in 0..TAGS {
            if self.slots[usize::from(tag)].in_use == Use::Forgotten {
                self.release(tag);
            }
        }
        self.sent.clear();
        self.look_at_first();
    }

    fn release(&mut self, tag: u16) {
        let slot = &mut self.slots[usize::from(tag)];
        self.forgotten -= usize::from(slot.in_use == Use::Forgotten);
        slot.in_use = Use::Free;
        self.in_flight -= 1;
        if self.sent.front().is_some_and(|&(_, first, _)| first == tag) {
            self.look_at_first();
        }
        if self.usable.contains(&tag) {
            self.free.push_back(tag);
        }
    }
}

/// The tags that may be used: of 10 bits only those that cannot be taken for shorter ones. PCIe 5.0
/// §2.2.6.2, "Transaction Descriptor – Transaction ID Field".
fn usable(bits: TagBits) -> Range<u16> {
    match bits {
        TagBits::Five => 0..32,
        TagBits::Eight => 0..256,
        TagBits::Ten => 256..TAGS,
    }
}

fn failed(in_use: Use, missing: u16) -> Arrival {
    match in_use {
        Use::Taken(owner) => Arrival::Failed { owner, missing },
        Use::Orphaned | Use::Forgotten | Use::Free => Arrival::Discarded,
    }
}
