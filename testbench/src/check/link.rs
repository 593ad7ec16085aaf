//! What PCI Express demands of every memory request, whatever it is for.

use pcie_sim::time::{Instant, Span};

use super::{Dma, Findings, Rule};
use crate::analyzer::config_shadow::Limits;

/// A card may give up on an answer after 50 µs at the earliest, and use the tag again.
/// PCIe 5.0 §2.8, "Completion Timeout Mechanism".
const SHORTEST_TIMEOUT: Span = Span::from_us(50);

/// A request crosses no 4-KiB boundary and keeps to the sizes that Device Control sets.
#[inline]
pub(crate) fn shape(findings: &mut Findings, dma: &Dma, limits: Option<Limits>) {
    let into_page = (dma.address & 0xfff) as usize;
    findings.judge(Rule::PageBoundary, into_page + dma.len <= 4096, dma.at, || {
        format!(
            "{dma}: expected to end inside the page, seen to cross {:#x}",
            (dma.address | 0xfff).wrapping_add(1)
        )
    });
    let Some(limits) = limits else { return };
    // The length on the wire counts whole doublewords.
    let bytes = ((dma.address & 3) as usize + dma.len).div_ceil(4) * 4;
    let (rule, name, limit) = if dma.write {
        (Rule::PayloadSize, "Max_Payload_Size", limits.payload)
    } else {
        (Rule::ReadRequestSize, "Max_Read_Request_Size", limits.read_request)
    };
    findings.judge(rule, bytes <= usize::from(limit), dma.at, || {
        format!("{dma}: expected at most {limit} bytes ({name}), seen {bytes}")
    });
}

/// Bus Master Enable is set.
#[inline]
pub(crate) fn bus_master(findings: &mut Findings, dma: &Dma, allowed: bool) {
    findings.judge(Rule::BusMaster, allowed, dma.at, || {
        format!("{dma}: expected no memory request while Bus Master Enable is off")
    });
}

/// A read's tag is free; `earlier` is when the request that still holds it left.
#[inline]
pub(crate) fn tag(findings: &mut Findings, dma: &Dma, tag: u16, earlier: Option<Instant>) {
    let held = earlier.is_none_or(|earlier| dma.at.since(earlier) >= SHORTEST_TIMEOUT);
    findings.judge(Rule::TagInUse, held, dma.at, || {
        let since = earlier.unwrap_or_default();
        format!(
            "{dma}: expected a free tag, seen tag {tag:#x} of a read sent at {since}, unanswered"
        )
    });
}
