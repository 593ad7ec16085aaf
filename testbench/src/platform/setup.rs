//! What a platform's row is made of: host, IOMMU, operating system, card, driver.
//!
//! Defaults are an ordinary PC without an IOMMU, a physical card that offers what it can, and a driver
//! that accepts what it is offered.

use host_driver::{Coherence, IommuMode};
use pcie_sim::host::shape::{Caches, Frames, HostShape, Protection, Stores};
use pcie_sim::iommu::scope::Launch;
use pcie_sim::time::Span;
use rtl_model::{AddressPolicy, Deed, SwiotlbConfig};

/// Everything about a machine that a row chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// In what the host differs from a PC.
    pub shape: HostShape,
    /// The longest that a store waits in the CPU's buffer, where stores are weakly ordered.
    pub store_drain: Span,
    /// What stands between slot and memory.
    pub hardware: Hardware,
    /// What the operating system makes of it.
    pub system: System,
    /// The card.
    pub card: CardPart,
    /// The driver.
    pub driver: DriverPart,
    /// Where data buffers lie.
    pub buffers: Buffers,
    /// What the card is plugged into.
    pub slot: Slot,
    /// What happens besides the traffic.
    pub incident: Incident,
}

/// What stands between slot and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hardware {
    /// Nothing.
    None,
    /// VT-d.
    Vtd {
        /// Which cards it really stands before.
        covers: Covers,
        /// What DMA may do before it is switched on.
        launch: Launch,
    },
    /// Tables that a hypervisor keeps; with a second window that maps all of RAM, or without.
    Tce {
        /// There is such a window.
        direct_window: bool,
    },
    /// A flat table in memory which is always in the way.
    FlatTable,
}

/// Which cards a VT-d unit really stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    /// Those that firmware's table says.
    WhatTheTableSays,
    /// None, whatever firmware's table says.
    Nothing,
}

/// What firmware's DMAR table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dmar {
    /// The unit covers every device.
    CoversAll,
    /// It covers another device, and neither the card nor the bridge above it.
    LeavesCardOut,
    /// It covers the place below the bridge and not the bridge.
    LeavesBridgeOut,
}

/// What the operating system makes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System {
    /// What it takes to stand between devices and memory.
    pub translation: Os,
    /// The platform puts direct ops in place of whatever would be chosen.
    pub direct_hook: bool,
    /// Everything goes through a pool of bounce buffers, which a secure guest shares page by page.
    pub shared_pool: bool,
    /// What it does about caches.
    pub caches: Coherence,
}

/// What the operating system takes to stand between devices and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Os {
    /// Nothing: it leaves alone whatever there is.
    Physical,
    /// VT-d as firmware's table describes it.
    Vtd {
        /// How devices are served.
        mode: IommuMode,
        /// What the table says.
        dmar: Dmar,
        /// The table is on the list of those known to be wrong: nothing in it is believed.
        blacklisted: bool,
    },
    /// The hypervisor's default window.
    Tce,
    /// The hypervisor's window that maps all of RAM.
    DirectWindow,
    /// A table in memory.
    FlatTable,
    /// A window of a bridge, into a part of memory that is set aside for it.
    BridgeWindow,
    /// Pseudo-physical memory.
    Xen,
    /// It has no DMA API.
    NoDmaApi,
}

/// The card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardPart {
    /// What it takes addresses for.
    pub addresses: AddressPolicy,
    /// It offers VIRTIO_F_ACCESS_PLATFORM.
    pub offers_access_platform: bool,
    /// Its bounce buffer.
    pub bounce: Option<SwiotlbConfig>,
    /// Bits of an address that it can put on its bus; 64 when not said.
    pub address_bits: Option<u32>,
    /// What it does that no card may do, at its third request.
    pub malice: Option<Deed>,
}

/// The driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverPart {
    /// It knows VIRTIO_F_ACCESS_PLATFORM.
    pub access_platform: bool,
    /// It knows VIRTIO_F_ORDER_PLATFORM.
    pub order_platform: bool,
    /// It knows VIRTIO_F_SWIOTLB.
    pub swiotlb: bool,
    /// Longest buffer, in bytes, for which it takes the card's bounce buffer as a hint.
    pub bounce_hint_bytes: u32,
}

/// Where data buffers lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffers {
    /// On page boundaries, or within pages.
    WithinPages,
    /// Across the boundary of two pages.
    AcrossPages,
}

/// What the card is plugged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A PCI Express slot, which firmware enumerates.
    Pci,
    /// A register block on the platform's own bus (virtio-mmio), at a place that the system knows.
    Mmio {
        /// The slot is empty at first, and gets its device when the system has been up for a while.
        filled_later: bool,
    },
    /// A PCI Express slot with a non-transparent bridge in it; another host's software is the card.
    Bridge {
        /// Where the bridge's window leads.
        leads: Leads,
    },
}

/// Where a bridge's window into this host's memory leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// To the memory that the driver hands offsets of.
    WhereAgreed,
    /// To that memory and one page beyond.
    OnePageOff,
    /// To addresses behind which there is no memory.
    PastMemory,
}

impl Slot {
    /// The analyzer can give figures of what is in it: it knows PCI.
    #[must_use]
    pub const fn is_analyzed(self) -> bool {
        !matches!(self, Self::Mmio { .. })
    }
}

/// What happens besides the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    /// Nothing.
    None,
    /// Something in the slot writes to memory before the operating system has looked at the IOMMU.
    EarlyDma,
    /// The card is plugged in while the machine runs.
    HotPlug,
}

/// A PC's memory.
pub const PC: HostShape = HostShape {
    caches: Caches::Snooped,
    stores: Stores::Strong,
    frames: Frames::Identity,
    protection: Protection::None,
};

impl System {
    /// Leaves everything alone.
    pub const PHYSICAL: Self = Self {
        translation: Os::Physical,
        direct_hook: false,
        shared_pool: false,
        caches: Coherence::Coherent,
    };

    /// The same, with this between devices and memory.
    #[must_use]
    pub const fn with(translation: Os) -> Self {
        Self { translation, ..Self::PHYSICAL }
    }
}

impl CardPart {
    /// A physical card which offers ACCESS_PLATFORM and does not insist.
    pub const PHYSICAL: Self = Self {
        addresses: AddressPolicy::DoesNotCare,
        offers_access_platform: true,
        bounce: None,
        address_bits: None,
        malice: None,
    };
}

impl DriverPart {
    /// Accepts what it is offered; leaves hints alone.
    pub const CURRENT: Self =
        Self { access_platform: true, order_platform: true, swiotlb: true, bounce_hint_bytes: 0 };
    /// Does not know ACCESS_PLATFORM.
    pub const WITHOUT_BIT_33: Self = Self { access_platform: false, ..Self::CURRENT };
}

impl Setup {
    /// A PC without IOMMU, a physical card, a driver that accepts what it is offered.
    pub const PLAIN: Self = Self {
        shape: PC,
        // As `HostCosts` has it.
        store_drain: Span::from_us(1),
        hardware: Hardware::None,
        system: System::PHYSICAL,
        card: CardPart::PHYSICAL,
        driver: DriverPart::CURRENT,
        buffers: Buffers::WithinPages,
        slot: Slot::Pci,
        incident: Incident::None,
    };

    /// The same machine with a driver that does not know ACCESS_PLATFORM.
    #[must_use]
    pub const fn without_bit_33(self) -> Self {
        Self { driver: DriverPart { access_platform: false, ..self.driver }, ..self }
    }
}

/// The traffic with which a case is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// The table's own.
    AsItIs,
    /// Packets in bursts: one notification for many that the CPU takes its time to build, so that the
    /// card meets requests while they are being made.
    Bursts {
        /// Packets.
        packets: u64,
        /// Bytes of each.
        bytes: u32,
        /// Packets made available before one notification.
        burst: u16,
        /// CPU time to build one.
        building: Span,
    },
    /// The table's block commands, each after the one before is done and some CPU time has passed, so
    /// that for a while nothing is mapped but the rings.
    OneByOne {
        /// CPU time to build one.
        building: Span,
    },
    /// The table's block commands with descriptors and available ring on the card, so that the card finds
    /// its work even where it finds nothing in memory.
    HybridRings,
}
