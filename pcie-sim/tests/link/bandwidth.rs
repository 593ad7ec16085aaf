//! Effective bandwidth is what the specification's byte counts give, at every size, speed and width.
//!
//! The expectation is worked out here from the specification's figures and asks the simulation nothing.
//! Bytes a TLP costs besides its data: 12 of header (3 doublewords, §2.2.1), 4 of framing and sequence
//! number and 4 of LCRC (§4.2.2.3 the STP token; §4.2.1.2 STP, END and 2 bytes of number); a DLLP costs
//! 8 (§4.2.2.3 the SDP token of 2, 4 of content, 2 of CRC). A lane carries 8 bits in 10 symbols at
//! 2.5 and 5 GT/s, 128 in 130 above.

use pcie_sim::link::credits::Credits;
use pcie_sim::link::{Generation, Link, LinkConfig, limits};
use pcie_sim::time::Instant;
use pcie_sim::tlp::Tlp;

use super::rig::{DOWN, Log, UP, completion, read, write};
use pcie_sim::endpoint::Port;

const SIZES: [u16; 6] = [128, 256, 512, 1024, 2048, 4096];
const WIDTHS: [u8; 5] = [1, 2, 4, 8, 16];
/// Header, framing, sequence number, LCRC.
const TLP_OVERHEAD: f64 = 20.0;
const DLLP: f64 = 8.0;

/// A link whose buffers hold up nothing.
fn config(generation: u8, lanes: u8, mps: u16) -> LinkConfig {
    let mut config = LinkConfig::default();
    config.timing.generation = Generation::from_number(generation).expect("1 to 5");
    config.timing.lanes = lanes;
    config.data_link.max_payload_bytes = mps;
    config.data_link.replay_buffer_bytes = 1 << 20;
    config.timing.credit_return = limits::update_latency(&config.timing, mps);
    let plenty = Credits { headers: 100_000, data: 100_000 };
    for buffers in [&mut config.root_buffers, &mut config.card_buffers] {
        (buffers.posted, buffers.non_posted) = (plenty, plenty);
        buffers.completion = Credits::INFINITE;
    }
    config
}

/// Bytes a second that the lanes carry.
fn raw_bytes(generation: u8, lanes: u8) -> f64 {
    let giga_transfers = [2.5, 5.0, 8.0, 16.0, 32.0][usize::from(generation) - 1];
    let code = if generation <= 2 { 8.0 / 10.0 } else { 128.0 / 130.0 };
    giga_transfers * 1e9 * code * f64::from(lanes) / 8.0
}

/// Seconds that a receiver gathers TLPs before it acknowledges them, and frees buffers before it tells:
/// the specification's Ack latency limit (§3.6.3.1), which is that of UpdateFC too (§2.6.1.2).
fn gather_seconds(generation: u8, lanes: u8, mps: u16) -> f64 {
    let symbol_ns = [4.0, 2.0, 1.0, 0.5, 0.25][usize::from(generation) - 1];
    let delay = [19.0, 70.0, 115.0, 115.0, 115.0][usize::from(generation) - 1];
    let factor = match (mps, lanes) {
        (..=256, ..=4) => 1.4,
        (..=256, 8) => 2.5,
        (..=256, _) => 3.0,
        (_, ..=8) => 1.0,
        _ => 2.0,
    };
    let symbols = ((f64::from(mps) + 28.0) * factor / f64::from(lanes) + delay).floor();
    symbols * symbol_ns * 1e-9
}

/// Two ends that do nothing but keep a link busy.
struct Ends {
    link: Link,
    log: Log,
    now: Instant,
    landing: [Option<Instant>; 2],
    again: [Option<Instant>; 2],
    mps: u16,
    /// Bytes of data that have arrived at their goal.
    got: [u64; 2],
    /// Every TLP that arrives makes its sender send another.
    writes: [bool; 2],
}

impl Ends {
    fn new(config: &LinkConfig) -> Self {
        Self {
            link: Link::new(config),
            log: Log { deaf: true, ..Log::default() },
            now: Instant::ZERO,
            landing: [None; 2],
            again: [None; 2],
            mps: config.data_link.max_payload_bytes,
            got: [0; 2],
            writes: [false; 2],
        }
    }

    fn pump(&mut self) {
        for direction in [DOWN, UP] {
            let pumped = self.link.pump(direction, self.now, &mut self.log);
            self.landing[direction as usize] = pumped.arrives;
            self.again[direction as usize] = pumped.again;
        }
    }

    fn step(&mut self) {
        let times = self.landing.iter().chain(&self.again);
        self.now = *times.flatten().min().expect("the link is never at rest");
        for direction in [DOWN, UP] {
            if self.landing[direction as usize] != Some(self.now) {
                continue;
            }
            self.link.land(direction, self.now);
            let tlp = if direction == UP {
                self.link.take_at_root(self.now)
            } else {
                self.link.card_port(self.now).receive()
            };
            match tlp.expect("one has landed") {
                Tlp::MemWrite(got) => {
                    self.got[direction as usize] += got.data.len() as u64;
                    if self.writes[direction as usize] {
                        self.link.submit(direction, Tlp::MemWrite(got));
                    }
                }
                Tlp::MemRead(asked) => {
                    for part in 0..asked.len_bytes.div_ceil(self.mps) {
                        let left = asked.len_bytes - part * self.mps;
                        let len = usize::from(left.min(self.mps));
                        self.link.submit(DOWN, completion(asked.tag, left, len));
                    }
                }
                Tlp::Completion(part) => {
                    self.got[DOWN as usize] += part.data.len() as u64;
                    if usize::from(part.byte_count) == part.data.len() {
                        self.link.submit(UP, read(part.tag.0, self.mrrs(&part)));
                    }
                }
                other => panic!("nobody sent {other:?}"),
            }
        }
        self.pump();
    }

    /// The tag of a read carries its size, so that the card need not remember it.
    fn mrrs(&self, part: &pcie_sim::tlp::Completion) -> u16 {
        128 << (part.tag.0 & 7)
    }

    /// Bytes a second in one direction over so many TLPs, when the link has found its pace.
    fn measure(&mut self, direction: pcie_sim::endpoint::Direction, warm: u64, bytes: u64) -> f64 {
        while self.got[direction as usize] < warm {
            self.step();
        }
        let (from, before) = (self.now, self.got[direction as usize]);
        while self.got[direction as usize] < before + bytes {
            self.step();
        }
        assert!(!self.link.has_events(), "nothing is wrong with this link");
        let got = self.got[direction as usize] - before;
        got as f64 / self.now.since(from).as_s_f64()
    }
}

fn within_one_percent(measured: f64, expected: f64, what: &str) -> Option<String> {
    let error = measured / expected - 1.0;
    (error.abs() > 0.01).then(|| {
        format!("{what}: {measured:.3e}, expected {expected:.3e}, {:+.2} %", error * 100.0)
    })
}

/// Data of a TLP over all its bytes: what comes back, Acks and updates, has the other direction to itself.
#[test]
fn back_to_back_writes_reach_the_bandwidth_of_the_closed_form() {
    let mut wrong = Vec::new();
    for (generation, lanes, mps) in every_link() {
        let mut ends = Ends::new(&config(generation, lanes, mps));
        ends.writes[UP as usize] = true;
        let in_flight = 2 + 40_000 / u64::from(mps);
        (0..in_flight).for_each(|i| ends.link.submit(UP, write(i * 4096, mps.into())));
        ends.pump();
        let mps_bytes = u64::from(mps);
        let measured = ends.measure(UP, in_flight * mps_bytes, 300 * mps_bytes);
        let data = f64::from(mps);
        let expected = raw_bytes(generation, lanes) * data / (data + TLP_OVERHEAD);
        wrong.extend(within_one_percent(
            measured,
            expected,
            &format!("gen{generation} x{lanes} {mps}"),
        ));
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

/// Bytes in one direction for one write, when the other carries writes too: the write and its share of an
/// Ack and an UpdateFC. They leave at the first boundary after the gathering time, and the next TLP to
/// come opens the next one: at least a whole TLP more than the gathering time, and less than two. Which,
/// depends on how the two directions happen to lie; the costs of both are given.
fn duplex_costs(generation: u8, lanes: u8, mps: u16) -> [f64; 2] {
    let tlp = f64::from(mps) + TLP_OVERHEAD;
    let gather = gather_seconds(generation, lanes, mps) * raw_bytes(generation, lanes);
    [1.0, 2.0].map(|more| tlp + 2.0 * DLLP / ((gather / tlp).floor() + more))
}

#[test]
fn writes_in_both_directions_pay_for_each_others_dllps() {
    let mut wrong = Vec::new();
    for (generation, lanes, mps) in every_link() {
        let mut ends = Ends::new(&config(generation, lanes, mps));
        ends.writes = [true; 2];
        let in_flight = 2 + 40_000 / u64::from(mps);
        for i in 0..in_flight {
            ends.link.submit(UP, write(i * 4096, mps.into()));
            ends.link.submit(DOWN, write(i * 4096, mps.into()));
        }
        ends.pump();
        let data = u64::from(mps);
        let measured = ends.measure(UP, 2 * in_flight * data, 500 * data);
        let costs = duplex_costs(generation, lanes, mps);
        let bounds = costs.map(|cost| raw_bytes(generation, lanes) * f64::from(mps) / cost);
        let expected = measured.clamp(bounds[0], bounds[1]);
        wrong.extend(within_one_percent(
            measured,
            expected,
            &format!("gen{generation} x{lanes} {mps}"),
        ));
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

fn every_link() -> impl Iterator<Item = (u8, u8, u16)> {
    let of = |generation| {
        WIDTHS.into_iter().flat_map(move |lanes| SIZES.map(|mps| (generation, lanes, mps)))
    };
    (1..=5).flat_map(of)
}

/// Bytes on the way down for one read: its completions, and its share of the Ack and the UpdateFC that
/// its request costs. A request that comes opens the gathering time; at its end Ack and update leave
/// between two completions, and the first request after that opens the next.
fn read_cost(generation: u8, lanes: u8, mps: u16, mrrs: u16) -> f64 {
    let parts = f64::from(mrrs.div_ceil(mps));
    let completions = f64::from(mrrs) + parts * TLP_OVERHEAD;
    let rate = raw_bytes(generation, lanes);
    let gather = gather_seconds(generation, lanes, mps) * rate;
    let phase = (2.0 * 125e-9 * rate + TLP_OVERHEAD) % completions;
    let part = completions / parts;
    let wait = part - (phase + gather) % part;
    let gathered = 1.0 + ((gather + wait) / completions).floor();
    completions + 2.0 * DLLP / gathered
}

#[test]
fn back_to_back_reads_reach_the_bandwidth_of_the_closed_form() {
    let mut wrong = Vec::new();
    for (generation, lanes, mps) in every_link() {
        for (code, mrrs) in (0u16..).zip(SIZES) {
            let mut ends = Ends::new(&config(generation, lanes, mps));
            let in_flight = 3 + 40_000 / mrrs;
            (0..in_flight).for_each(|i| ends.link.submit(UP, read(i << 3 | code, mrrs)));
            ends.pump();
            let mrrs_bytes = u64::from(mrrs);
            let warm = 2 * u64::from(in_flight) * mrrs_bytes;
            let measured = ends.measure(DOWN, warm, 400 * mrrs_bytes);
            let cost = read_cost(generation, lanes, mps, mrrs);
            let expected = raw_bytes(generation, lanes) * f64::from(mrrs) / cost;
            let what = format!("gen{generation} x{lanes} mps {mps} mrrs {mrrs}");
            wrong.extend(within_one_percent(measured, expected, &what));
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}
