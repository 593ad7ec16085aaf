//! Bytes to messages and back.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn numbers() -> impl Strategy<Value = (u32, u64, u64, u64)> {
    (any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>())
}

/// Bodies with the command and the direction that they belong to.
fn bodies() -> impl Strategy<Value = (Command, bool, Body)> {
    let data = || vec(any::<u8>(), 0..200);
    let region =
        |offset, region, data: &[u8]| RegionRange { offset, region, count: data.len() as u32 };
    prop_oneof![
        (any::<u16>(), any::<u16>(), vec(1..=255_u8, 0..99)).prop_map(|(major, minor, text)| {
            (Command::Version, true, Body::Version { major, minor, capabilities: text })
        }),
        numbers().prop_map(|(flags, offset, address, len_bytes)| {
            let range = DmaRange { flags, offset, address, len_bytes };
            (Command::DmaMap, true, Body::DmaMap(range))
        }),
        numbers().prop_map(|(flags, _, address, len_bytes)| {
            let range = DmaRange { flags, offset: 0, address, len_bytes };
            (Command::DmaUnmap, flags % 2 == 0, Body::DmaUnmap(range))
        }),
        numbers().prop_map(|(flags, a, b, _)| {
            let (regions, irqs) = (a as u32, b as u32);
            (Command::DeviceInfo, flags % 2 == 0, Body::DeviceInfo { flags, regions, irqs })
        }),
        numbers().prop_map(|(flags, index, len_bytes, offset)| {
            let index = index as u32;
            (Command::RegionInfo, false, Body::RegionInfo { flags, index, len_bytes, offset })
        }),
        (numbers(), data()).prop_map(|((flags, a, b, c), data)| {
            let (index, start, count) = (a as u32, b as u32, c as u32);
            (Command::SetIrqs, true, Body::SetIrqs { flags, index, start, count, data })
        }),
        (numbers(), data(), any::<bool>()).prop_map(move |((at, offset, ..), data, asks)| {
            let range = region(offset, at, &data);
            let command = if asks { Command::RegionWrite } else { Command::RegionRead };
            (command, asks, Body::RegionData(range, data))
        }),
        (numbers(), data(), any::<bool>()).prop_map(move |((at, offset, ..), data, asks)| {
            let command = if asks { Command::RegionRead } else { Command::RegionWrite };
            (command, asks, Body::Region(region(offset, at, &data)))
        }),
        (any::<u64>(), data(), any::<bool>()).prop_map(|(address, data, asks)| {
            let command = if asks { Command::DmaWrite } else { Command::DmaRead };
            (command, asks, Body::DmaData { address, data })
        }),
        (any::<u64>(), 0..LONGEST_DATA_BYTES, any::<bool>()).prop_map(|(address, count, asks)| {
            let command = if asks { Command::DmaRead } else { Command::DmaWrite };
            (command, asks, Body::Dma { address, count })
        }),
        Just((Command::DeviceReset, true, Body::Empty)),
    ]
}

proptest! {
    #[test]
    fn what_is_emitted_is_read_as_it_was(
        (command, asks, body) in bodies(),
        id in any::<u16>(),
        quiet in any::<bool>(),
    ) {
        let kind = match (asks, quiet) {
            (true, true) => Kind::Tell,
            (true, false) => Kind::Ask,
            (false, _) => Kind::Reply,
        };
        let message = Message { id, command, kind, body };
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        let (head, body) = bytes.split_first_chunk().expect("a header");
        let header = Header::parse(head).expect("a header");
        prop_assert_eq!(header.body_bytes(), body.len());
        prop_assert_eq!(Message::parse(&header, body), Ok(message));
    }

    #[test]
    fn any_bytes_are_a_message_or_a_typed_error(bytes in vec(any::<u8>(), 16..120), number in 0..16_u16) {
        let mut bytes = bytes;
        bytes[2..4].copy_from_slice(&number.to_le_bytes());
        let length = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        let flags = u32::from(bytes[8]) & 0x31;
        bytes[8..12].copy_from_slice(&flags.to_le_bytes());
        let (head, body) = bytes.split_first_chunk().expect("a header");
        let header = Header::parse(head).expect("size and type are right");
        match Message::parse(&header, body) {
            Ok(message) => {
                let mut again = Vec::new();
                message.emit(&mut again);
                let (head, body) = again.split_first_chunk().expect("a header");
                let header = Header::parse(head).expect("a header");
                prop_assert_eq!(Message::parse(&header, body), Ok(message));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

/// The layout that QEMU reads and writes, byte for byte: the length of a DMA command is 64 bits.
#[test]
fn the_bytes_are_those_of_the_protocol() {
    let mut bytes = Vec::new();
    let body = Body::DmaData { address: 0x1122_3344_5566_7788, data: vec![0xaa, 0xbb] };
    Message { id: 0x0102, command: Command::DmaWrite, kind: Kind::Ask, body }.emit(&mut bytes);
    let expected = [
        0x02, 0x01, 0x0c, 0x00, 0x22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 2, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xbb,
    ];
    assert_eq!(bytes, expected);
    let body = Body::Region(RegionRange { offset: 0x10, region: 7, count: 4 });
    Message { id: 3, command: Command::RegionRead, kind: Kind::Reply, body }.emit(&mut bytes);
    assert_eq!(bytes[..16], [3, 0, 9, 0, 0x20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[16..], [0x10, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0]);
}
