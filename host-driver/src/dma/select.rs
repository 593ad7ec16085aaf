//! The one place that chooses which back end serves a device.
//!
//! Nothing else in a driver may ask what machine it runs on (PLATFORMS.md, rule 1). The first line that
//! applies chooses:
//!
//! | when | ops |
//! |---|---|
//! | VIRTIO_F_SWIOTLB is negotiated | card_bounce: the driver must pass nothing but its region |
//! | the platform's hook answers | what it answers |
//! | the platform forces its swiotlb pool | swiotlb, also over direct |
//! | ACCESS_PLATFORM is negotiated | those of the platform's translation, caches maintained |
//! | else | direct: physical addresses, no maintenance |
//!
//! The card's bounce buffer as a hint wraps whatever was chosen. A device that an IOMMU covers is put
//! into its domain in any case: translation is the platform's fact.

use std::ops::Range;
use std::rc::Rc;

use pcie_sim::address::Bdf;
use pcie_sim::host::Host;

use super::card_bounce::{CardBounce, Hinted};
use super::debug::DmaDebug;
use super::direct::{Direct, Window};
use super::iommu::{Domain, IommuUnit};
use super::noncoherent::{Maintained, MaintenanceStep};
use super::pass_through::PassThrough;
use super::swiotlb::{Swiotlb, SwiotlbPool};
use super::tce::{Tce, TceWindow};
use super::xen::{Xen, XenGuest};
use super::{Dma, DmaApi, DmaError};
use crate::pages::Pages;
use crate::transport::SharedMemory;

/// What a platform knows about a device when it chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The requester id of its DMA; `None` for a device that is on no PCI bus.
    pub requester: Option<Bdf>,
    /// VIRTIO_F_ACCESS_PLATFORM was negotiated: the device obeys the platform.
    pub access_platform: bool,
    /// What the card's bounce buffer is to be used for.
    pub bounce: BounceUse,
    /// The addresses it can put on its bus.
    pub mask: u64,
    /// The other side is a hypervisor that reaches memory past all translation.
    pub bypassing_hypervisor: bool,
}

/// What a card's bounce buffer is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BounceUse {
    /// There is none, or it is left alone.
    #[default]
    No,
    /// VIRTIO_F_SWIOTLB was negotiated: for everything.
    All(SharedMemory),
    /// There is one, and the feature is not negotiated: for rings and short buffers, as it has room.
    Hint {
        /// Where it is.
        region: SharedMemory,
        /// The longest buffer that goes there, in bytes.
        most_bytes: u64,
    },
}

/// What a platform may replace the choice with: `Ok(None)` keeps it.
pub type Hook =
    Rc<dyn Fn(&mut dyn Host, &Pages, &DeviceFacts) -> Result<Option<Box<dyn DmaApi>>, DmaError>>;

/// A tool put around whatever ops were chosen, to watch them.
pub type Wrap = Rc<dyn Fn(Box<dyn DmaApi>) -> Box<dyn DmaApi>>;

/// What stands between a device and memory.
#[derive(Debug, Clone, Default)]
pub enum Translation {
    /// Nothing, or something that passes through.
    #[default]
    Direct,
    /// A window that is open for good.
    Window(Window),
    /// An IOMMU that is up. It translates whether or not a driver uses it.
    Iommu(IommuUnit),
    /// A window whose entries are set one by one.
    Tce(TceWindow),
    /// Pseudo-physical memory, no IOMMU.
    Xen(XenGuest),
    /// The platform has no DMA API: who asks for it is refused.
    NoDmaApi,
}

/// Whether devices see the CPU's caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coherence {
    /// They do.
    #[default]
    Coherent,
    /// They do not: a device that obeys the platform gets maintenance around its ops.
    Maintained {
        /// A step that is left out, to show what comes of it.
        leave_out: Option<MaintenanceStep>,
    },
}

/// The platform, as far as DMA goes.
#[derive(Clone, Default)]
pub struct PlatformDma {
    /// What stands between a device and memory.
    pub translation: Translation,
    /// Replaces the choice ("arch hook").
    pub hook: Option<Hook>,
    /// Is put around the ops that were chosen.
    pub wrap: Option<Wrap>,
    /// A pool of bounce buffers: for what lies beyond a card's mask, or, when forced, for everything.
    pub swiotlb: Option<SwiotlbPool>,
    /// The CPU's caches do not see what devices do.
    pub caches: Coherence,
    /// The other side is a hypervisor that reaches memory past all translation. Only the hook asks.
    pub bypassing_hypervisor: bool,
    /// Address bits that a card can drive, when it is fewer than 64.
    pub card_address_bits: Option<u32>,
}

impl std::fmt::Debug for PlatformDma {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlatformDma")
            .field("translation", &self.translation)
            .field("swiotlb", &self.swiotlb)
            .field("caches", &self.caches)
            .field("bypassing_hypervisor", &self.bypassing_hypervisor)
            .field("hook", &self.hook.is_some())
            .field("wrap", &self.wrap.is_some())
            .field("card_address_bits", &self.card_address_bits)
            .finish()
    }
}

/// The DMA mask that was granted: 64 bits, else 32, else what there is, with a warning to be shown.
#[must_use]
pub fn dma_mask(card_address_bits: Option<u32>) -> (u64, Option<String>) {
    match card_address_bits.unwrap_or(64) {
        64.. => (u64::MAX, None),
        32..64 => (u64::from(u32::MAX), None),
        bits => (
            (1 << bits) - 1,
            Some(format!(
                "the card drives {bits} address bits: neither a 64-bit nor a 32-bit DMA mask fits"
            )),
        ),
    }
}

/// Chooses the ops for a device and puts it in its domain. `windows` are bus addresses that mean the
/// card's own memory and may not be given to a buffer.
pub fn select(
    host: &mut dyn Host,
    pages: &Pages,
    platform: &PlatformDma,
    facts: &DeviceFacts,
    windows: &[Range<u64>],
    debug: Option<DmaDebug>,
) -> Result<Dma, DmaError> {
    let domain = own_domain(host, pages, platform, facts, windows)?;
    let chosen = match choose(host, pages, platform, facts) {
        Ok(chosen) => chosen,
        Err(error) => {
            if let Some(mut domain) = domain {
                domain.close(host)?;
            }
            return Err(error);
        }
    };
    let (mut ops, unused) = match (chosen, domain) {
        (Choice::Ops(ops), domain) => (ops, domain),
        (Choice::Domain, Some(domain)) => (domain, None),
        (Choice::Domain, None) => (direct(pages, facts), None),
    };
    let maintained = facts.access_platform && !matches!(facts.bounce, BounceUse::All(_));
    if let (Coherence::Maintained { leave_out }, true) = (platform.caches, maintained) {
        ops = Box::new(Maintained::new(ops, leave_out));
    }
    if let BounceUse::Hint { region, most_bytes } = facts.bounce {
        ops = Box::new(Hinted::new(CardBounce::new(region), ops, most_bytes));
    }
    if let Some(wrap) = &platform.wrap {
        ops = wrap(ops);
    }
    let mut dma = Dma::new(ops, debug);
    if let Some(domain) = unused {
        dma.keep_domain(domain);
    }
    Ok(dma)
}

enum Choice {
    Ops(Box<dyn DmaApi>),
    /// The device's own domain, direct where it has none.
    Domain,
}

fn choose(
    host: &mut dyn Host,
    pages: &Pages,
    platform: &PlatformDma,
    facts: &DeviceFacts,
) -> Result<Choice, DmaError> {
    if let BounceUse::All(region) = facts.bounce {
        return Ok(Choice::Ops(Box::new(CardBounce::new(region))));
    }
    if let Some(hook) = &platform.hook
        && let Some(ops) = hook(host, pages, facts)?
    {
        return Ok(Choice::Ops(ops));
    }
    if let Some(pool) = platform.swiotlb.as_ref().filter(|pool| pool.is_forced()) {
        return Ok(Choice::Ops(Box::new(Swiotlb::new(pool, pages.clone(), facts.mask))));
    }
    if !facts.access_platform {
        return Ok(Choice::Ops(direct(pages, facts)));
    }
    let (pages, mask) = (pages.clone(), facts.mask);
    let ops: Box<dyn DmaApi> = match (&platform.translation, &platform.swiotlb) {
        (Translation::NoDmaApi, _) => return Err(DmaError::NoDmaApi),
        (Translation::Iommu(unit), _) if is_covered(unit, facts) => return Ok(Choice::Domain),
        (&Translation::Window(window), _) => Box::new(Direct::through(window, pages, mask)),
        (Translation::Tce(window), _) => Box::new(Tce::new(window, pages, mask)),
        (Translation::Xen(guest), _) => Box::new(Xen::new(guest, pages, mask)),
        (_, Some(pool)) if mask != u64::MAX => Box::new(Swiotlb::new(pool, pages, mask)),
        (Translation::Direct | Translation::Iommu(_), _) => direct(&pages, facts),
    };
    Ok(Choice::Ops(ops))
}

fn direct(pages: &Pages, facts: &DeviceFacts) -> Box<dyn DmaApi> {
    Box::new(Direct::new(pages.clone(), facts.mask))
}

fn is_covered(unit: &IommuUnit, facts: &DeviceFacts) -> bool {
    facts.requester.is_some_and(|requester| unit.covers(requester))
}

/// Puts the device into the domain that the platform has for it.
fn own_domain(
    host: &mut dyn Host,
    pages: &Pages,
    platform: &PlatformDma,
    facts: &DeviceFacts,
    windows: &[Range<u64>],
) -> Result<Option<Box<dyn DmaApi>>, DmaError> {
    let (Translation::Iommu(unit), Some(requester)) = (&platform.translation, facts.requester)
    else {
        return Ok(None);
    };
    if !unit.covers(requester) {
        return Ok(None);
    }
    Ok(Some(if unit.mode().pass_through {
        let direct = Direct::new(pages.clone(), facts.mask);
        Box::new(PassThrough::new(host, unit, requester, direct)?)
    } else {
        Box::new(Domain::new(host, unit, pages, requester, facts.mask, windows)?)
    }))
}
