//! A machine on whose link something goes wrong.

use super::*;
use crate::link::aside::LinkError;
use crate::link::faults::{TlpFault, Upset};
use crate::link::{CompletionOrder, LinkConfig};

/// A card that notes what its end of the link tells it.
struct Told {
    card: Puppet,
    events: Rc<RefCell<Vec<LinkEvent>>>,
}

impl Endpoint for Told {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        self.card.advance(now, port);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.card.next_wake()
    }

    fn link_event(&mut self, event: &LinkEvent) {
        self.events.borrow_mut().push(*event);
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
) -> (Machine<Deaf>, Rc<RefCell<Vec<LinkEvent>>>) {
    let (mut machine, _) = machine(Puppet::default());
    let events = Rc::new(RefCell::new(Vec::new()));
    let card = Puppet { script, ..Puppet::default() };
    machine.card = Box::new(Told { card, events: events.clone() });
    machine.set_link_fault(Box::new(Bad { upset }));
    machine.turn_card();
    (machine, events)
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
    let bad = |event: &LinkEvent| event.error == LinkError::BadTlp;
    assert!(machine.take_root_link_events().iter().any(bad));
    assert!(events.borrow().iter().any(bad));
}

/// PCIe 5.0 §6.2, Surprise Down: software is told by what does not come.
#[test]
fn when_the_link_goes_down_root_and_card_are_told_and_reads_are_all_ones() {
    let (mut machine, events) =
        bad_machine(VecDeque::new(), Some((at_us(20), Upset::SurpriseDown)));
    machine.run_until(at_us(30));
    let down = |event: &LinkEvent| event.error == LinkError::SurpriseDown && event.at == at_us(20);
    assert!(machine.take_root_link_events().iter().any(down));
    assert!(events.borrow().iter().any(down));
    assert!(!machine.link().is_up());
    assert_eq!(machine.mmio_read(PhysAddr(0xe000_0000), Width::W32), 0xffff_ffff);
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
