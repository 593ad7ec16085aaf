//! Many runs at once, one thread each: parallelism is between runs, never inside one.
//!
//! The order in which runs end is nobody's business; results come back in the order of the scenario.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam::channel;

use crate::cancel::Cancel;
use crate::report::{RunError, RunResult};
use crate::scenario::config::RunConfig;

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what a panic says, in one line, instead of printing it where it happens.
pub fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|info| {
        let line = info.to_string().lines().collect::<Vec<_>>().join(" ");
        LAST_PANIC.with_borrow_mut(|last| *last = Some(line));
    }));
}

/// Runs `work`; a panic in it becomes its text.
///
/// # Errors
/// What the panic said.
pub fn without_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        let kept = LAST_PANIC.with_borrow_mut(Option::take);
        kept.unwrap_or_else(|| "panicked".to_owned())
    })
}

/// How many threads, and what stops them.
#[derive(Debug, Clone)]
pub struct Workers {
    /// How many.
    pub count: usize,
    /// Nothing is begun once it is set.
    pub cancel: Cancel,
}

impl From<usize> for Workers {
    /// So many, and nothing stops them.
    fn from(count: usize) -> Self {
        Self { count, cancel: Cancel::default() }
    }
}

/// Runs every configuration on at most `workers` threads, and calls `done` after each.
///
/// # Errors
/// When runs failed: the first of them in the scenario's order, whatever the number of threads. Runs not
/// yet begun are left out then.
pub fn run_all(
    configs: &[RunConfig],
    workers: impl Into<Workers>,
    run: &(dyn Fn(&RunConfig) -> Result<RunResult, RunError> + Sync),
    done: &mut dyn FnMut(&RunConfig),
) -> Result<Vec<RunResult>, RunError> {
    map_all(configs, workers, &RunConfig::name, run, done)
}

/// Does `work` on every item on at most `workers` threads, and calls `done` after each. Results come in the
/// order of the items.
///
/// # Errors
/// When some failed: the first of them in the order of the items, whatever the number of threads. A panic
/// is such a failure, and tells the item's `name`.
pub fn map_all<I: Sync, T: Send>(
    items: &[I],
    workers: impl Into<Workers>,
    name: &(dyn Fn(&I) -> String + Sync),
    work: &(dyn Fn(&I) -> Result<T, RunError> + Sync),
    done: &mut dyn FnMut(&I),
) -> Result<Vec<T>, RunError> {
    let Workers { count, cancel } = workers.into();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, receiver) = channel::unbounded();
    let mut outcomes: Vec<Option<Result<T, RunError>>> = Vec::new();
    outcomes.resize_with(items.len(), || None);
    let ended = crossbeam::scope(|scope| {
        for _ in 0..count.clamp(1, items.len().max(1)) {
            let (sender, next, failed, cancel) = (sender.clone(), &next, &failed, &cancel);
            scope.spawn(move |_| {
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let outcome = cancel.check().and_then(|()| one(item, name, work));
                    failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    if sender.send((at, outcome)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (at, outcome) in receiver {
            done(&items[at]);
            outcomes[at] = Some(outcome);
        }
    });
    if ended.is_err() {
        return Err(RunError::internal("a worker thread died"));
    }
    // Runs begin in order, so each one before the first that failed has an outcome.
    let missing = || Err(RunError::internal("a run was left out"));
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
}

fn one<I, T>(
    item: &I,
    name: &dyn Fn(&I) -> String,
    work: &dyn Fn(&I) -> Result<T, RunError>,
) -> Result<T, RunError> {
    without_panic(|| work(item))
        .unwrap_or_else(|panic| Err(RunError::internal(format!("{}: {panic}", name(item)))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, Scenario};

    fn runs() -> Vec<RunConfig> {
        Scenario::load(None, &Overrides::default()).unwrap().runs
    }

    fn numbered(config: &RunConfig) -> RunResult {
        RunResult { requests: config.name().len() as u64, ..RunResult::default() }
    }

    #[test]
    fn results_come_in_the_order_of_the_scenario_whatever_the_number_of_threads() {
        let runs = runs();
        let expected: Vec<RunResult> = runs.iter().map(numbered).collect();
        for workers in [0, 1, 2, 7, 100] {
            let mut ended = 0;
            let run = |config: &RunConfig| Ok(numbered(config));
            let results = run_all(&runs, workers, &run, &mut |_| ended += 1).unwrap();
            assert_eq!((results, ended), (expected.clone(), runs.len()));
        }
    }

    #[test]
    fn the_first_failure_in_the_scenarios_order_is_the_one_reported() {
        let runs = runs();
        let (early, late) = (runs[3].name(), runs[4].name());
        let run = |config: &RunConfig| {
            let name = config.name();
            if name == early {
                std::thread::yield_now();
            }
            if name == early || name == late {
                return Err(RunError::input(name));
            }
            Ok(numbered(config))
        };
        for workers in [1, 2, 8] {
            let error = run_all(&runs, workers, &run, &mut |_| ()).unwrap_err();
            assert_eq!(error.to_string(), early);
        }
    }

    #[test]
    fn a_run_that_panics_is_an_internal_error_that_names_it() {
        let runs = runs();
        let run = |_: &RunConfig| panic!("on purpose");
        let error = run_all(&runs, 2, &run, &mut |_| ()).unwrap_err();
        assert!(
            matches!(&error, RunError::Internal(_)) && error.to_string().contains(&runs[0].name())
        );
    }

    #[test]
    fn nothing_begins_after_somebody_has_cancelled() {
        let cancel = Cancel::default();
        let workers = Workers { count: 1, cancel: cancel.clone() };
        let begun = AtomicUsize::new(0);
        let run = |config: &RunConfig| {
            if begun.fetch_add(1, Ordering::Relaxed) == 1 {
                cancel.cancel();
            }
            Ok(numbered(config))
        };
        let outcome = run_all(&runs(), workers, &run, &mut |_| ());
        assert!(matches!(outcome, Err(RunError::Cancelled)));
        assert_eq!(begun.into_inner(), 2);
    }

    #[test]
    fn no_runs_have_no_results() {
        let run = |config: &RunConfig| Ok(numbered(config));
        assert_eq!(run_all(&[], 4, &run, &mut |_| ()).unwrap(), []);
    }
}
