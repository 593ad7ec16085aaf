//! The invalidation queue: what the driver tells the IOMMU to forget, and how it knows that it has.
//!
//! Strict: every request is followed by a wait descriptor, and the CPU spins until its status is in
//! memory. So the queue holds at most one pair, and a page can be used again as soon as `unmap` returns.

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::{Barrier, Host, Width};
use pcie_sim::spec::vtd::{granularity, inv, iqa, reg};
use pcie_sim::time::Span;

use super::IommuError;
use crate::dma::zeroed_pages;
use crate::pages::{PAGE_BYTES, PageError, Pages};

/// How long the hardware may take for one request before it counts as hung.
const PATIENCE: Span = Span::from_ms(10);

/// How long the CPU spins before it looks at the status by itself.
const LOOK_AGAIN: Span = Span::from_ns(50);

/// The queue of one IOMMU.
#[derive(Debug)]
pub(crate) struct Queue {
    registers: PhysAddr,
    ring: PhysAddr,
    status: PhysAddr,
    tail: u64,
    sequence: u32,
}

/// What to forget.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Forget {
    /// Context entry of one requester.
    Context { domain: u16, requester: u16 },
    /// All translations of one domain.
    Domain { domain: u16 },
    /// 2^`order` pages of one domain.
    Pages { domain: u16, address: BusAddr, order: u32 },
}

impl Forget {
    fn words(self, drain: u64) -> [u64; 2] {
        let common = |kind: u64, grain: u64, domain: u16| {
            kind | grain << inv::GRANULARITY_SHIFT | u64::from(domain) << inv::DID_SHIFT
        };
        match self {
            Self::Context { domain, requester } => {
                let low = common(inv::CONTEXT, granularity::DEVICE, domain);
                [low | u64::from(requester) << inv::SID_SHIFT, 0]
            }
            Self::Domain { domain } => [common(inv::IOTLB, granularity::DOMAIN, domain) | drain, 0],
            Self::Pages { domain, address, order } => {
                let low = common(inv::IOTLB, granularity::PAGE, domain) | drain;
                [
                    low,
                    address.get() & inv::IOTLB_ADDRESS_MASK | u64::from(order) & inv::IOTLB_AM_MASK,
                ]
            }
        }
    }
}

impl Queue {
    /// Allocates the queue and tells the hardware where it lies. It is enabled by the caller.
    pub(crate) fn new(
        host: &mut dyn Host,
        pages: &Pages,
        registers: PhysAddr,
    ) -> Result<Self, PageError> {
        let ring = zeroed_pages(host, pages, PAGE_BYTES)?;
        let status = match zeroed_pages(host, pages, PAGE_BYTES) {
            Ok(status) => status,
            Err(error) => {
                pages.free(ring, PAGE_BYTES)?;
                return Err(error);
            }
        };
        host.mmio_write(registers + reg::IQT, Width::W64, 0);
        host.mmio_write(registers + reg::IQA, Width::W64, ring.get() & iqa::ADDRESS_MASK);
        Ok(Self { registers, ring, status, tail: 0, sequence: 0 })
    }

    /// Gives the queue's pages back; it must be disabled.
    pub(crate) fn free(self, pages: &Pages) -> Result<(), PageError> {
        pages.free(self.ring, PAGE_BYTES).and(pages.free(self.status, PAGE_BYTES))
    }

    /// Tells the hardware to forget and waits until it has. `drain` are the drain bits it offers.
    pub(crate) fn run(
        &mut self,
        host: &mut dyn Host,
        forget: Forget,
        drain: u64,
    ) -> Result<(), IommuError> {
        self.sequence = self.sequence.wrapping_add(1);
        let [low, high] = forget.words(drain);
        let wait = inv::WAIT | inv::WAIT_SW | u64::from(self.sequence) << inv::WAIT_DATA_SHIFT;
        let mut pair = [0; 2 * inv::BYTES as usize];
        let words = [low, high, wait, self.status.get() & inv::WAIT_ADDRESS_MASK];
        for (slot, word) in pair.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        host.write(self.ring + self.tail, &pair);
        // The queue's length is a multiple of a pair, so a pair never wraps inside.
        self.tail = (self.tail + pair.len() as u64) % PAGE_BYTES;
        host.barrier(Barrier::DmaWrite);
        host.mmio_write(self.registers + reg::IQT, Width::W64, self.tail);
        self.wait(host)
    }

    fn wait(&self, host: &mut dyn Host) -> Result<(), IommuError> {
        let deadline = host.now() + PATIENCE;
        let mut status = [0; 4];
        loop {
            host.read(self.status, &mut status);
            if u32::from_le_bytes(status) == self.sequence {
                return Ok(());
            }
            if host.now() >= deadline {
                let fault_status = host.mmio_read(self.registers + reg::FSTS, Width::W32) as u32;
                return Err(IommuError::InvalidationHung { fault_status });
            }
            // The IOMMU's own writes need not wake who waits for a card's, so it looks again soon.
            let again = deadline.min(host.now() + LOOK_AGAIN);
            host.spin_on_memory(self.status, status.len(), again);
        }
    }
}
