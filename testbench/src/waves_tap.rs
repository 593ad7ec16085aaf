//! Shows a bench in a wave viewer: the link in both directions, rings, interrupts, the card's pins.
//! [`slices`] shows it in a viewer of traces.
//!
//! ```text
//!   Sighting, credits, queue, interrupt, bus_master
//!        │ in order of departure, or of nothing
//!        ▼
//!   changes, ordered by time ──older than the window──▶ waves::WaveSink (.fst, .vcd)
//! ```
//!
//! | scope | signals |
//! |---|---|
//! | `link.downstream`, `link.upstream` | `busy` `kind` `purpose` `status` `address` `tag` `length` `tlps` |
//! | their `credits` | `posted_header` `posted_data` `non_posted_header` … `completion_data` |
//! | `queue<N>` | `avail_idx` `used_idx` `state` |
//! | `interrupt` | `bus_master`, `vector<N>`: how many were sent |
//! | `card` | pins and strobes under the names of the reference RTL |
//!
//! A wave file is a stream in order of time, and reports come a little out of order: the end of a TLP
//! is known when it begins, what the card made of it is known before it arrives. So each change waits
//! until the bench is [`WINDOW`] past it. One that comes later still is shown at the earliest time
//! that can be written, and counted ([`WavesTap::late`]).
//!
//! With no wave file asked for there is no tap, and nothing here costs anything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use pcie_sim::endpoint::{Direction, Sighting, Tap};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::FlowClass;
use waves::{Cut, Value, WaveError, WaveSink};

mod card;
mod change;
mod flows;
mod glance;
mod signals;
pub mod slices;
#[cfg(test)]
mod tests;
mod walks;

use crate::analyzer::{Classified, Role};
use card::Stage;
use change::{Change, What};
use glance::Glance;
use signals::{Lane, Signals};

/// How long a change waits for others that belong before it. Covers every way over a link and back;
/// a bench of full speed has some thousands of changes in it.
pub const WINDOW: Span = Span::from_us(10);

/// What there is to see on a bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Queues of the card; reports on others are not shown.
    pub queues: u16,
    /// MSI-X vectors; reports on others are not shown.
    pub vectors: u16,
    /// The link's propagation, pin to pin: a TLP's last symbol leaves that long before it arrives.
    pub propagation: Span,
    /// The card's clock: a strobe lasts that long.
    pub clock: Span,
}

/// What the analyzer says that a TLP is for, in a word.
pub(crate) fn purpose_of(seen: &Classified) -> &'static str {
    match seen.role {
        Role::Dma(purpose) => purpose.name(),
        Role::Mmio(_) => "mmio",
        Role::Config => "config",
        Role::Message => "message",
        Role::Stray => "stray",
    }
}

/// Writes what the link and the bench show to a wave file.
///
/// What goes wrong while the bench runs (a full disk) ends the file and is told by
/// [`WavesTap::finish`]; the bench runs on.
pub struct WavesTap {
    sink: Box<dyn WaveSink>,
    signals: Signals,
    propagation: Span,
    clock: Span,
    waiting: BinaryHeap<Reverse<Change>>,
    /// Changes so far: keeps the order of those of one time.
    seq: u64,
    /// The latest time that anything was reported for.
    present: Instant,
    /// The time the file has reached.
    written: Instant,
    late: u64,
    failure: Option<WaveError>,
    lanes: [LaneState; 2],
    sent: Vec<u64>,
    /// Pulses that last, by stage and bit.
    pulses: Vec<[u32; 2]>,
    /// TLPs on the card's receiving pins.
    receiving: u32,
}

/// One direction of the link as the file shows it.
#[derive(Clone, Copy, Default)]
struct LaneState {
    /// TLPs whose first symbol has left and whose last has not. More than one only where
    /// [`Shape::propagation`] is not the link's.
    leaving: u32,
    tlps: u64,
}

impl WavesTap {
    /// Creates the wave file at `path`, `.fst` or `.vcd`, for what `cut` says of the bench.
    ///
    /// # Errors
    /// Those of [`waves::create_cut`].
    pub fn create(path: &Path, shape: &Shape, cut: &Cut) -> Result<Self, WaveError> {
        let (tree, signals) = signals::declare(shape)?;
        let stages = signals.card.strobes().count();
        let mut tap = Self {
            sink: waves::create_cut(path, &tree, cut)?,
            signals,
            propagation: shape.propagation,
            clock: shape.clock,
            waiting: BinaryHeap::new(),
            seq: 0,
            present: Instant::ZERO,
            written: Instant::ZERO,
            late: 0,
            failure: None,
            lanes: [LaneState::default(); 2],
            sent: vec![0; usize::from(shape.vectors)],
            pulses: vec![[0; 2]; stages],
            receiving: 0,
        };
        tap.switch_on()?;
        Ok(tap)
    }

    /// What is known before anything has happened; all else is unknown until it is reported.
    fn switch_on(&mut self) -> Result<(), WaveError> {
        for lane in &self.signals.lanes {
            self.sink.change(0, lane.busy, Value::Bits(0))?;
            self.sink.change(0, lane.kind, Value::Text(""))?;
            self.sink.change(0, lane.tlps, Value::Bits(0))?;
        }
        for &vector in &self.signals.vectors {
            self.sink.change(0, vector, Value::Bits(0))?;
        }
        let card = &self.signals.card;
        for pin in card.strobes().chain([card.rx_valid, card.tx_valid]) {
            self.sink.change(0, pin, Value::Bits(0))?;
        }
        self.sink.change(0, self.signals.bus_master, Value::Bits(0))
    }

    /// A TLP enters the link, and the analyzer says what for (shown to 24 characters; empty: nobody
    /// knows).
    pub fn tlp_for(&mut self, sighting: &Sighting<'_>, purpose: &'static str) {
        let direction = sighting.direction;
        let last_symbol = sighting.arrives.since(Instant::ZERO + self.propagation);
        let ends = (Instant::ZERO + last_symbol).max(sighting.departs);
        self.reach(sighting.departs);
        if direction == Direction::Downstream {
            let first_symbol = sighting.departs + sighting.arrives.since(ends);
            self.push(first_symbol, What::Receives(true));
            self.push(sighting.arrives, What::Receives(false));
        }
        self.push(sighting.departs, What::Begins(direction, Glance::at(sighting.tlp, purpose)));
        self.push(ends, What::Ends(direction));
    }

    /// What a TLP that [`WavesTap::tlp_for`] has shown means at the card's pins.
    pub fn card(&mut self, sighting: &Sighting<'_>, seen: &Classified) {
        if let Some((stage, at, bit)) = card::stage(sighting, seen) {
            self.push(at, What::Pulse(stage, bit, true));
            self.push(at + self.clock, What::Pulse(stage, bit, false));
        }
    }

    /// From `at` on, the sender of this direction has so many credits of this class left: headers,
    /// and units of 16 bytes of data. More than 65,535 are shown as that.
    pub fn credits(
        &mut self,
        at: Instant,
        direction: Direction,
        class: FlowClass,
        header: u32,
        data: u32,
    ) {
        let (headers, units) = self.lane(direction).credits_of(class);
        self.reach(at);
        self.push(at, What::Number(headers, u64::from(header.min(0xffff))));
        self.push(at, What::Number(units, u64::from(data.min(0xffff))));
        if direction == Direction::Upstream {
            for (pin, left) in self.signals.card.credits(class, header, data).into_iter().flatten()
            {
                self.push(at, What::Number(pin, left));
            }
        }
    }

    /// From `at` on, a queue has these indices (`None`: as before) and is in this state, a word of up
    /// to 16 characters such as `idle` or `fetch`.
    pub fn queue(
        &mut self,
        at: Instant,
        queue: u16,
        avail_idx: Option<u16>,
        used_idx: Option<u16>,
        state: &'static str,
    ) {
        let Some(signals) = self.signals.queues.get(usize::from(queue)).copied() else { return };
        self.reach(at);
        if let Some(index) = avail_idx {
            self.push(at, What::Number(signals.avail_idx, u64::from(index)));
        }
        if let Some(index) = used_idx {
            self.push(at, What::Number(signals.used_idx, u64::from(index)));
        }
        self.push(at, What::Word(signals.state, signals::fit(state, signals::STATE_BYTES)));
    }

    /// At `at` the card sends an interrupt by this MSI-X vector.
    pub fn interrupt(&mut self, at: Instant, vector: u16) {
        if usize::from(vector) < self.sent.len() {
            self.reach(at);
            self.push(at, What::Interrupt(vector));
        }
    }

    /// From `at` on, the card may master the bus, or may not.
    pub fn bus_master(&mut self, at: Instant, enabled: bool) {
        self.reach(at);
        self.push(at, What::Number(self.signals.bus_master, u64::from(enabled)));
    }

    /// Changes that were reported too late to stand at their time.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Writes what waits and closes the file, which ends at `end` or at the last change.
    ///
    /// # Errors
    /// The first thing that went wrong since the file was created.
    pub fn finish(mut self, end: Instant) -> Result<(), WaveError> {
        self.flush(Instant::FAR_FUTURE);
        match self.failure {
            Some(failure) => Err(failure),
            None => self.sink.finish(end.as_ps()),
        }
    }

    /// The bench is at `at`, or was.
    fn reach(&mut self, at: Instant) {
        if at > self.present {
            self.present = at;
            let settled = at.since(Instant::ZERO + WINDOW);
            self.flush(Instant::ZERO + settled);
        }
    }

    fn push(&mut self, at: Instant, what: What) {
        if self.failure.is_some() {
            return;
        }
        if at < self.written {
            self.late += 1;
        }
        self.seq += 1;
        let change = Change { at: at.max(self.written), seq: self.seq, what };
        self.waiting.push(Reverse(change));
    }

    /// Writes the changes before `settled`.
    fn flush(&mut self, settled: Instant) {
        while let Some(Reverse(change)) = self.waiting.peek().copied() {
            if change.at >= settled {
                break;
            }
            self.waiting.pop();
            self.written = change.at;
            if let Err(failure) = self.write(change.at.as_ps(), change.what) {
                self.failure = Some(failure);
                self.waiting.clear();
            }
        }
    }

    fn write(&mut self, at_ps: u64, what: What) -> Result<(), WaveError> {
        match what {
            What::Begins(direction, glance) => self.write_beginning(at_ps, direction, &glance),
            What::Ends(direction) => self.write_end(at_ps, direction),
            What::Number(signal, number) => self.sink.change(at_ps, signal, Value::Bits(number)),
            What::Word(signal, word) => self.sink.change(at_ps, signal, Value::Text(word)),
            What::Interrupt(vector) => {
                let vector = usize::from(vector);
                self.sent[vector] += 1;
                let shown = Value::Bits(self.sent[vector] & 0xffff_ffff);
                self.sink.change(at_ps, self.signals.vectors[vector], shown)
            }
            What::Pulse(stage, bit, begins) => self.write_pulse(at_ps, stage, bit, begins),
            What::Receives(begins) => {
                self.receiving = stepped(self.receiving, begins);
                let valid = Value::Bits(u64::from(self.receiving > 0));
                self.sink.change(at_ps, self.signals.card.rx_valid, valid)
            }
        }
    }

    /// Pulses of one bit that touch or overlap are one.
    fn write_pulse(
        &mut self,
        at_ps: u64,
        stage: Stage,
        bit: u16,
        begins: bool,
    ) -> Result<(), WaveError> {
        let pulses = &mut self.pulses[stage as usize];
        let of = &mut pulses[usize::from(bit)];
        *of = stepped(*of, begins);
        let bits = u64::from(pulses[0] > 0) | u64::from(pulses[1] > 0) << 1;
        self.sink.change(at_ps, self.signals.card.strobe(stage), Value::Bits(bits))
    }

    fn write_beginning(
        &mut self,
        at_ps: u64,
        direction: Direction,
        glance: &Glance,
    ) -> Result<(), WaveError> {
        let state = &mut self.lanes[direction as usize];
        state.leaving += 1;
        state.tlps += 1;
        let lane = &self.signals.lanes[direction as usize];
        let sink = &mut self.sink;
        sink.change(at_ps, lane.busy, Value::Bits(1))?;
        if direction == Direction::Upstream {
            sink.change(at_ps, self.signals.card.tx_valid, Value::Bits(1))?;
        }
        sink.change(at_ps, lane.kind, Value::Text(glance.kind))?;
        sink.change(at_ps, lane.purpose, Value::Text(glance.purpose))?;
        sink.change(at_ps, lane.status, Value::Text(glance.status))?;
        sink.change(at_ps, lane.address, glance.address.map_or(Value::Unknown, Value::Bits))?;
        sink.change(at_ps, lane.tag, Value::Bits(u64::from(glance.tag)))?;
        sink.change(at_ps, lane.length, Value::Bits(u64::from(glance.len_bytes)))?;
        sink.change(at_ps, lane.tlps, Value::Bits(state.tlps & 0xffff_ffff))
    }

    /// The kind goes blank with the last symbol; where the next TLP follows in the same picosecond,
    /// that one is shown, as the last value of a time counts.
    fn write_end(&mut self, at_ps: u64, direction: Direction) -> Result<(), WaveError> {
        let state = &mut self.lanes[direction as usize];
        state.leaving = state.leaving.saturating_sub(1);
        if state.leaving > 0 {
            return Ok(());
        }
        let lane = &self.signals.lanes[direction as usize];
        self.sink.change(at_ps, lane.busy, Value::Bits(0))?;
        if direction == Direction::Upstream {
            self.sink.change(at_ps, self.signals.card.tx_valid, Value::Bits(0))?;
        }
        self.sink.change(at_ps, lane.kind, Value::Text(""))
    }

    fn lane(&self, direction: Direction) -> &Lane {
        &self.signals.lanes[direction as usize]
    }
}

fn stepped(count: u32, up: bool) -> u32 {
    if up { count + 1 } else { count.saturating_sub(1) }
}

/// For a bench without an analyzer: nobody knows what for.
impl Tap for WavesTap {
    fn tlp(&mut self, sighting: &Sighting<'_>) {
        self.tlp_for(sighting, "");
    }
}
