//! Many runs with faults drawn by lot.

use testbench::soak::{Tally, run, text};
use testbench::{bench, soak};

/// How many; `scripts/soak` does any number.
const RUNS: u64 = 300;

/// PCIe 5.0 §6.2: whatever goes wrong, the scoreboard holds or somebody was told; nothing panics, nothing
/// hangs, nothing stays mapped.
#[test]
fn nothing_drawn_by_lot_is_lost_in_silence() {
    let mut tally = Tally::default();
    for seed in 1..=RUNS {
        let config = run(seed).unwrap_or_else(|error| panic!("{error}\n{}", text(seed)));
        tally.add(seed, bench::run(&config).map(|result| soak::Ended::of(seed, &result)));
    }
    assert_eq!(tally.wrong, [], "{}", tally.text());
    for verdict in ["held", "told"] {
        let runs = tally.verdicts.get(verdict).copied().unwrap_or(0);
        assert!(runs > RUNS / 10, "the lots are worth drawing only if both happen: {tally:?}");
    }
}

#[test]
fn the_same_seed_draws_the_same_run_with_the_same_end() {
    for seed in [3, 14, 15] {
        assert_eq!(text(seed), text(seed));
        let result = || bench::run(&run(seed).expect("what is drawn is allowed"));
        let (first, second) = (result().expect("it runs"), result().expect("it runs"));
        assert_eq!(first, second);
    }
}
