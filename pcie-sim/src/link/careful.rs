//! What a direction does where packets can be damaged or lost: the replay buffer with its TLPs, the
//! replay timer, the count of replays, and the receiver's checks.
//!
//! PCIe 5.0 §3.6.2, "LCRC, Sequence Number, and Retry Management". On a link on which nothing goes wrong
//! no TLP is ever sent again, and none of this exists.

use std::collections::VecDeque;

use super::Pace;
use super::aside::{Aside, LinkError, Outcome, Transmission};
use super::faults::TlpFault;
use super::lane::Lane;
use super::queue::Flight;
use crate::endpoint::{Direction, Sighting, Tap};
use crate::time::{Instant, Span};
use crate::tlp::{FlowClass, Tlp};

/// Replays without progress after which the link is retrained: REPLAY_NUM counts to 3 and rolls over.
const ROUNDS: u8 = 4;
/// Half of the sequence numbers: a number up to so far back has been seen before.
const SEEN_BEFORE: u16 = 2048;

/// The retry state of one direction.
#[derive(Debug)]
pub(super) struct Careful {
    /// TLPs without Ack, oldest first.
    buffer: VecDeque<Kept>,
    /// The next of them to be sent again, while a replay goes on.
    resend: Option<usize>,
    timer: Option<Instant>,
    rounds: u8,
    /// TLPs that the receiver will have accepted when all that is on the wire has arrived.
    expects: u64,
    retrain: bool,
}

#[derive(Debug, Clone)]
struct Kept {
    sequence: u64,
    data_credits: u32,
    wire_bytes: u32,
    class: FlowClass,
    tlp: Tlp,
}

impl Careful {
    /// Of a direction on which `sequence` TLPs have been sent.
    pub(super) fn new(sequence: u64) -> Self {
        Self {
            buffer: VecDeque::new(),
            resend: None,
            timer: None,
            rounds: 0,
            expects: sequence,
            retrain: false,
        }
    }

    pub(super) fn kept(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn resends(&self) -> bool {
        self.resend.is_some()
    }

    /// When the replay timer runs out.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timer
    }

    /// Whether too many replays have come to nothing since this was last asked.
    pub(super) fn take_retrain(&mut self) -> bool {
        std::mem::take(&mut self.retrain)
    }

    /// The replay timer stands still while the link is trained.
    pub(super) fn hold(&mut self, span: Span) {
        self.timer = self.timer.map(|at| at + span);
    }

    /// All before `acked` have arrived.
    pub(super) fn acknowledge(&mut self, now: Instant, acked: u64, progress: bool, pace: &Pace) {
        while self.buffer.front().is_some_and(|kept| kept.sequence < acked) {
            self.buffer.pop_front();
            self.resend = self.resend.map(|at| at.saturating_sub(1));
        }
        if progress {
            self.rounds = 0;
            self.timer = self.timer.map(|_| now + pace.replay_timer);
        }
        if self.buffer.is_empty() {
            (self.timer, self.resend) = (None, None);
        } else if self.resend.is_some_and(|at| at >= self.buffer.len()) {
            self.resend = None;
        }
    }

    /// Begins to send again what has no Ack.
    pub(super) fn replay(&mut self, now: Instant, direction: Direction, aside: &mut Aside) {
        self.timer = None;
        if self.buffer.is_empty() {
            return;
        }
        self.resend = Some(0);
        self.rounds += 1;
        if self.rounds == ROUNDS {
            self.rounds = 0;
            self.retrain = true;
            aside.sender_found(now, direction, LinkError::ReplayRollover);
        }
    }

    /// The replay timer has run out, if it has.
    pub(super) fn ring(&mut self, now: Instant, direction: Direction, aside: &mut Aside) {
        if self.timer.is_some_and(|at| at <= now) {
            aside.sender_found(now, direction, LinkError::ReplayTimeout);
            self.replay(now, direction, aside);
        }
    }

    /// What becomes of a transmission, as the receiver will judge it.
    fn outcome(&mut self, sequence: u64, fault: TlpFault) -> Outcome {
        match fault {
            TlpFault::Corrupt => Outcome::Corrupted,
            TlpFault::Lose => Outcome::Lost,
            _ if sequence > self.expects => Outcome::OutOfSequence,
            _ if sequence < self.expects => Outcome::Duplicate,
            _ => {
                self.expects += 1;
                Outcome::Accepted
            }
        }
    }
}

impl Lane {
    /// Sends the next TLP of a replay, or else the next new one; whether it did.
    pub(super) fn start_careful<T: Tap + ?Sized>(
        &mut self,
        now: Instant,
        pace: &Pace,
        tap: &mut T,
        aside: &mut Aside,
    ) -> bool {
        let resend = self.careful.as_deref().and_then(|careful| careful.resend);
        let kept = match resend {
            Some(at) => self.careful.as_deref().and_then(|careful| careful.buffer.get(at)).cloned(),
            None => {
                let sequence = self.sequence;
                self.take_waiting(pace).map(|waiting| Kept {
                    sequence,
                    data_credits: waiting.data_credits,
                    wire_bytes: waiting.wire_bytes,
                    class: waiting.class,
                    tlp: waiting.tlp,
                })
            }
        };
        let (Some(kept), Some(careful)) = (kept, self.careful.as_deref_mut()) else {
            return false;
        };
        careful.timer = careful.timer.or(Some(now + pace.replay_timer));
        match resend {
            Some(at) => {
                careful.resend = Some(at + 1).filter(|&next| next < careful.buffer.len());
            }
            None => careful.buffer.push_back(kept.clone()),
        }
        self.transmit(now, kept, resend.is_some(), pace, tap, aside);
        true
    }

    fn transmit<T: Tap + ?Sized>(
        &mut self,
        now: Instant,
        kept: Kept,
        replay: bool,
        pace: &Pace,
        tap: &mut T,
        aside: &mut Aside,
    ) {
        let Some(careful) = self.careful.as_deref_mut() else { return };
        let sequence = (kept.sequence & 0xfff) as u16;
        let fault = match &mut aside.fault {
            Some(fault) => fault.tlp(now, self.direction, sequence, &kept.tlp, replay),
            None => TlpFault::None,
        };
        let times = if fault == TlpFault::Duplicate { 2 } else { 1 };
        for _ in 0..times {
            let departs = self.busy_until.max(now);
            self.busy_until = departs + pace.on_wire.of(kept.wire_bytes);
            let mut arrives = self.busy_until + pace.timing.propagation;
            if let TlpFault::Delay(span) = fault {
                arrives += span;
            }
            arrives = arrives.max(self.row.last_arrival().unwrap_or(arrives));
            let outcome = careful.outcome(kept.sequence, fault);
            let (direction, wire_bytes) = (self.direction, kept.wire_bytes);
            let tlp = &kept.tlp;
            let sighting = Sighting { direction, departs, arrives, wire_bytes, tlp };
            aside.show_transmission(tap, &Transmission { sighting, sequence, replay, outcome });
            if outcome != Outcome::Lost {
                self.row.launch(Flight {
                    arrives,
                    sequence,
                    intact: outcome != Outcome::Corrupted,
                    data_credits: kept.data_credits,
                    wire_bytes,
                    class: kept.class,
                    tlp: kept.tlp.clone(),
                });
            }
        }
        self.look_at_wire();
    }

    /// What the receiver thinks of the TLP that has just arrived; `false` when it is to be discarded.
    /// PCIe 5.0 §3.6.3.1, "LCRC and Sequence Number Rules (TLP Receiver)".
    pub(super) fn passes_checks(&mut self, now: Instant, aside: &mut Aside) -> bool {
        let Some(sent) = self.row.arriving() else { return false };
        let behind = self.receiver.expects().wrapping_sub(sent.sequence) & 0xfff;
        if sent.intact && behind == 0 {
            return true;
        }
        if sent.intact && behind <= SEEN_BEFORE {
            self.receiver.repeat_ack(now);
        } else {
            aside.receiver_found(now, self.direction, LinkError::BadTlp);
            self.receiver.reject(now);
        }
        false
    }
}
