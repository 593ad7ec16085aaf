//! A card that does on purpose what no card may do: the driver, and whoever watches, must not believe it.
//!
//! Each [`Malice`] is one [`Deed`] at one request of one queue. What it leaves open (which wrong number,
//! which bytes) comes from its seed, so that the same card does the same again.
//!
//! Left out: TLPs that are malformed, which are the link's faults, not the card's.

use pcie_sim::spec::virtq::{DESC_BYTES, DESC_F_NEXT, DESC_F_WRITE, SplitDesc};
use pcie_sim::time::{Instant, Span};
use smallvec::SmallVec;

use crate::dma::{Dma, Event, Owner, RingAccess};
use crate::ring::Queue;
use crate::ring::used::Element;

/// One deed, and when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malice {
    /// What is done.
    pub deed: Deed,
    /// At which queue.
    pub queue: u16,
    /// At which of its requests, in the order in which they are finished, from power-on, counted from 1.
    /// [`Deed::FetchBeforeDriverOk`] does not look at it.
    pub request: u64,
    /// From where all that the deed leaves open is derived.
    pub seed: u64,
}

/// What a malicious card does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// The used element carries an id that is not the chain's: by seed one outside the table, or another
    /// one in it.
    WrongUsedId,
    /// The used length exceeds what the chain's writable buffers hold (VQ-USED-DEV-02).
    UsedLengthBeyondBuffer,
    /// The used index moves further than elements were written, and stays there.
    UsedIndexJump,
    /// The used element is published twice.
    UsedElementTwice,
    /// The chain's first descriptor is overwritten in the driver's table, address, length and flags, just
    /// before the chain is used (VQ-SPLIT-DEV-01).
    RewriteDescriptor,
    /// Some time after the used index has left, the chain's first writable buffer is written to, or its
    /// first buffer read when it has none to write: the driver has unmapped it by then.
    UseAfterUsed {
        /// From the used index to the access.
        delay: Span,
    },
    /// Memory that was never handed over is read.
    StrayRead {
        /// Bus address.
        address: u64,
        /// Bytes.
        len_bytes: u32,
    },
    /// Memory that was never handed over is overwritten.
    StrayWrite {
        /// Bus address.
        address: u64,
        /// Bytes.
        len_bytes: u32,
    },
    /// The available index is read as soon as the queue is enabled, before DRIVER_OK (STAT-DEV-01).
    FetchBeforeDriverOk,
}

impl Deed {
    /// A name for reports and scenarios.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WrongUsedId => "wrong-used-id",
            Self::UsedLengthBeyondBuffer => "used-length-beyond-buffer",
            Self::UsedIndexJump => "used-index-jump",
            Self::UsedElementTwice => "used-element-twice",
            Self::RewriteDescriptor => "rewrite-descriptor",
            Self::UseAfterUsed { .. } => "use-after-used",
            Self::StrayRead { .. } => "stray-read",
            Self::StrayWrite { .. } => "stray-write",
            Self::FetchBeforeDriverOk => "fetch-before-driver-ok",
        }
    }
}

/// An access that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Touch {
    address: u64,
    len_bytes: u32,
    write: bool,
}

/// What is still to be done.
#[derive(Debug)]
pub(crate) struct Mischief {
    plans: Vec<Malice>,
    /// Requests finished, by queue.
    finished: SmallVec<[u64; 4]>,
    /// Queue, the used index that must have been published, what then follows, after which time.
    after: Vec<(u16, u16, Touch, Span)>,
    done: u64,
}

impl Mischief {
    /// A card of this malice; `None` for an honest one.
    pub(crate) fn new(plans: &[Malice], queues: u16) -> Option<Box<Self>> {
        let (plans, finished) = (plans.to_vec(), SmallVec::from_elem(0, queues.into()));
        let after = Vec::new();
        (!plans.is_empty()).then(|| Box::new(Self { plans, finished, after, done: 0 }))
    }

    /// Deeds done.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Another request of a queue is finished: takes what is to be done with it.
    fn finish(&mut self, queue: u16) -> SmallVec<[Malice; 2]> {
        let Some(finished) = self.finished.get_mut(usize::from(queue)) else {
            return SmallVec::new();
        };
        *finished += 1;
        let number = *finished;
        let later = Deed::FetchBeforeDriverOk;
        self.take(|plan| plan.queue == queue && plan.request == number && plan.deed != later)
    }

    fn take(&mut self, due: impl Fn(&Malice) -> bool) -> SmallVec<[Malice; 2]> {
        let taken: SmallVec<[Malice; 2]> = self.plans.extract_if(.., |plan| due(plan)).collect();
        self.done += taken.len() as u64;
        taken
    }
}

impl Queue {
    /// The request `id` is finished, and `element` is what an honest card would publish.
    pub(crate) fn misbehave(
        &mut self,
        id: u32,
        element: &mut Element,
        dma: &mut Dma,
        now: Instant,
    ) {
        let Some(mischief) = dma.mischief.as_deref_mut() else { return };
        for plan in mischief.finish(self.ring.index) {
            self.commit(plan, id, element, dma, now);
        }
    }

    fn commit(
        &mut self,
        plan: Malice,
        id: u32,
        element: &mut Element,
        dma: &mut Dma,
        now: Instant,
    ) {
        let chance = scramble(plan.seed);
        let size = u32::from(self.ring.size);
        match plan.deed {
            Deed::WrongUsedId if chance & 1 == 0 || size == 1 => {
                element.id = size + (chance >> 1) as u32 % (u32::MAX - size);
            }
            Deed::WrongUsedId => {
                element.id = (element.id + 1 + (chance >> 1) as u32 % (size - 1)) % size;
            }
            Deed::UsedLengthBeyondBuffer => {
                let room = dma.requests[id].writable_bytes.min(0x7fff_ffff) as u32;
                element.len = room + 1 + chance as u32 % 0x1_0000;
            }
            Deed::UsedIndexJump => {
                self.used.jump = 1 + (chance % (2 * u64::from(size)).min(0xffff)) as u16;
            }
            Deed::UsedElementTwice => self.used.push(Element { again: true, ..*element }),
            Deed::RewriteDescriptor => self.rewrite(id, chance, dma, now),
            Deed::UseAfterUsed { delay } => self.plan_touch(id, delay, dma),
            Deed::StrayRead { address, len_bytes } => {
                dma.touch(now, Touch { address, len_bytes, write: false });
            }
            Deed::StrayWrite { address, len_bytes } => {
                dma.touch(now, Touch { address, len_bytes, write: true });
            }
            Deed::FetchBeforeDriverOk => {}
        }
    }

    fn rewrite(&self, id: u32, chance: u64, dma: &mut Dma, now: Instant) {
        let head = dma.requests[id].head;
        let desc = SplitDesc {
            addr: chance & 0xffff_f000,
            len: 0x1_0000 | chance as u32 & 0xffff,
            flags: DESC_F_WRITE | DESC_F_NEXT,
            next: (chance >> 32) as u16,
        };
        let place = self.ring.desc.wrapping_add(DESC_BYTES as u64 * u64::from(head));
        dma.ring_write(now, place, &desc.to_bytes());
    }

    fn plan_touch(&self, id: u32, delay: Span, dma: &mut Dma) {
        let request = &dma.requests[id];
        let writable = request.writable_segments().iter().find(|segment| segment.len != 0);
        let write = writable.is_some();
        let Some(segment) = writable.or(request.readable_segments().first()) else { return };
        let touch = Touch { address: segment.address, len_bytes: segment.len.min(8), write };
        let index = self.used.index_behind_waiting().wrapping_add(1);
        if let Some(mischief) = dma.mischief.as_deref_mut() {
            mischief.after.push((self.ring.index, index, touch, delay));
        }
    }
}

impl Dma {
    /// The used index of a queue was published.
    pub(crate) fn published(&mut self, now: Instant, queue: u16, index: u16) {
        let Some(mischief) = self.mischief.as_deref_mut() else { return };
        let due = |entry: &(u16, u16, Touch, Span)| {
            entry.0 == queue && index.wrapping_sub(entry.1) < 0x8000
        };
        let due: SmallVec<[_; 2]> = mischief.after.extract_if(.., |entry| due(entry)).collect();
        for (_, _, touch, delay) in due {
            let at = self.edges.at(now + delay, 0);
            self.schedule.at(at, Event::Touch(touch));
        }
    }

    /// An access that nobody asked for.
    pub(crate) fn touch(&mut self, now: Instant, touch: Touch) {
        let Touch { address, len_bytes, write } = touch;
        if write {
            self.ring_write(now, address, &vec![0x66; len_bytes as usize]);
        } else {
            let owner = Owner::Nobody;
            self.ring_read(now, 0, RingAccess { owner, address, len_bytes, fenced: false });
        }
    }

    /// A queue was enabled and the driver is not ready: reads its available index all the same, if that is
    /// planned.
    pub(crate) fn jump_the_gun(&mut self, now: Instant, queue: u16, available_index: u64) {
        let Some(mischief) = self.mischief.as_deref_mut() else { return };
        let early = |plan: &Malice| plan.queue == queue && plan.deed == Deed::FetchBeforeDriverOk;
        for _ in mischief.take(early) {
            self.touch(now, Touch { address: available_index, len_bytes: 2, write: false });
        }
    }
}

/// Spreads a seed over 64 bits (the finishing steps of SplitMix64).
fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
