//! VT-d as plain as it can be: everything at once, a cache that only invalidation empties.

use std::collections::BTreeMap;

use pcie_sim::address::{Bdf, BusAddr};
use pcie_sim::host::Width;
use pcie_sim::spec::vtd::{
    cap, context_entry, ecap, fault, frcd, fsts, gcmd, granularity, inv, reg, root_entry, sl_entry,
};

const FAULT_OFFSET: u64 = 0x220;
pub(crate) const CAPABILITIES: u64 = cap::ND_16_BIT
    | cap::SAGAW_48
    | 47 << cap::MGAW_SHIFT
    | cap::PSI
    | cap::SLLPS_2M
    | 9 << cap::MAMV_SHIFT
    | (FAULT_OFFSET / 16) << cap::FRO_SHIFT;

#[derive(Default)]
pub(crate) struct Vtd {
    status: u32,
    rtaddr: u64,
    root: u64,
    iqa: u64,
    head: u64,
    record: [u64; 2],
    /// (domain, page) to entry; never asked for what is not in force any more by a correct driver.
    cache: BTreeMap<(u64, u64), u64>,
    pub(crate) invalidations: u64,
    pub(crate) mute: bool,
    /// Does not see the CPU's caches when it walks tables.
    pub(crate) blind_to_caches: bool,
}

fn word(ram: &[u8], at: u64) -> u64 {
    let at = at as usize;
    u64::from_le_bytes(ram[at..at + 8].try_into().expect("8 bytes"))
}

impl Vtd {
    pub(crate) fn read(&mut self, offset: u64, _width: Width) -> u64 {
        match offset {
            reg::VER => 0x10,
            reg::CAP => CAPABILITIES,
            reg::ECAP if self.blind_to_caches => ecap::QI | ecap::PT,
            reg::ECAP => ecap::C | ecap::QI | ecap::PT,
            reg::GSTS => u64::from(self.status),
            reg::FSTS if self.record[1] & frcd::F != 0 => u64::from(fsts::PPF),
            FAULT_OFFSET => self.record[0],
            at if at == FAULT_OFFSET + 8 => self.record[1],
            _ => 0,
        }
    }

    pub(crate) fn write(&mut self, ram: &mut [u8], offset: u64, width: Width, value: u64) {
        match offset {
            reg::RTADDR => self.rtaddr = value,
            reg::IQA => self.iqa = value,
            reg::GCMD => {
                assert_eq!(width, Width::W32);
                if value as u32 & gcmd::SRTP != 0 {
                    self.root = self.rtaddr;
                }
                // The root pointer's status stays set once it was taken over.
                self.status = value as u32 | self.status & gcmd::SRTP;
            }
            reg::IQT if self.status & gcmd::QIE != 0 && !self.mute => self.run(ram, value),
            at if at == FAULT_OFFSET + 12 && value & frcd::F >> 32 != 0 => self.record[1] = 0,
            _ => {}
        }
    }

    fn run(&mut self, ram: &mut [u8], tail: u64) {
        while self.head != tail {
            let (low, high) =
                (word(ram, self.iqa + self.head), word(ram, self.iqa + self.head + 8));
            let domain = low >> inv::DID_SHIFT & 0xffff;
            match low & inv::TYPE_MASK {
                inv::IOTLB => {
                    assert_eq!(low & inv::IOTLB_RESERVED_LOW | high & inv::IOTLB_RESERVED_HIGH, 0);
                    self.invalidations += 1;
                    let first = high >> 12;
                    let end = match low >> inv::GRANULARITY_SHIFT & 3 {
                        granularity::PAGE => first + (1 << (high & inv::IOTLB_AM_MASK)),
                        _ => u64::MAX,
                    };
                    self.cache.retain(|&(of, page), _| of != domain || page < first || page >= end);
                }
                inv::CONTEXT => assert_eq!(low & inv::CONTEXT_RESERVED | high, 0),
                inv::WAIT => {
                    let data = (low >> inv::WAIT_DATA_SHIFT) as u32;
                    let at = high as usize;
                    ram[at..at + 4].copy_from_slice(&data.to_le_bytes());
                }
                other => panic!("descriptor of type {other}"),
            }
            self.head = (self.head + inv::BYTES) % 4096;
        }
    }

    pub(crate) fn translate(
        &mut self,
        ram: &[u8],
        who: Bdf,
        at: BusAddr,
        write: bool,
    ) -> Option<u64> {
        if self.status & gcmd::TE == 0 {
            return Some(at.get());
        }
        match self.entry(ram, who, at) {
            Ok(entry) if entry & if write { sl_entry::W } else { sl_entry::R } != 0 => {
                Some(entry & sl_entry::ADDRESS_MASK | at.get() & 0xfff)
            }
            result => {
                let reason = result.err().unwrap_or(if write {
                    fault::WRITE_DENIED
                } else {
                    fault::READ_DENIED
                });
                let kind = if write { 0 } else { frcd::T_READ };
                let high = frcd::F | kind | u64::from(reason) << frcd::FR_SHIFT | u64::from(who.0);
                self.record = [at.get() & frcd::ADDRESS_MASK, high];
                None
            }
        }
    }

    fn entry(&mut self, ram: &[u8], who: Bdf, at: BusAddr) -> Result<u64, u8> {
        let root = word(ram, self.root + u64::from(who.bus()) * root_entry::BYTES);
        if root & root_entry::P == 0 {
            return Err(fault::ROOT_NOT_PRESENT);
        }
        let context =
            (root & root_entry::CTP_MASK) + u64::from(who.0 & 0xff) * context_entry::BYTES;
        let (low, high) = (word(ram, context), word(ram, context + 8));
        if low & context_entry::P == 0 {
            return Err(fault::CONTEXT_NOT_PRESENT);
        }
        assert_eq!(high & context_entry::AW_MASK, context_entry::AW_48);
        if low >> context_entry::TT_SHIFT & 3 == context_entry::TT_PASS_THROUGH {
            return Ok(at.get() & !0xfff | sl_entry::R | sl_entry::W);
        }
        let domain = high >> context_entry::DID_SHIFT & 0xffff;
        let key = (domain, at.get() >> 12);
        if let Some(&entry) = self.cache.get(&key) {
            return Ok(entry);
        }
        let entry = walk(ram, low & context_entry::SLPTPTR_MASK, at.get());
        if entry != 0 {
            self.cache.insert(key, entry);
        }
        Ok(entry)
    }
}

/// The last-level entry for `at`; 0 when some level is not present.
pub(crate) fn walk(ram: &[u8], top: u64, at: u64) -> u64 {
    let mut table = top;
    for level in (1..=4).rev() {
        let entry = word(ram, table + sl_entry::index(at, level) * sl_entry::BYTES);
        if level == 2 && entry & sl_entry::PS != 0 {
            let page = sl_entry::index(at, 1) << 12;
            return entry & !sl_entry::PS | page;
        }
        if level == 1 || entry & (sl_entry::R | sl_entry::W) == 0 {
            return if entry & (sl_entry::R | sl_entry::W) == 0 { 0 } else { entry };
        }
        table = entry & sl_entry::ADDRESS_MASK;
    }
    0
}

/// Every present last-level entry below `top`, by page number.
pub(crate) fn all_entries(ram: &[u8], top: u64) -> BTreeMap<u64, u64> {
    fn visit(ram: &[u8], table: u64, level: u32, base: u64, found: &mut BTreeMap<u64, u64>) {
        for nth in 0..sl_entry::PER_TABLE {
            let entry = word(ram, table + nth * sl_entry::BYTES);
            if entry & (sl_entry::R | sl_entry::W) == 0 {
                assert_eq!(entry, 0, "an entry that is not present is all zeroes");
                continue;
            }
            let page = base << 9 | nth;
            if level == 2 && entry & sl_entry::PS != 0 {
                for small in 0..sl_entry::PER_TABLE {
                    found.insert(page << 9 | small, entry & !sl_entry::PS | small << 12);
                }
            } else if level == 1 {
                found.insert(page, entry);
            } else {
                visit(ram, entry & sl_entry::ADDRESS_MASK, level - 1, page, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(ram, top, 4, 0, &mut found);
    found
}
