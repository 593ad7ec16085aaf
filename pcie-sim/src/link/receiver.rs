//! The receiving end of one direction: what it has accepted, what it has freed, and which DLLPs it owes
//! the sender, each with the time at which it is due.
//!
//! An Ack is due when the acknowledgement timer of the oldest TLP runs out and covers all that have come
//! by then. An UpdateFC is due after the time in which a receiver gathers freed credits; at once when
//! the sender has none left, or when a good part of the buffer has been freed.

use super::Pace;
use super::credits::{Credits, ReceiverBuffers};
use super::dllp::Dllp;
use super::queue::CLASSES;
use crate::time::Instant;
use crate::tlp::FlowClass;

/// Whose turn a DLLP is: acknowledgements, and updates of three classes.
const SLOTS: usize = 4;
const ACKNOWLEDGE: usize = 0;

/// Credits of one class as the receiver counts them, since the link came up.
#[derive(Debug, Clone, Copy)]
struct Account {
    capacity: Credits,
    /// The sender may have sent so much once it knows of all that is free.
    granted: Credits,
    /// The sender was told it may have sent so much.
    told: Credits,
    /// The sender has sent so much.
    received: Credits,
}

/// The receiving end of one direction.
#[derive(Debug)]
pub(super) struct Receiver {
    /// TLPs accepted; the low 12 bits are NEXT_RCV_SEQ.
    accepted: u64,
    accepted_bytes: u64,
    accounts: [Account; 3],
    due: [Instant; SLOTS],
    /// Nothing is sent before this; at the latest the earliest of `due`.
    first: Instant,
    nak: bool,
    nak_scheduled: bool,
}

/// A DLLP, with what it stands for written out in full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    pub(super) dllp: Dllp,
    /// TLPs that an acknowledgement covers, since the link came up.
    pub(super) accepted: u64,
    pub(super) accepted_bytes: u64,
}

impl Receiver {
    pub(super) fn new(buffers: &ReceiverBuffers) -> Self {
        let account = |class| {
            let capacity = buffers.of(class);
            let received = Credits { headers: 0, data: 0 };
            Account { capacity, granted: capacity, told: capacity, received }
        };
        Self {
            accepted: 0,
            accepted_bytes: 0,
            accounts: CLASSES.map(account),
            due: [Instant::FAR_FUTURE; SLOTS],
            first: Instant::FAR_FUTURE,
            nak: false,
            nak_scheduled: false,
        }
    }

    /// No DLLP leaves before this.
    #[inline]
    pub(super) fn first(&self) -> Instant {
        self.first
    }

    /// The sequence number of the TLP that is to come next.
    pub(super) fn expects(&self) -> u16 {
        (self.accepted & 0xfff) as u16
    }

    /// The next TLP in sequence has come whole.
    #[inline(always)]
    pub(super) fn accept(&mut self, now: Instant, wire_bytes: u32, pace: &Pace) {
        self.accepted += 1;
        self.accepted_bytes += u64::from(wire_bytes);
        self.nak_scheduled = false;
        if self.due[ACKNOWLEDGE] == Instant::FAR_FUTURE {
            self.owe(ACKNOWLEDGE, now + pace.ack_latency);
        }
    }

    /// A TLP takes room in the buffer; `false` when there is none, which its sender should have known.
    #[inline(always)]
    pub(super) fn store(&mut self, class: FlowClass, data_credits: u32) -> bool {
        let account = &mut self.accounts[class as usize];
        if account.capacity.is_infinite() {
            return true;
        }
        let headers = account.received.headers.wrapping_add(1);
        let data = account.received.data.wrapping_add(data_credits);
        let over = |granted: u32, received: u32| granted.wrapping_sub(received) > u32::MAX / 2;
        if over(account.granted.headers, headers) || over(account.granted.data, data) {
            return false;
        }
        account.received = Credits { headers, data };
        true
    }

    /// A TLP has left the buffer; its credits are to be returned.
    #[inline]
    pub(super) fn free(&mut self, now: Instant, class: FlowClass, data_credits: u32, pace: &Pace) {
        let slot = class as usize;
        let account = &mut self.accounts[slot];
        if account.capacity.is_infinite() {
            return;
        }
        account.granted.headers = account.granted.headers.wrapping_add(1);
        account.granted.data = account.granted.data.wrapping_add(data_credits);
        let due = if account.urgent(class, pace) { now } else { now + pace.update };
        if due < self.due[slot + 1] {
            self.owe(slot + 1, due);
        }
    }

    /// A TLP came damaged or out of turn: a Nak, unless one is on its way already.
    pub(super) fn reject(&mut self, now: Instant) {
        if !self.nak_scheduled {
            self.nak_scheduled = true;
            self.nak = true;
            self.owe(ACKNOWLEDGE, now);
        }
    }

    /// A TLP came again: its sender has not seen the Ack.
    pub(super) fn repeat_ack(&mut self, now: Instant) {
        self.owe(ACKNOWLEDGE, now.min(self.due[ACKNOWLEDGE]));
    }

    /// The credits of a class are told again at that time, even when nothing has changed.
    pub(super) fn remind(&mut self, class: FlowClass, at: Instant) {
        let slot = class as usize + 1;
        self.owe(slot, at.min(self.due[slot]));
    }

    /// The DLLP that the wire, free at `free`, carries by `now`: when it starts, and what it says.
    pub(super) fn send(&mut self, free: Instant, now: Instant) -> Option<(Instant, Owed)> {
        let (mut slot, mut due) = (0, self.due[0]);
        for (other, &at) in self.due.iter().enumerate().skip(1) {
            if at < due {
                (slot, due) = (other, at);
            }
        }
        let starts = due.max(free);
        if starts > now || due == Instant::FAR_FUTURE {
            self.first = starts;
            return None;
        }
        self.due[slot] = Instant::FAR_FUTURE;
        Some((starts, self.write(slot)))
    }

    fn write(&mut self, slot: usize) -> Owed {
        let dllp = if slot == ACKNOWLEDGE {
            let last = (self.accepted.wrapping_sub(1) & 0xfff) as u16;
            if std::mem::take(&mut self.nak) { Dllp::Nak(last) } else { Dllp::Ack(last) }
        } else {
            let class = CLASSES[slot - 1];
            let account = &mut self.accounts[slot - 1];
            account.told = account.granted;
            let Credits { headers, data } = account.told;
            Dllp::UpdateFc { class, headers, data }
        };
        Owed { dllp, accepted: self.accepted, accepted_bytes: self.accepted_bytes }
    }

    fn owe(&mut self, slot: usize, at: Instant) {
        self.due[slot] = at;
        self.first = self.first.min(at);
    }
}

impl Owed {
    /// An UpdateFC says more or less than is true.
    pub(super) fn falsify(&mut self, more_headers: i32, more_data: i32) {
        if let Dllp::UpdateFc { headers, data, .. } = &mut self.dllp {
            *headers = headers.wrapping_add_signed(more_headers);
            *data = data.wrapping_add_signed(more_data);
        }
    }
}

impl Account {
    /// Whether the sender waits for this, or may soon. PCIe 5.0 §2.6.1.2, "FC Information Tracked by
    /// Receiver": at once when the sender has no header left, or no data for the largest TLP.
    fn urgent(&self, class: FlowClass, pace: &Pace) -> bool {
        let largest = if class == FlowClass::NonPosted { 1 } else { pace.largest_data };
        let headers_left = self.told.headers.wrapping_sub(self.received.headers);
        let data_left = self.told.data.wrapping_sub(self.received.data);
        if headers_left == 0 || data_left < largest {
            return true;
        }
        let headers = self.granted.headers.wrapping_sub(self.told.headers);
        let data = self.granted.data.wrapping_sub(self.told.data);
        headers > self.capacity.headers / 2 || data > self.capacity.data / 2
    }
}
