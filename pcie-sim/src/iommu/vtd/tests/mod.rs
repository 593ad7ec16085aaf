//! A unit with a little RAM, driven as a driver would: tables written to memory, registers by MMIO.

mod faults;
mod invalidation;
mod registers;
mod robustness;
mod translation;

use super::{Vtd, VtdConfig, VtdTiming};
use crate::address::{Bdf, BusAddr, PhysAddr};
use crate::iommu::{DmaKind, Iommu, TableMemory};
use crate::spec::vtd::{cap, context_entry, ecap, gcmd, inv, reg, sl_entry};
use crate::time::{Instant, Span};

const RAM_BYTES: usize = 1 << 20;
const ROOT: u64 = 0x1000;
const QUEUE: u64 = 0x2000;
const STATUS: u64 = 0x800;
const CARD: Bdf = Bdf::new(1, 0, 0);
const DOMAIN: u16 = 7;
const RW: u64 = sl_entry::R | sl_entry::W;

struct Ram(Vec<u8>);

impl Ram {
    fn range(&self, address: PhysAddr, len: usize) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(address.get()).ok()?;
        let end = start.checked_add(len)?;
        (end <= self.0.len()).then_some(start..end)
    }

    fn word(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        assert!(self.read(PhysAddr(address), &mut bytes), "{address:#x} lies in RAM");
        u64::from_le_bytes(bytes)
    }

    fn set_word(&mut self, address: u64, value: u64) {
        assert!(self.write(PhysAddr(address), &value.to_le_bytes()), "{address:#x} lies in RAM");
    }
}

impl TableMemory for Ram {
    fn read(&self, address: PhysAddr, into: &mut [u8]) -> bool {
        into.fill(0);
        let Some(range) = self.range(address, into.len()) else { return false };
        into.copy_from_slice(&self.0[range]);
        true
    }

    fn write(&mut self, address: PhysAddr, data: &[u8]) -> bool {
        let Some(range) = self.range(address, data.len()) else { return false };
        self.0[range].copy_from_slice(data);
        true
    }
}

struct Bench {
    unit: Vtd,
    ram: Ram,
    now: Instant,
    /// The next page free for a table.
    free: u64,
}

fn instant() -> VtdConfig {
    VtdConfig { timing: VtdTiming::INSTANT, ..VtdConfig::default() }
}

impl Bench {
    /// A unit after reset, and RAM full of zeroes.
    fn new(config: VtdConfig) -> Self {
        let ram = Ram(vec![0; RAM_BYTES]);
        Self { unit: Vtd::new(config), ram, now: Instant::ZERO, free: 0x10_000 }
    }

    /// A unit that translates, with queued invalidation, and an empty table of 4 levels for [`CARD`].
    fn running(config: VtdConfig) -> (Self, u64) {
        let mut bench = Self::new(config);
        let top = bench.table();
        bench.attach(CARD, DOMAIN, top, context_entry::AW_48);
        bench.enable();
        (bench, top)
    }

    fn table(&mut self) -> u64 {
        self.free += 0x1000;
        self.free - 0x1000
    }

    fn enable(&mut self) {
        self.write64(reg::RTADDR, ROOT);
        self.write32(reg::GCMD, gcmd::SRTP);
        self.pass(Span::from_us(1));
        self.write64(reg::IQA, QUEUE);
        self.write32(reg::GCMD, gcmd::QIE);
        self.pass(Span::from_us(1));
        self.write32(reg::GCMD, gcmd::QIE | gcmd::TE);
        self.pass(Span::from_us(1));
    }

    /// Where the context entry of `function` lies; its table is made when there is none.
    fn context_place(&mut self, function: Bdf) -> u64 {
        let root_entry = ROOT + u64::from(function.bus()) * 16;
        if self.ram.word(root_entry) == 0 {
            let table = self.table();
            self.ram.set_word(root_entry, table | 1);
        }
        (self.ram.word(root_entry) & !0xfff) + u64::from(function.0 & 0xff) * 16
    }

    fn set_context(&mut self, function: Bdf, low: u64, high: u64) {
        let place = self.context_place(function);
        self.ram.set_word(place, low);
        self.ram.set_word(place + 8, high);
    }

    fn attach(&mut self, function: Bdf, domain: u16, top: u64, width: u64) {
        self.set_context(function, top | context_entry::P, width | u64::from(domain) << 8);
    }

    /// Where the entry of `level` for `address` lies, under a table of `levels`.
    fn entry_place(&mut self, top: u64, levels: u32, address: u64, level: u32) -> u64 {
        let mut table = top;
        for above in (level + 1..=levels).rev() {
            let place = table + sl_entry::index(address, above) * 8;
            if self.ram.word(place) & RW == 0 {
                let next = self.table();
                self.ram.set_word(place, next | RW);
            }
            table = self.ram.word(place) & sl_entry::ADDRESS_MASK;
        }
        table + sl_entry::index(address, level) * 8
    }

    /// Maps the page of `level` around `address` in a table of 4 levels.
    fn map(&mut self, top: u64, address: u64, frame: u64, level: u32, permissions: u64) -> u64 {
        let place = self.entry_place(top, 4, address, level);
        let size = if level > 1 { sl_entry::PS } else { 0 };
        self.ram.set_word(place, frame | size | permissions);
        place
    }

    fn dma(&mut self, function: Bdf, address: u64, kind: DmaKind) -> Result<u64, u8> {
        self.unit
            .translate(self.now, &mut self.ram, function, BusAddr(address), 64, kind)
            .map(|translated| translated.address.get())
            .map_err(|blocked| blocked.reason)
    }

    fn read(&mut self, address: u64) -> Result<u64, u8> {
        self.dma(CARD, address, DmaKind::Read)
    }

    fn write(&mut self, address: u64) -> Result<u64, u8> {
        self.dma(CARD, address, DmaKind::Write)
    }

    /// Lets time go by, and collects the messages raised meanwhile.
    fn pass(&mut self, span: Span) -> Vec<(u64, u32)> {
        let end = self.now + span;
        let mut messages = Vec::new();
        while let Some(wake) = self.unit.next_wake().filter(|wake| *wake <= end) {
            assert!(wake >= self.now, "time never goes backwards");
            self.now = wake;
            messages.extend(self.unit.advance(wake, &mut self.ram));
        }
        self.now = end;
        messages
    }

    fn write32(&mut self, offset: u64, value: u32) {
        self.unit.register_write(self.now, &mut self.ram, offset, 4, u64::from(value));
    }

    fn write64(&mut self, offset: u64, value: u64) {
        self.unit.register_write(self.now, &mut self.ram, offset, 8, value);
    }

    fn read32(&mut self, offset: u64) -> u32 {
        self.unit.register_read(self.now, offset, 4) as u32
    }

    fn read64(&mut self, offset: u64) -> u64 {
        self.unit.register_read(self.now, offset, 8)
    }

    /// Puts descriptors behind the tail, and moves the tail behind them.
    fn queue(&mut self, descriptors: &[(u64, u64)]) {
        let mut tail = self.read64(reg::IQT);
        for (low, high) in descriptors {
            self.ram.set_word(QUEUE + tail, *low);
            self.ram.set_word(QUEUE + tail + 8, *high);
            tail = (tail + inv::BYTES) % 4096;
        }
        self.write64(reg::IQT, tail);
    }

    fn record_place(&mut self, index: u64) -> u64 {
        cap::fault_records_offset(self.read64(reg::CAP)) + index * 16
    }

    fn record(&mut self, index: u64) -> (u64, u64) {
        let place = self.record_place(index);
        (self.read64(place), self.read64(place + 8))
    }

    fn clear_record(&mut self, index: u64) {
        let place = self.record_place(index);
        self.write32(place + 12, 1 << 31);
    }

    fn iotlb_registers(&mut self) -> u64 {
        ecap::iotlb_offset(self.read64(reg::ECAP))
    }
}

fn iotlb_pages(domain: u16, address: u64, mask: u64) -> (u64, u64) {
    (0x32 | u64::from(domain) << 16, address | mask)
}

fn wait(data: u32) -> (u64, u64) {
    (0x25 | u64::from(data) << 32, STATUS)
}
