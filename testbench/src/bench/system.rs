//! Hardware and operating system of a platform's row: what stands between slot and memory is built, and
//! the system makes of it what the driver is then told.

use std::rc::Rc;

use host_driver::dma::direct::{Direct, Window as DirectWindow};
use host_driver::dma::iommu::{FaultRecord, IommuCosts};
use host_driver::dma::swiotlb::{SwiotlbConfig, SwiotlbPool};
use host_driver::dma::tce::{TceConfig as WindowConfig, TceTable, TceWindow};
use host_driver::dma::xen::{XenConfig, XenGuest};
use host_driver::{DmarUnit, IommuMode, IommuUnit, Pages, PlatformDma, Translation};
use pcie_sim::address::{Bdf, BusAddr, PhysAddr};
use pcie_sim::endpoint::Tap;
use pcie_sim::host::Host;
use pcie_sim::host::ram::{HOLE_START, Ram};
use pcie_sim::iommu::dmar::{Bridge, Dmar as DmarTable, Scope, Topology};
use pcie_sim::iommu::scope::{Coverage, Scoped};
use pcie_sim::iommu::tce::{Tce, TceAccess, TceConfig, Window};
use pcie_sim::iommu::vtd::{Geometry, Vtd, VtdConfig, VtdTiming};
use pcie_sim::iommu::{Iommu, scope::Launch};
use pcie_sim::machine::Machine;
use pcie_sim::root::enumerate::Windows;

use super::{bridge, shortage};
use crate::platform::Setup;
use crate::platform::setup::{Covers, Dmar, Hardware, Os};
use crate::preset::Timing;
use crate::report::RunError;
use crate::scenario::config::RunConfig;

/// Where firmware leaves its DMAR table: in the area that a PC keeps for it.
const DMAR_AT: PhysAddr = PhysAddr(0xe_0000);
/// Registers of a unit whose table the system writes.
const FLAT_TABLE_REGISTERS: PhysAddr = PhysAddr(0xfed9_0000);
/// Pages of that unit's window: 64 MiB.
const FLAT_TABLE_PAGES: u64 = 1 << 14;
/// The bridge above the card's slot, as firmware always finds it.
const BRIDGE: Bridge = Bridge { bdf: Bdf::new(0, 1, 0), secondary: 1, subordinate: 1 };

/// What the operating system holds of a platform, to be given back at the end.
#[derive(Default)]
pub struct System {
    /// The IOMMU, when it has switched one on.
    pub iommu: Option<IommuUnit>,
    window: Option<TceWindow>,
    pool: Option<SwiotlbPool>,
    guest: Option<XenGuest>,
    /// What it said while it started.
    pub log: Vec<String>,
}

fn topology() -> Topology {
    Topology { bridges: vec![BRIDGE] }
}

fn dmar_table(dmar: Dmar) -> DmarTable {
    let registers = VtdConfig::default().registers;
    match dmar {
        Dmar::CoversAll => DmarTable::covering_all(registers),
        Dmar::LeavesCardOut => DmarTable::covering(registers, vec![Scope::endpoint(&[(2, 0)])]),
        Dmar::LeavesBridgeOut => {
            DmarTable::covering(registers, vec![Scope::endpoint(&[(1, 0), (0, 0)])])
        }
    }
}

/// What firmware's table says; one that covers everything where the row has no table of its own.
fn table_of(setup: &Setup) -> DmarTable {
    match setup.system.translation {
        Os::Vtd { dmar, .. } => dmar_table(dmar),
        _ => dmar_table(Dmar::CoversAll),
    }
}

/// What stands between slot and memory.
pub(super) fn hardware(config: &RunConfig, ram: &Ram) -> Option<Box<dyn Iommu>> {
    let setup = &config.setup;
    let timing = &config.timing;
    match setup.hardware {
        Hardware::None => None,
        Hardware::Vtd { covers, launch } => {
            let unit = vtd(timing);
            let honest = covers == Covers::WhatTheTableSays;
            let table = table_of(setup);
            let everything = table == dmar_table(Dmar::CoversAll);
            if honest && everything && launch == Launch::Open {
                return Some(Box::new(unit));
            }
            let coverage =
                if honest { Coverage::of_unit(&table, 0, &topology()) } else { Coverage::none() };
            Some(Box::new(Scoped::new(unit, coverage, launch)))
        }
        Hardware::Tce { direct_window } => {
            let mut windows = vec![Window::DEFAULT];
            windows.extend(direct_window.then(|| Window::direct(ram_end(ram))));
            Some(Box::new(Tce::new(TceConfig { windows, ..tce_timing(timing) })))
        }
        Hardware::FlatTable => Some(Box::new(Tce::new(TceConfig {
            access: TceAccess::Direct { registers: FLAT_TABLE_REGISTERS },
            windows: vec![Window { pages: FLAT_TABLE_PAGES, ..Window::DEFAULT }],
            freezes: false,
            ..tce_timing(timing)
        }))),
    }
}

fn ram_end(ram: &Ram) -> u64 {
    ram.size_bytes().min(HOLE_START)
}

fn tce_timing(timing: &Timing) -> TceConfig {
    TceConfig {
        hit: timing.iommu_hit,
        table_read: timing.iommu_page_walk_read,
        ..TceConfig::default()
    }
}

/// The VT-d unit that a preset describes.
pub(crate) fn vtd(timing: &Timing) -> Vtd {
    Vtd::new(VtdConfig {
        iotlb: geometry(timing.iommu_iotlb_entries),
        paging_structure_cache: tables(timing.iommu_table_entries),
        timing: VtdTiming {
            hit: timing.iommu_hit,
            context_walk_read: timing.iommu_context_walk_read,
            page_walk_read: timing.iommu_page_walk_read,
            walk: timing.iommu_walk,
            walks_at_once: timing.iommu_walks_at_once,
            read_hold: timing.iommu_read_hold,
            command: timing.iommu_command,
            descriptor_fetch: timing.iommu_descriptor_fetch,
            context_invalidation: timing.iommu_context_invalidation,
            iotlb_invalidation: timing.iommu_iotlb_invalidation,
            page_invalidation: timing.iommu_page_invalidation,
            wait: timing.iommu_wait,
            to_memory: timing.root_inbound + timing.root_memory_read,
        },
        ..VtdConfig::default()
    })
}

fn tables(entries: u32) -> Geometry {
    if entries == 0 { Geometry { sets: 1, ways: 0 } } else { geometry(entries) }
}

/// As many entries as asked for, or a few more: sets come in powers of two.
fn geometry(entries: u32) -> Geometry {
    let sets = if entries >= 64 { 8 } else { 1 };
    let ways = entries.div_ceil(sets).max(1);
    Geometry { sets: sets as usize, ways: ways as usize }
}

impl System {
    /// Starts the system: gives what drivers are told of the platform.
    pub(super) fn start<T: Tap>(
        config: &RunConfig,
        machine: &mut Machine<T>,
        pages: &Pages,
    ) -> Result<(Self, PlatformDma), RunError> {
        let wanted = config.setup.system;
        let mut system = Self::default();
        let mut platform = PlatformDma {
            translation: system.translation(config, machine, pages)?,
            caches: wanted.caches,
            ..PlatformDma::default()
        };
        if wanted.direct_hook {
            platform.hook = Some(Rc::new(|_, pages, facts| {
                Ok(Some(Box::new(Direct::new(pages.clone(), facts.mask))))
            }));
        }
        if wanted.shared_pool {
            let costs = config.timing.back_ends();
            let pool =
                SwiotlbConfig { forced: true, shared: true, costs, ..SwiotlbConfig::default() };
            let pool = SwiotlbPool::new(machine, pages, pool).map_err(RunError::internal)?;
            system.pool = Some(pool.clone());
            platform.swiotlb = Some(pool);
        }
        Ok((system, platform))
    }

    fn translation<T: Tap>(
        &mut self,
        config: &RunConfig,
        machine: &mut Machine<T>,
        pages: &Pages,
    ) -> Result<Translation, RunError> {
        match config.setup.system.translation {
            Os::Physical => Ok(Translation::Direct),
            Os::NoDmaApi => Ok(Translation::NoDmaApi),
            Os::Vtd { dmar, blacklisted, mode } => {
                dmar_table(dmar).store(machine, DMAR_AT);
                self.vtd(config, machine, pages, blacklisted, mode)
            }
            Os::Tce => {
                let liobn = Window::DEFAULT.liobn;
                let table = TceTable::Hypervisor { liobn, runs: true };
                let bytes = Window::DEFAULT.pages << Window::DEFAULT.page_bits;
                self.open_window(config, machine, pages, bytes, table)
            }
            Os::DirectWindow => {
                let window = Window::direct(ram_end(&machine.root.ram));
                let bytes = window.pages << window.page_bits;
                let base = BusAddr(window.start);
                Ok(Translation::Window(DirectWindow { start: PhysAddr(0), bytes, base }))
            }
            Os::BridgeWindow => {
                Ok(Translation::Window(bridge::window(machine.root.ram.size_bytes())))
            }
            Os::FlatTable => {
                let table = TceTable::Memory { registers: FLAT_TABLE_REGISTERS };
                self.open_window(config, machine, pages, FLAT_TABLE_PAGES << 12, table)
            }
            Os::Xen => {
                let guest = XenConfig { costs: config.timing.back_ends(), ..XenConfig::default() };
                let guest = XenGuest::new(machine, pages, guest);
                let guest = guest.map_err(RunError::internal)?;
                self.guest = Some(guest.clone());
                Ok(Translation::Xen(guest))
            }
        }
    }

    fn vtd(
        &mut self,
        config: &RunConfig,
        host: &mut dyn Host,
        pages: &Pages,
        blacklisted: bool,
        mode: IommuMode,
    ) -> Result<Translation, RunError> {
        let table = load_table(host)?;
        if blacklisted {
            self.log.push("broken DMAR, IOMMU disabled".to_owned());
            return Ok(Translation::Direct);
        }
        let topology = topology();
        let covered = |function: &Bdf| table.unit_of(*function, &topology).is_some();
        let scope = (0..=u16::MAX).map(Bdf).filter(covered).collect::<Vec<_>>();
        let all = scope.len() == usize::from(u16::MAX) + 1;
        let windows = Windows::default();
        let dmar = DmarUnit {
            registers: table.units.first().map_or(PhysAddr(0), |unit| unit.registers),
            scope: (!all).then_some(scope),
            reserved: vec![windows.low..HOLE_START + (1 << 30), windows.high..u64::MAX],
            mode,
            costs: IommuCosts {
                map: config.timing.driver_iommu_map,
                unmap: config.timing.driver_iommu_unmap,
                flush: config.timing.driver_iommu_flush,
            },
        };
        let unit = IommuUnit::bring_up(host, pages, dmar).map_err(|error| {
            if shortage::of_iommu(&error) {
                RunError::input(format!("host.ram: too small for the IOMMU's tables: {error}"))
            } else {
                RunError::internal(error)
            }
        })?;
        self.iommu = Some(unit.clone());
        Ok(Translation::Iommu(unit))
    }

    fn open_window(
        &mut self,
        config: &RunConfig,
        host: &mut dyn Host,
        pages: &Pages,
        bytes: u64,
        table: TceTable,
    ) -> Result<Translation, RunError> {
        let costs = config.timing.back_ends();
        let config = WindowConfig { base: Window::DEFAULT.start, bytes, table, costs };
        let window = TceWindow::open(host, pages, config).map_err(RunError::internal)?;
        self.window = Some(window.clone());
        Ok(Translation::Tce(window))
    }

    /// Memory through which buffers bounce.
    pub(super) fn pools(&self) -> impl Iterator<Item = std::ops::Range<PhysAddr>> + '_ {
        let pool = self.pool.as_ref().map(SwiotlbPool::range);
        pool.into_iter().chain(self.guest.as_ref().map(XenGuest::range))
    }

    /// What the IOMMU's own registers recorded.
    pub(super) fn take_faults(&self, host: &mut dyn Host) -> Vec<FaultRecord> {
        self.iommu.as_ref().map_or_else(Vec::new, |unit| unit.take_faults(host))
    }

    /// Gives everything back. What is left although the driver has gone, one line each.
    pub(super) fn stop<T: Tap>(self, machine: &mut Machine<T>, pages: &Pages) -> Vec<String> {
        let mut left = Vec::new();
        let mut note = |what: &str, done: Result<(), String>| {
            left.extend(done.err().map(|error| format!("{what}: {error}")));
        };
        let slots = |(free, all): (u64, u64)| {
            if free == all { Ok(()) } else { Err(format!("{} slots are in use", all - free)) }
        };
        if let Some(window) = self.window {
            let mapped = window.mapped_pages();
            note("TCE window", if mapped == 0 { Ok(()) } else { Err(format!("{mapped} pages")) });
            note("TCE window", window.close(machine, pages).map_err(|error| error.to_string()));
        }
        if let Some(pool) = self.pool {
            note("swiotlb pool", slots(pool.slots()));
            let released = pool.release(machine, pages);
            note("swiotlb pool", released.map_err(|error| error.to_string()));
        }
        if let Some(guest) = self.guest {
            note("xen pool", slots(guest.slots()));
            note("xen pool", guest.release(pages).map_err(|error| error.to_string()));
        }
        if let Some(unit) = self.iommu {
            note("IOMMU", unit.shut_down(machine).map_err(|error| error.to_string()));
        }
        left
    }
}

fn load_table(host: &mut dyn Host) -> Result<DmarTable, RunError> {
    DmarTable::load(host, DMAR_AT).map_err(RunError::internal)
}

/// Whether the table in memory lets a function be plugged in at `device` while the machine runs.
pub(super) fn hotplug(host: &mut dyn Host, device: Bdf) -> Result<(), String> {
    let table = load_table(host).map_err(|error| error.to_string())?;
    pcie_sim::iommu::dmar::hotplug_allowed(&table, &topology(), device)
        .map_err(|refused| refused.to_string())
}
