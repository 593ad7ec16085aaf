//! The story of a row: one buffer's way from the driver to memory and back, with the numbers of a run.

use crate::bench::bridge::Sides;
use crate::bench::record::{Dma, Led, Record};
use crate::bench::witness::Grant;
use crate::platform::judge::Verdict;
use crate::platform::setup::{Hardware, Os, Slot};
use crate::report::RunResult;
use crate::scenario::config::RunConfig;

/// Tells what happened in one run, in a page of text.
#[must_use]
pub fn story(run: &RunConfig, result: &RunResult, verdict: &Verdict) -> String {
    let mut out = format!("{}: {}\n\n", run.machine(), run.platform.title);
    out += &chosen(result);
    if let Some(record) = &result.record {
        out += &rings(record);
        out += &record.sides.as_ref().map_or_else(String::new, two_hosts);
        out += &buffer(run, result, record);
    }
    out += &costs(result);
    out + &format!("Outcome: {}. {}.\n", verdict.outcome, verdict.evidence)
}

fn chosen(result: &RunResult) -> String {
    let facts = &result.facts;
    if let Some(why) = &facts.refused {
        return format!("Nothing was handed over. {why}.\n");
    }
    format!(
        "The driver negotiated {}, and the platform gave it the ops `{}`.\n\n",
        features(facts.features),
        facts.ops
    )
}

/// The platform features among those negotiated, in words.
#[must_use]
pub fn features(bits: u64) -> String {
    use pcie_sim::spec::features::{ACCESS_PLATFORM, ORDER_PLATFORM, SWIOTLB};
    let names = [
        (SWIOTLB, "SWIOTLB"),
        (ACCESS_PLATFORM, "ACCESS_PLATFORM"),
        (ORDER_PLATFORM, "ORDER_PLATFORM"),
    ];
    let names: Vec<&str> =
        names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { "none of the three".to_owned() } else { names.join(" + ") }
}

fn two_hosts(sides: &Sides) -> String {
    let Sides { crossed, refused, offsets, far, near, leak } = sides;
    let leak = leak.as_deref().unwrap_or("neither host saw an address of the other's");
    format!(
        "Addresses of {crossed} accesses by the far host, {refused} more refused by the bridge:\n  \
         said to each other   offsets {offsets}\n  the far host's bus   {far}\n  \
         the near host's bus  {near}\n  {leak}\n\n"
    )
}

fn rings(record: &Record) -> String {
    let mut out = "Rings:\n".to_owned();
    for grant in record.grants.iter().filter(|grant| grant.coherent) {
        let bytes = grant.len_bytes;
        out += &format!("  {bytes} bytes {}, handed over as {}", held(record, *grant), grant.bus);
        let dma = record.dma.iter().find(|dma| grant.contains(dma.address));
        out += &match dma {
            Some(dma) => format!("; first used: {}\n", led(dma)),
            None if grant.on_card => "; local to the card, never on the link\n".to_owned(),
            None => "; never used by the card over the link\n".to_owned(),
        };
    }
    out + "\n"
}

fn held(record: &Record, grant: Grant) -> String {
    if grant.on_card {
        format!("on the card, which the CPU reaches at {}", grant.had)
    } else if record.in_pool(grant.had) {
        format!("in the bounce pool at {}", grant.had)
    } else {
        format!("at {}", grant.had)
    }
}

fn buffer(run: &RunConfig, result: &RunResult, record: &Record) -> String {
    let used = |grant: &&Grant| {
        record.dma.iter().any(|dma| grant.contains(dma.address) && grant.is_live(dma.at))
    };
    let streaming = || record.grants.iter().filter(|grant| !grant.coherent);
    let long = |grant: &&Grant| grant.len_bytes >= 512;
    let Some(&grant) = streaming()
        .filter(long)
        .find(used)
        .or_else(|| streaming().find(used))
        .or_else(|| streaming().find(long))
    else {
        return "No buffer was handed over.\n\n".to_owned();
    };
    let mut out = format!(
        "One buffer's way:\n  the driver had     {} bytes at {}\n  it handed over     {} ({})\n",
        grant.len_bytes,
        grant.had,
        grant.bus,
        relation(run, grant)
    );
    let dma = record.dma.iter().find(|dma| grant.contains(dma.address) && grant.is_live(dma.at));
    match dma {
        Some(dma) => {
            out += &format!("  the card asked for {dma}\n");
            out += &format!("  on the way         {}\n", hop(run, record, dma));
            let slot =
                matches!(dma.led, Led::Memory { driver: Some(at), .. } if record.in_pool(at));
            let slot = if slot { ", a slot of the bounce pool" } else { "" };
            out += &format!("  it came to         {}{slot}\n", led(dma));
        }
        None if run_is_local(result) => {
            out += "  on the link        nothing: it lies on the card\n";
        }
        None => out += "  on the link        nothing: the card never came to ask for it\n",
    }
    match grant.until {
        Some(until) => {
            let ns = until.since(grant.from).as_ns();
            out += &format!("  it was taken back  after {ns} ns\n\n");
        }
        None => out += "  it was taken back  never\n\n",
    }
    out
}

/// The ops keep buffers on the card.
fn run_is_local(result: &RunResult) -> bool {
    result.facts.ops.starts_with("card_bounce")
}

/// How the address handed over came from the one the driver had.
fn relation(run: &RunConfig, grant: Grant) -> String {
    let (bus, had) = (grant.bus.get(), grant.had.get());
    if bus == had {
        return "the same".to_owned();
    }
    match run.setup.system.translation {
        Os::DirectWindow => format!("window base {:#x} + {had:#x}", bus.wrapping_sub(had)),
        Os::Vtd { .. } => "an I/O virtual address".to_owned(),
        Os::BridgeWindow => "its offset in the bridge's window".to_owned(),
        Os::Tce | Os::FlatTable => "an address in the DMA window".to_owned(),
        Os::Xen => "a machine address".to_owned(),
        Os::Physical | Os::NoDmaApi => "a bounce buffer".to_owned(),
    }
}

fn hop(run: &RunConfig, record: &Record, dma: &Dma) -> String {
    let Led::Memory { machine, .. } = dma.led else { return led(dma) };
    if let (Slot::Bridge { .. }, Some(sides)) = (run.setup.slot, &record.sides) {
        let far = sides.far.lowest.wrapping_sub(sides.offsets.lowest).wrapping_add(dma.address);
        return format!(
            "the far host: offset {:#x} is {far:#x} on its bus; the bridge: {far:#x} becomes {machine}",
            dma.address
        );
    }
    let who = match run.setup.hardware {
        Hardware::None => "nothing stands between",
        Hardware::Vtd { .. } => "VT-d",
        Hardware::Tce { .. } => "the hypervisor's TCE table",
        Hardware::FlatTable => "the flat table",
    };
    if machine.get() == dma.address {
        format!("{who}: {:#x} stays as it is", dma.address)
    } else {
        format!("{who}: {:#x} becomes {machine}", dma.address)
    }
}

fn led(dma: &Dma) -> String {
    match &dma.led {
        Led::Refused(why) => format!("nothing: {why}"),
        Led::Memory { machine, driver: Some(driver) } if machine == driver => {
            format!("memory at {machine}")
        }
        Led::Memory { machine, driver: Some(driver) } => {
            format!("machine memory at {machine}, the driver's {driver}")
        }
        Led::Memory { machine, driver: None } => {
            format!("machine memory at {machine}, which the driver has no address for")
        }
    }
}

fn costs(result: &RunResult) -> String {
    if result.facts.refused.is_some() {
        return String::new();
    }
    let per = |amount: u64| amount.checked_div(result.requests).unwrap_or(0);
    format!(
        "What came back: {} of the requests were completed with {} findings; {} DMA round trips, {} maps and \
         {} unmaps, {} bytes bounced; {} ns of CPU time and a median latency of {} ns a request.\n\n",
        result.completed,
        result.violations.len(),
        result.round_trips,
        result.dma_api.maps,
        result.dma_api.unmaps,
        result.dma_api.bounced_bytes,
        per(result.facts.cpu_time.as_ns()),
        result.latency.p50_ns
    )
}
