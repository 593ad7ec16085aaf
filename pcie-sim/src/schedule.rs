//! The one queue of what happens next.
//!
//! Events leave in the order of their time and, at the same time, in the order they were entered,
//! so that a run depends on nothing but its inputs. Whoever is to act at one time that keeps moving (a
//! card's next wake-up) has an alarm, which is moved rather than entered again and again.
//!
//! The events stand in one sorted row. It is short, and what is entered is nearly always the next thing
//! or the last, so that a row costs less than a heap. The alarms stand in no order: each is moved about
//! as often as the first of them is asked for, which takes one pass over a handful of numbers.

use std::collections::VecDeque;

use crate::time::Instant;

/// Alarms that a schedule can have.
const ALARMS: usize = 6;
/// In a row longer than this, places are found by halves.
const SHORT: usize = 16;

/// Time, and at the same time the order of entry.
type Key = u128;
/// Never.
const NEVER: Key = Key::MAX;

/// Events of type `E`, ordered by time, then by order of entry.
#[derive(Debug)]
pub struct Schedule<E> {
    /// The next one first.
    row: VecDeque<Entry<E>>,
    /// The key of the first of the row.
    first_of_row: Key,
    alarms: [Key; ALARMS],
    /// What leaves the schedule when the alarm of the same place rings.
    events: Vec<E>,
    /// Which of the alarms rings first, unless they have moved.
    first_alarm: (usize, Key),
    alarms_moved: bool,
    /// Nothing is due before this; what is due then is, unless alarms have moved.
    next: Instant,
    entered: u64,
}

/// An alarm of one [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlarmId(usize);

#[derive(Debug)]
struct Entry<E> {
    key: Key,
    event: E,
}

impl<E> Schedule<E> {
    /// A schedule in which nothing is due.
    #[must_use]
    pub fn new() -> Self {
        Self {
            row: VecDeque::new(),
            first_of_row: NEVER,
            alarms: [NEVER; ALARMS],
            events: Vec::new(),
            first_alarm: (0, NEVER),
            alarms_moved: false,
            next: Instant::FAR_FUTURE,
            entered: 0,
        }
    }

    /// Enters an event that is due at `at`.
    #[inline]
    pub fn at(&mut self, at: Instant, event: E) {
        let key = self.new_key(at);
        if key < self.first_of_row {
            self.first_of_row = key;
            self.next = self.next.min(at);
            self.row.push_front(Entry { key, event });
        } else {
            self.enter_behind(Entry { key, event });
        }
    }

    /// Enters what is not the first of the row.
    fn enter_behind(&mut self, entry: Entry<E>) {
        let key = entry.key;
        let mut place = self.row.len();
        if place > SHORT {
            place = self.row.partition_point(|other| other.key < key);
            return self.row.insert(place, entry);
        }
        self.row.push_back(entry);
        while place > 0 && self.row[place - 1].key > key {
            self.row.swap(place - 1, place);
            place -= 1;
        }
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
        if time_of(self.alarms[alarm.0]) != at {
            let key = self.new_key(at);
            self.alarms[alarm.0] = if at == Instant::FAR_FUTURE { NEVER } else { key };
            self.alarms_moved = true;
            self.next = self.next.min(at);
        }
    }

    /// When the next event is due.
    #[must_use]
    #[inline]
    pub fn next_time(&self) -> Option<Instant> {
        let next = match self.alarms_moved {
            true => time_of(earliest(&self.alarms).1.min(self.first_of_row)),
            false => self.next,
        };
        (next != Instant::FAR_FUTURE).then_some(next)
    }

    /// Whether [`Self::take_due`] has certainly no event: a comparison, which may say "no" too often.
    #[must_use]
    #[inline]
    pub fn rests(&self, now: Instant) -> bool {
        self.next > now
    }

    /// Whether [`Self::take_due`] has an event.
    #[must_use]
    #[inline]
    pub fn is_due(&mut self, now: Instant) -> bool {
        if self.next > now {
            return false;
        }
        if self.alarms_moved {
            self.look_at_alarms();
        }
        self.next <= now
    }

    /// Drops every event and sets every alarm off.
    pub fn clear(&mut self) {
        self.row.clear();
        self.first_of_row = NEVER;
        self.alarms = [NEVER; ALARMS];
        self.look_at_alarms();
    }

    /// How many events are waiting, alarms not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// Whether no event is waiting, alarms not counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    #[inline]
    fn new_key(&mut self, at: Instant) -> Key {
        let key = Key::from(at.as_ps()) << 64 | Key::from(self.entered);
        self.entered += 1;
        key
    }

    #[inline]
    fn look_at_alarms(&mut self) {
        self.first_alarm = earliest(&self.alarms);
        self.alarms_moved = false;
        self.next = time_of(self.first_alarm.1.min(self.first_of_row));
    }

    #[inline]
    fn take_from_row(&mut self) -> Option<(Instant, E)> {
        let Entry { key, event } = self.row.pop_front()?;
        self.first_of_row = self.row.front().map_or(NEVER, |first| first.key);
        self.next = time_of(self.first_alarm.1.min(self.first_of_row));
        Some((time_of(key), event))
    }
}

impl<E: Copy> Schedule<E> {
    /// Takes the next event if it is due at or before `now`.
    #[inline]
    pub fn take_due(&mut self, now: Instant) -> Option<(Instant, E)> {
        if !self.is_due(now) {
            return None;
        }
        let (alarm, key) = self.first_alarm;
        if self.first_of_row < key {
            return self.take_from_row();
        }
        // No alarm is set when the far future is asked for.
        let event = *self.events.get(alarm).filter(|_| key != NEVER)?;
        self.alarms[alarm] = NEVER;
        self.alarms_moved = true;
        Some((time_of(key), event))
    }
}

#[inline]
fn time_of(key: Key) -> Instant {
    Instant::from_ps((key >> 64) as u64)
}

/// The first alarm to ring, and when. Without a branch: which one it is cannot be foreseen.
#[inline]
fn earliest(alarms: &[Key; ALARMS]) -> (usize, Key) {
    let mut first = (0, alarms[0]);
    for (place, &key) in alarms.iter().enumerate().skip(1) {
        first = if key < first.1 { (place, key) } else { first };
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
