//! Lays transactions side by side, and finds the first two that are not the same.

use std::collections::BTreeMap;

use pcie_sim::time::Instant;

use super::transactions::{Act, Stream, Transaction};
use crate::analyzer::RequestRecord;

/// A run, to be laid beside another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Half<'a> {
    pub(super) transactions: &'a [Transaction],
    pub(super) requests: &'a [RequestRecord],
}

/// What stands on one side of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// When it began.
    pub at: Instant,
    /// Which transaction it is, counted in the order in which they began; `None` for a request.
    pub index: Option<usize>,
    /// What it is, in words.
    pub what: String,
    /// Its TLP in hex; empty for a request.
    pub tlp: String,
}

/// The first place where two runs part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What is not the same.
    pub what: String,
    /// On the model; `None` when there is nothing of the kind.
    pub model: Option<Side>,
    /// On the RTL; `None` when there is nothing of the kind.
    pub rtl: Option<Side>,
}

impl Difference {
    /// When it shows: on the RTL, or where the RTL should have had something.
    #[must_use]
    pub fn at(&self) -> Instant {
        let side = self.rtl.as_ref().or(self.model.as_ref());
        side.map_or(Instant::ZERO, |side| side.at)
    }
}

/// The difference that shows first.
pub(super) fn first_difference(model: Half<'_>, rtl: Half<'_>) -> Option<Difference> {
    let of_streams = in_streams(model.transactions, rtl.transactions);
    let of_requests = in_requests(model.requests, rtl.requests);
    of_streams.into_iter().chain(of_requests).min_by_key(Difference::at)
}

/// The transactions of each stream, with their places in the whole.
fn streams(all: &[Transaction]) -> BTreeMap<Stream, Vec<usize>> {
    let mut streams: BTreeMap<Stream, Vec<usize>> = BTreeMap::new();
    for (index, transaction) in all.iter().enumerate() {
        if let Stream::Pace(_) = transaction.stream {
            continue;
        }
        let stream = streams.entry(transaction.stream).or_default();
        // The CPU may have to ask again until it gets the answer that it waits for: the last one counts.
        let again = stream.last().is_some_and(|&last| asks_the_same(&all[last], transaction));
        if again && transaction.stream == Stream::Control {
            stream.pop();
        }
        stream.push(index);
    }
    streams
}

fn is_read(transaction: &Transaction) -> bool {
    matches!(transaction.act, Act::Read | Act::ConfigRead)
}

fn in_streams(model: &[Transaction], rtl: &[Transaction]) -> Option<Difference> {
    let (left, right) = (streams(model), streams(rtl));
    let keys: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let nothing = Vec::new();
    let parted = keys.into_iter().filter_map(|key| {
        let (left, right) = (left.get(key).unwrap_or(&nothing), right.get(key).unwrap_or(&nothing));
        (0..left.len().max(right.len())).find_map(|n| {
            let pair = (left.get(n).copied(), right.get(n).copied());
            difference(model, rtl, pair)
        })
    });
    parted.min_by_key(Difference::at)
}

fn difference(
    model: &[Transaction],
    rtl: &[Transaction],
    pair: (Option<usize>, Option<usize>),
) -> Option<Difference> {
    let what = match pair {
        (Some(left), Some(right)) => unlike(&model[left], &rtl[right])?,
        (None, _) => "a transaction that the model does not have".to_owned(),
        (_, None) => "a transaction that the RTL does not have".to_owned(),
    };
    Some(Difference {
        what,
        model: pair.0.map(|index| side(model, index)),
        rtl: pair.1.map(|index| side(rtl, index)),
    })
}

fn side(all: &[Transaction], index: usize) -> Side {
    let transaction = &all[index];
    let mut what = transaction.tlp.to_string();
    if let Some(place) = transaction.place {
        what.push_str(&format!(
            ", byte {} of buffer {} of request {} of queue {}",
            place.offset, place.buffer, place.position, place.queue
        ));
    }
    if is_read(transaction) {
        what.push_str(&format!(", answered {:?}", transaction.status));
        if !transaction.data.is_empty() {
            what.push_str(&format!(" with {}", hex(&transaction.data)));
        }
    }
    Side {
        at: transaction.departs,
        index: Some(index),
        what,
        tlp: pcie_sim::tlp::text::hex(&transaction.tlp),
    }
}

/// The first bytes, as digits.
fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 32;
    let mut text: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN {
        text.push_str("...");
    }
    text
}

fn asks_the_same(left: &Transaction, right: &Transaction) -> bool {
    is_read(left)
        && (left.act, left.role, left.address, left.len_bytes)
            == (right.act, right.role, right.address, right.len_bytes)
}

/// In what two transactions differ. Addresses count where they are registers.
fn unlike(left: &Transaction, right: &Transaction) -> Option<String> {
    if left.act != right.act || left.role != right.role {
        return Some("what is done".to_owned());
    }
    match (left.place, right.place) {
        (Some(l), Some(r)) if l != r => {
            return Some("the place in the request's buffers".to_owned());
        }
        (None, None) if left.address != right.address => return Some("the address".to_owned()),
        (Some(_), None) | (None, Some(_)) => return Some("whether it goes to a buffer".to_owned()),
        _ => {}
    }
    if left.len_bytes != right.len_bytes {
        return Some(format!("the length, {} and {} bytes", left.len_bytes, right.len_bytes));
    }
    if left.status != right.status {
        return Some("the answer's status".to_owned());
    }
    let at = left.data.iter().zip(&right.data).position(|(l, r)| l != r);
    match at {
        Some(at) => Some(format!(
            "the data from byte {at} on, {:#04x} and {:#04x}",
            left.data[at], right.data[at]
        )),
        None if left.data.len() != right.data.len() => Some("how much data there is".to_owned()),
        None => None,
    }
}

type Key = (u16, u64);

fn by_key(requests: &[RequestRecord]) -> BTreeMap<Key, &RequestRecord> {
    requests.iter().map(|request| ((request.queue, request.position), request)).collect()
}

/// Pairs of one and the same request.
pub(super) fn pairs<'a>(
    model: &'a [RequestRecord],
    rtl: &'a [RequestRecord],
) -> Vec<(&'a RequestRecord, &'a RequestRecord)> {
    let (left, right) = (by_key(model), by_key(rtl));
    left.into_iter()
        .filter_map(|(key, request)| right.get(&key).map(|other| (request, *other)))
        .collect()
}

fn in_requests(model: &[RequestRecord], rtl: &[RequestRecord]) -> Option<Difference> {
    let (left, right) = (by_key(model), by_key(rtl));
    let keys: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let parted = keys.into_iter().filter_map(|key| {
        let (left, right) = (left.get(key).copied(), right.get(key).copied());
        let what = match (left, right) {
            (Some(left), Some(right)) => unlike_requests(left, right)?,
            (None, _) => "a request that the model does not complete".to_owned(),
            (_, None) => "a request that the RTL does not complete".to_owned(),
        };
        Some(Difference { what, model: left.map(request), rtl: right.map(request) })
    });
    parted.min_by_key(Difference::at)
}

fn unlike_requests(left: &RequestRecord, right: &RequestRecord) -> Option<String> {
    if left.descriptors != right.descriptors {
        return Some("how many descriptors a request has".to_owned());
    }
    if (left.readable_bytes, left.writable_bytes) != (right.readable_bytes, right.writable_bytes) {
        return Some("how many bytes a request has".to_owned());
    }
    (left.used_len != right.used_len).then(|| "len of the used element".to_owned())
}

fn request(request: &RequestRecord) -> Side {
    let used = request.used_len.map_or("unknown".to_owned(), |len| len.to_string());
    Side {
        at: request.end,
        index: None,
        what: format!(
            "request {} of queue {}: head {}, {} descriptors, {} bytes readable, {} writable, used len {used}",
            request.position,
            request.queue,
            request.head,
            request.descriptors,
            request.readable_bytes,
            request.writable_bytes
        ),
        tlp: String::new(),
    }
}
