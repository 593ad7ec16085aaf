//! The second of the two seams: all of a computer that a driver may touch.
//!
//! A driver gets a [`Host`] and nothing else. Behind it stands the simulated root complex, or a real
//! QEMU spoken to from outside; the driver cannot tell.

pub mod caches;
pub mod frames;
pub mod hypercall;
pub mod llc;
pub mod path;
pub mod protection;
pub mod qtest;
pub mod ram;
pub mod seed;
pub mod shape;
pub mod store_buffer;
pub mod vfio_user;

pub use self::hypercall::{Hypercall, HypercallError};
pub use self::shape::HostShape;

use crate::address::{Bdf, PhysAddr};
use crate::time::{Instant, Span};

/// The width of one access by the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 1 byte.
    W8,
    /// 2 bytes.
    W16,
    /// 4 bytes.
    W32,
    /// 8 bytes (memory-mapped I/O only).
    W64,
}

impl Width {
    /// The width in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::W8 => 1,
            Self::W16 => 2,
            Self::W32 => 4,
            Self::W64 => 8,
        }
    }
}

/// The number under which the CPU receives an interrupt: one per message the platform gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vector(pub u16);

/// What a card must write, and where, to raise an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiMessage {
    /// The address of the memory write.
    pub address: u64,
    /// The 32 bits written.
    pub data: u32,
}

/// What the CPU must be sure of before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// Stores before it are visible to other CPUs before stores after it (`smp_wmb`).
    SmpWrite,
    /// The same, as seen by a device, write-combining buffers drained (`dma_wmb`/`wmb`).
    DmaWrite,
    /// Loads after it see what a device wrote before what the loads before it saw (`dma_rmb`).
    DmaRead,
    /// Everything before it, before everything after it (`mb`).
    Full,
}

/// The CPU's way to devices: configuration space, memory-mapped I/O, interrupts, time.
///
/// Calls take simulated CPU time. A read from a device returns when the completion has come; an access
/// that nobody claims reads as all ones, as on a real machine.
pub trait Bus {
    /// Now, as the CPU sees it.
    fn now(&self) -> Instant;

    /// Lets the CPU work for `cost` while everything else goes on.
    fn spend(&mut self, cost: Span);

    /// Reads 1, 2 or 4 bytes of a function's configuration space; all ones when nobody is there.
    fn config_read(&mut self, function: Bdf, offset: u16, width: Width) -> u32;

    /// Writes 1, 2 or 4 bytes of a function's configuration space.
    fn config_write(&mut self, function: Bdf, offset: u16, width: Width, value: u32);

    /// Reads a device register, uncached.
    fn mmio_read(&mut self, address: PhysAddr, width: Width) -> u64;

    /// Writes a device register, uncached and posted: it returns before the device has seen it.
    fn mmio_write(&mut self, address: PhysAddr, width: Width, value: u64);

    /// Writes device memory through write-combining buffers: bursts of up to 64 bytes, which leave the
    /// CPU in order at the latest with the next [`Barrier::DmaWrite`], [`Barrier::Full`] or uncached write.
    fn mmio_write_combined(&mut self, address: PhysAddr, data: &[u8]);

    /// A message by which a device raises `vector` on this CPU; `None` when the platform has none left.
    fn allocate_message(&mut self) -> Option<(Vector, MsiMessage)>;

    /// Takes a pending interrupt, without waiting.
    fn take_interrupt(&mut self) -> Option<Vector>;

    /// Idles until an interrupt is pending, and takes it; `None` when `deadline` passed first.
    fn wait_interrupt(&mut self, deadline: Instant) -> Option<Vector>;

    /// Spins until a device writes one of the `len_bytes` bytes at `address` in RAM; `false` when
    /// `deadline` passed first. May return early; who waits looks at the memory anyway.
    fn spin_on_memory(&mut self, address: PhysAddr, len_bytes: usize, deadline: Instant) -> bool;

    /// Asks the hypervisor below, if there is one. Takes CPU time. A host that wraps another passes it on.
    fn hypercall(&mut self, call: Hypercall) -> Result<u64, HypercallError> {
        let _ = call;
        Err(HypercallError::NoHypervisor)
    }
}

/// The CPU's way to RAM. A host that wraps another passes every method on. Panics only on an address outside RAM, which is the driver's bug.
pub trait Memory {
    /// Copies from RAM.
    fn read(&mut self, address: PhysAddr, into: &mut [u8]);

    /// Copies to RAM.
    fn write(&mut self, address: PhysAddr, data: &[u8]);

    /// Orders the accesses around it.
    fn barrier(&mut self, barrier: Barrier);

    /// Bytes of RAM, from address 0.
    fn ram_bytes(&self) -> u64;

    /// Writes changed cache lines back, so that devices see what the CPU wrote (`dcache_clean_poc`).
    /// Nothing to do, and no cost, where caches are snooped.
    fn clean(&mut self, address: PhysAddr, len_bytes: u64) {
        let _ = (address, len_bytes);
    }

    /// Forgets cache lines, so that the CPU sees what devices wrote. A line that lies partly outside is
    /// written back before if the CPU changed it, as arm64's `dcache_inval_poc` does. Nothing to do, and
    /// no cost, where caches are snooped.
    fn invalidate(&mut self, address: PhysAddr, len_bytes: u64) {
        let _ = (address, len_bytes);
    }

    /// Maps whole pages uncached for the CPU, or cached again: what a coherent allocation is on a host
    /// whose caches are not snooped. Their lines are written back and forgotten. Nothing to do where caches
    /// are snooped.
    fn set_cached(&mut self, address: PhysAddr, len_bytes: u64, cached: bool) {
        let _ = (address, len_bytes, cached);
    }
}

/// A whole computer, as far as a driver sees it.
pub trait Host: Bus + Memory {}

impl<T: Bus + Memory> Host for T {}
