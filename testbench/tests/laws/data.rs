//! Every byte is compared, and the comparison can fail.

use pcie_sim::endpoint::{Endpoint, Port};
use pcie_sim::link::credits::Credits;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{FlowClass, Tlp};
use testbench::bench::{inspect, run_with};
use testbench::cli::{self, Bench, main_with};

use crate::rig::{CARD, Card, runs};

/// Which way a byte is changed.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// In a long completion, before the card sees it.
    In,
    /// In a long write, after the card sent it.
    Out,
}

/// A card with a byte lane that breaks: from the `nth` TLP of more than 100 bytes on that goes the `way`,
/// one bit of the last byte is inverted.
struct Flip<E> {
    card: E,
    way: Way,
    nth: u32,
}

impl<E: Endpoint> Endpoint for Flip<E> {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        let Self { card, way, nth } = self;
        card.advance(now, &mut FlipPort { port, way: *way, nth });
    }

    fn next_wake(&self) -> Option<Instant> {
        self.card.next_wake()
    }
}

struct FlipPort<'a> {
    port: &'a mut dyn Port,
    way: Way,
    nth: &'a mut u32,
}

impl FlipPort<'_> {
    fn hit(&mut self, tlp: &mut Tlp) {
        let data = match (self.way, tlp) {
            (Way::In, Tlp::Completion(completion)) => &mut completion.data,
            (Way::Out, Tlp::MemWrite(write)) => &mut write.data,
            _ => return,
        };
        if data.len() <= 100 {
            return;
        }
        *self.nth = self.nth.saturating_sub(1);
        if *self.nth == 0
            && let Some(last) = data.last_mut()
        {
            *last ^= 0x10;
        }
    }
}

impl Port for FlipPort<'_> {
    fn receive(&mut self) -> Option<Tlp> {
        let mut tlp = self.port.receive()?;
        if matches!(self.way, Way::In) {
            self.hit(&mut tlp);
        }
        Some(tlp)
    }

    fn take(&mut self) -> Option<Tlp> {
        let mut tlp = self.port.take()?;
        if matches!(self.way, Way::In) {
            self.hit(&mut tlp);
        }
        Some(tlp)
    }

    fn give_back(&mut self, class: FlowClass, data_credits: u32) {
        self.port.give_back(class, data_credits);
    }

    fn can_send(&self, class: FlowClass, data_credits: u32) -> bool {
        self.port.can_send(class, data_credits)
    }

    // A card that counts credits itself would, without these, see none unless all are there.
    fn credits(&self, class: FlowClass) -> Credits {
        self.port.credits(class)
    }

    fn has_room(&self) -> bool {
        self.port.has_room()
    }

    fn send(&mut self, mut tlp: Tlp) {
        if matches!(self.way, Way::Out) {
            self.hit(&mut tlp);
        }
        self.port.send(tlp);
    }
}

const TRAFFIC: &str = "[net]\nsynthetic = { packets = 40, bytes = 700 }\n\
                       [blk]\nsynthetic = { requests = 40, bytes = 1024 }\ndisk_size = \"16 KiB\"\n";

/// Sixteen places of one KiB on the disk: what is written is soon read.
fn all_data_comes_back(card: Card) {
    for platform in ["x86-noiommu", "x86-vtd"] {
        for config in runs(platform, TRAFFIC) {
            let result = run_with(&config, &card).expect("it runs");
            assert_eq!(result.violations, [], "{}", config.name());
            assert!(result.requests >= 40, "{}: {}", config.name(), result.requests);
        }
    }
}

/// DESIGN.md, scoreboard: every packet back byte for byte, every block as last written.
#[test]
fn every_packet_and_every_block_comes_back_byte_for_byte_through_every_cell_of_the_matrix() {
    all_data_comes_back(CARD);
}

fn a_changed_byte_is_found(card: Card) {
    for way in [Way::In, Way::Out] {
        for (device, rule) in [("net", "DATA-NET"), ("blk", "DATA-BLK")] {
            let matrix = format!(
                "[matrix]\ndevices = [\"{device}\"]\nrings = [\"card\"]\nlayouts = [\"direct\"]\n\
                 event_idx = [false]\n"
            );
            let config = &runs("x86-noiommu", &(matrix + TRAFFIC))[0];
            let result = run_with(config, &|config, parameters| {
                Ok(card(config, parameters)?.behind(|card| Flip { card, way, nth: 5 }))
            });
            let result = result.expect("a card's fault is a finding");
            let rules: Vec<&str> = result.violations.iter().map(|v| v.rule.as_str()).collect();
            assert!(!rules.is_empty() && rules.iter().all(|found| *found == rule), "{rules:?}");
        }
    }
}

/// The same comparison can fail: one bit of a byte is enough.
#[test]
fn a_bit_changed_on_the_way_is_found_by_the_scoreboard() {
    a_changed_byte_is_found(CARD);
}

fn a_changed_byte_is_status_1(card: Card) {
    let run = move |config: &_| {
        run_with(config, &|config, parameters| {
            Ok(card(config, parameters)?.behind(|card| Flip { card, way: Way::Out, nth: 3 }))
        })
    };
    let folder = tempfile::tempdir().expect("a place for files");
    let json = folder.path().join("out.json");
    let arguments = [
        "vtb",
        "--only",
        "host/direct/net/x86-vtd",
        "--set",
        "net.synthetic={packets=20,bytes=500}",
        "--json",
        json.to_str().expect("a path in UTF-8"),
    ];
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let bench = Bench { inspect: &inspect, run: &run };
    let status = main_with(arguments, &bench, &mut out, &mut err);
    assert_eq!((status, err.as_slice()), (cli::VIOLATED, &[][..]));
    let out = String::from_utf8(out).expect("text");
    assert!(out.contains("violated: DATA-NET at "), "{out}");
    let json = std::fs::read_to_string(json).expect("the report is written");
    assert!(json.contains("\"rule\": \"DATA-NET\""), "{json}");
}

/// DESIGN.md, "The command": 1 when a rule was violated.
#[test]
fn a_changed_byte_ends_the_command_with_status_1_and_is_in_its_report() {
    a_changed_byte_is_status_1(CARD);
}
