//! Laws that bind the two directions of the TLP codec.

mod tlps;

use std::collections::BTreeSet;

use pcie_sim::tlp::codec::{check, emit, parse};
use pcie_sim::tlp::{Payload, Tlp};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tlps::any_tlp;

fn bytes_of(tlp: &Tlp) -> Vec<u8> {
    let mut bytes = Vec::new();
    emit(tlp, &mut bytes);
    bytes
}

/// Bytes that are often nearly a packet: a header with a plausible first doubleword, then as much data
/// as it announces, a few bytes more or fewer.
fn nearly_a_tlp() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        Just(0x00_u8),
        Just(0x20),
        Just(0x40),
        Just(0x60),
        Just(0x04),
        Just(0x45),
        Just(0x0a),
        Just(0x4a),
        0x30..0x38_u8,
        0x70..0x78_u8,
        any::<u8>(),
    ];
    let plain = prop_oneof![4 => Just(0_u8), 1 => any::<u8>()];
    let enables = prop_oneof![Just(0xff_u8), Just(0x0f), any::<u8>()];
    let rest = proptest::collection::vec(any::<u8>(), 12..64);
    (first, plain.clone(), plain, 0..12_u8, enables, rest, 0..8_usize).prop_map(
        |(first, byte_1, byte_2, length, enables, rest, cut)| {
            let mut bytes = vec![first, byte_1, byte_2, length];
            bytes.extend(rest);
            bytes[7] = enables;
            let header = if first & 0x20 == 0 { 12 } else { 16 };
            let data = if first & 0x40 == 0 { 0 } else { 4 * usize::from(length) };
            // Mostly the right length.
            bytes.resize(header + data + if cut == 7 { 1 } else { 0 }, 0x5a);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Meaning survives the way over the wire.
    #[test]
    fn a_packet_emitted_and_parsed_is_the_same_packet(tlp in any_tlp()) {
        prop_assert_eq!(check(&tlp), Ok(()));
        let bytes = bytes_of(&tlp);
        prop_assert_eq!(bytes.len(), tlp.len_bytes());
        prop_assert_eq!(parse(&bytes), Ok(tlp));
    }

    /// What the codec wrote, it writes again.
    #[test]
    fn bytes_parsed_and_emitted_are_the_same_bytes(tlp in any_tlp()) {
        let bytes = bytes_of(&tlp);
        let parsed = parse(&bytes);
        prop_assert!(parsed.is_ok());
        prop_assert_eq!(parsed.map(|tlp| bytes_of(&tlp)), Ok(bytes));
    }

    /// Bytes from outside are a packet that [`check`] passes and that survives, or a typed error: the
    /// law of the fuzz target `tlp_parse`.
    #[test]
    fn any_bytes_are_a_sound_packet_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        sound_or_error(&bytes)?;
    }

    /// The same, with bytes that get past the first checks.
    #[test]
    fn nearly_right_bytes_are_a_sound_packet_or_an_error(bytes in nearly_a_tlp()) {
        sound_or_error(&bytes)?;
    }

    /// A packet cut anywhere is refused.
    #[test]
    fn a_packet_cut_short_is_no_packet(tlp in any_tlp(), cut in any::<prop::sample::Index>()) {
        let bytes = bytes_of(&tlp);
        prop_assert!(parse(&bytes[..cut.index(bytes.len())]).is_err());
    }

    /// [`check`] refuses exactly what would not survive: a packet with one field out of its range.
    #[test]
    fn a_packet_that_check_refuses_does_not_survive(tlp in any_tlp(), which in 0..4_usize, by in 1..=u16::MAX) {
        let bent = bend(tlp, which, by);
        let survives = parse(&bytes_of(&bent)).as_ref() == Ok(&bent);
        prop_assert_eq!(check(&bent).is_ok(), survives, "{:?}", check(&bent));
    }
}

fn sound_or_error(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(tlp) = parse(bytes) {
        prop_assert_eq!(check(&tlp), Ok(()));
        let again = bytes_of(&tlp);
        prop_assert_eq!(again.len(), bytes.len());
        prop_assert_eq!(parse(&again), Ok(tlp));
    }
    Ok(())
}

/// Changes one field, often beyond what it may hold.
fn bend(mut tlp: Tlp, which: usize, by: u16) -> Tlp {
    match &mut tlp {
        Tlp::MemRead(read) => match which {
            0 => read.tag.0 = by,
            1 => read.len_bytes = by,
            2 => read.address ^= u64::from(by),
            _ => read.attributes.traffic_class = by as u8,
        },
        Tlp::MemWrite(write) => match which {
            0 => write.tag.0 = by,
            1 => write.data = Payload::from_elem(1, usize::from(by % 5000)),
            2 => write.address ^= u64::from(by),
            _ => write.attributes.traffic_class = by as u8,
        },
        Tlp::ConfigRead(read) => match which {
            0 => read.tag.0 = by,
            1 => read.offset = by,
            _ => read.len_bytes = by as u8,
        },
        Tlp::ConfigWrite(write) => match which {
            0 => write.tag.0 = by,
            1 => write.offset = by,
            _ => write.data = Payload::from_elem(1, usize::from(by % 8)),
        },
        Tlp::Completion(completion) => match which {
            0 => completion.tag.0 = by,
            1 => completion.byte_count = by % 5000,
            2 => completion.lower_address = by as u8,
            _ => completion.data = Payload::from_elem(1, usize::from(by % 5000)),
        },
        Tlp::Message(message) => match which {
            0 => message.tag.0 = by,
            1 => message.specific[0] = by as u8,
            2 => message.data = Payload::from_elem(1, usize::from(by % 5000)),
            _ => message.attributes.traffic_class = by as u8,
        },
    }
    tlp
}

/// The laws above would be empty words for a kind that the generator never makes.
#[test]
fn the_generator_makes_every_kind_of_packet() {
    let mut runner = TestRunner::deterministic();
    let kinds: BTreeSet<&'static str> = (0..500)
        .map(|_| {
            any_tlp().new_tree(&mut runner).expect("a strategy without filters").current().kind()
        })
        .collect();
    let all = ["MRd", "MWr", "CfgRd0", "CfgRd1", "CfgWr0", "CfgWr1", "Cpl", "CplD", "Msg", "MsgD"];
    assert_eq!(kinds, BTreeSet::from(all));
}
