//! Reads that are unanswered: one slot per tag, found by its number, never searched.

use std::collections::VecDeque;

use pcie_sim::time::Instant;
use pcie_sim::tlp::{Completion, CompletionStatus, Tag};

use super::Owner;

/// Tags that a 5-bit tag field allows.
const SHORT_TAGS: u16 = 32;
/// Tags that an 8-bit tag field allows.
const LONG_TAGS: u16 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Free,
    /// Bytes go to the owner, from this place in its buffer on.
    Taken(Owner),
    /// Whoever asked is gone: the answer is dropped when it comes.
    Orphaned,
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
    deadlines: VecDeque<(Instant, u16, u32)>,
    in_flight_max: usize,
    usable: u16,
    in_flight: usize,
}

impl Tags {
    /// No read unanswered; at most `in_flight_max` at a time.
    pub(crate) fn new(in_flight_max: u16) -> Self {
        let idle = Slot { in_use: Use::Free, at: 0, left: 0, generation: 0 };
        Self {
            slots: vec![idle; usize::from(LONG_TAGS)],
            free: (0..LONG_TAGS).collect(),
            deadlines: VecDeque::new(),
            in_flight_max: usize::from(in_flight_max),
            usable: LONG_TAGS,
            in_flight: 0,
        }
    }

    /// Keeps to tags of 5 bits, or of 8.
    pub(crate) fn set_extended(&mut self, extended: bool) {
        let usable = if extended { LONG_TAGS } else { SHORT_TAGS };
        if usable != self.usable {
            self.usable = usable;
            let slots = &self.slots;
            let idle = |tag: &u16| slots[usize::from(*tag)].in_use == Use::Free;
            self.free = (0..usable).filter(idle).collect();
        }
    }

    /// Reads that are unanswered.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether another read may go.
    pub(crate) fn available(&self) -> bool {
        self.in_flight < self.in_flight_max && !self.free.is_empty()
    }

    /// Takes a tag for `len` bytes that go to `at` in the owner's buffer. Tags are used in turn, so
    /// that an answer that comes too late meets a free tag rather than a new read.
    pub(crate) fn take(&mut self, owner: Owner, at: u32, len: u16, deadline: Instant) -> Tag {
        let tag = self.free.pop_front().unwrap_or_default();
        let slot = &mut self.slots[usize::from(tag)];
        let generation = slot.generation.wrapping_add(1);
        *slot = Slot { in_use: Use::Taken(owner), at, left: len, generation };
        self.deadlines.push_back((deadline, tag, generation));
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
            Use::Orphaned | Use::Free => Arrival::Discarded,
        }
    }

    /// When the oldest unanswered read times out.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some(&(deadline, tag, generation)) = self.deadlines.front() {
            let slot = &self.slots[usize::from(tag)];
            if slot.in_use != Use::Free && slot.generation == generation {
                return Some(deadline);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// Gives up one read whose time has passed. PCIe 5.0 §2.8, "Completion Timeout Mechanism".
    pub(crate) fn take_timeout(&mut self, now: Instant) -> Option<Arrival> {
        // The oldest deadline is the earliest, whether or not its read is still unanswered.
        if self.deadlines.front()?.0 > now || self.next_deadline()? > now {
            return None;
        }
        let (_, tag, _) = self.deadlines.pop_front()?;
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

    fn release(&mut self, tag: u16) {
        self.slots[usize::from(tag)].in_use = Use::Free;
        self.in_flight -= 1;
        if tag < self.usable {
            self.free.push_back(tag);
        }
    }
}

fn failed(in_use: Use, missing: u16) -> Arrival {
    match in_use {
        Use::Taken(owner) => Arrival::Failed { owner, missing },
        Use::Orphaned | Use::Free => Arrival::Discarded,
    }
}
