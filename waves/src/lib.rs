//! Write what happened on a bench to a file that GTKWave, Surfer, Perfetto and other viewers open.
//!
//! ```text
//!   Tree (what there is to see) ──▶ sink::create(path) ──▶ FST or VCD, by the file's extension
//!   change(time, signal, value) ──▶     WaveSink       ──▶ streamed to disk
//!
//!   slice(track, from, to, name, flows) ──▶ perfetto::Trace ──▶ streamed to disk
//! ```
//!
//! A wave file shows signals, a Perfetto trace shows what took how long and what came of what. Both kinds
//! of wave file hold the same content, change for change: one value per signal and picosecond,
//! unknown (`x`) until the first. Text is bits, eight a character, as in a Verilog `reg` that was
//! given a string: every viewer has a display format "ASCII" for it, and no format extension is used.
//!
//! Left out: reading; real numbers; strength and `z`; values that change several times within one
//! picosecond (the last one counts).

mod cut;
mod error;
pub mod fst;
pub mod layout;
pub mod perfetto;
mod recorder;
pub mod signal;
pub mod sink;
pub mod vcd;

pub use cut::Cut;
pub use error::{DeclareError, WaveError};
pub use signal::{SignalId, Tree, Value};
pub use sink::{FileKind, WaveSink, create, create_cut};
