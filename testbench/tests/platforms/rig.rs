//! Runs of one platform, built as its row says or with something changed.

use testbench::bench;
use testbench::platform::judge::{Verdict, judge};
use testbench::platform::{Case, Platform, Setup, WORKLOAD, find};
use testbench::report::RunResult;
use testbench::scenario::config::RunConfig;
use testbench::scenario::source::Source;
use testbench::scenario::{Overrides, Scenario};

/// The two runs of the table's workload, disk first, with keys of it set.
pub(crate) fn patterns(set: &[&str]) -> Vec<RunConfig> {
    let set = set.iter().map(|pair| (*pair).to_owned()).collect();
    let overrides = Overrides { set, ..Overrides::default() };
    let source = Source::built_in("platforms scenario", WORKLOAD);
    Scenario::from_source(&source, &overrides).expect("the workload is a scenario").runs
}

/// A platform that there is.
pub(crate) fn platform(id: &str) -> &'static Platform {
    find(id).expect("the platform is a row")
}

/// The case of a platform with this variant.
pub(crate) fn case(id: &str, variant: &str) -> &'static Case {
    let cases = platform(id).cases();
    cases.iter().find(|case| case.variant == variant).expect("the variant is a row")
}

/// Runs `pattern` on a platform that is built in this way.
pub(crate) fn run(id: &str, setup: Setup, pattern: &RunConfig) -> (RunResult, Verdict) {
    let config = RunConfig { platform: platform(id), setup, watched: true, ..pattern.clone() };
    let result = bench::run(&config).expect("the bench runs");
    let verdict = judge(&result);
    (result, verdict)
}

/// The disk's run of a case.
pub(crate) fn blk(id: &str, variant: &str) -> (RunResult, Verdict) {
    run(id, case(id, variant).setup, &patterns(&[])[0])
}
