//! Packets through the cable: each comes back exactly once, byte for byte, in order.

use std::collections::VecDeque;

use thiserror::Error;

use super::Sample;

/// Delivered packets kept per lane, so that a second copy is told from a strange packet.
const REMEMBERED: usize = 4;
/// Overtaken packets kept per lane; beyond that the oldest counts as lost.
const MOST_OVERTAKEN: usize = 4096;
/// Numbers of lost packets kept for the finding.
const NAMED_LOST: usize = 8;

/// Whether packets of one lane may overtake each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// First in, first out: the cable behind one queue pair.
    Fifo,
    /// Any order.
    Any,
}

/// What is wrong with the packets of a lane. Packets are numbered per lane, from 0, as sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetFinding {
    /// A packet came back changed (or a strange one came in its place).
    #[error(
        "lane {lane}: packet {number} came back changed at byte {offset}: \
         sent {expected} (of {expected_len} bytes), seen {seen} (of {seen_len} bytes)"
    )]
    Mismatch {
        /// The lane.
        lane: usize,
        /// The packet that was due.
        number: u64,
        /// The first byte that differs.
        offset: usize,
        /// Bytes sent.
        expected_len: usize,
        /// Bytes seen.
        seen_len: usize,
        /// What was sent, from `offset` on.
        expected: Sample,
        /// What was seen, from `offset` on.
        seen: Sample,
    },
    /// A packet came after one that was sent later.
    #[error("lane {lane}: packet {number} was overtaken by packet {by}")]
    Overtaken {
        /// The lane.
        lane: usize,
        /// The packet that came too late.
        number: u64,
        /// The first packet that overtook it.
        by: u64,
    },
    /// A packet came back a second time.
    #[error("lane {lane}: packet {number} came back twice")]
    Duplicate {
        /// The lane.
        lane: usize,
        /// The packet.
        number: u64,
    },
    /// A packet came back while none was due.
    #[error("lane {lane}: a packet of {len} bytes came back while none was due: {seen}")]
    Unexpected {
        /// The lane.
        lane: usize,
        /// Its length, in bytes.
        len: usize,
        /// Its first bytes.
        seen: Sample,
    },
    /// Packets that never came back.
    #[error("lane {lane}: {count} packets never came back, the first of them {first:?}")]
    Lost {
        /// The lane.
        lane: usize,
        /// How many.
        count: u64,
        /// The numbers of the first few.
        first: Vec<u64>,
    },
}

/// Compares what comes back with what was sent.
///
/// Memory is that of the packets in flight.
#[derive(Debug)]
pub struct NetScoreboard {
    order: Order,
    lanes: Vec<Lane>,
    matched: u64,
}

impl NetScoreboard {
    /// A scoreboard for this many lanes (queue pairs).
    #[must_use]
    pub fn new(lanes: usize, order: Order) -> Self {
        let lanes = (0..lanes).map(|_| Lane::default()).collect();
        Self { order, lanes, matched: 0 }
    }

    /// A packet is handed to the card. A lane that does not exist yet begins to.
    pub fn sent(&mut self, lane: usize, packet: &[u8]) {
        if lane >= self.lanes.len() {
            self.lanes.resize_with(lane + 1, Lane::default);
        }
        self.lanes[lane].push(packet);
    }

    /// A packet came back.
    ///
    /// # Errors
    /// What is wrong with it; the scoreboard goes on with the next.
    pub fn received(&mut self, lane: usize, packet: &[u8]) -> Result<(), NetFinding> {
        let Some(state) = self.lanes.get_mut(lane) else { return Err(unexpected(lane, packet)) };
        let outcome = match state.take_next(packet) {
            true => Ok(()),
            false => state.take_other(lane, packet, self.order),
        };
        self.matched += u64::from(outcome.is_ok());
        outcome
    }

    /// Packets that came back as they should.
    #[must_use]
    pub fn matched(&self) -> u64 {
        self.matched
    }

    /// Packets still out, overtaken ones included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.lanes
            .iter()
            .map(|lane| lane.waiting.len() - lane.delivered + lane.overtaken.len())
            .sum()
    }

    /// Nothing comes back any more: what is missing, one finding per lane.
    #[must_use]
    pub fn finish(self) -> Vec<NetFinding> {
        self.lanes
            .into_iter()
            .enumerate()
            .filter_map(|(number, lane)| lane.finish(number))
            .collect()
    }
}

fn unexpected(lane: usize, packet: &[u8]) -> NetFinding {
    NetFinding::Unexpected { lane, len: packet.len(), seen: Sample::of(packet) }
}

/// One lane: a queue of packets whose first few have been delivered already.
#[derive(Debug, Default)]
struct Lane {
    next_number: u64,
    waiting: VecDeque<Waiting>,
    /// The packets of `waiting`, one after the other.
    bytes: VecDeque<u8>,
    /// How many of `waiting` have come back.
    delivered: usize,
    delivered_bytes: usize,
    overtaken: VecDeque<Overtaken>,
    lost: Lost,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    number: u64,
    len: usize,
}

#[derive(Debug)]
struct Overtaken {
    number: u64,
    bytes: Vec<u8>,
    by: u64,
    /// It has a finding already: another packet came in its place.
    reported: bool,
}

#[derive(Debug, Default)]
struct Lost {
    count: u64,
    first: Vec<u64>,
}

impl Lost {
    fn add(&mut self, packet: &Overtaken) {
        if packet.reported {
            return;
        }
        self.count += 1;
        if self.first.len() < NAMED_LOST {
            self.first.push(packet.number);
        }
    }
}

impl Lane {
    fn push(&mut self, packet: &[u8]) {
        self.waiting.push_back(Waiting { number: self.next_number, len: packet.len() });
        self.bytes.extend(packet);
        self.next_number += 1;
    }

    /// Takes the packet that is due, if this is it.
    fn take_next(&mut self, packet: &[u8]) -> bool {
        let is_due = match self.waiting.get(self.delivered) {
            Some(due) => due.len == packet.len() && self.holds(self.delivered_bytes, packet),
            None => false,
        };
        if is_due {
            self.delivered += 1;
            self.delivered_bytes += packet.len();
            if self.delivered > REMEMBERED {
                self.forget_oldest();
            }
        }
        is_due
    }

    /// Takes a packet that is not the one due: a later one, an overtaken one, a copy, or a wrong one.
    fn take_other(&mut self, lane: usize, packet: &[u8], order: Order) -> Result<(), NetFinding> {
        if let Some(ahead) = self.find_ahead(packet) {
            self.overtake(ahead);
            self.take_next(packet);
            return Ok(());
        }
        if let Some(index) = self.overtaken.iter().position(|late| late.bytes == packet) {
            let Some(late) = self.overtaken.remove(index) else { return Ok(()) };
            return match order {
                Order::Fifo if !late.reported => {
                    Err(NetFinding::Overtaken { lane, number: late.number, by: late.by })
                }
                _ => Ok(()),
            };
        }
        if let Some(number) = self.find_delivered(packet) {
            return Err(NetFinding::Duplicate { lane, number });
        }
        let Some(due) = self.waiting.get(self.delivered).copied() else {
            return Err(unexpected(lane, packet));
        };
        self.overtake(1);
        let Some(late) = self.overtaken.back_mut() else { return Err(unexpected(lane, packet)) };
        late.reported = true;
        Err(mismatch(lane, due.number, &late.bytes, packet))
    }

    /// How many packets are due before the one with these bytes.
    fn find_ahead(&self, packet: &[u8]) -> Option<usize> {
        let mut at = self.delivered_bytes;
        self.waiting.iter().skip(self.delivered).position(|waiting| {
            let start = at;
            at += waiting.len;
            waiting.len == packet.len() && self.holds(start, packet)
        })
    }

    /// The number of a packet with these bytes that has come back lately.
    fn find_delivered(&self, packet: &[u8]) -> Option<u64> {
        let mut at = 0;
        let found = self.waiting.iter().take(self.delivered).find(|waiting| {
            let start = at;
            at += waiting.len;
            waiting.len == packet.len() && self.holds(start, packet)
        });
        found.map(|waiting| waiting.number)
    }

    /// Moves the next `count` packets aside: others came before them.
    fn overtake(&mut self, count: usize) {
        while self.delivered > 0 {
            self.forget_oldest();
        }
        let by = self.waiting.get(count).map_or(self.next_number, |waiting| waiting.number);
        for _ in 0..count {
            let Some(Waiting { number, len }) = self.waiting.pop_front() else { return };
            let bytes = self.bytes.drain(..len).collect();
            self.overtaken.push_back(Overtaken { number, bytes, by, reported: false });
        }
        while self.overtaken.len() > MOST_OVERTAKEN {
            let Some(oldest) = self.overtaken.pop_front() else { return };
            self.lost.add(&oldest);
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.waiting.pop_front() else { return };
        self.bytes.drain(..oldest.len);
        self.delivered -= 1;
        self.delivered_bytes -= oldest.len;
    }

    /// Whether the bytes from `at` on are those of `packet`.
    fn holds(&self, at: usize, packet: &[u8]) -> bool {
        let (front, back) = self.bytes.as_slices();
        match front.len().checked_sub(at) {
            Some(left) if left >= packet.len() => front[at..at + packet.len()] == *packet,
            Some(left) => front[at..] == packet[..left] && back.starts_with(&packet[left..]),
            None => back.get(at - front.len()..).is_some_and(|bytes| bytes.starts_with(packet)),
        }
    }

    fn finish(mut self, lane: usize) -> Option<NetFinding> {
        let mut lost = std::mem::take(&mut self.lost);
        self.overtake(self.waiting.len() - self.delivered);
        lost.count += self.lost.count;
        lost.first.append(&mut self.lost.first);
        self.overtaken.iter().for_each(|packet| lost.add(packet));
        lost.first.truncate(NAMED_LOST);
        let Lost { count, first } = lost;
        (count > 0).then_some(NetFinding::Lost { lane, count, first })
    }
}

fn mismatch(lane: usize, number: u64, expected: &[u8], seen: &[u8]) -> NetFinding {
    let same = expected.iter().zip(seen).take_while(|(expected, seen)| expected == seen).count();
    NetFinding::Mismatch {
        lane,
        number,
        offset: same,
        expected_len: expected.len(),
        seen_len: seen.len(),
        expected: Sample::of(&expected[same..]),
        seen: Sample::of(&seen[same..]),
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
