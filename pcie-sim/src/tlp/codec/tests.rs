//! Bytes that are no packet, bits that do not count, and what is refused by name.

use super::*;
use crate::tlp::{ByteEnables, Tlp};

fn bytes_of(tlp: &Tlp) -> Vec<u8> {
    let mut bytes = Vec::new();
    emit(tlp, &mut bytes);
    bytes
}

/// §2.1.2: a receiver ignores reserved fields.
#[test]
fn reserved_bits_and_pads_are_not_looked_at() {
    let clean = [0x4a, 0, 0, 1, 0, 8, 0, 1, 1, 0, 7, 0x01, 0, 0xee, 0, 0];
    // TH and AT mean nothing in a completion; bit 7 of byte 11 is reserved; the rest are pads.
    let dirty = [0x4a, 1, 0x0c, 1, 0, 8, 0, 1, 1, 0, 7, 0x81, 9, 0xee, 9, 9];
    assert_eq!(parse(&dirty), parse(&clean));
    assert_eq!(bytes_of(&parse(&dirty).expect("a completion")), clean);
    let clean = [0x04, 0, 0, 1, 0, 0, 9, 0xf, 1, 0, 0, 0x10];
    let dirty = [0x04, 0x07, 0, 1, 0, 0, 9, 0xf, 1, 0, 0xf0, 0x13];
    assert_eq!(parse(&dirty), parse(&clean));
    let clean = [0x30, 0, 0, 0, 1, 0, 0, 0x33, 0, 0, 0, 0, 0, 0, 0, 0];
    let dirty = [0x30, 0x8b, 0x0f, 0xff, 1, 0, 0, 0x33, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(parse(&dirty), parse(&clean), "Length, T9, T8, AT of a message without data");
}

const READ: [u8; 12] = [0, 0, 0, 16, 1, 0, 5, 0xff, 0x7f, 0, 0x10, 0];

/// The READ above with some bytes replaced.
fn read_with(changes: &[(usize, u8)]) -> Result<Tlp, TlpError> {
    let mut bytes = READ;
    for &(at, byte) in changes {
        bytes[at] = byte;
    }
    parse(&bytes)
}

#[test]
fn a_packet_that_is_cut_off_or_too_long_is_refused_with_both_lengths() {
    for len in 0..READ.len() {
        assert_eq!(parse(&READ[..len]), Err(TlpError::Truncated { expected: 12, seen: len }));
    }
    let mut write = READ.to_vec();
    write[0] = 0x40;
    write.resize(12 + 63, 0);
    assert_eq!(parse(&write), Err(TlpError::Truncated { expected: 76, seen: 75 }));
    write.resize(12 + 65, 0);
    assert_eq!(parse(&write), Err(TlpError::TrailingBytes { expected: 76, seen: 77 }));
}

#[test]
fn every_fmt_and_type_is_known_or_named_in_the_error() {
    for byte in 0..=0xff_u8 {
        let (fmt, kind) = (byte >> 5, byte & 0x1f);
        let mut bytes = vec![0; if fmt == 4 { 16 } else { 20 }];
        bytes[0] = byte;
        bytes[3] = 1;
        if fmt == 4 {
            bytes[7] = 1;
        }
        let known = match kind {
            0b00000 => fmt < 4,
            0b00010 | 0b00100 | 0b00101 | 0b01010 => fmt == 0b000 || fmt == 0b010,
            0b01100..=0b01110 => fmt == 0b010 || fmt == 0b011,
            0b10000..=0b10111 => fmt == 0b001 || fmt == 0b011,
            _ => false,
        };
        let seen = parse(&bytes);
        let unknown = matches!(seen, Err(TlpError::UnknownType { .. }));
        // Behind a prefix comes a read of nothing, of one doubleword.
        let prefix = matches!(seen, Ok(Tlp::Extended(_)));
        assert_eq!(prefix, fmt == 0b100, "{byte:#010b}: {seen:?}");
        let by_name = matches!(seen, Err(TlpError::NotModelled { .. }));
        let locked = kind == 0b00001 && fmt < 2 || kind == 0b01011 && (fmt == 0 || fmt == 2);
        let deferred = kind == 0b11011 && (fmt == 2 || fmt == 3);
        assert_eq!(by_name, locked || deferred, "{byte:#010b}");
        assert_eq!(unknown, !known && !prefix && !by_name, "{byte:#010b}");
        if unknown {
            assert_eq!(seen, Err(TlpError::UnknownType { fmt, kind }));
        }
    }
}

#[test]
fn what_is_not_modelled_is_refused_by_name() {
    let refused = |bytes: &[u8], feature| {
        let error = TlpError::NotModelled { feature };
        assert_eq!(parse(bytes), Err(error));
        assert!(!error.is_malformed());
    };
    refused(&[0, 2, 0, 1, 1, 0, 5, 0xf, 0, 0, 0, 0], Feature::LightweightNotification);
    refused(&[0x4a, 2, 0, 1, 0, 8, 0, 1, 1, 0, 7, 1, 0, 0, 0, 0], Feature::LightweightNotification);
    refused(&[0x0a, 0, 0, 0, 0, 8, 0x10, 4, 1, 0, 7, 0], Feature::ByteCountModified);
    refused(&[0x01, 0, 0, 1, 1, 0, 5, 0xf, 0, 0, 0, 0], Feature::Locked);
    refused(&[0x0b, 0, 0, 0, 0, 8, 0, 4, 1, 0, 7, 0], Feature::Locked);
    refused(&[0x5b, 0, 0, 1, 1, 0, 5, 0xf, 0, 0, 0, 0, 1, 2, 3, 4], Feature::DeferrableWrite);
}

/// The categories of malformed TLPs that can be told from the bytes alone; each error names its field.
/// §2.3, "Handling of Received TLPs", and the rules it refers to.
#[test]
fn each_kind_of_malformed_packet_is_refused_by_the_name_of_its_field() {
    let refused = |bytes: &[u8], words: &str| {
        let error = parse(bytes).expect_err(words);
        assert!(error.is_malformed() && error.to_string().contains(words), "{error}");
    };
    refused(&[0x80; 12], "truncated");
    refused(&[0, 0, 0x40, 1, 1, 0, 5, 0xf, 0, 0, 0, 0], "EP of a packet without data");
    refused(&[0x40, 0, 4, 1, 1, 0, 0, 0xf, 0, 0, 0, 0, 0, 0, 0, 0], "AT of a request");
    refused(&[0, 1, 4, 1, 1, 0, 0, 0, 0, 0, 0, 0], "TH of a translation request");
    refused(&[0x02, 0x10, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0], "TC of an I/O request");
    refused(&[0x02, 0, 0x20, 1, 1, 0, 0, 1, 0, 0, 0, 0], "Attr[1:0] of an I/O request");
    refused(&[0x02, 0, 4, 1, 1, 0, 0, 1, 0, 0, 0, 0], "AT of an I/O request");
    refused(&[0x02, 0, 0, 2, 1, 0, 0, 1, 0, 0, 0, 0], "Length of an I/O request");
    let mut fetch_add = vec![0x4c, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0];
    fetch_add.resize(12 + 12, 0);
    refused(&fetch_add, "bytes of operands");
}

/// §2.2.7: an atomic request has operands of its operation's sizes, at a multiple of the location's.
#[test]
fn an_atomic_request_of_another_size_or_place_is_refused() {
    for (kind, sizes) in [(0x4c, vec![1, 2]), (0x4d, vec![1, 2]), (0x4e, vec![2, 4, 8])] {
        for dwords in 1..=9_u8 {
            for address in (0..32).step_by(4) {
                let mut bytes = vec![kind, 0, 0, dwords, 1, 0, 0, 0xff, 0, 0, 0x10, address];
                bytes.resize(12 + 4 * usize::from(dwords), 0x11);
                let size = 4 * dwords / if kind == 0x4e { 2 } else { 1 };
                let known = sizes.contains(&dwords);
                let parsed = parse(&bytes);
                assert_eq!(parsed.is_ok(), known && address % size == 0, "{bytes:x?}: {parsed:?}");
                let words = if known { "address of an atomic" } else { "bytes of operands" };
                if let Err(error) = parsed {
                    assert!(error.to_string().contains(words), "{error}");
                }
            }
        }
    }
}

/// §2.2.8: interrupts, errors, power and slot messages use traffic class 0 and carry what the code says.
#[test]
fn a_message_with_another_class_or_length_than_its_code_demands_is_refused() {
    let message = |code: u8, class: u8, data: bool| {
        let mut bytes = vec![if data { 0x74 } else { 0x34 }, class << 4, 0, 1, 1, 0, 0, code];
        bytes.resize(if data { 20 } else { 16 }, 0);
        parse(&bytes)
    };
    let strict = [0x00, 0x10, 0x12, 0x14, 0x18, 0x19, 0x1b, 0x30, 0x31, 0x33];
    for code in strict.into_iter().chain(0x20..0x28) {
        assert!(message(code, 0, false).is_ok(), "{code:#x}");
        assert!(message(code, 1, false).is_err(), "{code:#x}");
        assert!(message(code, 0, true).is_err(), "{code:#x}");
    }
    assert!(message(0x50, 0, true).is_ok());
    assert!(message(0x50, 0, false).is_err() && message(0x50, 3, true).is_err());
    assert!(message(0x7e, 7, true).is_ok() && message(0x7f, 7, false).is_ok());
}

/// §2.2.10: local prefixes before End-End ones, and of those at most four.
#[test]
fn prefixes_out_of_order_or_too_many_are_refused() {
    let with = |prefixes: &[u8]| {
        let mut bytes: Vec<u8> = prefixes.iter().flat_map(|&first| [first, 0, 0, 0]).collect();
        bytes.extend(READ);
        parse(&bytes)
    };
    assert!(with(&[0x8e, 0x8f, 0x91, 0x90, 0x9e, 0x9f]).is_ok());
    assert!(with(&[0x8e, 0x9e, 0x8f]).is_err_and(|error| error.is_malformed()));
    assert!(with(&[0x9e; 5]).is_err_and(|error| error.is_malformed()));
}

/// §2.2.5: all 256 pairs of byte enables, for one, two and three doublewords.
#[test]
fn byte_enables_name_a_run_or_leave_out_bytes_of_a_short_one_or_are_refused() {
    for (dwords, enables) in (1..=3).flat_map(|dwords| (0..=0xff_u8).map(move |be| (dwords, be))) {
        let (first, last) = (enables & 0xf, enables >> 4);
        // The bytes enabled, as a string of 0 and 1 in the order of their addresses.
        let bit = |nibble: u8, at: usize| if nibble >> at & 1 == 1 { '1' } else { '0' };
        let mut lane: String = (0..4).map(|at| bit(first, at)).collect();
        if dwords > 1 {
            lane.push_str(&"1111".repeat(dwords - 2));
            lane.extend((0..4).map(|at| bit(last, at)));
        }
        let run = lane.trim_matches('0');
        let malformed = if dwords == 1 { last != 0 } else { first == 0 || last == 0 };
        // READ asks at a multiple of 8.
        let holes = run.contains('0');
        let aligned = read_with(&[(3, dwords as u8), (7, enables)]);
        if holes && !malformed && dwords < 3 {
            let Ok(Tlp::Extended(extended)) = aligned else { panic!("{lane}: {aligned:?}") };
            let Tlp::MemRead(read) = extended.tlp() else { panic!("{lane}") };
            assert_eq!(usize::from(read.len_bytes), run.len(), "{lane}");
            assert_eq!(extended.extras().enables, Some(ByteEnables { first, last }));
            if dwords == 1 {
                continue;
            }
        }
        let seen = read_with(&[(3, dwords as u8), (7, enables), (11, 4)]);
        if malformed {
            assert_eq!(seen, Err(TlpError::ByteEnables { first, last, dwords }));
        } else if holes {
            assert_eq!(seen, Err(TlpError::ByteEnableHoles { first, last }));
        } else {
            let Ok(Tlp::MemRead(read)) = seen else { panic!("{lane}: {seen:?}") };
            assert_eq!(usize::from(read.len_bytes), run.len(), "{lane}");
            let lead = if run.is_empty() { 0 } else { lane.find('1').unwrap_or(0) };
            assert_eq!(read.address, 0x7f00_1004 + lead as u64, "{lane}");
        }
    }
}

/// §2.2.7: address and length of a request stay inside one 4-KiB page.
#[test]
fn a_request_across_a_4_kib_boundary_is_refused() {
    let to_the_end = read_with(&[(10, 0x1f), (11, 0xc0)]);
    assert!(matches!(to_the_end, Ok(Tlp::MemRead(read)) if read.address == 0x7f00_1fc0));
    assert_eq!(
        read_with(&[(10, 0x1f), (11, 0xc4)]),
        Err(TlpError::CrossesPage { address: 0x7f00_1fc4, len_bytes: 64 })
    );
}

/// §2.2.4.1: an address below 4 GiB goes into the short header.
#[test]
fn a_long_header_below_4_gib_is_refused() {
    let mut bytes = [0x20, 0, 0, 1, 1, 0, 0, 0xf, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc];
    assert_eq!(parse(&bytes), Err(TlpError::LongHeader { address: 0xffff_fffc }));
    bytes[11] = 1;
    assert!(parse(&bytes).is_ok());
}

/// §2.2.7: TC, Attr\[1:0\] and AT are 0 and Length is 1 in a configuration request.
#[test]
fn a_configuration_request_with_length_class_or_attributes_is_refused() {
    let base = [0x04, 0, 0, 1, 0, 0, 9, 0xf, 1, 0, 0, 0x10];
    for (at, byte, seen) in [(1, 0x70, 7), (2, 0x30, 3), (2, 0x0c, 3), (3, 2, 2), (3, 0, 1024)] {
        let mut bytes = base;
        bytes[at] = byte;
        let error = parse(&bytes).expect_err("against the rules");
        assert!(matches!(error, TlpError::Field { seen: there, .. } if there == seen), "{error}");
    }
}

/// §2.2.9: Length is what Byte Count and Lower Address need.
#[test]
fn a_completion_with_more_doublewords_than_its_count_needs_is_refused() {
    let bytes = [0x4a, 0, 0, 2, 0, 8, 0, 4, 1, 0, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let error = TlpError::CompletionData { data_bytes: 8, byte_count: 4, lower_address: 0 };
    assert_eq!(parse(&bytes), Err(error));
}

#[test]
fn emitting_into_a_buffer_with_room_appends_and_does_not_allocate() {
    let tlp = parse(&READ).expect("a read");
    let mut out = Vec::with_capacity(100);
    out.push(0x55);
    let (place, room) = (out.as_ptr(), out.capacity());
    emit(&tlp, &mut out);
    assert_eq!((out.as_ptr(), out.capacity()), (place, room));
    assert_eq!((out[0], &out[1..]), (0x55, &READ[..]));
}
