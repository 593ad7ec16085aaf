//! `vtb guest`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::live_args::GuestArgs;
use super::outputs::Outputs;
use super::stopwatch::Stopwatch;
use super::{Failure, HELD, Status, VIOLATED};
use crate::card;
use crate::guest::{Console, Ended, Expected, Kit, Qemu, Storage, Work};
use crate::report::{self, RunReport};
use crate::scenario::source::InputError;
use crate::serve::{self, ServeConfig};

/// How many times as long as with QEMU's own disk it should take at most. Told and not judged: other work
/// on the machine weighs on the two boots unequally.
const GOAL: f64 = 3.0;

/// Boots the guest with QEMU's own disk and with our card, and tells what both said.
pub(super) fn guest(args: &GuestArgs, out: &mut dyn Write) -> Result<Status, Failure> {
    let folder = tempfile::tempdir().map_err(anyhow::Error::from)?;
    let kit = Kit { folder: args.kit.clone() };
    let mut scenario = serve::scenario(&args.card.choice()?, &args.card.overrides())?;
    let outputs = Outputs::prepare(&args.card.files(), &mut scenario.runs)?;
    let Some(run) = scenario.runs.first().cloned() else {
        return Err(Failure::Internal("the serve scenario has no run".to_owned()));
    };
    let work = args.work.unwrap_or(Work::on(args.card.device));
    if work.device() != args.card.device {
        let why = format!("it is done on `--device {}`", work.device());
        return Err(InputError::whole(format!("--work {}", work.name()), why).into());
    }
    let own = match args.only_card || work != Work::Disk {
        true => None,
        false => Some(with_own_disk(args, &kit, folder.path())?),
    };

    let config = args.card.config(folder.path().join("card").join("socket"), run);
    let WithCard { console, served, seconds, ended } =
        with_card(args.limit, work, &kit, &config, folder.path())?;
    if let Some(path) = &args.console {
        std::fs::copy(folder.path().join("console"), path).map_err(anyhow::Error::from)?;
    }
    scenario.runs.clone_from(&served.runs);
    let report = RunReport::new(&scenario, &served.results, seconds);
    outputs.deliver(&scenario.runs, &report.to_text().map_err(anyhow::Error::from)?)?;

    let expected = Expected { says: args.says.clone(), finds: args.finds.clone() };
    let broken: Vec<&str> = report.violations.iter().map(|found| found.rule.as_str()).collect();
    let mut missed = expected.missed(&console, work, &broken);
    if !ended.by_itself {
        missed.push(format!("the guest was ended after {} s", args.limit));
    }
    let unexpected = broken.iter().filter(|rule| !args.finds.iter().any(|find| find == *rule));
    missed.extend(unexpected.map(|rule| format!("{rule} is broken")));
    let mut text = said(&console);
    let _ = write!(text, "\n{}\n{}\n", report::text(&report), serve::ending(&served, seconds));
    let _ = match own {
        Some(own) => {
            let times = seconds / own.max(f64::EPSILON);
            writeln!(
                text,
                "Start to power-off: {seconds:.1} s with this card, {own:.1} s with QEMU's own virtio-blk: \
                 {times:.2} times as long (goal: at most {GOAL})."
            )
        }
        None => writeln!(text, "Start to power-off: {seconds:.1} s with this card."),
    };
    if work == Work::Unplug {
        // QEMU 11.1 may abort on an assertion of its own, when the guest has let go of the card already.
        let told = if ended.unplugged { "tells" } else { "has ended before it told" };
        let _ = writeln!(text, "QEMU {told} that the card is gone (DEVICE_DELETED).");
    }
    missed.dedup();
    for line in &missed {
        let _ = writeln!(text, "missed: {line}");
    }
    super::say(out, &text)?;
    Ok(if missed.is_empty() { HELD } else { VIOLATED })
}

/// Linux's own messages beside the guest's.
fn said(console: &Console) -> String {
    let mut text = String::from("What the guest did:\n");
    for line in console.guest() {
        let _ = writeln!(text, "  {line}");
    }
    text += "What Linux said:\n";
    for line in console.linux() {
        let _ = writeln!(text, "  {line}");
    }
    if console.guest().next().is_none() {
        let _ = writeln!(text, "Its console ends with:\n{}", console.end(20));
    }
    text
}

/// Seconds that the guest needs with QEMU's own disk.
fn with_own_disk(args: &GuestArgs, kit: &Kit, folder: &Path) -> Result<f64, Failure> {
    let (image, console) = (folder.join("disk"), folder.join("own-console"));
    let file = File::create(&image).map_err(anyhow::Error::from)?;
    file.set_len(args.card.disk_size.0).map_err(anyhow::Error::from)?;
    let stopwatch = Stopwatch::start();
    let storage = Storage::Own(image);
    let work = Work::Disk;
    let qemu = Qemu { kit, work, storage, console: &console, limit_s: args.limit };
    let ended = qemu.start().and_then(super::super::guest::Running::wait);
    let ended = ended.map_err(|error| start_failed(kit, &error))?;
    let seconds = stopwatch.seconds();
    let console = Console::read(&console).map_err(anyhow::Error::from)?;
    let failed = console.failed(work);
    match failed.first() {
        None if ended.by_itself => Ok(seconds),
        why => Err(Failure::Internal(format!(
            "the guest does not do its work with QEMU's own disk: {}\n{}",
            why.map_or("it does not end", String::as_str),
            console.end(20)
        ))),
    }
}

/// What came of the guest with our card.
struct WithCard {
    console: Console,
    served: serve::Served,
    seconds: f64,
    ended: Ended,
}

fn start_failed(kit: &Kit, error: &std::io::Error) -> Failure {
    Failure::Input(format!("--kit {}: cannot be started: {error}", kit.folder.display()))
}

fn with_card(
    limit_s: u64,
    work: Work,
    kit: &Kit,
    config: &ServeConfig,
    folder: &Path,
) -> Result<WithCard, Failure> {
    let path = folder.join("console");
    let stopwatch = Stopwatch::start();
    let mut running = None;
    let mut ready = |socket: &Path| {
        let storage = Storage::Card(socket.to_path_buf(), config.dma);
        let qemu = Qemu { kit, work, storage, console: &path, limit_s };
        running = Some(qemu.start());
        running.as_ref().is_some_and(Result::is_ok)
    };
    let served = serve::serve(config, &card::under_test, &mut ready);
    let ended = match running {
        Some(Ok(running)) => running.wait().map_err(anyhow::Error::from)?,
        Some(Err(error)) => return Err(start_failed(kit, &error)),
        None => Ended::default(),
    };
    let served = served?;
    let seconds = stopwatch.seconds();
    let console = Console::read(&path).map_err(anyhow::Error::from)?;
    Ok(WithCard { console, served, seconds, ended })
}
