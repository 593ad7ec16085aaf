//! Nothing stays behind, on any platform: tables are walked where the hardware reads them, pools are full,
//! all memory is given back.

use std::cell::Cell;
use std::rc::Rc;

use host_driver::virtqueue::AddError;
use host_driver::{BlkDriver, BlkOp, BlkRequest, Segment, SubmitError};
use pcie_sim::address::PhysAddr;
use pcie_sim::endpoint::{Endpoint, Port};
use pcie_sim::host::{Bus, Memory};
use pcie_sim::iommu::scope::Launch;
use pcie_sim::time::{Instant, Span};
use rtl_model::{Backing, BlkConfig, DeviceConfig};
use testbench::bench::tables;
use testbench::bench::watch::Watch;
use testbench::bench::wiring::{Bench, model};
use testbench::card::Plugged;
use testbench::platform::setup::{Covers, Hardware};
use testbench::platform::{Outcome, PLATFORMS};
use testbench::scenario::config::{Layout, RunConfig};

use crate::rig::{case, patterns, run};

const BYTES: u32 = 4096;
const PATIENCE: Span = Span::from_ms(50);

/// A card that can be pulled out.
struct Pulled {
    card: Box<dyn Endpoint>,
    gone: Rc<Cell<bool>>,
}

impl Endpoint for Pulled {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        if !self.gone.get() {
            return self.card.advance(now, port);
        }
        while port.receive().is_some() {}
    }

    fn next_wake(&self) -> Option<Instant> {
        if self.gone.get() { None } else { self.card.next_wake() }
    }

    fn bypasses_translation(&self) -> bool {
        self.card.bypasses_translation()
    }
}

/// A disk on one platform, and who drives it.
struct Rig {
    config: RunConfig,
    bench: Bench,
    driver: BlkDriver,
    buffers: PhysAddr,
    gone: Rc<Cell<bool>>,
}

impl Rig {
    fn new(config: RunConfig) -> Self {
        let gone = Rc::new(Cell::new(false));
        let make = |run: &RunConfig, card| {
            let (card, gone) = (model(run, card)?.endpoint, gone.clone());
            Ok(Plugged::from(Box::new(Pulled { card, gone }) as Box<dyn Endpoint>))
        };
        let backing = Backing::Memory { capacity_sectors: 2048 };
        let device = DeviceConfig::Blk(BlkConfig { backing, ..BlkConfig::default() });
        let mut bench = Bench::new(&config, device, Watch::new(), &make).expect("it is wired");
        let context = bench.probe_context(&config).expect("the capabilities are there");
        let driver = BlkDriver::probe(&mut bench.machine, context).expect("it can be driven");
        let buffers = bench.buffers(u64::from(BYTES) * 256).expect("there is memory");
        Self { config, bench, driver, buffers, gone }
    }

    fn submit(&mut self, op: BlkOp, token: u64) -> Result<(), SubmitError> {
        let address = self.buffers + token * u64::from(BYTES);
        let segments = [Segment { address, len: BYTES }];
        let request = BlkRequest { op, sector: 8 * token, segments: &segments };
        self.driver.submit(&mut self.bench.machine, &request, token)
    }

    /// Waits until nothing is under way; tokens as they were done.
    fn finish(&mut self) -> Vec<u64> {
        self.driver.kick(&mut self.bench.machine);
        let deadline = self.bench.machine.now() + PATIENCE;
        let mut done = Vec::new();
        while self.driver.outstanding() > 0 && self.bench.machine.now() < deadline {
            self.driver.wait(&mut self.bench.machine, deadline).expect("the card is well");
            self.driver.poll(&mut self.bench.machine, &mut done).expect("the card is well");
        }
        done.iter().map(|done| done.token).collect()
    }

    /// Writes and reads back.
    fn works(&mut self) {
        let at = self.buffers;
        self.bench.machine.write(at, &[0x5a; BYTES as usize]);
        self.submit(BlkOp::Write, 0).expect("room");
        assert_eq!(self.finish(), [0], "{}", self.config.platform.id);
        self.bench.machine.write(at, &[0; BYTES as usize]);
        self.submit(BlkOp::Read, 0).expect("room");
        assert_eq!(self.finish(), [0]);
        let mut back = [0; BYTES as usize];
        self.bench.machine.read(at, &mut back);
        assert!(back.iter().all(|&byte| byte == 0x5a), "{}", self.config.platform.id);
    }

    /// The tables hold something while the driver has the card, and nothing when it has gone.
    fn leave(mut self) {
        let id = self.config.platform.id;
        let hardware = self.config.setup.hardware;
        let translates = ["iommu", "tce"].contains(&self.driver.ops_name());
        let mapped = tables::mapped(&mut self.bench, hardware);
        assert!(!translates || mapped.pages > 0, "{id}: the rings at least: {mapped}");
        let removed = self.driver.remove(&mut self.bench.machine).expect("all is given back");
        assert_eq!(removed.findings, [], "{id}");
        assert_eq!(removed.gone, self.gone.get(), "{id}");
        let mapped = tables::mapped(&mut self.bench, hardware);
        assert!(mapped.is_empty(), "{id}: {mapped}");
        assert_eq!(self.bench.stop(), Vec::<String>::new(), "{id}");
    }
}

/// The ordinary case of each platform, with direct and with indirect descriptors.
fn everywhere(show: impl Fn(Rig)) {
    let pattern = &patterns(&["card.queue_size=16"])[0];
    for platform in PLATFORMS {
        let Some(case) = platform.cases().first() else { continue };
        for layout in [Layout::Direct, Layout::Indirect] {
            let pattern = RunConfig { layout, watched: true, ..pattern.clone() };
            show(Rig::new(RunConfig { platform, setup: case.setup, ..pattern }));
        }
    }
}

/// PLATFORMS.md, rule 5: the ring is full, or there is no memory; what was there before is there after.
#[test]
fn after_failed_adds_nothing_stays_mapped_and_the_driver_goes_on() {
    everywhere(|mut rig| {
        let id = rig.config.platform.id;
        rig.works();
        let live = |rig: &Rig| rig.driver.dma_debug().expect("it is on").live();
        let (before, free) = (live(&rig), rig.driver.outstanding());
        let mut taken = Vec::new();
        while let Ok(page) = rig.bench.pages.alloc(4096, 1) {
            taken.push(page);
        }
        let short = rig.submit(BlkOp::Read, 0);
        match short {
            // What needs no memory gets through: that is no failed add.
            Ok(()) => assert_eq!(rig.finish(), [0], "{id}"),
            Err(SubmitError::Queue(error)) => {
                let indirect = rig.config.layout == Layout::Indirect;
                let of_its_kind = match error {
                    AddError::OutOfMemory(_) => indirect,
                    AddError::Io(_) => true,
                    _ => false,
                };
                assert!(of_its_kind, "{id}: {error}");
            }
            Err(other) => panic!("{id}: {other}"),
        }
        assert_eq!((live(&rig), rig.driver.outstanding()), (before, free), "{id}");
        for page in taken {
            rig.bench.pages.free(page, 4096).expect("taken right here");
        }
        let mut accepted = 0;
        let full = loop {
            match rig.submit(BlkOp::Write, accepted) {
                Ok(()) => accepted += 1,
                Err(error) => break error,
            }
        };
        assert!(full.is_full() && accepted > 0, "{id}: {full}");
        let mut done = rig.finish();
        done.sort_unstable();
        assert_eq!(done, (0..accepted).collect::<Vec<_>>(), "{id}");
        assert_eq!(live(&rig), before, "{id}");
        rig.works();
        rig.leave();
    });
}

#[test]
fn after_surprise_removal_nothing_stays_behind() {
    everywhere(|mut rig| {
        let id = rig.config.platform.id;
        for token in 0..5 {
            rig.submit(BlkOp::Read, token).expect("room");
        }
        rig.driver.kick(&mut rig.bench.machine);
        rig.gone.set(true);
        let deadline = rig.bench.machine.now() + PATIENCE;
        let noticed = rig.driver.wait(&mut rig.bench.machine, deadline).is_err()
            || rig.driver.poll(&mut rig.bench.machine, &mut Vec::new()).is_err();
        assert!(noticed, "{id}");
        rig.leave();
    });
}

#[test]
fn after_a_reset_in_flight_nothing_of_it_stays_mapped_and_the_driver_goes_on() {
    everywhere(|mut rig| {
        let id = rig.config.platform.id;
        let live = rig.driver.dma_debug().expect("it is on").live();
        for token in 0..5 {
            rig.submit(BlkOp::Read, token).expect("room");
        }
        rig.driver.kick(&mut rig.bench.machine);
        let now = rig.bench.machine.now() + Span::from_us(1);
        rig.bench.machine.run_until(now);
        let lost = rig.driver.restart(&mut rig.bench.machine).expect("it starts again");
        assert!(!lost.is_empty(), "{id}");
        assert_eq!(rig.driver.dma_debug().expect("it is on").live(), live, "{id}");
        rig.works();
        rig.leave();
    });
}

/// `x86-vtd`: strict invalidation means that a touch after unmap is stopped, every time; the same card on
/// the same machine with deferred invalidation gets through (`x86-vtd-lazy`).
#[test]
fn with_strict_invalidation_a_touch_after_unmap_faults() {
    let late = case("x86-vtd", "card touches after unmap");
    for seed in 1..6 {
        let mut pattern = patterns(&[&format!("seed={seed}"), "driver.kick_batch=1"])[0].clone();
        pattern.driver.queue_depth = 1;
        pattern.timing.driver_add_buffer = Span::from_us(50);
        let (result, verdict) = run("x86-vtd", late.setup, &pattern);
        assert_eq!(verdict.outcome, Outcome::Faults, "{}", verdict.evidence);
        assert!(verdict.evidence.contains("use after unmap"), "{}", verdict.evidence);
        assert_eq!(result.completed, 64, "the disk goes on");
        let record = result.record.as_deref().expect("the run was watched");
        assert_eq!(record.faults.len(), 1, "the IOMMU recorded it");
        let lazy = case("x86-vtd-lazy", "card touches after unmap");
        let (result, verdict) = run("x86-vtd-lazy", lazy.setup, &pattern);
        assert_eq!(verdict.outcome, Outcome::Corrupts, "{}", verdict.evidence);
        assert_eq!(result.record.as_deref().map(|record| record.faults.len()), Some(0));
    }
}

/// A walk that finds nothing in a working machine would prove nothing: an entry left behind is found.
#[test]
fn an_entry_left_in_the_tables_is_found() {
    let config = RunConfig { watched: true, ..patterns(&[])[0].clone() };
    for id in ["x86-vtd", "sparc64", "ppc64-tce"] {
        let case = case(id, "");
        let platform = crate::rig::platform(id);
        let rig = Rig::new(RunConfig { platform, setup: case.setup, ..config.clone() });
        let Rig { mut bench, driver, .. } = rig;
        // The driver forgets the card.
        std::mem::forget(driver);
        let left = bench.stop();
        assert!(left.iter().any(|line| line.contains("tables are not empty")), "{id}: {left:?}");
    }
}

/// `x86-vtd-dma-blocked`: what was to be overwritten before the first mapping is as it was; on a machine
/// that does not block DMA at reset it is not.
#[test]
fn dma_before_the_first_mapping_changes_no_memory() {
    for (launch, found) in [(Launch::Locked, [0; 8]), (Launch::Open, [0x66; 8])] {
        let mut setup = case("x86-vtd-dma-blocked", "DMA before the first mapping").setup;
        setup.hardware = Hardware::Vtd { covers: Covers::WhatTheTableSays, launch };
        let platform = crate::rig::platform("x86-vtd-dma-blocked");
        let config = RunConfig { platform, setup, ..patterns(&[])[0].clone() };
        let rig = Rig::new(config);
        let bytes = rig.bench.machine.root.ram.slice(PhysAddr(0x8000), 8).expect("there is RAM");
        assert_eq!(bytes, found, "{launch:?}");
    }
}
