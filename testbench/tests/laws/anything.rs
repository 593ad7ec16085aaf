//! Whatever a card and its driver are built as, traffic gets through.

use pcie_sim::link::credits::Credits;
use pcie_sim::link::{Choices, CompletionOrder, Generation};
use proptest::prelude::*;
use proptest::sample::select;
use testbench::bench::run_with;
use testbench::scenario::config::{CompletionMode, RunConfig};

use crate::rig::{CARD, Card, cell_with};

/// What is drawn by lot.
#[derive(Debug, Clone)]
struct Choice {
    cell: (&'static str, &'static str, &'static str, &'static str, bool),
    seed: u64,
    bytes: u32,
    queue: (u16, u16, u16, bool),
    card: (u16, u16, u16, u16, bool),
    link: (u8, u8, u16, u16, u16),
    order: (Choices, CompletionOrder, u32),
    credits: [(u32, u32); 6],
    clock_mhz: u32,
    datapath_bytes: u32,
    cable: (u64, Option<u32>),
}

fn cell() -> impl Strategy<Value = (&'static str, &'static str, &'static str, &'static str, bool)> {
    (
        select(vec!["x86-noiommu", "x86-vtd"]),
        select(vec!["net", "blk"]),
        select(vec!["host", "hybrid", "card"]),
        select(vec!["direct", "indirect"]),
        any::<bool>(),
    )
}

/// Size, depth, batch of a queue, and whether the driver polls.
fn queue() -> impl Strategy<Value = (u16, u16, u16, bool)> {
    (2..=10_u32, any::<u16>(), any::<u16>(), any::<bool>()).prop_map(|(log, depth, batch, poll)| {
        let size = 1 << log;
        let depth = 1 + depth % size;
        (size, depth, 1 + batch % depth, poll)
    })
}

fn card() -> impl Strategy<Value = (u16, u16, u16, u16, bool)> {
    let few = || prop_oneof![3 => 1..=4_u16, 1 => 1..=64_u16];
    (few(), few(), few(), few(), any::<bool>())
}

fn link() -> impl Strategy<Value = (u8, u8, u16, u16, u16)> {
    let sizes = || select(vec![128_u16, 256, 512, 1024, 2048, 4096]);
    (1..=5_u8, select(vec![1_u8, 2, 4, 8, 16]), sizes(), sizes(), select(vec![64_u16, 128]))
}

/// What is left to choice on the link, and the replay buffer.
fn order() -> impl Strategy<Value = (Choices, CompletionOrder, u32)> {
    let choices = prop_oneof![Just(Choices::Keep), any::<u64>().prop_map(Choices::Draw)];
    let completions = prop_oneof![
        2 => Just(CompletionOrder::AsReady),
        1 => Just(CompletionOrder::InOrder),
        1 => any::<u64>().prop_map(CompletionOrder::Drawn),
        1 => Just(CompletionOrder::Reversed),
    ];
    (choices, completions, prop_oneof![Just(64 << 10), 100..10_000_u32])
}

/// Headers, and units of data beyond those of one TLP.
fn credits() -> impl Strategy<Value = [(u32, u32); 6]> {
    let headers = prop_oneof![Just(1_u32), Just(2), 3..64_u32];
    let data = prop_oneof![Just(0_u32), 0..300_u32];
    prop::array::uniform6((headers, data))
}

fn choice() -> impl Strategy<Value = Choice> {
    let cable = (prop_oneof![Just(0_u64), 1..20_000_u64], prop::option::of(1..100_u32));
    (
        cell(),
        1..1000_u64,
        14..3000_u32,
        queue(),
        card(),
        (link(), order()),
        credits(),
        select(vec![100_u32, 250, 500]),
        select(vec![4_u32, 8, 32, 64]),
        cable,
    )
        .prop_map(|drawn| {
            let (cell, seed, bytes, queue, card, link, credits, clock_mhz, datapath_bytes, cable) =
                drawn;
            let (link, order) = link;
            Choice {
                cell,
                seed,
                bytes,
                queue,
                card,
                link,
                order,
                credits,
                clock_mhz,
                datapath_bytes,
                cable,
            }
        })
}

impl Choice {
    fn config(&self) -> RunConfig {
        let (platform, device, rings, layout, event_idx) = self.cell;
        let sectors = (self.bytes / 512).max(1) * 512;
        let (delay, rate) = self.cable;
        let rate = rate.map_or(String::new(), |rate| format!("cable_gbps = {rate}\n"));
        let (size, depth, batch, _) = self.queue;
        let text = format!(
            "seed = {seed}\n[net]\nsynthetic = {{ packets = 60, bytes = {bytes} }}\n\
             cable_delay_ns = {delay}\n{rate}\
             [blk]\nsynthetic = {{ requests = 60, bytes = {sectors} }}\ndisk_size = \"64 KiB\"\n\
             [card]\nqueue_size = {size}\n\
             [driver]\nqueue_depth = {depth}\nkick_batch = {batch}\n",
            seed = self.seed,
            bytes = self.bytes,
        );
        // `seed` stands at the top of a scenario, before its tables.
        let (seed, rest) = text.split_once('\n').unwrap_or(("", ""));
        let mut config = cell_with(platform, device, rings, layout, event_idx, rest);
        config.seed = seed.rsplit(' ').next().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        self.plug(&mut config);
        config
    }

    fn plug(&self, config: &mut RunConfig) {
        let (prefetch, batch, contexts, reads, always_interrupt) = self.card;
        config.card.descriptor_prefetch = prefetch;
        config.card.completion_batch = batch;
        config.card.contexts = contexts;
        config.card.reads_in_flight = reads;
        config.card.always_interrupt = always_interrupt && !config.event_idx;
        config.card.clock_mhz = self.clock_mhz;
        config.card.datapath_bytes = self.datapath_bytes;
        if self.queue.3 {
            config.driver.completion = CompletionMode::Poll;
        }
        let (generation, lanes, mps, mrrs, rcb) = self.link;
        let slot = &mut config.slot;
        slot.link.timing.generation = Generation::from_number(generation).expect("1 to 5");
        slot.link.timing.lanes = lanes;
        (slot.mps_bytes, slot.mrrs_bytes, slot.rcb_bytes) = (mps, mrrs, rcb);
        let (choices, completion_order, replay_buffer) = self.order;
        (slot.link.choices, slot.link.completion_order) = (choices, completion_order);
        slot.link.data_link.max_payload_bytes = mps;
        slot.link.data_link.replay_buffer_bytes = replay_buffer;
        let of =
            |(headers, data): (u32, u32)| Credits { headers, data: u32::from(mps) / 16 + data };
        let [a, b, c, d, e, f] = self.credits.map(of);
        let (root, card) = (&mut slot.link.root_buffers, &mut slot.link.card_buffers);
        (root.posted, root.non_posted, root.completion) = (a, b, c);
        (card.posted, card.non_posted, card.completion) = (d, e, f);
    }
}

fn gets_through(card: Card, choice: &Choice) -> Result<(), TestCaseError> {
    let config = choice.config();
    match run_with(&config, &card) {
        Ok(result) => {
            prop_assert_eq!(&result.violations, &[], "{}", config.name());
            let receive = if choice.cell.1 == "net" { 2 } else { 1 };
            prop_assert_eq!(result.requests, 60 * receive);
        }
        // A request that needs more descriptors than the queue has is the user's to change.
        Err(error) => {
            prop_assert!(choice.cell.1 == "blk" && config.card.queue_size <= 4, "{error}")
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) })]

    /// DESIGN.md: a card's parameters change how long it takes, not whether it works.
    #[test]
    fn traffic_gets_through_whatever_card_driver_and_link_are_built_as(choice in choice()) {
        gets_through(CARD, &choice)?;
    }
}
