//! How long host memory takes for a card's read: where the line is, and whether a write to it is under way.

use super::timing::RootTiming;
use crate::address::PhysAddr;
use crate::host::llc::{Found, LINE_BYTES, Llc};
use crate::time::{Instant, Span};

/// Writes under way that are remembered, by the low bits of their line; a power of two.
const REMEMBERED: usize = 256;

/// The memory system behind the root port, as far as time goes.
#[derive(Debug)]
pub(super) struct MemoryLatency {
    llc: Llc,
    /// Line and time of the last write to it: one place for each of the low bits.
    writes: Box<[(u64, Instant)]>,
}

impl MemoryLatency {
    /// `None` where every read of memory takes the same time.
    pub(super) fn new(timing: &RootTiming) -> Option<Self> {
        let llc = Llc::new(timing.llc)?;
        Some(Self { llc, writes: vec![(u64::MAX, Instant::ZERO); REMEMBERED].into() })
    }

    pub(super) fn llc_mut(&mut self) -> &mut Llc {
        &mut self.llc
    }

    /// When a read that reaches the memory system at `found` may begin: after the writes under way to what
    /// it reads. First and last line stand for the others, since a write is of lines that follow each other.
    pub(super) fn begin(&self, found: Instant, address: PhysAddr, len_bytes: u32) -> Instant {
        let first = address.get() / LINE_BYTES;
        let last = (address.get() + u64::from(len_bytes.max(1)) - 1) / LINE_BYTES;
        found.max(self.written(first)).max(self.written(last))
    }

    fn written(&self, line: u64) -> Instant {
        match self.writes[line as usize % REMEMBERED] {
            (written, at) if written == line => at,
            _ => Instant::ZERO,
        }
    }

    /// What is added to a read.
    pub(super) fn read(&mut self, timing: &RootTiming, address: PhysAddr, len_bytes: u32) -> Span {
        match self.llc.device_read(address, u64::from(len_bytes)) {
            Found::Hit => Span::ZERO,
            Found::Shared => timing.core_snoop,
            Found::Miss => timing.llc_miss,
        }
    }

    /// A write takes effect at `at`.
    pub(super) fn write(&mut self, at: Instant, address: PhysAddr, len_bytes: u64) {
        self.llc.device_write(address, len_bytes);
        let last = (address.get() + len_bytes.max(1) - 1) / LINE_BYTES;
        for line in address.get() / LINE_BYTES..=last {
            self.writes[line as usize % REMEMBERED] = (line, at);
        }
    }
}
