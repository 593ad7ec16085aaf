//! The root complex as completer of atomic requests, and as receiver of what few packets have.

use super::*;
use crate::tlp::{AddressType, Atomic, AtomicOperation, ByteEnables, Extras, IoRead, Pasid};

fn atomic(tag: u16, operation: AtomicOperation, address: u64, operands: &[u8]) -> Tlp {
    Tlp::Atomic(Box::new(Atomic {
        requester: CARD,
        tag: Tag(tag),
        address,
        operation,
        operands: Payload::from_slice(operands),
        attributes: Attributes { traffic_class: 1, ..Attributes::default() },
    }))
}

fn add(tag: u16, address: u64, operand: u64) -> Tlp {
    atomic(tag, AtomicOperation::FetchAdd, address, &operand.to_le_bytes())
}

/// What memory holds at `address`, and the answers, after the card has sent all of `tlps`, one each 20 ns: many
/// times before the first is answered.
fn after(tlps: Vec<Tlp>, address: u64) -> ([u8; 16], Vec<Completion>, Vec<Refusal>) {
    let times = (0..).map(|nth| at_us(10) + Span::from_ns(20 * nth));
    let script = times.zip(tlps).collect();
    let (mut machine, seen) = machine(Puppet { script, ..Puppet::default() });
    machine.run_until(at_us(30));
    let mut held = [0; 16];
    machine.read(PhysAddr(address), &mut held);
    let refusals = machine.root.refused().iter().map(|refused| refused.refusal).collect();
    (held, completions(&seen), refusals)
}

fn low(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// PCIe 5.0 §6.15, §2.2.9: the old value goes back, Byte Count is the operand's size, Lower Address 0.
#[test]
fn an_atomic_request_is_answered_with_the_value_that_was_there_before() {
    let was = [7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    let swapped = [3; 16];
    let both: Vec<u8> = [was, swapped].concat();
    let (held, answers, _) = after(
        vec![
            write(0x2010, &was),
            add(1, 0x2010, 5),
            atomic(2, AtomicOperation::Swap, 0x2010, &[7, 0, 0, 0]),
            atomic(3, AtomicOperation::CompareAndSwap, 0x2010, &both),
            atomic(4, AtomicOperation::CompareAndSwap, 0x2010, &both),
        ],
        0x2010,
    );
    assert_eq!(held, swapped);
    let facts = |answer: &Completion| (answer.tag.0, answer.byte_count, low(&answer.data));
    let facts: Vec<_> = answers.iter().map(facts).collect();
    assert_eq!(facts, [(1, 8, 7), (2, 4, 12), (3, 16, 7), (4, 16, 0x0303_0303_0303_0303)]);
    for answer in &answers {
        assert_eq!(answer.status, CompletionStatus::Success);
        assert_eq!((answer.lower_address, answer.attributes.traffic_class), (0, 1));
        assert_eq!(answer.data.len(), usize::from(answer.byte_count));
    }
}

/// PCIe 5.0 §2.4.1: a non-posted request does not pass a posted one; and of two atomic requests each sees
/// the other's work or none of it.
#[test]
fn atomic_requests_and_writes_take_effect_in_the_order_in_which_they_came() {
    let mut tlps = vec![write(0x3000, &100_u64.to_le_bytes())];
    tlps.extend((0..20).map(|tag| add(tag, 0x3000, 1)));
    tlps.push(write(0x3000, &1000_u64.to_le_bytes()));
    tlps.extend((20..30).map(|tag| add(tag, 0x3000, 1)));
    let (held, answers, _) = after(tlps, 0x3000);
    assert_eq!(low(&held), 1010);
    let seen: Vec<_> = answers.iter().map(|answer| low(&answer.data)).collect();
    let expected: Vec<u64> = (100..120).chain(1000..1010).collect();
    assert_eq!(seen, expected);
}

/// PCIe 5.0 §2.3.1: where no memory is the answer is Unsupported Request; a malformed one has none.
#[test]
fn an_atomic_request_to_nowhere_is_unsupported_and_a_malformed_one_is_dropped() {
    let (_, answers, refusals) = after(
        vec![
            add(1, 0x4000_0000, 1),
            atomic(2, AtomicOperation::FetchAdd, 0x2004, &[1; 8]),
            atomic(3, AtomicOperation::Swap, 0x2000, &[1; 16]),
        ],
        0x2000,
    );
    let [answer] = &answers[..] else { panic!("one answer: {answers:?}") };
    assert_eq!(answer.status, CompletionStatus::UnsupportedRequest);
    assert_eq!((answer.tag, answer.byte_count, answer.data.len()), (Tag(1), 8, 0));
    assert_eq!(refusals, [Refusal::NoMemory, Refusal::Malformed, Refusal::Malformed]);
}

/// PCIe 5.0 §2.3.1: a root port need not take I/O requests.
#[test]
fn an_io_request_from_the_card_is_answered_with_unsupported_request() {
    let read = IoRead { requester: CARD, tag: Tag(6), address: 0x60, len_bytes: 1 };
    let (_, answers, refusals) = after(vec![Tlp::IoRead(read)], 0);
    let [answer] = &answers[..] else { panic!("one answer: {answers:?}") };
    assert_eq!(answer.status, CompletionStatus::UnsupportedRequest);
    assert_eq!((answer.tag, answer.byte_count), (Tag(6), 4));
    assert_eq!(refusals, [Refusal::NotSupported]);
}

/// PCIe 5.0 §2.7.2.2: bad data is not written, nor used to change memory.
#[test]
fn poisoned_data_goes_nowhere() {
    let (held, answers, refusals) =
        after(vec![write(0x2000, &[5; 8]).poisoned(), add(1, 0x2000, 1).poisoned()], 0x2000);
    assert_eq!(low(&held), 0);
    assert_eq!(answers[0].status, CompletionStatus::UnsupportedRequest);
    assert_eq!(refusals, [Refusal::Poisoned, Refusal::NotSupported]);
}

#[test]
fn of_a_write_with_holes_only_the_enabled_bytes_are_written() {
    let enables = Some(ByteEnables { first: 0b1010, last: 0b1000 });
    let holes = Extras { enables, ..Extras::default() };
    let tlps = vec![
        write(0x2000, &[9; 16]),
        write(0x2001, &[1, 0, 3, 0, 0, 0, 7]).with(holes),
        write(0x2008, &[]),
    ];
    let (held, _, refusals) = after(tlps, 0x2000);
    assert_eq!(held, [9, 1, 9, 3, 9, 9, 9, 7, 9, 9, 9, 9, 9, 9, 9, 9]);
    assert_eq!(refusals, []);
}

/// A digest and hints change nothing; a prefix makes a TLP malformed here, and a translated address one that
/// is not supported. PCIe 5.0 §2.2.10, §10.2.1.
#[test]
fn what_the_root_port_does_not_support_it_refuses_and_the_rest_it_takes() {
    let address_type = AddressType::Translated;
    let translated = Extras { address_type, ..Extras::default() };
    let (held, answers, refusals) = after(
        vec![
            write(0x2000, &[5; 8]).with_ecrc(),
            write(0x2000, &[6; 8]).with_pasid(Pasid::default()),
            read(1, 0x2000, 8).with_pasid(Pasid::default()),
            read(2, 0x2000, 8).with(translated),
            read(3, 0x2000, 8).with_ecrc(),
        ],
        0x2000,
    );
    assert_eq!(held[..8], [5; 8]);
    let facts: Vec<_> = answers.iter().map(|answer| (answer.tag.0, answer.status)).collect();
    assert_eq!(facts, [(2, CompletionStatus::UnsupportedRequest), (3, CompletionStatus::Success)]);
    assert_eq!(refusals, [Refusal::Malformed, Refusal::Malformed, Refusal::NotSupported]);
}
