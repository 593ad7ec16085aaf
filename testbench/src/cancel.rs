//! A flag by which somebody outside ends what is running.
//!
//! It is looked at before each run, and within one whenever its traffic has room for more; what was begun is
//! torn down as after any failure. A run that nobody ends is the same, byte for byte, as one without a flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::report::RunError;

/// The flag. Its clones are one flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends what is running, soon. There is no way back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Somebody has.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets whoever asks go on.
    ///
    /// # Errors
    /// [`RunError::Cancelled`] when somebody has ended it.
    pub fn check(&self) -> Result<(), RunError> {
        if self.is_cancelled() { Err(RunError::Cancelled) } else { Ok(()) }
    }
}
