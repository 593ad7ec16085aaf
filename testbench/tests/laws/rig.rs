//! A bench with a driver on it that does one thing at a time, while every TLP is kept.

use std::ops::{Deref, DerefMut};

use host_driver::device::net::NetOptions;
use host_driver::{
    BlkDone, BlkDriver, BlkOp, BlkRequest, DriverConfig, DriverError, NetDriver, NetEvents, Segment,
};
use pcie_sim::address::PhysAddr;
use pcie_sim::endpoint::Direction;
use pcie_sim::host::{Bus, Memory};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::Tlp;
use rtl_model::{Backing, BlkConfig, CardConfig, DeviceConfig, NetConfig};
use testbench::analyzer::registers::QueueRegisters;
use testbench::analyzer::{Purpose, Region, Role, RoundTrip};
use testbench::bench::watch::{Seen, Watch};
use testbench::bench::wiring::{Bench, MakeCard};
use testbench::card::Plugged;
use testbench::measure::Counts;
use testbench::report::RunError;
use testbench::scenario::config::RunConfig;
use testbench::scenario::source::Source;
use testbench::scenario::{Overrides, Scenario};

/// Makes the card under test.
pub(crate) type Card = fn(&RunConfig, CardConfig) -> Result<Plugged, RunError>;

/// The card that the laws are about.
pub(crate) use crate::under_test::CARD;

/// An interrupt message.
pub(crate) const MSIX: Purpose = Purpose::MsiX;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Span = Span::from_ms(20);
/// How long is long enough for whatever might still come.
pub(crate) const QUIET: Span = Span::from_us(200);

/// The runs of a scenario: `matrix` and below, as a scenario file says it.
pub(crate) fn runs(platform: &str, rest: &str) -> Vec<RunConfig> {
    let text = format!("name = \"law\"\nplatforms = [\"{platform}\"]\n{rest}");
    match Scenario::from_source(&Source::built_in("law", &text), &Overrides::default()) {
        Ok(scenario) => scenario.runs,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// The only run of a scenario.
pub(crate) fn run(platform: &str, rest: &str) -> RunConfig {
    let mut runs = runs(platform, rest);
    assert_eq!(runs.len(), 1, "one cell");
    runs.remove(0)
}

/// One cell of the matrix, everything else at its default.
pub(crate) fn cell(
    platform: &str,
    device: &str,
    rings: &str,
    layout: &str,
    event_idx: bool,
) -> RunConfig {
    cell_with(platform, device, rings, layout, event_idx, "")
}

/// One cell of the matrix, with more to say.
pub(crate) fn cell_with(
    platform: &str,
    device: &str,
    rings: &str,
    layout: &str,
    event_idx: bool,
    rest: &str,
) -> RunConfig {
    let matrix = format!(
        "[matrix]\ndevices = [\"{device}\"]\nrings = [\"{rings}\"]\nlayouts = [\"{layout}\"]\n\
         event_idx = [{event_idx}]\n"
    );
    run(platform, &(matrix + rest))
}

/// A bench under a driver `D`.
pub(crate) struct Rig<D> {
    pub(crate) bench: Bench,
    pub(crate) driver: D,
}

impl<D> Deref for Rig<D> {
    type Target = Bench;
    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl<D> DerefMut for Rig<D> {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.bench
    }
}

/// A bench whose TLPs are kept, and nobody drives the card.
pub(crate) fn bench(config: &RunConfig, device: DeviceConfig, card: MakeCard<'_>) -> Bench {
    let mut watch = Watch::new();
    watch.observers_mut().log = Some(Vec::new());
    watch.observers_mut().trips = Some(Vec::new());
    Bench::new(config, device, watch, card).expect("the bench can be wired")
}

/// The disk of every blk rig: 64 MiB of memory.
pub(crate) fn disk() -> DeviceConfig {
    let backing = Backing::Memory { capacity_sectors: 131_072 };
    DeviceConfig::Blk(BlkConfig { backing, ..BlkConfig::default() })
}

/// A network card that nothing comes back from while a test looks at what is sent.
pub(crate) fn long_cable() -> DeviceConfig {
    DeviceConfig::Net(NetConfig {
        mtu: 9000,
        cable_delay: Span::from_ms(500),
        ..NetConfig::default()
    })
}

/// A net rig without receive buffers: what the card does, it does for the packets sent.
pub(crate) fn net(config: &RunConfig, card: MakeCard<'_>) -> Rig<NetDriver> {
    let mut bench = bench(config, long_cable(), card);
    let context = bench.probe_context(config).expect("the capabilities are there");
    let options =
        NetOptions { header_in_buffer: true, receive_buffers: 0, ..NetOptions::default() };
    let driver =
        NetDriver::probe(&mut bench.machine, context, options).expect("the card can be driven");
    Rig { bench, driver }.settled()
}

/// A blk rig.
pub(crate) fn blk(config: &RunConfig, card: MakeCard<'_>) -> Rig<BlkDriver> {
    blk_with(config, card, |_| ())
}

/// A blk rig whose driver is told something else.
pub(crate) fn blk_with(
    config: &RunConfig,
    card: MakeCard<'_>,
    change: impl FnOnce(&mut DriverConfig),
) -> Rig<BlkDriver> {
    let mut bench = bench(config, disk(), card);
    let mut context = bench.probe_context(config).expect("the capabilities are there");
    change(&mut context.config);
    let driver = BlkDriver::probe(&mut bench.machine, context).expect("the card can be driven");
    Rig { bench, driver }.settled()
}

impl<D> Rig<D> {
    fn settled(mut self) -> Self {
        self.rest();
        self.forget();
        self
    }

    /// Lets time pass until whatever is under way has ended.
    pub(crate) fn rest(&mut self) {
        let until = self.bench.machine.now() + QUIET;
        self.bench.machine.run_until(until);
    }

    /// When patience ends.
    pub(crate) fn deadline(&self) -> Instant {
        self.bench.machine.now() + PATIENCE
    }

    /// Forgets the TLPs so far, and counts from here.
    pub(crate) fn forget(&mut self) {
        let now = self.bench.machine.now();
        let observers = self.bench.machine.tap.observers_mut();
        observers.measure.begin(now);
        observers.log = Some(Vec::new());
        observers.trips = Some(Vec::new());
    }

    /// The TLPs since [`Rig::forget`].
    pub(crate) fn log(&self) -> &[Seen] {
        self.bench.machine.tap.observers().log.as_deref().unwrap_or_default()
    }

    /// The card's memory requests since [`Rig::forget`], in the order in which they left.
    pub(crate) fn dma(&self) -> Vec<Dma> {
        self.log().iter().filter_map(Dma::of).collect()
    }

    /// The card's answered reads since [`Rig::forget`], in the order in which they left.
    pub(crate) fn trips(&self) -> Vec<RoundTrip> {
        let mut trips = self.bench.machine.tap.observers().trips.clone().unwrap_or_default();
        trips.sort_by_key(|trip| trip.departed);
        trips
    }

    /// The CPU's reads behind the card's BARs since [`Rig::forget`]: where, and how many bytes.
    pub(crate) fn mmio_reads(&self) -> Vec<(u64, u16)> {
        let read = |seen: &Seen| match &seen.tlp {
            Tlp::MemRead(read) if seen.direction == Direction::Downstream => {
                Some((read.address, read.len_bytes))
            }
            _ => None,
        };
        self.log().iter().filter_map(read).collect()
    }

    /// What was counted since [`Rig::forget`].
    pub(crate) fn counts(&self) -> Counts {
        *self.bench.machine.tap.observers().measure.counts()
    }

    /// What the driver told the card of a queue, as the analyzer saw it pass.
    pub(crate) fn queue(&self, index: u16) -> QueueRegisters {
        let registers = self.bench.machine.tap.analyzer.registers();
        *registers.queue(index).expect("the queue was set up")
    }

    /// Where the CPU reads the used index of a queue whose device area is on the card: the word that
    /// holds it.
    pub(crate) fn used_idx_at(&self, queue: u16) -> u64 {
        (self.queue(queue).device + 2) & !3
    }

    /// Where the doorbell that rang last lies.
    pub(crate) fn doorbell(&self, queue: u16) -> u64 {
        let rung = |seen: &Seen| match &seen.tlp {
            Tlp::MemWrite(write) if seen.role == Role::Mmio(Region::Notify) => Some(write.address),
            _ => None,
        };
        let rung = |seen: &&Seen| seen.queue == Some(queue) && rung(seen).is_some();
        match self.log().iter().rfind(rung).map(|seen| &seen.tlp) {
            Some(Tlp::MemWrite(write)) => write.address,
            _ => panic!("no doorbell of queue {queue} rang"),
        }
    }

    /// Memory for a buffer, filled with `data`.
    pub(crate) fn buffer(&mut self, data: &[u8]) -> PhysAddr {
        let bytes = (data.len() as u64).max(1);
        let at = self.bench.pages.alloc(bytes, 4096).expect("RAM is large");
        self.bench.machine.write(at, data);
        at
    }

    /// What lies in RAM.
    pub(crate) fn ram(&mut self, at: PhysAddr, len_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; len_bytes];
        self.bench.machine.read(at, &mut bytes);
        bytes
    }

    /// Nothing that the analyzer judges was broken, nothing was refused.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.bench.machine.tap.analyzer.violations(), []);
        assert_eq!(self.bench.machine.root.refused(), []);
        assert_eq!(self.bench.machine.findings(), []);
    }
}

/// A memory request of the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dma {
    pub(crate) write: bool,
    pub(crate) purpose: Purpose,
    pub(crate) address: u64,
    pub(crate) len: usize,
    pub(crate) departs: Instant,
}

impl Dma {
    fn of(seen: &Seen) -> Option<Self> {
        let (write, address, len) = match &seen.tlp {
            _ if seen.direction == Direction::Downstream => return None,
            Tlp::MemRead(read) => (false, read.address, usize::from(read.len_bytes)),
            Tlp::MemWrite(write) => (true, write.address, write.data.len()),
            _ => return None,
        };
        let Role::Dma(purpose) = seen.role else { panic!("{} is {:?}", seen.tlp, seen.role) };
        Some(Self { write, purpose, address, len, departs: seen.departs })
    }
}

/// Reads and writes by purpose, in the order in which they left: `(write, purpose)`.
pub(crate) fn shape(dma: &[Dma]) -> Vec<(bool, Purpose)> {
    dma.iter().map(|dma| (dma.write, dma.purpose)).collect()
}

/// How many requests of one kind there are.
pub(crate) fn count(dma: &[Dma], write: bool, purpose: Purpose) -> usize {
    dma.iter().filter(|dma| dma.write == write && dma.purpose == purpose).count()
}

/// How many requests of one direction there are whose purpose is a ring.
pub(crate) fn ring(dma: &[Dma], write: bool) -> usize {
    let ring = |dma: &&Dma| {
        dma.write == write
            && !matches!(dma.purpose, Purpose::Payload | Purpose::IndirectTable | Purpose::MsiX)
    };
    dma.iter().filter(ring).count()
}

impl Rig<NetDriver> {
    /// Lets the driver ask for the next interrupt (or for none, when it polls), and forgets what that
    /// took.
    fn arm(&mut self) {
        let now = self.bench.machine.now();
        let waited = self.driver.wait(&mut self.bench.machine, now);
        assert_eq!(waited, Ok(false));
        self.rest();
        self.forget();
    }

    /// Sends one packet of `len` bytes from a buffer at `offset` in its page, header included, and waits
    /// until its buffer is back and the link is quiet; gives where it was. The driver wants its interrupt from the start, and
    /// only what happens from there on is kept.
    pub(crate) fn send(&mut self, len: usize, offset: u64) -> PhysAddr {
        self.arm();
        let Self { bench, driver } = self;
        let whole = len as u64 + offset + 4096;
        let page = bench.pages.alloc(whole, 4096).expect("RAM is large");
        let packet = page + offset + 12;
        let data: Vec<u8> = (0..len - 12).map(|at| at as u8 ^ 0x5a).collect();
        bench.machine.write(packet, &data);
        driver.send(&mut bench.machine, packet, data.len() as u32, 7).expect("the queue has room");
        driver.kick(&mut bench.machine);
        let deadline = bench.machine.now() + PATIENCE;
        let mut events = NetEvents::default();
        while events.sent.is_empty() {
            assert!(bench.machine.now() < deadline, "the packet is not sent");
            driver.wait(&mut bench.machine, deadline).expect("the driver runs");
            driver.poll(&mut bench.machine, &mut events).expect("the driver runs");
        }
        assert_eq!((events.sent, events.received), (vec![7], vec![]));
        bench.pages.free(page, whole).expect("given out above");
        self.rest();
        page + offset
    }
}

impl Rig<BlkDriver> {
    /// Submits one command and rings the doorbell.
    pub(crate) fn submit(&mut self, op: BlkOp, sector: u64, segments: &[Segment], token: u64) {
        let request = BlkRequest { op, sector, segments };
        let Self { bench, driver } = self;
        driver.submit(&mut bench.machine, &request, token).expect("the queue has room");
        driver.kick(&mut bench.machine);
    }

    /// Waits until `count` commands are done, and says how they ended.
    pub(crate) fn finish(&mut self, count: usize) -> Result<Vec<BlkDone>, DriverError> {
        let deadline = self.deadline();
        let Self { bench, driver } = self;
        let mut done = Vec::new();
        while done.len() < count {
            assert!(bench.machine.now() < deadline, "{} of {count} are done", done.len());
            driver.wait(&mut bench.machine, deadline)?;
            driver.poll(&mut bench.machine, &mut done)?;
        }
        Ok(done)
    }

    /// One command from doorbell to status; then the link is quiet.
    pub(crate) fn command(&mut self, op: BlkOp, sector: u64, segments: &[Segment]) -> u8 {
        self.submit(op, sector, segments, 1);
        let done = self.finish(1).expect("the driver runs");
        self.rest();
        done[0].status
    }

    /// Writes `data` to the disk; the status.
    pub(crate) fn write_disk(&mut self, sector: u64, data: &[u8]) -> u8 {
        let address = self.buffer(data);
        self.command(BlkOp::Write, sector, &[Segment { address, len: data.len() as u32 }])
    }

    /// Reads `bytes` bytes from the disk; the status and the data.
    pub(crate) fn read_disk(&mut self, sector: u64, bytes: usize) -> (u8, Vec<u8>) {
        let address = self.buffer(&vec![0xee; bytes]);
        let segment = Segment { address, len: bytes as u32 };
        let status = self.command(BlkOp::Read, sector, &[segment]);
        (status, self.ram(address, bytes))
    }
}
