//! Reads in one go as much as fits, whatever piece size the file or pipe prefers.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use super::pcap_stream::Problem;

/// A reader that fills what it is given as far as the file goes, and keeps the reason of a failure
/// (the parser only passes on that there was one). What was read before a failure is given first.
pub(super) struct Greedy<R> {
    inner: R,
    failed: bool,
    failure: Failure,
}

#[derive(Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    /// The reason, once.
    pub(super) fn take(&self) -> Problem {
        let kept = self.0.lock().ok().and_then(|mut kept| kept.take());
        Problem::Read(kept.unwrap_or_else(|| io::ErrorKind::Other.into()))
    }

    fn keep(&self, error: io::Error) {
        if let Ok(mut kept) = self.0.lock() {
            *kept = Some(error);
        }
    }
}

impl<R: Read> Greedy<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, failed: false, failure: Failure::default() }
    }

    /// Where the reason of a failure will be found.
    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }
}

impl<R: Read> Read for Greedy<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() && !self.failed {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    self.failure.keep(error);
                }
            }
        }
        match filled {
            0 if self.failed => Err(io::ErrorKind::Other.into()),
            _ => Ok(filled),
        }
    }
}
