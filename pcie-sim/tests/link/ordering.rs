//! The ordering table at work in the transmit queues.

use std::collections::BTreeMap;

use pcie_sim::link::credits::Credits;
use pcie_sim::link::ordering::{Facts, Pass};
use pcie_sim::link::{Choices, LinkConfig};
use pcie_sim::tlp::{Tag, Tlp};
use proptest::prelude::*;

use super::rig::{DOWN, Rig, completion, read, write};

/// What has left, as positions in the order of submission.
fn departures(config: &LinkConfig, tlps: &[Tlp]) -> Vec<usize> {
    let mut rig = Rig::new(config);
    rig.send(DOWN, tlps.iter().cloned());
    rig.settle();
    let mut left: Vec<_> = tlps.iter().map(Some).collect();
    rig.log
        .tlps
        .iter()
        .map(|(.., seen)| {
            let at = left.iter().position(|tlp| *tlp == Some(seen)).expect("was submitted");
            left[at] = None;
            at
        })
        .collect()
}

fn mixed(kinds: &[(u8, u8)]) -> Vec<Tlp> {
    let mut parts = BTreeMap::new();
    let make = |(i, &(kind, tag)): (usize, &(u8, u8))| match kind {
        0 => write(i as u64 * 256, 32),
        1 => read(i as u16, 64),
        _ => {
            let part = parts.entry(tag).or_insert(2048u16);
            *part -= 16;
            completion(Tag(tag.into()), *part, 16)
        }
    };
    kinds.iter().enumerate().map(make).collect()
}

/// PCIe 5.0 §2.4.1: within the table's leave a seed decides, and another seed decides otherwise.
#[test]
fn completions_of_different_tags_overtake_each_other_when_lots_are_drawn() {
    let tlps: Vec<_> = (0..16).map(|tag| completion(Tag(tag), 64, 64)).collect();
    let keep = departures(&LinkConfig::default(), &tlps);
    assert_eq!(keep, (0..16).collect::<Vec<_>>());
    let drawn = |seed| {
        departures(&LinkConfig { choices: Choices::Draw(seed), ..LinkConfig::default() }, &tlps)
    };
    assert_ne!(drawn(1), keep);
    assert_ne!(drawn(1), drawn(2));
    assert_eq!(drawn(1), drawn(1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// PCIe 5.0 §2.4.1: no transmitter, however it draws, lets a TLP pass one that it must not pass.
    #[test]
    fn nothing_is_overtaken_that_the_table_protects(
        kinds in prop::collection::vec((0u8..3, 0u8..3), 1..60),
        seed in prop::option::of(any::<u64>()),
        headers in 1u32..5,
    ) {
        let mut config = LinkConfig::default();
        config.card_buffers.posted = Credits { headers, data: 16 };
        config.card_buffers.completion = Credits { headers, data: 16 };
        config.choices = seed.map_or(Choices::Keep, Choices::Draw);
        let tlps = mixed(&kinds);
        let order = departures(&config, &tlps);
        prop_assert_eq!(order.len(), tlps.len());
        for (at, &first) in order.iter().enumerate() {
            for &second in order[at + 1..].iter().filter(|second| **second < first) {
                let pass = Facts::of(&tlps[first]).passes(&Facts::of(&tlps[second]));
                prop_assert_ne!(pass, Pass::No, "{} passed {}", first, second);
            }
        }
    }
}
