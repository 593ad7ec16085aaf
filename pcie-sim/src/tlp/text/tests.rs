use super::*;
use crate::tlp::codec::parse;

#[track_caller]
fn words(bytes: &[u8]) -> String {
    parse(bytes).expect("a packet").to_string()
}

/// One line for each kind, in the words of the module's picture.
#[test]
fn each_kind_of_packet_is_one_line_of_words() {
    let read = [0, 0, 0, 16, 1, 0, 5, 0xff, 0x7f, 0, 0x10, 0];
    assert_eq!(words(&read), "MRd 01:00.0 tag 5 addr 0x7f001000 len 64");
    let write = [0x60, 0x34, 0x30, 1, 1, 0, 5, 0xf, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(words(&write), "MWr 01:00.0 tag 5 addr 0x100000000 len 4 tc 3 ro ido ns");
    let read = [4, 0, 0, 1, 0, 0, 9, 0xf, 1, 0, 0, 0x10];
    assert_eq!(words(&read), "CfgRd0 00:00.0 -> 01:00.0 tag 9 reg 0x010 len 4");
    let read = [5, 0, 0, 1, 0, 0, 9, 1, 1, 0, 1, 0];
    assert_eq!(words(&read), "CfgRd1 00:00.0 -> 01:00.0 tag 9 reg 0x100 len 1");
    let write = [0x44, 0, 0, 1, 0, 0, 9, 3, 1, 0, 0, 4, 6, 4, 0, 0];
    assert_eq!(words(&write), "CfgWr0 00:00.0 -> 01:00.0 tag 9 reg 0x004 len 2 data 0x0406");
    let write = [0x45, 0, 0, 1, 0, 0, 9, 1, 1, 0, 0, 4, 6, 0, 0, 0];
    assert_eq!(words(&write), "CfgWr1 00:00.0 -> 01:00.0 tag 9 reg 0x004 len 1 data 0x06");
    let data = [0x4a, 0, 0, 1, 0, 0, 0, 64, 1, 0, 5, 0x3c, 1, 2, 3, 4];
    assert_eq!(words(&data), "CplD 00:00.0 -> 01:00.0 tag 5 SC bc 64 la 0x3c len 4");
    let error = [0x0a, 0, 0, 0, 0, 0, 0x20, 4, 1, 0, 5, 0];
    assert_eq!(words(&error), "Cpl 00:00.0 -> 01:00.0 tag 5 UR bc 4 la 0x00");
    let message = [0x30, 0, 0, 0, 1, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(words(&message), "Msg 01:00.0 tag 0 code 0x30 ERR_COR to root complex");
    let message = [0x72, 0, 0, 1, 1, 0, 0, 0x7e, 2, 0, 0x1a, 0xf4, 0, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(
        words(&message),
        "MsgD 01:00.0 tag 0 code 0x7e Vendor_Defined_Type_0 to 02:00.0 \
         bytes 8-15 00001af400000000 len 4"
    );
}

#[test]
fn io_and_atomic_requests_show_their_numbers_as_numbers() {
    let read = [2, 0, 0, 1, 0, 0, 3, 0b0110, 0, 0, 0x0c, 0xf8];
    assert_eq!(words(&read), "IORd 00:00.0 tag 3 addr 0x00000cf9 len 2");
    let write = [0x42, 0, 0, 1, 0, 0, 3, 1, 0, 0, 0, 0x60, 0x2a, 0, 0, 0];
    assert_eq!(words(&write), "IOWr 00:00.0 tag 3 addr 0x00000060 len 1 data 0x2a");
    let add = [0x4c, 0, 0, 1, 1, 0, 7, 0, 0, 0, 0x10, 0, 2, 1, 0, 0];
    assert_eq!(words(&add), "FetchAdd 01:00.0 tag 7 addr 0x00001000 len 4 add 0x00000102");
    let swap = [0x4d, 0x10, 0, 1, 1, 0, 7, 0, 0, 0, 0x10, 0, 2, 1, 0, 0];
    assert_eq!(words(&swap), "Swap 01:00.0 tag 7 addr 0x00001000 len 4 new 0x00000102 tc 1");
    let cas = [0x4e, 0x80, 0, 2, 1, 0, 7, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 2, 0, 0, 0];
    assert_eq!(
        words(&cas),
        "CAS 01:00.0 tag 519 addr 0x00001000 len 4 expect 0x00000001 new 0x00000002"
    );
}

#[test]
fn what_few_packets_have_follows_behind_the_attributes() {
    let write = [
        0x8e, 1, 2, 3, 0x91, 0x80, 0x01, 0x23, 0x90, 0xab, 0, 0, 0x9f, 4, 5, 6, // prefixes
        0x40, 0x11, 0xe8, 1, 1, 0, 0x34, 0b0101, 0, 0, 0x10, 2, 1, 0, 3, 0, // header, data
        0x0a, 0x1b, 0x2c, 0x3d,
    ];
    assert_eq!(
        words(&write),
        "MWr 01:00.0 tag 0 addr 0x00001000 len 3 tc 1 ro poisoned at translated ph 2 st 0x34 \
         be 0101/0000 local prefix 14 010203 pasid 0x00123 privileged st high 0xab \
         prefix 15 040506 ecrc 0a1b2c3d"
    );
    let read = [0, 0, 4, 2, 1, 0, 5, 0xff, 0, 0, 0x10, 1];
    assert_eq!(words(&read), "MRd 01:00.0 tag 5 addr 0x00001000 len 8 at request nw");
}

#[test]
fn the_hex_digits_of_a_packet_are_its_bytes_in_order() {
    let bytes = [0, 0, 0, 16, 1, 0, 5, 0xff, 0x7f, 0, 0x10, 0];
    assert_eq!(hex(&parse(&bytes).expect("a read")), "00000010010005ff7f001000");
}

#[test]
fn hex_digits_of_any_length_are_two_for_each_byte() {
    for len in [0, 1, 31, 32, 33, 64, 100] {
        let bytes: Vec<u8> = (0..len).collect();
        let slow: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(Hex(&bytes).to_string(), slow);
    }
}
