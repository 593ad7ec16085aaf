//! Any well-formed TLP, for property tests.

use pcie_sim::address::Bdf;
use pcie_sim::tlp::{
    AddressType, Atomic, AtomicOperation, Attributes, ByteEnables, Completion, CompletionStatus,
    ConfigRead, ConfigWrite, Extras, Hints, IoRead, IoWrite, MemRead, MemWrite, Message,
    MessageRouting, Pasid, Payload, Prefix, Tag, Tlp, message as messages,
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
    let nothing = (0..1024_usize).prop_map(|dword| (4 * dword, 0));
    let run = prop_oneof![9 => run(), 1 => nothing];
    let data = run.prop_flat_map(|(start, len)| (Just(start), vec(any::<u8>(), len)));
    (bdf(), 0..256_u16, page(), data, attributes()).prop_map(
        |(requester, tag, page, (start, data), attributes)| {
            let (address, data) = (page + start as u64, Payload::from_vec(data));
            Tlp::MemWrite(MemWrite { requester, tag: Tag(tag), address, data, attributes })
        },
    )
}

/// A run inside one doubleword: its place and length. One of no bytes is at the start.
fn lane() -> impl Strategy<Value = (usize, usize)> {
    let some = (0..4_usize).prop_flat_map(|lead| (Just(lead), 1..=4 - lead));
    prop_oneof![9 => some, 1 => Just((0, 0))]
}

fn io() -> impl Strategy<Value = Tlp> {
    let write = proptest::option::of(any::<[u8; 4]>());
    (bdf(), 0..1024_u16, any::<u32>(), lane(), write).prop_map(
        |(requester, tag, address, (lead, len), write)| {
            let (tag, address) = (Tag(tag), address & !3 | lead as u32);
            let Some(bytes) = write else {
                return Tlp::IoRead(IoRead { requester, tag, address, len_bytes: len as u8 });
            };
            let data = Payload::from_slice(&bytes[..len]);
            Tlp::IoWrite(IoWrite { requester, tag, address, data })
        },
    )
}

fn atomic() -> impl Strategy<Value = Tlp> {
    let operation = prop_oneof![
        Just(AtomicOperation::FetchAdd),
        Just(AtomicOperation::Swap),
        Just(AtomicOperation::CompareAndSwap),
    ];
    let address = prop_oneof![any::<u32>().prop_map(u64::from), any::<u64>()];
    (bdf(), 0..1024_u16, address, operation, 0..3_u32, any::<[u8; 32]>(), attributes()).prop_map(
        |(requester, tag, address, operation, size, bytes, attributes)| {
            let (sizes, each) = match operation {
                AtomicOperation::CompareAndSwap => (3, 2),
                _ => (2, 1),
            };
            let size = 4 << (size % sizes);
            let operands = Payload::from_slice(&bytes[..each * size]);
            let (tag, address) = (Tag(tag), address & !(size as u64 - 1));
            let atomic = Atomic { requester, tag, address, operation, operands, attributes };
            Tlp::Atomic(Box::new(atomic))
        },
    )
}

fn config() -> impl Strategy<Value = Tlp> {
    let lane = lane();
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
            let (tag, mut data) = (Tag(tag), Payload::from_vec(data));
            let mut attributes: Attributes = attributes;
            if messages::needs_traffic_class_0(code) {
                attributes.traffic_class = 0;
            }
            if let Some(bytes) = messages::data_bytes(code) {
                data.resize(bytes, 0x5a);
            }
            let message = Message { requester, tag, code, routing, specific, data, attributes };
            Tlp::Message(Box::new(message))
        },
    )
}

/// Any TLP that obeys the rules on its form and has nothing rare about it.
pub(crate) fn plain_tlp() -> impl Strategy<Value = Tlp> {
    prop_oneof![
        2 => mem_read(),
        2 => mem_write(),
        1 => config(),
        2 => completion(),
        1 => message(),
        1 => io(),
        1 => atomic(),
    ]
}

fn prefixes() -> impl Strategy<Value = Vec<Prefix>> {
    let local =
        (0..16_u8, any::<[u8; 3]>()).prop_map(|(kind, bytes)| Prefix::Local { kind, bytes });
    let pasid = (0..1_u32 << 20, any::<[bool; 2]>())
        .prop_map(|(id, [execute, privileged])| Prefix::Pasid(Pasid { id, execute, privileged }));
    let end_to_end = prop_oneof![
        any::<u8>().prop_map(|steering_high| Prefix::ExtendedHints { steering_high }),
        pasid,
        (2..16_u8, any::<[u8; 3]>()).prop_map(|(kind, bytes)| Prefix::EndToEnd { kind, bytes }),
    ];
    (vec(local, 0..3), vec(end_to_end, 0..=4)).prop_map(|(local, rest)| [local, rest].concat())
}

/// Extras of which each packet takes those that its kind may have.
fn extras() -> impl Strategy<Value = Extras> {
    let address_type = prop_oneof![
        3 => Just(AddressType::Untranslated),
        1 => any::<bool>().prop_map(|no_write| AddressType::TranslationRequest { no_write }),
        1 => Just(AddressType::Translated),
        1 => Just(AddressType::Reserved),
    ];
    let hints = (0..4_u8, any::<u8>());
    let hints = hints.prop_map(|(processing, steering)| Hints { processing, steering });
    let prefixes = prop_oneof![1 => Just(Vec::new()), 1 => prefixes()];
    let (ecrc, hints) = (any::<Option<[u8; 4]>>(), proptest::option::of(hints));
    let enables = proptest::option::of((1..16_u8, 0..16_u8));
    (prefixes, ecrc, any::<bool>(), hints, address_type, enables).prop_map(
        |(prefixes, ecrc, poisoned, hints, address_type, enables)| {
            let enables = enables.map(|(first, last)| ByteEnables { first, last });
            Extras { prefixes, ecrc, poisoned, hints, address_type, enables }
        },
    )
}

/// The packet with as many of the extras as its kind may have.
fn with_extras(tlp: Tlp, mut extras: Extras) -> Tlp {
    extras.poisoned &= tlp.data_dwords() > 0;
    let addressed = matches!(tlp, Tlp::MemRead(_) | Tlp::MemWrite(_) | Tlp::Atomic(_));
    let is_read = matches!(tlp, Tlp::MemRead(_));
    if !addressed {
        (extras.hints, extras.address_type) = (None, AddressType::Untranslated);
    }
    if matches!(extras.address_type, AddressType::TranslationRequest { .. }) {
        extras.hints = None;
        if !is_read {
            extras.address_type = AddressType::Untranslated;
        }
    }
    let mut tlp = tlp;
    match (&mut tlp, extras.hints) {
        (Tlp::MemWrite(write), Some(_)) => write.tag = Tag(0),
        (Tlp::MemRead(read), Some(_)) => {
            let start = read.address & !3;
            let dwords = (read.address - start + u64::from(read.len_bytes.max(1))).div_ceil(4);
            (read.address, read.len_bytes) = (start, 4 * dwords as u16);
            extras.enables = None;
        }
        _ => {}
    }
    extras.enables = extras.enables.and_then(|enables| punch(&mut tlp, enables));
    tlp.with(extras)
}

/// Gives a request the run of bytes from the first to the last that is enabled, with zeros in the holes;
/// `None` when there are none, or the kind has no byte enables.
fn punch(tlp: &mut Tlp, mut enables: ByteEnables) -> Option<ByteEnables> {
    if !matches!(tlp, Tlp::MemRead(_) | Tlp::MemWrite(_)) {
        enables.last = 0;
    }
    let both = enables.last << 4 | enables.first;
    let lead = both.trailing_zeros() as usize;
    let len = 8 - both.leading_zeros() as usize - lead;
    if both.count_ones() as usize == len {
        return None;
    }
    let bytes = |data: &Payload| -> Payload {
        let any = data.iter().copied().chain(std::iter::repeat(0xa5));
        let lanes = (lead..lead + len).zip(any);
        lanes.map(|(lane, byte)| if both >> lane & 1 == 1 { byte } else { 0 }).collect()
    };
    match tlp {
        Tlp::MemRead(read) => {
            read.address = read.address & !7 | lead as u64;
            read.len_bytes = len as u16;
        }
        Tlp::MemWrite(write) => {
            write.address = write.address & !7 | lead as u64;
            write.data = bytes(&write.data);
        }
        Tlp::ConfigRead(read) => {
            read.offset = read.offset & !3 | lead as u16;
            read.len_bytes = len as u8;
        }
        Tlp::ConfigWrite(write) => {
            write.offset = write.offset & !3 | lead as u16;
            write.data = bytes(&write.data);
        }
        Tlp::IoRead(read) => {
            read.address = read.address & !3 | lead as u32;
            read.len_bytes = len as u8;
        }
        Tlp::IoWrite(write) => {
            write.address = write.address & !3 | lead as u32;
            write.data = bytes(&write.data);
        }
        _ => return None,
    }
    Some(enables)
}

/// Any TLP that obeys the rules on its form: of every kind, with and without every extra.
pub(crate) fn any_tlp() -> impl Strategy<Value = Tlp> {
    let extended = (plain_tlp(), extras()).prop_map(|(tlp, extras)| with_extras(tlp, extras));
    prop_oneof![plain_tlp(), extended]
}
