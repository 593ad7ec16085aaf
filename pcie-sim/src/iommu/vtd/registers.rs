//! The registers as the CPU sees them. "Register Descriptions" of the VT-d specification.
//!
//! Every access is taken as one or two accesses of 32 bits, the lower first: what a write sets off hangs
//! on the dword that holds the bit. Reserved and read-only bits ignore writes; registers of features
//! that the unit does not have read as zero.

use super::Vtd;
use super::invalidate::{ContextScope, IotlbScope, MAX_ADDRESS_MASK};
use crate::iommu::TableMemory;
use crate::spec::vtd::{
    cap, ccmd, ecap, frcd, fsts, gcmd, granularity, ics, inv, iotlb, iqa, reg, rtaddr,
};
use crate::time::Instant;

/// Where the IOTLB registers lie.
const IOTLB_OFFSET: u64 = 0x100;
/// Where the fault records begin.
const RECORDS_OFFSET: u64 = 0x200;
/// How many fault records there is room for.
pub(super) const MAX_RECORDS: u64 = (reg::BYTES - RECORDS_OFFSET) / frcd::BYTES;

/// Registers that stand for nothing but themselves.
#[derive(Debug, Default)]
pub(super) struct Registers {
    /// Global status.
    pub(super) status: u32,
    /// Root table address as written.
    pub(super) root_written: u64,
    /// Root table address in use.
    pub(super) root: u64,
    /// Context command.
    pub(super) context_command: u64,
    /// Invalidate address.
    pub(super) invalidate_address: u64,
    /// IOTLB invalidate.
    pub(super) iotlb: u64,
}

const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn with_low(word: u64, low: u32) -> u64 {
    join(low, (word >> 32) as u32)
}

const fn with_high(word: u64, high: u32) -> u64 {
    join(word as u32, high)
}

impl Vtd {
    /// The capability register.
    pub(super) fn capabilities(&self) -> u64 {
        let has = &self.abilities;
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        cap::ND_16_BIT
            | flag(has.three_levels, cap::SAGAW_39)
            | flag(has.four_levels, cap::SAGAW_48)
            | u64::from(has.widest_bits() - 1) << cap::MGAW_SHIFT
            | cap::ZLR
            | (RECORDS_OFFSET / 16) << cap::FRO_SHIFT
            | flag(has.superpages_2m, cap::SLLPS_2M)
            | flag(has.superpages_1g, cap::SLLPS_1G)
            | cap::PSI
            | (self.log.records() as u64 - 1) << cap::NFR_SHIFT
            | u64::from(MAX_ADDRESS_MASK) << cap::MAMV_SHIFT
            | cap::DWD
            | cap::DRD
    }

    /// The extended capability register.
    pub(super) fn extended_capabilities(&self) -> u64 {
        let pass_through = if self.abilities.pass_through { ecap::PT } else { 0 };
        ecap::C | ecap::QI | pass_through | (IOTLB_OFFSET / 16) << ecap::IRO_SHIFT
    }

    /// The 64 bits at `offset`, a multiple of 8.
    pub(super) fn word(&self, offset: u64) -> u64 {
        let registers = &self.registers;
        const IVA: u64 = IOTLB_OFFSET + iotlb::IVA;
        const IOTLB: u64 = IOTLB_OFFSET + iotlb::IOTLB;
        match offset {
            reg::VER => 0x10,
            reg::CAP => self.capabilities(),
            reg::ECAP => self.extended_capabilities(),
            reg::GCMD => join(0, registers.status),
            reg::RTADDR => registers.root_written,
            reg::CCMD => registers.context_command,
            0x30 => join(0, self.log.status()),
            reg::FECTL => join(self.log.event.control(), self.log.event.data),
            reg::FEADDR => join(self.log.event.address, self.log.event.upper_address),
            reg::IQH => self.queue.head,
            reg::IQT => self.queue.tail,
            reg::IQA => self.queue.address,
            0x98 => join(0, if self.queue.completed { ics::IWC } else { 0 }),
            reg::IECTL => join(self.queue.event.control(), self.queue.event.data),
            reg::IEADDR => join(self.queue.event.address, self.queue.event.upper_address),
            reg::IQERCD => self.log.queue_error_information().unwrap_or(0),
            IVA => registers.invalidate_address,
            IOTLB => registers.iotlb,
            RECORDS_OFFSET.. => self.log.record_word(offset - RECORDS_OFFSET),
            _ => 0,
        }
    }

    /// The CPU writes the 32 bits at `offset`, a multiple of 4.
    pub(super) fn write_dword(
        &mut self,
        now: Instant,
        memory: &dyn TableMemory,
        offset: u64,
        value: u32,
    ) {
        const RTADDR_UPPER: u64 = reg::RTADDR + 4;
        const CCMD_UPPER: u64 = reg::CCMD + 4;
        const IQA_UPPER: u64 = reg::IQA + 4;
        match offset {
            reg::GCMD => self.command(now, memory, value),
            reg::RTADDR => {
                let root = with_low(self.registers.root_written, value);
                self.registers.root_written = root & rtaddr::ADDRESS_MASK;
            }
            RTADDR_UPPER => {
                self.registers.root_written = with_high(self.registers.root_written, value);
            }
            reg::CCMD..=CCMD_UPPER => self.write_context_command(now, offset, value),
            reg::FSTS => {
                self.log.clear_status(value);
                if value & fsts::IQE != 0 {
                    self.fetch(now, memory);
                }
            }
            reg::FECTL..=reg::FEUADDR => self.log.event.write(offset - reg::FECTL, value),
            reg::IQT => {
                self.queue.tail = u64::from(value) & iqa::OFFSET_MASK;
                self.fetch(now, memory);
            }
            reg::IQA..=IQA_UPPER => self.write_queue_address(offset, value),
            reg::ICS if value & ics::IWC != 0 => self.queue.acknowledge(),
            reg::IECTL..=reg::IEUADDR => self.queue.event.write(offset - reg::IECTL, value),
            IOTLB_OFFSET..RECORDS_OFFSET => {
                self.write_iotlb(now, offset - IOTLB_OFFSET, value);
            }
            RECORDS_OFFSET.. if offset % frcd::BYTES == 12 => {
                let index = (offset - RECORDS_OFFSET) / frcd::BYTES;
                self.log.write_record(index, join(0, value));
            }
            _ => {}
        }
    }

    fn write_context_command(&mut self, now: Instant, offset: u64, value: u32) {
        let word = self.registers.context_command;
        if word & ccmd::ICC != 0 {
            return; // the register is the hardware's until the invalidation is done
        }
        const ACTUAL: u64 = 3 << ccmd::CAIG_SHIFT;
        if offset == reg::CCMD {
            self.registers.context_command = with_low(word, value);
            return;
        }
        let word = with_high(word, value) & !ACTUAL;
        self.registers.context_command = word & !ccmd::ICC;
        // The actual granularity stays zero for a wrong request: a reserved code, or the queue is on.
        if word & ccmd::ICC == 0 || self.is_on(gcmd::QIE) {
            return;
        }
        let code = word >> ccmd::CIRG_SHIFT & 3;
        let function_mask = (word >> ccmd::FM_SHIFT & 3) as u8;
        let (domain, source) = (word as u16, (word >> ccmd::SID_SHIFT) as u16);
        if let Some(scope) = ContextScope::from_fields(code, domain, source, function_mask) {
            self.registers.context_command = word;
            self.context_work = Some((now + self.config.timing.context_invalidation, scope));
        }
    }

    fn write_iotlb(&mut self, now: Instant, offset: u64, value: u32) {
        const UPPER: u64 = iotlb::IOTLB + 4;
        const ACTUAL: u64 = 3 << iotlb::IAIG_SHIFT;
        let registers = &mut self.registers;
        match offset {
            iotlb::IVA => {
                registers.invalidate_address = with_low(registers.invalidate_address, value);
            }
            4 => registers.invalidate_address = with_high(registers.invalidate_address, value),
            UPPER if registers.iotlb & iotlb::IVT == 0 => {
                let word = with_high(registers.iotlb, value) & !ACTUAL;
                registers.iotlb = word & !iotlb::IVT;
                if word & iotlb::IVT == 0 || registers.status & gcmd::QIE != 0 {
                    return;
                }
                let domain = (word >> iotlb::DID_SHIFT) as u16;
                let code = word >> iotlb::IIRG_SHIFT & 3;
                if let Some(scope) =
                    IotlbScope::from_fields(code, domain, registers.invalidate_address)
                        .or((code == granularity::PAGE).then_some(IotlbScope::Domain(domain)))
                {
                    registers.iotlb = word;
                    let drain = word & (iotlb::DR | iotlb::DW) != 0;
                    let done = now + self.config.timing.of_iotlb(scope);
                    self.iotlb_work = Some((done, scope, drain));
                }
            }
            _ => {}
        }
    }

    fn write_queue_address(&mut self, offset: u64, value: u32) {
        if self.is_on(gcmd::QIE) {
            return; // the queue cannot be moved while it is on
        }
        let word = self.queue.address;
        self.queue.address = if offset == reg::IQA {
            with_low(word, value) & (iqa::ADDRESS_MASK | iqa::QS_MASK)
        } else {
            with_high(word, value)
        };
    }
}

/// What the CPU reads from `offset`: 4 or 8 bytes at their natural boundary. Other accesses are not
/// allowed ("Software Access to Registers") and read as all ones.
pub(super) fn read(unit: &Vtd, offset: u64, len_bytes: usize) -> u64 {
    match len_bytes {
        8 if offset.is_multiple_of(8) => unit.word(offset),
        4 if offset.is_multiple_of(8) => unit.word(offset) & 0xffff_ffff,
        4 if offset.is_multiple_of(4) => unit.word(offset - 4) >> 32,
        _ => u64::MAX >> (64 - 8 * len_bytes.clamp(1, 8)),
    }
}

const _: () = assert!(inv::BYTES * inv::PER_PAGE == 4096);
