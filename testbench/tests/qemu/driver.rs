//! PLATFORMS.md, `qemu-qtest`: the same host-driver code, unchanged above `host::Bus`, completes I/O on a
//! device nobody here wrote.

use std::cell::Cell;
use std::rc::Rc;

use host_driver::dma::iommu::FaultRecord;
use host_driver::dma::select::Wrap;
use host_driver::{
    BlkDriver, BlkOp, BlkRequest, DriverConfig, Indirect, PlatformDma, ProbeContext, RngDriver,
    Segment,
};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Host, Memory};
use pcie_sim::spec::features::{ACCESS_PLATFORM, EVENT_IDX};
use pcie_sim::spec::vtd::fault;
use pcie_sim::time::Span;
use testbench::bench::qemu::{Misdirect, Plugged, Station, StationConfig};
use testbench::bench::watch::Watch;
use testbench::bench::wiring::{Bench as Machine, model};
use testbench::cli::{Bench, HELD, main_with};
use testbench::scenario::config::RunConfig;
use testbench::scenario::source::Source;
use testbench::scenario::{Overrides, Scenario};

/// In the driver's time, in which a question to QEMU counts 10 microseconds.
const PATIENCE: Span = Span::from_ms(5_000);

/// The only run of a scenario.
pub(crate) fn run_config(platform: &str, rest: &str) -> RunConfig {
    let text = format!("name = \"live\"\nplatforms = [\"{platform}\"]\n{rest}");
    let source = Source::built_in("live", &text);
    let mut runs = Scenario::from_source(&source, &Overrides::default()).expect("a scenario").runs;
    assert_eq!(runs.len(), 1, "one cell");
    runs.remove(0)
}

fn vtb(arguments: &[&str]) -> (u8, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = ["vtb", "run"].iter().chain(arguments);
    let status = main_with(all, &Bench::SIMULATED, &mut out, &mut err);
    (status, String::from_utf8_lossy(&[out, err].concat()).into_owned())
}

/// `vtb run --platform qemu-qtest`: disk and network, rings direct and indirect, with and without event
/// index, by interrupt and by polling; data compared, no fault, nothing left.
#[test]
fn the_same_driver_completes_io_on_a_device_nobody_here_wrote() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("qemu.toml");
    let text = "name = \"qemu\"\nplatforms = [\"qemu-qtest\"]\n[matrix]\nrings = [\"host\"]\n\
                [host]\nram = \"64 MiB\"\n[blk]\nmax_requests = 150\n[net]\nmax_packets = 150\n";
    std::fs::write(&path, text).expect("a scenario");
    let path = path.to_str().expect("a path in ASCII");
    for more in [&[][..], &["--set", "driver.completion=poll", "--seed", "7"]] {
        let (status, said) = vtb(&[&[path], more].concat());
        assert_eq!(status, HELD, "{said}");
        assert_eq!(said.matches("their data compared").count(), 8, "{said}");
        let each = ["150 requests", "300 requests"].map(|what| said.matches(what).count());
        assert_eq!(each, [4, 4], "a packet is sent and received: {said}");
    }
}

#[test]
fn what_only_a_simulated_link_has_is_refused_for_a_real_one() {
    let (status, said) = vtb(&["--platform", "qemu-qtest", "--trace", "/dev/null"]);
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("qemu-qtest has no --trace"), "{said}");
}

/// Virtio 1.4, "Entropy Device".
#[test]
fn random_bytes_come_through_the_iommu_and_differ() {
    let mut station = Station::start(&StationConfig::new(Plugged::Rng)).expect("QEMU runs");
    let context = station.probe_context(DriverConfig::default()).expect("a virtio device");
    let mut driver = RngDriver::probe(&mut station.host, context).expect("it is driven");
    assert_eq!(
        (driver.ops_name(), driver.features() & ACCESS_PLATFORM),
        ("iommu", ACCESS_PLATFORM)
    );
    let buffer = station.buffers(4096).expect("there is memory");
    let mut done = Vec::new();
    for token in 0..2 {
        driver.submit(&mut station.host, buffer + token * 64, 64, token).expect("there is room");
    }
    driver.kick(&mut station.host);
    while done.len() < 2 {
        let deadline = station.host.now() + PATIENCE;
        assert!(
            driver.wait(&mut station.host, deadline).expect("the device is well"),
            "it answers"
        );
        driver.poll(&mut station.host, &mut done).expect("the queue is well");
    }
    let mut bytes = [[0; 64]; 2];
    for (at, bytes) in bytes.iter_mut().enumerate() {
        station.host.read(buffer + 64 * at as u64, bytes);
        assert_ne!(*bytes, [0; 64]);
    }
    assert_ne!(bytes[0], bytes[1]);
    driver.remove(&mut station.host).expect("it goes");
    assert_eq!(station.faults(), []);
    assert_eq!(station.stop().expect("QEMU is well"), Vec::<String>::new());
}

/// MSI-X, its table pointed at RAM: behind VT-d the message is translated like any write of the device.
#[test]
fn an_interrupt_message_of_a_real_device_reaches_memory_through_the_iommu() {
    let mut station = Station::start(&StationConfig::new(Plugged::Rng)).expect("QEMU runs");
    let context = station.probe_context(DriverConfig::default()).expect("a virtio device");
    let mut driver = RngDriver::probe(&mut station.host, context).expect("it is driven");
    let buffer = station.buffers(4096).expect("there is memory");
    // Who waits for what was not asked for leaves interrupts on.
    let soon = station.host.now() + Span::from_us(100);
    assert!(!driver.wait(&mut station.host, soon).expect("the device is well"));
    driver.submit(&mut station.host, buffer, 16, 0).expect("there is room");
    driver.kick(&mut station.host);
    let deadline = station.host.now() + PATIENCE;
    assert!(station.host.wait_interrupt(deadline).is_some(), "a message came");
    let mut done = Vec::new();
    assert_eq!(driver.poll(&mut station.host, &mut done).expect("the queue is well"), 1);
    driver.remove(&mut station.host).expect("it goes");
    assert_eq!(station.faults(), []);
    assert_eq!(station.stop().expect("QEMU is well"), Vec::<String>::new());
}

/// A driver that hands over an address which nothing is mapped at: the fault records that follow.
fn stray(
    host: &mut dyn Host,
    context: ProbeContext,
    by: &Cell<u64>,
    buffer: PhysAddr,
    op: BlkOp,
    take: &mut dyn FnMut(&mut dyn Host) -> Vec<FaultRecord>,
) -> Vec<FaultRecord> {
    let mut driver = BlkDriver::probe(host, context).expect("it is driven");
    let segments = [Segment { address: buffer, len: 512 }];
    let request = BlkRequest { op, sector: 0, segments: &segments };
    by.set(1 << 30);
    driver.submit(host, &request, 1).expect("there is room");
    by.set(0);
    driver.kick(host);
    let deadline = host.now() + Span::from_ms(20);
    let _ = driver.wait(host, deadline);
    let faults = take(host);
    let _ = driver.remove(host);
    faults
}

fn strayed(platform: &mut PlatformDma) -> Rc<Cell<u64>> {
    let by = Rc::new(Cell::new(0));
    let around: Option<Wrap> = platform.wrap.take();
    platform.wrap = Some(Misdirect::wrap(around, by.clone()));
    by
}

fn driver_config() -> DriverConfig {
    DriverConfig { dma_debug: false, ..DriverConfig::default() }
}

fn on_qemu(op: BlkOp) -> Vec<FaultRecord> {
    let config = StationConfig::new(Plugged::Blk { bytes: 1 << 20 });
    let mut station = Station::start(&config).expect("QEMU runs");
    let by = strayed(&mut station.platform);
    let buffer = station.buffers(4096).expect("there is memory");
    let context = station.probe_context(driver_config()).expect("a virtio device");
    let unit = station.iommu.clone().expect("VT-d is up");
    let mut take = |host: &mut dyn Host| unit.take_faults(host);
    stray(&mut station.host, context, &by, buffer, op, &mut take)
}

fn simulated(op: BlkOp) -> Vec<FaultRecord> {
    let rest = "[matrix]\ndevices = [\"blk\"]\nrings = [\"host\"]\nlayouts = [\"direct\"]\n\
                event_idx = [false]\n";
    let config = run_config("x86-vtd", rest);
    let device = rtl_model::DeviceConfig::Blk(rtl_model::BlkConfig::default());
    let mut bench = Machine::new(&config, device, Watch::new(), &model).expect("it can be wired");
    let by = strayed(&mut bench.platform);
    let buffer = bench.buffers(4096).expect("there is memory");
    let mut context = bench.probe_context(&config).expect("a virtio device");
    context.config = driver_config();
    let unit = bench.iommu.clone().expect("VT-d is up");
    let mut take = |host: &mut dyn Host| unit.take_faults(host);
    stray(&mut bench.machine, context, &by, buffer, op, &mut take)
}

/// VT-d, "Primary Fault Logging": an unmapped address gives the same first record on both machines, read
/// by the same code: requester, page, reason, and which way.
#[test]
fn an_unmapped_address_gives_the_same_fault_record_on_both_machines() {
    for (op, read, reason) in
        [(BlkOp::Write, true, fault::READ_DENIED), (BlkOp::Read, true, fault::READ_DENIED)]
    {
        let (theirs, ours) = (on_qemu(op), simulated(op));
        let first =
            |records: &[FaultRecord]| records.first().copied().expect("a fault is recorded");
        let (theirs, ours) = (first(&theirs), first(&ours));
        assert_eq!((theirs.requester, theirs.reason, theirs.read), (ours.requester, reason, read));
        assert_eq!((ours.reason, ours.read), (reason, read), "{ours:?}");
        assert_eq!(theirs.address.get() >> 30, ours.address.get() >> 30);
    }
}

/// Features that QEMU offers and the driver takes are all of those that it asks for.
#[test]
fn the_driver_negotiates_what_it_asks_for() {
    let config = StationConfig::new(Plugged::Blk { bytes: 1 << 20 });
    let mut station = Station::start(&config).expect("QEMU runs");
    let wanted =
        DriverConfig { event_idx: true, indirect: Indirect::Always, ..DriverConfig::default() };
    let context = station.probe_context(wanted).expect("a virtio device");
    let driver = BlkDriver::probe(&mut station.host, context).expect("it is driven");
    let both = ACCESS_PLATFORM | EVENT_IDX;
    assert_eq!(driver.features() & both, both);
    assert_eq!(driver.geometry().capacity_sectors, 2048);
    driver.remove(&mut station.host).expect("it goes");
    assert_eq!(station.stop().expect("QEMU is well"), Vec::<String>::new());
}
