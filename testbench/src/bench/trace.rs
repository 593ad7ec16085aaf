//! The trace: a line for each TLP, in hex and in words.
//!
//! ```text
//!        12345.678 ns  up  200000010100000f0000000010001000  MRd 01:00.0 ...  [descriptor q0]
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use pcie_sim::endpoint::{Direction, Sighting};
use pcie_sim::tlp::text;

use crate::analyzer::{Classified, Role};

/// Writes the trace; keeps the first error for [`Trace::finish`].
pub(super) struct Trace {
    out: BufWriter<File>,
    failure: Option<io::Error>,
}

impl Trace {
    /// Creates the file.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { out: BufWriter::new(File::create(path)?), failure: None })
    }

    /// One TLP.
    pub(super) fn tlp(&mut self, sighting: &Sighting<'_>, seen: &Classified) {
        if self.failure.is_none() {
            self.failure = self.line(sighting, seen).err();
        }
    }

    /// Everything is written, or why not.
    pub(super) fn finish(mut self) -> io::Result<()> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.out.flush(),
        }
    }

    fn line(&mut self, sighting: &Sighting<'_>, seen: &Classified) -> io::Result<()> {
        let way = match sighting.direction {
            Direction::Downstream => "down",
            Direction::Upstream => "up  ",
        };
        let time = sighting.departs.to_string();
        write!(self.out, "{time:>20} {way} {} {}", text::hex(sighting.tlp), sighting.tlp)?;
        if let Role::Dma(purpose) = seen.role {
            write!(self.out, " [{purpose}")?;
            match seen.queue {
                Some(queue) => write!(self.out, " q{queue}]")?,
                None => write!(self.out, "]")?,
            }
        }
        writeln!(self.out)
    }
}
