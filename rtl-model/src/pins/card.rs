//! A design in a simulator as a card in the slot.
//!
//! ```text
//!   edge k·period:  sample ─▶ clock rises ─▶ drive ─▶ clock falls
//! ```
//!
//! Every edge happens, whether there is anything to move or not: what a design does when nobody asks it is its
//! own affair. Only while the link is in reset its clock stands still; then reset is active for as many edges
//! as it was said to need.
//!
//! Left out: more than one clock, a clock whose edges are not at multiples of its period.

use pcie_sim::endpoint::{Endpoint, Port};
use pcie_sim::time::{Instant, Span};
use thiserror::Error;

use super::finding::{Findings, PinFinding};
use super::tlp_stream::{BindError, Signal, Stalls, TlpStream, find};
use super::{Known, Pins, PortDirection, PortId};

/// A design with one clock, in a simulator that somebody else turns.
///
/// Writes of [`Pins`] between [`Clocked::rise`] and [`Clocked::fall`] are seen by registers at the next
/// rise, and by logic between inputs and outputs before that.
pub trait Clocked: Pins {
    /// The clock rises at `at`: registers take what stood on the inputs until now.
    fn rise(&mut self, at: Instant);

    /// The clock falls at `at`, or is low as the bench is switched on: the outputs show what follows from the registers and from the inputs as they
    /// were written since the rise.
    fn fall(&mut self, at: Instant);
}

impl<S: Clocked + ?Sized> Clocked for Box<S> {
    fn rise(&mut self, at: Instant) {
        (**self).rise(at);
    }

    fn fall(&mut self, at: Instant) {
        (**self).fall(at);
    }
}

/// How a design is reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// The port.
    pub port: String,
    /// Whether 1 is reset.
    pub active_high: bool,
    /// Rising edges that it is to see; at least 1.
    pub cycles: u32,
}

/// What a design in a slot needs beside its TLPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinCardConfig {
    /// The clock's period, at least 2 ps.
    pub period: Span,
    /// How it is reset, if it is.
    pub reset: Option<Reset>,
    /// Where it is made to pause.
    pub stalls: Stalls,
}

/// Why a design cannot be put into the slot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PinCardError {
    /// A port is missing or not what it should be.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No clock is so fast.
    #[error("clock: a period of {0:?} is too short, 2 ps is the shortest")]
    Period(Span),
    /// Reset lasts for at least one edge.
    #[error("reset: {port} is to be active for 0 cycles, where 1 is the least")]
    ResetCycles {
        /// The port.
        port: String,
    },
}

/// A strobe was not 0 at an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strobe {
    /// The edge.
    pub at: Instant,
    /// Which one, in the order of [`PinCard::watch`].
    pub index: usize,
    /// Its bits.
    pub bits: u32,
}

struct Strobes {
    ports: Vec<(PortId, String)>,
    sink: Box<dyn FnMut(Strobe)>,
}

#[derive(Debug)]
struct ResetPin {
    id: PortId,
    active: u32,
    cycles: u32,
    /// Edges for which it is still active.
    left: u32,
}

/// A design as a card. See [the module](self).
pub struct PinCard<S> {
    design: S,
    stream: TlpStream,
    period: Span,
    next: Instant,
    reset: Option<ResetPin>,
    strobes: Option<Strobes>,
    edges: u64,
}

impl<S: Clocked> PinCard<S> {
    /// Puts a design into the slot; it comes out of reset there. `name` is as for [`TlpStream::bind`].
    ///
    /// # Errors
    /// What [`TlpStream::bind`] says; a reset port that is missing or has more than one bit; a clock or
    /// a reset that cannot be.
    pub fn new(
        design: S,
        name: &dyn Fn(&Signal) -> Option<String>,
        config: &PinCardConfig,
    ) -> Result<Self, PinCardError> {
        if config.period < Span::from_ps(2) {
            return Err(PinCardError::Period(config.period));
        }
        let reset = config.reset.as_ref().map(|reset| reset_pin(&design, reset)).transpose()?;
        let stream = TlpStream::bind(&design, name, config.stalls)?;
        let mut card = Self {
            design,
            stream,
            period: config.period,
            next: Instant::ZERO + config.period,
            reset,
            strobes: None,
            edges: 0,
        };
        card.begin_reset();
        card.design.fall(Instant::ZERO);
        Ok(card)
    }

    /// From now on `sink` hears of every edge at which one of these outputs, of up to 32 bits each, is not 0.
    ///
    /// # Errors
    /// [`BindError`] for a port that is not there, no output, or wider.
    pub fn watch(
        &mut self,
        ports: &[String],
        sink: Box<dyn FnMut(Strobe)>,
    ) -> Result<(), BindError> {
        let found = |port: &String| {
            let info = find(&self.design, "strobe", port, PortDirection::Output)?;
            if info.bits > 32 {
                let (signal, wanted) = ("strobe".into(), "32 or fewer".into());
                let (port, bits) = (port.clone(), info.bits);
                return Err(BindError::WrongWidth { signal, port, bits, wanted });
            }
            Ok((info.id, port.clone()))
        };
        let ports = ports.iter().map(found).collect::<Result<_, _>>()?;
        self.strobes = Some(Strobes { ports, sink });
        Ok(())
    }

    /// What the design did wrong on its pins.
    #[must_use]
    pub fn findings(&self) -> &Findings {
        self.stream.findings()
    }

    /// The design.
    #[must_use]
    pub fn design(&self) -> &S {
        &self.design
    }

    /// The design, for whoever writes its waves.
    pub fn design_mut(&mut self) -> &mut S {
        &mut self.design
    }

    /// Rising edges so far.
    #[must_use]
    pub fn edges(&self) -> u64 {
        self.edges
    }

    fn begin_reset(&mut self) {
        self.stream.reset(&mut self.design);
        if let Some(reset) = &mut self.reset {
            reset.left = reset.cycles;
            self.design.write(reset.id, reset.active);
        }
    }

    fn edge(&mut self, at: Instant, port: &mut dyn Port) {
        self.edges += 1;
        let falls = at + self.period / 2;
        if let Some(reset) = &mut self.reset
            && reset.left > 0
        {
            self.design.rise(at);
            reset.left -= 1;
            if reset.left == 0 {
                self.design.write(reset.id, reset.active ^ 1);
            }
            return self.design.fall(falls);
        }
        self.stream.sample(&mut self.design, at);
        if self.strobes.is_some() {
            self.read_strobes(at);
        }
        self.design.rise(at);
        self.stream.drive(&mut self.design, port);
        self.design.fall(falls);
    }

    fn read_strobes(&mut self, at: Instant) {
        let Some(Strobes { ports, sink }) = &mut self.strobes else { return };
        for (index, (id, name)) in ports.iter().enumerate() {
            let (bits, known) = self.design.read(*id);
            if known == Known::Not {
                let findings = self.stream.findings_mut();
                findings.add(at, PinFinding::Unknown { port: name.clone() });
            }
            if bits != 0 {
                sink(Strobe { at, index, bits });
            }
        }
    }
}

fn reset_pin(design: &dyn Pins, reset: &Reset) -> Result<ResetPin, PinCardError> {
    let port = reset.port.clone();
    if reset.cycles == 0 {
        return Err(PinCardError::ResetCycles { port });
    }
    let info = find(design, "reset", &port, PortDirection::Input)?;
    if info.bits != 1 {
        let (signal, wanted, bits) = ("reset".into(), "1".into(), info.bits);
        return Err(BindError::WrongWidth { signal, port, bits, wanted }.into());
    }
    let (id, cycles) = (info.id, reset.cycles);
    Ok(ResetPin { id, active: reset.active_high.into(), cycles, left: 0 })
}

impl<S: Clocked> Endpoint for PinCard<S> {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        while self.next <= now {
            self.edge(self.next, port);
            self.next += self.period;
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn hot_reset(&mut self, now: Instant) {
        self.begin_reset();
        // While the link was in reset nobody turned the clock.
        self.next = self.next.max(now.next_edge(self.period));
    }
}
