mod atomics;
mod hosts;
mod latency;
mod link_faults;

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::endpoint::{Port, Sighting};
use crate::host::{Barrier, Bus, Memory, Width};
use crate::root::enumerate::{Windows, enumerate};
use crate::root::inbound::INTERRUPT_RANGE;
use crate::root::{Refusal, Refused};
use crate::spec::pci::header;
use crate::tlp::MemRead;

const CARD: Bdf = Bdf::new(1, 0, 0);

/// A card without a mind of its own: sends what it is told, notes what it gets, and has one register
/// that answers every read with 0x1234_5678, after `delay`.
#[derive(Default)]
struct Puppet {
    script: VecDeque<(Instant, Tlp)>,
    answers: VecDeque<(Instant, Tlp)>,
    seen: Rc<RefCell<Vec<(Instant, Tlp)>>>,
    delay: Span,
    silent: bool,
    config: Vec<u8>,
}

impl Puppet {
    fn answer(&mut self, now: Instant, tlp: &Tlp) {
        let (requester, tag, byte_count, data) = match tlp {
            Tlp::MemRead(read) => {
                let value = 0x1234_5678_u32.to_le_bytes();
                (read.requester, read.tag, read.len_bytes, Payload::from_slice(&value))
            }
            Tlp::ConfigRead(read) => {
                let at = usize::from(read.offset & !3);
                let data = Payload::from_slice(&self.config[at..at + 4]);
                (read.requester, read.tag, 4, data)
            }
            Tlp::ConfigWrite(write) => {
                self.write_config(usize::from(write.offset), &write.data);
                (write.requester, write.tag, 4, Payload::new())
            }
            _ => return,
        };
        let answer = Tlp::Completion(Completion {
            completer: CARD,
            requester,
            tag,
            status: CompletionStatus::Success,
            byte_count,
            lower_address: 0,
            data,
            attributes: Attributes::default(),
        });
        if !self.silent {
            self.answers.push_back((now + self.delay, answer));
        }
    }

    /// BAR0: 64 KiB, 32 bits. BAR2: 1 MiB, 64 bits, prefetchable.
    fn write_config(&mut self, at: usize, data: &[u8]) {
        let value = data.iter().rev().fold(0u32, |value, &byte| value << 8 | u32::from(byte));
        let kept = match at {
            0x10 => value & 0xffff_0000,
            0x18 => value & 0xfff0_0000 | 0xc,
            0x1c => value,
            0x04 => value & 6,
            _ => return,
        };
        self.config[at..at + data.len()].copy_from_slice(&kept.to_le_bytes()[..data.len()]);
    }
}

impl Endpoint for Puppet {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        while let Some(tlp) = port.receive() {
            self.answer(now, &tlp);
            self.seen.borrow_mut().push((now, tlp));
        }
        for queue in [&mut self.script, &mut self.answers] {
            while queue.front().is_some_and(|(at, tlp)| {
                *at <= now && port.can_send(tlp.flow_class(), tlp.data_credits())
            }) {
                port.send(queue.pop_front().expect("just seen").1);
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let fronts = [self.script.front(), self.answers.front()];
        fronts.into_iter().flatten().map(|(at, _)| *at).min()
    }
}

struct Deaf;

impl Tap for Deaf {
    fn tlp(&mut self, _: &Sighting<'_>) {}
}

type Seen = Rc<RefCell<Vec<(Instant, Tlp)>>>;

fn machine(puppet: Puppet) -> (Machine<Deaf>, Seen) {
    machine_of(MachineConfig::default(), None, puppet)
}

fn machine_of(
    config: MachineConfig,
    iommu: Option<Box<dyn Iommu>>,
    puppet: Puppet,
) -> (Machine<Deaf>, Seen) {
    let seen = puppet.seen.clone();
    let ram = Ram::anonymous(1 << 20).expect("a megabyte");
    let mut machine = Machine::new(config, ram, iommu, Box::new(puppet), Deaf);
    let on =
        u32::from(crate::spec::pci::command::BUS_MASTER | crate::spec::pci::command::MEMORY_SPACE);
    machine.config_write(ROOT_PORT, header::COMMAND, Width::W16, on);
    machine.config_write(ROOT_PORT, header::BUS_NUMBERS, Width::W32, 0x01_01_00);
    machine.config_write(ROOT_PORT, header::MEMORY_WINDOW, Width::W32, 0xe000_e000);
    (machine, seen)
}

fn at_us(us: u64) -> Instant {
    Instant::ZERO + Span::from_us(us)
}

fn read(tag: u16, address: u64, len_bytes: u16) -> Tlp {
    let attributes = Attributes::default();
    Tlp::MemRead(MemRead { requester: CARD, tag: Tag(tag), address, len_bytes, attributes })
}

fn write(address: u64, data: &[u8]) -> Tlp {
    Tlp::MemWrite(MemWrite {
        requester: CARD,
        tag: Tag(0),
        address,
        data: Payload::from_slice(data),
        attributes: Attributes::default(),
    })
}

fn completions(seen: &Seen) -> Vec<Completion> {
    let pick = |(_, tlp): &(Instant, Tlp)| match tlp {
        Tlp::Completion(completion) => Some(completion.clone()),
        _ => None,
    };
    seen.borrow().iter().filter_map(pick).collect()
}

/// PCIe 5.0 §2.3.1.1: completions end at the read completion boundary, byte counts count down.
#[test]
fn a_read_is_completed_in_order_and_split_at_the_read_completion_boundary() {
    let script = VecDeque::from([(at_us(10), read(7, 0x1030, 512))]);
    let (mut machine, seen) = machine(Puppet { script, ..Puppet::default() });
    let pattern: Vec<u8> = (0..512u32).map(|i| (i * 7) as u8).collect();
    machine.write(PhysAddr(0x1030), &pattern);
    machine.run_until(at_us(20));
    let parts = completions(&seen);
    // Max_Payload_Size is 128 until firmware says more.
    let lens: Vec<_> = parts.iter().map(|part| part.data.len()).collect();
    assert_eq!(lens, [80, 128, 128, 128, 48]);
    let counts: Vec<_> = parts.iter().map(|part| part.byte_count).collect();
    assert_eq!(counts, [512, 432, 304, 176, 48]);
    assert_eq!(parts[0].lower_address, 0x30);
    assert_eq!(parts.iter().flat_map(|part| part.data.to_vec()).collect::<Vec<_>>(), pattern);
}

/// PCIe 5.0 §2.4.1: a read may not pass a posted write.
#[test]
fn a_read_sees_the_write_that_was_sent_before_it() {
    let script =
        VecDeque::from([(at_us(10), write(0x2000, &[9; 64])), (at_us(10), read(1, 0x2000, 64))]);
    let (mut machine, seen) = machine(Puppet { script, ..Puppet::default() });
    machine.run_until(at_us(20));
    assert_eq!(completions(&seen)[0].data.as_slice(), [9; 64]);
}

#[test]
fn an_interrupt_reaches_the_cpu_after_the_data_written_before_it() {
    let message = write(INTERRUPT_RANGE.start, &[0, 0, 0, 0]);
    let script = VecDeque::from([(at_us(10), write(0x2000, &[5; 8])), (at_us(10), message)]);
    let (mut machine, _) = machine(Puppet { script, ..Puppet::default() });
    let (vector, _) = machine.allocate_message().expect("vectors are plenty");
    assert_eq!(machine.wait_interrupt(at_us(50)), Some(vector));
    let mut data = [0; 8];
    machine.read(PhysAddr(0x2000), &mut data);
    assert_eq!(data, [5; 8]);
    assert_eq!(machine.wait_interrupt(at_us(60)), None);
    assert_eq!(machine.now(), at_us(60));
}

#[test]
fn a_request_for_what_is_not_ram_is_unsupported_and_remembered() {
    let script = VecDeque::from([
        (at_us(10), read(3, 0x4000_0000, 8)),
        (at_us(10), write(0x10_0000 - 4, &[1; 8])),
    ]);
    let (mut machine, seen) = machine(Puppet { script, ..Puppet::default() });
    machine.run_until(at_us(20));
    assert_eq!(completions(&seen)[0].status, CompletionStatus::UnsupportedRequest);
    let [first, second] = machine.root.refused() else { panic!("two refusals") };
    assert!(matches!(
        first,
        Refused {
            address: 0x4000_0000,
            kind: crate::iommu::DmaKind::Read,
            refusal: Refusal::NoMemory,
            ..
        }
    ));
    assert_eq!(second.refusal, Refusal::CrossesPage);
}

/// PCIe 5.0 §2.4.1, entry D2: a completion may not pass a posted write.
#[test]
fn a_register_read_returns_after_the_cards_earlier_writes_are_in_memory() {
    let script = VecDeque::from([(at_us(10), write(0x3000, &[7; 4]))]);
    let (mut machine, _) = machine(Puppet { script, ..Puppet::default() });
    machine.run_until(at_us(10));
    assert_eq!(machine.mmio_read(PhysAddr(0xe000_0000), Width::W32), 0x1234_5678);
    let mut data = [0; 4];
    machine.read(PhysAddr(0x3000), &mut data);
    assert_eq!(data, [7; 4]);
}

/// PCIe 5.0 §2.8: who asks gets an answer, if need be from his own root complex.
#[test]
fn a_card_that_never_answers_reads_as_all_ones_after_the_timeout() {
    let (mut machine, _) = machine(Puppet { silent: true, ..Puppet::default() });
    let before = machine.now();
    assert_eq!(machine.mmio_read(PhysAddr(0xe000_0000), Width::W16), 0xffff);
    let timeout = MachineConfig::default().root.completion_timeout;
    assert!(machine.now().since(before) >= timeout);
    assert!(matches!(machine.findings(), [CpuFinding::CompletionTimeout { .. }]));
    assert_eq!(machine.mmio_read(PhysAddr(0xd000_0000), Width::W16), 0xffff, "nobody lives there");
    assert_eq!(machine.findings().len(), 1);
}

#[test]
fn a_card_that_does_not_read_its_buffer_stalls_the_cpu_but_not_forever() {
    struct Asleep;
    impl Endpoint for Asleep {
        fn advance(&mut self, _: Instant, _: &mut dyn Port) {}
        fn next_wake(&self) -> Option<Instant> {
            None
        }
    }
    let (mut machine, _) = machine(Puppet::default());
    machine.card = Box::new(Asleep);
    for _ in 0..64 + STORE_BUFFER {
        machine.mmio_write(PhysAddr(0xe000_0000), Width::W32, 0);
    }
    assert!(machine.findings().is_empty(), "64 header credits and the store buffer hold these");
    machine.mmio_write(PhysAddr(0xe000_0000), Width::W32, 0);
    assert!(matches!(machine.findings(), [CpuFinding::PostedStuck { .. }]));
}

#[test]
fn write_combining_joins_neighbours_and_a_barrier_sends_them() {
    let (mut machine, seen) = machine(Puppet::default());
    let start = machine.now();
    for i in 0..6 {
        machine.mmio_write_combined(PhysAddr(0xe000_0010 + 16 * i), &[i as u8; 16]);
    }
    machine.run_until(start + Span::from_us(1));
    let lens = |seen: &Seen| -> Vec<_> {
        seen.borrow().iter().map(|(_, tlp)| 4 * tlp.data_dwords()).collect()
    };
    assert_eq!(lens(&seen), [48], "the first line is full, the second still open");
    machine.barrier(Barrier::DmaWrite);
    machine.run_until(start + Span::from_us(2));
    assert_eq!(lens(&seen), [48, 48]);
}

#[test]
fn firmware_sizes_and_places_bars_and_opens_the_bridges_windows() {
    let mut config = vec![0; 4096];
    config[0..4].copy_from_slice(&0x1042_1af4_u32.to_le_bytes());
    config[0x18] = 0xc;
    let (mut machine, _) = machine(Puppet { config, ..Puppet::default() });
    machine.config_write(ROOT_PORT, header::COMMAND, Width::W16, 0);
    let found = enumerate(&mut machine, Windows::default(), 256, 512).expect("room enough");
    assert_eq!(found.iter().map(|function| function.bdf).collect::<Vec<_>>(), [ROOT_PORT, CARD]);
    let bars = &found[1].bars;
    assert_eq!(
        bars.iter().map(|bar| (bar.index, bar.len_bytes)).collect::<Vec<_>>(),
        [(0, 0x1_0000), (2, 0x10_0000)]
    );
    assert!(bars[1].prefetchable && bars[1].address.get() >= 1 << 32);
    assert_eq!(found[1].parent, Some(ROOT_PORT));
    for bar in bars {
        assert_eq!(bar.address.get() % bar.len_bytes, 0);
        assert!(machine.root.port.forwards_down(bar.address.get()));
        assert!(machine.root.port.forwards_down(bar.address.get() + bar.len_bytes - 1));
        assert_eq!(machine.mmio_read(bar.address, Width::W32), 0x1234_5678);
    }
    assert_eq!(machine.config_read(CARD, header::COMMAND, Width::W16), 2, "not bus master yet");
}
