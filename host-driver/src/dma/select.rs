//! The one place that chooses which back end serves a device.
//!
//! Nothing else in a driver may ask what machine it runs on (PLATFORMS.md, rule 1).

use std::ops::Range;
use std::rc::Rc;

use pcie_sim::address::Bdf;
use pcie_sim::host::Host;

use super::debug::DmaDebug;
use super::direct::Direct;
use super::iommu::{Domain, IommuUnit};
use super::{Dma, DmaApi, DmaError};
use crate::pages::Pages;

/// What a platform knows about a device when it chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The requester id of its DMA; `None` for a device that is on no PCI bus.
    pub requester: Option<Bdf>,
    /// VIRTIO_F_ACCESS_PLATFORM was negotiated: the device obeys the platform.
    pub access_platform: bool,
    /// The addresses it can put on its bus.
    pub mask: u64,
    /// The other side is a hypervisor that reaches memory past all translation.
    pub bypassing_hypervisor: bool,
}

/// What a platform may replace the choice with: `Ok(None)` keeps it.
pub type Hook =
    Rc<dyn Fn(&mut dyn Host, &Pages, &DeviceFacts) -> Result<Option<Box<dyn DmaApi>>, DmaError>>;

/// What stands between a device and memory.
#[derive(Debug, Clone, Default)]
pub enum Translation {
    /// Nothing, or something that passes through.
    #[default]
    Direct,
    /// An IOMMU that is up. It translates whether or not a driver uses it.
    Iommu(IommuUnit),
    /// The platform has no DMA API: who asks for it is refused.
    NoDmaApi,
}

/// The platform, as far as DMA goes.
#[derive(Clone, Default)]
pub struct PlatformDma {
    /// What stands between a device and memory.
    pub translation: Translation,
    /// Replaces the choice ("arch hook").
    pub hook: Option<Hook>,
    /// The other side is a hypervisor that reaches memory past all translation. Only the hook asks.
    pub bypassing_hypervisor: bool,
    /// Address bits that a card can drive, when it is fewer than 64.
    pub card_address_bits: Option<u32>,
}

impl std::fmt::Debug for PlatformDma {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlatformDma")
            .field("translation", &self.translation)
            .field("bypassing_hypervisor", &self.bypassing_hypervisor)
            .field("hook", &self.hook.is_some())
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
    let hooked = match &platform.hook {
        Some(hook) => hook(host, pages, facts)?,
        None => None,
    };
    let domain = match (&platform.translation, facts.requester) {
        (Translation::Iommu(unit), Some(requester)) if unit.covers(requester) => {
            Some(Domain::new(host, unit, pages, requester, facts.mask, windows)?)
        }
        _ => None,
    };
    let direct = || Box::new(Direct::new(pages.clone(), facts.mask));
    let (ops, unused): (Box<dyn DmaApi>, Option<Domain>) = match (hooked, domain) {
        (Some(ops), domain) => (ops, domain),
        (None, _)
            if facts.access_platform && matches!(platform.translation, Translation::NoDmaApi) =>
        {
            return Err(DmaError::NoDmaApi);
        }
        (None, Some(domain)) if facts.access_platform => (Box::new(domain), None),
        (None, domain) => (direct(), domain),
    };
    let mut dma = Dma::new(ops, debug);
    if let Some(domain) = unused {
        dma.keep_domain(Box::new(domain));
    }
    Ok(dma)
}
