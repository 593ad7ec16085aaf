//! Interrupts: the card's own MSI-X table is filled with addresses of our choosing, and what the card
//! writes there becomes the signal that the client waits for.
//!
//! QEMU emulates the table that its guest writes, and tells only which vectors are in use, each with an
//! event descriptor. On the link an interrupt stays a memory write, ordered behind the data.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smallvec::SmallVec;

use super::message::errno::EINVAL;
use crate::live::{Access, MsixFacts};
use crate::root::inbound::INTERRUPT_RANGE;
use crate::spec::pci::msix;
use crate::tlp::Payload;

/// Kinds of interrupts, by Linux's `VFIO_PCI_*_IRQ_INDEX`.
pub(super) const KINDS: u32 = 5;
const MSIX: u32 = 2;
const ERROR: u32 = 3;
const REQUEST: u32 = 4;
/// In the flags of [`Body::IrqInfo`](super::message::Body::IrqInfo): by event descriptors.
pub(super) const BY_EVENT: u32 = 1;
/// In the flags of a set: there are no data, there are descriptors; what is set.
const DATA_NONE: u32 = 1;
const DATA_EVENT: u32 = 1 << 2;
const ACTION: u32 = 0b111 << 3;
const ACTION_TRIGGER: u32 = 1 << 5;

#[derive(Debug, Default)]
struct Vector {
    signal: Option<OwnedFd>,
    /// The card's table says what `signal` says.
    is_written: bool,
}

/// The interrupts of a card.
#[derive(Debug)]
pub(super) struct Irqs {
    msix: Option<MsixFacts>,
    vectors: Vec<Vector>,
    /// What the client wants to be told of besides; there is never anything to tell.
    others: [Option<OwnedFd>; 2],
}

impl Irqs {
    pub(super) fn new(msix: Option<MsixFacts>) -> Self {
        let count = msix.map_or(0, |msix| usize::from(msix.vectors));
        let vectors = std::iter::repeat_with(Vector::default).take(count).collect();
        // Of a table nobody has written to every entry is masked, as it has to be.
        let mut irqs = Self { msix, vectors, others: [None, None] };
        irqs.forgotten();
        irqs
    }

    /// How many there are of a kind.
    pub(super) fn count(&self, kind: u32) -> Option<u32> {
        match kind {
            MSIX => Some(self.vectors.len() as u32),
            ERROR | REQUEST => Some(1),
            kind => (kind < KINDS).then_some(0),
        }
    }

    /// The client says what it wants to be told.
    ///
    /// # Errors
    /// The number of the error for it.
    pub(super) fn set(
        &mut self,
        (flags, kind): (u32, u32),
        (start, count): (u32, u32),
        fds: Vec<OwnedFd>,
    ) -> Result<(), u32> {
        let there = self.count(kind).ok_or(EINVAL)?;
        let end = start.checked_add(count).filter(|&end| end <= there).ok_or(EINVAL)?;
        if flags & ACTION != ACTION_TRIGGER {
            return Err(EINVAL);
        }
        let fits = fds.len() == count as usize || fds.is_empty();
        match flags & !ACTION {
            DATA_NONE if count == 0 => self.put(kind, 0..there, Vec::new()),
            DATA_NONE => (start..end).for_each(|vector| self.raise(vector)),
            DATA_EVENT if fits => self.put(kind, start..end, fds),
            _ => return Err(EINVAL),
        }
        Ok(())
    }

    fn put(&mut self, kind: u32, range: std::ops::Range<u32>, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        for index in range {
            let signal = fds.next();
            if kind == MSIX
                && let Some(vector) = self.vectors.get_mut(index as usize)
            {
                vector.is_written &= vector.signal.is_some() == signal.is_some();
                vector.signal = signal;
            } else if let Some(other) = self.others.get_mut((kind - ERROR) as usize) {
                *other = signal;
            }
        }
    }

    /// The card's table was reset: every entry is masked.
    pub(super) fn forgotten(&mut self) {
        for vector in &mut self.vectors {
            vector.is_written = vector.signal.is_none();
        }
    }

    /// The BAR that the table is behind.
    pub(super) fn bar(&self) -> Option<usize> {
        self.msix.map(|msix| usize::from(msix.bar))
    }

    /// Writes that bring the next entry of the table up to date; `bar` is where its BAR is.
    pub(super) fn next_writes(&mut self, bar: u64) -> Option<SmallVec<[Access; 4]>> {
        let msix = self.msix?;
        let index = self.vectors.iter().position(|vector| !vector.is_written)?;
        let vector = &mut self.vectors[index];
        vector.is_written = true;
        let entry = bar + u64::from(msix.offset) + index as u64 * msix::ENTRY_BYTES;
        let write = |offset, value: u32| Access::Write {
            address: entry + offset,
            data: Payload::from_slice(&value.to_le_bytes()),
        };
        let mut writes = SmallVec::new();
        if vector.signal.is_some() {
            writes.push(write(msix::ENTRY_ADDRESS, INTERRUPT_RANGE.start as u32));
            writes.push(write(msix::ENTRY_ADDRESS + 4, 0));
            writes.push(write(msix::ENTRY_DATA, index as u32));
        }
        writes.push(write(msix::ENTRY_CONTROL, u32::from(vector.signal.is_none())));
        Some(writes)
    }

    /// The card has raised a vector. One that the client has given up meanwhile is lost, as it is when a
    /// driver frees its interrupt.
    pub(super) fn raise(&self, vector: u32) {
        let Some(signal) = self.vectors.get(vector as usize).and_then(|it| it.signal.as_ref())
        else {
            return;
        };
        // A descriptor that is none of an event could make us wait, or be closed at its other end; its
        // owner then goes without.
        let mut fds = [PollFd::new(signal, PollFlags::OUT)];
        if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1) {
            let _ = rustix::io::write(signal, &1_u64.to_ne_bytes());
        }
    }
}
