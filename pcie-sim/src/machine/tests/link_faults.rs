//! A machine on whose link something goes wrong.

use super::*;
use crate::link::faults::{TlpFault, Upset};
use crate::link::{CompletionOrder, LinkConfig};
use crate::spec::aer::{self, Error};

/// A card that notes what its end of the link tells it.
struct Told {
    card: Puppet,
    events: Rc<RefCell<Vec<Error>>>,
}

impl Endpoint for Told {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        self.card.advance(now, port);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.card.next_wake()
    }

    fn link_error(&mut self, _: Instant, error: Error, _: Option<&Tlp>) {
        self.events.borrow_mut().push(error);
    }
}

/// The first transmission of every TLP is damaged, and at last the link goes away.
#[derive(Debug)]
struct Bad {
    upset: Option<(Instant, Upset)>,
}

impl LinkFault for Bad {
    fn tlp(&mut self, _: Instant, _: Direction, _: u16, _: &Tlp, replay: bool) -> TlpFault {
        if replay { TlpFault::None } else { TlpFault::Corrupt }
    }

    fn upset(&self) -> Option<(Instant, Upset)> {
        self.upset
    }

    fn upset_done(&mut self) {
        self.upset = None;
    }
}

fn bad_machine(
    script: VecDeque<(Instant, Tlp)>,
    upset: Option<(Instant, Upset)>,
) -> (Machine<Deaf>, Rc<RefCell<Vec<Error>>>) {
    let (mut machine, _) = machine(Puppet::default());
    let events = Rc::new(RefCell::new(Vec::new()));
    let card = Puppet { script, ..Puppet::default() };
    machine.card = Box::new(Told { card, events: events.clone() });
    machine.set_link_fault(Box::new(Bad { upset }));
    machine.turn_card();
    (machine, events)
}

/// A register of the root port's AER capability.
fn recorded(machine: &Machine<Deaf>, register: u16) -> u32 {
    machine.root.port.read(0x100 + register, 4)
}

/// PCIe 5.0 §3.1: what the data link layer has to repeat, the layers above see once, and later.
#[test]
fn a_link_that_damages_every_tlp_once_changes_times_and_nothing_else() {
    let script =
        VecDeque::from([(at_us(10), write(0x3000, &[7; 4])), (at_us(10), write(0x3000, &[8; 4]))]);
    let (mut machine, events) = bad_machine(script, None);
    machine.run_until(at_us(10));
    assert_eq!(machine.mmio_read(PhysAddr(0xe000_0000), Width::W32), 0x1234_5678);
    let mut data = [0; 4];
    machine.read(PhysAddr(0x3000), &mut data);
    assert_eq!(data, [8; 4]);
    assert_eq!(machine.findings(), []);
    assert_ne!(recorded(&machine, aer::CORRECTABLE_STATUS) & 1 << Error::BadTlp.bit(), 0);
    assert!(events.borrow().contains(&Error::BadTlp));
}

/// PCIe 5.0 §6.2, Surprise Down: software is told by what does not come.
#[test]
fn when_the_link_goes_down_the_port_records_it_and_answers_reads_with_all_ones() {
    let (mut machine, events) =
        bad_machine(VecDeque::new(), Some((at_us(20), Upset::SurpriseDown)));
    machine.run_until(at_us(30));
    let down = 1 << Error::SurpriseDown.bit();
    assert_eq!(recorded(&machine, aer::UNCORRECTABLE_STATUS), down);
    assert_eq!(events.borrow().len(), 0, "the card knows by its own link");
    assert!(!machine.link().is_up());
    let asked = machine.now();
    assert_eq!(machine.mmio_read(PhysAddr(0xe000_0000), Width::W32), 0xffff_ffff);
    assert!(machine.now().since(asked) < Span::from_us(2), "the port answers at once");
}

/// PCIe 5.0 §2.4.1, entry D5a: completions of different requests come in any order.
#[test]
fn reads_are_answered_youngest_first_on_request_and_each_read_in_its_own_order() {
    let at = |tag: u16| at_us(10) + Span::from_ns(10) * u64::from(tag);
    let reads = |tag| (at(tag), read(tag, 0x1000 + 0x400 * u64::from(tag), 256));
    let script = (0..6).map(reads).collect();
    let link = LinkConfig { completion_order: CompletionOrder::Reversed, ..LinkConfig::default() };
    let config = MachineConfig { link, ..MachineConfig::default() };
    let (mut machine, seen) = machine_of(config, None, Puppet { script, ..Puppet::default() });
    machine.run_until(at_us(20));
    let parts: Vec<_> =
        completions(&seen).iter().map(|part| (part.tag.0, part.byte_count)).collect();
    let expected: Vec<_> = (0..6).rev().flat_map(|tag| [(tag, 256), (tag, 128)]).collect();
    assert_eq!(parts, expected);
}
