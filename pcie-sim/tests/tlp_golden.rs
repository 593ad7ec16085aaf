//! Packets worked out by hand from the figures of PCIe 5.0, chapter 2, so that a mistake shared by
//! `emit` and `parse` does not hide.

#![expect(
    clippy::unusual_byte_groupings,
    reason = "digits are grouped as the fields of the figures"
)]

use pcie_sim::address::Bdf;
use pcie_sim::tlp::codec::{check, emit, parse};
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, ConfigRead, ConfigWrite, MemRead, MemWrite, Message,
    MessageRouting, Payload, Tag, Tlp,
};

const CARD: Bdf = Bdf::new(1, 0, 0);
const PLAIN: Attributes = Attributes {
    relaxed_ordering: false,
    id_based_ordering: false,
    no_snoop: false,
    traffic_class: 0,
};

fn bytes_of(tlp: &Tlp) -> Vec<u8> {
    let mut bytes = Vec::new();
    emit(tlp, &mut bytes);
    bytes
}

#[track_caller]
fn golden(tlp: Tlp, bytes: &[u8]) {
    assert_eq!(check(&tlp), Ok(()));
    assert_eq!(bytes_of(&tlp), bytes, "emitted, against the golden bytes");
    assert_eq!(tlp.len_bytes(), bytes.len());
    assert_eq!(parse(bytes), Ok(tlp));
}

/// §2.2.7, figure "Request Header Format for 32-bit Addressing of Memory".
#[test]
#[rustfmt::skip]
fn a_read_of_64_bytes_below_4_gib_has_three_doublewords() {
    let read = MemRead {
        requester: CARD,
        tag: Tag(5),
        address: 0x7f00_1000,
        len_bytes: 64,
        attributes: PLAIN,
    };
    golden(
        Tlp::MemRead(read),
        &[
            0b000_00000, // Fmt 000 (3 DW, no data), Type 0 0000 (memory)
            0b0000_0000, // T9, TC, T8, IDO, LN, TH
            0b0000_0000, // TD, EP, RO, NS, AT, Length[9:8]
            16, // Length: 16 DW
            0x01, 0x00, // requester 01:00.0: bus 00000001, device 00000, function 000
            0x05, // tag[7:0]
            0b1111_1111, // last DW BE, first DW BE
            0x7f, 0x00, 0x10, 0x00, // address[31:2], 00
        ],
    );
}

/// §2.2.7, figure "Request Header Format for 64-bit Addressing of Memory"; §2.2.6.2 for T9 and T8;
/// §2.2.6.3 for the attributes; §2.2.5 for the byte enables.
#[test]
#[rustfmt::skip]
fn a_read_above_4_gib_spreads_tag_and_attributes_over_bytes_1_and_2() {
    let read = MemRead {
        requester: Bdf::new(0xab, 0x1f, 5),
        tag: Tag(0b10_0011_1100),
        // 5 bytes: the last 2 of one doubleword and the first 3 of the next.
        address: 0x0000_0012_3456_7ff2,
        len_bytes: 5,
        attributes: Attributes {
            relaxed_ordering: true,
            id_based_ordering: true,
            no_snoop: false,
            traffic_class: 0b101,
        },
    };
    golden(
        Tlp::MemRead(read),
        &[
            0b001_00000, // Fmt 001 (4 DW, no data), Type 0 0000
            // T9 = 1, TC = 101, T8 = 0, IDO = 1, LN = 0, TH = 0
            0b1_101_0_1_0_0,
            // TD = 0, EP = 0, RO = 1, NS = 0, AT = 00, Length[9:8] = 00
            0b0_0_1_0_00_00, 2, // Length: 2 DW
            0xab, 0b11111_101, // bus, device 31, function 5
            0b0011_1100, // tag[7:0]
            0b0111_1100, // last: bytes 0 to 2; first: bytes 2 and 3
            0x00, 0x00, 0x00, 0x12, // address[63:32]
            0x34, 0x56, 0x7f, 0xf0, // address[31:2], 00
        ],
    );
}

/// §2.2.6.2: T8 is bit 3 of byte 1. §2.2.2: a Length of 0 means 1024 doublewords.
#[test]
fn a_read_of_4096_bytes_has_length_0() {
    let read = MemRead {
        requester: CARD,
        tag: Tag(0x1ff),
        address: 0x1000,
        len_bytes: 4096,
        attributes: Attributes { no_snoop: true, ..PLAIN },
    };
    let bytes = [0, 0b0000_1000, 0b0001_0000, 0, 1, 0, 0xff, 0xff, 0, 0, 0x10, 0];
    golden(Tlp::MemRead(read), &bytes);
}

/// §2.2.5: a read of one doubleword with no byte enabled flushes writes.
#[test]
fn a_read_of_nothing_is_a_doubleword_without_enabled_bytes() {
    let read =
        MemRead { requester: CARD, tag: Tag(0), address: 0x2004, len_bytes: 0, attributes: PLAIN };
    golden(Tlp::MemRead(read), &[0, 0, 0, 1, 1, 0, 0, 0b0000_0000, 0, 0, 0x20, 0x04]);
}

/// §2.2.7 and §2.2.5: three bytes from an odd address lie in one doubleword.
#[test]
#[rustfmt::skip]
fn a_write_of_three_odd_bytes_has_a_pad_before_them() {
    let write = MemWrite {
        requester: CARD,
        tag: Tag(0),
        address: 0xfee0_0001,
        data: Payload::from_slice(&[0xaa, 0xbb, 0xcc]),
        attributes: PLAIN,
    };
    golden(
        Tlp::MemWrite(write),
        &[
            0b010_00000, // Fmt 010 (3 DW, data)
            0, 0, 1, // Length: 1 DW
            1, 0, 0, // requester, tag
            0b0000_1110, // last DW BE must be 0000; first: bytes 1 to 3
            0xfe, 0xe0, 0x00, 0x00, // address of the doubleword
            0x00, 0xaa, 0xbb, 0xcc,
        ],
    );
}

/// The same above 4 GiB, over two doublewords, with pads on both sides.
#[test]
#[rustfmt::skip]
fn a_write_above_4_gib_has_four_doublewords_of_header() {
    let write = MemWrite {
        requester: CARD,
        tag: Tag(0x42),
        address: 0x1_0000_0003,
        data: Payload::from_slice(&[1, 2]),
        attributes: PLAIN,
    };
    golden(
        Tlp::MemWrite(write),
        &[
            0b011_00000, 0, 0, 2, 1, 0, 0x42, 0b0001_1000, 0, 0, 0, 1, 0, 0, 0, 0,
            0, 0, 0, 1, 2, 0, 0, 0,
        ],
    );
}

/// §2.2.9, figure "Completion Header Format": 64 bytes of which these are the last 4.
#[test]
#[rustfmt::skip]
fn a_completion_with_data_names_completer_then_requester() {
    let completion = Completion {
        completer: Bdf::new(0, 1, 0),
        requester: CARD,
        tag: Tag(0x305),
        status: CompletionStatus::Success,
        byte_count: 4,
        lower_address: 0x7c,
        data: Payload::from_slice(&[0xde, 0xad, 0xbe, 0xef]),
        attributes: PLAIN,
    };
    golden(
        Tlp::Completion(completion),
        &[
            0b010_01010, // Fmt 010, Type 0 1010
            0b1_000_1_000, // T9 = 1, T8 = 1
            0, 1, // Length: 1 DW
            0x00, 0b00001_000, // completer 00:01.0
            0b000_0_0000, // status SC, BCM 0, byte count[11:8]
            4, // byte count[7:0]
            0x01, 0x00, // requester 01:00.0
            0x05, // tag[7:0]
            0b0_1111100, // R, lower address[6:0]
            0xde, 0xad, 0xbe, 0xef,
        ],
    );
}

/// §2.2.9: "Byte Count" of 4096 is written as 0; the first part of an unaligned read of 4096 bytes.
#[test]
fn the_first_part_of_a_split_answer_counts_all_and_pads_only_before() {
    let completion = Completion {
        completer: Bdf::new(0, 1, 0),
        requester: CARD,
        tag: Tag(7),
        status: CompletionStatus::Success,
        byte_count: 4096,
        lower_address: 0x3d,
        data: Payload::from_slice(&[1, 2, 3]),
        attributes: PLAIN,
    };
    let bytes = [0x4a, 0, 0, 1, 0, 8, 0x00, 0x00, 1, 0, 7, 0x3d, 0, 1, 2, 3];
    golden(Tlp::Completion(completion), &bytes);
}

/// §2.2.9: three bytes from byte 2 of a doubleword, all of them here: pads on both sides.
#[test]
fn the_only_part_of_an_unaligned_answer_has_pads_on_both_sides() {
    let completion = Completion {
        completer: Bdf::new(0, 1, 0),
        requester: CARD,
        tag: Tag(7),
        status: CompletionStatus::Success,
        byte_count: 3,
        lower_address: 2,
        data: Payload::from_slice(&[1, 2, 3]),
        attributes: PLAIN,
    };
    let bytes = [0x4a, 0, 0, 2, 0, 8, 0, 3, 1, 0, 7, 2, 0, 0, 1, 2, 3, 0, 0, 0];
    golden(Tlp::Completion(completion), &bytes);
}

/// §2.2.9, table of Completion Status codes.
#[test]
fn a_completion_without_data_carries_its_status_in_the_high_bits_of_byte_6() {
    for (status, byte_6) in [
        (CompletionStatus::Success, 0b000_0_0000),
        (CompletionStatus::UnsupportedRequest, 0b001_0_0000),
        (CompletionStatus::RequestRetry, 0b010_0_0000),
        (CompletionStatus::CompleterAbort, 0b100_0_0000),
        (CompletionStatus::Reserved(0b111), 0b111_0_0000),
    ] {
        let completion = Completion {
            completer: CARD,
            requester: Bdf::new(0, 0, 0),
            tag: Tag(1),
            status,
            byte_count: 4,
            lower_address: 0,
            data: Payload::new(),
            attributes: PLAIN,
        };
        golden(Tlp::Completion(completion), &[0x0a, 0, 0, 0, 1, 0, byte_6, 4, 0, 0, 1, 0]);
    }
}

/// §2.2.7, figure "Request Header Format for Configuration Transactions".
#[test]
#[rustfmt::skip]
fn a_configuration_read_names_function_and_register() {
    let read = ConfigRead {
        requester: Bdf::new(0, 0, 0),
        tag: Tag(9),
        target: Bdf::new(1, 2, 3),
        offset: 0xa16,
        len_bytes: 2,
        forwarded: false,
    };
    golden(
        Tlp::ConfigRead(read),
        &[
            0b000_00100, // Fmt 000, Type 0 0100 (CfgRd0)
            0, 0, 1, // Length is 1
            0, 0, 9, // requester, tag
            0b0000_1100, // last DW BE 0000; first: bytes 2 and 3
            0x01, 0b00010_011, // bus 1, device 2, function 3
            0b0000_1010, // reserved, extended register number
            0b000101_00, // register number, reserved
        ],
    );
}

/// The same figure; type 1 is Type 0 0101, a write is Fmt 010.
#[test]
#[rustfmt::skip]
fn a_forwarded_configuration_write_is_of_type_1() {
    let write = ConfigWrite {
        requester: Bdf::new(0, 0, 0),
        tag: Tag(0x100),
        target: CARD,
        offset: 4,
        data: Payload::from_slice(&[0x06, 0x04]),
        forwarded: true,
    };
    golden(
        Tlp::ConfigWrite(write),
        &[
            0b010_00101, 0b0000_1000, 0, 1, 0, 0, 0, 0b0000_0011, 1, 0, 0, 4,
            0x06, 0x04, 0, 0,
        ],
    );
}

/// §2.2.8, figure "Message Request Header"; §2.2.8.3, ERR_FATAL is code 0011 0011, routed r = 000.
#[test]
fn an_error_message_goes_to_the_root_complex_in_four_doublewords() {
    let message = Message {
        requester: CARD,
        tag: Tag(0),
        code: 0x33,
        routing: MessageRouting::ToRootComplex,
        specific: [0; 8],
        data: Payload::new(),
        attributes: PLAIN,
    };
    let bytes = [0b001_10000, 0, 0, 0, 1, 0, 0, 0x33, 0, 0, 0, 0, 0, 0, 0, 0];
    golden(Tlp::Message(Box::new(message)), &bytes);
}

/// §2.2.8.6, figure "Header for Vendor-Defined Messages": routed by id, with one doubleword of data.
#[test]
#[rustfmt::skip]
fn a_vendor_message_by_id_has_target_vendor_and_words_of_its_own() {
    let message = Message {
        requester: CARD,
        tag: Tag(3),
        code: 0x7e,
        routing: MessageRouting::ById(Bdf::new(2, 0, 1)),
        specific: [0, 0, 0x1a, 0xf4, 1, 2, 3, 4],
        data: Payload::from_slice(&[5, 6, 7, 8]),
        attributes: PLAIN,
    };
    golden(
        Tlp::Message(Box::new(message)),
        &[
            0b011_10010, // Fmt 011 (4 DW, data), Type 1 0 + r = 010 (by id)
            0, 0, 1, 1, 0, 3, 0x7e,
            0x02, 0x01, // target 02:00.1
            0x1a, 0xf4, // vendor
            1, 2, 3, 4, 5, 6, 7, 8,
        ],
    );
}

/// §2.2.8, table "Message Routing".
#[test]
fn the_routing_of_a_message_is_the_low_three_bits_of_its_type() {
    for (routing, route) in [
        (MessageRouting::ToRootComplex, 0b000),
        (MessageRouting::ByAddress(0x0102_0304_0506_0708), 0b001),
        (MessageRouting::ById(Bdf(0x0102)), 0b010),
        (MessageRouting::Broadcast, 0b011),
        (MessageRouting::Local, 0b100),
        (MessageRouting::Gathered, 0b101),
        (MessageRouting::Reserved(0b110), 0b110),
        (MessageRouting::Reserved(0b111), 0b111),
    ] {
        let wire = [0x30 | route, 0, 0, 0, 1, 0, 0, 0x7f, 1, 2, 3, 4, 5, 6, 7, 8];
        let specific = match route {
            0b001 => [0; 8],
            0b010 => [0, 0, 3, 4, 5, 6, 7, 8],
            _ => [1, 2, 3, 4, 5, 6, 7, 8],
        };
        let message = Message {
            requester: CARD,
            tag: Tag(0),
            code: 0x7f,
            routing,
            specific,
            data: Payload::new(),
            attributes: PLAIN,
        };
        golden(Tlp::Message(Box::new(message)), &wire);
    }
}
