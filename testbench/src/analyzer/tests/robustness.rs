//! Whatever crosses the link, the analyzer goes on: nonsense is the subject of its work.

use pcie_sim::address::Bdf;
use pcie_sim::endpoint::Direction;
use pcie_sim::tlp::{
    AddressType, Atomic, AtomicOperation, Attributes, ByteEnables, Completion, CompletionStatus,
    ConfigRead, ConfigWrite, Extras, Hints, IoRead, IoWrite, MemRead, MemWrite, Pasid, Payload,
    Tag, Tlp,
};
use proptest::prelude::*;

use super::fake_link::{AVAIL, BAR0, BAR1, BAR2, CARD, DESC, FakeLink, ROOT, USED};

fn address() -> impl Strategy<Value = u64> {
    let base = prop_oneof![
        Just(DESC),
        Just(AVAIL),
        Just(USED),
        Just(BAR0),
        Just(BAR0 + 0x3000),
        Just(BAR1),
        Just(BAR2),
        Just(0xfee0_0000),
        Just(0x5000),
        Just(u64::MAX - 0x80),
        any::<u64>(),
    ];
    (base, 0_u64..0x90).prop_map(|(base, offset)| base.wrapping_add(offset))
}

/// Small numbers far more often than others: they are valid indices, flags and lengths.
fn bytes(most: usize) -> impl Strategy<Value = Payload> {
    let byte = prop_oneof![4 => Just(0_u8), 4 => 0_u8..9, 1 => any::<u8>()];
    prop::collection::vec(byte, 0..most).prop_map(Payload::from_vec)
}

fn tlp() -> impl Strategy<Value = Tlp> {
    let requester = prop_oneof![Just(CARD), Just(ROOT), any::<u16>().prop_map(Bdf)];
    let tag = prop_oneof![4 => 0_u16..3, 1 => any::<u16>()].prop_map(Tag);
    let attributes = Attributes::default();
    let status = prop_oneof![4 => Just(CompletionStatus::Success),
        1 => Just(CompletionStatus::UnsupportedRequest)];
    (requester, tag, address(), bytes(200), 0_u16..4200, 0_u16..256, status, 0..9).prop_map(
        move |(requester, tag, address, data, len_bytes, offset, status, kind)| match kind {
            0 => Tlp::MemRead(MemRead { requester, tag, address, len_bytes, attributes }),
            1 => Tlp::MemWrite(MemWrite { requester, tag, address, data, attributes }),
            2 => Tlp::ConfigRead(ConfigRead {
                requester,
                tag,
                target: CARD,
                offset: offset * 16,
                len_bytes: (len_bytes % 5) as u8,
                forwarded: false,
            }),
            3 => Tlp::ConfigWrite(ConfigWrite {
                requester,
                tag,
                target: CARD,
                offset,
                data: Payload::from_slice(&data[..data.len().min(4)]),
                forwarded: false,
            }),
            6 => Tlp::IoRead(IoRead {
                requester,
                tag,
                address: address as u32,
                len_bytes: (len_bytes % 5) as u8,
            }),
            7 => Tlp::IoWrite(IoWrite { requester, tag, address: address as u32, data }),
            8 => Tlp::Atomic(Box::new(Atomic {
                requester,
                tag,
                address,
                operation: AtomicOperation::CompareAndSwap,
                operands: data,
                attributes,
            })),
            _ => Tlp::Completion(Completion {
                completer: CARD,
                requester,
                tag,
                status,
                byte_count: if kind == 4 { data.len() as u16 } else { len_bytes },
                lower_address: 0,
                data,
                attributes,
            }),
        },
    )
}

/// Now and then with what few packets have, whether or not the kind may have it.
fn any_tlp() -> impl Strategy<Value = Tlp> {
    let extras = (any::<[bool; 6]>(), any::<u8>()).prop_map(|(has, byte)| Extras {
        prefixes: Vec::new(),
        ecrc: has[0].then_some([byte; 4]),
        poisoned: has[1],
        hints: has[2].then_some(Hints { processing: byte, steering: byte }),
        address_type: if has[3] { AddressType::Translated } else { AddressType::Untranslated },
        enables: has[4].then_some(ByteEnables { first: byte, last: byte >> 4 }),
    });
    let extended = (tlp(), extras).prop_map(|(tlp, extras)| tlp.with(extras));
    let process = tlp().prop_map(|tlp| tlp.with_pasid(Pasid::default()));
    prop_oneof![4 => tlp(), 1 => extended, 1 => process]
}

proptest! {
    #[test]
    fn no_sequence_of_tlps_stops_the_analyzer(
        tlps in prop::collection::vec((any::<bool>(), any_tlp()), 0..120)
    ) {
        let mut link = FakeLink::host();
        for (upstream, tlp) in tlps {
            let direction = if upstream { Direction::Upstream } else { Direction::Downstream };
            link.sends(direction, &tlp);
        }
    }

    /// Chains of the driver that loop, run over the table or point anywhere.
    #[test]
    fn no_chain_stops_the_analyzer(
        descs in prop::collection::vec((address(), 0_u32..5000, 0_u16..8, 0_u16..10), 8),
        heads in prop::collection::vec(0_u16..10, 1..20),
    ) {
        let mut link = FakeLink::host();
        for (index, &head) in heads.iter().enumerate() {
            link.reads_idx(index as u16 + 1);
            link.reads_entry(index as u16 % 8, head);
            let table: Vec<u8> = descs
                .iter()
                .flat_map(|&(addr, len, flags, next)| {
                    super::fake_link::desc(addr, len, flags, next).to_bytes()
                })
                .collect();
            link.reads(DESC, &table);
            link.writes_element(index as u16 % 8, u32::from(head), 0);
            link.writes_used_idx(index as u16 + 1);
        }
    }
}
