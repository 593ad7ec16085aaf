//! Laws that bind the two directions of the TLP codec.

mod tlps;

use std::collections::BTreeSet;

use pcie_sim::tlp::codec::{check, ecrc_holds, emit, parse};
use pcie_sim::tlp::{AddressType, ByteEnables, Hints, Payload, Prefix, Tlp};
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
        Just(0x02),
        Just(0x42),
        0x4c..0x4f_u8,
        0x6c..0x6f_u8,
        0x30..0x38_u8,
        0x70..0x78_u8,
        any::<u8>(),
    ];
    let plain = prop_oneof![4 => Just(0_u8), 1 => any::<u8>()];
    let enables = prop_oneof![Just(0xff_u8), Just(0x0f), any::<u8>()];
    let rest = proptest::collection::vec(any::<u8>(), 12..64);
    let prefix = (0x80..0xa0_u8, any::<[u8; 3]>());
    let prefix = prefix.prop_map(|(first, [b1, b2, b3])| vec![first, b1, b2, b3]);
    let prefixes = proptest::collection::vec(prefix, 0..6);
    let prefixes = prop_oneof![3 => Just(Vec::new()), 1 => prefixes];
    (prefixes, first, plain.clone(), plain, 0..12_u8, enables, rest, 0..8_usize).prop_map(
        |(prefixes, first, byte_1, byte_2, length, enables, rest, cut)| {
            let mut bytes = vec![first, byte_1, byte_2, length];
            bytes.extend(rest);
            bytes[7] = enables;
            let header = if first & 0x20 == 0 { 12 } else { 16 };
            let data = if first & 0x40 == 0 { 0 } else { 4 * usize::from(length) };
            // Mostly the right length.
            let digest = if byte_2 & 0x80 == 0 { 0 } else { 4 };
            bytes.resize(header + data + digest + if cut == 7 { 1 } else { 0 }, 0x5a);
            [prefixes.concat(), bytes].concat()
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
    fn a_packet_that_check_refuses_does_not_survive(tlp in any_tlp(), which in 0..6_usize, by in 1..=u16::MAX) {
        let bent = bend(tlp, which, by);
        let survives = parse(&bytes_of(&bent)).as_ref() == Ok(&bent);
        let mut room = Vec::new();
        emit(&bent, &mut room);
        prop_assert_eq!(room.len(), bent.len_bytes(), "nothing panics, and the length is as announced");
        prop_assert_eq!(check(&bent).is_ok(), survives, "{:?}", check(&bent));
    }
}

fn sound_or_error(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(tlp) = parse(bytes) {
        prop_assert_eq!(check(&tlp), Ok(()));
        let again = bytes_of(&tlp);
        prop_assert_eq!(again.len(), bytes.len());
        // Nothing is lost but reserved bits and pads, which come out as zeros.
        prop_assert!(again.iter().zip(bytes).all(|(ours, theirs)| ours & !theirs == 0));
        prop_assert_eq!(parse(&again), Ok(tlp));
    }
    Ok(())
}

/// Changes one field, often beyond what it may hold.
fn bend(tlp: Tlp, which: usize, by: u16) -> Tlp {
    let low = by as u8;
    if which == 4 {
        return tlp.extend(|extras| match by % 4 {
            0 => extras.prefixes.push(Prefix::Local { kind: low >> 2, bytes: [low; 3] }),
            1 => extras.prefixes.push(Prefix::EndToEnd { kind: low >> 2, bytes: [low; 3] }),
            2 => extras.hints = Some(Hints { processing: low >> 2, steering: low }),
            _ => extras.enables = Some(ByteEnables { first: low >> 2, last: low >> 4 }),
        });
    }
    if which == 5 {
        return tlp.extend(|extras| match by % 3 {
            0 => extras.poisoned = true,
            1 => extras.address_type = AddressType::TranslationRequest { no_write: by & 4 == 0 },
            _ => extras.address_type = AddressType::Translated,
        });
    }
    tlp.map_plain(|tlp| bend_plain(tlp, which, by))
}

fn bend_plain(mut tlp: Tlp, which: usize, by: u16) -> Tlp {
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
        Tlp::IoRead(read) => match which {
            0 => read.tag.0 = by,
            1 => read.address ^= u32::from(by),
            _ => read.len_bytes = by as u8,
        },
        Tlp::IoWrite(write) => match which {
            0 => write.tag.0 = by,
            1 => write.address ^= u32::from(by),
            _ => write.data = Payload::from_elem(1, usize::from(by % 8)),
        },
        Tlp::Atomic(atomic) => match which {
            0 => atomic.tag.0 = by,
            1 => atomic.address ^= u64::from(by % 16),
            2 => atomic.operands = Payload::from_elem(1, usize::from(by % 40)),
            _ => atomic.attributes.traffic_class = by as u8,
        },
        Tlp::Extended(_) => unreachable!("a plain packet"),
    }
    tlp
}

/// The laws above would be empty words for a kind that the generator never makes.
#[test]
fn the_generator_makes_every_kind_of_packet() {
    let mut runner = TestRunner::deterministic();
    let kinds: BTreeSet<&'static str> = (0..1000)
        .map(|_| {
            any_tlp().new_tree(&mut runner).expect("a strategy without filters").current().kind()
        })
        .collect();
    let all = [
        "MRd", "MWr", "CfgRd0", "CfgRd1", "CfgWr0", "CfgWr1", "Cpl", "CplD", "Msg", "MsgD", "IORd",
        "IOWr", "FetchAdd", "Swap", "CAS",
    ];
    assert_eq!(kinds, BTreeSet::from(all));
}

/// And the same for what few packets have, on each kind that may have it.
#[test]
fn the_generator_makes_every_extra() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..3000 {
        let tlp = any_tlp().new_tree(&mut runner).expect("a strategy without filters").current();
        let Some(extras) = tlp.extras() else { continue };
        seen.extend(extras.prefixes.iter().map(|prefix| match prefix {
            Prefix::Local { .. } => "local".to_owned(),
            Prefix::ExtendedHints { .. } => "extended hints".to_owned(),
            Prefix::Pasid(_) => "pasid".to_owned(),
            Prefix::EndToEnd { .. } => "end to end".to_owned(),
        }));
        let class = tlp.kind().trim_end_matches(['0', '1']);
        let there = [
            (extras.ecrc.is_some(), "ecrc"),
            (extras.poisoned, "poison"),
            (extras.hints.is_some(), "hints"),
            (extras.address_type != AddressType::Untranslated, "address type"),
            (extras.enables.is_some(), "holes"),
        ];
        seen.extend(there.iter().filter(|(is, _)| *is).map(|(_, what)| format!("{class} {what}")));
    }
    let all = "local|extended hints|pasid|end to end|MRd ecrc|Msg ecrc|Cpl ecrc|CAS ecrc|CplD poison|\
        MWr poison|MsgD poison|CfgWr poison|IOWr poison|Swap poison|MRd hints|MWr hints|CAS hints|\
        MRd address type|MWr address type|FetchAdd address type|MRd holes|MWr holes|CfgRd holes|\
        CfgWr holes|IORd holes|IOWr holes";
    let missing: Vec<&str> = all.split('|').filter(|what| !seen.contains(*what)).collect();
    assert_eq!(missing, [""; 0]);
}

proptest! {
    /// §2.7.1: what a digest is for. Each wrong bit under it is found, save those that may change on the way.
    #[test]
    fn a_wrong_bit_is_seen_in_the_digest_unless_it_may_change(
        tlp in any_tlp(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let tlp = tlp.with_ecrc();
        let mut bytes = bytes_of(&tlp);
        prop_assert_eq!(tlp.ecrc_holds(), Some(true));
        prop_assert_eq!(ecrc_holds(&bytes), Some(true));
        let prefixes = |local: bool| {
            let extras = tlp.extras().map_or(&[][..], |extras| &extras.prefixes[..]);
            4 * extras.iter().filter(|prefix| prefix.is_local() || !local).count()
        };
        let (local, header) = (prefixes(true), prefixes(false));
        let at = local + at.index(bytes.len() - local);
        // Fmt and TD say where the digest is; without them there is none to be right or wrong.
        let shape = at < header && bit > 3 && at % 4 == 0
            || at == header && bit > 4
            || at == header + 2 && bit == 7;
        prop_assume!(!shape);
        bytes[at] ^= 1 << bit;
        let may_change = at == header && bit == 0 || at == header + 2 && bit == 6;
        prop_assert_eq!(ecrc_holds(&bytes), Some(may_change), "byte {}, bit {}", at, bit);
    }
}
