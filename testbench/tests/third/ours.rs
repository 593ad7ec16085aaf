//! This project's driver on the same card, rings, depth and requests as the one beside it.

use host_driver::device::net::NetOptions;
use host_driver::{BlkDriver, BlkOp, BlkRequest, NetDriver, NetEvents, Segment};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Memory};
use pcie_sim::time::Span;
use rtl_model::DeviceConfig;
use testbench::bench::watch::Watch;
use testbench::bench::wiring::Bench;
use testbench::report::{RunFigures, RunResult};
use testbench::scenario::config::RunConfig;

use super::workload::{
    BLOCK_BYTES, DEPTH, MakeCard, PACKET_BYTES, RECEIVE, REQUESTS, card, config, disk,
};

const PATIENCE: Span = Span::from_ms(20);

fn bench(config: &RunConfig, device: DeviceConfig, make: MakeCard) -> Bench {
    Bench::new(config, device, Watch::new(), &make).expect("it can be wired")
}

fn begin(bench: &mut Bench) {
    let now = bench.machine.now();
    bench.machine.tap.observers_mut().measure.begin(now);
}

fn end(bench: Bench, config: &RunConfig, features: u64) -> RunFigures {
    let watch = &bench.machine.tap;
    assert_eq!(watch.analyzer.violations(), []);
    let counts = *watch.observers().measure.counts();
    let elapsed = watch.observers().measure.elapsed(bench.machine.now());
    RunFigures::new(config, &RunResult::of_link(&counts, features, elapsed))
}

/// The table's workload on a disk.
pub(crate) fn blk(make: MakeCard) -> RunFigures {
    let config = config("blk");
    let mut bench = bench(&config, disk(), make);
    let buffers = bench.buffers((DEPTH * BLOCK_BYTES) as u64).expect("there is memory");
    let context = bench.probe_context(&config).expect("a virtio card");
    let mut driver = BlkDriver::probe(&mut bench.machine, context).expect("it is driven");
    begin(&mut bench);
    let mut free: Vec<u64> = (0..DEPTH as u64).collect();
    let mut done = Vec::new();
    let mut next = 0;
    while next < REQUESTS || free.len() < DEPTH {
        while next < REQUESTS && !(next == REQUESTS / 2 && free.len() < DEPTH) {
            let Some(slot) = free.pop() else { break };
            let address = PhysAddr(buffers.get() + slot * BLOCK_BYTES as u64);
            let segments = [Segment { address, len: BLOCK_BYTES as u32 }];
            let op = if next < REQUESTS / 2 { BlkOp::Write } else { BlkOp::Read };
            let sector = (next % (REQUESTS / 2) * BLOCK_BYTES / 512) as u64;
            let request = BlkRequest { op, sector, segments: &segments };
            driver.submit(&mut bench.machine, &request, slot).expect("there is room");
            driver.kick(&mut bench.machine);
            next += 1;
        }
        let deadline = bench.machine.now() + PATIENCE;
        assert!(driver.wait(&mut bench.machine, deadline).expect("the card is well"));
        driver.poll(&mut bench.machine, &mut done).expect("the queue is well");
        free.extend(done.drain(..).map(|done| done.token));
    }
    let features = driver.features();
    driver.remove(&mut bench.machine).expect("it goes");
    end(bench, &config, features)
}

/// The table's workload on a network card: every packet comes back.
pub(crate) fn net(make: MakeCard) -> RunFigures {
    let config = config("net");
    let mut bench = bench(&config, card(), make);
    let buffer = bench.buffers(4096).expect("there is memory") + 64;
    let context = bench.probe_context(&config).expect("a virtio card");
    let options = NetOptions {
        header_in_buffer: true,
        receive_buffers: RECEIVE as u16,
        ..NetOptions::default()
    };
    let mut driver = NetDriver::probe(&mut bench.machine, context, options).expect("it is driven");
    begin(&mut bench);
    let mut events = NetEvents::default();
    for nth in 0..REQUESTS {
        let packet = vec![nth as u8; PACKET_BYTES];
        bench.machine.write(buffer, &packet);
        driver.send(&mut bench.machine, buffer, PACKET_BYTES as u32, 0).expect("there is room");
        driver.kick(&mut bench.machine);
        let (mut sent, mut received) = (0, 0);
        while sent == 0 || received == 0 {
            let deadline = bench.machine.now() + PATIENCE;
            assert!(driver.wait(&mut bench.machine, deadline).expect("the card is well"));
            driver.poll(&mut bench.machine, &mut events).expect("the queues are well");
            sent += events.sent.drain(..).count();
            for packet in events.received.drain(..) {
                received += 1;
                driver.recycle(&mut bench.machine, packet).expect("there is room");
            }
            driver.kick(&mut bench.machine);
        }
    }
    let features = driver.features();
    driver.remove(&mut bench.machine).expect("it goes");
    end(bench, &config, features)
}
