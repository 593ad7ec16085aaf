//! A card's model behind pins: a design that needs no simulator, to try adapters and benches with.
//!
//! ```text
//!   rx_* ─▶ bytes ─▶ inbox ─▶ Endpoint ─▶ outbox ─▶ bytes ─▶ tx_*
//! ```
//!
//! It is made of flip-flops: whatever is on its outputs was decided at the edge before, from what was on its
//! inputs then. It was written against the description of the interface and shares nothing with the adapter
//! but the codec of TLPs, and it complains when the adapter breaks a rule.
//!
//! Left out: resets other than the link's, X and Z.

mod behind;
mod layout;

use std::collections::VecDeque;

use pcie_sim::endpoint::Endpoint;
use pcie_sim::host::seed::Sequence;
use pcie_sim::time::Instant;
use pcie_sim::tlp::codec::{emit, parse};
use pcie_sim::tlp::{FlowClass, Tlp};

use self::behind::Behind;
use self::layout::{
    CREDITS, RESET, RX_DATA, RX_EOP, RX_KEEP, RX_NP_OK, RX_READY, RX_SOP, RX_VALID, TX_DATA,
    TX_EOP, TX_KEEP, TX_READY, TX_SOP, TX_VALID, Words, is_non_posted, width,
};
use super::card::Clocked;
use super::tlp_stream::{SIGNALS, Signal, Stalls, reference_name};
use super::{Known, Pins, PortDirection, PortId, PortInfo};

/// Complaints that are kept.
const COMPLAINTS_MAX: usize = 16;

/// What a design of this kind looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedConfig {
    /// Bits of a beat: 64, 128, 256 or 512.
    pub beat_bits: u32,
    /// Signals that it is without; those that are not optional it has anyway.
    pub without: Vec<&'static str>,
    /// How often it pauses: `rx_percent` at its `rx_ready`, `tx_percent` before a beat of its own. With a
    /// pause at `rx_ready` goes one of `rx_np_ok` after every request.
    pub stalls: Stalls,
}

/// A card's model behind pins. See [the module](self).
pub struct Pinned<E> {
    endpoint: E,
    ports: Vec<PortInfo>,
    /// What stands on the pins, in the order of [`SIGNALS`], and the reset.
    values: [Words; SIGNALS.len() + 1],
    has: [bool; SIGNALS.len()],
    config: PinnedConfig,
    lots: Sequence,
    in_reset: bool,
    incoming: Vec<u8>,
    inbox: VecDeque<Tlp>,
    outbox: VecDeque<Tlp>,
    outgoing: Vec<u8>,
    place: usize,
    /// Credits of the TLP under way.
    claimed: Option<(FlowClass, u32)>,
    /// What stood on the inputs of a beat that waits.
    waited: Option<[Words; 4]>,
    complaints: Vec<String>,
}

impl<E: Endpoint> Pinned<E> {
    /// Puts `endpoint` behind pins, which are named as those of the reference RTL; the reset is `rst_ni`.
    pub fn new(endpoint: E, config: PinnedConfig) -> Self {
        let absent = |signal: &Signal| signal.optional && config.without.contains(&signal.name);
        let signals = (0..).zip(&SIGNALS).filter(|(_, signal)| !absent(signal));
        let mut ports: Vec<_> = signals
            .map(|(id, signal)| PortInfo {
                name: reference_name(signal),
                id: PortId(id),
                direction: signal.direction,
                bits: width(signal, config.beat_bits),
            })
            .collect();
        let (name, id) = ("rst_ni".into(), PortId(RESET as u32));
        ports.push(PortInfo { name, id, direction: PortDirection::Input, bits: 1 });
        Self {
            endpoint,
            ports,
            values: Default::default(),
            has: std::array::from_fn(|at| !absent(&SIGNALS[at])),
            lots: Sequence::new(config.stalls.seed),
            config,
            // As it is switched on a model is fresh, and owes nobody the pause of a reset.
            in_reset: true,
            incoming: Vec::new(),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            outgoing: Vec::new(),
            place: 0,
            claimed: None,
            waited: None,
            complaints: Vec::new(),
        }
    }

    /// The name that such a design has for a signal, where it has it.
    pub fn name(config: &PinnedConfig) -> impl Fn(&Signal) -> Option<String> + use<E> {
        let without = config.without.clone();
        move |signal| {
            let absent = signal.optional && without.contains(&signal.name);
            (!absent).then(|| reference_name(signal))
        }
    }

    /// The model.
    #[must_use]
    pub fn endpoint(&self) -> &E {
        &self.endpoint
    }

    /// What the other side of the pins did wrong, the first few.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn complain(&mut self, at: Instant, what: &str) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(format!("{} ps: {what}", at.as_ps()));
        }
    }

    fn bit(&self, signal: usize) -> bool {
        self.values[signal][0] & 1 != 0
    }

    fn has(&self, signal: usize) -> bool {
        self.has[signal]
    }

    fn set(&mut self, signal: usize, value: bool) {
        self.values[signal][0] = value.into();
    }

    fn beat_bytes(&self) -> usize {
        self.config.beat_bits as usize / 8
    }

    fn pauses(&mut self, percent: u8) -> bool {
        percent != 0 && self.lots.below(100) < u64::from(percent)
    }

    fn reset(&mut self, at: Instant) {
        if !self.in_reset {
            self.endpoint.hot_reset(at);
            self.in_reset = true;
        }
        for (value, signal) in self.values.iter_mut().zip(&SIGNALS) {
            if signal.direction == PortDirection::Output {
                *value = Words::default();
            }
        }
        self.incoming.clear();
        self.outgoing.clear();
        self.inbox.clear();
        self.outbox.clear();
        (self.place, self.claimed, self.waited) = (0, None, None);
    }

    /// What stands on `rx_*` as the edge comes.
    fn receive(&mut self, at: Instant) {
        let [valid, ready] = [RX_VALID, RX_READY].map(|signal| self.bit(signal));
        let waited = self.waited.take();
        if !valid {
            if waited.is_some() {
                self.complain(at, "rx_valid fell before the beat had passed");
            }
            return;
        }
        let beat = [RX_SOP, RX_EOP, RX_KEEP, RX_DATA].map(|signal| self.values[signal]);
        if waited.is_some_and(|waited| waited != beat) {
            self.complain(at, "a beat on rx changed");
        }
        if !ready {
            self.waited = Some(beat);
            return;
        }
        let first = self.incoming.is_empty();
        if self.has(RX_SOP) && self.bit(RX_SOP) != first {
            self.complain(at, "rx_sop is at the wrong place");
        }
        if first && is_non_posted(beat[3][0] as u8) {
            self.request_begins(at);
        }
        self.append(at, &beat);
        if self.bit(RX_EOP) {
            match parse(&self.incoming) {
                Ok(tlp) => self.inbox.push_back(tlp),
                Err(error) => self.complain(at, &error.to_string()),
            }
            self.incoming.clear();
        }
    }

    fn request_begins(&mut self, at: Instant) {
        if self.has(RX_NP_OK) && !self.bit(RX_NP_OK) {
            self.complain(at, "a request that wants an answer began without leave");
        }
        let pause = self.config.stalls.rx_percent;
        let leave = !self.pauses(pause);
        self.set(RX_NP_OK, leave);
    }

    fn append(&mut self, at: Instant, [_, eop, keep, data]: &[Words; 4]) {
        let lanes = self.beat_bytes();
        let bytes = data.iter().flat_map(|word| word.to_le_bytes()).take(lanes);
        let all = u64::MAX >> (64 - lanes);
        let mut kept = u64::from(keep[1]) << 32 | u64::from(keep[0]);
        if !self.has(RX_KEEP) {
            kept = all;
        }
        let prefix = kept & kept.wrapping_add(1) == 0;
        if kept == 0 || !prefix || kept != all && eop[0] == 0 {
            self.complain(at, "rx_keep has holes");
        }
        self.incoming.extend(bytes.take(kept.count_ones() as usize));
        if !self.has(RX_KEEP) && eop[0] != 0 {
            // Length counts doublewords; one of the two headers, no digest and no prefix in this design.
            let [first, _, high, low] = [0, 1, 2, 3].map(|at| usize::from(self.incoming[at]));
            let data = if first & 0x40 == 0 {
                0
            } else {
                ((high & 3) << 8 | low).wrapping_sub(1) % 1024 + 1
            };
            self.incoming.truncate(4 * (data + 3 + (first >> 5 & 1)));
        }
    }

    /// A beat of `tx_*` may have passed; then the model has its turn, and the next one is chosen.
    fn send(&mut self, at: Instant) {
        let offered = self.bit(TX_VALID);
        let passed = offered && self.bit(TX_READY);
        let mut ended = None;
        if passed {
            self.place += self.beat_bytes();
            if self.place >= self.outgoing.len() {
                ended = self.claimed.take();
            }
        }
        let left = self.left(ended);
        let (inbox, outbox) = (&mut self.inbox, &mut self.outbox);
        self.endpoint.advance(at, &mut Behind { inbox, outbox, left });
        if offered && !passed {
            return;
        }
        if self.claimed.is_none()
            && let Some(tlp) = self.outbox.pop_front()
        {
            self.claimed = Some((tlp.flow_class(), tlp.data_credits()));
            self.place = 0;
            self.outgoing.clear();
            emit(&tlp, &mut self.outgoing);
        }
        let pause = self.config.stalls.tx_percent;
        let valid = self.claimed.is_some() && !self.pauses(pause);
        self.set(TX_VALID, valid);
        if valid {
            self.offer();
        }
    }

    fn offer(&mut self) {
        let lanes = self.beat_bytes();
        let rest = &self.outgoing[self.place..];
        let there = rest.len().min(lanes);
        let mut data = Words::default();
        for (at, byte) in rest[..there].iter().enumerate() {
            data[at / 4] |= u32::from(*byte) << (8 * (at % 4));
        }
        let keep = u64::MAX >> (64 - there);
        let (first, last) = (self.place == 0, rest.len() <= lanes);
        self.values[TX_DATA] = data;
        self.values[TX_KEEP][..2].copy_from_slice(&[keep as u32, (keep >> 32) as u32]);
        self.set(TX_SOP, first);
        self.set(TX_EOP, last);
    }

    /// Credits for TLPs that the model has yet to give: what the pins say, less those of TLPs that have not
    /// passed whole before this edge.
    fn left(&self, ended: Option<(FlowClass, u32)>) -> [Option<(i64, i64)>; 3] {
        let waiting = self.outbox.iter().map(|tlp| (tlp.flow_class(), tlp.data_credits()));
        let mine = waiting.chain(self.claimed).chain(ended);
        let mut left = CREDITS.map(|(headers, data)| {
            self.has(headers).then(|| (self.stands(headers), self.stands(data)))
        });
        for (class, units) in mine {
            if let Some((heads, data)) = &mut left[class as usize] {
                *heads -= 1;
                *data -= i64::from(units);
            }
        }
        left
    }

    /// What a credit pin says; all ones, or no pin, is as much as one likes.
    fn stands(&self, signal: usize) -> i64 {
        let all_ones = (1 << width(&SIGNALS[signal], self.config.beat_bits)) - 1;
        match self.values[signal][0] {
            value if value == all_ones || !self.has(signal) => u32::MAX.into(),
            value => value.into(),
        }
    }
}

impl<E> Pins for Pinned<E> {
    fn ports(&self) -> &[PortInfo] {
        &self.ports
    }

    fn read(&mut self, port: PortId) -> (u32, Known) {
        (self.values[port.0 as usize][0], Known::All)
    }

    fn write(&mut self, port: PortId, value: u32) {
        self.values[port.0 as usize][0] = value;
    }

    fn read_wide(&mut self, port: PortId, words: &mut [u32]) -> Known {
        let len = words.len();
        words.copy_from_slice(&self.values[port.0 as usize][..len]);
        Known::All
    }

    fn write_wide(&mut self, port: PortId, words: &[u32]) {
        self.values[port.0 as usize][..words.len()].copy_from_slice(words);
    }
}

impl<E: Endpoint> Clocked for Pinned<E> {
    fn rise(&mut self, at: Instant) {
        if self.values[RESET][0] == 0 {
            return self.reset(at);
        }
        self.in_reset = false;
        self.receive(at);
        self.send(at);
        let pause = self.config.stalls.rx_percent;
        let ready = !self.pauses(pause);
        self.set(RX_READY, ready);
        if !self.bit(RX_NP_OK) {
            let leave = !self.pauses(pause);
            self.set(RX_NP_OK, leave);
        }
    }

    fn fall(&mut self, _: Instant) {}
}
