//! Long work beside the interpreter: its lock is released, Ctrl-C ends the work, somebody may watch.
//!
//! ```text
//!   Python's thread:  release lock ── wait 50 ms ── signals? ── progress? ── wait … ── lock again
//!   worker:           └──────────────────── the verb ────────────────────┘
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use pyo3::prelude::*;
use testbench::cancel::Cancel;
use testbench::parallel::without_panic;
use testbench::verb::{Control, Failure, Progress};

use super::raise;

/// How long a Ctrl-C may go unheard.
const TICK: Duration = Duration::from_millis(50);

/// How far the work is.
#[derive(Debug, Default)]
struct Counts {
    parts: AtomicUsize,
    done: AtomicUsize,
}

impl Progress for &Counts {
    fn begin(&mut self, parts: usize) {
        self.parts.fetch_add(parts, Ordering::Relaxed);
    }

    fn done(&mut self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Does `work` on a thread of its own while other Python threads run, and calls `progress(done, parts)` now
/// and then.
///
/// # Errors
/// What the work says; or what a signal's handler or `progress` raised, after the work has been ended.
pub(super) fn watched<T: Send>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(Control<'_>) -> Result<T, Failure> + Send,
) -> PyResult<T> {
    let (cancel, counts) = (Cancel::default(), Counts::default());
    py.detach(|| {
        std::thread::scope(|scope| {
            let (finished, end) = channel::<()>();
            let (cancel, counts) = (&cancel, &counts);
            let worker = scope.spawn(move || {
                let _finished = finished;
                let mut watcher = counts;
                let control = Control { cancel: cancel.clone(), progress: &mut watcher };
                without_panic(|| work(control))
                    .unwrap_or_else(|panic| Err(Failure::Internal(panic)))
            });
            let attended = attend(&end, counts, progress);
            if attended.is_err() {
                cancel.cancel();
            }
            let outcome = worker
                .join()
                .unwrap_or_else(|_| Err(Failure::Internal("the worker died".to_owned())));
            attended?;
            outcome.map_err(|failure| raise(&failure))
        })
    })
}

/// Until the work has ended: lets signals be handled, and tells how far it is.
fn attend(end: &Receiver<()>, counts: &Counts, progress: Option<Py<PyAny>>) -> PyResult<()> {
    let mut told = (0, 0);
    loop {
        let more = end.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout);
        let parts = counts.parts.load(Ordering::Relaxed);
        let now = (counts.done.load(Ordering::Relaxed), parts);
        Python::attach(|py| {
            if let (Some(progress), true) = (&progress, told != now) {
                told = now;
                progress.call1(py, now)?;
            }
            py.check_signals()
        })?;
        if !more {
            return Ok(());
        }
    }
}
