//! The CPU's way to RAM on a host that is not a PC.
//!
//! ```text
//!   driver ──▶ store buffer ──▶ pseudo-physical to machine ──▶ cache ──▶ RAM ◀── DMA
//! ```
//!
//! Each stage is there or not, as [`HostShape`] says; with none there is no path, and the machine goes to
//! RAM directly. Tables that an IOMMU reads are read from RAM: on a host whose caches are not snooped a
//! driver cleans them, too.

use super::Barrier;
use super::caches::CpuCache;
use super::frames::{FRAME_BYTES, FrameMap};
use super::ram::Ram;
use super::shape::{Caches, Frames, HostCosts, HostShape, Stores};
use super::store_buffer::StoreBuffer;
use crate::address::PhysAddr;
use crate::time::Instant;

/// What stands between the CPU and RAM. Addresses are those that the driver uses.
#[derive(Debug)]
pub struct MemoryPath {
    stores: Option<StoreBuffer>,
    frames: Option<FrameMap>,
    cache: Option<CpuCache>,
}

impl MemoryPath {
    /// The path of a host of this shape; `None` when nothing stands between CPU and RAM.
    #[must_use]
    pub fn new(shape: &HostShape, costs: &HostCosts, ram: &Ram) -> Option<Self> {
        let stores = match shape.stores {
            Stores::Strong => None,
            Stores::Weak { seed, depth } => Some(StoreBuffer::new(seed, depth, costs.store_drain)),
        };
        let frames = match shape.frames {
            Frames::Identity => None,
            Frames::Scattered { seed } => Some(FrameMap::new(seed, ram)),
        };
        let cache = match shape.caches {
            Caches::Snooped => None,
            Caches::NotSnooped { line_bytes, lines } => Some(CpuCache::new(line_bytes, lines)),
        };
        let any = stores.is_some() || frames.is_some() || cache.is_some();
        any.then_some(Self { stores, frames, cache })
    }

    /// The cache, for its counts.
    #[must_use]
    pub const fn cache(&self) -> Option<&CpuCache> {
        self.cache.as_ref()
    }

    /// The store buffer, for its counts.
    #[must_use]
    pub const fn stores(&self) -> Option<&StoreBuffer> {
        self.stores.as_ref()
    }

    /// The map of frames.
    #[must_use]
    pub const fn frames(&self) -> Option<&FrameMap> {
        self.frames.as_ref()
    }

    /// Bytes of RAM that the driver has.
    #[must_use]
    pub fn ram_bytes(&self, ram: &Ram) -> u64 {
        self.frames.as_ref().map_or(ram.size_bytes(), FrameMap::guest_bytes)
    }

    /// The CPU reads; `false` when a part is not RAM.
    #[must_use]
    pub fn read(&mut self, ram: &mut Ram, address: PhysAddr, into: &mut [u8]) -> bool {
        let read = self.in_pages(ram, address, into.len(), |cache, ram, machine, range| {
            let part = &mut into[range];
            match cache {
                Some(cache) => cache.read(ram, machine, part),
                None => copy_from(ram, machine, part),
            }
        });
        if let Some(stores) = &self.stores {
            stores.overlay(address, into);
        }
        read
    }

    /// The CPU writes; `false`, and nothing written, when a part is not RAM.
    #[must_use]
    pub fn write(&mut self, now: Instant, ram: &mut Ram, address: PhysAddr, data: &[u8]) -> bool {
        if self.stores.is_none() {
            return self.write_memory(ram, address, data);
        }
        if !self.in_pages(ram, address, data.len(), |_, _, _, _| {}) {
            return false;
        }
        for (address, piece) in StoreBuffer::pieces(address, data) {
            let stores = self.stores.as_mut();
            if let Some(left) = stores.and_then(|stores| stores.enter(now, address, piece)) {
                self.write_memory(ram, left.address, &left.data);
            }
        }
        true
    }

    /// When the next store leaves the buffer of its own accord.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.stores.as_ref()?.next_due()
    }

    /// Lets stores leave whose time has come.
    pub fn drain_due(&mut self, now: Instant, ram: &mut Ram) {
        self.drain(ram, |stores| stores.leave_due(now));
    }

    /// Orders the accesses around it, for devices.
    pub fn barrier(&mut self, ram: &mut Ram, barrier: Barrier) {
        if matches!(barrier, Barrier::DmaWrite | Barrier::Full) {
            self.drain(ram, StoreBuffer::leave_oldest);
        }
    }

    /// Writes changed lines back; gives the number of lines that the range has.
    pub fn clean(&mut self, ram: &mut Ram, address: PhysAddr, len_bytes: u64) -> u64 {
        self.maintain(ram, address, len_bytes, CpuCache::clean)
    }

    /// Forgets lines; gives the number of lines that the range has.
    pub fn invalidate(&mut self, ram: &mut Ram, address: PhysAddr, len_bytes: u64) -> u64 {
        self.maintain(ram, address, len_bytes, CpuCache::invalidate)
    }

    /// Maps pages cached or not; gives the number of lines that the range has.
    pub fn set_cached(
        &mut self,
        ram: &mut Ram,
        address: PhysAddr,
        len_bytes: u64,
        cached: bool,
    ) -> u64 {
        self.maintain(ram, address, len_bytes, |cache, ram, address, len_bytes| {
            cache.set_cached(ram, address, len_bytes, cached);
        })
    }

    /// The driver's address of a machine address; `None` when the driver has none for it.
    #[must_use]
    pub fn driver_address(&self, machine: PhysAddr) -> Option<PhysAddr> {
        match &self.frames {
            Some(frames) => frames.guest_address(machine),
            None => Some(machine),
        }
    }

    /// The map of frames to be changed, after all that the CPU holds has gone to RAM.
    pub fn frames_to_change(&mut self, ram: &mut Ram) -> Option<&mut FrameMap> {
        self.barrier(ram, Barrier::Full);
        if let Some(cache) = &mut self.cache {
            cache.flush(ram);
        }
        self.frames.as_mut()
    }

    /// Lets a device that runs on a CPU see what the CPU's cache holds, and the CPU what that device does:
    /// such a device snoops.
    pub fn snoop(&mut self, ram: &mut Ram) {
        if let Some(cache) = &mut self.cache {
            cache.flush(ram);
        }
    }

    fn drain(
        &mut self,
        ram: &mut Ram,
        mut leave: impl FnMut(&mut StoreBuffer) -> Option<super::store_buffer::Store>,
    ) {
        while let Some(store) = self.stores.as_mut().and_then(&mut leave) {
            self.write_memory(ram, store.address, &store.data);
        }
    }

    fn write_memory(&mut self, ram: &mut Ram, address: PhysAddr, data: &[u8]) -> bool {
        self.in_pages(ram, address, data.len(), |cache, ram, machine, range| {
            let part = &data[range];
            match cache {
                Some(cache) => cache.write(ram, machine, part),
                None => copy_to(ram, machine, part),
            }
        })
    }

    /// Maintenance by address comes after the stores to that address in program order.
    fn maintain(
        &mut self,
        ram: &mut Ram,
        address: PhysAddr,
        len_bytes: u64,
        act: impl Fn(&mut CpuCache, &mut Ram, PhysAddr, u64),
    ) -> u64 {
        let Some(cache) = &self.cache else { return 0 };
        let lines = cache.lines_in(address, len_bytes);
        self.drain(ram, |stores| stores.leave_within(address, len_bytes));
        let len = usize::try_from(len_bytes).unwrap_or(0);
        self.in_pages(ram, address, len, |cache, ram, machine, range| {
            if let Some(cache) = cache {
                act(cache, ram, machine, range.len() as u64);
            }
        });
        lines
    }

    /// Calls `act` for each run of bytes that is contiguous in the machine; `false`, and no call, when a
    /// part is not RAM.
    fn in_pages(
        &mut self,
        ram: &mut Ram,
        address: PhysAddr,
        len: usize,
        mut act: impl FnMut(Option<&mut CpuCache>, &mut Ram, PhysAddr, std::ops::Range<usize>),
    ) -> bool {
        let Some(frames) = &self.frames else {
            let inside = ram.contains(address, len as u64);
            if inside {
                act(self.cache.as_mut(), ram, address, 0..len);
            }
            return inside;
        };
        let runs = || {
            let mut done = 0;
            std::iter::from_fn(move || {
                let at = address + done as u64;
                let room = (FRAME_BYTES - at.get() % FRAME_BYTES) as usize;
                let range = done..len.min(done + room);
                done = range.end;
                (!range.is_empty()).then_some((at, range))
            })
        };
        if !runs().all(|(at, _)| frames.machine_address(at).is_some()) {
            return false;
        }
        for (at, range) in runs() {
            if let Some(machine) = frames.machine_address(at) {
                act(self.cache.as_mut(), ram, machine, range);
            }
        }
        true
    }
}

fn copy_from(ram: &Ram, machine: PhysAddr, into: &mut [u8]) {
    if let Some(bytes) = ram.slice(machine, into.len()) {
        into.copy_from_slice(bytes);
    }
}

fn copy_to(ram: &mut Ram, machine: PhysAddr, data: &[u8]) {
    if let Some(bytes) = ram.slice_mut(machine, data.len()) {
        bytes.copy_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::shape::Protection;
    use super::*;
    use crate::time::Span;

    #[derive(Debug, Clone)]
    enum Step {
        Read(usize, usize),
        Write(usize, usize),
        Clean(usize, usize),
        SetCached(usize, bool),
        Barrier(Barrier),
        Wait(u64),
        Exchange,
    }

    fn steps() -> impl Strategy<Value = Step> {
        let range = || (0usize..12_000, 0usize..300);
        prop_oneof![
            range().prop_map(|(at, len)| Step::Read(at, len)),
            range().prop_map(|(at, len)| Step::Write(at, len)),
            range().prop_map(|(at, len)| Step::Write(at, len)),
            range().prop_map(|(at, len)| Step::Clean(at, len)),
            (0usize..3, any::<bool>()).prop_map(|(page, cached)| Step::SetCached(page, cached)),
            prop_oneof![Just(Barrier::SmpWrite), Just(Barrier::DmaWrite)].prop_map(Step::Barrier),
            (0u64..2_000).prop_map(Step::Wait),
            Just(Step::Exchange),
        ]
    }

    fn shapes() -> impl Strategy<Value = HostShape> {
        (any::<[bool; 3]>(), any::<u64>(), 1u32..40).prop_map(|(on, seed, size)| HostShape {
            caches: if on[0] {
                Caches::NotSnooped { line_bytes: 32, lines: size }
            } else {
                Caches::Snooped
            },
            stores: if on[1] { Stores::Weak { seed, depth: size } } else { Stores::Strong },
            frames: if on[2] { Frames::Scattered { seed } } else { Frames::Identity },
            protection: Protection::None,
        })
    }

    struct Bench {
        ram: Ram,
        path: MemoryPath,
        now: Instant,
        truth: Vec<u8>,
    }

    impl Bench {
        fn take(&mut self, step: Step, stamp: u8) {
            let ram = &mut self.ram;
            let place = |at: usize| PhysAddr(at as u64);
            match step {
                Step::Read(at, len) => {
                    let mut got = vec![0; len];
                    assert!(self.path.read(ram, place(at), &mut got));
                    assert_eq!(got, self.truth[at..at + len]);
                }
                Step::Write(at, len) => {
                    self.truth[at..at + len].fill(stamp);
                    assert!(self.path.write(self.now, ram, place(at), &vec![stamp; len]));
                }
                Step::Clean(at, len) => {
                    self.path.clean(ram, place(at), len as u64);
                }
                Step::SetCached(page, cached) => {
                    self.path.set_cached(ram, place(page * 4096), 4096, cached);
                }
                Step::Barrier(barrier) => self.path.barrier(ram, barrier),
                Step::Wait(ns) => {
                    self.now += Span::from_ns(ns);
                    self.path.drain_due(self.now, ram);
                }
                Step::Exchange => {
                    if let Some(frames) = self.path.frames_to_change(ram) {
                        frames.exchange(ram, 1, 1, 64).expect("the heap has a frame");
                        self.truth[4096..8192].fill(0);
                    }
                }
            }
        }
    }

    proptest! {
        /// Without devices no program can tell what stands between it and RAM; and after a barrier and
        /// a clean, RAM holds what the program wrote.
        #[test]
        fn a_cpu_alone_never_notices_the_path(
            shape in shapes(),
            steps in prop::collection::vec(steps(), 1..60),
        ) {
            let ram = Ram::anonymous(1 << 18).expect("256 KiB");
            let Some(path) = MemoryPath::new(&shape, &HostCosts::default(), &ram) else {
                return Ok(());
            };
            let mut bench = Bench { ram, path, now: Instant::ZERO, truth: vec![0; 12_300] };
            for (n, step) in steps.into_iter().enumerate() {
                bench.take(step, n as u8 + 1);
            }
            let Bench { mut ram, mut path, truth, .. } = bench;
            path.barrier(&mut ram, Barrier::DmaWrite);
            path.clean(&mut ram, PhysAddr(0), truth.len() as u64);
            for (at, byte) in truth.iter().enumerate() {
                let driver = PhysAddr(at as u64);
                let machine = path.frames().map_or(Some(driver), |map| map.machine_address(driver));
                prop_assert_eq!(ram.slice(machine.expect("RAM"), 1), Some(&[*byte][..]));
            }
        }
    }
}
