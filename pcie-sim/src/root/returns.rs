//! In which order reads are answered, where the order of memory is not good enough a test.
//!
//! To answer in another order than that in which memory has the data, answers must be kept until there
//! are several: all reads under way, or as many as fit here. Then they go at once, youngest first or as
//! drawn. Within one read nothing changes: its completions are in order of address (PCIe 5.0 §2.3.1.1,
//! "Data Return for Read Requests").

use crate::host::seed::Sequence;
use crate::link::CompletionOrder;
use crate::time::Instant;

/// Answers kept at most.
const DEPTH: usize = 64;

/// Decides which read is answered next.
#[derive(Debug)]
pub(super) struct Returns {
    order: CompletionOrder,
    lots: Sequence,
    /// Reads that have come.
    asked: u64,
    under_way: usize,
    /// When memory is done with the last read, where answers keep the order of requests.
    last: Instant,
    /// Number and slot of each read whose data is there.
    held: Vec<(u64, u32)>,
    /// The number of the read in each slot.
    numbers: Vec<u64>,
}

impl Returns {
    pub(super) fn new(order: CompletionOrder) -> Self {
        let seed = if let CompletionOrder::Drawn(seed) = order { seed } else { 0 };
        Self {
            order,
            lots: Sequence::new(seed),
            asked: 0,
            under_way: 0,
            last: Instant::ZERO,
            held: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// A read has come, whose data memory has at `ready`; when it counts as ready.
    pub(super) fn asked(&mut self, slot: u32, ready: Instant) -> Instant {
        match self.order {
            CompletionOrder::AsReady => ready,
            CompletionOrder::InOrder => {
                self.last = self.last.max(ready);
                self.last
            }
            CompletionOrder::Drawn(_) | CompletionOrder::Reversed => {
                let slot = slot as usize;
                self.numbers.resize(self.numbers.len().max(slot + 1), 0);
                self.numbers[slot] = self.asked;
                self.asked += 1;
                self.under_way += 1;
                ready
            }
        }
    }

    /// The data of a read is there: whether it is answered now, or else the slots of those that are, in
    /// their order.
    pub(super) fn ready(&mut self, slot: u32) -> Result<(), Vec<u32>> {
        if matches!(self.order, CompletionOrder::AsReady | CompletionOrder::InOrder) {
            return Ok(());
        }
        let number = self.numbers.get(slot as usize).copied().unwrap_or_default();
        self.held.push((number, slot));
        if self.held.len() < self.under_way && self.held.len() < DEPTH {
            return Err(Vec::new());
        }
        self.under_way -= self.held.len();
        self.held.sort_unstable_by(|one, other| other.cmp(one));
        if self.order != CompletionOrder::Reversed {
            self.lots.shuffle(&mut self.held);
        }
        Err(self.held.drain(..).map(|(_, slot)| slot).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slots in the order in which four reads, ready in the order 2, 0, 3, 1, are answered.
    fn answered(order: CompletionOrder) -> Vec<u32> {
        let mut returns = Returns::new(order);
        (0..4).for_each(|slot| assert_eq!(returns.asked(slot, Instant::ZERO), Instant::ZERO));
        let ready = |slot| returns.ready(slot).map_or_else(|slots| slots, |()| vec![slot]);
        [2, 0, 3, 1].into_iter().flat_map(ready).collect()
    }

    #[test]
    fn the_worst_case_answers_the_youngest_read_first() {
        assert_eq!(answered(CompletionOrder::AsReady), [2, 0, 3, 1]);
        assert_eq!(answered(CompletionOrder::Reversed), [3, 2, 1, 0]);
    }

    #[test]
    fn a_drawn_order_is_its_seeds_and_answers_each_read_once() {
        let drawn: Vec<_> = (0..8).map(|seed| answered(CompletionOrder::Drawn(seed))).collect();
        assert!(drawn.iter().any(|order| *order != drawn[0]));
        for mut order in drawn {
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn in_order_a_read_is_not_ready_before_those_asked_earlier() {
        let mut returns = Returns::new(CompletionOrder::InOrder);
        let at = Instant::from_ps;
        assert_eq!(returns.asked(0, at(50)), at(50));
        assert_eq!(returns.asked(1, at(20)), at(50));
        assert_eq!(returns.asked(2, at(70)), at(70));
        assert_eq!(returns.ready(1), Ok(()));
    }

    #[test]
    fn so_many_are_answered_that_the_rest_is_not_kept_waiting_forever() {
        let mut returns = Returns::new(CompletionOrder::Reversed);
        (0..70).for_each(|slot| {
            returns.asked(slot, Instant::ZERO);
        });
        let all: Vec<_> = (0..70).filter_map(|slot| returns.ready(slot).err()).collect();
        assert_eq!(all.iter().map(Vec::len).filter(|len| *len > 0).collect::<Vec<_>>(), [64, 6]);
    }
}
