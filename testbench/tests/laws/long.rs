//! Runs long enough for every index to go around, and queues as deep as they get.

use testbench::bench::run_with;

use crate::rig::{CARD, Card, cell_with};

fn indices_wrap(card: Card) {
    let rest = "[host]\nram = \"64 MiB\"\n[card]\nqueue_size = 64\ndescriptor_prefetch = 4\n\
                completion_batch = 4\n[driver]\nqueue_depth = 48\nkick_batch = 4\n\
                [net]\nsynthetic = { packets = 70_000, bytes = 60 }\ncable_delay_ns = 0\n";
    let config = cell_with("x86-noiommu", "net", "host", "direct", true, rest);
    let result = run_with(&config, &card).expect("it runs");
    assert_eq!(result.violations, []);
    assert_eq!(result.requests, 140_000);
}

/// Virtio 1.4 §2.7.6, §2.7.8: `idx` starts at 0 and increases, modulo 65,536.
#[test]
fn traffic_goes_on_when_every_index_has_gone_around() {
    indices_wrap(CARD);
}

fn every_size(card: Card) {
    for log in 1..=10 {
        let size = 1_u32 << log;
        for (rings, completion) in [("host", "poll"), ("hybrid", "interrupt"), ("card", "poll")] {
            // As deep as the ring: each place is taken at some time.
            let rest = format!(
                "[card]\nqueue_size = {size}\ncontexts = 64\nmemory = \"1 MiB\"\n\
                 [driver]\nqueue_depth = {size}\ncompletion = \"{completion}\"\n\
                 kick_batch = {size}\n\
                 [net]\nsynthetic = {{ packets = {packets}, bytes = 100 }}\n",
                packets = 3 * size / 2 + 1
            );
            let config = cell_with("x86-noiommu", "net", rings, "direct", false, &rest);
            let result = run_with(&config, &card).expect("it runs");
            assert_eq!(result.violations, [], "{size} {rings} {completion}");
            assert_eq!(result.requests, u64::from(2 * (3 * size / 2 + 1)));
        }
    }
}

/// Virtio 1.4 §2.7: a queue's size is a power of two.
#[test]
fn a_queue_of_every_size_can_be_filled_to_its_last_place() {
    every_size(CARD);
}
