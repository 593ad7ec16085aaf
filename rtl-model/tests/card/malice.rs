//! The malicious card does what its configuration says, where it says, and nothing else.

use pcie_sim::spec::virtq::{DESC_F_NEXT, DESC_F_WRITE};
use pcie_sim::time::Span;
use pcie_sim::tlp::Tlp;
use proptest::prelude::*;
use rtl_model::{CardConfig, Deed, Malice};

use crate::fetch::{BUFFER, net};
use crate::rig::{BASE_FEATURES, HOST, Rig, Ring, Use, readable, writable};

const STRAY: u64 = HOST + 0x70_0000;

fn malicious(deed: Deed, queue: u16, request: u64, seed: u64) -> CardConfig {
    CardConfig { malice: vec![Malice { deed, queue, request, seed }], ..net() }
}

/// Sends `count` packets one by one on a card that does `deed` at the second of them.
fn sender(deed: Deed, seed: u64, count: u16) -> (Rig, Ring) {
    let config = malicious(deed, 1, 2, seed);
    let (mut rig, mut rings) = Rig::running(config, BASE_FEATURES, 16);
    let mut tx = rings.remove(1);
    for head in 0..count {
        tx.describe(&mut rig, head, readable(BUFFER, 76));
        tx.offer(&mut rig, &[head]);
        rig.doorbell(1);
        rig.settle();
    }
    (rig, tx)
}

#[test]
fn an_honest_card_does_no_deed() {
    let (rig, _) = Rig::running(net(), BASE_FEATURES, 16);
    assert_eq!(rig.card.deeds_done(), 0);
}

#[test]
fn a_wrong_used_id_is_wrong_once_and_by_seed_inside_or_outside_the_table() {
    let ids: Vec<u32> = (0..64)
        .map(|seed| {
            let (mut rig, tx) = sender(Deed::WrongUsedId, seed, 3);
            assert_eq!(rig.card.deeds_done(), 1);
            let ids = [0, 1, 2].map(|slot| tx.used_elem(&mut rig, slot).0);
            assert_eq!((ids[0], ids[2]), (0, 2));
            ids[1]
        })
        .collect();
    assert!(ids.iter().all(|&id| id != 1));
    assert!(ids.iter().any(|&id| id < 16) && ids.iter().any(|&id| id >= 16));
}

#[test]
fn a_used_length_beyond_the_buffer_exceeds_what_may_be_written() {
    let config = malicious(Deed::UsedLengthBeyondBuffer, 0, 1, 7);
    let (mut rig, mut rings) = Rig::running(config, BASE_FEATURES, 16);
    let (mut tx, mut rx) = (rings.remove(1), rings.remove(0));
    rx.describe(&mut rig, 0, writable(STRAY, 1600));
    rx.offer(&mut rig, &[0]);
    rig.doorbell(0);
    tx.describe(&mut rig, 0, readable(BUFFER, 76));
    tx.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert!(rx.used_elem(&mut rig, 0).1 > 1600);
    assert_eq!(rig.peek(STRAY + 1600, 64), [0; 64], "the length is the lie, not the write");
}

#[test]
fn the_used_index_jumps_and_stays_ahead() {
    for seed in 0..32 {
        let (mut rig, tx) = sender(Deed::UsedIndexJump, seed, 2);
        let jumped = tx.used_idx(&mut rig).wrapping_sub(2);
        assert_ne!(jumped, 0);
        let (mut rig, tx) = sender(Deed::UsedIndexJump, seed, 3);
        assert_eq!(tx.used_idx(&mut rig), jumped.wrapping_add(3));
    }
}

#[test]
fn an_element_is_published_twice_and_the_next_follows_behind() {
    let (mut rig, tx) = sender(Deed::UsedElementTwice, 0, 3);
    assert_eq!(tx.used_idx(&mut rig), 4);
    let ids = [0, 1, 2, 3].map(|slot| tx.used_elem(&mut rig, slot).0);
    assert_eq!(ids, [0, 1, 1, 2]);
}

#[test]
fn a_descriptor_is_overwritten_before_its_chain_is_used() {
    let (mut rig, tx) = sender(Deed::RewriteDescriptor, 3, 2);
    let desc = rig.peek(tx.desc + 16, 16);
    let flags = u16::from_le_bytes([desc[12], desc[13]]);
    assert_eq!(flags, DESC_F_WRITE | DESC_F_NEXT);
    let order = rig.log.iter().filter_map(|(_, tlp)| match tlp {
        Tlp::MemWrite(write) if write.address == tx.desc + 16 => Some("descriptor"),
        _ if tx.purpose(tlp) == Some(Use::UsedIdx) => Some("index"),
        _ => None,
    });
    let order: Vec<_> = order.collect();
    assert_eq!(order, ["index", "descriptor", "index"]);
}

/// Behind the used index by the delay, exactly then: with a lazy flush the IOMMU would let it pass.
#[test]
fn a_buffer_is_touched_again_after_its_used_element() {
    let delay = Span::from_us(30);
    let (rig, tx) = sender(Deed::UseAfterUsed { delay }, 0, 2);
    let used = rig.log.iter().rfind(|(_, tlp)| tx.purpose(tlp) == Some(Use::UsedIdx));
    let used = used.expect("used").0;
    let last = rig.log.last().expect("a read");
    assert!(matches!(&last.1, Tlp::MemRead(read) if (read.address, read.len_bytes) == (BUFFER, 8)));
    let late = last.0.since(used);
    assert!(late >= delay && late < delay + Span::from_ns(200), "{late:?}");
}

#[test]
fn a_received_buffer_is_written_again_after_its_used_element() {
    let config = malicious(Deed::UseAfterUsed { delay: Span::from_us(30) }, 0, 1, 0);
    let (mut rig, mut rings) = Rig::running(config, BASE_FEATURES, 16);
    let (mut tx, mut rx) = (rings.remove(1), rings.remove(0));
    rx.describe(&mut rig, 0, writable(STRAY, 1600));
    rx.offer(&mut rig, &[0]);
    rig.doorbell(0);
    tx.describe(&mut rig, 0, readable(BUFFER, 76));
    tx.offer(&mut rig, &[0]);
    rig.doorbell(1);
    rig.settle();
    assert!(matches!(&rig.log.last().expect("a write").1, Tlp::MemWrite(w) if w.address == STRAY));
}

#[test]
fn stray_accesses_go_where_they_are_sent_and_the_queue_goes_on() {
    let (rig, _) = sender(Deed::StrayRead { address: STRAY, len_bytes: 100 }, 0, 3);
    let reads =
        |tlp: &Tlp| matches!(tlp, Tlp::MemRead(r) if (r.address, r.len_bytes) == (STRAY, 100));
    assert_eq!(rig.log.iter().filter(|(_, tlp)| reads(tlp)).count(), 1);
    let (mut rig, tx) = sender(Deed::StrayWrite { address: STRAY, len_bytes: 200 }, 0, 3);
    assert_eq!(rig.peek(STRAY, 200), [0x66; 200]);
    assert_eq!(rig.peek(STRAY + 200, 1), [0]);
    assert_eq!(tx.used_idx(&mut rig), 3);
    // Somewhere where there is nothing: refused, counted, survived.
    let (mut rig, tx) = sender(Deed::StrayRead { address: 0x7fff_0000_0000, len_bytes: 8 }, 0, 3);
    assert_eq!((tx.used_idx(&mut rig), rig.card.counters().failed_reads), (3, 1));
}

/// STAT-DEV-01, broken.
#[test]
fn the_available_index_is_read_before_the_driver_is_ready() {
    for deed in [Some(Deed::FetchBeforeDriverOk), None] {
        let config = deed.map_or_else(net, |deed| malicious(deed, 1, 0, 0));
        let mut rig = Rig::placed(config);
        rig.negotiate(BASE_FEATURES);
        let ring = Ring::in_host(1, 16);
        rig.enable(&ring);
        rig.settle();
        let early = if deed.is_some() { vec![Use::AvailIdx] } else { vec![] };
        assert_eq!(rig.uses(&ring), early);
    }
}

fn deeds() -> impl Strategy<Value = Deed> {
    let anywhere = || (any::<u64>(), 1_u32..5000);
    prop_oneof![
        Just(Deed::WrongUsedId),
        Just(Deed::UsedLengthBeyondBuffer),
        Just(Deed::UsedIndexJump),
        Just(Deed::UsedElementTwice),
        Just(Deed::RewriteDescriptor),
        (0_u64..100).prop_map(|us| Deed::UseAfterUsed { delay: Span::from_us(us) }),
        anywhere().prop_map(|(address, len_bytes)| Deed::StrayRead { address, len_bytes }),
        anywhere().prop_map(|(address, len_bytes)| Deed::StrayWrite { address, len_bytes }),
        Just(Deed::FetchBeforeDriverOk),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is planned, the card itself neither panics nor loses a request of another queue, and the
    /// same plan gives the same TLPs.
    #[test]
    fn malice_is_repeatable_and_harms_only_the_host(
        plans in prop::collection::vec((deeds(), 0_u16..2, 1_u64..6, any::<u64>()), 0..5),
        batch in 1_u16..4,
    ) {
        let run = || {
            let malice = plans.iter().map(|&(deed, queue, request, seed)| {
                Malice { deed, queue, request, seed }
            }).collect();
            let config = CardConfig { malice, completion_batch: batch, ..net() };
            let (mut rig, mut rings) = Rig::running(config, BASE_FEATURES, 16);
            let (mut tx, mut rx) = (rings.remove(1), rings.remove(0));
            for head in 0..8 {
                rx.describe(&mut rig, head, writable(STRAY + 0x1000 * u64::from(head), 1600));
                tx.describe(&mut rig, head, readable(BUFFER, 76));
            }
            rx.offer(&mut rig, &[0, 1, 2, 3, 4, 5, 6, 7]);
            tx.offer(&mut rig, &[0, 1, 2, 3, 4, 5, 6, 7]);
            rig.doorbell(0);
            rig.doorbell(1);
            rig.settle();
            (rig.card.counters().requests, format!("{:?}", rig.log))
        };
        let (requests, log) = run();
        prop_assert_eq!(run().1, log);
        prop_assert!(requests <= 16);
    }
}
