//! The one queue of what happens next.
//!
//! Events leave in the order of their time and, at the same time, in the order they were entered,
//! so that a run depends on nothing but its inputs.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::time::Instant;

/// Events of type `E`, ordered by time, then by order of entry.
#[derive(Debug)]
pub struct Schedule<E> {
    heap: BinaryHeap<Entry<E>>,
    entered: u64,
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
        Self { heap: BinaryHeap::new(), entered: 0 }
    }

    /// Enters an event that is due at `at`.
    pub fn at(&mut self, at: Instant, event: E) {
        self.heap.push(Entry { at, order: self.entered, event });
        self.entered += 1;
    }

    /// When the next event is due.
    #[must_use]
    pub fn next_time(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Takes the next event if it is due at or before `now`.
    pub fn take_due(&mut self, now: Instant) -> Option<(Instant, E)> {
        if self.heap.peek()?.at > now {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    /// Drops every event.
    pub fn clear(&mut self) {
        self.heap.clear();
    }

    /// How many events are waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self::new()
    }
}

// A max-heap gives the greatest first: the earliest is the greatest.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<E> PartialOrd for Entry<E> {
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
    fn an_event_is_not_taken_before_it_is_due() {
        let mut schedule = Schedule::new();
        schedule.at(Instant::from_ps(10), ());
        assert!(schedule.take_due(Instant::from_ps(9)).is_none());
        assert!(schedule.take_due(Instant::from_ps(10)).is_some());
    }
}
