//! Memory as the card and the CPU reach it, on hosts that are not a PC too.

use pcie_sim::address::BusAddr;
use pcie_sim::host::{Hypercall, HypercallError};
use pcie_sim::spec::tce;

use super::vtd::Vtd;
use super::{BAR2, CARD, CARD_MEMORY_BYTES, RAM_BYTES};

/// Memory as the card reaches it.
pub(crate) struct Fabric {
    pub(crate) ram: Vec<u8>,
    pub(crate) card_memory: Vec<u8>,
    pub(crate) vtd: Vtd,
    pub(crate) bus: BusKind,
    /// Machine frames behind pseudo-physical ones, where they are not the same.
    pub(crate) frames: Vec<u64>,
    pub(super) free_frame: u64,
    /// What the CPU has in lines that memory does not have, and the other way round.
    pub(crate) cache: Option<Cache>,
    /// DMA that was stopped, or went astray.
    pub(crate) blocked: u64,
}

/// What stands between card and RAM, besides VT-d.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum BusKind {
    #[default]
    Plain,
    /// RAM at an offset.
    Offset(u64),
    /// Entries by page of a window that begins at 0.
    Tce(std::collections::BTreeMap<u64, u64>),
    /// A table in memory: where, how many entries.
    Table(u64, u64),
    /// Pages that a secure guest has shared.
    Shared(std::collections::BTreeSet<u64>),
}

/// A cache that holds what the CPU touched until it is told to let go.
#[derive(Default)]
pub(crate) struct Cache {
    /// Line number to its bytes, and whether the CPU changed them.
    lines: std::collections::BTreeMap<u64, ([u8; 64], bool)>,
    pub(super) uncached: std::collections::BTreeSet<u64>,
}

impl Fabric {
    /// Where `bus` leads; `None` is blocked. Within one page.
    fn route(&mut self, bus: u64, write: bool) -> Option<u64> {
        let allowed = |entry: u64| entry & if write { tce::WRITE } else { tce::READ } != 0;
        let page = bus >> 12;
        match &self.bus {
            BusKind::Plain => self.vtd.translate(&self.ram, CARD, BusAddr(bus), write),
            BusKind::Offset(base) => bus.checked_sub(*base),
            BusKind::Tce(entries) => {
                let entry = entries.get(&page).copied().filter(|&entry| allowed(entry))?;
                Some(entry & tce::ADDRESS_MASK | bus & 0xfff)
            }
            &BusKind::Table(start, count) => {
                let at = (start + page * tce::BYTES) as usize;
                let bytes = (page < count).then(|| &self.ram[at..at + 8])?;
                let entry = u64::from_be_bytes(bytes.try_into().expect("8 bytes"));
                allowed(entry).then_some(entry & tce::ADDRESS_MASK | bus & 0xfff)
            }
            BusKind::Shared(pages) => pages.contains(&page).then_some(bus),
        }
    }

    /// The machine address of a pseudo-physical one.
    fn machine(&self, address: u64) -> usize {
        let frame = self.frames.get((address >> 12) as usize).copied();
        (frame.unwrap_or(address >> 12) << 12 | address & 0xfff) as usize
    }

    /// The CPU's access to RAM, past caches.
    fn cpu(&mut self, address: u64, data: &mut [u8], write: bool) {
        let mut done = 0;
        while done < data.len() {
            let at = address + done as u64;
            let run = (4096 - (at % 4096) as usize).min(data.len() - done);
            let machine = self.machine(at);
            copy(&mut self.ram[machine..machine + run], &mut data[done..done + run], write);
            done += run;
        }
    }

    /// The CPU's access to RAM, through its cache.
    pub(super) fn cached(&mut self, address: u64, data: &mut [u8], write: bool) {
        let Some(mut cache) = self.cache.take() else { return self.cpu(address, data, write) };
        let mut done = 0;
        while done < data.len() {
            let at = address + done as u64;
            let inside = (at % 64) as usize;
            let run = (64 - inside).min(data.len() - done);
            let piece = &mut data[done..done + run];
            if cache.uncached.contains(&(at >> 12)) {
                self.cpu(at, piece, write);
            } else {
                let line = cache.lines.entry(at / 64).or_insert_with(|| {
                    let mut bytes = [0; 64];
                    self.cpu(at & !63, &mut bytes, false);
                    (bytes, false)
                });
                copy(&mut line.0[inside..inside + run], piece, write);
                line.1 |= write;
            }
            done += run;
        }
        self.cache = Some(cache);
    }

    /// Writes changed lines back, and forgets them when told to.
    pub(super) fn maintain(&mut self, address: u64, len_bytes: u64, forget: bool) {
        let Some(mut cache) = self.cache.take() else { return };
        let end = address + len_bytes;
        for line in address / 64..end.div_ceil(64) {
            let Some((mut bytes, dirty)) = cache.lines.remove(&line) else { continue };
            let partly_outside = line * 64 < address || end < line * 64 + 64;
            if dirty && (!forget || partly_outside) {
                self.cpu(line * 64, &mut bytes, true);
            }
            if !forget {
                cache.lines.insert(line, (bytes, false));
            }
        }
        self.cache = Some(cache);
    }

    /// Makes the machine's frames a jumble.
    pub(crate) fn scatter(&mut self) {
        let count = (RAM_BYTES / 4096) as u64;
        // Neighbours lie far apart, and no frame has its own number.
        self.frames = (0..count).map(|pfn| (pfn * 1237 + 3) % count).collect();
        self.free_frame = count;
        self.ram.resize(4 * RAM_BYTES, 0);
    }

    pub(super) fn hypercall(&mut self, call: Hypercall) -> Result<u64, HypercallError> {
        match (call, &mut self.bus) {
            (Hypercall::PutTce { ioba, tce, .. }, BusKind::Tce(entries)) => {
                put_tce(entries, ioba >> 12, tce);
                Ok(0)
            }
            (Hypercall::PutTceIndirect { ioba, list, count, .. }, BusKind::Tce(entries)) => {
                for nth in 0..count {
                    let at = (list.get() + 8 * nth) as usize;
                    let entry = self.ram[at..at + 8].try_into().expect("8 bytes");
                    put_tce(entries, (ioba >> 12) + nth, u64::from_be_bytes(entry));
                }
                Ok(0)
            }
            (Hypercall::StuffTce { ioba, tce, count, .. }, BusKind::Tce(entries)) => {
                (0..count).for_each(|nth| put_tce(entries, (ioba >> 12) + nth, tce));
                Ok(0)
            }
            (Hypercall::SharePages { page, pages }, BusKind::Shared(shared)) => {
                shared.extend((page.get() >> 12)..(page.get() >> 12) + pages);
                Ok(0)
            }
            (Hypercall::UnsharePages { page, pages }, BusKind::Shared(shared)) => {
                let gone = (page.get() >> 12)..(page.get() >> 12) + pages;
                shared.retain(|page| !gone.contains(page));
                Ok(0)
            }
            (Hypercall::MachineFrame { pfn }, _) if !self.frames.is_empty() => {
                Ok(self.frames[pfn as usize])
            }
            (Hypercall::ExchangeContiguous { pfn, frames, address_bits }, _)
                if !self.frames.is_empty() =>
            {
                let first = self.free_frame.next_multiple_of(frames.next_power_of_two());
                let full = (first + frames) << 12 > self.ram.len() as u64;
                if full
                    || (first + frames) << 12 > 1u64.checked_shl(address_bits).unwrap_or(u64::MAX)
                {
                    return Err(HypercallError::NoContiguousFrames { frames, address_bits });
                }
                self.free_frame = first + frames;
                for nth in 0..frames {
                    self.frames[(pfn + nth) as usize] = first + nth;
                }
                Ok(first)
            }
            _ => Err(HypercallError::NoHypervisor),
        }
    }

    /// Runs `f` on each run of bytes from `bus` on, as the card reaches them; `false` when blocked.
    pub(crate) fn dma(&mut self, bus: u64, data: &mut [u8], write: bool) -> bool {
        if (BAR2..BAR2 + CARD_MEMORY_BYTES as u64).contains(&bus) {
            let at = (bus - BAR2) as usize;
            copy(&mut self.card_memory[at..at + data.len()], data, write);
            return true;
        }
        let mut done = 0;
        while done < data.len() {
            let at = bus + done as u64;
            let run = (4096 - (at % 4096) as usize).min(data.len() - done);
            let phys = self.route(at, write).map(|phys| phys as usize);
            let Some(phys) = phys.filter(|phys| phys + run <= self.ram.len()) else {
                self.blocked += 1;
                return false;
            };
            copy(&mut self.ram[phys..phys + run], &mut data[done..done + run], write);
            done += run;
        }
        true
    }

    pub(crate) fn read<const N: usize>(&mut self, bus: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.dma(bus, &mut bytes, false).then_some(bytes)
    }

    pub(crate) fn write(&mut self, bus: u64, data: &[u8]) -> bool {
        self.dma(bus, &mut data.to_vec(), true)
    }
}

fn put_tce(entries: &mut std::collections::BTreeMap<u64, u64>, page: u64, entry: u64) {
    if entry & (tce::READ | tce::WRITE) == 0 {
        entries.remove(&page);
    } else {
        entries.insert(page, entry);
    }
}

fn copy(memory: &mut [u8], data: &mut [u8], write: bool) {
    if write {
        memory.copy_from_slice(data);
    } else {
        data.copy_from_slice(memory);
    }
}
