//! Packets: sent by the driver, looped back by the card's cable, compared byte by byte.

use std::collections::VecDeque;
use std::fs::File;

use host_driver::device::net::NetOptions;
use host_driver::{NetDriver, NetEvents};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Memory};
use pcie_sim::time::Instant;
use rtl_model::{DeviceConfig, NetConfig};

use super::outcome::{STALL, Tally, not_driven, refused};
use super::shortage;
use super::watch::Watch;
use super::wiring::{Bench, MakeCard};
use crate::platform::setup::Buffers;
use crate::report::{RunError, RunResult};
use crate::scenario::config::{NetWorkload, PacketSource, RunConfig};
use crate::scoreboard::{NetScoreboard, Order};
use crate::traffic::blocks::SectorContent;
use crate::traffic::pcap::{self, Packet, PcapError, PcapReader};
use crate::traffic::recorded;

/// Bytes of an Ethernet header, which the MTU does not count.
const ETHERNET_BYTES: usize = 14;
/// The smallest MTU that the card is given.
const LEAST_MTU: usize = 1500;
/// Where a packet lies in its slot: room for the header that the driver puts before it.
const HEADROOM: u64 = 64;

/// Looks through the packets without sending them.
pub(super) fn inspect(workload: &NetWorkload) -> Result<(), RunError> {
    mtu_for(&Packets::open(0, workload)?).map(|_| ())
}

/// The MTU that lets the longest packet through.
pub(super) fn mtu_for(packets: &Packets) -> Result<u16, RunError> {
    let longest = packets.longest;
    u16::try_from(longest.saturating_sub(ETHERNET_BYTES).max(LEAST_MTU)).map_err(|_| {
        RunError::input(format!(
            "the longest packet has {longest} bytes; no MTU allows more than {}",
            usize::from(u16::MAX) + ETHERNET_BYTES
        ))
    })
}

/// Runs a net configuration.
pub(super) fn run(
    config: &RunConfig,
    workload: &NetWorkload,
    make: MakeCard<'_>,
) -> Result<RunResult, RunError> {
    let mut packets = Packets::open(config.seed, workload)?;
    let mtu = mtu_for(&packets)?;
    let device = DeviceConfig::Net(NetConfig {
        mtu,
        cable_delay: workload.cable_delay,
        cable_gbps: workload.cable_gbps,
        ..NetConfig::default()
    });
    let watch = Watch::writing(config).map_err(RunError::internal)?;
    let mut bench = Bench::new(config, device, watch, make)?;
    let options = NetOptions {
        header_in_buffer: true,
        receive_buffers: config.card.queue_size,
        ..NetOptions::default()
    };
    if let Err(why) = bench.admit(config) {
        return refused(bench, why);
    }
    let probed = bench
        .probe_context(config)
        .and_then(|context| NetDriver::probe(&mut bench.machine, context, options));
    let mut driver = match probed {
        Ok(driver) => driver,
        Err(error) => return not_driven(bench, &error),
    };
    let mut tally = Tally::begin(&mut bench, driver.counters());
    (tally.facts.ops, tally.facts.features) = (driver.ops_name(), driver.features());
    let mut traffic = Traffic::new(config, &mut bench, &packets, tally)?;
    traffic.drive(&mut bench, &mut driver, &mut packets)?;
    traffic.finish(bench, driver)
}

struct Traffic {
    tally: Tally,
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

impl Traffic {
    fn new(
        config: &RunConfig,
        bench: &mut Bench,
        packets: &Packets,
        tally: Tally,
    ) -> Result<Self, RunError> {
        let depth = config.driver.queue_depth;
        let slot_bytes = (HEADROOM + packets.longest as u64).next_multiple_of(2048);
        let skew = match config.setup.buffers {
            Buffers::WithinPages => 0,
            // A packet of any length then lies on both sides of a page's end.
            Buffers::AcrossPages => 4096 - HEADROOM - 8,
        };
        let slots = bench.buffers(slot_bytes * u64::from(depth) + skew)? + skew;
        Ok(Self {
            tally,
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
    fn drive(
        &mut self,
        bench: &mut Bench,
        driver: &mut NetDriver,
        packets: &mut Packets,
    ) -> Result<(), RunError> {
        let mut more = true;
        loop {
            bench.cancel.check()?;
            while more && self.under_way.len() < self.depth && !self.free_slots.is_empty() {
                more = self.send_batch(bench, driver, packets)?;
            }
            if !more && self.under_way.is_empty() && driver.outstanding() == 0 {
                break;
            }
            if !self.receive(bench, driver) {
                break;
            }
        }
        self.tally.end(bench, driver.counters());
        Ok(())
    }

    /// Sends up to a batch and rings the doorbell once; `false` when the packets have run out.
    fn send_batch(
        &mut self,
        bench: &mut Bench,
        driver: &mut NetDriver,
        packets: &mut Packets,
    ) -> Result<bool, RunError> {
        let mut more = true;
        let begun = bench.machine.now();
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
            self.send(bench, driver, slot)?;
        }
        driver.kick(&mut bench.machine);
        self.tally.worked(bench, begun, "submit");
        Ok(more)
    }

    fn send(
        &mut self,
        bench: &mut Bench,
        driver: &mut NetDriver,
        slot: u16,
    ) -> Result<(), RunError> {
        let data = &self.packet.data;
        let at = self.slots + u64::from(slot) * self.slot_bytes + HEADROOM;
        bench.machine.write(at, data);
        self.scoreboard.sent(0, data);
        self.tally.payload_bytes += data.len() as u64;
        self.under_way.push_back(bench.machine.now());
        let sent = driver.send(&mut bench.machine, at, data.len() as u32, u64::from(slot));
        sent.map_err(|error| match error {
            error if shortage::at_submit(&error) => {
                RunError::input(format!("host.ram: too small for the driver: {error}"))
            }
            // The ring has a place for each slot, so a refusal is the driver's fault, not the card's.
            error => RunError::internal(error),
        })
    }

    /// Waits for something to come back and takes it; `false` when the run cannot go on.
    fn receive(&mut self, bench: &mut Bench, driver: &mut NetDriver) -> bool {
        let deadline = bench.machine.now() + STALL;
        let woken = driver.wait(&mut bench.machine, deadline);
        let begun = bench.machine.now();
        let taken = woken.and_then(|_| driver.poll(&mut bench.machine, &mut self.events));
        let packets = self.under_way.len();
        let waiting = || format!("{packets} packets are under way");
        if !self.tally.goes_on(bench, begun, deadline, taken, waiting) {
            return false;
        }
        self.free_slots.extend(self.events.sent.drain(..).map(|token| token as u16));
        self.check(bench, driver)
    }

    fn check(&mut self, bench: &mut Bench, driver: &mut NetDriver) -> bool {
        let now = bench.machine.now();
        let mut received = std::mem::take(&mut self.events.received);
        let any = !received.is_empty();
        for packet in received.drain(..) {
            self.seen.resize(packet.len as usize, 0);
            bench.machine.read(packet.address, &mut self.seen);
            if let Err(finding) = self.scoreboard.received(0, &self.seen) {
                self.tally.violation(bench, "DATA-NET", finding.to_string());
            }
            if let Some(sent) = self.under_way.pop_front() {
                self.tally.latency.record(now.since(sent));
            }
            if let Err(error) = driver.recycle(&mut bench.machine, packet) {
                self.tally.violation(bench, "DRIVER-ERROR", error.to_string());
                return false;
            }
        }
        self.events.received = received;
        if any {
            driver.kick(&mut bench.machine);
        }
        true
    }

    fn finish(mut self, mut bench: Bench, driver: NetDriver) -> Result<RunResult, RunError> {
        let removed = driver.remove(&mut bench.machine);
        let removed = self.tally.removed(&bench, removed);
        for finding in
            std::mem::replace(&mut self.scoreboard, NetScoreboard::new(0, Order::Fifo)).finish()
        {
            self.tally.violation(&bench, "DATA-NET", finding.to_string());
        }
        self.tally.result(bench, removed)
    }
}

/// Where packets come from, one at a time.
pub(super) struct Packets {
    source: Source,
    left: u64,
    /// Bytes of the longest.
    pub(super) longest: usize,
}

enum Source {
    Recorded(PcapReader<&'static [u8]>),
    Capture(PcapReader<File>),
    Synthetic { content: SectorContent, bytes: usize, made: u64 },
}

impl Packets {
    /// Opens the source and looks through it once, so that what is wrong with it is known before
    /// anything runs.
    pub(super) fn open(seed: u64, workload: &NetWorkload) -> Result<Self, RunError> {
        let (source, longest) = match &workload.source {
            PacketSource::Recorded => {
                let summary =
                    recorded::packets().and_then(pcap::survey).map_err(RunError::internal)?;
                let reader = recorded::packets().map_err(RunError::internal)?;
                (Source::Recorded(reader), summary.longest_bytes)
            }
            PacketSource::Capture(path) => {
                let summary =
                    PcapReader::open(path).and_then(pcap::survey).map_err(RunError::input)?;
                let reader = PcapReader::open(path).map_err(RunError::input)?;
                (Source::Capture(reader), summary.longest_bytes)
            }
            &PacketSource::Synthetic { packets, bytes } => {
                let content = SectorContent::new(seed);
                let bytes = bytes as usize;
                let source = Source::Synthetic { content, bytes, made: 0 };
                let left = packets.min(workload.max_packets.unwrap_or(u64::MAX));
                return Ok(Self { source, left, longest: bytes });
            }
        };
        Ok(Self { source, left: workload.max_packets.unwrap_or(u64::MAX), longest })
    }

    /// The next packet, in place of the one before; `false` when there is none.
    pub(super) fn next(&mut self, packet: &mut Packet) -> Result<bool, RunError> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        let read = |result: Result<bool, PcapError>| result.map_err(RunError::input);
        match &mut self.source {
            Source::Recorded(reader) => read(reader.read_into(packet)),
            Source::Capture(reader) => read(reader.read_into(packet)),
            Source::Synthetic { content, bytes, made } => {
                packet.data.resize(*bytes, 0);
                content.fill(*made, *made, &mut packet.data);
                *made += 1;
                Ok(true)
            }
        }
    }
}
