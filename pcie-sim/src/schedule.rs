//! The one queue of what happens next.
//!
//! Events leave in the order of their time and, at the same time, in the order they were entered,
//! so that a run depends on nothing but its inputs. Whoever is to act at one time that keeps moving (a
//! card's next wake-up) has an alarm, which is moved rather than entered again and again.
//!
//! The events stand in one sorted row. It is short, and what is entered is nearly always the next thing
//! or the last, so that a row costs less than a heap. The alarms stand in no order: the first of them is
//! known until it rings or is put off, and then found in one pass over a handful of numbers.

use crate::time::Instant;

/// Alarms that a schedule can have.
const ALARMS: usize = 6;
/// Up to so many are looked at in less time.
const FEW: usize = 4;
/// In a row longer than this, places are found by halves.
const SHORT: usize = 16;
/// So many entries of the row that have left are kept before the rest is moved up.
const LEFT: usize = 64;

/// A place among all that is to happen: a time, and the order of entry at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(u128);

impl Turn {
    /// Behind all others.
    pub const NEVER: Self = Self(u128::MAX);

    #[inline]
    fn new(at: Instant, order: u64) -> Self {
        Self(u128::from(at.as_ps()) << 64 | u128::from(order))
    }

    /// When it is.
    #[must_use]
    #[inline]
    pub const fn time(self) -> Instant {
        Instant::from_ps((self.0 >> 64) as u64)
    }
}

/// Events of type `E`, ordered by time, then by order of entry.
#[derive(Debug)]
pub struct Schedule<E> {
    /// Sorted; those before `head` have left.
    row: Vec<Entry<E>>,
    head: usize,
    /// Whose turn it is first in the row.
    first_of_row: Turn,
    alarms: [Turn; ALARMS],
    /// What leaves the schedule when the alarm of the same place rings.
    events: Vec<E>,
    /// Which of the alarms rings first; none rings before that.
    first_alarm: (usize, Turn),
    /// It has rung, or was put off: which one is first has to be looked for.
    looks_for_alarm: bool,
    entered: u64,
}

/// An alarm of one [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlarmId(usize);

#[derive(Debug, Clone, Copy)]
struct Entry<E> {
    at: Instant,
    order: u64,
    event: E,
}

impl<E> Schedule<E> {
    /// A schedule in which nothing is due.
    #[must_use]
    pub fn new() -> Self {
        Self {
            row: Vec::new(),
            head: 0,
            first_of_row: Turn::NEVER,
            alarms: [Turn::NEVER; ALARMS],
            events: Vec::new(),
            first_alarm: (0, Turn::NEVER),
            looks_for_alarm: false,
            entered: 0,
        }
    }

    /// Enters an event that is due at `at`.
    #[inline]
    pub fn at(&mut self, at: Instant, event: E) {
        self.entered += 1;
        let entry = Entry { at, order: self.entered, event };
        if at < self.first_of_row.time() || self.is_empty() {
            self.first_of_row = Turn::new(at, self.entered);
            self.enter_first(entry);
        } else {
            self.enter_behind(entry);
        }
    }

    fn enter_first(&mut self, entry: Entry<E>) {
        match self.head.checked_sub(1) {
            Some(place) => {
                self.head = place;
                self.row[place] = entry;
            }
            None if self.row.is_empty() => self.row.push(entry),
            None => self.row.insert(0, entry),
        }
    }

    /// Enters what is not the first of the row: behind all that is due as early.
    fn enter_behind(&mut self, entry: Entry<E>) {
        let later = |other: &Entry<E>| other.at > entry.at;
        if !self.row.last().is_some_and(later) {
            return self.row.push(entry);
        }
        let waiting = &self.row[self.head..];
        let place = match waiting.len().checked_sub(SHORT) {
            Some(near) if later(&waiting[near]) => waiting.partition_point(|other| !later(other)),
            _ => waiting.iter().rposition(|other| !later(other)).map_or(0, |before| before + 1),
        };
        self.row.insert(self.head + place, entry);
    }

    /// Makes an alarm, which is not set yet; when it rings, `event` leaves the schedule.
    ///
    /// # Panics
    ///
    /// When there are six already.
    pub fn alarm(&mut self, event: E) -> AlarmId {
        let place = self.events.len();
        assert!(place < ALARMS, "a schedule has room for {ALARMS} alarms");
        self.events.push(event);
        AlarmId(place)
    }

    /// Sets an alarm to `at`, or off. One that is set to the time it has already keeps its place among
    /// the events of that time.
    #[inline]
    pub fn set_alarm(&mut self, alarm: AlarmId, at: Option<Instant>) {
        let at = at.unwrap_or(Instant::FAR_FUTURE);
        if self.alarms[alarm.0].time() != at {
            self.move_alarm(alarm.0, at);
        }
    }

    #[inline]
    fn move_alarm(&mut self, alarm: usize, at: Instant) {
        let turn = self.turn(at);
        self.alarms[alarm] = turn;
        if turn < self.first_alarm.1 {
            self.first_alarm = (alarm, turn);
            self.looks_for_alarm = false;
        } else {
            self.looks_for_alarm |= alarm == self.first_alarm.0;
        }
    }

    /// When the next event is due.
    #[must_use]
    #[inline]
    pub fn next_time(&self) -> Option<Instant> {
        let alarm = if self.looks_for_alarm { self.earliest() } else { self.first_alarm };
        let next = alarm.1.min(self.first_of_row).time();
        (next != Instant::FAR_FUTURE).then_some(next)
    }

    /// Whose turn is next.
    #[must_use]
    #[inline]
    pub fn next_turn(&mut self) -> Turn {
        if self.looks_for_alarm {
            self.look_at_alarms();
        }
        self.first_alarm.1.min(self.first_of_row)
    }

    /// A turn at `at` for somebody who keeps it himself: behind all that was entered for that time, or set to
    /// it, before, and ahead of all that will be. At the far future it is never.
    #[inline]
    pub fn turn(&mut self, at: Instant) -> Turn {
        if at == Instant::FAR_FUTURE {
            return Turn::NEVER;
        }
        self.entered += 1;
        Turn::new(at, self.entered)
    }

    /// Whether [`Self::take_due`] has certainly no event: a comparison, which may say "no" too often.
    #[must_use]
    #[inline]
    pub fn rests(&self, now: Instant) -> bool {
        self.first_alarm.1.time() > now && self.first_of_row.time() > now
    }

    /// Whether [`Self::take_due`] has an event.
    #[must_use]
    #[inline]
    pub fn is_due(&mut self, now: Instant) -> bool {
        !self.rests(now) && self.next_turn().time() <= now
    }

    /// Drops every event and sets every alarm off.
    pub fn clear(&mut self) {
        self.row.clear();
        self.head = 0;
        self.first_of_row = Turn::NEVER;
        self.alarms = [Turn::NEVER; ALARMS];
        self.look_at_alarms();
    }

    /// How many events are waiting, alarms not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.row.len() - self.head
    }

    /// Whether no event is waiting, alarms not counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn look_at_alarms(&mut self) {
        self.first_alarm = self.earliest();
        self.looks_for_alarm = false;
    }

    #[inline]
    fn earliest(&self) -> (usize, Turn) {
        if let (true, Some(few)) = (self.events.len() <= FEW, self.alarms.first_chunk::<FEW>()) {
            earliest(few)
        } else {
            earliest(&self.alarms)
        }
    }
}

impl<E: Copy> Schedule<E> {
    /// Takes the next event if it is due at or before `now`.
    #[inline]
    pub fn take_due(&mut self, now: Instant) -> Option<(Instant, E)> {
        if self.rests(now) {
            return None;
        }
        let at = self.next_turn().time();
        if at > now { None } else { self.take_next().map(|event| (at, event)) }
    }

    /// Takes the event whose turn [`Self::next_turn`] has just given.
    #[inline]
    pub fn take_next(&mut self) -> Option<E> {
        let (alarm, turn) = self.first_alarm;
        if self.first_of_row < turn {
            return self.take_from_row();
        }
        // No alarm is set when the far future is asked for.
        let event = *self.events.get(alarm).filter(|_| turn != Turn::NEVER)?;
        self.alarms[alarm] = Turn::NEVER;
        self.looks_for_alarm = true;
        Some(event)
    }

    #[inline]
    fn take_from_row(&mut self) -> Option<E> {
        let Entry { event, .. } = *self.row.get(self.head)?;
        self.head += 1;
        match self.row.get(self.head) {
            Some(next) => {
                self.first_of_row = Turn::new(next.at, next.order);
                if self.head == LEFT {
                    self.row.drain(..LEFT);
                    self.head = 0;
                }
            }
            None => {
                self.first_of_row = Turn::NEVER;
                self.row.clear();
                self.head = 0;
            }
        }
        Some(event)
    }
}

/// The first alarm to ring, and when. Without a branch: which one it is cannot be foreseen.
#[inline]
fn earliest<const N: usize>(alarms: &[Turn; N]) -> (usize, Turn) {
    let mut first = (0, alarms[0]);
    for (place, &turn) in alarms.iter().enumerate().skip(1) {
        first = if turn < first.1 { (place, turn) } else { first };
    }
    first
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_moment_leave_in_the_order_they_were_entered() {
        let mut schedule = Schedule::new();
        for (ps, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            schedule.at(Instant::from_ps(ps), name);
        }
        let mut seen = String::new();
        while let Some((_, name)) = schedule.take_due(Instant::FAR_FUTURE) {
            seen.push(name);
        }
        assert_eq!(seen, "abcd");
    }

    #[test]
    fn an_alarm_rings_once_at_the_time_it_was_last_set_to_and_in_its_turn() {
        let mut schedule = Schedule::new();
        let alarm = schedule.alarm('a');
        schedule.set_alarm(alarm, Some(Instant::from_ps(3)));
        schedule.at(Instant::from_ps(7), 'x');
        schedule.set_alarm(alarm, Some(Instant::from_ps(7)));
        schedule.at(Instant::from_ps(7), 'y');
        schedule.set_alarm(alarm, Some(Instant::from_ps(7)));
        assert_eq!(schedule.next_time(), Some(Instant::from_ps(7)));
        let all = Instant::from_ps(9);
        let order: String =
            std::iter::from_fn(|| schedule.take_due(all)).map(|(_, event)| event).collect();
        assert_eq!(order, "xay");
        schedule.set_alarm(alarm, None);
        assert_eq!((schedule.next_time(), schedule.take_due(Instant::FAR_FUTURE)), (None, None));
    }

    #[test]
    fn a_turn_that_somebody_keeps_is_between_what_was_entered_before_it_and_after() {
        let mut schedule = Schedule::new();
        let at = Instant::from_ps(7);
        schedule.at(at, 'x');
        let mine = schedule.turn(at);
        let alarm = schedule.alarm('a');
        schedule.set_alarm(alarm, Some(at));
        let mut order = String::new();
        while mine > schedule.next_turn() {
            order.extend(schedule.take_next());
        }
        assert_eq!((order.as_str(), mine.time()), ("x", at));
        assert_eq!(schedule.take_next(), Some('a'));
        assert_eq!((schedule.next_turn(), schedule.take_next()), (Turn::NEVER, None));
        assert_eq!(schedule.turn(Instant::FAR_FUTURE), Turn::NEVER);
    }

    /// Whatever alarms are set, moved and rung, the first is the first.
    #[test]
    fn alarms_that_are_moved_a_thousand_times_ring_in_order() {
        for count in [2, FEW, ALARMS] {
            let mut schedule = Schedule::new();
            let alarms: Vec<_> = (0..count).map(|alarm| schedule.alarm(alarm)).collect();
            let mut set = vec![None; count];
            let mut now = 0;
            for i in 0..1000_u64 {
                let (alarm, at) = ((i * 7919 % 31) as usize % count, now + i * 104_729 % 17);
                let at = (i % 5 != 0).then_some(at);
                schedule.set_alarm(alarms[alarm], at.map(Instant::from_ps));
                // At one time, those set earlier ring first.
                if set[alarm].map(|(at, _)| at) != at {
                    set[alarm] = at.map(|at| (at, i));
                }
                if i % 3 == 0 {
                    let first = set.iter().flatten().min().copied();
                    let rings = first.and_then(|first| set.iter().position(|x| *x == Some(first)));
                    assert_eq!(schedule.next_time(), first.map(|(at, _)| Instant::from_ps(at)));
                    let rung = schedule.take_due(Instant::from_ps(now + 20));
                    assert_eq!(rung.map(|(_, alarm)| alarm), rings);
                    if let (Some(rings), Some((at, _))) = (rings, first) {
                        set[rings] = None;
                        now = now.max(at);
                    }
                }
            }
        }
    }

    /// Whatever the order of entry: near the end of the row, at its head, or far inside it.
    #[test]
    fn a_thousand_events_leave_in_the_order_of_time_and_entry() {
        let mut schedule = Schedule::new();
        let mut wanted = Vec::new();
        for i in 0..1000_u64 {
            let at = Instant::from_ps(i * 7919 % 257 + i / 100 * 50);
            schedule.at(at, i);
            wanted.push((at, i));
        }
        wanted.sort();
        assert_eq!(schedule.len(), wanted.len());
        let all = std::iter::from_fn(|| schedule.take_due(Instant::FAR_FUTURE));
        assert_eq!(all.collect::<Vec<_>>(), wanted);
        assert!(schedule.is_empty());
    }

    #[test]
    fn an_event_is_not_taken_before_it_is_due() {
        let mut schedule = Schedule::new();
        schedule.at(Instant::from_ps(10), ());
        assert!(schedule.take_due(Instant::from_ps(9)).is_none());
        assert!(schedule.take_due(Instant::from_ps(10)).is_some());
    }
}
