//! What goes through the card's queues.

use std::mem::take;

use host_driver::{BlkDone, BlkOp, BlkRequest, NetEvents, Pages, Segment, SubmitError};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Memory};
use pcie_sim::spec::blk::{S_OK, SECTOR_BYTES};
use pcie_sim::time::{Instant, Span};

use super::super::blk::push_segments;
use super::super::stand::Stand;
use super::{Answer, Command, CommandError, Driver, Outcome, Session};

/// Room before a packet for the header that the driver puts there.
const HEADROOM: u64 = 64;

/// A request that the card has.
pub(super) struct UnderWay {
    id: u64,
    since: Instant,
    /// What it is to be told when it is done; it is not told twice.
    told: bool,
    reads: bool,
    buffer: Option<(PhysAddr, u64)>,
    payload: u64,
}

impl UnderWay {
    /// Gives its buffer back.
    pub(super) fn release(&self, pages: &Pages) {
        if let Some((start, bytes)) = self.buffer {
            // Allocated by this very session, so that it cannot be refused.
            let _ = pages.free(start, bytes);
        }
    }
}

/// Why a request did not go into its queue.
enum Refused {
    /// It will when something has come back.
    Full,
    Never(CommandError),
}

impl From<CommandError> for Refused {
    fn from(error: CommandError) -> Self {
        Self::Never(error)
    }
}

impl Session {
    /// Lets time pass, `slice` at most if nothing comes, and takes what has come.
    pub fn turn(&mut self, slice: Span) {
        for (id, command) in take(&mut self.waiting) {
            self.give(id, command);
        }
        if take(&mut self.submitted) {
            match &mut self.driver {
                Driver::None => {}
                Driver::Blk(driver) => driver.kick(&mut self.tally.bench.machine),
                Driver::Net(driver) => driver.kick(&mut self.tally.bench.machine),
            }
        }
        let until = self.tally.bench.machine.now() + slice;
        let waits = !self.under_way.is_empty() || !self.receivers.is_empty();
        let taken = match &mut self.driver {
            Driver::Blk(_) if waits => self.take_blocks(until),
            Driver::Net(_) if waits => self.take_packets(until),
            _ => {
                self.tally.bench.machine.run_until(until);
                Ok(())
            }
        };
        if let Err(error) = taken {
            self.give_up(&error);
        }
        self.deliver();
        self.overdue();
    }

    /// Something is under way, or somebody waits.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.under_way.is_empty() || !self.receivers.is_empty() || !self.waiting.is_empty()
    }

    pub(super) fn submit(&mut self, id: u64, command: Command) -> Option<Outcome> {
        let now = self.tally.bench.machine.now();
        let submitted = match (&self.driver, &command) {
            (Driver::None, _) => Err(CommandError::NotProbed.into()),
            (Driver::Net(_), Command::Receive) => {
                self.receivers.push_back((id, now));
                return None;
            }
            (Driver::Net(_), Command::Send { packet }) => self.submit_packet(id, packet),
            (Driver::Blk(_), Command::Read { .. } | Command::Write { .. } | Command::Flush) => {
                self.submit_block(id, &command)
            }
            (Driver::Blk(_), _) => {
                Err(CommandError::WrongDevice { has: "blk", wanted: "net" }.into())
            }
            (Driver::Net(_), _) => {
                Err(CommandError::WrongDevice { has: "net", wanted: "blk" }.into())
            }
        };
        match submitted {
            Ok(()) => {
                self.submitted = true;
                None
            }
            Err(Refused::Full) => {
                self.waiting.push_back((id, command));
                None
            }
            Err(Refused::Never(error)) => Some(Err(error)),
        }
    }

    fn submit_block(&mut self, id: u64, command: &Command) -> Result<(), Refused> {
        let (op, sector, bytes) = match command {
            Command::Read { sector, sectors } => {
                (BlkOp::Read, *sector, u64::from(*sectors) * SECTOR_BYTES)
            }
            Command::Write { sector, data } => (BlkOp::Write, *sector, data.len() as u64),
            _ => (BlkOp::Flush, 0, 0),
        };
        if op != BlkOp::Flush && (bytes == 0 || bytes % SECTOR_BYTES != 0) {
            return Err(CommandError::Sectors(bytes as usize).into());
        }
        let buffer = self.buffer(bytes)?;
        let mut segments: Vec<Segment> = Vec::new();
        if let Some((start, _)) = buffer {
            push_segments(&mut segments, start, bytes);
            if let Command::Write { data, .. } = command {
                self.tally.bench.machine.write(start, data);
            }
        }
        let request = BlkRequest { op, sector, segments: &segments };
        let Driver::Blk(driver) = &mut self.driver else { return Ok(()) };
        let outstanding = driver.outstanding();
        let submitted = driver.submit(&mut self.tally.bench.machine, &request, id);
        let reads = op == BlkOp::Read;
        self.sent(id, buffer, bytes, reads, submitted, outstanding)
    }

    fn submit_packet(&mut self, id: u64, packet: &[u8]) -> Result<(), Refused> {
        let bytes = packet.len() as u64;
        let buffer = self.buffer(HEADROOM + bytes)?;
        let Some((start, _)) = buffer else { return Ok(()) };
        let at = start + HEADROOM;
        self.tally.bench.machine.write(at, packet);
        let Driver::Net(driver) = &mut self.driver else { return Ok(()) };
        let outstanding = driver.outstanding();
        let len = u32::try_from(bytes).unwrap_or(u32::MAX);
        let submitted = driver.send(&mut self.tally.bench.machine, at, len, id);
        self.sent(id, buffer, bytes, false, submitted, outstanding)
    }

    /// Memory that the card can be told of; none for no bytes.
    fn buffer(&self, bytes: u64) -> Result<Option<(PhysAddr, u64)>, CommandError> {
        if bytes == 0 {
            return Ok(None);
        }
        let start = self.tally.bench.pages.alloc(bytes, 4096);
        let start = start.map_err(|error| CommandError::Submit(error.to_string()))?;
        Ok(Some((start, bytes)))
    }

    fn sent(
        &mut self,
        id: u64,
        buffer: Option<(PhysAddr, u64)>,
        payload: u64,
        reads: bool,
        submitted: Result<(), SubmitError>,
        outstanding: u16,
    ) -> Result<(), Refused> {
        let since = self.tally.bench.machine.now();
        let under_way = UnderWay { id, since, told: false, reads, buffer, payload };
        let Err(error) = submitted else {
            self.under_way.push(under_way);
            return Ok(());
        };
        under_way.release(&self.tally.bench.pages);
        if error.is_full() && outstanding > 0 {
            return Err(Refused::Full);
        }
        Err(Refused::Never(CommandError::Submit(error.to_string())))
    }

    fn take_blocks(&mut self, until: Instant) -> Result<(), CommandError> {
        let Driver::Blk(driver) = &mut self.driver else { return Ok(()) };
        let machine = &mut self.tally.bench.machine;
        let mut done: Vec<BlkDone> = Vec::new();
        let taken = driver.wait(machine, until).and_then(|_| driver.poll(machine, &mut done));
        for done in done {
            let Some(under_way) = self.finished(done.token) else { continue };
            let outcome = match (done.status, under_way.buffer) {
                (S_OK, Some((start, bytes))) if under_way.reads => {
                    let mut data = vec![0; bytes as usize];
                    self.tally.bench.machine.read(start, &mut data);
                    Ok(Answer::Bytes(data))
                }
                (S_OK, _) => Ok(Answer::Done),
                (status, _) => Err(CommandError::Status(status)),
            };
            self.answer(&under_way, outcome);
        }
        taken.map(|_| ()).map_err(|error| CommandError::Driver(error.to_string()))
    }

    fn take_packets(&mut self, until: Instant) -> Result<(), CommandError> {
        let Driver::Net(driver) = &mut self.driver else { return Ok(()) };
        let machine = &mut self.tally.bench.machine;
        let mut events = NetEvents::default();
        let taken = driver.wait(machine, until).and_then(|_| driver.poll(machine, &mut events));
        let mut refused = None;
        for packet in events.received.drain(..) {
            let mut data = vec![0; packet.len as usize];
            machine.read(packet.address, &mut data);
            self.arrived.push_back(data);
            refused = driver.recycle(machine, packet).err().or(refused);
            self.submitted = true;
        }
        for token in events.sent {
            let Some(under_way) = self.finished(token) else { continue };
            self.answer(&under_way, Ok(Answer::Done));
        }
        taken.map_err(|error| CommandError::Driver(error.to_string()))?;
        match refused {
            None => Ok(()),
            Some(error) => Err(CommandError::Driver(error.to_string())),
        }
    }

    fn finished(&mut self, token: u64) -> Option<UnderWay> {
        let at = self.under_way.iter().position(|under_way| under_way.id == token)?;
        Some(self.under_way.swap_remove(at))
    }

    fn answer(&mut self, under_way: &UnderWay, outcome: Outcome) {
        let now = self.tally.bench.machine.now();
        under_way.release(&self.tally.bench.pages);
        self.tally.done(now.since(under_way.since));
        if outcome.is_ok() {
            self.tally.carried(under_way.payload);
        }
        if !under_way.told {
            self.done.push((under_way.id, outcome));
        }
    }

    /// Packets go to those who wait, oldest first.
    fn deliver(&mut self) {
        while !self.receivers.is_empty()
            && let Some(packet) = self.arrived.pop_front()
            && let Some((id, _)) = self.receivers.pop_front()
        {
            self.done.push((id, Ok(Answer::Bytes(packet))));
        }
    }

    /// The driver goes no further: whoever waits is told.
    fn give_up(&mut self, error: &CommandError) {
        self.tally.violation("DRIVER-ERROR", error.to_string());
        let told = self.under_way.iter_mut().filter(|under_way| !under_way.told);
        let told = told.map(|under_way| {
            under_way.told = true;
            under_way.id
        });
        let waiting = self.waiting.drain(..).map(|(id, _)| id);
        let receivers = self.receivers.drain(..).map(|(id, _)| id);
        let all: Vec<u64> = told.chain(waiting).chain(receivers).collect();
        self.done.extend(all.into_iter().map(|id| (id, Err(error.clone()))));
    }

    fn overdue(&mut self) {
        let now = self.tally.bench.machine.now();
        let late = |since: Instant| now.since(since) >= self.patience;
        let mut told = Vec::new();
        for under_way in self.under_way.iter_mut().filter(|it| !it.told && late(it.since)) {
            under_way.told = true;
            told.push(under_way.id);
        }
        self.receivers.retain(|&(id, since)| {
            if late(since) {
                told.push(id);
            }
            !late(since)
        });
        for id in told {
            let error = CommandError::Stalled(self.patience.as_ns() / 1000);
            self.tally.violation("BENCH-STALLED", error.to_string());
            self.done.push((id, Err(error)));
        }
    }
}
