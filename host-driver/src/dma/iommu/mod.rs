//! VT-d as a kernel runs it: root, context and second-stage tables in host memory, registers through
//! the bus, queued invalidation, strict or deferred, pages of 4 KiB or 2 MiB, or pass-through.
//!
//! Whether translation happens is the platform's fact. So the platform brings a unit up
//! ([`IommuUnit::bring_up`]) before any driver probes, and from then on a device that is in no domain
//! cannot reach memory at all.
//!
//! Left out: scalable mode, interrupt remapping, pages of 1 GiB.

mod blocks;
mod domain;
pub mod flush;
pub mod invalidation;
pub mod iova;
pub mod page_table;
pub mod tables;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use pcie_sim::address::{Bdf, BusAddr, PhysAddr};
use pcie_sim::host::{Barrier, Host, Width};
use pcie_sim::spec::vtd::{cap, context_entry, ecap, frcd, fsts, gcmd, inv, reg, root_entry};
use pcie_sim::time::Span;

use super::DmaError;
use crate::pages::{PAGE_BYTES, PageError, Pages};
pub use domain::{Domain, IommuCosts};
use flush::Deferred;
use invalidation::{Forget, Queue};
use tables::TableWriter;

/// How long a command may take before the hardware counts as hung.
const PATIENCE: Span = Span::from_ms(10);

/// An IOMMU as the platform describes it (ACPI DMAR, "DRHD").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmarUnit {
    /// Where its registers lie.
    pub registers: PhysAddr,
    /// The devices it covers; `None` covers all.
    pub scope: Option<Vec<Bdf>>,
    /// Bus addresses that no mapping may get: windows of memory-mapped I/O. The interrupt range
    /// 0xfee00000 to 0xfeefffff is kept free anyway.
    pub reserved: Vec<Range<u64>>,
    /// What using it costs the CPU.
    pub costs: IommuCosts,
    /// How devices are served.
    pub mode: IommuMode,
}

/// How an IOMMU serves its devices: the operating system's choice, made before any driver probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IommuMode {
    /// Invalidation waits and is done for many at once; `None`: strict, each unmap waits for its own.
    pub deferred: Option<Deferred>,
    /// Use pages of 2 MiB.
    pub large_pages: bool,
    /// Devices get pass-through context entries: bus = physical.
    pub pass_through: bool,
}

/// Why an IOMMU cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IommuError {
    /// Nothing that answers like VT-d is there.
    #[error("no VT-d registers at {registers}: the version reads {version:#x}")]
    Absent {
        /// Where they should be.
        registers: PhysAddr,
        /// What the version register gave.
        version: u32,
    },
    /// It lacks what this driver needs.
    #[error("the IOMMU lacks {what}")]
    Lacks {
        /// The capability.
        what: &'static str,
    },
    /// A command was not carried out.
    #[error("the IOMMU did not confirm global command {command:#x}: status {status:#x}")]
    CommandHung {
        /// The bits expected to change.
        command: u32,
        /// The global status.
        status: u32,
    },
    /// An invalidation was not confirmed.
    #[error("the IOMMU did not confirm an invalidation: fault status {fault_status:#x}")]
    InvalidationHung {
        /// The fault status register.
        fault_status: u32,
    },
    /// The device is in a domain already.
    #[error("{requester} is in a domain already")]
    Busy {
        /// The device.
        requester: Bdf,
    },
    /// No memory for tables.
    #[error(transparent)]
    Memory(#[from] PageError),
}

/// One fault record. VT-d, "Fault Recording Registers".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultRecord {
    /// Who asked.
    pub requester: Bdf,
    /// The page that was asked for.
    pub address: BusAddr,
    /// Why it was refused, `pcie_sim::spec::vtd::fault`.
    pub reason: u8,
    /// A read (else a write).
    pub read: bool,
}

/// A handle to one running IOMMU; clones share it.
#[derive(Debug, Clone)]
pub struct IommuUnit(Rc<RefCell<Unit>>);

#[derive(Debug)]
struct Unit {
    dmar: DmarUnit,
    pages: Pages,
    capabilities: u64,
    writer: TableWriter,
    /// The enable bits last written; the command register cannot be read.
    command: u32,
    root: PhysAddr,
    /// Context tables by bus, and who is in which domain.
    contexts: BTreeMap<u8, PhysAddr>,
    domains: BTreeMap<Bdf, u16>,
    queue: Option<Queue>,
}

impl IommuUnit {
    /// Checks what the hardware can do, gives it an empty root table and an invalidation queue, and
    /// switches translation on: from now on no device in its scope reaches memory without a domain.
    pub fn bring_up(
        host: &mut dyn Host,
        pages: &Pages,
        dmar: DmarUnit,
    ) -> Result<Self, IommuError> {
        let (capabilities, writer) = check(host, dmar.registers, dmar.mode)?;
        let root = writer.table(host, pages)?;
        let queue = match Queue::new(host, pages, dmar.registers) {
            Ok(queue) => Some(queue),
            Err(error) => {
                pages.free(root, PAGE_BYTES)?;
                return Err(error.into());
            }
        };
        let mut unit = Unit {
            dmar,
            pages: pages.clone(),
            capabilities,
            writer,
            command: 0,
            root,
            contexts: BTreeMap::new(),
            domains: BTreeMap::new(),
            queue,
        };
        match unit.enable(host) {
            Ok(()) => Ok(Self(Rc::new(RefCell::new(unit)))),
            Err(error) => {
                // Hardware that hangs may still read the tables, yet there is nobody left to ask.
                unit.release()?;
                Err(error)
            }
        }
    }

    /// Whether the unit covers a device.
    #[must_use]
    pub fn covers(&self, requester: Bdf) -> bool {
        self.0.borrow().dmar.scope.as_ref().is_none_or(|scope| scope.contains(&requester))
    }

    /// How devices are served.
    #[must_use]
    pub fn mode(&self) -> IommuMode {
        self.0.borrow().dmar.mode
    }

    /// Lets a device's addresses pass as they are.
    pub(super) fn attach_pass_through(
        &self,
        host: &mut dyn Host,
        requester: Bdf,
    ) -> Result<(), IommuError> {
        let kind = context_entry::TT_PASS_THROUGH;
        self.0.borrow_mut().attach(host, requester, PhysAddr(0), kind).map(drop)
    }

    /// Takes a device out of its domain, whatever kind that was.
    pub(super) fn detach_device(
        &self,
        host: &mut dyn Host,
        requester: Bdf,
    ) -> Result<(), IommuError> {
        self.0.borrow_mut().detach(host, requester)
    }

    /// Switches translation off and gives the tables back; devices must have left their domains.
    pub fn shut_down(self, host: &mut dyn Host) -> Result<(), IommuError> {
        let mut unit = self.0.borrow_mut();
        if let Some((&requester, _)) = unit.domains.first_key_value() {
            return Err(IommuError::Busy { requester });
        }
        unit.command(host, gcmd::TE, false)?;
        unit.command(host, gcmd::QIE, false)?;
        Ok(unit.release()?)
    }

    /// Takes the fault records that are pending, and clears them.
    pub fn take_faults(&self, host: &mut dyn Host) -> Vec<FaultRecord> {
        let unit = self.0.borrow();
        let registers = unit.dmar.registers;
        let mut faults = Vec::new();
        let status = host.mmio_read(registers + reg::FSTS, Width::W32) as u32;
        if status & fsts::PPF != 0 {
            let first = registers + cap::fault_records_offset(unit.capabilities);
            for nth in 0..u64::from(cap::fault_records(unit.capabilities)) {
                faults.extend(take_record(host, first + nth * frcd::BYTES));
            }
        }
        if status & fsts::PFO != 0 {
            host.mmio_write(registers + reg::FSTS, Width::W32, u64::from(fsts::PFO));
        }
        faults
    }
}

fn take_record(host: &mut dyn Host, record: PhysAddr) -> Option<FaultRecord> {
    let high = host.mmio_read(record + 8, Width::W64);
    if high & frcd::F == 0 {
        return None;
    }
    let low = host.mmio_read(record, Width::W64);
    // The flag lies in the topmost 32 bits; writing those alone clears nothing else.
    host.mmio_write(record + 12, Width::W32, frcd::F >> 32);
    Some(FaultRecord {
        requester: Bdf((high & frcd::SID_MASK) as u16),
        address: BusAddr(low & frcd::ADDRESS_MASK),
        reason: (high >> frcd::FR_SHIFT) as u8,
        read: high & frcd::T_READ != 0,
    })
}

/// What the hardware can do, and how its tables are to be written.
fn check(
    host: &mut dyn Host,
    registers: PhysAddr,
    mode: IommuMode,
) -> Result<(u64, TableWriter), IommuError> {
    let version = host.mmio_read(registers + reg::VER, Width::W32) as u32;
    if version == 0 || version == u32::MAX {
        return Err(IommuError::Absent { registers, version });
    }
    let capabilities = host.mmio_read(registers + reg::CAP, Width::W64);
    let extended = host.mmio_read(registers + reg::ECAP, Width::W64);
    let needs = [
        (capabilities & cap::SAGAW_48 != 0, "tables of 4 levels"),
        (extended & ecap::QI != 0, "queued invalidation"),
        (!mode.large_pages || capabilities & cap::SLLPS_2M != 0, "pages of 2 MiB"),
        (!mode.pass_through || extended & ecap::PT != 0, "pass-through"),
    ];
    match needs.into_iter().find(|(offered, _)| !offered) {
        Some((_, what)) => Err(IommuError::Lacks { what }),
        None => Ok((capabilities, TableWriter { snooped: extended & ecap::C != 0 })),
    }
}

impl Unit {
    fn enable(&mut self, host: &mut dyn Host) -> Result<(), IommuError> {
        host.barrier(Barrier::DmaWrite);
        host.mmio_write(self.dmar.registers + reg::RTADDR, Width::W64, self.root.get());
        self.command(host, gcmd::SRTP, true)?;
        self.command(host, gcmd::QIE, true)?;
        self.command(host, gcmd::TE, true)
    }

    /// Writes one bit of the global command and waits until the status shows it.
    fn command(&mut self, host: &mut dyn Host, bit: u32, on: bool) -> Result<(), IommuError> {
        let written = if on { self.command | bit } else { self.command & !bit };
        host.mmio_write(self.dmar.registers + reg::GCMD, Width::W32, u64::from(written));
        self.command = written & !gcmd::SRTP;
        let deadline = host.now() + PATIENCE;
        loop {
            let status = host.mmio_read(self.dmar.registers + reg::GSTS, Width::W32) as u32;
            if (status & bit != 0) == on {
                return Ok(());
            }
            if host.now() >= deadline {
                return Err(IommuError::CommandHung { command: bit, status });
            }
            host.spend(Span::from_ns(100));
        }
    }

    /// Gives root table, context tables and queue back.
    fn release(&mut self) -> Result<(), PageError> {
        let tables = std::mem::take(&mut self.contexts).into_values().chain([self.root]);
        for table in tables {
            self.pages.free(table, PAGE_BYTES)?;
        }
        match self.queue.take() {
            Some(queue) => queue.free(&self.pages),
            None => Ok(()),
        }
    }

    fn forget(&mut self, host: &mut dyn Host, forget: Forget) -> Result<(), IommuError> {
        let mut drain = 0;
        drain |= if self.capabilities & cap::DWD != 0 { inv::IOTLB_DW } else { 0 };
        drain |= if self.capabilities & cap::DRD != 0 { inv::IOTLB_DR } else { 0 };
        let selective = self.capabilities & cap::PSI != 0;
        let forget = match forget {
            Forget::Pages { domain, order, .. }
                if !selective || order > cap::max_address_mask(self.capabilities) =>
            {
                Forget::Domain { domain }
            }
            other => other,
        };
        match &mut self.queue {
            Some(queue) => queue.run(host, forget, drain),
            None => Ok(()),
        }
    }

    /// Puts a device into a new domain whose topmost table is `top`; `kind` is the translation type.
    fn attach(
        &mut self,
        host: &mut dyn Host,
        requester: Bdf,
        top: PhysAddr,
        kind: u64,
    ) -> Result<u16, IommuError> {
        if self.domains.contains_key(&requester) {
            return Err(IommuError::Busy { requester });
        }
        // Domain 0 is the hardware's own where it caches entries that are not present.
        let Some(domain) = (1..=u16::MAX).find(|id| !self.domains.values().any(|used| used == id))
        else {
            return Err(IommuError::Lacks { what: "another domain" });
        };
        let entry = self.context(host, requester)?;
        let high = context_entry::AW_48 | u64::from(domain) << context_entry::DID_SHIFT;
        let low = top.get() | kind << context_entry::TT_SHIFT | context_entry::P;
        // The half with the present bit last: the hardware may look at any time.
        self.writer.write(host, entry + 8, &high.to_le_bytes());
        host.barrier(Barrier::DmaWrite);
        self.writer.write(host, entry, &low.to_le_bytes());
        self.domains.insert(requester, domain);
        match self.forget_device(host, domain, requester) {
            Ok(()) => Ok(domain),
            Err(error) => {
                // The entry goes again, whether or not the hardware is told so in time.
                let _ = self.detach(host, requester);
                Err(error)
            }
        }
    }

    /// Takes a device out of its domain.
    fn detach(&mut self, host: &mut dyn Host, requester: Bdf) -> Result<(), IommuError> {
        let Some(domain) = self.domains.remove(&requester) else {
            return Ok(());
        };
        let entry = self.context(host, requester)?;
        self.writer.write(host, entry, &0u64.to_le_bytes());
        self.writer.write(host, entry + 8, &0u64.to_le_bytes());
        self.forget_device(host, domain, requester)
    }

    fn forget_device(
        &mut self,
        host: &mut dyn Host,
        domain: u16,
        requester: Bdf,
    ) -> Result<(), IommuError> {
        self.forget(host, Forget::Context { domain, requester: requester.0 })?;
        self.forget(host, Forget::Domain { domain })
    }

    /// Where a requester's context entry lies; its bus's table is made if need be.
    fn context(&mut self, host: &mut dyn Host, requester: Bdf) -> Result<PhysAddr, IommuError> {
        let bus = requester.bus();
        let table = match self.contexts.get(&bus) {
            Some(&table) => table,
            None => {
                let table = self.writer.table(host, &self.pages)?;
                let low = table.get() & root_entry::CTP_MASK | root_entry::P;
                host.barrier(Barrier::DmaWrite);
                let at = self.root + u64::from(bus) * root_entry::BYTES;
                self.writer.write(host, at, &low.to_le_bytes());
                self.contexts.insert(bus, table);
                table
            }
        };
        Ok(table + u64::from(requester.0 & 0xff) * context_entry::BYTES)
    }
}
