//! Block commands: read, written, flushed and discarded by the driver, every block read compared with
//! what was last written there.

use std::fs::File;
use std::os::unix::fs::FileExt;

use host_driver::{BlkDone, BlkDriver, BlkOp, BlkRequest, Segment, SubmitError};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Memory};
use pcie_sim::spec::blk::{S_OK, SECTOR_BYTES};
use pcie_sim::time::Instant;
use rtl_model::{Backing, BlkConfig, DeviceConfig};

use super::commands::{Commands, sectors_of};
use super::outcome::{Tally, not_driven, refused};
use super::stand::Stand;
use super::watch::Watch;
use super::wiring::{Bench, MakeCard};
use crate::platform::setup::Buffers;
use crate::report::{RunError, RunResult};
use crate::scenario::config::{BlkWorkload, Disk, RunConfig};
use crate::scoreboard::{Access, BlkScoreboard, CommandId};
use crate::traffic::iolog::{BlockCommand, BlockOp};

/// A buffer's segments are pages, as a kernel hands them over.
const SEGMENT_BYTES: u64 = 4096;

/// Looks through commands and disk without running anything.
pub(super) fn inspect(workload: &BlkWorkload) -> Result<(), RunError> {
    Commands::open(0, workload)?;
    disk(0, &workload.disk).map(|_| ())
}

/// Runs a blk configuration.
pub(super) fn run(
    config: &RunConfig,
    workload: &BlkWorkload,
    make: MakeCard<'_>,
) -> Result<RunResult, RunError> {
    let commands = Commands::open(config.seed, workload)?;
    let (backing, scoreboard) = disk(config.seed, &workload.disk)?;
    let device = DeviceConfig::Blk(BlkConfig { backing, ..BlkConfig::default() });
    let watch = Watch::writing(config).map_err(RunError::internal)?;
    let mut bench = Bench::new(config, device, watch, make)?;
    if let Err(why) = bench.admit(config) {
        return refused(bench, why);
    }
    let probed = bench
        .probe_context(config)
        .and_then(|context| BlkDriver::probe(&mut bench.machine, context));
    let driver = match probed {
        Ok(driver) => driver,
        Err(error) => return not_driven(bench, &error),
    };
    let mut tally = Tally::begin(bench, driver.counters());
    (tally.facts.ops, tally.facts.features) = (driver.ops_name(), driver.features());
    traffic(tally, driver, config, commands, scoreboard)
}

/// All of `commands` through `driver` on `stand`.
pub(super) fn traffic(
    stand: impl Stand,
    mut driver: BlkDriver,
    config: &RunConfig,
    mut commands: Commands,
    scoreboard: BlkScoreboard,
) -> Result<RunResult, RunError> {
    let mut traffic = Traffic::new(stand, config, commands.longest, scoreboard)?;
    traffic.drive(&mut driver, &mut commands)?;
    if !traffic.stopped {
        traffic.stand.exercise(config, &mut driver)?;
    }
    traffic.finish(config, driver)
}

pub(super) fn disk(seed: u64, disk: &Disk) -> Result<(Backing, BlkScoreboard), RunError> {
    let scoreboard = BlkScoreboard::new(seed);
    match disk {
        Disk::Memory { bytes } => {
            let capacity_sectors = bytes / SECTOR_BYTES;
            Ok((Backing::Memory { capacity_sectors }, scoreboard))
        }
        Disk::Image { path, .. } => {
            let open = || {
                File::open(path).map_err(|error| {
                    RunError::input(format!("{}: cannot be opened: {error}", path.display()))
                })
            };
            let original = open()?;
            let scoreboard = scoreboard.with_original(move |sector, into: &mut [u8]| {
                // What cannot be read here cannot be read by the card either, and it says so.
                let _ = original.read_exact_at(into, sector * SECTOR_BYTES);
            });
            Ok((Backing::PrivateCopy { file: open()? }, scoreboard))
        }
    }
}

/// The disk, for those who compare what is on it by themselves.
pub(super) fn device(seed: u64, workload: &BlkWorkload) -> Result<DeviceConfig, RunError> {
    let (backing, _) = disk(seed, &workload.disk)?;
    Ok(DeviceConfig::Blk(BlkConfig { backing, ..BlkConfig::default() }))
}

/// A command with its place in memory, its data in it, not yet in the queue.
#[derive(Clone, Copy)]
struct Prepared {
    slot: u16,
    command: BlockCommand,
    id: Option<CommandId>,
}

/// What is known of a command while the card has it.
#[derive(Clone, Copy)]
struct UnderWay {
    /// `None` for a flush, which the scoreboard does not follow.
    id: Option<CommandId>,
    op: BlockOp,
    len_bytes: u64,
    submitted: Instant,
}

struct Traffic<S> {
    stand: S,
    scoreboard: BlkScoreboard,
    kick_batch: usize,
    buffers: PhysAddr,
    buffer_bytes: u64,
    slots: Vec<Option<UnderWay>>,
    free: Vec<u16>,
    waiting: Option<Prepared>,
    segments: Vec<Segment>,
    data: Vec<u8>,
    done: Vec<BlkDone>,
    /// The run could not go on.
    stopped: bool,
}

impl<S: Stand> Traffic<S> {
    fn new(
        mut stand: S,
        config: &RunConfig,
        longest: u64,
        scoreboard: BlkScoreboard,
    ) -> Result<Self, RunError> {
        let depth = config.driver.queue_depth;
        let buffer_bytes = longest.max(1).next_multiple_of(SEGMENT_BYTES);
        let offset = u64::from(config.driver.buffer_offset_bytes);
        let skew = match config.setup.buffers {
            Buffers::WithinPages => offset,
            Buffers::AcrossPages => offset.max(SEGMENT_BYTES / 2),
        };
        let buffers = stand.buffers(buffer_bytes * u64::from(depth) + skew)? + skew;
        Ok(Self {
            stand,
            scoreboard,
            kick_batch: usize::from(config.driver.kick_batch),
            buffers,
            buffer_bytes,
            slots: vec![None; usize::from(depth)],
            free: (0..depth).rev().collect(),
            waiting: None,
            segments: Vec::new(),
            data: Vec::new(),
            done: Vec::new(),
            stopped: false,
        })
    }

    /// Keeps commands under way until the last is done, or nothing comes any more.
    fn drive(&mut self, driver: &mut BlkDriver, commands: &mut Commands) -> Result<(), RunError> {
        let mut more = true;
        loop {
            self.stand.check()?;
            let mut full = false;
            while more && !full && !self.free.is_empty() {
                (more, full) = self.submit_batch(driver, commands)?;
            }
            if !more && self.free.len() == self.slots.len() {
                break;
            }
            if !self.complete(driver) {
                self.stopped = true;
                break;
            }
        }
        self.stand.end(driver.counters());
        Ok(())
    }

    /// Submits up to a batch and rings the doorbell once. Whether there are more commands, and whether
    /// the queue is full.
    fn submit_batch(
        &mut self,
        driver: &mut BlkDriver,
        commands: &mut Commands,
    ) -> Result<(bool, bool), RunError> {
        let (mut more, mut full) = (true, false);
        let begun = self.stand.host().now();
        for _ in 0..self.kick_batch {
            let prepared = match self.waiting.take() {
                Some(prepared) => prepared,
                None => {
                    let Some(slot) = self.free.pop() else { break };
                    let Some(command) = commands.next()? else {
                        self.free.push(slot);
                        more = false;
                        break;
                    };
                    self.prepare(slot, command)
                }
            };
            if !self.submit(driver, prepared)? {
                self.waiting = Some(prepared);
                full = true;
                break;
            }
        }
        driver.kick(self.stand.host());
        self.stand.worked(begun, "submit");
        Ok((more, full))
    }

    /// Gives a command its place in memory and, when it writes, its data.
    fn prepare(&mut self, slot: u16, command: BlockCommand) -> Prepared {
        let (sector, sectors) = sectors_of(command);
        let access = match command.op {
            BlockOp::Read => Some(Access::Read),
            BlockOp::Write => Some(Access::Write),
            BlockOp::Discard => Some(Access::Discard),
            BlockOp::Flush => None,
        };
        let id = access.map(|access| self.scoreboard.issue(access, sector, sectors));
        if let (BlockOp::Write, Some(id)) = (command.op, id) {
            self.data.resize(command.len_bytes as usize, 0);
            self.scoreboard.fill(id, &mut self.data);
            let buffer = self.buffer(slot);
            self.stand.host().write(buffer, &self.data);
        }
        Prepared { slot, command, id }
    }

    /// Submits one command; `false` when the queue has no room for it now.
    fn submit(&mut self, driver: &mut BlkDriver, prepared: Prepared) -> Result<bool, RunError> {
        let Prepared { slot, command, id } = prepared;
        let (sector, sectors) = sectors_of(command);
        self.segments.clear();
        let op = match command.op {
            BlockOp::Flush => BlkOp::Flush,
            BlockOp::Discard => BlkOp::Discard { sectors: sectors as u32 },
            BlockOp::Read | BlockOp::Write => {
                let buffer = self.buffer(slot);
                push_segments(&mut self.segments, buffer, command.len_bytes);
                if command.op == BlockOp::Read { BlkOp::Read } else { BlkOp::Write }
            }
        };
        let submitted = self.stand.host().now();
        let request = BlkRequest { op, sector, segments: &self.segments };
        match driver.submit(self.stand.host(), &request, u64::from(slot)) {
            Ok(()) => {}
            Err(error) if error.is_full() && driver.outstanding() > 0 => return Ok(false),
            Err(error) => return Err(cannot_submit(command, &error)),
        }
        self.slots[usize::from(slot)] =
            Some(UnderWay { id, op: command.op, len_bytes: command.len_bytes, submitted });
        Ok(true)
    }

    fn buffer(&self, slot: u16) -> PhysAddr {
        self.buffers + u64::from(slot) * self.buffer_bytes
    }

    /// Waits for something to be done and takes it; `false` when the run cannot go on.
    fn complete(&mut self, driver: &mut BlkDriver) -> bool {
        let deadline = self.stand.host().now() + self.stand.stall();
        let woken = driver.wait(self.stand.host(), deadline);
        let begun = self.stand.host().now();
        let taken = woken.and_then(|_| driver.poll(self.stand.host(), &mut self.done));
        let waiting = || format!("{} commands are under way", driver.outstanding());
        if !self.stand.goes_on(begun, deadline, taken, waiting) {
            return false;
        }
        let mut done = std::mem::take(&mut self.done);
        for done in done.drain(..) {
            self.check(done);
        }
        self.done = done;
        true
    }

    fn check(&mut self, done: BlkDone) {
        let slot = done.token as u16;
        let Some(under_way) = self.slots[usize::from(slot)].take() else { return };
        let UnderWay { id, op, len_bytes, submitted } = under_way;
        self.free.push(slot);
        let took = self.stand.host().now().since(submitted);
        self.stand.done(took);
        if done.status != S_OK {
            let message = format!("{op:?} of {len_bytes} bytes ended with status {}", done.status);
            self.stand.violation("BLK-STATUS", message);
        }
        self.data.clear();
        if op == BlockOp::Read {
            self.data.resize(len_bytes as usize, 0);
            let buffer = self.buffer(slot);
            self.stand.host().read(buffer, &mut self.data);
        }
        if matches!(op, BlockOp::Read | BlockOp::Write) {
            self.stand.carried(len_bytes);
        }
        let Some(id) = id else { return };
        let judged = if done.status == S_OK {
            self.scoreboard.complete(id, &self.data)
        } else {
            self.scoreboard.fail(id)
        };
        if let Err(finding) = judged {
            self.stand.violation("DATA-BLK", finding.to_string());
        }
    }

    fn finish(mut self, config: &RunConfig, driver: BlkDriver) -> Result<RunResult, RunError> {
        let removed = driver.remove(self.stand.host());
        self.stand.exercise_alone(config);
        for finding in self.scoreboard.finish() {
            self.stand.violation("DATA-BLK", finding.to_string());
        }
        self.stand.result(removed)
    }
}

pub(super) fn push_segments(segments: &mut Vec<Segment>, buffer: PhysAddr, len_bytes: u64) {
    let mut at = 0;
    while at < len_bytes {
        let len = (len_bytes - at).min(SEGMENT_BYTES);
        segments.push(Segment { address: buffer + at, len: len as u32 });
        at += len;
    }
}

fn cannot_submit(command: BlockCommand, error: &SubmitError) -> RunError {
    RunError::input(format!(
        "{:?} of {} bytes at byte {} does not go into the queue: {error}",
        command.op, command.len_bytes, command.offset_bytes
    ))
}
