//! The one place that looks at the wall clock: how long the bench itself took.

/// Runs from its making.
#[derive(Debug)]
pub(super) struct Stopwatch {
    started: std::time::Instant,
}

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "the bench's own speed is measured; no simulated figure depends on it"
    )]
    pub(super) fn start() -> Self {
        Self { started: std::time::Instant::now() }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
