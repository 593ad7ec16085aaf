//! Whether a card may interrupt, by what it has itself read of the driver's wishes. Virtio 1.4, "Used Buffer
//! Notification Suppression".
//!
//! It may read the word early, late, or several times for several used indices, so that every answer since the
//! last interrupt speaks for it that allows one; only when it has asked after the used index last moved, and all
//! answers since the last interrupt say no, it may not. A card that does not ask is not judged.

use std::ops::Range;

use pcie_sim::spec::virtq;
use pcie_sim::time::Instant;

/// What is known of one queue.
#[derive(Debug)]
pub(crate) struct Suppression {
    event_idx: bool,
    /// When the used index moved last.
    moved: Instant,
    /// Since the last interrupt: an answer allowed one; one that was asked for after the index moved did not.
    allowed: bool,
    denied: bool,
    /// The used index at the last interrupt, and at the one before: what was asked for between them may be
    /// answered after the later one.
    told: u16,
    told_before: u16,
}

impl Suppression {
    pub(crate) const fn new(event_idx: bool) -> Self {
        Self {
            event_idx,
            moved: Instant::ZERO,
            allowed: false,
            denied: false,
            told: 0,
            told_before: 0,
        }
    }

    /// Whether the event index was negotiated.
    pub(crate) const fn event_idx(&self) -> bool {
        self.event_idx
    }

    /// The used index moves.
    pub(crate) const fn moved(&mut self, at: Instant) {
        self.moved = at;
        self.denied = false;
    }

    /// The card has read these `bytes` of the available ring, with a read that left at `departed`.
    pub(crate) fn read(
        &mut self,
        avail: &[u8],
        bytes: Range<usize>,
        departed: Instant,
        used_idx: u16,
    ) {
        // `used_event` stands at the end of the area.
        let word = if self.event_idx { avail.len() - 2..avail.len() } else { 0..2 };
        if bytes.start > word.start || bytes.end < word.end {
            return;
        }
        let value = u16::from_le_bytes([avail[word.start], avail[word.start + 1]]);
        let wanted = if self.event_idx {
            virtq::need_event(value, used_idx, self.told_before)
        } else {
            value & virtq::AVAIL_F_NO_INTERRUPT == 0
        };
        self.allowed |= wanted;
        self.denied |= !wanted && departed >= self.moved;
    }

    /// An interrupt leaves the card: whether the event index rules, and whether it was not wanted; `None` when
    /// that cannot be told.
    pub(crate) const fn interrupt(&mut self, used_idx: u16) -> Option<(bool, bool)> {
        let known = self.allowed || self.denied;
        let suppressed = !self.allowed;
        self.allowed = false;
        self.denied = false;
        self.told_before = self.told;
        self.told = used_idx;
        if known { Some((self.event_idx, suppressed)) } else { None }
    }
}
