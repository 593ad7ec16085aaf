//! Packets through QEMU's network card and back over a cable that leads to itself, compared byte by byte.

use host_driver::device::net::NetOptions;
use host_driver::{NetDriver, NetEvents};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Memory};

use super::station::{Plugged, Station};
use super::{STALL, Tally};
use crate::bench::net::{Packets, mtu_for};
use crate::bench::wiring::driver_config;
use crate::report::{RunError, RunResult};
use crate::scenario::config::{NetWorkload, RunConfig};
use crate::scoreboard::{NetScoreboard, Order};
use crate::traffic::pcap::Packet;

/// Where a packet lies in its slot: room for the header that the driver puts before it.
const HEADROOM: u64 = 64;

/// Runs a net configuration.
pub(super) fn run(config: &RunConfig, workload: &NetWorkload) -> Result<RunResult, RunError> {
    let mut packets = Packets::open(config.seed, workload)?;
    let mtu = mtu_for(&packets)?;
    let mut station = Station::start(&super::station_config(config, Plugged::Net { mtu }))?;
    let options = NetOptions {
        header_in_buffer: true,
        receive_buffers: config.card.queue_size,
        ..NetOptions::default()
    };
    let probed = station
        .probe_context(driver_config(config))
        .and_then(|context| NetDriver::probe(&mut station.host, context, options));
    let mut driver = probed.map_err(|error| super::not_driven(&mut station, &error))?;
    let mut tally = Tally { before: driver.counters(), ..Tally::default() };
    (tally.facts.ops, tally.facts.features) = (driver.ops_name(), driver.features());
    let depth = config.driver.queue_depth;
    let slot_bytes = (HEADROOM + packets.longest as u64).next_multiple_of(2048);
    let slots = station.buffers(slot_bytes * u64::from(depth))?;
    let mut traffic = Traffic {
        tally,
        scoreboard: NetScoreboard::new(1, Order::Fifo),
        depth: usize::from(depth),
        kick_batch: usize::from(config.driver.kick_batch),
        slots,
        slot_bytes,
        free_slots: (0..depth).rev().collect(),
        under_way: 0,
        packet: Packet::default(),
    };
    traffic.drive(&mut station, &mut driver, &mut packets)?;
    let after = driver.counters();
    let removed = driver.remove(&mut station.host);
    for finding in traffic.scoreboard.finish() {
        traffic.tally.violation("DATA-NET", finding.to_string());
    }
    traffic.tally.result(station, after, removed)
}

struct Traffic {
    tally: Tally,
    scoreboard: NetScoreboard,
    depth: usize,
    kick_batch: usize,
    slots: PhysAddr,
    slot_bytes: u64,
    free_slots: Vec<u16>,
    under_way: usize,
    packet: Packet,
}

impl Traffic {
    fn drive(
        &mut self,
        station: &mut Station,
        driver: &mut NetDriver,
        packets: &mut Packets,
    ) -> Result<(), RunError> {
        let mut more = true;
        let mut events = NetEvents::default();
        loop {
            while more && self.under_way < self.depth && !self.free_slots.is_empty() {
                more = self.send_batch(station, driver, packets)?;
            }
            if !more && self.under_way == 0 && driver.outstanding() == 0 {
                return Ok(());
            }
            let deadline = station.host.now() + STALL;
            let woken = driver.wait(&mut station.host, deadline);
            let taken = woken.and_then(|_| driver.poll(&mut station.host, &mut events));
            let waiting = || format!("{} packets are under way", self.under_way);
            if !self.tally.goes_on(station, deadline, taken, waiting) {
                return Ok(());
            }
            self.free_slots.extend(events.sent.drain(..).map(|token| token as u16));
            if !self.check(station, driver, &mut events) {
                return Ok(());
            }
        }
    }

    /// Sends up to a batch and rings the doorbell once; `false` when the packets have run out.
    fn send_batch(
        &mut self,
        station: &mut Station,
        driver: &mut NetDriver,
        packets: &mut Packets,
    ) -> Result<bool, RunError> {
        let mut more = true;
        for _ in 0..self.kick_batch.min(self.depth - self.under_way) {
            let Some(slot) = self.free_slots.pop() else { break };
            if !packets.next(&mut self.packet)? {
                self.free_slots.push(slot);
                more = false;
                break;
            }
            let data = &self.packet.data;
            let at = self.slots + u64::from(slot) * self.slot_bytes + HEADROOM;
            station.host.write(at, data);
            self.scoreboard.sent(0, data);
            self.tally.payload_bytes += data.len() as u64;
            self.under_way += 1;
            let sent = driver.send(&mut station.host, at, data.len() as u32, u64::from(slot));
            sent.map_err(RunError::internal)?;
        }
        driver.kick(&mut station.host);
        Ok(more)
    }

    /// Compares what came in and gives its buffers back; `false` when the run cannot go on.
    fn check(
        &mut self,
        station: &mut Station,
        driver: &mut NetDriver,
        events: &mut NetEvents,
    ) -> bool {
        let any = !events.received.is_empty();
        for packet in events.received.drain(..) {
            let mut seen = vec![0; packet.len as usize];
            station.host.read(packet.address, &mut seen);
            if let Err(finding) = self.scoreboard.received(0, &seen) {
                self.tally.violation("DATA-NET", finding.to_string());
            }
            self.under_way = self.under_way.saturating_sub(1);
            self.tally.completed += 1;
            if let Err(error) = driver.recycle(&mut station.host, packet) {
                self.tally.violation("DRIVER-ERROR", error.to_string());
                return false;
            }
        }
        if any {
            driver.kick(&mut station.host);
        }
        true
    }
}
