//! A design whose outputs follow a script, edge by edge.

use pcie_sim::endpoint::{Endpoint, Port};
use pcie_sim::link::credits::ReceiverBuffers;
use pcie_sim::time::Instant;
use pcie_sim::tlp::Tlp;
use pcie_sim::tlp::codec::emit;
use rtl_model::pins::card::PinCardConfig;
use rtl_model::pins::tlp_stream::{Signal, Stalls};
use rtl_model::pins::{Clocked, Known, PinCard, PinFinding, Pins, PortDirection, PortId, PortInfo};

use crate::link::Link;
use crate::passage::PERIOD;

/// What the outputs show between one edge and the next; all else is 0.
#[derive(Clone, Default)]
pub(crate) struct Step {
    pub(crate) values: Vec<(&'static str, u64)>,
    pub(crate) data: Vec<u8>,
    /// Ports that are X.
    pub(crate) unknown: Vec<&'static str>,
}

/// A design of 64-bit beats.
pub(crate) struct Scripted {
    ports: Vec<PortInfo>,
    steps: Vec<Step>,
    edge: usize,
    /// Everything that was written, in order, by port.
    pub(crate) written: Vec<(PortId, Vec<u32>)>,
}

pub(crate) fn port(name: &str, id: u32, output: bool, bits: u32) -> PortInfo {
    let direction = if output { PortDirection::Output } else { PortDirection::Input };
    PortInfo { name: name.into(), id: PortId(id), direction, bits }
}

impl Scripted {
    pub(crate) fn new(steps: Vec<Step>) -> Self {
        let names: [(&str, bool, u32); 17] = [
            ("rx_valid", false, 1),
            ("rx_ready", true, 1),
            ("rx_sop", false, 1),
            ("rx_eop", false, 1),
            ("rx_data", false, 64),
            ("rx_keep", false, 8),
            ("rx_np_ok", true, 1),
            ("tx_valid", true, 1),
            ("tx_ready", false, 1),
            ("tx_sop", true, 1),
            ("tx_eop", true, 1),
            ("tx_data", true, 64),
            ("tx_keep", true, 8),
            ("tx_credit_ph", false, 8),
            ("tx_credit_pd", false, 12),
            ("stat", true, 4),
            ("wide", true, 40),
        ];
        let ports = (0..).zip(names).map(|(id, (name, output, bits))| port(name, id, output, bits));
        Self { ports: ports.collect(), steps, edge: 0, written: Vec::new() }
    }

    pub(crate) fn with_ports(ports: Vec<PortInfo>) -> Self {
        Self { ports, steps: Vec::new(), edge: 0, written: Vec::new() }
    }

    /// What was last written to a port.
    pub(crate) fn input(&self, name: &str) -> Option<&[u32]> {
        let id = self.ports.iter().find(|port| port.name == name)?.id;
        let last = self.written.iter().rev().find(|(port, _)| *port == id)?;
        Some(&last.1)
    }

    fn step(&self) -> Option<&Step> {
        self.steps.get(self.edge)
    }
}

impl Pins for Scripted {
    fn ports(&self) -> &[PortInfo] {
        &self.ports
    }

    fn read(&mut self, port: PortId) -> (u32, Known) {
        let mut words = [0];
        let known = self.read_wide(port, &mut words);
        (words[0], known)
    }

    fn write(&mut self, port: PortId, value: u32) {
        self.write_wide(port, &[value]);
    }

    fn read_wide(&mut self, port: PortId, words: &mut [u32]) -> Known {
        words.fill(0);
        let name = &*self.ports[port.0 as usize].name;
        let Some(step) = self.step() else { return Known::All };
        if let Some((_, value)) = step.values.iter().find(|(other, _)| *other == name) {
            words[0] = *value as u32;
        }
        if name == "tx_data" {
            for (at, byte) in step.data.iter().enumerate() {
                words[at / 4] |= u32::from(*byte) << (8 * (at % 4));
            }
        }
        if step.unknown.contains(&name) { Known::Not } else { Known::All }
    }

    fn write_wide(&mut self, port: PortId, words: &[u32]) {
        self.written.push((port, words.to_vec()));
    }
}

impl Clocked for Scripted {
    fn rise(&mut self, _: Instant) {
        self.edge += 1;
    }

    fn fall(&mut self, _: Instant) {}
}

/// A beat that stands on `tx_*`.
pub(crate) fn beat(bytes: &[u8], first: bool, last: bool) -> Step {
    let keep = u64::from(u8::MAX >> (8 - bytes.len()));
    let values =
        vec![("tx_valid", 1), ("tx_sop", first.into()), ("tx_eop", last.into()), ("tx_keep", keep)];
    Step { values, data: bytes.to_vec(), unknown: Vec::new() }
}

/// The beats of a TLP, in a row.
pub(crate) fn beats(tlp: &Tlp) -> Vec<Step> {
    let mut bytes = Vec::new();
    emit(tlp, &mut bytes);
    let count = bytes.len().div_ceil(8);
    let each = bytes.chunks(8).enumerate();
    each.map(|(at, part)| beat(part, at == 0, at + 1 == count)).collect()
}

/// The name of a signal, when the script's design has it.
pub(crate) fn names(signal: &Signal) -> Option<String> {
    let design = Scripted::new(Vec::new());
    let has = design.ports().iter().any(|port| port.name == signal.name);
    has.then(|| signal.name.into())
}

pub(crate) fn card(steps: Vec<Step>) -> PinCard<Scripted> {
    // The first two edges are for the adapter to get ready.
    let all = vec![Step::default(); 2].into_iter().chain(steps).collect();
    let config = PinCardConfig { period: PERIOD, reset: None, stalls: Stalls::default() };
    PinCard::new(Scripted::new(all), &names, &config).expect("it fits")
}

/// Plays a script to its end on a link; what was found, and when, counted in edges of the script from 0.
pub(crate) fn play_on(steps: Vec<Step>, link: &mut Link) -> Vec<(u64, PinFinding)> {
    let edges = steps.len() as u64 + 3;
    let mut card = card(steps);
    for edge in 1..=edges {
        card.advance(Instant::ZERO + PERIOD * edge, link as &mut dyn Port);
    }
    let kept = card.findings().kept();
    let counted = |at: &Instant| at.as_ps() / PERIOD.as_ps() - 3;
    kept.iter().map(|(at, finding)| (counted(at), finding.clone())).collect()
}

/// As [`play_on`], on a link with credits for all; and what came out.
pub(crate) fn play(steps: Vec<Step>) -> (Vec<(u64, PinFinding)>, Vec<Tlp>) {
    let mut link = Link::new(Vec::new(), ReceiverBuffers::default());
    (play_on(steps, &mut link), link.up)
}
