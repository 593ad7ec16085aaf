//! Block commands: read, written, flushed and discarded by the driver, every block read compared with
//! what was last written there.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;

use host_driver::{BlkDone, BlkDriver, BlkOp, BlkRequest, Segment, SubmitError};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Memory};
use pcie_sim::spec::blk::{S_OK, SECTOR_BYTES};
use pcie_sim::time::Instant;
use rtl_model::{Backing, BlkConfig, DeviceConfig};

use super::outcome::{STALL, Tally, not_driven, refused};
use super::watch::Watch;
use super::wiring::{Bench, MakeCard};
use crate::platform::setup::Buffers;
use crate::report::{RunError, RunResult};
use crate::scenario::config::{BlkWorkload, BlockSource, Disk, RunConfig};
use crate::scoreboard::{Access, BlkScoreboard, CommandId};
use crate::traffic::iolog::{self, BlockCommand, BlockOp, IologReader};
use crate::traffic::recorded;

/// A buffer's segments are pages, as a kernel hands them over.
const SEGMENT_BYTES: u64 = 4096;
/// Longer commands are cut, as a kernel cuts them at the device's limits.
const LONGEST_BYTES: u64 = 128 * 1024;

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
    let mut commands = Commands::open(config.seed, workload)?;
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
    let mut driver = match probed {
        Ok(driver) => driver,
        Err(error) => return not_driven(bench, &error),
    };
    let mut tally = Tally::begin(&mut bench, driver.counters());
    (tally.facts.ops, tally.facts.features) = (driver.ops_name(), driver.features());
    let mut traffic = Traffic::new(config, &mut bench, commands.longest, scoreboard, tally)?;
    traffic.drive(&mut bench, &mut driver, &mut commands)?;
    traffic.finish(bench, driver)
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

struct Traffic {
    tally: Tally,
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
}

impl Traffic {
    fn new(
        config: &RunConfig,
        bench: &mut Bench,
        longest: u64,
        scoreboard: BlkScoreboard,
        tally: Tally,
    ) -> Result<Self, RunError> {
        let depth = config.driver.queue_depth;
        let buffer_bytes = longest.max(1).next_multiple_of(SEGMENT_BYTES);
        let skew = match config.setup.buffers {
            Buffers::WithinPages => 0,
            Buffers::AcrossPages => SEGMENT_BYTES / 2,
        };
        let buffers = bench.buffers(buffer_bytes * u64::from(depth) + skew)? + skew;
        Ok(Self {
            tally,
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
        })
    }

    /// Keeps commands under way until the last is done, or nothing comes any more.
    fn drive(
        &mut self,
        bench: &mut Bench,
        driver: &mut BlkDriver,
        commands: &mut Commands,
    ) -> Result<(), RunError> {
        let mut more = true;
        loop {
            bench.cancel.check()?;
            let mut full = false;
            while more && !full && !self.free.is_empty() {
                (more, full) = self.submit_batch(bench, driver, commands)?;
            }
            if !more && self.free.len() == self.slots.len() {
                break;
            }
            if !self.complete(bench, driver) {
                break;
            }
        }
        self.tally.end(bench, driver.counters());
        Ok(())
    }

    /// Submits up to a batch and rings the doorbell once. Whether there are more commands, and whether
    /// the queue is full.
    fn submit_batch(
        &mut self,
        bench: &mut Bench,
        driver: &mut BlkDriver,
        commands: &mut Commands,
    ) -> Result<(bool, bool), RunError> {
        let (mut more, mut full) = (true, false);
        let begun = bench.machine.now();
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
                    self.prepare(bench, slot, command)
                }
            };
            if !self.submit(bench, driver, prepared)? {
                self.waiting = Some(prepared);
                full = true;
                break;
            }
        }
        driver.kick(&mut bench.machine);
        self.tally.worked(bench, begun, "submit");
        Ok((more, full))
    }

    /// Gives a command its place in memory and, when it writes, its data.
    fn prepare(&mut self, bench: &mut Bench, slot: u16, command: BlockCommand) -> Prepared {
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
            bench.machine.write(self.buffer(slot), &self.data);
        }
        Prepared { slot, command, id }
    }

    /// Submits one command; `false` when the queue has no room for it now.
    fn submit(
        &mut self,
        bench: &mut Bench,
        driver: &mut BlkDriver,
        prepared: Prepared,
    ) -> Result<bool, RunError> {
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
        let submitted = bench.machine.now();
        let request = BlkRequest { op, sector, segments: &self.segments };
        match driver.submit(&mut bench.machine, &request, u64::from(slot)) {
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
    fn complete(&mut self, bench: &mut Bench, driver: &mut BlkDriver) -> bool {
        let deadline = bench.machine.now() + STALL;
        let woken = driver.wait(&mut bench.machine, deadline);
        let begun = bench.machine.now();
        let taken = woken.and_then(|_| driver.poll(&mut bench.machine, &mut self.done));
        let waiting = || format!("{} commands are under way", driver.outstanding());
        if !self.tally.goes_on(bench, begun, deadline, taken, waiting) {
            return false;
        }
        let mut done = std::mem::take(&mut self.done);
        for done in done.drain(..) {
            self.check(bench, done);
        }
        self.done = done;
        true
    }

    fn check(&mut self, bench: &mut Bench, done: BlkDone) {
        let slot = done.token as u16;
        let Some(under_way) = self.slots[usize::from(slot)].take() else { return };
        let UnderWay { id, op, len_bytes, submitted } = under_way;
        self.free.push(slot);
        self.tally.latency.record(bench.machine.now().since(submitted));
        if done.status != S_OK {
            let message = format!("{op:?} of {len_bytes} bytes ended with status {}", done.status);
            self.tally.violation(bench, "BLK-STATUS", message);
        }
        self.data.clear();
        if op == BlockOp::Read {
            self.data.resize(len_bytes as usize, 0);
            let buffer = self.buffer(slot);
            bench.machine.read(buffer, &mut self.data);
        }
        if matches!(op, BlockOp::Read | BlockOp::Write) {
            self.tally.payload_bytes += len_bytes;
        }
        let Some(id) = id else { return };
        let judged = if done.status == S_OK {
            self.scoreboard.complete(id, &self.data)
        } else {
            self.scoreboard.fail(id)
        };
        if let Err(finding) = judged {
            self.tally.violation(bench, "DATA-BLK", finding.to_string());
        }
    }

    fn finish(mut self, mut bench: Bench, driver: BlkDriver) -> Result<RunResult, RunError> {
        let removed = driver.remove(&mut bench.machine);
        let removed = self.tally.removed(&bench, removed);
        for finding in std::mem::replace(&mut self.scoreboard, BlkScoreboard::new(0)).finish() {
            self.tally.violation(&bench, "DATA-BLK", finding.to_string());
        }
        self.tally.result(bench, removed)
    }
}

/// First sector and number of sectors.
pub(super) fn sectors_of(command: BlockCommand) -> (u64, u64) {
    (command.offset_bytes / SECTOR_BYTES, command.len_bytes / SECTOR_BYTES)
}

pub(super) fn push_segments(segments: &mut Vec<Segment>, buffer: PhysAddr, len_bytes: u64) {
    let mut at = 0;
    while at < len_bytes {
        let len = (len_bytes - at).min(SEGMENT_BYTES);
        segments.push(Segment { address: buffer + at, len: len as u32 });
        at += len;
    }
}

pub(super) fn cannot_submit(command: BlockCommand, error: &SubmitError) -> RunError {
    RunError::input(format!(
        "{:?} of {} bytes at byte {} does not go into the queue: {error}",
        command.op, command.len_bytes, command.offset_bytes
    ))
}

/// Where commands come from, one at a time, long ones cut.
pub(super) struct Commands {
    source: Source,
    left: u64,
    /// The longest command, cut as it may be.
    pub(super) longest: u64,
    rest: Option<BlockCommand>,
}

enum Source {
    Recorded(IologReader<&'static [u8]>),
    Log(IologReader<BufReader<File>>),
    Synthetic { places: u64, bytes: u64, made: u64, state: u64 },
}

impl Commands {
    /// Opens the source and looks through it once, so that what is wrong with it is known before
    /// anything runs.
    pub(super) fn open(seed: u64, workload: &BlkWorkload) -> Result<Self, RunError> {
        let capacity = match workload.disk {
            Disk::Memory { bytes } | Disk::Image { bytes, .. } => bytes,
        };
        let mut left = workload.max_requests.unwrap_or(u64::MAX);
        let (source, longest) = match &workload.source {
            BlockSource::Recorded => {
                let open = || recorded::block_commands(capacity).map_err(RunError::input);
                let summary = iolog::survey(open()?).map_err(RunError::input)?;
                (Source::Recorded(open()?), summary.longest_bytes)
            }
            BlockSource::Log(path) => {
                let open = || IologReader::open(path, capacity).map_err(RunError::input);
                let summary = iolog::survey(open()?).map_err(RunError::input)?;
                (Source::Log(open()?), summary.longest_bytes)
            }
            &BlockSource::Synthetic { requests, bytes } => {
                left = left.min(requests);
                let bytes = u64::from(bytes);
                let places = capacity / bytes.max(1);
                (Source::Synthetic { places, bytes, made: 0, state: seed }, bytes)
            }
        };
        Ok(Self { source, left, longest: longest.min(LONGEST_BYTES), rest: None })
    }

    /// The next command; `None` when there is none.
    pub(super) fn next(&mut self) -> Result<Option<BlockCommand>, RunError> {
        let command = match self.rest.take() {
            Some(rest) => rest,
            None if self.left == 0 => return Ok(None),
            None => {
                self.left -= 1;
                match self.source.next()? {
                    Some(command) => command,
                    None => return Ok(None),
                }
            }
        };
        let cut = matches!(command.op, BlockOp::Read | BlockOp::Write);
        if cut && command.len_bytes > LONGEST_BYTES {
            self.rest = Some(BlockCommand {
                offset_bytes: command.offset_bytes + LONGEST_BYTES,
                len_bytes: command.len_bytes - LONGEST_BYTES,
                ..command
            });
            return Ok(Some(BlockCommand { len_bytes: LONGEST_BYTES, ..command }));
        }
        Ok(Some(command))
    }
}

impl Source {
    fn next(&mut self) -> Result<Option<BlockCommand>, RunError> {
        match self {
            Self::Recorded(reader) => reader.next().transpose().map_err(RunError::input),
            Self::Log(reader) => reader.next().transpose().map_err(RunError::input),
            Self::Synthetic { places, bytes, made, state } => {
                // A linear congruential step (Knuth, MMIX) is plenty to spread places over a disk.
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let op = if *made % 2 == 0 { BlockOp::Write } else { BlockOp::Read };
                *made += 1;
                let place = (*state >> 33) % (*places).max(1);
                Ok(Some(BlockCommand {
                    at: None,
                    op,
                    offset_bytes: place * *bytes,
                    len_bytes: *bytes,
                }))
            }
        }
    }
}
