//! Requests between their descriptors and their used element, and the walk over their buffers.

use std::ops::{Index, IndexMut};

use pcie_sim::time::Instant;
use smallvec::SmallVec;

/// One buffer that a descriptor names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Bus address.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) len: u32,
}

/// A place in a list of segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    segment: usize,
    offset: u32,
    at: u64,
}

/// A run of bytes that one TLP can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Bus address.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) len: u16,
    /// How many bytes of the segments lie before it.
    pub(crate) at: u64,
}

impl Walk {
    /// The next run that ends with its segment, its 4-KiB page or after as many doublewords as make
    /// `len_max` bytes, whichever comes first. PCIe 5.0 §2.2.7, "Memory, I/O, and Configuration Request Rules".
    pub(crate) fn next(&mut self, segments: &[Segment], len_max: u16) -> Option<Chunk> {
        loop {
            let segment = segments.get(self.segment)?;
            let left = segment.len - self.offset;
            if left == 0 {
                self.segment += 1;
                self.offset = 0;
                continue;
            }
            let address = segment.address.wrapping_add(u64::from(self.offset));
            let len = one_tlp(address, left, len_max);
            let chunk = Chunk { address, len, at: self.at };
            self.offset += u32::from(len);
            self.at += u64::from(len);
            return Some(chunk);
        }
    }

    /// Whether no byte of the segments is left.
    pub(crate) fn is_over(&self, segments: &[Segment]) -> bool {
        let mut left = segments.iter().skip(self.segment);
        left.next().is_none_or(|first| first.len == self.offset) && left.all(|s| s.len == 0)
    }

    /// Whether the next byte is in another segment than the one before.
    pub(crate) fn is_between(&self, segments: &[Segment]) -> bool {
        segments.get(self.segment).is_some_and(|segment| segment.len == self.offset)
    }

    /// Passes over `bytes` bytes.
    pub(crate) fn skip(&mut self, segments: &[Segment], mut bytes: u64) {
        self.at += bytes;
        while let Some(segment) = segments.get(self.segment) {
            let left = u64::from(segment.len - self.offset);
            if bytes < left {
                self.offset += bytes as u32;
                return;
            }
            bytes -= left;
            self.segment += 1;
            self.offset = 0;
        }
    }
}

/// How many of `left` bytes at `address` one TLP of at most `len_max` bytes may carry: its length field
/// counts whole doublewords, so bytes before the first one in its doubleword count as well.
pub(crate) fn one_tlp(address: u64, left: u32, len_max: u16) -> u16 {
    let to_page_end = 4096 - (address & 0xfff) as u32;
    let to_longest = u32::from(len_max) - (address & 3) as u32;
    left.min(to_page_end).min(to_longest) as u16
}

/// One chain of descriptors on its way through the card.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// The queue it came by.
    pub(crate) queue: u16,
    /// The chain's first descriptor, by which the driver knows it.
    pub(crate) head: u16,
    /// Its buffers in order, the readable ones first.
    pub(crate) segments: SmallVec<[Segment; 4]>,
    /// How many of them the device reads.
    pub(crate) readable: usize,
    /// Their bytes.
    pub(crate) readable_bytes: u64,
    /// Bytes that the device may write.
    pub(crate) writable_bytes: u64,
    /// What was read; then what is to be written.
    pub(crate) data: Vec<u8>,
    /// Bytes that have not come.
    pub(crate) missing: u64,
    /// All that was to be read has come or failed.
    pub(crate) ready: bool,
    /// Of a receive buffer on a pipelined card: it is there for packets from then on.
    pub(crate) since: Instant,
    /// A read failed, or the request is larger than the card's buffers.
    pub(crate) failed: bool,
    /// How far reading has been asked for, or writing done.
    pub(crate) walk: Walk,
    /// How many writable bytes lie before the first byte of `data`.
    pub(crate) write_from: u64,
}

impl Request {
    /// The buffers that the device reads.
    pub(crate) fn readable_segments(&self) -> &[Segment] {
        &self.segments[..self.readable]
    }

    /// The buffers that the device writes.
    pub(crate) fn writable_segments(&self) -> &[Segment] {
        &self.segments[self.readable..]
    }
}

/// Requests by number; finished ones lend their memory to later ones.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    slots: Vec<Request>,
    free: Vec<u32>,
    buffers: Vec<Vec<u8>>,
}

impl Requests {
    /// A new request.
    pub(crate) fn take(&mut self, queue: u16, head: u16) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Request::default());
            self.slots.len() as u32 - 1
        });
        let data = self.buffers.pop().unwrap_or_default();
        self.slots[id as usize] = Request { queue, head, data, ..Request::default() };
        id
    }

    /// The request is over.
    pub(crate) fn release(&mut self, id: u32) {
        let data = std::mem::take(&mut self[id].data);
        self.recycle(data);
        self.free.push(id);
    }

    /// Takes back memory, where there is some: a request whose data went elsewhere has none.
    pub(crate) fn recycle(&mut self, mut data: Vec<u8>) {
        if data.capacity() != 0 {
            data.clear();
            self.buffers.push(data);
        }
    }

    /// All requests are over.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.free.clear();
    }
}

impl Index<u32> for Requests {
    type Output = Request;
    fn index(&self, id: u32) -> &Request {
        &self.slots[id as usize]
    }
}

impl IndexMut<u32> for Requests {
    fn index_mut(&mut self, id: u32) -> &mut Request {
        &mut self.slots[id as usize]
    }
}
