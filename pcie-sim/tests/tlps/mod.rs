//! Any well-formed TLP, for property tests.

use pcie_sim::address::Bdf;
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, ConfigRead, ConfigWrite, MemRead, MemWrite, Message,
    MessageRouting, Payload, Tag, Tlp,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn bdf() -> impl Strategy<Value = Bdf> {
    any::<u16>().prop_map(Bdf)
}

fn attributes() -> impl Strategy<Value = Attributes> {
    (any::<[bool; 3]>(), 0..8_u8).prop_map(|([ro, ido, ns], traffic_class)| Attributes {
        relaxed_ordering: ro,
        id_based_ordering: ido,
        no_snoop: ns,
        traffic_class,
    })
}

/// A page, below or above 4 GiB.
fn page() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u32>().prop_map(u64::from), any::<u64>()].prop_map(|address| address & !0xfff)
}

/// Where a run begins in its page and how long it is: short ones, full ones, all between.
fn run() -> impl Strategy<Value = (usize, usize)> {
    (0..4096_usize, prop_oneof![1..20_usize, 1..=4096_usize]).prop_map(|(start, len)| {
        // Shifted down rather than cut, so that runs which end with the page are common.
        (start.min(4096 - len), len)
    })
}

fn mem_read() -> impl Strategy<Value = Tlp> {
    let nothing = (0..1024_usize).prop_map(|dword| (4 * dword, 0));
    let run = prop_oneof![9 => run(), 1 => nothing];
    (bdf(), 0..1024_u16, page(), run, attributes()).prop_map(
        |(requester, tag, page, (start, len), attributes)| {
            let (address, len_bytes) = (page + start as u64, len as u16);
            Tlp::MemRead(MemRead { requester, tag: Tag(tag), address, len_bytes, attributes })
        },
    )
}

fn mem_write() -> impl Strategy<Value = Tlp> {
    let data = run().prop_flat_map(|(start, len)| (Just(start), vec(any::<u8>(), len)));
    (bdf(), 0..256_u16, page(), data, attributes()).prop_map(
        |(requester, tag, page, (start, data), attributes)| {
            let (address, data) = (page + start as u64, Payload::from_vec(data));
            Tlp::MemWrite(MemWrite { requester, tag: Tag(tag), address, data, attributes })
        },
    )
}

fn config() -> impl Strategy<Value = Tlp> {
    let lane = (0..4_usize).prop_flat_map(|lead| (Just(lead), 1..=4 - lead));
    let write = proptest::option::of(any::<[u8; 4]>());
    (bdf(), 0..1024_u16, bdf(), 0..1024_u16, lane, write, any::<bool>()).prop_map(
        |(requester, tag, target, dword, (lead, len), write, forwarded)| {
            let (tag, offset) = (Tag(tag), 4 * dword + lead as u16);
            let Some(bytes) = write else {
                let len_bytes = len as u8;
                let read = ConfigRead { requester, tag, target, offset, len_bytes, forwarded };
                return Tlp::ConfigRead(read);
            };
            let data = Payload::from_slice(&bytes[..len]);
            Tlp::ConfigWrite(ConfigWrite { requester, tag, target, offset, data, forwarded })
        },
    )
}

fn status() -> impl Strategy<Value = CompletionStatus> {
    prop_oneof![
        Just(CompletionStatus::Success),
        Just(CompletionStatus::UnsupportedRequest),
        Just(CompletionStatus::RequestRetry),
        Just(CompletionStatus::CompleterAbort),
        prop_oneof![Just(3), 5..8_u8].prop_map(CompletionStatus::Reserved),
    ]
}

/// Byte count, lower address, bytes of data: none, all, or a part that ends on a doubleword.
fn part() -> impl Strategy<Value = (u16, u8, usize)> {
    let count = prop_oneof![1..20_u16, 1..=4096_u16, Just(4096)];
    (count, 0..128_u8, 0..3_u8, 1..=1024_usize).prop_map(|(count, lower, which, dwords)| {
        let (all, lead) = (usize::from(count), usize::from(lower & 3));
        let len = match which {
            0 => 0,
            1 => all.min(4096 - lead),
            _ => all.min(4 * dwords - lead),
        };
        (count, lower, len)
    })
}

fn completion() -> impl Strategy<Value = Tlp> {
    let part = part().prop_flat_map(|(byte_count, lower_address, len)| {
        (Just(byte_count), Just(lower_address), vec(any::<u8>(), len))
    });
    (bdf(), bdf(), 0..1024_u16, status(), part, attributes()).prop_map(
        |(completer, requester, tag, status, (byte_count, lower_address, data), attributes)| {
            Tlp::Completion(Completion {
                completer,
                requester,
                tag: Tag(tag),
                status,
                byte_count,
                lower_address,
                data: Payload::from_vec(data),
                attributes,
            })
        },
    )
}

fn message() -> impl Strategy<Value = Tlp> {
    let routing = prop_oneof![
        Just(MessageRouting::ToRootComplex),
        any::<u64>().prop_map(MessageRouting::ByAddress),
        bdf().prop_map(MessageRouting::ById),
        Just(MessageRouting::Broadcast),
        Just(MessageRouting::Local),
        Just(MessageRouting::Gathered),
        (6..8_u8).prop_map(MessageRouting::Reserved),
    ];
    let dwords = prop_oneof![Just(0_usize), 1..8_usize, Just(1024)];
    let data = dwords.prop_flat_map(|dwords| vec(any::<u8>(), 4 * dwords));
    (bdf(), 0..256_u16, any::<u8>(), routing, any::<[u8; 8]>(), data, attributes()).prop_map(
        |(requester, tag, code, routing, mut specific, data, attributes)| {
            let routed = match routing {
                MessageRouting::ByAddress(_) => 8,
                MessageRouting::ById(_) => 2,
                _ => 0,
            };
            specific[..routed].fill(0);
            let (tag, data) = (Tag(tag), Payload::from_vec(data));
            Tlp::Message(Message { requester, tag, code, routing, specific, data, attributes })
        },
    )
}

/// Any TLP that obeys the rules on its form.
pub(crate) fn any_tlp() -> impl Strategy<Value = Tlp> {
    prop_oneof![mem_read(), mem_write(), config(), completion(), message()]
}
