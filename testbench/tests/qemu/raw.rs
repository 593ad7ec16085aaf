//! One script of register and memory accesses, and the two machines that it is run on: QEMU's VT-d with its
//! virtio disk, and the simulated ones.

use host_driver::pci::Function;
use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::host::{Host, Width};
use pcie_sim::spec::pci::command;
use pcie_sim::spec::virtio_pci::{CAP_VENDOR, CommonReg, cap, cfg_type, status};
use pcie_sim::spec::vtd::{cap as unit_cap, ecap, frcd, fsts, reg};
use pcie_sim::time::Span;
use testbench::bench::qemu::station::VTD;
use testbench::bench::qemu::{Plugged, Station, StationConfig};
use testbench::bench::watch::Watch;
use testbench::bench::wiring::{Bench, model};

use crate::driver::run_config;

/// Bytes of RAM of both machines.
const RAM_BYTES: u64 = 64 << 20;
/// Bytes of the disk of both machines.
pub(crate) const DISK_BYTES: u64 = 1 << 20;
/// Where the device is in both machines.
pub(crate) const CARD: Bdf = Bdf::new(1, 0, 0);
/// How often is looked whether the device has got on, and how long is waited in between.
/// A busy machine's disk takes its time.
const LOOKS: u32 = 20_000;
const BETWEEN: Span = Span::from_us(20);

/// A register of VT-d.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitReg {
    /// At an offset that the specification fixes.
    At(u64),
    /// So far behind the IOTLB registers, which lie where the hardware says.
    Iotlb(u64),
}

/// One access, or a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Reads a register of VT-d; bits of the mask are seen.
    Unit(&'static str, UnitReg, Width, u64),
    /// Writes one.
    SetUnit(UnitReg, Width, u64),
    /// Takes and clears the fault records, as an operating system does.
    Faults(&'static str),
    /// Reads a register of the device.
    Common(CommonReg),
    /// Writes one.
    SetCommon(CommonReg, u32),
    /// Reads, and so clears, the interrupt status.
    Isr,
    /// Writes memory.
    Store(u64, Vec<u8>),
    /// Reads memory.
    Load(&'static str, u64, usize),
    /// Rings the doorbell of queue 0.
    Doorbell,
    /// Lets the device work until its used index, at an address, is this, or it needs a reset.
    Serve(u64, u16),
    /// Lets everything settle.
    Rest,
}

/// What a step showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Which step of the script.
    pub(crate) step: usize,
    /// What was looked at.
    pub(crate) what: String,
    /// What it was.
    pub(crate) value: Vec<u64>,
}

/// Where the structures of a machine's device lie.
struct Places {
    common: PhysAddr,
    isr: PhysAddr,
    doorbell: PhysAddr,
    records: PhysAddr,
    record_count: u64,
    iotlb: u64,
}

fn width_of(reg: CommonReg) -> Width {
    match reg.shape().0 {
        1 => Width::W8,
        2 => Width::W16,
        _ => Width::W32,
    }
}

impl Places {
    fn find(host: &mut dyn Host) -> Self {
        let function = Function::new(CARD);
        let set = command::MEMORY_SPACE | command::BUS_MASTER | command::INTX_DISABLE;
        function.change_command(host, set, 0);
        let mut found = [None; 3];
        for (id, at) in function.capabilities(host) {
            let kind = function.read_u8(host, at + cap::CFG_TYPE);
            let wanted = [cfg_type::COMMON, cfg_type::ISR, cfg_type::NOTIFY];
            let Some(slot) = wanted.iter().position(|&wanted| wanted == kind) else { continue };
            if id != CAP_VENDOR || found[slot].is_some() {
                continue;
            }
            let index = function.read_u8(host, at + cap::BAR);
            let offset = u64::from(function.read_u32(host, at + cap::OFFSET));
            found[slot] = function.bar(host, index).map(|start| start + offset);
        }
        let [common, isr, doorbell] = found.map(|place| place.expect("a virtio structure"));
        let capabilities = host.mmio_read(VTD + reg::CAP, Width::W64);
        let extended = host.mmio_read(VTD + reg::ECAP, Width::W64);
        Self {
            common,
            isr,
            doorbell,
            records: VTD + unit_cap::fault_records_offset(capabilities),
            record_count: u64::from(unit_cap::fault_records(capabilities)),
            iotlb: ecap::iotlb_offset(extended),
        }
    }

    fn unit(&self, register: UnitReg) -> PhysAddr {
        match register {
            UnitReg::At(offset) => VTD + offset,
            UnitReg::Iotlb(offset) => VTD + self.iotlb + offset,
        }
    }

    fn common(&self, register: CommonReg) -> (PhysAddr, Width) {
        (self.common + u64::from(register.offset()), width_of(register))
    }
}

/// Runs a script and tells what each step showed.
fn run(host: &mut dyn Host, script: &[Step]) -> Vec<Seen> {
    let places = Places::find(host);
    let mut seen = Vec::new();
    for (step, what) in script.iter().enumerate() {
        let shown = take(host, &places, what);
        seen.extend(shown.into_iter().map(|(what, value)| Seen { step, what, value }));
    }
    seen
}

fn take(host: &mut dyn Host, places: &Places, step: &Step) -> Option<(String, Vec<u64>)> {
    match step {
        &Step::Unit(name, register, width, mask) => {
            let value = host.mmio_read(places.unit(register), width) & mask;
            return Some((name.to_owned(), vec![value]));
        }
        &Step::SetUnit(register, width, value) => {
            host.mmio_write(places.unit(register), width, value);
        }
        &Step::Faults(name) => return Some((name.to_owned(), faults(host, places))),
        &Step::Common(register) => {
            let (address, width) = places.common(register);
            return Some((format!("{register:?}"), vec![host.mmio_read(address, width)]));
        }
        &Step::SetCommon(register, value) => {
            let (address, width) = places.common(register);
            host.mmio_write(address, width, u64::from(value));
        }
        Step::Isr => {
            return Some(("isr".to_owned(), vec![host.mmio_read(places.isr, Width::W8)]));
        }
        Step::Store(address, data) => host.write(PhysAddr(*address), data),
        &Step::Load(name, address, len) => {
            let mut bytes = vec![0; len];
            host.read(PhysAddr(address), &mut bytes);
            return Some((name.to_owned(), bytes.into_iter().map(u64::from).collect()));
        }
        Step::Doorbell => host.mmio_write(places.doorbell, Width::W16, 0),
        &Step::Serve(used_idx, until) => return Some(serve(host, places, used_idx, until)),
        Step::Rest => host.spend(Span::from_us(100)),
    }
    None
}

fn serve(host: &mut dyn Host, places: &Places, used_idx: u64, until: u16) -> (String, Vec<u64>) {
    let (address, width) = places.common(CommonReg::DeviceStatus);
    for _ in 0..LOOKS {
        let mut idx = [0; 2];
        host.read(PhysAddr(used_idx), &mut idx);
        let now = host.mmio_read(address, width) as u8;
        let done = u16::from_le_bytes(idx) == until;
        if done || now & status::DEVICE_NEEDS_RESET != 0 {
            return ("served".to_owned(), vec![u64::from(done)]);
        }
        host.spend(BETWEEN);
    }
    ("served".to_owned(), vec![2])
}

/// Requester, page, reason and direction of each fault record, in the order of the registers, the first
/// pending one first; and whether some were lost.
fn faults(host: &mut dyn Host, places: &Places) -> Vec<u64> {
    let state = host.mmio_read(VTD + reg::FSTS, Width::W32) as u32;
    let first = u64::from(state >> fsts::FRI_SHIFT & 0xff);
    let mut seen = Vec::new();
    for nth in 0..places.record_count {
        let record = places.records + (first + nth) % places.record_count * frcd::BYTES;
        let high = host.mmio_read(record + 8, Width::W64);
        if high & frcd::F == 0 {
            continue;
        }
        let low = host.mmio_read(record, Width::W64);
        host.mmio_write(record + 12, Width::W32, frcd::F >> 32);
        seen.push(low & frcd::ADDRESS_MASK);
        seen.push(high & (frcd::F | frcd::T_READ | 0xff << frcd::FR_SHIFT | frcd::SID_MASK));
    }
    host.mmio_write(VTD + reg::FSTS, Width::W32, u64::from(fsts::PFO));
    host.settle_writes();
    seen
}

/// Posted writes are behind a read of the same device.
trait SettleWrites {
    fn settle_writes(&mut self);
}

impl SettleWrites for dyn Host + '_ {
    fn settle_writes(&mut self) {
        self.mmio_read(VTD + reg::FSTS, Width::W32);
    }
}

/// The script on QEMU.
pub(crate) fn on_qemu(script: &[Step]) -> Vec<Seen> {
    let config = StationConfig {
        brought_up: false,
        ram_bytes: RAM_BYTES,
        ..StationConfig::new(Plugged::Blk { bytes: DISK_BYTES })
    };
    let mut station = Station::start(&config).expect("QEMU runs");
    assert_eq!(station.card, CARD);
    let seen = run(&mut station.host, script);
    assert_eq!(station.host.failure(), None);
    seen
}

/// The script on the simulated machine.
pub(crate) fn simulated(script: &[Step]) -> Vec<Seen> {
    let rest = "[matrix]\ndevices = [\"blk\"]\nrings = [\"host\"]\nlayouts = [\"direct\"]\n\
                event_idx = [false]\n[host]\nram = \"64 MiB\"\n";
    let config = run_config("x86-os-off", rest);
    let backing = rtl_model::Backing::Memory { capacity_sectors: DISK_BYTES / 512 };
    let disk = rtl_model::BlkConfig { backing, ..rtl_model::BlkConfig::default() };
    let device = rtl_model::DeviceConfig::Blk(disk);
    let mut bench = Bench::new(&config, device, Watch::new(), &model).expect("it can be wired");
    assert_eq!(bench.card, CARD);
    run(&mut bench.machine, script)
}
