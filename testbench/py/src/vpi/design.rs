//! The design as a bench turns it: the simulator's clock stands in for one of the bench's own.
//!
//! ```text
//!   bench:      sample … rise ── drive ── fall ┐                  ┌─▶ sample … rise ── drive ── fall ┐
//!   simulator:           edge k                └▶ settles, … edge k+1 ┘                              └▶
//! ```
//!
//! The bench believes that it makes the edges; each `fall` waits until the simulator's next rising edge has
//! come. So the same card at the same pins, and the same driver behind it, does the same in the same cycles as
//! where the bench does make them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pcie_sim::time::{Instant, Span};
use rtl_model::pins::{Clocked, Known, Pins, PortId, PortInfo};
use testbench::card::Design;

use super::{Pause, VpiPins};

/// What both sides know of the time.
#[derive(Debug, Default)]
pub struct Clockwork {
    /// The last edge in the bench's time and in the simulator's, in picoseconds.
    last: Cell<Option<(u64, u64)>>,
    /// From edge to edge.
    period: Cell<Span>,
    /// The first edge that did not come when it should have, in the simulator's time, and how long it took.
    uneven: Cell<Option<(Instant, Span)>>,
}

impl Clockwork {
    /// A moment of the bench's as one of the simulator's, as the last edge has them side by side.
    #[must_use]
    pub fn in_simulation(&self, at: Instant) -> Instant {
        let Some((bench, simulation)) = self.last.get() else { return at };
        Instant::from_ps((at.as_ps() + simulation).saturating_sub(bench))
    }

    /// The first edge that did not come one period after the one before, and what there was instead.
    #[must_use]
    pub fn uneven(&self) -> Option<(Instant, Span)> {
        self.uneven.get()
    }

    /// What there should be from one edge to the next, from now on.
    pub fn expect(&self, period: Span) {
        self.period.set(period);
        self.last.set(None);
    }

    /// What there should be from one edge to the next.
    #[must_use]
    pub fn period(&self) -> Span {
        self.period.get()
    }

    fn edge(&self, bench: u64, simulation: u64) {
        let before = self.last.replace(Some((bench, simulation)));
        let Some((_, before)) = before else { return };
        let took = Span::from_ps(simulation - before);
        if took != self.period.get() && self.uneven.get().is_none() {
            self.uneven.set(Some((Instant::from_ps(simulation), took)));
        }
    }
}

/// A design whose clock somebody else turns.
#[derive(Debug, Clone)]
pub struct VpiDesign {
    pins: Rc<RefCell<VpiPins>>,
    infos: Rc<[PortInfo]>,
    pause: Pause,
    clockwork: Rc<Clockwork>,
}

impl VpiDesign {
    /// The design whose pins these are, as work that pauses by `pause` sees it.
    #[must_use]
    pub fn new(pins: &Rc<RefCell<VpiPins>>, pause: &Pause, clockwork: &Rc<Clockwork>) -> Self {
        let infos = pins.borrow().ports().into();
        Self { pins: pins.clone(), infos, pause: pause.clone(), clockwork: clockwork.clone() }
    }
}

impl Pins for VpiDesign {
    fn ports(&self) -> &[PortInfo] {
        &self.infos
    }

    fn read(&mut self, port: PortId) -> (u32, Known) {
        self.pins.borrow_mut().read(port)
    }

    fn write(&mut self, port: PortId, value: u32) {
        self.pins.borrow_mut().write(port, value);
    }

    fn read_wide(&mut self, port: PortId, words: &mut [u32]) -> Known {
        self.pins.borrow_mut().read_wide(port, words)
    }

    fn write_wide(&mut self, port: PortId, words: &[u32]) {
        self.pins.borrow_mut().write_wide(port, words);
    }
}

impl Clocked for VpiDesign {
    fn rise(&mut self, at: Instant) {
        let simulation = self.pins.borrow().now();
        self.clockwork.edge(at.as_ps(), simulation.as_ps());
    }

    fn fall(&mut self, _: Instant) {
        self.pause.pause();
    }
}

/// What the simulator ends it ends for whoever runs in it, too.
impl Design for VpiDesign {
    fn ended(&mut self) -> Option<(Instant, String)> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_found_again_by_the_edge_beside_it() {
        let clockwork = Clockwork::default();
        assert_eq!(clockwork.in_simulation(Instant::from_ps(7)), Instant::from_ps(7));
        clockwork.edge(4_000, 104_000);
        assert_eq!(clockwork.in_simulation(Instant::from_ps(5_000)), Instant::from_ps(105_000));
        assert_eq!(clockwork.in_simulation(Instant::from_ps(3_000)), Instant::from_ps(103_000));
    }

    #[test]
    fn an_edge_that_is_late_is_told_and_a_bench_that_skips_ahead_is_not() {
        let clockwork = Clockwork::default();
        clockwork.expect(Span::from_ps(4_000));
        clockwork.edge(4_000, 104_000);
        clockwork.edge(8_000, 108_000);
        // The link was in reset.
        clockwork.edge(80_000, 112_000);
        assert_eq!(clockwork.uneven(), None);
        clockwork.edge(84_000, 117_000);
        let late = (Instant::from_ps(117_000), Span::from_ps(5_000));
        assert_eq!(clockwork.uneven(), Some(late));
    }
}
