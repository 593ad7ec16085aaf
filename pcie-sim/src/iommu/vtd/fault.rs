//! Faults: recorded round robin in a few registers, and announced by one message.
//!
//! ```text
//!   fault ─▶ record free? ─yes─▶ F, PPF ─▶ IP ─▶ not masked? ─▶ message, IP cleared
//!                        └─no──▶ PFO, fault lost
//! ```
//!
//! "Primary Fault Logging" and "Fault Event Control Register" of the VT-d specification. Left out:
//! collapsing the faults of one requester (allowed, not required), so that a test sees each of them.

use crate::address::{Bdf, BusAddr};
use crate::iommu::DmaKind;
use crate::spec::vtd::{event, frcd, fsts};

/// A message that the unit raises: its mask, its pending bit, what to write and where.
#[derive(Debug)]
pub(super) struct Event {
    masked: bool,
    pending: bool,
    /// The data register.
    pub(super) data: u32,
    /// The address register.
    pub(super) address: u32,
    /// The upper address register.
    pub(super) upper_address: u32,
}

impl Event {
    pub(super) const fn new() -> Self {
        Self { masked: true, pending: false, data: 0, address: 0, upper_address: 0 }
    }

    /// The control register.
    pub(super) const fn control(&self) -> u32 {
        (if self.masked { event::IM } else { 0 }) | (if self.pending { event::IP } else { 0 })
    }

    /// The driver writes the register `offset` bytes behind the control register.
    pub(super) const fn write(&mut self, offset: u64, value: u32) {
        match offset {
            0 => self.masked = value & event::IM != 0,
            4 => self.data = value,
            8 => self.address = value & !3,
            _ => self.upper_address = value,
        }
    }

    pub(super) const fn raise(&mut self) {
        self.pending = true;
    }

    /// The driver has served what caused the event before it was sent.
    pub(super) const fn withdraw(&mut self) {
        self.pending = false;
    }

    /// Whether the message can go out.
    pub(super) const fn is_due(&self) -> bool {
        self.pending && !self.masked
    }

    /// The message, when it can go out.
    pub(super) fn take(&mut self) -> Option<(u64, u32)> {
        self.is_due().then(|| {
            self.pending = false;
            (u64::from(self.upper_address) << 32 | u64::from(self.address), self.data)
        })
    }
}

/// The fault records and the fault status register.
#[derive(Debug)]
pub(super) struct FaultLog {
    records: Box<[[u64; 2]]>,
    /// Bits of an address that a record holds: those of the widest address.
    address_mask: u64,
    /// Records in use.
    in_use: usize,
    /// The record that the next fault takes.
    next: usize,
    /// The record of the first pending fault.
    first: usize,
    overflow: bool,
    queue_error: Option<u64>,
    /// The fault event.
    pub(super) event: Event,
}

impl FaultLog {
    pub(super) fn new(records: usize, address_bits: u32) -> Self {
        Self {
            address_mask: !(u64::MAX << address_bits),
            records: vec![[0; 2]; records].into_boxed_slice(),
            in_use: 0,
            next: 0,
            first: 0,
            overflow: false,
            queue_error: None,
            event: Event::new(),
        }
    }

    /// How many records there are.
    pub(super) const fn records(&self) -> usize {
        self.records.len()
    }

    /// Translation was turned off: the next fault takes the first record.
    pub(super) const fn rewind(&mut self) {
        self.next = 0;
    }

    /// The fault status register.
    pub(super) fn status(&self) -> u32 {
        let mut status = 0;
        if self.in_use > 0 {
            status |= fsts::PPF | (self.first as u32) << fsts::FRI_SHIFT;
        }
        if self.overflow {
            status |= fsts::PFO;
        }
        if self.queue_error.is_some() {
            status |= fsts::IQE;
        }
        status
    }

    fn is_quiet(&self) -> bool {
        self.in_use == 0 && !self.overflow && self.queue_error.is_none()
    }

    /// Records a fault, or notes that it is lost.
    pub(super) fn record(&mut self, requester: Bdf, address: BusAddr, kind: DmaKind, reason: u8) {
        if self.overflow {
            return;
        }
        if self.records[self.next][1] & frcd::F != 0 {
            self.overflow = true;
            return;
        }
        let quiet = self.is_quiet();
        if self.in_use == 0 {
            self.first = self.next;
        }
        let read = if kind == DmaKind::Read { frcd::T_READ } else { 0 };
        self.records[self.next] = [
            address.get() & frcd::ADDRESS_MASK & self.address_mask,
            frcd::F | read | u64::from(reason) << frcd::FR_SHIFT | u64::from(requester.0),
        ];
        self.in_use += 1;
        self.next = (self.next + 1) % self.records.len();
        if quiet {
            self.event.raise();
        }
    }

    /// Notes an error of the invalidation queue, as [`crate::spec::vtd::iqei`] numbers it.
    pub(super) fn queue_error(&mut self, information: u64) {
        let quiet = self.is_quiet();
        self.queue_error = Some(information);
        if quiet {
            self.event.raise();
        }
    }

    /// What was wrong with the invalidation queue, while its error stands.
    pub(super) const fn queue_error_information(&self) -> Option<u64> {
        self.queue_error
    }

    /// The driver writes the fault status register.
    pub(super) fn clear_status(&mut self, value: u32) {
        if value & fsts::PFO != 0 {
            self.overflow = false;
        }
        if value & fsts::IQE != 0 {
            self.queue_error = None;
        }
        self.served();
    }

    /// The 64-bit word `offset` bytes into the records; zero behind them.
    pub(super) fn record_word(&self, offset: u64) -> u64 {
        let (index, half) = (offset / frcd::BYTES, offset / 8 % 2);
        self.records.get(index as usize).map_or(0, |record| record[half as usize])
    }

    /// The driver writes the upper half of record `index`, with the bit that frees it or without.
    pub(super) fn write_record(&mut self, index: u64, value_high: u64) {
        let Some(record) = self.records.get_mut(index as usize) else { return };
        if value_high & frcd::F != 0 && record[1] & frcd::F != 0 {
            record[1] &= !frcd::F;
            self.in_use -= 1;
            self.served();
        }
    }

    fn served(&mut self) {
        if self.is_quiet() {
            self.event.withdraw();
        }
    }
}
