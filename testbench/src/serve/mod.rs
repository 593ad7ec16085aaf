//! A card offered to a live guest, and what its driver's real traffic shows.
//!
//! ```text
//!   guest ─vfio-user─▶ pcie_sim::host::vfio_user ─▶ live slot ─▶ link ─▶ card
//!                                                      │ tap
//!                                                   Sessions: analyzer, checker, measure, trace, waves
//! ```
//!
//! Each time that a driver sets DRIVER_OK a session begins, which ends with the next reset; each is a line
//! of the report. So firmware's driver, the system's, and the one after an unbind are told apart.

mod sessions;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use pcie_sim::host::vfio_user::{Dma, End, Server, Socket};
use pcie_sim::live::{LiveConfig, LiveFinding, LiveSlot};
use pcie_sim::spec::blk::SECTOR_BYTES;
use pcie_sim::spec::features;
use pcie_sim::time::Instant;
use rtl_model::{Backing, BlkConfig, DeviceConfig, Malice, NetConfig};

use self::sessions::{Session, Sessions};
use crate::bench::watch::Watch;
use crate::bench::wiring::{MakeCard, card_config};
use crate::card::CardChoice;
use crate::platform;
use crate::report::{RunError, RunResult, Violation};
use crate::scenario::config::{Device, Layout, RunConfig};
use crate::scenario::source::{InputError, Source};
use crate::scenario::{Overrides, Scenario};

/// The row of the platforms' table that a live guest is.
pub const PLATFORM: &str = "qemu-guest";
/// The scenario that says how card, slot and timing are. Of its machine only the slot is used.
const SCENARIO: &str = include_str!("../../scenarios/serve.toml");
/// How many findings of one kind are told one by one.
const TOLD: usize = 100;
/// What sessions are called in a report.
const NAMES: [&str; 9] = [
    "driver 1", "driver 2", "driver 3", "driver 4", "driver 5", "driver 6", "driver 7", "driver 8",
    "driver 9",
];
/// What those beyond are called.
const LATER: &str = "driver 10 and later";

/// What is served, and how.
#[derive(Debug)]
pub struct ServeConfig {
    /// Where the socket is.
    pub socket: PathBuf,
    /// How the card reaches the guest's memory.
    pub dma: Dma,
    /// Which device it is.
    pub device: Device,
    /// An image that the disk begins with; it is never written to.
    pub disk: Option<PathBuf>,
    /// Bytes of the disk, where there is no image.
    pub disk_bytes: u64,
    /// What the card does wrong on purpose.
    pub malice: Vec<Malice>,
    /// How card, slot and timing are; where trace and waves go.
    pub run: RunConfig,
}

/// What a guest did.
#[derive(Debug)]
pub struct Served {
    /// One run for each session, for its name in the report.
    pub runs: Vec<RunConfig>,
    /// What each showed.
    pub results: Vec<RunResult>,
    /// How the connection was, and ended.
    pub end: End,
}

/// The scenario of a served card, with keys set from the command line.
///
/// # Errors
/// A key that there is not, or a value that it cannot have.
pub fn scenario(card: &CardChoice, overrides: &Overrides) -> Result<Scenario, InputError> {
    let source = Source::built_in("serve scenario", SCENARIO);
    let mut scenario = Scenario::from_source(&source, overrides)?;
    card.adapt(&mut scenario.runs)?;
    scenario.runs.iter_mut().for_each(|run| run.under_test = card.clone());
    if let Ok(guest) = platform::find(PLATFORM) {
        scenario.platforms = vec![guest];
        scenario.runs.iter_mut().for_each(|run| run.platform = guest);
    }
    Ok(scenario)
}

/// Offers a card from `make` to one client; `ready` is called when it may come, and says whether one will.
/// Ends when the client goes.
///
/// # Errors
/// [`RunError::Input`] for a socket, an image or a parameter that cannot be used, [`RunError::Internal`]
/// for the rest.
pub fn serve(
    config: &ServeConfig,
    make: MakeCard<'_>,
    ready: &mut dyn FnMut(&Path) -> bool,
) -> Result<Served, RunError> {
    let mut card = card_config(&config.run, device(config)?);
    card.malice.extend(&config.malice);
    let (card, at_pins) = make(&config.run, card)?.apart();
    let watch = Watch::writing(&config.run).map_err(RunError::internal)?;
    let live = LiveConfig {
        link: config.run.slot.link,
        root: config.run.timing.root(),
        rcb_bytes: config.run.slot.rcb_bytes,
        ..LiveConfig::default()
    };
    let slot = LiveSlot::new(live, card, Sessions::new(watch));
    let socket = Socket::bind(&config.socket).map_err(|error| {
        RunError::input(format!("--socket {}: {error}", config.socket.display()))
    })?;
    if !ready(&config.socket) {
        return Err(RunError::internal("no client was started"));
    }
    let server = Server::accept(socket, slot, config.dma).map_err(RunError::internal)?;
    let (mut slot, end) = server.serve();
    let now = slot.now();
    slot.tap.watch.finish(now).map_err(RunError::internal)?;
    let mut findings = findings(&slot);
    findings.extend(at_pins.violations());
    findings.sort_by_key(|violation| violation.time);
    let sessions = slot.tap.into_sessions(now);
    Ok(report(config, &sessions, findings, end))
}

fn device(config: &ServeConfig) -> Result<DeviceConfig, RunError> {
    let backing = match (&config.disk, config.device) {
        (_, Device::Net) => return Ok(DeviceConfig::Net(NetConfig::default())),
        (Some(path), Device::Blk) => {
            let open = |error: io::Error| {
                RunError::input(format!("--disk {}: cannot be opened: {error}", path.display()))
            };
            Backing::PrivateCopy { file: File::open(path).map_err(open)? }
        }
        (None, Device::Blk) => {
            Backing::Memory { capacity_sectors: config.disk_bytes / SECTOR_BYTES }
        }
    };
    Ok(DeviceConfig::Blk(BlkConfig { backing, ..BlkConfig::default() }))
}

/// What the checker, the slot and the guest's memory have to say.
fn findings(slot: &LiveSlot<Sessions>) -> Vec<Violation> {
    let judged = slot.tap.watch.analyzer.violations().iter().map(|found| Violation {
        rule: found.rule.to_owned(),
        time: found.time,
        message: found.to_string(),
    });
    let mut all: Vec<Violation> = judged.collect();
    all.extend(slot.findings().iter().take(TOLD).map(told));
    all
}

fn told(finding: &LiveFinding) -> Violation {
    let (rule, time, message) = match finding {
        LiveFinding::Refused { at, write, address, len_bytes } => {
            let kind = if *write { "Write" } else { "Read" };
            let message = format!(
                "{kind} of {len_bytes} bytes at bus address {address:#x}: the guest refuses it (its \
                 IOMMU, or there is no memory)"
            );
            ("DMA-REFUSED", *at, message)
        }
        LiveFinding::NotSupported { at, tlp } => {
            ("PCIE-NOT-SUPPORTED", *at, format!("the root port does not take {tlp}"))
        }
        LiveFinding::CompletionTimeout { at, request } => {
            ("PCIE-COMPLETION-TIMEOUT", *at, format!("no completion came for {request}"))
        }
        LiveFinding::UnexpectedCompletion { at, tlp } => (
            "PCIE-UNEXPECTED-COMPLETION",
            *at,
            format!("nobody waits for {tlp}, or its data is bad"),
        ),
        LiveFinding::PostedStuck { at } => {
            ("PCIE-POSTED-STUCK", *at, "the card takes no posted writes any more".to_owned())
        }
        LiveFinding::ErrorMessage { at, code } => {
            ("PCIE-ERROR-MESSAGE", *at, format!("the card sends an error message, code {code:#x}"))
        }
    };
    Violation { rule: rule.to_owned(), time, message }
}

/// Every session is a result; what was found belongs to the one in which it was, or to the one before.
fn report(
    config: &ServeConfig,
    sessions: &[Session],
    findings: Vec<Violation>,
    end: End,
) -> Served {
    let (mut runs, mut results) = (Vec::new(), Vec::new());
    let nobody = [Session::default()];
    let shown = if sessions.is_empty() { &nobody[..] } else { sessions };
    for (nth, session) in shown.iter().enumerate() {
        runs.push(named(config, session, sessions.get(nth).map(|_| nth)));
        let from = if nth == 0 { Instant::ZERO } else { session.began };
        let until = shown.get(nth + 1).map_or(Instant::FAR_FUTURE, |next| next.began);
        let found = findings.iter().filter(|found| from <= found.time && found.time < until);
        results.push(session.result(found.cloned().collect()));
    }
    Served { runs, results, end }
}

fn named(config: &ServeConfig, session: &Session, nth: Option<usize>) -> RunConfig {
    let mut run = config.run.clone();
    run.device = config.device;
    if nth.is_some_and(|nth| nth > 0) {
        // There is one of each, which begins with the first.
        (run.trace, run.waves) = (None, None);
    }
    let has = |bit: u64| session.features & bit != 0;
    run.layout = if has(features::INDIRECT_DESC) { Layout::Indirect } else { Layout::Direct };
    run.event_idx = has(features::EVENT_IDX);
    run.variant = nth.map_or("no driver", |nth| NAMES.get(nth).copied().unwrap_or(LATER));
    run
}

/// The sentence on how the connection was.
#[must_use]
pub fn ending(end: &End) -> String {
    let End { gone, refused, sent_away, by_message, in_shared_memory } = end;
    format!(
        "The client is gone ({gone:?}); {by_message} requests of the card went as messages, \
         {in_shared_memory} were done in shared memory; {refused} messages refused, {sent_away} other \
         clients sent away."
    )
}
