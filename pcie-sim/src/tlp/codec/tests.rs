//! Bytes that are no packet, bits that do not count, and what is refused by name.

use super::*;
use crate::tlp::Tlp;

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
        let mut bytes = vec![0; 20];
        bytes[0] = byte;
        bytes[3] = 1;
        let known = match kind {
            0b00000 => fmt < 4,
            0b00100 | 0b00101 | 0b01010 => fmt == 0b000 || fmt == 0b010,
            0b10000..=0b10111 => fmt == 0b001 || fmt == 0b011,
            _ => false,
        };
        let seen = parse(&bytes);
        let unknown = matches!(seen, Err(TlpError::UnknownType { .. }));
        let prefix = seen == Err(TlpError::NotModelled { feature: Feature::Prefix });
        assert_eq!(prefix, fmt == 0b100, "{byte:#010b}");
        assert_eq!(unknown, !known && !prefix, "{byte:#010b}");
        if unknown {
            assert_eq!(seen, Err(TlpError::UnknownType { fmt, kind }));
        }
    }
}

#[test]
fn what_is_not_modelled_is_refused_by_name() {
    for (at, byte, feature) in [
        (0, 0b100_00000, Feature::Prefix),
        (1, 0b0000_0001, Feature::ProcessingHints),
        (1, 0b0000_0010, Feature::LightweightNotification),
        (2, 0b1000_0000, Feature::Digest),
        (2, 0b0100_0000, Feature::Poison),
        (2, 0b0000_0100, Feature::AddressType),
        (2, 0b0000_1000, Feature::AddressType),
    ] {
        assert_eq!(read_with(&[(at, byte)]), Err(TlpError::NotModelled { feature }));
    }
    let refused = |bytes: &[u8], feature| {
        assert_eq!(parse(bytes), Err(TlpError::NotModelled { feature }));
    };
    refused(&[0x0a, 0, 0, 0, 0, 8, 0x10, 4, 1, 0, 7, 0], Feature::ByteCountModified);
    refused(&[0x40, 0, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], Feature::EmptyWrite);
    refused(&[0x44, 0, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], Feature::EmptyWrite);
    refused(&[0x04, 0, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0], Feature::EmptyConfigRead);
}

/// §2.2.5: all 256 pairs of byte enables, for one, two and three doublewords.
#[test]
fn byte_enables_name_a_run_or_are_refused() {
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
        let seen = read_with(&[(3, dwords as u8), (7, enables)]);
        if malformed {
            assert_eq!(seen, Err(TlpError::ByteEnables { first, last, dwords }));
        } else if run.contains('0') {
            assert_eq!(seen, Err(TlpError::ByteEnableHoles { first, last }));
        } else {
            let Ok(Tlp::MemRead(read)) = seen else { panic!("{lane}: {seen:?}") };
            assert_eq!(usize::from(read.len_bytes), run.len(), "{lane}");
            let lead = if run.is_empty() { 0 } else { lane.find('1').unwrap_or(0) };
            assert_eq!(read.address, 0x7f00_1000 + lead as u64, "{lane}");
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
