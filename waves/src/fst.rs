//! Fast Signal Trace, by the crate `fst-writer`.
//!
//! Changes are gathered in memory and written in sections: compressed, and of bounded size, so that
//! memory does not grow with the length of the run. `fst-writer` 0.3 knows neither strings of
//! varying length nor tables of enumerations, which is why text is bits.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use fst_writer::{
    FstBodyWriter, FstFileType, FstHeaderWriter, FstInfo, FstScopeType, FstSignalId, FstSignalType,
    FstVarDirection, FstVarType, FstWriteError,
};

use crate::cut::Cut;
use crate::error::WaveError;
use crate::recorder::{Format, Recorder};
use crate::signal::{Item, Tree};
use crate::sink::WaveSink;

/// A section is closed when its changes take this much memory. Larger ones compress better, and
/// viewers read a file section by section.
const SECTION_BYTES: usize = 4 << 20;

/// Times in the file are in units of 10^-12 s.
const PICOSECONDS: i8 = -12;

struct Fst {
    path: PathBuf,
    body: FstBodyWriter<BufWriter<File>>,
    ids: Vec<FstSignalId>,
    /// The open section has at least one time.
    stepped: bool,
    /// The time the file has reached.
    now_ps: u64,
    /// More than one time was written.
    moved: bool,
}

/// Creates an FST file and declares in it what `cut` leaves of `tree`.
///
/// # Errors
/// [`WaveError::Io`], [`WaveError::Fst`].
pub fn create(path: &Path, tree: &Tree, cut: &Cut) -> Result<Box<dyn WaveSink>, WaveError> {
    let file = File::create(path).map_err(|e| refused(path, e.into()))?;
    let (body, ids) = declare(file, &tree.cut(cut.depth), cut).map_err(|e| refused(path, e))?;
    let format = Fst { path: path.to_owned(), body, ids, stepped: false, now_ps: 0, moved: false };
    Ok(Box::new(Recorder::new(format, tree, cut)))
}

type Declared = (FstBodyWriter<BufWriter<File>>, Vec<FstSignalId>);

fn declare(file: File, tree: &Tree, cut: &Cut) -> Result<Declared, FstWriteError> {
    let info = FstInfo {
        start_time: cut.window_ps.start,
        timescale_exponent: PICOSECONDS,
        version: crate::vcd::WRITER.to_owned(),
        // The day would make two runs of one scenario differ.
        date: String::new(),
        file_type: FstFileType::Verilog,
    };
    let mut header = FstHeaderWriter::new(BufWriter::new(file), &info)?;
    let mut ids = Vec::with_capacity(tree.signals().len());
    for item in tree.items() {
        match item {
            Item::Open(name) => header.scope(name, "", FstScopeType::Module)?,
            Item::Close => header.up_scope()?,
            Item::Signal(id) => {
                let signal = &tree.signals()[id.0 as usize];
                ids.push(header.var(
                    signal.reference(),
                    FstSignalType::bit_vec(signal.width_bits),
                    FstVarType::Wire,
                    FstVarDirection::Implicit,
                    None,
                )?);
            }
        }
    }
    Ok((header.finish()?, ids))
}

fn refused(path: &Path, error: FstWriteError) -> WaveError {
    let path = path.to_owned();
    match error {
        FstWriteError::Io(source) => WaveError::Io { path, source },
        source => WaveError::Fst { path, source },
    }
}

impl Fst {
    fn step(&mut self, time_ps: u64) -> Result<(), FstWriteError> {
        // Only between two times: the writer puts the first time of a section into its start.
        if self.stepped && self.body.size() >= SECTION_BYTES {
            self.body.flush()?;
        }
        self.moved |= self.stepped;
        self.stepped = true;
        self.now_ps = time_ps;
        self.body.time_change(time_ps)
    }
}

impl Format for Fst {
    /// The writer takes values before the first time for those of time 0: in a later window they are
    /// changes at its beginning.
    fn initial(
        &mut self,
        at_ps: u64,
        values: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<(), WaveError> {
        if at_ps > 0 {
            self.time(at_ps)?;
        }
        for (&id, bits) in self.ids.iter().zip(values) {
            self.body.signal_change(id, bits).map_err(|e| refused(&self.path, e))?;
        }
        Ok(())
    }

    fn time(&mut self, time_ps: u64) -> Result<(), WaveError> {
        self.step(time_ps).map_err(|e| refused(&self.path, e))
    }

    fn value(&mut self, signal: usize, bits: &[u8]) -> Result<(), WaveError> {
        self.body.signal_change(self.ids[signal], bits).map_err(|e| refused(&self.path, e))
    }

    fn close(mut self) -> Result<(), WaveError> {
        if !self.moved {
            // Readers give up on a file with a single time, or none.
            self.time(self.now_ps + 1)?;
        }
        let Self { path, body, .. } = self;
        let mut out = body.finish().map_err(|e| refused(&path, e))?;
        out.flush().map_err(|source| WaveError::Io { path, source })
    }
}
