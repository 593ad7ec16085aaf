//! From TLPs to transactions: a request with all of its completions.

use std::collections::BTreeMap;

use pcie_sim::address::Bdf;
use pcie_sim::endpoint::Direction;
use pcie_sim::time::Instant;
use pcie_sim::tlp::{Completion, CompletionStatus, Tag, Tlp};

use crate::analyzer::{Place, Purpose, Region, Role};
use crate::bench::watch::{Recording, Seen};

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Memory or a register is read.
    Read,
    /// Memory or a register is written.
    Write,
    /// Configuration space is read.
    ConfigRead,
    /// Configuration space is written.
    ConfigWrite,
    /// Anything else.
    Other,
}

/// The transactions that come in the same order on both cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// The CPU's accesses that set the card up and take it down.
    Control,
    /// The card's reads from the buffers of one request.
    Reads {
        /// Its queue.
        queue: u16,
        /// How many came before it in the queue.
        position: u64,
    },
    /// The card's writes to the buffers of one request.
    Writes {
        /// Its queue.
        queue: u16,
        /// How many came before it in the queue.
        position: u64,
    },
    /// What follows from a card's pace: in any order, any number of times.
    Pace(&'static str),
}

/// A request and what came back for it.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Where it belongs.
    pub stream: Stream,
    /// What it does.
    pub act: Act,
    /// What it was for.
    pub role: Role,
    /// The queue it served, where that is known.
    pub queue: Option<u16>,
    /// Where in a request's buffers.
    pub place: Option<Place>,
    /// The address, as on the link; the register of configuration space.
    pub address: u64,
    /// Bytes asked for or written.
    pub len_bytes: usize,
    /// The bytes written, or read: all completions together.
    pub data: Vec<u8>,
    /// What the completions said; success for what wants none.
    pub status: CompletionStatus,
    /// When the request left.
    pub departs: Instant,
    /// When its last byte, or that of its last completion, was there.
    pub arrives: Instant,
    /// The request.
    pub tlp: Tlp,
}

/// The transactions of a run, in the order in which they began.
#[must_use]
pub fn transactions(recording: &Recording) -> Vec<Transaction> {
    let mut all: Vec<Transaction> = Vec::new();
    // By the way the request went, whose it is, and its tag.
    let mut open: BTreeMap<(Direction, Bdf, Tag), usize> = BTreeMap::new();
    for seen in &recording.tlps {
        if let Tlp::Completion(completion) = seen.tlp.plain() {
            let asked = match seen.direction {
                Direction::Downstream => Direction::Upstream,
                Direction::Upstream => Direction::Downstream,
            };
            let key = (asked, completion.requester, completion.tag);
            if let Some(&at) = open.get(&key)
                && take_completion(&mut all[at], completion, seen)
            {
                open.remove(&key);
            }
            continue;
        }
        let (transaction, tag) = begin(seen);
        if let Some((requester, tag)) = tag {
            open.insert((seen.direction, requester, tag), all.len());
        }
        all.push(transaction);
    }
    all
}

/// Adds what a completion brings. Whether it was the last one.
fn take_completion(to: &mut Transaction, completion: &Completion, seen: &Seen) -> bool {
    to.arrives = seen.arrives;
    if completion.status != CompletionStatus::Success {
        to.status = completion.status;
        return true;
    }
    to.data.extend_from_slice(&completion.data);
    usize::from(completion.byte_count) <= completion.data.len()
}

fn begin(seen: &Seen) -> (Transaction, Option<(Bdf, Tag)>) {
    let none: &[u8] = &[];
    let (act, address, len_bytes, data, tag) = match seen.tlp.plain() {
        Tlp::MemRead(read) => (
            Act::Read,
            read.address,
            usize::from(read.len_bytes),
            none,
            Some((read.requester, read.tag)),
        ),
        Tlp::MemWrite(write) => {
            (Act::Write, write.address, write.data.len(), write.data.as_slice(), None)
        }
        Tlp::ConfigRead(read) => {
            let asked = Some((read.requester, read.tag));
            (Act::ConfigRead, u64::from(read.offset), usize::from(read.len_bytes), none, asked)
        }
        Tlp::ConfigWrite(write) => {
            let asked = Some((write.requester, write.tag));
            (
                Act::ConfigWrite,
                u64::from(write.offset),
                write.data.len(),
                write.data.as_slice(),
                asked,
            )
        }
        _ => (Act::Other, 0, 0, none, None),
    };
    let transaction = Transaction {
        stream: stream(seen, act),
        act,
        role: seen.role,
        queue: seen.queue,
        place: seen.place,
        address,
        len_bytes,
        data: data.to_vec(),
        status: CompletionStatus::Success,
        departs: seen.departs,
        arrives: seen.arrives,
        tlp: seen.tlp.clone(),
    };
    (transaction, tag)
}

fn stream(seen: &Seen, act: Act) -> Stream {
    match (seen.role, seen.place) {
        (Role::Dma(Purpose::Payload), Some(Place { queue, position, .. })) => match act {
            Act::Write => Stream::Writes { queue, position },
            _ => Stream::Reads { queue, position },
        },
        (Role::Dma(purpose), _) => Stream::Pace(purpose.name()),
        (Role::Config | Role::Mmio(Region::Common | Region::Device | Region::MsixTable), _) => {
            Stream::Control
        }
        (Role::Mmio(Region::Notify), _) => Stream::Pace("doorbell"),
        (Role::Mmio(Region::Isr), _) => Stream::Pace("isr"),
        (Role::Mmio(Region::MsixPending), _) => Stream::Pace("msix_pending"),
        (Role::Mmio(Region::Memory), _) => Stream::Pace("card_memory"),
        (Role::Mmio(Region::Nowhere), _) => Stream::Pace("nowhere"),
        (Role::Message, _) => Stream::Pace("message"),
        (Role::Stray, _) => Stream::Pace("stray"),
    }
}
