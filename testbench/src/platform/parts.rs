//! The parts that rows of the table are put together from.

use host_driver::dma::iommu::flush::Deferred;
use host_driver::dma::noncoherent::MaintenanceStep;
use host_driver::{Coherence, IommuMode};
use pcie_sim::host::shape::{Caches, Frames, HostShape, Protection, Stores};
use pcie_sim::iommu::scope::Launch;
use pcie_sim::spec::features::{ACCESS_PLATFORM as AP, ORDER_PLATFORM as OP};
use pcie_sim::time::Span;
use rtl_model::{AddressPolicy, Deed, SwiotlbConfig};

use super::setup::{
    CardPart, Covers, Dmar, DriverPart, Hardware, Leads, Os, PC, Setup, Slot, System,
};
use super::{Case, Expected, Outcome, Traffic};

pub(super) const fn case(variant: &'static str, setup: Setup, expected: Expected) -> Case {
    Case { variant, setup, traffic: Traffic::AsItIs, expected }
}

pub(super) const fn in_bursts(case: Case) -> Case {
    let building = Span::from_ns(700);
    Case { traffic: Traffic::Bursts { packets: 512, bytes: 64, burst: 64, building }, ..case }
}

/// Longer between two commands than a card with [`late`] habits waits.
pub(super) const fn one_by_one(case: Case) -> Case {
    Case { traffic: Traffic::OneByOne { building: Span::from_us(50) }, ..case }
}

pub(super) const fn hybrid(case: Case) -> Case {
    Case { traffic: Traffic::HybridRings, ..case }
}

pub(super) const fn expect(
    outcome: Outcome,
    ops: &'static str,
    evidence: &'static str,
) -> Expected {
    Expected { outcome, ops, features: AP | OP, evidence }
}

pub(super) const fn works(ops: &'static str) -> Expected {
    expect(Outcome::Works, ops, "")
}

pub(super) const fn bounces(ops: &'static str) -> Expected {
    expect(Outcome::Bounces, ops, "bounced")
}

pub(super) const fn faults(ops: &'static str, evidence: &'static str) -> Expected {
    expect(Outcome::Faults, ops, evidence)
}

pub(super) const fn corrupts(ops: &'static str, evidence: &'static str) -> Expected {
    expect(Outcome::Corrupts, ops, evidence)
}

/// A driver that does not know the bit, before something that translates.
pub(super) const fn blind(evidence: &'static str) -> Expected {
    Expected { features: OP, ..expect(Outcome::Faults, "direct", evidence) }
}

pub(super) const fn refused(evidence: &'static str) -> Expected {
    Expected { features: 0, ..expect(Outcome::Refused, "", evidence) }
}

pub(super) const VTD: Hardware =
    Hardware::Vtd { covers: Covers::WhatTheTableSays, launch: Launch::Open };
pub(super) const STRICT: IommuMode =
    IommuMode { deferred: None, large_pages: false, pass_through: false };
pub(super) const LAZY: IommuMode = IommuMode {
    // As Linux has it.
    deferred: Some(Deferred { entries: 250, after: Span::from_ms(10) }),
    ..STRICT
};
pub(super) const LARGE: IommuMode = IommuMode { large_pages: true, ..STRICT };
pub(super) const PASS_THROUGH: IommuMode = IommuMode { pass_through: true, ..STRICT };

pub(super) const fn vtd_system(mode: IommuMode, dmar: Dmar, blacklisted: bool) -> System {
    System::with(Os::Vtd { mode, dmar, blacklisted })
}

pub(super) const fn vtd(mode: IommuMode) -> Setup {
    let system = vtd_system(mode, Dmar::CoversAll, false);
    Setup { hardware: VTD, system, ..Setup::PLAIN }
}

pub(super) const fn with_table(dmar: Dmar) -> Setup {
    Setup { system: vtd_system(STRICT, dmar, false), ..vtd(STRICT) }
}

pub(super) const fn lying(blacklisted: bool) -> Setup {
    let hardware = Hardware::Vtd { covers: Covers::Nothing, launch: Launch::Open };
    Setup { hardware, system: vtd_system(STRICT, Dmar::CoversAll, blacklisted), ..Setup::PLAIN }
}

pub(super) const LOCKED: Setup = Setup {
    hardware: Hardware::Vtd { covers: Covers::WhatTheTableSays, launch: Launch::Locked },
    ..vtd(STRICT)
};

/// A card that touches a buffer 20 microseconds after it has given it back.
pub(super) const fn late(setup: Setup) -> Setup {
    let deed = Deed::UseAfterUsed { delay: Span::from_us(20) };
    Setup { card: CardPart { malice: Some(deed), ..setup.card }, ..setup }
}

pub(super) const XEN: Setup = Setup {
    shape: HostShape { frames: Frames::Scattered { seed: 1 }, ..PC },
    system: System::with(Os::Xen),
    ..Setup::PLAIN
};

pub(super) const TCE: Setup = Setup {
    hardware: Hardware::Tce { direct_window: false },
    system: System::with(Os::Tce),
    ..Setup::PLAIN
};

pub(super) const DDW: Setup = Setup {
    hardware: Hardware::Tce { direct_window: true },
    system: System::with(Os::DirectWindow),
    ..Setup::PLAIN
};

pub(super) const LEGACY: Setup = Setup {
    system: System { direct_hook: true, ..TCE.system },
    card: CardPart { addresses: AddressPolicy::BypassesAsHypervisor, ..CardPart::PHYSICAL },
    driver: DriverPart::WITHOUT_BIT_33,
    ..TCE
};

pub(super) const SECURE: Setup = Setup {
    shape: HostShape { protection: Protection::SharedOnly, ..PC },
    system: System { shared_pool: true, ..System::PHYSICAL },
    ..Setup::PLAIN
};

/// A page that the driver never hands over: RAM's first.
pub(super) const STRAY: Deed = Deed::StrayRead { address: 0, len_bytes: 64 };

pub(super) const SPARC: Setup =
    Setup { hardware: Hardware::FlatTable, system: System::with(Os::FlatTable), ..Setup::PLAIN };

pub(super) const fn caches(leave_out: Option<MaintenanceStep>) -> Setup {
    Setup {
        shape: HostShape { caches: Caches::NotSnooped { line_bytes: 64, lines: 16_384 }, ..PC },
        system: System { caches: Coherence::Maintained { leave_out }, ..System::PHYSICAL },
        ..Setup::PLAIN
    }
}

pub(super) const WEAK: Setup = Setup {
    // The seed shows the order; silicon shows it once in a long while.
    shape: HostShape { stores: Stores::Weak { seed: 3, depth: 64 }, ..PC },
    store_drain: Span::from_us(10),
    ..Setup::PLAIN
};

pub(super) const BOUNCE: SwiotlbConfig = SwiotlbConfig {
    offset: 0,
    bytes: 4 << 20,
    offer_feature: true,
    require: true,
    capability: true,
};

pub(super) const fn bouncing(bounce: SwiotlbConfig) -> Setup {
    Setup {
        shape: HostShape { protection: Protection::SharedOnly, ..PC },
        card: CardPart { bounce: Some(bounce), ..CardPart::PHYSICAL },
        ..Setup::PLAIN
    }
}

pub(super) const PKVM: Setup = bouncing(BOUNCE);

pub(super) const fn hint(bounce_hint_bytes: u32) -> Setup {
    let bounce = SwiotlbConfig { offer_feature: false, require: false, ..BOUNCE };
    Setup {
        card: CardPart { bounce: Some(bounce), ..CardPart::PHYSICAL },
        driver: DriverPart { bounce_hint_bytes, ..DriverPart::CURRENT },
        ..Setup::PLAIN
    }
}

pub(super) const fn mmio(filled_later: bool) -> Setup {
    Setup { slot: Slot::Mmio { filled_later }, ..Setup::PLAIN }
}

pub(super) const fn joined(leads: Leads) -> Setup {
    Setup { slot: Slot::Bridge { leads }, system: System::with(Os::BridgeWindow), ..Setup::PLAIN }
}
