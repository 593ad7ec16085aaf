//! The laws of the capture reader.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const WIRESHARK: &[u8] = include_bytes!("../../tests/data/wireshark.pcapng");
const NANOSECONDS: &[u8] = include_bytes!("../../tests/data/ns.pcap");
const SLL: &[u8] = include_bytes!("../../tests/data/sll.pcap");
const SLL2: &[u8] = include_bytes!("../../tests/data/sll2.pcap");

fn read(bytes: &[u8]) -> Result<Vec<Packet>, PcapError> {
    PcapReader::new("test.pcap", bytes)?.collect()
}

/// Numbers in the byte order of a file under construction.
#[derive(Clone, Copy)]
struct Bytes {
    big: bool,
}

impl Bytes {
    fn u32(self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u16(self, value: u16) -> [u8; 2] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// A pcap file; each packet is (seconds, fraction, original length, bytes).
    fn pcap(self, magic: u32, link: u32, packets: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = self.u32(magic).to_vec();
        file.extend([self.u16(2), self.u16(4)].concat());
        for word in [0, 0, 65_535, link] {
            file.extend(self.u32(word));
        }
        for (seconds, fraction, original, bytes) in packets {
            for word in [*seconds, *fraction, bytes.len() as u32, *original] {
                file.extend(self.u32(word));
            }
            file.extend(*bytes);
        }
        file
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let len = self.u32(padded as u32 + 12);
        let mut block = [self.u32(kind), len].concat();
        block.extend(body);
        block.resize(padded + 8, 0);
        block.extend(len);
        block
    }

    fn section(self) -> Vec<u8> {
        let body = [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &[0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    /// An interface with a link type, a snap length and options.
    fn interface(self, link: u16, snap: u32, options: &[u8]) -> Vec<u8> {
        self.block(1, &[&self.u16(link)[..], &[0, 0], &self.u32(snap), options].concat())
    }

    fn enhanced(self, interface: u32, ticks: u64, original: u32, bytes: &[u8]) -> Vec<u8> {
        let words = [interface, (ticks >> 32) as u32, ticks as u32, bytes.len() as u32, original];
        self.block(6, &[&words.map(|word| self.u32(word)).concat(), bytes].concat())
    }
}

const FRAME: &[u8] = &[0x11; 60];

/// draft-ietf-opsawg-pcap, "File Header": the magic number tells byte order and resolution.
#[test]
fn both_byte_orders_and_both_resolutions_give_the_same_packets() {
    for big in [false, true] {
        for (magic, fraction) in [(0xa1b2_c3d4, 1_500), (0xa1b2_3c4d, 1_500_000)] {
            let file =
                Bytes { big }.pcap(magic, 1, &[(9, 0, 60, FRAME), (10, fraction, 60, FRAME)]);
            let packets = read(&file).unwrap();
            assert_eq!(packets.len(), 2);
            assert_eq!((packets[0].at, packets[1].at), (Span::ZERO, Span::from_us(1_001_500)));
            assert_eq!(packets[1].data, FRAME);
        }
    }
}

#[test]
fn a_packet_cut_by_the_snap_length_is_filled_up_with_zeroes() {
    let file =
        Bytes { big: false }.pcap(0xa1b2_c3d4, 1, &[(0, 0, 1514, FRAME), (0, 0, 3, &[1, 2, 3])]);
    let packets = read(&file).unwrap();
    assert_eq!((packets[0].data.len(), packets[0].captured_bytes), (1514, 60));
    assert!(packets[0].data[..60] == *FRAME && packets[0].data[60..].iter().all(|byte| *byte == 0));
    assert_eq!(packets[1].data, [1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn times_stay_between_that_of_the_first_packet_and_what_a_bench_can_run() {
    let file = Bytes { big: false }.pcap(0xa1b2_c3d4, 1, &[(9, 5, 60, FRAME), (9, 4, 60, FRAME)]);
    assert_eq!(read(&file).unwrap()[1].at, Span::ZERO);
    let late =
        Bytes { big: false }.pcap(0xa1b2_c3d4, 1, &[(0, 0, 60, FRAME), (u32::MAX, 0, 60, FRAME)]);
    assert_eq!(read(&late).unwrap()[1].at, crate::traffic::LONGEST);
}

/// draft-ietf-opsawg-pcapng: sections bring their byte order, interfaces their clock and link type.
#[test]
fn pcapng_sections_and_interfaces_each_have_their_own_rules() {
    let mut file = Vec::new();
    for big in [false, true] {
        let order = Bytes { big };
        // if_tsresol (9) = 2^-10 s, if_tsoffset (14) = 3 s.
        let resolution = [&order.u16(9)[..], &order.u16(1), &[0x8a, 0, 0, 0]].concat();
        let three = if big { 3_i64.to_be_bytes() } else { 3_i64.to_le_bytes() };
        let offset = [&order.u16(14)[..], &order.u16(8), &three].concat();
        file.extend(order.section());
        file.extend(order.interface(1, 0, &[]));
        file.extend(order.interface(101, 0, &[resolution, offset].concat()));
        file.extend(order.enhanced(0, 3_000_000, 60, FRAME));
        file.extend(order.enhanced(1, 512, 3, &[0x45, 1, 2]));
    }
    let packets = read(&file).unwrap();
    assert_eq!(packets.len(), 4);
    assert_eq!(packets[3].at, Span::from_ms(500));
    assert_eq!(packets[1], packets[3]);
    assert_eq!(packets[3].data[12..], [0x08, 0x00, 0x45, 1, 2]);
}

/// draft-ietf-opsawg-pcapng, "Simple Packet Block": cut at the interface's snap length, no time.
#[test]
fn a_simple_packet_is_as_late_as_the_one_before() {
    let order = Bytes { big: true };
    let mut file = order.section();
    file.extend(order.interface(1, 20, &[]));
    file.extend(order.enhanced(0, 5, 60, FRAME));
    file.extend(order.enhanced(0, 8, 60, FRAME));
    file.extend(order.block(3, &[&order.u32(60)[..], &[0x22; 20]].concat()));
    let packets = read(&file).unwrap();
    assert_eq!((packets[2].at, packets[2].captured_bytes), (Span::from_us(3), 20));
    assert_eq!(packets[2].data.len(), 60);
}

#[test]
fn captures_made_by_other_tools_are_read_whole() {
    let expected = &super::super::recorded::NET_PCAP;
    let original: Vec<_> = read(expected).unwrap();
    for (file, count) in [(WIRESHARK, 24), (NANOSECONDS, 12)] {
        let packets = read(file).unwrap();
        assert_eq!(packets, original[..count]);
    }
}

/// tcpdump's `any` device; ping over loopback.
#[test]
fn cooked_captures_become_ethernet() {
    for file in [SLL, SLL2] {
        let packets = read(file).unwrap();
        assert_eq!(packets.len(), 6);
        for packet in packets {
            assert_eq!((packet.data.len(), &packet.data[12..15]), (98, &[0x08, 0x00, 0x45][..]));
        }
    }
}

#[test]
fn a_packet_longer_than_the_window_is_read() {
    let long = vec![0x33; MAX_FRAME_BYTES];
    for big in [false, true] {
        let order = Bytes { big };
        let packet = (0, 0, long.len() as u32, &long[..]);
        let file = order.pcap(0xa1b2_c3d4, 1, &[packet, (0, 0, 60, FRAME), packet, packet]);
        assert_eq!(read(&file).unwrap().len(), 4);
        let comment = order.block(0x0bad, &vec![0; 3_000_000]);
        let blocks = [
            order.section(),
            comment,
            order.interface(1, 0, &[]),
            order.enhanced(0, 0, long.len() as u32, &long),
        ];
        assert_eq!(read(&blocks.concat()).unwrap()[0].data, long);
    }
}

#[test]
fn what_is_no_capture_is_refused_with_its_first_bytes() {
    let error = read(b"GIF89a, and so on and so forth").unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.pcap: not a packet capture: it starts with 47 49 46 38 39 61 2c 20, \
         no pcap or pcapng file does"
    );
    assert!(matches!(read(b"ab"), Err(PcapError::NotACapture { .. })));
    assert!(matches!(read(b""), Err(PcapError::Empty { offset: 0, .. })));
    let header_only = Bytes { big: false }.pcap(0xa1b2_c3d4, 1, &[]);
    assert!(matches!(read(&header_only), Err(PcapError::Empty { offset: 24, .. })));
}

#[test]
fn a_capture_cut_off_anywhere_is_refused_or_ends_between_packets() {
    let order = Bytes { big: false };
    let pcap = order.pcap(0xa1b2_c3d4, 1, &[(0, 0, 60, FRAME), (1, 0, 60, FRAME)]);
    let blocks = [order.section(), order.interface(1, 0, &[]), order.enhanced(0, 0, 60, FRAME)];
    let whole = |len: usize| [pcap.len(), pcap.len() - 76].contains(&len);
    for len in 25..pcap.len() {
        let outcome = read(&pcap[..len]);
        assert_eq!(outcome.is_ok(), whole(len), "{len}");
    }
    let error = read(&pcap[..150]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.pcap: the capture is cut off in packet 2, which starts at byte 100"
    );
    let pcapng = blocks.concat();
    for len in 0..pcapng.len() {
        assert!(read(&pcapng[..len]).is_err(), "{len}");
    }
}

#[test]
fn an_unsupported_link_type_is_named() {
    let file = Bytes { big: false }.pcap(0xa1b2_c3d4, 105, &[(0, 0, 60, FRAME)]);
    let error = read(&file).unwrap_err();
    assert!(error.to_string().starts_with("test.pcap: packet 1 at byte 24: link type 105 is not"));
}

#[test]
fn lengths_that_contradict_each_other_are_damage() {
    let order = Bytes { big: false };
    let mut long = order.pcap(0xa1b2_c3d4, 1, &[(0, 0, 60, FRAME)]);
    long[32..36].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    assert!(matches!(read(&long), Err(PcapError::Damaged { damage: Damage::TooLong { .. }, .. })));
    let original = order.pcap(0xa1b2_c3d4, 1, &[(0, 0, u32::MAX, FRAME)]);
    assert!(matches!(read(&original), Err(PcapError::Damaged { packet: 1, .. })));
    let head = [order.section(), order.interface(1, 0, &[])].concat();
    let mut packet = order.enhanced(0, 0, 60, FRAME);
    packet[20..24].copy_from_slice(&order.u32(64));
    let file = [&head[..], &packet, &order.enhanced(0, 0, 60, FRAME)].concat();
    let outcome = read(&file);
    assert!(matches!(outcome, Err(PcapError::Damaged { packet: 1, .. })), "{outcome:?}");
    for len in [0, 1, 8, 11] {
        let runt = [&head[..], &order.u32(5), &order.u32(len), &[0; 40]].concat();
        assert!(matches!(read(&runt), Err(PcapError::Damaged { packet: 1, .. })), "{len}");
    }
    let stranger = [&head[..], &order.enhanced(7, 0, 60, FRAME)].concat();
    assert!(
        read(&stranger).unwrap_err().to_string().ends_with("interface 7 has not been described")
    );
    for big in [false, true] {
        let order = Bytes { big };
        let old = [order.section(), order.interface(1, 0, &[]), order.block(2, &[0; 40])].concat();
        assert!(read(&old).unwrap_err().to_string().contains("obsolete Packet Block"));
    }
}

#[test]
fn a_file_that_cannot_be_opened_or_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = PcapReader::open(&folder.path().join("missing.pcap")).unwrap_err();
    assert!(matches!(missing, PcapError::Open { .. }));
    assert!(matches!(PcapReader::open(folder.path()), Err(PcapError::Read { .. })));
    let path = folder.path().join("small.pcap");
    std::fs::File::create(&path).unwrap().write_all(NANOSECONDS).unwrap();
    assert_eq!(survey(PcapReader::open(&path).unwrap()).unwrap().packets, 12);
}

/// A reader that gives a byte at a time and fails in the end, as a pipe may.
struct Pipe<'a>(&'a [u8]);

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((first, rest)) = self.0.split_first() else {
            return Err(io::Error::other("the line went dead"));
        };
        self.0 = rest;
        buffer[0] = *first;
        Ok(1)
    }
}

#[test]
fn a_failure_in_the_middle_is_reported_with_its_reason() {
    let mut packets = PcapReader::new("pipe", Pipe(NANOSECONDS)).unwrap();
    assert_eq!(packets.by_ref().take_while(Result::is_ok).count(), 12);
    let mut packets = PcapReader::new("pipe", Pipe(NANOSECONDS)).unwrap().skip(12);
    let error = packets.next().unwrap().unwrap_err();
    assert!(error.to_string().ends_with("the line went dead"), "{error}");
    assert!(packets.next().is_none());
}

proptest! {
    #[test]
    fn a_valid_file_gives_back_what_was_put_in(
        packets in prop::collection::vec((0..1000u32, 0..1_000_000u32, prop::collection::vec(any::<u8>(), 14..300)), 1..40),
        big: bool,
    ) {
        let records: Vec<_> = packets.iter().map(|(s, us, bytes)| (*s, *us, bytes.len() as u32, &bytes[..])).collect();
        let order = Bytes { big };
        let pcap = order.pcap(0xa1b2_c3d4, 1, &records);
        let mut pcapng = [order.section(), order.interface(1, 0, &[])].concat();
        for (s, us, original, bytes) in records {
            pcapng.extend(order.enhanced(0, u64::from(s) * 1_000_000 + u64::from(us), original, bytes));
        }
        let (pcap, pcapng) = (read(&pcap).unwrap(), read(&pcapng).unwrap());
        prop_assert_eq!(&pcap, &pcapng);
        prop_assert!(pcap.iter().map(|packet| &packet.data).eq(packets.iter().map(|(_, _, bytes)| bytes)));
    }

    #[test]
    fn no_bytes_whatever_make_the_reader_panic(
        magic in prop::sample::select(vec![0xa1b2_c3d4_u32, 0xd4c3_b2a1, 0xa1b2_3c4d, 0x4d3c_b2a1, 0xa1b2_cd34, 0x0a0d_0d0a, 7]),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let file = [&magic.to_le_bytes()[..], &bytes].concat();
        let _ = read(&file);
    }

    #[test]
    fn no_change_of_a_valid_file_makes_the_reader_panic(
        which in 0..4usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        head: bool,
    ) {
        let mut file = [WIRESHARK, NANOSECONDS, SLL, SLL2][which].to_vec();
        for (at, value) in changes {
            let within = if head { file.len().min(240) } else { file.len() };
            let at = at.index(within);
            file[at] = value;
        }
        if !head {
            file.truncate(cut.index(file.len()));
        }
        let _ = read(&file);
    }
}
