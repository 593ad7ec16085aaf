//! TLPs of every kind and length, by lot.

use pcie_sim::address::Bdf;
use pcie_sim::host::seed::Sequence;
use pcie_sim::tlp::codec::check;
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, ConfigRead, ConfigWrite, MemRead, MemWrite, Message,
    MessageRouting, Payload, Tag, Tlp,
};

const A: Bdf = Bdf::new(0, 0, 0);
const B: Bdf = Bdf::new(1, 0, 0);

fn payload(lots: &mut Sequence, len: u64) -> Payload {
    (0..len).map(|_| lots.next() as u8).collect()
}

/// Mostly short, at times of any length that fits behind `at` in its page.
fn length(lots: &mut Sequence, at: u64) -> u64 {
    let room = 4096 - at % 4096;
    let most = [8, 64, 300, 4096][lots.below(4) as usize].min(room);
    1 + lots.below(most)
}

fn address(lots: &mut Sequence) -> u64 {
    let high = lots.below(2) << 36;
    high | lots.below(1 << 31)
}

pub(crate) fn read(lots: &mut Sequence) -> Tlp {
    let address = address(lots);
    let len_bytes = length(lots, address) as u16;
    let (tag, attributes) = (Tag(lots.below(256) as u16), Attributes::default());
    Tlp::MemRead(MemRead { requester: A, tag, address, len_bytes, attributes })
}

pub(crate) fn write(lots: &mut Sequence) -> Tlp {
    let address = address(lots);
    let len = length(lots, address);
    let data = payload(lots, len);
    let tag = Tag(lots.below(256) as u16);
    Tlp::MemWrite(MemWrite { requester: A, tag, address, data, attributes: Attributes::default() })
}

pub(crate) fn completion(lots: &mut Sequence) -> Tlp {
    let lower_address = lots.below(128) as u8;
    let len = length(lots, lower_address.into());
    let data = payload(lots, len);
    Tlp::Completion(Completion {
        completer: A,
        requester: B,
        tag: Tag(lots.below(256) as u16),
        status: CompletionStatus::Success,
        byte_count: len as u16,
        lower_address,
        data,
        attributes: Attributes::default(),
    })
}

/// Any TLP that can be said in bytes.
pub(crate) fn any(lots: &mut Sequence) -> Tlp {
    let tlp = match lots.below(8) {
        0 | 1 => read(lots),
        2 | 3 => write(lots),
        4 | 5 => completion(lots),
        6 => {
            let (tag, offset) = (Tag(lots.below(256) as u16), lots.below(1024) as u16 * 4);
            if lots.below(2) == 0 {
                let (target, len_bytes) = (B, 4);
                let forwarded = false;
                Tlp::ConfigRead(ConfigRead {
                    requester: A,
                    tag,
                    target,
                    offset,
                    len_bytes,
                    forwarded,
                })
            } else {
                let data = payload(lots, 4);
                let (requester, target, forwarded) = (A, B, false);
                Tlp::ConfigWrite(ConfigWrite { requester, tag, target, offset, data, forwarded })
            }
        }
        _ => Tlp::Message(Box::new(Message {
            requester: A,
            tag: Tag(0),
            code: 0x30,
            routing: MessageRouting::ToRootComplex,
            specific: [0; 8],
            data: Payload::new(),
            attributes: Attributes::default(),
        })),
    };
    assert_eq!(check(&tlp), Ok(()), "{tlp:?}");
    tlp
}

/// So many of them.
pub(crate) fn list(lots: &mut Sequence, len: usize) -> Vec<Tlp> {
    (0..len).map(|_| any(lots)).collect()
}
