//! What few packets have, worked out by hand from the figures of PCIe 5.0, chapter 2; digests by a program
//! for CRC-32/ISO-HDLC that is not part of the project, over the bytes with the two variant bits set.

#![expect(
    clippy::unusual_byte_groupings,
    reason = "digits are grouped as the fields of the figures"
)]

use pcie_sim::address::Bdf;
use pcie_sim::tlp::codec::{check, ecrc_holds, emit, parse};
use pcie_sim::tlp::message::{ErrorSeverity, IntxLine};
use pcie_sim::tlp::{
    AddressType, Atomic, AtomicOperation, Attributes, ByteEnables, Extras, Hints, IoRead, IoWrite,
    MemRead, MemWrite, Message, MessageRouting, Pasid, Payload, Prefix, Tag, TagBits, Tlp,
};

const CARD: Bdf = Bdf::new(1, 0, 0);

#[track_caller]
fn golden(tlp: Tlp, bytes: &[u8]) {
    let mut emitted = Vec::new();
    emit(&tlp, &mut emitted);
    assert_eq!(check(&tlp), Ok(()));
    assert_eq!(emitted, bytes, "emitted, against the golden bytes");
    assert_eq!(tlp.len_bytes(), bytes.len());
    assert_eq!(parse(bytes), Ok(tlp));
}

fn read(address: u64, len_bytes: u16) -> Tlp {
    let (tag, attributes) = (Tag(5), Attributes::default());
    Tlp::MemRead(MemRead { requester: CARD, tag, address, len_bytes, attributes })
}

fn write(address: u64, data: &[u8]) -> Tlp {
    let (tag, attributes) = (Tag(0), Attributes::default());
    let data = Payload::from_slice(data);
    Tlp::MemWrite(MemWrite { requester: CARD, tag, address, data, attributes })
}

/// §2.7.1: TD is set and counts; Type[0] and EP count as 1.
#[test]
fn a_read_with_a_digest_has_td_and_four_bytes_behind_it() {
    let bytes = [
        0b000_00000,
        0,
        0b1_0_0_0_00_00,
        16, // TD
        0x01,
        0x00,
        0x05,
        0b1111_1111,
        0x7f,
        0x00,
        0x10,
        0x00, // as without
        0xea,
        0x32,
        0x92,
        0x1b, // ECRC
    ];
    golden(read(0x7f00_1000, 64).with_ecrc(), &bytes);
    assert_eq!(ecrc_holds(&bytes), Some(true));
    let mut wrong = bytes;
    wrong[8] ^= 0x10;
    assert_eq!(ecrc_holds(&wrong), Some(false));
    assert_eq!(
        parse(&wrong).map(|tlp| tlp.ecrc_holds()),
        Ok(Some(false)),
        "kept, and seen to be wrong"
    );
    assert_eq!(ecrc_holds(&bytes[..12]), None, "cut off: what is left has no digest of its own");
}

/// §6.20.2 for the prefix; §2.7.2 for EP, which a digest does not look at.
#[test]
fn a_poisoned_write_of_a_process_has_a_prefix_and_the_same_digest_as_a_good_one() {
    let pasid = Pasid { id: 0x1_2345, execute: true, privileged: true };
    let good = write(0xfee0_0000, &[1, 2, 3, 4]).with_pasid(pasid).with_ecrc();
    let mut bytes = [
        0b100_1_0001,
        0b1_1_00_0001,
        0x23,
        0x45, // PMR, ER, PASID[19:16], [15:8], [7:0]
        0b010_00000,
        0,
        0b1_0_0_0_00_00,
        1, // TD
        0x01,
        0x00,
        0x00,
        0b0000_1111,
        0xfe,
        0xe0,
        0x00,
        0x00,
        1,
        2,
        3,
        4, // as without
        0,
        0,
        0,
        0,
    ];
    // Of 91 c1 23 45, 41 00 c0 01, and the rest: the prefix as it is, Type[0] and EP of the header set.
    bytes[20..].copy_from_slice(&ECRC_OF_WRITE);
    golden(good.clone(), &bytes);
    bytes[6] |= 0b0_1_000000;
    golden(good.clone().poisoned(), &bytes);
    assert_eq!(good.poisoned().ecrc_holds(), Some(true));
}

const ECRC_OF_WRITE: [u8; 4] = [0x35, 0xb2, 0x39, 0x5a];

/// §2.7.2: only data can be bad.
#[test]
fn a_packet_without_data_cannot_be_poisoned() {
    assert!(!read(0x1000, 4).poisoned().is_poisoned());
}

/// §2.2.7.1: PH below the address; ST in place of a write's tag, of a read's byte enables.
#[test]
fn hints_stand_below_the_address_and_in_place_of_the_tag_or_the_byte_enables() {
    let hinted = |tlp: Tlp, prefixes: Vec<Prefix>| {
        let hints = Some(Hints { processing: 0b10, steering: 0xa7 });
        tlp.with(Extras { prefixes, hints, ..Extras::default() })
    };
    golden(
        hinted(write(0x1_0000_1000, &[9; 4]), Vec::new()),
        &[
            0b011_00000,
            0b0_000_0_0_0_1,
            0,
            1, // TH
            0x01,
            0x00,
            0xa7,
            0b0000_1111, // ST in place of the tag
            0,
            0,
            0,
            1,
            0,
            0,
            0x10,
            0b000000_10,
            9,
            9,
            9,
            9, // PH
        ],
    );
    let extended = hinted(read(0x1000, 8), vec![Prefix::ExtendedHints { steering_high: 0x01 }]);
    assert_eq!(extended.extras().and_then(Extras::steering_tag), Some(0x01a7));
    golden(
        extended,
        &[
            0b100_1_0000,
            0x01,
            0,
            0, // ST[15:8]
            0b000_00000,
            0b0_000_0_0_0_1,
            0,
            2,
            0x01,
            0x00,
            0x05,
            0xa7, // ST
            0,
            0,
            0x10,
            0b000000_10, // PH
        ],
    );
}

/// §10.2.2: AT 01, NW.
#[test]
fn a_translation_request_says_that_it_will_not_write() {
    let address_type = AddressType::TranslationRequest { no_write: true };
    let tlp = read(0x1000, 8).with(Extras { address_type, ..Extras::default() });
    golden(tlp, &[0, 0, 0b0000_01_00, 2, 1, 0, 5, 0xff, 0, 0, 0x10, 1]);
}

/// §2.2.5: an aligned pair may leave out bytes in the middle.
#[test]
fn byte_enables_may_have_holes_in_one_doubleword_and_in_an_aligned_pair() {
    let holes =
        |first, last| Extras { enables: Some(ByteEnables { first, last }), ..Extras::default() };
    let pair = write(0x1001, &[1, 0, 3, 0, 0, 0, 7]).with(holes(0b1010, 0b1000));
    let bytes = [0x40, 0, 0, 2, 1, 0, 0, 0b1000_1010, 0, 0, 0x10, 0, 0, 1, 0, 3, 0, 0, 0, 7];
    golden(pair, &bytes);
    golden(read(0x1004, 3).with(holes(0b0101, 0)), &[0, 0, 0, 1, 1, 0, 5, 0b0101, 0, 0, 0x10, 4]);
    let enables = ByteEnables { first: 0b1010, last: 0b1000 };
    let runs: Vec<_> = enables.runs(1, &[1, 0, 3, 0, 0, 0, 7]).collect();
    assert_eq!(runs, [(0, &[1][..]), (2, &[3][..]), (6, &[7][..])]);
}

/// §2.2.7, figure "Request Header Format for I/O Transactions".
#[test]
fn io_requests_are_one_doubleword_below_4_gib() {
    let (requester, tag) = (Bdf::default(), Tag(0x1ff));
    let read = IoRead { requester, tag, address: 0xcf9, len_bytes: 1 };
    let t8 = 0b0_000_1_000;
    golden(Tlp::IoRead(read), &[0b000_00010, t8, 0, 1, 0, 0, 0xff, 0b0010, 0, 0, 0x0c, 0xf8]);
    let data = Payload::from_slice(&[0x2a, 0x2b]);
    let write = IoWrite { requester, tag, address: 0x60, data };
    let bytes = [0b010_00010, t8, 0, 1, 0, 0, 0xff, 3, 0, 0, 0, 0x60, 0x2a, 0x2b, 0, 0];
    golden(Tlp::IoWrite(write), &bytes);
}

/// §2.2.7: Length says how large the operands are; the byte enables are reserved.
#[test]
fn atomic_requests_have_a_type_each_and_their_operands_as_data() {
    let request = |operation, address, operands: &[u8]| {
        let (tag, attributes) = (Tag(0x2a5), Attributes::default());
        let operands = Payload::from_slice(operands);
        let requester = CARD;
        Tlp::Atomic(Box::new(Atomic { requester, tag, address, operation, operands, attributes }))
    };
    let t9 = 0b1_000_0_000;
    golden(
        request(AtomicOperation::FetchAdd, 0x1004, &[1, 2, 3, 4]),
        &[0b010_01100, t9, 0, 1, 1, 0, 0xa5, 0, 0, 0, 0x10, 4, 1, 2, 3, 4],
    );
    golden(
        request(AtomicOperation::Swap, 0x1_0000_0008, &[1, 2, 3, 4, 5, 6, 7, 8]),
        &[
            0b011_01101,
            t9,
            0,
            2,
            1,
            0,
            0xa5,
            0,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            8, // 4 DW
            1,
            2,
            3,
            4,
            5,
            6,
            7,
            8,
        ],
    );
    let mut bytes = vec![0b010_01110, t9, 0, 8, 1, 0, 0xa5, 0, 0, 0, 0x10, 0x10];
    bytes.extend(1..=32);
    let operands: Vec<u8> = (1..=32).collect();
    golden(request(AtomicOperation::CompareAndSwap, 0x1010, &operands), &bytes);
}

/// §2.2.8, and appendix F for the codes.
#[test]
fn the_usual_messages_have_the_codes_routings_and_words_of_the_specification() {
    let said = |message: Message, first: u8, code: u8| {
        let mut bytes = Vec::new();
        emit(&Tlp::Message(Box::new(message)), &mut bytes);
        assert_eq!((bytes[0], bytes[7]), (first, code));
        assert!(parse(&bytes).is_ok());
        bytes
    };
    let (to_root, broadcast, local, gathered) = (0x30, 0x33, 0x34, 0x35);
    for (severity, code) in [
        (ErrorSeverity::Correctable, 0x30),
        (ErrorSeverity::NonFatal, 0x31),
        (ErrorSeverity::Fatal, 0x33),
    ] {
        let message = Message::error(CARD, severity);
        assert_eq!(message.severity(), Some(severity));
        said(message, to_root, code);
    }
    said(Message::intx(Bdf::new(1, 2, 3), IntxLine::A, true), local, 0x20);
    let bytes = said(Message::intx(Bdf::new(1, 2, 3), IntxLine::D, false), local, 0x27);
    assert_eq!(bytes[4..6], [1, 0b00010_000], "function 0");
    said(Message::power_event(CARD), to_root, 0x18);
    said(Message::turn_off(Bdf::default()), broadcast, 0x19);
    said(Message::turn_off_acknowledged(CARD), gathered, 0x1b);
    let bytes = said(Message::slot_power_limit(Bdf::default(), 75, 0), 0x74, 0x50);
    assert_eq!(bytes[16..], [75, 0, 0, 0]);
    let (routing, data) = (MessageRouting::Broadcast, Payload::from_slice(&[1, 2, 3, 4]));
    let message = Message::vendor_defined(CARD, false, routing, 0x1af4, [5, 6, 7, 8], data);
    let bytes = said(message, 0x73, 0x7f);
    assert_eq!(bytes[8..], [0, 0, 0x1a, 0xf4, 5, 6, 7, 8, 1, 2, 3, 4]);
}

/// §2.2.6.2: a requester of ten bits never leaves T9 and T8 both 0.
#[test]
fn requesters_of_five_eight_and_ten_bits_have_tags_that_fit() {
    let counts = [TagBits::Five, TagBits::Eight, TagBits::Ten].map(|bits| bits.tags().len());
    assert_eq!(counts, [32, 256, 768]);
    assert!(TagBits::Ten.tags().all(|tag| tag >> 8 != 0 && tag < 1024));
}
