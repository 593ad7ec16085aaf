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

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pcie_sim::host::vfio_user::{Dma, End, Server, Socket};
use pcie_sim::live::{LiveConfig, LiveFinding, LiveSlot, RESET_TIME};
use pcie_sim::spec::blk::SECTOR_BYTES;
use pcie_sim::spec::features;
use pcie_sim::time::{Instant, Span};
use rtl_model::{Backing, BlkConfig, DeviceConfig, Malice, NetConfig, Station};

use self::sessions::{Session, Sessions};
use crate::bench::watch::Watch;
use crate::bench::wiring::{MakeCard, card_config};
use crate::card::CardChoice;
use crate::peer::{Peer, PeerCounts, SharedPeer};
use crate::platform;
use crate::report::{RunError, RunResult, Violation};
use crate::scenario::config::{CableEnd, Device, Layout, NetWorkload, RunConfig, Workload};
use crate::scenario::source::{InputError, Source};
use crate::scenario::{Overrides, Scenario};

/// The row of the platforms' table that a live guest is.
pub const PLATFORM: &str = "qemu-guest";
/// The scenario that says how card, slot and timing are. Of its machine only the slot is used.
const SCENARIO: &str = include_str!("../../scenarios/serve.toml");
/// For how long the clock of RTL turns when there is nothing to do. A million edges take about a second of
/// a computer's time; a client of ours waits five for an answer.
const RTL_IDLE: Span = Span::from_us(200);
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
    /// Simulated time for which the card goes on when nothing crosses the link and no request is under way,
    /// and the longest that a reset takes; what suits the card when left out.
    pub idle: Option<Span>,
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
    /// Simulated time that passed.
    pub time: Span,
    /// Edges of the clock that were computed for it, of RTL.
    pub cycles: u64,
    /// What the station at the cable's end was asked in all.
    pub peer: Option<PeerCounts>,
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
    let peer = peer(config);
    let mut card = card_config(&config.run, device(config, peer.as_ref())?);
    card.malice.extend(&config.malice);
    let (card, at_pins) = make(&config.run, card)?.apart();
    let watch = Watch::writing(&config.run).map_err(RunError::internal)?;
    let slot = LiveSlot::new(live(config), card, Sessions::new(watch, config.device, peer));
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
    let peer = slot.tap.peer_counts();
    let sessions = slot.tap.into_sessions(now);
    let (runs, results) = report(config, &sessions, &findings);
    let (time, cycles) = (now.since(Instant::ZERO), at_pins.cycles());
    Ok(Served { runs, results, end, time, cycles, peer })
}

fn live(config: &ServeConfig) -> LiveConfig {
    let usual = LiveConfig::default();
    let idle = match (config.idle, &config.run.under_test) {
        (Some(chosen), _) => Some(chosen),
        (None, CardChoice::Rtl(_)) => Some(RTL_IDLE),
        // What has nothing to do makes no events, and all the time that it is given costs nothing.
        (None, CardChoice::Model) => None,
    };
    LiveConfig {
        link: config.run.slot.link,
        root: config.run.timing.root(),
        rcb_bytes: config.run.slot.rcb_bytes,
        quiet: usual.quiet.max(idle.unwrap_or_default()),
        idle: idle.unwrap_or(usual.idle),
        reset: idle.map_or(usual.reset, |idle| idle.min(RESET_TIME)),
    }
}

/// The station at the end of the cable, if there is one.
fn peer(config: &ServeConfig) -> Option<SharedPeer> {
    match &config.run.workload {
        Workload::Net(NetWorkload { far_end: CableEnd::Station { address, prefix }, .. }) => {
            Some(Rc::new(RefCell::new(Peer::new(*address, *prefix))))
        }
        Workload::Net(_) | Workload::Blk(_) => None,
    }
}

fn device(config: &ServeConfig, peer: Option<&SharedPeer>) -> Result<DeviceConfig, RunError> {
    let backing = match (&config.disk, config.device) {
        (_, Device::Net) => return Ok(DeviceConfig::Net(net(config, peer))),
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

fn net(config: &ServeConfig, peer: Option<&SharedPeer>) -> NetConfig {
    let usual = NetConfig::default();
    let Workload::Net(workload) = &config.run.workload else { return usual };
    NetConfig {
        cable_delay: workload.cable_delay,
        cable_gbps: workload.cable_gbps,
        far_end: peer.map(|peer| Rc::clone(peer) as Station),
        ..usual
    }
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
    findings: &[Violation],
) -> (Vec<RunConfig>, Vec<RunResult>) {
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
    (runs, results)
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

/// The sentences on how the connection was, how far the simulation came in `seconds` of a computer's time,
/// and what the station at the cable's end was asked.
#[must_use]
pub fn ending(served: &Served, seconds: f64) -> String {
    let End { gone, refused, sent_away, by_message, in_shared_memory } = &served.end;
    let mut text = format!(
        "The client is gone ({gone:?}); {by_message} requests of the card went as messages, \
         {in_shared_memory} were done in shared memory; {refused} messages refused, {sent_away} other \
         clients sent away.\n{:.3} ms were simulated in {seconds:.1} s",
        served.time.as_s_f64() * 1e3
    );
    let _ = match served.cycles {
        0 => write!(text, "."),
        cycles => write!(text, ", {cycles} edges of the clock in them."),
    };
    if let Some(PeerCounts { frames, arp, icmp_echo, udp_echo, unanswered }) = served.peer {
        let _ = write!(
            text,
            "\nThe station at the cable's end took {frames} frames and answered {arp} ARP requests, \
             {icmp_echo} pings and {udp_echo} datagrams; {unanswered} frames got no answer."
        );
    }
    text
}
