//! Waves of RTL change nothing but the time that a run takes.

use testbench::bench::run;
use testbench::report::RunResult;
use testbench::scenario::config::RunConfig;

use super::planted::card;
use crate::rig::cell_with;

fn both(config: &RunConfig) -> (RunResult, RunResult) {
    let folder = tempfile::tempdir().expect("a place for files");
    let path = folder.path().join("card.fst");
    let without = run(config).expect("it runs");
    let with =
        run(&RunConfig { rtl_waves: Some(path.clone()), ..config.clone() }).expect("it runs");
    assert!(std::fs::metadata(&path).is_ok_and(|file| file.len() > 10_000), "waves were written");
    (without, with)
}

/// A run that keeps the card busy, and one in which it has nothing to do but one command. The law
/// is about any number of cycles; here it is a few ten thousand of each, as every cycle's waves cost time.
#[test]
fn a_busy_and_an_idle_run_have_the_same_result_with_and_without_waves() {
    let traffic = |requests: u32, depth: u32| {
        format!(
            "[driver]\nqueue_depth = {depth}\n[card]\nqueue_size = 64\nreads_in_flight = 4\n\
             [blk]\ndisk_size = \"1 MiB\"\nsynthetic = {{ requests = {requests}, bytes = 2048 }}\n"
        )
    };
    for (requests, depth) in [(100, 16), (1, 1)] {
        let rest = traffic(requests, depth);
        let config = cell_with("x86-vtd", "blk", "host", "direct", true, &rest);
        let config = RunConfig { under_test: card(None), ..config };
        let (without, with) = both(&config);
        assert_eq!(without.violations, []);
        assert!(without.rtl_cycles > 10_000, "{}", without.rtl_cycles);
        assert_eq!(without, with, "{requests} requests");
    }
}
