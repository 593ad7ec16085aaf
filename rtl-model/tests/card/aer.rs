//! Errors that the card detects: what its registers say, and what it tells the root complex. PCIe 5.0 §6.2.

use pcie_sim::address::Bdf;
use pcie_sim::endpoint::Endpoint;
use pcie_sim::spec::aer::{self, Error, Signal};
use pcie_sim::spec::pci::{cap_id, command, express, extended, header, status};
use pcie_sim::spec::virtio_pci::CommonReg;
use pcie_sim::time::Span;
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, MemRead, MemWrite, Message, MessageRouting, Payload,
    Tag, Tlp, codec,
};

use crate::fetch::{BUFFER, net, transmitter};
use crate::rig::{BAR0, BASE_FEATURES, CARD, ROOT, Rig, readable};

const AER: u16 = 0x100;
const NOWHERE: u64 = 0xdead_0000;

fn register(rig: &mut Rig, register: u16) -> u32 {
    rig.config_read(AER + register, 4)
}

fn set(rig: &mut Rig, register: u16, value: u32) {
    rig.config_write(AER + register, &value.to_le_bytes());
}

fn device_status(rig: &mut Rig) -> u16 {
    let at = rig.capability(cap_id::PCI_EXPRESS) + express::DEVICE_STATUS;
    rig.config_read(at, 2) as u16
}

fn device_control(rig: &mut Rig, bits: u16) {
    let at = rig.capability(cap_id::PCI_EXPRESS) + express::DEVICE_CONTROL;
    let old = rig.config_read(at, 2) as u16 & !0xf;
    rig.config_write(at, &(old | bits).to_le_bytes());
}

/// Every message that the card has sent.
fn signals(rig: &mut Rig) -> Vec<Signal> {
    rig.settle_for(Span::from_us(1));
    let log = std::mem::take(&mut rig.log);
    let of = |tlp: Tlp| match tlp {
        Tlp::Message(message) => {
            assert_eq!((message.requester, message.routing), (CARD, MessageRouting::ToRootComplex));
            assert!(message.data.is_empty());
            Signal::of_code(message.code)
        }
        _ => None,
    };
    log.into_iter().filter_map(|(_, tlp)| of(tlp)).collect()
}

fn everything_on(rig: &mut Rig) {
    device_control(rig, 0xf);
    set(rig, aer::CORRECTABLE_MASK, 0);
}

fn stray_write() -> MemWrite {
    let data = Payload::from_slice(&[1, 2, 3, 4]);
    let attributes = Attributes::default();
    MemWrite { requester: ROOT, tag: Tag(0), address: NOWHERE, data, attributes }
}

fn stray_read() -> MemRead {
    let attributes = Attributes::default();
    MemRead { requester: ROOT, tag: Tag(9), address: NOWHERE, len_bytes: 4, attributes }
}

fn logged(rig: &mut Rig) -> Vec<u8> {
    let log = (0..4).map(|i| register(rig, aer::HEADER_LOG + 4 * i));
    log.collect::<Vec<_>>().into_iter().flat_map(u32::to_be_bytes).collect()
}

fn header_of(tlp: &Tlp) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::emit(tlp, &mut bytes);
    bytes.truncate(4 * tlp.header_dwords());
    bytes.resize(16, 0);
    bytes
}

/// PCIe 5.0 §7.6.3: the chain at 0x100.
#[test]
fn extended_capabilities_are_a_chain_from_0x100() {
    let mut rig = Rig::new(net());
    let mut at = header::CAPABILITIES_END;
    let mut found = Vec::new();
    while at != 0 {
        let (id, next) = extended::parts(rig.config_read(at, 4));
        found.push((id, at));
        at = next;
    }
    assert_eq!(found, [(aer::CAP_ID, 0x100), (extended::SERIAL_NUMBER, 0x148)]);
    assert_eq!(rig.config_read(0x100, 4) >> 16 & 0xf, 2, "with the TLP prefix log");
    let serial = [rig.config_read(0x150, 4), rig.config_read(0x14c, 4)];
    assert_eq!(serial, [0x0200_00ff, 0xfe00_0001]);
}

/// A posted request that nobody takes: nobody else will tell. §6.2.3.2, §2.3.1.
#[test]
fn a_write_to_nowhere_is_a_non_fatal_unsupported_request() {
    let mut rig = Rig::placed(net());
    everything_on(&mut rig);
    rig.deliver(Tlp::MemWrite(stray_write()));
    assert_eq!(signals(&mut rig), [Signal::NonFatal]);
    let status = device_status(&mut rig);
    assert_eq!(status & 0xf, express::STATUS_NON_FATAL | express::STATUS_UNSUPPORTED);
    assert_eq!(register(&mut rig, aer::UNCORRECTABLE_STATUS), 1 << 20);
    assert_eq!(register(&mut rig, aer::CONTROL) & 0x1f, 20);
    assert_eq!(logged(&mut rig), header_of(&Tlp::MemWrite(stray_write())));
    assert_eq!(register(&mut rig, aer::CORRECTABLE_STATUS), 0);
}

/// §6.2.3.2.4.1: the completer that answers UR tells it as a correctable error.
#[test]
fn a_read_that_is_refused_is_an_advisory_error() {
    let mut rig = Rig::placed(net());
    everything_on(&mut rig);
    let answer = rig.ask(Tlp::MemRead(stray_read()));
    assert_eq!(answer.status, CompletionStatus::UnsupportedRequest);
    assert_eq!(signals(&mut rig), [Signal::Correctable]);
    let status = device_status(&mut rig);
    assert_eq!(status & 0xf, express::STATUS_CORRECTABLE | express::STATUS_UNSUPPORTED);
    assert_eq!(register(&mut rig, aer::CORRECTABLE_STATUS), aer::ADVISORY_NON_FATAL);
    assert_eq!(register(&mut rig, aer::UNCORRECTABLE_STATUS), 1 << 20);
    assert_eq!(logged(&mut rig), header_of(&Tlp::MemRead(stray_read())));
}

/// §6.2.5: the advisory bit is masked after power-on, and then nothing of the error is logged.
#[test]
fn a_masked_advisory_error_is_noted_and_not_told() {
    let mut rig = Rig::placed(net());
    device_control(&mut rig, 0xf);
    rig.ask(Tlp::MemRead(stray_read()));
    assert_eq!(signals(&mut rig), []);
    assert_eq!(register(&mut rig, aer::CORRECTABLE_STATUS), aer::ADVISORY_NON_FATAL);
    assert_eq!(register(&mut rig, aer::UNCORRECTABLE_STATUS), 0);
    assert_eq!(logged(&mut rig), [0; 16]);
}

/// §7.8.4.4: an error that software calls fatal is told as fatal, advisory or not.
#[test]
fn severity_decides_which_message_goes() {
    let mut rig = Rig::placed(net());
    everything_on(&mut rig);
    set(&mut rig, aer::UNCORRECTABLE_SEVERITY, 1 << 20);
    rig.ask(Tlp::MemRead(stray_read()));
    assert_eq!(signals(&mut rig), [Signal::Fatal]);
    assert_eq!(device_status(&mut rig) & 0xf, express::STATUS_FATAL | express::STATUS_UNSUPPORTED);
}

/// §7.8.4.3: a masked error sets its bit, and neither log nor message follows.
#[test]
fn a_masked_error_sets_its_bit_only() {
    let mut rig = Rig::placed(net());
    everything_on(&mut rig);
    set(&mut rig, aer::UNCORRECTABLE_MASK, 1 << 20);
    rig.deliver(Tlp::MemWrite(stray_write()));
    assert_eq!(signals(&mut rig), []);
    assert_eq!(register(&mut rig, aer::UNCORRECTABLE_STATUS), 1 << 20);
    assert_eq!(logged(&mut rig), [0; 16]);
    assert_ne!(device_status(&mut rig) & express::STATUS_NON_FATAL, 0);
}

/// §6.2.6: SERR# Enable, or the bit for the kind; for unsupported requests their own bit as well.
#[test]
fn messages_go_as_device_control_and_serr_say() {
    let cases = [
        (0, false, false),
        (express::CONTROL_NON_FATAL, false, false),
        (express::CONTROL_UNSUPPORTED, false, false),
        (express::CONTROL_NON_FATAL | express::CONTROL_UNSUPPORTED, false, true),
        (express::CONTROL_FATAL | express::CONTROL_UNSUPPORTED, false, false),
        (0, true, true),
    ];
    for (control, system, sent) in cases {
        let mut rig = Rig::placed(net());
        device_control(&mut rig, control);
        let serr = if system { command::SERR } else { 0 };
        rig.set_command(command::MEMORY_SPACE | serr);
        rig.deliver(Tlp::MemWrite(stray_write()));
        let expected: &[Signal] = if sent { &[Signal::NonFatal] } else { &[] };
        assert_eq!(signals(&mut rig), expected, "{control:#x}, SERR# {system}");
        let signalled = rig.config_read(header::STATUS, 2) as u16 & status::SIGNALED_SYSTEM_ERROR;
        assert_eq!(signalled != 0, system);
    }
}

/// §6.2.4.2: the log keeps the first error until its bit is cleared.
#[test]
fn the_header_log_keeps_the_first_error_until_software_clears_it() {
    let mut rig = Rig::placed(net());
    everything_on(&mut rig);
    rig.deliver(Tlp::MemWrite(stray_write()));
    let second = MemWrite { address: NOWHERE + 0x100, ..stray_write() };
    rig.deliver(Tlp::MemWrite(second.clone()));
    assert_eq!(logged(&mut rig), header_of(&Tlp::MemWrite(stray_write())));
    set(&mut rig, aer::UNCORRECTABLE_STATUS, 1 << 20);
    assert_eq!(register(&mut rig, aer::UNCORRECTABLE_STATUS), 0);
    rig.deliver(Tlp::MemWrite(second.clone()));
    assert_eq!(logged(&mut rig), header_of(&Tlp::MemWrite(second)));
    set(&mut rig, aer::HEADER_LOG, 0x1234_5678);
    assert_ne!(register(&mut rig, aer::HEADER_LOG), 0x1234_5678, "the log is read only");
}

/// §6.2.3.2.4.5: an unexpected completion is told as advisory, its header logged.
#[test]
fn a_completion_nobody_asked_for_is_an_advisory_error() {
    let mut rig = Rig::placed(net());
    everything_on(&mut rig);
    let stray = Tlp::Completion(Completion {
        completer: ROOT,
        requester: CARD,
        tag: Tag(77),
        status: CompletionStatus::Success,
        byte_count: 4,
        lower_address: 0,
        data: Payload::from_slice(&[0; 4]),
        attributes: Attributes::default(),
    });
    rig.deliver(stray.clone());
    assert_eq!(signals(&mut rig), [Signal::Correctable]);
    assert_eq!(register(&mut rig, aer::UNCORRECTABLE_STATUS), 1 << 16);
    assert_eq!(logged(&mut rig), header_of(&stray));
}

/// §2.8: no header is logged, for there is none; the queue that waited asks for a reset.
#[test]
fn a_read_that_times_out_is_a_non_fatal_error_and_the_device_asks_for_a_reset() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    everything_on(&mut rig);
    rig.silent = true;
    ring.describe(&mut rig, 0, readable(BUFFER, 76));
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(signals(&mut rig), [Signal::NonFatal]);
    assert_eq!(register(&mut rig, aer::UNCORRECTABLE_STATUS), 1 << 14);
    assert_eq!(register(&mut rig, aer::CONTROL) & 0x1f, 14);
    assert_eq!(logged(&mut rig), [0; 16]);
    assert_ne!(rig.common(CommonReg::DeviceStatus) & 0x40, 0, "DEVICE_NEEDS_RESET");
}

/// PCIe 5.0 §7.5.3.16: each range, and the switch.
#[test]
fn the_completion_timeout_follows_device_control_2() {
    for value in [0b0001_u16, 0b0010, 0b0101, 0b0110, 0b1001, 0b1010, 0b1101, 0b1110] {
        let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
        let at = rig.capability(cap_id::PCI_EXPRESS) + express::DEVICE_CONTROL_2;
        rig.config_write(at, &value.to_le_bytes());
        rig.silent = true;
        ring.offer(&mut rig, &[0]);
        rig.doorbell(1);
        while rig.log.is_empty() {
            assert!(rig.step());
        }
        let sent = rig.now;
        while rig.card.counters().timeouts == 0 {
            assert!(rig.step());
        }
        let (least, most) = express::completion_timeout_us(value);
        let waited_us = rig.now.since(sent).as_ns() / 1000;
        assert!((least..=most).contains(&waited_us), "{value:#06b}: {waited_us} us");
    }
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    let at = rig.capability(cap_id::PCI_EXPRESS) + express::DEVICE_CONTROL_2;
    rig.config_write(at, &express::CONTROL_2_TIMEOUT_OFF.to_le_bytes());
    rig.silent = true;
    ring.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(rig.card.counters().timeouts, 0, "for ever");
}

/// §2.2.2: more than Max_Payload_Size is malformed, which is fatal, and nothing is done.
#[test]
fn a_write_longer_than_the_payload_size_is_malformed() {
    let mut rig = Rig::placed(net());
    everything_on(&mut rig);
    let data = Payload::from_elem(7, 256);
    let long = Tlp::MemWrite(MemWrite { address: crate::rig::BAR2, data, ..stray_write() });
    rig.deliver(long.clone());
    assert_eq!(signals(&mut rig), [Signal::Fatal]);
    assert_eq!(register(&mut rig, aer::UNCORRECTABLE_STATUS), 1 << 18);
    assert_eq!(logged(&mut rig), header_of(&long));
    assert_eq!(rig.mmio_read(crate::rig::BAR2, 4), [0; 4]);
}

/// §2.3.1: an unknown message is an unsupported request, one that a vendor lets everybody drop is not.
#[test]
fn a_message_that_the_card_does_not_know_is_an_unsupported_request() {
    let mut rig = Rig::placed(net());
    everything_on(&mut rig);
    let message = |code| {
        Tlp::Message(Box::new(Message {
            requester: ROOT,
            tag: Tag(0),
            code,
            routing: MessageRouting::Local,
            specific: [0; 8],
            data: Payload::new(),
            attributes: Attributes::default(),
        }))
    };
    rig.deliver(message(0x7f));
    assert_eq!(signals(&mut rig), []);
    rig.deliver(message(0x7e));
    assert_eq!(signals(&mut rig), [Signal::NonFatal]);
}

/// Whatever the link's own receiver finds: each error has its bit, and goes as its severity says.
#[test]
fn every_error_of_the_link_has_its_bit_and_its_message() {
    for error in Error::ALL {
        let mut rig = Rig::placed(net());
        everything_on(&mut rig);
        let now = rig.now;
        rig.card.link_error(now, error, None);
        rig.advance();
        let fatal = aer::SEVERITY_DEFAULT & 1 << error.bit() != 0;
        let (register_of, expected) = match (error.is_correctable(), fatal) {
            (true, _) => (aer::CORRECTABLE_STATUS, Signal::Correctable),
            (false, true) => (aer::UNCORRECTABLE_STATUS, Signal::Fatal),
            (false, false) => (aer::UNCORRECTABLE_STATUS, Signal::NonFatal),
        };
        assert_eq!(signals(&mut rig), [expected], "{error:?}");
        assert_eq!(register(&mut rig, register_of), 1 << error.bit(), "{error:?}");
        let parity = rig.config_read(header::STATUS, 2) as u16 & status::DETECTED_PARITY;
        assert_eq!(parity != 0, error == Error::PoisonedTlp);
    }
}

/// PCIe 5.0 §7.5.1.1.4: the requester's own bits.
#[test]
fn a_read_that_is_refused_or_aborted_shows_in_the_status_register() {
    for (status, bit) in [
        (CompletionStatus::UnsupportedRequest, status::RECEIVED_MASTER_ABORT),
        (CompletionStatus::CompleterAbort, status::RECEIVED_TARGET_ABORT),
    ] {
        let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
        rig.silent = true;
        ring.offer(&mut rig, &[0]);
        rig.doorbell(1);
        while rig.log.is_empty() {
            assert!(rig.step());
        }
        let Some((_, Tlp::MemRead(read))) = rig.log.first().cloned() else { panic!("a read") };
        rig.deliver(Tlp::Completion(Completion {
            completer: ROOT,
            requester: CARD,
            tag: read.tag,
            status,
            byte_count: read.len_bytes,
            lower_address: 0,
            data: Payload::new(),
            attributes: Attributes::default(),
        }));
        assert_ne!(rig.config_read(header::STATUS, 2) as u16 & bit, 0);
        assert_eq!(rig.card.counters().failed_reads, 1);
    }
}

/// PCIe 5.0 §7.5.1.1.3: Bus Master Enable is not about messages.
#[test]
fn an_error_is_told_without_bus_master_enable() {
    let mut rig = Rig::placed(net());
    everything_on(&mut rig);
    rig.set_command(command::MEMORY_SPACE);
    rig.deliver(Tlp::MemWrite(stray_write()));
    assert_eq!(signals(&mut rig), [Signal::NonFatal]);
}

/// PCIe 5.0 §2.2.6.2: tags of 10 bits are such that nobody takes them for shorter ones.
#[test]
fn tags_of_10_bits_are_used_once_they_are_enabled() {
    let (mut rig, mut ring) = transmitter(net(), BASE_FEATURES);
    let at = rig.capability(cap_id::PCI_EXPRESS) + express::DEVICE_CONTROL_2;
    rig.config_write(at, &express::CONTROL_2_TAG_10.to_le_bytes());
    for i in 0..8 {
        ring.describe(&mut rig, i, readable(BUFFER, 1400));
    }
    ring.offer(&mut rig, &[0, 1, 2, 3, 4, 5, 6, 7]);
    rig.doorbell(1);
    rig.settle();
    assert_eq!(ring.used_idx(&mut rig), 8);
    let tags = rig.log.iter().filter_map(|(_, tlp)| match tlp {
        Tlp::MemRead(read) => Some(read.tag.0),
        _ => None,
    });
    assert!(tags.into_iter().all(|tag| (256..1024).contains(&tag)));
    let answer = rig.ask(Tlp::MemRead(MemRead {
        requester: Bdf::new(0, 0, 0),
        tag: Tag(0x3a5),
        address: BAR0,
        len_bytes: 4,
        attributes: Attributes::default(),
    }));
    assert_eq!(answer.tag, Tag(0x3a5), "and taken as a completer");
}
