use super::*;
use crate::host::ram::Ram;
use crate::iommu::dmar::{Bridge, Scope};
use crate::iommu::vtd::{Vtd, VtdConfig, VtdTiming};
use crate::spec::vtd::{fault, gcmd, reg};

const CARD: Bdf = Bdf::new(1, 0, 0);
const STRANGER: Bdf = Bdf::new(0, 3, 0);
const REGISTERS: PhysAddr = PhysAddr(0xfed9_0000);

fn topology() -> Topology {
    let bdf = Bdf::new(0, 1, 0);
    Topology { bridges: vec![Bridge { bdf, secondary: 1, subordinate: 1 }] }
}

struct Bench {
    unit: Scoped<Vtd>,
    ram: Ram,
}

impl Bench {
    fn new(coverage: Coverage, launch: Launch) -> Self {
        let vtd = Vtd::new(VtdConfig { timing: VtdTiming::INSTANT, ..VtdConfig::default() });
        let ram = Ram::anonymous(1 << 20).expect("a megabyte");
        Self { unit: Scoped::new(vtd, coverage, launch), ram }
    }

    fn command(&mut self, value: u32) {
        let now = Instant::ZERO;
        self.unit.register_write(now, &mut self.ram, reg::GCMD, 4, u64::from(value));
    }

    /// Switches translation on, with a root table full of zeroes.
    fn enable(&mut self) {
        self.command(gcmd::SRTP);
        self.command(gcmd::TE);
    }

    fn dma(&mut self, requester: Bdf) -> Result<u64, u8> {
        let (ram, address) = (&mut self.ram, BusAddr(0x5000));
        let done = Iommu::translate(
            &mut self.unit,
            Instant::ZERO,
            ram,
            requester,
            address,
            64,
            DmaKind::Write,
        );
        done.map(|done| done.address.get()).map_err(|blocked| blocked.reason)
    }
}

/// PLATFORMS, `x86-vtd` and `x86-vtd-unscoped`.
#[test]
fn only_requesters_in_scope_are_translated() {
    let dmar = Dmar::covering(REGISTERS, vec![Scope::bridge(&[(1, 0)])]);
    let mut bench = Bench::new(Coverage::of_unit(&dmar, 0, &topology()), Launch::Open);
    bench.enable();
    assert_eq!(bench.dma(CARD), Err(fault::ROOT_NOT_PRESENT));
    assert_eq!(bench.dma(STRANGER), Ok(0x5000));
    assert_eq!(bench.unit.passed(), 1);
}

/// PLATFORMS, `x86-vtd-lying`.
#[test]
fn where_firmware_lies_the_raw_address_passes_although_the_table_covers_it() {
    let dmar = Dmar::covering_all(REGISTERS);
    assert_eq!(dmar.unit_of(CARD, &topology()), Some(0));
    let mut bench = Bench::new(Coverage::none(), Launch::Open);
    bench.enable();
    assert_eq!(bench.dma(CARD), Ok(0x5000));
}

/// PLATFORMS, `x86-vtd-dma-blocked`.
#[test]
fn after_a_measured_launch_nothing_passes_before_translation_is_on() {
    let mut bench = Bench::new(Coverage::of(|function| function == CARD), Launch::Locked);
    assert_eq!(bench.dma(CARD), Err(LOCKED_SINCE_RESET));
    assert_eq!(bench.dma(STRANGER), Err(LOCKED_SINCE_RESET), "whoever it is");
    let explain = |reason| Iommu::explain(&bench.unit, reason);
    assert_ne!(explain(LOCKED_SINCE_RESET), explain(0));
    bench.enable();
    assert_eq!(bench.dma(CARD), Err(fault::ROOT_NOT_PRESENT), "now the tables decide");
    assert_eq!(bench.dma(STRANGER), Ok(0x5000));
    bench.command(0);
    assert_eq!(bench.dma(CARD), Ok(0x5000), "the lock does not come back");
}

#[test]
fn coverage_knows_every_requester() {
    let odd = Coverage::of(|function| function.0 % 3 == 1);
    for id in 0..=u16::MAX {
        assert_eq!(odd.covers(Bdf(id)), id % 3 == 1);
    }
    assert!(Coverage::all().covers(Bdf(u16::MAX)) && !Coverage::none().covers(Bdf(0)));
}
