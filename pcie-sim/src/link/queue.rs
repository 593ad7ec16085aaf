//! The TLPs of one direction in one row, and which of those that wait goes next: the ordering table at work.
//!
//! ```text
//!   oldest  [ receive buffer | on the wire | waiting ]  youngest
//!                          landed        sent
//! ```
//!
//! A TLP is put into the row once and taken out once: to send it and to land it moves a border. Credits of
//! one class never hold up another. Where the table says "may", a transmitter that keeps to the order of
//! arrival does not, and one that draws lots lets the seed decide.

use super::credits::Credits;
use super::ordering::{Facts, Pass};
use super::ring::Ring;
use super::timing::FRAMING_BYTES;
use crate::address::Bdf;
use crate::host::seed::Sequence;
use crate::time::Instant;
use crate::tlp::{Attributes, FlowClass, Measures, MemRead, Tag, Tlp};

/// The classes in the order of [`FlowClass`].
pub(super) const CLASSES: [FlowClass; 3] =
    [FlowClass::Posted, FlowClass::NonPosted, FlowClass::Completion];

/// How many TLPs of each class a transmitter looks at that draws lots.
const WINDOW: usize = 16;

/// What a transmitter does where the table of ordering rules says "may".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choices {
    /// It keeps the order in which TLPs were handed to it, unless one has no credits.
    #[default]
    Keep,
    /// It sends any TLP that may go, drawn by this seed.
    Draw(u64),
}

/// What lies in a place whose TLP was taken.
const GONE: Tlp = Tlp::MemRead(MemRead {
    requester: Bdf::new(0, 0, 0),
    tag: Tag(0),
    address: 0,
    len_bytes: 0,
    attributes: Attributes {
        relaxed_ordering: false,
        id_based_ordering: false,
        no_snoop: false,
        traffic_class: 0,
    },
});

fn owns_memory(tlp: &Tlp) -> bool {
    match tlp {
        Tlp::MemRead(_) | Tlp::ConfigRead(_) | Tlp::IoRead(_) => false,
        Tlp::MemWrite(write) => write.data.spilled(),
        Tlp::Completion(completion) => completion.data.spilled(),
        _ => true,
    }
}

/// A TLP between its sender's transaction layer and its receiver's.
#[derive(Debug)]
pub(super) struct Flight {
    /// When its last symbol is there, once it has left.
    pub(super) arrives: Instant,
    pub(super) data_credits: u32,
    pub(super) wire_bytes: u32,
    /// Once it has left.
    pub(super) sequence: u16,
    pub(super) class: FlowClass,
    /// It can be told to be whole.
    pub(super) intact: bool,
    pub(super) tlp: Tlp,
}

/// What a TLP that waits finds ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It may go.
    Goes,
    /// The receiver has no credits for it: others may pass, as the ordering rules say.
    NoCredits,
    /// The replay buffer has no room for it. It is next, and is not passed by smaller ones for that: they
    /// would keep the room from it for ever.
    NotKept,
}

/// All TLPs of one direction. See the module.
#[derive(Debug)]
pub(super) struct Row {
    row: Ring<Flight>,
    landed: usize,
    sent: usize,
    /// How many wait, class by class.
    waiting: [usize; 3],
    lots: Option<Sequence>,
}

impl Row {
    pub(super) fn new(choices: Choices) -> Self {
        let lots = match choices {
            Choices::Keep => None,
            Choices::Draw(seed) => Some(Sequence::new(seed)),
        };
        Self { row: Ring::new(), landed: 0, sent: 0, waiting: [0; 3], lots }
    }

    /// Puts a TLP behind those that wait.
    #[inline(always)]
    pub(super) fn submit(&mut self, tlp: Tlp) {
        let Measures { class, data_dwords, len_bytes } = tlp.measures();
        let (data_credits, wire_bytes) = (data_dwords.div_ceil(4), len_bytes + FRAMING_BYTES);
        self.waiting[class as usize] += 1;
        let (arrives, sequence, intact) = (Instant::FAR_FUTURE, 0, true);
        let Some(flight) = self.row.reuse() else {
            let new = Flight { arrives, data_credits, wire_bytes, sequence, class, intact, tlp };
            return self.row.push_new(new);
        };
        flight.arrives = arrives;
        flight.data_credits = data_credits;
        flight.wire_bytes = wire_bytes;
        flight.sequence = sequence;
        flight.class = class;
        flight.intact = intact;
        // What was left there has nothing to be freed, see `vacate`: this saves the question.
        std::mem::forget(std::mem::replace(&mut flight.tlp, tlp));
    }

    /// What is left in a place owns no memory.
    #[inline(always)]
    fn vacate(&mut self, index: usize) {
        if let Some(flight) = self.row.get_mut(index)
            && owns_memory(&flight.tlp)
        {
            flight.tlp = GONE;
        }
    }

    /// How many wait.
    #[inline(always)]
    pub(super) fn queued(&self) -> usize {
        self.row.len() - self.sent
    }

    /// The credits that those of a class take which wait.
    #[inline]
    pub(super) fn claims(&self, class: FlowClass) -> Credits {
        if self.waiting[class as usize] == 0 {
            return Credits::NONE;
        }
        let of_class = self.row.from(self.sent).filter(|flight| flight.class == class);
        of_class.fold(Credits::NONE, |sum, flight| Credits {
            headers: sum.headers + 1,
            data: sum.data.saturating_add(flight.data_credits),
        })
    }

    /// Whether there is one in the receive buffer.
    #[inline(always)]
    pub(super) fn has_landed(&self) -> bool {
        self.landed != 0
    }

    /// How many have left and are not in the receive buffer.
    #[inline(always)]
    pub(super) fn on_wire(&self) -> usize {
        self.sent - self.landed
    }

    /// Drops all but what is in the receive buffer.
    pub(super) fn clear(&mut self) {
        (self.landed..self.row.len()).for_each(|index| self.vacate(index));
        self.row.truncate(self.landed);
        self.sent = self.landed;
        self.waiting = [0; 3];
    }

    /// The first that waits leaves, or the one of them at `index`: it is on the wire now.
    #[inline(always)]
    pub(super) fn depart(&mut self, index: usize) -> Option<&mut Flight> {
        if index != 0 {
            self.row.shift(self.sent + index, self.sent);
        }
        let flight = self.row.get_mut(self.sent)?;
        self.sent += 1;
        self.waiting[flight.class as usize] -= 1;
        Some(flight)
    }

    /// The one of those that wait at `index` is taken out of the row.
    pub(super) fn withdraw(&mut self, index: usize) -> Option<Flight> {
        let flight = self.row.get_mut(self.sent + index)?;
        let tlp = std::mem::replace(&mut flight.tlp, GONE);
        let flight = Flight { tlp, ..*flight };
        self.waiting[flight.class as usize] -= 1;
        self.remove(self.sent + index);
        Some(flight)
    }

    fn remove(&mut self, index: usize) {
        self.vacate(index);
        let last = self.row.len() - 1;
        self.row.shift(index, last);
        self.row.truncate(last);
    }

    /// Puts one on the wire that was not waiting.
    pub(super) fn launch(&mut self, flight: Flight) {
        self.row.push(flight);
        self.row.shift(self.row.len() - 1, self.sent);
        self.sent += 1;
    }

    /// When the youngest arrives that has left and was not taken.
    pub(super) fn last_arrival(&self) -> Option<Instant> {
        self.row.get(self.sent.checked_sub(1)?).map(|flight| flight.arrives)
    }

    /// The next one to arrive.
    #[inline(always)]
    pub(super) fn arriving(&self) -> Option<&Flight> {
        if self.landed == self.sent { None } else { self.row.get(self.landed) }
    }

    /// The next one to arrive is in the receive buffer.
    #[inline(always)]
    pub(super) fn land(&mut self) {
        self.landed += 1;
    }

    /// The next one to arrive is dropped.
    pub(super) fn discard(&mut self) {
        if self.landed < self.sent {
            self.remove(self.landed);
            self.sent -= 1;
        }
    }

    /// The oldest in the receive buffer.
    #[inline(always)]
    pub(super) fn landed(&self) -> Option<&Flight> {
        if self.landed == 0 { None } else { self.row.get(0) }
    }

    /// The oldest in the receive buffer, to be used up there.
    #[inline(always)]
    pub(super) fn first_landed(&mut self) -> Option<&mut Tlp> {
        if self.landed == 0 { None } else { self.row.get_mut(0).map(|flight| &mut flight.tlp) }
    }

    /// The oldest in the receive buffer is gone.
    #[inline(always)]
    pub(super) fn drop_landed(&mut self) {
        if self.landed != 0 {
            self.vacate(0);
            self.landed -= 1;
            self.sent -= 1;
            self.row.drop_first();
        }
    }

    /// Takes the oldest out of the receive buffer.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<Tlp> {
        let tlp = std::mem::replace(self.first_landed()?, GONE);
        self.drop_landed();
        Some(tlp)
    }

    /// Whether any TLP may go, given what each finds ahead.
    pub(super) fn ready(&self, fit: impl Fn(&Flight) -> Fit) -> bool {
        match self.lots {
            None => self.oldest(fit).is_some(),
            Some(_) => !self.candidates(fit).is_empty(),
        }
    }

    /// Which of those that wait goes next.
    #[inline(always)]
    pub(super) fn choose(&mut self, fit: impl Fn(&Flight) -> Fit) -> Option<usize> {
        match self.lots {
            None => self.oldest(fit),
            Some(_) => self.draw(fit),
        }
    }

    /// The oldest that has credits and that no posted request handed over before it holds back (column 2
    /// of the table), if the replay buffer can keep it.
    #[inline(always)]
    fn oldest(&self, fit: impl Fn(&Flight) -> Fit) -> Option<usize> {
        let first = self.row.get(self.sent)?;
        if fit(first) == Fit::Goes { Some(0) } else { self.passing(fit) }
    }

    /// As [`Self::oldest`], when the first of those that wait must let others pass.
    #[cold]
    fn passing(&self, fit: impl Fn(&Flight) -> Fit) -> Option<usize> {
        let mut held = [false; 3];
        for (index, flight) in self.row.from(self.sent).enumerate() {
            let class = flight.class as usize;
            if held[class] {
                continue;
            }
            match fit(flight) {
                Fit::Goes => return Some(index),
                Fit::NotKept => return None,
                Fit::NoCredits => held[class] = true,
            }
            let others = held.iter().zip(self.waiting).any(|(held, waiting)| !held && waiting > 0);
            if flight.class == FlowClass::Posted || !others {
                break;
            }
        }
        None
    }

    fn draw(&mut self, fit: impl Fn(&Flight) -> Fit) -> Option<usize> {
        let candidates = self.candidates(fit);
        let drawn = self.lots.as_mut()?.below(candidates.len() as u64) as usize;
        candidates.get(drawn).copied()
    }

    /// Every TLP near the front that may pass all that were handed over before it; none, as long as the
    /// replay buffer cannot keep one of them.
    fn candidates(&self, fit: impl Fn(&Flight) -> Fit) -> Vec<usize> {
        let near = |class: FlowClass| {
            let waiting = self.row.from(self.sent).enumerate();
            waiting.filter(move |(_, flight)| flight.class == class).take(WINDOW)
        };
        let all: Vec<_> = CLASSES
            .into_iter()
            .flat_map(near)
            .map(|(index, flight)| (index, flight, Facts::of(&flight.tlp)))
            .collect();
        let free = |later: usize, facts: &Facts| {
            all.iter()
                .all(|(earlier, _, before)| *earlier >= later || facts.passes(before) != Pass::No)
        };
        let mut candidates = Vec::new();
        for (index, flight, facts) in &all {
            match fit(flight) {
                Fit::NotKept if free(*index, facts) => return Vec::new(),
                Fit::Goes if free(*index, facts) => candidates.push(*index),
                _ => {}
            }
        }
        candidates
    }
}
