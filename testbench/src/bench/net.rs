//! Packets: sent by the driver, looped back by the card's cable, compared byte by byte.

use std::collections::VecDeque;

use host_driver::device::net::NetOptions;
use host_driver::{NetDriver, NetEvents};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Memory};
use pcie_sim::time::Instant;
use rtl_model::{DeviceConfig, NetConfig};

use super::outcome::{Tally, not_driven, refused};
use super::packets::Packets;
use super::shortage;
use super::stand::Stand;
use super::watch::Watch;
use super::wiring::{Bench, MakeCard};
use crate::platform::setup::Buffers;
use crate::report::{RunError, RunResult};
use crate::scenario::config::{CableEnd, NetWorkload, RunConfig};
use crate::scoreboard::{NetScoreboard, Order};
use crate::traffic::pcap::Packet;

/// Where a packet lies in its slot: room for the header that the driver puts before it.
const HEADROOM: u64 = 64;

/// Looks through the packets without sending them.
pub(super) fn inspect(workload: &NetWorkload) -> Result<(), RunError> {
    if workload.far_end != CableEnd::Loop {
        return Err(RunError::input(
            "net.peer: the packets of a run are to come back as they are, so its cable ends in a `loop`; a \
             station is for `vtb serve` and `vtb guest`",
        ));
    }
    Packets::open(0, workload)?.mtu().map(|_| ())
}

/// The interface that carries it.
pub(super) fn device(workload: &NetWorkload, mtu: u16) -> DeviceConfig {
    DeviceConfig::Net(NetConfig {
        mtu,
        cable_delay: workload.cable_delay,
        cable_gbps: workload.cable_gbps,
        ..NetConfig::default()
    })
}

/// Runs a net configuration.
pub(super) fn run(
    config: &RunConfig,
    workload: &NetWorkload,
    make: MakeCard<'_>,
) -> Result<RunResult, RunError> {
    let packets = Packets::open(config.seed, workload)?;
    let device = device(workload, packets.mtu()?);
    let watch = Watch::writing(config).map_err(RunError::internal)?;
    let mut bench = Bench::new(config, device, watch, make)?;
    if let Err(why) = bench.admit(config) {
        return refused(bench, why);
    }
    let probed = bench
        .probe_context(config)
        .and_then(|context| NetDriver::probe(&mut bench.machine, context, options(config)));
    let driver = match probed {
        Ok(driver) => driver,
        Err(error) => return not_driven(bench, &error),
    };
    let mut tally = Tally::begin(bench, driver.counters());
    (tally.facts.ops, tally.facts.features) = (driver.ops_name(), driver.features());
    traffic(tally, driver, config, packets)
}

/// What the driver is asked for.
pub(super) fn options(config: &RunConfig) -> NetOptions {
    NetOptions {
        header_in_buffer: true,
        receive_buffers: config.card.queue_size,
        ..NetOptions::default()
    }
}

/// All of `packets` through `driver` on `stand`, and back.
pub(super) fn traffic(
    stand: impl Stand,
    mut driver: NetDriver,
    config: &RunConfig,
    mut packets: Packets,
) -> Result<RunResult, RunError> {
    let mut traffic = Traffic::new(stand, config, &packets)?;
    traffic.drive(&mut driver, &mut packets)?;
    traffic.finish(config, driver)
}

struct Traffic<S> {
    stand: S,
    scoreboard: NetScoreboard,
    depth: usize,
    kick_batch: usize,
    slots: PhysAddr,
    slot_bytes: u64,
    free_slots: Vec<u16>,
    under_way: VecDeque<Instant>,
    packet: Packet,
    seen: Vec<u8>,
    events: NetEvents,
}

impl<S: Stand> Traffic<S> {
    fn new(mut stand: S, config: &RunConfig, packets: &Packets) -> Result<Self, RunError> {
        let depth = config.driver.queue_depth;
        let slot_bytes = (HEADROOM + packets.longest as u64).next_multiple_of(2048);
        let skew = match config.setup.buffers {
            Buffers::WithinPages => u64::from(config.driver.buffer_offset_bytes),
            // A packet of any length then lies on both sides of a page's end.
            Buffers::AcrossPages => 4096 - HEADROOM - 8,
        };
        let slots = stand.buffers(slot_bytes * u64::from(depth) + skew)? + skew;
        Ok(Self {
            stand,
            scoreboard: NetScoreboard::new(1, Order::Fifo),
            depth: usize::from(depth),
            kick_batch: usize::from(config.driver.kick_batch),
            slots,
            slot_bytes,
            free_slots: (0..depth).rev().collect(),
            under_way: VecDeque::new(),
            packet: Packet::default(),
            seen: Vec::new(),
            events: NetEvents::default(),
        })
    }

    /// Keeps packets under way until the last has come back, or nothing comes any more.
    fn drive(&mut self, driver: &mut NetDriver, packets: &mut Packets) -> Result<(), RunError> {
        let mut more = true;
        loop {
            self.stand.check()?;
            while more && self.under_way.len() < self.depth && !self.free_slots.is_empty() {
                more = self.send_batch(driver, packets)?;
            }
            if !more && self.under_way.is_empty() && driver.outstanding() == 0 {
                break;
            }
            if !self.receive(driver) {
                break;
            }
        }
        self.stand.end(driver.counters());
        Ok(())
    }

    /// Sends up to a batch and rings the doorbell once; `false` when the packets have run out.
    fn send_batch(
        &mut self,
        driver: &mut NetDriver,
        packets: &mut Packets,
    ) -> Result<bool, RunError> {
        let mut more = true;
        let begun = self.stand.host().now();
        for _ in 0..self.kick_batch {
            if self.under_way.len() >= self.depth {
                break;
            }
            let Some(slot) = self.free_slots.pop() else { break };
            if !packets.next(&mut self.packet)? {
                self.free_slots.push(slot);
                more = false;
                break;
            }
            self.send(driver, slot)?;
        }
        driver.kick(self.stand.host());
        self.stand.worked(begun, "submit");
        Ok(more)
    }

    fn send(&mut self, driver: &mut NetDriver, slot: u16) -> Result<(), RunError> {
        let data = &self.packet.data;
        let at = self.slots + u64::from(slot) * self.slot_bytes + HEADROOM;
        self.stand.host().write(at, data);
        self.scoreboard.sent(0, data);
        self.stand.carried(data.len() as u64);
        self.under_way.push_back(self.stand.host().now());
        let sent = driver.send(self.stand.host(), at, data.len() as u32, u64::from(slot));
        sent.map_err(|error| match error {
            error if shortage::at_submit(&error) => {
                RunError::input(format!("host.ram: too small for the driver: {error}"))
            }
            // The ring has a place for each slot, so a refusal is the driver's fault, not the card's.
            error => RunError::internal(error),
        })
    }

    /// Waits for something to come back and takes it; `false` when the run cannot go on.
    fn receive(&mut self, driver: &mut NetDriver) -> bool {
        let deadline = self.stand.host().now() + self.stand.stall();
        let woken = driver.wait(self.stand.host(), deadline);
        let begun = self.stand.host().now();
        let taken = woken.and_then(|_| driver.poll(self.stand.host(), &mut self.events));
        let packets = self.under_way.len();
        let waiting = || format!("{packets} packets are under way");
        if !self.stand.goes_on(begun, deadline, taken, waiting) {
            return false;
        }
        self.free_slots.extend(self.events.sent.drain(..).map(|token| token as u16));
        self.check(driver)
    }

    fn check(&mut self, driver: &mut NetDriver) -> bool {
        let now = self.stand.host().now();
        let mut received = std::mem::take(&mut self.events.received);
        let any = !received.is_empty();
        for packet in received.drain(..) {
            self.seen.resize(packet.len as usize, 0);
            self.stand.host().read(packet.address, &mut self.seen);
            if let Err(finding) = self.scoreboard.received(0, &self.seen) {
                self.stand.violation("DATA-NET", finding.to_string());
            }
            if let Some(sent) = self.under_way.pop_front() {
                self.stand.done(now.since(sent));
            }
            if let Err(error) = driver.recycle(self.stand.host(), packet) {
                self.stand.violation("DRIVER-ERROR", error.to_string());
                return false;
            }
        }
        self.events.received = received;
        if any {
            driver.kick(self.stand.host());
        }
        true
    }

    fn finish(mut self, config: &RunConfig, driver: NetDriver) -> Result<RunResult, RunError> {
        let removed = driver.remove(self.stand.host());
        self.stand.exercise_alone(config);
        for finding in self.scoreboard.finish() {
            self.stand.violation("DATA-NET", finding.to_string());
        }
        self.stand.result(removed)
    }
}
