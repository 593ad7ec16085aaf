//! Block commands on QEMU's disk, every block read compared with what was last written there.

use host_driver::{BlkDone, BlkDriver, BlkOp, BlkRequest, Segment};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Memory};
use pcie_sim::spec::blk::S_OK;

use super::station::{Plugged, Station};
use super::{STALL, Tally};
use crate::bench::blk::{Commands, cannot_submit, disk, push_segments, sectors_of};
use crate::bench::wiring::driver_config;
use crate::report::{RunError, RunResult};
use crate::scenario::config::{BlkWorkload, Disk, RunConfig};
use crate::scoreboard::{Access, BlkScoreboard, CommandId};
use crate::traffic::iolog::{BlockCommand, BlockOp};

const PAGE_BYTES: u64 = 4096;

/// Runs a blk configuration.
pub(super) fn run(config: &RunConfig, workload: &BlkWorkload) -> Result<RunResult, RunError> {
    let mut commands = Commands::open(config.seed, workload)?;
    let (_, scoreboard) = disk(config.seed, &workload.disk)?;
    let device = match &workload.disk {
        &Disk::Memory { bytes } => Plugged::Blk { bytes },
        Disk::Image { path, .. } => Plugged::Image { path: path.clone() },
    };
    let mut station = Station::start(&super::station_config(config, device))?;
    let probed = station
        .probe_context(driver_config(config))
        .and_then(|context| BlkDriver::probe(&mut station.host, context));
    let mut driver = probed.map_err(|error| super::not_driven(&mut station, &error))?;
    let mut tally = Tally { before: driver.counters(), ..Tally::default() };
    (tally.facts.ops, tally.facts.features) = (driver.ops_name(), driver.features());
    let depth = config.driver.queue_depth;
    let buffer_bytes = commands.longest.max(1).next_multiple_of(PAGE_BYTES);
    let buffers = station.buffers(buffer_bytes * u64::from(depth))?;
    let mut traffic = Traffic {
        tally,
        scoreboard,
        kick_batch: usize::from(config.driver.kick_batch),
        buffers,
        buffer_bytes,
        slots: vec![None; usize::from(depth)],
        free: (0..depth).rev().collect(),
        waiting: None,
        data: Vec::new(),
    };
    traffic.drive(&mut station, &mut driver, &mut commands)?;
    let after = driver.counters();
    let removed = driver.remove(&mut station.host);
    for finding in traffic.scoreboard.finish() {
        traffic.tally.violation("DATA-BLK", finding.to_string());
    }
    traffic.tally.result(station, after, removed)
}

#[derive(Clone, Copy)]
struct UnderWay {
    /// `None` for a flush, which the scoreboard does not follow.
    id: Option<CommandId>,
    slot: u16,
    command: BlockCommand,
}

struct Traffic {
    tally: Tally,
    scoreboard: BlkScoreboard,
    kick_batch: usize,
    buffers: PhysAddr,
    buffer_bytes: u64,
    slots: Vec<Option<UnderWay>>,
    free: Vec<u16>,
    /// Prepared, and refused by a full queue.
    waiting: Option<UnderWay>,
    data: Vec<u8>,
}

impl Traffic {
    fn drive(
        &mut self,
        station: &mut Station,
        driver: &mut BlkDriver,
        commands: &mut Commands,
    ) -> Result<(), RunError> {
        let mut more = true;
        let mut done = Vec::new();
        loop {
            let mut full = false;
            while more && !full && (self.waiting.is_some() || !self.free.is_empty()) {
                (more, full) = self.submit_batch(station, driver, commands)?;
            }
            if !more && self.free.len() == self.slots.len() {
                return Ok(());
            }
            let deadline = station.host.now() + STALL;
            let woken = driver.wait(&mut station.host, deadline);
            let taken = woken.and_then(|_| driver.poll(&mut station.host, &mut done));
            let waiting = || format!("{} commands are under way", driver.outstanding());
            if !self.tally.goes_on(station, deadline, taken, waiting) {
                return Ok(());
            }
            for done in done.drain(..) {
                self.check(station, done);
            }
        }
    }

    /// Submits up to a batch and rings the doorbell once. Whether there are more commands, and whether
    /// the queue is full.
    fn submit_batch(
        &mut self,
        station: &mut Station,
        driver: &mut BlkDriver,
        commands: &mut Commands,
    ) -> Result<(bool, bool), RunError> {
        let (mut more, mut full) = (true, false);
        for _ in 0..self.kick_batch {
            let next = match self.waiting.take() {
                Some(next) => next,
                None => {
                    let Some(slot) = self.free.pop() else { break };
                    let Some(command) = commands.next()? else {
                        self.free.push(slot);
                        more = false;
                        break;
                    };
                    self.prepare(station, slot, command)
                }
            };
            if !self.submit(station, driver, next)? {
                self.waiting = Some(next);
                full = true;
                break;
            }
        }
        driver.kick(&mut station.host);
        Ok((more, full))
    }

    /// Gives a command its place in memory and, when it writes, its data.
    fn prepare(&mut self, station: &mut Station, slot: u16, command: BlockCommand) -> UnderWay {
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
            station.host.write(self.buffer(slot), &self.data);
        }
        UnderWay { id, slot, command }
    }

    /// Submits one command; `false` when the queue has no room for it now.
    fn submit(
        &mut self,
        station: &mut Station,
        driver: &mut BlkDriver,
        next: UnderWay,
    ) -> Result<bool, RunError> {
        let UnderWay { slot, command, .. } = next;
        let (sector, sectors) = sectors_of(command);
        let mut segments: Vec<Segment> = Vec::new();
        let op = match command.op {
            BlockOp::Flush => BlkOp::Flush,
            BlockOp::Discard => BlkOp::Discard { sectors: sectors as u32 },
            BlockOp::Read => BlkOp::Read,
            BlockOp::Write => BlkOp::Write,
        };
        if matches!(command.op, BlockOp::Read | BlockOp::Write) {
            push_segments(&mut segments, self.buffer(slot), command.len_bytes);
        }
        let request = BlkRequest { op, sector, segments: &segments };
        match driver.submit(&mut station.host, &request, u64::from(slot)) {
            Ok(()) => {}
            Err(error) if error.is_full() && driver.outstanding() > 0 => return Ok(false),
            Err(error) => return Err(cannot_submit(command, &error)),
        }
        self.slots[usize::from(slot)] = Some(next);
        Ok(true)
    }

    fn buffer(&self, slot: u16) -> PhysAddr {
        self.buffers + u64::from(slot) * self.buffer_bytes
    }

    fn check(&mut self, station: &mut Station, done: BlkDone) {
        let slot = done.token as u16;
        let Some(UnderWay { id, command, .. }) = self.slots[usize::from(slot)].take() else {
            return;
        };
        self.free.push(slot);
        self.tally.completed += 1;
        let (op, len_bytes) = (command.op, command.len_bytes);
        if done.status != S_OK {
            let message = format!("{op:?} of {len_bytes} bytes ended with status {}", done.status);
            self.tally.violation("BLK-STATUS", message);
        }
        self.data.clear();
        if op == BlockOp::Read {
            self.data.resize(len_bytes as usize, 0);
            let buffer = self.buffer(slot);
            station.host.read(buffer, &mut self.data);
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
            self.tally.violation("DATA-BLK", finding.to_string());
        }
    }
}
