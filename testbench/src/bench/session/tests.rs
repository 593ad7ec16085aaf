use pcie_sim::fault::FaultKind;
use rtl_model::source::Source;

use super::*;
use crate::bench::wiring::model;
use crate::scenario::{Overrides, Scenario};

/// A cycle of the card's clock, or a little more.
const SLICE: Span = Span::from_ns(8);
const PATIENCE: Span = Span::from_us(200);

fn session(device: &str) -> Session {
    let text = format!(
        "name = 'by hand'\nseed = 1\nplatforms = ['x86-vtd']\n[matrix]\ndevices = ['{device}']\n\
         rings = ['host']\nlayouts = ['direct']\nevent_idx = [false]\n[host]\nram = '64 MiB'\n\
         [net]\nsynthetic = {{ packets = 1, bytes = 100 }}\n[blk]\ndisk_size = '1 MiB'\n"
    );
    let source = Source::built_in("test", &text);
    let scenario = Scenario::from_source(&source, &Overrides::default()).unwrap();
    Session::new(&scenario.runs[0], PATIENCE, &model).unwrap()
}

fn turned(session: &mut Session, number: usize) -> Vec<(u64, Outcome)> {
    let mut done = session.done();
    for _ in 0..100_000 {
        if done.len() >= number {
            break;
        }
        session.turn(SLICE);
        done.extend(session.done());
    }
    assert_eq!(done.len(), number);
    done
}

fn one(session: &mut Session, command: Command) -> Outcome {
    session.give(7, command);
    let (id, outcome) = turned(session, 1).remove(0);
    assert_eq!(id, 7);
    outcome
}

fn probed(device: &str) -> Session {
    let mut session = session(device);
    assert!(matches!(one(&mut session, Command::Probe), Ok(Answer::Probed(_))));
    session
}

#[test]
fn what_is_written_to_the_disk_is_read_from_it() {
    let mut session = probed("blk");
    let data: Vec<u8> = (0..4096_u32).map(|n| (n * 7) as u8).collect();
    let write = Command::Write { sector: 9, data: data.clone() };
    assert_eq!(one(&mut session, write), Ok(Answer::Done));
    assert_eq!(one(&mut session, Command::Flush), Ok(Answer::Done));
    let read = Command::Read { sector: 9, sectors: 8 };
    assert_eq!(one(&mut session, read), Ok(Answer::Bytes(data)));
    assert_eq!(session.news(), []);
    let result = session.finish().unwrap();
    assert_eq!(result.violations, []);
    assert_eq!((result.completed, result.payload_bytes), (3, 8192));
}

#[test]
fn requests_are_under_way_at_once_and_none_is_lost_when_the_queue_is_full() {
    let mut session = probed("blk");
    let all = 700;
    for id in 0..all {
        session.give(id, Command::Read { sector: id, sectors: 1 });
    }
    let mut ids: Vec<u64> =
        turned(&mut session, all as usize).into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..all));
    assert!(!session.is_busy());
    assert_eq!(session.finish().unwrap().violations, []);
}

#[test]
fn a_packet_that_is_sent_comes_back_to_the_oldest_who_waits() {
    let mut session = probed("net");
    let packet = |byte| vec![byte; 60];
    session.give(1, Command::Receive);
    session.give(2, Command::Receive);
    session.give(3, Command::Send { packet: packet(0xa5) });
    session.give(4, Command::Send { packet: packet(0x5a) });
    let mut done = turned(&mut session, 4);
    done.sort_by_key(|(id, _)| *id);
    assert_eq!(done[0], (1, Ok(Answer::Bytes(packet(0xa5)))));
    assert_eq!(done[1], (2, Ok(Answer::Bytes(packet(0x5a)))));
    assert_eq!(session.finish().unwrap().violations, []);
}

#[test]
fn registers_configuration_space_and_memory_are_read_without_a_driver() {
    let mut session = session("blk");
    let vendor = Command::ConfigRead { offset: 0, width: Width::W16 };
    assert_eq!(one(&mut session, vendor), Ok(Answer::Value(0x1af4)));
    let queues = Command::MmioRead { bar: 0, offset: 0x12, width: Width::W16 };
    assert_eq!(one(&mut session, queues), Ok(Answer::Value(1)));
    let address = PhysAddr(0x10_0000);
    let write = Command::MemoryWrite { address, data: vec![1, 2, 3] };
    assert_eq!(one(&mut session, write), Ok(Answer::Done));
    let read = Command::MemoryRead { address, len_bytes: 4 };
    assert_eq!(one(&mut session, read), Ok(Answer::Bytes(vec![1, 2, 3, 0])));
    assert_eq!(session.finish().unwrap().violations, []);
}

#[test]
fn what_cannot_be_asked_is_told_and_nothing_is_broken() {
    let mut session = session("blk");
    let read = |sectors| Command::Read { sector: 0, sectors };
    assert_eq!(one(&mut session, read(1)), Err(CommandError::NotProbed));
    one(&mut session, Command::Probe).unwrap();
    assert_eq!(one(&mut session, Command::Probe), Err(CommandError::ProbedTwice));
    assert_eq!(one(&mut session, read(0)), Err(CommandError::Sectors(0)));
    let wrong = Err(CommandError::WrongDevice { has: "blk", wanted: "net" });
    assert_eq!(one(&mut session, Command::Receive), wrong);
    let far = Command::Read { sector: 1 << 40, sectors: 1 };
    assert!(matches!(one(&mut session, far), Err(CommandError::Submit(_))));
    for offset in [1, 4096 - 2] {
        let config = Command::ConfigRead { offset, width: Width::W32 };
        assert_eq!(one(&mut session, config), Err(CommandError::Config { offset, bytes: 4 }));
    }
    let far = Command::MmioRead { bar: 0, offset: u64::MAX, width: Width::W32 };
    assert!(matches!(one(&mut session, far), Err(CommandError::NoBar { bar: 0, .. })));
    let address = PhysAddr(u64::MAX - 1);
    let far = Command::MemoryRead { address, len_bytes: 4 };
    assert!(matches!(one(&mut session, far), Err(CommandError::NoMemory { .. })));
    assert_eq!(session.finish().unwrap().violations, []);
}

#[test]
fn a_tlp_goes_down_as_it_is_and_its_completion_comes_back() {
    let mut session = session("blk");
    // CfgRd0 of 01:00.0, register 0: PCIe 5.0 §2.2.7.
    let request = [0x04, 0, 0, 1, 0, 0, 0x42, 0x0f, 0x01, 0, 0, 0];
    one(&mut session, Command::Record).unwrap();
    let tlp = Command::Tlp(codec::parse(&request).unwrap());
    let Ok(Answer::Completion(Some(completion))) = one(&mut session, tlp) else { panic!("none") };
    assert_eq!(completion.data[..2], [0xf4, 0x1a]);
    let Ok(Answer::Seen(seen)) = one(&mut session, Command::Recorded) else { panic!("none") };
    assert_eq!(seen.len(), 2);
    assert!(matches!(seen[1].tlp, Tlp::Completion(_)));
    assert_eq!(one(&mut session, Command::Recorded), Ok(Answer::Seen(Vec::new())));
}

#[test]
fn a_fault_strikes_what_comes_after_it_and_is_news() {
    let mut session = probed("blk");
    let read = Command::Read { sector: 0, sectors: 8 };
    one(&mut session, read.clone()).unwrap();
    let fault = Fault::once(FaultKind::CompletionLost);
    for _ in 0..2 {
        one(&mut session, Command::Fault(fault)).unwrap();
    }
    assert_eq!(session.news(), []);
    let stalled = Err(CommandError::Stalled(PATIENCE.as_ns() / 1000));
    assert_eq!(one(&mut session, read), stalled);
    let news: Vec<_> = session.news().into_iter().map(|found| found.rule).collect();
    assert!(news.contains(&"BENCH-STALLED".to_owned()), "{news:?}");
    assert_eq!(session.news(), []);
    let told = session.finish().unwrap().told.unwrap();
    assert!(matches!(told.strikes.len(), 1..=2));
}
