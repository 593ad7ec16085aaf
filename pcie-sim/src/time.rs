//! Simulated time: whole picoseconds, so that sums are exact and order is total.
//!
//! A picosecond divides every interval that the bench needs: a byte on a generation 5 lane (250 ps),
//! a 250 MHz card clock (4,000 ps), a 2.29 GHz time stamp counter to one part in a thousand.
//! `f64` appears only where a number is printed.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

/// A point in simulated time, in picoseconds since the bench was switched on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Instant {
    ps: u64,
}

/// A length of simulated time, in picoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Span {
    ps: u64,
}

impl Instant {
    /// The moment the bench is switched on.
    pub const ZERO: Self = Self { ps: 0 };
    /// Later than anything a bench reaches (213 days).
    pub const FAR_FUTURE: Self = Self { ps: u64::MAX };

    /// The point `ps` picoseconds after switch-on.
    #[must_use]
    pub const fn from_ps(ps: u64) -> Self {
        Self { ps }
    }

    /// Picoseconds since switch-on.
    #[must_use]
    pub const fn as_ps(self) -> u64 {
        self.ps
    }

    /// Whole nanoseconds since switch-on, rounded down.
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.ps / 1000
    }

    /// The time from `earlier` to this point; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span { ps: self.ps.saturating_sub(earlier.ps) }
    }

    /// The first edge of a clock of this period at or after this point (edges at multiples of it).
    #[must_use]
    pub const fn next_edge(self, period: Span) -> Self {
        match self.ps % period.ps {
            0 => self,
            past => Self { ps: self.ps - past + period.ps },
        }
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self { ps: 0 };

    /// A length of `ps` picoseconds.
    #[must_use]
    pub const fn from_ps(ps: u64) -> Self {
        Self { ps }
    }

    /// A length of `ns` nanoseconds.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self { ps: ns * 1_000 }
    }

    /// A length of `us` microseconds.
    #[must_use]
    pub const fn from_us(us: u64) -> Self {
        Self { ps: us * 1_000_000 }
    }

    /// A length of `ms` milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self { ps: ms * 1_000_000_000 }
    }

    /// Picoseconds.
    #[must_use]
    pub const fn as_ps(self) -> u64 {
        self.ps
    }

    /// Whole nanoseconds, rounded down.
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.ps / 1000
    }

    /// Nanoseconds, for printing.
    #[must_use]
    pub fn as_ns_f64(self) -> f64 {
        self.ps as f64 / 1e3
    }

    /// Seconds, for printing.
    #[must_use]
    pub fn as_s_f64(self) -> f64 {
        self.ps as f64 / 1e12
    }
}

impl Add<Span> for Instant {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self { ps: self.ps + span.ps }
    }
}

impl AddAssign<Span> for Instant {
    fn add_assign(&mut self, span: Span) {
        self.ps += span.ps;
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { ps: self.ps + other.ps }
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Self) {
        self.ps += other.ps;
    }
}

impl Sub for Span {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { ps: self.ps - other.ps }
    }
}

impl Mul<u64> for Span {
    type Output = Self;
    fn mul(self, times: u64) -> Self {
        Self { ps: self.ps * times }
    }
}

impl Div<u64> for Span {
    type Output = Self;
    fn div(self, parts: u64) -> Self {
        Self { ps: self.ps / parts }
    }
}

impl std::iter::Sum for Span {
    fn sum<I: Iterator<Item = Self>>(spans: I) -> Self {
        spans.fold(Self::ZERO, |total, span| total + span)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ns", self.ps / 1000, self.ps % 1000)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ns", self.ps / 1000, self.ps % 1000)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_edge_of_a_clock_is_never_in_the_past() {
        let period = Span::from_ns(4);
        for ps in [0, 1, 3_999, 4_000, 4_001] {
            let edge = Instant::from_ps(ps).next_edge(period);
            assert!(edge.as_ps() >= ps && edge.as_ps() < ps + 4_000);
            assert_eq!(edge.as_ps() % 4_000, 0);
        }
    }
}
