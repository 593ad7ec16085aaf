//! The link between root port and card: data link layer, serialisation, propagation, flow control, order.
//!
//! ```text
//!   transaction layer   ordering table, credits
//!   data link layer     sequence numbers, Ack and Nak, replay, UpdateFC
//!   the wire            TLPs and DLLPs, one after the other in each direction
//! ```
//!
//! The link comes up trained. Everything takes the time that the protocol gives it, DLLPs included; TLPs
//! are kept for a replay, and LCRCs looked at, only where a [`faults::LinkFault`] can damage something.
//! Not modelled: the physical layer's own symbols (ordered sets, skips), training beyond its duration.

pub mod aside;
mod careful;
pub mod credits;
pub mod dllp;
pub mod faults;
mod lane;
pub mod limits;
pub mod ordering;
mod queue;
mod receiver;
mod ring;
pub mod sender;
pub mod timing;

use std::cell::Cell;

use self::aside::{Aside, LinkError, LinkEvent, Side};
use self::careful::Careful;
use self::credits::{Credits, ReceiverBuffers};
use self::dllp::DLLP_WIRE_BYTES;
use self::faults::{LinkFault, Upset};
use self::lane::Lane;
pub use self::queue::Choices;
use self::sender::Desk;
pub use self::timing::{Generation, LinkTiming, WireTimes};
use crate::endpoint::{Direction, Port, Tap};
use crate::time::{Instant, Span};
use crate::tlp::{FlowClass, Tlp};

/// How many TLPs the card's transmitter holds before it says no.
const TRANSMIT_ROOM: usize = 4;
/// TLPs without Ack after which a transmitter waits, whatever its buffer: half of the sequence numbers.
const SEQUENCE_ROOM: u64 = 2047;

/// In which order the root complex returns completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompletionOrder {
    /// As memory has them.
    #[default]
    AsReady,
    /// In the order of the requests.
    InOrder,
    /// In an order drawn by this seed.
    Drawn(u64),
    /// The youngest of those under way first: the worst case.
    Reversed,
}

/// What a scenario can choose about the data link layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataLinkConfig {
    /// Max_Payload_Size that both sides reckon with, in bytes.
    pub max_payload_bytes: u16,
    /// How long a TLP may stay without Ack; the specification's limit when `None`.
    pub ack_latency: Option<Span>,
    /// How long a transmitter waits for an Ack; the specification's limit when `None`. Never shorter than
    /// an Ack takes on this link.
    pub replay_timer: Option<Span>,
    /// Bytes of TLPs, framing included, that may be without Ack.
    pub replay_buffer_bytes: u32,
    /// How long the link is in Recovery when it is retrained.
    pub retrain: Span,
}

impl Default for DataLinkConfig {
    /// The specification's timers; a replay buffer that never holds up a link of 125 ns; a retrain of
    /// 10 µs (assumed).
    fn default() -> Self {
        Self {
            max_payload_bytes: 256,
            ack_latency: None,
            replay_timer: None,
            replay_buffer_bytes: 64 << 10,
            retrain: Span::from_us(10),
        }
    }
}

/// Everything about a link that a scenario can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// Speed and length.
    pub timing: LinkTiming,
    /// What the card can hold of what comes down.
    pub card_buffers: ReceiverBuffers,
    /// What the root port can hold of what comes up.
    pub root_buffers: ReceiverBuffers,
    /// Acknowledgement and replay.
    pub data_link: DataLinkConfig,
    /// What both transmitters do where the ordering rules leave a choice.
    pub choices: Choices,
    /// In which order the root complex answers.
    pub completion_order: CompletionOrder,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            timing: LinkTiming {
                generation: Generation::Gen3,
                lanes: 8,
                propagation: Span::from_ns(125),
                credit_return: Span::from_ns(200),
            },
            card_buffers: ReceiverBuffers::default(),
            root_buffers: ReceiverBuffers::default(),
            data_link: DataLinkConfig::default(),
            choices: Choices::default(),
            completion_order: CompletionOrder::default(),
        }
    }
}

/// The times that both directions keep, worked out once.
#[derive(Debug)]
struct Pace {
    timing: LinkTiming,
    on_wire: WireTimes,
    /// One DLLP on the wire.
    dllp: Span,
    ack_latency: Span,
    update: Span,
    replay_timer: Span,
    retrain: Span,
    /// Data credits of the largest TLP.
    largest_data: u32,
    replay_bytes: u64,
    replay_tlps: u64,
}

impl Pace {
    fn new(config: &LinkConfig) -> Self {
        let (timing, data_link) = (config.timing, config.data_link);
        let mps = data_link.max_payload_bytes;
        let dllp = timing.serialisation(DLLP_WIRE_BYTES);
        let ack_latency =
            data_link.ack_latency.unwrap_or_else(|| limits::ack_latency(&timing, mps));
        let wanted = data_link.replay_timer.unwrap_or_else(|| limits::replay_timer(&timing));
        // A TLP, its way, the latency, a TLP that holds up the Ack, and the Ack's way.
        let largest = timing.serialisation(u32::from(mps) + 28);
        let longest = (timing.propagation + largest + dllp) * 2 + ack_latency;
        Self {
            on_wire: WireTimes::new(&timing),
            timing,
            dllp,
            ack_latency,
            update: timing.credit_return,
            replay_timer: wanted.max(longest),
            retrain: data_link.retrain,
            largest_data: u32::from(mps) / 16,
            replay_bytes: u64::from(data_link.replay_buffer_bytes),
            replay_tlps: SEQUENCE_ROOM,
        }
    }
}

/// The link, both directions.
#[derive(Debug)]
pub struct Link {
    pace: Pace,
    buffers: [ReceiverBuffers; 2],
    down: Lane,
    up: Lane,
    card_refused: Cell<bool>,
    aside: Aside,
    desk: Desk,
    /// Something can go wrong: in the data link layer, or with a sender.
    faulty: bool,
    is_up: bool,
    lost: u64,
}

/// What the owner of the schedule must enter after [`Link::pump`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pumped {
    /// The next TLP on the wire arrives then.
    pub arrives: Option<Instant>,
    /// Call again then.
    pub again: Option<Instant>,
    /// The card was told "no" and may try again now.
    pub card_may_retry: bool,
}

impl Link {
    /// A trained, idle link.
    #[must_use]
    pub fn new(config: &LinkConfig) -> Self {
        let up_choices = match config.choices {
            Choices::Keep => Choices::Keep,
            Choices::Draw(seed) => Choices::Draw(!seed),
        };
        // Completions whose order is drawn are also mixed part by part.
        let down_choices = match (config.choices, config.completion_order) {
            (Choices::Keep, CompletionOrder::Drawn(seed)) => Choices::Draw(seed),
            (choices, _) => choices,
        };
        Self {
            pace: Pace::new(config),
            buffers: [config.card_buffers, config.root_buffers],
            down: Lane::new(Direction::Downstream, &config.card_buffers, down_choices),
            up: Lane::new(Direction::Upstream, &config.root_buffers, up_choices),
            card_refused: Cell::new(false),
            aside: Aside::default(),
            desk: Desk::default(),
            faulty: false,
            is_up: true,
            lost: 0,
        }
    }

    /// Installs what goes wrong. From now on every TLP is kept until it is acknowledged; of what is on
    /// the wire already nothing is lost.
    pub fn set_fault(&mut self, fault: Box<dyn LinkFault>) {
        self.aside.fault = Some(fault);
        self.faulty = true;
        for lane in [&mut self.down, &mut self.up] {
            let sequence = lane.sequence;
            lane.careful.get_or_insert_with(|| Box::new(Careful::new(sequence)));
        }
    }

    /// Hands a TLP to the transmitter of one side. While the link is down it is dropped.
    #[inline(always)]
    pub fn submit(&mut self, direction: Direction, tlp: Tlp) {
        if self.is_up {
            self.lane(direction).row.submit(tlp);
        } else {
            self.lost += 1;
        }
    }

    /// TLPs that wait to be sent in one direction.
    #[must_use]
    #[inline]
    pub fn queued(&self, direction: Direction) -> usize {
        match direction {
            Direction::Downstream => self.down.row.queued(),
            Direction::Upstream => self.up.row.queued(),
        }
    }

    /// Whether [`Link::pump`] would do anything: there is something to send, the card was refused, or
    /// something can go wrong.
    #[must_use]
    #[inline]
    pub fn waits(&self, direction: Direction) -> bool {
        let refused = direction == Direction::Upstream && self.card_refused.get();
        refused || self.queued(direction) > 0 || self.faulty
    }

    /// The credits that the sender of one direction has left.
    #[must_use]
    pub fn credits(&self, direction: Direction) -> &ReceiverBuffers {
        match direction {
            Direction::Downstream => self.down.credits(),
            Direction::Upstream => self.up.credits(),
        }
    }

    /// Whether the link carries anything.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// TLPs that went down with the link, or were handed to it while it was down.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether there is anything for [`Link::take_events`].
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.aside.events.is_empty()
    }

    /// What the two ends have found since this was last asked.
    pub fn take_events(&mut self) -> Vec<LinkEvent> {
        std::mem::take(&mut self.aside.events)
    }

    /// When [`Link::pump`] is to be called again, where a call now would come to nothing: the wire is busy,
    /// nobody wants to know of credits and DLLPs, nothing goes wrong. What the data link layer does meanwhile is
    /// done when next somebody looks.
    #[must_use]
    #[inline]
    pub fn busy<T: Tap + ?Sized>(
        &self,
        direction: Direction,
        now: Instant,
        tap: &T,
    ) -> Option<Instant> {
        let (lane, other) = match direction {
            Direction::Downstream => (&self.down, &self.up),
            Direction::Upstream => (&self.up, &self.down),
        };
        let asked = direction == Direction::Upstream && self.card_refused.get();
        let fails = self.faulty || !self.is_up || self.has_events();
        if lane.busy_until <= now || lane.row.queued() == 0 || asked || fails {
            return None;
        }
        let watched = tap.watches_credits() || tap.watches_data_link();
        (!watched).then(|| lane.next_free(other.receiver.first(), &self.pace))
    }

    /// Sends what can be sent in one direction.
    #[inline]
    pub fn pump<T: Tap + ?Sized>(
        &mut self,
        direction: Direction,
        now: Instant,
        tap: &mut T,
    ) -> Pumped {
        self.aside.watched = tap.watches_data_link();
        self.exchange(now);
        if self.faulty {
            self.release(direction, now);
            self.upset(now);
        }
        if !self.is_up {
            return Pumped { arrives: None, again: None, card_may_retry: false };
        }
        let Self { pace, aside, down, up, card_refused, .. } = self;
        let (lane, other) = match direction {
            Direction::Downstream => (down, up),
            Direction::Upstream => (up, down),
        };
        let settled = lane.settle(now, pace, aside);
        if !aside.dllps.is_empty() {
            aside.show_dllps(tap);
        }
        if lane.careful.is_some() {
            check_on(lane, other, now, pace, aside);
        }
        let started = lane.start(now, pace, tap, aside);
        lane.tell_credits(now, tap);
        let arrives = lane.next_arrival();
        let mut again = lane.next_start(now, other.busy_until, other.receiver.first(), pace);
        let mut card_may_retry = false;
        if direction == Direction::Upstream && card_refused.get() {
            // Only a change is a reason to ask again, else the two would ask each other forever.
            card_may_retry = settled || started;
            let credit = lane.next_dllp(other.busy_until, pace);
            again = again.min(credit).or(again).or(credit);
            card_refused.set(!card_may_retry);
        }
        if self.faulty {
            again = self.again_for_faults(direction, now, again);
        }
        Pumped { arrives, again, card_may_retry }
    }

    /// When a fault wants [`Link::pump`] to be called, if that is before `again`.
    #[cold]
    fn again_for_faults(
        &self,
        direction: Direction,
        now: Instant,
        mut again: Option<Instant>,
    ) -> Option<Instant> {
        if let Some(late) = self.desk.next(direction) {
            again = Some(again.map_or(late, |again| again.min(late)));
        }
        if let Some((at, _)) = self.aside.fault.as_ref().and_then(|fault| fault.upset()) {
            again = Some(again.map_or(at, |again| again.min(at)).max(now));
        }
        again
    }

    /// A TLP's last symbol has arrived; when the next one's does.
    #[inline(always)]
    pub fn land(&mut self, direction: Direction, now: Instant) -> Option<Instant> {
        self.exchange(now);
        let Self { pace, aside, down, up, .. } = self;
        let lane = match direction {
            Direction::Downstream => down,
            Direction::Upstream => up,
        };
        lane.land(now, pace, aside);
        lane.next_arrival()
    }

    /// Whether there is a TLP in the receive buffer of one direction.
    #[must_use]
    #[inline]
    pub fn has_landed(&self, direction: Direction) -> bool {
        match direction {
            Direction::Downstream => self.down.row.has_landed(),
            Direction::Upstream => self.up.row.has_landed(),
        }
    }

    /// The next TLP in the root port's receive buffer.
    #[inline]
    pub fn first_at_root(&mut self) -> Option<&mut Tlp> {
        self.up.row.first_landed()
    }

    /// The root port is done with the next TLP in its receive buffer.
    #[inline]
    pub fn drop_at_root(&mut self, now: Instant) {
        self.exchange(now);
        self.up.drop_landed(now, &self.pace);
    }

    /// The root port takes the next TLP out of its receive buffer.
    #[inline]
    pub fn take_at_root(&mut self, now: Instant) -> Option<Tlp> {
        self.exchange(now);
        self.up.take(now, &self.pace)
    }

    /// The card's end of the link, for one turn of the card.
    #[inline]
    pub fn card_port(&mut self, now: Instant) -> CardPort<'_> {
        self.exchange(now);
        self.up.settle(now, &self.pace, &mut self.aside);
        CardPort { link: self, now }
    }

    /// The link goes through Recovery: neither direction sends anything until it is over.
    pub fn retrain(&mut self, now: Instant) {
        retrain([&mut self.down, &mut self.up], now, &self.pace, &mut self.aside);
    }

    /// The link is gone: everything in flight with it, and both ends are told. What has arrived can still
    /// be taken.
    pub fn surprise_down(&mut self, now: Instant) {
        self.exchange(now);
        self.is_up = false;
        let [card, root] = self.buffers;
        self.lost += (self.down.lose_all(&card) + self.up.lose_all(&root)) as u64;
        for side in [Side::Root, Side::Card] {
            self.aside.note(LinkEvent { at: now, side, error: LinkError::SurpriseDown });
        }
    }

    /// The link is trained again after it was down: sequence numbers and credits begin anew.
    pub fn bring_up(&mut self, now: Instant) {
        let [card, root] = self.buffers;
        self.down.lose_all(&card);
        self.up.lose_all(&root);
        for lane in [&mut self.down, &mut self.up] {
            lane.busy_until = lane.busy_until.max(now);
        }
        self.is_up = true;
    }

    /// Lets all DLLPs leave that would have left by `now`.
    #[inline(always)]
    fn exchange(&mut self, now: Instant) {
        if self.down.receiver.first() <= now {
            self.down.send_dllps(&mut self.up, now, &self.pace, &mut self.aside);
        }
        if self.up.receiver.first() <= now {
            self.up.send_dllps(&mut self.down, now, &self.pace, &mut self.aside);
        }
    }

    /// What befalls the link as a whole by `now`.
    #[cold]
    fn upset(&mut self, now: Instant) {
        let due = |fault: &dyn LinkFault| fault.upset().filter(|(at, _)| *at <= now);
        while let Some((_, upset)) = self.aside.fault.as_deref().and_then(due) {
            if let Some(fault) = &mut self.aside.fault {
                fault.upset_done();
            }
            match upset {
                Upset::Retrain => self.retrain(now),
                Upset::SurpriseDown => self.surprise_down(now),
            }
        }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Downstream => &mut self.down,
            Direction::Upstream => &mut self.up,
        }
    }
}

/// The replay timer of a direction on which anything can go wrong.
#[cold]
fn check_on(lane: &mut Lane, other: &mut Lane, now: Instant, pace: &Pace, aside: &mut Aside) {
    let direction = lane.direction;
    let Some(careful) = &mut lane.careful else { return };
    careful.ring(now, direction, aside);
    if careful.take_retrain() {
        retrain([lane, other], now, pace, aside);
    }
}

fn retrain(lanes: [&mut Lane; 2], now: Instant, pace: &Pace, aside: &mut Aside) {
    for lane in lanes {
        lane.busy_until = lane.busy_until.max(now) + pace.retrain;
        if let Some(careful) = &mut lane.careful {
            careful.hold(pace.retrain);
        }
    }
    for side in [Side::Root, Side::Card] {
        aside.note(LinkEvent { at: now + pace.retrain, side, error: LinkError::Retrained });
    }
}

/// The card's end of a [`Link`].
#[derive(Debug)]
pub struct CardPort<'a> {
    link: &'a mut Link,
    now: Instant,
}

impl Port for CardPort<'_> {
    #[inline]
    fn receive(&mut self) -> Option<Tlp> {
        if !self.link.has_landed(Direction::Downstream) {
            return None;
        }
        self.link.down.take(self.now, &self.link.pace)
    }

    fn can_send(&self, class: FlowClass, data_credits: u32) -> bool {
        let yes = self.link.is_up
            && self.link.up.row.queued() < TRANSMIT_ROOM
            && self.link.up.credits().of(class).allow(data_credits);
        if !yes {
            self.link.card_refused.set(true);
        }
        yes
    }

    fn send(&mut self, tlp: Tlp) {
        self.link.hand_over(self.now, Direction::Upstream, tlp);
    }

    #[inline]
    fn take(&mut self) -> Option<Tlp> {
        if !self.link.has_landed(Direction::Downstream) {
            return None;
        }
        self.link.down.row.take()
    }

    fn give_back(&mut self, class: FlowClass, data_credits: u32) {
        let Link { down, pace, .. } = &mut *self.link;
        down.receiver.free(self.now, class, data_credits, pace);
    }

    #[inline]
    fn credits(&self, class: FlowClass) -> Credits {
        if !self.link.is_up {
            return Credits::NONE;
        }
        let Credits { headers, data } = self.link.up.credits().of(class);
        let waiting = self.link.up.row.claims(class);
        // What is infinite stays so.
        let left = |all: u32, claimed: u32| {
            if all == u32::MAX { all } else { all.saturating_sub(claimed) }
        };
        Credits { headers: left(headers, waiting.headers), data: left(data, waiting.data) }
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.link.is_up && self.link.up.row.queued() < TRANSMIT_ROOM
    }
}

#[cfg(test)]
mod tests;
