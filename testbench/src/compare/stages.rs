//! The stages of a card's pipeline, as they show on the link: from what lets the card go on to what it does.
//!
//! | stage | from | to |
//! |---|---|---|
//! | `doorbell_to_index` | the doorbell is there | the read of the available index leaves |
//! | `index_to_entry` | the index is there | the first read of an entry leaves |
//! | `to_descriptor` | an entry or a descriptor is there | the read of the next descriptor leaves |
//! | `to_payload` | a descriptor is there | the first read or write of a buffer leaves |
//! | `to_used` | payload is there or has left | a used element leaves |
//! | `element_to_index` | the element has left | the used index leaves |
//! | `index_to_suppression` | the index has left | the read of the suppression word leaves |
//! | `to_interrupt` | the index has left, or the suppression word is there | the interrupt leaves |
//! | `answer` | a request of the CPU is there | its answer leaves |
//!
//! Each is taken in the queue that it belongs to, and from the latest event that can have let the card go
//! on: with several requests under way it is a lower bound of what the stage takes, by the same
//! definition for both cards.

use std::collections::BTreeMap;

use pcie_sim::time::{Instant, Span};

use super::transactions::{Act, Transaction};
use crate::analyzer::{Purpose, Region, Role};

/// What can let a card go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Doorbell,
    Index,
    Entry,
    Descriptor,
    Payload,
    Element,
    UsedIndex,
    Suppression,
}

/// The stages between DMAs, each with what it may begin with.
const STAGES: [(&str, &[Event]); 8] = [
    ("doorbell_to_index", &[Event::Doorbell]),
    ("index_to_entry", &[Event::Index]),
    ("to_descriptor", &[Event::Doorbell, Event::Entry, Event::Descriptor]),
    ("to_payload", &[Event::Doorbell, Event::Entry, Event::Descriptor]),
    ("to_used", &[Event::Payload]),
    ("element_to_index", &[Event::Element]),
    ("index_to_suppression", &[Event::UsedIndex]),
    ("to_interrupt", &[Event::UsedIndex, Event::Suppression]),
];

/// How long each stage took, each time.
pub(super) type Stages = BTreeMap<&'static str, Vec<Span>>;

/// One thing that happened on the link.
#[derive(Debug, Clone, Copy)]
enum Happened {
    /// Something reached the card, or left it with nothing to wait for.
    Event(Event),
    /// The card went on.
    Step(&'static str),
}

/// The stages of a run.
pub(super) fn stages(all: &[Transaction]) -> Stages {
    let mut happened: Vec<(Instant, u8, Option<u16>, Happened)> = Vec::new();
    let mut stages = Stages::new();
    for transaction in all {
        if is_answer(transaction) {
            // The link's own time is the same for both cards, and is in it.
            let took = transaction.arrives.since(transaction.departs);
            stages.entry("answer").or_default().push(took);
        }
        for (at, what) in events(transaction) {
            // At one moment, what lets the card go on comes before its going on.
            let rank = u8::from(matches!(what, Happened::Step(_)));
            happened.push((at, rank, transaction.queue, what));
        }
    }
    happened.sort_by_key(|&(at, rank, ..)| (at, rank));
    let mut last: BTreeMap<(Option<u16>, Event), Instant> = BTreeMap::new();
    for (at, _, queue, what) in happened {
        match what {
            Happened::Event(event) => {
                last.insert((queue, event), at);
            }
            Happened::Step(name) => {
                if let Some(took) = take(&mut last, queue, name, at) {
                    stages.entry(name).or_default().push(took);
                }
            }
        }
    }
    stages
}

/// Since the latest of the events that the stage may begin with; that event is used up.
fn take(
    last: &mut BTreeMap<(Option<u16>, Event), Instant>,
    queue: Option<u16>,
    name: &str,
    at: Instant,
) -> Option<Span> {
    let (_, begins) = STAGES.iter().find(|(stage, _)| *stage == name)?;
    let known =
        begins.iter().filter_map(|&event| Some(((queue, event), *last.get(&(queue, event))?)));
    let (key, since) = known.max_by_key(|&(_, since)| since)?;
    last.remove(&key);
    Some(at.since(since))
}

/// The CPU asked, and the card answered.
fn is_answer(transaction: &Transaction) -> bool {
    match transaction.role {
        Role::Config => true,
        Role::Mmio(_) => transaction.act == Act::Read,
        Role::Dma(_) | Role::Message | Role::Stray => false,
    }
}

fn events(transaction: &Transaction) -> Vec<(Instant, Happened)> {
    let read = transaction.act == Act::Read;
    let (leaves, there) = (transaction.departs, transaction.arrives);
    let steps = |name, event| vec![(leaves, Happened::Step(name)), (there, Happened::Event(event))];
    let gone = |name, event| vec![(leaves, Happened::Step(name)), (leaves, Happened::Event(event))];
    match transaction.role {
        Role::Mmio(Region::Notify) => vec![(there, Happened::Event(Event::Doorbell))],
        Role::Dma(Purpose::AvailIdx) => steps("doorbell_to_index", Event::Index),
        Role::Dma(Purpose::RingEntry) => steps("index_to_entry", Event::Entry),
        Role::Dma(Purpose::Descriptor | Purpose::IndirectTable) => {
            steps("to_descriptor", Event::Descriptor)
        }
        Role::Dma(Purpose::Payload) if read => steps("to_payload", Event::Payload),
        Role::Dma(Purpose::Payload) => gone("to_payload", Event::Payload),
        Role::Dma(Purpose::UsedElement) => gone("to_used", Event::Element),
        Role::Dma(Purpose::UsedIdx) => gone("element_to_index", Event::UsedIndex),
        Role::Dma(Purpose::EventSuppression) if read => {
            steps("index_to_suppression", Event::Suppression)
        }
        Role::Dma(Purpose::MsiX) => vec![(leaves, Happened::Step("to_interrupt"))],
        _ => Vec::new(),
    }
}
