//! A scripted client against a small card: both ways of DMA, the order of interrupts, and every lie that a
//! client may tell.

mod card;
mod client;

use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use self::card::{ADDRESS, BAR_BYTES, GO, RESULT, SmallCard, VALUE};
use self::client::Client;
use super::message::errno::{EEXIST, EINVAL, ENOSYS, ENOTSUP};
use super::message::{Body, Command, DmaRange, Kind, Message, RegionRange};
use super::{Dma, End, Gone, Server, Socket};
use crate::endpoint::{Sighting, Tap};
use crate::live::{LiveConfig, LiveFinding, LiveSlot};

/// Nobody watches the link.
struct Nobody;

impl Tap for Nobody {
    fn tlp(&mut self, _sighting: &Sighting<'_>) {}
}

/// Runs a server in this thread and `client` in another; what the server said, and its findings.
fn with(dma: Dma, client: impl FnOnce(Client) + Send + 'static) -> (End, Vec<LiveFinding>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("inner").join("socket");
    let socket = Socket::bind(&path).expect("a socket");
    let slot = LiveSlot::new(LiveConfig::default(), Box::new(SmallCard::new()), Nobody);
    let client = std::thread::spawn(move || client(Client::connect(&path)));
    let server = Server::accept(socket, slot, dma).expect("a client");
    let (slot, end) = server.serve();
    client.join().expect("the client's own checks hold");
    (end, slot.findings().to_vec())
}

fn range(flags: u32, address: u64, len_bytes: u64) -> DmaRange {
    DmaRange { flags, offset: 0, address, len_bytes }
}

/// A read by the card while the guest itself reads a register: neither waits for the other.
#[test]
fn a_register_is_read_while_the_card_waits_for_memory() {
    let (end, findings) = with(Dma::Messages, |mut client| {
        client.start();
        client.write(0, ADDRESS, &0x1000_u64.to_le_bytes());
        client.write(0, GO, &card::READ.to_le_bytes());
        let (id, address, count) = client.dma_read();
        assert_eq!((address, count), (0x1000, 8));
        assert_eq!(client.read(0, RESULT, 8), [0; 8], "it has not come");
        client.reply(id, Command::DmaRead, Body::DmaData { address, data: vec![7; 8] });
        assert_eq!(client.read(0, RESULT, 8), [7; 8]);
    });
    assert_eq!((end.gone, end.by_message, findings), (Gone::Closed, 1, Vec::new()));
}

/// The interrupt is behind the data on the link, and stays behind it.
#[test]
fn an_interrupt_is_raised_only_when_the_data_before_it_are_acknowledged() {
    with(Dma::Messages, |mut client| {
        client.start();
        let signal = client.arm(0);
        client.write(0, ADDRESS, &0x2000_u64.to_le_bytes());
        client.write(0, VALUE, &0x1234_u64.to_le_bytes());
        client.write(0, GO, &card::WRITE_AND_INTERRUPT.to_le_bytes());
        let (id, address, data) = client.dma_write();
        assert_eq!((address, data), (0x2000, 0x1234_u64.to_le_bytes().to_vec()));
        // A register's answer comes after all that the card did before.
        client.read(0, RESULT, 8);
        assert!(!client::is_raised(&signal), "the data are not there");
        client.reply(id, Command::DmaWrite, Body::Dma { address, count: 8 });
        client.read(0, RESULT, 8);
        assert!(client::is_raised(&signal));
    });
}

/// One map a page, as an IOMMU makes them; no message at all.
#[test]
fn shared_memory_is_read_and_written_without_a_message() {
    let (end, findings) = with(Dma::Shared, |mut client| {
        client.start();
        let signal = client.arm(0);
        let (memory, ours) = memory(0x2000);
        client.map(range(3, 0x5000, 0x1000), Some(&memory));
        client.map(DmaRange { offset: 0x1000, ..range(3, 0x6000, 0x1000) }, Some(&memory));
        client.write(0, ADDRESS, &0x5000_u64.to_le_bytes());
        client.write(0, VALUE, &0x5678_u64.to_le_bytes());
        client.write(0, GO, &card::WRITE_AND_INTERRUPT.to_le_bytes());
        client::wait_for(&signal);
        let mut bytes = [0; 8];
        rustix::io::pread(&ours, &mut bytes, 0).expect("the memory");
        assert_eq!(u64::from_le_bytes(bytes), 0x5678);
        client.write(0, GO, &card::READ.to_le_bytes());
        while client.read(0, RESULT, 8) == [0; 8] {}
        assert_eq!(client.read(0, RESULT, 8), 0x5678_u64.to_le_bytes());
    });
    assert_eq!((end.by_message, end.in_shared_memory, findings.len()), (0, 2, 0));
}

/// With the same address that the guest's IOMMU logs.
#[test]
fn a_refused_request_is_told_to_the_card_and_in_the_report() {
    for (dma, action) in [
        (Dma::Messages, card::READ),
        (Dma::Messages, card::WRITE_AND_INTERRUPT),
        (Dma::Shared, card::READ),
        (Dma::Shared, card::WRITE_AND_INTERRUPT),
    ] {
        let (_, findings) = with(dma, move |mut client| {
            client.start();
            let signal = client.arm(0);
            let (file, _) = memory(0x1000);
            client.map(range(3, 0x5000, 0x1000), Some(&file));
            client.write(0, ADDRESS, &0xbad_0000_u64.to_le_bytes());
            client.write(0, GO, &action.to_le_bytes());
            if dma == Dma::Messages {
                let message = client.next();
                client.refuse(message.id, message.command, 14);
            }
            if action == card::READ {
                while client.read(0, RESULT, 8) == [0; 8] {}
                assert_eq!(client.read(0, RESULT, 8), card::REFUSED.to_le_bytes());
            } else {
                client::wait_for(&signal);
            }
        });
        let write = action != card::READ;
        assert!(
            matches!(
                findings[..],
                [LiveFinding::Refused { address: 0xbad_0000, len_bytes: 8, write: told, .. }]
                    if told == write
            ),
            "{findings:?}"
        );
    }
}

/// What the regions are comes from the card's own configuration space.
#[test]
fn regions_and_interrupts_are_the_cards() {
    with(Dma::Messages, |mut client| {
        client.start();
        let info = Body::DeviceInfo { flags: 0, regions: 0, irqs: 0 };
        let answer = client.ask(Command::DeviceInfo, info).expect("an answer");
        assert_eq!(answer, Body::DeviceInfo { flags: 3, regions: 9, irqs: 5 });
        for (index, size) in
            [(0, BAR_BYTES), (1, 0), (2, 1 << 20), (3, 0), (6, 0), (7, 0x100), (8, 0)]
        {
            let info = Body::RegionInfo { flags: 0, index, len_bytes: 0, offset: 0 };
            let answer = client.ask(Command::RegionInfo, info).expect("an answer");
            let flags = if size == 0 { 0 } else { 3 };
            assert_eq!(answer, Body::RegionInfo { flags, index, len_bytes: size, offset: 0 });
        }
        let info = Body::IrqInfo { flags: 0, index: 2, count: 0 };
        let answer = client.ask(Command::IrqInfo, info).expect("an answer");
        assert_eq!(answer, Body::IrqInfo { flags: 1, index: 2, count: 2 });
        assert_eq!(client.read(7, 0, 256).len(), 256);
        assert_eq!(client.read(7, 1, 2), client.read(7, 0, 4)[1..3]);
    });
}

/// Each is refused with a number, and the next sound command is answered.
#[test]
fn a_client_that_lies_is_refused_and_served_on() {
    let (end, findings) = with(Dma::Messages, |mut client| {
        let before = Body::DeviceInfo { flags: 0, regions: 0, irqs: 0 };
        assert_eq!(client.ask(Command::DeviceInfo, before), Err(EINVAL), "no version yet");
        let other = Body::Version { major: 9, minor: 0, capabilities: Vec::new() };
        assert_eq!(client.ask(Command::Version, other), Err(EINVAL));
        client.start();
        let region = |region, offset, count| Body::Region(RegionRange { offset, region, count });
        for (number, body) in [
            region(0, BAR_BYTES, 1),
            region(0, BAR_BYTES - 1, 2),
            region(0, u64::MAX, 2),
            region(1, 0, 1),
            region(7, 0x100, 1),
            region(9, 0, 1),
            region(u32::MAX, 0, 4),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(client.ask(Command::RegionRead, body), Err(EINVAL), "{number}");
        }
        let irqs = |flags, index, start, count| {
            let data = Vec::new();
            Body::SetIrqs { flags, index, start, count, data }
        };
        for body in [
            irqs(0x24, 2, 0, 3),
            irqs(0x24, 2, u32::MAX, 2),
            irqs(0x24, 9, 0, 1),
            irqs(0x22, 2, 0, 1),
            irqs(0x0c, 2, 0, 1),
        ] {
            assert_eq!(client.ask(Command::SetIrqs, body), Err(EINVAL));
        }
        assert_eq!(client.ask(Command::DmaMap, Body::DmaMap(range(3, 0, 0x1000))), Ok(Body::Empty));
        assert_eq!(client.ask(Command::DmaMap, Body::DmaMap(range(3, 0xfff, 1))), Err(EEXIST));
        assert_eq!(client.ask(Command::DmaMap, Body::DmaMap(range(3, u64::MAX, 9))), Err(EINVAL));
        let unmap = Body::DmaUnmap(range(1, 0, 1));
        assert_eq!(client.ask(Command::DmaUnmap, unmap), Err(ENOTSUP));
        assert_eq!(client.ask(Command::RegionIoFds, Body::Empty), Err(ENOTSUP));
        let ours = Body::Dma { address: 0, count: 4 };
        assert_eq!(client.ask(Command::DmaRead, ours), Err(ENOSYS), "that is for the card to ask");
        assert_eq!(client.raw(77, &[1, 2, 3]), Err(ENOSYS));
        assert_eq!(client.raw(Command::RegionRead as u16, &[0; 3]), Err(EINVAL));
        assert_eq!(client.raw(Command::RegionWrite as u16, &[0xff; 16]), Err(EINVAL));
        // Answers to questions that nobody asked.
        client.reply(4711, Command::DmaRead, Body::DmaData { address: 0, data: vec![1] });
        client.refuse(4712, Command::DmaWrite, 5);
        assert_eq!(client.ask(Command::DeviceReset, Body::Empty), Ok(Body::Empty));
        assert_eq!(client.read(7, 0, 4), card::ID.to_le_bytes());
    });
    assert_eq!((end.gone, findings), (Gone::Closed, Vec::new()));
    // The last is the answer to what nobody asked.
    assert_eq!(end.refused, 23);
}

/// The client may unmap memory, and wait for our answer, before it brings what the card waits for; how much
/// is on its way down to the card does not matter.
#[test]
fn memory_is_unmapped_while_the_card_waits_for_other_memory() {
    let (end, _) = with(Dma::Messages, |mut client| {
        client.start();
        client.write(0, ADDRESS, &0x1_0000_u64.to_le_bytes());
        client.write(0, GO, &card::READ_MANY.to_le_bytes());
        let reads: Vec<_> = (0..card::MANY).map(|_| client.dma_read()).collect();
        let (last, others) = reads.split_last().expect("many");
        for &(id, address, count) in others {
            let data = vec![1; count as usize];
            client.reply(id, Command::DmaRead, Body::DmaData { address, data });
        }
        client.map(range(3, 0, 0x1000), None);
        let unmap = Body::DmaUnmap(range(0, 0, 0x1000));
        assert_eq!(client.ask(Command::DmaUnmap, unmap.clone()), Ok(unmap));
        let &(id, address, count) = last;
        let data = vec![2; count as usize];
        client.reply(id, Command::DmaRead, Body::DmaData { address, data });
        while client.read(0, RESULT, 8) != [2; 8] {}
    });
    assert_eq!(end.by_message, u64::from(card::MANY));
}

/// An answer of the wrong length is a refusal, so that nothing waits for ever.
#[test]
fn an_answer_that_does_not_fit_is_a_refusal() {
    let (_, findings) = with(Dma::Messages, |mut client| {
        client.start();
        client.write(0, GO, &card::READ.to_le_bytes());
        let (id, address, _) = client.dma_read();
        client.reply(id, Command::DmaRead, Body::DmaData { address, data: vec![1; 3] });
        while client.read(0, RESULT, 8) == [0; 8] {}
        assert_eq!(client.read(0, RESULT, 8), card::REFUSED.to_le_bytes());
    });
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn a_stream_that_cannot_be_followed_ends_the_session_cleanly() {
    let bytes = |size: u32, flags: u32| {
        let mut bytes = vec![0, 0, 1, 0];
        bytes.extend([size, flags, 0].map(u32::to_le_bytes).concat());
        bytes
    };
    for (sent, expected) in [
        (bytes(15, 0), "a message of 15 bytes"),
        (bytes(u32::MAX, 0), "a message of 4294967295 bytes"),
        (bytes(16, 7), "message type 7"),
    ] {
        let (end, _) = with(Dma::Messages, move |mut client| client.send_bytes(&sent));
        let Gone::Nonsense(error) = end.gone else { panic!("{:?}", end.gone) };
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    for cut in [1, 15] {
        let (end, _) = with(Dma::Messages, move |mut client| {
            client.send_bytes(&bytes(32, 0));
            client.send_bytes(&vec![0; cut]);
        });
        assert_eq!(end.gone, Gone::HalfWay);
    }
}

#[test]
fn who_comes_second_is_sent_away_and_the_first_is_served_on() {
    let (end, _) = with(Dma::Messages, |mut client| {
        client.start();
        Client::connect(client.path()).expect_end();
        assert_eq!(client.read(7, 0, 4), card::ID.to_le_bytes());
    });
    assert_eq!((end.gone, end.sent_away), (Gone::Closed, 1));
}

#[test]
fn a_command_that_wants_no_answer_gets_none() {
    with(Dma::Messages, |mut client| {
        client.start();
        client.tell(
            Command::RegionRead,
            Body::Region(RegionRange { offset: 0, region: 99, count: 1 }),
        );
        let data = 3_u64.to_le_bytes().to_vec();
        let range = RegionRange { offset: VALUE, region: 0, count: 8 };
        client.tell(Command::RegionWrite, Body::RegionData(range, data));
        assert_eq!(client.read(0, VALUE, 8), 3_u64.to_le_bytes());
    });
}

/// The card's BARs and its table are filled again after a reset: QEMU shows its guest both as if nothing
/// had been lost.
#[test]
fn interrupts_survive_a_reset_of_the_card() {
    with(Dma::Messages, |mut client| {
        client.start();
        let signal = client.arm(0);
        assert_eq!(client.ask(Command::DeviceReset, Body::Empty), Ok(Body::Empty));
        assert_eq!(client.read(0, VALUE, 4), [0xff; 4], "its memory is switched off");
        let on = crate::spec::pci::command::MEMORY_SPACE;
        client.write(7, u64::from(crate::spec::pci::header::COMMAND), &on.to_le_bytes());
        client.write(0, GO, &card::WRITE_AND_INTERRUPT.to_le_bytes());
        let (id, address, data) = client.dma_write();
        let count = data.len() as u32;
        client.reply(id, Command::DmaWrite, Body::Dma { address, count });
        client::wait_for(&signal);
    });
}

/// A descriptor that is no event's, or whose other end is closed, is its owner's affair.
#[test]
fn a_signal_that_is_none_does_no_harm() {
    with(Dma::Messages, |mut client| {
        client.start();
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        drop(reader);
        client.arm_with(0, &writer);
        client.write(0, GO, &card::WRITE_AND_INTERRUPT.to_le_bytes());
        let (id, address, _) = client.dma_write();
        client.reply(id, Command::DmaWrite, Body::Dma { address, count: 8 });
        assert_eq!(client.read(7, 0, 4), card::ID.to_le_bytes());
    });
}

#[test]
fn the_socket_is_private_and_an_abandoned_one_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a").join("socket");
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    let socket = Socket::bind(&path).expect("a socket");
    assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));
    assert!(Socket::bind(&path).is_err(), "somebody listens");
    drop(socket);
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).expect("one that is left behind"));
    drop(Socket::bind(&path).expect("nobody listens on it"));
    std::fs::write(&path, "a file").expect("a file");
    assert!(Socket::bind(&path).is_err(), "a file is not taken away");
}

/// Memory that cannot shrink, and another name of it.
fn memory(bytes: u64) -> (OwnedFd, OwnedFd) {
    let file = memfd_create("memory", MemfdFlags::ALLOW_SEALING).expect("a file");
    ftruncate(&file, bytes).expect("its length");
    fcntl_add_seals(&file, SealFlags::SHRINK).expect("a seal");
    let other = file.try_clone().expect("another name");
    (file, other)
}

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK).expect("an event")
}

fn message(id: u16, command: Command, kind: Kind, body: Body) -> Message {
    Message { id, command, kind, body }
}
