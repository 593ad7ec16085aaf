//! The table of platforms. Each row's last column is what PLATFORMS.md asks it to show.

use host_driver::dma::noncoherent::MaintenanceStep;
use pcie_sim::spec::features::{ACCESS_PLATFORM as AP, ORDER_PLATFORM as OP, SWIOTLB as SW};
use rtl_model::{AddressPolicy, SwiotlbConfig};

use super::parts::{
    BOUNCE, DDW, LARGE, LAZY, LEGACY, LOCKED, PASS_THROUGH, PKVM, SECURE, SPARC, STRAY, STRICT,
    TCE, VTD, WEAK, XEN, blind, bounces, bouncing, caches, case, corrupts, faults, hint, hybrid,
    in_bursts, joined, late, lying, mmio, one_by_one, refused, vtd, with_table, works,
};
use super::setup::{Buffers, CardPart, Dmar, DriverPart, Incident, Leads, Os, Setup, System};
use super::{Expected, Place, Platform};

/// Every platform, in the order of reports.
pub const PLATFORMS: &[Platform] = &[
    Platform {
        id: "x86-noiommu",
        title: "x86, no IOMMU exposed",
        place: Place::Here(&[case("", Setup::PLAIN, works("direct"))]),
    },
    Platform {
        id: "x86-os-off",
        title: "x86, an IOMMU that the OS never enables",
        place: Place::Here(&[case("", Setup { hardware: VTD, ..Setup::PLAIN }, works("direct"))]),
    },
    Platform {
        id: "x86-vtd",
        title: "x86, VT-d on, 4-KiB pages, strict invalidation",
        place: Place::Here(&[
            case("", vtd(STRICT), works("iommu")),
            case("driver without bit 33", vtd(STRICT).without_bit_33(), blind("translated device")),
            one_by_one(case(
                "card touches after unmap",
                late(vtd(STRICT)),
                faults("iommu", "use after unmap"),
            )),
        ]),
    },
    Platform {
        id: "x86-vtd-lazy",
        title: "x86, VT-d on, invalidation deferred (250 entries or 10 ms)",
        place: Place::Here(&[
            case("", vtd(LAZY), works("iommu")),
            case("card touches after unmap", late(vtd(LAZY)), corrupts("iommu", "use after unmap")),
        ]),
    },
    Platform {
        id: "x86-vtd-2m",
        title: "x86, VT-d on, 2-MiB pages",
        place: Place::Here(&[case("", vtd(LARGE), works("iommu"))]),
    },
    Platform {
        id: "x86-vtd-pt",
        title: "x86, VT-d on, pass-through context entries",
        place: Place::Here(&[
            case("", vtd(PASS_THROUGH), works("direct")),
            case(
                "driver without bit 33",
                vtd(PASS_THROUGH).without_bit_33(),
                Expected { features: OP, ..works("direct") },
            ),
        ]),
    },
    Platform {
        id: "x86-vtd-unscoped",
        title: "x86, VT-d on, card and bridge in no unit's scope",
        place: Place::Here(&[
            case("", with_table(Dmar::LeavesCardOut), works("direct")),
            case(
                "in-scope card hot-plugged",
                Setup { incident: Incident::HotPlug, ..with_table(Dmar::LeavesBridgeOut) },
                refused("the bridge 00:01.0 above it is in none"),
            ),
        ]),
    },
    Platform {
        id: "x86-vtd-lying",
        title: "x86, DMAR says the card is covered, and it is not",
        place: Place::Here(&[
            case(
                "policy blacklist",
                lying(true),
                Expected { evidence: "broken DMAR, IOMMU disabled", ..works("direct") },
            ),
            case("policy trust", lying(false), faults("iommu", "unsupported request")),
            case(
                "policy trust, card of 26 address bits",
                Setup {
                    card: CardPart { address_bits: Some(26), ..CardPart::PHYSICAL },
                    ..lying(false)
                },
                corrupts("iommu", "raw IOVA"),
            ),
            hybrid(case(
                "the same, rings half on the card",
                Setup {
                    card: CardPart { address_bits: Some(26), ..CardPart::PHYSICAL },
                    ..lying(false)
                },
                corrupts("iommu", "is overwritten"),
            )),
        ]),
    },
    Platform {
        id: "x86-vtd-dma-blocked",
        title: "x86, measured launch: DMA blocked until the OS maps",
        place: Place::Here(&[
            case("", LOCKED, works("iommu")),
            case(
                "DMA before the first mapping",
                Setup { incident: Incident::EarlyDma, ..LOCKED },
                faults("iommu", "locked since reset"),
            ),
        ]),
    },
    Platform {
        id: "xen-dom0",
        title: "Xen dom0: guest-physical is not machine address, no IOMMU",
        place: Place::Here(&[
            case("", XEN, works("xen")),
            case(
                "buffers across pages",
                Setup { buffers: Buffers::AcrossPages, ..XEN },
                bounces("xen"),
            ),
            case(
                "direct ops",
                Setup { system: System { direct_hook: true, ..XEN.system }, ..XEN },
                corrupts("direct", "somebody else's memory"),
            ),
        ]),
    },
    Platform {
        id: "ppc64-tce",
        title: "pSeries: a TCE table, each entry by hypercall",
        place: Place::Here(&[
            case("", TCE, works("tce")),
            case("driver without bit 33", TCE.without_bit_33(), blind("translated device")),
        ]),
    },
    Platform {
        id: "ppc64-ddw",
        title: "pSeries: 64-bit window that maps all RAM",
        place: Place::Here(&[
            case("", DDW, works("direct+offset")),
            case("driver without bit 33", DDW.without_bit_33(), blind("translated device")),
        ]),
    },
    Platform {
        id: "ppc64-legacy-bypass",
        title: "pSeries: legacy driver overrides the ops with direct",
        place: Place::Here(&[
            case("", LEGACY, Expected { features: OP, ..works("direct") }),
            case(
                "physical card in the slot",
                Setup { card: CardPart::PHYSICAL, ..LEGACY },
                blind("translated device"),
            ),
        ]),
    },
    Platform {
        id: "ppc64-secure",
        title: "secure guest: only the swiotlb pool is shared",
        place: Place::Here(&[
            case("", SECURE, bounces("swiotlb")),
            case(
                "driver without bit 33",
                SECURE.without_bit_33(),
                Expected { features: OP, ..bounces("swiotlb") },
            ),
            case(
                "card reads another page",
                Setup { card: CardPart { malice: Some(STRAY), ..SECURE.card }, ..SECURE },
                faults("swiotlb", "not shared"),
            ),
        ]),
    },
    Platform {
        id: "sparc64",
        title: "sparc64: a flat table that is always in the way",
        place: Place::Here(&[
            case("", SPARC, works("tce")),
            case("driver without bit 33", SPARC.without_bit_33(), blind("translated device")),
        ]),
    },
    Platform {
        id: "s390-no-dma",
        title: "s390: no DMA API at all",
        place: Place::Here(&[
            case(
                "physically addressed card",
                Setup {
                    system: System::with(Os::NoDmaApi),
                    card: CardPart { offers_access_platform: false, ..CardPart::PHYSICAL },
                    ..Setup::PLAIN
                },
                Expected { features: OP, ..works("direct") },
            ),
            case(
                "card asks for the DMA API",
                Setup { system: System::with(Os::NoDmaApi), ..Setup::PLAIN },
                refused("this platform has no DMA API"),
            ),
        ]),
    },
    Platform {
        id: "arm64-noncoherent",
        title: "arm64: no IOMMU, caches not snooped",
        place: Place::Here(&[
            case("", caches(None), works("direct+maintenance")),
            case(
                "device that runs on a CPU",
                Setup {
                    card: CardPart {
                        addresses: AddressPolicy::BypassesAsHypervisor,
                        ..CardPart::PHYSICAL
                    },
                    driver: DriverPart::WITHOUT_BIT_33,
                    ..caches(None)
                },
                Expected { features: OP, ..works("direct") },
            ),
            case(
                "driver without bit 33",
                caches(None).without_bit_33(),
                Expected { features: OP, ..corrupts("direct", "never") },
            ),
            case(
                "no clean at map",
                caches(Some(MaintenanceStep::CleanAtMap)),
                corrupts("direct+maintenance", "not cleaned"),
            ),
            case(
                "no invalidate at unmap",
                caches(Some(MaintenanceStep::InvalidateAtUnmap)),
                corrupts("direct+maintenance", "not invalidated"),
            ),
            case(
                "coherent memory cached",
                caches(Some(MaintenanceStep::UncachedCoherent)),
                corrupts("direct+maintenance", "stayed cached"),
            ),
        ]),
    },
    Platform {
        id: "arm64-weak-order",
        title: "arm64: weakly ordered stores",
        place: Place::Here(&[
            in_bursts(case("", WEAK, works("direct"))),
            in_bursts(case(
                "driver without bit 36",
                Setup {
                    driver: DriverPart { order_platform: false, ..DriverPart::CURRENT },
                    ..WEAK
                },
                Expected { features: AP, ..corrupts("direct", "before its descriptor") },
            )),
        ]),
    },
    Platform {
        id: "pkvm-restricted",
        title: "restricted guest: only the card's bounce buffer may be used",
        place: Place::Here(&[
            case("", PKVM, Expected { features: AP | OP | SW, ..bounces("card_bounce") }),
            case(
                "feature without the capability",
                bouncing(SwiotlbConfig { capability: false, ..BOUNCE }),
                refused("without a bounce buffer"),
            ),
            case(
                "driver without bit 27",
                Setup { driver: DriverPart { swiotlb: false, ..DriverPart::CURRENT }, ..PKVM },
                refused("the device refuses features"),
            ),
        ]),
    },
    Platform {
        id: "pkvm-hint",
        title: "bounce buffer on the card as a hint",
        place: Place::Here(&[
            case("hint taken, mixed", hint(1536), bounces("card_bounce+platform")),
            case("hint left alone", hint(0), works("direct")),
        ]),
    },
    Platform {
        id: "ntb-pair",
        title: "two hosts joined by a non-transparent bridge",
        place: Place::Here(&[
            case(
                "",
                joined(Leads::WhereAgreed),
                Expected { evidence: "translated twice", ..works("direct+offset") },
            ),
            case(
                "window one page off",
                joined(Leads::OnePageOff),
                corrupts("direct+offset", "the bridge's window leads elsewhere"),
            ),
            case(
                "window past memory",
                joined(Leads::PastMemory),
                faults("direct+offset", "there is no memory"),
            ),
            case(
                "driver hands over its own addresses",
                Setup {
                    system: System { direct_hook: true, ..joined(Leads::WhereAgreed).system },
                    ..joined(Leads::WhereAgreed)
                },
                faults("direct", "not in the bridge's window"),
            ),
        ]),
    },
    Platform {
        id: "mmio-platform",
        title: "virtio-mmio instead of PCI",
        place: Place::Here(&[
            case("", mmio(false), works("direct")),
            case(
                "slot empty at first",
                mmio(true),
                Expected { evidence: "the slot was empty until", ..works("direct") },
            ),
        ]),
    },
    Platform {
        id: "qemu-guest",
        title: "a real Linux under QEMU with VT-d, over vfio-user",
        place: Place::Elsewhere("run by `vtb serve`, with a guest of one's own"),
    },
    Platform {
        id: "qemu-qtest",
        title: "this driver against QEMU's device and VT-d",
        place: Place::Outside {
            setup: &vtd(STRICT),
            how: "run by name, `vtb run --platform qemu-qtest`, where there is a QEMU",
        },
    },
];
