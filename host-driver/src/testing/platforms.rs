//! Every kind of host that a back end is for, made of the fake parts.

use pcie_sim::address::{BusAddr, PhysAddr};

use super::card::Card;
use super::{BusKind, CARD, Cache, FakeHost, RAM_BYTES, TABLE_PAGES, TABLES, iommu_in, pages};
use crate::dma::costs::BackEndCosts;
use crate::dma::direct::Window;
use crate::dma::iommu::flush::Deferred;
use crate::dma::iommu::{IommuMode, IommuUnit};
use crate::dma::select::{Coherence, PlatformDma, Translation};
use crate::dma::swiotlb::{SwiotlbConfig, SwiotlbPool};
use crate::dma::tce::{TceConfig, TceTable, TceWindow};
use crate::dma::xen::{XenConfig, XenGuest};
use crate::pages::Pages;
use crate::{DriverConfig, PciTransport, ProbeContext};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Direct,
    Offset,
    Strict,
    Lazy,
    Large,
    PassThrough,
    Tce,
    TceRuns,
    Table,
    Swiotlb,
    Secure,
    Xen,
    NonCoherent,
    CardBounce,
    Hint,
}

pub(crate) const ALL: [Kind; 15] = [
    Kind::Direct,
    Kind::Offset,
    Kind::Strict,
    Kind::Lazy,
    Kind::Large,
    Kind::PassThrough,
    Kind::Tce,
    Kind::TceRuns,
    Kind::Table,
    Kind::Swiotlb,
    Kind::Secure,
    Kind::Xen,
    Kind::NonCoherent,
    Kind::CardBounce,
    Kind::Hint,
];

/// A host of some kind, with its card, its pages, and what its platform holds.
pub(crate) struct Bench {
    pub(crate) kind: Kind,
    pub(crate) host: FakeHost,
    pub(crate) pages: Pages,
    pub(crate) platform: PlatformDma,
}

const OFFSET: u64 = 1 << 59;

impl Bench {
    pub(crate) fn new(kind: Kind, card: Card) -> Self {
        let card = match kind {
            Kind::CardBounce => card.with_bounce(true),
            Kind::Hint => card.with_bounce(false),
            _ => card,
        };
        let mut host = FakeHost::new(card);
        let pages = pages();
        let translation = translation(kind, &mut host, &pages);
        let mut platform = PlatformDma { translation, ..PlatformDma::default() };
        let pool = |shared| SwiotlbConfig {
            bytes: 2 << 20,
            forced: true,
            shared,
            ..SwiotlbConfig::default()
        };
        match kind {
            Kind::Swiotlb | Kind::Secure => {
                let secure = kind == Kind::Secure;
                if secure {
                    host.fabric.bus = BusKind::Shared(Default::default());
                }
                let pool = SwiotlbPool::new(&mut host, &pages, pool(secure)).expect("room");
                platform.swiotlb = Some(pool);
            }
            Kind::NonCoherent => {
                host.fabric.cache = Some(Cache::default());
                platform.caches = Coherence::Maintained { leave_out: None };
            }
            _ => {}
        }
        Self { kind, host, pages, platform }
    }

    /// What a probe needs.
    pub(crate) fn context(&mut self, config: DriverConfig) -> ProbeContext {
        let transport = Box::new(PciTransport::open(&mut self.host, CARD).expect("a virtio card"));
        let bounce_hint_bytes = if self.kind == Kind::Hint { 1024 } else { 0 };
        ProbeContext {
            transport,
            pages: self.pages.clone(),
            platform: self.platform.clone(),
            config: DriverConfig { bounce_hint_bytes, ..config },
        }
    }

    /// After the driver has gone: no table holds anything, every pool is full, all memory is back.
    pub(crate) fn assert_clean(mut self) {
        let kind = self.kind;
        if let Some(pool) = self.platform.swiotlb.take() {
            let (free, all) = pool.slots();
            assert_eq!(free, all, "{kind:?}");
            pool.release(&mut self.host, &self.pages).expect("given out by them");
        }
        match std::mem::take(&mut self.platform.translation) {
            Translation::Iommu(unit) => unit.shut_down(&mut self.host).expect("no domain is left"),
            Translation::Tce(window) => {
                assert_eq!(window.mapped_pages(), 0);
                assert_tables_empty(&self.host);
                window.close(&mut self.host, &self.pages).expect("given out by them");
            }
            Translation::Xen(guest) => {
                let (free, all) = guest.slots();
                assert_eq!(free, all);
                guest.release(&self.pages).expect("given out by them");
            }
            _ => {}
        }
        assert_eq!(self.pages.in_use_bytes(), 0, "{kind:?}");
    }
}

fn assert_tables_empty(host: &FakeHost) {
    match &host.fabric.bus {
        BusKind::Tce(entries) => assert!(entries.is_empty()),
        &BusKind::Table(start, count) => {
            let table = &host.fabric.ram[start as usize..(start + 8 * count) as usize];
            assert!(table.iter().all(|&byte| byte == 0));
        }
        _ => {}
    }
}

fn translation(kind: Kind, host: &mut FakeHost, pages: &Pages) -> Translation {
    let mut unit = |mode| -> IommuUnit { iommu_in(host, pages, mode) };
    match kind {
        Kind::Strict => Translation::Iommu(unit(IommuMode::default())),
        Kind::Lazy => Translation::Iommu(unit(IommuMode {
            deferred: Some(Deferred::default()),
            ..IommuMode::default()
        })),
        Kind::Large => {
            Translation::Iommu(unit(IommuMode { large_pages: true, ..IommuMode::default() }))
        }
        Kind::PassThrough => {
            Translation::Iommu(unit(IommuMode { pass_through: true, ..IommuMode::default() }))
        }
        Kind::Offset => {
            host.fabric.bus = BusKind::Offset(OFFSET);
            let (start, bytes) = (PhysAddr(0), RAM_BYTES as u64);
            Translation::Window(Window { start, bytes, base: BusAddr(OFFSET) })
        }
        Kind::Tce | Kind::TceRuns => {
            host.fabric.bus = BusKind::Tce(Default::default());
            let runs = kind == Kind::TceRuns;
            window(host, pages, TceTable::Hypervisor { liobn: 5, runs })
        }
        Kind::Table => window(host, pages, TceTable::Memory { registers: PhysAddr(TABLES) }),
        Kind::Xen => {
            host.fabric.scatter();
            let config = XenConfig { bytes: 1 << 20, ..XenConfig::default() };
            Translation::Xen(XenGuest::new(host, pages, config).expect("frames are free"))
        }
        _ => Translation::Direct,
    }
}

fn window(host: &mut FakeHost, pages: &Pages, table: TceTable) -> Translation {
    let config =
        TceConfig { base: 0, bytes: TABLE_PAGES * 4096, table, costs: BackEndCosts::default() };
    Translation::Tce(TceWindow::open(host, pages, config).expect("there is memory"))
}
