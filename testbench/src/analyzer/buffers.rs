//! The buffers and indirect tables of requests in flight, found by address.
//!
//! Buffers may overlap, or be one and the same for many requests; a device that takes requests in order
//! is then most likely at the oldest one that is not transferred yet.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::request::RequestRef;

/// How many buffers that begin below an address are looked at: more than that many overlapping buffers
/// are not told apart.
const LOOK_BACK: usize = 64;

/// What a descriptor points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BufferKind {
    /// Device-readable.
    Readable,
    /// Device-writable.
    Writable,
    /// A table of descriptors.
    Table,
}

/// One buffer in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffer {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) kind: BufferKind,
    pub(crate) owner: RequestRef,
    transferred: u64,
}

impl Buffer {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    fn wants(&self, write: bool) -> bool {
        (self.kind == BufferKind::Writable) == write
    }
}

/// By start address, then age: the key with which a buffer is taken out again.
pub(crate) type BufferKey = (u64, u64);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    map: BTreeMap<BufferKey, Buffer>,
    entered: u64,
}

impl Buffers {
    pub(crate) fn insert(
        &mut self,
        start: u64,
        len: u64,
        kind: BufferKind,
        owner: RequestRef,
    ) -> BufferKey {
        let key = (start, self.entered);
        self.entered += 1;
        self.map.insert(key, Buffer { start, len, kind, owner, transferred: 0 });
        key
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whose writable buffer a new one at `start` begins in, if any: of what is written there it cannot be said for
    /// whom it is.
    pub(crate) fn overlapped(&self, start: u64) -> Option<RequestRef> {
        let (_, below) = self.map.range(..=(start, u64::MAX)).next_back()?;
        (below.kind == BufferKind::Writable && below.end() > start).then_some(below.owner)
    }

    pub(crate) fn remove(&mut self, key: BufferKey) {
        self.map.remove(&key);
    }

    /// The buffer that an access at `address` most likely means; it counts as that far transferred.
    pub(crate) fn access(&mut self, address: u64, len: u64, write: bool) -> Option<Buffer> {
        let buffer = best(self.map.range_mut(..=(address, u64::MAX)).rev(), address, write)?;
        buffer.transferred = buffer.transferred.saturating_add(len);
        Some(*buffer)
    }

    /// Whether some buffer holds a byte of `[address, address + len)`.
    pub(crate) fn touches(&self, address: u64, len: u64) -> bool {
        let end = address.saturating_add(len);
        self.find(address, false).is_some()
            || self.map.range((address, 0)..(end, 0)).next().is_some()
    }

    /// How many bytes from `address` on lie in buffers without a gap, `len` at most.
    pub(crate) fn covered(&self, address: u64, len: u64, write: bool) -> u64 {
        let end = address.saturating_add(len);
        let mut at = address;
        while at < end {
            let Some(buffer) = self.find(at, write) else { break };
            at = buffer.end();
        }
        at.min(end) - address
    }

    /// The buffer that an access at `address` most likely means.
    pub(crate) fn find(&self, address: u64, write: bool) -> Option<&Buffer> {
        best(self.map.range(..=(address, u64::MAX)).rev(), address, write)
    }
}

/// Of the buffers that begin at `address` or below, from there downwards, the one that an access means.
#[inline]
fn best<'a, B: Borrow<Buffer>>(
    downwards: impl Iterator<Item = (&'a BufferKey, B)>,
    address: u64,
    write: bool,
) -> Option<B> {
    let mut best: Option<(u8, B)> = None;
    for (_, candidate) in downwards.take(LOOK_BACK) {
        let buffer = candidate.borrow();
        if best
            .as_ref()
            .is_some_and(|(rank, found)| *rank == 2 && found.borrow().start != buffer.start)
        {
            break;
        }
        if address < buffer.end() {
            let rank = u8::from(buffer.wants(write))
                + u8::from(buffer.wants(write) && buffer.transferred < buffer.len);
            // Ages fall: at equal rank the older one replaces the younger.
            if best.as_ref().is_none_or(|(known, _)| rank >= *known) {
                best = Some((rank, candidate));
            }
        }
    }
    best.map(|(_, buffer)| buffer)
}
