//! A queue whose places are used again: what is put in lies still until it is overwritten.
//!
//! Packets are large. A queue that takes them and hands them out by value moves each of them twice more than
//! is needed.

/// First in, first out; see the module.
#[derive(Debug)]
pub(super) struct Ring<T> {
    /// As many as there ever were, a power of two at most once they wrap around.
    slots: Vec<T>,
    /// One less than the places that there can be, a power of two.
    mask: usize,
    head: usize,
    len: usize,
}

/// Places to begin with.
const PLACES: usize = 16;

impl<T> Ring<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), mask: PLACES - 1, head: 0, len: 0 }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(super) fn push(&mut self, value: T) {
        match self.reuse() {
            Some(place) => *place = value,
            None => self.push_new(value),
        }
    }

    /// The place behind the youngest, now the youngest, with what was left in it; `None` when it was never
    /// used.
    #[inline(always)]
    pub(super) fn reuse(&mut self) -> Option<&mut T> {
        if self.len > self.mask {
            self.grow();
        }
        let place = self.slots.get_mut((self.head + self.len) & self.mask)?;
        self.len += 1;
        Some(place)
    }

    /// Puts in what there was no place to be used again for.
    pub(super) fn push_new(&mut self, value: T) {
        self.slots.push(value);
        self.len += 1;
    }

    #[cold]
    fn grow(&mut self) {
        self.slots.rotate_left(self.head);
        self.head = 0;
        self.mask = 2 * self.mask + 1;
    }

    /// The one at `index`, counted from the oldest.
    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        if index < self.len { self.slots.get((self.head + index) & self.mask) } else { None }
    }

    /// As [`Self::get`], to be changed.
    #[inline(always)]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        if index < self.len { self.slots.get_mut((self.head + index) & self.mask) } else { None }
    }

    /// The youngest.
    pub(super) fn last(&self) -> Option<&T> {
        self.get(self.len.checked_sub(1)?)
    }

    /// Those from `index` on.
    pub(super) fn from(&self, index: usize) -> impl Iterator<Item = &T> {
        (index..self.len).filter_map(|index| self.get(index))
    }

    /// The oldest is gone.
    #[inline(always)]
    pub(super) fn drop_first(&mut self) {
        if self.len != 0 {
            self.head = (self.head + 1) & self.mask;
            self.len -= 1;
        }
    }

    /// All but the `len` oldest are gone.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The one at `from` moves to `to`, and those between make room.
    pub(super) fn shift(&mut self, from: usize, to: usize) {
        let place = |index: usize| (self.head + index) & self.mask;
        if from.max(to) >= self.len {
            return;
        }
        for index in to..from {
            self.slots.swap(place(index), place(from));
        }
        for index in from..to {
            self.slots.swap(place(index), place(index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_ring_holds_what_a_queue_would(steps in prop::collection::vec((0..6_u8, 0..40_usize, 0..40_usize), 0..300)) {
            let (mut ring, mut queue) = (Ring::new(), VecDeque::new());
            for (number, (step, one, other)) in steps.into_iter().enumerate() {
                match step {
                    0..=2 => {
                        ring.push(number);
                        queue.push_back(number);
                    }
                    3 => {
                        ring.drop_first();
                        queue.pop_front();
                    }
                    4 => {
                        ring.shift(one, other);
                        if one.max(other) < queue.len() && let Some(moved) = queue.remove(one) {
                            queue.insert(other, moved);
                        }
                    }
                    _ => {
                        ring.truncate(one);
                        queue.truncate(one);
                    }
                }
                prop_assert_eq!(ring.from(0).collect::<Vec<_>>(), queue.iter().collect::<Vec<_>>());
                prop_assert_eq!((ring.len(), ring.get(one)), (queue.len(), queue.get(one)));
            }
        }
    }
}
