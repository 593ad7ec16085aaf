//! What became of a card on a machine, judged from outside: data by the scoreboard, blocked requests by
//! what the root complex and the IOMMU recorded, misdirected ones by comparing the place in memory with
//! the buffer that the driver had. The card is never asked.

use crate::bench::record::{Dma, Led, Record};
use crate::bench::witness::Grant;
use crate::platform::Outcome;
use crate::report::RunResult;

/// What became of the card, and how one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What became of it.
    pub outcome: Outcome,
    /// One line: a record, a finding, or what was compared.
    pub evidence: String,
}

/// What a request of the card's has to do with what the driver handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// It came to memory that was not meant.
    Misdirected,
    /// It came to memory after the driver had taken it back, or that was never handed over.
    NotAllowed,
    /// It was blocked.
    Blocked,
}

struct Finding {
    kind: Kind,
    write: bool,
    text: String,
}

/// Judges a watched run. One that was not watched is judged by its violations alone.
#[must_use]
pub fn judge(result: &RunResult) -> Verdict {
    if let Some(why) = &result.facts.refused {
        return Verdict { outcome: Outcome::Refused, evidence: why.clone() };
    }
    let nothing = Record::default();
    let record = result.record.as_deref().unwrap_or(&nothing);
    let findings: Vec<Finding> = record.dma.iter().filter_map(|dma| finding(record, dma)).collect();
    // A write does more harm than a read.
    let first = |kind| {
        let mut of_kind = findings.iter().filter(move |finding| finding.kind == kind);
        of_kind.clone().find(|finding| finding.write).or_else(|| of_kind.next())
    };
    let wrong = first(Kind::Misdirected).or_else(|| first(Kind::NotAllowed));
    if let Some(finding) = wrong {
        return Verdict { outcome: Outcome::Corrupts, evidence: finding.text.clone() };
    }
    if let Some(finding) = first(Kind::Blocked) {
        let evidence = format!("{}{}", finding.text, recorded(record));
        return Verdict { outcome: Outcome::Faults, evidence };
    }
    if let Some(leak) = record.sides.as_ref().and_then(|sides| sides.leak.clone()) {
        return Verdict { outcome: Outcome::Corrupts, evidence: leak };
    }
    match broken(result) {
        Some(evidence) => Verdict { outcome: Outcome::Corrupts, evidence },
        None => went_well(result, record),
    }
}

fn went_well(result: &RunResult, record: &Record) -> Verdict {
    let bounced = result.dma_api.bounced_bytes;
    let findings = besides(result).map(|found| format!("finding: {found}; "));
    let log = record.log.iter().map(|line| format!("{line}; "));
    let sides = record.sides.iter().map(|sides| format!("{sides}; "));
    let said: String = findings.into_iter().chain(log).chain(sides).collect();
    let compared = format!(
        "{} requests compared, {} DMAs each in its buffer",
        result.completed,
        record.dma.len()
    );
    if bounced > 0 {
        let evidence = format!("{said}{bounced} bytes bounced; {compared}");
        return Verdict { outcome: Outcome::Bounces, evidence };
    }
    Verdict { outcome: Outcome::Works, evidence: format!("{said}{compared}") }
}

/// Rules that say that data is wrong, or that a request never came back.
fn is_of_data(rule: &str) -> bool {
    rule.starts_with("DATA")
        || ["BLK-STATUS", "BENCH-STALLED", "DRIVER-ERROR", "RST-DEV-01"].contains(&rule)
}

/// What did not come back as it should although every DMA went where it should: why it may be, by DMA
/// debug, then the data.
fn broken(result: &RunResult) -> Option<String> {
    let find = |wanted: &dyn Fn(&str) -> bool| {
        let mut all = result.violations.iter();
        all.find(|violation| wanted(&violation.rule)).map(|violation| violation.message.as_str())
    };
    let data = find(&|rule| rule.starts_with("DATA")).or_else(|| find(&is_of_data))?;
    let parts: Vec<&str> = find(&|rule| rule == "DMA-API").into_iter().chain([data]).collect();
    Some(parts.join("; "))
}

/// The first finding of a run whose data came back right: a rule was broken, and this time without harm.
#[must_use]
pub fn besides(result: &RunResult) -> Option<String> {
    let found = result.violations.iter().find(|violation| !is_of_data(&violation.rule))?;
    Some(format!("{}: {}", found.rule, found.message))
}

/// The IOMMU's own first record, where it keeps any.
fn recorded(record: &Record) -> String {
    record.faults.first().map_or_else(String::new, |fault| {
        let verb = if fault.read { "read" } else { "write" };
        format!(
            "; fault record: {} {verb} {:#x} reason {:#04x}",
            fault.requester,
            fault.address.get(),
            fault.reason
        )
    })
}

/// The grant that a request falls into: a live one, else the one taken back last.
fn grant(record: &Record, dma: &Dma) -> Option<Grant> {
    grant_at(record, dma.address, dma)
}

fn grant_at(record: &Record, address: u64, dma: &Dma) -> Option<Grant> {
    let hits =
        || record.grants.iter().filter(|grant| grant.contains(address) && grant.from <= dma.at);
    hits().find(|grant| grant.is_live(dma.at)).or_else(|| hits().next_back()).copied()
}

fn finding(record: &Record, dma: &Dma) -> Option<Finding> {
    let grant = grant(record, dma);
    let finding = |kind, text: String| {
        Some(Finding { kind, write: dma.write, text: format!("{dma}: {text}") })
    };
    match (&dma.led, grant) {
        (Led::Refused(why), grant) => {
            finding(Kind::Blocked, format!("{why}: {}", meaning(record, dma, grant)))
        }
        (Led::Memory { .. }, None) => finding(
            Kind::NotAllowed,
            "an address that was never handed over, and nothing stops it".to_owned(),
        ),
        (Led::Memory { .. }, Some(grant)) if !grant.is_live(dma.at) => {
            finding(Kind::NotAllowed, format!("{}, and nothing stops it", late(dma, grant)))
        }
        (Led::Memory { .. }, Some(grant)) => misdirected(record, dma, grant).or_else(|| {
            let (address, len) = stale_descriptor(record, dma)?;
            finding(
                Kind::NotAllowed,
                format!(
                    "the card sees an available index before its descriptor, which reads \
                     {address:#x} (+{len} bytes)"
                ),
            )
        }),
    }
}

/// What was meant by an address that was blocked.
fn meaning(record: &Record, dma: &Dma, grant: Option<Grant>) -> String {
    match grant {
        None => "an address that was never handed over".to_owned(),
        Some(grant) if !grant.is_live(dma.at) => late(dma, grant),
        Some(grant) if grant.bus.get() == grant.had.get() && record.translated => {
            "physical address handed to a translated device".to_owned()
        }
        Some(grant) => format!("handed over as {} for {}", grant.bus, grant.had),
    }
}

fn late(dma: &Dma, grant: Grant) -> String {
    let ns = grant.until.map_or(0, |until| dma.at.since(until).as_ns());
    format!("use after unmap, {ns} ns late")
}

fn misdirected(record: &Record, dma: &Dma, grant: Grant) -> Option<Finding> {
    let Led::Memory { machine, driver } = dma.led else { return None };
    let meant = grant.had + (dma.address - grant.bus.get());
    if driver == Some(meant) || driver.is_some_and(|driver| record.in_pool(driver)) {
        return None;
    }
    let whose = match driver {
        Some(driver) => format!("the driver's {driver}"),
        None => "nobody's of this guest".to_owned(),
    };
    let cause = if record.sides.is_some() {
        "the bridge's window leads elsewhere"
    } else if grant.bus.get() == grant.had.get() {
        "somebody else's memory"
    } else {
        "the raw IOVA, which nothing translates"
    };
    let harm = if dma.write { "; what was there is overwritten" } else { "" };
    let text =
        format!("{dma}: leads to machine address {machine} ({whose}), not {meant}: {cause}{harm}");
    Some(Finding { kind: Kind::Misdirected, write: dma.write, text })
}

/// A descriptor that the card read and that names memory which is not the card's.
fn stale_descriptor(record: &Record, dma: &Dma) -> Option<(u64, u32)> {
    let descriptor = dma.descriptor?;
    let (address, len) = (descriptor.addr, descriptor.len);
    let live = grant_at(record, address, dma).is_some_and(|grant| grant.is_live(dma.at));
    (!live).then_some((address, len))
}
