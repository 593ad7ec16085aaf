//! A device that no software enumerates, and one that a hypervisor lets past the IOMMU.

use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::endpoint::{Endpoint, Port, Sighting, Tap};
use pcie_sim::host::ram::Ram;
use pcie_sim::host::{Bus, Memory, Width};
use pcie_sim::iommu::Iommu;
use pcie_sim::iommu::vtd::{Vtd, VtdConfig};
use pcie_sim::machine::{Machine, MachineConfig};
use pcie_sim::root::FixedWindow;
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::{Attributes, Completion, CompletionStatus, MemWrite, Payload, Tag, Tlp};

const REGISTER: u64 = 0xd000_0000;
const SELF: Bdf = Bdf::new(0, 9, 0);

struct Nobody;

impl Tap for Nobody {
    fn tlp(&mut self, _: &Sighting<'_>) {}
}

/// Answers each read with its own address; a write of an address makes it write 0x5a there.
struct Device {
    bypasses: bool,
}

impl Endpoint for Device {
    fn advance(&mut self, _: Instant, port: &mut dyn Port) {
        while let Some(tlp) = port.receive() {
            match tlp {
                Tlp::MemRead(read) => port.send(Tlp::Completion(Completion {
                    completer: SELF,
                    requester: read.requester,
                    tag: read.tag,
                    status: CompletionStatus::Success,
                    byte_count: read.len_bytes,
                    lower_address: (read.address & 0x7f) as u8,
                    data: Payload::from_slice(&read.address.to_le_bytes()[..read.len_bytes.into()]),
                    attributes: Attributes::default(),
                })),
                Tlp::MemWrite(write) => port.send(Tlp::MemWrite(MemWrite {
                    requester: SELF,
                    tag: Tag(0),
                    address: write.data.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)),
                    data: Payload::from_slice(&[0x5a]),
                    attributes: Attributes::default(),
                })),
                _ => {}
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        None
    }

    fn bypasses_translation(&self) -> bool {
        self.bypasses
    }
}

fn machine(window: Option<FixedWindow>, vtd: bool, bypasses: bool) -> Machine<Nobody> {
    let config = MachineConfig { fixed_window: window, ..MachineConfig::default() };
    let ram = Ram::anonymous(1 << 20).expect("a mebibyte");
    let iommu = vtd.then(|| Box::new(Vtd::new(VtdConfig::default())) as Box<dyn Iommu>);
    Machine::new(config, ram, iommu, Box::new(Device { bypasses }), Nobody)
}

fn window() -> Option<FixedWindow> {
    Some(FixedWindow { base: PhysAddr(REGISTER), len_bytes: 0x1000 })
}

fn written(machine: &mut Machine<Nobody>) -> bool {
    machine.mmio_write(PhysAddr(REGISTER), Width::W32, 0x8000);
    machine.spend(Span::from_us(50));
    let mut byte = [0];
    machine.read(PhysAddr(0x8000), &mut byte);
    byte == [0x5a]
}

#[test]
fn a_fixed_window_leads_to_the_device_and_back_without_enumeration() {
    let mut with = machine(window(), false, false);
    assert_eq!(with.mmio_read(PhysAddr(REGISTER + 8), Width::W32), REGISTER + 8);
    assert_eq!(with.mmio_read(PhysAddr(REGISTER + 0x1000), Width::W32), 0xffff_ffff);
    assert!(written(&mut with));
    let mut without = machine(None, false, false);
    assert_eq!(without.mmio_read(PhysAddr(REGISTER), Width::W32), 0xffff_ffff);
    assert!(!written(&mut without));
}

#[test]
fn only_a_hypervisors_device_gets_past_the_iommu() {
    for bypasses in [false, true] {
        let mut machine = machine(window(), true, bypasses);
        enable_translation_without_tables(&mut machine);
        assert_eq!(written(&mut machine), bypasses);
        assert_eq!(machine.root.refused_count(), u64::from(!bypasses));
    }
}

/// Translation on over a root table of zeroes: nothing is present.
fn enable_translation_without_tables(machine: &mut Machine<Nobody>) {
    use pcie_sim::spec::vtd::{gcmd, reg};
    let (base, _) = machine.root.iommu.as_deref().expect("an IOMMU").registers();
    let at = |offset: u64| base + offset;
    machine.mmio_write(at(reg::RTADDR), Width::W64, 0x1000);
    machine.mmio_write(at(reg::GCMD), Width::W32, gcmd::SRTP.into());
    machine.spend(Span::from_us(10));
    machine.mmio_write(at(reg::GCMD), Width::W32, gcmd::TE.into());
    machine.spend(Span::from_us(10));
}
