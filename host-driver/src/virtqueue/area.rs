//! One of a queue's areas: in host memory, or in the card's memory behind a BAR.
//!
//! Writes to the card go through write-combining buffers, reads are uncached and cost a round trip each.

use pcie_sim::address::{BusAddr, PhysAddr};
use pcie_sim::host::{Host, Width};

use crate::dma::{Coherent, CpuView, Dma, DmaError};

/// Memory that holds an area, and how both sides reach it.
#[derive(Debug)]
pub struct Area {
    memory: Memory,
    len_bytes: u64,
}

#[derive(Debug)]
enum Memory {
    /// From the DMA API, given back to it.
    Coherent(Coherent),
    /// A piece of the card's shared memory window, whose bus address is its CPU address.
    Window(PhysAddr),
}

impl Area {
    /// An area of zeroed memory from the DMA API, wherever that lies.
    #[track_caller]
    pub fn coherent(dma: &mut Dma, host: &mut dyn Host, len_bytes: u64) -> Result<Self, DmaError> {
        let memory = Memory::Coherent(dma.alloc_coherent(host, len_bytes)?);
        Ok(Self { memory, len_bytes })
    }

    /// An area at `address` in the card's window.
    #[must_use]
    pub const fn window(address: PhysAddr, len_bytes: u64) -> Self {
        Self { memory: Memory::Window(address), len_bytes }
    }

    /// Gives the memory back.
    pub fn free(self, dma: &mut Dma, host: &mut dyn Host) -> Result<(), DmaError> {
        match self.memory {
            Memory::Coherent(memory) => dma.free_coherent(host, memory),
            Memory::Window(_) => Ok(()),
        }
    }

    /// What the card is told.
    #[must_use]
    pub fn bus(&self) -> BusAddr {
        match &self.memory {
            Memory::Coherent(memory) => memory.bus,
            Memory::Window(address) => BusAddr(address.get()),
        }
    }

    /// Where the CPU finds it.
    #[must_use]
    pub fn cpu(&self) -> CpuView {
        match &self.memory {
            Memory::Coherent(memory) => memory.cpu,
            Memory::Window(address) => CpuView::Device(*address),
        }
    }

    /// Whether the CPU reaches it only over the link.
    #[must_use]
    pub fn is_on_card(&self) -> bool {
        matches!(self.cpu(), CpuView::Device(_))
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Writes `data` at `offset`.
    pub fn write(&self, host: &mut dyn Host, offset: u64, data: &[u8]) {
        match self.cpu() {
            CpuView::Ram(start) => host.write(start + offset, data),
            CpuView::Device(start) => host.mmio_write_combined(start + offset, data),
        }
    }

    /// Fills it with zeroes.
    pub fn clear(&self, host: &mut dyn Host) {
        let mut done = 0;
        while done < self.len_bytes {
            let piece = (self.len_bytes - done).min(64);
            self.write(host, done, &[0; 64][..piece as usize]);
            done += piece;
        }
    }

    /// Writes a 16-bit field.
    pub fn write_u16(&self, host: &mut dyn Host, offset: u64, value: u16) {
        self.write(host, offset, &value.to_le_bytes());
    }

    /// Reads a 16-bit field.
    pub fn read_u16(&self, host: &mut dyn Host, offset: u64) -> u16 {
        match self.cpu() {
            CpuView::Ram(start) => {
                let mut bytes = [0; 2];
                host.read(start + offset, &mut bytes);
                u16::from_le_bytes(bytes)
            }
            // Device memory is asked for whole words, which every card can answer.
            CpuView::Device(start) => {
                let at = start.get() + offset;
                (host.mmio_read(PhysAddr(at & !3), Width::W32) >> (8 * (at & 3))) as u16
            }
        }
    }

    /// Reads two adjacent 32-bit fields, with one access where the bus can.
    pub fn read_u32_pair(&self, host: &mut dyn Host, offset: u64) -> (u32, u32) {
        let both = match self.cpu() {
            CpuView::Ram(start) => {
                let mut bytes = [0; 8];
                host.read(start + offset, &mut bytes);
                u64::from_le_bytes(bytes)
            }
            CpuView::Device(start) if (start.get() + offset).is_multiple_of(8) => {
                host.mmio_read(start + offset, Width::W64)
            }
            CpuView::Device(start) => {
                let low = host.mmio_read(start + offset, Width::W32);
                host.mmio_read(start + offset + 4, Width::W32) << 32 | low
            }
        };
        (both as u32, (both >> 32) as u32)
    }

    /// Where to spin for a change at `offset`; `None` when it can only be asked for over the link.
    #[must_use]
    pub fn spin_address(&self, offset: u64) -> Option<PhysAddr> {
        match self.cpu() {
            CpuView::Ram(start) => Some(start + offset),
            CpuView::Device(_) => None,
        }
    }
}
