//! The one queue of what happens next.
//!
//! Events leave in the order of their time and, at the same time, in the order they were entered,
//! so that a run depends on nothing but its inputs. Whoever is to act at one time that keeps moving (a
//! card's next wake-up) has an alarm, which is moved rather than entered again and again.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::time::Instant;

/// Events of type `E`, ordered by time, then by order of entry.
#[derive(Debug)]
pub struct Schedule<E> {
    heap: BinaryHeap<Entry<E>>,
    alarms: Vec<Alarm>,
    /// What leaves the schedule when the alarm of the same place rings.
    events: Vec<E>,
    /// Which of the alarms rings first.
    first: usize,
    entered: u64,
}

/// An alarm of one [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlarmId(usize);

#[derive(Debug, Clone, Copy)]
struct Alarm {
    at: Instant,
    order: u64,
}

impl Alarm {
    const OFF: Self = Self { at: Instant::FAR_FUTURE, order: u64::MAX };
}

#[derive(Debug)]
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
            heap: BinaryHeap::new(),
            alarms: Vec::new(),
            events: Vec::new(),
            first: 0,
            entered: 0,
        }
    }

    /// Enters an event that is due at `at`.
    #[inline]
    pub fn at(&mut self, at: Instant, event: E) {
        self.heap.push(Entry { at, order: self.entered, event });
        self.entered += 1;
    }

    /// Makes an alarm, which is not set yet; when it rings, `event` leaves the schedule.
    pub fn alarm(&mut self, event: E) -> AlarmId {
        self.alarms.push(Alarm::OFF);
        self.events.push(event);
        AlarmId(self.alarms.len() - 1)
    }

    /// Sets an alarm to `at`, or off. One that is set to the time it has already keeps its place among
    /// the events of that time.
    #[inline]
    pub fn set_alarm(&mut self, alarm: AlarmId, at: Option<Instant>) {
        let at = at.unwrap_or(Instant::FAR_FUTURE);
        if self.alarms[alarm.0].at != at {
            self.move_alarm(alarm.0, at);
        }
    }

    fn move_alarm(&mut self, index: usize, at: Instant) {
        let first = self.alarms[self.first].at;
        self.alarms[index] = Alarm { at, order: self.entered };
        self.entered += 1;
        if at < first {
            // At the same time the one that was set earlier goes first, so nothing less will do.
            self.first = index;
        } else if index == self.first {
            self.find_first();
        }
    }

    #[inline]
    fn find_first(&mut self) {
        let mut first = 0;
        let mut earliest = Alarm::OFF;
        for (i, alarm) in self.alarms.iter().enumerate() {
            // Times rarely agree, so the order is looked at only when they do.
            if alarm.at < earliest.at || alarm.at == earliest.at && alarm.order < earliest.order {
                (first, earliest) = (i, *alarm);
            }
        }
        self.first = first;
    }

    /// When the next event is due.
    #[must_use]
    #[inline]
    pub fn next_time(&self) -> Option<Instant> {
        let entry = self.heap.peek().map_or(Instant::FAR_FUTURE, |entry| entry.at);
        let first = self.alarms.get(self.first).map_or(entry, |alarm| alarm.at.min(entry));
        (first != Instant::FAR_FUTURE).then_some(first)
    }

    /// Whether [`Self::take_due`] has an event.
    #[must_use]
    #[inline]
    pub fn is_due(&self, now: Instant) -> bool {
        let alarm = self.alarms.get(self.first).is_some_and(|alarm| alarm.at <= now);
        alarm || self.heap.peek().is_some_and(|entry| entry.at <= now)
    }

    /// Drops every event and sets every alarm off.
    pub fn clear(&mut self) {
        self.heap.clear();
        self.alarms.fill(Alarm::OFF);
    }

    /// How many events are waiting, alarms not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no event is waiting, alarms not counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<E: Copy> Schedule<E> {
    /// Takes the next event if it is due at or before `now`.
    #[inline(always)]
    pub fn take_due(&mut self, now: Instant) -> Option<(Instant, E)> {
        let entry = self.heap.peek().map_or((Instant::FAR_FUTURE, u64::MAX), Entry::key);
        if let Some(&Alarm { at, order }) = self.alarms.get(self.first)
            && (at < entry.0 || at == entry.0 && order < entry.1)
        {
            return if at > now { None } else { self.ring(at) };
        }
        if entry.0 > now {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    #[inline(always)]
    fn ring(&mut self, at: Instant) -> Option<(Instant, E)> {
        if at == Instant::FAR_FUTURE {
            return None;
        }
        let rung = self.events[self.first];
        self.alarms[self.first].at = Instant::FAR_FUTURE;
        self.find_first();
        Some((at, rung))
    }
}

impl<E> Entry<E> {
    fn key(&self) -> (Instant, u64) {
        (self.at, self.order)
    }
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self::new()
    }
}

// A max-heap gives the greatest first: the earliest is the greatest.
impl<E> Ord for Entry<E> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at).then_with(|| other.order.cmp(&self.order))
    }
}

impl<E> PartialOrd for Entry<E> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

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
