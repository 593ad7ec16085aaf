//! What `virtio-drivers` is put to: its own blocking calls, and the workload of the table, a queue's depth
//! of requests at a time.

use pcie_sim::host::Bus;
use pcie_sim::time::Span;
use rtl_model::{Backing, BlkConfig, CardConfig, DeviceConfig, NetConfig};
use testbench::bench::wiring::model;
use testbench::card::Plugged;
use testbench::report::{RunError, RunFigures, RunResult};
use testbench::scenario::config::RunConfig;
use testbench::scenario::source::Source;
use testbench::scenario::{Overrides, Scenario};
use virtio_drivers::device::blk::{BlkReq, BlkResp, VirtIOBlk};
use virtio_drivers::device::net::VirtIONetRaw;

use super::hal::{StageHal, set_up, take_down, with};
use super::transport::StageTransport;

/// Makes the card under test.
pub(crate) type MakeCard = fn(&RunConfig, CardConfig) -> Result<Plugged, RunError>;

/// Requests of the workload, how many at a time, and the bytes of each.
pub(crate) const REQUESTS: usize = 96;
pub(crate) const DEPTH: usize = 4;
pub(crate) const BLOCK_BYTES: usize = 4096;
pub(crate) const PACKET_BYTES: usize = 1024;
/// Bytes in front of a packet.
const HEADER_BYTES: usize = 12;
/// Receive buffers, and bytes of each.
pub(crate) const RECEIVE: usize = 16;
const RECEIVE_BYTES: usize = 2048;
/// How long the card may take.
const PATIENCE: Span = Span::from_ms(20);

/// The run of the table: rings in host memory, everything that both drivers know switched on.
pub(crate) fn config(device: &str) -> RunConfig {
    let text = format!(
        "name = \"third\"\nplatforms = [\"x86-noiommu\"]\n[matrix]\ndevices = [\"{device}\"]\n\
         rings = [\"host\"]\nlayouts = [\"indirect\"]\nevent_idx = [true]\n[host]\nram = \"64 MiB\"\n\
         [card]\nqueue_size = 16\n[driver]\nqueue_depth = {DEPTH}\nkick_batch = 1\n"
    );
    let source = Source::built_in("third", &text);
    let mut runs = Scenario::from_source(&source, &Overrides::default()).expect("a scenario").runs;
    runs.remove(0)
}

pub(crate) fn disk() -> DeviceConfig {
    let backing = Backing::Memory { capacity_sectors: 8192 };
    DeviceConfig::Blk(BlkConfig { backing, ..BlkConfig::default() })
}

pub(crate) fn card() -> DeviceConfig {
    DeviceConfig::Net(NetConfig::default())
}

/// What the run showed, and that it left nothing behind.
fn end(config: &RunConfig, features: u64) -> RunFigures {
    let mut stage = take_down();
    assert_eq!(stage.shared(), 0, "every buffer was taken back");
    let watch = &stage.bench.machine.tap;
    assert_eq!(watch.analyzer.violations(), [], "the card and the driver keep the rules");
    let counts = *watch.observers().measure.counts();
    let elapsed = watch.observers().measure.elapsed(stage.bench.machine.now());
    assert_eq!(stage.bench.stop(), Vec::<String>::new());
    RunFigures::new(config, &RunResult::of_link(&counts, features, elapsed))
}

/// What the driver has accepted; a reset takes it back.
fn features() -> u64 {
    with(|stage| stage.bench.machine.tap.analyzer.registers().features())
}

fn begin() {
    with(|stage| {
        let now = stage.bench.machine.now();
        stage.bench.machine.tap.observers_mut().measure.begin(now);
    });
}

/// Lets the card work until `done` gives something.
fn wait<T>(mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = with(|stage| stage.bench.machine.now()) + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        with(|stage| {
            let machine = &mut stage.bench.machine;
            assert!(machine.now() < deadline, "the card uses nothing within {PATIENCE:?}");
            machine.spend(Span::from_ns(100));
        });
    }
}

fn block(nth: usize) -> Vec<u8> {
    (0..BLOCK_BYTES).map(|at| (at / 512 * 31 + nth * 7 + at) as u8).collect()
}

type Blk = VirtIOBlk<StageHal, StageTransport>;

struct Request {
    nth: usize,
    token: u16,
    header: Box<BlkReq>,
    data: Vec<u8>,
    status: Box<BlkResp>,
}

/// Writes at even numbers, and then reads what was written.
fn submit(disk: &mut Blk, nth: usize) -> Request {
    let mut request = Request {
        nth,
        token: 0,
        header: Box::default(),
        data: vec![0; BLOCK_BYTES],
        status: Box::default(),
    };
    let Request { header, data, status, .. } = &mut request;
    let half = REQUESTS / 2;
    let sector = nth % half * BLOCK_BYTES / 512;
    let token = if nth < half {
        *data = block(nth);
        // SAFETY: header, data and status live in the request until it is completed.
        unsafe { disk.write_blocks_nb(sector, header, data, status) }
    } else {
        // SAFETY: as above.
        unsafe { disk.read_blocks_nb(sector, header, data, status) }
    };
    request.token = token.expect("there is room");
    request
}

fn complete(disk: &mut Blk, mut request: Request) {
    let half = REQUESTS / 2;
    let Request { nth, token, header, data, status } = &mut request;
    if *nth < half {
        // SAFETY: the same that it was submitted with.
        unsafe { disk.complete_write_blocks(*token, header, data, status) }.expect("written");
    } else {
        // SAFETY: as above.
        unsafe { disk.complete_read_blocks(*token, header, data, status) }.expect("read");
        assert!(*data == block(*nth - half), "request {nth} reads what was written");
    }
}

/// The table's workload on a disk.
pub(crate) fn blk(make: MakeCard) -> RunFigures {
    let config = config("blk");
    set_up(&config, disk(), &make);
    let mut disk = Blk::new(StageTransport::open(false, true)).expect("it is driven");
    assert_eq!(disk.capacity(), 8192);
    begin();
    let mut under_way: Vec<Request> = Vec::new();
    let mut next = 0;
    while next < REQUESTS || !under_way.is_empty() {
        while next < REQUESTS && under_way.len() < DEPTH {
            // What is read back must have been written.
            if next == REQUESTS / 2 && !under_way.is_empty() {
                break;
            }
            under_way.push(submit(&mut disk, next));
            next += 1;
        }
        let token = wait(|| disk.peek_used());
        let at = under_way.iter().position(|request| request.token == token).expect("it is ours");
        complete(&mut disk, under_way.swap_remove(at));
        while !disk.ack_interrupt().is_empty() {}
    }
    let features = features();
    drop(disk);
    end(&config, features)
}

/// The table's workload on a network card: every packet comes back.
pub(crate) fn net(make: MakeCard) -> RunFigures {
    let config = config("net");
    set_up(&config, card(), &make);
    let mut net =
        VirtIONetRaw::<StageHal, StageTransport, 16>::new(StageTransport::open(false, true))
            .expect("it is driven");
    let mut receive: Vec<Vec<u8>> = (0..RECEIVE).map(|_| vec![0; RECEIVE_BYTES]).collect();
    let mut tokens = Vec::new();
    for buffer in &mut receive {
        // SAFETY: the buffers live until the driver is gone.
        tokens.push(unsafe { net.receive_begin(buffer) }.expect("there is room"));
    }
    begin();
    for nth in 0..REQUESTS {
        let mut packet = vec![0; HEADER_BYTES + PACKET_BYTES];
        net.fill_buffer_header(&mut packet).expect("there is room for it");
        packet[HEADER_BYTES..].copy_from_slice(&block(nth)[..PACKET_BYTES]);
        // SAFETY: the packet lives until it is sent, which is waited for here.
        let sent = unsafe { net.transmit_begin(&packet) }.expect("there is room");
        let token = wait(|| net.poll_transmit());
        assert_eq!(token, sent);
        // SAFETY: the same packet.
        unsafe { net.transmit_complete(token, &packet) }.expect("it is sent");
        let token = wait(|| net.poll_receive());
        let at = tokens.iter().position(|&known| known == token).expect("it is ours");
        let buffer = &mut receive[at];
        // SAFETY: the buffer that was given with this token.
        let (header, len) = unsafe { net.receive_complete(token, buffer) }.expect("it came");
        assert!(buffer[header..header + len] == packet[HEADER_BYTES..], "packet {nth} comes back");
        // SAFETY: the buffers live until the driver is gone.
        tokens[at] = unsafe { net.receive_begin(buffer) }.expect("there is room");
        while !net.ack_interrupt().is_empty() {}
    }
    // The buffers that are still with the card go with a reset, and are taken back here.
    with(|stage| stage.forget_shared());
    let features = features();
    drop(net);
    end(&config, features)
}

/// Its blocking calls wait without end, so a doorbell lets the card work until it has used something.
pub(crate) fn blocking(make: MakeCard) {
    let config = config("blk");
    set_up(&config, disk(), &make);
    let mut disk = Blk::new(StageTransport::open(true, false)).expect("it is driven");
    begin();
    for nth in 0..8 {
        let written = block(nth);
        disk.write_blocks(nth * 8, &written).expect("written");
        let mut read = vec![0; BLOCK_BYTES];
        disk.read_blocks(nth * 8, &mut read).expect("read");
        assert!(read == written);
    }
    disk.flush().expect("flushed");
    let mut id = [0; 20];
    assert!(disk.device_id(&mut id).expect("it has one") <= 20);
    drop(disk);
    let figures = end(&config, 0);
    assert_eq!(figures.requests, 18);
    assert!(figures.interrupts_per_request == 0.0, "none were asked for");
}

#[test]
fn a_driver_nobody_here_wrote_reads_and_writes_the_disk_in_its_own_blocking_way() {
    blocking(model);
}
