//! The hardware that reads page tables: a few walks at once, the rest wait their turn.
//!
//! ```text
//!   miss ──▶ free walker? ─no─▶ waits for the one that is free first
//!              │yes
//!              ▼
//!            walks ──▶ translation ready ──▶ (a read's walker stays with it a little longer)
//! ```

use crate::time::{Instant, Span};

#[derive(Debug, Clone, Copy)]
struct Walker {
    /// What it walks for, or walked for last.
    page: u64,
    ready: Instant,
    free: Instant,
}

/// The walkers of one unit.
#[derive(Debug)]
pub(super) struct Walkers {
    /// None where any number may walk.
    walkers: Box<[Walker]>,
    /// When the last walk so far is ready.
    last_ready: Instant,
}

impl Walkers {
    /// `at_once` walkers; 0 stands for any number.
    pub(super) fn new(at_once: u32) -> Self {
        let idle = Walker { page: u64::MAX, ready: Instant::ZERO, free: Instant::ZERO };
        Self { walkers: vec![idle; at_once as usize].into(), last_ready: Instant::ZERO }
    }

    /// A walk for `page` that takes `takes`, asked for at `now`: how long until it is ready. Its walker is
    /// not free until `holds` after that.
    pub(super) fn walk(&mut self, now: Instant, page: u64, takes: Span, holds: Span) -> Span {
        let Some(walker) = self.walkers.iter_mut().min_by_key(|walker| walker.free) else {
            return takes;
        };
        let ready = walker.free.max(now) + takes;
        *walker = Walker { page, ready, free: ready + holds };
        self.last_ready = self.last_ready.max(ready);
        ready.since(now)
    }

    /// How long a request that finds `page` in the cache has to wait all the same, because the walk that
    /// brought it there is not ready yet.
    pub(super) fn wait_for(&self, now: Instant, page: u64) -> Span {
        if self.last_ready <= now {
            return Span::ZERO;
        }
        let under_way = self.walkers.iter().filter(|walker| walker.page == page);
        under_way.map(|walker| walker.ready.since(now)).max().unwrap_or(Span::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALK: Span = Span::from_ns(270);

    /// N walkers that take T give one translation every T/N.
    #[test]
    fn as_many_walks_run_at_once_as_there_are_walkers() {
        let mut walkers = Walkers::new(3);
        let waits: Vec<u64> = (0..7)
            .map(|page| walkers.walk(Instant::ZERO, page, WALK, Span::ZERO).as_ns())
            .collect();
        assert_eq!(waits, [270, 270, 270, 540, 540, 540, 810]);
    }

    #[test]
    fn a_walker_that_stays_with_its_request_delays_the_next_but_not_its_own() {
        let mut walkers = Walkers::new(1);
        assert_eq!(walkers.walk(Instant::ZERO, 1, WALK, Span::from_ns(30)), WALK);
        assert_eq!(walkers.walk(Instant::ZERO, 2, WALK, Span::ZERO), Span::from_ns(570));
    }

    #[test]
    fn a_hit_waits_for_the_walk_that_is_still_bringing_its_page() {
        let mut walkers = Walkers::new(2);
        walkers.walk(Instant::ZERO, 7, WALK, Span::ZERO);
        let later = Instant::ZERO + Span::from_ns(100);
        assert_eq!(walkers.wait_for(later, 7), Span::from_ns(170));
        assert_eq!(walkers.wait_for(later, 8), Span::ZERO);
        assert_eq!(walkers.wait_for(Instant::ZERO + WALK, 7), Span::ZERO);
    }

    #[test]
    fn without_a_number_every_walk_begins_at_once() {
        let mut walkers = Walkers::new(0);
        for page in 0..100 {
            assert_eq!(walkers.walk(Instant::ZERO, page, WALK, Span::ZERO), WALK);
        }
    }
}
