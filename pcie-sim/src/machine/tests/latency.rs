//! How long memory takes depends on where a line is, and on what is under way to it.

use super::*;
use crate::host::llc::LlcShape;
use crate::root::RootTiming;

const SNOOP: Span = Span::from_ns(1_000);
const MISS: Span = Span::from_ns(3_000);
const WRITE: Span = Span::from_ns(20_000);

fn cached(posted_queue: u32) -> MachineConfig {
    let llc = LlcShape { kib: 64, ways: 16, device_ways: 2 };
    let root = RootTiming {
        llc,
        core_snoop: SNOOP,
        llc_miss: MISS,
        memory_write: WRITE,
        posted_queue,
        ..RootTiming::default()
    };
    MachineConfig { root, ..MachineConfig::default() }
}

/// When the completions of a script come, one each.
fn completed(
    script: Vec<(Instant, Tlp)>,
    before: impl FnOnce(&mut Machine<Deaf>),
    queue: u32,
) -> Vec<Instant> {
    let puppet = Puppet { script: script.into(), ..Puppet::default() };
    let (mut machine, seen) = machine_of(cached(queue), None, puppet);
    before(&mut machine);
    machine.run_until(at_us(400));
    let seen = seen.borrow();
    let answers = seen.iter().filter(|(_, tlp)| matches!(tlp, Tlp::Completion(_)));
    answers.map(|(at, _)| *at).collect()
}

/// Hit, a core's, and missing: the three latencies of a read.
#[test]
fn a_read_takes_longer_when_a_core_must_be_asked_and_longest_when_memory_must() {
    let took = |place: u64, script: &[u64]| {
        let script = script.iter().map(|at| (at_us(100), write(*at, &[0; 64])));
        let script = script.chain([(at_us(200), read(1, place, 64))]).collect();
        let touch = |machine: &mut Machine<Deaf>| machine.write(PhysAddr(0x2000), &[1]);
        completed(script, touch, 8)[0].since(at_us(200))
    };
    let hit = took(0x3000, &[0x3000]);
    assert_eq!(took(0x2000, &[]), hit + SNOOP);
    assert_eq!(took(0x5000, &[]), hit + MISS);
    assert_eq!(took(0x2000, &[0x2000]), hit, "the card's write took it from the core");
}

/// PCIe 5.0 §2.4.1: a read may not pass a posted write; and it reads what was written, once it was.
#[test]
fn a_read_of_what_is_being_written_begins_when_the_write_is_done() {
    let read_at = |place| {
        let script = vec![
            (at_us(100), write(0x5000, &[0; 64])),
            (at_us(110), write(0x3000, &[0; 64])),
            (at_us(110), read(1, place, 64)),
        ];
        completed(script, |_| (), 8)[0]
    };
    // Both wait for the write in front of them; only that of the same line begins no earlier.
    let memory_read = RootTiming::default().memory_read;
    assert_eq!(read_at(0x3000).since(read_at(0x5000)), memory_read);
}

/// What has no room keeps its place, and its credits, in the receive buffer.
#[test]
fn posted_writes_beyond_the_queue_wait_for_those_before_them() {
    let last = |queue| {
        // One after the other has left: this card does not bear to be refused.
        let at = |nth| at_us(100) + Span::from_ns(50) * nth;
        let writes = (0..6).map(|nth| (at(nth), write(0x3000 + nth * 64, &[0; 64])));
        let script = writes.chain([(at(6), read(1, 0x3000, 64))]).collect();
        completed(script, |_| (), queue)[0]
    };
    let free = last(100);
    assert_eq!(last(7), free);
    // Six writes, two at a time, each 20 µs: two rounds more than all at once, where they came one after
    // the other.
    let more = last(2).since(free);
    assert!(more > WRITE * 2 - Span::from_us(1) && more <= WRITE * 2, "{more}");
}
