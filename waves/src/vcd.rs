//! Value Change Dump: IEEE 1364-2005 clause 18, "Value change dump (VCD) files", four-state form.
//!
//! Plain: only what the standard has, no extension of any viewer.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::cut::Cut;
use crate::error::WaveError;
use crate::recorder::{Format, Recorder};
use crate::signal::{Item, Signal, Tree};
use crate::sink::WaveSink;

/// Who wrote a file: `$version` here, the writer's name in an FST file.
pub(crate) const WRITER: &str = concat!("virtio-testbench waves ", env!("CARGO_PKG_VERSION"));

const BUFFER_BYTES: usize = 256 << 10;

struct Vcd {
    path: PathBuf,
    out: BufWriter<File>,
    codes: Vec<String>,
}

/// Creates a VCD file and declares in it what `cut` leaves of `tree`.
///
/// # Errors
/// [`WaveError::Io`].
pub fn create(path: &Path, tree: &Tree, cut: &Cut) -> Result<Box<dyn WaveSink>, WaveError> {
    let shown = tree.cut(cut.depth);
    let codes: Vec<String> = (0..shown.signals().len()).map(code).collect();
    let opened = File::create(path).and_then(|file| {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        declare(&mut out, &shown, &codes)?;
        Ok(out)
    });
    let path = path.to_owned();
    match opened {
        Ok(out) => Ok(Box::new(Recorder::new(Vcd { path, out, codes }, tree, cut))),
        Err(source) => Err(WaveError::Io { path, source }),
    }
}

/// The identifier code of the signal with this number: printable characters from `!` to `~`,
/// short ones first. IEEE 1364-2005 §18.2.1, "Syntax of the VCD file".
fn code(mut number: usize) -> String {
    let mut code = String::new();
    loop {
        code.push(char::from(b'!' + (number % 94) as u8));
        number /= 94;
        if number == 0 {
            return code;
        }
        number -= 1;
    }
}

/// No `$date`: the day would make two runs of one scenario differ.
fn declare(out: &mut impl Write, tree: &Tree, codes: &[String]) -> io::Result<()> {
    writeln!(out, "$version {WRITER} $end\n$timescale 1 ps $end")?;
    for item in tree.items() {
        match item {
            Item::Open(name) => writeln!(out, "$scope module {name} $end")?,
            Item::Close => writeln!(out, "$upscope $end")?,
            Item::Signal(id) => {
                let signal: &Signal = &tree.signals()[id.0 as usize];
                let (width, code) = (signal.width_bits, &codes[id.0 as usize]);
                writeln!(out, "$var wire {width} {code} {} $end", signal.reference())?;
            }
        }
    }
    writeln!(out, "$enddefinitions $end")
}

/// One change. Of a vector, zeros in front and repeated `x` are left out, as the reader extends what
/// is short: IEEE 1364-2005 §18.2.2, "Formats of variable values".
fn change(out: &mut impl Write, code: &str, bits: &[u8]) -> io::Result<()> {
    match bits {
        [bit] => out.write_all(&[*bit])?,
        [b'x', ..] => out.write_all(b"bx ")?,
        _ => {
            let first = bits.iter().position(|&bit| bit != b'0').unwrap_or(bits.len() - 1);
            out.write_all(b"b")?;
            out.write_all(&bits[first..])?;
            out.write_all(b" ")?;
        }
    }
    out.write_all(code.as_bytes())?;
    out.write_all(b"\n")
}

impl Vcd {
    fn written(&self, done: io::Result<()>) -> Result<(), WaveError> {
        done.map_err(|source| WaveError::Io { path: self.path.clone(), source })
    }
}

impl Format for Vcd {
    fn initial(
        &mut self,
        at_ps: u64,
        values: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<(), WaveError> {
        let dump = || {
            writeln!(self.out, "#{at_ps}\n$dumpvars")?;
            for (code, bits) in self.codes.iter().zip(values) {
                change(&mut self.out, code, bits)?;
            }
            self.out.write_all(b"$end\n")
        };
        let done = dump();
        self.written(done)
    }

    fn time(&mut self, time_ps: u64) -> Result<(), WaveError> {
        let done = writeln!(self.out, "#{time_ps}");
        self.written(done)
    }

    fn value(&mut self, signal: usize, bits: &[u8]) -> Result<(), WaveError> {
        let done = change(&mut self.out, &self.codes[signal], bits);
        self.written(done)
    }

    fn close(mut self) -> Result<(), WaveError> {
        let done = self.out.flush();
        self.written(done)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// IEEE 1364-2005 §18.2.1: a code is made of the printable characters 33 to 126.
    #[test]
    fn identifier_codes_are_short_printable_and_all_different() {
        let codes: BTreeSet<String> = (0..20_000).map(code).collect();
        assert_eq!(codes.len(), 20_000);
        assert!(codes.iter().all(|code| code.bytes().all(|b| (33..=126).contains(&b))));
        assert_eq!((code(0).as_str(), code(93).as_str(), code(94).as_str()), ("!", "~", "!!"));
        assert!(codes.iter().all(|code| code.len() <= 3));
    }

    /// IEEE 1364-2005 §18.2.2: a vector is extended to the left by 0 after 0 or 1, by x after x.
    #[test]
    fn a_vector_is_written_without_what_the_reader_adds() {
        let written = |bits: &[u8]| {
            let mut out = Vec::new();
            change(&mut out, "!", bits).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(b"0010"), "b10 !\n");
        assert_eq!(written(b"0000"), "b0 !\n");
        assert_eq!(written(b"xxxx"), "bx !\n");
        assert_eq!(written(b"1"), "1!\n");
        assert_eq!(written(b"x"), "x!\n");
    }
}
