//! What each sector holds, as extents: one record per run of sectors with the same origin.

use std::collections::BTreeMap;

use super::Held;

/// A map from sectors to what they hold. Whatever was never set holds [`Held::Original`].
#[derive(Debug, Default)]
pub(super) struct Extents {
    /// First sector -> end (exclusive) and content; extents do not overlap.
    extents: BTreeMap<u64, (u64, Held)>,
}

impl Extents {
    /// From now on the sectors `first..end` hold `held`.
    pub(super) fn set(&mut self, first: u64, end: u64, held: Held) {
        if first >= end {
            return;
        }
        // The common case: the same blocks are written again.
        if let Some(extent) = self.extents.get_mut(&first)
            && extent.0 == end
        {
            extent.1 = held;
            return;
        }
        self.cut(first);
        self.cut(end);
        while let Some((&start, _)) = self.extents.range(first..end).next() {
            self.extents.remove(&start);
        }
        self.extents.insert(first, (end, held));
    }

    /// The sectors `first..end` may, besides what they hold, hold `held`.
    pub(super) fn add(&mut self, first: u64, end: u64, held: &Held) {
        let pieces: Vec<_> = self.pieces(first, end).collect();
        for (first, end, old) in pieces {
            self.set(first, end, old.or(held));
        }
    }

    /// The sectors `first..end` in runs of the same content: (first, end, content).
    pub(super) fn pieces(
        &self,
        first: u64,
        end: u64,
    ) -> impl Iterator<Item = (u64, u64, Held)> + '_ {
        let before = self.extents.range(..first).next_back();
        let before = before.filter(|(_, extent)| extent.0 > first);
        let mut stored =
            before.into_iter().chain(self.extents.range(first..end.max(first))).peekable();
        let mut at = first;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let from = at;
            let held = match stored.peek() {
                Some((start, extent)) if **start <= at => {
                    at = extent.0.min(end);
                    let held = extent.1.clone();
                    stored.next();
                    held
                }
                Some((start, _)) => {
                    at = (**start).min(end);
                    Held::Original
                }
                None => {
                    at = end;
                    Held::Original
                }
            };
            Some((from, at, held))
        })
    }

    /// Makes `at` a boundary between extents.
    fn cut(&mut self, at: u64) {
        let Some((_, extent)) = self.extents.range_mut(..at).next_back() else { return };
        let (end, held) = (extent.0, extent.1.clone());
        if end > at {
            extent.0 = at;
            self.extents.insert(at, (end, held));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn extents_say_what_an_array_of_sectors_would_say(
            writes in prop::collection::vec((0..60u64, 0..20u64, any::<bool>()), 0..40),
            first in 0..80u64,
            len in 0..20u64,
        ) {
            let mut extents = Extents::default();
            let mut array = vec![Held::Original; 100];
            for (number, (first, len, add)) in (1..).zip(writes) {
                let held = Held::Written(number);
                for sector in first..first + len {
                    let slot = &mut array[sector as usize];
                    *slot = if add { slot.clone().or(&held) } else { held.clone() };
                }
                match add {
                    true => extents.add(first, first + len, &held),
                    false => extents.set(first, first + len, held),
                }
            }
            let mut at = first;
            for (from, end, held) in extents.pieces(first, first + len) {
                prop_assert!(from == at && end > from);
                prop_assert!((from..end).all(|sector| array[sector as usize] == held));
                at = end;
            }
            prop_assert_eq!(at, first + len);
        }
    }
}
